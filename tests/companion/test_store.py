import json
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from vaept.companion.store import CHECKPOINTS, RunStore, provenance
from vaept.errors import DamagedFileError, InputError
from vaept.files import write_json
from vaept.processes import lock


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


def interrupted(folder):
    (folder / "half").write_text("not kept")
    (folder / CHECKPOINTS).mkdir()
    (folder / CHECKPOINTS / "first").write_text("kept")
    raise KeyboardInterrupt


def test_an_interrupted_result_does_not_appear_and_goes_on_from_its_checkpoints(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        RunStore(tmp_path).obtain("thing", {}, interrupted)
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]

    def go_on(folder):
        assert [path.name for path in folder.iterdir()] == [CHECKPOINTS]
        (folder / "rest").write_text((folder / CHECKPOINTS / "first").read_text())

    folder = RunStore(tmp_path).obtain("thing", {}, go_on)
    assert sorted(path.name for path in folder.iterdir()) == ["provenance.json", "rest"]
    assert (folder / "rest").read_text() == "kept" and list(tmp_path.iterdir()) == [folder]


def test_a_half_that_nobody_holds_goes_when_a_store_is_opened(tmp_path):
    """Of one that failed, of one that was killed with its lock, and of one that is being made."""
    with pytest.raises(ZeroDivisionError):
        RunStore(tmp_path).obtain("failed", {}, lambda folder: (folder / "half").write_text("x") / 0)
    (tmp_path / ".killed-1.partial" / CHECKPOINTS).mkdir(parents=True)
    (tmp_path / ".killed-1.partial" / CHECKPOINTS / ".lock").touch()
    (tmp_path / ".killed-1.lock").touch()
    (tmp_path / ".made-1.partial").mkdir()
    with lock(tmp_path / ".made-1.lock"):
        RunStore(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".made-1.lock", ".made-1.partial"]
    RunStore(tmp_path)
    assert not list(tmp_path.iterdir())


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


def make_thing(folder):
    (folder / "value").write_text("right")
    write_json(folder / "numbers.json", "numbers", {"a": 1})
    (folder / "deeper").mkdir(exist_ok=True)
    (folder / "deeper" / "more").write_text("more")


def delete(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [delete, empty, cut, one_bit])
@pytest.mark.parametrize("name", ["value", "numbers.json", "deeper/more", "provenance.json"])
def test_a_damaged_result_is_named_and_made_again(name, damage, tmp_path):
    folder = RunStore(tmp_path).obtain("thing", {}, make_thing)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in ("value", "numbers.json")}
    damage(folder / name)
    with pytest.warns(UserWarning, match=f"{name}.*The result is made again"):
        again = RunStore(tmp_path).obtain("thing", {}, make_thing)
    assert again == folder
    assert {path: (folder / path).read_bytes() for path in before} == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RunStore(tmp_path).obtain("thing", {}, None) == folder


def test_a_file_that_was_added_is_not_taken_for_a_result(tmp_path):
    folder = RunStore(tmp_path).obtain("thing", {}, make_thing)
    (folder / "other").write_text("from elsewhere")
    with pytest.warns(UserWarning, match="other was added"):
        RunStore(tmp_path).obtain("thing", {}, make_thing)
    assert not (folder / "other").exists()


def test_what_was_said_of_the_making_is_checked(tmp_path):
    folder = RunStore(tmp_path).obtain("thing", {"a": 1}, make_thing)
    text = (folder / "provenance.json").read_text()
    (folder / "provenance.json").write_text(text.replace('"a": 1', '"a": 2'))
    with pytest.raises(DamagedFileError, match=r"provenance\.json"):
        provenance(folder)


def test_nothing_but_results_is_left_in_a_store(tmp_path):
    store = RunStore(tmp_path)
    folders = {store.obtain("thing", {"a": number}, make_thing) for number in range(5)}
    assert set(tmp_path.iterdir()) == folders
    with pytest.raises(ZeroDivisionError):
        store.obtain("thing", {}, lambda folder: 1 / 0)
    assert [path.suffix for path in tmp_path.iterdir() if path not in folders] == [".partial"]


def test_two_processes_make_a_result_once(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from vaept.companion.store import RunStore\n"
        "def make(folder):\n"
        "    with open(sys.argv[1] + '/made', 'a') as made: made.write('x')\n"
        "    time.sleep(0.5); (folder / 'value').write_text('1')\n"
        "for k in range(3): RunStore(Path(sys.argv[1]) / 'runs').obtain('thing', {'k': k}, make)"
    )
    askers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    assert [asker.communicate() and asker.returncode for asker in askers] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "xxx" and len(list((tmp_path / "runs").iterdir())) == 3


def test_results_that_are_missing_are_made_together(tmp_path):
    store, asked = RunStore(tmp_path), []

    def make(folders):
        asked.append(sorted(folders))
        for place, folder in folders.items():
            (folder / "number").write_text(str(place))

    first = store.obtain("thing", {"k": 1}, make_thing)
    requests = [{"k": k} for k in range(3)]
    found = store.obtain_together("thing", requests, make)
    assert asked == [[0, 2]] and found[1] == first and (found[2] / "number").read_text() == "2"
    assert store.obtain_together("thing", requests, make) == found and len(asked) == 1
