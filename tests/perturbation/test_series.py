import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite import hermgauss
from scipy import sparse
from scipy.special import binom
from scipy.stats import ortho_group

from vaept.errors import InputError
from vaept.perturbation.orientation import orient
from vaept.perturbation.series import oscillator_series, resum, series
from vaept.spectrum.oscillator import quantum_numbers

# Bender & Wu 1969: p²/2 + x²/2 + g x⁴.
ANHARMONIC = {
    0: [1 / 2, 3 / 4, -21 / 8, 333 / 16, -30885 / 128, 916731 / 256, -65518401 / 1024, 2723294673 / 2048],
    1: [3 / 2, 15 / 4, -165 / 8, 3915 / 16, -520485 / 128, 21304485 / 256],
}
ANHARMONIC_LEVELS = {0.1: 0.559146327183519577, 1.0: 0.803770651234273769}
X2Y2 = {
    0: [[1, 1 / 4, -3 / 16]],
    1: [[2, 3 / 4, -15 / 16, 21 / 8]] * 2,
    2: [[3, 3 / 4, -3 / 4, 117 / 64], [3, 7 / 4, -15 / 4, 979 / 64], [3, 9 / 4, -63 / 16, 477 / 32]],
}


def close(found, expected, tol=1e-12):
    """Equal up to `tol` relative; 0 where 0 is expected."""
    assert np.shape(found) == np.shape(expected)
    return np.allclose(found, expected, rtol=tol, atol=1e-300)


def central_quartic(dim):
    """|x|⁴ as a polynomial."""
    pairs = itertools.product(np.eye(dim, dtype=int), repeat=2)
    terms = [tuple((2 * (a + b)).tolist()) for a, b in pairs]
    return {exponents: float(terms.count(exponents)) for exponents in terms}


def degenerate_problem(rng, multiplicity, *, split_at_first=True, n=12):
    """Levels of H₀ with one degenerate level at 0, and a V; the degenerate states come first."""
    levels = np.concatenate([np.zeros(multiplicity), rng.choice([-3.0, -2.0, 2.0, 3.0, 4.0], n - multiplicity)])
    v = rng.normal(size=(n, n))
    v = (v + v.T) / 2
    if not split_at_first:
        v[:multiplicity, :multiplicity] = 0.3 * np.eye(multiplicity)
    return levels, v, int(np.flatnonzero(np.unique(levels) == 0)[0])


def anharmonic_fractions(order):
    """Ground series of p²/2 + x²/2 + g x⁴ by Bender & Wu's recursion for the wave function, in exact numbers.

    With ψ = exp(−x²/2) Σ_k gᵏ Σ_j a_kj x²ʲ and a_k0 = 0, comparing powers gives a_kj downwards in j, and E_k = −a_k1.
    """
    energies, a = [Fraction(1, 2)], [{0: Fraction(1)}]
    for k in range(1, order + 1):
        row = {}
        for j in range(2 * k, 0, -1):
            known = sum(energies[i] * a[k - i].get(j, 0) for i in range(1, k)) - a[k - 1].get(j - 2, 0)
            row[j] = (known + (j + 1) * (2 * j + 1) * row.get(j + 1, 0)) / (2 * j)
        a.append(row)
        energies.append(-row[1])
    return energies


def power_sum_by_contour(levels, v, multiplicity, power, order, radius, points=128):
    """Taylor coefficients of Σ E(λ)^power over the states from E = 0, by Cauchy's integral over exact eigenvalues."""
    couplings = radius * np.exp(2j * np.pi * np.arange(points) / points)
    values = np.linalg.eigvals(np.diag(levels) + couplings[:, None, None] * v)
    nearest = np.take_along_axis(values, np.abs(values).argsort(axis=1)[:, :multiplicity], axis=1)
    return (np.fft.fft((nearest**power).sum(axis=1)) / points).real[: order + 1] / radius ** np.arange(order + 1)


def power_sum(rows, power):
    """The same coefficients from the series of each state."""
    product = np.zeros_like(rows)
    product[:, 0] = 1
    for _ in range(power):
        product = np.array([np.convolve(p, r)[: rows.shape[1]] for p, r in zip(product, rows, strict=True)])
    return product.sum(axis=0)


@pytest.mark.parametrize("level", ANHARMONIC)
def test_anharmonic_oscillator(level):
    expected = ANHARMONIC[level]
    assert close(oscillator_series({(4,): 1.0}, 1, level, len(expected) - 1), [expected])


def test_anharmonic_oscillator_in_the_designs_units():
    expected = [[1 / 4, 3, -84, 5328, -494160, 58670784]]
    assert close(oscillator_series({(4,): 1.0}, 1, 0, 5, omega=0.5), expected)


def test_anharmonic_oscillator_to_high_order_against_exact_fractions():
    assert close(oscillator_series({(4,): 1.0}, 1, 0, 20)[0], [float(e) for e in anharmonic_fractions(20)])


@pytest.mark.parametrize("level", X2Y2)
def test_two_dimensional_quartic(level):
    expected = np.array(X2Y2[level])
    assert close(oscillator_series({(2, 2): 1.0}, 2, level, expected.shape[1] - 1), expected)


@pytest.mark.parametrize("level", X2Y2)
def test_two_dimensional_quartic_in_the_designs_units(level):
    # x = y/√ω turns ω = ½ with g into ω = 1 with g/ω³ = 8g, and halves the energy.
    expected = np.array(X2Y2[level])
    order = expected.shape[1] - 1
    scaled = expected * 0.5 * 8.0 ** np.arange(order + 1)
    assert close(oscillator_series({(2, 2): 1.0}, 2, level, order, omega=0.5), scaled)


@pytest.mark.parametrize(("dim", "level"), [(1, 0), (1, 5), (2, 1), (3, 2), (16, 1)])
def test_linear_potential_has_a_second_order_only(dim, level):
    rows = oscillator_series({(1,) + (0,) * (dim - 1): 1.0}, dim, level, 6, omega=0.5)
    expected = np.tile([level / 2 + dim / 4, 0, -2, 0, 0, 0, 0], (math.comb(level + dim - 1, dim - 1), 1))
    assert close(rows, expected)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 6])
def test_bilinear_coupling(level):
    # Exactly (n₊ + ½)√(1 + g) + (n₋ + ½)√(1 − g).
    root = binom(0.5, np.arange(11))
    signs = (-1.0) ** np.arange(11)
    expected = [(n + 0.5) * root + (level - n + 0.5) * root * signs for n in range(level + 1)]
    assert close(oscillator_series({(1, 1): 1.0}, 2, level, 10), expected)


@pytest.mark.parametrize("level", [1, 2, 5])
def test_rotated_separable_quartic(level):
    # In turned coordinates u⁴ + w⁴: equal pairs of levels, which no order may split.
    cos, sin = np.cos(0.7), np.sin(0.7)
    potential = {
        (k, 4 - k): math.comb(4, k) * (cos**k * sin ** (4 - k) + (-sin) ** k * cos ** (4 - k)) for k in range(5)
    }
    single = [oscillator_series({(4,): 1.0}, 1, n, 8)[0] for n in range(level + 1)]
    expected = sorted((single[n] + single[level - n]).tolist() for n in range(level + 1))
    assert close(oscillator_series(potential, 2, level, 8), expected)


def test_central_quartic_keeps_its_multiplets_and_agrees_with_one_dimension():
    # In three dimensions the s states obey the equation of the odd states on a line.
    odd = [oscillator_series({(4,): 1.0}, 1, n, 8)[0] for n in (1, 3)]
    assert close(oscillator_series(central_quartic(3), 3, 0, 8)[0], odd[0])
    rows = oscillator_series(central_quartic(3), 3, 2, 8)
    assert close(rows[5], odd[1])
    assert close(rows[:5], np.tile(rows[0], (5, 1)))
    multiplets = np.diff(np.flatnonzero(np.diff(oscillator_series(central_quartic(3), 3, 6, 6)[:, 1]) > 1e-6))
    assert multiplets.tolist() == [9, 5]


def test_splitting_that_begins_at_second_order():
    # x³ in two dimensions: second order −(30n² + 30n + 11)/8, and n = 0, 1, 2 in the shell N = 2.
    rows = oscillator_series({(3, 0): 1.0}, 2, 2, 2)
    assert close(rows, [[3, 0, -191 / 8], [3, 0, -71 / 8], [3, 0, -11 / 8]])


@pytest.mark.parametrize("length", [2, 3, 5])
def test_splitting_that_begins_at_a_late_order(length):
    # Two equal states at the ends of a chain: they feel each other at the order of its length, ±λ^length.
    levels = np.array([0.0, *[1.0] * (length - 1), 0.0])
    v = np.diag(np.ones(length), 1)
    rows = series(levels, v + v.T, 0, length)
    assert np.allclose(rows[0, :length], rows[1, :length], rtol=1e-13)
    assert np.isclose(rows[1, length] - rows[0, length], 2)
    turned = np.eye(length + 1)
    turned[np.ix_([0, -1], [0, -1])] = [[0.6, 0.8], [-0.8, 0.6]]
    assert np.allclose(series(levels, turned.T @ (v + v.T) @ turned, 0, length), rows, atol=1e-12)


@pytest.mark.parametrize("split_at_first", [True, False])
@pytest.mark.parametrize("multiplicity", [1, 2, 4])
def test_against_cauchys_integral(rng, multiplicity, split_at_first):
    levels, v, level = degenerate_problem(rng, multiplicity, split_at_first=split_at_first)
    rows = series(levels, v, level, 8)
    for power in range(1, multiplicity + 1):
        expected = power_sum_by_contour(levels, v, multiplicity, power, 8, radius=0.12)
        assert np.allclose(power_sum(rows, power), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_error_falls_with_the_next_power_of_the_coupling(rng, order):
    levels, v, level = degenerate_problem(rng, 3)
    rows = series(levels, v, level, order)
    start = int((levels < 0).sum())
    couplings = np.array([0.02, 0.01]) if order < 4 else np.array([0.04, 0.02])
    errors = []
    for coupling in couplings:
        exact = np.linalg.eigvalsh(np.diag(levels) + coupling * v)[start : start + 3]
        errors.append(np.abs(exact - rows @ coupling ** np.arange(order + 1)).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.25)


@pytest.mark.parametrize("split_at_first", [True, False])
def test_coupling_scales_the_coefficients(rng, split_at_first):
    levels, v, level = degenerate_problem(rng, 3, split_at_first=split_at_first)
    rows = series(levels, v, level, 6)
    assert np.allclose(series(levels, 7 * v, level, 6), rows * 7.0 ** np.arange(7), rtol=1e-9)
    assert np.allclose(series(3 * levels, 3 * v, level, 6), 3 * rows, rtol=1e-9)


@pytest.mark.parametrize("split_at_first", [True, False])
def test_choice_of_basis_does_not_matter(rng, split_at_first):
    levels, v, level = degenerate_problem(rng, 3, split_at_first=split_at_first)
    rows = series(levels, v, level, 6)
    rotation = np.eye(len(levels))
    for value in np.unique(levels):
        own = np.flatnonzero(levels == value)
        rotation[np.ix_(own, own)] = np.linalg.qr(rng.normal(size=(len(own), len(own))))[0]
    assert np.allclose(series(levels, rotation.T @ v @ rotation, level, 6), rows, rtol=1e-9)
    order = rng.permutation(len(levels))
    assert np.allclose(series(levels[order], v[np.ix_(order, order)], level, 6), rows, rtol=1e-9)


def test_symmetry_survives_rotations_and_small_errors_of_v(rng):
    # |x|⁴ in two dimensions by quadrature: the levels of N = 3 stay two doublets.
    numbers = quantum_numbers(20, 2)
    shells = numbers.sum(axis=1)
    v = sum(c * monomial_matrix(numbers, e) for e, c in central_quartic(2).items())
    rotation = np.eye(len(numbers))
    for shell in range(21):
        own = np.flatnonzero(shells == shell)
        rotation[np.ix_(own, own)] = np.linalg.qr(rng.normal(size=(len(own), len(own))))[0]
    noise = 1e-13 * rng.normal(size=v.shape)
    expected = oscillator_series(central_quartic(2), 2, 3, 6)
    for disturbed in (rotation.T @ v @ rotation, v * (1 + noise + noise.T)):
        rows = series(shells + 1.0, disturbed, 3, 6)
        assert np.allclose(rows, expected, rtol=1e-9)
        assert np.allclose(rows[::2], rows[1::2], rtol=1e-12)


def monomial_matrix(numbers, exponents, n=40):
    """⟨n|x^a y^b|m⟩ for ω = 1 by Gauss–Hermite quadrature."""
    x, w = hermgauss(n)
    functions = [np.sqrt(w) * np.pi**-0.25, np.sqrt(2 * w) * x * np.pi**-0.25]
    for k in range(1, numbers.max()):
        functions.append((np.sqrt(2) * x * functions[k] - np.sqrt(k) * functions[k - 1]) / np.sqrt(k + 1))
    functions = np.array(functions)
    factors = [(functions * x**e) @ functions.T for e in exponents]
    return np.prod([f[np.ix_(column, column)] for f, column in zip(factors, numbers.T, strict=True)], axis=0)


def test_polynomial_against_quadrature():
    potential = {(2, 2): 1.0, (3, 0): -0.4, (1, 2): 0.7, (0, 1): 0.2}
    numbers = quantum_numbers(12, 2)
    v = sum(c * monomial_matrix(numbers, e) for e, c in potential.items())
    dense = series(numbers.sum(axis=1) + 1.0, v, 2, 4)
    assert np.allclose(oscillator_series(potential, 2, 2, 4), dense, rtol=1e-10)
    # x = y/√ω: H = ω(−½Δ_y + ½|y|² + …), a monomial of degree D times ω^(−D/2 − 1).
    omega = 0.3
    scaled = {e: c * omega ** (sum(e) / 2 + 1) for e, c in potential.items()}
    assert np.allclose(oscillator_series(scaled, 2, 2, 4, omega=omega), omega * dense, rtol=1e-10)


def test_sparse_and_dense_agree_and_a_constant_moves_the_first_order_only(rng):
    levels, v, level = degenerate_problem(rng, 2)
    v[np.abs(v) < 0.5] = 0
    rows = series(levels, v, level, 5)
    assert np.array_equal(series(levels, sparse.csr_array(v), level, 5), rows)
    assert np.array_equal(series(levels, sparse.coo_matrix(v), level, 5), rows)
    moved = series(levels, v + 1e3 * np.eye(len(v)), level, 5)
    assert np.allclose(moved - rows, [[0, 1e3, 0, 0, 0, 0]] * 2, atol=1e-9)


def test_lower_orders_do_not_depend_on_the_order_asked_for():
    rows = oscillator_series({(2, 2): 1.0, (1, 2): 0.3}, 2, 2, 6)
    for order in range(6):
        assert np.allclose(oscillator_series({(2, 2): 1.0, (1, 2): 0.3}, 2, 2, order), rows[:, : order + 1], rtol=1e-12)


def test_no_potential():
    assert np.array_equal(oscillator_series({}, 2, 1, 2), [[2, 0, 0]] * 2)
    assert np.array_equal(series([3.0, 1.0, 3.0], np.zeros((3, 3)), 1, 2), [[3, 0, 0]] * 2)


def test_pade_and_truncation_of_the_anharmonic_series():
    coefficients = oscillator_series({(4,): 1.0}, 1, 0, 20)[0]
    result = resum(coefficients, list(ANHARMONIC_LEVELS))
    exact = np.array(list(ANHARMONIC_LEVELS.values()))
    assert result.pade_degrees == (10, 10)
    assert (np.abs(result.pade - exact) < [1e-8, 3e-3]).all()
    # The coefficients alternate and grow, so that the truth lies between two partial sums.
    assert (np.abs(result.truncated - exact) <= result.truncation_error).all()
    assert (result.truncation_order < 5).all()
    single = resum(coefficients, 0.1)
    assert (single.pade, single.truncated) == (result.pade[0], result.truncated[0])


def test_pade_improves_with_the_order_and_plain_sums_do_not():
    exact = ANHARMONIC_LEVELS[0.1]
    coefficients = oscillator_series({(4,): 1.0}, 1, 0, 20)[0]
    rows = [coefficients[: order + 1] for order in (4, 8, 12, 16, 20)]
    pade = [abs(resum(row, 0.1).pade - exact) for row in rows]
    plain = [abs(np.polynomial.polynomial.polyval(0.1, row) - exact) for row in rows]
    assert (np.diff(pade) < 0).all()
    assert (np.diff(plain) > 0).all()


def test_resum_of_exact_cases():
    geometric = resum(np.ones(6), np.array([[0.5, -3.0]]))
    assert np.allclose(geometric.pade, [[2, 0.25]])
    polynomial = resum([0.25, 0, -2.0, 0, 0, 0], 0.1)
    assert np.isclose(polynomial.pade, 0.23) and np.isclose(polynomial.truncated, 0.23)
    assert polynomial.pade_degrees == (5, 0) and polynomial.truncation_order == 2
    uncoupled = resum([0.5, 1.0, -20.0], 0.0)
    assert (uncoupled.pade, uncoupled.truncated, uncoupled.truncation_error) == (0.5, 0.5, 0)
    assert resum([0.5], 3.0).pade == 0.5
    assert resum([0.0, 0.0, 0.0], 3.0).pade == 0


def test_convergent_series_is_summed_to_its_end():
    result = resum(1 / np.array([math.factorial(k) for k in range(16)]), 1.0)
    assert result.truncation_order == 15
    assert abs(result.truncated - math.e) < result.truncation_error
    assert abs(result.pade - math.e) < 1e-14


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, np.nan], np.eye(2), 0, 1), "h0_levels"),
        (([], np.eye(0), 0, 1), "h0_levels"),
        (([0.0, 1.0], np.eye(3), 0, 1), r"shape \(2, 2\)"),
        (([0.0, 1.0], [[0, np.inf], [np.inf, 0]], 0, 1), "finite"),
        (([0.0, 1.0], sparse.csr_array([[0, np.nan], [np.nan, 0]]), 0, 1), "finite"),
        (([0.0, 1.0], [[0, 1], [2, 0]], 0, 1), "symmetric"),
        (([0.0, 1.0], [[0, 1j], [-1j, 0]], 0, 1), "real"),
        (([0.0, 1.0], np.eye(2), 0, -1), "order"),
        (([0.0, 1.0], np.eye(2), 2, 1), "level"),
        (([1.0, 1.0], np.eye(2), 1, 1), "level"),
        (([0.0, 1.0], np.eye(2), -1, 1), "level"),
    ],
)
def test_bad_input_of_series(arguments, message):
    with pytest.raises(InputError, match=message):
        series(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({(4,): 1.0}, 0, 0, 1), "dim"),
        (({(4,): 1.0}, 1, -1, 1), "level"),
        (({(4,): 1.0}, 1, 0, -1), "order"),
        (({(4,): 1.0}, 2, 0, 1), "dim = 2"),
        (({(2, -1): 1.0}, 2, 0, 1), "exponent"),
        (({(2, 0.5): 1.0}, 2, 0, 1), "exponent"),
        (({(4,): np.nan}, 1, 0, 1), "The coefficient of"),
        ((np.sin, 1, 0, 1), "potential"),
        (({(4,): 1.0}, 1, 0, 1, 0.0), "omega"),
        (({(4,): 1.0}, 1, 0, 1, np.nan), "omega"),
    ],
)
def test_bad_input_of_oscillator_series(arguments, message):
    options = {"omega": arguments[4]} if len(arguments) > 4 else {}
    with pytest.raises(InputError, match=message):
        oscillator_series(*arguments[:4], **options)


@pytest.mark.parametrize("arguments", [([], 0.1), ([[1.0, 2.0]], 0.1), ([1.0, np.nan], 0.1), ([1.0], [0.1, np.inf])])
def test_bad_input_of_resum(arguments):
    with pytest.raises(InputError, match=r"^coefficients must|^coupling must"):
        resum(*arguments)


@pytest.fixture
def oriented(rng):
    """A whitened field and latents that follow it, with a little noise."""
    field = rng.standard_normal((400, 3))
    return field, field + 0.05 * rng.standard_normal((400, 3))


def test_orient_undoes_rotations(oriented):
    field, latents = oriented
    turns = ortho_group.rvs(3, size=4, random_state=2)
    found = orient(np.stack([latents @ turn for turn in turns]), field)
    assert np.abs(found.latents - latents).max() < 0.1
    assert np.allclose(found.matrix @ found.matrix.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert (found.energy <= found.energy_before + 1e-12).all()
    assert ((found.rigidity > 0.5) & (found.rigidity <= 1)).all()


def test_orient_finds_the_lowest_energy_of_the_group(oriented):
    field, latents = oriented
    latents = latents @ ortho_group.rvs(3, random_state=5)
    moments = ((field - field.mean(axis=0)) * [1.1, 1.0, 0.9]).T @ latents / len(field)
    best = orient(latents, field).energy[0]
    tried = [-np.trace(turn @ moments.T) for turn in ortho_group.rvs(3, size=500, random_state=6)]
    assert best <= min(tried) + 1e-9 and best > min(tried) - 1
    signed = orient(latents, field, group="signed permutation")
    everyone = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            everyone.append(-np.trace((np.eye(3)[list(order)] * signs) @ moments.T))
    assert signed.energy[0] == pytest.approx(min(everyone)) and best <= signed.energy[0]


def test_orienting_twice_changes_nothing(oriented):
    field, latents = oriented
    once = orient(latents, field).latents[0]
    assert np.allclose(orient(once, field).matrix[0], np.eye(3), atol=1e-9)


def test_the_strength_of_the_coupling_does_not_matter(oriented):
    """Order 1 as soon as the coupling is positive."""
    field, latents = oriented
    assert np.allclose(orient(latents, field, coupling=1e-6).matrix, orient(latents, field, coupling=1).matrix)


def test_a_direction_that_the_field_does_not_hold_is_warned_of(oriented):
    field, latents = oriented
    latents[:, 2] = 0
    with pytest.warns(UserWarning, match=r"hardly holds some direction of members \[0\]"):
        orient(latents, field)


@pytest.mark.parametrize(
    ("latents", "field", "arguments", "message"),
    [
        (np.zeros(3), np.zeros((3, 1)), {}, "latents must have shape"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), {}, "latents must be finite"),
        (np.ones((5, 2)), np.ones((4, 2)), {}, r"field must have shape \(5, k\)"),
        (np.ones((5, 2)), np.ones((5, 1)), {}, r"shape \(5, 2 or more\)"),
        (np.ones((5, 2)), np.ones((5, 2)), {"group": "all"}, "group must be one of orthogonal"),
        (np.ones((5, 2)), np.ones((5, 2)), {"coupling": -1}, "coupling must have values of at least 0"),
    ],
)
def test_what_cannot_be_oriented(latents, field, arguments, message):
    with pytest.raises(InputError, match=message):
        orient(latents, field, **arguments)


TWO_LEVELS = (np.array([0.0, 1.0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
SECOND_ORDER = [[0, 0, -1, 0, 1]]  # (1 − √(1 + 4λ²))/2


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.tolist(),
        lambda a: a + 0j,
        lambda a: a.astype(np.float32),
        lambda a: np.ma.masked_array(a, mask=False),
        lambda a: torch.tensor(a, requires_grad=True),
    ],
)
def test_levels_and_matrix_may_be_what_counts_as_an_array(convert):
    assert np.array_equal(series(*map(convert, TWO_LEVELS), 0, 4), SECOND_ORDER)


@pytest.mark.parametrize("convert", [lambda v: v + 0j * v, lambda v: v.astype(np.int64), lambda v: v.tocsc()])
def test_sparse_matrices_may_be_of_any_real_kind(convert):
    energies, v = TWO_LEVELS
    assert np.array_equal(series(energies, convert(sparse.csr_array(v)), 0, 4), SECOND_ORDER)


@pytest.mark.parametrize(
    ("energies", "v"),
    [
        (TWO_LEVELS[0] + 1j, TWO_LEVELS[1]),
        (TWO_LEVELS[0], 1j * TWO_LEVELS[1]),
        (TWO_LEVELS[0], sparse.csr_array(1j * TWO_LEVELS[1])),
        (np.ma.masked_array([0.0, 1.0], mask=[True, False]), TWO_LEVELS[1]),
        (["a", "b"], TWO_LEVELS[1]),
        ([[0.0], [1.0, 2.0]], TWO_LEVELS[1]),
        (TWO_LEVELS[0], [["a", "b"], ["b", "a"]]),
        (TWO_LEVELS[0], [[1], [1, 2]]),
        (TWO_LEVELS[0], None),
        (TWO_LEVELS[0], 1e154 * TWO_LEVELS[1]),
        (1e154 * TWO_LEVELS[0], TWO_LEVELS[1]),
    ],
)
def test_what_is_no_problem_of_perturbation_theory(energies, v):
    with pytest.raises(InputError, match=r"^(h0_levels|v) "):
        series(energies, v, 0, 2)


@pytest.mark.parametrize("order", [10**6, 501, 2.0, None, True])
def test_orders_out_of_range(order):
    with pytest.raises(InputError, match="order must be an integer from 0 to 500"):
        series(*TWO_LEVELS, 0, order)
    with pytest.raises(InputError, match="order must be an integer from 0 to 500"):
        oscillator_series({(4,): 1.0}, 1, 0, order)


def test_the_highest_order_of_a_convergent_series():
    rows = series(*TWO_LEVELS, 0, 200)
    assert rows[0, 200] == pytest.approx(-binom(0.5, 100) * 4.0**100 / 2, rel=1e-9)


@pytest.mark.parametrize("tol", [np.nan, np.inf, -1, 1, "small", None])
def test_tolerances_of_series_out_of_range(tol):
    with pytest.raises(InputError, match="tol must be"):
        series([0.0, 1.0, 2.0], np.ones((3, 3)), 0, 2, tol=tol)
    with pytest.raises(InputError, match="tol must be"):
        oscillator_series({(4,): 1.0}, 1, 0, 2, tol=tol)


@pytest.mark.parametrize(
    ("potential", "dim", "level", "order", "omega"),
    [
        ({(4,): 1.0}, 1, 0, 400, 1.0),  # coefficients beyond float64
        ({(4,): 1e99}, 1, 0, 8, 1.0),
        ({(10**6,): 1.0}, 1, 0, 2, 1.0),
        ({(4,): 1.0}, 1, 10**7, 2, 1.0),
        ({(2,) * 8: 1.0}, 8, 0, 40, 1.0),
        ({(1,): 1.0}, 10**6, 0, 2, 1.0),
        ({(4,): 1.0}, 1, 0, 2, 1e-300),
        ({(4,): 1.0}, 1, 0, 2, 1e154),
        ({(4,): 1j}, 1, 0, 2, 1.0),
        ({(4,): "1"}, 1, 0, 2, 1.0),
        ({"4": 1.0}, 1, 0, 2, 1.0),
        ({None: 1.0}, 1, 0, 2, 1.0),
    ],
)
def test_series_that_would_have_no_end_or_no_number(potential, dim, level, order, omega):
    with pytest.raises(InputError):
        oscillator_series(potential, dim, level, order, omega=omega)


def test_resummation_far_out_has_its_limit():
    coefficients = oscillator_series({(4,): 1.0}, 1, 0, 20)[0]
    # Equal degrees: the approximant levels off at the ratio of its leading coefficients.
    near, far = resum(coefficients, [1e9, 1e100]).pade
    assert np.isfinite(far) and near == pytest.approx(far, rel=1e-5)
    assert resum(coefficients, 1e100).truncation_order == 0
    # One degree more above: it grows as λ.
    cubic = resum(coefficients[:4], [1e50, 1e100]).pade
    assert cubic[1] / cubic[0] == pytest.approx(1e50)
    # 1/(1 + λ) and 1 − λ.
    assert resum((-1.0) ** np.arange(7), 1e100).pade == pytest.approx(1e-100, abs=1e-90)
    assert resum([1.0, -1.0], 1e100).pade == -1e100


@pytest.mark.parametrize(
    ("coefficients", "coupling"),
    [
        ([1.0, 1.0, 1.0], 1.0),  # 1/(1 − λ)
        ([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 1e100),
        ([1.0, 2.0], "strong"),
        ([1.0, 2.0], None),
        ([1.0, 2.0], 1j),
        ([1.0, 2.0], 1e154),
        ([1.0, 2j], 0.1),
        ("series", 0.1),
        ([[1.0], [1.0, 2.0]], 0.1),
        (np.ma.masked_array([1.0, 2.0], mask=[False, True]), 0.1),
    ],
)
def test_couplings_without_a_finite_value(coefficients, coupling):
    with pytest.raises(InputError):
        resum(coefficients, coupling)


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.tolist(),
        lambda a: a + 0j,
        lambda a: np.ma.masked_array(a, mask=False),
        lambda a: torch.tensor(a, requires_grad=True),
    ],
)
def test_orient_takes_what_counts_as_an_array(oriented, convert):
    field, latents = oriented
    expected = orient(latents, field, coupling=[1.0, 2.0, 3.0])
    found = orient(convert(latents), convert(field), coupling=convert(np.array([1.0, 2.0, 3.0])))
    assert np.array_equal(found.matrix, expected.matrix)


@pytest.mark.parametrize("wrong", [lambda a: a + 1j, lambda a: np.ma.masked_less(a, 0), lambda a: a.astype(str)])
def test_orient_loses_neither_imaginary_parts_nor_masks(oriented, wrong):
    field, latents = oriented
    with pytest.raises(InputError, match="latents "):
        orient(wrong(latents), field)
    with pytest.raises(InputError, match="field "):
        orient(latents, wrong(field))
