"""The registry of uses: what trained members are asked, and of which arms."""

import warnings
from dataclasses import fields, is_dataclass
from typing import TypedDict

import numpy as np

from vaept.datasets import Dataset
from vaept.errors import DamagedFileError
from vaept.files import read_json, reading, remove_partials, restored, write_json
from vaept.processes import cores, in_processes
from vaept.progress import bar
from vaept.uses import classifier, clustering, denoising, generation, outliers, paths, relaxation
from vaept.uses.classifier import Classifier
from vaept.uses.member import Member
from vaept.vae.ensemble import Ensemble

PLAIN_AND_CORRECTED = ("cold", "corrected")
WITH_WARM_START = ("cold", "warm", "corrected")
MEASURES = {  # by name: the function, what it returns, and of which arms it is taken
    "paths": (paths.measure, paths.Ways, PLAIN_AND_CORRECTED),
    "relaxation": (relaxation.measure, relaxation.Ratios, PLAIN_AND_CORRECTED),
    "clustering": (clustering.measure, clustering.Clustering, ("cold", "warm", "shuffled", "corrected")),
    "denoising": (denoising.measure, denoising.Denoising, WITH_WARM_START),
    "outliers": (outliers.measure, outliers.Outliers, PLAIN_AND_CORRECTED),
    "generation": (generation.measure, generation.Generation, WITH_WARM_START),
}
Uses = TypedDict("Uses", {name: kind for name, (_, kind, _) in MEASURES.items()}, total=False)
LACKING = {
    "classifier": classifier.lacking,
    "clustering": clustering.lacking,
    "outliers": outliers.lacking,
    "filters": denoising.lacking,
    "generation": classifier.lacking,
}


def left_out(dataset):
    """What cannot be measured of a data set.

    Parameters
    ----------
    dataset : vaept.datasets.Dataset

    Returns
    -------
    dict from str to str
        The reason, a sentence, for each of the `MEASURES` that is left out, and for "classifier", without which nobody
        judges what is decoded, and "filters", the rows of the measure "denoising" that need pictures.
    """
    found = {what: lacking(dataset) for what, lacking in LACKING.items()}
    return {what: reason for what, reason in found.items() if reason}


def measures_of(arm):
    """Names of the measures that are taken of an arm, as a list."""
    return [name for name, (*_, arms) in MEASURES.items() if arm in arms]


def measure(name, ensemble: Ensemble, dataset, judge=None, *, jobs=None, checkpoint, progress=True):
    """Take one measure of every member, in parallel processes with one thread each.

    Parameters
    ----------
    name : str
        A key of `MEASURES`.
    ensemble : Ensemble
    dataset : vaept.datasets.Dataset
    judge : Classifier, optional
        As for `Member.of`.
    jobs : int, optional
        Processes; one per core if not given.
    checkpoint : Path
        A folder where each member's numbers are kept as soon as they are known, and found again.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    object of what the measure returns
        `gathered` from all members.
    """
    checkpoint.mkdir(exist_ok=True)
    remove_partials(checkpoint)
    (take, kind, _), rows = MEASURES[name], {}
    files = [checkpoint / f"{number}.json" for number in range(len(ensemble.members))]
    for number, file in enumerate(files):
        if file.exists():
            try:
                with reading(file, name):
                    rows[number] = restored(read_json(file, name), kind)
            except DamagedFileError as error:
                warnings.warn(f"{error} It is measured again.", stacklevel=2)
    missing = [number for number in range(len(files)) if number not in rows]
    calls = [(take, ensemble, number, dataset, judge) for number in missing]
    done = in_processes(measure_member, calls, jobs=jobs or cores())
    for place, found in bar(done, name, total=len(missing), unit="member", show=progress and bool(missing)):
        rows[missing[place]] = found
        write_json(files[missing[place]], name, found)
    return gathered([rows[number] for number in range(len(files))])


def gathered(rows):
    """What a measure found of each member, as one object of the same class: members along the first axis of arrays."""
    if not is_dataclass(rows[0]):
        return np.array(rows, dtype=float)
    columns = ([getattr(row, field.name) for row in rows] for field in fields(rows[0]))
    return type(rows[0])(*map(gathered, columns))


def measure_member(take, ensemble: Ensemble, number, dataset: Dataset, judge: Classifier | None):
    """What one function of `MEASURES` finds for a member; with `gathered`, all that a measure comes through."""
    return take(Member.of(ensemble, number, dataset, judge))
