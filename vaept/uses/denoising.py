"""Noise taken out of images by a trained decoder, beside the classical filters.

A noisy image is y = x + noise·n with standard normal n, so that its values leave [0, 1]. The model restores it as
the image of the most probable latent, the minimum over z of |y − decoder(z)|²/(2·noise²) + |z|²/2: the decoder and the
plain prior are the prior of images (Bora, Jalal, Price & Dimakis 2017). The filters do not know what the images show.
Quality is measured by the peak signal-to-noise ratio and by the structural similarity (Wang, Bovik, Sheikh &
Simoncelli 2004), both for values between 0 and 1. Images come and go as rows (n, pixels) or unflattened
(n, *image_shape).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pywt
import torch
from skimage import filters, metrics, restoration

from vaept import arguments
from vaept.errors import InputError
from vaept.processes import plain_torch
from vaept.uses.member import Member, Numbers
from vaept.vae.model import VAE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from vaept.datasets import Dataset

NOISES = (0.25, 0.5, 1.0)
IMAGES = 500
LARGEST = 1e9  # of a noisy pixel, so that all is finite in single precision
NOISE_RANGE = 1e-6, 1e9
MAX_STEPS = 100_000
STEPS = 100  # the energies are then within 0.1 nats, on average, of those after 600 steps, on MNIST as on the digits
RATE = 0.1
STARTS = 2000  # from the posterior mean alone, 11 to 72 % of MNIST images end in minima that are not the lowest
WAVELET = "db2"
WINDOW = 7  # pixels across which the structural similarity compares


@dataclass(frozen=True)
class Quality:
    """Means over images: `psnr` in dB and `ssim`, shape (noises,) each; NaN where images are no pictures."""

    psnr: Numbers
    ssim: Numbers


@dataclass(frozen=True)
class Denoising:
    """The quality of clipped noisy images, and of what is restored at each of `NOISES`.

    By the two filters, NaN where images are no pictures; by the plain pass through encoder and decoder; by `denoise`.
    """

    noisy: Quality
    median: Quality
    wavelet: Quality
    encoder: Quality
    model: Quality


def lacking(dataset: "Dataset") -> "str":
    """Why the filters cannot be used on a data set's images: a sentence, or "" if they can be."""
    if not _is_picture(dataset.image_shape):
        shape = " × ".join(map(str, dataset.image_shape))  # type: ignore[arg-type]
        return f"Filters and structural similarity need two axes of at least {WINDOW} pixels; an image has {shape}."
    return ""


def add_noise(images: "ArrayLike", noise: "float", seed: "int") -> "np.ndarray":
    """Images with Gaussian noise of standard deviation `noise` added, and not clipped to [0, 1].

    Equal seeds give equal noise at every strength, up to the factor.

    Parameters
    ----------
    images : array, shape (n, …)
    noise : float
        From 10⁻⁶ to 10⁹, in units of the pixels.
    seed : int

    Returns
    -------
    ndarray of float64, of the shape of `images`

    Raises
    ------
    InputError
        If the images are no finite numbers of at most 10⁹, or the noise or the seed is out of range.
    """
    x, noise = _images(images, "images"), arguments.number(noise, "noise", *NOISE_RANGE)
    return x + noise * np.random.default_rng(arguments.seed(seed)).standard_normal(x.shape)


@plain_torch()
def denoise(model: "VAE", noisy: "ArrayLike", noise: "float", *, n_steps: "int" = STEPS) -> "np.ndarray":
    """The decoder's image of the most probable latent of each noisy image, under the plain prior.

    Adam descends from the best of `STARTS` draws from the prior and the encoder's posterior mean of the clipped
    image; what it returns is the best latent of its way.

    Parameters
    ----------
    model : VAE
    noisy : array, shape (n, pixels) or (n, *image_shape)
        Not clipped.
    noise : float
        Standard deviation of the noise in it; as for `add_noise`.
    n_steps : int
        Steps of Adam, at most 100 000. With 0 it is the plain pass through encoder and decoder.

    Returns
    -------
    ndarray of float32, of the shape of `noisy`

    Raises
    ------
    InputError
        If the images do not fit the model or are not finite, or `noise` or `n_steps` is out of range.
    """
    model, noise = arguments.instance(model, "model", VAE), arguments.number(noise, "noise", *NOISE_RANGE)
    noisy = _images(noisy, "noisy", model.pixels)
    y = torch.tensor(np.ascontiguousarray(noisy.reshape(len(noisy), -1), dtype=np.float32))
    n_steps = arguments.integer(n_steps, "n_steps", 0, MAX_STEPS)
    with torch.no_grad():
        z = model.posterior(y.clamp(0, 1)).mean
        if n_steps:
            z = _most_probable(model, y, noise, z, n_steps)
        return model.decode(z).numpy().reshape(noisy.shape)


def _most_probable(model, y, noise, encoded, n_steps):
    def energy(z):
        return ((y - model.decode(z)) ** 2).sum(1) / (2 * noise**2) + (z**2).sum(1) / 2

    draws = torch.randn(STARTS, model.latent_dim, generator=torch.Generator().manual_seed(0))
    distances = torch.cdist(y, model.decode(draws)) ** 2
    drawn = draws[(distances / (2 * noise**2) + (draws**2).sum(1) / 2).argmin(1)]
    z = torch.where((energy(encoded) < energy(drawn))[:, None], encoded, drawn)
    best, least = z.clone(), torch.full((len(z),), torch.inf)
    adam = torch.optim.Adam([z], lr=RATE)
    for step in range(n_steps + 1):
        with torch.enable_grad():
            value = energy(z.requires_grad_())
            (z.grad,) = torch.autograd.grad(value.sum(), z)
        better = value < least
        best[better], least[better] = z[better], value[better]
        if step < n_steps:
            adam.step()
    return best


def median(noisy: "ArrayLike", image_shape: "Sequence[int]") -> "np.ndarray":
    """The median of 3 × 3 pixels around each, clipped to [0, 1].

    Parameters
    ----------
    noisy : array, shape (n, pixels) or (n, *image_shape)
    image_shape : pair of int
        At least 7 × 7.

    Returns
    -------
    ndarray of float64, of the shape of `noisy`

    Raises
    ------
    InputError
        If the images are not of that shape or not finite.
    """
    y, shape = _as_pictures(noisy, "noisy", image_shape)
    return filters.median(y, np.ones((1, 3, 3))).clip(0, 1).reshape(shape)


def wavelet(noisy: "ArrayLike", image_shape: "Sequence[int]", noise: "float") -> "np.ndarray":
    """Soft thresholds on the coefficients of Daubechies wavelets (BayesShrink: Chang, Yu & Vetterli 2000), clipped.

    Parameters and errors are those of `median` and `denoise`; so is the result, in float64 and within [0, 1].
    """
    (y, shape), noise = _as_pictures(noisy, "noisy", image_shape), arguments.number(noise, "noise", *NOISE_RANGE)
    how = {"wavelet": WAVELET, "wavelet_levels": pywt.dwt_max_level(min(y.shape[1:]), WAVELET), "mode": "soft"}
    how |= {"method": "BayesShrink", "sigma": noise, "rescale_sigma": False}
    with np.errstate(over="ignore"):  # the threshold of an image without content
        restored = np.stack([restoration.denoise_wavelet(image, **how) for image in y])
    return restored.clip(0, 1).reshape(shape)


def psnr(clean: "ArrayLike", restored: "ArrayLike") -> "np.ndarray":
    """Peak signal-to-noise ratio of each image, −10 log₁₀ of its mean squared error, in dB; infinite where equal.

    Parameters
    ----------
    clean, restored : arrays of one shape (n, …)

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    InputError
        If the shapes differ or values are not finite.
    """
    x, r = _images(clean, "clean"), _images(restored, "restored")
    x, r = x.reshape(len(x), -1), r.reshape(len(r), -1)
    _check_equal(x, r)
    with np.errstate(divide="ignore", over="ignore"):
        return np.array([metrics.peak_signal_noise_ratio(*pair, data_range=1) for pair in zip(x, r, strict=True)])


def ssim(clean: "ArrayLike", restored: "ArrayLike", image_shape: "Sequence[int]") -> "np.ndarray":
    """Structural similarity of each image, at most 1, in windows of 7 × 7 pixels.

    Parameters
    ----------
    clean, restored : arrays, shape (n, pixels) or (n, *image_shape)
    image_shape : pair of int
        At least 7 × 7.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    InputError
        If the images are not of that shape or not finite.
    """
    (x, _), (r, _) = _as_pictures(clean, "clean", image_shape), _as_pictures(restored, "restored", image_shape)
    _check_equal(x, r)
    # One call for all: of the images above each other only the windows that lie within one of them are taken.
    n, height, width = x.shape
    images = (each.reshape(n * height, width) for each in (x, r))
    _, local = metrics.structural_similarity(*images, win_size=WINDOW, data_range=1, full=True)
    inside = slice(WINDOW // 2, -(WINDOW // 2))
    return local.reshape(x.shape)[:, inside, inside].mean(axis=(1, 2))


def measure(member: Member) -> Denoising:
    """How well a member restores its first `IMAGES` test images, beside the classical filters."""
    clean, shape = member.test[:IMAGES], member.image_shape
    picture, nothing = _is_picture(shape), np.full(len(NOISES), np.nan)
    noisy = [(add_noise(clean, noise, member.seed), noise) for noise in NOISES]

    def quality(restore):
        restored = [restore(*each) for each in noisy]
        ratios = np.array([psnr(clean, images).mean() for images in restored])
        return Quality(ratios, np.array([ssim(clean, r, shape).mean() for r in restored]) if picture else nothing)

    def filtered(restore):
        return quality(restore) if picture else Quality(nothing, nothing)

    return Denoising(
        noisy=quality(lambda y, noise: y.clip(0, 1)),
        median=filtered(lambda y, noise: median(y, shape)),
        wavelet=filtered(lambda y, noise: wavelet(y, shape, noise)),
        encoder=quality(lambda y, noise: denoise(member.model, y, noise, n_steps=0)),  # type: ignore[arg-type]
        model=quality(lambda y, noise: denoise(member.model, y, noise)),  # type: ignore[arg-type]
    )


def _images(images, name, pixels=None) -> "np.ndarray":
    """Images as float64 of whatever shape; raises InputError, with their `name`, unless they are that and finite."""
    x = arguments.array(images, name, shape=("n", "pixels", "…"), largest=LARGEST)
    if x.size == 0 or pixels not in (None, math.prod(x.shape[1:])):
        raise InputError(f"{name} must be images of shape (n, {pixels or 'pixels'}), n ≥ 1; theirs is {x.shape}.")
    return x


def _is_picture(image_shape):
    return len(image_shape) == 2 and min(image_shape) >= WINDOW


def _as_pictures(images, name, image_shape):
    """Images as float64 of shape (n, *image_shape), and the shape that they had."""
    image_shape = arguments.integers(image_shape, "image_shape")
    if not _is_picture(image_shape):
        raise InputError(f"image_shape must be two numbers of at least {WINDOW} pixels; it is {image_shape}.")
    x = _images(images, name, math.prod(image_shape))
    return x.reshape(-1, *image_shape), x.shape


def _check_equal(clean, restored):
    if clean.shape != restored.shape:
        raise InputError(f"clean and restored must be the same images; they are {clean.shape} and {restored.shape}.")
