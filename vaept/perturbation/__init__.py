"""What splits degenerate levels: perturbation series, fields of the data, potentials, and the axes that they choose."""

from vaept.perturbation.diffusion import graph_modes
from vaept.perturbation.fields import (
    Field,
    diffusion_field,
    held_out_agreement,
    load_field,
    neighbour_field,
    pca_field,
    random_network_field,
    shuffled,
    subspace_field,
)
from vaept.perturbation.objective import perturbed_kl, switched_off
from vaept.perturbation.orientation import Orientation, orient
from vaept.perturbation.potentials import Schedule
from vaept.perturbation.series import Resummation, oscillator_series, resum, series

__all__ = [
    "Field",
    "Orientation",
    "Resummation",
    "Schedule",
    "diffusion_field",
    "graph_modes",
    "held_out_agreement",
    "load_field",
    "neighbour_field",
    "orient",
    "oscillator_series",
    "pca_field",
    "perturbed_kl",
    "random_network_field",
    "resum",
    "series",
    "shuffled",
    "subspace_field",
    "switched_off",
]
