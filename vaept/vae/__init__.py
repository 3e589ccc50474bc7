"""Variational autoencoders: the model, ensembles of it, their training, their bounds, and how far members agree."""

from vaept.vae.agreement import Agreement, Estimate, compare, shuffled_rows, turned_posterior
from vaept.vae.consensus import Alignment, Difference, align, difference
from vaept.vae.encoders import Latents, from_encoder
from vaept.vae.ensemble import Ensemble, Seed
from vaept.vae.evaluation import Evaluation, elbo, evaluate, turned_elbo
from vaept.vae.fitting import fit
from vaept.vae.model import VAE
from vaept.vae.recommendation import Recipe, recommend

__all__ = [
    "VAE",
    "Agreement",
    "Alignment",
    "Difference",
    "Ensemble",
    "Estimate",
    "Evaluation",
    "Latents",
    "Recipe",
    "Seed",
    "align",
    "compare",
    "difference",
    "elbo",
    "evaluate",
    "fit",
    "from_encoder",
    "recommend",
    "shuffled_rows",
    "turned_elbo",
    "turned_posterior",
]
