"""An independent judge of images: a small convolutional network that knows images and classes, and never a latent.

It is trained on training images alone. What it says of decoded images is therefore not what any autoencoder was trained
to achieve. Two stages of convolution and pooling lead to 64 features, and these to the classes (LeCun, Bottou, Bengio &
Haffner 1998, Proc. IEEE 86, 2278). An image of shape (rows, columns) is read as such; a shape of more axes is read as
(rows, all the rest), one of a single axis as one row.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from vaept import arguments
from vaept.errors import InputError
from vaept.files import read_tensors, reading, write_tensors
from vaept.processes import one_thread, plain_torch
from vaept.progress import bar
from vaept.vae.ensemble import as_images, filled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import ArrayLike

    from vaept.datasets import Dataset

N_FEATURES = 64
SURE = 0.9
BATCH = 128
LEARNING_RATE = 4e-3
SHOWN = 180_000  # images in a whole training, unless the caller asks for other epochs
MAX_EPOCHS = 100_000
CHUNK = 1000  # images judged at once


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier. Its methods take images (n, pixels) or (n, *image_shape) with values in [0, 1].

    Attributes
    ----------
    network : torch.nn.Sequential
        Images (n, 1, rows, columns) to logits (n, k); all layers but the last give the features.
    image_shape : tuple of int
    classes : ndarray of int, shape (k,)
        Ascending.

    Raises
    ------
    InputError
        By the methods, if the images have another shape or are not finite numbers in [0, 1].

    Examples
    --------
    >>> data = vaept.load("digits")
    >>> judge = fit_classifier(data.train, data.train_labels, data.image_shape, epochs=1, progress=False)
    >>> judge.probabilities(data.test).shape
    (359, 10)
    """

    network: nn.Sequential
    image_shape: tuple
    classes: np.ndarray

    def features(self, images: "ArrayLike") -> "np.ndarray":
        """What the last layer sees of images: ndarray of float64, shape (n, 64), at least 0."""
        x = _pictures(images, self.image_shape)
        with torch.no_grad():
            return torch.cat([self.network[:-1](part) for part in x.split(CHUNK)]).double().numpy()

    def probabilities(self, images: "ArrayLike") -> "np.ndarray":
        """Probabilities of the classes: ndarray of float64, shape (n, k), with rows that sum to 1."""
        x = _pictures(images, self.image_shape)
        with torch.no_grad():
            return torch.cat([self.network(part) for part in x.split(CHUNK)]).double().softmax(1).numpy()

    def sure(self, images: "ArrayLike") -> "np.ndarray":
        """Whether the largest probability is above 0.9: ndarray of bool, shape (n,)."""
        return self.probabilities(images).max(axis=1) > SURE

    def accuracy(self, images: "ArrayLike", labels: "ArrayLike") -> "float":
        """Share of images whose most probable class is their label, an int each; labels (n,)."""
        found = self.classes[self.probabilities(images).argmax(axis=1)]
        return float((found == arguments.labels(labels, "labels", len(found))).mean())

    def save(self, path: "str | Path") -> "None":
        """Write the classifier to one safetensors file; an existing file is replaced only by a whole one."""
        header = {"image_shape": self.image_shape, "classes": self.classes.tolist()}
        write_tensors(path, "classifier", header, self.network.state_dict())

    @classmethod
    @plain_torch()
    def load(cls, path: "str | Path") -> "Self":
        """Read a classifier that `save` wrote.

        Raises
        ------
        InputError
            If there is no such file.
        DamagedFileError
            If the file was truncated or altered, or another version of the package wrote it.
        """
        header, weights = read_tensors(path, "classifier")
        with reading(path, "classifier"):
            shape = arguments.integers(header["image_shape"], "image_shape")
            classes = np.array(arguments.integers(header["classes"], "classes", None))
            network = filled(lambda: _network(shape, len(classes), seed=0), weights)
        return cls(network.eval().requires_grad_(False), shape, classes)


class ClassifierOfMeans(Classifier):
    """A classifier whose methods take any finite values and bring them to [0, 1]: means of a Gaussian likelihood."""

    def features(self, images: "ArrayLike") -> "np.ndarray":
        """As of `Classifier`."""
        return super().features(np.clip(images, 0, 1))

    def probabilities(self, images: "ArrayLike") -> "np.ndarray":
        """As of `Classifier`."""
        return super().probabilities(np.clip(images, 0, 1))


def lacking(dataset: "Dataset") -> "str":
    """Why no classifier can be trained on a data set: a sentence, or "" if one can be."""
    if dataset.train_labels is None:
        return "The data have no classes."
    present = np.unique(dataset.train_labels)
    if len(present) < 2:
        return f"All training images are of one class, {dataset.classes[present[0]]}."  # type: ignore[index]
    return ""


@one_thread()
def fit_classifier(
    images: "ArrayLike",
    labels: "ArrayLike",
    image_shape: "Sequence[int] | int",
    *,
    epochs: "int | None" = None,
    seed: "int" = 0,
    progress: "bool" = True,
) -> "Classifier":
    """Train a classifier; on one thread, where equal arguments give equal weights.

    Parameters
    ----------
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1].
    labels : array of int, shape (n,)
        Their classes, two at least.
    image_shape : tuple of int
    epochs : int, optional
        Passes over the images, at most 100 000; without it, as many as show 180 000 images, rounded up.
    seed : int
        Of the first weights and of the order of the images.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Classifier

    Raises
    ------
    InputError
        If there are no labels or only one class, if shapes do not fit, or if a value is out of range.

    Examples
    --------
    >>> images = np.repeat([[0.0] * 16, [1.0] * 16], 50, axis=0)
    >>> labels = np.repeat([3, 8], 50)
    >>> judge = fit_classifier(images, labels, (4, 4), epochs=20, progress=False)
    >>> judge.accuracy(images, labels)
    1.0
    """
    if labels is None:
        raise InputError("A classifier needs the classes of the images; the data has none. Give labels.")
    shape = arguments.integers(image_shape, "image_shape")
    x = _pictures(images, shape)
    classes, rows = np.unique(arguments.labels(labels, "labels", len(x)), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"All labels are {classes[0]}; a classifier needs two classes at least.")
    y, seed = torch.tensor(rows), arguments.seed(seed)
    epochs = -(-SHOWN // len(x)) if epochs is None else arguments.integer(epochs, "epochs", 1, MAX_EPOCHS)
    network = _network(shape, len(classes), seed)
    _train(network, x, y, epochs, torch.Generator().manual_seed(seed), progress)
    return Classifier(network.eval().requires_grad_(False), shape, classes)


def _train(network, x, y, epochs, order, progress):
    """Minimise the cross-entropy by AdamW, with a rate that rises and falls once (Smith & Topin 2019)."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, fused=True)
    steps = epochs * -(-len(x) // BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in bar(range(epochs), "classifier", unit="epoch", show=progress):
        for rows in torch.randperm(len(x), generator=order).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()


def _network(image_shape, n_classes, seed):
    """Untrained layers for images of a shape."""
    rows, columns = _grid(image_shape)
    pooled = -(-rows // 4) * -(-columns // 4)
    with torch.random.fork_rng(devices=[]):  # torch fills new layers from the global generator
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(32 * pooled, N_FEATURES),
            nn.ReLU(),
            nn.Linear(N_FEATURES, n_classes),
        )


def _grid(image_shape):
    """Rows and columns as which an image is read."""
    return (image_shape[0], math.prod(image_shape[1:])) if len(image_shape) > 1 else (1, *image_shape)


def _pictures(images, image_shape):
    """Checked images as a tensor (n, 1, rows, columns)."""
    return as_images(images, math.prod(image_shape)).reshape(-1, 1, *_grid(image_shape))
