r"""Oscillator bases and the operators in them: what turns −½Δ + U into numbers for `vaept.spectrum`.

Basis functions are products of oscillator functions, φ_n(x) = ∏ h_{n_i}(y_i)/√s_i with y = (axesᵀ(x − centre))/s
and h_n(y) = He_n(y)/√n! · √N(y; 0, 1): frequency ω_i = 1/(2s_i²), ħ = m = 1. All integrals are Gauss sums in
which the integrand is never truncated first. Potentials enter as H = −½Δ + U, densities as H = ½Σ AᵢᵀAᵢ with
Aᵢ = ∂ᵢ − ½∂ᵢlog ρ, whose singular values keep small levels to relative accuracy. Sources: Golub & Welsch 1969
(nodes); Kato 1949 (residuals as error bounds).
"""

import functools
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh, eigvalsh_tridiagonal, qr
from scipy.sparse.linalg import LinearOperator

from vaept.errors import InputError
from vaept.spectrum.lanczos import largest_pairs
from vaept.spectrum.oscillator import hermite_functions

DENSE = 1000  # largest operator that is diagonalised densely, but for many levels
MAX_FUNCTIONS = 30_000
MAX_GRID = 8_000_000
MAX_SIZE = 640  # beyond, the outermost Gauss weights underflow
CHUNK = 2_000_000  # numbers on the grid that are treated at once


@dataclass(frozen=True)
class Frame:
    """Mean and standard deviations of φ₀² along the axes (the columns), and how far along them states reach."""

    centre: np.ndarray
    axes: np.ndarray
    scale: np.ndarray
    reach: np.ndarray


class Basis:
    """Oscillator functions with Σ n_i/sizes_i ≤ 1, and the Gauss grid on which their integrals are taken.

    Coefficients are (functions, m) arrays. Grid values are (nodes₁, …, nodes_d, m) arrays that carry the square root
    of the quadrature weight, so that going to the grid and back are transposes of each other.
    """

    def __init__(self, frame, sizes):
        self.frame, self.sizes = frame, np.asarray(sizes)
        # A basis that already reaches as far as the states spends further functions on resolution alone.
        self.scale = np.minimum(frame.scale, frame.reach / (2 * np.sqrt(self.sizes)))
        self.kinetic_scale = 1 / (4 * self.scale**2)
        self.numbers = simplex(self.sizes)
        self._tables = [_tables(int(q)) for q in _nodes(self.sizes)]
        self.shape = tuple(len(table[0]) for table in self._tables)
        self._index = tuple(self.numbers.T)

    def __len__(self):
        return len(self.numbers)

    def grid_coordinates(self):
        """Nodes along the axes, in lengths: ndarray of shape (nodes, d)."""
        nodes = [s * table[0] for s, table in zip(self.scale, self._tables, strict=True)]
        return np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, len(self.shape))

    def grid(self):
        """Nodes as points x: ndarray of shape (nodes, d)."""
        return self.frame.centre + self.grid_coordinates() @ self.frame.axes.T

    def to_grid(self, coefficients, derivative=None):
        """Values of Σ c φ, or of its derivative along one axis, on the grid."""
        values = np.zeros((*(self.sizes + 1), coefficients.shape[1]))
        values[self._index] = coefficients
        for i in reversed(range(len(self.sizes))):
            table = self._table(i, derivative)[:, : self.sizes[i] + 1]
            # Contracting the last axis into the first, d times, leaves the axes in order.
            values = np.tensordot(table, values, axes=(1, len(self.sizes) - 1))
        return values

    def from_grid(self, values, derivative=None, full=False):
        """The transpose of `to_grid`; `full` keeps all functions that the grid can tell apart, as a tensor."""
        for i in reversed(range(len(self.sizes))):
            table = self._table(i, derivative)
            table = table if full else table[:, : self.sizes[i] + 1]
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
def _tables(n_nodes):
    """Gauss nodes, and the first n_nodes functions h_n and their derivatives there times √weight."""
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
        harmonic = 0.5 * basis.grid_coordinates() ** 2 @ (2 * basis.kinetic_scale) ** 2
        self._rest = (values - harmonic.reshape(basis.shape))[..., None]
        self._diagonal = ((2 * basis.numbers + 1) * basis.kinetic_scale).sum(axis=1)

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
        self._halves = -0.5 * gradient[..., None]

    def _roots(self, coefficients):
        """Each Aᵢ times coefficients, on the grid, and the function −½∂ᵢlog ρ."""
        values = self.basis.to_grid(coefficients)
        for i, half in enumerate(self._halves):
            yield self.basis.to_grid(coefficients, derivative=i) + half * values, half

    def apply(self, coefficients, full=False):
        """H times coefficients; `full` also returns what leaves the basis."""
        result, inner = 0, 0
        for i, (root, half) in enumerate(self._roots(coefficients)):
            result = result + 0.5 * self.basis.from_grid(root, derivative=i, full=full)
            inner = inner + half * root
        return result + 0.5 * self.basis.from_grid(inner, full=full)

    def polish(self, vectors, levels):
        """Levels as squared singular values of A on the span of the vectors: errors ε of these enter as ε²."""
        columns = vectors.shape[1]
        triangle = np.zeros((0, columns))
        for root, _ in self._roots(vectors):
            triangle = qr(np.vstack([triangle, root.reshape(-1, columns)]), mode="r")[0][:columns]
        _, singular, right = np.linalg.svd(triangle)
        return singular[::-1] ** 2 / 2, vectors @ right[::-1].T


@dataclass(frozen=True)
class Solution:
    """Lowest levels in one basis: levels (k,), vectors (functions, k), residuals ‖(H − E)ψ‖ (k,)."""

    basis: Basis = field(repr=False)
    levels: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def solve(operator, n_levels):
    """Lowest levels of an operator in its basis, every member of a multiplet listed; a `Solution`."""
    basis, size = operator.basis, len(operator.basis)
    n_levels = min(n_levels, size)
    if size <= max(DENSE, 6 * n_levels):
        matrix = _in_chunks(operator.apply, basis, np.eye(size))
        levels, vectors = eigh((matrix + matrix.T) / 2, subset_by_index=[0, n_levels - 1], check_finite=False)
    else:
        minus = LinearOperator((size, size), matvec=lambda v: -operator.apply(v[:, None])[:, 0], dtype=float)
        levels, vectors = largest_pairs(minus, n_levels)
        levels = -levels
    levels, vectors = operator.polish(vectors, levels)

    def residuals(columns):
        """‖(H − E)ψ‖, with what leaves the basis; E is in the first row."""
        image = basis.add(operator.apply(columns[1:], full=True), -columns[0] * columns[1:])
        return np.sqrt((image**2).sum(axis=tuple(range(image.ndim - 1))))

    return Solution(basis, levels, vectors, _in_chunks(residuals, basis, np.vstack([levels, vectors])))


def _in_chunks(function, basis, columns):
    """A function of columns, of as many at once as fit on the grid."""
    step = max(1, CHUNK // int(np.prod(basis.shape)))
    return np.concatenate([function(columns[:, k : k + step]) for k in range(0, columns.shape[1], step)], axis=-1)


def converge(make_operator, frame, n_levels, allowed):
    """Grow the basis until two sizes agree: the last `Solution`, and estimated over allowed errors (n_levels,).

    `make_operator` maps a `Basis` to an operator, `allowed` levels to the errors that are allowed. Where the ratios are
    above 1, the levels did not converge.
    """
    dim = len(frame.scale)
    sizes = _first_sizes(frame.scale**2, n_levels if dim > 4 else 3 * n_levels + (20 if dim == 1 else 30))
    if sizes.max() > MAX_SIZE or _too_large(sizes):
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
        sizes = _grown(sizes, basis.tails(solution.vectors), per_square * np.array(squares), least)
        if (sizes == basis.sizes).all() or _too_large(sizes):
            return solution, ratio
        last = solution


def _too_large(sizes):
    return len(simplex(sizes)) > MAX_FUNCTIONS or np.prod(_nodes(sizes)) > MAX_GRID


def _first_sizes(weights, n_functions):
    """Sizes proportional to the weights, with at least a number of functions."""
    size = 1.0
    while True:
        sizes = np.maximum(np.rint(size * weights / weights.max()).astype(int), 1)
        if len(simplex(sizes)) >= n_functions:
            return sizes
        size += 1


def _grown(sizes, tails, estimates, least):
    """The next sizes, from estimated over allowed errors so far: axes grow where vectors are cut off, then all."""
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
    return nodes + nodes % 2
