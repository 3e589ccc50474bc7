r"""Lowest levels of a large symmetric operator that is known by what it does to vectors.

A block method, so that the members of a multiplet come together, and a search for any that it missed: Lanczos
methods with one start vector drop members silently. Sources: Davidson 1975; Stathopoulos & Saad 1998.
"""

import numpy as np
from scipy.linalg import qr

from vaept.errors import VaeptError


class ConvergenceError(VaeptError, RuntimeError):
    """Levels that could not be computed to the accuracy that was asked for."""


def block_lowest(apply, size, n_levels, *, diagonal=None, coarse=(), seed=0, tol=1e-8, max_steps=300):
    """Lowest eigenpairs by a block Davidson method, and a search for levels that it missed.

    Parameters
    ----------
    apply : callable
        Maps (size, m) to the symmetric operator times it.
    size, n_levels : int
    diagonal : array, shape (size,), optional
        Rough energies of the rows, for the preconditioner.
    coarse : array of int
        Rows whose block of the operator is inverted exactly by the preconditioner; may be empty.
    seed : int
        Of the random start and of the random probes.
    tol : float
        Largest residual of a level, in units of the largest level's size or 1; a level's error is of its square.
    max_steps : int
        Steps before the solver gives up.

    Returns
    -------
    levels : ndarray, shape (n_levels,)
    vectors : ndarray, shape (size, n_levels)

    Raises
    ------
    ConvergenceError
        If the residuals do not fall below `tol`.
    """
    generator = np.random.default_rng(seed)
    coarse = np.asarray(coarse, dtype=int)
    inner = None
    if len(coarse):
        columns = np.zeros((size, len(coarse)))
        columns[coarse, np.arange(len(coarse))] = 1
        block = apply(columns)[coarse]
        inner = (coarse, *np.linalg.eigh((block + block.T) / 2), diagonal)
    start = generator.standard_normal((size, n_levels + 4))
    if inner is not None:
        low = min(n_levels + 4, len(coarse))
        start[:, :low] *= 1e-3
        start[coarse, :low] += inner[2][:, :low]
    levels, vectors = _davidson(apply, start, n_levels, np.zeros((size, 0)), inner, tol, max_steps)
    while size > n_levels:
        # A Ritz value in the complement of what was found, below the highest level, proves that one was missed.
        probe = generator.standard_normal((size, min(4, size - n_levels)))
        extra, found = _davidson(apply, probe, 1, vectors, inner, tol, max_steps, ceiling=levels[-1])
        if extra[0] >= levels[-1] - tol * max(1, abs(levels[-1])):
            break
        levels, vectors = np.append(levels, extra), np.column_stack([vectors, found])
        order = np.argsort(levels, kind="stable")[:n_levels]
        levels, vectors = levels[order], vectors[:, order]
    return levels, vectors


def _davidson(apply, start, wanted, locked, inner, tol, max_steps, ceiling=None):
    """Lowest `wanted` eigenpairs in the orthogonal complement of the locked columns.

    Stops early when the lowest is above the ceiling by three times its residual.
    """
    space = _orthonormal(start, locked)
    images = apply(space)
    width = space.shape[1]
    for _ in range(max_steps):
        small = space.T @ images
        theta, mix = np.linalg.eigh((small + small.T) / 2)
        # What is kept at a restart holds more than the wanted vectors: directions that would be found again else.
        kept, theta = mix[:, : 3 * width], theta[:width]
        vectors, moved = space @ mix[:, :width], images @ mix[:, :width]
        residual = moved - vectors * theta
        residual -= locked @ (locked.T @ residual)
        norms = np.linalg.norm(residual, axis=0)
        open_ = norms[: max(wanted, 1)] > tol * max(1.0, np.abs(theta[:wanted]).max())
        above = ceiling is not None and norms[0] < 0.3 * (theta[0] - ceiling)
        if above or not open_.any():
            return theta[:wanted], vectors[:, :wanted]
        active = np.flatnonzero(norms > 0.1 * tol)
        new = _precondition(residual[:, active], theta[active], inner)
        if space.shape[1] + len(active) > max(12 * width, 100):
            space, images = space @ kept, images @ kept
        new = _orthonormal(new, np.column_stack([locked, space]))
        if not new.shape[1]:
            new = _orthonormal(residual[:, active], np.column_stack([locked, space]))
        space, images = np.column_stack([space, new]), np.column_stack([images, apply(new)])
    raise ConvergenceError(
        f"The block eigensolver left a residual of {norms[:wanted].max():.1e} after {max_steps} steps, above "
        f"{tol:.1e}. Ask for fewer levels or a larger tol."
    )


def _precondition(residual, theta, inner):
    """Residuals times an approximate inverse of H − θ: exact on the coarse rows, diagonal elsewhere."""
    if inner is None:
        return residual
    rows, values, vectors, diagonal = inner
    energies = values[-1] if diagonal is None else np.maximum(diagonal, values[len(values) // 2])[:, None]
    result = residual / np.maximum(energies - theta, 1)
    gap = values[:, None] - theta
    gap = np.where(np.abs(gap) < 0.05, np.where(gap < 0, -0.05, 0.05), gap)
    result[rows] = vectors @ ((vectors.T @ residual[rows]) / gap)
    return result


def _orthonormal(columns, against):
    """Orthonormal columns that span the given ones outside the span of `against`; dependent ones are dropped."""
    for _ in range(2):
        norms = np.linalg.norm(columns, axis=0)
        columns = columns[:, norms > 0] / norms[norms > 0]
        columns = columns - against @ (against.T @ columns)
        if not columns.shape[1]:
            return columns
        q, r, _ = qr(columns, mode="economic", pivoting=True, check_finite=False)
        columns = q[:, np.abs(np.diag(r)) > 1e-10]
    return columns
