"""What the book says of its data, in words that are true of them: of digits, of other pictures, of values in a row.

An *image* is one example of the data and its *pixels* are its values, whatever they show. Here are also the words of
chapter 2 and what sentences of all chapters are made with (`said`, `listed`, `side`, `tell`); modules beside this one
have those of chapters 3 and 4 (`seeds`), 5 (`fields`), 6 (`landscapes`), 7 and 8 (`uses`).
"""

import numpy as np
from scipy.special import xlogy
from scipy.stats import spearmanr

from vaept.companion.figures.style import NAMED_CLASSES, as_picture
from vaept.companion.markdown import mean_and_spread, shown
from vaept.datasets import Dataset
from vaept.vae.agreement import Estimate

KNOWN = {"digits": "handwritten digits, ", "mnist": "handwritten digits, ", "cells": "blood cells, "}
MAY_LACK = ("classifier", "clustering", "filters", "generation", "outliers")
BINARY = "All pixels are 0 or 1 here, so this is the log-probability of the image."
GREY = (
    "If all pixels are 0 or 1, this is the log-probability of the image. If some lie between, {here}the same "
    "expression still serves as a score and all inequalities below hold, but it is not a normalised probability."
)
GAUSSIAN = "In this copy each value is scored by a Gaussian around the decoder's, with one learned width for all."


def words(study):
    """Words and sentences about the data of a `Study`, as a dict by name.

    "data_name"; "what", such as "grey pictures of 8 × 8 pixels"; "pixel_values", what the score means of such pixels;
    "likelihood", if it is Gaussian; "in_classes"; "classes_shown", how many of many classes are named; and for each of
    `MAY_LACK` why it is left out. Sentences that are not needed are "".
    """
    dataset, n_classes = study.dataset, len(study.dataset.classes)
    gaussian = study.profile.likelihood == "gaussian"
    binary = all(np.isin(part, (0, 1)).all() for part in (dataset.train, dataset.test))
    found = {
        "data_name": dataset.name,
        "what": KNOWN.get(dataset.name, "") + _kind(dataset, "black-and-white" if binary else "grey"),
        "pixel_values": BINARY if binary else GREY.format(here="" if gaussian else "as in this copy, "),
        "likelihood": GAUSSIAN if gaussian else "",
        "in_classes": "without classes" if n_classes == 0 else _count(n_classes, "class", "classes"),
        "classes_shown": f"(The names of {NAMED_CLASSES} are shown.)" if n_classes > NAMED_CLASSES else "",
    }
    for what in MAY_LACK:
        reason, verb = study.left_out.get(what), "they are" if what == "filters" else "this is"
        found[what] = f"({reason} So {verb} left out here.)" if reason else ""
    return found


def _kind(dataset, colours):
    picture = as_picture(np.zeros(dataset.image_shape))
    if picture is None:
        return f"rows of {_count(dataset.pixels, 'value', 'values')}"
    rows, columns = picture.shape[:2]
    return f"{'colour' if picture.ndim == 3 else colours} pictures of {rows} × {columns} pixels"


def _count(n, one, many):
    return f"{n} {one if n == 1 else many}"


def sketched(sketch, members, gaussian):
    """How members do beside a short sketch of their training, by −ELBO of test images in nats: a sentence or two.

    "" where the two score differently.
    """
    if gaussian:
        return ""
    told = f"On test images the sketch ends at a −ELBO of {sketch:.1f} nats, they at {mean_and_spread(members)}"
    if sketch > members.min():
        return f"{told}."
    return (
        f"{told}: members of this copy stop before they are as good as such networks can be. How much of that is due "
        "to which row was not measured here."
    )


def yardsticks(train, test, gaussian):
    """−log p of test images, nats, if one output serves for all; and the least for any output, NaN if there is none."""
    middle, test = (train.sum(axis=0, dtype=float) + 0.5) / (len(train) + 1), test.astype(float)  # never 0 or 1
    if gaussian:
        width = ((train - middle) ** 2).mean()
        return (((test - middle) ** 2 / width + np.log(2 * np.pi * width)) / 2).sum(axis=1).mean(), np.nan
    floor = -(xlogy(test, test) + xlogy(1 - test, 1 - test)).sum(axis=1).mean()
    return -(test * np.log(middle) + (1 - test) * np.log(1 - middle)).sum(axis=1).mean(), floor


def gains(flat, floor, members, sketch):
    """What members and the sketch gain on one output for all, in −log p of test images, nats: words after its score.

    `flat` and `floor` are those of `yardsticks`, members and sketch scores.
    """
    if np.isnan(floor):
        return ""
    least = f", and even a perfect one, y = x, {floor:.1f}, as pixels are grey" if floor > 0 else ""
    between = f"Of the {round(flat, 1) - round(floor, 1):.1f} nats between the two, " if floor > 0 else "Beside it, "
    own = f"members {'gain' if members < flat else 'lose'} {abs(flat - members):.1f}"
    return (
        f"{least}. {between}{own} and the sketch above {'gains' if sketch < flat else 'loses'} {abs(flat - sketch):.1f}"
    )


def far_from_the_mean(dataset, energy):
    """Whether test images that are far from the mean of the training images have more energy: a sentence."""
    distance = np.linalg.norm(dataset.test - dataset.train.mean(axis=0), axis=1)
    found = spearmanr(distance, energy).statistic
    which = "The further an image is from the mean of all images, the {} energy it tends to have in the first member"
    told = which.format("more" if found > 0 else "less")
    if not abs(found) > max(0.1, 2 / np.sqrt(len(energy))):
        told = "In the first member, how far an image is from the mean of all images hardly tells its energy"
    return f"{told} (rank correlation {shown(found, '.2f')})."


def given_classes(found):
    """The classes of test images of a `Dataset` or `Records` as they were given: int array, shape (n,), or None."""
    labels = found.test_labels if isinstance(found, Dataset) else found.labels
    return None if labels is None else np.asarray(found.classes)[labels]


def judged(member, labels):
    """What the classifier of a `Member` says of the test images, whose labels are rows of its classes: a sentence."""
    accuracy, sure = member.judge.accuracy(member.test, labels), member.judge.sure(member.test).mean()
    return f"Of the test images it names {accuracy:.1%} correctly and is sure about {sure:.0%}."


def seen_in(images, member, classes):
    """What the classifier of a `Member` takes images for: an array of names, each with "?" where it is not sure.

    None without a classifier; classes are those of the data.
    """
    if member.judge is None:
        return None
    images = np.clip(images, 0, 1)  # the mean of a Gaussian likelihood may lie outside
    best = member.judge.classes[member.judge.probabilities(images).argmax(axis=1)]
    names = np.asarray(classes)[best].astype(str)
    return np.where(member.judge.sure(images), names, np.char.add(names, "?"))


def extremes(names, classes):
    """A sentence on the first and last of the classes that have these names, in the order of their energies.

    It says so where there are no classes to compare; classes are those of the data.
    """
    if len(names) > 1:
        return f"The class of the lowest energy is {names[0]}, that of the highest {names[-1]}."
    return f"All images are in one row, as these data have {'one class only' if len(classes) else 'no classes'}."


def grouped(number):
    """A whole number in words, its digits in groups of three: "60 000"."""
    return f"{number:,}".replace(",", " ")


def tell(ending="", /, **values):
    """Hand numbers, `Estimate`s and words to the prose of a chapter, by the name of the keyword and this ending."""
    from myst_nb import glue  # of the extra `book`

    for name, value in values.items():
        value = shown(value, ".2f") if isinstance(value, Estimate) else value
        glue(name + ending, value.item() if isinstance(value, np.generic) else value, display=False)


def said(found, values=None, /, spec=".2f", **sentences):
    """What was found for each d, in sentences: one for each finding, which names its d unless all d have it.

    Parameters
    ----------
    found : dict from int to str
        For each d the name of a sentence; a d whose name has none is passed over.
    values : dict from int to Estimate, optional
        For each d what takes the place of "{value}", with its d.
    spec : str
        How these are set.
    sentences : str
        "{at}" in them becomes " at d = 2 and 4", or nothing.

    Returns
    -------
    str
        "" if no sentence applies.
    """
    dims, told = {}, []
    for d, name in found.items():
        dims.setdefault(name, []).append(d)
    for name, own in dims.items():
        place = "" if len(dims) == 1 else f" at d = {joined(own)}"
        value = listed({d: values[d] for d in own}, bare=len(found) == 1, spec=spec) if values else ""
        told += [sentences[name].format(at=place, value=value)] if name in sentences else []
    return " ".join(told)


def joined(words):
    """Words in a row: "a, b and c"."""
    *first, last = map(str, words)
    return f"{', '.join(first)} and {last}" if first else last


def side(value):
    """Where an `Estimate` lies: "above" or "below" 0 with its whole interval, "unclear" or, if it is NaN, "none"."""
    if np.isnan(value.mean):
        return "none"
    return "above" if value.low > 0 else "below" if value.high < 0 else "unclear"


def lasting(held, aftermath):
    """What became of an agreement: for each d "yes" where it `held`, else "falls" or, where no fall is clear, "short".

    `aftermath` is as in `vaept.companion.records.Records`.
    """
    found = {}
    for d, answer in held.items():
        before, after = (aftermath[d].coordinates[k] for k in (0, -1))
        found[d] = answer if answer != "no" else "falls" if after.high < before.low else "short"
    return found


def listed(values, *, bare=False, spec=".2f"):
    """Numbers or `Estimate`s of several d, a dict from d, in words; bare: without d."""
    return ", ".join(shown(value, spec) + ("" if bare else f" at d = {d}") for d, value in values.items())
