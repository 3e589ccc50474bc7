"""Every figure of the book: results in, a matplotlib Figure out; nothing is computed or read here.

Each function also takes the keyword `made_by`, a few words on what made the results, which are printed in the
figure's corner. Classes are colours (the ten of `vaept.mplstyle`) with the class number written beside them.
"""

from vaept.companion.figures.fields import (
    agreement_with_controls,
    arrangements,
    dose_response,
    first_components,
    persistence,
    price_list,
    symmetry_breaking_toy,
    teaser,
    ten_seeds_in_a_field,
)
from vaept.companion.figures.landscapes import (
    groupings,
    landscape,
    path_between_images,
    relaxation_against_gap,
    slow_modes_decoded,
    states_against_classes,
)
from vaept.companion.figures.models import (
    bound_against_time,
    energy_bounds_kl,
    posterior_as_wave_packet,
    training_history,
)
from vaept.companion.figures.quantum import oscillator_states_2d, tilt_chooses_axes, wells_and_levels
from vaept.companion.figures.runs import coordinates_of_runs, explained_by_group, planes_of_runs
from vaept.companion.figures.seeds import agreement_by_group, elbo_against_rotation, one_place, ten_seeds
from vaept.companion.figures.spectra import (
    eigenfunctions_decoded,
    error_slopes,
    fingerprints,
    levels_beside_seeds,
    levels_of_a_latent_space,
    populations_by_class,
    series_against_exact,
)
from vaept.companion.figures.uses import (
    cluster,
    denoise,
    encoders_against_decoders,
    generate,
    images_by_energy,
    outliers_by_score,
    scores_against_noise,
)

__all__ = [
    "agreement_by_group",
    "agreement_with_controls",
    "arrangements",
    "bound_against_time",
    "cluster",
    "coordinates_of_runs",
    "denoise",
    "dose_response",
    "eigenfunctions_decoded",
    "elbo_against_rotation",
    "encoders_against_decoders",
    "energy_bounds_kl",
    "error_slopes",
    "explained_by_group",
    "fingerprints",
    "first_components",
    "generate",
    "groupings",
    "images_by_energy",
    "landscape",
    "levels_beside_seeds",
    "levels_of_a_latent_space",
    "one_place",
    "oscillator_states_2d",
    "outliers_by_score",
    "path_between_images",
    "persistence",
    "planes_of_runs",
    "populations_by_class",
    "posterior_as_wave_packet",
    "price_list",
    "relaxation_against_gap",
    "scores_against_noise",
    "series_against_exact",
    "slow_modes_decoded",
    "states_against_classes",
    "symmetry_breaking_toy",
    "teaser",
    "ten_seeds",
    "ten_seeds_in_a_field",
    "tilt_chooses_axes",
    "training_history",
    "wells_and_levels",
]
