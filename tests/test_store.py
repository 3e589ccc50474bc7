import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vaept import store
from vaept.errors import InputError
from vaept.store import RunStore, imported_modules, source_hash


def test_a_result_is_made_once(tmp_path):
    store, made = RunStore(tmp_path), []

    def make(folder):
        made.append(folder)
        (folder / "value").write_text("1")

    first = store.obtain("thing", {"a": 1, "b": [2, 3]}, make)
    assert store.obtain("thing", {"b": (2, 3), "a": 1}, make) == first and len(made) == 1
    assert store.obtain("thing", {"a": 2}, make) != first and len(made) == 2
    assert store.obtain("other", {"a": 1, "b": [2, 3]}, make) != first
    assert (first / "value").read_text() == "1"


def test_provenance_says_what_made_it(tmp_path):
    folder = RunStore(tmp_path).obtain("thing", {"a": 1}, lambda folder: None)
    record = json.loads((folder / "provenance.json").read_text())
    assert record["request"] == {"a": 1} and record["kind"] == "thing" and record["key"] in folder.name
    assert {"python", "torch", "numpy", "vaept"} <= record["versions"].keys() and record["seconds"] >= 0


def test_an_interrupted_result_does_not_appear_and_goes_on_in_its_folder(tmp_path):
    store = RunStore(tmp_path)

    def interrupted(folder):
        (folder / "half").write_text("kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.obtain("thing", {}, interrupted)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    folder = store.obtain("thing", {}, lambda folder: (folder / "rest").write_text("new"))
    assert (folder / "half").read_text() == "kept" and (folder / "rest").exists()


def test_two_askers_at_once_get_one_result(tmp_path):
    made = []

    def make(folder):
        made.append(folder)
        time.sleep(0.3)
        (folder / "value").write_text("1")

    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: RunStore(tmp_path).obtain("thing", {}, make), range(3)))
    assert len(made) == len(folders) == 1 and (folders.pop() / "value").exists()


def test_unwritable_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        RunStore(tmp_path / "file" / "runs")


def test_imports_are_found():
    source = "import torch\nfrom vaept import figures, __version__\nfrom vaept.study import open_study\n"
    assert imported_modules(source) == {"figures", "study"}


def test_source_hash_follows_imports(tmp_path, monkeypatch):
    (tmp_path / "upper.py").write_text("from vaept.lower import f\n")
    (tmp_path / "lower.py").write_text("def f(): ...\n")
    (tmp_path / "apart.py").write_text("")
    monkeypatch.setattr(store, "PACKAGE", tmp_path)
    hashes = []
    for name, text in [("apart", "x = 1"), ("lower", "def f(): return 1"), ("upper", "from vaept.lower import f as g")]:
        (tmp_path / f"{name}.py").write_text(text)
        source_hash.cache_clear()
        hashes.append(source_hash("upper"))
    source_hash.cache_clear()
    assert len(set(hashes)) == 3
    assert source_hash("upper") == hashes[-1]


def test_figures_do_not_retrain():
    source = (store.PACKAGE / "training.py").read_text("utf-8")
    assert "figures" not in imported_modules(source) and "study" not in imported_modules(source)


def test_words_do_not_retrain_and_code_does(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PACKAGE", tmp_path)

    def of(text):
        (tmp_path / "one.py").write_text(text)
        source_hash.cache_clear()
        return source_hash("one")

    plain = of("def f(x):\n    return x + 1\n")
    assert of('"""What it is for."""\n\n\ndef f(x):\n    """Add one."""\n    # why\n    return (x + 1)\n') == plain
    assert of("def f(x):\n    return x + 2\n") != plain
    assert of("def f(x):\n    y = 'a string that is no docstring'\n    return x + 1\n") != plain
    source_hash.cache_clear()
