"""vaept: degenerate latent spaces of variational autoencoders, seen as a problem of perturbation theory.

The rooms, from the bottom up: `spectrum` (levels), `perturbation` (what splits them), `landscape` (a latent space as an
energy), `vae` (models and their training), `uses` (what a trained model is used for) and `companion` (the study, the
book and the commands). Beneath them: `datasets`, `arguments`, `errors`, `files`, `processes`, `cluster` and `progress`.
Imports run only downwards: companion → uses → vae → landscape, perturbation → spectrum.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaept.datasets import load as load
    from vaept.landscape import AggregatePosterior as AggregatePosterior
    from vaept.landscape import FreeEnergy as FreeEnergy
    from vaept.landscape import find_stationary_points as find_stationary_points
    from vaept.landscape import lowest_paths as lowest_paths
    from vaept.perturbation import Field as Field
    from vaept.perturbation import diffusion_field as diffusion_field
    from vaept.perturbation import neighbour_field as neighbour_field
    from vaept.perturbation import orient as orient
    from vaept.perturbation import oscillator_series as oscillator_series
    from vaept.perturbation import pca_field as pca_field
    from vaept.perturbation import perturbed_kl as perturbed_kl
    from vaept.perturbation import resum as resum
    from vaept.perturbation import subspace_field as subspace_field
    from vaept.perturbation import switched_off as switched_off
    from vaept.perturbation.series import series as series
    from vaept.spectrum import from_log_density as from_log_density
    from vaept.spectrum import from_potential as from_potential
    from vaept.spectrum import from_samples as from_samples
    from vaept.vae import VAE as VAE
    from vaept.vae import Ensemble as Ensemble
    from vaept.vae import align as align
    from vaept.vae import compare as compare
    from vaept.vae import elbo as elbo
    from vaept.vae import evaluate as evaluate
    from vaept.vae import fit as fit
    from vaept.vae import from_encoder as from_encoder
    from vaept.vae import recommend as recommend

__version__ = version("vaept")

# What most people need, by the module that has it; imported at its first use, so that `import vaept` takes no time.
_EXPORTS = {
    "datasets": ("load",),
    "landscape": ("AggregatePosterior", "FreeEnergy", "find_stationary_points", "lowest_paths"),
    "perturbation": (
        "Field",
        "diffusion_field",
        "neighbour_field",
        "orient",
        "oscillator_series",
        "pca_field",
        "perturbed_kl",
        "resum",
        "series",
        "subspace_field",
        "switched_off",
    ),
    "spectrum": ("from_log_density", "from_potential", "from_samples"),
    "vae": ("VAE", "Ensemble", "align", "compare", "elbo", "evaluate", "fit", "from_encoder", "recommend"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: "str") -> "object":
    if name in _MODULE_OF:
        return getattr(import_module(f"vaept.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'vaept' has no attribute {name!r}")


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})
