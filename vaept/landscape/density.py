"""The aggregate posterior: where the images lie in latent space, as a density with exact derivatives and a potential.

q(z) = (1/n) Σ N(z; μ_i, diag σ_i²), the mean of the posteriors of n images. Units ħ = m = 1: √q is the ground state,
of energy 0, of H[q] = −½Δ + U with U = ¼ Δ log q + ⅛ |∇ log q|² (Risken 1989, ch. 5). For the prior this is
U₀ = |z|²/8 − d/4.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

CHUNK_VALUES = 2**18  # numbers held at once for all components, few enough for a processor's cache
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
        If the shapes differ, a mean is not finite, a variance is not from 10⁻³⁰ to 10³⁰, or a component is too narrow
        for its distance from the origin: its density would be lost to rounding.

    Examples
    --------
    >>> prior = AggregatePosterior(np.zeros((1, 2)), np.ones((1, 2)))
    >>> prior.potential([[0.0, 0.0], [2.0, 2.0]])
    array([-0.5,  0.5])
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

    def log_density(self, points: "ArrayLike") -> "np.ndarray":
        """log q at points (m, d); shape (m,)."""
        return self.derivatives(self._checked(points), 0)[0]

    def gradient(self, points: "ArrayLike") -> "np.ndarray":
        """∇ log q at points (m, d); shape (m, d)."""
        return self.derivatives(self._checked(points), 1)[1]

    def expansion(self, points: "ArrayLike") -> "list[np.ndarray]":
        """log q, ∇ log q and the Hessian ∇∇ log q at points (m, d); shapes (m,), (m, d), (m, d, d)."""
        return self.derivatives(self._checked(points), 2)

    def near(self, low: "ArrayLike", high: "ArrayLike", share: "float" = 1e-12) -> "np.ndarray":
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
        most = self._peaks - 0.5 * (np.maximum(distance - half, 0) ** 2 / self.variance).sum(1)
        least = self._peaks - 0.5 * ((distance + half) ** 2 / self.variance).sum(1)
        top = least.max()
        return np.flatnonzero(most > top + np.log(np.exp(least - top).mean() * share))

    def potential(self, points: "ArrayLike") -> "np.ndarray":
        """U = ¼ Δ log q + ⅛ |∇ log q|² at points (m, d); shape (m,)."""
        _, gradient, hessian = self.expansion(points)
        return np.trace(hessian, axis1=1, axis2=2) / 4 + (gradient**2).sum(1) / 8

    def perturbation(self, points: "ArrayLike") -> "np.ndarray":
        """V = U − U₀, what has to be added to the prior's oscillator to get H[q]; shape (m,)."""
        z = self._checked(points)
        return self.potential(z) - ((z**2).sum(1) / 8 - z.shape[1] / 4)

    def blurred(self, held_out: "ArrayLike") -> "AggregatePosterior":
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

    def sample(self, n: "int", seed: "int" = 0) -> "np.ndarray":
        """n draws from q; shape (n, d)."""
        generator = np.random.default_rng(arguments.seed(seed))
        n = arguments.integer(n, "n", 1)
        arguments.memory(n * self.mean.shape[1], "The draws")
        rows = generator.integers(len(self.mean), size=n)
        noise = generator.standard_normal((n, self.mean.shape[1]))
        return self.mean[rows] + np.sqrt(self.variance[rows]) * noise

    def derivatives(self, z: "np.ndarray", order: "int") -> "list[np.ndarray]":
        """log q and, up to an order of 2, its gradient and its Hessian at points that are checked already; a list."""
        d = z.shape[1]
        powers = np.concatenate([z, z**2, np.ones((len(z), 1))], axis=1)
        parts = [np.empty((len(z), *(d,) * k)) for k in range(order + 1)]
        size = max(1, CHUNK_VALUES // len(self.mean))
        for rows in (slice(start, start + size) for start in range(0, len(z), size)):
            weights = powers[rows] @ self._terms
            top = weights.max(axis=1, keepdims=True)
            weights -= top
            np.exp(weights, out=weights)
            total = weights.sum(axis=1, keepdims=True)
            parts[0][rows] = (top + np.log(total))[:, 0]
            if order == 0:
                continue
            # Means over the components that could be at z: ∇ log N is μ/σ² + 2z·(−1/2σ²).
            own, terms = z[rows], self._terms[: 2 * d]
            mean = weights @ terms.T / total
            parts[1][rows] = slope = mean[:, :d] + 2 * own * mean[:, d:]
            if order == 1:
                continue
            squares = np.empty((len(own), 2 * d, 2 * d))
            for k, row in enumerate(terms):
                squares[:, k, k:] = squares[:, k:, k] = weights @ (terms[k:] * row).T / total
            crossed = 2 * squares[:, :d, d:] * own[:, None]
            spread = squares[:, :d, :d] + crossed + crossed.transpose(0, 2, 1)
            spread += 4 * squares[:, d:, d:] * own[:, :, None] * own[:, None]
            spread -= slope[:, :, None] * slope[:, None]
            parts[2][rows] = spread + 2 * mean[:, None, d:] * np.eye(d)
        return parts

    @cached_property
    def _peaks(self):
        """log N of each component at its mean."""
        return -0.5 * np.log(2 * np.pi * self.variance).sum(1)

    @cached_property
    def _terms(self):
        """Coefficients of z, z² and 1 in a component's part of log q: μ/σ², −1/2σ² and a constant; (2d + 1, n)."""
        pull = self.mean / self.variance
        constant = self._peaks - 0.5 * (self.mean * pull).sum(1) - np.log(len(self.mean))
        return np.concatenate([pull.T, -0.5 / self.variance.T, constant[None]])

    def _checked(self, points):
        return arguments.points(points, "points", self.mean.shape[1])
