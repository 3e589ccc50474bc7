"""Stationary points and paths against published and closed values, and against floods of a grid."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.paths import lowest_paths
from vaept.landscape.stationary import double_well, find_stationary_points, mueller_brown

MINIMA = [[-0.558223634633, 1.4417258418], [0.623499404931, 0.0280377585], [-0.0500108230, 0.466694104872]]
SADDLES = [[0.212486582001, 0.292988325107], [-0.822001558733, 0.624312802815]]
HEIGHTS = [-146.69951721, -108.166724117, -80.7678181297, -72.2489401123, -40.6648435087]


@pytest.fixture(scope="module")
def surface():
    energy = FreeEnergy(mueller_brown, 2)
    starts = np.random.default_rng(0).uniform([-1.5, -0.3], [1.2, 2], (200, 2))
    return energy, find_stationary_points(energy, starts)


@pytest.fixture(scope="module")
def hills():
    """A mixture with a rugged landscape, and all its stationary points."""
    rng = np.random.default_rng(5)
    mixture = AggregatePosterior(rng.standard_normal((40, 2)), rng.uniform(0.05, 0.2, (40, 2)))
    energy = FreeEnergy(mixture)
    return energy, find_stationary_points(energy, mixture.sample(150, seed=1), max_index=2)


def index_sum(stationary):
    return ((-1) ** (stationary.eigenvalues < 0).sum(axis=1)).sum()


def test_mueller_brown_points(surface):
    _, found = surface
    assert found.kind.tolist() == ["minimum"] * 3 + ["saddle"] * 2
    assert np.abs(found.points - np.array(MINIMA + SADDLES)).max() < 1e-9
    assert np.abs(found.energy - HEIGHTS).max() < 1e-7
    assert (found.gradient_norm < 1e-9).all() and (found.searches > 5).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_mueller_brown_from_other_starts(seed):
    starts = np.random.default_rng(seed).uniform([-1.5, -0.3], [1.2, 2], (200, 2))
    found = find_stationary_points(FreeEnergy(mueller_brown, 2), starts)
    assert np.abs(found.points - np.array(MINIMA + SADDLES)).max() < 1e-9


def test_mueller_brown_path(surface):
    energy, _ = surface
    path = lowest_paths(*surface).path(0, 1)
    assert path.barrier == pytest.approx(HEIGHTS[4] - HEIGHTS[0], abs=1e-6)
    assert np.abs(path.saddles - SADDLES[::-1]).max() < 1e-9
    assert np.abs(path.images[[0, -1]] - MINIMA[:2]).max() < 1e-9
    assert np.allclose(path.energies, energy(path.images)) and path.energies.max() == path.saddle_energies[0]
    assert np.linalg.norm(np.diff(path.images, axis=0), axis=1).max() < 0.05
    # One way up and one way down for each saddle.
    assert (np.diff(np.sign(np.diff(path.energies))) != 0).sum() == 3


def test_gradient_is_along_the_path(surface):
    energy, _ = surface
    path = lowest_paths(*surface).path(1, 0)
    steps = np.diff(path.images, axis=0)
    gradient = energy.gradient((path.images[1:] + path.images[:-1]) / 2)
    long = (np.linalg.norm(steps, axis=1) > 5e-3) & (np.linalg.norm(gradient, axis=1) > 10)
    sine = np.abs(steps[:, 0] * gradient[:, 1] - steps[:, 1] * gradient[:, 0])
    sine /= np.linalg.norm(steps, axis=1) * np.linalg.norm(gradient, axis=1)
    assert long.sum() > 50 and np.median(sine[long]) < 0.02 and sine[long].max() < 0.15


def test_lowest_paths_of_mueller_brown(surface):
    energy, found = surface
    paths = lowest_paths(energy, found)
    assert [set(edge) for edge in paths.edges.tolist()] == [{1, 2}, {0, 2}]
    assert paths.barriers[0, 1] == pytest.approx(HEIGHTS[4] - HEIGHTS[0], abs=1e-6)
    assert paths.barriers[1, 2] == pytest.approx(HEIGHTS[3] - HEIGHTS[1], abs=1e-6)
    assert len(paths.path(0, 1).saddles) == 2 and len(paths.path(2, 0).saddles) == 1


def test_minima_alone_are_joined(surface):
    energy, found = surface
    bare = find_stationary_points(energy, found.minima, max_index=0)
    assert (bare.kind == "minimum").all()
    assert np.allclose(lowest_paths(energy, bare).barriers, lowest_paths(energy, found).barriers)


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_double_well_in_any_dimension(dim):
    energy = FreeEnergy(double_well(barrier=3.5, stiffness=2.0), dim)
    starts = np.random.default_rng(dim).uniform(-2, 2, (40, dim))
    found = find_stationary_points(energy, starts)
    assert found.kind.tolist() == ["minimum", "minimum", "saddle"] and np.allclose(found.energy, [0, 0, 3.5])
    assert np.allclose(np.sort(found.points[:, 0]), [-1, 0, 1]) and np.allclose(found.points[:, 1:], 0)
    assert np.allclose(found.eigenvalues[2], [-14] + [2] * (dim - 1))
    bare = find_stationary_points(energy, np.eye(dim)[:1] * [[-1], [1]], max_index=0)
    assert len(bare.points) == 2
    for known in (found, bare):
        assert np.allclose(lowest_paths(energy, known).barriers, [[0, 3.5], [3.5, 0]])


def test_two_gaussians_in_eight_dimensions_and_turned(rng):
    centre = np.zeros(8)
    centre[0] = 1.0
    variance = np.full((2, 8), 0.25)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    results = []
    for mean in (np.stack([centre, -centre]), np.stack([centre, -centre]) @ turn.T):
        energy = FreeEnergy(AggregatePosterior(mean, variance))
        found = find_stationary_points(energy, mean + 0.1 * rng.standard_normal((2, 8)))
        results.append(found.energy)
        # Between the wells both terms are equal, and the density is that of one Gaussian two deviations away.
        assert found.kind.tolist() == ["minimum", "minimum", "saddle"]
        assert np.allclose(found.points[2], 0) and np.isclose(found.energy[2], 2 + 4 * np.log(np.pi / 2))
    assert np.allclose(*results)


def test_rugged_mixture_has_all_its_stationary_points(hills):
    _, found = hills
    assert index_sum(found) == 1 and (found.kind == "minimum").sum() > 4
    assert (found.gradient_norm < 1e-10).all() and (np.diff(found.energy) >= 0).all()


def test_barriers_are_where_floods_meet(hills):
    energy, found = hills
    paths = lowest_paths(energy, found)
    axis = np.linspace(-4, 4, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    level = energy(grid).reshape(401, 401)
    cells = np.rint((paths.minima + 4) / (axis[1] - axis[0])).astype(int)
    assert (paths.minima == found.minima).all() and np.isfinite(paths.barriers).all()
    for i, j in itertools.combinations(range(len(cells)), 2):
        top = paths.barriers[i, j] + paths.energies[i]
        assert np.isclose(top, paths.barriers[j, i] + paths.energies[j])
        before, after = (label(level < top + shift, np.ones((3, 3)))[0][tuple(cells.T)] for shift in (-0.03, 0.03))
        assert (before[i] != before[j] or before[i] == 0) and after[i] == after[j] > 0


def test_paths_of_a_rugged_mixture_are_ways_over_their_saddles(hills):
    energy, found = hills
    paths = lowest_paths(energy, found)
    for i, j in [(0, len(paths.minima) - 1), (2, 1)]:
        path = paths.path(i, j)
        assert np.allclose(path.images[0], paths.minima[i]) and np.allclose(path.images[-1], paths.minima[j])
        assert path.barrier == pytest.approx(paths.barriers[i, j]) and np.allclose(path.energies, energy(path.images))
        assert path.energies.max() == pytest.approx(path.saddle_energies.max())
        back = paths.path(j, i)
        assert np.allclose(back.images, path.images[::-1]) and np.allclose(back.saddles, path.saddles[::-1])


def test_single_minimum_is_said_plainly():
    energy = FreeEnergy(AggregatePosterior(np.zeros((1, 3)), np.ones((1, 3))))
    found = find_stationary_points(energy, np.random.default_rng(0).standard_normal((30, 3)))
    paths = lowest_paths(energy, found)
    assert found.kind.tolist() == ["minimum"] and found.saddles.shape == (0, 3)
    assert paths.barriers.tolist() == [[0]] and paths.edges.shape == (0, 2)
    with pytest.raises(InputError, match="two different minima"):
        paths.path(0, 0)


def test_valley_floor_is_degenerate():
    energy = FreeEnergy(lambda z: ((z**2).sum(dim=1) - 1) ** 2, 2)
    found = find_stationary_points(energy, np.random.default_rng(0).uniform(-1.5, 1.5, (10, 2)), max_index=0)
    assert set(found.kind) == {"degenerate"} and np.allclose(np.linalg.norm(found.points, axis=1), 1)


def test_searches_that_find_nothing():
    energy = FreeEnergy(lambda z: z[:, 0] + z[:, 1] ** 2, 2)
    found = find_stationary_points(energy, np.random.default_rng(0).standard_normal((5, 2)))
    assert found.points.shape == (0, 2) and found.minima.shape == (0, 2) and found.kind.shape == (0,)
    with pytest.raises(InputError, match="no minimum"):
        lowest_paths(energy, found)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        (np.zeros((3, 3)), r"shape \(n, 2\)"),
        (np.zeros(2), r"shape \(n, 2\)"),
        (np.full((3, 2), np.nan), "starts must be finite"),
        (np.full((3, 2), 50.0), "within the bounds"),
    ],
)
def test_bad_starts(hills, starts, message):
    with pytest.raises(InputError, match=message):
        find_stationary_points(hills[0], starts)


def test_indices_of_paths_that_do_not_exist(surface):
    paths = lowest_paths(*surface)
    for pair in [(0, 3), (-1, 0), (1, 1)]:
        with pytest.raises(InputError):
            paths.path(*pair)


def test_persistence_is_the_lowest_barrier_to_a_lower_minimum(surface):
    found = lowest_paths(*surface)
    expected = [np.inf, found.barriers[1, 0], min(found.barriers[2, 0], found.barriers[2, 1])]
    np.testing.assert_allclose(found.persistence, expected)
    steps = np.linalg.norm(np.diff(found.path(0, 1).points(60), axis=0), axis=1)
    assert steps.max() < 1.02 * steps.mean()


@pytest.mark.parametrize("energy", [mueller_brown, None, AggregatePosterior(np.zeros((1, 2)), np.ones((1, 2)))])
def test_what_is_no_free_energy(surface, energy):
    for call in (
        lambda: find_stationary_points(energy, np.zeros((2, 2))),
        lambda: lowest_paths(energy, surface[1]),
    ):
        with pytest.raises(InputError, match="energy must be a FreeEnergy"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda energy, _: find_stationary_points(energy, np.zeros((2, 2)), n_steps=10**9),
        lambda energy, _: find_stationary_points(energy, np.zeros((2, 2)), max_index=3),
        lambda energy, _: find_stationary_points(energy, [["a", "b"]]),
        lambda energy, _: find_stationary_points(energy, np.zeros((2, 2)) + 1j),
        lambda energy, _: find_stationary_points(energy, np.ma.masked_array(np.zeros((2, 2)), mask=True)),
        lambda energy, found: lowest_paths(energy, found, n_images=10**9),
        lambda energy, found: lowest_paths(energy, found.points),
        lambda energy, found: lowest_paths(energy, found).path(0, 1.0),
        lambda energy, found: lowest_paths(energy, found).path(0, 1).points(10**12),
        lambda *_: double_well("high"),
        lambda *_: double_well(np.nan),
    ],
)
def test_limits_and_other_types(surface, call):
    with pytest.raises(InputError):
        call(*surface)


def test_starts_may_be_tensors_and_torch_without_gradients(surface):
    starts = torch.tensor([[0.6, 0.0], [-0.5, 1.5]], dtype=torch.float64, requires_grad=True)
    expected = find_stationary_points(surface[0], starts.tolist(), max_index=0)
    with torch.inference_mode():
        found = find_stationary_points(surface[0], starts, max_index=0)
        assert np.array_equal(found.points, expected.points)
        found = lowest_paths(surface[0], found).path(0, 1)
    assert np.array_equal(found.images, lowest_paths(surface[0], expected).path(0, 1).images)
