import numpy as np
import pytest
import torch

from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior


@pytest.fixture
def mixture(rng):
    return AggregatePosterior(rng.standard_normal((30, 2)), rng.uniform(0.1, 0.8, (30, 2)))


def test_density_is_the_mean_of_the_components(mixture, rng):
    points = rng.standard_normal((7, 2))
    gaussians = np.exp(-0.5 * (points[:, None] - mixture.mean) ** 2 / mixture.variance)
    gaussians = (gaussians / np.sqrt(2 * np.pi * mixture.variance)).prod(-1)
    assert np.allclose(mixture.log_density(points), np.log(gaussians.mean(1)), atol=1e-12)


def test_derivatives_are_those_of_the_density(mixture, rng):
    points, h = rng.standard_normal((9, 2)), 1e-4
    gradient, laplacian = np.empty((9, 2)), np.zeros(9)
    for i, step in enumerate(h * np.eye(2)):
        up, down = mixture.log_density(points + step), mixture.log_density(points - step)
        gradient[:, i] = (up - down) / (2 * h)
        laplacian += (up + down - 2 * mixture.log_density(points)) / h**2
    assert np.allclose(mixture.gradient(points), gradient, atol=1e-5)
    assert np.allclose(mixture.potential(points), laplacian / 4 + (gradient**2).sum(1) / 8, atol=1e-4)


def test_root_of_the_density_is_a_state_of_energy_zero(mixture, rng):
    points, h = rng.standard_normal((9, 2)), 1e-3
    root = np.exp(0.5 * mixture.log_density(points))
    laplacian = -4 * root
    for step in ([h, 0], [-h, 0], [0, h], [0, -h]):
        laplacian = laplacian + np.exp(0.5 * mixture.log_density(points + np.array(step)))
    assert np.allclose(-0.5 * laplacian / h**2 + mixture.potential(points) * root, 0, atol=1e-3)


def test_prior_needs_no_perturbation(rng):
    prior = AggregatePosterior(np.zeros((5, 3)), np.ones((5, 3)))
    assert np.allclose(prior.perturbation(rng.standard_normal((20, 3))), 0, atol=1e-12)


def test_far_away_it_stays_finite(mixture):
    far = np.array([[50.0, -70.0]])
    assert np.isfinite(mixture.log_density(far)).all() and mixture.potential(far) > 0


def test_chunks_do_not_change_the_result(mixture, rng, monkeypatch):
    points = rng.standard_normal((40, 2))
    whole = mixture.potential(points)
    monkeypatch.setattr("vaept.landscape.density.CHUNK_VALUES", 30 * 7)
    assert np.allclose(mixture.potential(points), whole, rtol=1e-12)


def test_samples_have_the_moments_of_the_mixture(mixture):
    z = mixture.sample(200_000, seed=1)
    assert np.allclose(z.mean(0), mixture.mean.mean(0), atol=0.01)
    assert np.allclose(z.var(0), mixture.mean.var(0) + mixture.variance.mean(0), atol=0.02)
    assert np.array_equal(z[:5], mixture.sample(200_000, seed=1)[:5])


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        (np.zeros((3, 2)), np.ones((3, 1))),
        (np.zeros(3), np.ones(3)),
        (np.zeros((0, 2)), np.ones((0, 2))),
        (np.zeros((3, 2)), np.zeros((3, 2))),
        (np.full((3, 2), np.nan), np.ones((3, 2))),
    ],
)
def test_bad_components(mean, variance):
    with pytest.raises(InputError):
        AggregatePosterior(mean, variance)


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((3, 4)), np.full((3, 2), np.inf)])
def test_bad_points(mixture, points):
    with pytest.raises(InputError, match=r"^points must"):
        mixture.potential(points)


def test_blur_is_chosen_by_held_out_points(rng):
    points = rng.standard_normal((2, 400, 2))
    narrow = AggregatePosterior(points[0], np.full((400, 2), 1e-4))
    blurred = narrow.blurred(points[1])
    width = np.sqrt(blurred.variance[0, 0] - 1e-4)
    assert 0.2 < width < 0.6  # Scott's rule gives 400^(-1/6) = 0.37
    assert blurred.log_density(points[1]).mean() > narrow.log_density(points[1]).mean() + 1


def test_wide_components_are_blurred_little(rng):
    points = rng.standard_normal((2, 400, 2))
    wide = AggregatePosterior(0 * points[0], np.ones((400, 2)))
    assert wide.blurred(points[1]).variance.max() < 1.1


def test_a_blur_needs_held_out_points(rng):
    q = AggregatePosterior(rng.standard_normal((5, 2)), np.ones((5, 2)))
    with pytest.raises(InputError, match=r"held_out must have shape \(n, 2\)"):
        q.blurred(np.empty((0, 2)))


@pytest.mark.parametrize(
    ("mean", "variance"),
    [
        (np.zeros((3, 2)) + 1j, np.ones((3, 2))),
        (np.ma.masked_array(np.zeros((3, 2)), mask=True), np.ones((3, 2))),
        ([["a", "b"]], [[1.0, 1.0]]),
        ([[0.0], [0.0, 1.0]], np.ones((2, 2))),
        (None, None),
        (np.full((3, 2), 1e154), np.ones((3, 2))),
        (np.zeros((3, 2)), np.full((3, 2), 1e-154)),
        (np.ones((3, 2)), np.full((3, 2), 1e-20)),  # log densities would be rounding
    ],
)
def test_components_of_other_kinds(mean, variance):
    with pytest.raises(InputError):
        AggregatePosterior(mean, variance)


@pytest.mark.parametrize("options", [{"n": 10**12}, {"n": 2.0}, {"n": 3, "seed": -1}, {"n": 3, "seed": 2**32}])
def test_draws_out_of_range(mixture, options):
    with pytest.raises(InputError):
        mixture.sample(**options)


@pytest.mark.parametrize(
    "convert", [lambda a: a + 0j, lambda a: torch.tensor(a, requires_grad=True), np.ma.masked_array]
)
def test_what_counts_as_an_array(mixture, rng, convert):
    points = rng.standard_normal((4, 2))
    same = AggregatePosterior(convert(mixture.mean), convert(mixture.variance))
    assert np.array_equal(same.potential(convert(points)), mixture.potential(points))
