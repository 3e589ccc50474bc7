"""vaept: degenerate latent spaces of variational autoencoders, seen as a problem of perturbation theory.

The rooms, from the bottom up: `spectrum` (levels), `perturbation` (what splits them), `landscape` (a latent space as an
energy), `vae` (models and their training), `uses` (what a trained model is used for) and `companion` (the study, the
book and the commands). Beneath them: `datasets`, `arguments`, `errors`, `files`, `processes` and `progress`. Imports
run only downwards: companion → uses → vae → landscape, perturbation → spectrum.
"""

from importlib import import_module
from importlib.metadata import version

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


def __getattr__(name):
    if name in _MODULE_OF:
        return getattr(import_module(f"vaept.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'vaept' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
