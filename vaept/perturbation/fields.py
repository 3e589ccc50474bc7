"""Fields u(x) that tie a latent space to the data: k numbers for each image, made from unlabelled images alone.

Distances are Euclidean distances between the images' leading principal components (at most 50; exact eigenvectors of
the covariance), in units of pixel values. Each component of a field has mean
0 and variance 1 over the training images; fixed functions of the images choose its sign (`vaept.perturbation._signs`).
The same arguments give the same bits on the same machine, with any number of threads.
Sources: Coifman & Lafon 2006 (diffusion maps, α = 1), Zelnik-Manor & Perona 2004 (local scales), Bengio et al. 2004
(extension to new points), van der Maaten & Hinton 2008 (t-SNE).

Of a neighbour embedding the first two components are the plane, on its principal axes; the others are principal
components, of which it tells nothing definite. Images get the mean of their 10 nearest landmarks, weighted as in
`diffusion_field`. Plane and principal components have units of their own for the eigenvalues: in these no level of one
is near a level of the other.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors
from vaept.perturbation import _graph, _signs
from vaept.perturbation._field import MANY, Field, RandomNetwork, _checked, _field, hidden_units
from vaept.processes import one_thread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

PRINCIPAL_COMPONENTS = 50
SPARE = 4  # eigenvectors computed beyond those that are wanted
HIDDEN = 256  # units of a random network
INDEPENDENT = 1e-6  # least part of an output of a random network that those before it leave, relative to the largest
UNSEEN = 1e-6  # scale of coordinates that are to count nothing in distances
EMBEDDED_NEIGHBOURS = 10  # landmarks that a point of a neighbour embedding is interpolated from


@one_thread()
def diffusion_field(
    x: "ArrayLike", n_components: "int", *, n_neighbors: "int" = 15, landmarks: "int | None" = None, seed: "int" = 0
) -> "Field":
    """Leading non-constant eigenfunctions of the diffusion operator of the images' neighbour graph.

    The kernel is exp(−|y_i − y_j|²/(s_i s_j)) where one of two images is among the k nearest of the other, s being
    the distance to the k-th; it is divided by both row sums (α = 1) and made a Markov operator. All images get the
    kernel-weighted mean of the eigenvectors at their k nearest references. With local scales distances are counted in
    neighbours: on an interval the first component is close to cos(πF) with F the share of images to one side.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components : int
    n_neighbors : int
        k.
    landmarks : int, optional
        Build the operator on so many randomly chosen images instead of all; saves time and loses detail.
    seed : int
        Of that choice; without landmarks nothing is random.

    Returns
    -------
    Field

    Raises
    ------
    InputError
        If the images are unusable, or too few for the other arguments.

    Warns
    -----
    UserWarning
        If the graph is in pieces, a sign is not determined, or components form near multiplets.

    Examples
    --------
    >>> diffusion_field(vaept.load("digits").train, 2).values.shape
    (1438, 2)
    """
    k, seed = arguments.integer(n_neighbors, "n_neighbors", 1, MANY), arguments.seed(seed)
    x, n_components = _checked(x, n_components)
    references = _references(len(x), landmarks, len(x), seed)
    m, fewest = len(references), max(k, n_components) + 2
    if m < fewest:
        few = f"{m} images or landmarks are too few for {k} neighbours and {n_components} components"
        raise InputError(f"{few}; give {fewest}.")
    base, _, _ = _signs.principal_components(x, PRINCIPAL_COMPONENTS)
    graph, scales = _graph.neighbour_graph(base["points"][references], k)
    graph, densities = _graph.balanced(graph)
    graph, weights = _graph.balanced(graph, 0.5)
    # Some more than are wanted, so that a multiplet that ends behind the last of them can be turned as a whole.
    levels, vectors = _graph.leading_pairs(graph, min(n_components + 2 + SPARE, m))
    functions = vectors[:, 1:] / weights[:, None]
    functions /= functions.std(axis=0)
    turn, doubtful = _signs.orientation_of(functions, 1 - levels[1:], x[references])
    wanted, levels = (functions @ turn)[:, :n_components], levels[1 : n_components + 2]
    return _field("diffusion", levels, base, wanted, doubtful, references, scales, densities, k)


@one_thread()
def neighbour_field(
    x: "ArrayLike",
    n_components: "int",
    *,
    landmarks: "int | None" = None,
    perplexity: "float | None" = None,
    seed: "int" = 0,
) -> "Field":
    """A neighbour embedding (t-SNE) of landmarks in the plane, completed from the third component on by principal ones.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components, seed : int
    landmarks : int, optional
        Randomly chosen images that are embedded; by default 6 000, or all if there are fewer.
    perplexity : float, optional
        Effective number of neighbours of the t-SNE, at least 1. By default a sixtieth of the landmarks, at least 5.

    Returns
    -------
    Field

    Raises
    ------
    InputError
        If the images are unusable, or too few for the other arguments.

    Warns
    -----
    UserWarning
        If a sign is not determined or components form near multiplets.

    Examples
    --------
    >>> neighbour_field(vaept.load("digits").train, 2, landmarks=200).values.shape
    (1438, 2)
    """
    x, n_components = _checked(x, n_components)
    seed = arguments.seed(seed)
    references = _references(len(x), landmarks, min(len(x), 6000), seed)
    m, k = len(references), EMBEDDED_NEIGHBOURS
    perplexity = max(5, m / 60) if perplexity is None else arguments.number(perplexity, "perplexity", 1)
    fewest = math.ceil(max(k, perplexity, n_components)) + 2
    arguments.integer(m, f"For perplexity {perplexity:g} and {n_components} components the number of landmarks", fewest)
    base, shares, doubtful = _signs.principal_components(x, max(PRINCIPAL_COMPONENTS, n_components))
    if n_components > base["points"].shape[1]:
        raise InputError(f"n_components must be at most the number of pixels, {x.shape[1]}; it is {n_components}.")
    own = base["points"][references]
    scales = _graph.floored_scales(_graph.other_points(own, k)[0][:, -1])
    from sklearn.manifold import TSNE

    plane = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(own)
    plane, variances = _signs.to_principal_axes(plane)
    plane /= plane.std(axis=0)
    turn, doubtful_axes = _signs.orientation_of(plane, variances, x[references])
    doubtful = doubtful_axes + [i + 2 for i in doubtful]
    coordinates = np.concatenate([plane @ turn * np.sqrt(variances), own], axis=1)[:, :n_components]
    levels = np.append(variances / variances[-1] * 2 * shares[0], np.append(shares, 0))[: n_components + 1]
    return _field("neighbour", levels, base, coordinates, doubtful, references, scales, np.ones(m), k)


@one_thread()
def pca_field(x: "ArrayLike", n_components: "int") -> "Field":
    """The first principal components: the linear field, a control for the other two.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components : int
        At most the number of directions in which the images vary.

    Returns
    -------
    Field

    Raises
    ------
    InputError
        If the images are unusable or vary in fewer directions.

    Examples
    --------
    >>> field = pca_field(vaept.load("digits").train, 3)
    >>> field.values.std(axis=0).round(3)
    array([1., 1., 1.], dtype=float32)
    """
    x, n_components = _checked(x, n_components)
    base, shares, doubtful = _signs.principal_components(x, max(PRINCIPAL_COMPONENTS, n_components))
    shares = np.append(shares, 0.0)
    if n_components >= len(shares) or shares[n_components - 1] < _signs.NOTHING:
        raise InputError(
            f"The images vary in {np.count_nonzero(shares >= _signs.NOTHING)} directions only, too few for "
            f"n_components = {n_components}. Ask for fewer."
        )
    return _field("principal components", shares[: n_components + 1], base, np.empty((0, n_components)), doubtful)


@one_thread()
def subspace_field(x: "ArrayLike", n_components: "int", *, iterations: "int" = 1) -> "Field":
    """Fixed random projections after a step of subspace iteration: principal components, left unfinished.

    A component is the projection of the images on Cˢ g, made uncorrelated with those before it, where C is their
    covariance, g a direction drawn once for all images of a size, and s the number of iterations. With s = 0 these are
    fixed functions of the image, with s → ∞ the principal components. Order and signs come from the directions g and no
    gap between eigenvalues counts, so that two samples of images agree where they do not on single principal
    components: the better the fewer the iterations. Source: Halko, Martinsson & Tropp 2011, section 4.5.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components : int
        At most the number of directions in which the images vary.
    iterations : int
        s, at most 100.

    Returns
    -------
    Field
        Without eigenvalues, because none orders the components.

    Raises
    ------
    InputError
        If the images are unusable or vary in fewer directions.

    Examples
    --------
    >>> x = vaept.load("digits").train
    >>> halves = [subspace_field(half, 2).transform(x) for half in (x[::2], x[1::2])]
    >>> vaept.compare(halves).coordinates.mean > 0.9
    True
    """
    x, n_components = _checked(x, n_components)
    iterations = arguments.integer(iterations, "iterations", 0, 100)
    mean = x.mean(axis=0, dtype=float)
    covariance = sum((block - mean).T @ (block - mean) for block in _signs.row_blocks(x)) / len(x)
    variances, axes = np.linalg.eigh(covariance)
    varied = np.flatnonzero(variances > _signs.NOTHING * variances.sum())
    if n_components > len(varied):
        raise InputError(
            f"The images vary in {len(varied)} directions only, too few for n_components = {n_components}. Ask for "
            "fewer."
        )
    variances, axes = variances[varied], axes[:, varied]
    deviations = np.sqrt(variances)
    frame = axes.T @ np.random.default_rng(0).standard_normal((n_components, x.shape[1])).T
    for scale in (*[variances] * iterations, deviations):
        frame = _in_order(*np.linalg.qr(scale[:, None] * frame))
    # The field's own components count nothing in distances, which are those of the principal components after them.
    own = UNSEEN * deviations[-1] * axes / deviations @ frame
    projection = np.concatenate([own, axes[:, ::-1][:, :PRINCIPAL_COMPONENTS]], axis=1)
    base = {"points": _signs.project(x, mean, projection), "pixel_mean": mean, "projection": projection}
    return _field("subspace iteration", np.zeros(1), base, np.empty((0, n_components)), ())


@one_thread()
def random_network_field(x: "ArrayLike", n_components: "int", *, seed: "int" = 0) -> "RandomNetwork":
    """Outputs of an untrained random network, a control: a field that knows of the images what anything knows.

    The network has a layer of 256 tanh units (or as many as components), whose inputs are standardised, and linear
    outputs, which are made uncorrelated in order.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components : int
    seed : int
        Of the weights.

    Returns
    -------
    RandomNetwork
        Without eigenvalues, because none orders the components.

    Raises
    ------
    InputError
        If the images are unusable, or the outputs do not vary independently.

    Examples
    --------
    >>> field = random_network_field(vaept.load("digits").train, 3)
    >>> field.values.std(axis=0).round(3)
    array([1., 1., 1.], dtype=float32)
    """
    x, n_components = _checked(x, n_components)
    generator = np.random.default_rng(arguments.seed(seed))
    weights = generator.standard_normal((x.shape[1], max(HIDDEN, n_components)))
    readout = generator.standard_normal((n_components, weights.shape[1])).T
    mean = x.mean(axis=0, dtype=float)
    weights /= _signs.project(x, mean, weights).std(axis=0, dtype=float)
    hidden = hidden_units(x, mean, weights)
    outputs = _signs.project(hidden, hidden.mean(axis=0, dtype=float), readout).astype(float)
    factor = np.linalg.qr(outputs, mode="r")
    left = np.abs(np.diag(factor))
    if left.min() < INDEPENDENT * left.max():
        raise InputError(f"The outputs of the network do not give {n_components} components; ask for fewer.")
    projection = _in_order(np.linalg.solve(factor.T, readout.T).T, factor)  # type: ignore[arg-type, attr-defined]
    base = {"points": _signs.project(hidden, 0.0, projection), "pixel_mean": mean, "projection": projection}
    made = _field("random network", np.zeros(1), base, np.empty((0, n_components)), ())
    return RandomNetwork(**vars(made), weights=weights)


def shuffled(field: "Field", seed: "int" = 0) -> "Field":
    """The field with its values dealt to the images anew; its `transform` raises InputError.

    Parameters
    ----------
    field : Field
    seed : int

    Returns
    -------
    Field

    Examples
    --------
    >>> field = pca_field(vaept.load("digits").train, 2)
    >>> np.array_equal(np.sort(shuffled(field).values, axis=0), np.sort(field.values, axis=0))
    True
    """
    field = arguments.instance(field, "field", Field)
    order = np.random.default_rng(arguments.seed(seed)).permutation(len(field.values))
    return dataclasses.replace(field, name=f"shuffled {field.name}", values=field.values[order])


def load_field(path: "str | Path") -> "Field":
    """Read a `Field`, of its own class, that `Field.save` wrote; errors are those of `vaept.files.read_tensors`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     pca_field(vaept.load("digits").train, 2).save(f"{folder}/field.safetensors")
    ...     load_field(f"{folder}/field.safetensors").name
    'principal components'
    """
    _, tensors = read_tensors(path, "field")
    return (RandomNetwork if "weights" in tensors else Field).load(path)


def fixed_field(x: "ArrayLike", n_components: "int") -> "Field":
    """Fixed functions of the images, which all who look at images agree on: `subspace_field` without iterations."""
    return subspace_field(x, n_components, iterations=0)


# The fields that an arm or a command can name; what a function makes of the images alone.
FIELDS = {
    "neighbour": neighbour_field,
    "diffusion": diffusion_field,
    "principal": pca_field,
    "subspace": subspace_field,
    "fixed": fixed_field,
    "random": random_network_field,
}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How well the field at new images agrees with that of their nearest training images.

    Attributes
    ----------
    correlation, r2 : ndarrays of float64, shape (k,)
        Pearson correlation, and the share of the variance of `transform` that the mean of the neighbours' values
        explains.
    """

    correlation: np.ndarray
    r2: np.ndarray


def held_out_agreement(field: "Field", x_new: "ArrayLike", *, n_neighbors: "int" = 10) -> "HeldOut":
    """Check that new images land where their nearest training images are.

    Parameters
    ----------
    field : Field
    x_new : array, shape (m, pixels) or (m, *image_shape)
        At least 3 images that were not used to make the field.
    n_neighbors : int
        Nearest training images, whose values are averaged without weights.

    Returns
    -------
    HeldOut

    Raises
    ------
    InputError
        As `Field.transform`, and if there are too few images.

    Examples
    --------
    >>> data = vaept.load("digits")
    >>> found = held_out_agreement(pca_field(data.train, 2), data.test)
    >>> bool(found.correlation.min() > 0.9)
    True
    """
    field = arguments.instance(field, "field", Field)
    k = arguments.integer(n_neighbors, "n_neighbors", 1, len(field.points))
    found = field.transform(x_new).astype(float)
    if len(found) < 3:
        raise InputError(f"held_out_agreement needs at least 3 new images; there are {len(found)}.")
    _, indices = _graph.nearest(field.points, field._points(x_new), k)
    expected = field.values[indices].mean(axis=1, dtype=float)
    r2 = 1 - ((found - expected) ** 2).mean(axis=0) / np.maximum(found.var(axis=0), np.finfo(float).tiny)
    return HeldOut(_signs.correlation(found, expected), r2)


def _references(n, landmarks, default, seed):
    """Rows of the landmarks among n images."""
    m = default if landmarks is None else arguments.integer(landmarks, "landmarks", 1, n)
    return np.arange(n) if m == n else np.sort(np.random.default_rng(seed).permutation(n)[:m])


def _in_order(columns, factor):
    """Columns with the signs that make the diagonal of the triangular factor of a QR decomposition positive."""
    return columns * np.where(np.diag(factor) < 0, -1, 1)
