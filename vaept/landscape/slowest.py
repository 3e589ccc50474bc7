r"""The slowest relaxation rate of a mixture of Gaussians, between two bounds.

The rate is level 1 of −½(Δ + ∇log q·∇), the generator of the dynamics in `vaept.landscape.dynamics`. Trial functions
are coordinates and the slowest functions of the mixture's Gibbs chain (from a point to a component, and to another
point of that), for smoothed responsibilities r_i ∝ N_i^β with β < 1. The dynamics carries them along: with P the mean
of a function over walkers a time τ later, Pφ has lost what is fast in φ, and its Rayleigh quotient is nearer to the
level. All that is needed are A_k = E[φ Pᵏ φᵀ], k = 0, 1, 2. −log(A₂/A₁)/τ bounds the level from above (Lüscher &
Wolff 1990, Nucl. Phys. B 339, 222, for masses on a lattice; Noé & Nüske 2013, Multiscale Model. Simul. 11, 635, for
molecules), Lehmann's bound from below (Lehmann 1949, Z. angew. Math. Mech. 29, 341; of one function it is Temple's).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.dynamics import simulate
from vaept.landscape.energy import FreeEnergy

SMOOTHING = (0.35, 0.5, 0.7)  # β
N_FUNCTIONS = 10  # of each β
SPARE, POWERS = 10, 8  # vectors beside them, and steps of the chain, by which they are found
CHAIN_DRAWS = 4_000
# Draws that choose trial functions, as many that choose among these, and as many that judge: what was slow on the first
# by chance, such as a lone component's function, comes last on the second.
DRAWS = 12_000
MOST_BELOW = 5  # levels below the assumed one
STEP, MAX_STEPS = 0.25, 150  # times the smallest variance
DECAY = 0.5  # τ in units of the inverse quotient, unless that takes more steps
N_BLOCKS, N_BOOTSTRAP = 100, 300
ROWS = 1_000  # points at a time
CUTOFF = 1e-6  # of variances of trial functions, relative


@dataclass(frozen=True, eq=False)
class Bracket:
    """Bounds on the slowest rate of a mixture.

    All are estimates from draws: exact bounds hold for their expectations, up to the O(step²) of the walkers.

    Attributes
    ----------
    quotient : float
        ½E|∇φ|²/Var φ of the slowest trial function φ, which is known everywhere, on draws that did not choose it.
    upper : float
        Of φ carried along: the rate at which walkers forget it between τ and 2τ.
    lower : float
        0 if nothing better is known.
    intervals : ndarray, shape (3, 2)
        95 % of `quotient`, `upper` and `lower`, from a bootstrap over draws and starts.
    assumed : float
        The lower bound holds if at most `n_below` levels above 0 lie below this one, which is the geometric mean of
        two quotients with the widest gap between them.
    n_below : int
    time : float
        τ.
    """

    quotient: float
    upper: float
    lower: float
    intervals: np.ndarray
    assumed: float
    n_below: int
    time: float


def slowest_level(
    mixture: "AggregatePosterior", *, n_starts: "int" = 800, n_branches: "int" = 12, seed: "int" = 0
) -> "Bracket":
    """Bounds on the slowest relaxation rate of a mixture, level 1 of its spectrum.

    Parameters
    ----------
    mixture : AggregatePosterior
    n_starts, n_branches, seed : int
        Draws from which walkers start, at least 100, and walkers from each, at least 2.

    Returns
    -------
    Bracket

    Raises
    ------
    InputError
        If an argument is out of range, or there is a single Gaussian, whose level needs no bounds.

    Examples
    --------
    >>> slowest_level(AggregatePosterior([[-2.0], [2.0]], [[1.0], [1.0]]), n_starts=200).n_below
    1
    """
    mixture = arguments.instance(mixture, "mixture", AggregatePosterior)
    n_starts = arguments.integer(n_starts, "n_starts", 100)
    n_branches = arguments.integer(n_branches, "n_branches", 2)
    arguments.memory(n_starts * n_branches * mixture.mean.shape[1], "The walkers")
    generator = np.random.default_rng(arguments.seed(seed))
    seeds = generator.integers(2**32, size=6).tolist()
    sizes = (CHAIN_DRAWS, DRAWS, DRAWS, DRAWS, n_starts)
    chain, *choosing, judging, starts = (mixture.sample(n, seed=own) for n, own in zip(sizes, seeds, strict=False))
    trial = _Trial(mixture, chain, generator)
    for draws in choosing:
        levels, mix = _ritz(*np.mean(_moments(*trial.with_gradients(draws)), axis=1))
        trial.mix = trial.mix @ mix
    n_below = 1 + int(np.argmax(levels[1:] / levels[:-1]))
    assumed = float(np.sqrt(levels[n_below - 1] * levels[n_below]))
    trial.mix = trial.mix[:, :n_below]
    values, gradients = trial.with_gradients(judging)
    centre, slowest = values.mean(axis=0), np.array(_moments(values, gradients))[:, :, 0, 0]
    step = STEP * mixture.variance.min()
    n_steps = int(np.clip(DECAY / levels[0] / step, 1, MAX_STEPS))
    walkers = np.repeat(starts, n_branches, axis=0)
    walk = simulate(
        FreeEnergy(mixture), walkers, step=step, n_steps=n_steps, keep_every=n_steps, seed=seeds[5], progress=False
    )
    ends = trial(walk.positions[-1]).reshape(n_starts, n_branches, -1)
    time = float(walk.times[-1])
    products = _products(trial(starts) - centre, ends - centre)

    def bounds(draws, starts):
        variance, slope = slowest @ draws
        return slope / variance, *_bounds(*np.tensordot(starts, products, (0, 1)), time, assumed)

    counts = [generator.multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP) / n for n in (N_BLOCKS, n_starts)]
    found = bounds(*(np.full(n, 1 / n) for n in (N_BLOCKS, n_starts)))
    intervals = np.quantile([bounds(*each) for each in zip(*counts, strict=True)], [0.025, 0.975], axis=0).T
    return Bracket(*map(float, found), intervals, assumed, n_below, time)  # type: ignore[call-arg, arg-type]


def _products(now, later):
    """A₀, A₁ and A₂ of each start, from values (starts, m) there and (starts, branches, m) at the walkers' ends."""
    branches, mean = later.shape[1], later.mean(axis=1)
    both = now[:, :, None] * mean[:, None]
    # Different walkers from one start are independent, so that their products have the mean (Pφ)(Pφ)ᵀ.
    own = np.einsum("sbi,sbj->sij", later, later)
    pairs = (branches**2 * mean[:, :, None] * mean[:, None] - own) / (branches * (branches - 1))
    return np.array([now[:, :, None] * now[:, None], (both + both.transpose(0, 2, 1)) / 2, pairs])


def _bounds(zero, one, two, time, assumed):
    """The upper and the lower bound from A₀, A₁ and A₂."""
    upper = -np.log(two[0, 0] / one[0, 0]) / time
    shift = np.exp(-assumed * time)
    above = one - shift * zero
    if np.linalg.eigvalsh(above)[0] <= 0:
        return upper, 0.0
    largest = shift + eigh(two - 2 * shift * one + shift**2 * zero, above, eigvals_only=True)[-1]
    return upper, -np.log(min(largest, 1.0)) / time


def _moments(values, gradients):
    """E[φφᵀ] and ½E[∇φ·∇φᵀ] over blocks of points, each (blocks, functions, functions)."""
    values = values - values.mean(axis=0)
    parts = zip(np.array_split(values, N_BLOCKS), np.array_split(gradients, N_BLOCKS), strict=True)
    parts = [(f, g.reshape(-1, g.shape[-1])) for f, g in parts]
    return [[f.T @ f / len(f) for f, _ in parts], [g.T @ g / (2 * len(f)) for f, g in parts]]


def _ritz(mass, stiffness):
    """The lowest levels and their functions."""
    values, basis = np.linalg.eigh(mass)
    keep = values > CUTOFF * values[-1]
    basis = basis[:, keep] / np.sqrt(values[keep])
    levels, vectors = np.linalg.eigh(basis.T @ stiffness @ basis)
    levels = np.maximum(levels, CUTOFF**2 * levels[-1])  # wells that nothing leaves have level 0
    return levels[: MOST_BELOW + 1], basis @ vectors[:, : MOST_BELOW + 1]


class _Trial:
    """Coordinates and Σ_i a_i r_i of each smoothing, mixed by a matrix once it is known."""

    def __init__(self, mixture, draws, generator):
        mean, variance = mixture.mean, mixture.variance
        if len(mean) < 2:
            raise InputError(
                "A single Gaussian needs no bounds: its level is half the inverse of its largest variance."
            )
        self.pull, self.stiff = mean / variance, 1 / variance
        self.terms = np.concatenate([self.pull, -0.5 * self.stiff], axis=1).T
        self.constant = -0.5 * (np.log(variance) + mean * self.pull).sum(axis=1)
        count = min(N_FUNCTIONS, len(mean) - 1)
        chains = zip(*(list(self._responsibilities(part)) for part in _parts(draws)), strict=True)
        self.weights = [_slow_functions(np.concatenate(chain), count, generator) for chain in chains]
        self.mix = np.eye(mean.shape[1] + count * len(SMOOTHING))

    def __call__(self, z):
        """Values at points (n, d), shape (n, functions)."""
        return np.concatenate([self._values(part) for part in _parts(z)]) @ self.mix

    def with_gradients(self, z):
        """Values, and gradients of shape (n, d, functions)."""
        values, gradients = zip(*(self._slopes(part) for part in _parts(z)), strict=True)
        return np.concatenate(values) @ self.mix, np.concatenate(gradients) @ self.mix

    def _responsibilities(self, z):
        logits = np.concatenate([z, z**2], axis=1) @ self.terms + self.constant
        logits = (logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
        for beta in SMOOTHING:
            r = np.exp(np.float32(beta) * logits)
            yield r / r.sum(axis=1, keepdims=True)

    def _values(self, z):
        return np.concatenate(
            [z, *(r @ a for r, a in zip(self._responsibilities(z), self.weights, strict=True))], axis=1
        )

    def _slopes(self, z):
        n, d = z.shape
        values, gradients = [z], [np.tile(np.eye(d), (n, 1, 1))]
        for beta, r, a in zip(SMOOTHING, self._responsibilities(z), self.weights, strict=True):
            tables = [a[:, None] * table[:, :, None] for table in (self.pull, self.stiff)]
            f, pulls, stiffs = (  # type: ignore[misc]
                r @ a,
                *((r @ t.reshape(len(a), -1).astype(np.float32)).reshape(n, d, -1) for t in tables),
            )
            drift = r @ self.pull - z * (r @ self.stiff)
            values.append(f)
            gradients.append(beta * (pulls - z[:, :, None] * stiffs - drift[:, :, None] * f[:, None]))
        return np.concatenate(values, axis=1), np.concatenate(gradients, axis=2)


def _slow_functions(chain, count, generator):
    """Coefficients a (n, count) of the slowest functions Σ a_i r_i, of responsibilities r of points in equilibrium."""
    scale = 1 / np.sqrt(chain.sum(axis=0) + 1e-12)
    chain = chain * scale
    basis = generator.standard_normal((len(scale), count + 1 + SPARE)).astype(np.float32)
    for _ in range(POWERS):
        basis = np.linalg.qr(chain.T @ (chain @ basis))[0]
    right = np.linalg.svd(chain @ basis, full_matrices=False)[2]
    return (basis @ right[1 : count + 1].T * scale[:, None] * np.sqrt(len(chain))).astype(np.float32)


def _parts(points):
    return np.array_split(points, -(-len(points) // ROWS))
