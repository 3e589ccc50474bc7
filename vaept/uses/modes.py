"""What a spectrum tells that positions do not: slow modes of latents as coordinates, beside the latents themselves.

Images are described in six spaces: by the slowest modes of the member's own spectrum; by those of the neighbour graph
of their latents, of both operators of `vaept.perturbation.diffusion`, of which "generator" is that of the spectrum; by
the latents; by principal components of the images; and by modes of the graph of these, which need no autoencoder. Modes
are as many as there are classes, and each row is divided by its norm (Ng, Jordan & Weiss 2001); no setting was chosen
by labels. In every space images are parted by k-means, and classified by the nearest of a few that have a label. All
are test images, of which graphs see all at once: modes know more than positions do of how images lie together, and
nothing of classes.
"""

import warnings
from dataclasses import dataclass

import networkx as nx
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph

from vaept import arguments
from vaept.errors import InputError
from vaept.perturbation.diffusion import NEIGHBOURS, graph_modes
from vaept.uses import clustering
from vaept.uses.member import Member, Numbers

IMAGES = 2_500
KEPT = 1_000  # images whose groups are kept, so that those of other members can be compared with them
COMPONENTS = 50  # of the images, as fields take them
LABELLED, DRAWS = 5, 20  # images of a class that have a label, and how often they are drawn anew
FEWEST = 50  # images
SPACES = {  # in words
    "spectrum": "modes of the spectrum",
    "walk": "modes of the walk",
    "generator": "modes of the generator",
    "latents": "latents",
    "images": "principal components of the images",
    "image_walk": "modes of the walk between images",
}


@dataclass(frozen=True)
class Spaces:
    """A number for each of `SPACES`."""

    spectrum: Numbers
    walk: Numbers
    generator: Numbers
    latents: Numbers
    images: Numbers
    image_walk: Numbers


@dataclass(frozen=True)
class Groups:
    """Groups of the first `KEPT` test images by k-means in the spaces of a member, a number each."""

    spectrum: Numbers
    walk: Numbers
    generator: Numbers
    latents: Numbers


@dataclass(frozen=True)
class Modes:
    """How well each space tells the classes apart.

    Attributes
    ----------
    rand_index : Spaces
        Adjusted Rand index of the classes and as many groups by k-means.
    mixture, louvain : ndarray
        The same of a mixture of Gaussians, and of Louvain's communities of the neighbour graph, which are as many as
        they like; both of the latents.
    few_labels : Spaces
        As `few_labels`.
    between_classes : Spaces
        The largest of `between_classes`: of modes, of the slowest that is not constant alone.
    groups : Groups
        For `between_members`.
    """

    rand_index: Spaces
    mixture: Numbers
    louvain: Numbers
    few_labels: Spaces
    between_classes: Spaces
    groups: Groups


def lacking(dataset):
    """Why spaces cannot be compared by a data set's classes: a sentence, or "" if they can be."""
    if reason := clustering.lacking(dataset):
        return reason
    classes, counts = np.unique(dataset.test_labels[:IMAGES], return_counts=True)
    if len(classes) < 2 or counts.min() <= LABELLED or counts.sum() < FEWEST:
        return (
            f"Among the first {IMAGES} test images there must be {FEWEST}, and more than {LABELLED} of every class; "
            f"there are {counts.sum()}, and {counts.min()} of {dataset.classes[classes[counts.argmin()]]}."
        )
    return ""


def few_labels(points, labels, *, labelled=LABELLED, draws=DRAWS, seed=0):
    """Accuracy of the nearest labelled neighbour's class, where few images have a label.

    Parameters
    ----------
    points : array, shape (n, m)
    labels : array of int, shape (n,)
    labelled : int
        Images of each class that have a label; all others are classified.
    draws : int
        How often these are drawn anew.
    seed : int
        Of the draws.

    Returns
    -------
    float
        The mean over draws.

    Raises
    ------
    InputError
        If the shapes do not fit, or every image has a label.
    """
    points = arguments.points(points, "points")
    labels, seed = arguments.labels(labels, "labels", len(points)), arguments.seed(seed)
    labelled, draws = arguments.integer(labelled, "labelled", 1), arguments.integer(draws, "draws", 1, 10_000)
    classes, counts = np.unique(labels, return_counts=True)
    if counts.max() <= labelled:
        raise InputError(f"Of {labelled} labelled images a class no image is left to classify; label fewer.")
    generator, found = np.random.default_rng(seed), []
    for _ in range(draws):
        order = generator.permutation(len(labels))
        known = np.concatenate([order[labels[order] == each][:labelled] for each in classes])
        rest = np.setdiff1d(order, known)
        nearest = known[pairwise_distances_argmin(points[rest], points[known])]
        found.append((labels[nearest] == labels[rest]).mean())
    return float(np.mean(found))


def between_classes(values, labels):
    """The share of a coordinate's variance that lies between the classes (the correlation ratio, Fisher 1925).

    Parameters
    ----------
    values : array, shape (n, m)
    labels : array of int, shape (n,)

    Returns
    -------
    ndarray, shape (m,)
        From 0 to 1; 0 of a constant.

    Raises
    ------
    InputError
        If the shapes do not fit.
    """
    values = arguments.points(values, "values")
    _, rows = np.unique(arguments.labels(labels, "labels", len(values)), return_inverse=True)
    values = values - values.mean(axis=0)
    means = np.stack([np.bincount(rows, column) for column in values.T], axis=1) / np.bincount(rows)[:, None]
    whole = (values**2).sum(axis=0)
    return np.divide((means[rows] ** 2).sum(axis=0), whole, out=np.zeros_like(whole), where=whole > 0)


def between_members(groups):
    """How alike the groups of the same images in all members are.

    Parameters
    ----------
    groups : array, shape (members, n)
        Numbers from 0, of two members at least.

    Returns
    -------
    ndarray, shape (members,)
        Of each member the mean adjusted Rand index with the others.

    Raises
    ------
    InputError
        If there are fewer than two members, or groups that are no such numbers.
    """
    groups = arguments.array(groups, "groups", shape=("members", "n"), minimum=0, maximum=IMAGES)
    if len(groups) < 2 or (groups != np.round(groups)).any():
        raise InputError("groups must be integers, the numbers of groups, of two members at least.")
    pairs = np.array([[adjusted_rand_score(one, other) for other in groups] for one in groups])
    return (pairs.sum(axis=1) - 1) / (len(groups) - 1)


def described(spectrum, latents, images, n_modes):
    """Points in each of `SPACES`.

    Parameters
    ----------
    spectrum : vaept.spectrum.levels.Spectrum
        Of the density of the latents, with as many levels or more.
    latents : array, shape (n, d)
    images : array, shape (n, pixels)
    n_modes : int
        The constant included; two at least.

    Returns
    -------
    dict from str to ndarray, shape (n, m)
        Modes with a mean square of about 1 each.

    Raises
    ------
    InputError
        As `vaept.perturbation.diffusion.graph_modes`.
    """
    n_modes = arguments.integer(n_modes, "n_modes", 2)
    latents = arguments.points(latents, "latents")
    images = arguments.array(images, "images", shape=(len(latents), "pixels"))
    pictures = PCA(min(COMPONENTS, *images.shape), svd_solver="covariance_eigh").fit_transform(images)
    return {
        "spectrum": spectrum.eigenfunctions(latents)[:, :n_modes],
        "walk": graph_modes(latents, n_modes, operator="walk")[1],
        "generator": graph_modes(latents, n_modes, operator="generator")[1],
        "latents": latents,
        "images": pictures,
        "image_walk": graph_modes(pictures, n_modes, operator="walk")[1],
    }


def _louvain(points, seed):
    """Communities of the graph of nearest neighbours (Blondel et al. 2008), a number for each point."""
    graph = nx.from_scipy_sparse_array(kneighbors_graph(points, NEIGHBOURS))
    groups = np.empty(len(points), dtype=int)
    for number, rows in enumerate(nx.community.louvain_communities(graph, seed=seed)):
        groups[list(rows)] = number
    return groups


def measure(member: Member) -> Modes:
    """What modes of a member tell of the classes; raises InputError if the member has none."""
    if member.labels is None:
        raise InputError("Modes are compared by classes; the data has none.")
    labels, latents, seed = member.labels[:IMAGES], member.test_mean[:IMAGES], member.seed
    n_classes = len(np.unique(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of graphs in pieces, which count as they are
        spaces = described(member.modes(n_classes), latents, member.test[:IMAGES], n_classes)
    shares, groups, accuracies = {}, {}, {}
    for name, points in spaces.items():
        modes = name not in ("latents", "images")
        shares[name] = between_classes(points[:, 1:2] if modes else points, labels).max()
        rows = points / np.linalg.norm(points, axis=1, keepdims=True) if modes else points
        groups[name] = KMeans(n_classes, n_init=10, random_state=seed).fit_predict(rows)
        accuracies[name] = few_labels(rows, labels, seed=seed)
    mixture = GaussianMixture(n_classes, n_init=3, random_state=seed).fit_predict(latents)
    return Modes(
        rand_index=Spaces(**{name: adjusted_rand_score(labels, own) for name, own in groups.items()}),
        mixture=adjusted_rand_score(labels, mixture),
        louvain=adjusted_rand_score(labels, _louvain(latents, seed)),
        few_labels=Spaces(**accuracies),
        between_classes=Spaces(**shares),
        groups=Groups(**{name: groups[name][:KEPT] for name in ("spectrum", "walk", "generator", "latents")}),
    )
