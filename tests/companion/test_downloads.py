"""What a reader takes along: the notebooks to download, and how the book is cited."""

import json
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml

import vaept
from vaept.companion import citation, downloads, pdf

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MADE = {"version": vaept.__version__, "commit": "0123456789-dirty", "profile": "quick"}
PUBLISHED = MADE | {"repository": "https://example.org/someone/book"}
LOCAL = MADE | {"repository": ""}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Sources with what is downloaded, from the stored notebooks."""
    source = tmp_path_factory.mktemp("source")
    (source / "notebooks").mkdir()
    for path in NOTEBOOKS:
        downloads.write(source, path.stem, json.loads(path.read_text("utf-8")), LOCAL)
    return source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_notebook_has_all_and_one_is_to_be_worked_in(written, path):
    stored = nbformat.read(path, 4)
    whole, rest = (
        nbformat.read(written / "downloads" / name, 4) for name in (path.name, f"{path.stem}_exercises.ipynb")
    )
    for notebook in (whole, rest, nbformat.read(written / "notebooks" / path.name, 4)):
        nbformat.validate(notebook)
        assert notebook.cells[0].source.startswith("# Where vaept is missing")
    assert whole.cells[1:] == stored.cells
    assert [cell.id for cell in rest.cells] == [cell.id for cell in whole.cells]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in rest.cells)
    text, left = ("\n".join(cell.source for cell in notebook.cells) for notebook in (whole, rest))
    assert "{dropdown} Solution" in text and "Solution" not in left
    assert left.count("{admonition} Exercise") == text.count("{admonition} Exercise")


def test_the_branch_to_launch_has_a_book_and_what_it_needs(written, tmp_path):
    (written / "book").mkdir()
    for name in ("book/_toc.yml", "_config.yml"):
        (written / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "old").touch()
    downloads.write_content(written, ROOT, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"binder", "content"}
    toc, config = (yaml.safe_load((tmp_path / "content" / name).read_text()) for name in ("_toc.yml", "_config.yml"))
    assert config["execute"]["execute_notebooks"] == "force" and config["title"]
    chapters = [chapter.get("file") for part in toc["parts"] for chapter in part["chapters"]]
    assert {f"notebooks/{path.stem}" for path in NOTEBOOKS} < set(chapters)
    assert all((tmp_path / "content" / "notebooks" / path.name).is_file() for path in NOTEBOOKS)
    needed = (tmp_path / "binder" / "requirements.txt").read_text()
    assert needed.startswith((ROOT / "requirements.lock").read_text()) and needed.endswith("\n--editable .\n")


def test_a_solution_ends_where_its_own_fence_does():
    text = "````{admonition} Exercise 1\nWhy?\n\n```{dropdown} Solution\nSo:\n\n    x\n```\n````\n\nAfter."
    cell = {"cell_type": "markdown", "source": text.splitlines(keepends=True)}
    (rest,) = downloads.without_solutions({"cells": [cell]})["cells"]
    assert rest["source"] == "````{admonition} Exercise 1\nWhy?\n\n````\n\nAfter."
    assert "Solution" in "".join(cell["source"])


def test_values_stand_in_place_of_roles():
    text = "a {glue:text}`x:.2f` b {glue:text}`words`, of\n{glue:text}`n`. The"
    values = {"x": 1.2345, "words": "1 [0, 2]", "n": 1}
    assert downloads.filled(text, values) == "a 1.23 b 1 \\[0, 2\\], of\n1\\. The"
    assert downloads.filled(text, values, str) == "a 1.23 b 1 [0, 2], of\n1. The"
    with pytest.raises(KeyError, match="x"):
        downloads.filled(text, {})


@pytest.fixture
def commands(monkeypatch):
    """What the first cell would run."""
    called = []
    monkeypatch.setattr(subprocess, "run", lambda command, *, check: called.append(command))
    return called


@pytest.mark.parametrize("made", [LOCAL, PUBLISHED], ids=["local", "published"])
def test_the_first_cell_does_nothing_where_the_package_is(made, commands):
    exec(downloads.install_cell(made)["source"], {})
    assert not commands


def test_the_first_cell_installs_what_is_pinned_where_the_package_is_not(commands, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.chdir(tmp_path)
    exec(downloads.install_cell(PUBLISHED)["source"], {})
    clone, checkout, pip = commands
    assert clone[:2] == ["git", "clone"] and PUBLISHED["repository"] in clone
    assert checkout[-1] == "0123456789" and any(part.endswith("/requirements.lock") for part in pip)
    with pytest.raises(ImportError, match="make book"):
        exec(downloads.install_cell(LOCAL)["source"], {})


def test_bibtex_says_what_the_citation_file_says():
    from pybtex.database import parse_string

    cited = citation.citation(ROOT)
    entries = parse_string(citation.bibtex(cited, PUBLISHED), "bibtex").entries
    paper, own = entries["andresterre2019perturbation"], entries["vaept"]
    given = parse_string((ROOT / "book" / "references.bib").read_text("utf-8"), "bibtex").entries[paper.key]
    assert paper.fields["eprint"] == given.fields["eprint"] == "1907.05267" and paper.fields["year"] == "2019"
    assert [str(name) for name in paper.persons["author"]] == ["Andrés-Terré, Helena", "Liò, Pietro"]
    assert own.fields["version"] == cited["version"] and cited["title"] in own.fields["title"]
    assert (
        own.fields["url"] == PUBLISHED["repository"] and own.fields["note"] == "commit 0123456789-dirty, profile quick"
    )
    assert "url" not in parse_string(citation.bibtex(cited, LOCAL), "bibtex").entries["vaept"].fields


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    inside = tmp_path / "inside"
    inside.mkdir()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = citation.made_from(tmp_path, "quick")["commit"]
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert len(commit) == 10 and head.startswith(commit)
    (tmp_path / "file").write_text("two")
    assert citation.made_from(tmp_path, "quick")["commit"] == f"{commit}-dirty"
    assert citation.made_from(inside, "quick") == MADE | {"commit": "", "repository": ""}


def test_the_archive_is_told_what_the_citation_file_says():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    zenodo = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
    for name in ("title", "license", "version", "keywords"):
        assert zenodo[name] == cited[name]
    assert zenodo["description"] == cited["abstract"] and zenodo["upload_type"] == cited["type"]
    assert zenodo["publication_date"] == str(cited["date-released"])
    assert zenodo["creators"] == cited["authors"]
    papers = [own["value"] for paper in cited["references"] for own in paper["identifiers"]]
    assert [related["identifier"] for related in zenodo["related_identifiers"]] == papers


def test_the_whole_is_one_page_whose_links_stay_in_it(tmp_path):
    head = '<html><head><link rel="stylesheet" href="../_static/a.css"><script>other()</script></head>'
    first = '<a href="../notebooks/two.html">x</a> <a href="../notebooks/two.html#part">y</a> <a href="#own">z</a>'
    second = '<a href="../_downloads/two.ipynb">v</a> <a href="https://example.org">w</a><script>run()</script>'
    for name, article in (("book/one", first), ("notebooks/two", second)):
        (tmp_path / name).parent.mkdir()
        page = f'{head}<nav></nav><article class="bd-article">{article}</article></html>'
        (tmp_path / f"{name}.html").write_text(page, "utf-8")
    whole = pdf.joined(tmp_path, ["book/one", "notebooks/two"])
    for part in ('<a href="#page-notebooks-two">x', '<a href="#part">y', '<a href="#own">z', "<a >v", "example.org"):
        assert part in whole
    assert whole.count("../_static/a.css") == 1 and "<nav>" not in whole and "script" not in whole
    assert 'id="page-book-one"' in whole and 'id="page-notebooks-two"' in whole


def test_without_a_browser_nothing_is_printed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pdf.browser() is None
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert pdf.browser() is None
