"""What agrees between latent spaces pair by pair: of one ensemble, of two, and after finished models were aligned.

Latents are posterior means of the same images, (members, n, d). Alignment after the fact is fitted on one half of the
images and judged on the other; the relative representation of Moschella et al. 2023 needs none. The models stay as they
are.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.errors import InputError
from vaept.vae.agreement import MAX_BOOTSTRAP, MIN_BOOTSTRAP, Estimate, compare_pair, mean_over_pairs
from vaept.vae.consensus import isometry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class PairAgreement:
    """Three of the measures of `vaept.vae.agreement.Agreement`.

    Attributes
    ----------
    coordinates, signed_permutation, orthogonal : Estimate
    """

    coordinates: Estimate
    signed_permutation: Estimate
    orthogonal: Estimate


def compare_pairs(latents: "ArrayLike") -> "PairAgreement":
    """Agreement of all pairs of members of an ensemble, as `vaept.vae.agreement.compare` has it.

    Parameters
    ----------
    latents : array, shape (members, n, d)

    Returns
    -------
    PairAgreement

    Raises
    ------
    InputError
        If the latents are of one member, have another shape or are not finite.
    """
    z = _latents(latents)
    return _over_pairs(z, lambda i, j: z[j])


def compare_aligned(latents: "ArrayLike", group: "str", *, seed: "int" = 0) -> "PairAgreement":
    """Agreement of all pairs on one half of the images, after one of two members was aligned on the other half.

    Parameters
    ----------
    latents : array, shape (members, n, d)
    group : {"signed permutation", "rotation"}
        As for `vaept.vae.consensus.isometry`.
    seed : int
        Of the choice of the halves.

    Returns
    -------
    PairAgreement

    Raises
    ------
    InputError
        If the latents are of one member, have another shape or are not finite, or the seed cannot be used.
    """
    z = _latents(latents)
    fitted, judged = np.array_split(np.random.default_rng(arguments.seed(seed)).permutation(z.shape[1]), 2)
    known = z[:, fitted] - z[:, fitted].mean(axis=1, keepdims=True)
    return _over_pairs(z[:, judged], lambda i, j: z[j, judged] @ isometry(group, known[j], known[i]).T)


def relative(latents: "ArrayLike", anchors: "ArrayLike") -> "np.ndarray":
    """Cosine similarities of points to anchors in the same latent space: unchanged if both are rotated.

    Parameters
    ----------
    latents : array, shape (n, d)
    anchors : array, shape (m, d)

    Returns
    -------
    ndarray, shape (n, m)
        0 for a point at the origin.

    Raises
    ------
    InputError
        If the points or the anchors have other shapes than these or are not finite.
    """
    return _unit(arguments.points(latents, "latents")) @ _unit(arguments.points(anchors, "anchors")).T


def compare_relative(latents: "ArrayLike", anchors: "ArrayLike") -> "PairAgreement":
    """Mean cosine similarity between two members' relative representations of the same image, over all pairs.

    Parameters
    ----------
    latents : array, shape (members, n, d)
    anchors : array, shape (members, m, d)
        Latents of the anchor images, the same for every member.

    Returns
    -------
    PairAgreement
        Three times the same: nothing is left to permute or to turn.

    Raises
    ------
    InputError
        If the latents are of one member, have another shape or are not finite.
    """
    z, anchors = _latents(latents), _latents(anchors, "anchors")
    found = [_unit(relative(*each)) for each in zip(z, anchors, strict=True)]
    matrix = np.array([[(first * second).sum(axis=1).mean() for second in found] for first in found])
    return PairAgreement(*[mean_over_pairs(matrix)] * 3)


def compare_groups(
    first: "ArrayLike", second: "ArrayLike", *, n_bootstrap: "int" = 1000, seed: "int" = 0
) -> "tuple[Estimate, Estimate, Estimate]":
    """Agreement of the members of one ensemble with those of another, and inside both.

    Parameters
    ----------
    first, second : array, shape (members, n, d)
        Of the same images; at least two members each.
    n_bootstrap : int
        Resamples of the members of both.
    seed : int
        Of the resampling.

    Returns
    -------
    between, permuted, within : Estimate
        Coordinate agreement of a member of one with a member of the other, the same after the best signed permutation,
        and coordinate agreement of two members of one ensemble, the mean of both.

    Raises
    ------
    InputError
        If the latents are of one member, have another shape or are not finite, or another argument is
        out of range.
    """
    groups = [_latents(first, "first"), _latents(second, "second")]
    n_bootstrap = arguments.integer(n_bootstrap, "n_bootstrap", MIN_BOOTSTRAP, MAX_BOOTSTRAP)
    across = np.array([[compare_pair(x, y)[:2] for y in groups[1]] for x in groups[0]])
    inside = [_matrix(group, lambda i, j, group=group: group[j])[0] for group in groups]
    generator = np.random.default_rng(arguments.seed(seed))
    rows, columns = (generator.integers(len(group), size=(n_bootstrap, len(group))) for group in groups)
    varied = [(each != each[:, :1]).any(axis=1) for each in (rows, columns)]  # one member alone makes no pair
    rows, columns = rows[np.logical_and(*varied)], columns[np.logical_and(*varied)]
    samples = across[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2))
    within = [
        np.nanmean(matrix[drawn[:, :, None], drawn[:, None, :]], axis=(1, 2))
        for matrix, drawn in zip(inside, (rows, columns), strict=True)
    ]
    return (
        _estimate(across[..., 0].mean(), samples[:, 0]),
        _estimate(across[..., 1].mean(), samples[:, 1]),
        _estimate(np.mean([np.nanmean(matrix) for matrix in inside]), np.mean(within, axis=0)),
    )


def _over_pairs(z, aligned):
    """`PairAgreement` of each member i with `aligned(i, j)`, what is compared of member j."""
    return PairAgreement(*(mean_over_pairs(np.nan_to_num(matrix)) for matrix in _matrix(z, aligned)))


def _matrix(z, aligned):
    """For all ordered pairs the measures of `compare_pair`, (3, members, members); NaN on the diagonal."""
    found = np.full((3, len(z), len(z)), np.nan)
    for i, j in zip(*np.nonzero(~np.eye(len(z), dtype=bool)), strict=True):
        found[:, i, j] = compare_pair(z[i], aligned(i, j))
    return found


def _estimate(mean, samples):
    return Estimate(float(mean), *map(float, np.percentile(samples, [2.5, 97.5])))


def _latents(latents, name="latents") -> "np.ndarray":
    z = arguments.array(latents, name, shape=("members", "n", "d"))
    if len(z) < 2:
        raise InputError(f"{name} are of one member; at least two are needed for a pair.")
    return z


def _unit(points):
    """Points (…, d) scaled to length 1; those at the origin stay there."""
    length = np.linalg.norm(points, axis=-1, keepdims=True)
    return np.divide(points, length, out=np.zeros_like(points), where=length > 0)
