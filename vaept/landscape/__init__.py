"""A latent space as a landscape: its density, its free energy, minima and saddles, and motion on it."""

from vaept.landscape.density import AggregatePosterior
from vaept.landscape.dynamics import first_passage_times, kramers_time, relaxation_times, simulate
from vaept.landscape.energy import FreeEnergy
from vaept.landscape.paths import lowest_paths
from vaept.landscape.slowest import slowest_level
from vaept.landscape.states import metastable_states
from vaept.landscape.stationary import double_well, find_stationary_points, mueller_brown

__all__ = [
    "AggregatePosterior",
    "FreeEnergy",
    "double_well",
    "find_stationary_points",
    "first_passage_times",
    "kramers_time",
    "lowest_paths",
    "metastable_states",
    "mueller_brown",
    "relaxation_times",
    "simulate",
    "slowest_level",
]
