"""How good a trained model is: its bounds, its likelihood, and which latent coordinates it uses.

All values are in nats, one per example, summed over pixels; take means over examples yourself, and intervals
with them. Sources: Burda, Grosse & Salakhutdinov 2016 for the importance-weighted likelihood and the active units.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors, reading, write_tensors
from vaept.processes import cores, in_processes, plain_torch
from vaept.vae.ensemble import Ensemble, as_images
from vaept.vae.marginal_likelihood import MAX_SAMPLES, exact_log_likelihood, log_likelihood
from vaept.vae.model import VAE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

LARGEST_FIELD = 1e12  # its square, times the number of coordinates, is finite in single precision


@dataclass(frozen=True, eq=False)
class Bound:
    """The terms of the ELBO of each example.

    Attributes
    ----------
    reconstruction : ndarray of float64, shape (n,)
        Mean of log p(x|z) over the samples of z; nats.
    kl, perturbed_kl : ndarray of float64, shape (n,)
        KL(q(z|x) ‖ p(z)) from the plain prior, and from the prior that the model's potential perturbs; nats.
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    perturbed_kl: np.ndarray

    @property
    def elbo(self) -> "np.ndarray":
        """The ELBO under the plain prior, reconstruction − kl, shape (n,), nats."""
        return self.reconstruction - self.kl

    @property
    def perturbed_elbo(self) -> "np.ndarray":
        """The ELBO under the perturbed prior, reconstruction − perturbed_kl, shape (n,), nats."""
        return self.reconstruction - self.perturbed_kl


@plain_torch()
@torch.no_grad()
def elbo(
    model: "VAE",
    images: "ArrayLike",
    *,
    field: "ArrayLike | None" = None,
    strength: "float" = 0.0,
    n_samples: "int" = 16,
    seed: "int" = 0,
) -> "Bound":
    """The ELBO of each image, with z sampled from the posterior as in training.

    Parameters
    ----------
    model : VAE
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1].
    field : array, shape (n, k ≥ d), optional
        u(x), as from `vaept.perturbation.fields.Field.transform`, for a strength above 0 after a training in a field.
    strength : float
        Of the model's potential, for `perturbed_kl`; 0 is the plain prior.
    n_samples, seed : int
        Latent samples of each image, at most a million; equal seeds give equal noise, which makes models comparable.

    Returns
    -------
    Bound

    Raises
    ------
    InputError
        If the images do not fit the model, the field does not fit them or is missing, or a number is out of range.

    Examples
    --------
    >>> bound = elbo(VAE(pixels=64, latent_dim=2), vaept.load("digits").test)
    >>> bound.elbo.shape
    (359,)
    """
    model, n_samples = (
        arguments.instance(model, "model", VAE),
        arguments.integer(n_samples, "n_samples", 1, MAX_SAMPLES),
    )
    x, strength = as_images(images, model.pixels), arguments.number(strength, "strength", 0, 1)
    if field is not None:
        field = arguments.array(field, "field", shape=(len(x), "k"), dtype=np.float32, largest=LARGEST_FIELD)
    if strength > 0 and getattr(model.potential, "needs_field", False):
        if field is None:
            raise InputError("The model's prior needs the field of these images: field=the_field.transform(images).")
        if field.shape[1] < model.latent_dim:
            raise InputError(f"field must have shape ({len(x)}, ≥ {model.latent_dim}); its shape is {field.shape}.")
        field = torch.tensor(field[:, : model.latent_dim])
    generator = torch.Generator().manual_seed(arguments.seed(seed))
    posterior, (reconstruction, perturbed_kl) = model.posterior(x), torch.zeros(2, len(x), dtype=torch.float64)
    for _ in range(n_samples):
        noise = torch.randn(len(x), model.latent_dim, generator=generator)
        sampled, kl, perturbed = model.perturbed_elbo_terms(x, noise, field, strength, posterior)  # type: ignore[arg-type]
        reconstruction += sampled / n_samples
        perturbed_kl += perturbed / n_samples
    return Bound(reconstruction.numpy(), kl.double().numpy(), perturbed_kl.numpy())


@plain_torch()
@torch.no_grad()
def turned_elbo(
    model: "VAE",
    images: "ArrayLike",
    mean: "ArrayLike",
    variance: "ArrayLike",
    rotation: "ArrayLike",
    *,
    n_samples: "int" = 16,
    seed: "int" = 0,
) -> "float":
    """The mean ELBO of a model whose latent space was turned, with the given diagonal posterior.

    Parameters
    ----------
    model : VAE
    images : array, shape (n, pixels)
    mean, variance : array, shape (n, d)
        Posterior in the turned space, as from `vaept.vae.agreement.turned_posterior`.
    rotation : array, shape (d, d)
        R; the turned model decodes z as `model` decodes Rᵀz.
    n_samples, seed : int
        As for `elbo`.

    Returns
    -------
    float
        In nats per example.

    Raises
    ------
    InputError
        If the images do not fit the model, the posterior not the images, or the matrix is no rotation.

    Examples
    --------
    >>> rotation, mean, variance = turned_posterior(np.zeros((359, 2)), np.ones((359, 2)), np.pi / 4)
    >>> turned_elbo(VAE(pixels=64, latent_dim=2), vaept.load("digits").test, mean, variance, rotation) < 0
    True
    """
    model, n_samples = (
        arguments.instance(model, "model", VAE),
        arguments.integer(n_samples, "n_samples", 1, MAX_SAMPLES),
    )
    x, d, how = as_images(images, model.pixels), model.latent_dim, {"dtype": np.float32, "largest": LARGEST_FIELD}
    mean = torch.tensor(arguments.array(mean, "mean", shape=(len(x), d), **how))  # type: ignore[arg-type]
    variance = torch.tensor(arguments.array(variance, "variance", shape=(len(x), d), minimum=1e-30, **how))  # type: ignore[arg-type]
    rotation = torch.tensor(arguments.array(rotation, "rotation", shape=(d, d), **how))  # type: ignore[arg-type]
    if not torch.allclose(rotation @ rotation.T, torch.eye(d), atol=1e-4):
        raise InputError("rotation must be orthogonal: its inverse is its transpose. It is not.")
    generator = torch.Generator().manual_seed(arguments.seed(seed))
    total = -0.5 * (mean**2 + variance - 1 - variance.log()).sum(1).double()
    for _ in range(n_samples):
        # The noise is turned too, so that a rotation without squeezing reuses the same points exactly.
        noise = torch.randn(mean.shape, generator=generator) @ rotation.T
        z = mean + variance.sqrt() * noise
        total += model.log_likelihood(x, z @ rotation) / n_samples
    return float(total.mean())


@plain_torch()
@torch.no_grad()
def active_units(model: "VAE", images: "ArrayLike", *, threshold: "float" = 0.01) -> "np.ndarray":
    """Which latent coordinates carry information: the variance of their posterior mean over images is large.

    Parameters
    ----------
    model : VAE
    images : array, shape (n, pixels) or (n, *image_shape)
    threshold : float
        The least variance of an active coordinate.

    Returns
    -------
    ndarray of bool, shape (latent_dim,)

    Raises
    ------
    InputError
        If the images do not fit the model.
    """
    model, threshold = arguments.instance(model, "model", VAE), arguments.number(threshold, "threshold", 0)
    mean, _ = model.encode(as_images(images, model.pixels))
    return (mean.double().var(0, correction=0) > threshold).numpy()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known of every member of an ensemble on the same images.

    Attributes
    ----------
    mean, variance : ndarray of float32, shape (members, n, d)
        Posteriors of all n images.
    reconstruction, kl, perturbed_kl : ndarray of float64, shape (members, n)
        The terms of the ELBO as of `Bound`, with the strength that the potential has when training ends; nats.
    active : ndarray of bool, shape (members, d)
        Active units.
    importance_weighted : ndarray of float64, shape (members, m)
        Estimate of log p(x) for the first m images, nats.
    exact : ndarray of float64, shape (members, m), or (members, 0) where d > 2 or it was not asked for
        log p(x) by quadrature for the same images, nats.

    Examples
    --------
    >>> Evaluation(*np.zeros((8, 3, 100))).elbo.shape  # of three members on a hundred images
    (3,)
    """

    mean: np.ndarray
    variance: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    perturbed_kl: np.ndarray
    active: np.ndarray
    importance_weighted: np.ndarray
    exact: np.ndarray

    @property
    def elbo(self) -> "np.ndarray":
        """Mean ELBO of each member under the plain prior, shape (members,), nats per example."""
        return (self.reconstruction - self.kl).mean(axis=1)

    @property
    def perturbed_elbo(self) -> "np.ndarray":
        """Mean ELBO of each member under the perturbed prior, shape (members,), nats per example."""
        return (self.reconstruction - self.perturbed_kl).mean(axis=1)

    def save(self, path: "str | Path") -> "None":
        """Write to one safetensors file."""
        arrays = {field.name: torch.tensor(getattr(self, field.name)) for field in fields(self)}
        write_tensors(path, "evaluation", {}, arrays)

    @classmethod
    def load(cls, path: "str | Path") -> "Evaluation":
        """Read what `save` wrote; errors are those of `vaept.vae.ensemble.Ensemble.load`."""
        _, arrays = read_tensors(path, "evaluation")
        with reading(path, "evaluation"):
            return cls(**{name: value.numpy() for name, value in arrays.items()})


def evaluate(
    ensemble: "Ensemble",
    images: "ArrayLike",
    *,
    field: "ArrayLike | None" = None,
    n_likelihood_images: "int" = 500,
    n_importance_samples: "int" = 1000,
    exact: "bool" = True,
    jobs: "int | None" = None,
) -> "Evaluation":
    """Evaluate every member on the same images, in parallel processes with one thread each.

    Parameters
    ----------
    ensemble : Ensemble
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1]; usually the test images.
    field : array, shape (n, k), optional
        u(x) of the images; needed if the ensemble's training ended in a field.
    n_likelihood_images : int
        How many of the images, from the first, get their log p(x) estimated, under the plain prior; may be 0.
    n_importance_samples : int
        Samples of each image for that.
    exact : bool
        Whether to find log p(x) by quadrature too, where d ≤ 2.
    jobs : int, optional
        Processes; one per core if not given.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the images do not fit the ensemble, the field is missing or does not fit, or a number is out of range.

    Examples
    --------
    >>> data = vaept.load("digits")
    >>> ensemble = fit(data, seeds=[0, 1], latent_dim=2, epochs=1, hidden=8, jobs=1, progress=False)
    >>> evaluate(ensemble, data.test, n_likelihood_images=3, n_importance_samples=10, jobs=1).exact.shape
    (2, 3)
    """
    ensemble = arguments.instance(ensemble, "ensemble", Ensemble)
    images = arguments.images(images, "images", ensemble.members[0].pixels)
    subset = images[: arguments.integer(n_likelihood_images, "n_likelihood_images", 0)]
    jobs = None if jobs is None else arguments.integer(jobs, "jobs", 1)
    strength = ensemble.settings.final_strength
    exact = exact and ensemble.settings.latent_dim <= 2 and len(subset) > 0
    calls = [(member, images, field, strength, subset, n_importance_samples, exact) for member in ensemble.members]
    found = dict(in_processes(_evaluate_member, calls, jobs=jobs or cores()))
    columns = zip(*(found[number] for number in range(len(calls))), strict=True)
    return Evaluation(*(np.stack(column) for column in columns))


def _evaluate_member(model, images, field, strength, subset, n_importance_samples, exact):
    """The fields of `Evaluation`, in their order, of one member."""
    bound = elbo(model, images, field=field, strength=strength)
    mean, log_variance = model.encode(as_images(images, model.pixels))
    return (
        mean.detach().numpy(),
        log_variance.detach().exp().numpy(),
        bound.reconstruction,
        bound.kl,
        bound.perturbed_kl,
        active_units(model, images),
        log_likelihood(model, subset, n_samples=n_importance_samples) if len(subset) else np.empty(0),
        exact_log_likelihood(model, subset).values if exact else np.empty(0),
    )
