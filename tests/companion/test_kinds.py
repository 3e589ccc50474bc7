"""The whole book of data of other kinds, made small and in this process, and read as its readers read it."""

import dataclasses
import functools
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import kinds
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from IPython.utils.capture import capture_output

import vaept
from vaept import companion, landscape, spectrum
from vaept.companion import book, checks_training, figures, study
from vaept.companion.ledger import ledger
from vaept.companion.profiles import profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study
from vaept.companion.wording import MAY_LACK, words
from vaept.landscape import slowest
from vaept.processes import run_python
from vaept.uses import bracket, classifier, generation, member

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
SMALL = {"latent_dims": (2, 3), "members": 2, "epochs": 2, "hidden": (16,)}
SMALL |= {"likelihood_images": 10, "importance_samples": 10, "aftermath_members": 2, "aftermath": (1,)}
SMALL |= {"prices": ("cold", "principal"), "prices_members": 2, "labs": ("principal",), "labs_members": 2, "tuning": {}}
SMALL |= {"lengths": (1, 2), "lengths_couplings": (1.0,), "lengths_members": 2}
SMALL |= {"couplings": (0.1, 1.0), "couplings_dim": 3, "couplings_members": 2, "couplings_epochs": 1}
LABELLED = ("vectors", "colour", "words")
RECORDED = ("denoise", "scores_against_noise", "cluster", "generate")


FROM_SAMPLES, FEW = spectrum.from_samples, 6


def few_levels_fast(samples, n_levels, **how):
    how = how | ({"degree": 2} if n_levels <= FEW else {})
    return FROM_SAMPLES(samples, n_levels, **how)


FIT, FITTED = vaept.fit, {}  # of the cells of chapter 8, whatever the study's data are


def fit_once(data, *, field=None, **how):
    key = data.name, field is None, repr(how)
    if key not in FITTED:
        FITTED[key] = FIT(data, field=field, **how)
    return FITTED[key]


FIRST_PASSAGE_TIMES, PASSED = landscape.first_passage_times, {}  # of a well that knows no data


def first_passage_times_once(energy, starts, reached, **how):
    if how["step"] not in PASSED:
        PASSED[how["step"]] = FIRST_PASSAGE_TIMES(energy, starts[:30], reached, **how)
    return PASSED[how["step"]]


def execute_here(source, command, **how):
    """In place of `run_python`: chapters are executed in this process, with what it has imported."""
    if "papermill" not in source:
        return run_python(source, command, **how)
    notebook, result = map(Path, command[:2])
    shell = InteractiveShell.instance(user_module=ModuleType("chapter"))
    select_figure_formats(shell, {"png"})
    executed = nbformat.read(notebook, 4)
    try:
        for cell in (cell for cell in executed.cells if cell.cell_type == "code"):
            shell.display_trap.hook = CapturingDisplayHook(shell, last := [])
            with capture_output() as captured:
                outcome = shell.run_cell(cell.source)
            outcome.raise_error()
            shown = [(each.data, each.metadata) for each in captured.outputs]
            shown += [(each["data"], each["metadata"]) for each in last]
            shown = [each for each in shown if each[0]]  # what displays itself comes back empty too
            cell.outputs = [nbformat.v4.new_output("display_data", data, metadata=meta) for data, meta in shown]
            if captured.stdout:
                cell.outputs.append(nbformat.v4.new_output("stream", text=captured.stdout))
    finally:
        InteractiveShell.clear_instance()
    nbformat.write(executed, result)
    return SimpleNamespace(returncode=0, stderr="")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A function from the name of a kind to its study and book, and to what its figures were given as rows."""
    books = {}

    def book_of(kind):
        if kind not in books:
            books[kind] = None
            books[kind] = make(tmp_path_factory, kind)
        assert books[kind], "its book could not be made; the first test that asked for it says why"
        return books[kind]

    return book_of


def make(tmp_path_factory, kind):
    folder, shown = tmp_path_factory.mktemp(kind), {}
    np.savez(folder / f"{kind}.npz", **kinds.KINDS[kind]())
    likelihood = "gaussian" if kind == "vectors" else "bernoulli"  # which leaves more of a study out
    own = {"dataset": str(folder / f"{kind}.npz"), "likelihood": likelihood}
    small = dataclasses.replace(profile("quick"), **own, **SMALL)
    own = Study(small, RunStore(folder / "runs"), jobs=1)
    with pytest.MonkeyPatch.context() as patch:
        # What takes longest and decides no word.
        patch.setattr(classifier, "SHOWN", 3000)
        patch.setattr(member, "SAMPLES", 5000)
        patch.setattr(generation, "MAX_STEPS", (300, 300))
        patch.setattr(study, "FIELD_PAIRS", 1)
        patch.setattr(bracket, "STARTS", 20)
        patch.setattr(slowest, "DRAWS", 2000)
        patch.setattr(slowest, "CHAIN_DRAWS", 500)
        patch.setattr(checks_training, "from_samples", few_levels_fast)
        patch.setattr(spectrum, "from_samples", few_levels_fast)
        patch.setattr(vaept, "fit", fit_once)
        patch.setattr(landscape, "first_passage_times", first_passage_times_once)
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setattr(book, "run_python", execute_here)
        patch.setattr(companion, "open_study", lambda *args: own)
        for name in RECORDED:
            patch.setattr(figures, name, recorded(getattr(figures, name), shown))
        patch.chdir(book.checkout() / "notebooks")
        records = own.records()
        entries = ledger(records)
        executed = book.execute(own, jobs=1)
        index = book.build(own, records, entries, executed, folder / "book")
    about_no_data = {"_static", "reference"}
    pages = {path.stem: read(path) for path in index.parent.rglob("*.html") if not about_no_data & {*path.parts}}
    return SimpleNamespace(study=own, executed=executed, html=index.parent, pages=pages, shown=shown)


def recorded(draw, shown):
    @functools.wraps(draw)
    def drawn(rows, *args, **how):
        first = args[0] if draw.__name__ == "scores_against_noise" else rows
        shown[draw.__name__] = list(first)
        return draw(rows, *args, **how)

    return drawn


def read(path):
    """What a page says besides its code, and the alternative texts and captions of its figures."""
    article = BeautifulSoup(path.read_text("utf-8"), "html.parser").find("article")
    if article is None:
        return SimpleNamespace(text="", alts=[], figures=[])
    for part in article.select("div.cell_input, div.highlight, script, style"):
        part.decompose()
    for row in article.find_all("tr"):
        if row.get_text().strip().startswith("digits, d ="):  # the trials on which the recipe was chosen
            row.decompose()
    images = [image for image in article.find_all("img") if "_images" in image["src"]]
    alts = [image["alt"] for image in images]
    figures = [figure.find("img") is not None for figure in article.find_all("figure")]
    text = re.sub(r"\s+(?=[,.;:\s])|\s(?=\s)", "", article.get_text(" "))
    return SimpleNamespace(text=text.replace("\n", " "), alts=alts, figures=figures)


@pytest.fixture(params=kinds.KINDS)
def kind(request):
    return request.param


def test_the_book_is_whole_and_its_figures_are_there(made, kind):
    found = made(kind)
    assert {path.stem for path in found.executed} | {"intro", "ledger", "status", "fidelity"} <= found.pages.keys()
    pictures = [path for path in (found.html / "_images").iterdir() if path.suffix in (".png", ".svg")]
    assert len(pictures) >= 25 and all(path.stat().st_size > 3000 for path in pictures)
    assert all(all(page.figures) for page in found.pages.values() if page.text), "a caption without its figure"


def test_no_page_shows_what_could_not_be_computed_or_belongs_to_other_data(made, kind):
    untrue = [
        r"\bnan\b",
        r"\binf\b",
        r"(?<!published \()(?<![Mm]easured on )[Dd]igit",
        "as here",
        "glue:text",
        r"\{\{",
        r"\bNone\b",
    ]
    untrue += [r"\bErrors?:"]
    for name, page in made(kind).pages.items():
        for pattern in untrue:
            found = re.search(f".{{0,60}}{pattern}.{{0,60}}", " ".join([page.text, *page.alts]))
            assert not found or name in ("search", "genindex"), f"{name}: {found.group()}"


def test_pages_say_what_the_data_are(made, kind):
    what = {
        "vectors": "rows of 6 values, 3 classes",
        "colour": "colour pictures of 6 × 6 pixels, 4 classes",
        "unlabelled": "grey pictures of 5 × 7 pixels, without classes",
        "words": "rows of 30 values, 3 classes",
        "one_class": "grey pictures of 8 × 8 pixels, 1 class",
    }[kind]
    pages, binary = made(kind).pages, kind == "words"
    assert what in pages["02_a_vae_and_its_energies"].text
    text = pages["02_a_vae_and_its_energies"].text
    assert ("All pixels are 0 or 1 here" in text) == binary and ("If some lie between" in text) == (not binary)
    assert what.partition(",")[0] in pages["intro"].text


def test_alternative_texts_name_the_rows_that_are_shown(made, kind):
    found = made(kind)
    alts, shown = "\n".join(found.pages["07_three_uses"].alts), found.shown
    assert f"Rows of small images: {', '.join(shown['denoise'])}; a PSNR" in alts
    assert f"in these panels: {'; '.join(shown['scores_against_noise'])}." in alts
    assert f"source of the latents: {'; '.join(shown['generate'])}." in alts
    assert ({"median", "wavelet"} <= set(shown["denoise"])) == (kind == "one_class")
    assert ("its most frequent class" in alts) == (kind != "unlabelled")
    assert ("adjusted Rand index" in alts) == (kind in LABELLED)


def test_what_is_left_out_is_said_with_its_reason(made, kind):
    found = made(kind)
    text = {name: page.text for name, page in found.pages.items()}
    told = {what: reason for what, reason in found.study.left_out.items() if what in MAY_LACK}
    for what, reason in told.items():
        chapter = "06_landscapes_and_dynamics" if what in ("classifier", "clustering") else "07_three_uses"
        assert reason in text[chapter] and words(found.study)[what] in text[chapter]
    assert ("correctly and is sure" in text["06_landscapes_and_dynamics"]) == (kind in LABELLED)
    assert ("The class of the lowest energy is" in text["04_the_spectrum_of_a_latent_space"]) == (kind in LABELLED)


@pytest.mark.parametrize("kind", ["words"])
def test_classes_have_the_names_that_were_given(made, kind):
    text = made(kind).pages["04_the_spectrum_of_a_latent_space"].text
    named = re.search(r"The class of the lowest energy is (\S+), that of the highest (\S+)\.", text)
    assert set(named.groups()) <= {"-3", "7", "1000000000000"}
