"""A study: a profile carried out on demand, every result kept in the store."""

import json
import warnings
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from vaept import arguments
from vaept.companion import profiles
from vaept.companion.inspection import refusal
from vaept.companion.keys import source_hash
from vaept.companion.profiles import Profile, Run
from vaept.companion.records import IMAGES, ArmRecord, Records, Series
from vaept.companion.store import CHECKPOINTS, RunStore, default_store, provenance
from vaept.datasets import NAMED, load
from vaept.errors import InputError
from vaept.files import read_json, restored, write_json
from vaept.perturbation.fields import FIELDS, Field, neighbour_field, shuffled
from vaept.uses import measure
from vaept.uses.baselines import Baselines, measure_data
from vaept.uses.classifier import Classifier, fit_classifier
from vaept.uses.member import Member
from vaept.vae.agreement import compare
from vaept.vae.ensemble import Ensemble, Seed, Settings
from vaept.vae.evaluation import Evaluation, evaluate
from vaept.vae.fitting import fit

EXACT_ARMS = ("cold", "corrected")  # which also keep their posterior deviations in the records
FIELD_PAIRS = 2
# What makes these results; the objects that they are made from bring their methods.
TRAINING = (fit, Ensemble, Field)
EVALUATION = (evaluate, Evaluation, Ensemble, Field)
BASELINES = (measure_data, Classifier, Settings)


@dataclass(frozen=True)
class Study:
    """A profile carried out: its data, its fields, and for each arm and dimension an ensemble with its evaluation.

    What an arm has is asked for by its latent dimension d and its name; the folders of results are asked for by a
    `vaept.companion.profiles.Run`, which can be any ensemble of the study.

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

    @cached_property
    def dataset(self):
        """The images; loaded once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the data's notes say the same
            return load(self.profile.dataset)

    def check(self):
        """Look at the data before anything is trained; raises InputError if they cannot go through the whole study."""
        if reason := refusal(self.dataset, self.profile):
            raise InputError(reason)

    def carry_out(self, report, timed=lambda part: nullcontext()):
        """Make every ensemble, its evaluation and its uses, after `check`.

        `report` is called with a line for each ensemble; `timed(part)` gives a context in which a part is made.
        """
        self.check()
        runs = self.profile.runs()
        for number, run in enumerate(runs, start=1):
            report(f"{number} of {len(runs)}: {run.title}")
            with timed("fields and training"):
                self.ensemble_folder(run)
            with timed("evaluation"):
                self.evaluation_folder(run)
            with timed("uses"):
                self.measure_folders(run)

    @cached_property
    def left_out(self):
        """What cannot be measured of the data, as `vaept.uses.measure.left_out`."""
        return measure.left_out(self.dataset)

    def field(self, kind):
        """The `Field` of a kind, with as many components as the largest d has coordinates; made now if need be."""
        return Field.load(self.field_folder(kind) / "field.safetensors")

    def ensemble(self, latent_dim, arm="cold"):
        """The trained `Ensemble` of an arm; trained now if the store does not have it."""
        return Ensemble.load(self.ensemble_folder(Run(latent_dim, arm)) / "ensemble.safetensors")

    def evaluation(self, latent_dim, arm="cold"):
        """The `Evaluation` of an arm on the test images; computed now if the store does not have it."""
        return self._evaluation(Run(latent_dim, arm))

    def _evaluation(self, run):
        return Evaluation.load(self.evaluation_folder(run) / "evaluation.safetensors")

    @property
    def classifier(self):
        """The `Classifier` of images, trained now if the store does not have it; None if it is left out."""
        if "classifier" in self.left_out:
            return None
        return Classifier.load(self.classifier_folder() / "classifier.safetensors")

    def member(self, latent_dim, arm="cold", number=0):
        """A `Member` of an ensemble, with its images and the classifier."""
        return Member.of(self.ensemble(latent_dim, arm), number, self.dataset, self.classifier)

    def uses(self, latent_dim, arm="cold"):
        """What is measured of an arm's members in use: `Uses`, without those of `MEASURES` that are left out."""
        folders = self.measure_folders(Run(latent_dim, arm))
        found = {name: read_json(folder / "numbers.json", name) for name, folder in folders.items()}
        return restored(found, measure.Uses)

    def baselines(self, latent_dim):
        """What methods without a member reach beside its `uses`: `vaept.uses.baselines.Baselines` for this d."""
        return restored(read_json(self.baselines_folder(latent_dim) / "baselines.json", "baselines"), Baselines)

    def label(self, latent_dims, *arms):
        """What made the results of arms ("cold" if none is named) in one d or several, in a few words, for figures."""
        pairs = [(int(d), arm) for d in np.atleast_1d(latent_dims) for arm in arms or ("cold",)]
        runs = [f"{arm} d = {d} {self.ensemble_folder(Run(d, arm)).name.rpartition('-')[2][:8]}" for d, arm in pairs]
        return f"profile {self.profile.name}, data {self.dataset.name}, runs {'; '.join(runs)}"

    def records(self):
        """The `Records` of the whole study; what is missing is made now."""
        p, dataset, runs = self.profile, self.dataset, self.profile.runs()
        arms = {
            (run.arm, run.latent_dim): ArmRecord.of(
                self._evaluation(run),
                self.ensemble_folder(run).name,
                deviations=run.arm in EXACT_ARMS,
                uses=self.uses(run.latent_dim, run.arm),
            )
            for run in runs
            if run.place == "arms"
        }
        doses = [self._point(run.coupling or 0.0, run) for run in runs if run.place == "doses"]
        aftermath = {}
        for d in p.latent_dims:
            start = self._evaluation(Run(d, "corrected"))
            start = Evaluation(**{key: value[: p.aftermath_members] for key, value in vars(start).items()})
            later = [run for run in runs if run.place == "aftermath" and run.latent_dim == d]
            points = [self._point(total, run) for total, run in zip(accumulate(p.aftermath), later, strict=True)]
            aftermath[d] = Series.of([(0, start, arms["corrected", d].run), *points])
        first = provenance(self.ensemble_folder(Run(p.latent_dims[0])))
        labels = dataset.test_labels
        return Records(
            profile=p.name,
            data=dataset.name,
            n_train=len(dataset.train),
            labels=None if labels is None else labels[:IMAGES],
            classes=dataset.classes,
            left_out=self.left_out,
            arms=arms,
            couplings=Series.of(doses),
            couplings_dim=p.couplings_dim,
            aftermath=aftermath,
            fields={kind: self.field_reproducibility(kind) for kind in FIELDS},
            provenance={key: first[key] for key in ("created", "machine", "versions")}
            | {"data_checksum": dataset.checksum, "settings": asdict(p), "code": code_hashes()},
        )

    def _point(self, value, run):
        """A point of a `Series`."""
        return value, self._evaluation(run), self.ensemble_folder(run).name

    def field_reproducibility(self, kind):
        """How well two fields of a kind agree on the test images, as a dict of lists, one value for each pair.

        "halves": coordinate agreement of fields made from disjoint random halves of the training images; "halves,
        permuted" and "halves, rotated": the same after the best signed permutation, and R² after the best rotation;
        "seeds": coordinate agreement between seeds, where the field has one, each with landmarks of its own.
        """
        request = {"field": kind, "components": max(self.profile.latent_dims), "data": self.dataset.checksum}
        request |= {"pairs": FIELD_PAIRS, "source": source_hash(agreement_of_fields, Field, FIELDS[kind])}

        def measure(folder):
            k, seeded = request["components"], kind == "neighbour"
            found = agreement_of_fields(FIELDS[kind], k, self.dataset, FIELD_PAIRS, seeded=seeded)
            write_json(folder / "agreement.json", "agreement", found)

        return read_json(self._obtain("fields", request, measure) / "agreement.json", "agreement")

    def field_folder(self, kind):
        """The folder of the store with a field."""
        request = {"field": kind, "components": max(self.profile.latent_dims), "data": self.dataset.checksum}
        request |= {"source": source_hash(*made_by_field(kind))}

        def compute(folder):
            if kind == "shuffled":
                made = shuffled(self.field("neighbour"))
            else:
                made = FIELDS[kind](self.dataset.train, request["components"])
            made.save(folder / "field.safetensors")

        return self._obtain("field", request, compute)

    def ensemble_folder(self, run):
        """The folder of the store with a trained ensemble."""
        chosen, p, d = profiles.arm(run.arm), self.profile, run.latent_dim
        shared = ("hidden", "batch_size", "learning_rate", "precision")
        how = {key: getattr(p, key) for key in shared} | {"latent_dim": d}
        how["full_covariance"] = chosen.full_covariance
        origin = None
        if run.after:
            origin = self.ensemble_folder(Run(d, run.arm, after=run.after - 1))
            how |= {"epochs": p.aftermath[run.after - 1]}
            seeds = [Seed(s, s + 1000 * run.after, s + 1000 * run.after) for s in range(p.aftermath_members)]
        else:
            seeds = [Seed(s, s, s) for s in range(run.members or p.members)]
            how |= {"epochs": run.epochs or p.epochs, "schedule": self._schedule(chosen)}
            if chosen.perturbed:
                how["potential"] = chosen.potential or "dipole"
                how["coupling"] = next(c for c in (run.coupling, chosen.coupling, p.coupling) if c is not None)
        kind = None if run.after else chosen.field
        request = {"fit": how, "seeds": [asdict(seed) for seed in seeds], "data": self.dataset.checksum}
        request |= {"field": kind and self.field_folder(kind).name, "start": origin and origin.name}
        request |= {"source": source_hash(*TRAINING)}

        def train(folder):
            start = origin and Ensemble.load(origin / "ensemble.safetensors").first(len(seeds))
            what = {"seeds": seeds, "field": self.field(kind) if kind else None, "start": start}
            where = {"jobs": self.jobs, "device": self.device, "checkpoint": folder / CHECKPOINTS}
            ensemble = fit(self.dataset, **how, **what, **where)
            ensemble.save(folder / "ensemble.safetensors")

        return self._obtain("ensemble", request, train)

    def evaluation_folder(self, run):
        """The folder of the store with an evaluation; only the arms in `EXACT_ARMS` get their likelihoods."""
        ensemble, exact = self.ensemble_folder(run), run.place == "arms" and run.arm in EXACT_ARMS
        settings = {"n_likelihood_images": self.profile.likelihood_images if exact else 0, "exact": exact}
        settings["n_importance_samples"] = self.profile.importance_samples
        request = {"evaluate": settings, "ensemble": ensemble.name, "source": source_hash(*EVALUATION)}

        def measure(folder):
            kind, trained = profiles.arm(run.arm).field, Ensemble.load(ensemble / "ensemble.safetensors")
            values = self.field(kind).transform(self.dataset.test) if kind and trained.settings.final_strength else None
            result = evaluate(trained, self.dataset.test, field=values, **settings, jobs=self.jobs)
            result.save(folder / "evaluation.safetensors")

        return self._obtain("evaluation", request, measure)

    def classifier_folder(self):
        """The folder of the store with the classifier of images, which never sees a latent."""
        request = {"data": self.dataset.checksum, "source": source_hash(fit_classifier, Classifier)}

        def train(folder):
            x = self.dataset
            fit_classifier(x.train, x.train_labels, x.image_shape).save(folder / "classifier.safetensors")

        return self._obtain("classifier", request, train)

    def baselines_folder(self, latent_dim):
        """The folder of the store with what methods without a member reach; networks have the members' size."""
        how = {key: getattr(self.profile, key) for key in ("epochs", "hidden", "batch_size", "learning_rate")}
        how["latent_dim"] = latent_dim
        request = {"baselines": how, "data": self.dataset.checksum, "source": source_hash(*BASELINES)}
        request["classifier"] = None if "classifier" in self.left_out else self.classifier_folder().name

        def take(folder):
            found = measure_data(self.dataset, Settings(**how), self.classifier, jobs=self.jobs)
            write_json(folder / "baselines.json", "baselines", found)

        return self._obtain("baselines", request, take)

    def measure_folders(self, run, names=None):
        """The folders of the store with what an arm's members are measured by in use, as a dict from name to Path.

        Those that are missing are taken together, so that what a member's measures share is made once.
        """
        if names is None:
            names = measure.measures_of(run.arm) if run.place == "arms" else []
            names = [name for name in names if name not in self.left_out]
        if not names:
            return {}
        ensemble = self.ensemble_folder(run)
        shared = {"classifier": None if "classifier" in self.left_out else self.classifier_folder().name}
        shared |= {"ensemble": ensemble.name}
        requests = [{"measure": name, "source": source_hash(*made_by_measure(name))} | shared for name in names]

        def take(folders):
            of = (Ensemble.load(ensemble / "ensemble.safetensors"), self.dataset, self.classifier)
            checkpoints = {names[place]: folder / CHECKPOINTS for place, folder in folders.items()}
            found = measure.measure(checkpoints, *of, jobs=self.jobs)
            for place, folder in folders.items():
                write_json(folder / "numbers.json", names[place], found[names[place]])

        key = ("measures", run, *names)
        if key not in self._loaded:
            self._loaded[key] = dict(zip(names, self.store.obtain_together("measure", requests, take), strict=True))
        return self._loaded[key]

    def _schedule(self, chosen):
        """The parts of the profile's schedule that an arm follows, as a dict."""
        fades = chosen.perturbed and chosen.switch_off
        kept = {"warm_start": chosen.warm_start, "fade": fades, "switch_off": fades}
        return {key: value for key, value in self.profile.schedule.items() if kept[key]}

    def _obtain(self, kind, request, make):
        key = (kind, json.dumps(request, sort_keys=True))
        if key not in self._loaded:
            self._loaded[key] = self.store.obtain(kind, request, make)
        return self._loaded[key]


def agreement_of_fields(make, n_components, dataset, pairs, *, seeded):
    """What `Study.field_reproducibility` returns, for a function of `FIELDS` and pairs of halves and seeds."""
    x, found = dataset.train, defaultdict(list)

    def compared(first, second):
        return compare(np.stack([field.transform(dataset.test) for field in (first, second)]), n_bootstrap=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the warnings say is what is measured here
        for pair in range(pairs):
            order = np.random.default_rng(pair).permutation(len(x))
            halves = compared(*(make(x[rows], n_components) for rows in np.array_split(order, 2)))
            found["halves"].append(halves.coordinates.mean)
            found["halves, permuted"].append(halves.signed_permutation.mean)
            found["halves, rotated"].append(halves.orthogonal.mean)
            if seeded:
                seeds = compared(*(make(x, n_components, seed=seed) for seed in (2 * pair, 2 * pair + 1)))
                found["seeds"].append(seeds.coordinates.mean)
    return dict(found)


def code_hashes():
    """Which code makes the numbers of a study: a dict from part to `vaept.companion.keys.source_hash`.

    Parts are "training", "fields", "evaluation" and the names of `vaept.uses.measure.MEASURES`.
    """
    parts = {"training": TRAINING, "fields": (agreement_of_fields, Field, shuffled, *FIELDS.values())}
    parts |= {"evaluation": EVALUATION} | {name: made_by_measure(name) for name in measure.MEASURES}
    return {name: source_hash(*roots, versions=False) for name, roots in parts.items()}


def made_by_field(kind):
    """The functions and classes that make a field of a kind."""
    return Field, *((neighbour_field, shuffled) if kind == "shuffled" else (FIELDS[kind],))


def made_by_measure(name):
    """The functions that take a measure; it gets its member as an argument, so what makes the member counts too."""
    return measure.MEASURES[name][0], measure.measure_member, measure.gathered


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
    jobs, device
        As of the `Study`; an InputError says which argument is of no use.
    """
    chosen = profiles.profile(name)
    if data is not None:
        path = arguments.path(data, "data")
        chosen = replace(chosen, dataset=str(path) if str(path) in NAMED else str(path.absolute()))
    jobs = None if jobs is None else arguments.integer(jobs, "jobs", 1)
    root = arguments.path(store, "store") if store else default_store()
    return Study(chosen, RunStore(root), jobs, str(arguments.device(device)))
