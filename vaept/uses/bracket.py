r"""The slowest rate in a member's landscape: a trial function's quotient, and bounds from walkers above and below it.

Unlike `vaept.uses.relaxation`, which compares walkers with levels from samples, all here is of one explicit mixture,
whose draws and scores are free.
"""

from dataclasses import dataclass

import numpy as np

from vaept.landscape.density import AggregatePosterior
from vaept.landscape.slowest import slowest_level
from vaept.uses.member import Member, Numbers

COMPONENTS = 2_500  # of the mixture, at most: walkers need them all at every step
STARTS = 800  # of walkers; more with fewer components


@dataclass(frozen=True)
class Rates:
    """The numbers of a `vaept.landscape.slowest.Bracket`.

    Each is a row of three, the estimate and the ends of its 95 % interval.
    """

    quotient: Numbers
    upper: Numbers
    lower: Numbers


def measure(member: Member) -> Rates:
    """Bounds on the slowest rate in the landscape of a member's first training images."""
    few = AggregatePosterior(member.mean[:COMPONENTS], member.variance[:COMPONENTS])
    n_starts = STARTS * COMPONENTS // len(few.mean)
    found = slowest_level(few.blurred(member.held_out), n_starts=min(n_starts, 10 * STARTS), seed=member.seed)
    numbers = np.column_stack([(found.quotient, found.upper, found.lower), found.intervals])
    return Rates(*numbers)
