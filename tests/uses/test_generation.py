from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

import vaept.uses.member
from vaept.errors import InputError
from vaept.landscape.energy import FreeEnergy
from vaept.uses import generation
from vaept.uses.generation import SOURCES, _Table, draw_latents, frechet_distance, measure, precision_recall


def with_moments(mean, covariance, n, rng):
    """Rows whose mean and covariance are exactly these."""
    x = rng.standard_normal((n, len(mean)))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return mean + x @ np.linalg.cholesky(covariance).T


def two_wells(member, dim):
    """The member with latents in two wells along the first axis, three quarters of them in the left one."""
    rng = np.random.default_rng(0)
    mean = 0.3 * rng.standard_normal((600, dim))
    mean[:, 0] += np.where(np.arange(600) % 4 < 3, -0.8, 0.8)
    train, test, variance = mean[:200], mean[200:], np.full((600, dim), 0.09)
    model = SimpleNamespace(latent_dim=dim)
    return replace(
        member, model=model, mean=train, variance=variance[:200], test_mean=test, test_variance=variance[200:]
    )


def generator_of(images):
    """A model that knows these images by heart."""
    x = torch.tensor(np.asarray(images, dtype=np.float32))
    return SimpleNamespace(latent_dim=2, decode=lambda z: x[torch.arange(len(z)) % len(x)])


def test_frechet_distance_of_known_gaussians(rng):
    a, b = (with_moments(m, np.diag(s) ** 2.0, 50, rng) for m, s in (([0, 0], [1, 2]), ([3, 4], [2, 5])))
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 9)
    assert frechet_distance(a, a + np.array([3, 4])) == pytest.approx(25)
    assert frechet_distance([[0.0], [2.0]], [[5.0], [5.0]]) == pytest.approx(16 + 2)


def test_frechet_distance_of_covariances_that_do_not_commute(rng):
    ca, cb = (a @ a.T + np.eye(4) for a in rng.standard_normal((2, 4, 4)))
    expected = np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    a, b = with_moments(np.zeros(4), ca, 60, rng), with_moments(np.zeros(4), cb, 60, rng)
    assert frechet_distance(a, b) == pytest.approx(expected) == frechet_distance(b, a)
    turn = ortho_group.rvs(4, random_state=1)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(expected)


def test_frechet_distance_without_full_rank(rng):
    a, b = rng.standard_normal((2, 5, 12))  # fewer rows than features
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    plane = ortho_group.rvs(12, random_state=0)[:2]
    assert frechet_distance(a[:, :2] @ plane, b[:, :2] @ plane) == pytest.approx(frechet_distance(a[:, :2], b[:, :2]))


def test_precision_and_recall_of_the_same_and_of_distant_sets(rng):
    x = rng.standard_normal((200, 5))
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x + 100) == (0, 0)
    other = rng.standard_normal((200, 5))
    assert precision_recall(x, other) == precision_recall(10 * x, 10 * other)
    assert precision_recall(x, other) == precision_recall(other, x)[::-1]


def test_recall_sees_what_is_missing_and_precision_what_is_wrong(rng):
    left, right = rng.standard_normal((2, 300, 3)) + np.array([[[-50]], [[50]]])
    both = np.concatenate([left[:150], right[:150]])
    precision, recall = precision_recall(both, left[150:])
    assert precision > 0.8 and recall == pytest.approx(0.5, abs=0.1)
    assert precision_recall(left[150:], both)[0] == recall


def test_precision_and_recall_by_hand():
    real, generated = np.array([[0.0], [1], [3], [10]]), np.array([[1.5], [4.5], [20], [40]])
    # Distances to the nearest other: 1, 1, 2, 7 and 3, 3, 15.5, 20.
    assert precision_recall(real, generated, k=1) == (0.5, 1.0)


@pytest.mark.parametrize("function", [frechet_distance, precision_recall])
def test_features_are_checked(function):
    good = np.zeros((9, 2))
    for bad in (np.zeros((9, 3)), np.zeros(9), np.zeros((1, 2))):
        with pytest.raises(InputError, match="must have"):
            function(good, bad)
    with pytest.raises(InputError, match="finite"):
        function(good, np.full((9, 2), np.inf))


def test_too_many_or_too_few_rows_for_neighbours():
    with pytest.raises(InputError, match="at most 10000"):
        precision_recall(np.zeros((10_001, 1)), np.zeros((9, 1)))
    with pytest.raises(InputError, match="at least 9 rows"):
        precision_recall(np.zeros((8, 1)), np.zeros((9, 1)), k=8)


def test_prior_draws_are_normal(member):
    z = draw_latents(member, "prior", 20_000, seed=3)
    np.testing.assert_allclose(np.cov(z, rowvar=False), np.eye(2), atol=0.05)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.03)


def test_draws_from_the_aggregate_posterior_are_not_blurred(member):
    sharp = replace(member, variance=np.full_like(member.variance, 1e-10))
    z = draw_latents(sharp, "aggregate_posterior", 50)
    assert np.abs(z[:, None] - member.mean).max(-1).min(1).max() < 1e-4
    assert len(np.unique(z.round(6), axis=0)) > 40


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_langevin_draws_follow_the_blurred_density(member, dim):
    wells = two_wells(member, dim)
    z, exact = draw_latents(wells, "langevin", 4000, seed=1), wells.aggregate.sample(40_000)
    assert z.shape == (4000, dim)
    assert (z[:, 0] < 0).mean() == pytest.approx((exact[:, 0] < 0).mean(), abs=0.06)  # of the prior, one half
    np.testing.assert_allclose(z[:, 1:].std(0), exact[:, 1:].std(0), rtol=0.06)
    edges = np.linspace(-2, 2, 17)
    found, expected = (np.histogram(x[:, 0], edges)[0] / len(x) for x in (z, exact))
    assert np.abs(found - expected).sum() < 0.15
    assert wells.energy(z).mean() == pytest.approx(wells.energy(exact[:4000]).mean(), abs=0.1)


def test_table_of_the_gradient(member):
    energy = FreeEnergy(member.aggregate)
    table, points = _Table(energy), member.aggregate.sample(500)
    np.testing.assert_allclose(table.gradient(points), energy.gradient(points), atol=1e-2)
    outside = energy.bounds[1] + np.array([[1.0, 5.0]])
    assert (table.gradient(outside) > 0).all()


@pytest.mark.parametrize("source", SOURCES)
def test_draws_are_those_of_their_seed(member, source, monkeypatch):
    monkeypatch.setattr(generation, "MAX_STEPS", (300, 300))
    monkeypatch.setattr(vaept.uses.member, "SAMPLES", 2_000)
    wells = two_wells(member, 1)
    first, again, other = (draw_latents(wells, source, 403, seed=seed) for seed in (0, 0, 1))
    assert first.shape == (403, 1) and (first == again).all() and (first != other).all()


def test_unknown_draws(member):
    with pytest.raises(InputError, match="one of prior, aggregate_posterior, langevin; it is 'posterior'"):
        draw_latents(member, "posterior", 3)
    with pytest.raises(InputError, match="n must be"):
        draw_latents(member, "prior", 0)
    with pytest.raises(InputError, match="seed must be"):
        draw_latents(member, "prior", 1, seed=-1)


def test_without_a_judge_nothing_is_measured(member):
    with pytest.raises(InputError, match="the member has none"):
        measure(member)


def test_what_is_measured(member, judge):
    judged = replace(member, judge=judge)
    found = measure(judged)
    drawn = [vars(getattr(found, source)) for source in SOURCES]
    assert all(value >= 0 for own in drawn for value in own.values())
    assert all(value <= 1 for own in drawn for name, value in own.items() if name != "frechet")
    assert found.images.frechet < min(own["frechet"] for own in drawn)
    assert found == measure(judged)


def test_a_generator_of_real_images_reaches_the_floor_and_a_poor_one_does_not(member, judge, digits):
    real = measure(replace(member, judge=judge, model=generator_of(digits.train)))
    poor = measure(replace(member, judge=judge, model=generator_of(np.full((1, 64), 7.0))))  # beyond [0, 1]
    for source in SOURCES:
        own, other = getattr(real, source), getattr(poor, source)
        assert own.frechet < 2 * real.images.frechet < 0.2 * other.frechet
        assert own.sure == pytest.approx(real.images.sure, abs=0.06)
        assert min(own.precision, own.recall) > 0.7
        assert other.recall == 0


def test_a_judge_of_other_images_is_named(member, judge):
    with pytest.raises(InputError, match="must have shape"):
        measure(replace(member, judge=replace(judge, image_shape=(4, 4))))
