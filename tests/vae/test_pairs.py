import numpy as np
import pytest
from scipy.stats import ortho_group

from vaept.errors import InputError
from vaept.vae.agreement import compare, compare_pair, mean_over_pairs
from vaept.vae.pairs import compare_aligned, compare_groups, compare_pairs, compare_relative, relative


@pytest.fixture
def turned(rng):
    """Latents (members, n, d) that are rotated copies of each other."""
    base = rng.standard_normal((200, 3)) * [2.0, 1.0, 0.5]
    return np.stack([base @ turn for turn in ortho_group.rvs(3, size=4, random_state=1)])


def test_pairs_are_compared_as_an_ensemble_is(turned, rng):
    z = turned + 0.3 * rng.standard_normal(turned.shape)
    found, expected = compare_pairs(z), compare(z)
    for measure, value in vars(found).items():
        assert vars(value) == pytest.approx(vars(getattr(expected, measure)))


def test_exact_rotations_are_undone(turned):
    found = compare_aligned(turned, "rotation")
    assert found.coordinates.mean == pytest.approx(1) and found.coordinates.low == pytest.approx(1)
    assert compare_pairs(turned).coordinates.mean < 0.9
    assert compare_aligned(turned, "signed permutation").coordinates.mean < 0.99


def test_exact_signed_permutations_are_undone(turned):
    z = np.stack([turned[0], turned[0][:, [2, 0, 1]] * [1, -1, -1] + 5])
    assert compare_aligned(z, "signed permutation").coordinates.mean == pytest.approx(1)


def test_what_was_fitted_is_not_what_is_judged(rng):
    """Of noise nothing is aligned that holds for other images."""
    found = compare_aligned(rng.standard_normal((4, 40, 10)), "rotation")
    assert abs(found.coordinates.mean) < 0.15 < found.signed_permutation.mean


def test_relative_representations_of_rotated_copies_are_equal(turned):
    z, anchors = turned[:, 50:], turned[:, :50]
    first, second = (relative(*each) for each in zip(z[:2], anchors[:2], strict=True))
    assert first == pytest.approx(second) and np.abs(first).max() <= 1 + 1e-12
    assert compare_relative(z, anchors).coordinates.mean == pytest.approx(1)
    assert compare_relative(np.stack([z[0], np.zeros_like(z[0])]), anchors[:2]).coordinates.mean == 0


def test_groups_that_share_a_frame_and_groups_that_do_not(rng):
    base = rng.standard_normal((200, 3))
    first, second = (base + 0.1 * rng.standard_normal((3, *base.shape)) for _ in range(2))
    between, permuted, within = compare_groups(first, second)
    assert between.low <= between.mean <= between.high and between.mean == pytest.approx(within.mean, abs=0.01)
    between, permuted, within = compare_groups(first, second[..., [1, 2, 0]] * [-1, 1, 1])
    assert abs(between.mean) < 0.2 and permuted.mean > 0.97 and within.mean > 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: compare_pairs(z[:1]), "latents are of one member"),
        (lambda z: compare_groups(z, z[:1]), "second are of one member"),
        (lambda z: compare_pair(z[0], z[1, :5]), "second must have shape"),
        (lambda z: mean_over_pairs(z[0]), "values must have shape"),
    ],
)
def test_what_cannot_be_compared(call, message, turned):
    with pytest.raises(InputError, match=message):
        call(turned)
