r"""Ways between images: the lowest path through the landscape, the straight line, and what is decoded along them.

As a control each lowest path is mirrored in its straight line: a detour of the same length and shape on the other side,
chosen without the landscape.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.energy import MAX_CELL_DIM, FreeEnergy
from vaept.landscape.paths import LowestPaths, lowest_paths
from vaept.landscape.stationary import find_stationary_points
from vaept.uses.member import Member, Numbers

if TYPE_CHECKING:
    import numpy as np

N_POINTS, MAX_POINTS = 61, 100_000
SHALLOW = 0.1  # kT; minima that a lower barrier holds are not used as ends
MAX_ENDS = 8
STARTS = 200
MANY_DIM_COMPONENTS, MANY_DIM_STARTS = 4_000, 10  # where every point needs all components
WAYS = {"lowest": "lowest path", "straight": "straight line", "mirrored": "mirrored path"}  # in words


@dataclass(frozen=True)
class Way:
    """What lies along the ways of one kind; NaN where there are none.

    The mean free energy of their points above the lowest minimum, in kT, and the share of decoded images that the
    classifier is sure about, NaN without one.
    """

    energy: Numbers
    sure: Numbers


@dataclass(frozen=True)
class Ways:
    """How many minima a barrier holds, and what lies along each kind of way between them."""

    minima: Numbers
    lowest: Way
    straight: Way
    mirrored: Way


def landscape_of(member: "Member") -> "tuple[FreeEnergy, LowestPaths]":
    """The landscape of a member with its minima, saddles and lowest paths.

    Above three dimensions it is made of fewer components and searched from fewer starts: there are more minima than can
    be listed, and those that are found are connected all the same.

    Parameters
    ----------
    member : Member

    Returns
    -------
    energy : FreeEnergy
    paths : LowestPaths
    """
    energy, starts = member.energy, STARTS
    if energy.dim > MAX_CELL_DIM:
        few = slice(MANY_DIM_COMPONENTS)
        coarse = AggregatePosterior(member.mean[few], member.variance[few])
        energy, starts = FreeEnergy(coarse.blurred(member.held_out)), MANY_DIM_STARTS
    inside = AggregatePosterior(member.mean, member.variance).sample(starts, seed=member.seed)
    return energy, lowest_paths(energy, find_stationary_points(energy, inside))


def deep_minima(paths: LowestPaths) -> "np.ndarray":
    """Numbers of the lowest minima that a barrier of at least `SHALLOW` holds, at most `MAX_ENDS`."""
    return np.flatnonzero(paths.persistence >= SHALLOW)[:MAX_ENDS]


def ways_between(paths: LowestPaths, i: "int", j: "int", n: "int" = N_POINTS) -> "dict[str, np.ndarray]":
    """The ways from minimum i to minimum j.

    Parameters
    ----------
    paths : LowestPaths
    i, j : int
        Numbers of the minima.
    n : int
        Points of each way, with equal distances between them; from 2 to 100 000.

    Returns
    -------
    dict from str to ndarray of shape (n, d)
        By the keys of `WAYS`.

    Raises
    ------
    InputError
        As `LowestPaths.path` raises it, or if n is out of range.
    """
    n = arguments.integer(n, "n", 2, MAX_POINTS)
    lowest = arguments.instance(paths, "paths", LowestPaths).path(i, j).points(n)
    a, b = lowest[[0, -1]]
    straight = np.linspace(a, b, n)
    along = (b - a) / np.linalg.norm(b - a)
    foot = a + np.outer((lowest - a) @ along, along)
    return {"lowest": lowest, "straight": straight, "mirrored": 2 * foot - lowest}


def all_ways(paths: LowestPaths) -> "list[dict[str, np.ndarray]]":
    """The ways between every two of the deep minima that are connected, as a list of dicts of `ways_between`."""
    ends = deep_minima(arguments.instance(paths, "paths", LowestPaths))
    pairs = [(i, j) for k, i in enumerate(ends) for j in ends[k + 1 :] if np.isfinite(paths.barriers[i, j])]
    return [ways_between(paths, int(i), int(j)) for i, j in pairs]


def measure(member: Member) -> Ways:
    """What lies along the ways between the deep minima of a member's landscape."""
    energy, paths = landscape_of(member)
    ways = all_ways(paths)

    def along(kind):
        if not ways:
            return Way(np.nan, np.nan)
        points = np.concatenate([way[kind] for way in ways])
        sure = np.nan if member.judge is None else member.judge.sure(member.decode(points)).mean()
        return Way(energy(points).mean() - paths.energies[0], sure)

    return Ways(len(deep_minima(paths)), along("lowest"), along("straight"), along("mirrored"))  # type: ignore[arg-type]
