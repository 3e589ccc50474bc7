"""Langevin dynamics against its equilibrium, the spectrum, exact integrals and Kramers' formula."""

import numpy as np
import pytest
import torch
from scipy.integrate import cumulative_simpson, simpson

from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.dynamics import (
    Trajectories,
    first_passage_times,
    kramers_time,
    relaxation_times,
    simulate,
)
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.states import metastable_states
from vaept.landscape.stationary import double_well
from vaept.spectrum.levels import from_log_density, from_samples

WELLS = FreeEnergy(double_well(barrier=2.0), 2)


def at_equilibrium(n, seed=0):
    """Draws from exp(−F) of `WELLS`, by rejection."""
    rng = np.random.default_rng(seed)
    z = rng.uniform([-2.2, -2.5], [2.2, 2.5], (30 * n, 2))
    return z[rng.random(len(z)) < np.exp(-WELLS(z))][:n]


def exact_passage_time(energy, a, b):
    """2 ∫ₐᵇ dy exp F(y) ∫₋∞^y dx exp(−F(x)), the mean time from a to b in one dimension (Gardiner 2009, ch. 5)."""
    x = np.linspace(a - 2, b, 20001)
    below = cumulative_simpson(np.exp(-energy(x)), x=x, initial=0)
    inside = x >= a
    return 2 * simpson(np.exp(energy(x[inside])) * below[inside], x=x[inside])


def double_well_1d(barrier):
    return lambda x: barrier * (x**2 - 1) ** 2


def test_harmonic_well_to_second_order_in_the_step():
    energy = FreeEnergy(AggregatePosterior(np.zeros((1, 2)), np.ones((1, 2))))
    starts = np.random.default_rng(1).standard_normal((4000, 2))
    frames = simulate(energy, starts, step=0.1, n_steps=200, keep_every=1, progress=False).positions
    assert frames[-1].var() == pytest.approx(1, abs=0.05)
    correlation = (frames[:-20] * frames[20:]).mean() / (frames**2).mean()
    assert correlation == pytest.approx(np.exp(-1), abs=0.02)


def test_equilibrium_histogram():
    frames = simulate(WELLS, np.zeros((1500, 2)), step=0.02, n_steps=2500, seed=2, progress=False).positions[500:]
    edges = np.linspace(-1.8, 1.8, 25)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.histogram(frames[..., 0], edges)[0]
    density = np.exp(-double_well_1d(2.0)(middle))
    assert np.abs(counts / counts.sum() - density / density.sum()).sum() < 0.04
    assert frames[..., 1].var() == pytest.approx(0.25, rel=0.03)


def test_relaxation_time_is_the_inverse_gap():
    spectrum = from_log_density(lambda z: -WELLS(z), 2, 3)
    walk = simulate(WELLS, at_equilibrium(2500), step=0.025, n_steps=1600, keep_every=8, seed=2, progress=False)
    found = relaxation_times(walk, lambda z: np.stack([z[:, 0], spectrum.eigenfunctions(z)[:, 1]], axis=1))
    low, high = found.intervals.T
    assert (low < 1 / spectrum.levels[1]).all() and (high > 1 / spectrum.levels[1]).all()
    assert ((high - low) / 2 < 0.05 * found.times).all() and (low < found.times).all() and (found.times < high).all()


def test_intervals_cover_the_relaxation_time():
    """Ornstein–Uhlenbeck walkers with exact steps: 95 % intervals hold the truth in some 95 % of experiments."""
    rng, n, decay = np.random.default_rng(3), 200, np.exp(-0.2)
    hits = 0
    for _ in range(60):
        z = np.empty((120, n, 1))
        z[0] = rng.standard_normal((n, 1))
        for k in range(1, len(z)):
            z[k] = decay * z[k - 1] + np.sqrt(1 - decay**2) * rng.standard_normal((n, 1))
        low, high = relaxation_times(Trajectories(0.2 * np.arange(len(z)), z), lambda z: z[:, 0]).intervals[0]
        hits += low < 1 < high
    assert hits >= 52


def test_first_passage_is_the_exact_integral():
    found = first_passage_times(
        WELLS, np.tile([-1.0, 0.0], (2000, 1)), lambda z: z[:, 0] > 0.8, step=0.01, max_steps=20_000, progress=False
    )
    exact = exact_passage_time(double_well_1d(2.0), -1, 0.8)
    low, high = found.interval
    assert low < exact < high and high - low < 0.1 * exact and found.times.shape == (2000,)


def test_kramers_formula_is_the_limit_of_high_barriers():
    excess = []
    for barrier in (8.0, 16.0, 32.0):
        energy = FreeEnergy(double_well(barrier, stiffness=7.0), 3)
        exact = exact_passage_time(double_well_1d(barrier), -1, 1)
        excess.append(barrier * (exact / kramers_time(energy, [-1, 0, 0], [0, 0, 0]) - 1))
    assert np.allclose(excess, excess[-1], rtol=0.2) and 0.2 < excess[-1] < 0.6


def test_walks_are_reproducible_and_frames_bounded():
    options = {"step": 0.01, "n_steps": 2500, "progress": False}
    one = simulate(WELLS, np.ones((3, 2)), seed=4, **options)
    two = simulate(WELLS, np.ones((3, 2)), seed=4, **options)
    assert np.array_equal(one.positions, two.positions) and one.positions.shape == (834, 3, 2)
    assert np.allclose(one.times, 0.03 * np.arange(834)) and (one.positions[0] == 1).all()
    assert not np.array_equal(one.positions, simulate(WELLS, np.ones((3, 2)), seed=5, **options).positions)


@pytest.mark.parametrize("dim", [2, 8])
def test_metastable_states_are_the_components(dim):
    rng = np.random.default_rng(0)
    centres = np.zeros((3, dim))
    centres[:, :2] = [[0, 0], [3.2, 0], [0.5, 3]]
    component = rng.choice(3, 6000, p=[0.5, 0.35, 0.15])
    samples = centres[component] + 0.6 * rng.standard_normal((6000, dim))
    spectrum = from_samples(samples, 3, bootstrap=0)
    labels = metastable_states(spectrum.eigenfunctions(samples), 3)
    assert (labels == component).mean() > 0.97


def test_two_wells_are_told_apart_at_the_barrier():
    spectrum = from_log_density(lambda z: -WELLS(z), 2, 3)
    points = at_equilibrium(3000)
    points = points[np.abs(points[:, 0]) > 0.2]
    labels = metastable_states(spectrum.eigenfunctions(points), 2)
    assert len(set(labels[points[:, 0] > 0])) == len(set(labels[points[:, 0] < 0])) == 1 and set(labels) == {0, 1}
    assert np.bincount(labels)[0] >= np.bincount(labels)[1]


def test_one_state_and_too_many():
    assert not metastable_states(np.ones((5, 1)), 1).any()
    two = np.column_stack([np.ones(40), np.repeat([1.0, -1.0], 20), np.repeat([1.0, -1.0], 20)])
    assert sorted(np.bincount(metastable_states(two, 2))) == [20, 20]
    assert np.array_equal(metastable_states(two, 3), metastable_states(two, 2))
    assert not metastable_states(np.ones((5, 3)), 3).any()
    with pytest.raises(InputError, match="at least n_states = 4 columns"):
        metastable_states(two, 4)


@pytest.mark.parametrize(
    "functions",
    [np.ones(5), np.ones((5, 1)), np.full((5, 2), np.nan), np.arange(10.0).reshape(5, 2), np.ones((1, 2))],
)
def test_bad_functions(functions):
    with pytest.raises(InputError):
        metastable_states(functions, 2)


def test_step_that_explodes():
    with pytest.raises(InputError, match=r"Step \d+ of the dynamics fails with step = 2: .* A step below 0\.013"):
        simulate(WELLS, np.tile([1.0, 0.0], (5, 1)), step=2, n_steps=1000, progress=False)


@pytest.mark.parametrize(
    ("starts", "options"),
    [
        (np.zeros((3, 3)), {}),
        (np.full((3, 2), np.inf), {}),
        (np.zeros((3, 2)), {"step": 0}),
        (np.zeros((3, 2)), {"step": "a"}),
        (np.zeros((3, 2)), {"n_steps": 0}),
        (np.zeros((3, 2)), {"keep_every": 0}),
    ],
)
def test_bad_simulations(starts, options):
    with pytest.raises(InputError):
        simulate(WELLS, starts, **({"step": 0.01, "n_steps": 10, "progress": False} | options))


@pytest.mark.parametrize(
    ("n", "target", "message"),
    [
        (20, lambda z: z[:, 0] > -2, "lie in the target"),
        (20, lambda z: z > 5, r"target returns must be 20 bools, shape \(20,\)"),
        (20, lambda z: z[:, 0] > 5, "20 of 20 walkers"),
        (5, lambda z: z[:, 0] > 5, "at least 10 rows"),
    ],
)
def test_bad_passages(n, target, message):
    with pytest.raises(InputError, match=message):
        first_passage_times(WELLS, np.full((n, 2), -1.0), target, step=0.01, max_steps=20, progress=False)


def test_kramers_needs_a_minimum_and_a_saddle():
    with pytest.raises(InputError, match="first-order saddle"):
        kramers_time(WELLS, [0, 0], [-1, 0])


@pytest.mark.parametrize(
    ("frames", "observable", "message"),
    [
        (np.ones((50, 20, 2)), lambda z: z[:, 0], "constant"),
        (np.ones((50, 5, 2)), lambda z: z[:, 0], "10 walkers"),
        (np.ones((50, 20, 2)), lambda z: z[:3, 0], "must map"),
        (np.ones((50, 20, 2)) * np.arange(20)[:, None], lambda z: z[:, 0], "not fallen"),
        (np.random.default_rng(0).standard_normal((50, 20, 2)), lambda z: z[:, 0], "keep more frames"),
    ],
)
def test_bad_observables(frames, observable, message):
    with pytest.raises(InputError, match=message):
        relaxation_times(Trajectories(0.1 * np.arange(len(frames)), frames), observable)


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 10**9},
        {"n_steps": 10**8, "keep_every": 1},
        {"step": np.inf},
        {"step": 1e-2j},
        {"seed": -1},
        {"seed": 2**32},
        {"starts": np.zeros((3, 2)) + 1j},
        {"starts": [["a", "b"]]},
        {"energy": double_well()},
    ],
)
def test_limits_and_other_types(options):
    options = {"energy": WELLS, "starts": np.zeros((3, 2)), "step": 0.01, "n_steps": 10} | options
    with pytest.raises(InputError):
        simulate(options.pop("energy"), options.pop("starts"), progress=False, **options)


@pytest.mark.parametrize(
    "convert", [lambda a: a.tolist(), lambda a: torch.tensor(a, requires_grad=True), lambda a: a + 0j]
)
def test_starts_and_steps_may_be_what_counts_as_one(convert):
    starts, options = np.full((3, 2), 0.5), {"n_steps": 5, "progress": False}
    expected = simulate(WELLS, starts, step=0.25, **options).positions
    with torch.inference_mode():
        found = simulate(WELLS, convert(starts), step=np.float32(0.25), **options).positions
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "target", [lambda z: torch.tensor(z[:, 0] > 0), lambda z: (z[:, 0] > 0).tolist(), lambda z: z[:, 0] > 0]
)
def test_targets_may_return_lists_and_tensors(target):
    starts = np.tile([-0.2, 0.0], (12, 1))
    times = first_passage_times(WELLS, starts, target, step=0.01, max_steps=20_000, progress=False).times
    expected = first_passage_times(
        WELLS, starts, lambda z: z[:, 0] > 0, step=0.01, max_steps=20_000, progress=False
    ).times
    assert np.array_equal(times, expected)


@pytest.mark.parametrize("target", [lambda z: z[:, 0], lambda z: None, lambda z: "there", 3, None])
def test_targets_of_other_kinds(target):
    with pytest.raises(InputError, match="target"):
        first_passage_times(WELLS, np.full((12, 2), -1.0), target, step=0.01, max_steps=20, progress=False)


@pytest.mark.parametrize(
    ("observables", "options"),
    [
        (lambda z: z[:, 0] + 1j, {}),
        (lambda z: ["a"] * len(z), {}),
        (lambda z: z[:, 0] * np.nan, {}),
        (lambda z: np.ma.masked_less(z[:, 0], 0), {}),
        (None, {}),
        (lambda z: z[:, 0], {"lags": "long"}),
        (lambda z: z[:, 0], {"lags": (0.1, np.nan)}),
        (lambda z: z[:, 0], {"seed": -1}),
    ],
)
def test_observables_of_other_kinds(observables, options):
    frames = np.random.default_rng(0).standard_normal((50, 20, 2)).cumsum(axis=0)
    with pytest.raises(InputError):
        relaxation_times(Trajectories(0.1 * np.arange(50), frames), observables, **options)


@pytest.mark.parametrize(
    "trajectories", [None, np.zeros((50, 20, 2)), Trajectories(np.zeros(50), np.ones((50, 20, 2)))]
)
def test_what_are_no_trajectories(trajectories):
    with pytest.raises(InputError):
        relaxation_times(trajectories, lambda z: z[:, 0])


def test_a_barrier_that_is_never_crossed():
    with pytest.raises(InputError, match="never crossed"):
        kramers_time(FreeEnergy(double_well(1e4), 2), [1.0, 0.0], [0.0, 0.0])


@pytest.mark.parametrize(("functions", "n_states"), [("modes", 2), (np.ones((5, 3)) + 1j, 2), (np.ones((5, 3)), 10**9)])
def test_functions_that_are_no_modes(functions, n_states):
    with pytest.raises(InputError):
        metastable_states(functions, n_states)
