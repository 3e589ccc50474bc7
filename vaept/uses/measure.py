"""The registry of uses: what trained members are asked, and of which arms."""

import warnings
from typing import TypedDict

from vaept.datasets import Dataset
from vaept.errors import DamagedFileError
from vaept.files import read_json, reading, remove_partials, restored, write_json
from vaept.processes import cores, in_processes
from vaept.progress import bar
from vaept.uses import (
    baselines,
    bracket,
    classifier,
    clustering,
    denoising,
    detours,
    generation,
    modes,
    outliers,
    paths,
    relaxation,
    turning,
)
from vaept.uses.classifier import Classifier
from vaept.uses.member import Member, gathered
from vaept.vae.ensemble import Ensemble

PLAIN_AND_CORRECTED = ("cold", "corrected")
WITH_WARM_START = ("cold", "warm", "corrected")
MEASURES = {  # by name: the function, what it returns, and of which arms it is taken
    "paths": (paths.measure, paths.Ways, PLAIN_AND_CORRECTED),
    "detours": (detours.measure, detours.Detours, PLAIN_AND_CORRECTED),
    "relaxation": (relaxation.measure, relaxation.Ratios, PLAIN_AND_CORRECTED),
    "bracket": (bracket.measure, bracket.Rates, ("corrected",)),
    "clustering": (clustering.measure, clustering.Clustering, ("cold", "warm", "shuffled", "corrected")),
    "denoising": (denoising.measure, denoising.Denoising, WITH_WARM_START),
    "outliers": (outliers.measure, outliers.Outliers, PLAIN_AND_CORRECTED),
    "generation": (generation.measure, generation.Generation, WITH_WARM_START),
    "turning": (turning.measure, turning.Turning, ("cold",)),
    "mixture": (baselines.measure, baselines.Mixture, WITH_WARM_START),
    "modes": (modes.measure, modes.Modes, PLAIN_AND_CORRECTED),
}
Uses = TypedDict("Uses", {name: kind for name, (_, kind, _) in MEASURES.items()}, total=False)  # type: ignore[misc]
LACKING = {
    "classifier": classifier.lacking,
    "clustering": clustering.lacking,
    "outliers": outliers.lacking,
    "filters": denoising.lacking,
    "generation": classifier.lacking,
    "mixture": classifier.lacking,
    "modes": modes.lacking,
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


def measure(checkpoints, ensemble: Ensemble, dataset, judge=None, *, jobs=None, progress=True):
    """Take measures of every member, in parallel processes with one thread each.

    Parameters
    ----------
    checkpoints : dict from str to Path
        For each measure, a key of `MEASURES`, a folder where each member's numbers are kept as soon as they are known,
        and found again.
    ensemble : Ensemble
    dataset : vaept.datasets.Dataset
    judge : Classifier, optional
        As for `Member.of`.
    jobs : int, optional
        Processes; one per core if not given.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict from str to object of what the measure returns
        `gathered` from all members.
    """
    numbers = range(len(ensemble.members))
    rows = {name: _kept(name, folder, numbers) for name, folder in checkpoints.items()}
    lacking = {number: [name for name in rows if number not in rows[name]] for number in numbers}
    lacking = {number: names for number, names in lacking.items() if names}
    left = list(lacking)
    calls = [({name: MEASURES[name][0] for name in lacking[n]}, ensemble, n, dataset, judge) for n in left]

    def keep(place, found):
        for name, row in found.items():
            if left[place] not in rows[name]:
                rows[name][left[place]] = row
                write_json(checkpoints[name] / f"{left[place]}.json", name, row)

    done = in_processes(measure_member, calls, jobs=jobs or cores(), note=keep)
    for place, found in bar(done, ", ".join(rows), total=len(left), unit="member", show=progress and bool(left)):
        keep(place, found)
    return {name: gathered([own[number] for number in numbers]) for name, own in rows.items()}


def _kept(name, folder, numbers):
    """What a folder has of each member already, as a dict from number to object."""
    folder.mkdir(exist_ok=True)
    remove_partials(folder)
    rows = {}
    for number in numbers:
        file = folder / f"{number}.json"
        if file.exists():
            try:
                with reading(file, name):
                    rows[number] = restored(read_json(file, name), MEASURES[name][1])
            except DamagedFileError as error:
                warnings.warn(f"{error} It is measured again.", stacklevel=3)
    return rows


def measure_member(takes, ensemble: Ensemble, number, dataset: Dataset, judge: Classifier | None, note):
    """What functions of `MEASURES` find for a member; with `gathered`, all that a measure comes through."""
    member, found = Member.of(ensemble, number, dataset, judge), {}
    for name, take in takes.items():
        found[name] = take(member)
        note({name: found[name]})
    return found
