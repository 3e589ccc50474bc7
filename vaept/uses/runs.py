"""Everything that a report on runs of a model says of them, on the same examples and up to which maps."""

import itertools
import warnings
from dataclasses import asdict

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from vaept import arguments
from vaept.errors import InputError
from vaept.processes import cores, in_processes
from vaept.spectrum import from_samples
from vaept.uses.clustering import agreement
from vaept.vae.agreement import compare
from vaept.vae.consensus import EXAMPLES, GROUPS, PER_COORDINATE, difference, isometry, linear_map

ACTIVE, VARIED = 0.01, 1e-3  # least variance of an active coordinate: of its mean and noise; of the most varied one
ALL_PAIRS, COMPARED = 4, 20  # runs of which all pairs are judged, not each and the next; that neighbours are taken of
NEIGHBOURS, POINTS, MOST_GROUPS = 10, 2000, 50
LEVELS, LEVELS_DIM = 6, 4


def active(mean, variance=None):
    """Which coordinates carry something.

    Parameters
    ----------
    mean : array, shape (n, d)
    variance : array, shape (n, d), optional
        Of the posteriors.

    Returns
    -------
    ndarray of bool, shape (d,)
        With variances: the means have 1 % of the whole variance or more, which is the criterion of Burda et al. (2016)
        where the whole is 1. Without: they have a thousandth of that of the most varied coordinate.
    """
    mean = arguments.points(mean, "mean")
    spread = mean.var(axis=0)
    if variance is None:
        return (spread > VARIED * spread.max()) & (np.ptp(mean, axis=0) > 0)
    whole = spread + arguments.array(variance, "variance", shape=mean.shape, minimum=0).mean(axis=0)
    return (spread >= ACTIVE * whole) & (np.ptp(mean, axis=0) > 0)


def examine(means, variances=None, labels=None, *, jobs=None, seed=0):
    """Everything that a report on runs says of them.

    Parameters
    ----------
    means : sequence of array, shapes (n, d)
        Posterior means of the same examples, in one order, of two runs or more; d may differ.
    variances : sequence of array or None, optional
        Of the posteriors, of every run that has them.
    labels : array of int, shape (n,), optional
    jobs : int, optional
        Processes; one for each core if None.
    seed : int

    Returns
    -------
    dict
        Of what JSON can hold. `group` is the largest group of a pair; `pairs` has what `difference` found of all pairs
        of up to 4 runs, or of each run and the next; None stands for what cannot be said.

    Raises
    ------
    InputError
        If there are fewer than two runs, or they cannot be compared; see `difference`.
    """
    means = [arguments.points(mean, f"means[{i}]") for i, mean in enumerate(means)]
    variances = [None] * len(means) if variances is None else list(variances)
    if len(means) < 2 or len({len(mean) for mean in means}) > 1:
        raise InputError("means must hold the same examples of two runs or more.")
    n, generator = len(means[0]), np.random.default_rng(arguments.seed(seed))
    labels = None if labels is None else arguments.labels(labels, "labels", n)
    alive = [active(mean, variance) for mean, variance in zip(means, variances, strict=True)]
    rows = np.sort(generator.permutation(n)[: max(EXAMPLES, PER_COORDINATE * max(mean.shape[1] for mean in means))])
    few = rows[np.sort(generator.permutation(len(rows))[:POINTS])]
    pairs = list(itertools.combinations(range(len(means)), 2))
    if len(means) > ALL_PAIRS:
        pairs = [(i, (i + 1) % len(means)) for i in range(len(means))]
    spaces = means
    if len({own.shape for own in alive}) > 1:
        spaces = [mean[:, own | ~own.any()] for mean, own in zip(means, alive, strict=True)]
    calls = [(spaces[i][rows], spaces[j][rows]) for i, j in pairs]
    found = dict(in_processes(difference, calls, jobs=cores() if jobs is None else jobs))
    found = [found[number] for number in range(len(pairs))]
    points = [space[few] for space in spaces]
    return {
        "group": max((each.group for each in found), key=GROUPS.index),
        "n": n,
        "d": [mean.shape[1] for mean in means],
        "examples_used": {"maps": len(rows), "neighbours, partitions and probe": len(few)},
        "pairs": [{"runs": list(pair)} | asdict(each) for pair, each in zip(pairs, found, strict=True)],
        "noise": [_noise(*each) for each in zip(means, variances, alive, strict=True)],
        "inactive": [np.flatnonzero(~own).tolist() for own in alive],
        "coordinates": _coordinates([mean[few] for mean in means]),
        "neighbours": _neighbours(points[:COMPARED]),
        "partitions": _partitions(points, pairs, None if labels is None else labels[few], seed),
        "spectra": [_levels(*each, few, seed) for each in zip(means, variances, alive, strict=True)],
        "probe": None if labels is None else _probe(points, pairs, labels[few]),
    }


def _noise(mean, variance, alive):
    """The share of noise in what is drawn from the posteriors."""
    if variance is None:
        return None
    noise = variance.mean(axis=0)[alive].sum()
    return float(noise / (noise + mean.var(axis=0)[alive].sum()))


def _coordinates(means):
    """Mean correlation of each coordinate of the first run with the equal-numbered, and the size with the best one."""
    first, equal, best = means[0], [], []
    for other in means[1:]:
        a, b = (z - z.mean(axis=0) for z in (first, other))
        scale = np.outer(np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0))
        alive = scale > 1e-12 * max(scale.max(), np.finfo(float).tiny)  # as in `vaept.vae.agreement`
        correlation = np.divide(a.T @ b, scale, out=np.zeros_like(scale), where=alive)
        own, partner = linear_sum_assignment(-np.abs(correlation))
        best.append(np.zeros(len(correlation)))
        best[-1][own] = np.abs(correlation[own, partner])
        if first.shape == other.shape:
            equal.append(np.diag(correlation))
    same_d = len(equal) == len(best)
    return {"equal": np.mean(equal, axis=0).tolist() if same_d else None, "best": np.mean(best, axis=0).tolist()}


def _neighbours(points):
    """The share of nearest neighbours that two runs have in common; coordinates of 0 change no distance."""
    n, d = len(points[0]), max(z.shape[1] for z in points)
    k = min(NEIGHBOURS, n // 5)
    if n < d + 2:
        return None
    found = compare(np.stack([np.pad(z, ((0, 0), (0, d - z.shape[1]))) for z in points]), n_neighbours=k).neighbours
    return {"k": k, "runs": len(points), "chance": k / (n - 1)} | {
        name: _number(value) for name, value in asdict(found).items()
    }


def _number(value):
    return float(value) if np.isfinite(value) else None


def _partitions(points, pairs, labels, seed):
    """Adjusted Rand index of k-means from two halves of the examples: in one run, and in two runs."""
    n, count = len(points[0]), 0 if labels is None else len(np.unique(labels))
    most = min(n // 5, *(len(np.unique(z[half::2], axis=0)) for z in points for half in (0, 1)))
    if most < 2:
        return None
    if not 2 <= count <= min(most, MOST_GROUPS):
        first = points[0][: POINTS // 2]
        tried = {k: KMeans(k, n_init=1, random_state=seed).fit_predict(first) for k in range(2, min(10, most) + 1)}
        count = max((silhouette_score(first, own), k) for k, own in tried.items())[1]
    parts = [[KMeans(count, n_init=3, random_state=seed).fit(z[half::2]).predict(z) for half in (0, 1)] for z in points]
    within = [agreement(*both).rand_index for both in parts]
    between = [agreement(parts[i][0], parts[j][1]).rand_index for i, j in pairs]
    return {"groups": count, "within": float(np.mean(within)), "between": float(np.mean(between))}


def _levels(mean, variance, alive, rows, seed):
    """Lowest levels of a latent space with their intervals, or why there are none."""
    if not 0 < alive.sum() <= LEVELS_DIM:
        return {"left_out": f"{alive.sum()} active coordinates; levels are found of 1 to {LEVELS_DIM}"}
    points = mean[rows][:, alive]
    if variance is not None:
        noise = np.random.default_rng(seed).standard_normal(points.shape)
        points = points + noise * np.sqrt(variance[rows][:, alive])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of rows far out, and of heavy tails: levels are then none
            found = from_samples(points, LEVELS, seed=seed)
    except InputError as error:
        return {"left_out": str(error)}
    if not np.isfinite(found.levels).all():
        return {"left_out": "the tails fall off so slowly that there are no levels"}
    return {"levels": found.levels.tolist(), "intervals": found.intervals.tolist()}


def _probe(points, pairs, labels):
    """Accuracy of nearest neighbours' labels at home, in another run, and there after maps fitted without labels."""
    train, test = np.arange(0, len(labels), 2), np.arange(1, len(labels), 2)
    scores = {"at home": [], "moved": [], "after a rotation": [], "after a linear map": []}
    for i, j in pairs:
        x, y = (points[k] - points[k][train].mean(axis=0) for k in (i, j))
        probe = KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(points[i][train], labels[train])
        moved = {"at home": points[i][test], "after a linear map": y[test] @ linear_map(y[train], x[train])}
        if x.shape == y.shape:
            moved |= {
                "moved": points[j][test],
                "after a rotation": y[test] @ isometry("rotation", y[train], x[train]).T,
            }
        for name, where in moved.items():
            where = where if name in ("at home", "moved") else where + points[i][train].mean(axis=0)
            scores[name].append((probe.predict(where) == labels[test]).mean())
    return {name: float(np.mean(values)) if len(values) == len(pairs) else None for name, values in scores.items()}
