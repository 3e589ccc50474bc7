"""What agreement is for: what was made with one member of an ensemble is used with another, unchanged.

Three things are exchanged between all ordered pairs (i, j) of members: images are encoded by i and decoded by j; a
nearest-neighbour classifier and linear probes of properties of pictures are fitted to the latents of i and given those
of j. With i = j nothing is exchanged, and what is lost by an exchange is the difference from that. The properties are
those of Castro, Tan, Kainz, Konukoglu & Glocker 2019 (JMLR 20, 178), here from moments of brightness (Hu 1962).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from vaept import arguments
from vaept.datasets import Dataset
from vaept.errors import InputError
from vaept.processes import cores, in_processes
from vaept.progress import bar
from vaept.uses import classifier
from vaept.vae.ensemble import Ensemble, as_images

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FITTED, IMAGES = 2_000, 1_000  # training images that are fitted to, and test images, at most
SAMPLES = 8  # of the latents of an image
NEIGHBOURS = 10
PIXEL = 1 / 12  # variance of a side of 1
ROUNDING = 1e-6  # a property that varies less, as a share of its size, does not


@dataclass(frozen=True, eq=False)
class Interchange:
    """What members can take from each other; row i of a matrix is what gives, column j what takes.

    Attributes
    ----------
    nats : ndarray, shape (members, members)
        −ELBO of test images with the encoder of i and the decoder of j: the mean of KL(q_i ‖ prior) − log p_j(x|z) over
        z from q_i, in nats per image, with the same noise for all.
    nats_by_chance : ndarray, shape (members,)
        The same with the encoder and the decoder of one member, and the posterior of another image for each.
    classifier : ndarray, shape (members, members), or None
        Share of test images that are classified rightly, from the means of j, by the nearest of the training images in
        the means of i; None without classes.
    classifier_by_chance : float or None
        Share of test images of the class that is most frequent in training.
    probes : dict from str to ndarray, shape (members, members)
        For each of `properties` that varies, R² on test images in the means of j of a linear regression on the means of
        i; empty where images are no pictures. 0 is what the mean property of these images would reach.
    """

    nats: np.ndarray
    nats_by_chance: np.ndarray
    classifier: np.ndarray | None
    classifier_by_chance: float | None
    probes: dict[str, np.ndarray]

    @property
    def above_own(self) -> "np.ndarray":
        """`nats` minus what the decoder needs with its own encoder, shape (members, members); 0 on the diagonal."""
        return self.nats - np.diagonal(self.nats)


def left_out(dataset: "Dataset") -> "dict[str, str]":
    """What of an `Interchange` cannot be had of a data set: a dict from "classifier" and "probes" to the reason."""
    shape = " × ".join(map(str, dataset.image_shape))  # type: ignore[arg-type]
    pictures = "" if len(dataset.image_shape) == 2 else f"Properties are those of grey pictures; an image has {shape}."  # type: ignore[arg-type]
    found = {"classifier": classifier.lacking(dataset), "probes": pictures}
    return {what: reason for what, reason in found.items() if reason}


def interchange(
    ensemble: Ensemble, dataset: Dataset, *, jobs: "int | None" = None, progress: "bool" = True
) -> "Interchange":
    """Use what was made with each member of an ensemble with every other.

    Parameters
    ----------
    ensemble : Ensemble
        Two members at least.
    dataset : vaept.datasets.Dataset
        Of which `IMAGES` test images and, to fit classifier and probes, `FITTED` training images are used, evenly
        spread, because those of MNIST are in the order of their writers.
    jobs : int, optional
        Processes; one per core if not given.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Interchange

    Raises
    ------
    InputError
        If the ensemble has one member or does not fit the images, or a number is out of range.
    """
    ensemble = arguments.instance(ensemble, "ensemble", Ensemble)
    dataset = arguments.instance(dataset, "dataset", Dataset)
    jobs = None if jobs is None else arguments.integer(jobs, "jobs", 1)
    members, lacking = range(len(ensemble.members)), left_out(dataset)
    if len(members) < 2:
        raise InputError("ensemble has one member; an interchange needs two at least.")
    rows = _spread(len(dataset.train), FITTED), _spread(len(dataset.test), IMAGES)
    parts = zip((dataset.train, dataset.test), rows, strict=True)
    train, test = (as_images(images[own], ensemble.members[0].pixels) for images, own in parts)
    labels, known = None, {}
    if "classifier" not in lacking:
        labels = dataset.train_labels[rows[0]], dataset.test_labels[rows[1]]  # type: ignore[index]
    if "probes" not in lacking:
        of_train, of_test = (properties(x.numpy().reshape(-1, *dataset.image_shape)) for x in (train, test))  # type: ignore[misc]
        known = {name: (of_train[name], of_test[name]) for name in of_train}
        known = {name: parts for name, parts in known.items() if all(map(_varies, parts))}
    done = in_processes(_row, [(ensemble, i, train, test, labels, known) for i in members], jobs=jobs or cores())
    found = dict(bar(done, "interchange", total=len(members), unit="member", show=progress))
    nats, dealt, right, probes = zip(*(found[i] for i in members), strict=True)
    return Interchange(
        nats=np.stack(nats),
        nats_by_chance=np.array(dealt),
        classifier=None if labels is None else np.stack(right),
        classifier_by_chance=None if labels is None else float((labels[1] == np.bincount(labels[0]).argmax()).mean()),
        probes={name: np.stack([row[name] for row in probes]) for name in known},
    )


def turned_exchange(ensemble: "Ensemble", dataset: "Dataset") -> "np.ndarray":
    """What an exchange of encoder and decoder costs where finished members are turned onto each other first.

    Parameters
    ----------
    ensemble : Ensemble
        Two members at least.
    dataset : vaept.datasets.Dataset
        Of which as many images are used as by `interchange`.

    Returns
    -------
    ndarray of float64, shape (members, members)
        Nats per image, by encoder and decoder, as `Interchange.above_own`, with latents turned by the rotation or
        reflection that brings the posterior means of training images closest; no rotation changes the KL.

    Raises
    ------
    InputError
        If the ensemble has one member or does not fit the images.
    """
    ensemble = arguments.instance(ensemble, "ensemble", Ensemble)
    dataset = arguments.instance(dataset, "dataset", Dataset)
    members = ensemble.members
    if len(members) < 2:
        raise InputError("ensemble has one member; an exchange needs two at least.")
    means = ensemble.posterior(dataset.train[_spread(len(dataset.train), FITTED)])[0].astype(float)
    test = as_images(dataset.test[_spread(len(dataset.test), IMAGES)], members[0].pixels)
    nats = np.zeros((len(members), len(members)))
    with torch.no_grad():
        for i, giver in enumerate(members):
            posterior, generator = giver.posterior(test), torch.Generator().manual_seed(0)
            nats[i] = float(posterior.kl().double().mean())
            turns = [torch.tensor(orthogonal_procrustes(means[i], own)[0], dtype=torch.float32) for own in means]
            for _ in range(SAMPLES):
                z = posterior.sample(torch.randn(len(test), giver.latent_dim, generator=generator))
                for j, (taker, turn) in enumerate(zip(members, turns, strict=True)):
                    nats[i, j] -= float(taker.log_likelihood(test, z @ turn).double().mean()) / SAMPLES
    return nats - np.diagonal(nats)


def exchanged(ensemble: "Ensemble", image: "ArrayLike") -> "np.ndarray":
    """An image as every decoder shows the posterior means of every encoder.

    Parameters
    ----------
    ensemble : Ensemble
    image : array, shape (pixels,) or image_shape
        Values in [0, 1].

    Returns
    -------
    ndarray of float32, shape (members, members, *image_shape)
        Mean images, by encoder and decoder.

    Raises
    ------
    InputError
        If the image does not fit the ensemble or is not in [0, 1].
    """
    ensemble = arguments.instance(ensemble, "ensemble", Ensemble)
    image = arguments.array(image, "image", shape=[(ensemble.members[0].pixels,), ensemble.image_shape], dtype=None)
    means, _ = ensemble.posterior(image[None])
    return ensemble.decode(means[:, 0]).swapaxes(0, 1)


def properties(pictures: "ArrayLike") -> "dict[str, np.ndarray]":
    """Properties of what is bright in pictures, taken for squares of even brightness with sides of one pixel.

    Parameters
    ----------
    pictures : array, shape (n, rows, columns)
        Brightness, at least 0; the first row is the top.

    Returns
    -------
    dict from str to ndarray of float64, shape (n,)
        "mass": sum of brightness; NaN for the others where it is 0. "slant": cov(x, y) / var(y) with y upwards, how far
        to the right it leans for each pixel upwards. "height" and "width": sides, in pixels, of the rectangle that has
        these variances of y, and of x once the slant is taken out, √12 standard deviations. "thickness": twice the mass
        by the total variation of brightness, in pixels; nearly the width of a long stroke, whatever its brightness.

    Raises
    ------
    InputError
        If the array has another shape, or holds what is negative or not finite.
    """
    images = arguments.array(pictures, "pictures", shape=("n", "rows", "columns"), minimum=0)
    mass = images.sum(axis=(1, 2))
    share = images / np.where(mass > 0, mass, np.nan)[:, None, None]
    y, x = np.arange(images.shape[1])[::-1, None], np.arange(images.shape[2])[None]
    y, x = (place - (share * place).sum(axis=(1, 2), keepdims=True) for place in (y, x))
    var_x, var_y, cov = ((share * product).sum(axis=(1, 2)) for product in (x * x, y * y, x * y))
    var_x, var_y = var_x + PIXEL, var_y + PIXEL
    steps = np.pad(share, ((0, 0), (1, 1), (1, 1)))
    steps = np.hypot(np.diff(steps, axis=1)[:, :, :-1], np.diff(steps, axis=2)[:, :-1])
    return {
        "slant": cov / var_y,
        "width": np.sqrt((var_x - cov**2 / var_y) / PIXEL),
        "height": np.sqrt(var_y / PIXEL),
        "mass": mass,
        "thickness": 2 / steps.sum(axis=(1, 2)),
    }


def _row(ensemble: Ensemble, number, train, test, labels, known):
    """What a member gives to all: nats, nats by chance, accuracies, and R² of each property that is known."""
    giver, generator = ensemble.members[number], torch.Generator().manual_seed(0)
    with torch.no_grad():
        posterior = giver.posterior(test)
        nats = torch.full((len(ensemble.members) + 1,), float(posterior.kl().double().mean()), dtype=torch.float64)
        pairs = [(member, test) for member in ensemble.members] + [(giver, test.roll(1, 0))]
        for _ in range(SAMPLES):
            z = posterior.sample(torch.randn(len(test), giver.latent_dim, generator=generator))
            for place, (taker, images) in enumerate(pairs):
                nats[place] -= taker.log_likelihood(images, z).double().mean() / SAMPLES
        mean = giver.posterior(train).mean.double().numpy()
    taken, right, r2 = ensemble.posterior(test)[0].astype(float), None, {}
    if labels is not None:
        nearest = KNeighborsClassifier(min(NEIGHBOURS, len(mean))).fit(mean, labels[0])
        right = np.array([nearest.score(own, labels[1]) for own in taken])
    for name, (fitted, asked) in known.items():
        (rows, others) = (np.isfinite(values) for values in (fitted, asked))
        probe = LinearRegression().fit(mean[rows], fitted[rows])
        r2[name] = np.array([probe.score(own[others], asked[others]) for own in taken])
    return nats[:-1].numpy(), float(nats[-1]), right, r2


def _spread(n, most):
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)


def _varies(values):
    values = values[np.isfinite(values)]
    return len(values) > 1 and np.ptp(values) > ROUNDING * np.abs(values).max()
