import functools
import gzip
import hashlib
import http.server
import os
import struct
import threading

import numpy as np
import pytest

from vaept import datasets
from vaept.errors import DownloadError, InputError


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
        ({"x": np.where(np.arange(4) == 1, np.nan, GOOD)}, "60 values that are NaN"),
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


@pytest.mark.skipif(not os.environ.get("VAEPT_DATA_DIR"), reason="needs the official files in VAEPT_DATA_DIR")
def test_official_mnist():
    mnist = datasets.load("mnist")
    assert mnist.train.shape == (60000, 784) and mnist.test.shape == (10000, 784) and mnist.image_shape == (28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
