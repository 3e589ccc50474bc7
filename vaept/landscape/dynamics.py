r"""Langevin dynamics in a free energy, and its time scales.

dz = −½∇F dt + dW with F = −log ρ in units of kT: the diffusion constant is ½, ρ is the equilibrium, and relaxation
rates are the levels of `vaept.spectrum`. Integrator: Heun's method with one noise for both stages, of weak order 2 as
the noise is additive (Kloeden & Platen 1992, ch. 15; Honeycutt 1992, Phys. Rev. A 45, 600): averages at equilibrium and
time correlations are off by O(step²).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape.energy import checked
from vaept.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

    from vaept.landscape.energy import FreeEnergy

MAX_FRAMES = 1000  # kept unless the caller asks for more
MAX_STEPS = 10**8  # hours, whatever the energy
TOO_FAR = 1e3  # sizes of the region from the starts, where only a step that explodes can lead
N_WALKERS = 10  # the fewest for an interval over walkers
N_BOOTSTRAP = 1000


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Walkers at equal times.

    Attributes
    ----------
    times : ndarray, shape (frames,)
        From 0, the starts.
    positions : ndarray, shape (frames, walkers, d)
    """

    times: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True, eq=False)
class RelaxationTimes:
    """Relaxation times of k observables.

    Attributes
    ----------
    times : ndarray, shape (k,)
    intervals : ndarray, shape (k, 2)
        95 %, from a bootstrap over walkers.
    lags : ndarray, shape (k, 2)
        The two lags between which the autocorrelation was taken as an exponential.
    """

    times: np.ndarray
    intervals: np.ndarray
    lags: np.ndarray


@dataclass(frozen=True, eq=False)
class FirstPassage:
    """Times at which walkers first came to a region.

    Attributes
    ----------
    mean : float
    interval : ndarray, shape (2,)
        95 %, of the mean.
    times : ndarray, shape (walkers,)
        The longest of n is some log n times their mean.
    """

    mean: float
    interval: np.ndarray
    times: np.ndarray


def simulate(
    energy: "FreeEnergy",
    starts: "ArrayLike",
    *,
    step: "float",
    n_steps: "int",
    seed: "int | np.random.SeedSequence" = 0,
    keep_every: "int | None" = None,
    progress: "bool" = True,
) -> "Trajectories":
    """Langevin dynamics of independent walkers.

    Parameters
    ----------
    energy : FreeEnergy
    starts : array, shape (walkers, d)
    step : float
        h, the time of a step; a good one is a fifth of the inverse of the largest curvature of F.
    n_steps : int
        At most 10⁸.
    seed : int or numpy.random.SeedSequence
    keep_every : int, optional
        Steps between frames that are kept; without it, such that there are at most 1 000.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Trajectories

    Raises
    ------
    InputError
        If an argument is out of range, the frames would need more than 2 GiB, or the step is so large that walkers run
        away.

    Examples
    --------
    >>> energy = FreeEnergy(double_well(), dim=2)
    >>> walk = simulate(energy, [[1.0, 0.0]], step=0.01, n_steps=100, progress=False)
    >>> walk.positions.shape
    (101, 1, 2)
    """
    n_steps = arguments.integer(n_steps, "n_steps", 1, MAX_STEPS)
    every = -(-n_steps // MAX_FRAMES) if keep_every is None else keep_every
    every = arguments.integer(every, "keep_every", 1, MAX_STEPS)
    walk = _Walk(energy, starts, step, seed)
    arguments.memory((n_steps // every + 1) * walk.positions.size, "The frames")
    frames = np.empty((n_steps // every + 1, *walk.positions.shape))
    frames[0] = walk.positions
    for k in bar(range(1, n_steps + 1), "Langevin", show=progress):
        walk.advance()
        if k % every == 0:
            frames[k // every] = walk.positions
    return Trajectories(every * walk.step * np.arange(len(frames)), frames)


def first_passage_times(
    energy: "FreeEnergy",
    starts: "ArrayLike",
    target: "Callable[[np.ndarray], np.ndarray]",
    *,
    step: "float",
    max_steps: "int",
    seed: "int | np.random.SeedSequence" = 0,
    progress: "bool" = True,
) -> "FirstPassage":
    """Times that walkers take from their starts to a region, which all must reach within `max_steps`, at most 10⁸.

    Parameters
    ----------
    energy, starts, step, seed, progress
        As for `simulate`; at least 10 walkers.
    target : callable
        The region: maps points (n, d) to bool (n,). Its border is best laid well beyond the saddle.
    max_steps : int

    Returns
    -------
    FirstPassage

    Raises
    ------
    InputError
        As for `simulate`, or if a start lies in the target, the target has the wrong shape, or not all walkers arrive.

    Examples
    --------
    >>> energy, how = FreeEnergy(double_well(1.0), dim=2), {"step": 0.05, "max_steps": 10_000, "progress": False}
    >>> first_passage_times(energy, np.tile([-1.0, 0.0], (10, 1)), lambda z: z[:, 0] > 0, **how).times.shape
    (10,)
    """
    max_steps = arguments.integer(max_steps, "max_steps", 1, MAX_STEPS)
    arguments.function(target, "target", "points (n, d)")
    walk = _Walk(energy, arguments.points(starts, "starts", checked(energy).dim, rows=N_WALKERS), step, seed)
    n = len(walk.positions)

    def inside(points):
        found = arguments.mask(target(points), "What target returns", len(points))
        return found

    if inside(walk.positions).any():
        raise InputError("Some starts lie in the target already; start outside it.")
    times, waiting = np.full(n, np.nan), np.arange(n)
    for k in bar(range(1, max_steps + 1), "first passage", show=progress):
        walk.advance()
        found = inside(walk.positions)
        if found.any():
            times[waiting[found]] = k * walk.step
            waiting = waiting[~found]
            walk.keep(~found)
        if not len(waiting):
            break
    if len(waiting):
        raise InputError(f"{len(waiting)} of {n} walkers are under way after {max_steps} steps; give more steps.")
    half = student.ppf(0.975, n - 1) * times.std(ddof=1) / np.sqrt(n)
    return FirstPassage(times.mean(), times.mean() + half * np.array([-1, 1]), times)


def kramers_time(energy: "FreeEnergy", minimum: "ArrayLike", saddle: "ArrayLike") -> "float":
    """Kramers' mean time from a minimum over a saddle into the next well, for a barrier that is high.

    4π/|λ| · √(|det ∇∇F(saddle)|/det ∇∇F(minimum)) · exp(F(saddle) − F(minimum)), λ the negative curvature at the saddle
    and ½ the diffusion constant (Kramers 1940, Physica 7, 284; Langer 1969, Ann. Phys. 54, 258). Its relative error
    is of the order of the inverse of the barrier.

    Parameters
    ----------
    energy : FreeEnergy
    minimum, saddle : array, shape (d,)

    Returns
    -------
    float

    Raises
    ------
    InputError
        If the curvatures at the points are not those of a minimum and a first-order saddle.

    Examples
    --------
    >>> round(kramers_time(FreeEnergy(double_well(), dim=2), [-1.0, 0.0], [0.0, 0.0]), 2)
    14.87
    """
    dim = checked(energy).dim
    named = (("minimum", minimum), ("saddle", saddle))
    values, _, hessian = energy.expansion([arguments.array(point, name, shape=(dim,)) for name, point in named])
    below, above = np.linalg.eigvalsh(hessian)
    if not (below > 0).all() or (above < 0).sum() != 1 or (above == 0).any():
        raise InputError(
            f"A minimum and a first-order saddle are needed; the curvatures are {below.tolist()} and {above.tolist()}."
        )
    with np.errstate(over="ignore"):
        time = 4 * np.pi / -above[0] * np.sqrt(np.abs(above).prod() / below.prod()) * np.exp(values[1] - values[0])
    if not np.isfinite(time):
        raise InputError(f"A barrier of {values[1] - values[0]:g} is never crossed: the time exceeds all numbers.")
    return float(time)


def relaxation_times(
    trajectories: "Trajectories",
    observables: "Callable[[np.ndarray], np.ndarray]",
    *,
    lags: "Sequence[float] | None" = None,
    seed: "int" = 0,
) -> "RelaxationTimes":
    """Relaxation times of slow observables, from their autocorrelation at equilibrium.

    log C falls linearly between two lags; the earlier lets faster modes die out, and with an eigenfunction of
    `vaept.spectrum` as observable there are none. C is pooled over all walkers and times.

    Parameters
    ----------
    trajectories : Trajectories
        At equilibrium.
    observables : callable
        Maps points (n, d) to (n,) or (n, k) values, such as a coordinate across the barrier.
    lags : pair of float, optional
        Times; without them a quarter and five quarters of the time after which C has fallen to 1/e.
    seed : int
        Of the bootstrap.

    Returns
    -------
    RelaxationTimes

    Raises
    ------
    InputError
        If there are fewer than 10 walkers, the observables have the wrong shape, are not finite or constant, or the
        trajectories are too short or their frames too far apart.

    Examples
    --------
    >>> energy = FreeEnergy(lambda z: (z**2).sum(dim=1) / 2, dim=1)  # whose level is 1/2
    >>> starts = np.random.default_rng(0).standard_normal((200, 1))
    >>> walk = simulate(energy, starts, step=0.1, n_steps=500, progress=False)
    >>> relaxation_times(walk, lambda z: z[:, 0]).times.round()
    array([2.])
    """
    seed = arguments.seed(seed)
    if not isinstance(trajectories, Trajectories):
        raise InputError(f"trajectories must be Trajectories, as simulate gives them; {arguments.brief(trajectories)}.")
    frames = arguments.array(trajectories.positions, "positions", shape=("frames", "walkers", "d"))
    times = arguments.array(trajectories.times, "times", shape=(len(frames),))
    arguments.function(observables, "observables", "points (n, d)")
    n_frames, n_walkers, d = frames.shape
    if n_walkers < N_WALKERS or n_frames < 3:
        raise InputError(f"At least {N_WALKERS} walkers and 3 frames are needed; there are {n_walkers} and {n_frames}.")
    values = arguments.array(observables(frames.reshape(-1, d)), "What observables return")
    if values.ndim not in (1, 2) or values.size == 0 or len(values) != n_frames * n_walkers:
        raise InputError(f"observables must map (n, {d}) to values (n,) or (n, k); they gave {values.shape}.")
    values = values.reshape(n_frames, n_walkers, -1)
    spacing = times[1] - times[0]
    if spacing <= 0:
        raise InputError("times must ascend.")
    samples = np.random.default_rng(seed).multinomial(n_walkers, np.full(n_walkers, 1 / n_walkers), size=N_BOOTSTRAP)
    results = [_relaxation_time(series, spacing, lags, samples) for series in np.moveaxis(values, 2, 0)]
    return RelaxationTimes(*(np.array(part) for part in zip(*results, strict=True)))


class _Walk:
    """Walkers, and the gradient where they are."""

    def __init__(self, energy, starts, step, seed):
        self.energy, self.step, self.count = checked(energy), arguments.number(step, "step", above=0), 0
        self.positions = arguments.points(starts, "starts", energy.dim).copy()
        seed = seed if isinstance(seed, np.random.SeedSequence) else arguments.seed(seed)
        self.generator = np.random.default_rng(seed)
        _, self.slope, hessian = energy.expansion(self.positions)
        self.curvature = np.abs(np.linalg.eigvalsh(hessian)).max()
        low, high = (self.positions.min(0), self.positions.max(0)) if energy.bounds is None else energy.bounds
        # Without bounds, the width of the steepest well that a start can see stands in for a single start's spread.
        size = max(np.max(high - low), 1 / np.sqrt(max(self.curvature, 1e-6)))
        self.low, self.high = low - TOO_FAR * size, high + TOO_FAR * size

    def advance(self):
        self.count += 1
        drift = -0.5 * self.step * self.slope
        noise = np.sqrt(self.step) * self.generator.standard_normal(self.positions.shape)
        try:
            ahead = self._gradient(self.positions + drift + noise)
            z = self.positions + 0.5 * (drift - 0.5 * self.step * ahead) + noise
            self.slope = self._gradient(z)
        except InputError as error:
            raise InputError(
                f"Step {self.count} of the dynamics fails with step = {self.step:g}: {error} A step below "
                f"{0.2 / max(self.curvature, 1e-100):.2g}, a fifth of the inverse of the largest curvature at the "
                "starts, is likely to do."
            ) from error
        self.positions = z

    def _gradient(self, z):
        lost = ~((z > self.low) & (z < self.high)).all(axis=1)
        if lost.any():
            where = self.positions[lost][0].tolist()
            raise InputError(f"{lost.sum()} of {len(z)} walkers run away, the first from {where}.")
        return self.energy.gradient(z)

    def keep(self, rows):
        """Go on with some of the walkers."""
        self.positions, self.slope = self.positions[rows], self.slope[rows]


def _relaxation_time(series, spacing, lags, samples):
    """Relaxation time of values (frames, walkers), its interval and the lags in use."""
    centred = series - series.mean()
    if centred.std() <= 1e-12 * max(np.abs(series).max(), 1e-300):
        raise InputError("An observable is constant; it has no relaxation time.")
    if lags is None:
        fall = _fall(centred, spacing)
        pair = fall // 4, fall // 4 + fall
    else:
        pair = tuple(round(lag / spacing) for lag in arguments.array(lags, "lags", shape=(2,)).tolist())
    if not 0 <= pair[0] < pair[1] < len(series):
        raise InputError(f"lags must be two times within the trajectories, ascending; they are {lags}.")
    products = np.stack([_correlation(centred, lag) for lag in pair])
    # The mean is estimated as well: its square is taken off anew in every resample.
    means = centred.mean(axis=0)
    weights = samples / samples.shape[1]
    resampled = products @ weights.T - (means @ weights.T) ** 2
    both = np.append(products.mean(axis=1)[:, None], resampled, axis=1)
    if (both <= 0).any():
        raise InputError("The autocorrelation is lost in noise at the later lag; simulate more walkers, or for longer.")
    times = (pair[1] - pair[0]) * spacing / np.log(both[0] / both[1])
    if (times <= 0).any():
        raise InputError("The autocorrelation does not fall between the lags; simulate more walkers, or for longer.")
    return times[0], np.quantile(times[1:], [0.025, 0.975]), np.array(pair) * spacing


def _correlation(centred, lag):
    """Mean product of the values a lag apart, of every walker; shape (walkers,)."""
    return (centred[: len(centred) - lag] * centred[lag:]).mean(axis=0)


def _fall(centred, spacing):
    """Frames after which the autocorrelation has fallen to 1/e, found by doubling and halving."""
    limit, high = len(centred) // 3, 1
    enough = (centred**2).mean() / np.e
    while high <= limit and _correlation(centred, high).mean() > enough:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _correlation(centred, middle).mean() > enough else (low, middle)
    if high > limit:
        raise InputError(
            f"The autocorrelation has not fallen to 1/e within a third of the trajectories, {limit * spacing:g}: "
            "simulate for longer, or give an observable that relaxes."
        )
    if high < 4:
        raise InputError(
            f"The autocorrelation falls to 1/e within {high} frames, {high * spacing:g}; keep more frames, at least "
            "four in that time."
        )
    return high
