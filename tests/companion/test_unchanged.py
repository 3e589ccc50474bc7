"""A book that would come out as it is is not made again; whatever goes into it or comes out of it is noticed."""

import os
import subprocess
import sys

import pytest

from vaept.companion import cli, commands, unchanged
from vaept.companion.cli import UNCHANGED


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with a store beside it, the options of the command, and what it made."""
    root, store, html = tmp_path / "checkout", tmp_path / "runs", tmp_path / "checkout" / "_build" / "quick" / "html"
    for name in ("book/_static/a.css", "vaept/model.py", "results/quick/records.json", "_build/other", ".venv/lib"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    result = store / "ensemble-1"
    for folder in (html / "notebooks", result):
        folder.mkdir(parents=True)
        (folder / "page").write_text("made")
    monkeypatch.setattr(unchanged, "CHECKOUT", root)
    data = tmp_path / "my.npz"
    data.write_bytes(b"images")
    options = {"profile": "quick", "data": str(data), "jobs": 2, "store": store, "output": None, "pdf": False}
    unchanged.remember(options, unchanged.inputs(options), "It holds.", [result], [html])
    return options, root, result, html, data


def recalled(options):
    return unchanged.recall(options, unchanged.inputs(options))


def test_the_same_is_recalled_however_many_processes(place):
    options, root, *_ = place
    assert recalled(options) == recalled(options | {"jobs": 1}) == "It holds."
    (root / "_build" / "other").write_text("results of something else")
    (root / ".venv" / "lib").unlink()
    assert recalled(options) == "It holds."


@pytest.mark.parametrize("name", ["book/_static/a.css", "vaept/model.py", "results/quick/records.json", "new.py"])
def test_every_source_counts(place, name):
    options, root, *_ = place
    (root / name).write_text("something else")
    assert recalled(options) is None


def test_data_results_pages_options_and_surroundings_count(place, monkeypatch):
    options, _, result, html, data = place
    assert recalled(options | {"pdf": True}) is recalled(options | {"profile": "digits"}) is None
    with monkeypatch.context() as other:
        other.setenv("GITHUB_REPOSITORY", "someone/theirs")
        assert recalled(options) is None
    for path in (data, result / "page", html / "notebooks" / "page"):
        kept, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        path.write_text("something else")
        assert recalled(options) is None, path
        path.write_bytes(kept)
        os.utime(path, ns=times)
        assert recalled(options) == "It holds."
    (html / "notebooks" / "page").unlink()
    assert recalled(options) is None


def test_what_cannot_be_read_is_made_again(place):
    options, *_ = place
    (note,) = (options["store"] / "books").iterdir()
    for text in ("", "{}", "[1]", note.read_text()[:-5]):
        note.write_text(text)
        assert recalled(options) is None


def test_outside_a_checkout_nothing_is_kept(place, monkeypatch):
    options, *_ = place
    monkeypatch.setattr(unchanged, "CHECKOUT", None)
    assert unchanged.inputs(options) is None and recalled(options) is None
    unchanged.remember(options | {"profile": "other"}, None, "", [], [])
    assert len(list((options["store"] / "books").iterdir())) == 1


def test_a_file_that_cannot_be_read_means_that_nothing_is_known(place, monkeypatch):
    options, *_ = place

    def refuse(path, mode):
        raise PermissionError(path)

    monkeypatch.setattr(unchanged.Path, "open", refuse)
    assert unchanged.inputs(options) is None


def test_the_command_makes_a_book_once(place, monkeypatch, capsys):
    options, _, result, html, _ = place
    calls = []

    def reproduce(**given):
        calls.append(given)
        return "It was made.", [result], [html]

    monkeypatch.setattr(commands, "reproduce", reproduce)
    for said in ("", f"{UNCHANGED}\nIt was made.\n"):
        cli.main(["reproduce", "--profile", "quick", "--store", str(options["store"])], standalone_mode=False)
        assert capsys.readouterr().out == said
    assert len(calls) == 1


def test_looking_takes_none_of_the_libraries_that_take_long_to_import():
    code = "import sys, vaept.companion.unchanged; print({'torch', 'scipy', 'sklearn', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stderr
