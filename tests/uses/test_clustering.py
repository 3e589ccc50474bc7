import dataclasses

import numpy as np
import pytest

from vaept.errors import InputError
from vaept.uses.clustering import METHODS, Likeness, agreement, along_mode, groups, measure


@pytest.fixture(scope="session")
def wells(member):
    """A member whose latents lie in three wells, which are the classes."""
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=600)
    centres = np.array([[-2.0, 0], [2, 0], [0, 3]])
    latents = centres[labels] + 0.4 * rng.standard_normal((600, 2))
    variance = np.full((600, 2), 0.01)
    rows = slice(0, 300), slice(300, 600)
    return dataclasses.replace(
        member,
        mean=latents[rows[0]],
        variance=variance[rows[0]],
        test_mean=latents[rows[1]],
        test_variance=variance[rows[1]],
        labels=labels[rows[1]],
    )


def test_every_method_finds_separate_wells(wells):
    found = groups(wells, 3)
    assert set(found) == set(METHODS)
    for own in found.values():
        assert agreement(wells.labels, own).rand_index > 0.97


def test_measures_and_chance(wells):
    found = measure(wells)
    assert found.slow_modes.rand_index > 0.97 and found.k_means.information > 0.9
    assert abs(found.chance.rand_index) < 0.05 and found.chance.information < 0.1


def test_without_classes_nothing_is_compared(wells):
    with pytest.raises(InputError, match="the data has none"):
        measure(dataclasses.replace(wells, labels=None))


def test_agreement_ignores_names():
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert agreement(labels, 5 - labels) == Likeness(1.0, 1.0)
    assert agreement(labels, [0, 1, 0, 1, 0, 1]).rand_index < 0


def test_a_walk_along_a_mode_ascends_and_takes_the_lowest_points(rng):
    values, energies = rng.standard_normal(100), rng.random(100)
    rows = along_mode(values, energies, 5)
    assert (np.diff(values[rows]) > 0).all()
    order = np.argsort(values)
    assert energies[rows[0]] == energies[order[:5]].min() and energies[rows[-1]] == energies[order[-5:]].min()


def test_a_walk_needs_a_point_for_each_frame():
    with pytest.raises(InputError, match="n_frames must be an integer from 2 to 4; it is 9"):
        along_mode(np.zeros(4), np.zeros(4))


def test_one_group_is_no_grouping(member):
    with pytest.raises(InputError, match="n_groups"):
        groups(member, 1)
