"""Files that were damaged, forged, cut, written by two, or written on a full disk."""

import json
import pathlib
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import SMALL
from safetensors.torch import save

from vaept import files
from vaept.companion.records import Records
from vaept.errors import DamagedFileError, InputError
from vaept.files import read_json, read_tensors, write_json, write_tensors
from vaept.perturbation.fields import Field, pca_field
from vaept.uses.classifier import Classifier
from vaept.vae.ensemble import Ensemble
from vaept.vae.evaluation import Evaluation, evaluate
from vaept.vae.fitting import fit

FLIPS = 150


def flips(content, seed=0, n=FLIPS):
    """Copies of a file's content with one changed byte each, half of them in its first 2 000 bytes, and cut ones."""
    generator = np.random.default_rng(seed)
    for number in range(n):
        damaged = bytearray(content)
        place = generator.integers(min(len(content), 2000) if number % 2 else len(content))
        damaged[place] ^= 1 << generator.integers(8)
        yield bytes(damaged)
    for length in generator.integers(len(content), size=n // 10):
        yield content[:length]


@pytest.fixture(scope="module")
def saved(ensemble, judge, digits, tmp_path_factory):
    """A file of every kind, with the function that reads it."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a sign hangs on little, with so few images
        field = pca_field(digits.train[:60, 10:40], 2)
    evaluation = evaluate(ensemble, digits.test[:20], n_likelihood_images=0, jobs=1)
    things = {
        "ensemble": (ensemble, Ensemble.load),
        "evaluation": (evaluation, Evaluation.load),
        "field": (field, Field.load),
        "classifier": (judge, Classifier.load),
    }
    for name, (thing, _) in things.items():
        thing.save(folder / name)
    fit(digits, seeds=[0], jobs=1, checkpoint=folder / "members", **SMALL)
    (folder / "members" / "member-0.safetensors").rename(folder / "member")
    loaders = {name: load for name, (_, load) in things.items()}
    return folder, loaders | {"member": lambda path: read_tensors(path, "member")}


def content_of(thing, folder):
    """What a thing holds, as bytes that are equal if all of it is equal."""
    if isinstance(thing, tuple):
        header, tensors = thing
        return json.dumps(header).encode() + save(tensors)
    thing.save(folder / "again")
    return (folder / "again").read_bytes()


@pytest.mark.parametrize("kind", ["ensemble", "evaluation", "field", "classifier", "member"])
def test_a_damaged_file_is_refused_by_name_or_reads_as_it_was(kind, saved, tmp_path):
    folder, loaders = saved
    content, load = (folder / kind).read_bytes(), loaders[kind]
    expected, refused = content_of(load(folder / kind), tmp_path), 0
    for damaged in flips(content):
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(damaged)
        try:
            found = load(path)
        except (DamagedFileError, InputError) as error:
            assert "damaged.safetensors" in str(error)
            refused += 1
        else:
            assert content_of(found, tmp_path) == expected
    assert refused > FLIPS


def test_a_header_that_says_something_else_is_refused(saved, tmp_path):
    """The epochs that a checkpoint has done, and what an ensemble was trained with."""
    folder, loaders = saved
    changes = [("member", '"done": 3', '"done": 2'), ("ensemble", '"epochs": 3', '"epochs": 7')]
    changes += [("ensemble", '"learning_rate": 0.003', '"learning_rate": 0.004'), ("ensemble", "[8, 8]", "[4, 16]")]
    for kind, before, after in changes:
        content = (folder / kind).read_bytes()
        before, after = (json.dumps(text)[1:-1].encode() for text in (before, after))
        assert content.count(before) == 1 or kind == "ensemble"
        # The same length, or the header's length would give it away.
        (tmp_path / kind).write_bytes(content.replace(before, after.ljust(len(before))[: len(before)], 1))
        with pytest.raises(DamagedFileError, match="is damaged"):
            loaders[kind](tmp_path / kind)


def rewritten(path, kind, target, change):
    """A file with a right checksum whose header was changed."""
    header, tensors = read_tensors(path, kind)
    write_tensors(target, kind, change(header), tensors)
    return target


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h | {"settings": h["settings"] | {"hidden": [10**7]}},
        lambda h: h | {"settings": h["settings"] | {"hidden": [10**12, 10**12]}},
        lambda h: h | {"settings": h["settings"] | {"latent_dim": 10**9}},
        lambda h: h | {"settings": h["settings"] | {"latent_dim": "2"}},
        lambda h: h | {"settings": h["settings"] | {"colour": "red"}},
        lambda h: h | {"settings": None},
        lambda h: h | {"seeds": h["seeds"] * 2},
        lambda h: h | {"seeds": [{"weights": -1, "order": 0, "noise": 0}] * 3},
        lambda h: h | {"seeds": 3},
        lambda h: h | {"pixels": 10**9},
        lambda h: h | {"pixels": None},
        lambda h: h | {"image_shape": [8, 9]},
        lambda h: h | {"image_shape": "8x8"},
        lambda h: h | {"settings": h["settings"] | {"epochs": 5}},
        lambda h: {key: value for key, value in h.items() if key != "data_checksum"},
    ],
)
def test_a_forged_header_is_refused_before_memory_is_taken(change, saved, tmp_path):
    folder, _ = saved
    path = rewritten(folder / "ensemble", "ensemble", tmp_path / "forged", change)
    with pytest.raises(DamagedFileError, match="forged"):
        Ensemble.load(path)


def test_deeply_nested_or_odd_json_is_refused(tmp_path):
    path = tmp_path / "value.json"
    for text in ["", "[" * 100_000, "3", "null", '{"file": 3}', '{"a": 1}', "{", "\xff", '{"file": {"format": 2}}']:
        path.write_text(text, "latin-1")
        with pytest.raises(DamagedFileError, match=r"value\.json"):
            read_json(path, "numbers")
    metadata = {"vaept": files._checksum("[" * 100_000, {}) + "[" * 100_000}
    path.write_bytes(save({}, metadata=metadata))
    with pytest.raises(DamagedFileError, match=r"value\.json"):
        read_tensors(path, "field")


def test_a_damaged_json_file_is_refused_by_name_or_reads_as_it_was(tmp_path):
    path, value = tmp_path / "numbers.json", {"Rand index": [0.25, 1e-3, float("nan")], "names": {"ä": None}}
    write_json(path, "numbers", value)
    content, refused = path.read_bytes(), 0
    assert str(read_json(path, "numbers")) == str(value)
    for damaged in flips(content, n=1000):
        path.write_bytes(damaged)
        try:
            found = read_json(path, "numbers")
        except DamagedFileError as error:
            assert "numbers.json" in str(error)
            refused += 1
        else:
            assert str(found) == str(value)
    assert refused > 900
    write_json(path, "numbers", value)
    with pytest.raises(DamagedFileError, match="is no agreement file"):
        read_json(path, "agreement")
    with pytest.raises(InputError, match="There is no file"):
        read_json(tmp_path / "nowhere", "numbers")


def test_one_digit_of_the_published_numbers(records, tmp_path):
    records.save(tmp_path)
    path = tmp_path / "records.json"
    text = path.read_text("utf-8")
    place = next(i for i in range(text.index("minus_elbo"), len(text)) if text[i].isdigit())
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :], "utf-8")
    with pytest.raises(DamagedFileError, match=r"records\.json is damaged"):
        Records.load(tmp_path)


def test_files_of_older_formats_say_so(tmp_path):
    header = json.dumps({"format": 1, "kind": "field", "checksum": "0"})
    (tmp_path / "old").write_bytes(save({"a": torch.zeros(1)}, metadata={"vaept": header}))
    with pytest.raises(DamagedFileError, match="another version of vaept"):
        read_tensors(tmp_path / "old", "field")


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "value.json"
    write_json(path, "numbers", {"a": 1})
    real = pathlib.Path.open

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def write(self, content):
            self.stream.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "open", lambda self, mode="r", **how: Full(real(self, mode, **how)))
    with pytest.raises(InputError, match=r"No space left on device\. Free some space"):
        write_json(path, "numbers", {"a": 2})
    monkeypatch.undo()
    assert read_json(path, "numbers") == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_missing_folder_is_no_full_disk(tmp_path):
    with pytest.raises(InputError, match="Choose another place"):
        write_json(tmp_path / "nowhere" / "value.json", "numbers", {})


def test_two_writers_in_threads_and_processes_leave_one_whole_file(tmp_path):
    """800 writes to one name by two processes of four threads each."""
    code = (
        "import sys, torch; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        "from vaept.files import write_tensors\n"
        "def write(k): write_tensors(Path(sys.argv[1]), 'thing', {'k': k}, {'x': torch.full((5000,), k)})\n"
        "list(ThreadPoolExecutor(4).map(write, range(int(sys.argv[2]), int(sys.argv[2]) + 400)))"
    )
    path = tmp_path / "thing"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(start)]) for start in (0, 400)]
    read = 0
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            header, tensors = read_tensors(path, "thing")
            assert (tensors["x"] == header["k"]).all()
            read += 1
    assert [writer.returncode for writer in writers] == [0, 0] and read
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / ".thing.123-ab.partial").write_text("half")
    (tmp_path / "thing").write_text("whole")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(files.remove_partials, [tmp_path] * 2))
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]
