"""Levels against closed forms, published values and independent integrals; symmetry, refusals, and samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.sparse import diags_array
from scipy.sparse.linalg import LinearOperator

from vaept.errors import ConvergenceError, InputError, VaeptError
from vaept.spectrum import _galerkin, _sampled, _vetting, lanczos, oscillator
from vaept.spectrum.levels import from_log_density, from_potential, from_samples

ROTATION = np.array([[0.8, -0.6], [0.6, 0.8]])
QUARTIC = {
    1.0: [0.803770651234273769, 2.737892268008434261, 5.179291687639390959, 7.942403984390965047],
    0.1: [0.559146327183519577, 1.769502643949054245, 3.138624308498120435],
}


def quartic_well(x, coupling=0.1):
    return (x**2 / 2 + coupling * x**4).sum(axis=1)


def two_wells(a):
    """log of ½N(a, 1) + ½N(−a, 1) along the first axis, N(0, 1) along the others, not normalised."""

    def log_density(x):
        wells = np.logaddexp(-((x[:, 0] - a) ** 2) / 2, -((x[:, 0] + a) ** 2) / 2)
        return wells - (x[:, 1:] ** 2).sum(axis=1) / 2

    return log_density


def two_well_gap(a, panels=400, order=16):
    """The gap by inverse iteration f ← 2∫₀ˣ (1/ρ) ∫_y^∞ f ρ: nothing but sums of positive numbers."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    to_series = np.linalg.inv(np.polynomial.legendre.legvander(nodes, order - 1))
    integrals = np.polynomial.legendre.legint(np.eye(order), lbnd=-1)
    up_to = np.polynomial.legendre.legval(nodes, integrals).T @ to_series
    step = (a + 9.5) / panels
    x = (np.arange(panels)[:, None] + 0.5) * step + nodes * step / 2
    weights, up_to = weights * step / 2, up_to * step / 2
    rho = np.exp(two_wells(a)(x.reshape(-1, 1))).reshape(x.shape)
    f = np.tanh(a * x)
    for _ in range(60):
        part = (f * rho) @ weights
        above = np.cumsum(part[::-1])[::-1, None] - (f * rho) @ up_to.T
        slope = 2 * above / rho
        below = np.concatenate([[0], np.cumsum(slope @ weights)[:-1]])[:, None]
        g = below + slope @ up_to.T
        gap = ((f**2 * rho) @ weights).sum() / ((f * g * rho) @ weights).sum()
        f = gap * g
    return gap


def two_well_samples(n, dim, a, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dim))
    x[:, 0] += a * rng.choice([-1, 1], n)
    return x


def close(levels, exact, tolerance=1e-10):
    return np.abs(levels[: len(exact)] - np.asarray(exact)).max() <= tolerance


@pytest.mark.parametrize("coupling", QUARTIC)
@pytest.mark.parametrize("shift", [0, 7.3])
def test_anharmonic_oscillator(coupling, shift):
    exact = QUARTIC[coupling]
    result = from_potential(lambda x: quartic_well(x - shift, coupling), 1, len(exact))
    assert close(result.levels, exact)
    assert (np.abs(result.levels - exact) <= result.residuals + 1e-12).all()
    assert result.multiplicities.tolist() == [1] * len(exact)


def test_coupled_oscillators():
    result = from_potential(lambda x: (x**2).sum(1) / 2 + 0.1 * (x[:, 0] * x[:, 1]) ** 2, 2, 6)
    # The published values have eight decimals.
    assert close(result.levels, [1.02339786, 2.06754112, 2.06754112, 3.06887041, 3.14766248, 3.19564557], 5.1e-9)
    assert result.multiplicities.tolist() == [1, 2, 1, 1, 1]


@pytest.mark.parametrize("g", [0.3, 0.9])
def test_bilinear_coupling(g):
    exact = np.sort([(i + 0.5) * math.sqrt(1 + g) + (j + 0.5) * math.sqrt(1 - g) for i in range(20) for j in range(20)])
    result = from_potential(lambda x: (x**2).sum(1) / 2 + g * x[:, 0] * x[:, 1], 2, 12)
    assert close(result.levels, exact[:12])


@pytest.mark.parametrize(("dim", "n_levels", "tol"), [(2, 20, 1e-10), (3, 10, 1e-8)])
def test_separable_well(dim, n_levels, tol):
    one = from_potential(quartic_well, 1, 12, tol=1e-12).levels
    exact = np.sort([sum(levels) for levels in itertools.product(one, repeat=dim)])[:n_levels]
    result = from_potential(quartic_well, dim, n_levels, tol=tol)
    assert close(result.levels, exact, tol)
    assert result.levels.shape == result.residuals.shape == (n_levels,)
    assert result.multiplicities[:2].tolist() == [1, dim]


@pytest.mark.parametrize("dim", range(1, 9))
def test_isotropic_oscillator_keeps_every_member(dim):
    shells = 4 if dim < 4 else 3 if dim < 7 else 2
    counts = [oscillator.multiplicity(n, dim) for n in range(shells)]
    result = from_potential(lambda x: (x**2).sum(1) / 8 - dim / 4, dim, sum(counts))
    assert close(result.levels, np.repeat(np.arange(shells) / 2, counts))
    assert result.multiplicities.tolist() == counts


@pytest.mark.parametrize("dim", range(2, 9))
def test_lanczos_keeps_every_member(dim):
    top = {2: 20, 3: 9, 4: 6, 5: 5}.get(dim, 4)
    energies = oscillator.quantum_numbers(top, dim).sum(axis=1) / 2
    n_levels = 1 + dim + dim * (dim + 1) // 2
    for seed in range(20):
        mirror = np.random.default_rng(seed).standard_normal(len(energies))
        mirror /= np.linalg.norm(mirror)

        def reflected(x, mirror=mirror):
            return x - 2 * mirror * (mirror @ x)

        def apply(x, reflected=reflected):
            return -reflected(energies * reflected(x.ravel()))

        operator = LinearOperator((len(energies),) * 2, matvec=apply, dtype=float)
        values, vectors = lanczos.largest_pairs(operator, n_levels)
        assert close(-values, np.sort(energies)[:n_levels])
        assert np.abs(vectors.T @ vectors - np.eye(n_levels)).max() < 1e-8


def test_levels_that_lanczos_missed_are_found(monkeypatch):
    energies = np.repeat(np.arange(1.0, 60), 3)
    eigsh, calls = lanczos.eigsh, []

    def forgetful(*operator, k, **options):
        calls.append(k)
        if len(calls) > 1:
            return eigsh(*operator, k=k, **options)
        kept = [0, 1, 3, *range(5, 5 + k - 3)]
        return -energies[kept], np.eye(len(energies))[:, kept]

    monkeypatch.setattr(lanczos, "eigsh", forgetful)
    values, vectors = lanczos.largest_pairs(-diags_array(energies), 6)
    assert close(-values, [1, 1, 1, 2, 2, 2], 1e-9)
    assert np.abs(vectors.T @ vectors - np.eye(6)).max() < 1e-8


def test_levels_that_do_not_converge_are_refused(monkeypatch):
    eigsh = lanczos.eigsh
    monkeypatch.setattr(lanczos, "eigsh", lambda *args, **options: eigsh(*args, maxiter=1, **options))
    with pytest.raises(ConvergenceError, match="fewer"):
        lanczos.largest_pairs(diags_array(np.linspace(0, 1, 3000) ** 8), 3)


def test_large_bases_need_no_matrix(monkeypatch):
    def potential(x):
        return quartic_well(x) + 0.05 * x[:, 0] * x[:, 1] ** 2

    dense = from_potential(potential, 2, 12)
    monkeypatch.setattr(_galerkin, "DENSE", 60)
    assert close(from_potential(potential, 2, 12).levels, dense.levels)


def test_levels_do_not_depend_on_the_frame():
    def potential(x):
        return x[:, 0] ** 2 / 2 + 8 * x[:, 1] ** 2 + 0.05 * x[:, 0] ** 4 + 0.3 * x[:, 0] ** 2 * x[:, 1]

    levels = from_potential(potential, 2, 8).levels
    moved = from_potential(lambda x: 3 + potential((x - [5, -7]) @ ROTATION), 2, 8).levels
    assert close(moved - 3, levels)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_states_far_from_the_origin_are_found(dim):
    centre = 60 * np.array([3, -4, 2, 1])[:dim]
    assert close(from_potential(lambda x: ((x - centre) ** 2).sum(1) / 2, dim, 3).levels, [dim / 2, dim / 2 + 1])
    assert close(from_log_density(lambda x: -((x - centre) ** 2).sum(1) / 2, dim, 2).levels, [0, 0.5])


def test_far_wells_are_both_found():
    one = from_potential(lambda x: (x[:, 0] ** 2 - 100) ** 2 / 400, 1, 4).levels
    assert one[1] - one[0] < 1e-9
    assert one[2] - one[1] > 1


def test_bound_states_below_a_continuum():
    def potential(x):
        return -10 / np.cosh(np.minimum(np.abs(x[:, 0]), 300)) ** 2

    assert close(from_potential(potential, 1, 3).levels, [-8, -4.5, -2])
    with pytest.raises(InputError, match="continuum"):
        from_potential(potential, 1, 5)


@pytest.mark.parametrize(
    ("potential", "dim"),
    [
        (lambda x: -(x**2).sum(1), 2),
        (lambda x: x[:, 0] ** 2 - 0.01 * x[:, 0] ** 4, 1),
        (lambda x: x[:, 0] ** 3, 1),
        (lambda x: 0 * x[:, 0], 1),
        (lambda x: x[:, 0] ** 2, 2),
        (lambda x: np.sin(x[:, 0]), 1),
        (lambda x: np.where(x[:, 0] > 0, x[:, 0] ** 2, np.inf), 1),
        (lambda x: x[:, 0] * np.nan, 1),
        (lambda x: x**2, 1),
        (lambda x: 1.0, 1),
        ("x**2", 1),
    ],
)
def test_potentials_that_are_refused(potential, dim):
    with pytest.raises(InputError):
        from_potential(potential, dim, 3)


@pytest.mark.parametrize(("dim", "n_levels", "tol"), [(0, 1, 0.1), (1, 0, 0.1), (1.5, 1, 0.1), (1, 1, 0), (1, 1, "x")])
def test_arguments_out_of_range(dim, n_levels, tol):
    for function in (from_potential, from_log_density):
        with pytest.raises(InputError):
            function(lambda x: (x**2).sum(1), dim, n_levels, tol=tol)


def test_a_cusp_does_not_reach_the_tolerance():
    with pytest.raises(ConvergenceError, match="tol"):
        from_potential(lambda x: np.abs(x[:, 0]), 1, 2)
    # E₀ = 1.01879297164747/2^(1/3), with the first zero of the derivative of Airy's function.
    assert close(from_potential(lambda x: np.abs(x[:, 0]), 1, 1, tol=1e-3).levels, [0.808616516], 1e-3)


def test_states_are_orthonormal_and_solve_the_equation():
    x = np.linspace(-8, 8, 1601)
    result = from_potential(quartic_well, 1, 5)
    states = result.eigenfunctions(x[:, None])
    step = x[1] - x[0]
    assert np.abs(states.T @ states * step - np.eye(5)).max() < 1e-9
    second = (states[2:] - 2 * states[1:-1] + states[:-2]) / step**2
    defect = -second / 2 + quartic_well(x[1:-1, None])[:, None] * states[1:-1] - result.levels * states[1:-1]
    assert np.abs(defect).max() < 1e-3
    with pytest.raises(InputError):
        result.eigenfunctions(x)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("given", [True, False])
def test_gaussian_density(dim, given):
    rng = np.random.default_rng(dim)
    root = rng.standard_normal((dim, dim))
    covariance, mean = root @ root.T + 0.1 * np.eye(dim), 3 * rng.standard_normal(dim)
    precision = np.linalg.inv(covariance)
    rates = 1 / (2 * np.linalg.eigvalsh(covariance))
    exact = np.sort([np.dot(n, rates) for n in itertools.product(range(9), repeat=dim)])[:7]

    def log_density(x):
        return 40 - 0.5 * np.einsum("ni,ij,nj->n", x - mean, precision, x - mean)

    gradient = (lambda x: -(x - mean) @ precision) if given else None
    result = from_log_density(log_density, dim, 7, gradient=gradient)
    assert result.levels[0] == 0
    assert close(result.levels, exact)


def test_density_modes_are_those_of_the_oscillator():
    points = np.random.default_rng(0).standard_normal((50, 1))
    modes = from_log_density(lambda x: -(x[:, 0] ** 2) / 2, 1, 4).eigenfunctions(points)
    states = oscillator.eigenfunctions(points, 3)
    assert (modes[:, 0] == 1).all()
    assert np.abs(np.abs(modes) - np.abs(states / states[:, :1])).max() < 1e-8


def test_published_gaps():
    assert abs(from_log_density(two_wells(1), 1, 2).levels[1] / 0.242533992706 - 1) < 3e-12
    levels = from_log_density(two_wells(2), 1, 4).levels
    exact = np.array([0.059532322233, 0.522708452325, 0.708921214313])
    assert np.abs(levels[1:] / exact - 1).max() < 1e-11


@pytest.mark.parametrize("a", [1, 3, 5, 6, 7])
def test_small_gaps_keep_their_digits(a):
    levels = from_log_density(two_wells(a), 1, 3).levels
    assert abs(levels[1] / two_well_gap(a) - 1) < 1e-9
    given = from_log_density(two_wells(a), 1, 3, gradient=lambda x: -x + a * np.tanh(a * x)).levels
    assert np.abs(given[1:] / levels[1:] - 1).max() < 1e-10


def test_two_wells_in_the_plane():
    one = from_log_density(two_wells(2), 1, 6, tol=1e-10).levels
    exact = np.sort((one[:, None] + np.arange(6) / 2).ravel())[:8]
    plane = from_log_density(two_wells(2), 2, 8)
    assert np.abs(plane.levels[1:] / exact[1:] - 1).max() < 1e-9
    turned = from_log_density(lambda x: two_wells(1)((x - [1, 2]) @ ROTATION), 2, 4).levels
    assert np.abs(turned[1:] / from_log_density(two_wells(1), 2, 4).levels[1:] - 1).max() < 1e-9


def test_unequal_wells_far_from_the_origin():
    def log_density(x):
        return np.logaddexp(math.log(0.8) - (x[:, 0] - 20) ** 2 / 2, math.log(0.2) - (x[:, 0] - 12) ** 2 / 0.5)

    rough, fine = (from_log_density(log_density, 1, 3, tol=tol).levels for tol in (1e-7, 1e-9))
    assert np.abs(rough[1:] / fine[1:] - 1).max() < 1e-7
    modes = from_log_density(log_density, 1, 3)
    x = np.linspace(6, 28, 4401)
    f, rho = modes.eigenfunctions(x[:, None]), np.exp(log_density(x[:, None]))
    assert np.abs((f * rho[:, None]).T @ f / rho.sum() - np.eye(3)).max() < 1e-6


@pytest.mark.parametrize("dim", [1, 2])
def test_heavy_tails_warn(dim):
    with pytest.warns(UserWarning, match="continuous above 0"):
        result = from_log_density(lambda x: -2 * np.log1p((x**2).sum(1) / 3), dim, 3)
    assert result.levels[0] == 0
    assert np.isnan(result.levels[1:]).all()
    assert result.multiplicities.tolist() == [1]
    assert result.eigenfunctions(np.zeros((4, dim))).shape == (4, 3)


def test_exponential_tails_have_a_threshold():
    # ρ = sech⁴: H = 2 − 3 sech²x, one excited level below the threshold.
    with pytest.warns(UserWarning, match="continuous above 2"):
        levels = from_log_density(lambda x: -4 * np.logaddexp(x[:, 0], -x[:, 0]), 1, 3).levels
    assert close(levels[:2], [0, 1.5], 1e-7)
    assert np.isnan(levels[2])


@pytest.mark.parametrize(
    "log_density", [lambda x: 0 * x[:, 0], lambda x: x[:, 0], lambda x: x, lambda x: x[:, 0] * np.nan]
)
def test_densities_that_are_refused(log_density):
    with pytest.raises(InputError):
        from_log_density(log_density, 1, 3)


def two_wells_gradient(x, a=2):
    return np.column_stack([-x[:, 0] + a * np.tanh(a * x[:, 0]), -x[:, 1:]])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: -two_wells_gradient(x),
        lambda x: 1.01 * two_wells_gradient(x),
        lambda x: two_wells_gradient(x)[:, ::-1],
        lambda x: two_wells_gradient(x) * [1, 0],
        lambda x: two_wells_gradient(x) * [1, -1],
        lambda x: two_wells_gradient(x)[:, 0],
        lambda x: two_wells_gradient(x) * np.nan,
        lambda x: two_wells_gradient(x) + 1j,
        lambda x: "steep",
        3,
    ],
)
def test_gradients_that_are_not_the_densitys(wrong):
    with pytest.raises(InputError, match="gradient"):
        from_log_density(two_wells(2), 2, 3, gradient=wrong)


def test_a_wrong_gradient_is_shown_beside_the_right_one():
    with pytest.raises(InputError, match=r"at x = \[.*\] it gives \[.*\], differences of log_density \[.*\]"):
        from_log_density(two_wells(2), 1, 3, gradient=lambda x: x)


@pytest.mark.parametrize("a", [0, 2, 4])
@pytest.mark.parametrize("scale", [1e-3, 1, 30])
def test_right_gradients_pass(a, scale):
    def log_density(x):
        return two_wells(a)(x / scale)

    given = from_log_density(
        log_density, 1, 3, tol=1e-6, gradient=lambda x: two_wells_gradient(x / scale, a) / scale
    ).levels
    found = from_log_density(log_density, 1, 3, tol=1e-6).levels
    assert np.abs(given[1:] / found[1:] - 1).max() < 1e-5


@pytest.mark.parametrize(
    "convert",
    [
        lambda values: values.tolist(),
        lambda values: values + 0j,
        lambda values: np.ma.masked_array(values, mask=False),
        lambda values: torch.tensor(values, requires_grad=True),
    ],
)
def test_functions_may_return_what_counts_as_an_array(convert):
    levels = from_potential(quartic_well, 1, 2).levels
    assert (from_potential(lambda x: convert(quartic_well(x)), 1, 2).levels == levels).all()
    gap = from_log_density(two_wells(2), 1, 2).levels
    assert (from_log_density(lambda x: convert(two_wells(2)(x)), 1, 2).levels == gap).all()
    given = from_log_density(two_wells(2), 1, 2, gradient=lambda x: convert(two_wells_gradient(x))).levels
    assert np.abs(given[1] / gap[1] - 1) < 1e-10


@pytest.mark.parametrize(
    "wrong",
    [lambda x: quartic_well(x) + 1j, lambda x: None, lambda x: "deep", lambda x: [[1], [1, 2]], lambda x: 1e90 * x],
)
def test_functions_that_return_something_else(wrong):
    for function in (from_potential, from_log_density):
        with pytest.raises(InputError):
            function(wrong, 1, 2)


@pytest.mark.parametrize(
    ("dim", "n_levels"), [(10**6, 2), (9, 2), (1, 10**6), (1, 501), (1, 400), (4, 501), (True, 2), (1, "3")]
)
def test_no_argument_runs_without_end(dim, n_levels):
    with pytest.raises(InputError):
        from_potential(lambda x: (x**2).sum(1) / 2, dim, n_levels)
    with pytest.raises(InputError):
        from_log_density(lambda x: -(x**2).sum(1) / 2, dim, n_levels)
    with pytest.raises(InputError):
        from_samples(np.random.default_rng(0).standard_normal((1000, 1)), n_levels if n_levels != 2 else 400)


def test_the_most_levels_in_one_dimension():
    levels = from_potential(lambda x: (x**2).sum(1) / 2, 1, 206).levels
    assert close(levels, np.arange(206) + 0.5, 1e-8)


@pytest.mark.parametrize("tol", [np.nan, np.inf, 0, 1, -1, "small", None, 1j, [0.1]])
def test_tolerances_out_of_range(tol):
    with pytest.raises(InputError, match="tol"):
        from_potential(quartic_well, 1, 2, tol=tol)
    with pytest.raises(InputError, match="tolerance"):
        from_potential(quartic_well, 1, 2).group(-1.0 if tol in (0, 1) or not np.isscalar(tol) else tol)


def test_modes_far_out_are_refused_and_not_nan():
    density = from_log_density(lambda x: -(x**2).sum(1) / 2, 1, 3)
    samples = from_samples(np.random.default_rng(0).standard_normal((2000, 1)), 3, degree=6)
    for result in (density, samples):
        assert np.isfinite(result.eigenfunctions([[5.0]])).all()
        with pytest.raises(InputError, match="no finite value"):
            result.eigenfunctions([[0.0], [1e99]])
        for wrong in ([[0.0, 1.0]], [["a"]], [[1j]], np.ma.masked_array([[1.0]], mask=True), None):
            with pytest.raises(InputError, match=r"^points "):
                result.eigenfunctions(wrong)
    assert (from_potential(quartic_well, 1, 2).eigenfunctions([[1e99]]) == 0).all()


def test_gaussian_samples_have_the_first_level_in_their_intervals():
    x = np.random.default_rng(0).standard_normal((100_000, 8))
    result = from_samples(x, 9)
    assert result.levels[0] == 0
    assert result.intervals[0].tolist() == [0, 0]
    low, high = result.intervals[1:].T
    assert ((low <= 0.5) & (high >= 0.5)).all()
    assert np.ptp(result.intervals[1:], axis=1).max() < 0.03
    assert result.multiplicities.tolist() == [1, 8]


@pytest.mark.parametrize(("n", "dim", "a"), [(20_000, 1, 2), (20_000, 3, 2), (50_000, 8, 2), (50_000, 2, 3)])
def test_sampled_gap_of_two_wells(n, dim, a):
    result = from_samples(two_well_samples(n, dim, a, seed=dim), 3)
    gap = two_well_gap(a)
    assert abs(result.levels[1] / gap - 1) < 0.1
    assert result.intervals[1, 0] < 1.05 * gap
    assert result.intervals[1, 1] > 0.95 * gap


def polygon(n, radius):
    angle = 2 * np.pi * np.arange(n) / n
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def mixture_levels(centres, width, n_levels):
    """Levels of a mixture of equal round Gaussians in the plane."""

    def log_density(x):
        return np.logaddexp.reduce(-((x[:, None] - centres) ** 2).sum(axis=2) / (2 * width**2), axis=1)

    return from_log_density(log_density, 2, n_levels, tol=1e-6).levels


def mixture_samples(centres, width, n, dim, seed):
    """The same mixture, round in further dimensions too, and turned."""
    rng = np.random.default_rng(seed)
    x = width * rng.standard_normal((n, dim))
    x[:, :2] += centres[rng.integers(len(centres), size=n)]
    return x @ np.linalg.qr(rng.standard_normal((dim, dim)))[0]


def test_sampled_ring_of_wells():
    wells = polygon(5, 3)
    exact = mixture_levels(wells, 0.7, 5)
    x = mixture_samples(wells, 0.7, 50_000, 2, seed=0)
    result = from_samples(x, 5)
    assert np.abs(result.levels[1:] / exact[1:] - 1).max() < 0.03
    assert ((result.intervals[:, 0] <= exact) & (exact <= result.intervals[:, 1])).all()
    # Polynomials alone are too stiff for five wells.
    assert from_samples(x, 5, degree=6, bootstrap=0).levels[1] > 1.1 * exact[1]


def test_sampled_clusters_in_six_dimensions():
    wells = polygon(3, 2.3)
    exact = mixture_levels(wells, 1.0, 3)[1:]
    x = mixture_samples(wells, 1.0, 50_000, 6, seed=0)
    assert np.abs(from_samples(x, 4, bootstrap=0).levels[1:3] / exact - 1).max() < 0.05


@pytest.mark.parametrize(("dim", "n_levels"), [(1, 3), (2, 6), (8, 9)])
def test_sampled_gaussian_needs_no_cells(dim, n_levels):
    # Outliers must not pass for states, in one dimension least of all.
    x = np.random.default_rng(5).standard_normal((20_000, dim))
    exact = np.sort([sum(n) / 2 for n in itertools.product(range(3), repeat=dim)])[:n_levels]
    levels = from_samples(x, n_levels, bootstrap=0).levels
    assert np.abs(levels[1:] / exact[1:] - 1).max() < 0.05
    assert abs(levels[1:].mean() / exact[1:].mean() - 1) < 0.02


def test_gradients_and_moments_of_the_space():
    rng = np.random.default_rng(2)
    y, weight = rng.standard_normal((5000, 3)), np.array([0.5, 1, 3])
    space = _sampled.Space(_sampled.Polynomials(2, 3), rng.standard_normal((7, 3)), 0.8)
    values, every = space.values(y), np.eye(17)
    assert np.abs(values[10:].sum(axis=0) - 1).max() < 1e-12
    gradients = list(space.gradients(every, values))
    for gradient, step in zip(gradients, 1e-5 * np.eye(3), strict=True):
        assert np.abs((space.values(y + step) - space.values(y - step)) / 2e-5 - gradient).max() < 1e-7
    mass, stiffness = space.moments(y, weight)
    assert np.abs(mass - values @ values.T / 5000).max() < 1e-12
    direct = sum(w * g @ g.T for w, g in zip(weight, gradients, strict=True)) / 10_000
    assert np.abs(stiffness - direct).max() < 1e-11


def test_sampled_levels_do_not_turn_with_the_samples():
    rng = np.random.default_rng(7)
    wells = two_well_samples(5_000, 3, 1.5, seed=0) * [1, 0.3, 2]
    ring = mixture_samples(polygon(5, 3), 0.7, 10_000, 3, seed=1)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    for x, degree in ((wells, 3), (wells, None), (ring, None)):
        one, other = from_samples(x, 5, degree=degree), from_samples(x @ rotation + 4, 5, degree=degree)
        assert close(one.levels, other.levels, 1e-8)
        assert np.abs(one.intervals - other.intervals).max() < 1e-8
        values, turned = one.eigenfunctions(x[:9]), other.eigenfunctions(x[:9] @ rotation + 4)
        assert np.abs(np.abs(values) - np.abs(turned)).max() < 1e-6


def test_sampled_modes_are_orthonormal_over_the_samples():
    x = two_well_samples(4_000, 2, 2, seed=3)
    result = from_samples(x, 4, bootstrap=0)
    modes = result.eigenfunctions(x)
    assert result.intervals is None
    assert np.abs(modes.T @ modes / len(x) - np.eye(4)).max() < 1e-9
    assert result.residuals.max() < 1e-10


def test_many_dimensions_at_low_degree():
    x = np.random.default_rng(1).standard_normal((20_000, 16)) * np.linspace(0.5, 2, 16)
    levels = from_samples(x, 4, degree=2, bootstrap=50).levels
    assert close(levels[1:], np.sort(0.5 / np.linspace(0.5, 2, 16) ** 2)[:3], 0.02)


def test_seed_decides_and_is_enough():
    x = two_well_samples(3_000, 2, 1, seed=5)
    one, same = from_samples(x, 3, seed=1), from_samples(x, 3, seed=1)
    assert (one.levels == same.levels).all()
    assert (one.intervals == same.intervals).all()


def test_bad_samples():
    rng = np.random.default_rng(8)
    x = rng.standard_normal((1000, 2))
    with pytest.raises(InputError, match="constant"):
        from_samples(np.column_stack([x, np.ones(1000)]), 3)
    for duplicate in (x[:, 0], 2 * x[:, 0] - x[:, 1] + 1):
        with pytest.raises(InputError, match="dependent"):
            from_samples(np.column_stack([x, duplicate]), 3)
    with pytest.raises(InputError, match="at least 2310 are needed"):
        from_samples(x, 3, degree=20)
    with pytest.raises(InputError, match="at least 30 are needed"):
        from_samples(x[:20], 3)
    with pytest.raises(InputError, match="too few for 7 levels"):
        from_samples(x, 7, degree=1)
    for bad in (x[:, 0], np.where(x > 2, np.nan, x), np.zeros((0, 2))):
        with pytest.raises(InputError):
            from_samples(bad, 2)
    for arguments in ({"n_levels": 0}, {"n_levels": 2, "degree": 0}, {"n_levels": 2, "bootstrap": -1}):
        with pytest.raises(InputError):
            from_samples(x, **arguments)


@pytest.mark.parametrize("dim", [1, 2, 8])
@pytest.mark.parametrize("distance", [10, 15, 300, 1e6])
def test_a_far_outlier_does_not_move_the_levels(dim, distance):
    x = np.random.default_rng(dim).standard_normal((2000, dim))
    x[7] = 0
    x[7, 0] = distance
    with pytest.warns(UserWarning, match=r"Rows \[7\] of the samples"):
        result = from_samples(x, dim + 1)
    assert ((result.intervals[1:, 0] <= 0.5) & (result.intervals[1:, 1] >= 0.5)).all()
    assert np.abs(result.levels[1:].mean() - 0.5) < 0.05


def test_a_few_outliers_do_not_move_the_levels():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2000, 2))
    x[[3, 5, 8]] = 20 * rng.standard_normal((3, 2)) + [[60, 0], [0, 60], [-60, 0]]
    with pytest.warns(UserWarning, match=r"\[3, 5, 8\]"):
        result = from_samples(x, 3)
    assert np.abs(result.levels[1:] - 0.5).max() < 0.05


def test_a_row_that_would_be_a_state_of_its_own():
    # At 5 σ it is hardly farther out than others, but nothing leads there.
    x = np.random.default_rng(0).standard_normal((2000, 1))
    x[5] = 5
    with pytest.warns(UserWarning, match=r"Rows \[5\]"):
        result = from_samples(x, 3)
    assert result.intervals[1, 0] <= 0.5 <= result.intervals[1, 1]
    assert np.abs(result.levels - [0, 0.5, 1]).max() < 0.15


def test_a_small_far_cluster_is_a_state():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5000, 2))
    x[:, 0] += 20 * (rng.random(5000) < 0.02)
    levels = from_samples(x, 3, bootstrap=0).levels
    assert levels[1] < 1e-3 and abs(levels[2] - 0.5) < 0.1


@pytest.mark.parametrize("draw", ["standard_t", "standard_cauchy"])
@pytest.mark.parametrize(("n", "dim"), [(2000, 2), (20_000, 1), (5000, 8)])
def test_power_law_tails_of_samples_warn(draw, n, dim):
    rng = np.random.default_rng(n)
    x = rng.standard_t(3, (n, dim)) if draw == "standard_t" else rng.standard_cauchy((n, dim))
    with pytest.warns(UserWarning, match="continuous above 0"):
        result = from_samples(x, 3)
    assert result.levels[0] == 0 and np.isnan(result.levels[1:]).all() and np.isnan(result.intervals[1:]).all()
    assert result.multiplicities.tolist() == [1]
    assert (result.eigenfunctions(x[:4])[:, 0] == 1).all()


@pytest.mark.parametrize("draw", ["standard_normal", "laplace", "uniform"])
@pytest.mark.parametrize("dim", [1, 2, 8])
def test_other_tails_do_not_warn(draw, dim):
    x = getattr(np.random.default_rng(1), draw)(size=(4000, dim))
    apart, heavy = _vetting.outliers_of(x)
    assert len(apart) == 0 and not heavy


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("copies", ["bootstrap", "tenfold", "weights"])
def test_repeated_rows_leave_the_level_in_its_interval(dim, copies):
    rng = np.random.default_rng(dim)
    x = rng.standard_normal((2000, dim))
    if copies == "bootstrap":
        x = x[rng.integers(len(x), size=5000)]
    elif copies == "tenfold":
        x = np.repeat(x, 10, axis=0)
    else:
        # Drawn twice as wide, and repeated as often as the density of N(0, I) asks for.
        x = 2 * rng.standard_normal((8000, dim))
        x = np.repeat(x, rng.poisson(3 * np.exp(-3 * (x**2).sum(axis=1) / 8)), axis=0)
    result = from_samples(x, 2)
    # Sampling moves the lower of two equal levels down.
    assert result.intervals[1, 0] <= 0.5 and result.intervals[1, 1] >= 0.48
    assert abs(result.levels[1] - 0.5) < 0.06


def test_copies_of_a_few_rows_and_coarse_grids_are_refused():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 2))
    for few in (
        np.repeat(x[:5], 400, axis=0),
        rng.integers(0, 2, (2000, 2)),
        rng.integers(0, 2, (2000, 8)).astype(bool),
        np.round(x),
        np.round(2 * x) / 2,
        np.maximum(x, 0),
    ):
        with pytest.raises(InputError, match=r"distinct values, too few|are needed"):
            from_samples(few, 3)
    with pytest.raises(InputError, match="coarse grid"):
        from_samples(rng.integers(0, 2, (2000, 2)), 3)


@pytest.mark.parametrize("spacing", [0.01, 0.1, 0.2])
def test_rounded_samples_have_the_same_levels(spacing):
    x = np.random.default_rng(3).standard_normal((20_000, 2))
    result = from_samples(np.round(x / spacing) * spacing, 3)
    assert np.abs(result.levels[1:] - 0.5).max() < 0.03
    assert ((result.intervals[1:, 0] <= 0.5) & (result.intervals[1:, 1] >= 0.5)).all()


def test_bytes_have_levels_of_their_own_scale():
    x = np.random.default_rng(0).integers(0, 256, (20_000, 1)).astype(np.uint8)
    # A particle in a box of width 256: ½π²/256².
    assert abs(from_samples(x, 2, bootstrap=0).levels[1] / (np.pi**2 / 2 / 256**2) - 1) < 0.02


@pytest.mark.parametrize("scale", [1e-12, 1e12, 1e-40, 1e80])
def test_levels_scale_with_the_samples(scale):
    x = np.random.default_rng(0).standard_normal((2000, 2))
    one, other = from_samples(x, 3), from_samples(scale * x, 3)
    assert np.abs(other.levels[1:] * scale**2 / one.levels[1:] - 1).max() < 1e-6


@pytest.mark.parametrize(
    "samples",
    [
        np.full((100, 2), 1e154),
        1e-60 * np.random.default_rng(0).standard_normal((100, 2)),
        np.random.default_rng(0).standard_normal((100, 2)) + 1j,
        np.ma.masked_less(np.random.default_rng(0).standard_normal((100, 2)), -2),
        np.zeros((1, 2)),
        np.random.default_rng(0).standard_normal((3, 8)),
        [["a", "b"]],
        [[1.0, 2.0], [3.0]],
        None,
    ],
)
def test_samples_that_are_refused(samples):
    with pytest.raises(InputError):
        from_samples(samples, 2)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        lambda x: x + 0j,
        lambda x: np.ma.masked_array(x, mask=False),
        lambda x: torch.tensor(x, requires_grad=True),
    ],
)
def test_samples_may_be_what_counts_as_an_array(convert):
    x = np.random.default_rng(0).standard_normal((1000, 2))
    assert (from_samples(convert(x), 3).levels == from_samples(x, 3).levels).all()


@pytest.mark.parametrize(
    "options",
    [
        {"n_levels": 10**6},
        {"n_levels": 200},
        {"degree": 10**6},
        {"degree": 2.0},
        {"bootstrap": 10**9},
        {"bootstrap": None},
        {"seed": -1},
        {"seed": 2**32},
        {"seed": None},
    ],
)
def test_options_of_samples_out_of_range(options):
    with pytest.raises(InputError):
        from_samples(np.random.default_rng(0).standard_normal((1000, 2)), **({"n_levels": 2} | options))


def test_results_are_frozen():
    result = from_potential(quartic_well, 1, 2)
    with pytest.raises(AttributeError):
        result.levels = None
    assert issubclass(ConvergenceError, VaeptError)
