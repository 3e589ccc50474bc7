r"""Slow modes of points: eigenfunctions of motions for which a neighbour graph of the points stands.

The graph has the weights w = exp(−r²/(s t)) of neighbours at a distance r, with the distances s and t of both to their
k-th neighbours as local scales (Zelnik-Manor & Perona 2004). Of points from a density ρ in d dimensions these scales go
as ρ^(−1/d), and two operators can be made of the graph:

- "generator": the Laplacian of the weights w/(s t), against the points' own measure. It converges to a multiple of
  (1/ρ)∇·(ρ∇) = Δ + ∇log ρ·∇ (Cheng & Wu 2022; compare Berry & Harlim 2016), the generator of the Langevin motion in
  −log ρ, of which `vaept.spectrum` has the levels and `vaept.landscape` the walkers. Diffusion maps with α = ½
  converge to it too (Coifman & Lafon 2006; Nadler, Lafon, Coifman & Kevrekidis 2006), but only with one scale for all
  points, and then a few remote points make the slowest modes.
- "walk": the random walk along the weights w, made symmetric with α = ½. It is another motion: with local scales it
  converges to a multiple of (1/ρ)∇·(ρ^(1 − 2/d)∇) (Ting, Huang & Jordan 2010), which has the same equilibrium ρ but
  moves faster where points are few, as ρ^(−2/d), so that barriers hold it up less; in a plane it has no drift at all.
  All points have nearly equal sums of weights, so that α changes next to nothing.
"""

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, splu

from vaept import arguments
from vaept.perturbation import _graph
from vaept.processes import one_thread
from vaept.spectrum.lanczos import SPARE, largest_pairs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NEIGHBOURS = 20
OPERATORS = ("generator", "walk")
MOST = 1_000
SHIFT = 1e-3  # of the levels, in which the constant is the lowest, so that its operator can be inverted


@one_thread()
def graph_modes(
    points: "ArrayLike", n_modes: "int", *, operator: "str" = "generator", n_neighbors: "int" = NEIGHBOURS
) -> "tuple[np.ndarray, np.ndarray]":
    """The slowest modes of a motion among points.

    Parameters
    ----------
    points : array, shape (n, d)
        n is larger than n_modes + 8 and than n_neighbors.
    n_modes : int
        The constant included.
    operator : {"generator", "walk"}
    n_neighbors : int
        k.

    Returns
    -------
    levels : ndarray, shape (n_modes,)
        From 0 on, ascending, in units of their own.
    modes : ndarray, shape (n, n_modes)
        The first is constant, 1 or −1; all have a mean square of 1 and are orthogonal, of "walk" with the weights of
        its equilibrium. Signs are arbitrary.

    Raises
    ------
    InputError
        If there are too few points for the modes or the neighbours, or so many duplicates that there are no scales.

    Warns
    -----
    UserWarning
        If the graph is in pieces, which the modes will tell apart.

    Examples
    --------
    >>> angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    >>> levels, modes = graph_modes(np.stack([np.cos(angles), np.sin(angles)], axis=1), 3)
    >>> np.allclose(levels[1], levels[2]), modes.shape
    (True, (60, 3))
    """
    n_modes = arguments.integer(n_modes, "n_modes", 1, MOST)
    k, operator = arguments.integer(n_neighbors, "n_neighbors", 1), arguments.choice(operator, "operator", OPERATORS)
    points = arguments.points(points, "points", rows=max(k + 1, n_modes + SPARE + 1))
    graph, scales = _graph.neighbour_graph(points, k)
    if operator == "walk":
        graph, weights = _graph.balanced(_graph.balanced(graph, 0.5)[0], 0.5)
        levels, vectors = largest_pairs(graph, n_modes)
        return 1 - levels, vectors / weights[:, None] * np.linalg.norm(weights)
    graph = sp.diags_array(1 / scales) @ graph @ sp.diags_array(1 / scales)
    shifted = sp.csgraph.laplacian(graph) / np.median(graph.sum(axis=1)) + SHIFT * sp.eye_array(len(points))
    inverse = splu(shifted.tocsc(), "MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    levels, vectors = largest_pairs(LinearOperator(graph.shape, inverse, dtype=float), n_modes)
    return 1 / levels - SHIFT, vectors * np.sqrt(len(points))
