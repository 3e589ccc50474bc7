import numpy as np
import pytest

from vaept import spectrum
from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.slowest import _bounds, _Trial, slowest_level


def wells(d, apart=3.0):
    """Two wells along the first coordinate, the prior along the others."""
    mean, variance = np.zeros((2, d)), np.ones((2, d))
    mean[:, 0], variance[:, 0] = [-apart / 2, apart / 2], 0.5
    return AggregatePosterior(mean, variance)


def exact(mixture, tol=1e-3):
    dim = mixture.mean.shape[1]
    return spectrum.from_log_density(mixture.log_density, dim, 3, tol=tol, gradient=mixture.gradient).levels


def scattered(rng, n, d):
    centres = rng.standard_normal((6, d)) * 1.2
    mean = centres[rng.integers(6, size=n)] + 0.3 * rng.standard_normal((n, d))
    return AggregatePosterior(mean, np.full((n, d), 0.15))


@pytest.mark.parametrize("d", [1, 8])
def test_two_wells(d):
    level = exact(wells(1))[1]
    found = slowest_level(wells(d))
    assert found.quotient == pytest.approx(level, rel=0.06) and found.upper == pytest.approx(level, rel=0.1)
    assert found.lower == pytest.approx(level, rel=0.15) and found.n_below == 1
    low, high = found.intervals.T
    assert (low <= [found.quotient, found.upper, found.lower]).all() and (low[:2] < level).all()
    assert (high >= [found.quotient, found.upper, found.lower]).all() and (high[:2] > level).all()


def test_many_components_in_a_plane(rng):
    mixture = scattered(rng, 60, 2)
    level = exact(mixture)[1]
    found = slowest_level(mixture, n_starts=2_000)
    assert found.quotient == pytest.approx(level, rel=0.05)
    assert found.intervals[2, 0] < level < found.intervals[1, 1]
    assert found.upper == pytest.approx(level, rel=0.1) and 0.6 * level < found.lower < 1.1 * level


def test_rates_are_inverse_squares_of_lengths(rng):
    small = scattered(rng, 20, 3)
    large = AggregatePosterior(4 * small.mean, 16 * small.variance)
    one, other = (slowest_level(mixture, n_starts=200, seed=5) for mixture in (small, large))
    assert one.time == pytest.approx(other.time / 16)
    ratios = [16 * getattr(other, key) / getattr(one, key) for key in ("quotient", "upper", "assumed")]
    np.testing.assert_allclose(ratios, 1, rtol=1e-2)


def test_gradients_of_trial_functions(rng):
    mixture = scattered(rng, 20, 3)
    trial = _Trial(mixture, mixture.sample(500), rng)
    points, small = mixture.sample(20, seed=1), 1e-2
    values, gradients = trial.with_gradients(points)
    np.testing.assert_allclose(values, trial(points), atol=1e-6)
    for k, shift in enumerate(small * np.eye(3)):
        slope = (trial(points + shift) - trial(points - shift)) / (2 * small)
        np.testing.assert_allclose(gradients[:, k], slope, atol=5e-3 * np.abs(gradients).max())


def test_bounds_of_known_functions(rng):
    """Three functions of eight modes: the bounds hold, and are exact where there are no other modes."""
    levels, time = np.array([0.1, 0.15, 0.3, 0.8, 1.0, 1.5, 2.0, 4.0]), 2.0
    mixed = np.eye(8)[:, :3] + 0.1 * rng.standard_normal((8, 3))
    moments = [(mixed.T * np.exp(-k * levels * time)) @ mixed for k in range(3)]
    upper, lower = _bounds(*moments, time, assumed=0.7)
    assert 0.09 < lower < 0.1 < upper < 0.108
    pure = [part[:3, :3] for part in (np.diag(np.exp(-k * levels * time)) for k in range(3))]
    np.testing.assert_allclose(_bounds(*pure, time, assumed=0.7), 0.1)
    assert _bounds(*pure, time, assumed=0.2) == (pytest.approx(0.1), 0)  # three functions below it are one too many


def test_a_single_gaussian_is_refused():
    with pytest.raises(InputError, match="half the inverse"):
        slowest_level(AggregatePosterior(np.zeros((1, 2)), np.ones((1, 2))))
