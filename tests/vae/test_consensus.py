import numpy as np
import pytest
from scipy.stats import ortho_group

from vaept import align
from vaept.errors import InputError
from vaept.vae.consensus import GROUPS, difference


def turn(d, rng):
    """A rotation that is far from every signed permutation."""
    if d == 2:
        angle = rng.uniform(0.2, np.pi / 2 - 0.2)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ortho_group.rvs(d, random_state=rng)


def copy(group, x, rng):
    """A copy of a space that a map of a group separates from it."""
    n, d = x.shape
    if group == "signed permutation":
        return -x[:, np.roll(np.arange(d), 1)]
    if group == "rotation":
        return x @ turn(d, rng)
    if group == "linear":
        return x @ turn(d, rng) * np.exp(np.linspace(np.log(0.5), np.log(1.6), d)) if d > 1 else 0.6 * x
    if group == "smooth":
        bent = np.tanh(1.5 * x) if rng.random() < 0.5 else x + 0.5 * np.sin(2 * x)
        return bent @ turn(d, rng) if d > 1 else bent
    return rng.standard_normal((n, d)) if group == "none" else x


SIZES = [(1, 500), (2, 300), (3, 2100), (8, 500), (32, 500)]
CASES = [(group, d, n) for d, n in SIZES for group in GROUPS if (group, d) != ("rotation", 1)]  # which is a sign


@pytest.mark.parametrize(("group", "d", "n"), CASES)
def test_the_smallest_group_is_found(group, d, n, rng):
    x = rng.standard_normal((n, d)) * rng.uniform(0.7, 1.3, d)
    noise = rng.choice([0.01, 0.05, 0.1])
    x, y = (z + noise * rng.standard_normal(z.shape) for z in (x, copy(group, x, rng)))
    found = difference(x, y)
    assert found.group == group
    assert set(found.r2) == set(GROUPS[:-1]) and (max(found.r2.values()) > 0.5) == (group != "none")


def test_exact_copies_and_shifts_need_no_map(rng):
    x = rng.standard_normal((200, 4))
    assert difference(x, x + 3).group == "same"
    assert difference(1e6 * x, -1e6 * x).group == "signed permutation"
    assert difference(x.astype(np.float32), x).r2["same"] == pytest.approx(1, abs=1e-10)


def test_clusters_with_noise_are_no_bend(rng):
    centres = 2 * rng.standard_normal((6, 3))
    x = centres[rng.integers(6, size=800)] + 0.3 * rng.standard_normal((800, 3))
    y = x @ turn(3, rng)
    x, y = (z + 0.2 * rng.standard_normal(z.shape) for z in (x, y))
    assert difference(x, y).group == "rotation"


def test_few_examples_far_out_do_not_hide_a_bend(rng):
    x = rng.standard_normal((500, 2))
    assert difference(x, np.sinh(1.5 * x)).group == "smooth"


def test_bends_of_many_directions_at_once(rng):
    """No map that is fitted to so few examples predicts them."""
    x = rng.standard_normal((1500, 64))
    angle = 0.8 * np.sqrt((x**2).mean(axis=1, keepdims=True))
    even, odd = x[:, ::2], x[:, 1::2]
    turned = np.hstack((np.cos(angle) * even - np.sin(angle) * odd, np.sin(angle) * even + np.cos(angle) * odd))
    hidden = np.tanh(x @ rng.standard_normal((64, 128)) / 8 + 0.7 * rng.standard_normal(128))
    network = x + hidden @ rng.standard_normal((128, 64)) / 11
    for bent in (turned, network):
        noisy = [z + 0.03 * rng.standard_normal(z.shape) for z in (x, bent)]
        assert difference(*noisy).group == "smooth"


def test_noise_that_grows_far_out_is_no_bend(rng):
    x = rng.standard_normal((1500, 64)) * rng.uniform(0.5, 2, 64)
    y = x @ turn(64, rng)
    noise = 0.1 * rng.standard_normal(x.shape) * (x**2).mean(axis=1, keepdims=True)
    assert difference(x, y + noise).group == "rotation"
    y = y + 0.1 * np.outer(rng.standard_normal(1500), rng.standard_normal(64))  # one and the same in all outputs
    assert difference(x, y).group in ("rotation", "linear")


def test_spaces_of_different_dimension_are_related_by_regressions(rng):
    x = rng.standard_normal((400, 2))
    found = difference(x, x @ rng.standard_normal((2, 4)))
    assert found.group == "linear" and set(found.r2) == {"linear", "smooth"}


def test_few_examples(rng):
    x = rng.standard_normal((50, 64))
    assert difference(x, x).group == "same"
    with pytest.raises(InputError, match="too few to tell maps of 64 coordinates apart; give at least 128"):
        difference(x, x @ ortho_group.rvs(64, random_state=1))
    with pytest.raises(InputError, match="the same 20 or more examples"):
        difference(x[:19], x[:19])
    with pytest.raises(InputError, match="all at one place"):
        difference(x, np.ones_like(x))


def test_rotated_copies_come_back(rng):
    x = rng.standard_normal((300, 3)) ** 3 * [3, 2, 1]
    found = align([x @ ortho_group.rvs(3, random_state=seed) + seed for seed in range(4)])
    assert np.abs(found.latents - found.consensus).max() < 1e-8 and found.residual.max() < 1e-16
    assert found.matrix @ found.matrix.transpose(0, 2, 1) == pytest.approx(np.stack([np.eye(3)] * 4), abs=1e-12)
    covariance = np.cov(found.consensus.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-8
    assert (np.diff(np.diag(covariance)) < 0).all() and ((found.consensus**3).sum(axis=0) > 0).all()
    other = align([x @ ortho_group.rvs(3, random_state=seed) for seed in (8, 9)])
    assert np.abs(other.consensus - found.consensus).max() < 1e-8


def test_residual_tells_the_run_that_differs(rng):
    x = rng.standard_normal((300, 2))
    found = align([x, x @ turn(2, rng), x + 0.5 * rng.standard_normal(x.shape)])
    assert found.residual.argmax() == 2 and found.latents.shape == (3, 300, 2)
    with pytest.raises(InputError, match="two members or more"):
        align([x])
