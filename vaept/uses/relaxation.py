r"""How fast Langevin walkers forget in a member's landscape, beside what its spectrum foretells.

The spectrum knows no dynamics, the walkers no spectrum: along eigenfunction k the autocorrelation of walkers is
exp(−E_k t), so that 1/E_k is a time that can be measured. The control is what a Gaussian with the density's covariance
foretells, which knows how wide the latents lie and nothing of valleys: 2s² along an axis of variance s².
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.landscape.dynamics import N_WALKERS, relaxation_times, simulate
from vaept.landscape.energy import FreeEnergy
from vaept.spectrum.levels import Spectrum
from vaept.uses.member import Member, Numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MODES = 3
WALKERS = 200
LENGTH = 8  # of a walk, in units of the slowest predicted time
MAX_STEPS = 2_500
STEP = 0.25  # times the inverse of the curvature that one point in a hundred exceeds
FRAMES = 300


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Relaxation of the slowest modes.

    Attributes
    ----------
    predicted : ndarray, shape (MODES,)
        1/E_k of the spectrum.
    measured : ndarray, shape (MODES,)
        From the walkers.
    intervals : ndarray, shape (MODES, 2)
        95 % of `measured`, over walkers.
    gaussian : float
        The slowest time of the Gaussian control.
    lags, correlation, error : ndarrays, shapes (m,), (m, MODES), (m, MODES)
        Autocorrelation of the modes and its standard error over walkers.
    """

    predicted: np.ndarray
    measured: np.ndarray
    intervals: np.ndarray
    gaussian: float
    lags: np.ndarray
    correlation: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Ratios:
    """Times of walkers in units of what is foretold.

    Attributes
    ----------
    spectrum : ndarray, shape (MODES,)
        The time of each mode divided by 1/E_k.
    covered : ndarray, shape (MODES,)
        1 where 1/E_k lies in the walkers' 95 % interval, else 0.
    gaussian : float
        The time of the first mode divided by that of the control.
    """

    spectrum: Numbers
    covered: Numbers
    gaussian: Numbers


def relax(
    energy: "FreeEnergy",
    starts: "ArrayLike",
    modes: "Spectrum",
    *,
    n_modes: "int" = MODES,
    seed: "int" = 0,
    progress: "bool" = False,
) -> "Relaxation":
    """Let walkers relax from draws from the density, which are at equilibrium, and compare with its levels.

    Parameters
    ----------
    energy : FreeEnergy
    starts : array, shape (walkers, d)
    modes : Spectrum
    n_modes, seed : int
    progress : bool

    Returns
    -------
    Relaxation

    Raises
    ------
    InputError
        Unless `n_modes` levels lie above 0, or as `vaept.landscape.dynamics.simulate` and `relaxation_times` raise it.
    """
    modes, energy = arguments.instance(modes, "modes", Spectrum), arguments.instance(energy, "energy", FreeEnergy)
    n_modes = arguments.integer(n_modes, "n_modes", 1, len(modes.levels) - 1)
    levels = arguments.array(modes.levels[1 : n_modes + 1], "The levels of the modes", minimum=np.finfo(float).tiny)
    seed = arguments.seed(seed)
    starts = arguments.points(starts, "starts", energy.dim, rows=N_WALKERS)
    curvatures = np.abs(np.linalg.eigvalsh(energy.expansion(starts)[2])).max(axis=1)
    step = STEP / arguments.number(np.quantile(curvatures, 0.99), "The curvature of the energy at the starts", above=0)
    n_steps = min(int(LENGTH / levels[0] / step) + 1, MAX_STEPS)
    every = max(1, n_steps // FRAMES)
    walk = simulate(
        energy, starts, step=step, n_steps=every * (n_steps // every), seed=seed, keep_every=every, progress=progress
    )
    frames, walkers, d = walk.positions.shape
    values = modes.eigenfunctions(walk.positions.reshape(-1, d))[:, 1 : n_modes + 1].reshape(frames, walkers, -1)
    ends = np.minimum(1.25 / levels, walk.times[-1] / 3)
    found = [  # each mode has lags of its own, and its values along the walk are there already
        relaxation_times(walk, lambda _, own=own: own.ravel(), lags=(end / 5, end))  # type: ignore[misc]
        for own, end in zip(np.moveaxis(values, 2, 0), ends, strict=True)
    ]
    lags = np.arange(0, frames // 3, max(1, frames // 60))
    products = [(values[: frames - lag] * values[lag:]).mean(axis=0) for lag in lags]
    mean, error = np.mean(products, axis=1), np.std(products, axis=1) / np.sqrt(walkers)
    covariance = np.atleast_2d(np.cov(walk.positions.reshape(-1, d), rowvar=False))
    return Relaxation(
        predicted=1 / levels,
        measured=np.array([each.times[0] for each in found]),
        intervals=np.array([each.intervals[0] for each in found]),
        gaussian=float(2 * np.linalg.eigvalsh(covariance)[-1]),
        lags=walk.times[lags],
        correlation=mean / mean[0],
        error=error / mean[0],
    )


def measure(member: Member) -> Ratios:
    """Relaxation times of the slowest modes of a member, in units of what its spectrum foretells."""
    modes = member.modes(MODES + 1)
    found = relax(member.energy, member.aggregate.sample(WALKERS, seed=member.seed), modes, seed=member.seed)
    inside = (found.intervals[:, 0] <= found.predicted) & (found.predicted <= found.intervals[:, 1])
    return Ratios(found.measured / found.predicted, inside.astype(float), found.measured[0] / found.gaussian)
