"""Unusual images found by how far their posteriors are from the ordinary, on planted outliers that are known.

An image is unusual by the state that the encoder makes of it: its energy, how little of it is in the ground state,
how high it lies in the landscape of the training images, its KL divergence from the prior; or by its bound, −ELBO
(compare An & Cho 2015, who score by the reconstruction alone). How well a score finds outliers is the precision at k
(Manning, Raghavan & Schütze 2008, ch. 8) with k the number of outliers.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaept import arguments
from vaept.errors import InputError
from vaept.spectrum.oscillator import energy, level_populations
from vaept.uses.member import Member, Numbers, encode
from vaept.vae.ensemble import as_images
from vaept.vae.evaluation import elbo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from vaept.datasets import Dataset

KINDS = ("overlaid", "halves", "scrambled")
IMAGES = 2_000
SHARE = 0.05  # of the images that are replaced
STRIPS = (2, 0, 3, 1)  # an order in which no strip is where it was or beside one that it was beside
SCORES = {"energy": "energy", "ground_state": "ground state", "landscape": "landscape"}  # in words
SCORES |= {"kl": "KL", "minus_elbo": "−ELBO"}


@dataclass(frozen=True)
class Precision:
    """Precision at k of all outliers, and of each kind against the untouched images; NaN where there are none."""

    every: Numbers
    overlaid: Numbers
    halves: Numbers
    scrambled: Numbers


@dataclass(frozen=True)
class Outliers:
    """The share of outliers, which a score that knows nothing reaches of all, and the precision of each score."""

    chance: Numbers
    energy: Precision
    ground_state: Precision
    landscape: Precision
    kl: Precision
    minus_elbo: Precision


def lacking(dataset: "Dataset") -> "str":
    """Why no outliers can be planted among a data set's test images: a sentence, or "" if they can be."""
    images = dataset.test[:IMAGES]
    if reason := _lacking(len(images), dataset.image_shape, SHARE):
        return reason
    kinds = set(plant(images, dataset.image_shape)[1])  # type: ignore[arg-type]
    return "" if kinds.issuperset(KINDS) else "The images are so alike that what is planted does not differ from them."


def _lacking(n, image_shape, share):
    planted = round(share * n) if np.isfinite(share) else 0
    if not len(KINDS) <= planted < n:
        return f"A share of {share:g} of {n} images is {planted}: at least {len(KINDS)}, and not all, can be planted."
    if max(image_shape) < len(STRIPS) - 1:
        shape = " × ".join(map(str, image_shape))
        return f"An image of {shape} values is too small to be cut into strips; one side must have {len(STRIPS) - 1}."
    return ""


def plant(
    images: "ArrayLike", image_shape: "Sequence[int]", *, share: "float" = SHARE, seed: "int" = 0
) -> "tuple[np.ndarray, np.ndarray]":
    """Replace some images, drawn at random, by outliers made of images of the same set.

    Parameters
    ----------
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1].
    image_shape : tuple of int
    share : float
        Of the images that are replaced; between 0 and 1.
    seed : int

    Returns
    -------
    images : ndarray of float32, of the shape of `images`
    kind : ndarray of str, shape (n,)
        What was planted, a third each: "overlaid", the brighter pixel of the image and another one; "halves", the
        first half of the image's rows and the second of another's; "scrambled", the image cut into four strips along
        every axis, in another order, which keeps the values of its pixels. "" where nothing was, or where what was made
        equals the image, as of images that are alike.

    Raises
    ------
    InputError
        If the images are not of that shape or not in [0, 1], are too small to be cut, or the share leaves fewer than
        three images or all.
    """
    images, image_shape = arguments.array(images, "images", dtype=None), arguments.integers(image_shape, "image_shape")
    sides = [side for side in image_shape if side > 1] or [1]
    original = as_images(images, math.prod(sides)).numpy().reshape(-1, *sides)
    share = arguments.number(share, "share", 0, 1)
    n, planted = len(original), round(share * len(original))
    if reason := _lacking(n, sides, share):
        raise InputError(reason)
    rng = np.random.default_rng(arguments.seed(seed))
    rows = rng.choice(n, planted, replace=False)
    others = (rows + rng.integers(1, n, size=planted)) % n
    kind = np.full(n, "", dtype=f"<U{max(map(len, KINDS))}")
    kind[rows] = np.resize(KINDS, planted)
    changed = original.copy()
    for row, other in zip(rows, others, strict=True):
        changed[row] = _outlier(kind[row], original[row], original[other])
    kind[(changed == original).reshape(n, -1).all(axis=1)] = ""
    return changed.reshape(images.shape), kind


def _outlier(kind, image, other):
    if kind == "overlaid":
        return np.maximum(image, other)
    if kind == "halves":
        middle = len(image) // 2
        return np.concatenate([image[:middle], other[middle:]])
    for axis in range(image.ndim):
        strips = np.array_split(image, len(STRIPS), axis)
        image = np.concatenate([strips[i] for i in STRIPS], axis)
    return image


def scores(member: "Member", images: "ArrayLike") -> "dict[str, np.ndarray]":
    """How unusual images are to a member, by several scores; larger is more unusual.

    Of posteriors with a full covariance, the first three scores know the variances alone.

    Parameters
    ----------
    member : vaept.uses.member.Member
    images : array, shape (n, pixels) or (n, *image_shape)
        Values in [0, 1].

    Returns
    -------
    dict of str to ndarray, shape (n,)
        "energy", ⟨H₀⟩ of the posterior above the ground state; "ground_state", −log of its probability |⟨0|ψ⟩|²;
        "landscape", the free energy of the training images at its mean, in kT; "kl" from the plain prior and
        "minus_elbo", with 16 samples, in nats. `SCORES` has them in words.

    Raises
    ------
    InputError
        If the images do not fit the model or are not in [0, 1].
    """
    mean, variance = encode(member.model, images)  # type: ignore[arg-type]
    bound = elbo(member.model, images, n_samples=16, seed=member.seed)  # type: ignore[arg-type]
    # The ground state is a product, and its population in d dimensions underflows earlier than its factors.
    ground = level_populations(mean[..., None], variance[..., None], 1)
    return {
        "energy": energy(mean, variance),
        "ground_state": -np.log(ground).sum((1, 2)),
        "landscape": member.energy(mean),
        "kl": bound.kl,
        "minus_elbo": -bound.elbo,
    }


def precision_at_k(score: "ArrayLike", planted: "ArrayLike") -> "float":
    """The share of outliers among the k highest scores, k being the number of outliers.

    Scores that tie for the last places share them: the result is the mean over all orders of them.

    Parameters
    ----------
    score : array, shape (n,)
    planted : array of bool, shape (n,)
        Which are outliers.

    Returns
    -------
    float
        From 0 to 1; of a score that knows nothing, the share of outliers.

    Raises
    ------
    InputError
        If the shapes differ, a score is not finite, or there are no outliers or nothing else.
    """
    score = arguments.array(score, "score", shape=("n",))
    planted = arguments.array(planted, "planted", shape=score.shape, minimum=0, maximum=1)
    if not np.isin(planted, (0, 1)).all():
        raise InputError("planted must say of each image whether it was planted: true or false, 1 or 0.")
    planted = planted.astype(bool)
    k = int(planted.sum())
    if k in (0, len(planted)):
        raise InputError(f"{k} of {len(planted)} images are outliers; some must be, and some not.")
    last = np.sort(score)[-k]
    above, tied = score > last, score == last
    return float((planted[above].sum() + (k - above.sum()) * planted[tied].mean()) / k)


def measure(member: Member) -> Outliers:
    """How well a member finds outliers planted among its first `IMAGES` test images."""
    images, kind = plant(member.test[:IMAGES], member.image_shape, seed=member.seed)

    def precision(score, kinds):
        planted, rows = np.isin(kind, kinds), np.isin(kind, ("", *kinds))
        return precision_at_k(score[rows], planted[rows]) if planted.any() else np.nan

    found = {
        name: Precision(precision(score, KINDS), *(precision(score, (own,)) for own in KINDS))
        for name, score in scores(member, images).items()
    }
    return Outliers(chance=(kind != "").mean(), **found)
