r"""Oscillator bases and the operators in them: what turns −½Δ + U into numbers for `vaept.spectrum`.

Basis functions are products of oscillator functions, φ_n(x) = ∏ h_{n_i}(y_i)/√s_i with y = (axesᵀ(x − centre))/s
and h_n(y) = He_n(y)/√n! · √N(y; 0, 1): frequency ω_i = 1/(2s_i²), ħ = m = 1. All integrals are Gauss sums in
which the integrand is never truncated first. Potentials enter as H = −½Δ + U, densities as H = ½Σ AᵢᵀAᵢ with
Aᵢ = ∂ᵢ − ½∂ᵢlog ρ, whose singular values keep small levels to relative accuracy. Sources: Golub & Welsch 1969
(nodes); Kato 1949 (residuals as error bounds).
"""

import functools
import itertools
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh, eigvalsh_tridiagonal, qr

from vaept.errors import InputError
from vaept.spectrum._eigensolver import block_lowest
from vaept.spectrum.oscillator import hermite_functions

DENSE_LIMIT = 3200
COARSE = 1200  # functions on which the block solver's preconditioner is exact
MAX_FUNCTIONS = 30_000
MAX_GRID = 8_000_000
MAX_SIZE = 640  # beyond, the outermost Gauss weights underflow
CHUNK = 2_000_000  # numbers on the grid that are treated at once


@dataclass(frozen=True)
class Frame:
    """Where a basis stands.

    Attributes
    ----------
    centre, scale : ndarray, shape (d,)
        The Gaussian φ₀² has this mean, and these standard deviations along the axes.
    axes : ndarray, shape (d, d)
        Orthonormal columns.
    reach : ndarray, shape (d,)
        Distance along each axis beyond which the wanted states are negligible.
    """

    centre: np.ndarray
    axes: np.ndarray
    scale: np.ndarray
    reach: np.ndarray


class Basis:
    """Oscillator functions with Σ n_i/sizes_i ≤ 1, and the Gauss grid on which their integrals are taken.

    Coefficients are (functions, m) arrays. Grid values are (nodes₁, …, nodes_d, m) arrays that carry the square root
    of the quadrature weight, so that going to the grid and back are transposes of each other.
    """

    def __init__(self, frame, sizes, parities=None):
        self.sizes = np.asarray(sizes)
        self.frame = frame
        self.parities = tuple(parities or [None] * len(self.sizes))
        # A basis that already reaches as far as the states spends further functions on resolution alone.
        self.scale = np.minimum(frame.scale, frame.reach / (2 * np.sqrt(self.sizes)))
        self.kinetic_scale = 1 / (4 * self.scale**2)
        numbers = simplex(self.sizes)
        kept = [
            np.full(len(numbers), True) if p is None else n % 2 == p
            for p, n in zip(self.parities, numbers.T, strict=True)
        ]
        self.rows = np.flatnonzero(np.all(kept, axis=0))
        self.numbers = numbers[self.rows]
        self._tables = [_tables(int(q), p) for q, p in zip(_nodes(self.sizes), self.parities, strict=True)]
        self.shape = tuple(len(table[0]) for table in self._tables)
        steps = [(1, 0) if p is None else (2, p) for p in self.parities]
        self._index = tuple((n - p) // step for n, (step, p) in zip(self.numbers.T, steps, strict=True))
        self._kept = tuple((size - p) // step + 1 for size, (step, p) in zip(self.sizes, steps, strict=True))

    def sector(self, parities):
        """The functions even (0) or odd (1) along the axes, on half of the grid; None leaves an axis whole."""
        return Basis(self.frame, self.sizes, parities)

    def half(self, values):
        """Values on the part of a whole grid (nodes₁, …) that this basis keeps."""
        whole = tuple(
            slice(None) if p is None else slice(q, None) for p, q in zip(self.parities, self.shape, strict=True)
        )
        return values[whole]

    def __len__(self):
        return len(self.numbers)

    def chunk(self):
        """How many coefficient vectors fit on the grid at once."""
        return max(1, CHUNK // int(np.prod(self.shape)))

    def grid_coordinates(self):
        """Nodes along the axes, in lengths: ndarray of shape (nodes, d)."""
        nodes = [s * table[0] for s, table in zip(self.scale, self._tables, strict=True)]
        return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, len(self.shape))

    def grid(self):
        """Nodes as points x: ndarray of shape (nodes, d)."""
        return self.frame.centre + self.grid_coordinates() @ self.frame.axes.T

    def to_grid(self, coefficients, derivative=None):
        """Values of Σ c φ, or of its derivative along one axis, on the grid."""
        values = np.zeros((*self._kept, coefficients.shape[1]))
        values[self._index] = coefficients
        for i in reversed(range(len(self.sizes))):
            table = self._table(i, derivative)[:, : self._kept[i]]
            # Contracting the last axis into the first, d times, leaves the axes in order.
            values = np.tensordot(table, values, axes=(1, len(self.sizes) - 1))
        return values

    def from_grid(self, values, derivative=None, full=False):
        """The transpose of `to_grid`; `full` keeps all functions that the grid can tell apart, as a tensor."""
        for i in reversed(range(len(self.sizes))):
            table = self._table(i, derivative)
            table = table if full else table[:, : self._kept[i]]
            values = np.tensordot(table, values, axes=(0, len(self.sizes) - 1))
        return values if full else values[self._index]

    def add(self, tensor, coefficients):
        """Add coefficients to a tensor that a `full` `from_grid` returned."""
        tensor[self._index] += coefficients
        return tensor

    def evaluate(self, coefficients, points):
        """Values of Σ c φ at points (n, d): ndarray of shape (n, m)."""
        y = (points - self.frame.centre) @ self.frame.axes / self.scale
        functions = [hermite_functions(y[:, i], size) for i, size in enumerate(self.sizes)]
        values = np.empty((len(points), coefficients.shape[1]))
        rows = max(1, CHUNK // len(self))
        for start in range(0, len(points), rows):
            part = slice(start, start + rows)
            product = functions[0][self.numbers[:, 0], part]
            for i in range(1, len(functions)):
                product = product * functions[i][self.numbers[:, i], part]
            values[part] = product.T @ coefficients
        return values / np.sqrt(np.prod(self.scale))

    def tails(self, coefficients):
        """Amplitude near the edge of the basis that each axis answers for, of the worst vector; shape (d,)."""
        fractions = self.numbers / self.sizes
        edge = fractions.sum(axis=1) > 0.8
        amplitudes = np.abs(coefficients[edge]).max(axis=1)
        return (fractions[edge] ** 2 * amplitudes[:, None]).max(axis=0)

    def _table(self, axis, derivative):
        _, values, slopes = self._tables[axis]
        return slopes / self.scale[axis] if axis == derivative else values


@functools.lru_cache(maxsize=256)
def _tables(n_nodes, parity=None):
    """Gauss nodes, and the first n_nodes functions h_n and their derivatives there times √weight.

    With a parity, positive nodes and the functions of that parity only; each node then stands for two.
    """
    if parity is not None:
        nodes, values, slopes = _tables(n_nodes)
        half, root = slice(n_nodes // 2, None), np.sqrt(2)
        return nodes[half], root * values[half, parity::2], root * slopes[half, parity::2]
    nodes = eigvalsh_tridiagonal(np.zeros(n_nodes), np.sqrt(np.arange(1, n_nodes)))
    nodes = (nodes - nodes[::-1]) / 2
    functions = hermite_functions(nodes, n_nodes)
    functions /= np.sqrt((functions[:n_nodes] ** 2).sum(axis=0))
    functions[n_nodes] = 0  # the nodes are its zeros
    root = np.sqrt(np.arange(n_nodes + 1))[:, None]
    slopes = -0.5 * root[1:] * functions[1:]
    slopes[1:] += 0.5 * root[1:-1] * functions[: n_nodes - 1]
    return nodes, functions[:n_nodes].T.copy(), slopes.T.copy()


def simplex(sizes):
    """All quantum numbers n ≥ 0 with Σ n_i/sizes_i ≤ 1: ndarray of int, shape (functions, d)."""
    rows, left = np.zeros((1, 0), dtype=int), np.ones(1)
    for size in sizes:
        counts = np.floor(left * size + 1e-9).astype(int) + 1
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        number = np.arange(counts.sum()) - starts
        rows = np.column_stack([np.repeat(rows, counts, axis=0), number])
        left = np.repeat(left, counts) - number / size
    return rows


class PotentialOperator:
    """H = −½Δ + U in a basis, with U given on its grid, shape (nodes₁, …, nodes_d)."""

    def __init__(self, basis, values):
        self.basis = basis
        self._values = values
        harmonic = 0.5 * basis.grid_coordinates() ** 2 @ (2 * basis.kinetic_scale) ** 2
        self._rest = values[..., None] - harmonic.reshape(*basis.shape, 1)
        self._diagonal = ((2 * basis.numbers + 1) * basis.kinetic_scale).sum(axis=1)

    def is_even(self, axis):
        """Whether U does not change, but for rounding, under reflection of an axis."""
        return _equal(self._values, np.flip(self._values, axis), 2e-13)

    def sector(self, parities):
        """The same operator on the functions of given parities."""
        basis = self.basis.sector(parities)
        return PotentialOperator(basis, basis.half(self._values))

    def apply(self, coefficients, full=False):
        """H times coefficients; `full` also returns what leaves the basis."""
        rest = self.basis.from_grid(self._rest * self.basis.to_grid(coefficients), full=full)
        kinetic = self._diagonal[:, None] * coefficients
        return self.basis.add(rest, kinetic) if full else rest + kinetic

    def polish(self, vectors, levels):
        """Nothing to gain: levels of H itself are as accurate as its entries."""
        return levels, vectors


class DensityOperator:
    """H = ½Σ AᵢᵀAᵢ, Aᵢ = ∂ᵢ − ½∂ᵢlog ρ, in a basis, with ∇log ρ along the axes given on its grid, (d, nodes₁, …)."""

    def __init__(self, basis, gradient):
        self.basis = basis
        self._gradient = gradient
        self._half = -0.5 * gradient[..., None]

    def is_even(self, axis):
        """Whether log ρ does not change, but for rounding, under reflection of an axis."""
        signs = np.where(np.arange(len(self._gradient)) == axis, -1, 1)
        # Differences of log ρ carry more rounding than log ρ.
        return all(
            _equal(part, sign * np.flip(part, axis), 1e-11) for part, sign in zip(self._gradient, signs, strict=True)
        )

    def sector(self, parities):
        """The same operator on the functions of given parities."""
        basis = self.basis.sector(parities)
        return DensityOperator(basis, np.stack([basis.half(part) for part in self._gradient]))

    def apply(self, coefficients, full=False):
        """H times coefficients; `full` also returns what leaves the basis."""
        result = 0
        values = self.basis.to_grid(coefficients)
        for i, half in enumerate(self._half):
            root = self.basis.to_grid(coefficients, derivative=i) + half * values
            result = result + 0.5 * self.basis.from_grid(root, derivative=i, full=full)
            result = result + 0.5 * self.basis.from_grid(half * root, full=full)
        return result

    def polish(self, vectors, levels):
        """Levels as squared singular values of A on the span of the vectors.

        Errors ε of the vectors enter a level as ε², so that a level far below the rounding of H keeps its digits.
        """
        columns = vectors.shape[1]
        values = self.basis.to_grid(vectors)
        triangle = np.zeros((0, columns))
        for i, half in enumerate(self._half):
            root = (self.basis.to_grid(vectors, derivative=i) + half * values).reshape(-1, columns)
            triangle = qr(np.vstack([triangle, root]), mode="r")[0][:columns]
        _, singular, right = np.linalg.svd(triangle)
        return singular[::-1] ** 2 / 2, vectors @ right[::-1].T


@dataclass(frozen=True)
class Solution:
    """Lowest levels in one basis: levels (k,), vectors (functions, k), residuals ‖(H − E)ψ‖ (k,)."""

    basis: Basis = field(repr=False)
    levels: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def solve(operator, n_levels, seed=0):
    """Lowest levels of an operator in its basis, every member of a multiplet listed; a `Solution`.

    Reflections that leave the operator unchanged are found on the grid, and each combination of parities is solved by
    itself.
    """
    basis = operator.basis
    choices = [(0, 1) if operator.is_even(axis) else (None,) for axis in range(len(basis.shape))]
    levels, residuals, columns = [], [], []
    for parities in itertools.product(*choices):
        sector = operator if parities == basis.parities else operator.sector(parities)
        if not len(sector.basis):
            continue
        found, vectors, defects = _solve_sector(sector, min(n_levels, len(sector.basis)), seed)
        levels, residuals = np.append(levels, found), np.append(residuals, defects)
        columns += [(sector.basis.rows, vector) for vector in vectors.T]
    order = np.argsort(levels, kind="stable")[:n_levels]
    combined = np.zeros((len(basis), len(order)))
    for k, index in enumerate(order):
        rows, vector = columns[index]
        combined[rows, k] = vector
    return Solution(basis, levels[order], combined, residuals[order])


def _solve_sector(operator, n_levels, seed):
    """Lowest levels (k,), vectors (functions, k) and residuals (k,)."""
    size, step = len(operator.basis), operator.basis.chunk()
    apply = _in_chunks(operator.apply, step)
    if size <= DENSE_LIMIT:
        matrix = apply(np.eye(size))
        levels, vectors = eigh((matrix + matrix.T) / 2, subset_by_index=[0, n_levels - 1], check_finite=False)
    else:
        ladder = (2 * operator.basis.numbers + 1) @ operator.basis.kinetic_scale
        coarse = np.argsort(ladder, kind="stable")[:COARSE]
        levels, vectors = block_lowest(apply, size, n_levels, diagonal=2 * ladder, coarse=coarse, seed=seed)
    levels, vectors = operator.polish(vectors, levels)
    residuals = _in_chunks(lambda columns: _residuals(operator, columns[1:], columns[0]), step)
    return levels, vectors, residuals(np.vstack([levels, vectors]))


def _equal(values, others, tolerance):
    size = np.abs(values)
    return bool((np.abs(values - others) <= tolerance * (size + np.median(size))).all())


def _residuals(operator, vectors, levels):
    """‖(H − E)ψ‖ of columns, with what leaves the basis."""
    image = operator.basis.add(operator.apply(vectors, full=True), -levels * vectors)
    return np.sqrt((image**2).sum(axis=tuple(range(image.ndim - 1))))


def _in_chunks(apply, step):
    def chunked(columns):
        parts = [apply(columns[:, start : start + step]) for start in range(0, columns.shape[1], step)]
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    return chunked


def converge(make_operator, frame, n_levels, allowed):
    """Grow the basis until two sizes agree.

    Parameters
    ----------
    make_operator : callable
        Maps a `Basis` to an operator.
    frame : Frame
    n_levels : int
    allowed : callable
        Maps levels to the errors that are allowed, both (n_levels,).

    Returns
    -------
    solution : Solution
        The one of the largest basis.
    ratio : ndarray, shape (n_levels,)
        Estimated over allowed errors; all at most 1 if the levels converged.
    """
    dim = len(frame.scale)
    sizes = _first_sizes(frame.scale**2, n_levels if dim > 4 else 3 * n_levels + (20 if dim == 1 else 30))
    if sizes.max() > MAX_SIZE or simplex_size(sizes) > MAX_FUNCTIONS or np.prod(_nodes(sizes)) > MAX_GRID:
        raise InputError(f"{n_levels} levels in {dim} dimensions need too large a basis; ask for fewer.")
    # Two more at least: one more function of the other parity changes nothing and proves nothing.
    least = 2 if dim <= 4 else 1
    last, squares, per_square, ratio = None, [], 1e-3, np.full(n_levels, np.inf)
    while True:
        basis = Basis(frame, sizes)
        solution = solve(make_operator(basis), n_levels)
        defects = solution.residuals**2 / allowed(solution.levels)
        squares.append(max(defects.max(), 1e-6))
        if last is not None:
            moved = np.abs(solution.levels - last.levels) / allowed(solution.levels)
            # Residuals tell an agreement by symmetry, where what was added couples to nothing, from convergence.
            ratio = np.maximum(moved, defects / 1e4)
            if (ratio <= 1).all() and (sizes >= last.basis.sizes + least).all():
                return solution, ratio
            # An error is the squared residual over an energy; how far the levels moved tells which energy.
            per_square = np.clip(moved.max() / squares[-2], 1e-4, 1)
        estimates = per_square * np.array(squares)
        sizes = _grown(sizes, basis.tails(solution.vectors), estimates, least)
        if (sizes == basis.sizes).all() or simplex_size(sizes) > MAX_FUNCTIONS or np.prod(_nodes(sizes)) > MAX_GRID:
            return solution, ratio
        last = solution


def _first_sizes(weights, n_functions):
    """Sizes proportional to the weights, with at least a number of functions."""
    size = 1.0
    while True:
        sizes = np.maximum(np.rint(size * weights / weights.max()).astype(int), 1)
        if simplex_size(sizes) >= n_functions:
            return sizes
        size += 1


def _grown(sizes, tails, estimates, least):
    """The next sizes: axes along which the vectors are cut off grow by a factor, the others once these agree.

    `estimates` are errors of all sizes so far over the allowed one.
    """
    factor = {1: 1.5, 2: 1.4, 3: 1.25, 4: 1.25}.get(len(sizes), 1)
    active = tails >= 0.1 * tails.max()
    if estimates[-1] <= 1:
        factor, active = min(factor, 1.12), np.full(len(sizes), True)
    elif len(estimates) > 1 and estimates[-1] < estimates[-2]:
        # Errors fall geometrically: as far as the last step promises to lead to agreement, and not much further.
        steps = min(np.log(estimates[-1]) / np.log(estimates[-2] / estimates[-1]), 10)
        factor = min(max(factor**steps, min(factor, 1.06)), max(1.6, factor))
    grown = np.maximum(sizes + least, np.ceil(factor * sizes)).astype(int)
    return np.minimum(np.where(active, grown, sizes), MAX_SIZE)


def _nodes(sizes):
    """How many Gauss nodes the integrals in a basis of these sizes need along each axis."""
    nodes = sizes + 1 + (np.clip(sizes // 5, 3, 60) if len(sizes) <= 4 else 2)
    return nodes + nodes % 2  # even, so that no node lies on a plane of reflection


def simplex_size(sizes):
    """Number of functions of `simplex`, without the list of the last axis."""
    if len(sizes) == 1:
        return int(sizes[0]) + 1
    rows = simplex(sizes[:-1])
    left = 1 - (rows / np.asarray(sizes[:-1])).sum(axis=1)
    return int((np.floor(left * sizes[-1] + 1e-9) + 1).sum())
