"""What a study measured, small enough to be published: numbers of every member and the latents of test images.

Everything that the ledger and the analysis figures need is here, so that both can be made again without images and
without training. Posterior means and standard deviations are kept as float16, of at most `IMAGES` test images. What is
read is checked entry by entry: shapes, numbers, the arms that the ledger needs, and that the two files belong together.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from vaept import arguments
from vaept.errors import InputError
from vaept.files import file_checksum, read_json, read_tensors, reading, write_json, write_tensors
from vaept.uses.measure import measures_of
from vaept.vae.agreement import Estimate, compare

IMAGES = 5000
NEEDED_ARMS = ("cold", "warm", "shuffled", "principal", "diffusion", "corrected")  # by the ledger, for each d
MAY_BE_NAN = ("log_likelihood", "exact_log_likelihood", "minus_elbo_of_these")  # where they were not measured


@dataclass(frozen=True, eq=False)
class ArmRecord:
    """One ensemble on test images.

    Attributes
    ----------
    mean : ndarray of float32, shape (members, n, d)
        Posterior means, with the precision of float16.
    deviation : ndarray of float32, shape (members, n, d), or None
        Posterior standard deviations, where they were kept.
    minus_elbo, minus_perturbed_elbo : ndarray of float64, shape (members,)
        Under the plain and under the perturbed prior, over all test images; nats per example.
    log_likelihood, exact_log_likelihood, minus_elbo_of_these : ndarray of float64, shape (members,)
        Importance-weighted and exact mean of log p(x) over the images that have them, NaN where there are none, and
        −ELBO over the same images.
    active_units : ndarray of int64, shape (members,)
    run : str
        The ensemble's name in the store.
    uses : dict from str to dict from str to ndarray of shape (members,)
        Numbers of the members in use by measure and name, as `vaept.uses.measure` takes them; empty for most arms.
    """

    mean: np.ndarray
    deviation: np.ndarray | None
    minus_elbo: np.ndarray
    minus_perturbed_elbo: np.ndarray
    log_likelihood: np.ndarray
    exact_log_likelihood: np.ndarray
    minus_elbo_of_these: np.ndarray
    active_units: np.ndarray
    run: str
    uses: dict

    @classmethod
    def of(cls, evaluation, run, *, deviations, uses=None):
        """The record of a `vaept.vae.evaluation.Evaluation`."""
        half = np.float16
        m = evaluation.importance_weighted.shape[1]
        bound = evaluation.reconstruction - evaluation.kl
        nothing = np.full(len(bound), np.nan)
        return cls(
            mean=evaluation.mean[:, :IMAGES].astype(half).astype(np.float32),
            deviation=np.sqrt(evaluation.variance[:, :IMAGES]).astype(half).astype(np.float32) if deviations else None,
            minus_elbo=-evaluation.elbo,
            minus_perturbed_elbo=-evaluation.perturbed_elbo,
            log_likelihood=evaluation.importance_weighted.mean(axis=1) if m else nothing,
            exact_log_likelihood=evaluation.exact.mean(axis=1) if evaluation.exact.shape[1] else nothing,
            minus_elbo_of_these=-bound[:, :m].mean(axis=1) if m else nothing,
            active_units=evaluation.active.sum(axis=1),
            run=run,
            uses=uses or {},
        )

    @property
    def agreement(self):
        """`vaept.vae.agreement.Agreement` of the members' posterior means; computed once."""
        if "_agreement" not in vars(self):
            object.__setattr__(self, "_agreement", compare(self.mean))
        return vars(self)["_agreement"]


@dataclass(frozen=True, eq=False)
class Series:
    """An ensemble at each value of something that was varied.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Couplings, or epochs after the field was gone.
    coordinates, orthogonal : list of k `Estimate`
        Coordinate agreement, and R² after the best rotation.
    minus_elbo, minus_perturbed_elbo : ndarray of float64, shape (k, members)
        Nats per example.
    runs : list of str
    """

    values: np.ndarray
    coordinates: list
    orthogonal: list
    minus_elbo: np.ndarray
    minus_perturbed_elbo: np.ndarray
    runs: list

    @classmethod
    def of(cls, points):
        """From a list of (value, Evaluation, run)."""
        found = [compare(evaluation.mean) for _, evaluation, _ in points]
        return cls(
            values=np.array([value for value, _, _ in points], dtype=float),
            coordinates=[each.coordinates for each in found],
            orthogonal=[each.orthogonal for each in found],
            minus_elbo=np.stack([-evaluation.elbo for _, evaluation, _ in points]),
            minus_perturbed_elbo=np.stack([-evaluation.perturbed_elbo for _, evaluation, _ in points]),
            runs=[run for _, _, run in points],
        )


@dataclass(frozen=True, eq=False)
class Records:
    """What a study measured.

    Attributes
    ----------
    profile, data : str
        Their names.
    n_train : int
        Images that were trained on.
    labels : ndarray of int64, shape (n,), or None
        Classes of the test images that have latents, as rows of `classes`; training never saw them.
    arms : dict from (name, d) to ArmRecord
    couplings : Series, or None
        The dose-response: couplings from 0, for latent dimension `couplings_dim`.
    couplings_dim : int
    aftermath : dict from d to Series
        Epochs after the field was gone, from 0.
    fields : dict from str to dict from str to list of float
        For each kind of field how well two fields agree on the test images, as `Study.field_reproducibility`.
    provenance : dict
        When, where and with what the results were made; "data_checksum"; "code": a hash of the code of each part.
    classes : tuple of int
        The labels as they were given; () without labels.
    left_out : dict from str to str
        What could not be measured of these data and why, as `vaept.uses.measure.left_out`.
    """

    profile: str
    data: str
    n_train: int
    labels: np.ndarray | None
    arms: dict
    couplings: Series | None
    couplings_dim: int
    aftermath: dict
    fields: dict
    provenance: dict
    classes: tuple = ()
    left_out: dict = field(default_factory=dict)

    @property
    def latent_dims(self):
        """The latent dimensions, in ascending order."""
        return sorted({d for _, d in self.arms})

    def arm_names(self, latent_dim):
        """Names of the arms of a latent dimension, in the order of the study."""
        return [name for name, d in self.arms if d == latent_dim]

    def save(self, folder):
        """Write records.json and latents.safetensors into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {} if self.labels is None else {"labels": torch.tensor(self.labels)}
        arms = []
        for (name, d), record in self.arms.items():
            own = {key: _plain(value) for key, value in vars(record).items() if not key.startswith("_")}
            for key in ("mean", "deviation"):
                if own.pop(key) is not None:
                    tensors[f"{name}.{d}.{key}"] = torch.tensor(getattr(record, key)).half()
            arms.append({"arm": name, "d": d} | own)
        plain = {
            "profile": self.profile,
            "data": self.data,
            "n_train": self.n_train,
            "arms": arms,
            "couplings": _plain(self.couplings),
            "couplings_dim": self.couplings_dim,
            "aftermath": {str(d): _plain(series) for d, series in self.aftermath.items()},
            "fields": _plain(self.fields),
            "provenance": self.provenance,
            "classes": list(self.classes),
            "left_out": self.left_out,
        }
        write_tensors(folder / "latents.safetensors", "latents", {"profile": self.profile}, tensors)
        plain["latents"] = file_checksum(folder / "latents.safetensors")
        write_json(folder / "records.json", "records", plain)

    @classmethod
    def load(cls, folder):
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If there are no records in the folder.
        DamagedFileError
            If they were truncated or altered, lack something or hold what cannot be; the message names file and entry.
        """
        folder = Path(folder)
        if not (folder / "records.json").is_file():
            raise InputError(f"There are no records in {folder}: records.json is missing.")
        latents = folder / "latents.safetensors"
        plain = read_json(folder / "records.json", "records")
        _, tensors = read_tensors(latents, "latents")
        with reading(folder / "records.json", "records"):
            if entry(plain, "latents", str) != file_checksum(latents):
                raise InputError(f"{latents.name} beside it belongs to other records.")
        with reading(latents, "latents"):
            labels, arrays = _checked_latents(tensors)
        with reading(folder / "records.json", "records"):
            return _records(plain, labels, arrays)


def entry(plain, name, kind, where=""):
    """An entry of a dict that was read from JSON.

    Parameters
    ----------
    plain : dict
    name : str
    kind : type
        str, int, list or dict: what the entry must be.
    where : str
        Where the dict is, for the message; ends with a space.

    Raises
    ------
    InputError
        If there is no such entry, or it is something else.
    """
    if name not in plain:
        raise InputError(f"the entry {where}{name!r} is missing.")
    value = plain[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"the entry {where}{name!r} must be of type {kind.__name__}; it is {str(value)[:40]!r}.")
    return value


def numbers(plain, name, shape, where="", *, may_be_nan=False):
    """An entry of a dict that was read from JSON, as an array of numbers.

    Parameters
    ----------
    plain, name, where
        As for `entry`.
    shape : tuple
        None for an axis of any length.
    may_be_nan : bool
        Whether numbers may be NaN; infinite they may not be.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    InputError
        If the entry is missing, is no such array, or holds anything that is no such number.
    """
    cells = np.array(entry(plain, name, list, where), dtype=object)
    wrong = [cell for cell in cells.ravel() if type(cell) not in (int, float)]
    if wrong:
        raise InputError(f"the entry {where}{name!r} must hold numbers only; it holds {str(wrong[0])[:40]!r}.")
    if cells.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, cells.shape, strict=True)):
        asked = " × ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"the entry {where}{name!r} must have {asked} numbers; its shape is {cells.shape}.")
    values = cells.astype(float)
    if np.isinf(values).any() or (np.isnan(values).any() and not may_be_nan):
        raise InputError(f"the entry {where}{name!r} must hold finite numbers{' or NaN' * may_be_nan}.")
    return values


def estimate(plain, name, where="", *, may_be_nan=False):
    """An entry of a dict that was read from JSON, as an `Estimate`; its interval may be NaN, its mean if so said."""
    value = entry(plain, name, dict, where)
    if value.keys() != {"mean", "low", "high"}:
        raise InputError(f"the entry {where}{name!r} must have mean, low and high; it has {', '.join(value)}.")
    found = {
        key: numbers({key: [number]}, key, (1,), f"{where}{name!r}, ", may_be_nan=may_be_nan or key != "mean")[0]
        for key, number in value.items()
    }
    return Estimate(**{key: float(number) for key, number in found.items()})


def _checked_latents(tensors):
    """Labels and arrays of a file of latents: the labels or None, and a dict of float32 arrays."""
    labels = tensors.get("labels")
    if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1 or (labels < 0).any()):
        raise InputError("the tensor 'labels' must be one axis of integers from 0.")
    arrays = {name: value.float().numpy() for name, value in sorted(tensors.items()) if name != "labels"}
    if not arrays:
        raise InputError("it holds no posterior means.")
    n = len(labels) if labels is not None else next(iter(arrays.values())).shape[1]
    for name, value in arrays.items():
        if value.ndim != 3 or value.shape[1] != n:
            raise InputError(f"the tensor {name!r} must have shape (members, {n}, d); it has {value.shape}.")
        if not np.isfinite(value).all() or (name.endswith(".deviation") and not (value > 0).all()):
            what = "positive and finite" if name.endswith(".deviation") else "finite"
            raise InputError(f"the tensor {name!r} must be {what} everywhere.")
    return None if labels is None else labels.numpy(), arrays


def _records(plain, labels, arrays):
    """`Records` from what the two files hold; raises InputError at the first entry that cannot be."""
    arms = {}
    for number, own in enumerate(entry(plain, "arms", list), start=1):
        if not isinstance(own, dict):
            raise InputError(f"arm {number} must be a dict; it is {str(own)[:40]!r}.")
        name, d = entry(own, "arm", str, f"arm {number}, "), entry(own, "d", int, f"arm {number}, ")
        if (name, d) in arms:
            raise InputError(f"the arm {name!r}, d = {d}, is there twice.")
        arms[name, d] = _arm(own, name, d, arrays)
    _complete(arms)
    dims = sorted({d for _, d in arms})
    couplings, aftermath = plain.get("couplings"), entry(plain, "aftermath", dict)
    for key in aftermath:
        if key not in map(str, dims):
            raise InputError(f"the entry 'aftermath' has d = {key}, but the arms have {', '.join(map(str, dims))}.")
    fields = entry(plain, "fields", dict)
    for kind in fields:
        for key in entry(fields, kind, dict, "'fields', "):
            numbers(fields[kind], key, (None,), f"'fields', {kind!r}, ", may_be_nan=True)
    return Records(
        profile=entry(plain, "profile", str),
        data=entry(plain, "data", str),
        n_train=entry(plain, "n_train", int),
        labels=labels,
        arms=arms,
        couplings=None if couplings is None else _series(entry(plain, "couplings", dict), "'couplings', ", 2),
        couplings_dim=entry(plain, "couplings_dim", int),
        aftermath={int(d): _series(entry(aftermath, d, dict), f"'aftermath', {d!r}, ", 1) for d in aftermath},
        fields=fields,
        provenance=_provenance(entry(plain, "provenance", dict)),
        classes=_classes(plain, labels),
        left_out={what: entry(plain["left_out"], what, str, "'left_out', ") for what in plain.get("left_out", {})},
    )


def _classes(plain, labels):
    """The labels as they were given; records from before they were kept have numbers from 0."""
    found = entry(plain, "classes", list) if "classes" in plain else []
    least = 0 if labels is None else int(labels.max()) + 1
    found = [arguments.integer(each, "a class") for each in found or range(least)]
    if len(found) < least:
        raise InputError(f"the entry 'classes' must name {least} classes; it has {len(found)}.")
    return tuple(found)


def _arm(own, name, d, arrays):
    where, mean = f"arm {name!r}, d = {d}, ", arrays.get(f"{name}.{d}.mean")
    if mean is None or mean.shape[2] != d:
        raise InputError(f"{where}needs posterior means with {d} coordinates in latents.safetensors.")
    deviation = arrays.get(f"{name}.{d}.deviation")
    if deviation is not None and deviation.shape != mean.shape:
        raise InputError(f"{where}has posterior deviations of shape {deviation.shape} and means of {mean.shape}.")
    members, uses = len(mean), entry(own, "uses", dict, where)
    found = {
        key: numbers(own, key, (members,), where, may_be_nan=key in MAY_BE_NAN)
        for key in ("minus_elbo", "minus_perturbed_elbo", *MAY_BE_NAN, "active_units")
    }
    if not np.isin(found["active_units"], np.arange(d + 1)).all():
        raise InputError(f"the entry {where}'active_units' must hold integers from 0 to {d}.")
    measured = {}
    for what in uses:
        of, inside = entry(uses, what, dict, f"{where}'uses', "), f"{where}'uses', {what!r}, "
        measured[what] = {key: numbers(of, key, (members,), inside, may_be_nan=True) for key in of}
    return ArmRecord(mean=mean, deviation=deviation, run=entry(own, "run", str, where), uses=measured, **found)


def _complete(arms):
    """Refuse arms that the ledger cannot be filled from."""
    if not arms:
        raise InputError("the entry 'arms' is empty.")
    for d in sorted({d for _, d in arms}):
        missing = [name for name in NEEDED_ARMS if (name, d) not in arms]
        if missing:
            raise InputError(f"the entry 'arms' lacks {', '.join(missing)} for d = {d}.")
        for name in ("cold", "corrected"):
            if arms[name, d].deviation is None:
                raise InputError(f"the arm {name!r}, d = {d}, has no posterior deviations.")
        taken = arms["corrected", d].uses
        for name in NEEDED_ARMS:
            lacking = [what for what in measures_of(name) if what in taken and what not in arms[name, d].uses]
            if lacking:
                raise InputError(f"the entry arm {name!r}, d = {d}, 'uses' lacks {', '.join(lacking)}.")
    members = {len(record.mean) for record in arms.values()}
    if len(members) > 1:
        raise InputError(f"all arms must have equally many members; they have {', '.join(map(str, sorted(members)))}.")


def _series(plain, where, least):
    """A `Series` of at least so many points, the first at 0."""
    values = numbers(plain, "values", (None,), where)
    k = len(values)
    if k < least or values[0] != 0 or (np.diff(values) <= 0).any():
        raise InputError(f"the entry {where}'values' must begin at 0 and ascend, with at least {least} numbers.")
    runs, estimates = entry(plain, "runs", list, where), {}
    if len(runs) != k or not all(isinstance(run, str) for run in runs):
        raise InputError(f"the entry {where}'runs' must name {k} runs; it is {str(runs)[:40]!r}.")
    for key in ("coordinates", "orthogonal"):
        found = entry(plain, key, list, where)
        if len(found) != k:
            raise InputError(f"the entry {where}{key!r} must have {k} estimates; it has {len(found)}.")
        estimates[key] = [estimate({key: each}, key, where) for each in found]
    losses = numbers(plain, "minus_elbo", (k, None), where)
    perturbed = numbers(plain, "minus_perturbed_elbo", losses.shape, where)
    if losses.shape[1] < 2:
        raise InputError(f"the entry {where}'minus_elbo' must have at least 2 members; it has {losses.shape[1]}.")
    return Series(values=values, minus_elbo=losses, minus_perturbed_elbo=perturbed, runs=runs, **estimates)


def _provenance(plain):
    if "data_checksum" in plain:
        entry(plain, "data_checksum", str, "'provenance', ")
    for part in entry(plain, "code", dict, "'provenance', ") if "code" in plain else {}:
        entry(plain["code"], part, str, "'provenance', 'code', ")
    return plain


def _plain(value):
    """The value as JSON can hold it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Estimate):
        return asdict(value)
    if isinstance(value, Series):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(Series)}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
