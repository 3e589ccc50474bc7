import dataclasses

import numpy as np
import pytest

from vaept.errors import InputError
from vaept.uses import detours

ARC = np.linspace(0, np.pi, 41)
BOW = np.column_stack([np.cos(ARC), 0.5 * np.sin(ARC)])


def lengths(ways):
    return np.linalg.norm(np.diff(ways, axis=-2), axis=-1)


@pytest.mark.parametrize("d", [2, 5])
def test_detours_have_the_ends_and_the_length_of_the_way(d):
    way = np.pad(BOW, ((0, 0), (0, d - 2)))
    found = detours.detours(way, 20, seed=1)
    assert found.shape == (20, 41, d)
    np.testing.assert_allclose(found[:, [0, -1]], np.broadcast_to(way[[0, -1]], (20, 2, d)), atol=1e-12)
    np.testing.assert_allclose(lengths(found).sum(axis=1), lengths(way).sum(), rtol=0.02)
    assert (lengths(found).max(axis=1) < 1.1 * lengths(found).mean(axis=1)).all()
    assert np.ptp(found[:, 20], axis=0).max() > 0.3 and (detours.detours(way, 20, seed=1) == found).all()


def test_a_straight_way_has_itself_as_detour():
    straight = np.linspace([0.0, 1], [3, -1], 9)
    np.testing.assert_allclose(detours.detours(straight, 3), np.tile(straight, (3, 1, 1)), atol=1e-6)


@pytest.mark.parametrize("way", [BOW[:, :1], np.concatenate([BOW, BOW[::-1]])])
def test_ways_without_detours_are_refused(way):
    with pytest.raises(InputError, match="two dimensions and two ends"):
        detours.detours(way)


def test_a_ring_of_wells_beats_its_detours(member, rng):
    angles = rng.uniform(-0.75 * np.pi, 0.75 * np.pi, (2, 400))
    latents = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=2) + 0.1 * rng.standard_normal((2, 400, 2))
    latents[:, :60] = [-1.5, 1.5] + 0.1 * rng.standard_normal((2, 60, 2))
    latents[:, 60:120] = [-1.5, -1.5] + 0.1 * rng.standard_normal((2, 60, 2))
    variance = np.full((400, 2), 0.02)
    ring = dataclasses.replace(member, mean=latents[0], variance=variance, test_mean=latents[1], test_variance=variance)
    found = detours.measure(ring)
    assert found.lowest < found.energy - 1 and found.lower < 0.05


def test_a_single_minimum_has_no_detours(member, rng):
    latents, variance = 0.3 * rng.standard_normal((2, 1000, 2)), np.full((1000, 2), 0.01)
    one = dataclasses.replace(member, mean=latents[0], variance=variance, test_mean=latents[1], test_variance=variance)
    assert np.isnan(dataclasses.astuple(detours.measure(one))).all()
