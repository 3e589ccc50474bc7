"""A latent space turned to the axes of a field: the signed permutation or rotation that degenerate theory asks for.

All maps of a latent space by an orthogonal R have the same energy under the prior's oscillator. A weak field
V = −¼λ Σ_k ε_k u_k(x) z_k lifts that degeneracy at first order: the state with the lowest ⟨V⟩ is the one that the
field selects. With M = ⟨(ε⊙u) zᵀ⟩ this is the orthogonal Procrustes problem max tr(R Mᵀ) (Schönemann 1966), solved by
the singular vectors of M, or for signed permutations an assignment problem.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from vaept import arguments
from vaept.errors import InputError
from vaept.perturbation.potentials import couplings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Orientation:
    """The orthogonal maps that first-order theory chooses for trained latent spaces.

    Attributes
    ----------
    matrix : ndarray, shape (members, d, d)
        R; the oriented latents are z Rᵀ, and a decoder is given z R for an oriented z.
    latents : ndarray, shape (members, n, d)
        The oriented latents.
    energy, energy_before : ndarray, shape (members,)
        4⟨V⟩/λ = −⟨Σ_k ε_k u_k z_k⟩ after and before; the map makes it as low as the group allows.
    rigidity : ndarray, shape (members,)
        How firmly the field holds the least firm direction, relative to the firmest, 0 to 1: near 0 it is left free.

    Examples
    --------
    >>> field = np.random.default_rng(0).standard_normal((100, 2))
    >>> orient(-field, field, group="signed permutation").matrix[0]
    array([[-1.,  0.],
           [ 0., -1.]])
    """

    matrix: np.ndarray
    latents: np.ndarray
    energy: np.ndarray
    energy_before: np.ndarray
    rigidity: np.ndarray


def orient(
    latents: "ArrayLike", field: "ArrayLike", *, coupling: "ArrayLike" = 1.0, group: "str" = "orthogonal"
) -> "Orientation":
    """First-order degenerate perturbation theory on the orbit of optima: orient models that are already trained.

    Of all maps R of a group it takes the one with the lowest ⟨V⟩, V = −¼λ Σ_k ε_k u_k(x) z_k: the largest tr(R Mᵀ)
    with M = ⟨(ε⊙u) zᵀ⟩ (Schönemann 1966, Psychometrika 31, 1).

    Parameters
    ----------
    latents : array, shape (members, n, d) or (n, d)
        Posterior means of the same n images.
    field : array, shape (n, k ≥ d)
        u(x) of these images, as from `vaept.perturbation.fields.Field.transform`; the first d components are used.
    coupling : float or sequence of float
        ε_k, as for `vaept.perturbation.potentials.couplings`.
    group : {"orthogonal", "signed permutation"}
        Of the maps to choose from. Signed permutations keep diagonal posteriors diagonal.

    Returns
    -------
    Orientation

    Raises
    ------
    InputError
        If the shapes do not fit, a value is not finite, or the group is unknown.

    Examples
    --------
    >>> field = np.random.default_rng(0).standard_normal((100, 2))
    >>> turned = field @ [[0.8, -0.6], [0.6, 0.8]]
    >>> np.allclose(orient(turned, field, coupling=[1.0, 1.0]).latents[0], field)
    True
    """
    z = arguments.array(latents, "latents", shape=[("members", "n", "d"), ("n", "d")])
    z = z[None] if z.ndim == 2 else z
    _, n, d = z.shape
    u = arguments.array(field, "field", shape=(n, "k"))
    if u.shape[1] < d:
        raise InputError(f"field must have shape ({n}, {d} or more); its shape is {u.shape}.")
    arguments.choice(group, "group", ("orthogonal", "signed permutation"))
    pull = u[:, :d] * couplings(coupling, d)
    moments = np.einsum("nk,mnj->mkj", pull - pull.mean(axis=0), z) / n
    left, strength, right = np.linalg.svd(moments)
    matrix = left @ right if group == "orthogonal" else np.stack([_signed_permutation(m) for m in moments])
    weak = strength[:, -1] <= 0.01 * strength[:, 0]
    if weak.any():
        warnings.warn(
            f"The field hardly holds some direction of members {np.flatnonzero(weak).tolist()} (from 0): their "
            "orientation is partly left free. Give another field or fewer coordinates.",
            stacklevel=2,
        )
    return Orientation(
        matrix=matrix,
        latents=z @ matrix.transpose(0, 2, 1),
        energy=-(matrix * moments).sum(axis=(1, 2)),
        energy_before=-np.trace(moments, axis1=1, axis2=2),
        rigidity=strength[:, -1] / np.maximum(strength[:, 0], np.finfo(float).tiny),
    )


def _signed_permutation(moment):
    """The signed permutation R with the largest tr(R Mᵀ)."""
    rows, columns = linear_sum_assignment(-np.abs(moment))
    matrix = np.zeros_like(moment)
    matrix[rows, columns] = np.where(moment[rows, columns] < 0, -1.0, 1.0)
    return matrix
