"""Named studies and the store in which their results are kept.

A `Profile` (data, in profiles.toml) says what is trained and measured. A `Study` carries it out on demand.
Each result lies in a folder of the store whose name holds a hash of everything that made it: the parameters, the
checksum of the data, the version of torch and the source of the modules it came through. The same request
finds it again; a change of any of these makes a new one. A folder appears under its name only when it is
complete, so a run that was killed leaves no half result, and continues from its last checkpoint.
"""

import ast
import functools
import hashlib
import json
import os
import platform
import shutil
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path

import filelock
import pooch
import torch

from vaept.datasets import load
from vaept.ensemble import Ensemble
from vaept.errors import InputError
from vaept.evaluation import Evaluation, evaluate
from vaept.storage import ensure_writable
from vaept.training import fit

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "notebooks").is_dir() else None


@dataclass(frozen=True)
class Profile:
    """What a study trains and how it measures it.

    Attributes
    ----------
    name : str
    dataset : str
        As for `vaept.datasets.load`.
    latent_dims : tuple of int
        One ensemble is trained for each latent dimension d.
    members : int
        Seeds 0 … members − 1.
    epochs, hidden, batch_size, learning_rate
        As for `vaept.training.fit`.
    likelihood_images, importance_samples : int
        As for `vaept.evaluation.evaluate`.
    """

    name: str
    dataset: str
    latent_dims: tuple
    members: int
    epochs: int
    hidden: tuple
    batch_size: int
    learning_rate: float
    likelihood_images: int
    importance_samples: int


def profiles():
    """All named profiles, as a dict from name to `Profile`."""
    text = resources.files("vaept").joinpath("profiles.toml").read_text("utf-8")
    tables = tomllib.loads(text).items()
    return {
        name: Profile(name, **{key: tuple(v) if isinstance(v, list) else v for key, v in table.items()})
        for name, table in tables
    }


def profile(name):
    """The profile of this name; raises InputError, with the known names, if there is none."""
    known = profiles()
    if name not in known:
        raise InputError(f'Unknown profile "{name}": choose one of {", ".join(known)}.')
    return known[name]


def default_store():
    """Where results are kept: $VAEPT_STORE, else _build/runs in a checkout, else the user's cache folder."""
    if os.environ.get("VAEPT_STORE"):
        return Path(os.environ["VAEPT_STORE"])
    return CHECKOUT / "_build" / "runs" if CHECKOUT else Path(pooch.os_cache("vaept")) / "runs"


@dataclass(frozen=True)
class RunStore:
    """Results in folders named by what made them.

    Attributes
    ----------
    root : Path
        The folder that holds them; it is made if needed.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """

    root: Path

    def __post_init__(self):
        ensure_writable(self.root)

    def obtain(self, kind: str, request: dict, make: Callable[[Path], None]) -> Path:
        """The folder of a result, made now if it is not there.

        Parameters
        ----------
        kind : str
            What it is, such as "ensemble"; begins the folder's name.
        request : dict
            Everything that decides the result, as JSON values.
        make : callable
            Called with an empty folder, or the one that an interrupted call left, to write the files there.

        Returns
        -------
        Path
        """
        request = json.loads(json.dumps(request, sort_keys=True))
        key = hashlib.sha256(json.dumps([kind, request], sort_keys=True).encode()).hexdigest()[:16]
        folder = self.root / f"{kind}-{key}"
        # Two chapters, or two commands, may ask for one result at the same time: the second waits for the first.
        with filelock.FileLock(self.root / f".{kind}-{key}.lock"):
            if not folder.is_dir():
                partial = self.root / f".{kind}-{key}.partial"
                partial.mkdir(exist_ok=True)
                start = time.perf_counter()
                make(partial)
                record = {"kind": kind, "key": key, "request": request} | _circumstances(time.perf_counter() - start)
                (partial / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
                partial.rename(folder)
        return folder


def _circumstances(seconds):
    """When, where, with what and how fast a result was made, for its provenance."""
    return {
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("vaept", "torch", "numpy", "scipy", "scikit-learn")},
    }


def imported_modules(source):
    """Names of the modules of this package that Python source imports, as a set."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "vaept":
            names |= {alias.name for alias in node.names if (PACKAGE / f"{alias.name}.py").exists()}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vaept."):
            names.add(node.module.removeprefix("vaept."))
    return names


@functools.cache
def source_hash(*modules):
    """SHA-256 of the source of modules of this package and of all its modules that they import, at any depth."""
    seen, queue = {}, list(modules)
    while queue:
        name = queue.pop()
        if name not in seen:
            source = (PACKAGE / f"{name}.py").read_bytes()
            seen[name] = hashlib.sha256(source).hexdigest()
            queue += imported_modules(source)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()


@dataclass(frozen=True)
class Study:
    """A profile carried out: its data, and for each latent dimension its ensemble and evaluation, made on demand.

    Attributes
    ----------
    profile : Profile
    store : RunStore
    jobs : int or None
        Processes; one per core if None.
    device : str
        Where members are trained.
    """

    profile: Profile
    store: RunStore
    jobs: int | None = None
    device: str = "cpu"
    _loaded: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def dataset(self):
        """The images; loaded once."""
        if "dataset" not in self._loaded:
            self._loaded["dataset"] = load(self.profile.dataset)
        return self._loaded["dataset"]

    def ensemble(self, latent_dim):
        """The trained `Ensemble` with this latent dimension; trained now if the store does not have it."""
        return Ensemble.load(self.ensemble_folder(latent_dim) / "ensemble.safetensors")

    def evaluation(self, latent_dim):
        """The `Evaluation` of that ensemble on the test images; computed now if the store does not have it."""
        return Evaluation.load(self.evaluation_folder(latent_dim) / "evaluation.safetensors")

    def label(self, latent_dim):
        """What made the results of a latent dimension, in a few words, for figures."""
        run = self.ensemble_folder(latent_dim).name.rpartition("-")[2][:8]
        return f"profile {self.profile.name}, data {self.dataset.name}, d = {latent_dim}, run {run}"

    def ensemble_folder(self, latent_dim):
        """The folder of the store with the trained ensemble."""
        settings = {
            key: value
            for key, value in asdict(self.profile).items()
            if key in ("epochs", "hidden", "batch_size", "learning_rate")
        }
        request = {"fit": settings | {"latent_dim": latent_dim, "seeds": list(range(self.profile.members))}}
        request |= {"data": self.dataset.checksum, "source": source_hash("training"), "torch": torch.__version__}

        def train(folder):
            ensemble = fit(
                self.dataset, **request["fit"], jobs=self.jobs, device=self.device, checkpoint=folder / "members"
            )
            ensemble.save(folder / "ensemble.safetensors")
            shutil.rmtree(folder / "members")

        return self._obtain("ensemble", request, train)

    def evaluation_folder(self, latent_dim):
        """The folder of the store with the evaluation."""
        ensemble = self.ensemble_folder(latent_dim)
        settings = {
            "n_likelihood_images": self.profile.likelihood_images,
            "n_importance_samples": self.profile.importance_samples,
        }
        request = {"evaluate": settings, "ensemble": ensemble.name, "source": source_hash("evaluation")}

        def measure(folder):
            result = evaluate(self.ensemble(latent_dim), self.dataset.test, **settings, jobs=self.jobs)
            result.save(folder / "evaluation.safetensors")

        return self._obtain("evaluation", request, measure)

    def _obtain(self, kind, request, make):
        key = (kind, json.dumps(request, sort_keys=True))
        if key not in self._loaded:
            self._loaded[key] = self.store.obtain(kind, request, make)
        return self._loaded[key]


def open_study(name="quick", data=None, *, store=None, jobs=None, device="cpu"):
    """A study of a named profile.

    Parameters
    ----------
    name : str
        The profile.
    data : str or path, optional
        Another data set than the profile's: a name or an .npz file, as for `vaept.datasets.load`.
    store : path, optional
        Where results are kept; `default_store()` if not given.
    jobs : int, optional
        Processes; one per core if not given.
    device : str
        Where members are trained.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If the profile is unknown or the store cannot be written.
    """
    chosen = profile(name)
    if data is not None:
        chosen = Profile(**(asdict(chosen) | {"dataset": str(data)}))
    return Study(chosen, RunStore(Path(store) if store else default_store()), jobs, device)
