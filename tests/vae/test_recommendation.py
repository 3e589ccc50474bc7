import dataclasses
from collections import Counter

import numpy as np
import pytest

import vaept
from vaept.datasets import Dataset, from_arrays
from vaept.errors import InputError
from vaept.perturbation import fields
from vaept.vae import recommendation
from vaept.vae.agreement import Estimate
from vaept.vae.recommendation import Trial, ranked, recommend

HOW = {"epochs": 20, "hidden": (16,), "batch_size": 40, "learning_rate": 0.01, "likelihood": "gaussian"}
HOW |= {"jobs": 1, "progress": False}


@pytest.fixture
def plane():
    """Images that are points of a plane, of different spread along its axes."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((12, 2)))[0].T
    places = 0.5 * rng.uniform(size=(250, 2)) ** 2 * [2, 1]  # skewed, so that signs are determined
    return from_arrays((places @ axes + 0.001 * rng.standard_normal((250, 12)) + 1) / 2)


def noise_field(x, n_components):
    """A field that has nothing to do with the images."""
    return fields.shuffled(fields.pca_field(x, n_components), seed=len(x))


def trial(field, agreement, minus_elbo, active=2, alike=1.0):
    """A trial whose agreement and −ELBO have intervals of ± 0.02."""
    estimates = (Estimate(value, value - 0.02, value + 0.02) for value in (agreement, minus_elbo))
    return Trial(field, 1.0 if field else None, recommendation.EARLY, *estimates, active, alike)


@pytest.mark.parametrize(
    ("winner", "others"),
    [
        (trial("a", 0.98, 24.0), [trial("b", 0.6, 20.0), trial("c", 0.99, 25.0)]),  # agreement first, then −ELBO
        (trial("a", 0.99, 24.0), [trial("b", 0.96, 23.0)]),  # agrees worse than by the interval
        (trial("a", 0.99, 24.01), [trial("b", 0.98, 24.0)]),  # −ELBO undecided
        (trial("a", 0.98, 24.0, alike=0.9), [trial("b", 0.99, 24.01, alike=0.8)]),  # the same, but other halves differ
        (trial("a", 0.99, 24.0, alike=0.87), [trial("b", 0.98, 24.01, alike=0.9)]),  # halves differ as little
        (trial("a", 0.9, 24.0), [trial("b", 0.99, 23.0, active=1)]),  # a coordinate lost
        (trial(None, 0.99, 24.0), [trial("b", 0.99, 24.1)]),  # no field is needed
    ],
)
def test_the_rule(winner, others):
    plain = winner if winner.field is None else trial(None, 0.1, 24.0)
    rest = [each for each in (winner, *others) if each is not plain]
    for order in (rest, rest[::-1]):
        found = ranked([plain, *order])
        assert found[0] is winner and {id(each) for each in found} == {id(each) for each in (plain, *order)}


def test_agreements_that_differ_by_nothing_useful_are_equal():
    sure = [
        dataclasses.replace(each, agreement=Estimate(*[each.agreement.mean] * 3))
        for each in (trial(None, 0.1, 24.0), trial("a", 0.99, 24.1), trial("b", 0.982, 24.0), trial("c", 0.97, 23.0))
    ]
    assert [each.field for each in ranked(sure)][:2] == ["b", "a"]


def test_only_the_best_fields_are_tried_in_every_recipe(plane, monkeypatch):
    monkeypatch.setattr(recommendation, "FIELDS", dict.fromkeys(["a", "b", "c", "random"], fields.pca_field))
    monkeypatch.setattr(recommendation, "_trial", lambda *given: trial(given[3], 0.9, "cab".find(given[3] or "b")))
    found = recommend(plane, 2, **HOW).trials
    assert sorted(Counter(each.field for each in found if each.field).items()) == [("a", 4), ("b", 1), ("c", 4)]


def test_a_field_of_the_images_wins_against_noise(plane, monkeypatch):
    monkeypatch.setattr(recommendation, "FIELDS", {"noise": noise_field, "principal": fields.pca_field})
    found = vaept.recommend(plane, 2, **HOW)
    assert np.array_equal(found.field.values, fields.pca_field(plane.train, 2).values)
    assert (found.coupling, found.schedule) in recommendation.RECIPES
    assert len(found.trials) == 1 + 2 * len(recommendation.RECIPES)
    assert any("principal field, coupling" in reason for reason in found.reasons)
    recipe = {"field": found.field, "coupling": found.coupling, "schedule": found.schedule}
    assert vaept.fit(plane, seeds=[0], latent_dim=2, **recipe, **HOW).settings.coupling


def test_it_is_the_same_for_any_jobs_and_whatever_the_test_images_are(plane, monkeypatch):
    monkeypatch.setattr(recommendation, "FIELDS", {"principal": fields.pca_field})
    monkeypatch.setattr(recommendation, "RECIPES", recommendation.RECIPES[:1])
    other = Dataset("other", plane.train, plane.test[:1], image_shape=plane.image_shape)
    first, again = recommend(plane, 2, **HOW), recommend(other, 2, **(HOW | {"jobs": 2}))
    assert (first.trials, first.reasons) == (again.trials, again.reasons)
    assert first.trials != recommend(plane, 2, seed=1, **HOW).trials


def test_a_field_that_refuses_the_images_is_left_out(plane, monkeypatch):
    def refusing(x, n_components):
        raise InputError("These are no pictures.")

    monkeypatch.setattr(recommendation, "FIELDS", {"refusing": refusing, "principal": fields.pca_field})
    monkeypatch.setattr(recommendation, "RECIPES", recommendation.RECIPES[:1])
    found = recommend(plane, 2, **HOW)
    assert "The refusing field was not tried. These are no pictures." in found.reasons
    assert {each.field for each in found.trials} == {None, "principal"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": np.zeros((50, 4))}, "dataset must be of the class Dataset"),
        ({"latent_dim": 0}, "latent_dim must be an integer from 1"),
        ({"latent_dim": 50}, "dataset has 200 training images; at least 260 are needed"),
        ({"latent_dim": 20}, "No field of these images has latent_dim = 20 components"),
        ({"epochs": 0}, "epochs must be"),
        ({"jobs": 0}, "jobs must be"),
        ({"seed": -1}, "seed must be"),
        ({"coupling": 1.0}, "coupling is among what is recommended"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message, plane, monkeypatch):
    monkeypatch.setattr(recommendation, "FIELDS", {"principal": fields.pca_field})
    with pytest.raises(InputError, match=message):
        recommend(**({"dataset": plane, "latent_dim": 2} | HOW | change))
