"""The built book: executed from the quick profile, then read as a browser would."""

import ast
import html.parser
import math
import os
import re
import shutil
import sys
import urllib.parse
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from test_notebooks import NOTEBOOKS, glued
from test_project import run

from vaept.companion import book
from vaept.companion.book import BookError
from vaept.companion.ledger import ledger
from vaept.companion.profiles import profile
from vaept.companion.store import RunStore
from vaept.companion.study import Study

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.files


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

    def make_book():
        return run(*command, env=environment)

    return SimpleNamespace(copy=copy, store=store, make_book=make_book, first=make_book())


def test_make_book_from_a_copy_of_the_tracked_files(made):
    """The first command; and again with nothing changed."""
    first = made.first
    assert first.returncode == 0, first.stdout + first.stderr
    index = made.copy / "_build" / "quick" / "html" / "index.html"
    assert index.exists() and f"The book: {index}" in first.stdout
    for part in ("cold, d = 2", "chapters", "in all", "C4  ", "coordinate agreement, no alignment"):
        assert part in first.stdout
    again = made.make_book()
    assert again.returncode == 0 and again.stdout.count("already executed") == len(NOTEBOOKS)
    assert "members" not in again.stderr


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


def test_every_page_of_the_contents_is_there(built):
    names = {str(path.relative_to(built)) for path in built.rglob("*.html")}
    expected = {f"notebooks/{path.stem}.html" for path in NOTEBOOKS}
    expected |= {
        f"book/{name}.html"
        for name in ("intro", "explore", "fidelity", "status", "cluster", "glossary", "bibliography")
    }
    assert expected <= names and "index.html" in names


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


def test_the_whole_book_is_one_file_too(built, pages):
    with zipfile.ZipFile(built.parent / "vaept-book-quick.zip") as archive:
        inside = set(archive.namelist())
    assert {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()} <= inside


def test_images_have_alternative_text(pages):
    images = [image for page in pages.values() for image in page.images if "_images" in image["src"]]
    assert len(images) >= 9
    assert all(len(image.get("alt") or "") > 40 and "/" not in image["alt"][:20] for image in images)


def test_no_markup_is_left_unrendered(pages):
    for path, page in pages.items():
        text = "".join(page.text)
        for mark in ("{glue", "{cite", "{eq}", "{numref", "{{", "```{", "—|"):  # the last: a table that was not made
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
    shutil.copy(ROOT / "_config.yml", tmp_path)
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
