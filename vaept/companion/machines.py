"""How far the numbers of a study differ between machines: what runs of it under several code paths gave.

`machines.json` beside the published records keeps them, `vaept.companion.codepaths` carries them out.
Interval for further runs: Student's t for one more draw from a normal distribution (Whitmore 1986, Am. Stat. 40, 141).
"""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import t as student

from vaept.companion.checks_training import cost_exponent
from vaept.companion.keys import source_hash
from vaept.companion.markdown import shown
from vaept.companion.parts import code_hashes
from vaept.companion.places import CHECKOUT
from vaept.errors import InputError
from vaept.files import read_json, reading, write_json
from vaept.spectrum.levels import from_samples
from vaept.vae.agreement import Estimate, compare, mean_over_members

FILE = "machines.json"
LEAST = 3  # different numbers from which a spread is derived


@dataclass(frozen=True)
class Found:
    """What a run gave for one check: its words, its value, the threshold in words and whether it was met."""

    quantity: str
    value: Estimate
    threshold: str
    met: bool

    @classmethod
    def of(cls, check):
        """What a `vaept.companion.ledger.Check` found."""
        return cls(check.words, check.value, str(check.threshold), check.met)


@dataclass(frozen=True)
class Run:
    """A study carried out under one code path.

    Attributes
    ----------
    path, environment
        Its name, as in `CODE_PATHS`, and the variables that chose it.
    precision
        In which the members were trained.
    kernels, rounding
        As `vaept.companion.codepaths.kernels` returns them; rounding is equal for runs that give equal numbers.
    machine, created, versions
        As in the provenance of a result.
    code
        A hash of all code that the numbers came through.
    checks
        By id, as of `vaept.companion.ledger.Entry.ids`.
    """

    path: str
    environment: dict[str, str]
    precision: str
    kernels: list[str]
    rounding: str
    machine: str
    created: str
    versions: dict[str, str]
    code: str
    checks: dict[str, Found]

    @property
    def way(self):
        """(rounding, precision, code): runs in which these are equal give the same numbers."""
        return self.rounding, self.precision, self.code


@dataclass(frozen=True)
class Machines:
    """Runs of one profile under several code paths, on one machine or on several.

    Attributes
    ----------
    profile, data, data_checksum : str
    runs : tuple of Run
        No two of which go the same way.
    """

    profile: str
    data: str
    data_checksum: str
    runs: tuple[Run, ...] = ()

    def met(self, id, threshold=None):
        """Whether each run that has a check of this id, with this threshold if given, met it, as a tuple of bool."""
        found = [run.checks[id] for run in self.runs if id in run.checks]
        return tuple(each.met for each in found if threshold in (None, each.threshold))

    def means(self, id):
        """The mean of the value that each run gave for a check, shape (runs that have it,); NaN where it has none."""
        return np.array([run.checks[id].value.mean for run in self.runs if id in run.checks], dtype=float)

    def spread(self, id, published):
        """`spread` of a check's means and of its published mean, a float."""
        return spread(self.means(id), published)

    def with_run(self, run):
        """The same with one more run; runs of other code are left out, as is one that went the same way."""
        kept = [other for other in self.runs if other.code == run.code and other.way != run.way]
        return replace(self, runs=(*kept, run))

    def fits(self, records):
        """Whether the runs had the data of these `Records`."""
        return (self.data, self.data_checksum) == (records.data, records.provenance.get("data_checksum"))

    @property
    def outdated(self):
        """Whether a run was made by other code than today's."""
        code = today()
        return any(run.code != code for run in self.runs)

    def save(self, path):
        """Write to a JSON file with a checksum."""
        write_json(Path(path), "machines", asdict(self))

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If there is no such file.
        DamagedFileError
            If it was truncated or altered, or holds what cannot be; the message names file and entry.
        """
        plain = read_json(Path(path), "machines")
        with reading(path, "machines"):
            found = msgspec.convert(plain, cls)
            if len({run.way for run in found.runs}) < len(found.runs):
                raise InputError("two entries of 'runs' have the same rounding, precision and code.")
            if not all(run.checks for run in found.runs):
                raise InputError("a run has no checks.")
        return found


def spread(means, published):
    """The interval, two floats, in which 99 % of further runs on other machines are expected to lie.

    mean ± t s √(1 + 1/k) with t the 0.995 quantile of Student's distribution with k − 1 degrees of freedom, from the k
    different ones of the given numbers; extended to hold all of these and the published one. Numbers that are equal to
    the last bit came the same way (a code path may choose other kernels than those that this number went through), and
    count once; NaN, where a run has no number, does not. None for fewer than `LEAST` different numbers.
    """
    different = np.unique(np.asarray(means, dtype=float))
    different = different[~np.isnan(different)]
    k = len(different)
    if k < LEAST:
        return None
    half = student.ppf(0.995, k - 1) * different.std(ddof=1) * np.sqrt(1 + 1 / k)
    low, high = different.mean() - half, different.mean() + half
    return float(np.nanmin([low, different[0], published])), float(np.nanmax([high, different[-1], published]))


def machines_of(records, results=None):
    """The published `Machines` of the profile and the data of some `Records`, or None if there are none.

    `results` is the folder with what is published, by default that of the checkout. Raises DamagedFileError.
    """
    if results is None and CHECKOUT is None:
        return None
    path = (results or CHECKOUT / "results") / records.profile / FILE
    found = Machines.load(path) if path.is_file() else None
    return found if found and found.fits(records) else None


def today():
    """A hash of the present code of a study and of what turns its numbers into those of checks; words do not count."""
    checks = source_hash(compare, from_samples, mean_over_members, cost_exponent, versions=False)
    return hashlib.sha256(" ".join([*code_hashes().values(), checks]).encode()).hexdigest()


def table(machines, published):
    """Every check of the runs of a `Machines`, beside the published ledger (a list, or an empty one), as a str."""
    old = {id: check for each in published for id, check in each.ids()}
    lines = [f"{'check':<32}{'published':>12}{'smallest':>12}{'largest':>12}  met in"]
    for id in dict.fromkeys(id for run in machines.runs for id in run.checks):
        means, met = machines.means(id), machines.met(id)
        known = means[~np.isnan(means)] if not np.isnan(means).all() else means
        values = (old[id].value.mean if id in old else np.nan, known.min(), known.max())
        cells = "".join(f"{shown(value, '.5g'):>12}" for value in values)
        agreed = f", published {'yes' if old[id].met else 'no'}" if id in old else ""
        lines.append(f"{id:<32}{cells}  {sum(met)} of {len(met)}{agreed}")
    return "\n".join(lines)
