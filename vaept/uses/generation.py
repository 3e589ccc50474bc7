"""How good the images are that a member generates, by where in latent space they are drawn.

Latents come from one of `SOURCES`; their images are the decoder's mean images E[x|z], without pixel noise. A classifier
that never saw a latent supplies the features in which sets of images are compared (`vaept.uses.classifier`).
Fréchet 1957 and Dowson & Landau 1982 (distance), Heusel et al. 2017 (between images), Kynkäänniemi et al. 2019
(precision and recall).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import svdvals
from scipy.ndimage import map_coordinates, spline_filter
from scipy.spatial.distance import cdist

from vaept import arguments
from vaept.errors import InputError
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.dynamics import simulate
from vaept.landscape.energy import FreeEnergy
from vaept.uses.member import Member, Numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SOURCES = {"prior": "prior", "aggregate_posterior": "aggregate posterior", "langevin": "Langevin"}  # in words
MAX_IMAGES = 5_000
MAX_ROWS = 2_000  # for neighbours
LARGEST = 10_000  # rows that `precision_recall` takes
MAX_LATENTS = 1_000_000

N_WALKERS = 400
FORGET = 4  # relaxation times
TABLE_DIM = 2
MAX_STEPS = 15_000, 3_000  # with a table and without
GRID = 256  # points of the table along each axis
N_COMPONENTS = 2_000  # without a table


@dataclass(frozen=True)
class Quality:
    """Distance and shares beside test images, in features of the classifier, and the share that it is sure about."""

    frechet: Numbers
    precision: Numbers
    recall: Numbers
    sure: Numbers


@dataclass(frozen=True)
class Generation:
    """The quality of images from each of `SOURCES`, and of training images, where `sure` is that of the test images."""

    images: Quality
    prior: Quality
    aggregate_posterior: Quality
    langevin: Quality


def draw_latents(member: "Member", source: "str", n: "int", seed: "int" = 0) -> "np.ndarray":
    """Latents to generate images from.

    Parameters
    ----------
    member : Member
    source : {"prior", "aggregate_posterior", "langevin"}
        N(0, I); the posteriors of the training images as they are, without blur; or Langevin dynamics in
        `member.energy`, the blurred landscape. Its walkers, 400 at most, start at draws from the prior and go on for
        four slowest relaxation times, in steps of a fifth of the smallest variance of a component. Their positions at
        equal intervals of the second half are the latents, so that those of one walker are correlated. To bound the
        cost, in one or two dimensions the gradient is interpolated from a table and there are at most 15 000 steps; in
        more, the landscape is that of the first 2 000 components with the same blur, and there are at most 3 000.
    n : int
        At most a million.
    seed : int

    Returns
    -------
    ndarray of float64, shape (n, d)

    Raises
    ------
    InputError
        If there is no such source, or n or the seed is out of range.
    """
    n, seed, d = arguments.integer(n, "n", 1, MAX_LATENTS), arguments.seed(seed), member.model.latent_dim  # type: ignore[attr-defined]
    source = arguments.choice(source, "source", SOURCES)
    if source == "prior":
        return np.random.default_rng(seed).standard_normal((n, d))
    if source == "aggregate_posterior":
        return AggregatePosterior(member.mean, member.variance).sample(n, seed)
    return _langevin(member, n, seed)


def frechet_distance(a: "ArrayLike", b: "ArrayLike") -> "float":
    """Squared Fréchet distance between the Gaussians that fit two sets of features.

    d² = |μ_a − μ_b|² + tr(C_a + C_b − 2(C_a^½ C_b C_a^½)^½), with the last trace taken as the sum of the singular
    values of C_a^½ C_b^½, which also serves covariances without full rank. Finite sets are at a distance even if they
    come from one source: compare with a floor from as many rows.

    Parameters
    ----------
    a : array, shape (n_a, m)
    b : array, shape (n_b, m)
        At least two rows each.

    Returns
    -------
    float
        In squared units of the features; 0 for equal Gaussians.

    Raises
    ------
    InputError
        If the shapes do not fit or a feature is not finite.
    """
    a, b = _features(a, b, 2)
    shift = a.mean(axis=0) - b.mean(axis=0)
    root_a, root_b = _root_of_covariance(a), _root_of_covariance(b)
    total = (root_a**2).sum() + (root_b**2).sum() - 2 * svdvals(root_a @ root_b).sum()
    return float(shift @ shift + max(total, 0))


def precision_recall(real: "ArrayLike", generated: "ArrayLike", k: "int" = 3) -> "tuple[float, float]":
    """Shares of generated rows that look real, and of real rows that are generated.

    A row looks like a set if it lies no farther from one of the set's rows than that row's k-th nearest other row.

    Parameters
    ----------
    real : array, shape (n_real, m)
    generated : array, shape (n_generated, m)
        More than k and at most 10 000 rows each, best equally many: the shares depend on the numbers.
    k : int

    Returns
    -------
    precision, recall : float

    Raises
    ------
    InputError
        If the shapes do not fit, a feature is not finite, or there are too few or too many rows.
    """
    k = arguments.integer(k, "k", 1, LARGEST - 1)
    real, generated = _features(real, generated, k + 1, ("real", "generated"))
    if max(len(real), len(generated)) > LARGEST:
        raise InputError(f"There are {len(real)} and {len(generated)} rows; give at most {LARGEST} of each.")
    distance, reach_real, reach_generated = cdist(generated, real), _radii(real, k), _radii(generated, k)
    precision = (distance <= reach_real).any(axis=1).mean()
    recall = (distance <= reach_generated[:, None]).any(axis=0).mean()
    return float(precision), float(recall)


def measure(member: Member) -> Generation:
    """How good a member's generated images are, in numbers.

    At most 5 000 test images, 2 000 for precision and recall, are compared with as many mean images of latents from
    each source. Raises InputError if the member has no judge, or one that was trained on images of another shape.
    """
    judge = member.judge
    if judge is None:
        raise InputError("Generated images are judged by a classifier; the member has none.")
    n = min(len(member.test), len(member.train), MAX_IMAGES)
    generator = np.random.default_rng(member.seed)
    # The order of stored images need not be random: the halves of the MNIST test set come from different writers.
    test, train = (x[generator.permutation(len(x))[:n]] for x in (member.test, member.train))
    real, other = judge.features(test), judge.features(train)  # type: ignore[attr-defined]
    shares = precision_recall(real[:MAX_ROWS], other[:MAX_ROWS])
    found = {"images": Quality(frechet_distance(real, other), *shares, judge.sure(test).mean())}  # type: ignore[arg-type, attr-defined]
    for source in SOURCES:
        images = member.decode(draw_latents(member, source, n, member.seed))
        images = np.clip(images, 0, 1)  # the mean of a Gaussian likelihood may lie outside
        features = judge.features(images)  # type: ignore[attr-defined]
        rows = generator.permutation(n)[:MAX_ROWS]  # frames of walkers are in the order of time
        shares = precision_recall(real[:MAX_ROWS], features[rows])
        found[source] = Quality(frechet_distance(real, features), *shares, judge.sure(images).mean())  # type: ignore[arg-type, attr-defined]
    return Generation(**found)


def _langevin(member, n, seed):
    q, energy = member.aggregate, member.energy
    tabulated = energy.dim <= TABLE_DIM
    if tabulated:
        energy = _Table(energy)
    elif len(q.mean) > N_COMPONENTS:
        energy = FreeEnergy(AggregatePosterior(q.mean[:N_COMPONENTS], q.variance[:N_COMPONENTS]))
    walkers = min(n, N_WALKERS)
    frames = -(-n // walkers)
    step = 0.2 * q.variance.min()  # no curvature of a mixture exceeds that of its narrowest component
    duration = FORGET / member.modes(2).levels[1]
    half = max(frames, min(int(duration / step), MAX_STEPS[0 if tabulated else 1]) // 2)
    every = half // frames
    starts = np.random.default_rng(seed).standard_normal((walkers, energy.dim))
    how = {"step": step, "n_steps": 2 * frames * every, "keep_every": every, "progress": False}
    # The noise has a seed of its own, or the first step would repeat the starts.
    walk = simulate(energy, starts, seed=np.random.SeedSequence([seed, 1]), **how)
    return walk.positions[-frames:].reshape(-1, energy.dim)[-n:]


class _Table(FreeEnergy):
    """An energy in one or two dimensions for `simulate`, its gradient in cubic splines between the points of a grid."""

    def __init__(self, energy):
        self.dim, self.bounds, self.expansion = energy.dim, energy.bounds, energy.expansion
        low, high = energy.bounds
        grid = np.stack(np.meshgrid(*np.linspace(low, high, GRID).T, indexing="ij"), axis=-1)
        slopes = energy.gradient(grid.reshape(-1, self.dim)).reshape(grid.shape)
        self.splines = [spline_filter(part) for part in np.moveaxis(slopes, -1, 0)]
        self.low, self.scale = low, (GRID - 1) / (high - low)

    def gradient(self, points):
        """∇F at points (n, d); outside the bounds that of the nearest point on them, which leads back."""
        place = np.clip((points - self.low) * self.scale, 0, GRID - 1).T
        return np.stack([map_coordinates(part, place, prefilter=False, mode="mirror") for part in self.splines], axis=1)


def _features(a, b, fewest, names=("a", "b")) -> "tuple[np.ndarray, np.ndarray]":
    """Two checked sets of features as float arrays of equal width, with at least so many rows each."""
    a = arguments.points(a, names[0], rows=fewest)
    return a, arguments.points(b, names[1], a.shape[1], rows=fewest)


def _root_of_covariance(x):
    """The symmetric square root of the covariance of rows."""
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], -1))
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _radii(x, k):
    """Distance of each row to its k-th nearest other row."""
    return np.partition(cdist(x, x), k, axis=1)[:, k]
