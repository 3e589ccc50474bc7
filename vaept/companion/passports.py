"""What made each figure of a book: shown under it, kept beside the book, and compared with what would make it now.

The plain text of a figure in a notebook is its label `made_by`, which names runs by the first eight digits of their
keys. The results of these runs, and what `DRAWS_ON` names beside them, are what the figure drew on.
"""

import contextlib
import html
import itertools
import json
import re
from dataclasses import dataclass, field, replace
from functools import partial

from vaept.companion.claims import CLAIMS
from vaept.companion.parts import REPEATED
from vaept.companion.places import CHECKOUT
from vaept.companion.store import RunStore
from vaept.companion.study import EXACT_ARMS
from vaept.errors import InputError, VaeptError
from vaept.files import file_checksum, read_json, reading, restored, write_json

FILE, KIND = "figures.json", "figures"

SERVES = {  # the claims that a figure is for
    "fig-teaser": ("C1", "C4"),
    "fig-oscillator-states": ("C2",),
    "fig-tilt-chooses-axes": ("C2",),
    "fig-training-history": ("C1",),
    "fig-wave-packet": ("C2",),
    "fig-energy-bounds-kl": ("C2",),
    "fig-ten-seeds": ("C1",),
    "fig-agreement-by-group": ("C1", "C2"),
    "fig-elbo-against-rotation": ("C2",),
    "fig-levels-of-a-latent-space": ("C3",),
    "fig-fingerprints": ("C3",),
    "fig-eigenfunctions-decoded": ("C6",),
    "fig-populations-by-class": ("C6",),
    "fig-field": ("C5",),
    "fig-ten-seeds-in-a-field": ("C4",),
    "fig-controls": ("C4", "C5"),
    "fig-price-list": ("C4", "C5"),
    "fig-arrangements": ("C4",),
    "fig-dose": ("C4",),
    "fig-persistence": ("C4",),
    "fig-landscape": ("C7",),
    "fig-path-between-images": ("C7",),
    "fig-relaxation": ("C7",),
    "fig-slow-modes": ("C6",),
    "fig-states-against-classes": ("C6",),
    "fig-groupings": ("C6",),
    "fig-denoise": ("C8",),
    "fig-denoise-scores": ("C8",),
    "fig-cluster": ("C8",),
    "fig-generate": ("C8",),
    "fig-images-by-energy": ("C6",),
    "fig-outliers-by-score": ("C6",),
    "fig-exchange": ("C9",),
}
DRAWS_ON = {  # beside evaluations of the runs in its label: fields, all runs of a place, measures and kinds of results
    "fig-field": ("neighbour", "diffusion", "principal"),
    "fig-price-list": ("prices",),
    "fig-dose": ("doses",),
    "fig-persistence": ("aftermath",),
    "fig-states-against-classes": ("clustering",),
    "fig-groupings": ("clustering",),
    "fig-denoise": ("denoising",),
    "fig-denoise-scores": ("denoising",),
    "fig-cluster": ("clustering",),
    "fig-generate": ("generation",),
    "fig-outliers-by-score": ("outliers",),
    "fig-exchange": ("interchange",),
}


@dataclass(frozen=True)
class Figure:
    """A figure of a book and what made it.

    Attributes
    ----------
    name, caption, alt : str
        As the cell has them.
    page, title : str
        The page that it is on, without a suffix, and that page's title.
    source, code : str
        The file whose code drew it, and a hash of all the code that this comes through.
    made_by, parameters : str
        The label, and what the runs in it were trained with.
    results : tuple of str
        Folders of the store; of published records the file and the first digits of its checksum.
    """

    name: str
    caption: str
    alt: str
    page: str
    title: str
    source: str
    code: str
    made_by: str
    parameters: str = ""
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passports:
    """The figures of a book, and what they have in common.

    Attributes
    ----------
    profile, dataset, data, commit : str
        The profile, the name of the data and their checksum, and what was checked out when the book was built.
    figures : tuple of Figure
    """

    profile: str
    dataset: str
    data: str
    commit: str
    figures: tuple[Figure, ...] = ()

    def save(self, folder):
        """Write `FILE` to the folder of a book."""
        write_json(folder / FILE, KIND, self)

    @classmethod
    def load(cls, folder):
        """Those of the book in a folder; an InputError says that there is none."""
        if not (folder / FILE).is_file():
            raise InputError(f"There is no book in {folder}: it holds no {FILE}. `vaept reproduce` makes one.")
        with reading(folder / FILE, KIND):
            return restored(read_json(folder / FILE, KIND), cls)

    def uses_data(self, figure):
        """Whether a figure shows something of the data."""
        return f"data {self.dataset}" in figure.made_by

    def rows(self, figure):
        """The passport of a figure: a list of what, and how it was."""
        serves = SERVES.get(figure.name, ())
        rows = [("Claim", f"{claim.id}: {claim.statement}") for claim in CLAIMS if claim.id in serves]
        what = "Notebook" if figure.source.endswith(".ipynb") else "Module"
        rows += [(what, f"{figure.source}, code {figure.code[:16]}"), ("Commit", self.commit)]
        rows.append(("Profile", self.profile))
        rows += [("Parameters", figure.parameters)] if figure.parameters else []
        rows += [("Data", f"{self.dataset}, SHA-256 {self.data}")] if self.uses_data(figure) else []
        rows += [("Results", each) for each in figure.results]
        return [*rows, ("Label", figure.made_by)]

    def as_text(self):
        """All passports, for a terminal."""
        parts = []
        for figure in self.figures:
            rows = [f"  {what:<12}{how}" for what, how in self.rows(figure)]
            parts.append("\n".join([f"{figure.name}: {first_sentence(figure.caption)}", *rows]))
        return "\n\n".join(parts)

    def as_html(self, figure):
        """The passport of a figure as a line that unfolds."""
        rows = []
        for what, own in itertools.groupby(self.rows(figure), lambda row: row[0]):
            values = [html.escape(how) for _, how in own]
            if what == "Claim":
                values = [f'<a href="../book/ledger.html">{how[:2]}</a>{how[2:]}' for how in values]
            rows.append(f"<dt>{what}</dt>" + "".join(f"<dd>{how}</dd>" for how in values))
        summary = "<summary>How this figure was made</summary>"
        return f'<details class="passport">{summary}<dl>{"".join(rows)}</dl></details>'


@dataclass(frozen=True)
class _Names(RunStore):
    """A store that makes nothing and keeps what it was asked for: a dict from name to kind and request."""

    asked: dict = field(default_factory=dict, compare=False)

    def obtain_together(self, kind, requests, make):
        names = [self.name(kind, request) for request in requests]
        self.asked.update({name: (kind, request) for name, request in zip(names, requests, strict=True)})
        return [self.root / name for name in names]


class Catalogue:
    """The results of a study by the names that present code, data and profile give them, whether they are there or not.

    Parameters
    ----------
    study : vaept.companion.study.Study
    """

    def __init__(self, study):
        store = _Names(study.store.root)
        named = replace(study, store=store, _loaded={})
        self.data, self.requests, self.places = named.dataset.checksum, store.asked, {}
        asks = [partial(self._ask, named, run) for run in named.runs]
        asks += [partial(named.field_folder, kind) for kind in REPEATED]
        asks += [partial(named.interchange, *each) for each in itertools.product(study.profile.latent_dims, EXACT_ARMS)]
        for ask in asks:
            with contextlib.suppress(VaeptError):  # what must be read and is not there; its name was asked for before
                ask()
        self.published = {}
        for path in sorted(CHECKOUT.glob("results/*/records.json")) if CHECKOUT else ():
            name = f"{path.relative_to(CHECKOUT).as_posix()} {file_checksum(path)[:16]}"
            self.published[name] = path.read_text("utf-8")

    def _ask(self, study, run):
        ensemble, evaluation = study.ensemble_folder(run).name, study.evaluation_folder(run).name
        self.places.setdefault(run.place, {})[ensemble] = evaluation
        study.measure_folders(run)

    def drawn_on(self, name, made_by):
        """What a figure of this name and label drew on: `parameters` and `results` of a `Figure`, as a dict."""
        keys, more = set(re.findall(r"\b[0-9a-f]{8}\b", made_by)), DRAWS_ON.get(name, ())
        runs = {each: own for place in more for each, own in self.places.get(place, {}).items()}
        for each, own in itertools.chain(*(place.items() for place in self.places.values())):
            if each[-16:-8] in keys:
                runs.setdefault(each, own)
        results = [each for each in self.requests if each in (*runs, *runs.values())]
        for each, (kind, request) in self.requests.items():
            further = request.get("ensemble") in runs and {kind, request.get("measure")} & {*more}
            field = kind == "field" and "seed" not in request and request["data"] == self.data
            if further or (field and request["field"] in more):
                results.append(each)
        if "published" in made_by:
            results += [each for each, text in self.published.items() if any(key in text for key in keys)]
        return {"parameters": self._parameters(runs), "results": tuple(results)}

    def _parameters(self, runs):
        values = {}
        for request in (self.requests[run][1] for run in self.requests if run in runs):
            for key, value in ({"members": len(request["seeds"])} | request["fit"]).items():
                shown = values.setdefault(key, [])
                shown += [text for text in [json.dumps(value)] if text not in shown]
        return "; ".join(f"{key} {' or '.join(shown)}" for key, shown in values.items()).replace('"', "")

    def changes(self, kept, code):
        """What is not as it was when figures were made.

        Parameters
        ----------
        kept : Passports
        code : dict from str to str
            The present hash of the code of each source.

        Returns
        -------
        dict from str to str
            What has changed, for each figure of which something has.
        """
        found = {}
        for figure in kept.figures:
            reasons = [f"the code of {figure.source}"] if code.get(figure.source) != figure.code else []
            reasons += ["the data"] if kept.uses_data(figure) and kept.data != self.data else []
            gone = [each for each in figure.results if each not in self.requests and each not in self.published]
            reasons += [f"{gone[0]}{f' and {len(gone) - 1} more' if gone[1:] else ''}"] if gone else []
            if reasons:
                found[figure.name] = ", ".join(reasons)
        return found


def first_sentence(caption):
    """The first sentence of a caption."""
    return re.split(r"(?<=[.!?])\s+(?=\W*[A-Z]|−)", caption.strip(), maxsplit=1)[0]
