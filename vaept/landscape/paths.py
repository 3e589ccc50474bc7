"""Lowest paths over a landscape: steepest descents join saddles and minima to a graph, a spanning tree holds the paths.

Conventions as in `vaept.landscape.stationary`. Source: Wales 2003, Energy Landscapes, ch. 5 and 6.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial.distance import cdist

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape._flow import Region, evenly_spaced, follow, relaxed_string
from vaept.landscape.energy import checked
from vaept.landscape.stationary import MAX_IMAGES, MERGE_TOLERANCE, StationaryPoints, merged

if TYPE_CHECKING:
    from vaept.landscape.energy import FreeEnergy


@dataclass(frozen=True, eq=False)
class MinimumEnergyPath:
    """A path along which ∇F is parallel to it: steepest descents from saddles to minima.

    Attributes
    ----------
    images : ndarray, shape (n, d)
        From the first minimum to the last, through every saddle and minimum on the way.
    energies : ndarray, shape (n,)
    saddles : ndarray, shape (saddles, d)
        In the order of the path.
    saddle_energies : ndarray, shape (saddles,)
    barrier : float
        Energy of the highest saddle above the first minimum.
    """

    images: np.ndarray
    energies: np.ndarray
    saddles: np.ndarray
    saddle_energies: np.ndarray
    barrier: float

    def points(self, n: "int") -> "np.ndarray":
        """n points with equal distances along the path, shape (n, d)."""
        n = arguments.integer(n, "n", 1)
        arguments.memory(n * self.images.shape[1], "The points")
        return evenly_spaced(self.images, n)


@dataclass(frozen=True, eq=False)
class LowestPaths:
    """Minima, the saddles that connect them, and the lowest known path between any two.

    Attributes
    ----------
    minima : ndarray, shape (n, d)
        Lowest first. A single minimum has no paths: `edges` joins it to itself or is empty, `barriers` is [[0]].
    energies : ndarray, shape (n,)
    saddles : ndarray, shape (s, d)
        Lowest first.
    saddle_energies : ndarray, shape (s,)
    edges : ndarray of int, shape (s, 2)
        The minima to which the two steepest descents from a saddle lead; equal for a saddle within one basin, −1 for
        a descent that leaves the bounds.
    barriers : ndarray, shape (n, n)
        From minimum i to minimum j: the energy of the highest saddle on the lowest path above minimum i; inf
        where no path is known.
    """

    minima: np.ndarray
    energies: np.ndarray
    saddles: np.ndarray
    saddle_energies: np.ndarray
    edges: np.ndarray
    barriers: np.ndarray
    _tree: object = field(repr=False)
    _branches: list = field(repr=False)

    @property
    def persistence(self) -> "np.ndarray":
        """How deep each minimum is, shape (n,): the lowest barrier on a way to a lower one; inf for the lowest."""
        return np.where(np.tri(len(self.minima), k=-1, dtype=bool), self.barriers, np.inf).min(axis=1)

    def path(self, i: "int", j: "int") -> "MinimumEnergyPath":
        """The lowest path from minimum i to minimum j, a MinimumEnergyPath.

        Raises
        ------
        InputError
            If i or j is no minimum, if they are equal, or if no path between them is known.
        """
        n = len(self.minima)
        i, j = arguments.integer(i, "i", 0, n - 1), arguments.integer(j, "j", 0, n - 1)
        if i == j:
            raise InputError(f"i and j must be two different minima from 0 to {n - 1}; they are {i} and {j}.")
        if np.isinf(self.barriers[i, j]):
            raise InputError(f"No path between minima {i} and {j} is known. Search from more starts.")
        previous = breadth_first_order(self._tree, j, directed=False)[1].tolist()
        legs, saddles = [], []
        while i != j:
            saddle = self._tree[i, previous[i]] - 1  # type: ignore[index]
            up, down = (self._branches[saddle][self.edges[saddle].tolist().index(k)] for k in (i, previous[i]))
            # A branch runs from the saddle down. Each leg begins at its minimum and ends before the next.
            legs += [[part[:0:-1] for part in up], [part[:-1] for part in down]]
            saddles.append(saddle)
            i = previous[i]
        legs.append([self.minima[[j]], self.energies[[j]]])
        images, energies = (np.concatenate(parts) for parts in zip(*legs, strict=True))
        heights = self.saddle_energies[saddles]
        return MinimumEnergyPath(images, energies, self.saddles[saddles], heights, float(heights.max() - energies[0]))


def lowest_paths(energy: "FreeEnergy", stationary: "StationaryPoints", *, n_images: "int" = 32) -> "LowestPaths":
    """The lowest path between every two minima, over all saddles that are known.

    Steepest descents from a saddle show which minima it connects. Minima that no saddle connects to the others are
    joined to the nearest ones: saddles are searched from the peaks of a string of images that is relaxed across its
    direction. A saddle that is missing can only make a barrier too high.

    Parameters
    ----------
    energy : FreeEnergy
    stationary : StationaryPoints
        Of this energy.
    n_images : int
        Of a string, 5 to 1 000; four times as many are tried before giving up.

    Returns
    -------
    LowestPaths

    Raises
    ------
    InputError
        If there is no minimum, or as the energy raises it.

    Examples
    --------
    >>> energy = FreeEnergy(double_well(barrier=3.0), dim=2)
    >>> found = find_stationary_points(energy, [[-0.9, 0.1], [0.9, -0.1]])
    >>> round(lowest_paths(energy, found).path(0, 1).barrier, 6)
    3.0
    """
    n_images = arguments.integer(n_images, "n_images", 5, MAX_IMAGES)
    if not isinstance(stationary, StationaryPoints) or stationary.points.shape[1] != checked(energy).dim:
        raise InputError(
            "stationary must be the StationaryPoints of this energy, as find_stationary_points gives them."
        )
    minima = stationary.minima
    if not len(minima):
        raise InputError("There is no minimum among the stationary points; search from more starts.")
    graph = _Graph(energy, Region.around(energy, stationary.points, "stationary points"))
    graph.indices(minima)
    graph.add(stationary.saddles)
    tried: "set[tuple[int, ...]]" = set()
    while len(set(labels := graph.labels())) > 1:
        distance = cdist(graph.minima, graph.minima)
        distance[labels[:, None] == labels] = np.inf
        for pair in tried:
            distance[pair] = np.inf
        pair = tuple(int(i) for i in np.unravel_index(distance.argmin(), distance.shape))
        if np.isinf(distance[pair]):
            break
        tried |= {pair, pair[::-1]}
        graph.join(*pair, n_images)  # type: ignore[call-arg]
    return graph.result()


class _Graph:
    """Minima joined by saddles, as they are found."""

    def __init__(self, energy, region):
        self.energy, self.region = energy, region
        self.minima, self.saddles = np.empty((0, energy.dim)), np.empty((0, energy.dim))
        self.edges, self.branches = [], []

    def indices(self, points):
        """Indices of minima; new ones are added."""
        result = []
        for point in points:
            distance = np.linalg.norm(self.minima - point, axis=1)
            if not (distance <= MERGE_TOLERANCE * self.region.size).any():
                self.minima = np.concatenate([self.minima, [point]])
                distance = np.append(distance, 0)
            result.append(int(distance.argmin()))
        return result

    def add(self, saddles):
        """Add saddles with their descents; returns how many were new."""
        near = MERGE_TOLERANCE * self.region.size
        if len(saddles) and len(self.saddles):
            saddles = saddles[cdist(saddles, self.saddles).min(1) > near]
        if not len(saddles):
            return 0
        unstable = np.linalg.eigh(self.energy.expansion(saddles)[2])[1][:, :, 0]
        starts = np.stack([saddles + sign * 1e-4 * self.region.size * unstable for sign in (1, -1)], axis=1)
        flow = follow(self.energy, starts.reshape(-1, self.energy.dim), 0, self.region, 2000, longest=0.02, record=True)
        ends = np.full(2 * len(saddles), -1)
        hessians = self.energy.expansion(flow.points)[2]
        reached = np.flatnonzero(flow.done & (np.linalg.eigvalsh(hessians)[:, 0] > 0))
        ends[reached] = self.indices(flow.points[reached])
        self.saddles = np.concatenate([self.saddles, saddles])
        self.edges += ends.reshape(-1, 2).tolist()
        trails = [np.array([saddles[k // 2], *trail]) for k, trail in enumerate(flow.trails)]
        # Newton's last steps are no longer than the distance at which points are one.
        apart = [np.linalg.norm(trail - trail[-1], axis=1) > near for trail in trails]
        trails = [np.append(trail[far], trail[-1:], axis=0) for trail, far in zip(trails, apart, strict=True)]
        found = [(trail, self.energy(trail)) for trail in trails]
        self.branches += zip(found[::2], found[1::2], strict=True)
        return len(saddles)

    def labels(self):
        """Numbers of the connected components of the minima; ndarray of int."""
        edges = np.array([edge for edge in self.edges if min(edge) >= 0], dtype=int).reshape(-1, 2)
        n = len(self.minima)
        return connected_components(coo_array((np.ones(len(edges)), edges.T), shape=(n, n)))[1]

    def join(self, i, j, n_images):
        """Look for saddles until minima i and j are connected, or none is found."""
        n = n_images
        for _ in range(20):
            labels = self.labels()
            if labels[i] == labels[j]:
                return
            one, other = np.flatnonzero(labels == labels[i]), np.flatnonzero(labels == labels[j])
            distance = cdist(self.minima[one], self.minima[other])
            p, q = np.unravel_index(distance.argmin(), distance.shape)
            if not self.add(self._saddles_between(*self.minima[[one[p], other[q]]], n)):
                n *= 2
                if n > 4 * n_images:
                    return

    def _saddles_between(self, a, b, n_images):
        """First-order saddles near the peaks of a relaxed string of images from a to b; shape (s, d)."""
        images = relaxed_string(self.energy, a, b, n_images)
        values = self.energy(images)
        peaks = images[1:-1][(values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])]
        found = follow(self.energy, peaks, 1, self.region, 300, longest=0.05).arrived
        return merged(self.energy, found, self.region).saddles

    def result(self):
        heights = self.energy(self.minima)
        saddle_heights = self.energy(self.saddles) if len(self.saddles) else np.empty(0)
        low, order = np.argsort(heights, kind="stable"), np.argsort(saddle_heights, kind="stable")
        rank = np.append(np.argsort(low), -1)  # the last entry keeps −1 as it is
        heights, saddle_heights = heights[low], saddle_heights[order]
        edges = rank[np.array([self.edges[k] for k in order], dtype=int).reshape(-1, 2)]
        tree, passes = _spanning_tree(edges, saddle_heights, len(heights))
        barriers = np.where(np.eye(len(heights), dtype=bool), 0, passes - heights[:, None])
        branches = [self.branches[k] for k in order]
        return LowestPaths(
            self.minima[low], heights, self.saddles[order], saddle_heights, edges, barriers, tree, branches
        )


def _spanning_tree(edges, heights, n):
    """The tree of lowest paths, with the saddle's index + 1 for each edge, and the highest energy on each path.

    Edges are added from the lowest up unless they close a loop (Kruskal 1956): when two groups of minima become one,
    the saddle that joins them is the highest between any two of their members.
    """
    tree, passes = np.zeros((n, n), dtype=int), np.full((n, n), np.inf)
    groups = [[i] for i in range(n)]
    for k, (i, j) in enumerate(edges.tolist()):
        if min(i, j) >= 0 and groups[i] is not groups[j]:
            one, other = groups[i], groups[j]
            passes[np.ix_(one, other)] = passes[np.ix_(other, one)] = heights[k]
            tree[i, j] = tree[j, i] = k + 1
            one.extend(other)
            for member in other:
                groups[member] = one
    return tree, passes
