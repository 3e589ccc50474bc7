"""A variational autoencoder (Kingma & Welling 2014) in plain torch.

Conventions: an image x is a row of `pixels` values in [0, 1]; a latent z has `latent_dim` coordinates; the
prior is p(z) = N(0, I); the posterior is q(z|x) = N(μ(x), diag σ²(x)). All terms are in nats per example,
summed over pixels and over latent coordinates, never averaged over either.
"""

import itertools
import math

import torch
from torch import nn
from torch.nn import functional

from vaept.errors import InputError, as_integer

LIKELIHOODS = ("bernoulli", "gaussian")


class VAE(nn.Module):
    """Multilayer-perceptron encoder and decoder with a diagonal Gaussian posterior.

    Parameters
    ----------
    pixels : int
        Values in one image.
    latent_dim : int
        Latent coordinates, d.
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder has them in reverse. Empty: both maps are affine
        (the linear VAE of Lucas et al. 2019).
    likelihood : {"bernoulli", "gaussian"}
        p(x|z): independent Bernoulli pixels (the data may be any values in [0, 1]), or N(decoder(z), s² I)
        with one learned variance s².

    Raises
    ------
    InputError
        If a size is not a positive integer or the likelihood is unknown.
    """

    def __init__(self, pixels, latent_dim, hidden=(400,), likelihood="bernoulli"):
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise InputError(f"likelihood must be one of {', '.join(LIKELIHOODS)}; it is {likelihood!r}.")
        self.pixels = as_integer(pixels, "pixels", 1)
        self.latent_dim = as_integer(latent_dim, "latent_dim", 1)
        hidden = [as_integer(width, "a hidden width", 1) for width in hidden]
        self.likelihood = likelihood
        self.encoder = _perceptron([self.pixels, *hidden, 2 * self.latent_dim])
        self.decoder = _perceptron([self.latent_dim, *reversed(hidden), self.pixels])
        if likelihood == "gaussian":
            self.log_noise_variance = nn.Parameter(torch.tensor(math.log(0.1)))

    def initialise(self, generator):
        """Draw all weights anew (Glorot & Bengio 2010) from `generator`; biases become zero."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)

    def encode(self, x):
        """Mean and log-variance of q(z|x), each of shape (n, latent_dim), for images of shape (n, pixels)."""
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z):
        """Mean image E[x|z], shape (…, pixels), for latents of shape (…, latent_dim)."""
        output = self.decoder(z)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output

    def log_likelihood(self, x, z):
        """log p(x|z) in nats, summed over pixels; the leading axes of x and z broadcast."""
        output = self.decoder(z)
        if self.likelihood == "bernoulli":
            return -functional.binary_cross_entropy_with_logits(output, x.expand_as(output), reduction="none").sum(-1)
        squares = ((x - output) ** 2).sum(-1) / self.log_noise_variance.exp()
        return -0.5 * (squares + self.pixels * (self.log_noise_variance + math.log(2 * math.pi)))

    def elbo_terms(self, x, noise):
        """The two terms of the evidence lower bound, ELBO = reconstruction − KL.

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
        mean, log_variance = self.encode(x)
        z = mean + (0.5 * log_variance).exp() * noise
        return self.log_likelihood(x, z), kl_to_prior(mean, log_variance)


def kl_to_prior(mean, log_variance):
    """KL(N(μ, diag σ²) ‖ N(0, I)) in nats, summed over the last axis."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)


def _perceptron(widths):
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
