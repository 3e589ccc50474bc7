import numpy as np
import pytest
from scipy.stats import ortho_group

from vaept.errors import InputError
from vaept.vae.agreement import Estimate, compare, mean_over_pairs, shuffled_rows, turned_posterior


@pytest.fixture
def space(rng):
    """Latents of 300 images whose coordinates differ in spread, so that no two are alike."""
    return rng.standard_normal((300, 3)) * [1.5, 1.0, 0.6]


def means(agreement):
    return {name: getattr(agreement, name).mean for name in agreement.__dataclass_fields__}


def test_copies_agree_perfectly(space):
    found = compare(np.stack([space] * 4))
    for name in found.__dataclass_fields__:
        estimate = getattr(found, name)
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((1, 1, 1), abs=1e-12), name


def test_shifted_copies_agree_too(space):
    assert means(compare(np.stack([space, space + np.array([5, -3, 1])])))["coordinates"] == pytest.approx(1, abs=1e-12)


def test_permuted_and_flipped_copies(space):
    found = means(compare(np.stack([space, -space[:, [1, 0, 2]]])))
    assert abs(found["coordinates"] + 1 / 3) < 0.1  # two exchanged, one flipped
    for name in ("signed_permutation", "orthogonal", "linear", "cka", "neighbours"):
        assert found[name] == pytest.approx(1, abs=1e-12), name


def test_rotated_and_reflected_copies(space):
    turns = ortho_group.rvs(3, size=4, random_state=1)
    assert {round(np.linalg.det(turn)) for turn in turns} == {-1, 1}
    found = means(compare(np.stack([space @ turn for turn in turns])))
    assert found["coordinates"] < 0.9 and found["signed_permutation"] < 0.95
    for name in ("orthogonal", "linear", "cka", "neighbours"):
        assert found[name] == pytest.approx(1, abs=1e-10), name


def test_linear_maps_are_seen_by_the_linear_measure_only(space):
    found = means(compare(np.stack([space, space @ np.diag([0.2, 1, 5])])))
    assert found["linear"] == pytest.approx(1, abs=1e-10)
    assert found["orthogonal"] < 0.9 and found["cka"] < 0.95 and found["neighbours"] < 0.9


def test_independent_noise_agrees_by_chance(rng):
    found = compare(rng.standard_normal((6, 2000, 2)))
    assert abs(found.coordinates.mean) < 0.02 and found.coordinates.low < 0 < found.coordinates.high
    assert found.linear.mean < 0.01 and found.cka.mean < 0.01
    assert found.orthogonal.mean == pytest.approx(-1, abs=0.1)  # a rotation cannot shrink
    assert found.neighbours.mean == pytest.approx(10 / 1999, abs=0.003)


def test_orthogonal_residual_against_brute_force(rng):
    x, y = rng.standard_normal((2, 50, 2)) + rng.standard_normal((1, 50, 2))
    x, y = x - x.mean(0), y - y.mean(0)
    best = np.inf
    for angle in np.linspace(0, 2 * np.pi, 20001):
        c, s = np.cos(angle), np.sin(angle)
        for map_ in ([[c, -s], [s, c]], [[c, s], [s, -c]]):
            best = min(best, ((y - x @ map_) ** 2).sum())
    expected = 1 - 0.5 * best * (1 / (x**2).sum() + 1 / (y**2).sum())
    assert compare(np.stack([x, y])).orthogonal.mean == pytest.approx(expected, abs=1e-6)


def test_groups_are_nested(rng):
    common = rng.standard_normal((200, 2))
    found = means(compare(common + 0.5 * rng.standard_normal((5, 200, 2))))
    assert found["coordinates"] <= found["signed_permutation"] + 1e-12
    assert found["orthogonal"] <= found["linear"] + 1e-12


def test_order_of_members_does_not_matter(rng):
    latents = rng.standard_normal((4, 100, 2)) + rng.standard_normal((1, 100, 2))
    forward, backward = means(compare(latents)), means(compare(latents[::-1]))
    assert forward == pytest.approx(backward, abs=1e-12)


def test_collapsed_coordinate_counts_as_no_agreement(space):
    dead = space.copy()
    dead[:, 2] = 0.3
    found = means(compare(np.stack([dead, dead])))
    assert found["coordinates"] == pytest.approx(2 / 3)
    assert found["orthogonal"] == pytest.approx(1)


def test_wholly_collapsed_members(space):
    found = means(compare(np.stack([space, np.zeros_like(space)])))
    assert found["coordinates"] == 0 and found["linear"] <= 0.5 and np.isfinite(list(found.values())).all()


def test_interval_covers_the_spread_over_members(rng):
    common = rng.standard_normal((500, 2))
    latents = common + np.linspace(0.2, 2, 8)[:, None, None] * rng.standard_normal((8, 500, 2))
    found = compare(latents).coordinates
    assert found.low < found.mean < found.high and found.high - found.low > 0.1
    assert f"{found}" == f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def test_two_members_have_no_interval(space):
    assert np.isnan(compare(np.stack([space, space])).cka.low)
    assert f"{Estimate(-0.5, -1.0, 0.0):.1f}" == "−0.5 [−1.0, 0.0]"


def test_shuffling_keeps_each_member_but_breaks_the_pairing(space):
    shuffled = shuffled_rows(np.stack([space] * 5))
    assert np.array_equal(np.sort(shuffled, axis=1), np.sort(np.stack([space] * 5), axis=1))
    assert abs(compare(shuffled).coordinates.mean) < 0.1


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((100, 2)), r"shape \(members, n, d\)"),
        (np.zeros((1, 100, 2)), "two members or more"),
        (np.zeros((3, 11, 2)), "11 images are too few"),
        (np.full((3, 100, 2), np.nan), "finite"),
    ],
)
def test_bad_latents(latents, message):
    with pytest.raises(InputError, match=message):
        compare(latents)


def test_turned_posterior_is_the_best_diagonal_gaussian(rng):
    mean, variance = rng.standard_normal((1, 2)), rng.uniform(0.1, 2, (1, 2))
    rotation, turned_mean, turned = turned_posterior(mean, variance, 0.7)
    assert np.allclose(rotation @ rotation.T, np.eye(2)) and np.allclose(turned_mean, mean @ rotation.T)
    precision = rotation @ np.diag(1 / variance[0]) @ rotation.T

    def kl(diagonal):  # up to a constant
        return 0.5 * (np.trace(precision @ np.diag(diagonal)) - np.log(diagonal).sum())

    best = kl(turned[0])
    for step in ([1.01, 1], [0.99, 1], [1, 1.01], [1, 0.99]):
        assert kl(turned[0] * step) > best


@pytest.mark.parametrize("kept", [0, 1])
def test_neighbours_of_collapsed_latents_agree_by_chance(space, kept):
    """Points that are at one place have no order among them, whatever the order of their rows."""
    dead = np.zeros_like(space)
    chance = 10 / 299
    assert compare(np.stack([dead, dead])).neighbours.mean == pytest.approx(chance, rel=1e-12)
    assert compare(np.stack([space, dead])[:: 2 * kept - 1]).neighbours.mean == pytest.approx(chance, rel=1e-12)


def test_neighbours_among_few_distinct_points_are_chosen_by_lot(space):
    """Ten of the other 29 at the same place: two members share a third of them on average."""
    few = np.tile(space[:10], (30, 1))
    assert compare(np.stack([few, few])).neighbours.mean == pytest.approx(10 / 29)
    # The second member knows pairs of places only: 10 of 59, of which 29 count in the first.
    pairs = np.tile(np.repeat(space[:5], 2, axis=0), (30, 1))
    assert compare(np.stack([few, pairs])).neighbours.mean == pytest.approx(10 / 59)


def test_the_lot_is_the_mean_over_orders_of_the_rows(rng):
    """A cloud half of which is at one place, against the mean over many ways to break the ties."""
    x, y = rng.standard_normal((2, 40, 2))
    x[:20] = 0
    y[:10] = y[10:20] = 1
    broken = [compare(np.stack([x, y]) + 1e-9 * rng.standard_normal((2, 40, 2)), n_neighbours=3) for _ in range(400)]
    expected = np.mean([found.neighbours.mean for found in broken])
    assert compare(np.stack([x, y]), n_neighbours=3).neighbours.mean == pytest.approx(expected, abs=0.01)


def test_a_constant_coordinate_takes_nothing_from_the_neighbours(space):
    flat = space * [1, 1, 0]
    assert compare(np.stack([flat, flat + np.array([0, 0, 7])])).neighbours.mean == 1


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1e30, 1e99])
def test_agreement_knows_no_unit(space, scale):
    turned = space @ ortho_group.rvs(3, random_state=1) + 0.3 * space[::-1]
    assert means(compare(scale * np.stack([space, turned]))) == pytest.approx(
        means(compare(np.stack([space, turned]))), rel=1e-9
    )


@pytest.mark.parametrize("n_bootstrap", [0, 1, 39])
def test_few_resamples_give_no_interval(rng, n_bootstrap):
    latents = rng.standard_normal((3, 50, 2))
    found, full = compare(latents, n_bootstrap=n_bootstrap), compare(latents, n_bootstrap=40)
    assert found.cka.mean == full.cka.mean and np.isnan([found.cka.low, found.cka.high]).all()
    assert full.cka.low <= full.cka.mean <= full.cka.high


@pytest.mark.parametrize(
    "change",
    [
        {"n_neighbours": 0},
        {"n_neighbours": 4999},
        {"n_neighbours": 2.0},
        {"n_bootstrap": -1},
        {"n_bootstrap": 10**6},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_numbers_out_of_range(space, change):
    with pytest.raises(InputError, match=rf"{next(iter(change))} must be an integer"):
        compare(np.stack([space, space]), **change)


@pytest.mark.parametrize("plane", [(0, 0), (0, 2), (0,), (0, 1, 1), 1])
def test_planes_that_are_none(plane):
    with pytest.raises(InputError, match="plane must be two different coordinates from 0 to 1"):
        turned_posterior(np.zeros((3, 2)), np.ones((3, 2)), 0.5, plane)


def test_mean_over_pairs_leaves_the_diagonal_out():
    values = np.array([[100.0, 1, 2], [3, 100, 4], [5, 6, 100]])
    found = mean_over_pairs(values)
    assert found.mean == 3.5 and 1 <= found.low < 3.5 < found.high <= 6
    two = mean_over_pairs(values[:2, :2])
    assert two.mean == 2 and np.isnan([two.low, two.high]).all()
    constant = mean_over_pairs(np.eye(4) + 2)
    assert (constant.mean, constant.low, constant.high) == (2, 2, 2)
    for wrong in (np.ones((1, 1)), np.ones((2, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(InputError, match="values"):
            mean_over_pairs(wrong)
