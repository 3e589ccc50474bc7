"""What made the figures of a book: found from labels and keys, without anything being made."""

import dataclasses
import re

import matplotlib.image
import nbformat
import numpy as np
import pytest
from test_notebooks import NOTEBOOKS, code_cells

from vaept.companion import gallery
from vaept.companion.claims import CLAIMS
from vaept.companion.passports import DRAWS_ON, SERVES, Catalogue, Figure, Passports, first_sentence
from vaept.companion.profiles import profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study
from vaept.errors import InputError
from vaept.perturbation.fields import FIELDS
from vaept.uses.measure import MEASURES


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(profile("quick"), RunStore(tmp_path_factory.mktemp("runs")), jobs=1)


@pytest.fixture(scope="module")
def catalogue(study):
    return Catalogue(study)


def test_tables_name_figures_that_there_are_and_every_claim_is_served():
    cells = [cell for path in NOTEBOOKS for cell in code_cells(nbformat.read(path, 4))]
    names = {cell.metadata.mystnb.figure.name for cell in cells if "figure" in cell.metadata.get("mystnb", {})}
    assert SERVES.keys() <= names | {"fig-teaser"} and DRAWS_ON.keys() <= names
    assert {claim for claims in SERVES.values() for claim in claims} == {claim.id for claim in CLAIMS}
    known = {*FIELDS, *MEASURES, "interchange"} | {run.place for run in profile("digits").runs()}
    assert {each for more in DRAWS_ON.values() for each in more} <= known


def test_the_catalogue_makes_nothing(study, catalogue):
    assert {run.place for run in study.runs} == catalogue.places.keys()
    assert {"ensemble", "evaluation", "measure", "field", "interchange"} <= {
        kind for kind, _ in catalogue.requests.values()
    }
    assert not list(study.store.root.iterdir())


def label(catalogue, *runs):
    return f"profile quick, data digits, runs {'; '.join(f'cold d = 2 {run[-16:-8]}' for run in runs)}"


def test_a_figure_drew_on_the_results_of_the_runs_in_its_label(catalogue):
    first, second = sorted(catalogue.places["arms"])[:2]
    plain = catalogue.drawn_on("fig-new", label(catalogue, first))
    kinds = sorted(each.partition("-")[0] for each in plain["results"])
    assert kinds == ["ensemble", "evaluation"] and first in plain["results"]
    (evaluation,) = set(plain["results"]) - {first}
    assert catalogue.requests[evaluation][1]["ensemble"] == first
    assert re.search(r"^members 3; .*epochs 20", plain["parameters"])
    both = catalogue.drawn_on("fig-new", label(catalogue, first, second))
    assert {first, second, *plain["results"]} <= {*both["results"]} and len(both["results"]) == 4


def test_what_labels_do_not_say_is_in_a_table(study, catalogue):
    arm = next(
        request["ensemble"] for kind, request in catalogue.requests.values() if request.get("measure") == "clustering"
    )
    found = catalogue.drawn_on("fig-cluster", label(catalogue, arm))["results"]
    assert [catalogue.requests[each][1].get("measure") for each in found if each.startswith("measure")] == [
        "clustering"
    ]
    assert {*catalogue.places["doses"]} <= {*catalogue.drawn_on("fig-dose", "")["results"]}
    fields = [catalogue.requests[each][1] for each in catalogue.drawn_on("fig-field", "")["results"]]
    assert sorted(each["field"] for each in fields) == ["diffusion", "neighbour", "principal"]
    assert {each["data"] for each in fields} == {study.dataset.checksum}


def test_a_run_that_is_only_published_is_found_in_the_records_that_name_it(catalogue):
    (name,) = (each for each in catalogue.published if each.startswith("results/digits/"))
    run = re.search(r'"ensemble-([0-9a-f]{8})[0-9a-f]{8}"', catalogue.published[name])[1]
    assert catalogue.drawn_on("fig-new", f"profile digits, the first {run}, published 2026-01-01")["results"] == (name,)
    assert catalogue.drawn_on("fig-new", "exact: no data, run 00000000") == {"parameters": "", "results": ()}


def test_what_has_changed_since_is_named(catalogue):
    run = sorted(catalogue.places["arms"])[0]
    text = {"caption": "One. Two.", "alt": "", "page": "notebooks/1", "title": "1", "source": "notebooks/1.ipynb"}
    own = catalogue.drawn_on("fig-a", label(catalogue, run))
    figures = (
        Figure("fig-a", **text, code="c", made_by=label(catalogue, run), **own),
        Figure("fig-b", **text, code="c", made_by="exact"),
    )
    kept, code = Passports("quick", "digits", catalogue.data, "version 1", figures), {"notebooks/1.ipynb": "c"}
    assert catalogue.changes(kept, code) == {}
    assert catalogue.changes(kept, {}).keys() == {"fig-a", "fig-b"}
    other = dataclasses.replace(kept, data="d")
    assert catalogue.changes(other, code) == {"fig-a": "the data"}
    gone = dataclasses.replace(figures[0], results=("ensemble-0", "evaluation-0"))
    found = catalogue.changes(dataclasses.replace(kept, figures=(gone, figures[1])), code)
    assert found == {"fig-a": "ensemble-0 and 1 more"}


def test_passports_come_back_from_their_file(tmp_path):
    figure = Figure(
        "fig-ten-seeds", "A <b>.", "alt", "notebooks/1", "1", "notebooks/1.ipynb", "c" * 64, "profile q, data x"
    )
    kept = Passports("q", "x", "d" * 64, "version 1", (figure,))
    with pytest.raises(InputError, match=r"There is no book in .*vaept reproduce"):
        Passports.load(tmp_path)
    kept.save(tmp_path)
    assert Passports.load(tmp_path) == kept
    for part in ("C1: Converged", "notebooks/1.ipynb, code cccc", "version 1", "x, SHA-256 dddd"):
        assert part in kept.as_text() and re.sub("<.*?>", "", part) in re.sub("<.*?>", "", kept.as_html(figure))
    exact = dataclasses.replace(figure, made_by="exact: <no> data")
    assert "SHA" not in kept.as_html(exact) and "&lt;no&gt;" in kept.as_html(exact)


@pytest.mark.parametrize(
    "caption",
    [
        "Levels at d = 2.5, and 95 % intervals.| Compare.",
        "Left: e.g. a plot of three.| −ELBO is lower.",
        "A line with no end",
        "One [link](a.md).| *Then* more.",
    ],
)
def test_first_sentence_of_a_caption(caption):
    assert first_sentence(caption.replace("|", "")) == caption.partition("|")[0]


def test_small_copies_are_small_and_an_empty_figure_is_refused(tmp_path, rng):
    matplotlib.image.imsave(tmp_path / "big.png", rng.random((600, 1200, 3)))
    gallery.small_copy((tmp_path / "big.png").read_bytes(), tmp_path / "small.webp")
    assert matplotlib.image.imread(tmp_path / "small.webp").shape[:2] == (gallery.ACROSS // 2, gallery.ACROSS)
    matplotlib.image.imsave(tmp_path / "big.png", np.ones((600, 1200, 3)))
    with pytest.raises(InputError, match="fig-x is empty"):
        gallery.small_copy((tmp_path / "big.png").read_bytes(), tmp_path / "fig-x.webp")
