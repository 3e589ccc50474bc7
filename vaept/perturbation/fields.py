"""Fields u(x) that tie a latent space to the data: k numbers for each image, made from unlabelled images alone.

Every field first projects images on the leading principal components (at most 50; exact eigenvectors of the
covariance); distances are Euclidean distances there, in units of pixel values. Each component of a field has mean
0 and variance 1 over the training images; fixed functions of the images choose its sign (`vaept.perturbation._signs`).
The same arguments give the same bits on the same machine, with any number of threads.
Sources: Coifman & Lafon 2006 (diffusion maps, α = 1), Zelnik-Manor & Perona 2004 (local scales), Bengio et al. 2004
(extension to new points), van der Maaten & Hinton 2008 (t-SNE).
"""

import dataclasses
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.manifold import TSNE

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors, reading, write_tensors
from vaept.perturbation import _graph, _signs
from vaept.processes import one_thread

PRINCIPAL_COMPONENTS = 50
NEAR = 0.05  # relative difference of two levels below which they count as a near multiplet
SPARE = 4  # eigenvectors computed beyond those that are wanted
EMBEDDED_NEIGHBOURS = 10  # landmarks that a point of a neighbour embedding is interpolated from
MANY = 1_000_000  # more neighbours or components than any images can give


@dataclass(frozen=True, eq=False)
class Field:
    """A field on the training images, and what is needed to evaluate it elsewhere.

    Attributes
    ----------
    name : str
        "diffusion", "neighbour" or "principal components", also after "shuffled ".
    values : ndarray of float32, shape (n, k)
        The field at the training images, read-only.
    eigenvalues : ndarray of float64, shape (k,)
        Descending. Diffusion: of the Markov operator, without the 1 of the constant function. Principal components:
        share of the images' variance. Neighbour: variance along the axes of the plane, in units in which the smaller
        is twice the next, and after them shares of the images' variance.
    next_eigenvalue : float
        Of the first component left out; 0 where there is none.
    points : ndarray of float32, shape (n, p)
        The projected training images.
    pixel_mean, projection : ndarrays of float64, shape (pixels,) and (pixels, p)
    references : ndarray of int32, shape (m,)
        Rows of `points` that new points are interpolated from; none for principal components.
    scales, densities : ndarrays of float32, shape (m,)
        Local scale (distance to the k-th neighbour) and the density that the kernel is divided by.
    coordinates : ndarray of float32, shape (m, k)
        The coordinates at the references, before the standardisation.
    n_neighbors : int
        References that a new point is interpolated from.
    centre, spread : ndarrays of float64, shape (k,)
        The standardisation, sign included: values are (coordinates − centre) / spread.
    """

    name: str
    values: np.ndarray
    eigenvalues: np.ndarray
    next_eigenvalue: float
    points: np.ndarray
    pixel_mean: np.ndarray
    projection: np.ndarray
    references: np.ndarray
    scales: np.ndarray
    densities: np.ndarray
    coordinates: np.ndarray
    n_neighbors: int
    centre: np.ndarray
    spread: np.ndarray

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                value = np.ascontiguousarray(value)
                value.setflags(write=False)
                object.__setattr__(self, name, value)

    @property
    def near_multiplets(self):
        """Groups of components that a small change of the data mixes, as a tuple of tuples of indices from 0.

        Neighbours are in one group if their levels differ by less than 5 % of the larger one; the level is the
        eigenvalue, of a diffusion component 1 − eigenvalue (its rate). The index k stands for the first component left
        out: the space of all k is then itself not well defined. Where images are few, sampling mixes more than these.
        """
        levels = np.append(self.eigenvalues, self.next_eigenvalue)
        if self.name.endswith("diffusion"):
            levels = 1 - levels
        near = np.abs(np.diff(levels)) < NEAR * np.maximum(levels[1:], levels[:-1])
        groups = np.split(np.arange(len(levels)), np.flatnonzero(~near) + 1)
        return tuple(tuple(map(int, group)) for group in groups if len(group) > 1)

    @one_thread()
    def transform(self, x_new):
        """The field at new images; at the training images `values` up to rounding (differences below 1e-4).

        Parameters
        ----------
        x_new : array, shape (m, pixels) or (m, *image_shape)

        Returns
        -------
        ndarray of float32, shape (m, k)

        Raises
        ------
        InputError
            If the images do not fit or are not finite, or if the field was shuffled.
        """
        if self.name.startswith("shuffled "):
            raise InputError("A shuffled field has no values at new images. Use the field that it was made from.")
        return ((self._raw(self._points(x_new)) - self.centre) / self.spread).astype(np.float32)

    def _points(self, x):
        x = arguments.images(x, "x_new", len(self.pixel_mean), unit_interval=False)
        return _signs.project(x, self.pixel_mean, self.projection)

    def _raw(self, points):
        if not len(self.references):
            return points[:, : self.coordinates.shape[1]].astype(float)
        own = self.points[self.references]
        return _graph.interpolate(points, own, self.scales, self.densities, self.coordinates, self.n_neighbors)

    def save(self, path):
        """Write to one safetensors file; `vaept.files.write_tensors` says what can go wrong."""
        header = {"name": self.name, "next_eigenvalue": self.next_eigenvalue, "n_neighbors": self.n_neighbors}
        tensors = {name: torch.tensor(value) for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        write_tensors(path, "field", header, tensors)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; errors are those of `vaept.files.read_tensors`."""
        header, tensors = read_tensors(path, "field")
        with reading(path, "field"):
            own = {name: header[name] for name in ("name", "next_eigenvalue", "n_neighbors")}
            return cls(**own, **{name: value.numpy() for name, value in tensors.items()})


@one_thread()
def diffusion_field(x, n_components, *, n_neighbors=15, landmarks=None, seed=0):
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
def neighbour_field(x, n_components, *, landmarks=None, perplexity=None, seed=0):
    """A neighbour embedding (t-SNE) of landmarks in the plane, completed by the leading principal components.

    The first two components are the plane of the embedding, turned to its principal axes: the arrangement of the
    images. The others are the first principal components, of which the plane tells nothing definite. Images get the
    mean of their 10 nearest landmarks, weighted by the kernel of `diffusion_field`.

    Parameters
    ----------
    x : array, shape (n, pixels) or (n, *image_shape)
    n_components : int
    landmarks : int, optional
        Randomly chosen images that are embedded; by default 6 000, or all if there are fewer.
    perplexity : float, optional
        Effective number of neighbours of the t-SNE, at least 1. By default a sixtieth of the landmarks, at least 5.
    seed : int
        Of the choice of landmarks and of the t-SNE.

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
    """
    x, n_components = _checked(x, n_components)
    seed = arguments.seed(seed)
    references = _references(len(x), landmarks, min(len(x), 6000), seed)
    m, k = len(references), EMBEDDED_NEIGHBOURS
    perplexity = max(5, m / 60) if perplexity is None else arguments.number(perplexity, "perplexity", 1)
    fewest = math.ceil(max(k, perplexity, n_components)) + 2
    if m < fewest:
        raise InputError(
            f"{m} images or landmarks are too few for a perplexity of {perplexity:g} and {n_components} components; at "
            f"least {fewest} are needed."
        )
    base, shares, doubtful = _signs.principal_components(x, max(PRINCIPAL_COMPONENTS, n_components))
    if n_components > base["points"].shape[1]:
        raise InputError(f"n_components must be at most the number of pixels, {x.shape[1]}; it is {n_components}.")
    own = base["points"][references]
    scales = _graph.floored_scales(_graph.other_points(own, k)[0][:, -1])
    plane = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(own)
    plane, variances = _signs.to_principal_axes(plane)
    plane /= plane.std(axis=0)
    turn, doubtful_axes = _signs.orientation_of(plane, variances, x[references])
    doubtful = doubtful_axes + [i + 2 for i in doubtful]
    coordinates = np.concatenate([plane @ turn * np.sqrt(variances), own], axis=1)[:, :n_components]
    # The plane and the rest have units of their own: in these no level of one is near a level of the other.
    levels = np.append(variances / variances[-1] * 2 * shares[0], np.append(shares, 0))[: n_components + 1]
    return _field("neighbour", levels, base, coordinates, doubtful, references, scales, np.ones(m), k)


@one_thread()
def pca_field(x, n_components):
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


def shuffled(field, seed=0):
    """The field with its values dealt to the images anew; its `transform` raises InputError.

    Parameters
    ----------
    field : Field
    seed : int

    Returns
    -------
    Field
    """
    field = arguments.instance(field, "field", Field)
    order = np.random.default_rng(arguments.seed(seed)).permutation(len(field.values))
    return dataclasses.replace(field, name=f"shuffled {field.name}", values=field.values[order])


# The fields that an arm or a command can name; what a function makes of the images alone.
FIELDS = {"neighbour": neighbour_field, "diffusion": diffusion_field, "principal": pca_field}


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


def held_out_agreement(field, x_new, *, n_neighbors=10):
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


def _checked(x, n_components):
    x = arguments.images(x, "x", unit_interval=False)
    n_components = arguments.integer(n_components, "n_components", 1, MANY)
    distinct = len({hash(row.tobytes()) for row in x})
    if distinct < n_components + 2:
        raise InputError(f"x has {distinct} different images, too few for {n_components} components; give more.")
    return x, n_components


def _references(n, landmarks, default, seed):
    """Rows of the landmarks among n images."""
    m = default if landmarks is None else arguments.integer(landmarks, "landmarks", 1, n)
    return np.arange(n) if m == n else np.sort(np.random.default_rng(seed).permutation(n)[:m])


def _field(name, levels, base, coordinates, doubtful, references=(), scales=(), densities=(), n_neighbors=0):
    """Standardise, and warn of what is not determined; the last of the levels belongs to no component."""
    own = {"scales": scales, "densities": densities, "coordinates": coordinates}
    own = {key: np.asarray(value, dtype=np.float32) for key, value in own.items()} | base
    own |= {"references": np.asarray(references, dtype=np.int32), "n_neighbors": n_neighbors}
    own |= {"eigenvalues": levels[:-1], "next_eigenvalue": float(levels[-1])}
    draft = Field(name, values=np.empty(0), centre=np.zeros(1), spread=np.ones(1), **own)
    found = draft._raw(draft.points)
    centre, spread = found.mean(axis=0), found.std(axis=0)
    if not (spread > 1e-10 * np.abs(found).max()).all():
        raise InputError(f"Some components of the {name} field do not vary over the images; ask for fewer.")
    values = ((found - centre) / spread).astype(np.float32)
    field = Field(name, values=values, centre=centre, spread=spread, **own)
    doubtful = [i for i in doubtful if i < len(levels) - 1]
    if doubtful:
        warnings.warn(
            f"The signs of components {doubtful} of the {name} field hang on little and may differ for other images.",
            stacklevel=4,
        )
    if field.near_multiplets:
        groups = ", ".join(map(str, field.near_multiplets))
        warnings.warn(
            f"The {name} field has nearly equal levels, whose components small changes of the data mix: {groups} "
            f"(numbered from 0; {len(levels) - 1} is the first left out).",
            stacklevel=4,
        )
    return field
