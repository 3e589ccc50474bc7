"""What a field is: its values on the training images, and how it is evaluated elsewhere, kept and read."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors, reading, write_tensors
from vaept.perturbation import _graph, _signs
from vaept.processes import one_thread

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from numpy.typing import ArrayLike

NEAR = 0.05  # relative difference of two levels below which they count as a near multiplet
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

    Examples
    --------
    >>> x = vaept.load("digits").train
    >>> field = pca_field(x, 2)
    >>> np.allclose(field.transform(x), field.values, atol=1e-4)
    True
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
    def near_multiplets(self) -> "tuple[tuple[int, ...], ...]":
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
    def transform(self, x_new: "ArrayLike") -> "np.ndarray":
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

    def save(self, path: "str | Path") -> "None":
        """Write to one safetensors file; `vaept.files.write_tensors` says what can go wrong."""
        header = {"name": self.name, "next_eigenvalue": self.next_eigenvalue, "n_neighbors": self.n_neighbors}
        tensors = {name: torch.tensor(value) for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        write_tensors(path, "field", header, tensors)

    @classmethod
    def load(cls, path: "str | Path") -> "Self":
        """Read what `save` wrote; errors are those of `vaept.files.read_tensors`."""
        header, tensors = read_tensors(path, "field")
        with reading(path, "field"):
            own = {name: header[name] for name in ("name", "next_eigenvalue", "n_neighbors")}
            return cls(**own, **{name: value.numpy() for name, value in tensors.items()})  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class RandomNetwork(Field):
    """A field that is linear in the hidden units of a network; attributes are those of `Field`, and

    Attributes
    ----------
    weights : ndarray of float64, shape (pixels, hidden)
        The hidden units are tanh((x − pixel_mean) @ weights).
    projection : ndarray of float64, shape (hidden, k)
        Takes the place of that of the pixels: `points` are the hidden units by it, and distances are between these.
    """

    weights: np.ndarray

    def _points(self, x):
        x = arguments.images(x, "x_new", len(self.pixel_mean), unit_interval=False)
        return _signs.project(hidden_units(x, self.pixel_mean, self.weights), 0.0, self.projection)


def hidden_units(x: "np.ndarray", mean: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """The hidden units of a `RandomNetwork` for images (n, pixels): ndarray of float32, shape (n, hidden)."""
    return np.tanh(_signs.project(x, mean, weights))


def _checked(x: "ArrayLike", n_components: "int") -> "tuple[np.ndarray, int]":
    x = arguments.images(x, "x", unit_interval=False)
    n_components = arguments.integer(n_components, "n_components", 1, MANY)
    distinct = len({hash(row.tobytes()) for row in x})
    if distinct < n_components + 2:
        raise InputError(f"x has {distinct} different images, too few for {n_components} components; give more.")
    return x, n_components


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
