import itertools
from dataclasses import replace

import numpy as np
import pytest

from vaept.errors import InputError
from vaept.spectrum import oscillator
from vaept.uses import outliers
from vaept.uses.outliers import KINDS, SCORES, measure, plant, precision_at_k, scores

SHAPES = [(8, 8), (64,), (4, 4, 4), (7, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_plants_a_share_of_three_kinds(shape, rng):
    x = rng.uniform(size=(200, *shape)).astype(np.float32)
    before = x.copy()
    changed, kind = plant(x, shape, share=0.15)
    np.testing.assert_array_equal(x, before)
    assert changed.shape == x.shape and changed.dtype == np.float32
    assert [int((kind == own).sum()) for own in ("", *KINDS)] == [170, 10, 10, 10]
    differs = (changed != x).reshape(200, -1).any(axis=1)
    np.testing.assert_array_equal(differs, kind != "")


@pytest.mark.parametrize("shape", SHAPES)
def test_each_kind_is_made_of_the_images(shape, rng):
    x = rng.uniform(size=(60, *shape)).astype(np.float32)
    changed, kind = plant(x.reshape(60, -1), shape, share=0.2)
    changed = changed.reshape(x.shape)
    middle = shape[0] // 2
    for row in np.flatnonzero(kind != ""):
        new, own, others = changed[row], x[row], np.delete(x, row, axis=0)
        if kind[row] == "overlaid":
            assert any((np.maximum(own, other) == new).all() for other in others)
        elif kind[row] == "halves":
            np.testing.assert_array_equal(new[:middle], own[:middle])
            assert any((other[middle:] == new[middle:]).all() for other in others)
        else:
            np.testing.assert_array_equal(np.sort(new, axis=None), np.sort(own, axis=None))
            assert (new != own).mean() > 0.9


def test_planting_depends_on_its_seed_alone(member):
    first, again, other = (plant(member.test, (8, 8), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize("share", [0, 0.005, 1, 2, -0.1, np.nan, np.inf])
def test_a_share_that_cannot_be_planted(member, share):
    with pytest.raises(InputError, match=r"can be planted|share must be"):
        plant(member.test, (8, 8), share=share)


@pytest.mark.parametrize("images", [np.zeros((9, 63)), np.full((9, 64), np.nan), np.full((9, 64), 2.0)])
def test_images_are_checked(member, images):
    for call in (lambda: plant(images, (8, 8), share=0.5), lambda: scores(member, images)):
        with pytest.raises(InputError, match="images must"):
            call()


def test_scores_are_those_of_the_posteriors(member):
    found = scores(member, member.test[:50])
    mean, variance = member.test_mean[:50], member.test_variance[:50]
    assert list(found) == list(SCORES) and all(np.shape(score) == (50,) for score in found.values())
    np.testing.assert_allclose(found["kl"], (mean**2 + variance - 1 - np.log(variance)).sum(1) / 2, rtol=1e-4)
    ground = oscillator.level_populations(mean, variance, 1)[:, 0]
    np.testing.assert_allclose(found["ground_state"], -np.log(ground), rtol=1e-4)
    np.testing.assert_allclose(found["landscape"], -member.aggregate.log_density(mean), rtol=1e-4)
    assert (found["kl"] <= 4 * found["energy"]).all() and (found["minus_elbo"] > found["kl"]).all()


def test_a_posterior_farther_away_is_more_unusual(member, monkeypatch):
    """Every score but the bound, which depends on the image too, grows; far away nothing underflows."""
    mean = np.array([[0.0, 0.0], [3.0, 3.0], [9.0, 9.0], [30.0, 30.0]])
    monkeypatch.setattr(outliers, "encode", lambda model, images: (mean, np.full((4, 2), 0.1)))
    found = scores(member, member.test[:4])
    for name in ("energy", "ground_state", "landscape"):
        assert np.isfinite(found[name]).all() and (np.diff(found[name][1:]) > 0).all(), name


def test_precision_of_a_perfect_and_of_the_worst_score(rng):
    planted = rng.permutation(np.arange(50) < 7)
    score = planted + rng.uniform(size=50)
    assert precision_at_k(score, planted) == 1 and precision_at_k(-score, planted) == 0
    assert precision_at_k(np.zeros(50), planted) == pytest.approx(7 / 50)


def test_precision_sees_only_the_order(rng):
    planted, score = np.arange(40) < 9, rng.standard_normal(40)
    assert precision_at_k(score, planted) == precision_at_k(np.exp(3 * score), planted)


def test_ties_count_as_the_mean_over_their_orders(rng):
    for _ in range(20):
        score, planted = rng.integers(0, 3, size=6), rng.permutation(np.arange(6) < rng.integers(1, 6))
        k, found = planted.sum(), []
        for order in itertools.permutations(range(6)):
            found.append(planted[np.lexsort((order, score))[::-1][:k]].mean())
        assert precision_at_k(score, planted) == pytest.approx(np.mean(found))


@pytest.mark.parametrize(
    ("score", "planted", "message"),
    [
        (np.arange(3), [False] * 3, "some must be"),
        (np.arange(3), [True] * 3, "some must be"),
        (np.arange(4), [True, False, False], r"planted must have shape \(4,\)"),
        (np.ones((3, 1)), [[True], [False], [False]], r"score must have shape"),
        ([np.nan, 1, 2], [True, False, False], "score must be finite"),
    ],
)
def test_precision_checks_its_arguments(score, planted, message):
    with pytest.raises(InputError, match=message):
        precision_at_k(score, planted)


def test_measures_every_score_for_every_kind(member):
    found = measure(member)
    shares = [vars(getattr(found, name)) for name in SCORES]
    assert all(0 <= value <= 1 for own in shares for value in own.values())
    assert found.chance == pytest.approx(18 / 359)


def test_kinds_of_which_nothing_was_planted_have_no_precision(member, monkeypatch):
    nothing = np.full(len(member.test), "", dtype="<U9")
    monkeypatch.setattr(outliers, "plant", lambda images, shape, seed: (images, nothing))
    assert np.isnan(list(vars(measure(member).energy).values())).all()
    nothing[:5] = "halves"
    found = measure(member).energy
    assert found.every == found.halves and np.isnan([found.overlaid, found.scrambled]).all()


@pytest.mark.parametrize("shape", [(8, 8), (64,)])
def test_measures_what_was_planted(member, monkeypatch, shape):
    """A score that sees what was changed finds all; one that sees the opposite finds none."""

    def changed(member, images):
        score = np.abs(images - member.test).sum(axis=1)
        return dict.fromkeys(SCORES, -score) | {"energy": score}

    monkeypatch.setattr(outliers, "scores", changed)
    found = measure(replace(member, image_shape=shape))
    assert set(vars(found.energy).values()) == {1} and set(vars(found.kl).values()) == {0}
