r"""Free-energy landscapes: minima and saddles in any dimension, and two surfaces with known ones.

F = −log ρ in units of kT, for a density ρ on ℝᵈ known up to a factor; points have shape (n, d). Minima and saddles are
the stable points of the flows of `vaept.landscape._flow`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaept import arguments
from vaept.landscape._flow import FLAT, Region, follow
from vaept.landscape.energy import checked

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import ArrayLike

    from vaept.landscape.energy import FreeEnergy

MAX_ROUNDS = 10  # of searches around the points found so far
MAX_STEPS, MAX_IMAGES = 100_000, 1000  # of a search; of a string, each with its Hessian
MERGE_TOLERANCE = 1e-5  # distance below which two stationary points are one, times the size of the region


@dataclass(frozen=True, eq=False)
class StationaryPoints:
    """Where ∇F = 0, sorted by energy.

    Attributes
    ----------
    points : ndarray, shape (n, d)
    energy, gradient_norm : ndarray, shape (n,)
    eigenvalues : ndarray, shape (n, d)
        Of the Hessian, ascending.
    kind : ndarray of str, shape (n,)
        "minimum", "saddle" (one negative eigenvalue), "higher" (more), or "degenerate" (an eigenvalue that is zero
        within 10⁻⁶ of the largest: a valley floor, where a point says little).
    searches : ndarray of int, shape (n,)
        How many searches ended here; points that were reached once suggest that there are more.
    """

    points: np.ndarray
    energy: np.ndarray
    gradient_norm: np.ndarray
    eigenvalues: np.ndarray
    kind: np.ndarray
    searches: np.ndarray

    @property
    def minima(self) -> "np.ndarray":
        """Points of the minima, lowest first; shape (minima, d)."""
        return self.points[self.kind == "minimum"]

    @property
    def saddles(self) -> "np.ndarray":
        """Points of the first-order saddles, lowest first; shape (saddles, d)."""
        return self.points[self.kind == "saddle"]


def find_stationary_points(
    energy: "FreeEnergy", starts: "ArrayLike", *, max_index: "int" = 1, n_steps: "int" = 300
) -> "StationaryPoints":
    """Minima and saddles that searches from given points reach.

    A search for every index from 0 to `max_index` begins at every start, and further ones midway between neighbouring
    minima and around every point that was found, until no more are found. Points are polished to rounding; searches
    that go astray are dropped.

    Parameters
    ----------
    energy : FreeEnergy
    starts : array, shape (n, d)
        Spread over the region of interest, such as draws from the density.
    max_index : int
        1 for minima and first-order saddles. With `max_index` = d, all kinds: of a confining energy Σ (−1)^index is
        then 1 (Morse) if none was missed.
    n_steps : int
        At most so many steps of a search; at most 100 000.

    Returns
    -------
    StationaryPoints

    Raises
    ------
    InputError
        If the starts are no finite (n, d) array or lie outside the bounds, or as the energy raises it.

    Examples
    --------
    >>> energy = FreeEnergy(double_well(), dim=2)
    >>> find_stationary_points(energy, [[-0.9, 0.1], [0.9, -0.1]]).kind.tolist()
    ['minimum', 'minimum', 'saddle']
    """
    z = arguments.points(starts, "starts", checked(energy).dim)
    max_index = arguments.integer(max_index, "max_index", 0, energy.dim)
    n_steps = arguments.integer(n_steps, "n_steps", 1, MAX_STEPS)
    region = Region.around(energy, z, "starts")
    known = merged(energy, follow(energy, z, 0, region, n_steps).arrived, region)
    starts = np.concatenate([z, _midpoints(known.minima)])
    found = np.repeat(known.points, known.searches, axis=0)
    new = known.points
    for _ in range(MAX_ROUNDS):
        around = _around(energy, new, region)
        for index in range(max_index + 1):
            begin = np.concatenate([starts, around]) if index else around
            found = np.concatenate([found, follow(energy, begin, index, region, n_steps).arrived])
        before, known = known, merged(energy, found, region)
        new = known.points[cKDTree(before.points).query(known.points)[0] > MERGE_TOLERANCE * region.size]
        starts = starts[:0]
        if not len(new):
            break
    return known


def _around(energy, points, region):
    """Points a little away from each point, to both sides along every axis of the Hessian; shape (n, d)."""
    if not len(points):
        return points
    shifts = 0.01 * region.size * np.linalg.eigh(energy.expansion(points)[2])[1].transpose(0, 2, 1)
    return np.concatenate([points[:, None] + shifts, points[:, None] - shifts]).reshape(-1, points.shape[1])


def _midpoints(minima):
    """Points halfway between each minimum and its nearest others; shape (n, d)."""
    n, d = minima.shape
    if n < 2:
        return np.empty((0, d))
    nearest = cKDTree(minima).query(minima, k=min(2 * d + 1, n))[1][:, 1:]
    pairs = np.stack([np.repeat(np.arange(n), nearest.shape[1]), nearest.ravel()], axis=1)
    return minima[np.unique(np.sort(pairs, axis=1), axis=0)].mean(axis=1)


def merged(energy, points, region):
    """Classify points, one for each group of equal ones."""
    if not len(points):
        empty = np.empty(0)
        return StationaryPoints(points, empty, empty, points, np.empty(0, dtype=str), np.empty(0, dtype=int))
    pairs = cKDTree(points).query_pairs(MERGE_TOLERANCE * region.size, output_type="ndarray")
    n = len(points)
    labels = connected_components(coo_array((np.ones(len(pairs)), pairs.T), shape=(n, n)))[1]
    searches, first = np.bincount(labels), np.unique(labels, return_index=True)[1]
    values, gradient, hessian = energy.expansion(points[first])
    curvatures = np.linalg.eigvalsh(hessian)
    size = np.abs(curvatures)
    kind = np.array(["minimum", "saddle", "higher"])[np.minimum((curvatures < 0).sum(axis=1), 2)]
    kind = np.where((size <= FLAT * size.max(axis=1, keepdims=True)).any(axis=1), "degenerate", kind)
    order = np.argsort(values, kind="stable")
    norm = np.linalg.norm(gradient, axis=1)
    parts = (points[first], values, norm, curvatures, kind, searches)
    return StationaryPoints(*(part[order] for part in parts))


def mueller_brown(z: "torch.Tensor") -> "torch.Tensor":
    """The surface of Müller & Brown 1979, Theor. Chim. Acta 53, 75: torch tensor (n, 2) to (n,).

    Examples
    --------
    >>> mueller_brown(torch.tensor([[-0.558, 1.442], [0.623, 0.028]])).round()
    tensor([-147., -108.])
    """
    height = z.new_tensor([-200.0, -100.0, -170.0, 15.0])
    a, b, c = z.new_tensor([[-1, -1, -6.5, 0.7], [0, 0, 11, 0.6], [-10, -10, -6.5, 0.7]])
    x, y = z[:, :1] - z.new_tensor([1.0, 0, -0.5, -1]), z[:, 1:] - z.new_tensor([0, 0.5, 1.5, 1])
    return (height * (a * x**2 + b * x * y + c * y**2).exp()).sum(dim=1)


def double_well(barrier: "float" = 3.0, stiffness: "float" = 4.0) -> "Callable[[torch.Tensor], torch.Tensor]":
    """F = barrier·(z₁² − 1)² + ½ stiffness·(z₂² + … + z_d²), a function in torch for any d.

    Minima at z₁ = ±1 and energy 0, a saddle at the origin whose energy is the barrier (textbooks; Risken 1989, ch. 5).

    Examples
    --------
    >>> double_well(barrier=3.0)(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    tensor([3., 0.])
    """

    barrier, stiffness = arguments.number(barrier, "barrier"), arguments.number(stiffness, "stiffness")

    def energy(z):
        return barrier * (z[:, 0] ** 2 - 1) ** 2 + 0.5 * stiffness * (z[:, 1:] ** 2).sum(dim=1)

    return energy
