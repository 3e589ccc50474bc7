"""The built book: executed from the quick profile, then read as a browser would."""

import ast
import html
import html.parser
import json
import math
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import zipfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from click.testing import CliRunner
from test_examples import NAMES
from test_explorer import CHROMIUM, needs_chromium
from test_notebooks import NOTEBOOKS, glued
from test_project import run

from vaept.companion import book, citation, pdf
from vaept.companion import crate as crate_of
from vaept.companion.book import BookError
from vaept.companion.cli import UNCHANGED, main
from vaept.companion.ledger import ledger
from vaept.companion.passports import Passports
from vaept.companion.profiles import profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A copy of the tracked files in which `make book PROFILE=quick` ran, with the packages that are installed here.

    Results of this very code that the checkout has already, as after `make book PROFILE=quick`, are not made again.
    """
    folder = tmp_path_factory.mktemp("made")
    copy, venv = folder / "vaept-copy", folder / "venv"
    tracked = run("git", "-C", str(ROOT), "ls-files").stdout.splitlines()
    for name in tracked or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]:
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    venv.mkdir()
    (venv / "bin").symlink_to(Path(sys.executable).parent)
    (venv / ".installed").touch()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VAEPT_", "MAKE"))}
    environment["PYTHONPATH"] = str(copy)
    there = ROOT / "_build" / "runs"
    store = there if there.is_dir() else copy / "_build" / "runs"
    environment["VAEPT_STORE"] = str(store)
    command = ["make", "-C", str(copy), "book", "PROFILE=quick", f"VENV={venv}"]

    def make_book(*more):
        return run(*command, *more, env=environment)

    printed = ["PDF=1"] if pdf.browser() else []
    return SimpleNamespace(copy=copy, store=store, make_book=make_book, first=make_book(*printed))


def test_make_book_from_a_copy_of_the_tracked_files(made):
    """The first command; and again with nothing changed."""
    first = made.first
    assert first.returncode == 0, first.stdout + first.stderr
    index = made.copy / "_build" / "quick" / "html" / "index.html"
    assert index.exists() and f"The book: {index}" in first.stdout
    whole, start = index.with_name(pdf.FILE), Page(index.parent / "book" / "intro.html")
    printed = f"To be printed: {whole}" in first.stdout
    assert printed == bool(pdf.browser()) == whole.exists() == (f"../{pdf.FILE}" in start.links)
    assert not printed or whole.read_bytes().startswith(b"%PDF")
    for part in ("cold, d = 2", "chapters", "in all", "C4  ", "coordinate agreement, no alignment"):
        assert part in first.stdout
    again = made.make_book(*(["PDF=1"] if printed else []))
    assert again.returncode == 0 and UNCHANGED in again.stdout and not again.stderr
    assert again.stdout.partition("The claims")[2] == first.stdout.partition("The claims")[2] != ""


@pytest.fixture(scope="session")
def study(made):
    """The study that was carried out there."""
    return Study(profile("quick"), RunStore(made.store), jobs=2)


@pytest.fixture(scope="session")
def measured(study):
    records = study.records()
    return records, ledger(records)


@pytest.fixture(scope="session")
def executed(study):
    return book.execute(study, jobs=2)


@pytest.fixture(scope="session")
def built(study, measured, executed, tmp_path_factory):
    return book.build(study, *measured, executed, tmp_path_factory.mktemp("book")).parent


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.assets, self.images, self.ids, self.text = path, [], [], [], set(), []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in ("img", "script", "link"):
            self.assets.append(attributes.get("src") or attributes.get("href") or "")
            self.links.append(self.assets[-1])
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="session")
def pages(built):
    return {path: Page(path) for path in built.rglob("*.html") if "_static" not in path.parts}


def test_every_page_of_the_contents_is_there_and_says_something(built):
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    chapters = [each for part in contents["parts"] for each in part["chapters"]]
    files = [contents["root"], *(each["file"] for each in chapters if "file" in each)]
    patterns = [each["glob"] for each in chapters if "glob" in each]
    files += [str(path.relative_to(ROOT).with_suffix("")) for each in patterns for path in ROOT.glob(each)]
    assert {f"notebooks/{path.stem}" for path in NOTEBOOKS} <= set(files) and (built / "index.html").exists()
    for file in files:
        page = BeautifulSoup((built / f"{file}.html").read_text("utf-8"), "html.parser")
        assert len(page.find("article").get_text()) > 500, file


@pytest.fixture(scope="session")
def passports(built):
    return Passports.load(built.parent)


def test_every_figure_is_there_in_more_than_one_colour_with_its_passport(built, passports, executed):
    cells = [
        cell
        for path in executed
        for cell in nbformat.read(path, 4).cells
        if "figure" in cell.metadata.get("mystnb", {})
    ]
    shown = {
        cell.metadata.mystnb.figure.name
        for cell in cells
        if any({"image/png", "image/svg+xml"} & o.get("data", {}).keys() for o in cell.outputs)
    }
    assert {figure.name for figure in passports.figures} == shown | {"fig-teaser"}
    for figure in passports.figures:
        path = built / f"{figure.page}.html"
        page = BeautifulSoup(path.read_text("utf-8"), "html.parser")
        (found,) = page.find_all("figure", id=figure.name)
        picture = path.parent / found.find("img")["src"]
        if picture.suffix == ".svg":
            assert len(set(re.findall(r"(?:fill|stroke): ?(#\w+)", picture.read_text("utf-8")))) > 1, figure.name
        else:
            pixels = matplotlib.image.imread(picture)
            assert (pixels != pixels[0, 0]).any(), figure.name
        passport = found.find_next(["details", "figure"])
        assert "passport" in passport.get("class", ()) and html.escape(figure.made_by) in str(passport), figure.name


def test_the_gallery_leads_to_every_figure(built, passports):
    page = BeautifulSoup((built / "book" / "gallery.html").read_text("utf-8"), "html.parser")
    cards = page.select("div.sd-card")
    for card, figure in zip(cards, passports.figures, strict=True):
        assert card.select_one("a.sd-stretched-link")["href"].endswith(f"{Path(figure.page).name}.html#{figure.name}")
        assert (built / "book" / card.find("img")["src"]).stat().st_size < 60_000
    assert {figure.title for figure in passports.figures} <= {
        each.get_text().rstrip("#") for each in page.find_all("h2")
    }


def test_results_in_passports_are_in_the_store(study, passports):
    results = {each for figure in passports.figures for each in figure.results}
    assert len(results) > 30 and all((study.store.root / each).is_dir() for each in results)
    drawn_from_runs = [figure for figure in passports.figures if re.search(r"\b[0-9a-f]{8}\b", figure.made_by)]
    assert len(drawn_from_runs) > 15 and all(figure.results for figure in drawn_from_runs)


def test_the_command_lists_figures_and_finds_those_whose_inputs_have_changed(
    built, made, passports, tmp_path, monkeypatch
):
    def figures(*options):
        where = ["--profile", "quick", "--store", str(made.store), "--output", str(built.parent)]
        return CliRunner().invoke(main, ["figures", *where, *options])

    listed = figures()
    assert listed.exit_code == 0 and all(f"{figure.name}: " in listed.output for figure in passports.figures)
    same = figures("--check")
    assert (
        same.exit_code == 0
        and same.output == f"0 of {len(passports.figures)} figures would be made from something else now.\n"
    )
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    changed = nbformat.read(tmp_path / "notebooks" / NOTEBOOKS[0].name, 4)
    changed.cells.append(nbformat.v4.new_code_cell("1 + 1"))
    nbformat.write(changed, tmp_path / "notebooks" / NOTEBOOKS[0].name)
    monkeypatch.setattr(book, "CHECKOUT", tmp_path)
    found = figures("--check")
    theirs = {figure.name for figure in passports.figures if figure.source == f"notebooks/{NOTEBOOKS[0].name}"}
    assert found.exit_code == 1 and {line.partition(":")[0] for line in found.output.splitlines()[:-1]} == theirs


def test_reference_has_every_public_name_with_its_example_and_the_search_finds_it(built, pages):
    found = (built / "searchindex.js").read_text("utf-8")
    for room, name in NAMES:
        page = pages[built / "book" / "reference" / f"{room}.html"]
        assert f"vaept.{room}.{name}" in page.ids and f'"{name}"]' in found
    for room in {room for room, _ in NAMES}:
        text = "".join(pages[built / "book" / "reference" / f"{room}.html"].text)
        assert text.count("Examples\n") == sum(own == room for own, _ in NAMES) and "\\" not in text


def test_local_links_and_images_lead_somewhere(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            target, _, fragment = urllib.parse.unquote(link).partition("#")
            if urllib.parse.urlsplit(link).scheme or target.startswith("//"):
                continue
            file = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not file.exists() or (fragment and file in pages and fragment not in pages[file].ids):
                broken.append((path.name, link))
    assert not broken


def test_no_page_asks_another_host_for_anything(built, pages):
    asked = {link for page in pages.values() for link in page.assets if urllib.parse.urlsplit(link).netloc}
    asked |= {
        url
        for path in built.rglob("*.css")
        for url in re.findall(r"url\([\"']?(https?:[^)]*)", path.read_text("utf-8"))
    }
    assert not asked
    typesetter = (built / "_static" / "mathjax" / "tex-svg-full.js").resolve()
    for path, page in pages.items():
        if any("\\(" in text or "\\[" in text for text in page.text):
            assert typesetter in {(path.parent / link.partition("?")[0]).resolve() for link in page.assets}, path.name


# What a page says of itself, when it is complete and when its width changes, to the page that shows it in a frame.
LISTENER = """<script>
{
  const heard = [], selected = (what) => [...document.querySelectorAll(what)];
  localStorage.clear(); // as for a reader who comes for the first time
  addEventListener("error", (event) => heard.push(event.message ?? event.target.src ?? event.target.href), true);
  addEventListener("unhandledrejection", (event) => heard.push(`${event.reason}`));
  for (const kind of ["error", "warn"]) console[kind] = (...words) => heard.push(words.join(" "));
  const tell = () => {
    const asked = performance.getEntriesByType("resource").map((each) => each.name);
    const raw = selected(".math").filter((each) => !each.querySelector("mjx-container"));
    const wrong = [...raw, ...selected("[data-mjx-error]")].map((each) => each.textContent);
    const faults = [...heard, ...wrong, ...asked.filter((name) => !name.startsWith("file:"))];
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth) faults.push(`${scrollWidth} pixels in ${clientWidth}`);
    const wide = selected("mjx-container[display]").filter((own) => own.scrollWidth > own.clientWidth + 1);
    if (clientWidth > 1000) faults.push(...wide.map((each) => `formula of ${each.scrollWidth} pixels`));
    parent.postMessage({ faults, results: selected("#search-results li").length }, "*");
  };
  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    if (location.search) await new Promise((on) => setTimeout(on, 3000)); // a search shows what it finds one by one
    addEventListener("resize", tell);
    tell();
  });
}
</script>"""
FRAMES = """<!doctype html><meta charset="utf-8"><body><script>(async () => {
  const answer = {}, next = () => new Promise((on) => {
    addEventListener("message", (event) => on(event.data), { once: true });
    setTimeout(() => on({ faults: ["never complete"], results: 0 }), 120000);
  });
  for (const page of PAGES) {
    const frame = Object.assign(document.createElement("iframe"), { src: page, width: 390, height: 900 });
    document.body.append(frame);
    const narrow = await next();
    frame.width = 1400;
    answer[page] = [narrow, await next()];
    frame.remove();
  }
  console.log(JSON.stringify(answer));
})()</script>"""


@needs_chromium
def test_from_disk_and_without_a_network_every_page_is_typeset_and_quiet_and_the_search_finds(built, pages, tmp_path):
    shutil.copytree(built, tmp_path / "html")
    names = [str(path.relative_to(built)) for path in pages if path != built / "index.html"]  # which leads to the first
    for name in names:
        text = (built / name).read_text("utf-8")
        (tmp_path / "html" / name).write_text(text.replace("<head>", f"<head>{LISTENER}", 1), "utf-8")
    shown, found = tmp_path / "html" / "frames.html", "search.html?q=degeneracy"
    shown.write_text(FRAMES.replace("PAGES", json.dumps([*names, found])), "utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", shown.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") as browser:
        lines = (re.search(r'CONSOLE.*?"(\{.*\})", source', line) for line in browser.stderr)
        said = json.loads(next(line[1] for line in lines if line))
        browser.terminate()
    assert said.keys() == {*names, found} and said[found][0]["results"] > 3
    faults = {page: [each for size in sizes for each in size["faults"]] for page, sizes in said.items()}
    assert not {page: each for page, each in faults.items() if each}


def test_the_whole_book_is_one_file_too(built, pages):
    with zipfile.ZipFile(built.parent / "vaept-book-quick.zip") as archive:
        inside = set(archive.namelist())
    assert {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()} <= inside


def test_chapters_are_notebooks_to_download(built, pages):
    for path in NOTEBOOKS:
        page = pages[built / "notebooks" / f"{path.stem}.html"]
        found = {link.rpartition("/")[2]: link for link in page.links if "_downloads/" in link}
        assert found.keys() == {path.name, f"{path.stem}_exercises.ipynb"}
        whole, rest = (nbformat.read(page.path.parent / found[name], 4) for name in sorted(found, key=len))
        assert sum(bool(cell.get("outputs")) for cell in whole.cells) >= 5
        assert "{glue:text}" not in nbformat.writes(whole) and len(rest.cells) == len(whole.cells)


def test_every_page_says_what_it_was_made_from_and_how_to_cite_it(built, pages):
    made = citation.made_from(ROOT, "quick")
    for path, page in pages.items():
        text, cite = re.sub(r"\s+", " ", "".join(page.text)), (built / "book" / "cite.html").resolve()
        if path != built / "index.html":  # which leads to the first page
            assert f"vaept {made['version']}" in text and made["commit"] in text and "profile quick." in text
            assert path == cite or sum((path.parent / link).resolve() == cite for link in page.links) >= 2
    assert "@misc{andresterre2019perturbation," in "".join(pages[built / "book" / "cite.html"].text)


def test_the_folder_is_a_process_run_crate(built, study):
    crate = json.loads((built / "ro-crate-metadata.json").read_text("utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"]) and "https://w3id.org/ro/crate/1.1/context" in crate["@context"]
    root, descriptor = entities["./"], entities["ro-crate-metadata.json"]
    assert descriptor["about"] == {"@id": "./"} and descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert root["conformsTo"]["@id"].startswith("https://w3id.org/ro/wfrun/process/")
    assert all(root[name] for name in ("name", "description", "datePublished", "license", "hasPart"))
    for entity in entities.values():
        values = [each for value in entity.values() for each in (value if isinstance(value, list) else [value])]
        referred = {value["@id"] for value in values if isinstance(value, dict)}
        assert referred - {"https://w3id.org/ro/crate/1.1"} <= entities.keys(), entity["@id"]
    files = {name for name, entity in entities.items() if entity["@type"] == "File"}
    assert files == {part["@id"] for part in root["hasPart"]}
    for name in files:
        assert (built / urllib.parse.unquote(name)).stat().st_size == int(entities[name]["contentSize"])
    actions = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert {action["@id"] for action in actions} == {one["@id"] for one in root["mentions"]}
    assert len(actions) == len({folder for _, folder in crate_of.results_of(study)}) + len(NOTEBOOKS) + 1
    for action in actions:
        assert action["instrument"] == {"@id": "#vaept"} and action["result"] and action["object"] and action["agent"]
        assert datetime.fromisoformat(action["endTime"]) >= datetime.fromisoformat(
            action.get("startTime", action["endTime"])
        )
    pages = {f"notebooks/{path.stem}.html" for path in NOTEBOOKS}
    assert pages <= {result["@id"] for action in actions for result in action["result"]}


def test_images_have_alternative_text(pages):
    images = [image for page in pages.values() for image in page.images if "_images" in image["src"]]
    assert len(images) >= 9
    assert all(len(image.get("alt") or "") > 40 and "/" not in image["alt"][:20] for image in images)


def test_no_markup_is_left_unrendered(pages):
    for path, page in pages.items():
        text = "".join(page.text)
        for mark in ("{glue", "{cite", "{eq}", "{numref", "{{ ", "```{", "—|"):  # the last: a table that was not made
            assert mark not in text or path.stem in ("search", "genindex"), f"{path.name}: {mark}"


def test_pages_show_the_profile_that_was_run(built):
    chapter = (built / "notebooks" / f"{NOTEBOOKS[-1].stem}.html").read_text("utf-8")
    assert "# Parameters" not in chapter and chapter.count("quick, digits or mnist") == 0
    assert 'open_study("quick")' in "".join(Page(built / "notebooks" / f"{NOTEBOOKS[-1].stem}.html").text)
    status = (built / "book" / "status.html").read_text("utf-8")
    assert "profile <strong>quick</strong>" in status and "training: cold, d = 4" in status and "torch" in status


def test_a_fresh_run_hands_the_same_numbers_to_the_prose_as_the_stored_one(executed):
    for stored, fresh in zip(NOTEBOOKS, executed, strict=True):
        old, new = (
            {name: ast.literal_eval(text) for name, text in glued(nbformat.read(path, 4)).items()}
            for path in (stored, fresh)
        )
        assert {name: type(value) for name, value in old.items()} == {name: type(value) for name, value in new.items()}
        assert all(math.isfinite(value) for value in new.values() if isinstance(value, float))


def test_executing_again_finds_everything_and_no_halves(study, executed, monkeypatch):
    monkeypatch.setattr(book, "run_python", None)
    assert not [path for path in executed if path.parent.with_name(f".{path.parent.name}.partial").exists()]
    lines = []
    assert book.execute(study, jobs=1, report=lines.append) == executed
    assert all("already executed" in line for line in lines)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A checkout of its own, whose book can be spoilt."""
    shutil.copytree(ROOT / "book", tmp_path / "book")
    for name in ("_config.yml", "CITATION.cff", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(book, "CHECKOUT", tmp_path)
    return tmp_path


def test_a_chapter_that_fails_is_named_with_its_error(study, copy):
    broken = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("profile = 'quick'", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("1 / 0"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(broken, copy / "notebooks" / "01_broken.ipynb")
    with pytest.raises(BookError, match=r"01_broken\.ipynb failed: ZeroDivisionError: division by zero"):
        book.execute(study, jobs=1)


def test_a_warning_fails_the_build_and_keeps_the_old_book(study, measured, executed, copy, tmp_path):
    output = tmp_path / "out"
    (output / "html").mkdir(parents=True)
    (output / "html" / "index.html").write_text("the old book")
    with (copy / "book" / "fidelity.md").open("a") as page:
        page.write("\nSee {numref}`no-such-figure`.\n")
    with pytest.raises(BookError, match="no-such-figure"):
        book.build(study, *measured, executed, output)
    assert (output / "html" / "index.html").read_text() == "the old book"
