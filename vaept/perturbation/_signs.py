"""Signs, order and directions of the components of a field, the same for every rounding and every half of the data.

Eigenvectors have no sign of their own, and those of equal levels no directions, so that the last bits of a computation
would choose both. Here fixed functions of the images choose: 64 cosines of fixed random projections (Rahimi & Recht
2007), which no symmetry of the data makes vanish. The sum over them of the cubed correlation with a component is
positive. Components of equal levels are turned so that the first is the part of the function that they hold most of,
the second that of what is left, and so on.
"""

import math

import numpy as np

EQUAL = 0.01  # the same below which rounding may mix their components; these are turned to fixed directions
TIED = 1e-4  # relative difference of two distances, or of two correlations, below which they count as equal
N_COSINES = 64
NOTHING = 1e-10  # share of the variance below which the images do not vary along a direction
DOUBTFUL = 1  # standard error by which the sum of the cubed correlations must differ from 0
BLOCK = 4096  # images converted to float64 at once


def principal_components(x, count):
    """What a projection on the leading principal components consists of, the shares of variance, doubtful signs."""
    mean = x.mean(axis=0, dtype=float)
    covariance = sum((block - mean).T @ (block - mean) for block in row_blocks(x)) / len(x)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], np.ascontiguousarray(axes[:, ::-1][:, :count])
    shares = variances / variances.sum()
    varied = max(1, np.count_nonzero(shares[:count] > NOTHING))
    deviations = np.sqrt(np.maximum(variances[:varied], np.finfo(float).tiny))
    scores = np.concatenate([(block - mean) @ axes[:, :varied] for block in row_blocks(x)]) / deviations
    turn, doubtful = orientation_of(scores, shares[:varied], x)
    axes[:, :varied] = axes[:, :varied] @ turn
    return {"points": project(x, mean, axes), "pixel_mean": mean, "projection": axes}, shares, doubtful


def project(x: "np.ndarray", mean: "np.ndarray | float", axes: "np.ndarray") -> "np.ndarray":
    """Images (n, pixels) less their mean, by the axes (pixels, k): ndarray of float32, shape (n, k)."""
    return np.concatenate([((block - mean) @ axes).astype(np.float32) for block in row_blocks(x)])


def row_blocks(x):
    """Row blocks in float64, small enough that memory does not grow with the number of images."""
    return (x[start : start + BLOCK].astype(float) for start in range(0, len(x), BLOCK))


def to_principal_axes(points):
    """Centred points in their principal axes, and the variances along these, descending."""
    centred = points - points.mean(axis=0, dtype=float)
    variances, axes = np.linalg.eigh(np.cov(centred.T, bias=True))
    return centred @ axes[:, ::-1], variances[::-1]


def correlation(a, b):
    """Pearson correlation of equal-numbered columns; 0 where one has no variance."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.divide((a * b).sum(axis=0), scale, out=np.zeros(len(scale)), where=scale > 0)


def orientation_of(values, levels, x):
    """The turn (k, k) by which standardised values (n, k) with levels (k,) in order become the components of images (n,
    pixels), as `values @ turn`; and the numbers of those whose sign little speaks for.
    """
    functions = _fixed_functions(x)
    correlations = functions.T @ values / len(x)
    equal = np.abs(np.diff(levels)) < EQUAL * np.maximum(np.abs(levels[1:]), np.abs(levels[:-1]))
    turn = np.zeros((len(levels),) * 2)
    for group in np.split(np.arange(len(levels)), np.flatnonzero(~equal) + 1):
        turn[np.ix_(group, group)] = _directions(correlations[:, group])
    correlations = correlations @ turn
    balance = (correlations**3).sum(axis=0)
    # To first order the balance changes with the images as 3 Σ c² δc: the mean of this over images.
    error = 3 * (values @ turn * (functions @ correlations**2)).std(axis=0) / math.sqrt(len(values))
    alone = ~np.append(equal, False) & ~np.append(False, equal)
    turn *= np.where(alone & (balance < 0), -1, 1)
    return turn, np.flatnonzero(alone & (np.abs(balance) < DOUBTFUL * error)).tolist()


def _directions(correlations):
    """Orthonormal directions, shape (g, g), in the space of g components by their correlations (functions, g)."""
    g, left, found = correlations.shape[1], correlations.copy(), []
    if g == 1:
        return np.eye(1)
    for _ in range(g):
        lengths = np.linalg.norm(left, axis=1)
        first = np.flatnonzero(lengths >= (1 - TIED) * lengths.max())[0]  # of functions that tie, always the same
        direction = left[first] - sum((own * (own @ left[first]) for own in found), np.zeros(g))
        direction /= max(np.linalg.norm(direction), np.finfo(float).tiny)
        found.append(direction)
        left -= np.outer(left @ direction, direction)
    return np.stack(found, axis=1)


def _fixed_functions(x):
    """Cosines of fixed random projections of images, standardised, shape (n, N_COSINES)."""
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((x.shape[1], N_COSINES))
    phases = generator.uniform(0, 2 * np.pi, N_COSINES)
    mean = x.mean(axis=0, dtype=float)
    projections = np.concatenate([(block - mean) @ weights for block in row_blocks(x)])
    cosines = np.cos(projections / projections.std(axis=0) + phases)
    return (cosines - cosines.mean(axis=0)) / cosines.std(axis=0)
