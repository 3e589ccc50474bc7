"""What a study measured, small enough to be published: numbers of every member and the latents of test images.

Everything that the ledger and the analysis figures need is here, so that both can be made again without images and
without training. Posterior means and standard deviations are kept as float16, of at most `IMAGES` test images. What is
read is checked entry by entry: shapes, numbers, the arms that the ledger needs, and that the two files belong together.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import msgspec
import numpy as np
import torch

from vaept import arguments
from vaept.companion.comparisons import Price, TwoLabs
from vaept.companion.parts import code_hashes
from vaept.companion.places import CHECKOUT
from vaept.companion.profiles import NEEDED
from vaept.companion.store import RunStore
from vaept.errors import InputError
from vaept.files import file_checksum, json_text, read_json, read_tensors, reading, restored, write_json, write_tensors
from vaept.uses.baselines import Baselines
from vaept.uses.interchange import Interchange
from vaept.uses.measure import Uses, measures_of
from vaept.vae.agreement import Estimate, compare

IMAGES = 5000
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
    uses : Uses
        For some of `vaept.uses.measure.MEASURES` what it found, with the members along the first axis of every array;
        empty for most arms.

    Raises
    ------
    InputError
        If shapes do not fit, or a number is not finite where it must be.
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
    uses: Uses

    def __post_init__(self):
        members, _, d = self.mean.shape
        if self.deviation is not None:
            arguments.array(self.deviation, "deviation", shape=self.mean.shape, dtype=None)
        for key in ("minus_elbo", "minus_perturbed_elbo", "active_units"):
            arguments.array(getattr(self, key), key, shape=(members,), dtype=None)
        for key in MAY_BE_NAN:
            arguments.array(getattr(self, key), key, shape=(members,), dtype=None, largest=None)
        if not np.isin(self.active_units, np.arange(d + 1)).all():
            raise InputError(f"active_units must be integers from 0 to {d}.")
        for key, values in [leaf for name, found in self.uses.items() for leaf in _leaves(found, name)]:
            if len(values) != members:
                raise InputError(f"{key} must be known of {members} members; it is of {len(values)}.")

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

    @cached_property
    def agreement(self):
        """`vaept.vae.agreement.Agreement` of the members' posterior means; computed once."""
        return compare(self.mean)


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

    Raises
    ------
    InputError
        If the values do not ascend from 0, something is not there for each of them, or a number is not finite.
    """

    values: np.ndarray
    coordinates: list[Estimate]
    orthogonal: list[Estimate]
    minus_elbo: np.ndarray
    minus_perturbed_elbo: np.ndarray
    runs: list[str]

    def __post_init__(self):
        if self.values.tolist()[:1] != [0] or not (np.diff(self.values) > 0).all():
            raise InputError("values must begin at 0 and ascend.")
        k = len(self.values)
        for key in ("coordinates", "orthogonal", "runs"):
            if len(getattr(self, key)) != k:
                raise InputError(f"{key} must have {k} entries; it has {len(getattr(self, key))}.")
        if not np.isfinite([each.mean for each in self.coordinates + self.orthogonal]).all():
            raise InputError("coordinates and orthogonal must have finite means.")
        for key in ("minus_elbo", "minus_perturbed_elbo"):
            members = max(2, self.minus_elbo.shape[-1])
            arguments.array(getattr(self, key), key, shape=(k, members), dtype=None)

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


class Provenance(TypedDict, total=False):
    """When, where, with what and from what the results were made; "code": a hash of the code of each part.

    "precision" is that of the training, which is not that of the profile where the processor has no units for it.
    """

    created: str
    machine: str
    versions: dict[str, str]
    precision: str
    data_checksum: str
    settings: dict
    code: dict[str, str]


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
    provenance : Provenance
    classes : tuple of int
        The labels as they were given; () without labels.
    left_out : dict from str to str
        What could not be measured of these data and why, as `vaept.uses.measure.left_out`.
    prices : list of Price
        The arms of the price list, for every d.
    labs : list of TwoLabs
    lengths : dict from int to Series
        The dose-response of trainings of so many epochs, for latent dimension `couplings_dim`.
    interchange : dict from str to dict from int to vaept.uses.interchange.Interchange
        For the arms "cold" and "corrected" and every d.
    baselines : dict from int to vaept.uses.baselines.Baselines
        What methods without a member reach, for every d.
    borrowed : str
        When prices, labs and lengths were made, if they are those of published records; else "".
    store : RunStore, or None
        Where the checks of claims are kept; it is not saved.
    """

    profile: str
    data: str
    n_train: int
    labels: np.ndarray | None
    arms: dict
    couplings: Series | None
    couplings_dim: int
    aftermath: dict[int, Series]
    fields: dict[str, dict[str, list[float]]]
    provenance: Provenance
    classes: tuple[int, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    prices: list[Price] = field(default_factory=list)
    labs: list[TwoLabs] = field(default_factory=list)
    lengths: dict[int, Series] = field(default_factory=dict)
    interchange: dict[str, dict[int, Interchange]] = field(default_factory=dict)
    baselines: dict[int, Baselines] = field(default_factory=dict)
    borrowed: str = ""
    store: RunStore | None = None

    def price(self, arm, latent_dim):
        """The `Price` of an arm for a latent dimension, or None if it was not taken."""
        return next((each for each in self.prices if (each.arm, each.d) == (arm, latent_dim)), None)

    @property
    def latent_dims(self):
        """The latent dimensions, in ascending order."""
        return sorted({d for _, d in self.arms})

    @property
    def all_dims(self):
        """These and the latent dimensions of which there are only prices or labs, in ascending order."""
        return sorted({*self.latent_dims, *(each.d for each in (*self.prices, *self.labs))})

    @cached_property
    def checksum(self):
        """SHA-256 of all that would be saved; computed once."""
        plain, tensors = self._content()
        found = hashlib.sha256(json_text(plain).encode())
        for name in sorted(tensors):
            found.update(tensors[name].numpy().tobytes())
        return found.hexdigest()

    def _content(self):
        """JSON values and a dict of tensors."""
        tensors = {} if self.labels is None else {"labels": torch.tensor(self.labels)}
        own = [each.name for each in fields(self) if each.name not in ("labels", "store")]
        plain = {name: getattr(self, name) for name in own} | {"arms": []}
        for (name, d), record in self.arms.items():
            own = {each.name: getattr(record, each.name) for each in fields(record)}
            for key in ("mean", "deviation"):
                if (values := own.pop(key)) is not None:
                    tensors[f"{name}.{d}.{key}"] = torch.tensor(values).half()
            plain["arms"].append({"arm": name, "d": d} | own)
        return plain, tensors

    def save(self, folder):
        """Write records.json and latents.safetensors into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        plain, tensors = self._content()
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
        file, latents = Path(folder) / "records.json", Path(folder) / "latents.safetensors"
        if not file.is_file():
            raise InputError(f"There are no records in {folder}: records.json is missing.")
        plain = read_json(file, "records")
        _, tensors = read_tensors(latents, "latents")
        with reading(file, "records"):
            head = restored(plain, _Head)
            if head.latents != file_checksum(latents):
                raise InputError(f"{latents.name} beside it belongs to other records.")
        with reading(latents, "latents"):
            labels, arrays = _checked_latents(tensors)
        with reading(file, "records"):
            own = {"labels": labels, "arms": _arms(head.arms, arrays), "store": None}
            found = restored(plain | own, cls)
            _complete(found)
        return found


class _Head(msgspec.Struct):
    latents: str
    arms: list[dict]


class _Place(msgspec.Struct):
    arm: str
    d: int


def published(profile):
    """The `Records` that the repository publishes for a profile.

    Raises
    ------
    InputError
        If the package does not run from a checkout, or nothing is published for the profile.
    """
    if CHECKOUT is None:
        raise InputError("Published records come with the repository; run from a checkout of it.")
    return Records.load(CHECKOUT / "results" / profile)


def all_published():
    """The `Records` of every study that the repository publishes, by the names of their profiles; none elsewhere."""
    folders = sorted(path.parent.name for path in (CHECKOUT / "results").glob("*/records.json")) if CHECKOUT else []
    return [published(name) for name in folders]


def published_comparisons(profile, data_checksum):
    """The published `Records` whose price list, two labs and lengths a study would make again; None if there are none.

    Data, code and `profile`, a `vaept.companion.profiles.Profile`, must be the same.
    """
    if CHECKOUT is None or not (CHECKOUT / "results" / profile.name / "records.json").is_file():
        return None
    found, today = published(profile.name), code_hashes()
    made, settings = found.provenance, json.loads(json.dumps(asdict(profile)))
    same = (made.get("data_checksum"), made.get("settings")) == (data_checksum, settings)
    code = made.get("code", {})
    same = same and all(code.get(part) == today[part] for part in ("training", "evaluation", "comparisons"))
    return found if same else None


def _leaves(found, name):
    """Pairs of names and arrays of what a measure found."""
    if isinstance(found, np.ndarray):
        return [(name, np.atleast_1d(found))]
    return [leaf for key, each in vars(found).items() for leaf in _leaves(each, f"{name}.{key}")]


def _checked_latents(tensors):
    """Labels and arrays of a file of latents: the labels or None, and a dict of float32 arrays."""
    labels = tensors.pop("labels", None)
    if labels is not None and (labels.dtype != torch.int64 or labels.ndim != 1 or (labels < 0).any()):
        raise InputError("the tensor 'labels' must be one axis of integers from 0.")
    arrays = {name: value.float().numpy() for name, value in sorted(tensors.items())}
    if not arrays:
        raise InputError("it holds no posterior means.")
    n = len(labels) if labels is not None else next(iter(arrays.values())).shape[1]
    for name, value in arrays.items():
        arguments.array(value, f"the tensor {name!r}", shape=("members", n, "d"), dtype=None)
        if name.endswith(".deviation") and not (value > 0).all():
            raise InputError(f"the tensor {name!r} must be positive everywhere.")
    return None if labels is None else labels.numpy(), arrays


def _arms(entries, arrays):
    """The `ArmRecord` of each entry with its arrays, by name and d; raises InputError at the first that cannot be."""
    arms = {}
    for number, own in enumerate(entries):
        where = f"arms[{number}]"
        try:
            place = restored(own, _Place)
            key, where = (place.arm, place.d), f"the arm {place.arm!r}, d = {place.d}"
            if key in arms:
                raise InputError("it is there twice")
            mean, deviation = (arrays.get(f"{place.arm}.{place.d}.{each}") for each in ("mean", "deviation"))
            if mean is None or mean.shape[2] != place.d:
                raise InputError(f"it needs posterior means with {place.d} coordinates in latents.safetensors")
            arms[key] = restored(own | {"mean": mean, "deviation": deviation}, ArmRecord)
        except (InputError, msgspec.ValidationError) as error:
            raise InputError(f"{where}: {error}") from error
    return arms


def _complete(records):
    """Refuse records that the ledger cannot be filled from."""
    arms, dims = records.arms, records.latent_dims
    if not arms:
        raise InputError("arms is empty.")
    for d in dims:
        if missing := [name for name in NEEDED if (name, d) not in arms]:
            raise InputError(f"arms lacks {', '.join(missing)} for d = {d}.")
        for name in ("cold", "corrected"):
            if arms[name, d].deviation is None:
                raise InputError(f"the arm {name!r}, d = {d}, has no posterior deviations.")
        taken = arms["corrected", d].uses
        for name in NEEDED:
            lacking = [what for what in measures_of(name) if what in taken and what not in arms[name, d].uses]
            if lacking:
                raise InputError(f"the uses of the arm {name!r}, d = {d}, lack {', '.join(lacking)}.")
    shapes = {}
    for (name, d), record in arms.items():
        for key, values in [leaf for use, found in record.uses.items() for leaf in _leaves(found, use)]:
            expected = shapes.setdefault(key, values.shape[1:])
            if values.shape[1:] != expected:
                shape = " × ".join(map(str, values.shape[1:])) or "one"
                raise InputError(
                    f"the uses of the arm {name!r}, d = {d}: {key} has {shape} numbers of a member, others "
                    f"have {' × '.join(map(str, expected)) or 'one'}."
                )
    members = {len(record.mean) for record in arms.values()}
    if len(members) > 1:
        raise InputError(f"all arms must have equally many members; they have {', '.join(map(str, sorted(members)))}.")
    if other := records.aftermath.keys() - dims:
        raise InputError(f"aftermath has d = {min(other)}, but the arms have {', '.join(map(str, dims))}.")
    if records.couplings is not None and len(records.couplings.values) < 2:
        raise InputError("couplings must have at least 2 values.")
    if records.labels is not None and records.labels.max() >= len(records.classes):
        raise InputError(f"classes must name {records.labels.max() + 1} classes; it has {len(records.classes)}.")
