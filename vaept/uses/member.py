"""A trained member in use: its model, the images that it is used on, their latents, and the landscape of these.

What a member is used for is measured by functions that take a `Member` and return a dataclass of `Numbers`, so that a
study can ask the same of every member of every arm.
"""

from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from vaept import arguments, spectrum
from vaept.datasets import Dataset
from vaept.landscape.density import AggregatePosterior
from vaept.landscape.energy import FreeEnergy
from vaept.vae.ensemble import Ensemble, as_images, as_latents
from vaept.vae.model import VAE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from vaept.spectrum import Spectrum
    from vaept.uses.classifier import Classifier

COMPONENTS = 10_000  # of the aggregate posterior, at most
HELD_OUT = 2_000  # points that choose the blur
LEVELS = 10  # at least: one spectrum serves all uses
SAMPLES = 50_000  # of the blurred density, from which its levels are found

Numbers = np.ndarray  # of a member one number, or a row of them; of all members with the members along the first axis


@dataclass(frozen=True, eq=False)
class Member:
    """One member of an ensemble with its images.

    Attributes
    ----------
    model : VAE
    image_shape : tuple of int
    train, test : ndarray of float32, shape (n, pixels)
    mean, variance : ndarray of float64, shape (n_train, d)
        Of the posteriors of the training images.
    test_mean, test_variance : ndarray of float64, shape (n_test, d)
        Of the posteriors of the test images.
    labels : ndarray of int, shape (n_test,), or None
        Classes of the test images, which training never saw.
    judge : Classifier or None
        Trained on images and classes, without this model; None where there are no classes.
    seed : int
        Of everything random that the member is used for.

    Examples
    --------
    >>> data = vaept.load("digits")
    >>> ensemble = vaept.fit(data, seeds=[0], latent_dim=2, epochs=1, hidden=8, jobs=1, progress=False)
    >>> Member.of(ensemble, 0, data).decode([[0.0, 0.0]]).shape
    (1, 8, 8)
    """

    model: object
    image_shape: tuple
    train: np.ndarray
    test: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    test_mean: np.ndarray
    test_variance: np.ndarray
    labels: np.ndarray | None
    judge: object | None
    seed: int

    @classmethod
    def of(cls, ensemble: Ensemble, number: "int", dataset: "Dataset", judge: "Classifier | None" = None) -> "Member":
        """A member of an ensemble.

        Parameters
        ----------
        ensemble : Ensemble
        number : int
            Its place in the ensemble, from 0, which is also the seed.
        dataset : vaept.datasets.Dataset
        judge : Classifier, optional

        Raises
        ------
        InputError
            If the ensemble has no such member or does not fit the images.
        """
        ensemble = arguments.instance(ensemble, "ensemble", Ensemble)
        number = arguments.integer(number, "number", 0, len(ensemble.members) - 1)
        model, dataset = ensemble.members[number], arguments.instance(dataset, "dataset", Dataset)
        images = [as_images(x, model.pixels) for x in (dataset.train, dataset.test)]
        latents = [part for x in images for part in encode(model, x)]
        images = [x.numpy() for x in images]  # type: ignore[misc]
        return cls(model, ensemble.image_shape, *images, *latents, dataset.test_labels, judge, number)  # type: ignore[arg-type, call-arg]

    def decode(self, latents: "ArrayLike") -> "np.ndarray":
        """Mean images of latents (m, d), shape (m, *image_shape); raises InputError if they are anything else."""
        z = as_latents(latents, [("n", self.model.latent_dim)])  # type: ignore[attr-defined]
        with torch.no_grad():
            return self.model.decode(z).numpy().reshape(-1, *self.image_shape)  # type: ignore[attr-defined]

    @cached_property
    def held_out(self) -> "np.ndarray":
        """Draws from the posteriors of the test images, which choose the blur; shape (HELD_OUT, d)."""
        return AggregatePosterior(self.test_mean, self.test_variance).sample(HELD_OUT, seed=self.seed)

    @cached_property
    def aggregate(self) -> "AggregatePosterior":
        """The aggregate posterior of at most `COMPONENTS` training images, blurred as the test images ask for."""
        return AggregatePosterior(self.mean[:COMPONENTS], self.variance[:COMPONENTS]).blurred(self.held_out)

    @cached_property
    def energy(self) -> "FreeEnergy":
        """The `FreeEnergy` of the aggregate posterior."""
        return FreeEnergy(self.aggregate)

    def modes(self, n_levels: "int") -> "Spectrum":
        """The `Spectrum` of the blurred aggregate posterior with so many levels or more, from `SAMPLES` draws."""
        n_levels = max(LEVELS, arguments.integer(n_levels, "n_levels", 1))
        if n_levels not in self._modes:
            draws = self.aggregate.sample(SAMPLES, seed=self.seed)
            self._modes[n_levels] = spectrum.from_samples(draws, n_levels)
        return self._modes[n_levels]

    @cached_property
    def _modes(self):
        return {}


def gathered(rows):
    """What a measure found of each member, as one object of the same class: members along the first axis of arrays."""
    if not is_dataclass(rows[0]):
        return np.array(rows, dtype=float)
    columns = ([getattr(row, field.name) for row in rows] for field in fields(rows[0]))
    return type(rows[0])(*map(gathered, columns))


def encode(model: "VAE", images: "ArrayLike") -> "tuple[np.ndarray, np.ndarray]":
    """Posterior means and variances of images: two ndarrays of float64, shape (n, d).

    Parameters
    ----------
    model : VAE
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1].

    Raises
    ------
    InputError
        If the images do not fit the model or are not in [0, 1].
    """
    model = arguments.instance(model, "model", VAE)
    with torch.no_grad():
        posterior = model.posterior(as_images(images, model.pixels))
    return posterior.mean.double().numpy(), posterior.log_variance.double().exp().numpy()
