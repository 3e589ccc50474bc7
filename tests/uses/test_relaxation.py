import dataclasses

import numpy as np
import pytest

from vaept import spectrum
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.stationary import double_well
from vaept.uses.relaxation import MODES, measure, relax


def test_walkers_in_a_double_well_keep_to_the_level(rng):
    energy = FreeEnergy(double_well(barrier=1.5), dim=1)
    line = np.linspace(-2.5, 2.5, 2001)
    weight = np.exp(-energy(line[:, None]))
    starts = rng.choice(line, 300, p=weight / weight.sum())[:, None]
    modes = spectrum.from_log_density(lambda z: -energy(z), 1, 4)
    found = relax(energy, starts, modes, n_modes=2)
    np.testing.assert_allclose(found.predicted, 1 / modes.levels[1:3])
    assert found.measured[0] == pytest.approx(found.predicted[0], rel=0.15)
    assert found.intervals[0, 0] < found.measured[0] < found.intervals[0, 1]
    assert found.gaussian < 0.7 * found.predicted[0]  # a Gaussian knows no barrier
    expected = np.exp(-found.lags[:8, None] / found.predicted)
    assert np.abs(found.correlation[:8] - expected).max() < 0.2
    assert found.correlation[0] == pytest.approx(1)


def test_a_gaussian_is_its_own_control(member, rng):
    points = rng.standard_normal((2, 500, 2)) * [1.2, 0.8]
    round_ = dataclasses.replace(
        member,
        mean=points[0],
        variance=np.full((500, 2), 0.04),
        test_mean=points[1],
        test_variance=np.full((500, 2), 0.04),
    )
    found = measure(round_)
    assert found.spectrum.shape == found.covered.shape == (MODES,) and np.isin(found.covered, (0, 1)).all()
    assert found.spectrum[0] == pytest.approx(1, abs=0.2)
    assert found.gaussian == pytest.approx(found.spectrum[0], abs=0.15)
