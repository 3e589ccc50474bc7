import dataclasses

import numpy as np
import pytest

from vaept import spectrum
from vaept.uses.bracket import measure


@pytest.mark.slow
def test_the_level_of_a_landscape_lies_between_the_bounds(member, rng):
    centres = np.array([[-1.3, 0.0], [1.3, 0], [0, 1.5]])
    latents = centres[rng.integers(3, size=(2, 150))] + 0.4 * rng.standard_normal((2, 150, 2))
    variance = np.full((150, 2), 0.05)
    three = dataclasses.replace(
        member, mean=latents[0], variance=variance, test_mean=latents[1], test_variance=variance
    )
    q = three.aggregate  # the same mixture, as it has few components
    level = spectrum.from_log_density(q.log_density, 2, 2, tol=1e-3, gradient=q.gradient).levels[1]
    found = measure(three)
    assert found.quotient[0] == pytest.approx(level, rel=0.05)
    assert found.upper[0] == pytest.approx(level, rel=0.15)
    assert found.lower[1] < level < found.upper[2]
    for row in dataclasses.astuple(found):
        assert row.shape == (3,) and row[1] <= row[0] <= row[2]
