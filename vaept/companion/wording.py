"""What the book says of its data, in words that are true of them: of digits, of other pictures, of values in a row.

An *image* is one example of the data and its *pixels* are its values, whatever they show.
"""

import re

import numpy as np

from vaept.companion.figures.style import NAMED_CLASSES, as_picture
from vaept.datasets import Dataset
from vaept.vae.agreement import Estimate

KNOWN = {"digits": "handwritten digits, ", "mnist": "handwritten digits, ", "cells": "blood cells, "}
MAY_LACK = ("classifier", "clustering", "filters", "generation", "outliers")


def words(study):
    """Words and sentences about the data of a `Study`, as a dict by name.

    "data_name"; "what", such as "grey pictures of 8 × 8 pixels"; "pixel_values", whether all are 0 or 1; "in_classes";
    "classes_shown", how many of many classes are named; and for each of `MAY_LACK` why it is left out. Sentences that
    are not needed are "".
    """
    dataset, n_classes = study.dataset, len(study.dataset.classes)
    binary = all(np.isin(part, (0, 1)).all() for part in (dataset.train, dataset.test))
    found = {
        "data_name": dataset.name,
        "what": KNOWN.get(dataset.name, "") + _kind(dataset, "black-and-white" if binary else "grey"),
        "pixel_values": f"Here {'all are 0 or 1' if binary else 'some lie between'}.",
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


def tell(ending="", /, **values):
    """Hand numbers, `Estimate`s and words to the prose of a chapter, by the name of the keyword and this ending."""
    from myst_nb import glue  # of the extra `book`

    for name, value in values.items():
        value = shown(value, ".2f") if isinstance(value, Estimate) else value
        glue(name + ending, value.item() if isinstance(value, np.generic) else value, display=False)


def shown(value, spec=".3g"):
    """A number or an `Estimate` in words, with its interval where it has one; "none" if nothing could be measured."""
    if value is None or np.isnan(value.mean if isinstance(value, Estimate) else value):
        return "none"
    if isinstance(value, Estimate) and (np.isnan(value.low) or value.low == value.high):
        value = value.mean
    return f"{value:{spec}}".replace("-", "−")


def escaped(text):
    """Text in which Markdown finds no markup."""
    return re.sub(r"([\\`*_\[\]<>$|~{}])", r"\\\1", text)


def said(found, values=None, /, **sentences):
    """What was found for each d, in sentences: one for each finding, which names its d unless all d have it.

    Parameters
    ----------
    found : dict from int to str
        For each d the name of a sentence; a d whose name has none is passed over.
    values : dict from int to Estimate, optional
        For each d what takes the place of "{value}", with its d.
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
        place = "" if len(dims) == 1 else f" at d = {' and '.join(map(str, own))}"
        value = listed({d: values[d] for d in own}, bare=len(found) == 1) if values else ""
        told += [sentences[name].format(at=place, value=value)] if name in sentences else []
    return " ".join(told)


def side(value):
    """Where an `Estimate` lies: "above" or "below" 0 with its whole interval, "unclear" or, if it is NaN, "none"."""
    if np.isnan(value.mean):
        return "none"
    return "above" if value.low > 0 else "below" if value.high < 0 else "unclear"


def listed(values, *, bare=False):
    """Numbers or `Estimate`s of several d, a dict from d, in words; bare: without d."""
    return ", ".join(shown(value, ".2f") + ("" if bare else f" at d = {d}") for d, value in values.items())
