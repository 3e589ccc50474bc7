"""How much the latent spaces of an ensemble agree, and up to which group of maps.

Latents are posterior means of the same images under several members: an array of shape (members, n, d).
A residual "after G" is what remains when the best map of the group G has been applied to one of the two spaces
of a pair. The groups grow: nothing, signed permutations (the exact symmetry of training with diagonal
posteriors), orthogonal maps (the symmetry of the prior), all invertible affine maps.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from vaept import arguments
from vaept.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

MAX_NEIGHBOUR_POINTS = 5000
MIN_BOOTSTRAP, MAX_BOOTSTRAP = 40, 100_000
BLOCK = 500  # rows of neighbours compared at once
SMALLEST_VARIANCE = 1e-100  # its inverse is finite


@dataclass(frozen=True)
class Estimate:
    """A mean over pairs of members with its bootstrap interval over members.

    Attributes
    ----------
    mean, low, high : float
        The mean, and the ends of the 95 % percentile interval; NaN ends where there are only two members, or too few
        resamples.

    Examples
    --------
    >>> f"{Estimate(0.5, 0.4, 0.625):.3f}"
    '0.500 [0.400, 0.625]'
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: "str") -> "str":
        spec = spec or ".2f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]".replace("-", "−")

    def __str__(self) -> "str":
        return format(self)


@dataclass(frozen=True)
class Agreement:
    """Agreement between all pairs of members; 1 is perfect for every measure.

    Attributes
    ----------
    coordinates : Estimate
        Mean Pearson correlation of equal-numbered coordinates, without alignment of any kind.
    signed_permutation : Estimate
        Mean correlation coefficient: the same after the best signed permutation of the coordinates.
    orthogonal : Estimate
        R² after the best orthogonal map, reflections included.
    linear : Estimate
        R² after the best affine map.
    cka : Estimate
        Linear centred kernel alignment (Kornblith et al. 2019).
    neighbours : Estimate
        Mean fraction of shared points among the k nearest neighbours; chance gives k/(n − 1). Where more than k points
        are at one place, neighbours are chosen from them by lot, in each member anew, and this is the mean over all
        lots: latents that are collapsed to a point agree by chance alone.

    Examples
    --------
    >>> latents = np.random.default_rng(0).standard_normal((100, 2))
    >>> agreement = compare([latents, latents[:, ::-1]])
    >>> round(agreement.signed_permutation.mean, 6), round(agreement.neighbours.mean, 6)
    (1.0, 1.0)
    """

    coordinates: Estimate
    signed_permutation: Estimate
    orthogonal: Estimate
    linear: Estimate
    cka: Estimate
    neighbours: Estimate


def compare(
    latents: "ArrayLike", *, n_neighbours: "int" = 10, n_bootstrap: "int" = 1000, seed: "int" = 0
) -> "Agreement":
    """Measure how far the latent spaces of an ensemble agree.

    Parameters
    ----------
    latents : array, shape (members, n, d)
        Posterior means of the same n images; at least two members.
    n_neighbours : int
        k of the neighbour overlap, which uses at most the first 5 000 images; at most n − 2.
    n_bootstrap : int
        Resamples of the members for the intervals, whose ends are NaN with fewer than 40: they have no tails of 2.5 %.
    seed : int
        Seed of the resampling.

    Returns
    -------
    Agreement
        R² is the mean of both directions of a pair; a coordinate without variance has correlation 0.

    Raises
    ------
    InputError
        If the latents have another shape, are not finite, or are too few.

    Examples
    --------
    >>> latents = np.random.default_rng(0).standard_normal((100, 2))
    >>> agreement = compare([latents, -latents])
    >>> round(agreement.coordinates.mean, 6), round(agreement.orthogonal.mean, 6)
    (-1.0, 1.0)
    """
    z = arguments.array(latents, "latents", shape=("members", "n", "d"))
    members, n, d = z.shape
    if members < 2:
        raise InputError(f"latents must have shape (members, n, d) with two members or more; they have {z.shape}.")
    k = arguments.integer(n_neighbours, "n_neighbours", 1, MAX_NEIGHBOUR_POINTS - 2)
    n_bootstrap = arguments.integer(n_bootstrap, "n_bootstrap", 0, MAX_BOOTSTRAP)
    if n < max(k + 2, d + 2):
        raise InputError(f"latents of {n} images are too few for d = {d} and {k} neighbours.")
    seed = arguments.seed(seed)
    z = np.ldexp(z, -np.frexp(np.abs(z).max())[1])  # exact, and no square overflows; the measures know no unit

    z = z - z.mean(axis=1, keepdims=True)
    neighbours = [_neighbours(points[:MAX_NEIGHBOUR_POINTS], k) for points in z]
    measures = np.full((len(Agreement.__dataclass_fields__), members, members), np.nan)
    for i, j in itertools.combinations(range(members), 2):
        overlap = _overlap(neighbours[i], neighbours[j], k)
        measures[:, i, j] = measures[:, j, i] = [*_pair(z[i], z[j]), overlap]
    samples = _resamples(members, n_bootstrap * (n_bootstrap >= MIN_BOOTSTRAP), np.random.default_rng(seed))
    return Agreement(*(_estimate(matrix, samples) for matrix in measures))


def compare_pair(first: "ArrayLike", second: "ArrayLike") -> "tuple[float, float, float]":
    """How far two latent spaces of the same images agree.

    Parameters
    ----------
    first, second : array, shape (n, d)

    Returns
    -------
    coordinates, signed_permutation, orthogonal : float
        As of `Agreement`.

    Raises
    ------
    InputError
        If the latents have different shapes or are not finite.
    """
    first = arguments.points(first, "first")
    second = arguments.array(second, "second", shape=first.shape)
    return _pair(first - first.mean(axis=0), second - second.mean(axis=0))[:3]


def mean_over_members(values: "np.ndarray", *, n_bootstrap: "int" = 1000, seed: "int" = 0) -> "Estimate":
    """Mean of one number per member, with its 95 % bootstrap interval over members.

    Parameters
    ----------
    values : array, shape (members,)
        NaN for members that have none, which are left out.
    n_bootstrap : int
        Resamples of the members.
    seed : int
        Of the resampling.

    Returns
    -------
    Estimate
        Its ends are NaN for fewer than three members, all of it where no member has a number.

    Raises
    ------
    InputError
        If the values are no array of numbers, or another argument is out of range.
    """
    values = arguments.array(values, "values", shape=("members",), largest=None)
    n_bootstrap = arguments.integer(n_bootstrap, "n_bootstrap", MIN_BOOTSTRAP, MAX_BOOTSTRAP)
    seed = arguments.seed(seed)
    values = values[~np.isnan(values)]
    if len(values) < 3:
        return Estimate(float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    rows = np.random.default_rng(seed).integers(len(values), size=(n_bootstrap, len(values)))
    low, high = np.percentile(values[rows].mean(axis=1), [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def mean_over_pairs(values: "ArrayLike", *, n_bootstrap: "int" = 1000, seed: "int" = 0) -> "Estimate":
    """Mean of one number per ordered pair of different members, with its 95 % bootstrap interval over members.

    Parameters
    ----------
    values : array, shape (members, members)
        For at least two members; the diagonal is left out.
    n_bootstrap : int
        Resamples of the members; a member drawn twice makes no pair with itself.
    seed : int
        Of the resampling.

    Returns
    -------
    Estimate
        Its ends are NaN for fewer than three members.

    Raises
    ------
    InputError
        If the values are no square of finite numbers for two members or more, or another argument is out of range.
    """
    values = arguments.array(values, "values", shape=("members", "members"))
    n_bootstrap = arguments.integer(n_bootstrap, "n_bootstrap", MIN_BOOTSTRAP, MAX_BOOTSTRAP)
    seed, members = arguments.seed(seed), len(values)
    if members < 2:
        raise InputError("values are of one member; at least two are needed for a pair.")
    samples = _resamples(members, n_bootstrap, np.random.default_rng(seed))
    return _estimate(np.where(np.eye(members), np.nan, values), samples)


def shuffled_rows(latents: "ArrayLike", seed: "int" = 0) -> "np.ndarray":
    """The latents of each member with its images in an order of their own: what agreement by chance looks like.

    Parameters
    ----------
    latents : array, shape (members, n, d)
    seed : int

    Returns
    -------
    ndarray, shape (members, n, d)

    Examples
    --------
    >>> shuffled_rows([[[1], [2], [3]], [[1], [2], [3]]]).shape
    (2, 3, 1)
    """
    latents = arguments.array(latents, "latents", shape=("members", "n", "d"), dtype=None)
    generator = np.random.default_rng(arguments.seed(seed))
    return np.stack([generator.permutation(member) for member in latents])


def turned_posterior(
    mean: "ArrayLike", variance: "ArrayLike", angle: "float", plane: "Sequence[int]" = (0, 1)
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The diagonal posterior of a model whose latent space was turned by an angle.

    The turned posterior N(Rμ, R diag(σ²) Rᵀ) is in general not diagonal; the diagonal Gaussian closest to it in
    KL(diagonal ‖ turned) keeps its mean and the diagonal of its inverse covariance.

    Parameters
    ----------
    mean, variance : array, shape (n, d)
    angle : float
        In radians.
    plane : pair of int
        The two coordinates that are turned.

    Returns
    -------
    rotation : ndarray, shape (d, d)
        R; the turned model decodes z as the original decodes Rᵀz.
    mean, variance : ndarrays, shape (n, d)

    Raises
    ------
    InputError
        If the shapes differ, a value is not finite, a variance is not positive, or the plane is none of d dimensions.

    Examples
    --------
    >>> rotation, mean, variance = turned_posterior([[3.0, 0.0]], [[1.0, 4.0]], np.pi / 2)
    >>> variance.round(6)
    array([[4., 1.]])
    """
    mean = arguments.points(mean, "mean")
    variance = arguments.array(variance, "variance", shape=mean.shape, minimum=SMALLEST_VARIANCE)
    plane = arguments.integers(plane, "plane", 0)
    if len(plane) != 2 or plane[0] == plane[1] or max(plane) >= mean.shape[1]:
        raise InputError(f"plane must be two different coordinates from 0 to {mean.shape[1] - 1}; it is {plane}.")
    first, second = plane
    angle = arguments.number(angle, "angle")
    rotation = np.eye(mean.shape[1])
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[second, first] = np.sin(angle)
    rotation[first, second] = -np.sin(angle)
    return rotation, mean @ rotation.T, 1 / ((1 / variance) @ (rotation**2).T)


def _pair(x, y):
    """Coordinate agreement, mean correlation coefficient, R² orthogonal, R² linear, CKA of two centred spaces."""
    cross = x.T @ y
    scale_x, scale_y = np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0)
    product = np.outer(scale_x, scale_y)
    alive = product > 1e-12 * max(scale_x.max() * scale_y.max(), np.finfo(float).tiny)
    correlation = np.divide(cross, product, out=np.zeros_like(cross), where=alive)
    rows, columns = linear_sum_assignment(-np.abs(correlation))
    total_x, total_y = (x**2).sum(), (y**2).sum()
    singular = np.linalg.svd(cross, compute_uv=False)
    residual = total_x + total_y - 2 * singular.sum()
    gram = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return (
        np.trace(correlation) / len(correlation),
        np.abs(correlation[rows, columns]).mean(),
        1 - 0.5 * (_ratio(residual, total_x) + _ratio(residual, total_y)),
        0.5 * (_explained(x, y) + _explained(y, x)),
        1 - _ratio(gram - np.linalg.norm(cross) ** 2, gram),
    )


def _explained(x, y):
    """R² of y after the best linear map of x."""
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return 1 - _ratio(((y - fitted) ** 2).sum(), (y**2).sum())


def _ratio(residual, total):
    """residual / total; a space that is collapsed to a point counts as wholly unexplained."""
    return residual / total if total > 0 else 1.0


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """How likely each point is among the k nearest of a place, when many at equal distance are chosen from by lot.

    `chances` is a csr array (places, n), `place` (n,) the row of each point, which counts in it like its duplicates.
    """

    place: np.ndarray
    chances: sp.csr_array


def _neighbours(points, k):
    """The `_Neighbours` of points (n, d), for k others of each."""
    from sklearn.neighbors import NearestNeighbors

    n = len(points)
    search = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(points)
    indices, tied = search.kneighbors(return_distance=False), np.zeros(n, dtype=bool)
    if np.unique(points, axis=0, return_counts=True)[1].max() > k:
        distances, _ = search.kneighbors(n_neighbors=min(2 * k, n - 1))
        tied = (distances[:, :-k] == distances[:, k:]).any(axis=1)  # more than k at one distance, the k-th among them
    places, place_of_tied = np.unique(points[tied], axis=0, return_inverse=True)
    place, alone = np.arange(n), n - tied.sum()
    place[~tied], place[tied] = np.arange(alone), alone + place_of_tied
    rows = [sp.csr_array((np.ones(alone * k), indices[~tied].ravel(), k * np.arange(alone + 1)), shape=(alone, n))]
    for centre in places:
        squares = ((points - centre) ** 2).sum(axis=1)
        last = np.partition(squares, k)[k]  # the point itself is at 0
        nearer, equal = squares < last, squares == last
        chance = (k + 1 - nearer.sum()) / equal.sum() if last > 0 else k / (equal.sum() - 1)
        rows.append(sp.csr_array((nearer + chance * equal)[None]))
    return _Neighbours(place, sp.vstack(rows, format="csr"))


def _overlap(a, b, k):
    """Mean share of common points among the k nearest."""
    n = len(a.place)
    (first, second), counts = np.unique([a.place, b.place], axis=1, return_counts=True)
    total = 0.0
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        common = a.chances[first[block]].multiply(b.chances[second[block]])
        total += common.sum(axis=1) @ counts[block]
    itself = a.chances[a.place, np.arange(n)] * b.chances[b.place, np.arange(n)]
    return (total - itself.sum()) / (n * k)


def _resamples(members, n_bootstrap, generator):
    """Resampled members, shape (n, members), without those that hold a single member many times."""
    samples = generator.integers(members, size=(n_bootstrap, members))
    return samples[(samples != samples[:, :1]).any(axis=1)]


def _estimate(matrix, samples):
    mean = np.nanmean(matrix)
    if len(matrix) < 3 or not len(samples):
        return Estimate(float(mean), np.nan, np.nan)
    # A member drawn twice makes no pair with itself: its entry is NaN and left out.
    means = np.nanmean(matrix[samples[:, :, None], samples[:, None, :]], axis=(1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(mean), float(low), float(high))
