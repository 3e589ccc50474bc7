"""Metastable states: which points belong together, told by the slowest modes of the motion."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.cluster import KMeans

from vaept import arguments
from vaept.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def metastable_states(functions: "ArrayLike", n_states: "int", *, seed: "int" = 0) -> "np.ndarray":
    """The state to which each point belongs, from the slowest relaxation modes at the points.

    Slow modes are nearly constant within a metastable state, so that in the space of their values each state is a
    cluster at a corner of a simplex (Deuflhard & Weber 2005, Linear Algebra Appl. 398, 161). Clusters are found by
    k-means, which, unlike the corners themselves, does not hang on a few extreme points; it starts from the corners
    (inner simplex algorithm: Weber & Galliat 2002, ZIB report 02-12).

    Parameters
    ----------
    functions : array, shape (n, m)
        Modes, slowest first, m ≥ n_states, as `Spectrum.eigenfunctions` gives them: the first is constant. Only the
        first `n_states` are used.
    n_states : int
        As many as there are levels below a gap in the spectrum.
    seed : int
        Of the k-means starts.

    Returns
    -------
    ndarray of int, shape (n,)
        From 0, the state with most points first. Where the modes do not tell `n_states` states apart, there are as many
        as they do.

    Raises
    ------
    InputError
        If the functions are no finite (n, m) array with m ≥ n_states and n ≥ n_states, or the first is not constant.

    Examples
    --------
    >>> slow = np.repeat([1.0, -2.0], [4, 2])
    >>> metastable_states(np.stack([np.ones(6), slow], axis=1), 2)
    array([0, 0, 0, 0, 1, 1])
    """
    n_states, seed = arguments.integer(n_states, "n_states", 1), arguments.seed(seed)
    f = arguments.points(functions, "functions", rows=n_states)
    if f.shape[1] < n_states:
        raise InputError(f"functions must have at least n_states = {n_states} columns; there are {f.shape[1]}.")
    if np.ptp(f[:, 0]) > 1e-6 * np.abs(f[:, 0]).max():
        raise InputError("The first of functions must be constant, the equilibrium; give modes from the slowest on.")
    modes = f[:, 1:n_states]
    modes = np.clip(modes, *np.quantile(modes, [0.001, 0.999], axis=0))
    for n in range(n_states, 1, -1):
        rows = modes[:, : n - 1]
        if (corners := _corners(rows, n)) is not None:
            labels = KMeans(n, init=rows[corners], n_init=1, random_state=seed).fit_predict(rows)
            order = np.argsort(-np.bincount(labels, minlength=n), kind="stable")
            return np.argsort(order)[labels]
    return np.zeros(len(f), dtype=int)


def _corners(rows, n_corners):
    """Rows that span the largest simplex, found one after the other; None if they span too little."""
    origin = rows.mean(axis=0)
    first = int(np.linalg.norm(rows - origin, axis=1).argmax())
    rest, found = rows - rows[first], [first]
    size = np.linalg.norm(rest, axis=1).max()
    for _ in range(n_corners - 1):
        length = np.linalg.norm(rest, axis=1)
        found.append(int(length.argmax()))
        if length[found[-1]] <= 1e-9 * size or size == 0:
            return None
        axis = rest[found[-1]] / length[found[-1]]
        rest = rest - np.outer(rest @ axis, axis)
    return found
