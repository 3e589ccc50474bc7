"""What a study measured, small enough to be published: numbers of every member and the latents of test images.

Everything that the ledger and the analysis figures need is here, so that both can be made again without images and
without training. Posterior means and standard deviations are kept as float16, of at most `IMAGES` test images.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from vaept.degeneracy import Estimate, compare
from vaept.errors import InputError
from vaept.storage import read_json, read_tensors, reading, write_json, write_tensors

IMAGES = 5000


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
        Numbers of the members in use by measure and name, as `vaept.measures` takes them; empty for most arms.
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
        """The record of a `vaept.evaluation.Evaluation`."""
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
        """`vaept.degeneracy.Agreement` of the members' posterior means; computed once."""
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
        Classes of the test images that have latents; training never saw them.
    arms : dict from (name, d) to ArmRecord
    couplings : Series, or None
        The dose-response: couplings from 0, for latent dimension `couplings_dim`.
    couplings_dim : int
    aftermath : dict from d to Series
        Epochs after the field was gone, from 0.
    fields : dict from str to dict from str to list of float
        For each kind of field how well two fields agree on the test images, as `Study.field_reproducibility`.
    provenance : dict
        When, where and with what the results were made.
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
        }
        write_tensors(folder / "latents.safetensors", "latents", {"profile": self.profile}, tensors)
        write_json(folder / "records.json", "records", plain)

    @classmethod
    def load(cls, folder):
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If there are no records in the folder.
        DamagedFileError
            If they were truncated or altered.
        """
        folder = Path(folder)
        if not (folder / "records.json").is_file():
            raise InputError(f"There are no records in {folder}: records.json is missing.")
        _, tensors = read_tensors(folder / "latents.safetensors", "latents")
        arrays = {name: value.float().numpy() for name, value in tensors.items() if name != "labels"}
        plain = read_json(folder / "records.json", "records")
        with reading(folder / "records.json", "records"):
            arms = {}
            for own in plain.pop("arms"):
                name, d = own.pop("arm"), own.pop("d")
                numbers = {k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in own.items()}
                uses = numbers.pop("uses", {})
                numbers["uses"] = {
                    what: {key: np.array(values, dtype=float) for key, values in found.items()}
                    for what, found in uses.items()
                }
                latents = {key: arrays.get(f"{name}.{d}.{key}") for key in ("mean", "deviation")}
                arms[name, d] = ArmRecord(**latents, **numbers)
            return cls(
                **plain
                | {
                    "labels": tensors["labels"].numpy() if "labels" in tensors else None,
                    "arms": arms,
                    "couplings": _series(plain["couplings"]),
                    "aftermath": {int(d): _series(series) for d, series in plain["aftermath"].items()},
                }
            )


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


def _series(plain):
    if plain is None:
        return None
    arrays = ("values", "minus_elbo", "minus_perturbed_elbo")
    estimates = ("coordinates", "orthogonal")
    return Series(
        **{key: np.array(plain[key], dtype=float) for key in arrays},
        **{key: [Estimate(**each) for each in plain[key]] for key in estimates},
        runs=plain["runs"],
    )
