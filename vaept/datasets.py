"""Images to train on: the embedded digits, MNIST, or arrays of the user's own.

Every source becomes one `Dataset`: images as float32 rows in [0, 1], split into a training and a test part
the same way at every call. Nothing else in the package knows where images come from. Sources: the
Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak 1998; the copy inside scikit-learn) and
MNIST (Y. LeCun, C. Cortes, C. Burges 1998; the official IDX files).
"""

import gzip
import hashlib
import io
import math
import os
import struct
import sys
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.lib import format as npy

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

LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # what stands before each entry of a zip file; the name and extras follow
ENCRYPTED = 0x1 | 0x40 | 0x2000  # flags of a zip entry: encrypted, strongly encrypted, directory encrypted
HAS_DESCRIPTOR = 0x8  # flag of a zip entry: its sizes and checksum are repeated behind it
DESCRIPTOR_BYTES = (12, 16, 20, 24)  # with or without a signature, sizes in 32 or 64 bits
MAX_READ = 2**20  # bytes asked of a file at once; a directory of arrays is far smaller
MAX_NPY_HEADER = 12 + 10_000  # bytes; the 10 000 are numpy's own limit on what it parses
MAX_DIMENSIONS = 64  # numpy's own limit
DEFLATE_LIMIT = 1032  # no deflated byte can stand for more: two bits are the least for a run of 258
# Zeros shrink 1029-fold. One-hot rows of 100 000 float32 reach 1017; beyond 1024 fewer than one value in some 700 kB
# differs from its neighbours, so that a large array like this holds no images.
BOMB_RATIO, BOMB_BYTES = 1024, 2**28
MEMORY_SHARE = 0.5  # of the memory for an array and its converted copy; shuffling needs nearly as much again
FALLBACK_MEMORY = 2**32  # bytes; where the system does not say how much memory there is
COPY_BYTES = {"x": 4, "y": 8}  # a value of the copies that a Dataset holds
# What zipfile, zlib and numpy's header parser raise on damaged content.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


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
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give an .npz file, as numpy.savez writes it.")
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        # An old or damaged header can make numpy and the parser warn; what matters of that is refused below.
        with _CappedReader(io.FileIO(path)) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_kind(stream)
            x, y = _images_and_labels(path, stream)
    except InputError:
        raise
    except UNREADABLE as error:
        reason = _brief(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} is not a readable .npz archive of plain arrays: {reason}. Write it again with numpy.savez."
        ) from error
    return _shuffled_split(path.stem, _unit_interval(x, path), y)


class _CappedReader(io.BufferedReader):
    """A file that refuses to give much at once, as zipfile believes whatever size of the directory it finds."""

    def read(self, size=-1):  # zipfile leaves out the size only near the end
        if size > MAX_READ:
            raise ValueError(f"its directory has {size} bytes, far more than the names of a few arrays need")
        return super().read(size)


def _check_kind(stream):
    magic = stream.read(len(npy.MAGIC_PREFIX))
    if not magic:
        raise ValueError("it is empty")
    if magic == npy.MAGIC_PREFIX:
        raise ValueError("it is a single array (.npy) under another name")


def _images_and_labels(path, stream):
    """The arrays x and y (None if absent) of an open .npz file; nothing large is read before all headers fit."""
    with zipfile.ZipFile(stream) as archive:
        entries = _entries(archive, stream)
        if "x" not in entries:
            names = _brief(", ".join(sorted(entries))) or "nothing"
            raise InputError(f"{path} needs an array named x of shape (n, …) with the images; it holds {names}.")
        headers = {name: _header(archive, entries[name], name) for name in ("x", "y") if name in entries}
        _check_images(*headers["x"], path)
        if "y" in headers:
            _check_labels(*headers["y"], headers["x"][0][0], path)
        _check_memory(headers, path)
        arrays = {name: _array(archive, entries[name]) for name in headers}
    return arrays["x"], arrays.get("y")


def _entries(archive, stream):
    """The entries of an archive by the name of their array, once it is sure that its directory hides none.

    The entries must fill the file from its first byte to the directory without a gap, each under the name that
    the directory gives: a damaged directory that drops or renames the labels would otherwise go unnoticed.
    """
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in infos), archive.start_dir]
    if starts[0] != 0:
        raise ValueError("its directory does not match what stands at its start")
    entries = {}
    for info, start, following in zip(infos, starts[:-1], starts[1:], strict=True):
        raw = info.orig_filename
        name, shown = raw.removesuffix(".npy"), _brief(raw)
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f"{shown} is marked as encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{shown} is compressed by a method that numpy does not write ({info.compress_type})")
        if name in entries:
            raise ValueError(f"its directory names {shown} twice")
        stream.seek(start)
        header = stream.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
            raise ValueError(f"{shown} is not where its directory says")
        *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        if stream.read(name_bytes) != raw.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
            raise ValueError(f"what its directory calls {shown} has another name in the file")
        gap = following - start - LOCAL_HEADER.size - name_bytes - extra_bytes - info.compress_size
        if gap != 0 and not (info.flag_bits & HAS_DESCRIPTOR and gap in DESCRIPTOR_BYTES):
            raise ValueError(f"its directory does not match what stands after {shown}")
        entries[name] = info
    return entries


def _header(archive, info, name):
    """Shape and dtype that the .npy header of an entry states, once they agree with the size of the entry."""
    if info.compress_type == zipfile.ZIP_STORED:
        possible = info.file_size == info.compress_size
    else:
        possible = info.file_size <= DEFLATE_LIMIT * info.compress_size
    if not possible:
        raise ValueError(f"{name} cannot have {info.file_size} bytes, as {info.compress_size} are stored")
    if info.file_size > max(BOMB_BYTES, BOMB_RATIO * info.compress_size):
        raise ValueError(f"the {info.file_size} bytes of {name} are nearly all the same, which no images are")
    with archive.open(info) as entry:
        stream = io.BytesIO(entry.read(MAX_NPY_HEADER))  # a header that states more ends early
    try:
        version = npy.read_magic(stream)
        # Version 3 differs from 2 only in the encoding of field names, and arrays with fields are refused anyway.
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    except UNREADABLE as error:
        raise ValueError(f"the .npy header of {name} is damaged") from error
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"{name} has the unknown .npy version {version[0]}.{version[1]}")
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    if len(shape) > MAX_DIMENSIONS or not all(0 <= n <= sys.maxsize for n in shape):
        raise ValueError(f"the header of {name} states an impossible shape")
    if math.prod(shape) * dtype.itemsize + stream.tell() != info.file_size:
        raise ValueError(
            f"the header of {name} states {_brief(dtype)} values of shape {_brief(shape)}, which does not agree with "
            f"its size of {info.file_size} bytes"
        )
    return tuple(int(n) for n in shape), dtype


def _check_images(shape, dtype, path):
    if len(shape) < 2 or math.prod(shape[1:]) == 0:
        raise InputError(
            f"x in {path} must have shape (n, …) with at least one value an image; it has {_brief(shape)}."
        )
    if shape[0] < MIN_EXAMPLES:
        raise InputError(f"x in {path} has {shape[0]} images; at least {MIN_EXAMPLES} are needed to train and test.")
    if dtype.kind not in "fiub":
        raise InputError(f"x in {path} must hold real numbers; its dtype is {_brief(dtype)}.")


def _check_labels(shape, dtype, n, path):
    if shape != (n,) or dtype.kind not in "iu":
        raise InputError(
            f"y in {path} must hold {n} integers, shape ({n},); it has shape {_brief(shape)}, dtype {_brief(dtype)}."
        )


def _check_memory(headers, path):
    needed = sum(math.prod(shape) * (dtype.itemsize + COPY_BYTES[name]) for name, (shape, dtype) in headers.items())
    if needed > _memory():
        shape, dtype = headers["x"]
        raise InputError(
            f"x in {path} has the shape {shape} and the dtype {dtype}, which takes more than the "
            f"{_memory() / 2**30:.3g} GiB of memory that may be used here. Give fewer or smaller images."
        )


def _memory():
    """Bytes that an array and its converted copy may take."""
    try:
        page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return FALLBACK_MEMORY
    return int(page * pages * MEMORY_SHARE) if min(page, pages) > 0 else FALLBACK_MEMORY


def _array(archive, info):
    with archive.open(info) as entry:
        array = npy.read_array(entry, allow_pickle=False)
        entry.read(1)  # at the end zipfile compares the checksum
    return array


def _brief(what):
    """Foreign text in at most 200 printable characters, for a message."""
    text = "".join(c if c.isprintable() else " " for c in str(what))
    return text if len(text) <= 200 else text[:199] + "…"


def _unit_interval(x, path):
    if x.dtype == np.uint8:
        return x / np.float32(255)
    bad = int(np.count_nonzero(~np.isfinite(x)))
    if bad:
        raise InputError(f"x in {path} has {bad} values that are NaN or infinite; remove or replace them.")
    if x.min() < 0 or x.max() > 1:
        raise InputError(
            f"x in {path} must lie in [0, 1] or be uint8; its values run from {x.min():g} to {x.max():g}. Rescale it."
        )
    return x


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
            shape = _idx_shape(stream, path)
            stated = math.prod(shape)
            content = bytearray()
            # In pieces, as a stated size may be false; the byte beyond makes gzip compare the checksum.
            while piece := stream.read(min(MAX_READ, stated + 1 - len(content))):
                content += piece
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}. Download it again.") from error
    if len(content) != stated:
        found = f"more than {stated}" if len(content) > stated else len(content)
        raise InputError(f"{path} states the shape {shape} but holds {found} bytes. Download it again.")
    array = np.frombuffer(content, np.uint8).reshape(shape)
    array.setflags(write=False)
    return array


def _idx_shape(stream, path):
    head = stream.read(4)
    dimensions = head[3] if len(head) == 4 else 0
    sizes = stream.read(4 * dimensions)
    whole = len(head) == 4 and len(sizes) == 4 * dimensions and dimensions <= MAX_DIMENSIONS
    if not whole or head[:3] != b"\0\0\x08":
        raise InputError(f"{path} is not an IDX file of unsigned bytes. Download it again.")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    if math.prod(shape) * (1 + COPY_BYTES["x"]) > _memory():
        raise InputError(
            f"{path} states the shape {shape}, which takes more than the {_memory() / 2**30:.3g} GiB of memory that "
            "may be used here. Download it again."
        )
    return shape
