r"""The generator of a reversible diffusion from samples of its equilibrium alone, in polynomials and soft cells.

Levels are those of ½(Δ + ∇log ρ·∇) with the sign changed, ħ = m = 1: stationary values of ½E[|∇f|²]/E[f²] over f
orthogonal to the constant. Samples are whitened; functions are products of Hermite polynomials up to a total
degree and, where held-out samples favour them, smooth indicators of the cells around the means of clusters, a
partition of unity (`Space`); its slowest modes complete it (`SampledModes`). No linear map of the samples changes the
space. Sources: Zhang, Hartmann & Schütte 2016 (generator from samples), Klus et al. 2020 (Galerkin matrices); Shepard
1968 (partition of unity), Weber 2006 (for conformations of molecules); McGibbon & Pande 2015 (held-out score); Weyl
1912 (eigenvalues of a perturbed matrix).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from vaept import arguments
from vaept.errors import InputError
from vaept.spectrum import _vetting
from vaept.spectrum.oscillator import quantum_numbers

SAMPLES_PER_FUNCTION = 10
MAX_FUNCTIONS = 500  # of the degrees that are tried; a degree that is given may have more
MASS_CUTOFF = 1e-10
N_BLOCKS = 250
N_BENT, BENT_DEGREE = 3, 7
N_CELLS = 100, 400
WIDTHS = 0.5, 0.7, 1.0, 1.4  # of cells, in distances between neighbouring centres
DEGREE_WITH_CELLS = 2
CLUSTERED_SAMPLES = 20_000
POINTS_AT_BORDER, SEEN_CELLS = 30, 0.8  # points that a cell's border needs; share of cells that must have them
ROWS = 2048  # points at a time
MAX_DEGREE, MOST_FUNCTIONS = 100, 5000  # of a degree that is given
VALUES_PER_POWER = 5  # distinct values that a coordinate needs for each of its powers


@dataclass(frozen=True)
class Sampled:
    """Levels, their residuals and modes; ½∇f·∇fᵀ and ffᵀ of the modes in blocks of points, and the blocks' sizes."""

    levels: np.ndarray
    residuals: np.ndarray
    modes: "SampledModes"
    stiffness: np.ndarray
    mass: np.ndarray
    sizes: np.ndarray


def solve(x, n_levels, degree, generator):
    """The solution for samples without outliers, some levels above the last one too, and rows that are lone states."""
    copies, dim, adaptive = _vetting.Copies.of(x), x.shape[1], degree is None
    degrees = degrees_to_try(copies, dim, n_levels, degree)
    mean, whitening = _vetting.whitening_of(x)
    order = copies.shuffled(generator)
    x = x[order]
    y = (x - mean) @ whitening
    try:
        space, mass, stiffness = best_space(
            y, degrees, (whitening**2).sum(axis=0), n_levels, with_cells=adaptive, copies=len(x) / copies.rows
        )
        # Neighbours above the last level may belong to its multiplet, and the intervals must know them.
        n_solved = min(n_levels + 2 * dim + 8, len(mass))
        vectors = pencil(mass, stiffness, n_solved)[1]
        modes = SampledModes(space, vectors, mean, whitening, min(N_BENT, n_levels - 1) if adaptive else 0)
        stiffness, mass, sizes = modes.blocks(y)
        levels, mix, residuals = pencil(mass.sum(axis=0) / len(y), stiffness.sum(axis=0) / len(y), n_solved)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "The samples carry too few independent functions for these levels: a few rows outweigh all others, or most "
            "are alike. Look for outliers, or give more samples."
        ) from error
    if len(levels) < n_levels:
        raise InputError(
            f"The samples carry only {len(levels)} independent functions; ask for fewer than {n_levels} levels."
        )
    modes = replace(modes, mix=mix)
    return Sampled(levels, residuals, modes, stiffness, mass, sizes), order[_vetting.lone_rows(modes.first(2), x, y)]


def degrees_to_try(copies, dim, n_levels, degree):
    """The degrees to be tried, one if it is given; checks that there are samples enough."""
    n, most_powers = copies.rows, copies.values // VALUES_PER_POWER - 1
    least = 1 if degree is None else arguments.integer(degree, "degree", 1, MAX_DEGREE)
    while degree is None and math.comb(dim + least, least) < n_levels:
        least += 1
    size = math.comb(dim + least, least)
    if size < n_levels:
        raise InputError(f"degree {least} in {dim} dimensions has {size} functions, too few for {n_levels} levels.")
    if copies.values == 1 < copies.all_rows:
        raise InputError(f"Coordinate {copies.coordinate} of the samples is constant; leave it out.")
    if copies.values < copies.all_rows and least > most_powers:
        raise InputError(
            f"Coordinate {copies.coordinate} of the samples has in effect {copies.values} distinct values, too few for "
            f"degree {least}, which needs {VALUES_PER_POWER * (least + 1)}: values on a coarse grid, or copies of a "
            "few, have no density. Give them as they were before rounding, or leave the coordinate out."
        )
    if n < SAMPLES_PER_FUNCTION * size:
        distinct = f" In effect {n} of the {copies.all_rows} rows are distinct." if n < copies.all_rows else ""
        raise InputError(
            f"{n} samples are too few for degree {least} in {dim} dimensions: at least {SAMPLES_PER_FUNCTION * size} "
            "are needed. Give more samples, or ask for a lower degree or fewer levels." + distinct
        )
    if size > MOST_FUNCTIONS:
        raise InputError(f"degree {least} in {dim} dimensions has more than {MOST_FUNCTIONS} functions; lower it.")
    if degree is not None:
        return [least]
    most = min(n / (2 * SAMPLES_PER_FUNCTION), MAX_FUNCTIONS)
    return [p for p in range(least, 13) if p <= most_powers and math.comb(dim + p, p) <= most] or [least]


class Polynomials:
    """∏ He_{n_i}(y_i)/√n_i! of total degree ≤ p. Arrays over functions have shape (functions, …)."""

    def __init__(self, degree, dim):
        self.degree = degree
        self.numbers = quantum_numbers(degree, dim)
        index = {tuple(n): k for k, n in enumerate(self.numbers.tolist())}
        lower = np.zeros((dim, len(self.numbers)), dtype=int)
        self._build = []
        for k, n in enumerate(self.numbers.tolist()):
            for i in np.flatnonzero(n):
                lower[i, k] = index[(*n[:i], n[i] - 1, *n[i + 1 :])]
            first = next((i for i in range(dim) if n[i]), 0)
            self._build.append((index[(*n[:first], 0, *n[first + 1 :])], first, n[first]))
        # For each coordinate, the functions with n_i one less, whose multiples √n_i are the derivatives.
        self.lower = list(zip(lower, np.sqrt(self.numbers.T), strict=True))

    def values(self, y):
        """Values at points (n, d): ndarray of shape (functions, n)."""
        one = np.empty((self.degree + 1, y.shape[1], len(y)))
        one[0] = 1
        for n in range(self.degree):
            one[n + 1] = (y.T * one[n] - math.sqrt(n) * one[n - 1] if n else y.T) / math.sqrt(n + 1)
        result = np.ones((len(self.numbers), len(y)))
        for k, (parent, axis, n) in enumerate(self._build[1:], start=1):
            np.multiply(result[parent], one[n, axis], out=result[k])
        return result

    def mass(self, y):
        """Mean of φφᵀ over points."""
        total = np.zeros((len(self.numbers), len(self.numbers)))
        rows = max(256, 4_000_000 // len(self.numbers))
        for start in range(0, len(y), rows):
            values = self.values(y[start : start + rows])
            total += values @ values.T
        return total / len(y)

    def slopes(self, vectors):
        """Coefficients (d, functions, k) of the derivatives of the functions whose coefficients are (functions, k)."""
        result = np.zeros((len(self.lower), *vectors.shape))
        for slope, (lower, root) in zip(result, self.lower, strict=True):
            has = root > 0
            slope[lower[has]] = root[has, None] * vectors[has]
        return result

    def stiffness(self, mass, inverse_variance):
        """½E[∇φ·∇φᵀ] in the metric of the samples: derivatives are lower polynomials, so it is made of the mass."""
        total = np.zeros_like(mass)
        for (lower, root), factor in zip(self.lower, inverse_variance, strict=True):
            total += 0.5 * factor * np.outer(root, root) * mass[np.ix_(lower, lower)]
        return total


@dataclass(frozen=True)
class Space:
    """Polynomials and soft cells of whitened points y: w_j ∝ exp(−|y − c_j|²/2h²), which add up to 1.

    The centres c_j have shape (cells, d), no rows for polynomials alone; h is the width.
    """

    polynomials: Polynomials
    centres: np.ndarray
    width: float = 1.0

    def values(self, y):
        """Values at points (n, d): ndarray of shape (functions, n), polynomials first."""
        return np.concatenate([self.polynomials.values(y), self.cells(y)])

    def cells(self, y):
        """Values of the cells alone."""
        cells = (self.centres @ y.T - (self.centres**2).sum(axis=1)[:, None] / 2) / self.width**2
        cells = np.exp(cells - cells.max(axis=0, initial=-np.inf))
        return cells / cells.sum(axis=0)

    def gradients(self, vectors, values):
        """∂/∂y_i of combinations (the columns of `vectors`) of functions of these values: (combinations, n), each i."""
        size = len(self.polynomials.numbers)
        raw, cells, mix = values[:size], values[size:], vectors[size:]
        # ∇w_j = w_j (c_j − c̄)/h², c̄ = Σ w_j c_j.
        mean, smooth = self.centres.T @ cells, mix.T @ cells
        for i, slope in enumerate(self.polynomials.slopes(vectors[:size])):
            yield slope.T @ raw + ((mix * self.centres[:, [i]]).T @ cells - mean[i] * smooth) / self.width**2

    def moments(self, y, inverse_variance):
        """Means of φφᵀ and of ½∇φ·∇φᵀ, in the metric of the samples, over points."""
        lower, size = self.polynomials.lower, len(self.polynomials.numbers)
        mass, own, mixed = 0.0, 0.0, 0.0
        for part in parts_of(y):
            values = self.values(part)
            cells = values[size:]
            mean = self.centres.T @ cells
            scaled = inverse_variance[:, None] * mean
            along = sum(root[:, None] * values[k] * row for (k, root), row in zip(lower, scaled, strict=True))
            # Expanding (c_j − c̄)·(c_k − c̄) leaves one product of matrices, whatever d.
            own = own + (cells * (self.centres @ scaled - (mean * scaled).sum(axis=0) / 2)) @ cells.T
            mixed = mixed + along @ cells.T
            mass = mass + values @ values.T
        mass, own, mixed = mass / len(y), own / len(y), mixed / len(y)
        centres = self.centres * inverse_variance
        steep = sum(root[:, None] * mass[k, size:] * c for (k, root), c in zip(lower, centres.T, strict=True))
        mixed = (steep - mixed) / (2 * self.width**2)
        own = (centres @ self.centres.T * mass[size:, size:] - own - own.T) / (2 * self.width**4)
        raw = self.polynomials.stiffness(mass[:size, :size], inverse_variance)
        return mass, np.block([[raw, mixed], [mixed.T, own]])


@dataclass(frozen=True)
class SampledModes:
    """Modes in a space (the columns of `vectors`), and the first few of them bent, mixed by a matrix.

    Legendre polynomials of f/√(1 + f²) level off inside wells, as slow modes f do and polynomials do not.
    """

    space: Space
    vectors: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray
    n_bent: int
    mix: np.ndarray | None = None

    def __call__(self, points):
        points = arguments.points(points, "points", len(self.mean))
        result = np.empty((len(points), self.mix.shape[1]))
        for start in range(0, len(points), ROWS):
            y = (points[start : start + ROWS] - self.mean) @ self.whitening
            with np.errstate(over="ignore", invalid="ignore"):
                result[start : start + ROWS] = self._bend(self.vectors.T @ self.space.values(y))[0].T @ self.mix
        check_modes(result, points)
        return result

    def first(self, count):
        """The first modes alone."""
        return replace(self, mix=self.mix[:, :count])

    def blocks(self, y):
        """½∇f·∇fᵀ and ffᵀ of all functions, summed over blocks of whitened points, and the sizes of the blocks."""
        metric = np.sqrt((self.whitening**2).sum(axis=0) / 2)
        parts = np.array_split(y, min(N_BLOCKS, len(y)))
        stiffness, mass = [], []
        for part in parts:
            raw = self.space.values(part)
            values, rates = self._bend(self.vectors.T @ raw)
            mass.append(values @ values.T)
            total = 0
            for slope, factor in zip(self.space.gradients(self.vectors, raw), metric, strict=True):
                gradient = factor * slope
                bent = [rate * gradient[k + 1] for k, rate in enumerate(rates)]
                gradient = np.concatenate([gradient, *bent])
                total = total + gradient @ gradient.T
            stiffness.append(total)
        return np.array(stiffness), np.array(mass), np.array([len(part) for part in parts])

    def _bend(self, values):
        """Values with those of bent modes appended, and d(bent)/d(mode), (degrees, points) for each such mode."""
        bent, rates = [values], []
        for f in values[1 : self.n_bent + 1]:
            root = np.sqrt(1 + f**2)
            legendre, slopes = np.ones((2, BENT_DEGREE + 1, len(f)))
            legendre[1], slopes[0] = f / root, 0
            for m in range(1, BENT_DEGREE):
                legendre[m + 1] = ((2 * m + 1) * legendre[1] * legendre[m] - m * legendre[m - 1]) / (m + 1)
                slopes[m + 1] = slopes[m - 1] + (2 * m + 1) * legendre[m]
            bent.append(legendre[1:])
            rates.append(slopes[1:] / root**3)
        return np.concatenate(bent), rates


def parts_of(y):
    """Points in parts of which the values of all functions find room."""
    return np.array_split(y, -(-len(y) // ROWS))


def check_modes(values, points):
    """Refuse values of modes, shape (n, levels), that are not finite."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise InputError(
            f"The modes have no finite value at {points[bad][0].tolist()}, too far from where the density is large. "
            "Give points nearer to it."
        )


def pencil(mass, stiffness, n_levels):
    """Lowest levels, coefficients (functions, levels) and residuals of stiffness f = level · mass f.

    Function 0, the constant, is the ground state, kept apart at exactly 0.
    """
    mean = mass[0, 1:]
    values, basis = np.linalg.eigh(mass[1:, 1:] - np.outer(mean, mean))
    keep = values > MASS_CUTOFF * values[-1:]
    basis = basis[:, keep] / np.sqrt(values[keep])
    reduced = basis.T @ stiffness[1:, 1:] @ basis
    reduced = (reduced + reduced.T) / 2
    count = min(n_levels - 1, len(reduced))
    levels, vectors = np.zeros(0), np.zeros((len(reduced), 0))
    if count:
        levels, vectors = eigh(reduced, subset_by_index=[0, count - 1])
    residuals = np.linalg.norm(reduced @ vectors - vectors * levels, axis=0)
    coefficients = np.zeros((len(mass), count + 1))
    coefficients[0, 0] = 1
    coefficients[1:, 1:] = basis @ vectors
    coefficients[0, 1:] = -mean @ coefficients[1:, 1:]
    return np.append(0.0, levels), coefficients, np.append(0.0, residuals)


def best_space(y, degrees, inverse_variance, n_levels, *, with_cells, copies=1.0):
    """The space that does best on held-out halves of whitened points, its mass and its stiffness."""
    halves, dim = np.array_split(y, 2), y.shape[1]
    largest = Polynomials(degrees[-1], dim)
    whole = [(mass, largest.stiffness(mass, inverse_variance)) for mass in map(largest.mass, halves)]

    def moments(degree):
        size = math.comb(dim + degree, degree)
        return [(mass[:size, :size], stiffness[:size, :size]) for mass, stiffness in whole]

    scores = [held_out(moments(p), n_levels) for p in degrees] if len(degrees) > 1 else [0]
    # A larger space has to earn its variance.
    degree = next(p for p, score in zip(degrees, scores, strict=True) if score >= 0.999 * max(scores))
    best = (Space(Polynomials(degree, dim), np.empty((0, dim))), moments(degree))
    if with_cells:
        low, factors = Polynomials(min(degree, DEGREE_WITH_CELLS), dim), WIDTHS
        for centres, spacing in cell_centres(y):
            trials, scores = [], []
            for factor in factors:
                space = seen_cells(Space(low, centres, factor * spacing), y, inverse_variance, copies)
                if space:
                    trials.append((space, [space.moments(half, inverse_variance) for half in halves]))
                    scores.append((held_out(trials[-1][1], n_levels), factor))
            if not trials or max(scores)[0] <= 1.001 * held_out(best[1], n_levels):
                break
            score, factor = max(scores)
            best = trials[scores.index((score, factor))]
            # More cells are smaller, and the same width is more of their distances.
            factors = WIDTHS[WIDTHS.index(factor) :][:2]
    first, second = (len(half) / len(y) for half in halves)
    return best[0], *(first * one + second * other for one, other in zip(*best[1], strict=True))


def cell_centres(y):
    """Means of clusters of the points, ever more of them, and the median distance from one to the next."""
    from sklearn.cluster import KMeans

    rows = y[:CLUSTERED_SAMPLES]
    most = len(np.unique(rows, axis=0)) / (2 * SAMPLES_PER_FUNCTION)
    for n_cells in N_CELLS:
        if n_cells <= most:
            centres = KMeans(n_cells, n_init=1, max_iter=10, random_state=0).fit(rows).cluster_centers_
            yield centres, np.median(cKDTree(centres).query(centres, k=2)[0][:, 1])


def seen_cells(space, y, inverse_variance, copies):
    """The space without cells at whose borders too few points lie, each in some copies; None if these are many.

    A cell of outliers has a steep border in a gap without samples, and would pass for a state that is never left.
    """
    least, rows, points = SEEN_CELLS * len(space.centres), y[:CLUSTERED_SAMPLES], POINTS_AT_BORDER * copies
    while len(space.centres) >= least:
        # The points that share in the sum of |∇w_j|²: (Σ |∇w_j|²)²/Σ |∇w_j|⁴.
        first, second = 0.0, 0.0
        for part in parts_of(rows):
            cells, centres = space.cells(part), space.centres * inverse_variance
            mean = space.centres.T @ cells
            distance = (centres * space.centres).sum(axis=1)[:, None] - 2 * centres @ mean + inverse_variance @ mean**2
            slope = cells**2 * np.maximum(distance, 0)
            first, second = first + slope.sum(axis=1), second + (slope**2).sum(axis=1)
        seen = (first**2 >= points * second) & (second > 0)
        if seen.all():
            return space
        space = replace(space, centres=space.centres[seen])
    return None


def held_out(halves, n_levels):
    """Σ 1/level of the modes of one half (mass and stiffness) on the other, both ways averaged; larger is better."""
    total = 0.0
    for train, test in (halves, halves[::-1]):
        modes = pencil(*train, max(n_levels, 2))[1][:, 1:]
        mean = modes.T @ test[0][0]
        variance = modes.T @ test[0] @ modes - np.outer(mean, mean)
        total += np.trace(np.linalg.solve(modes.T @ test[1] @ modes, variance)) / 2
    return total


def intervals_of(solution, bootstrap, generator):
    """95 % intervals, shape (levels, 2); see `from_samples`."""
    levels, sizes, mix = solution.levels, solution.sizes, solution.modes.mix[:, 1:]
    arguments.memory(bootstrap * len(levels) ** 2, f"{bootstrap} resamples of {len(levels)} levels")
    counts = generator.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=bootstrap)
    weights = counts / (counts @ sizes)[:, None] - 1 / sizes.sum()
    stiffness, mass = (
        np.einsum("rb,bij->rij", weights, mix.T @ part @ mix, optimize=True)
        for part in (solution.stiffness, solution.mass)
    )

    def shifts(members):
        rows = np.ix_(range(bootstrap), members, members)
        return stiffness[rows] - levels[1:][members].mean() * mass[rows]

    # Levels belong to one multiplet if chains of them mix: if they are as close as the elements that couple them.
    size = len(levels) - 1
    coupling = np.quantile(np.abs(shifts(np.arange(size))), 0.95, axis=0) if size else np.zeros((0, 0))
    mixed = np.abs(levels[1:, None] - levels[None, 1:]) <= 2 * coupling
    label = connected_components(mixed)[1]
    half = np.zeros(size + 1)
    for group in range(label.max(initial=-1) + 1):
        members = np.flatnonzero(label == group)
        half[1 + members] = np.quantile(np.linalg.norm(shifts(members), ord=2, axis=(1, 2)), 0.95)
    return np.column_stack([np.maximum(levels - half, 0), levels + half])
