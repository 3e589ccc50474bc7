import numpy as np
import pytest
import torch

from vaept.errors import DamagedFileError, InputError
from vaept.uses.classifier import Classifier, fit_classifier

QUICK = {"epochs": 1, "progress": False}


def weights(classifier):
    return list(classifier.network.state_dict().values())


def test_knows_images_that_it_never_saw(judge, digits):
    assert judge.accuracy(digits.test, digits.test_labels) > 0.96
    assert judge.accuracy(digits.test, np.roll(digits.test_labels, 1)) < 0.25


def test_probabilities_are_a_softmax_of_the_features(judge, digits):
    features = judge.features(digits.test)
    assert features.dtype == float and features.shape == (len(digits.test), 64) and features.min() >= 0
    weight, bias = (value.double().numpy() for value in weights(judge)[-2:])
    odds = np.exp(features @ weight.T + bias)
    found = judge.probabilities(digits.test)
    np.testing.assert_allclose(found, odds / odds.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(judge.sure(digits.test), found.max(axis=1) > 0.9)


def test_judges_each_image_by_itself(judge, digits):
    rows = digits.test[:3].reshape(3, 8, 8)
    np.testing.assert_allclose(judge.probabilities(rows), judge.probabilities(digits.test)[:3], rtol=1e-4, atol=1e-7)
    many = np.tile(digits.test[:3], (400, 1))  # more than are judged at once
    np.testing.assert_allclose(judge.features(many)[-3:], judge.features(rows), rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_weights(digits):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    arguments = digits.train[:300], digits.train_labels[:300], (8, 8)
    first, again, other = (fit_classifier(*arguments, seed=seed, **QUICK) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    assert not torch.equal(weights(first)[0], weights(other)[0])
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_classes_are_the_labels_in_whatever_numbers(digits):
    images, labels = digits.train[:400], digits.train_labels[:400]
    plain = fit_classifier(images, labels, (8, 8), **QUICK)
    named = fit_classifier(images, 5 - 3 * labels, (8, 8), **QUICK)
    np.testing.assert_array_equal(named.classes, 5 - 3 * np.arange(10)[::-1])
    np.testing.assert_array_equal(plain.classes, np.arange(10))
    assert named.accuracy(images, labels + 100) == 0


@pytest.mark.parametrize("shape", [(64,), (8, 8), (5, 7), (4, 4), (4, 5, 3), (1, 9)])
def test_images_of_any_shape(shape, rng):
    labels = np.arange(240) % 2
    images = np.clip(rng.random((240, *shape)) * 0.5 + 0.4 * labels.reshape(-1, *[1] * len(shape)), 0, 1)
    found = fit_classifier(images[:200], labels[:200], shape, epochs=20, progress=False)
    assert found.accuracy(images[200:], labels[200:]) == 1
    assert found.probabilities(images).shape == (240, 2)


def test_saved_and_loaded(judge, digits, tmp_path):
    path = tmp_path / "judge.safetensors"
    judge.save(path)
    loaded = Classifier.load(path)
    np.testing.assert_array_equal(loaded.probabilities(digits.test), judge.probabilities(digits.test))
    np.testing.assert_array_equal(loaded.classes, judge.classes)
    assert loaded.image_shape == judge.image_shape
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DamagedFileError, match="damaged"):
        Classifier.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "the data has none"),
        ({"labels": np.zeros(20, dtype=int)}, "All labels are 0"),
        ({"labels": np.arange(19)}, "labels must hold 20 integers"),
        ({"labels": np.linspace(0, 1, 20)}, "labels must hold 20 integers"),
        ({"images": np.full((20, 64), np.nan)}, "images must be finite"),
        ({"images": np.full((20, 64), 255)}, "divide bytes by 255"),
        ({"images": np.zeros((20, 63))}, "must have shape"),
        ({"image_shape": (8, 0)}, r"image_shape\[1\] must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_errors_at_the_door(change, message):
    good = {"images": np.zeros((20, 64)), "labels": np.arange(20) % 2, "image_shape": (8, 8)}
    with pytest.raises(InputError, match=message):
        fit_classifier(**good | QUICK | change)


def test_judged_images_are_checked(judge, digits):
    with pytest.raises(InputError, match="must have shape"):
        judge.features(np.zeros((2, 9)))
    with pytest.raises(InputError, match="2 integers"):
        judge.accuracy(digits.test[:2], digits.test_labels[:3])
