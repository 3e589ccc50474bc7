"""A study: a profile carried out on demand, every result kept in the store."""

import json
import warnings
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from vaept import arguments
from vaept.companion import comparisons, parts, profiles
from vaept.companion.comparisons import agreement_of_fields, fit_each, standardised
from vaept.companion.inspection import refusal
from vaept.companion.keys import source_hash
from vaept.companion.places import default_store
from vaept.companion.profiles import Profile, Run
from vaept.companion.records import IMAGES, ArmRecord, Records, Series, published_comparisons
from vaept.companion.store import CHECKPOINTS, RunStore, provenance
from vaept.datasets import NAMED, load
from vaept.errors import InputError
from vaept.files import read_json, restored, write_json
from vaept.perturbation.fields import FIELDS, Field, load_field, shuffled
from vaept.uses import measure
from vaept.uses.baselines import Baselines, measure_data
from vaept.uses.classifier import Classifier, ClassifierOfMeans, fit_classifier
from vaept.uses.interchange import Interchange, interchange
from vaept.uses.member import Member
from vaept.vae.ensemble import Ensemble, Settings, usable_precision
from vaept.vae.evaluation import Evaluation, evaluate
from vaept.vae.fitting import fit

EXACT_ARMS = ("cold", "corrected")  # which also keep their posterior deviations in the records
FIELD_PAIRS = 2
SEEDED = ("neighbour", "shuffled", "random")  # fields that depend on a seed
NARROW = "Posteriors under a Gaussian likelihood are so narrow that walkers would take too many steps to relax."
FIELD = "field.safetensors"
LANDMARKS = 6000  # most of a member's own field
OTHERWISE = "Training in {}: this processor has no units for {}, which would take several times longer."
BORROWED = "Price list, two labs and lengths: published {}, by the same code; --everything makes them here."


@dataclass(frozen=True)
class Study:
    """A profile carried out: its data, its fields, and for each arm and dimension an ensemble with its evaluation.

    What an arm has is asked for by its d and its name, folders of results by any `vaept.companion.profiles.Run`.

    Attributes
    ----------
    profile : Profile
    store : RunStore
    jobs : int or None
        Processes; one per core if None.
    device : str
        Where members are trained.
    everything : bool
        Whether price list, two labs and lengths are made here even if `results/` holds those of an equal study.
    source : str
        The profile's name, or the file that it was read from.
    """

    profile: Profile
    store: RunStore
    jobs: int | None = None
    device: str = "cpu"
    everything: bool = True
    source: str | None = None
    _loaded: dict = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "source", self.source or self.profile.name)

    @property
    def precision(self):
        """That of the training: the profile's, or float32 where the processor has no units for it."""
        return usable_precision(self.profile.precision, self.device)

    @cached_property
    def dataset(self):
        """The images; loaded once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the data's notes say the same
            return load(self.profile.dataset)

    def data(self, run):
        """The `Dataset` that a run is trained and judged on: all images, or a part of the training images."""
        key = ("data", run.lab, run.validation)
        if key not in self._loaded:
            part = comparisons.validation_of(self.dataset) if run.validation else self.dataset
            self._loaded[key] = part if run.lab is None else comparisons.lab_of(self.dataset, run.lab)
        return self._loaded[key]

    def check(self):
        """Look at the data before anything is trained; raises InputError if they cannot go through the whole study."""
        if reason := refusal(self.dataset, self.profile):
            raise InputError(reason)

    def carry_out(self, report, timed=lambda part: nullcontext()):
        """Make every ensemble, its evaluation and its uses, after `check`.

        `report` is called with a line for each ensemble; `timed(part)` gives a context in which a part is made.
        """
        self.check()
        if self.precision != self.profile.precision:
            report(OTHERWISE.format(self.precision, self.profile.precision))
        if self.borrowed is not None:
            report(BORROWED.format(self.borrowed.provenance["created"][:10]))
        for number, run in enumerate(self.runs, start=1):
            report(f"{number} of {len(self.runs)}: {run.title}")
            with timed("fields and training"):
                self.ensemble_folder(run)
            with timed("evaluation"):
                self.evaluation_folder(run)
            with timed("uses"):
                self.measure_folders(run)
        report("exchange of parts, and baselines")
        with timed("uses"):
            for d in self.profile.latent_dims:
                self.baselines_folder(d)
                for arm in EXACT_ARMS:
                    self.interchange(d, arm)
        if self.borrowed is None and self.profile.comparisons():
            self.store.obtain("comparisons", self._compared, lambda folder: None)

    @cached_property
    def _compared(self):
        """The request of a result that is empty: it says that this store's comparisons are complete."""
        sources = source_hash(*parts.COMPARISONS, *parts.TRAINING, *parts.EVALUATION)
        return {"profile": asdict(self.profile), "data": self.dataset.checksum, "source": sources}

    @cached_property
    def borrowed(self):
        """The published `Records` whose price list, two labs and lengths are taken; None if they are made here."""
        if self.everything or not self.profile.comparisons() or self.store.has("comparisons", self._compared):
            return None
        return published_comparisons(self.profile, self.dataset.checksum)

    @cached_property
    def runs(self):
        """All ensembles that are made here, as a list of `vaept.companion.profiles.Run`."""
        return (self.profile if self.borrowed is None else self.profile.without_comparisons()).runs()

    @cached_property
    def left_out(self):
        """What cannot be measured of the data, as `vaept.uses.measure.left_out`, or of the profile's members."""
        found = measure.left_out(self.dataset)
        return found if self.profile.likelihood == "bernoulli" else found | {"relaxation": NARROW}

    def field(self, kind):
        """The `Field` of a kind, with as many components as the largest d has coordinates; made now if need be."""
        return load_field(self.field_folder(kind) / FIELD)

    def ensemble(self, latent_dim, arm="cold"):
        """The trained `Ensemble` of an arm; trained now if the store does not have it."""
        return self.ensemble_of(Run(latent_dim, arm))

    def ensemble_of(self, run):
        """The trained `Ensemble` of a run."""
        return Ensemble.load(self.ensemble_folder(run) / "ensemble.safetensors")

    def evaluation(self, latent_dim, arm="cold"):
        """The `Evaluation` of an arm on the test images; computed now if the store does not have it."""
        return self.evaluation_of(Run(latent_dim, arm))

    def evaluation_of(self, run):
        """The `Evaluation` of a run."""
        return Evaluation.load(self.evaluation_folder(run) / "evaluation.safetensors")

    @property
    def classifier(self):
        """The `Classifier` of images, trained now if the store does not have it; None if it is left out."""
        if "classifier" in self.left_out:
            return None
        kind = Classifier if self.profile.likelihood == "bernoulli" else ClassifierOfMeans
        return kind.load(self.classifier_folder() / "classifier.safetensors")

    def member(self, latent_dim, arm="cold", number=0):
        """A `Member` of an ensemble, with its images and the classifier."""
        return Member.of(self.ensemble(latent_dim, arm), number, self.dataset, self.classifier)

    def uses(self, latent_dim, arm="cold"):
        """What is measured of an arm's members in use: `Uses`, without those of `MEASURES` that are left out."""
        folders = self.measure_folders(Run(latent_dim, arm))
        found = {name: read_json(folder / "numbers.json", name) for name, folder in folders.items()}
        return restored(found, measure.Uses)

    def interchange(self, latent_dim, arm="cold"):
        """What an arm's members can take from each other, as an `Interchange`; measured now if the store lacks it."""
        ensemble = self.ensemble_folder(Run(latent_dim, arm))
        request = {"ensemble": ensemble.name, "data": self.dataset.checksum, "source": source_hash(*parts.INTERCHANGE)}

        def take(folder):
            trained = Ensemble.load(ensemble / "ensemble.safetensors")
            write_json(folder / "numbers.json", "interchange", interchange(trained, self.dataset, jobs=self.jobs))

        found = read_json(self._obtain("interchange", request, take) / "numbers.json", "interchange")
        return restored(found, Interchange)

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
        p, dataset, runs, theirs = self.profile, self.dataset, self.runs, self.borrowed
        arms = {
            (run.arm, run.latent_dim): ArmRecord.of(
                self.evaluation_of(run),
                self.ensemble_folder(run).name,
                deviations=run.arm in EXACT_ARMS,
                uses=self.uses(run.latent_dim, run.arm),
            )
            for run in runs
            if run.place == "arms"
        }
        doses = [self.point(run.coupling or 0.0, run) for run in runs if run.place == "doses"]
        aftermath = {}
        for d in p.latent_dims:
            start = self.evaluation_of(Run(d, "corrected"))
            start = Evaluation(**{key: value[: p.aftermath_members] for key, value in vars(start).items()})
            later = [run for run in runs if run.place == "aftermath" and run.latent_dim == d]
            points = [self.point(total, run) for total, run in zip(accumulate(p.aftermath), later, strict=True)]
            aftermath[d] = Series.of([(0, start, arms["corrected", d].run), *points])
        first, labels = provenance(self.ensemble_folder(Run(p.latent_dims[0]))), dataset.test_labels
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
            fields={kind: self.field_reproducibility(kind) for kind in parts.REPEATED},
            prices=theirs.prices if theirs else comparisons.prices(self),
            labs=theirs.labs if theirs else comparisons.labs(self),
            lengths=theirs.lengths if theirs else {n: Series.of(of) for n, of in comparisons.lengths(self).items()},
            borrowed=theirs.provenance["created"] if theirs else "",
            store=self.store,
            interchange={arm: {d: self.interchange(d, arm) for d in p.latent_dims} for arm in EXACT_ARMS},
            baselines={d: self.baselines(d) for d in p.latent_dims},
            provenance={key: first[key] for key in ("created", "machine", "versions")}
            | {"data_checksum": dataset.checksum, "settings": asdict(p), "precision": self.precision}
            | {"code": parts.code_hashes()},
        )

    def tuned_coupling(self, latent_dim, arm):
        """λ of an arm among prices and labs, chosen on a validation split of the training images; None without one."""
        chosen, runs = profiles.arm(arm), self.profile.tuning_runs(latent_dim, arm)
        if not chosen.perturbed:
            return None
        if not runs:
            return self.profile.coupling if chosen.coupling is None else chosen.coupling
        key = ("tuned", arm, latent_dim)
        if key not in self._loaded:
            evaluations = [self.evaluation_of(run) for run in runs]
            self._loaded[key] = comparisons.cheapest([run.coupling for run in runs], evaluations)
        return self._loaded[key]

    def point(self, value, run):
        """A run as a point of a `Series`: a value, the `Evaluation`, and the ensemble's name in the store."""
        return value, self.evaluation_of(run), self.ensemble_folder(run).name

    def field_reproducibility(self, kind):
        """How well two fields of a kind agree on the test images, as `comparisons.agreement_of_fields`; kept."""
        request = {"field": kind, "components": max(self.profile.latent_dims), "data": self.dataset.checksum}
        request |= {"pairs": FIELD_PAIRS, "source": source_hash(agreement_of_fields, Field, FIELDS[kind])}

        def measure(folder):
            k, seeded = request["components"], kind == "neighbour"
            found = agreement_of_fields(FIELDS[kind], k, self.dataset, FIELD_PAIRS, seeded=seeded)
            write_json(folder / "agreement.json", "agreement", found)

        return read_json(self._obtain("fields", request, measure) / "agreement.json", "agreement")

    def field_folder(self, kind, run=None, number=None):
        """The folder of the store with a field of the images that a run is trained on, or with a member's own."""
        run = run or Run(max(self.profile.latent_dims))
        data, seed = self.data(run), run.lab if number is None else number
        components = max(run.latent_dim, *self.profile.latent_dims)
        request = {"field": kind, "components": components, "data": data.checksum}
        own = {"seed": seed} if kind in SEEDED and (seed or number is not None) else {}
        if kind == "neighbour" and number is not None:
            own["landmarks"] = min(len(data.train) // 2, LANDMARKS)
        request |= own | {"source": source_hash(*parts.made_by_field(kind))}

        def compute(folder):
            with warnings.catch_warnings():
                if data is not self.dataset or number is not None:
                    warnings.simplefilter("ignore")  # it was said of the field of all images
                if kind == "shuffled":
                    made = shuffled(load_field(self.field_folder("neighbour", run) / FIELD), **own)
                else:
                    made = FIELDS[kind](data.train, components, **own)
            made.save(folder / FIELD)

        return self._obtain("field", request, compute)

    def field_at(self, run, images=None):
        """The field of a run that its members share at images, by default at those it is trained on, as an array."""
        kind, data = profiles.arm(run.arm).field, self.data(run)
        if kind == "trained":
            x = data.train if images is None else images
            return comparisons.standardised(self.ensemble_of(run.anchor), data.train, x)
        made = load_field(self.field_folder(kind, run) / FIELD)
        return made.values if images is None else made.transform(images)

    def ensemble_folder(self, run):
        """The folder of the store with a trained ensemble."""
        chosen, data = profiles.arm(run.arm), self.data(run)
        how, seeds = self.profile.training(run)
        how["precision"] = self.precision
        if "potential" in how:
            how["coupling"] = self._coupling(run)
        origin = self.ensemble_folder(Run(run.latent_dim, run.arm, after=run.after - 1)) if run.after else None
        fields = None if run.after or not chosen.field else self._fields(run)
        names = fields and [folder.name for folder in fields]
        request = {"fit": how, "seeds": [asdict(seed) for seed in seeds], "data": data.checksum}
        request |= {"field": names if chosen.own_field else names and names[0], "start": origin and origin.name}
        roots = (fit_each,) if chosen.own_field else (standardised,) if chosen.field == "trained" else ()
        request |= {"source": source_hash(*parts.TRAINING, *roots)}

        def train(folder):
            where = {"jobs": self.jobs, "device": self.device, "checkpoint": folder / CHECKPOINTS}
            if chosen.own_field:
                own = [load_field(each / FIELD) for each in fields]
                ensemble = fit_each(data, seeds=seeds, fields=own, **how, **where)
            else:
                start = origin and Ensemble.load(origin / "ensemble.safetensors").first(len(seeds))
                what = {"seeds": seeds, "field": self.field_at(run) if fields else None, "start": start}
                ensemble = fit(data, **how, **what, **where)
            ensemble.save(folder / "ensemble.safetensors")

        return self._obtain("ensemble", request, train)

    def _coupling(self, run):
        """λ of a run: its own; of prices and labs the one that was chosen for them; else the arm's or the profile's."""
        if run.coupling is None and run.place in ("prices", "labs"):
            return self.tuned_coupling(run.latent_dim, run.arm)
        given = (run.coupling, profiles.arm(run.arm).coupling, self.profile.coupling)
        return next(c for c in given if c is not None)

    def _fields(self, run):
        """Folders of what the field of a run is made of: one, or one for each member."""
        chosen = profiles.arm(run.arm)
        if chosen.field == "trained":
            return [self.ensemble_folder(run.anchor)]
        numbers = self.profile.numbers(run) if chosen.own_field else [None]
        return [self.field_folder(chosen.field, run, number) for number in numbers]

    def evaluation_folder(self, run):
        """The folder of the store with an evaluation; only the arms in `EXACT_ARMS` get their likelihoods."""
        ensemble, exact = self.ensemble_folder(run), run.place == "arms" and run.arm in EXACT_ARMS
        settings = {"n_likelihood_images": self.profile.likelihood_images if exact else 0, "exact": exact}
        settings["n_importance_samples"] = self.profile.importance_samples
        request = {"evaluate": settings, "ensemble": ensemble.name, "source": source_hash(*parts.EVALUATION)}

        def measure(folder):
            kind, trained = profiles.arm(run.arm).field, Ensemble.load(ensemble / "ensemble.safetensors")
            images = self.data(run).test
            values = self.field_at(run, images) if kind and trained.settings.final_strength else None
            result = evaluate(trained, images, field=values, **settings, jobs=self.jobs)
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
        how |= {} if self.profile.likelihood == "bernoulli" else {"likelihood": self.profile.likelihood}
        request = {"baselines": how, "data": self.dataset.checksum, "source": source_hash(*parts.BASELINES)}
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
        if self.profile.likelihood != "bernoulli":
            shared |= {"judge": source_hash(ClassifierOfMeans)}
        requests = [{"measure": name, "source": source_hash(*parts.made_by_measure(name))} | shared for name in names]

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

    def _obtain(self, kind, request, make):
        key = (kind, json.dumps(request, sort_keys=True))
        if key not in self._loaded:
            self._loaded[key] = self.store.obtain(kind, request, make)
        return self._loaded[key]


def open_study(name="quick", data=None, *, store=None, jobs=None, device="cpu", everything=False):
    """A study of a named profile; `data`, another data set than the profile's, is a name or an .npz file.

    Results are kept in `store`, by default `default_store()`; `jobs`, `device` and `everything` are those of the
    `Study`. An InputError says which argument is of no use.
    """
    chosen = profiles.profile(name)
    source = chosen.name if chosen.name == name else str(arguments.path(name, "profile").absolute())
    if data is not None:
        path = arguments.path(data, "data")
        chosen = replace(chosen, dataset=str(path) if str(path) in NAMED else str(path.absolute()))
    jobs = None if jobs is None else arguments.integer(jobs, "jobs", 1)
    root = arguments.path(store, "store") if store else default_store()
    return Study(chosen, RunStore(root), jobs, str(arguments.device(device)), everything, source)
