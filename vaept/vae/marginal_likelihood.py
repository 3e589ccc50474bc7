"""The likelihood of a trained model: estimated with importance weights in any dimension, exact by quadrature up to two.

All values are in nats, one per example, summed over pixels. Source: Burda, Grosse & Salakhutdinov 2016.
"""

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.processes import plain_torch
from vaept.vae.ensemble import as_images
from vaept.vae.model import VAE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_SAMPLES, MAX_POINTS = 1_000_000, 5_000  # of latents of an image, and of a grid along each axis
CHUNK_VALUES = 2**24  # pixels decoded at once: 64 MB in float32


@plain_torch()
@torch.no_grad()
def log_likelihood(model: "VAE", images: "ArrayLike", *, n_samples: "int" = 1000, seed: "int" = 0) -> "np.ndarray":
    """Importance-weighted estimate of log p(x), a lower bound on average that tightens with more samples.

    Parameters
    ----------
    model : VAE
    images : array, shape (n, pixels) or (n, *image_shape)
    n_samples : int
        K, the samples of z of each image, at most a million; memory does not grow with it.
    seed : int

    Returns
    -------
    ndarray of float64, shape (n,)
        log of the mean over K of p(x, z)/q(z|x), in nats.

    Raises
    ------
    InputError
        If the images do not fit the model or `n_samples` is no positive integer.
    """
    model, n_samples = (
        arguments.instance(model, "model", VAE),
        arguments.integer(n_samples, "n_samples", 1, MAX_SAMPLES),
    )
    x, generator = as_images(images, model.pixels), torch.Generator().manual_seed(arguments.seed(seed))
    mean, log_variance = model.encode(x)
    result = np.empty(len(x))
    for rows in torch.arange(len(x)).split(128):
        own, done = x[rows], 0
        total = torch.full((len(rows),), -math.inf, dtype=torch.float64)
        while done < n_samples:
            size = min(n_samples - done, max(1, CHUNK_VALUES // (len(rows) * model.pixels)))
            noise = torch.randn(size, len(rows), model.latent_dim, generator=generator)
            z = mean[rows] + (0.5 * log_variance[rows]).exp() * noise
            # log p(z) − log q(z|x); the factors (2π)^(−d/2) cancel.
            prior_ratio = 0.5 * (noise**2 - z**2 + log_variance[rows]).sum(-1)
            weights = model.log_likelihood(own, z).double() + prior_ratio.double()
            total = torch.logaddexp(total, weights.logsumexp(0))
            done += size
        result[rows.numpy()] = total.numpy() - math.log(n_samples)
    return result


@dataclass(frozen=True, eq=False)
class ExactLikelihood:
    """log p(x) by quadrature.

    Attributes
    ----------
    values : ndarray of float64, shape (n,)
        log p(x) in nats.
    error : float
        Estimated error of the worst value, nats. A Gaussian on a grid has 2 exp(−2π²σ²/step²): if leaving out every
        second point changes a value by c, the value's own error is about 2 (c/2)⁴.
    """

    values: np.ndarray
    error: float


@plain_torch()
@torch.no_grad()
def exact_log_likelihood(
    model: "VAE", images: "ArrayLike", *, n_points: "int | None" = None, tolerance: "float" = 0.01
) -> "ExactLikelihood":
    """log p(x) = log ∫ p(x|z) p(z) dz on a grid of latents that all images share, for d ≤ 2.

    Parameters
    ----------
    model : VAE
        With one or two latent coordinates.
    images : array, shape (n, pixels) or (n, *image_shape)
    n_points : int, optional
        Grid points along each axis, at most 5 000. Default: a spacing of the smallest posterior standard deviation.
    tolerance : float
        A warning is given if the result's `error` is larger, in nats.

    Returns
    -------
    ExactLikelihood

    Raises
    ------
    InputError
        If the model has more than two latent coordinates or the images do not fit it.
    """
    model = arguments.instance(model, "model", VAE)
    tolerance = arguments.number(tolerance, "tolerance", 0)
    if model.latent_dim > 2:
        raise InputError(
            f"The exact likelihood needs latent_dim 1 or 2; this model has {model.latent_dim}. Use log_likelihood."
        )
    x = as_images(images, model.pixels)
    axes = _quadrature_axes(model, x, n_points)
    points = torch.cartesian_prod(*axes).reshape(-1, model.latent_dim)
    steps = [float(axis[1] - axis[0]) for axis in axes]
    log_weight = sum(math.log(step) for step in steps) - 0.5 * model.latent_dim * math.log(2 * math.pi)
    coarse = torch.stack(torch.meshgrid(*(torch.arange(len(a)) % 2 == 0 for a in axes), indexing="ij")).all(0).ravel()
    fine_sum = torch.full((len(x),), -math.inf, dtype=torch.float64)
    coarse_sum = fine_sum.clone()
    size = max(1, CHUNK_VALUES // max(len(x), model.pixels))
    for z, kept in zip(points.split(size), coarse.split(size), strict=True):
        terms = _log_likelihood_table(model, x, z.float()) - 0.5 * (z**2).sum(1)
        fine_sum = torch.logaddexp(fine_sum, terms.logsumexp(1))
        coarse_sum = torch.logaddexp(coarse_sum, terms[:, kept].logsumexp(1))
    values = fine_sum + log_weight
    change = float((coarse_sum + log_weight + model.latent_dim * math.log(2) - values).abs().max())
    error = 2 * (change / 2) ** 4
    if error > tolerance:
        warnings.warn(
            f"The exact likelihood has converged only to {error:.2g} nats on a grid of {len(points)} points; "
            "give a larger n_points.",
            stacklevel=3,
        )
    return ExactLikelihood(values.numpy(), error)


def _quadrature_axes(model, x, n_points):
    mean, log_variance = model.encode(x)
    deviation = (0.5 * log_variance).exp()
    axes = []
    for mu, sigma in zip(mean.T, deviation.T, strict=True):
        low = min(-6.0, float((mu - 6 * sigma).min()))
        high = max(6.0, float((mu + 6 * sigma).max()))
        n = int(np.clip(round((high - low) / float(sigma.min())), 101, 801)) if n_points is None else n_points
        axes.append(torch.linspace(low, high, arguments.integer(n, "n_points", 3, MAX_POINTS), dtype=torch.float64))
    return axes


def _log_likelihood_table(model, x, z):
    """log p(x_i|z_j) in float64, shape (n, m), by one matrix product."""
    output = model.decoder(z)
    if model.likelihood == "bernoulli":
        return (x @ output.T).double() - torch.nn.functional.softplus(output).double().sum(1)
    squares = (
        (x.double() ** 2).sum(1, keepdim=True) + (output.double() ** 2).sum(1) - 2 * (x.double() @ output.T.double())
    )
    log_variance = model.log_noise_variance.double()
    return -0.5 * (squares / log_variance.exp() + model.pixels * (log_variance + math.log(2 * math.pi)))
