"""Neighbour graphs, their operators and eigenvectors, from which fields are made."""

import warnings

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from vaept.errors import InputError
from vaept.perturbation._signs import TIED
from vaept.spectrum.lanczos import largest_pairs

DENSE = 2000  # largest operator that is diagonalised densely
MAX_EXPONENT = 50.0  # keeps the weight of a remote neighbour above zero


def nearest(references, points, k):
    """Distances and indices of the k nearest references, nearest first, shapes (n, k)."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(references).kneighbors(points)


def other_points(points, k):
    """The k nearest other points of each point."""
    distances, indices = nearest(points, points, k + 1)
    # A duplicate may be found before the point itself; with many of them the point may be missing.
    own = indices == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True
    return distances[~own].reshape(-1, k).astype(float), indices[~own].reshape(-1, k)


def floored_scales(scales):
    """Scales with 0, that of a point with k duplicates, replaced by the smallest positive one."""
    if not scales.any():
        raise InputError(
            "Every image has as many duplicates as neighbours; remove duplicates or ask for more neighbours."
        )
    return np.maximum(scales, scales[scales > 0].min())


def kernel(distances, scales, others):
    """exp(−r²/(s t)) of distances r and the scales s and t of both ends, all of one shape; never 0."""
    return np.exp(-np.minimum(distances**2 / (scales * others), MAX_EXPONENT))


def neighbour_graph(points, k):
    """Symmetric kernel on the union of k-nearest-neighbour edges, in one piece, and the scales."""
    n = len(points)
    distances, indices = other_points(points, min(2 * k, n - 1))
    scales = floored_scales(distances[:, k - 1])
    # All that are as near as the k-th, or rounding would choose among them.
    rows, columns = np.nonzero(distances <= distances[:, k - 1 : k] * (1 + TIED))
    others = indices[rows, columns]
    weights = kernel(distances[rows, columns], scales[rows], scales[others])
    graph = sp.csr_array((weights, (rows, others)), shape=(n, n))
    graph = graph.maximum(graph.T)
    pieces, labels = connected_components(graph, directed=False)
    if pieces > 1:
        warnings.warn(
            f"The neighbour graph is in {pieces} pieces; they are joined by the shortest edges between them, and "
            "the leading components will tell the pieces apart. More neighbours or fewer duplicates may avoid this.",
            stacklevel=4,
        )
    while pieces > 1:
        # Borůvka's rounds: each piece but the largest takes its shortest edge to another.
        edges = [shortest_edge(points, labels == piece) for piece in _all_but_largest(labels)]
        i, j = np.array(edges).T
        joins = sp.csr_array((np.full(len(i), np.exp(-1)), (i, j)), shape=(n, n)).astype(bool) * np.exp(-1)
        graph = graph.maximum(joins.maximum(joins.T))
        pieces, labels = connected_components(graph, directed=False)
    return graph, scales


def _all_but_largest(labels):
    sizes = np.bincount(labels)
    return np.delete(np.arange(len(sizes)), sizes.argmax())


def shortest_edge(points, inside):
    """The two rows, one inside and one not (ndarray of bool, shape (n,)), that are nearest to each other."""
    from sklearn.metrics import pairwise_distances_argmin_min

    rows, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    nearest, distances = pairwise_distances_argmin_min(points[rows], points[others])
    best = distances.argmin()
    return rows[best], others[nearest[best]]


def balanced(graph, power=1):
    """A kernel divided by both row sums to a power, and what it was divided by."""
    sums = np.asarray(graph.sum(axis=1)).ravel() ** power
    return sp.diags_array(1 / sums) @ graph @ sp.diags_array(1 / sums), sums


def leading_pairs(operator, count):
    """The largest eigenvalues, descending, of a symmetric operator with norm 1, and their vectors."""
    n = operator.shape[0]
    if n <= DENSE:
        levels, vectors = np.linalg.eigh(operator.toarray())
        return levels[::-1][:count], vectors[:, ::-1][:, :count]
    levels, vectors = largest_pairs(operator, count)
    residual = np.linalg.norm(operator @ vectors - vectors * levels, axis=0).max()
    if residual > 1e-8:
        warnings.warn(f"The eigenvectors of the diffusion operator have residuals up to {residual:.1g}.", stacklevel=4)
    return levels, vectors


def interpolate(points, references, scales, densities, coordinates, k):
    """Mean of the coordinates at the k nearest references, weighted by kernel over density; shape (n, k)."""
    distances, indices = nearest(references, points, k)
    own = np.maximum(distances[:, -1:], scales.min())
    exponents = np.minimum(distances**2 / (own * scales[indices]), MAX_EXPONENT)
    weights = np.exp(exponents.min(axis=1, keepdims=True) - exponents) / densities[indices]
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nj,njk->nk", weights, coordinates[indices].astype(float))
