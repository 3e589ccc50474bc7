import math

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from vaept.errors import InputError
from vaept.spectrum import oscillator


def gauss_grid(n, dim):
    """Points and weights w/ρ, so that Σ w f(z)² is ∫ f² dz for f a polynomial times √N(z; 0, I)."""
    x, w = hermegauss(n)
    w = w / np.exp(-(x**2) / 2)
    points = np.stack(np.meshgrid(*[x] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.prod(np.stack(np.meshgrid(*[w] * dim, indexing="ij"), axis=-1).reshape(-1, dim), axis=1)
    return points, weights


@pytest.mark.parametrize(("dim", "max_level"), [(1, 40), (2, 12), (3, 7), (4, 4)])
def test_eigenfunctions_are_orthonormal(dim, max_level):
    points, weights = gauss_grid(max_level + 2, dim)
    values = oscillator.eigenfunctions(points, max_level)
    assert np.abs(values.T @ (weights[:, None] * values) - np.eye(values.shape[1])).max() < 1e-12


def test_eigenfunctions_solve_the_equation(rng):
    # −½Δψ + (|z|²/8 − d/4)ψ = (N/2)ψ, by central differences.
    points, h = rng.standard_normal((20, 2)), 1e-4
    numbers = oscillator.quantum_numbers(4, 2)
    values = oscillator.eigenfunctions(points, 4)
    laplacian = -4 * values
    for step in ([h, 0], [-h, 0], [0, h], [0, -h]):
        laplacian = laplacian + oscillator.eigenfunctions(points + step, 4)
    left = -0.5 * laplacian / h**2 + ((points**2).sum(1) / 8 - 0.5)[:, None] * values
    assert np.allclose(left, values * oscillator.levels(5)[numbers.sum(1)], atol=1e-6)


def test_ground_state_squared_is_the_prior(rng):
    points = rng.standard_normal((10, 3))
    density = np.exp(-(points**2).sum(1) / 2) / (2 * np.pi) ** 1.5
    assert np.allclose(oscillator.eigenfunctions(points, 0)[:, 0] ** 2, density)


@pytest.mark.parametrize("dim", range(1, 9))
def test_multiplicities_count_the_states(dim):
    numbers = oscillator.quantum_numbers(4, dim)
    assert len({tuple(row) for row in numbers}) == len(numbers)
    counts = np.bincount(numbers.sum(1))
    assert counts.tolist() == [oscillator.multiplicity(level, dim) for level in range(5)]
    assert (np.diff(numbers.sum(1)) >= 0).all()


def test_levels_are_evenly_spaced():
    assert oscillator.levels(4).tolist() == [0, 0.5, 1, 1.5]


def test_energy_is_an_eighth_of_the_relative_fisher_information(rng):
    # E_q |∇ log q/p|² / 8 by quadrature in one dimension.
    for mean, variance in [(0.0, 1.0), (1.3, 1.0), (0.0, 0.2), (-2.0, 3.0)]:
        x, w = hermegauss(20)
        z = mean + math.sqrt(variance) * x
        expected = (w * (z - (z - mean) / variance) ** 2).sum() / w.sum() / 8
        assert oscillator.energy([mean], [variance]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_populations_sum_to_one_and_their_mean_level_is_the_energy(rng, dim):
    mean, variance = rng.standard_normal((6, dim)), rng.uniform(0.3, 3, (6, dim))
    populations = oscillator.level_populations(mean, variance, 400)
    assert np.allclose(populations.sum(1), 1, atol=1e-12) and (populations >= 0).all()
    assert np.allclose(populations @ oscillator.levels(400), oscillator.energy(mean, variance), rtol=1e-10)


def test_populations_are_squared_overlaps(rng):
    mean, variance = np.array([0.8, -0.5]), np.array([0.4, 1.7])
    x, w = np.polynomial.legendre.leggauss(200)
    x, w = 12 * x, 12 * w
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = np.outer(w, w).ravel()
    psi = np.prod((2 * np.pi * variance) ** -0.25 * np.exp(-((points - mean) ** 2) / (4 * variance)), axis=1)
    amplitudes = (weights * psi) @ oscillator.eigenfunctions(points, 6)
    level = oscillator.quantum_numbers(6, 2).sum(1)
    expected = np.bincount(level, amplitudes**2)
    assert np.allclose(oscillator.level_populations(mean, variance, 7), expected, atol=1e-12)


def test_pure_shift_is_poisson():
    mean = np.array([1.5, -2.0, 0.3])
    rate = (mean**2).sum() / 4
    expected = [math.exp(-rate) * rate**n / math.factorial(n) for n in range(20)]
    assert np.allclose(oscillator.level_populations(mean, np.ones(3), 20), expected, atol=1e-14)


def test_pure_squeeze_has_even_levels_only():
    populations = oscillator.level_populations(np.zeros(2), np.array([0.3, 2.0]), 30)
    assert (populations[1::2] == 0).all() and (populations[::2] > 0).all()


def test_prior_is_the_ground_state():
    assert oscillator.energy(np.zeros(4), np.ones(4)) == 0
    assert oscillator.level_populations(np.zeros(4), np.ones(4), 3).tolist() == [1, 0, 0]


def test_kl_is_bounded_by_the_energy(rng):
    mean, variance = 3 * rng.standard_normal((10000, 3)), np.exp(3 * rng.standard_normal((10000, 3)))
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1)
    assert (kl <= oscillator.kl_bound(mean, variance)).all()
    shifted = oscillator.kl_bound(mean, np.ones_like(mean))
    assert np.allclose(shifted, 0.5 * (mean**2).sum(1))


def test_energy_does_not_change_when_a_round_posterior_is_turned(rng):
    mean, variance = rng.standard_normal((5, 3)), np.repeat(rng.uniform(0.2, 2, (5, 1)), 3, axis=1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert np.allclose(oscillator.energy(mean @ turn, variance), oscillator.energy(mean, variance))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oscillator.levels(0), "n_levels"),
        (lambda: oscillator.multiplicity(-1, 2), "level must be an integer from 0 to 10000"),
        (lambda: oscillator.quantum_numbers(2, 0), "dim"),
        (lambda: oscillator.eigenfunctions(np.zeros(3), 2), r"shape \(n, d\)"),
        (lambda: oscillator.eigenfunctions(np.full((2, 2), np.nan), 2), "finite"),
        (lambda: oscillator.energy([0.0], [0.0]), "variance must have values of at least"),
        (lambda: oscillator.energy([np.nan], [1.0]), "finite"),
        (
            lambda: oscillator.level_populations([0.0, 1.0], [1.0], 3),
            r"variance must have shape \(2,\); its shape is \(1,\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: oscillator.levels(10**9),
        lambda: oscillator.multiplicity(10**9, 10**9),
        lambda: oscillator.quantum_numbers(10**4, 8),
        lambda: oscillator.quantum_numbers(2, 10**9),
        lambda: oscillator.eigenfunctions(np.zeros((3, 2)), 10**9),
        lambda: oscillator.eigenfunctions(np.zeros((10**5, 1)), 10**4),
        lambda: oscillator.level_populations(np.zeros(2), np.ones(2), 10**9),
        lambda: oscillator.level_populations(np.zeros((10**5, 2)), np.ones((10**5, 2)), 10**4),
        lambda: oscillator.energy([1e154], [1.0]),
        lambda: oscillator.energy([1.0], [1e-154]),
        lambda: oscillator.energy([1j], [1.0]),
        lambda: oscillator.energy(np.ma.masked_array([1.0, 2.0], mask=[True, False]), [1.0, 1.0]),
        lambda: oscillator.energy(["a"], [1.0]),
        lambda: oscillator.energy([[1.0], [1.0, 2.0]], [1.0]),
        lambda: oscillator.energy(1.0, 1.0),
        lambda: oscillator.eigenfunctions(np.zeros((2, 2)) + 1j, 2),
        lambda: oscillator.eigenfunctions([["a"]], 2),
    ],
)
def test_limits_and_other_types(call):
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize(
    "convert", [lambda a: a + 0j, lambda a: torch.tensor(a, requires_grad=True), np.ma.masked_array]
)
def test_what_counts_as_an_array(convert, rng):
    mean, variance = rng.standard_normal((5, 2)), rng.uniform(0.2, 2, (5, 2))
    for function in (oscillator.energy, oscillator.kl_bound):
        assert np.array_equal(function(convert(mean), convert(variance)), function(mean, variance))
    assert np.array_equal(oscillator.eigenfunctions(convert(mean), 3), oscillator.eigenfunctions(mean, 3))


def test_extreme_posteriors_have_finite_energies():
    assert oscillator.energy([1e99], [1.0]) == pytest.approx(1e198 / 8)
    assert oscillator.energy([0.0], [1e-99]) == pytest.approx(1e99 / 8)
    assert oscillator.level_populations([1e99], [1e-99], 3).tolist() == [0, 0, 0]
