"""Samples looked at before a spectrum is made of them: copies, rows that lie apart, tails that fall too slowly."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vaept.errors import InputError

NEIGHBOURS = 10  # with fewer, a far point lies apart
SMALLEST = 1e-50  # standard deviation of a coordinate; levels go with its inverse square


@dataclass(frozen=True)
class Copies:
    """Which rows of the samples are copies: each row's distinct one, by number, or None if there are none.

    `rows` and `values` are effective numbers n²/Σ count² of distinct rows and, of the worst coordinate, of distinct
    values (Kish 1965, Survey Sampling, ch. 11).
    """

    group: np.ndarray | None
    all_rows: int
    rows: int
    values: int
    coordinate: int

    @classmethod
    def of(cls, x):
        """Those of samples of shape (n, d)."""
        _, group, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
        values = [_effective(np.unique(column, return_counts=True)[1]) for column in x.T]
        group = None if len(counts) == len(x) else group.ravel()
        return cls(group, len(x), _effective(counts), min(values), int(np.argmin(values)))

    def shuffled(self, generator):
        """The rows in random order, copies side by side."""
        if self.group is None:
            return generator.permutation(self.all_rows)
        return np.argsort(generator.permutation(self.group.max() + 1)[self.group], kind="stable")


def _effective(counts):
    return round(int(counts.sum()) ** 2 / float((counts.astype(float) ** 2).sum()))


def outliers_of(x):
    """Rows that lie apart from all others, ndarray of int, and whether the others' tails are those of a power law.

    Distances are measured by the denser half of the rows (concentration steps: Rousseeuw & Van Driessen 1999,
    Technometrics 41, 212). A row lies apart if it is farther out than rows of a Gaussian come, has few neighbours
    nearer than half its distance, and is half as far again from the centre as those that do not lie apart.
    """
    from scipy.stats import chi2

    n, d = x.shape
    nothing = np.zeros(0, dtype=int), False
    centre = np.median(x, axis=0)
    width = np.median(np.abs(x - centre), axis=0)
    if not (width > 0).all():
        return nothing
    y = (x - centre) / width
    distance = np.linalg.norm(y, axis=1)
    for _ in range(4):
        half = y[np.argsort(distance, kind="stable")[: n // 2]]
        values, axes = np.linalg.eigh(np.cov(half, rowvar=False, bias=True).reshape(d, d))
        if values[0] <= 1e-9 * values[-1]:
            return nothing
        distance = np.linalg.norm((y - half.mean(axis=0)) @ axes / np.sqrt(values), axis=1)
    y = (y - half.mean(axis=0)) @ axes / np.sqrt(values) * np.sqrt(chi2.median(d)) / np.median(distance)
    distance, reach = np.linalg.norm(y, axis=1), np.sqrt(chi2.isf(0.01 / n, [1, d]))
    rows = np.flatnonzero(distance > 1.05 * reach[1])
    if not len(rows):
        return nothing
    near = cKDTree(y).query_ball_point(y[rows], distance[rows] / 2, return_length=True)
    apart = rows[near <= NEIGHBOURS]
    others = np.delete(distance, apart)
    apart = apart[np.argsort(distance[apart], kind="stable")]
    edges = np.maximum.accumulate(np.append(others.max(), distance[apart]))[:-1]
    # Rows that follow one another outwards without a gap are a tail.
    first = np.flatnonzero(distance[apart] > 1.5 * edges)
    apart = apart[first[0] :] if len(first) else apart[:0]
    rest = np.delete(np.column_stack([np.abs(y), distance]), apart, axis=0)
    # The more axes are tried, the more of them look like it by chance.
    fars, edge = 1.6 * reach[[0] * d + [1]], -0.3 if len(apart) else 0.1 * (1 + np.log(d))
    return np.sort(apart), any(
        _is_power_law(np.sort(column)[::-1], far, edge) for column, far in zip(rest.T, fars, strict=True)
    )


def lone_rows(modes, x, y):
    """Rows, few and far out, that make up a quarter or more of the variance of the slowest mode; ndarray of int."""
    rows = np.argsort(-(y**2).sum(axis=1), kind="stable")[:32]
    return rows[modes(x[rows])[:, -1] ** 2 > max(len(x) / 4, 25)]


def _is_power_law(distance, far, edge):
    """Whether descending distances reach beyond `far` and fall off as a power, in the outer quarter with this edge.

    The index of extremes (moment estimator: Dekkers, Einmahl & de Haan 1989, Ann. Stat. 17, 1833) is then positive. A
    cluster would have its edge in the outer quarter, unless the farthest rows are left out.
    """
    most = min(len(distance) // 3, max(30, len(distance) // 10))
    if distance[0] <= far or most < 10:
        return False
    for k, least in ((most, 0.05), (max(most // 4, 10), edge)):
        logs = np.log(distance[: k + 1] / distance[k])
        # No tail has a wide gap within: these are independent draws from one exponential distribution (Rényi 1953).
        gaps = -np.diff(logs) * np.arange(1, k + 1)
        first, second = logs.sum() / k, (logs**2).sum() / k
        if first < 0.15 or gaps.max() > 16 * first or first + 1 - 0.5 / max(1 - first**2 / second, 1e-9) <= least:
            return False
    return True


def whitening_of(x):
    """Mean and the matrix W for which (x − mean) W has covariance 1; columns along the principal axes."""
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    constant = np.flatnonzero((deviation <= 1e-12 * np.abs(x).max(axis=0)) | (deviation < SMALLEST))
    if len(constant):
        raise InputError(
            f"Coordinates {constant.tolist()} of the samples are constant, or vary by less than {SMALLEST:g}; leave "
            "them out, or rescale them."
        )
    correlation = np.corrcoef(x, rowvar=False).reshape(x.shape[1], -1)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-9:
        involved = np.flatnonzero(np.abs(vectors[:, 0]) > 0.1).tolist()
        raise InputError(f"Coordinates {involved} of the samples are linearly dependent, or duplicates; leave one out.")
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False, bias=True).reshape(x.shape[1], -1))
    return mean, vectors / np.sqrt(values)
