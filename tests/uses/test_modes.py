import dataclasses

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score

from vaept.errors import InputError
from vaept.spectrum import from_samples
from vaept.uses.measure import gathered
from vaept.uses.modes import (
    SPACES,
    Spaces,
    between_classes,
    between_members,
    described,
    few_labels,
    lacking,
    measure,
)


@pytest.fixture(scope="session")
def moons(member):
    """A member whose latents are two moons, and whose images are the classes in noise."""
    latents, labels = make_moons(400, noise=0.05, random_state=0)
    images = np.random.default_rng(0).random((400, 64)) + (labels[:, None] == np.arange(64) % 2)
    noise = np.full(latents.shape, 0.01)
    own = {"mean": latents, "variance": noise, "test_mean": latents, "test_variance": noise}
    return dataclasses.replace(member, test=images / 2, labels=labels, **own)


def test_modes_part_moons_where_positions_do_not(moons):
    found = measure(moons)
    assert found.rand_index.walk > 0.97 and found.rand_index.generator > 0.97 > 0.5 > found.rand_index.latents
    assert found.rand_index.spectrum > found.rand_index.latents + 0.2
    assert found.few_labels.walk > 0.97 and found.few_labels.generator > 0.97 > found.few_labels.latents
    assert found.between_classes.generator > 0.97 and found.between_classes.latents < 0.8
    assert found.rand_index.images > 0.97 and found.rand_index.image_walk > 0.97
    assert adjusted_rand_score(moons.labels, found.groups.walk) == found.rand_index.walk


def test_measures_again_to_the_bit(moons):
    first, again = measure(moons), measure(dataclasses.replace(moons))
    both = gathered([first, again])
    for own in (both.rand_index, both.few_labels, both.between_classes, both.groups):
        for name, values in vars(own).items():
            np.testing.assert_array_equal(values[0], values[1], err_msg=name)
    assert both.louvain[0] == both.louvain[1] and both.mixture[0] == both.mixture[1]


def test_without_classes_nothing_is_compared(moons):
    with pytest.raises(InputError, match="the data has none"):
        measure(dataclasses.replace(moons, labels=None))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "no classes"),
        (np.zeros(60, dtype=int), "one class"),
        (np.repeat([0, 1], [5, 55]), "there are 60, and 5 of 0"),
        (np.repeat([0, 1], 20), "there are 40, and 20 of 0"),
        (np.repeat([0, 1], 30), ""),
    ],
)
def test_what_is_lacking_is_said(digits, labels, reason):
    n = 60 if labels is None else len(labels)
    train = None if labels is None else digits.train_labels % 2
    dataset = dataclasses.replace(
        digits, test=digits.test[:n], train_labels=train, test_labels=labels, classes=() if labels is None else (0, 1)
    )
    found = lacking(dataset)
    assert reason in found and bool(found) == bool(reason)


def test_spaces_have_the_modes_that_were_asked_for(rng):
    spectrum = from_samples(rng.standard_normal((2000, 3)), 5)
    found = described(spectrum, rng.standard_normal((100, 3)), rng.random((100, 6)), 4)
    assert list(found) == list(SPACES) == [field.name for field in dataclasses.fields(Spaces)]
    assert {name: points.shape[1] for name, points in found.items()} == {
        "spectrum": 4,
        "walk": 4,
        "generator": 4,
        "latents": 3,
        "images": 6,
        "image_walk": 4,
    }


def test_few_labels_of_separate_classes_and_of_noise(rng):
    labels = np.arange(200) % 2
    assert few_labels(labels[:, None] + 0.1 * rng.random((200, 2)), labels) == 1
    assert abs(few_labels(rng.random((200, 2)), labels) - 0.5) < 0.05
    with pytest.raises(InputError, match="label fewer"):
        few_labels(rng.random((4, 2)), [0, 0, 1, 1])


def test_share_of_variance_between_classes():
    labels = [4, 4, 7, 7]
    values = np.column_stack([[1, 1, 3, 3], [1, 3, 1, 3], [0, 2, 2, 4], [5, 5, 5, 5]])
    np.testing.assert_allclose(between_classes(values, labels), [1, 0, 0.5, 0])


def test_members_that_group_alike():
    groups = np.array([[0, 0, 1, 1], [1.0, 1, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_allclose(between_members(groups), [0.25, 0.25, -0.5])
    for bad in (groups[:1], groups + 0.5):
        with pytest.raises(InputError, match="groups must be"):
            between_members(bad)
