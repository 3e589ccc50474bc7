r"""The isotropic harmonic oscillator whose ground state is the prior: everything about it in closed form.

Units ħ = m = 1; H₀ = −½Δ + |z|²/8 − d/4 on ℝᵈ, so that ω = ½ and the ground energy is 0. Its ground state is
√N(z; 0, I); its levels are E_N = N/2, N = 0, 1, 2, …; level N has C(N+d−1, d−1) states
∏ He_{n_i}(z_i)/√(n_i!) · √N(z; 0, I) with n₁ + … + n_d = N, He the probabilists' Hermite polynomials. A Gaussian
posterior N(μ, diag σ²) is the state √N(μ, diag σ²): a vacuum that is displaced and squeezed. Sources:
textbooks on quantum mechanics (Cohen-Tannoudji, Diu & Laloë 1977, ch. V); Yuen 1976 for squeezed states; Gross
1975 for the inequality in `kl_bound`.
"""

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

OMEGA = 0.5
MAX_LEVEL = 10_000  # of levels, and of dimensions


def levels(n_levels: "int") -> "np.ndarray":
    """Energies E_N = N/2 of the first distinct levels above the ground state; ndarray of shape (n_levels,)."""
    return OMEGA * np.arange(arguments.integer(n_levels, "n_levels", 1, MAX_LEVEL))


def multiplicity(level: "int", dim: "int") -> "int":
    """Number of states of level N in d dimensions: C(N+d−1, d−1); an exact int."""
    level, dim = arguments.integer(level, "level", 0, MAX_LEVEL), arguments.integer(dim, "dim", 1, MAX_LEVEL)
    return math.comb(level + dim - 1, dim - 1)


def quantum_numbers(max_level: "int", dim: "int") -> "np.ndarray":
    """All (n₁, …, n_d) with n₁ + … + n_d ≤ max_level: ndarray of int, shape (states, dim).

    They are ordered by level; within a level the first coordinate's number falls. `max_level` is at most 10 000. Raises
    InputError if an argument is out of range, or if there are so many states that they would need more than 2 GiB.
    """
    max_level = arguments.integer(max_level, "max_level", 0, MAX_LEVEL)
    dim = arguments.integer(dim, "dim", 1, MAX_LEVEL)
    # Python lists take some ten times the memory of the array.
    arguments.memory(10 * dim * math.comb(max_level + dim, dim), "The quantum numbers of this max_level and dim")
    rows = []
    for level in range(max_level + 1):
        # Bars between stars: each choice of dim − 1 positions cuts `level` into dim parts.
        for bars in reversed(list(itertools.combinations(range(level + dim - 1), dim - 1))):
            edges = (-1, *bars, level + dim - 1)
            rows.append([b - a - 1 for a, b in itertools.pairwise(edges)])
    return np.array(rows)


def eigenfunctions(points: "ArrayLike", max_level: "int") -> "np.ndarray":
    """Eigenfunctions of H₀ up to level `max_level` at points (n, d): ndarray of shape (n, states).

    They are orthonormal functions of z, in the order of `quantum_numbers`. Raises InputError if the points are no
    finite (n, d) array, or if the result would need more than 2 GiB.
    """
    z = arguments.points(points, "points")
    max_level = arguments.integer(max_level, "max_level", 0, MAX_LEVEL)
    n_states = math.comb(max_level + z.shape[1], z.shape[1])
    arguments.memory(
        max((max_level + 1) * z.size, len(z) * n_states), "The eigenfunctions up to max_level at the points"
    )
    one_dimensional = hermite_functions(z, max_level)
    numbers = quantum_numbers(max_level, z.shape[1])
    values = np.ones((len(z), len(numbers)))
    for i, n_i in enumerate(numbers.T):
        values *= one_dimensional[n_i, :, i].T
    return values


def hermite_functions(z: "np.ndarray", max_n: "int") -> "np.ndarray":
    """He_n(z)/√n! · √N(z; 0, 1) for n = 0 … max_n, shape (max_n + 1, *z.shape), by the stable recurrence."""
    z, max_n = arguments.array(z, "z"), arguments.integer(max_n, "max_n", 0, MAX_LEVEL)
    arguments.memory((max_n + 1) * z.size, "The functions")
    functions = np.empty((max_n + 1, *z.shape))
    functions[0] = (2 * np.pi) ** -0.25 * np.exp(-(z**2) / 4)
    if max_n > 0:
        functions[1] = z * functions[0]
    for n in range(1, max_n):
        functions[n + 1] = (z * functions[n] - math.sqrt(n) * functions[n - 1]) / math.sqrt(n + 1)
    return functions


def energy(mean: "ArrayLike", variance: "ArrayLike") -> "np.ndarray":
    """Energy ⟨H₀⟩ of the states √N(μ, diag σ²) above the ground state, shape (…), of μ and σ², both of shape (…, d).

    ⟨H₀⟩ = Σ_i [μ_i² + (σ_i − 1/σ_i)²] / 8, one eighth of the Fisher information relative to the prior. Raises
    InputError if the shapes differ, a mean is not finite or a variance is not positive.
    """
    mean, variance = gaussian(mean, variance)
    return (mean**2 + variance - 2 + 1 / variance).sum(-1) / 8


def kl_bound(mean: "ArrayLike", variance: "ArrayLike") -> "np.ndarray":
    """4⟨H₀⟩, which the logarithmic Sobolev inequality puts above KL(N(μ, diag σ²) ‖ N(0, I)); nats, shape (…).

    Equality holds when all variances are 1. Parameters and errors are those of `energy`.
    """
    return 4 * energy(mean, variance)


def level_populations(mean: "ArrayLike", variance: "ArrayLike", n_levels: "int") -> "np.ndarray":
    """Probabilities |⟨N|ψ⟩|² of finding ψ = √N(μ, diag σ²) in each of the first levels of H₀, shape (…, n_levels).

    Over all levels they sum to 1, and Σ_N P_N N/2 is the `energy`; what is missing from 1 lies above. μ and σ² have
    shape (…, d); `n_levels` is at most 10 000. Raises InputError as `energy` does, if `n_levels` is out of range, or if
    the result would need more than 2 GiB.
    """
    mean, variance = gaussian(mean, variance)
    n_levels = arguments.integer(n_levels, "n_levels", 1, MAX_LEVEL)
    arguments.memory(n_levels * mean.size, "The populations of n_levels")
    numbers = _number_populations(mean, variance, n_levels)
    total = numbers[..., 0, :]
    for i in range(1, mean.shape[-1]):
        # The level is the sum of independent numbers, so its distribution is their convolution.
        own, last = numbers[..., i, :], total
        total = np.zeros_like(last)
        for n in range(n_levels):
            total[..., n:] += own[..., [n]] * last[..., : n_levels - n]
    return total


def _number_populations(mean, variance, size):
    """Populations of the one-dimensional states, shape (…, d, size).

    The amplitudes c_n have the generating function Σ c_n tⁿ/√n! = c_0 exp(αt + βt²/2) with α = μ/(1 + σ²) and
    β = (σ² − 1)/(σ² + 1), hence √(n+1) c_{n+1} = α c_n + β √n c_{n−1}.
    """
    alpha = mean / (1 + variance)
    beta = (variance - 1) / (variance + 1)
    c = np.zeros((size, *mean.shape))
    c[0] = np.sqrt(2 * np.sqrt(variance) / (1 + variance)) * np.exp(-(mean**2) / (4 * (1 + variance)))
    if size > 1:
        c[1] = alpha * c[0]
    for n in range(1, size - 1):
        c[n + 1] = (alpha * c[n] + beta * math.sqrt(n) * c[n - 1]) / math.sqrt(n + 1)
    return np.moveaxis(c**2, 0, -1)


def gaussian(mean: "ArrayLike", variance: "ArrayLike") -> "tuple[np.ndarray, np.ndarray]":
    """μ and σ² as float arrays of one shape (…, d)."""
    mean = arguments.array(mean, "mean", shape=("n", "…"))
    variance = arguments.array(variance, "variance", shape=mean.shape)
    # In size as in its inverse.
    return mean, arguments.array(variance, "variance", minimum=1 / arguments.LARGEST)
