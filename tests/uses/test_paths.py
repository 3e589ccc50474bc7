import dataclasses

import numpy as np
import pytest

from vaept.errors import InputError
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.paths import lowest_paths
from vaept.landscape.stationary import find_stationary_points, mueller_brown
from vaept.uses import paths
from vaept.vae.model import LIKELIHOODS, VAE


@pytest.fixture(scope="module")
def known():
    energy = FreeEnergy(mueller_brown, dim=2, bounds=[(-2, -1), (1.6, 2.5)])
    starts = np.random.default_rng(0).uniform([-1.5, -0.3], [1.1, 1.9], (60, 2))
    return energy, lowest_paths(energy, find_stationary_points(energy, starts))


def with_latents(member, centres, rng, n=300):
    latents = centres[rng.integers(len(centres), size=(2, n))] + 0.3 * rng.standard_normal((2, n, centres.shape[1]))
    variance = np.full(latents.shape, 0.01)
    return dataclasses.replace(
        member, mean=latents[0], variance=variance[0], test_mean=latents[1], test_variance=variance[1]
    )


def test_ways_share_their_ends_and_spacing(known):
    _, found = known
    ways = paths.ways_between(found, 0, 1)
    for points in ways.values():
        np.testing.assert_allclose(points[[0, -1]], found.minima[[0, 1]], atol=1e-9)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        assert steps.max() / steps.mean() < 1.1
    mirrored, lowest = ways["mirrored"], ways["lowest"]
    np.testing.assert_allclose(paths.ways_between(found, 1, 0)["mirrored"], mirrored[::-1], atol=0.05)
    middle = (mirrored + lowest) / 2
    line = found.minima[1] - found.minima[0]
    offset = middle - found.minima[0]
    np.testing.assert_allclose(offset[:, 0] * line[1] - offset[:, 1] * line[0], 0, atol=1e-9)


def test_the_lowest_path_is_low(known):
    energy, found = known
    ways = paths.ways_between(found, 0, 1)
    highest = {kind: energy(points).max() for kind, points in ways.items()}
    assert highest["lowest"] <= found.barriers[0, 1] + found.energies[0] + 1e-9
    assert highest["lowest"] < highest["straight"] and highest["lowest"] < highest["mirrored"]


def test_all_pairs_of_deep_minima(known):
    _, found = known
    ends = [way["straight"][[0, -1]] for way in paths.all_ways(found)]
    np.testing.assert_allclose(ends, found.minima[[[0, 1], [0, 2], [1, 2]]], atol=1e-9)


def test_a_missing_path_is_an_error(known):
    with pytest.raises(InputError, match="j must be an integer from 0 to 2"):
        paths.ways_between(known[1], 0, 3)


def test_measures_three_wells(member, rng):
    three = with_latents(member, np.array([[-2.0, 0], [2, 0], [0, 3]]), rng)
    found = paths.measure(three)
    assert found.minima == 3
    assert 0 < found.lowest.energy < found.straight.energy
    assert np.isnan([found.lowest.sure, found.straight.sure, found.mirrored.sure]).all()  # no classifier


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_classifier_is_asked_about_decoded_images(member, likelihood, rng):
    class Always:
        def sure(self, images):
            assert images.shape[1:] == member.image_shape
            assert images.min() >= 0 and images.max() <= 1  # which the mean of a Gaussian likelihood need not be
            return np.arange(len(images)) % 2 == 0

    model = VAE(member.model.pixels, 2, likelihood=likelihood).requires_grad_(False)
    judged = dataclasses.replace(member, model=model, judge=Always())
    two = with_latents(judged, np.array([[-2.0, 0], [2, 0]]), rng)
    assert paths.measure(two).lowest.sure == pytest.approx(0.5, abs=0.01)


def test_a_single_minimum_has_no_ways(member, rng):
    found = paths.measure(with_latents(member, np.zeros((1, 2)), rng, n=1000))
    assert found.minima == 1 and np.isnan([found.lowest.energy, found.straight.energy, found.mirrored.energy]).all()


def test_more_dimensions(member, rng):
    centres = 2 * np.eye(5)[:3]
    five = with_latents(member, centres, rng)
    five = dataclasses.replace(five, model=None)
    found = paths.measure(five)
    assert found.minima >= 3 and found.lowest.energy < found.mirrored.energy
