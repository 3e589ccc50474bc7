"""A variational autoencoder (Kingma & Welling 2014) in plain torch.

Conventions: an image x is a row of `pixels` values in [0, 1]; a latent z has `latent_dim` coordinates; the
prior is p(z) = N(0, I), unless a potential of `vaept.perturbation.potentials` is added; the posterior is
q(z|x) = N(μ(x), diag σ²(x)), unless a full covariance is asked for. All terms are in nats per example, summed over
pixels and over latent coordinates, never averaged over either.
"""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from vaept import arguments
from vaept.errors import InputError
from vaept.perturbation.potentials import POTENTIALS, couplings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import ArrayLike

MAX_WIDTH = 10**8  # of a layer
MAX_WEIGHTS = 5e8  # of the encoder: 2 GB
LIKELIHOODS = ("bernoulli", "gaussian")


@dataclass(frozen=True, eq=False)
class Posterior:
    """q(z|x) = N(μ, L Lᵀ) of n images.

    Attributes
    ----------
    mean, log_scale : tensor, shape (n, d)
        μ, and the logarithm of the diagonal of L, which is the standard deviation σ where L is diagonal.
    lower : tensor, shape (n, d, d), or None
        L below its diagonal; None: L is diagonal.
    """

    mean: torch.Tensor
    log_scale: torch.Tensor
    lower: torch.Tensor | None = None

    @property
    def log_variance(self) -> "torch.Tensor":
        """log of the variance of each coordinate, shape (n, d)."""
        if self.lower is None:
            return 2 * self.log_scale
        return ((2 * self.log_scale).exp() + self.lower.square().sum(-1)).log()

    def sample(self, noise: "torch.Tensor") -> "torch.Tensor":
        """z = μ + L·noise, shape (n, d), for standard normal noise of that shape."""
        z = self.mean + self.log_scale.exp() * noise
        return z if self.lower is None else z + (self.lower * noise.unsqueeze(-2)).sum(-1)

    def kl(self, shift: "float | torch.Tensor" = 0.0) -> "torch.Tensor":
        """KL(q ‖ N(shift, I)) in nats, shape (n,)."""
        return 0.5 * ((self.mean - shift) ** 2 + self.log_variance.exp() - 1 - 2 * self.log_scale).sum(-1)

    def log_density(self, noise: "torch.Tensor") -> "torch.Tensor":
        """log q at `sample(noise)` in nats, shape (n,)."""
        return -(0.5 * noise**2 + self.log_scale + 0.5 * math.log(2 * math.pi)).sum(-1)


class Affine(nn.Linear):
    """x Wᵀ + b. Weights (members, out, in) and biases (members, out) map each member's own rows, x (members, n, in)."""

    def forward(self, x):
        if self.weight.ndim == 2:
            return super().forward(x)
        return _Products.apply(x, self.weight, self.bias)


class _Products(torch.autograd.Function):
    """One product after the other, because how a batch of products rounds hangs on how many they are.

    The slopes of weights and biases are written to where their `grad` is.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.slopes = weight.grad, bias.grad
        if torch.is_autocast_enabled(x.device.type):
            x, weight, bias = (part.to(torch.get_autocast_dtype(x.device.type)) for part in (x, weight, bias))
        ctx.save_for_backward(x, weight)
        outputs = x.new_empty(*x.shape[:2], weight.shape[1])
        members = zip(*(part.unbind() for part in (bias, x, weight.mT, outputs)), strict=True)
        for b, own, w, output in members:
            torch.addmm(b, own, w, out=output)
        return outputs

    @staticmethod
    def backward(ctx, slope):
        x, weight = ctx.saved_tensors
        for own, by_output, by_weight, by_bias in zip(
            *(part.unbind() for part in (x, slope, *ctx.slopes)), strict=True
        ):
            if x.dtype == by_weight.dtype:
                torch.mm(by_output.T, own, out=by_weight)
            else:
                by_weight.copy_(by_output.T @ own)
            by_bias.copy_(by_output.sum(0))
        if not ctx.needs_input_grad[0]:
            return None, None, None
        by_x = torch.empty_like(x)
        for by_output, w, own in zip(slope.unbind(), weight.unbind(), by_x.unbind(), strict=True):
            torch.mm(by_output, w, out=own)
        return by_x, None, None


class VAE(nn.Module):
    """Multilayer-perceptron encoder and decoder with a Gaussian posterior.

    Parameters
    ----------
    pixels : int
        Values in one image.
    latent_dim : int
        Latent coordinates, d.
    hidden : sequence of int, or int
        Widths of the encoder's hidden layers, or the only one; the decoder has them in reverse. Empty: both maps are
        affine (the linear VAE of Lucas et al. 2019).
    likelihood : {"bernoulli", "gaussian"}
        p(x|z): independent Bernoulli pixels (the data may be any values in [0, 1]), or N(decoder(z), s² I)
        with one learned variance s².
    full_covariance : bool
        Give the posterior a full covariance: its objective is then invariant under every rotation of the latent space.
    potential : {"dipole", "wells"}, optional
        What `vaept.perturbation.potentials` adds to the prior; nothing if not given.
    coupling : float or sequence of float
        Its strength, as for `vaept.perturbation.potentials.couplings`.

    Raises
    ------
    InputError
        If a size is not a positive integer, the likelihood or the potential is unknown, or the coupling is negative.

    Examples
    --------
    >>> model = VAE(pixels=64, latent_dim=2)
    >>> model.decode(torch.zeros(3, 2)).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        pixels: "int",
        latent_dim: "int",
        hidden: "Sequence[int] | int" = (400,),
        likelihood: "str" = "bernoulli",
        full_covariance: "bool" = False,
        potential: "str | None" = None,
        coupling: "ArrayLike" = 1.0,
    ) -> "None":
        super().__init__()
        self.pixels = arguments.integer(pixels, "pixels", 1)
        self.latent_dim = arguments.integer(latent_dim, "latent_dim", 1)
        hidden = arguments.integers(hidden, "hidden", 1, MAX_WIDTH, fewest=0)
        self.likelihood = arguments.choice(likelihood, "likelihood", LIKELIHOODS)
        self.full_covariance = full_covariance
        widths = [self.pixels, *hidden, 2 * self.latent_dim]
        if sum(math.prod(pair) for pair in itertools.pairwise(widths)) > MAX_WEIGHTS:
            raise InputError(
                f"pixels, hidden and latent_dim ask for more than {MAX_WEIGHTS:g} weights; take smaller ones."
            )
        below = self.latent_dim * (self.latent_dim - 1) // 2 if full_covariance else 0
        self.encoder = _perceptron([self.pixels, *hidden, 2 * self.latent_dim + below])
        self.decoder = _perceptron([self.latent_dim, *reversed(hidden), self.pixels])
        if likelihood == "gaussian":
            self.log_noise_variance = nn.Parameter(torch.tensor(math.log(0.1), dtype=torch.float32))
        self.potential: "Any" = None
        if potential is not None:
            strengths = torch.tensor(couplings(coupling, self.latent_dim), dtype=torch.float32)
            self.potential = POTENTIALS[arguments.choice(potential, "potential", POTENTIALS)](strengths)

    def initialise(self, generator: "torch.Generator") -> "None":
        """Draw all weights anew (Glorot & Bengio 2010) from `generator`; biases become zero."""
        for layer in self.modules():
            if isinstance(layer, Affine):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        if hasattr(self.potential, "initialise"):
            self.potential.initialise(generator)

    def posterior(self, x: "torch.Tensor") -> "Posterior":
        """The `Posterior` of images, a float32 tensor of shape (…, pixels)."""
        arguments.tensor(x, "x", ("…", self.pixels))
        d = self.latent_dim
        output = self.encoder(x).float()  # in reduced precision only the matrix products are
        mean, log_scale, rest = output[..., :d], 0.5 * output[..., d : 2 * d], output[..., 2 * d :]
        if not self.full_covariance:
            return Posterior(mean, log_scale)
        lower = output.new_zeros(*output.shape[:-1], d, d)
        rows, columns = torch.tril_indices(d, d, -1)
        lower[..., rows, columns] = rest
        return Posterior(mean, log_scale, lower)

    def encode(self, x: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Mean and log-variance of q(z|x), each of shape (n, latent_dim), for images of shape (n, pixels)."""
        posterior = self.posterior(x)
        return posterior.mean, posterior.log_variance

    def decode(self, z: "torch.Tensor") -> "torch.Tensor":
        """Mean image E[x|z], shape (…, pixels), for latents, a float32 tensor of shape (…, latent_dim)."""
        arguments.tensor(z, "z", ("…", self.latent_dim))
        output = self.decoder(z)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output

    def log_likelihood(self, x: "torch.Tensor", z: "torch.Tensor") -> "torch.Tensor":
        """log p(x|z) in nats, summed over pixels; the leading axes of x and z, float32 tensors, broadcast."""
        arguments.tensor(x, "x", ("…", self.pixels))
        arguments.tensor(z, "z", ("…", self.latent_dim))
        output = self.decoder(z).float()
        if self.likelihood == "bernoulli":
            return -functional.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none").sum(-1)
        squares = ((x - output) ** 2).sum(-1) / self.log_noise_variance.exp()
        return -0.5 * (squares + self.pixels * (self.log_noise_variance + math.log(2 * math.pi)))

    def elbo_terms(self, x: "torch.Tensor", noise: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """The two terms of the evidence lower bound under the plain prior, ELBO = reconstruction − KL.

        Parameters
        ----------
        x : tensor, shape (n, pixels)
            Images.
        noise : tensor, shape (n, latent_dim)
            Standard normal draws; z = μ + σ·noise.

        Returns
        -------
        reconstruction, kl : tensors of shape (n,)
            log p(x|z) at the sampled z, and KL(q(z|x) ‖ N(0, I)) in closed form; nats.
        """
        return self.perturbed_elbo_terms(x, noise, strength=0.0)[:2]

    def perturbed_elbo_terms(
        self,
        x: "torch.Tensor",
        noise: "torch.Tensor",
        field: "torch.Tensor | None" = None,
        strength: "float" = 1.0,
        posterior: "Posterior | None" = None,
    ) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """`elbo_terms`, and the KL divergence from the prior that the potential perturbs.

        Parameters
        ----------
        x, noise
            As for `elbo_terms`.
        field : tensor, shape (n, latent_dim), optional
            u(x), for a potential that needs it.
        strength : float
            s, from 0, the plain prior, to 1.
        posterior : Posterior, optional
            Of these images, where it is known.

        Returns
        -------
        reconstruction, kl, perturbed_kl : tensors of shape (n,)
            perturbed_kl = KL(q(z|x) ‖ p_s(z|u)) or an unbiased estimate of it; equal to kl at s = 0.
        """
        posterior = posterior or self.posterior(x)
        z = posterior.sample(noise)
        kl = perturbed = posterior.kl()
        if self.potential is not None and strength > 0:
            perturbed = self.potential.kl(posterior, z, noise, field, strength)
        return self.log_likelihood(x, z), kl, perturbed


def _perceptron(widths):
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [Affine(fan_in, fan_out, dtype=torch.float32), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
