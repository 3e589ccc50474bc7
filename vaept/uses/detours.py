r"""The lowest paths between images, judged against random ways of the same length.

A mirrored path (`vaept.uses.paths`) is a single detour. Here many are drawn between the same minima: the straight line
and a few random sine waves across it, swung out until the way is as long as the lowest path.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from vaept import arguments
from vaept.errors import InputError
from vaept.uses.member import Member, Numbers
from vaept.uses.paths import MAX_POINTS, all_ways, landscape_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

N_DETOURS = 50  # of each lowest path
N_WAVES = 4
SAME = 1e-9  # times the length of a way: ends that are no farther apart are one


@dataclass(frozen=True)
class Detours:
    """Random ways between the deep minima, each as long as the lowest path; NaN where there are none.

    Attributes
    ----------
    energy : float
        Mean free energy of their points above the lowest minimum, in kT.
    lowest : float
        The same of the lowest paths.
    lower : float
        Share of them with a lower mean free energy than their lowest path.
    """

    energy: Numbers
    lowest: Numbers
    lower: Numbers


def detours(way: "ArrayLike", n_detours: "int" = N_DETOURS, *, seed: "int" = 0) -> "np.ndarray":
    """Random smooth ways with the ends and the length of another.

    Parameters
    ----------
    way : array, shape (n, d)
        Points with equal distances along a way, n and d at least 2. A straight one has no detour but itself.
    n_detours : int
    seed : int

    Returns
    -------
    ndarray, shape (n_detours, n, d)
        With equal distances along each.

    Raises
    ------
    InputError
        If these are no such points, or the ends are one.
    """
    way = arguments.points(way, "way", rows=2)
    n, d = way.shape
    n_detours = arguments.integer(n_detours, "n_detours", 1, MAX_POINTS)
    arguments.memory(n_detours * way.size, "The detours")
    size = np.abs(way - way[0]).max()
    shape = (way - way[0]) / (size or 1)
    line, length = shape[-1], _lengths(shape)[-1]
    if d < 2 or np.linalg.norm(line) <= SAME * length:
        raise InputError(f"A detour needs two dimensions and two ends; there are {d}, and the way leads by {line}.")
    generator = np.random.default_rng(arguments.seed(seed))
    waves = np.arange(1, N_WAVES + 1)
    fine = np.linspace(0, 1, 8 * n)
    found = np.empty((n_detours, n, d))
    for each in found:
        swing = np.sin(np.pi * np.outer(fine, waves)) @ (generator.standard_normal((N_WAVES, d)) / waves[:, None])
        swing -= np.outer(swing @ line, line) / (line @ line)
        straight = np.outer(fine, line)

        def excess(swung, straight=straight, swing=swing):
            return _lengths(straight + swung * swing)[-1] - length

        # Swung out by the whole length it is longer, as some point lies that far from the line.
        most = length / np.linalg.norm(swing, axis=1).max()
        points = straight + (brentq(excess, 0, most) if excess(0) < 0 else 0) * swing
        along = _lengths(points)
        each[:] = np.stack([np.interp(np.linspace(0, along[-1], n), along, column) for column in points.T], axis=1)
    return way[0] + size * found


def _lengths(points):
    """Lengths from the first point to each along straight pieces."""
    return np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))


def measure(member: Member) -> Detours:
    """The lowest paths of a member's landscape beside random ways of the same length."""
    energy, paths = landscape_of(member)
    ways = [way["lowest"] for way in all_ways(paths)]
    if not ways:
        return Detours(np.nan, np.nan, np.nan)  # type: ignore[arg-type]
    lowest, others = [], []
    for way in ways:
        around = detours(way, seed=member.seed)
        lowest.append(energy(way).mean() - paths.energies[0])
        others.append(energy(around.reshape(-1, energy.dim)).reshape(N_DETOURS, -1).mean(axis=1) - paths.energies[0])
    return Detours(np.mean(others), np.mean(lowest), np.mean(np.array(others) < np.array(lowest)[:, None]))  # type: ignore[arg-type]
