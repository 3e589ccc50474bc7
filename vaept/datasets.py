"""Images to train on: the embedded digits, MNIST, or arrays of the user's own.

Every source becomes one `Dataset`: images as float32 rows in [0, 1], split into a training and a test part
the same way at every call. Nothing else in the package knows where images come from. Sources: the
Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak 1998; the copy inside scikit-learn) and
MNIST (Y. LeCun, C. Cortes, C. Burges 1998; the official IDX files).
"""

import gzip
import hashlib
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch

from vaept.errors import DownloadError, InputError

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MIN_EXAMPLES = 60  # leaves twelve test images, which the neighbour overlap needs
TEST_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one kind, split into a training and a test part.

    Attributes
    ----------
    name : str
        What was loaded: "digits", "mnist", or the stem of the user's file.
    train, test : ndarray of float32, shape (n, pixels)
        Images in [0, 1], flattened, read-only.
    train_labels, test_labels : ndarray of int64, shape (n,), or None
        Classes, where known. Training never sees them.
    image_shape : tuple of int
        The shape of one image before flattening; its product is `pixels`.
    checksum : str
        SHA-256 of the images, the labels and the image shape.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    image_shape: tuple
    checksum: str

    @property
    def pixels(self):
        """Number of values in one image."""
        return self.train.shape[1]


def load(source):
    """Load a data set by name or from a file.

    Parameters
    ----------
    source : str or path
        "digits" (embedded, 1 797 images of 8 × 8), "mnist" (70 000 images of 28 × 28; taken from the folder
        ``$VAEPT_DATA_DIR/mnist`` if that variable is set, else downloaded once into a cache), or the path of
        an ``.npz`` file with `x` of shape (n, …), uint8 or real numbers in [0, 1], and optionally integer
        labels `y` of shape (n,).

    Returns
    -------
    Dataset
        MNIST keeps its official split; other sources give a fifth to the test part, by a fixed shuffle.

    Raises
    ------
    InputError
        If the source is unknown, or its content cannot be used.
    DownloadError
        If MNIST is in no cache and no mirror answers.
    """
    if source == "digits":
        return _digits()
    if source == "mnist":
        return _mnist()
    if str(source).endswith(".npz"):
        return _npz(Path(source))
    raise InputError(f'Unknown data set "{source}": give "digits", "mnist" or the path of an .npz file.')


def _digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _shuffled_split("digits", bunch.images / 16.0, bunch.target)


def _npz(path):
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a readable .npz archive of plain arrays: {error}.") from error
    if "x" not in arrays:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(f"{path} needs an array named x of shape (n, …) with the images; it holds {names}.")
    return _shuffled_split(path.stem, _unit_interval(arrays["x"], path), _labels(arrays, path))


def _unit_interval(x, path):
    if x.ndim < 2 or math.prod(x.shape[1:]) == 0:
        raise InputError(f"x in {path} must have shape (n, …) with at least one value an image; it has {x.shape}.")
    if len(x) < MIN_EXAMPLES:
        raise InputError(f"x in {path} has {len(x)} images; at least {MIN_EXAMPLES} are needed to train and test.")
    if x.dtype == np.uint8:
        return x / np.float32(255)
    if x.dtype.kind not in "fiub":
        raise InputError(f"x in {path} must hold real numbers; its dtype is {x.dtype}.")
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        raise InputError(f"x in {path} has {bad} values that are NaN or infinite; remove or replace them.")
    if x.min() < 0 or x.max() > 1:
        raise InputError(
            f"x in {path} must lie in [0, 1] or be uint8; its values run from {x.min():g} to {x.max():g}. Rescale it."
        )
    return x


def _labels(arrays, path):
    if "y" not in arrays:
        return None
    y, n = arrays["y"], len(arrays["x"])
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise InputError(f"y in {path} must hold {n} integers, shape ({n},); it has shape {y.shape}, dtype {y.dtype}.")
    return y


def _shuffled_split(name, images, labels):
    order = np.random.default_rng(0).permutation(len(images))
    cut = round(len(images) * TEST_FRACTION)
    test, train = order[:cut], order[cut:]

    def pick(array, rows):
        return None if array is None else array[rows]

    return _freeze(name, images[train], images[test], pick(labels, train), pick(labels, test))


def _freeze(name, train, test, train_labels, test_labels):
    image_shape = tuple(train.shape[1:])
    digest = hashlib.sha256(repr(image_shape).encode())
    arrays = []
    for array, dtype in ((train, np.float32), (test, np.float32), (train_labels, np.int64), (test_labels, np.int64)):
        if array is not None:
            array = np.ascontiguousarray(array, dtype=dtype)
            if dtype == np.float32:
                array = array.reshape(len(array), -1)
            array.setflags(write=False)
            digest.update(array)
        arrays.append(array)
    return Dataset(name, *arrays, image_shape=image_shape, checksum=digest.hexdigest())


def _mnist():
    folder = os.environ.get("VAEPT_DATA_DIR")
    files = _mnist_from_folder(Path(folder) / "mnist") if folder else _mnist_from_cache()
    train, train_labels, test, test_labels = (read_idx(files[name]) for name in MNIST_SHA256)
    return _freeze("mnist", train / np.float32(255), test / np.float32(255), train_labels, test_labels)


def _mnist_from_folder(folder):
    if not folder.is_dir():
        raise InputError(
            f"VAEPT_DATA_DIR is set, but there is no folder {folder}. Put the four official MNIST files there, "
            "or unset VAEPT_DATA_DIR to download them."
        )
    files = {}
    for name, expected in MNIST_SHA256.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing. Put it there, or unset VAEPT_DATA_DIR to download it.")
        found = pooch.file_hash(str(path), alg="sha256")
        if found != expected:
            raise InputError(
                f"{path} is not the official file: its SHA-256 should be {expected} and is {found}. Replace it."
            )
        files[name] = path
    return files


def _mnist_from_cache():
    """Paths of the four files in the cache; what is missing or damaged there is downloaded again."""
    cache = Path(pooch.os_cache("vaept")) / "mnist"
    files = {}
    for name, expected in MNIST_SHA256.items():
        failures = []
        for mirror in MNIST_MIRRORS:
            try:
                # pooch downloads to a temporary name and renames only what has the right hash.
                files[name] = pooch.retrieve(
                    mirror + name, known_hash=f"sha256:{expected}", fname=name, path=cache, progressbar=True
                )
                break
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors, a wrong hash a ValueError
                failures.append(f"{mirror}: {error}")
        else:
            raise DownloadError(
                f"{name} could not be downloaded (" + "; ".join(failures) + "). Check the network; or put the four "
                "official files into a folder mnist and set VAEPT_DATA_DIR to the folder above it; or run on the "
                "embedded digits, which need no download (PROFILE=digits)."
            )
    return files


def read_idx(path):
    """Read a gzipped IDX file of unsigned bytes.

    Parameters
    ----------
    path : str or path
        The file. Format: http://yann.lecun.com/exdb/mnist, section "file formats".

    Returns
    -------
    ndarray of uint8
        With the shape that the file states.

    Raises
    ------
    InputError
        If the file is truncated or not of this format.
    """
    try:
        with gzip.open(path) as stream:
            raw = stream.read()
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}. Download it again.") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise InputError(f"{path} is not an IDX file of unsigned bytes. Download it again.")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", raw[3], offset=4))
    start = 4 + 4 * raw[3]
    if len(raw) - start != math.prod(shape):
        raise InputError(f"{path} states the shape {shape} but holds {len(raw) - start} bytes. Download it again.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
