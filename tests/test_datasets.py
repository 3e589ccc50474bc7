import dataclasses
import functools
import gzip
import hashlib
import http.server
import importlib.util
import io
import os
import re
import struct
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from vaept import array_files, datasets
from vaept.errors import DownloadError, InputError

SCANPY = Path(importlib.util.find_spec("scanpy").origin).parent


def write_idx(path, array):
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def official(tmp_path, monkeypatch, rng):
    """A folder with four small files in MNIST's format, whose checksums stand for the official ones."""
    folder = tmp_path / "server" / "mnist"
    folder.mkdir(parents=True)
    shapes = {"train-images": (30, 5, 4), "train-labels": (30,), "t10k-images": (12, 5, 4), "t10k-labels": (12,)}
    sums = {}
    for name in datasets.MNIST_SHA256:
        shape = shapes["-".join(name.split("-")[:2])]
        write_idx(folder / name, rng.integers(0, 256 if len(shape) > 1 else 10, shape).astype(np.uint8))
        sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "MNIST_SHA256", sums)
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.delenv("VAEPT_DATA_DIR", raising=False)
    return folder


@pytest.fixture
def server(official):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=official.parent))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_digits_are_what_scikit_learn_embeds(digits):
    assert digits.train.shape == (1438, 64) and digits.test.shape == (359, 64)
    assert digits.image_shape == (8, 8) and digits.pixels == 64
    assert digits.train.dtype == np.float32 and digits.train.min() == 0 and digits.train.max() == 1
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))


def test_data_cannot_be_changed_by_accident(digits):
    with pytest.raises(ValueError):
        digits.train[0, 0] = 2


def test_loading_twice_gives_the_same(digits):
    again = datasets.load("digits")
    assert again.checksum == digits.checksum
    assert np.array_equal(again.test, digits.test)


def test_npz_splits_every_example_once(tmp_path, rng):
    x = rng.integers(0, 256, (100, 3, 2)).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=x, y=np.arange(100))
    mine = datasets.load(tmp_path / "mine.npz")
    assert mine.name == "mine" and mine.image_shape == (3, 2) and mine.pixels == 6
    order = np.concatenate([mine.train_labels, mine.test_labels])
    assert sorted(order) == list(range(100))
    assert np.allclose(np.concatenate([mine.train, mine.test]), x[order].reshape(100, 6) / 255)


def test_npz_without_labels(tmp_path, rng):
    np.savez(tmp_path / "mine.npz", x=rng.random((60, 4)))
    mine = datasets.load(str(tmp_path / "mine.npz"))
    assert mine.train_labels is None and mine.test_labels is None and mine.image_shape == (4,)


def test_checksum_depends_on_data_labels_and_shape(tmp_path, rng):
    x = rng.random((60, 4))
    seen = set()
    for arrays in ({"x": x}, {"x": x.reshape(60, 2, 2)}, {"x": x, "y": np.arange(60)}, {"x": x[::-1]}):
        np.savez(tmp_path / "a.npz", **arrays)
        seen.add(datasets.load(tmp_path / "a.npz").checksum)
    assert len(seen) == 4


GOOD = np.full((60, 4), 0.5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": GOOD}, "named x.*holds images"),
        ({"x": np.where(np.arange(4) == 1, np.nan, GOOD)}, "must be finite; 60 of its values"),
        ({"x": GOOD * 300}, r"\[0, 1\].*150 to 150"),
        ({"x": GOOD - 1}, r"\[0, 1\]"),
        ({"x": GOOD[:10]}, "10 images; at least 60"),
        ({"x": GOOD[:, 0]}, r"shape \(n, …\)"),
        ({"x": GOOD[:, :0]}, r"shape \(n, …\)"),
        ({"x": GOOD.astype(str)}, "real numbers"),
        ({"x": GOOD, "y": np.arange(5)}, "60 integers"),
        ({"x": GOOD, "y": np.arange(60.0)}, "60 integers"),
    ],
)
def test_npz_that_cannot_be_used_says_why(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=message):
        datasets.load(tmp_path / "bad.npz")


def test_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.array([{}] * 60, dtype=object))
    with pytest.raises(InputError, match="plain arrays"):
        datasets.load(tmp_path / "bad.npz")


def test_truncated_npz(tmp_path, rng):
    np.savez(tmp_path / "cut.npz", x=rng.random((100, 50)))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable"):
        datasets.load(tmp_path / "cut.npz")


def npy_bytes(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def npy_with_header(text, data=b"", version=1):
    """A .npy file with any text for a header."""
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin1") + data


def write_zip(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def labelled(path, save=np.savez):
    save(path, x=np.arange(240, dtype=np.uint8).reshape(60, 4), y=np.arange(60))
    return path


def change(path, where, new, after=b"PK\1\2"):
    """Overwrite bytes at a distance from the first `after`; by default from the first entry of the directory."""
    content = bytearray(path.read_bytes())
    start = content.index(after) + where
    content[start : start + len(new)] = new
    path.write_bytes(content)


def refusal(path, most=4e6):
    """The sentence with which a file is refused, before `most` bytes are taken."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as error:
            datasets.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert peak < most, f"{peak} bytes for: {message}"
    assert str(path) in message and message.endswith(".") and message.isprintable() and len(message) < 1000
    return message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("file", ["path", "stream", "unseekable"])
def test_npz_however_numpy_writes_it(tmp_path, rng, save, file):
    class Unseekable(io.RawIOBase):  # zipfile then puts sizes and checksums behind the entries
        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    x, path = rng.random((60, 2, 3)), tmp_path / "mine.npz"
    arrays = {"größe": np.zeros(0), "x": x, "objects": np.array([{}]), "y": np.arange(60)}
    if file == "path":
        save(path, **arrays)
    elif file == "stream":
        with path.open("wb") as stream:
            save(stream, **arrays)
    else:
        sink = Unseekable()
        save(sink, **arrays)
        path.write_bytes(sink.content)
    mine = datasets.load(path)
    order = np.concatenate([mine.train_labels, mine.test_labels])
    assert np.array_equal(np.concatenate([mine.train, mine.test]), x[order].reshape(60, 6).astype(np.float32))


@pytest.mark.parametrize("kind", ["bool", "float16", ">f4", ">f8", "<f8", "<i4", ">u2", "longdouble", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_of_every_plain_type_keeps_its_values(tmp_path, rng, kind, order):
    x = rng.random((60, 2, 3))
    x = np.asarray(x * 255 if kind == "u1" else x > 0.5 if np.dtype(kind).kind in "biu" else x, dtype=kind, order=order)
    y = np.arange(60, dtype=">i4")
    np.savez(tmp_path / "a.npz", x=x, y=y)
    expected = datasets.from_arrays((x / np.float32(255) if kind == "u1" else x).tolist(), list(range(60)))
    assert datasets.load(tmp_path / "a.npz").checksum == expected.checksum


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npz_with_every_version_of_the_header(tmp_path, rng, version):
    x, stream = rng.random((60, 4)), io.BytesIO()
    np.lib.format.write_array(stream, x, version=version)
    write_zip(tmp_path / "a.npz", [("x.npy", stream.getvalue())])
    assert datasets.load(tmp_path / "a.npz").checksum == datasets.from_arrays(x).checksum


def test_the_embedded_digits_are_the_same_as_ever(digits):
    assert digits.checksum == "1183c1bf6b61abb27d07b15469255a01502fc571ca4af75c351b0c2c74a7b0fa"
    assert digits.classes == tuple(range(10)) and digits.notes == ()


def test_rounding_of_a_rescaling_is_forgiven(rng):
    x = rng.random((60, 4))
    x[3, 1], x[4, 2] = 1 + 2e-16, -1e-9
    found = datasets.from_arrays(x)
    assert max(found.train.max(), found.test.max()) == 1 and min(found.train.min(), found.test.min()) == 0
    with pytest.raises(InputError, match=r"x must lie in \[0, 1\].*rescale"):
        datasets.from_arrays(x + 0.01)


def test_bytes_of_zero_and_one_are_not_divided_and_others_are(tmp_path, rng):
    bits = rng.integers(0, 2, (60, 4)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", x=bits)
    with pytest.warns(UserWarning, match="taken as 0 and 1, not divided by 255"):
        found = datasets.load(tmp_path / "a.npz")
    assert set(np.unique(found.train)) == {0, 1} and "0 or 1 only" in found.notes[0]
    assert datasets.from_arrays(255 * bits).checksum == found.checksum
    assert datasets.from_arrays(255 * bits).notes == ("Bytes were divided by 255.",)


@pytest.mark.parametrize("given", [[-3, 7, 10**12], [1, 2, 3], [-(2**63), 0, 2**63 - 1]])
def test_classes_are_numbered_and_keep_their_labels(rng, given):
    y, x = np.array(given)[rng.integers(0, 3, 60)], rng.random((60, 4))
    found = datasets.from_arrays(x, y)
    assert found.classes == tuple(given) and found.train_labels.dtype == np.int64
    own = np.array(found.classes)[np.concatenate([found.train_labels, found.test_labels])]
    order = [np.flatnonzero((x.astype(np.float32) == row).all(axis=1))[0] for row in (*found.train, *found.test)]
    assert np.array_equal(own, y[order]) and np.bincount(found.train_labels).sum() == 48
    assert found.checksum != datasets.from_arrays(x, y + (y == given[1])).checksum


def test_labels_that_do_not_fit_into_64_bits(rng):
    with pytest.raises(InputError, match="y must fit in 64 bits"):
        datasets.from_arrays(rng.random((60, 4)), np.full(60, 2**63, dtype=np.uint64))


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((1, 8, 8), (8, 8)),
        ((8, 8, 1), (8, 8)),
        ((1,), (1,)),
        ((1, 1), (1,)),
        ((2,), (2,)),
        ((2, 2), (2, 2)),
        ((3, 8, 8), (3, 8, 8)),
        ((8, 8, 3), (8, 8, 3)),
    ],
)
def test_sides_of_one_are_dropped_and_others_kept(rng, shape, kept):
    x = rng.random((60, *shape))
    found = datasets.from_arrays(x)
    assert found.image_shape == kept and bool(found.notes) == (kept != shape and shape != (1,))
    assert found.checksum == datasets.from_arrays(x.reshape(60, *kept)).checksum


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a$b", "a-b"),
        ("<b>x</b>", "b-x-b"),
        ("my data_2", "my data_2"),
        ("größe", "größe"),
        ("a\nb", "a-b"),
        ("$", "data"),
        ("_x_", "x"),
        ("[a](b)*`|", "a-(b)"),
        ("n" * 300, "n" * 60),
        ("�1", "1"),
    ],
)
def test_names_are_no_markup(rng, name, plain):
    found = datasets.from_arrays(rng.random((60, 4)), name=name)
    assert found.name == plain and bool(found.notes) == (name != plain)


def test_a_file_of_a_known_name_is_not_taken_for_it(tmp_path, rng):
    np.savez(tmp_path / "mnist.npz", x=rng.random((60, 4)))
    assert datasets.load(tmp_path / "mnist.npz").name == "mnist (own file)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "name or the path"),
        (None, "name or the path"),
        (GOOD, "from_arrays"),
        (b"a.npz", "name or the path"),
        ("a\x00.npz", "must be a path"),
        (".", "folder is no data set"),
        ("a\nb.npz", r"no file a b\.npz\.$"),
    ],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(InputError, match=message):
        datasets.load(source)


def test_arrays_of_every_container(rng):
    x, y = rng.random((60, 3, 2), dtype=np.float32), rng.integers(0, 3, 60)
    plain = datasets.from_arrays(x, y)
    for other in (
        x.tolist(),
        torch.tensor(x, requires_grad=True),
        np.ma.masked_array(x, False),
        x + 0j,
        np.asfortranarray(x),
    ):
        assert datasets.from_arrays(other, torch.tensor(y)).checksum == plain.checksum
    for wrong, message in [
        (np.ma.masked_array(x, x > 0.9), "masked values"),
        (x + 0.5j, "imaginary"),
        ([["a"]] * 60, "real numbers"),
        ([[1], [1, 2]], "different shapes"),
        (None, "real numbers"),
        (x[:, :, :0], "shape"),
        (x[:59], "59 images; at least 60"),
    ]:
        with pytest.raises(InputError, match=f"^x .*{message}"):
            datasets.from_arrays(wrong)


def test_a_data_set_made_by_hand_is_checked(digits, rng):
    x = rng.random((9, 4, 5))
    made = datasets.Dataset("mine", x, x[:3], [5, 5, 7] * 3, [9, 5, 5])
    assert made.train.dtype == np.float32 and made.train.shape == (9, 20) and made.image_shape == (4, 5)
    assert made.classes == (5, 7, 9) and made.test_labels.tolist() == [2, 0, 0] and len(made.checksum) == 64
    with pytest.raises(ValueError):
        made.train[0, 0] = 0.5
    x[:] = 0
    assert made.train.max() > 0
    again = dataclasses.replace(made, checksum="wrong")
    assert again.checksum == made.checksum and again.classes == made.classes
    assert dataclasses.replace(digits, train_labels=None, test_labels=None).classes == ()
    for change, message in [
        ({"train": x[:, 0, 0]}, "train must have shape"),
        ({"train": x * np.nan}, "train must be finite"),
        ({"train": x + 2}, r"train must lie in \[0, 1\]"),
        ({"train": np.full((9, 4, 5), 200, np.uint8)}, "divide bytes by 255"),
        ({"train": "images"}, "train must be an array"),
        ({"test": x[:, :2]}, r"test must have shape \(n, 20\)"),
        ({"test": x[:0]}, "test must have shape"),
        ({"train_labels": [0] * 8}, "train_labels must hold 9 integers"),
        ({"train_labels": None}, "train_labels is missing"),
        ({"train_labels": [3] * 9}, "train_labels must be rows of classes, from 0 to 2"),
        ({"classes": (7, 5, 9)}, "classes must ascend"),
        ({"classes": 3}, "classes must hold"),
        ({"image_shape": 20.0}, "image_shape must be an integer"),
        ({"image_shape": (3, 7)}, r"train must have shape \(n, 21\)"),
        ({"image_shape": (-4, -5)}, r"image_shape\[0\] must be an integer"),
    ]:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(made, **change)


def test_npz_from_python_2(tmp_path):
    content = npy_with_header(header(shape="(60L, 4L)"), GOOD.tobytes())
    assert datasets.load(write_zip(tmp_path / "a.npz", [("x.npy", content)])).train.shape == (48, 4)


def test_npz_of_nearly_only_zeros_is_no_bomb(tmp_path):
    x = np.zeros((100, 200_000), np.uint8)
    x[np.arange(100), np.arange(100)] = 255
    np.savez_compressed(tmp_path / "a.npz", x=x)
    assert (tmp_path / "a.npz").stat().st_size < x.nbytes / 900
    assert datasets.load(tmp_path / "a.npz").pixels == 200_000


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_one_damaged_byte_never_loses_labels(tmp_path, rng, save):
    path = labelled(tmp_path / "a.npz", save)
    content, whole = path.read_bytes(), datasets.load(path)
    directory = content.index(b"PK\1\2")
    outcomes = []
    for case in range(400):
        damaged = bytearray(content)
        if case < 300:
            damaged[rng.integers(directory if case % 2 else 0, len(content))] ^= rng.integers(1, 256)
        else:
            del damaged[rng.integers(len(content)) :]
        path.write_bytes(damaged)
        try:
            found = datasets.load(path)
        except InputError as error:
            assert "not a readable" in str(error) or "needs an array named x" in str(error)
            outcomes.append("refused")
        else:
            assert found.checksum == whole.checksum and np.array_equal(found.train_labels, whole.train_labels)
            assert np.array_equal(found.train, whole.train) and case < 300
            outcomes.append("same")
    assert set(outcomes) == {"refused", "same"}


# Where fields of a zip file's directory are: flags 8, method 10, sizes 20 and 24, length of a comment 32, offset 42.
@pytest.mark.parametrize(
    ("where", "new", "message"),
    [
        (8, b"\x01", "encrypted, password required"),
        (8, b"\x40", "strong encryption"),
        (10, b"\x0c", "x.npy is compressed by a method"),
        (10, b"\x63", "x.npy is compressed by a method"),
        (46, b"y", "'y.npy' and header b'x.npy' differ"),
        (46, b"X", "'X.npy' and header b'x.npy' differ"),
        (46 + 51, b"z", "'z.npy' and header b'y.npy' differ"),
        (46, b"\0", "differ"),
        (20, b"\x01", "does not match what stands after x.npy"),
        (32, b"\x33", "does not match what stands after x.npy"),  # the entry of y becomes a comment on that of x
        (42, b"\x01", "does not match what stands at its start"),
        (42 + 51, b"\x01", "does not match"),
    ],
)
def test_npz_with_a_damaged_directory(tmp_path, where, new, message):
    path = labelled(tmp_path / "a.npz")
    change(path, where, new)
    assert message in refusal(path)


def test_npz_whose_directory_hides_the_labels(tmp_path):
    path = labelled(tmp_path / "a.npz")
    content = path.read_bytes()
    first = content.index(b"PK\1\2")
    second, end = content.index(b"PK\1\2", first + 1), content.index(b"PK\5\6")
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, second - first, first, 0)
    path.write_bytes(content[:second] + tail)
    assert "does not match what stands after x.npy" in refusal(path)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, end - second, first, 0)
    path.write_bytes(content[:first] + content[second:end] + tail)
    assert "does not match what stands at its start" in refusal(path)
    path.write_bytes(content[:first] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 0, first, 0))
    assert "does not match what stands at its start" in refusal(path)


def test_npz_with_something_before_it(tmp_path):
    path = labelled(tmp_path / "a.npz")
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert "at its start" in refusal(path)
    other = labelled(tmp_path / "b.npz").read_bytes()
    path.write_bytes(other + other)
    assert "at its start" in refusal(path)


def test_npz_with_something_after_it_keeps_its_labels(tmp_path):
    path = labelled(tmp_path / "a.npz")
    whole = datasets.load(path)
    path.write_bytes(path.read_bytes() + b"and more")
    assert datasets.load(path).checksum == whole.checksum


@pytest.mark.parametrize("names", [("x.npy", "x.npy"), ("x.npy", "y.npy", "y.npy"), ("x.npy", "y.npy", "y")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_with_a_name_twice(tmp_path, names):
    write_zip(tmp_path / "a.npz", [(name, npy_bytes(np.zeros((60, 4)))) for name in names])
    assert re.search(r"names \S+ twice", refusal(tmp_path / "a.npz"))


def test_npz_with_a_directory_far_too_long(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(18):
            info = zipfile.ZipInfo(f"{i}.npy")
            info.comment = bytes(65_000)
            archive.writestr(info, b"")
    assert "its directory has" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_npz_compressed_as_numpy_never_does(tmp_path, method):
    write_zip(tmp_path / "a.npz", [("x.npy", npy_bytes(GOOD))], method)
    assert "by a method that numpy does not write" in refusal(tmp_path / "a.npz")


# Words that are said of x only; of y its shape is refused first.
OF_IMAGES = ("must hold real numbers", "at least one value", "maximum supported dimension", "only support format")


def header(descr="'<f8'", shape="(60, 4)", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_with_header(header(shape="(10000000000, 1000)"), bytes(1920)), "does not agree with its size"),
        (npy_with_header(header(shape="(2**62, 2)"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header(header(shape=f"({2**64}, 4)"), bytes(1920)), "does not agree"),
        (npy_with_header(header(shape="(0x" + "f" * 6000 + ", 4)"), bytes(1920)), "not a readable"),
        (npy_with_header(header(shape="(-60, -4)"), bytes(1920)), "does not agree"),
        (npy_with_header(header(shape="(60, 4" + ", 1" * 80 + ")"), bytes(1920)), "maximum supported dimension"),
        (npy_with_header(header(shape="(60, 3)"), bytes(1920)), "does not agree"),
        (npy_with_header(header(shape="(60, 5)"), bytes(1920)), "does not agree"),
        (npy_with_header(header(shape=f"({2**62}, 0)"), b""), "at least one value"),
        (npy_with_header(header(shape="60"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header(header(order="'no'"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header(header(descr="'|O'"), bytes(1920)), "must hold real numbers"),
        (npy_with_header(header(descr="[('a', '<f4'), ('b', '|O')]"), bytes(1920)), "does not agree"),
        (npy_with_header(header(descr="[('a', '<f4'), ('b', '<f4')]"), bytes(1920)), "must hold real numbers"),
        (npy_with_header(header(descr="'<c8'"), bytes(1920)), "must hold real numbers"),
        (npy_with_header(header(descr="'<M8[s]'"), bytes(1920)), "must hold real numbers"),
        (npy_with_header(header(descr="'|V8'"), bytes(1920)), "must hold real numbers"),
        (npy_with_header(header(descr="'<f8" + "," * 50 + "'"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header(header(descr="'nonsense'"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header(header(descr="'<U2147483647'"), bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header("{'descr': (", bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header("(" * 5000, bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header("-" * 9000 + "1", bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header("[" + "'" * 3 + "\n", bytes(1920)), "the .npy header of x is damaged"),
        (npy_with_header("{" + " " * 60_000 + "}"), "the .npy header of x is damaged"),
        (npy_with_header(header(), bytes(1920), version=9), "only support format"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(50_000), "the .npy header of x is damaged"),
        (b"\x93NUMPY\1\0", "the .npy header of x is damaged"),
        (b"no array", "the .npy header of x is damaged"),
        (b"", "the .npy header of x is damaged"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz_with_a_hostile_header(tmp_path, content, message, method):
    write_zip(tmp_path / "a.npz", [("x.npy", content)], method)
    assert message in refusal(tmp_path / "a.npz")
    if message not in OF_IMAGES:
        write_zip(tmp_path / "a.npz", [("x.npy", npy_bytes(GOOD)), ("y.npy", content)], method)
        assert re.sub(r"\bx\b", "y", message) in refusal(tmp_path / "a.npz")


def test_labels_that_cannot_be_used_are_refused_by_their_header(tmp_path):
    for y in (np.zeros(10**6), np.zeros((60, 1), int), np.zeros(60, "M8[s]"), np.zeros(60, bool)):
        np.savez_compressed(tmp_path / "a.npz", x=GOOD, y=y)
        assert "must hold 60 integers, shape (60,)" in refusal(tmp_path / "a.npz", most=1e6)


def test_other_arrays_are_not_read(tmp_path):
    write_zip(tmp_path / "a.npz", [("x.npy", npy_bytes(GOOD)), ("z.npy", bytes(50_000_000))], zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert datasets.load(tmp_path / "a.npz").pixels == 4
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def bomb(path, size, forged=None):
    """Compressed zeros under a fitting header; `forged` replaces the size that header and directory state."""
    forged = forged or size
    text = header(descr="'|u1'", shape=f"(64, {forged // 64})")
    write_zip(path, [("x.npy", npy_with_header(text, bytes(size)))], zipfile.ZIP_DEFLATED)
    change(path, 24, struct.pack("<L", forged + 10 + len(text)))
    return path


def test_npz_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(array_files, "BOMB_BYTES", 10**7)
    assert "nearly all the same" in refusal(bomb(tmp_path / "a.npz", 19_999_936))
    assert datasets.load(bomb(tmp_path / "a.npz", 9_600_000)).pixels == 150_000


def test_npz_that_states_more_than_compression_can_give(tmp_path):
    assert "cannot have" in refusal(bomb(tmp_path / "a.npz", 64_000, forged=2**31))
    assert "not a readable" in refusal(bomb(tmp_path / "a.npz", 640_000, forged=650_048))
    path = write_zip(tmp_path / "a.npz", [("x.npy", npy_bytes(GOOD))])
    change(path, 24, struct.pack("<L", 2**31))
    assert "cannot have 2147483648 bytes" in refusal(path)


def test_npz_larger_than_the_memory(tmp_path, monkeypatch):
    x = np.zeros((100, 100_000), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(100))
    needed = x.size * 5 + 100 * 16
    monkeypatch.setattr(array_files, "memory", lambda: needed - 1)
    assert "memory that may be used here" in refusal(tmp_path / "a.npz")
    monkeypatch.setattr(array_files, "memory", lambda: needed)
    assert datasets.load(tmp_path / "a.npz").pixels == 100_000


def test_memory_where_the_system_does_not_state_it(monkeypatch):
    assert array_files.memory() > 2**26
    monkeypatch.setattr(array_files.os, "sysconf", lambda name: -1)
    assert array_files.memory() == array_files.FALLBACK_MEMORY
    monkeypatch.delattr(array_files.os, "sysconf")
    assert array_files.memory() == array_files.FALLBACK_MEMORY


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_altered_values(tmp_path, rng, name, save):
    arrays = {"x": rng.integers(0, 256, (2000, 300)).astype(np.uint8), "y": rng.integers(0, 10**9, 2000)}
    save(tmp_path / "a.npz", **arrays)
    change(tmp_path / "a.npz", 9_000, b"\x55\xaa\x55", after=f"{name}.npy".encode())
    assert "not a readable" in refusal(tmp_path / "a.npz", most=1e7)


def test_file_that_is_no_archive(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    assert "it is empty" in refusal(path)
    path.write_bytes(npy_bytes(GOOD))
    assert "single array (.npy)" in refusal(path)
    path.write_bytes(b"P" * 3_000_000)
    assert "not a readable" in refusal(path)
    path.write_bytes(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 2**32 - 1, 0, 0))
    assert "not a readable" in refusal(path)
    np.savez(path)
    assert "it holds nothing" in refusal(path)
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("gone"),
        RuntimeError("a\nb"),
        RecursionError(),
        NotImplementedError(),
        KeyError("k"),
        OverflowError("far\ntoo much"),
        struct.error("short"),
        AttributeError("none"),
        TypeError("kind"),
        EOFError(),
        UnicodeDecodeError("utf-8", b"a", 0, 1, "bad"),
        SyntaxError("x" * 1000),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_failure_while_reading_becomes_a_sentence(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = labelled(tmp_path / "a.npz")
    monkeypatch.setattr(array_files.npy, "read_array", fail)
    assert "not a readable" in refusal(path)


def test_names_in_a_message_are_short_and_printable(tmp_path):
    write_zip(tmp_path / "a.npz", [(f"{i}\n\x1b[31m.npy", b"") for i in range(300)])
    assert "needs an array named x" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize(("source", "message"), [("letters", "Unknown data set"), ("none.npz", "no file none.npz")])
def test_unknown_source(source, message):
    with pytest.raises(InputError, match=message):
        datasets.load(source)


def test_mnist_from_a_folder(official, monkeypatch):
    monkeypatch.setenv("VAEPT_DATA_DIR", str(official.parent))
    mnist = datasets.load("mnist")
    assert mnist.train.shape == (30, 20) and mnist.test.shape == (12, 20) and mnist.image_shape == (5, 4)
    raw = datasets.read_idx(official / "train-images-idx3-ubyte.gz")
    assert np.allclose(mnist.train, raw.reshape(30, 20) / 255)


def test_missing_data_folder(official, monkeypatch):
    monkeypatch.setenv("VAEPT_DATA_DIR", str(official / "nowhere"))
    with pytest.raises(InputError, match="VAEPT_DATA_DIR is set, but there is no folder"):
        datasets.load("mnist")


def test_missing_file_in_data_folder(official, monkeypatch):
    monkeypatch.setenv("VAEPT_DATA_DIR", str(official.parent))
    (official / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-labels\S+ is missing"):
        datasets.load("mnist")


def test_wrong_checksum_in_data_folder_names_both_and_keeps_the_file(official, monkeypatch):
    monkeypatch.setenv("VAEPT_DATA_DIR", str(official.parent))
    name = "t10k-images-idx3-ubyte.gz"
    path = official / name
    path.write_bytes(path.read_bytes()[:-5])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError) as error:
        datasets.load("mnist")
    assert all(part in str(error.value) for part in (name, datasets.MNIST_SHA256[name], found))
    assert path.exists()


def test_download_falls_back_to_the_next_mirror_and_is_cached(server, official, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", (server + "absent/", server + "mnist/"))
    first = datasets.load("mnist")
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", ())
    with pytest.raises(DownloadError):
        (tmp_path / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz").rename(tmp_path / "away")
        datasets.load("mnist")
    (tmp_path / "away").rename(tmp_path / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz")
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", ("http://127.0.0.1:9/",))
    assert datasets.load("mnist").checksum == first.checksum


def test_download_with_wrong_checksum_is_not_kept(server, official, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", (server + "mnist/",))
    name = "train-images-idx3-ubyte.gz"
    (official / name).write_bytes(b"something else")
    with pytest.raises(DownloadError) as error:
        datasets.load("mnist")
    found = hashlib.sha256(b"something else").hexdigest()
    assert all(part in str(error.value) for part in (name, datasets.MNIST_SHA256[name], found))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_network_and_no_cache_says_how_to_go_on(official, monkeypatch):
    monkeypatch.setattr(datasets, "MNIST_MIRRORS", ("http://127.0.0.1:9/",))
    with pytest.raises(DownloadError, match="PROFILE=digits"):
        datasets.load("mnist")


def test_cells():
    cells = datasets.load("cells")
    assert cells.train.shape == (560, 765) and cells.test.shape == (140, 765) and cells.image_shape == (765,)
    assert cells.classes == tuple(range(10)) and np.bincount(cells.train_labels).sum() == 560
    assert np.bincount(np.concatenate([cells.train_labels, cells.test_labels])).tolist()[-3:] == [13, 31, 240]
    assert "5 CD14+ Monocyte" in cells.notes[1]
    assert cells.train.min() > 0.1 and 0.01 < (cells.train == 1).mean() < 0.03  # what is cut lies above
    with h5py.File(SCANPY / "datasets" / datasets.CELLS) as file:
        (row,) = file["X"][:][np.random.default_rng(0).permutation(700)[140:141]]
    np.testing.assert_allclose(6 * cells.train[0] - 3, row.clip(-3, 3), atol=1e-5)


def test_cells_without_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "scanpy", None)
    with pytest.raises(InputError, match=r'with the package scanpy 1.11, .*: pip install "vaept\[cells\]"'):
        datasets.load("cells")


@pytest.mark.parametrize("damage", ["absent", "truncated"])
def test_cells_whose_file_is_damaged(damage, tmp_path, monkeypatch):
    folder = tmp_path / "scanpy" / "datasets"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    name = datasets.CELLS
    if damage == "truncated":
        (folder / name).write_bytes((SCANPY / "datasets" / name).read_bytes()[:-1])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "scanpy", raising=False)
    said = {"absent": "is missing", "truncated": f"not {datasets.CELLS_SHA256}"}[damage]
    with pytest.raises(InputError, match=rf"{name} .*{said}.* pip install --force-reinstall"):
        datasets.load("cells")


def test_idx_round_trip(tmp_path, rng):
    array = rng.integers(0, 256, (7, 3, 2)).astype(np.uint8)
    write_idx(tmp_path / "a.gz", array)
    assert np.array_equal(datasets.read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize("damage", ["truncated gzip", "short", "not idx"])
def test_damaged_idx(tmp_path, rng, damage):
    path = tmp_path / "a.gz"
    write_idx(path, rng.integers(0, 256, (50, 9)).astype(np.uint8))
    content = path.read_bytes()
    if damage == "truncated gzip":
        path.write_bytes(content[:-20])
    else:
        raw = gzip.decompress(content)
        path.write_bytes(gzip.compress(raw[:-3] if damage == "short" else b"\x01" + raw[1:]))
    with pytest.raises(InputError, match=r"a\.gz.*Download it again"):
        datasets.read_idx(path)


def idx_refusal(path):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="Download it again") as error:
            datasets.read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()
    return str(error.value)


def test_idx_is_read_no_further_than_its_shape(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 100) + bytes(50_000_000)))
    assert re.search(r"states the shape \(100,\) but holds more than 100 bytes", idx_refusal(path))
    path.write_bytes(gzip.compress(b"\1" + bytes(50_000_000)))
    assert "not an IDX file" in idx_refusal(path)


@pytest.mark.parametrize("sizes", [(2**31,), (2**32 - 1,) * 3, (2**32 - 1,) * 64])
def test_idx_that_states_a_huge_shape(tmp_path, monkeypatch, sizes):
    path = tmp_path / "a.gz"
    path.write_bytes(
        gzip.compress(b"\0\0\x08" + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(50))
    )
    monkeypatch.setattr(array_files, "memory", lambda: 10**9)
    assert "more than the 0.931 GiB of memory" in idx_refusal(path)
    if len(sizes) == 1:
        monkeypatch.setattr(array_files, "memory", lambda: 10**12)
        assert "but holds 50 bytes" in idx_refusal(path)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x08\3\0\0", b"\0\0\x08\xff" + bytes(4 * 255)])
def test_idx_with_an_impossible_header(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    assert "not an IDX file" in idx_refusal(tmp_path / "a.gz")


def test_idx_with_a_wrong_checksum(tmp_path, rng):
    write_idx(tmp_path / "a.gz", rng.integers(0, 256, (50, 9)).astype(np.uint8))
    content = bytearray((tmp_path / "a.gz").read_bytes())
    content[-6] ^= 1
    (tmp_path / "a.gz").write_bytes(content)
    assert "not a whole gzip file" in idx_refusal(tmp_path / "a.gz")


def test_idx_cannot_be_changed_and_may_be_empty(tmp_path):
    write_idx(tmp_path / "a.gz", np.zeros((0, 3), np.uint8))
    array = datasets.read_idx(tmp_path / "a.gz")
    assert array.shape == (0, 3) and not array.flags.writeable


@pytest.mark.skipif(not os.environ.get("VAEPT_DATA_DIR"), reason="needs the official files in VAEPT_DATA_DIR")
def test_official_mnist():
    mnist = datasets.load("mnist")
    assert mnist.train.shape == (60000, 784) and mnist.test.shape == (10000, 784) and mnist.image_shape == (28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
