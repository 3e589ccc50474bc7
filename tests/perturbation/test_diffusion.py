import numpy as np
import pytest

from vaept.errors import InputError
from vaept.perturbation.diffusion import OPERATORS, graph_modes

LENGTH = 2
ORDERS = np.arange(1, 4) * np.pi


@pytest.fixture(scope="module")
def line():
    """Points on a line in the proportions of the density exp(−x), 0 < x < LENGTH."""
    return -np.log1p((np.arange(1000) + 0.5) / 1000 * np.expm1(-LENGTH))


def test_the_generator_has_the_modes_of_the_book(line):
    """Solutions of f″ − f′ = −2Ef with f′ = 0 at both ends."""
    levels, modes = graph_modes(line[:, None], 4)
    exact = 0.25 + (ORDERS / LENGTH) ** 2
    np.testing.assert_allclose(levels, [0, *exact / exact[0] * levels[1]], rtol=0.01, atol=1e-9)
    for mode, k in zip(modes.T[1:], ORDERS / LENGTH, strict=True):
        solution = np.exp(line / 2) * (np.cos(k * line) - np.sin(k * line) / (2 * k))
        assert abs(np.corrcoef(mode, solution)[0, 1]) > 0.999


def test_the_walk_is_another_motion(line):
    """On a line it counts points alone: cosines of the share of points to one side, at levels 0, 1, 4, 9."""
    levels, modes = graph_modes(line[:, None], 4, operator="walk")
    np.testing.assert_allclose(levels, levels[1] * np.arange(4) ** 2, rtol=0.01, atol=1e-9)
    for mode, k in zip(modes.T[1:], ORDERS, strict=True):
        assert abs(np.corrcoef(mode, np.cos(k * (np.arange(1000) + 0.5) / 1000))[0, 1]) > 0.999


@pytest.mark.parametrize("operator", OPERATORS)
def test_modes_are_orthonormal_whatever_the_unit(operator, rng):
    points = rng.standard_normal((300, 3))
    levels, modes = graph_modes(points, 5, operator=operator)
    assert np.ptp(modes[:, 0]) < 1e-8 and (np.diff(levels) >= 0).all()
    np.testing.assert_allclose(modes.T @ modes / 300, np.eye(5), atol=1e-8 if operator == "generator" else 0.2)
    others, same = graph_modes(1000 * points, 5, operator=operator)
    np.testing.assert_allclose(others, levels, atol=1e-9)
    np.testing.assert_allclose(np.abs(same), np.abs(modes), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"operator": "wave"}, "operator"), ({"points": np.zeros((15, 1))}, "at least 21"), ({"n_modes": 25}, "at least")],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        graph_modes(**({"points": np.arange(30.0)[:, None], "n_modes": 2} | change))
