"""Latent spaces of the same examples: the smallest group of maps that explains how they differ, and their consensus.

The groups grow: nothing, signed permutations, orthogonal maps, affine maps, smooth maps; a shift belongs to all. Each
is judged by the squared error of its best map on examples that it was not fitted to, both ways and as a share of the
variance: a larger group is chosen if it explains significantly and materially more. Noise in what is mapped *from*
shrinks every regression but no isometry; so, beside a regression, an isometry may shrink too, by a symmetric matrix
with eigenvalues from 0 to 1. Where a bend has more coefficients than there are examples it cannot be predicted; but
near examples then miss the linear map alike, which shows as a variance component. Sources: Schönemann 1966 and Gower
1975 (Procrustes), Allen 1974 (errors left out), Patterson and Thompson 1971 (components from what a regression leaves).
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

from vaept import arguments
from vaept.errors import InputError
from vaept.perturbation.orientation import orient

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

GROUPS = ("same", "signed permutation", "rotation", "linear", "smooth", "none")
FEWEST = 20  # examples
EXAMPLES, PER_COORDINATE = 4000, 8  # that maps are fitted to and judged on, of more; at least so many for a coordinate
KERNEL_EXAMPLES, TRIED = 1000, 500  # that smooth maps are fitted to, and of these those that choose the kernel
HALVED = 2000  # so many examples are divided in 2 parts, fewer in 5
SIGNIFICANT = 3.5  # standard errors
SHARE = {"signed permutation": 0.01, "rotation": 0.01, "linear": 0.05, "smooth": 0.08}  # of the error, to be explained
LEAST = 1e-4  # of the variance, to be explained
EXPLAINS = 0.5  # of the variance: what explains less explains nothing
RIDGES = np.logspace(-8, 1, 10)  # in units of the kernel's largest eigenvalue
VARIED = 1e-3  # least variance, of that of the most varied direction, of one that is bent
WIDTHS = (0.5, 1.0, 2.0)  # of Gaussian kernels, in units of √d standard deviations
COMPONENTS = np.linspace(0, 0.98, 50)  # shares that are tried for what a bend explains without being predicted
LIKELIER = 40.0  # nats of log-likelihood that it must bring: 29 came by chance, noise being in both spaces
DEGREE = 6  # of the polynomials that bend single coordinates


@dataclass(frozen=True)
class Difference:
    """What relates two latent spaces.

    Attributes
    ----------
    group : str
        The smallest of `GROUPS` that explains the difference.
    r2, error : dict from str to float
        Held-out R² of the best map of each group that could be tried, mean of both ways, and its standard error.

    Examples
    --------
    >>> latents = np.random.default_rng(0).standard_normal((100, 2))
    >>> difference(latents, -latents[:, ::-1]).group
    'signed permutation'
    """

    group: str
    r2: dict
    error: dict


@dataclass(frozen=True, eq=False)
class Alignment:
    """Runs turned onto their consensus.

    Attributes
    ----------
    latents : ndarray, shape (members, n, d)
        (z − centre) Rᵀ.
    matrix, centre : ndarrays, shapes (members, d, d) and (members, d)
        R, orthogonal, and the mean of each run.
    consensus : ndarray, shape (n, d)
        The mean of the turned runs.
    residual : ndarray, shape (members,)
        The share of a run's variance that is not in the consensus.

    Examples
    --------
    >>> runs = np.random.default_rng(0).standard_normal((3, 100, 2))
    >>> alignment = align(runs)
    >>> np.allclose(alignment.latents.mean(axis=0), alignment.consensus)
    True
    """

    latents: np.ndarray
    matrix: np.ndarray
    centre: np.ndarray
    consensus: np.ndarray
    residual: np.ndarray


def align(runs: "ArrayLike", *, max_rounds: "int" = 100, tol: "float" = 1e-12) -> "Alignment":
    """Turn runs onto a consensus of their own: generalised Procrustes analysis without scaling (Gower 1975).

    The axes are the principal axes of the consensus, the most varied first, each with its third moment positive.

    Parameters
    ----------
    runs : array, shape (members, n, d)
        Posterior means of the same examples; two members or more.
    max_rounds : int
        Of turning all runs to their mean.
    tol : float
        Relative change of the mean at which to stop.

    Returns
    -------
    Alignment

    Raises
    ------
    InputError
        If the runs have another shape, are not finite, or are fewer than two.

    Examples
    --------
    >>> run = np.random.default_rng(0).standard_normal((100, 2))
    >>> first, second = align([run, run @ [[0.8, -0.6], [0.6, 0.8]]]).latents
    >>> np.allclose(first, second)
    True
    """
    z = arguments.array(runs, "runs", shape=("members", "n", "d"))
    max_rounds, tol = arguments.integer(max_rounds, "max_rounds", 1), arguments.number(tol, "tol", 0)
    if len(z) < 2:
        raise InputError(f"runs must have shape (members, n, d) with two members or more; they have {z.shape}.")
    unit = np.ldexp(1.0, np.frexp(np.abs(z).max())[1])  # exact, and no square overflows
    centre = z.mean(axis=1)
    z = z / unit - centre[:, None] / unit
    consensus = z[0]
    for _ in range(max_rounds):
        matrix = np.stack([isometry("rotation", own, consensus) for own in z])
        before, consensus = consensus, np.mean([own @ r.T for own, r in zip(z, matrix, strict=True)], axis=0)
        if np.linalg.norm(consensus - before) <= tol * np.linalg.norm(consensus):
            break
    axes = np.linalg.eigh(consensus.T @ consensus)[1][:, ::-1]
    axes = axes * np.where(((consensus @ axes) ** 3).sum(axis=0) < 0, -1, 1)
    matrix, consensus = axes.T @ matrix, consensus @ axes
    latents = z @ matrix.transpose(0, 2, 1)
    squares = ((latents - consensus) ** 2).sum(axis=(1, 2)), (z**2).sum(axis=(1, 2))
    residual = np.divide(*squares, out=np.zeros(len(z)), where=squares[1] > 0)
    return Alignment(latents * unit, matrix, centre, consensus * unit, residual)


def difference(first: "ArrayLike", second: "ArrayLike", *, seed: "int" = 0) -> "Difference":
    """The smallest group of maps that explains the difference of two latent spaces.

    Parameters
    ----------
    first, second : array, shapes (n, d) and (n, k)
        Posterior means of the same examples, in one order. If d and k differ, only linear and smooth maps are tried.
    seed : int
        Of the choice and the division of the examples.

    Returns
    -------
    Difference
        "none" if no map explains half of the variance.

    Raises
    ------
    InputError
        If there are fewer than 20 examples, or fewer than 2 for each coordinate and no signed permutation explains the
        difference; or if all examples are at one place.

    Examples
    --------
    >>> latents = np.random.default_rng(0).standard_normal((100, 2))
    >>> difference(latents, latents @ [[0.8, -0.6], [0.6, 0.8]]).group
    'rotation'
    """
    x, y = arguments.points(first, "first"), arguments.points(second, "second")
    n, d = len(x), max(x.shape[1], y.shape[1])
    if n != len(y) or n < FEWEST:
        raise InputError(f"first and second must hold the same {FEWEST} or more examples; they hold {n} and {len(y)}.")
    order = np.random.default_rng(arguments.seed(seed)).permutation(n)[: max(EXAMPLES, PER_COORDINATE * d)]
    plain, shrunk = _held_out(*_centred(x[order], y[order]))
    group = _smallest(plain, shrunk, d / len(order))
    few = order[: max(KERNEL_EXAMPLES, 2 * d)]
    if group in GROUPS[:4] and d**2 > KERNEL_EXAMPLES and n > 2 * d and _bends(*_centred(x[few], y[few])):
        group = "smooth"
    if n < 2 * d and group not in GROUPS[:2]:
        raise InputError(f"{n} examples are too few to tell maps of {d} coordinates apart; give at least {2 * d}.")
    return Difference(
        group,
        r2={name: float(1 - values.mean()) for name, values in plain.items()},
        error={name: float(values.std() / np.sqrt(len(values))) for name, values in plain.items()},
    )


def _smallest(plain, shrunk, doubt):
    """The smallest group that no larger one beats, from errors (n,) by group; isometries shrink in the second.

    `doubt` is the share of the error that fitting a rotation to few examples may add.
    """
    chosen = next(iter(plain))
    for larger in list(plain)[1:]:
        before, share = plain[chosen], SHARE[larger]
        if larger in ("linear", "smooth"):
            before, share = min(before, shrunk[chosen], key=np.mean), share + doubt * (chosen == "rotation")
        gain = before.mean() - plain[larger].mean()
        # Of squares, or of distances, in which few examples far out do not hide the others.
        paired = before - plain[larger], np.sqrt(before) - np.sqrt(plain[larger])
        significant = max(each.mean() / max(each.std(), 1e-300) for each in paired) > SIGNIFICANT / np.sqrt(len(before))
        if significant and gain > max(LEAST, share * before.mean()):
            chosen = larger
    least = min(values.mean() for values in (*plain.values(), *shrunk.values()))
    return chosen if least < 1 - EXPLAINS else "none"


def _centred(*spaces):
    spaces = [z - z.mean(axis=0) for z in spaces]
    sizes = [np.abs(z).max() for z in spaces]
    if not min(sizes) > 1e-12 * max(sizes):
        raise InputError(
            "The examples of a run are all at one place, or their scale is 10¹² times smaller than that of another: "
            "nothing can be compared. Leave it out, or rescale it."
        )
    return [np.ldexp(z, -np.frexp(max(sizes))[1]) for z in spaces]  # exact, and no square overflows


def _held_out(x, y):
    """Errors by group, each (n,), of maps that were fitted to other examples; the same where isometries shrink."""
    n, isometries = len(x), GROUPS[:3] if x.shape[1] == y.shape[1] else ()
    scale = [1 / (2 * (z**2).sum(axis=1).mean()) for z in (x, y)]
    plain, shrunk, kernels = {name: np.empty(n) for name in (*isometries, "linear", "smooth")}, {}, {}
    shrunk = {name: np.empty(n) for name in isometries}
    for test in np.array_split(np.arange(n), 5 if n < HALVED else 2):
        train = np.setdiff1d(np.arange(n), test)
        (xs, xt), (ys, yt) = ([z[rows] - z[train].mean(axis=0) for rows in (train, test)] for z in (x, y))
        for name in isometries:
            turn = isometry(name, xs, ys)
            ways = (xs @ turn.T, ys, xt @ turn.T, yt, scale[1]), (ys @ turn, xs, yt @ turn, xt, scale[0])
            plain[name][test] = sum(_squares(new - right) * share for _, _, new, right, share in ways)
            shrunk[name][test] = sum(_squares(_contracted(u, v, new) - r) * share for u, v, new, r, share in ways)
        ways = (xs, ys, xt, yt, scale[1]), (ys, xs, yt, xt, scale[0])
        errors = [_regressions(*way[:4], kernels, number) for number, way in enumerate(ways)]
        for name, both in zip(("linear", "smooth"), zip(*errors, strict=True), strict=True):
            plain[name][test] = both[0] * scale[1] + both[1] * scale[0]
    return plain, plain | shrunk


def _squares(z):
    return (z**2).sum(axis=1)


def isometry(name: "str", x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
    """The orthogonal R (d, d) of one of the first three `GROUPS` with the least |x Rᵀ − y|², both centred."""
    if name == "same":
        return np.eye(x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of directions without variance
        group = "orthogonal" if name == "rotation" else name
        return orient(x, y, coupling=np.ones(x.shape[1]), group=group).matrix[0]


def _contracted(x, y, new):
    """New points, shrunk as symmetrically as the regression of y on x suggests."""
    matrix = linear_map(x, y)
    values, axes = np.linalg.eigh(matrix + matrix.T)
    return (new @ axes * (values / 2).clip(0, 1)) @ axes.T


def _regressions(x, y, new, right, kernels, way):
    """Squared errors (m,) at new points of the linear map, and of that and the best smooth one of what it leaves."""
    matrix = linear_map(x, y)
    fitted, predicted = x @ matrix, new @ matrix
    if _squares(y - fitted).mean() < LEAST * _squares(y).mean():  # nothing is left that counts
        return (_squares(predicted - right),) * 2
    x, fitted, left = (z[:KERNEL_EXAMPLES] for z in (x, fitted, y - fitted))
    choices = _kernels(x, new, fitted, predicted)
    if way not in kernels:
        errors = {
            name: _kernel_ridge(kernel, own[:TRIED], left[:TRIED])[1] for name, (kernel, own, _) in choices.items()
        }
        kernels[way] = min(errors, key=errors.get)
    kernel, own, other = choices[kernels[way]]
    bend = kernel(other, own) @ _kernel_ridge(kernel, own, left)[0]
    return _squares(predicted - right), _squares(predicted + bend - right)


def linear_map(x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
    """The matrix, shape (d, k), of the ridge regression of y (n, k) on x (n, d), both centred."""
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    return x.T @ _ridge(left, sizes**2, y)[0]


def _ridge(vectors, values, y):
    """Weights of a kernel's functions, its eigenvectors and eigenvalues given, and the error of examples left out."""
    inside, squares, best = vectors.T @ y, vectors**2, (np.inf, 0)
    for ridge in RIDGES * max(values.max(), np.finfo(float).tiny):
        kept = values / (values + ridge)
        residual = (y - vectors @ (kept[:, None] * inside)) / (1 - squares @ kept).clip(1e-9)[:, None]
        best = min(best, ((residual**2).sum(), ridge))
    return vectors @ (inside / (values + best[1])[:, None]), best[0]


def _bends(x, y):
    """Whether near examples miss the linear maps alike, both ways taken together, though no bend can be predicted."""
    likelihood, missed = {"Gaussian 1.0": 0, "cubic": 0}, 0
    for a, b in ((x, y), (y, x)):
        free = np.linalg.qr(np.column_stack((np.ones(len(a)), a)), mode="complete")[0][:, a.shape[1] + 1 :]
        left = free @ (free.T @ b)
        missed += (left**2).sum() / (2 * (b**2).sum())
        # Directions alone, so that greater noise far out is no bend.
        left = left / np.sqrt(_squares(left)).clip(1e-300)[:, None]
        kernels = _kernels(a, a, a, a)
        for name in likelihood:
            kernel, own, _ = kernels[name]
            likelihood[name] = likelihood[name] + _components(free.T @ kernel(own, own) @ free, free.T @ left)
    found = max(likelihood.values(), key=np.max)
    share = COMPONENTS[found.argmax()]
    return share > SHARE["smooth"] and share * missed > LEAST and found.max() - found[0] > LIKELIER


def _components(kernel, y):
    """Up to a constant, the log-likelihood of y (n, k), in which a Gaussian process has each share of `COMPONENTS`."""
    values, vectors = np.linalg.eigh(kernel)
    values = values.clip(0) / values.mean()
    _, sizes, axes = np.linalg.svd(y, full_matrices=False)
    squares = (vectors.T @ y @ axes[sizes**2 > VARIED * sizes[0] ** 2].T) ** 2  # of outputs that are uncorrelated
    variances = COMPONENTS[:, None] * values + 1 - COMPONENTS[:, None]
    scales = (squares / variances[:, :, None]).mean(axis=1)
    return -(squares.shape[1] * np.log(variances).sum(axis=1) + len(values) * np.log(scales).sum(axis=1)) / 2


def _kernel_ridge(kernel, points, y):
    values, vectors = np.linalg.eigh(kernel(points, points))
    return _ridge(vectors, values.clip(0), y)


def _kernels(x, new, fitted, predicted):
    """By name: a kernel, and what it takes of the points that a map is fitted to and of new ones."""
    values, axes = np.linalg.eigh(x.T @ x / len(x))
    kept = values > VARIED * values[-1]
    white = [z @ axes[:, kept] / np.sqrt(values[kept]) for z in (x, new)]
    d = kept.sum()
    spreads = [np.where(z.std(axis=0) > VARIED * z.std(axis=0).max(), z.std(axis=0), np.inf) for z in (x, fitted)]
    made = {
        f"Gaussian {width}": (lambda a, b, w=width: np.exp(-cdist(a, b, "sqeuclidean") / (2 * d * w**2)), *white)
        for width in WIDTHS
    }
    made["cubic"] = (lambda a, b: (1 + a @ b.T / d) ** 3, *white)
    made["coordinates"] = (lambda a, b: a @ b.T, *(_bent(z / spreads[0]) for z in (x, new)))
    made["images"] = (lambda a, b: a @ b.T, *(_bent(z / spreads[1]) for z in (fitted, predicted)))
    return made


def _bent(z):
    """Legendre polynomials of every coordinate, made finite: shape (n, d · degree)."""
    return np.polynomial.legendre.legvander(z / np.sqrt(4 + z**2), DEGREE)[..., 1:].reshape(len(z), -1)
