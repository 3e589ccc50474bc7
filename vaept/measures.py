"""What trained members are asked in use, and of which arms: the measures of `vaept.records.ArmRecord.uses`."""

import json

import joblib
import numpy as np
import torch
from tqdm import tqdm

from vaept import clustering, denoising, generation, outliers, paths, relaxation
from vaept.ensemble import Ensemble
from vaept.member import Member

PLAIN_AND_CORRECTED = ("cold", "corrected")
WITH_WARM_START = ("cold", "warm", "corrected")
MEASURES = {
    "paths": (paths.measure, PLAIN_AND_CORRECTED),
    "relaxation": (relaxation.measure, PLAIN_AND_CORRECTED),
    "clustering": (clustering.measure, ("cold", "warm", "shuffled", "corrected")),
    "denoising": (denoising.measure, WITH_WARM_START),
    "outliers": (outliers.measure, PLAIN_AND_CORRECTED),
    "generation": (generation.measure, WITH_WARM_START),
}


def measures_of(arm):
    """Names of the measures that are taken of an arm, as a list."""
    return [name for name, (_, arms) in MEASURES.items() if arm in arms]


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
    dict from str to list of float
        Every number of every member, NaN where a member has none.
    """
    checkpoint.mkdir(exist_ok=True)
    files = [checkpoint / f"{number}.json" for number in range(len(ensemble.members))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        calls = (joblib.delayed(_measure_member)(name, ensemble, number, dataset, judge) for number in missing)
        done = joblib.Parallel(n_jobs=min(jobs or joblib.cpu_count(), len(missing)), return_as="generator")(calls)
        bar = tqdm(done, name, len(missing), unit="member", disable=not progress, leave=False)
        for number, found in zip(missing, bar, strict=True):
            # Renamed when whole, so that a killed run leaves no half of a file to be found again.
            partial = files[number].with_suffix(".partial")
            partial.write_text(json.dumps(found), "utf-8")
            partial.replace(files[number])
    rows = [json.loads(file.read_text("utf-8")) for file in files]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: [row.get(key, np.nan) for row in rows] for key in keys}


def _measure_member(name, ensemble, number, dataset, judge):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return MEASURES[name][0](Member.of(ensemble, number, dataset, judge))
    finally:
        torch.set_num_threads(threads)
