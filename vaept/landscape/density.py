"""The aggregate posterior: where the images lie in latent space, as a density with exact derivatives and a potential.

q(z) = (1/n) Σ N(z; μ_i, diag σ_i²), the mean of the posteriors of n images. Units ħ = m = 1: √q is the ground state,
of energy 0, of H[q] = −½Δ + U with U = ¼ Δ log q + ⅛ |∇ log q|² (Risken 1989, ch. 5). For the prior this is
U₀ = |z|²/8 − d/4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp

from vaept import arguments
from vaept.errors import InputError

CHUNK_VALUES = 2**22  # densities of components held at once: 32 MB
BLURS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.06, 0.045, 0.03)  # standard deviations
BLUR_TOLERANCE = 0.01  # nats
ROUNDING = 1e-12  # of squared distances from the origin: 1e-4 nats at most


@dataclass(frozen=True, eq=False)
class AggregatePosterior:
    """A mixture of n Gaussians with equal weights.

    Attributes
    ----------
    mean, variance : array, shape (n, d)
        μ and σ² of the components.

    Raises
    ------
    InputError
        If the shapes differ, a mean is not finite, a variance is not from 10⁻³⁰ to 10³⁰, or a component is so narrow
        for its distance from the origin that its density would be lost to rounding.
    """

    mean: np.ndarray
    variance: np.ndarray

    def __post_init__(self):
        mean = arguments.points(self.mean, "mean")
        variance = arguments.array(self.variance, "variance", shape=mean.shape, minimum=1e-30, maximum=1e30)
        if (mean**2 > 1 / ROUNDING * variance).any():
            raise InputError(
                f"A component lies {np.max(np.abs(mean) / np.sqrt(variance)):.3g} of its standard deviations from the "
                "origin, where its density is lost to rounding. Shift the means, or widen the components."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "variance", variance)

    def log_density(self, points):
        """log q at points (m, d); shape (m,)."""
        return self._derivatives(points, 0)[0]

    def gradient(self, points):
        """∇ log q at points (m, d); shape (m, d)."""
        return self._derivatives(points, 1)[1]

    def expansion(self, points):
        """log q, ∇ log q and the Hessian ∇∇ log q at points (m, d); shapes (m,), (m, d), (m, d, d)."""
        return self._derivatives(points, 2, hessian=True)

    def near(self, low, high, share=1e-12):
        """Components that matter in a box; those left out carry at most a share of q anywhere in it.

        Parameters
        ----------
        low, high : array, shape (d,)
            Opposite corners of the box.
        share : float
            log q without the others differs by less than `share`, and its gradient by less than `share` times the
            largest |∇ log N_i − ∇ log q| among them.

        Returns
        -------
        ndarray of int
            Rows of `mean`.

        Raises
        ------
        InputError
            If these are no corners of shape (d,), or the share is not between 0 and 1.
        """
        low, high = (arguments.array(z, name, shape=self.mean.shape[1:]) for z, name in ((low, "low"), (high, "high")))
        share = arguments.number(share, "share", above=0, maximum=1)
        if not (low <= high).all():
            raise InputError("low and high must be opposite corners of a box, the lower one first.")
        centre, half = (high + low) / 2, (high - low) / 2
        distance = np.abs(self.mean - centre)
        peak = -0.5 * np.log(2 * np.pi * self.variance).sum(1)
        most = peak - 0.5 * (np.maximum(distance - half, 0) ** 2 / self.variance).sum(1)
        least = peak - 0.5 * ((distance + half) ** 2 / self.variance).sum(1)
        return np.flatnonzero(most > logsumexp(least) + np.log(share / len(peak)))

    def potential(self, points):
        """U = ¼ Δ log q + ⅛ |∇ log q|² at points (m, d); shape (m,)."""
        _, gradient, laplacian = self._derivatives(points, 2)
        return laplacian / 4 + (gradient**2).sum(1) / 8

    def perturbation(self, points):
        """V = U − U₀, what has to be added to the prior's oscillator to get H[q]; shape (m,)."""
        z = arguments.points(points, "points", self.mean.shape[1])
        return self.potential(z) - ((z**2).sum(1) / 8 - z.shape[1] / 4)

    def blurred(self, held_out):
        """The mixture with every component widened until it describes other images of the same kind best.

        The images of a mixture are a sample, and its bumps between them are chance as long as the components are
        narrower than their distances. Of `BLURS`, the widest is taken that gives the held-out points a mean log density
        within 0.01 nats of the best (likelihood cross-validation: Duin 1976, IEEE Trans. Comput. C-25, 1175).

        Parameters
        ----------
        held_out : array, shape (m, d)
            Latents of images that the mixture does not contain, such as draws from their posteriors.

        Returns
        -------
        AggregatePosterior
            With the same means.

        Raises
        ------
        InputError
            If the held-out points are no finite (m, d) array with m ≥ 1.
        """
        held_out = arguments.points(held_out, "held_out", self.mean.shape[1])
        found = [AggregatePosterior(self.mean, self.variance + blur**2) for blur in BLURS]
        scores = np.array([q.log_density(held_out).mean() for q in found])
        return found[int(np.argmax(scores >= scores.max() - BLUR_TOLERANCE))]

    def sample(self, n, seed=0):
        """n draws from q; shape (n, d)."""
        generator = np.random.default_rng(arguments.seed(seed))
        n = arguments.integer(n, "n", 1)
        arguments.memory(n * self.mean.shape[1], "The draws")
        rows = generator.integers(len(self.mean), size=n)
        noise = generator.standard_normal((n, self.mean.shape[1]))
        return self.mean[rows] + np.sqrt(self.variance[rows]) * noise

    @cached_property
    def _factors(self):
        """1/σ², μ/σ², and the log of N(0; μ, σ²)/n: what a component's part of log q is made of."""
        precision = 1 / self.variance
        pull = self.mean * precision
        constant = -0.5 * (self.mean * pull + np.log(2 * np.pi * self.variance)).sum(1) - np.log(len(self.mean))
        return precision, pull, constant

    def _derivatives(self, points, order, hessian=False):
        """log q and, up to the order, its gradient and its Laplacian, or its Hessian; in chunks of bounded memory."""
        z = arguments.points(points, "points", self.mean.shape[1])
        precision, pull, constant = self._factors
        value, gradient = np.empty(len(z)), np.empty(z.shape)
        second = np.empty((*z.shape, z.shape[1]) if hessian else len(z))
        size = max(1, CHUNK_VALUES // len(self.mean))
        for start in range(0, len(z), size):
            rows = slice(start, start + size)
            own = z[rows]
            weights = own @ pull.T - 0.5 * (own**2) @ precision.T + constant
            top = weights.max(axis=1, keepdims=True)
            np.exp(weights - top, out=weights)
            total = weights.sum(axis=1, keepdims=True)
            value[rows] = (top + np.log(total))[:, 0]
            if order == 0:
                continue
            weights /= total
            slope = weights @ pull - own * (weights @ precision)
            gradient[rows] = slope
            if order == 1:
                continue
            if hessian:
                second[rows] = _spread(weights, pull, precision, own) - slope[:, :, None] * slope[:, None]
                continue
            # Δ log q = E[Δ log N + |∇ log N|²] − |∇ log q|², the mean over the components that could be at z.
            squares = weights @ pull**2 - 2 * own * (weights @ (pull * precision)) + own**2 * (weights @ precision**2)
            second[rows] = (squares - weights @ precision - slope**2).sum(1)
        return value, gradient, second


def _spread(weights, pull, precision, z):
    """E[∇∇ log N + ∇log N ∇log Nᵀ] over the components that could be at z, ∇log N = pull − precision·z."""

    def mean_of(a, b):
        return (weights @ (a[:, :, None] * b[:, None]).reshape(len(a), -1)).reshape(*z.shape, -1)

    crossed = mean_of(pull, precision) * z[:, None]
    squares = mean_of(pull, pull) + mean_of(precision, precision) * z[:, :, None] * z[:, None]
    return squares - crossed - crossed.transpose(0, 2, 1) - (weights @ precision)[:, :, None] * np.eye(z.shape[1])
