"""Checks of arguments: what they take, what they give back, and what they refuse."""

import decimal
import fractions
import pathlib

import numpy as np
import pytest
import torch

from vaept import arguments
from vaept.errors import InputError

GRADIENT = torch.ones(3, 2, requires_grad=True)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_what_counts_as_an_integer(value):
    found = arguments.integer(value, "k", 1, 3)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize(
    "value", [2.0, "3", None, True, np.bool_(True), 0, 4, 10**400, [3], np.array([3]), torch.tensor(3.0), np.nan, 3j]
)
def test_what_is_no_integer_from_one_to_three(value):
    with pytest.raises(InputError, match=r"^k must be"):
        arguments.integer(value, "k", 1, 3)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), fractions.Fraction(1, 2)]
)
def test_what_counts_as_a_number(value):
    found = arguments.number(value, "x", above=0, below=1)
    assert found == 0.5 and type(found) is float


@pytest.mark.parametrize(
    "value", [0, 1, np.nan, np.inf, -np.inf, 1e101, 10**400, "0.5", None, True, [0.5], 0.5j, decimal.Decimal("0.5")]
)
def test_what_is_no_number_between_zero_and_one(value):
    with pytest.raises(InputError, match=r"^x must be a"):
        arguments.number(value, "x", above=0, below=1)


def test_limits_are_said():
    with pytest.raises(InputError, match="from 0 to 4294967295; it is -1"):
        arguments.seed(-1)
    with pytest.raises(InputError, match=r"of at least 2; it is 1\."):
        arguments.integer(1, "members", 2)
    with pytest.raises(InputError, match="between 0 and 1, both excluded; it is nan"):
        arguments.number(np.nan, "tol", above=0, below=1)
    with pytest.raises(InputError, match="one of a, b; it is 'c'"):
        arguments.choice("c", "kind", ("a", "b"))
    with pytest.raises(InputError, match=r"one of a, b; it is \['a'\]"):
        arguments.choice(["a"], "kind", ("a", "b"))


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], dtype=np.uint8),
        np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=False),
        np.array([[1, 2], [3, 4]]) + 0j,
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True),
        [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])],
        torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16),
    ],
)
def test_what_counts_as_an_array(value):
    found = arguments.array(value, "v", shape=("n", "n"))
    assert found.dtype == np.float64 and type(found) is np.ndarray
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])


@pytest.mark.parametrize("value", [[True, False], np.array([True, False]), torch.tensor([True, False])])
def test_what_says_yes_or_no(value):
    found = arguments.mask(value, "m", 2)
    assert found.dtype == bool and found.tolist() == [True, False]


@pytest.mark.parametrize("value", [[1, 0], [1.0, 0.0], [True], [[True, False]], True, "yes", None])
def test_what_says_neither_yes_nor_no(value):
    with pytest.raises(InputError, match=r"^m must be"):
        arguments.mask(value, "m", 2)


def test_the_working_type_passes_bit_for_bit():
    """Which is why no key of a result holds these checks."""
    rng = np.random.default_rng(0)
    x, images = rng.normal(size=(5, 3)), rng.random((5, 4), dtype=np.float32)
    assert arguments.array(x, "x") is x or np.shares_memory(arguments.array(x, "x"), x)
    assert arguments.points(x, "x", 3).tobytes() == x.tobytes()
    assert arguments.images(images, "x", 4).tobytes() == images.tobytes()
    assert (
        arguments.number(0.1, "x") == 0.1 and arguments.integer(7, "x") == 7 and arguments.choice("a", "x", "a") == "a"
    )
    assert arguments.labels(np.array([3, -1]), "y", 2).tolist() == [3, -1]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1, 2], [3]], "different shapes"),
        ([["a", "b"], ["c", "d"]], "dtype <U1"),
        (None, "NoneType"),
        ({1, 2}, "set"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), "1 masked values"),
        (np.array([[1, 1j], [-1j, 2]]), "imaginary parts up to 1"),
        (np.array([[1, np.nan], [0, 2]]), r"1 of its values are NaN or infinite, the first at \(0, 1\)"),
        (np.array([[1, 1e101], [0, 2]]), "1e\\+101"),
        (np.zeros((0, 0)), "its shape is"),
        (np.zeros((2, 3)), r"must have shape \(n, n\); its shape is \(2, 3\)"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64"),
        (np.array([object(), 1]), "dtype object"),
    ],
)
def test_what_is_no_square_array(value, words):
    with pytest.raises(InputError, match=words):
        arguments.array(value, "v", shape=("n", "n"))


def test_sparse_matrices_are_asked_for_as_arrays():
    from scipy.sparse import eye_array

    with pytest.raises(InputError, match=r"v\.toarray\(\)"):
        arguments.array(eye_array(3), "v")


def test_several_shapes_and_further_sides():
    assert arguments.array(np.ones((4, 2, 3)), "z", shape=[("n", 3), ("members", "n", 3)]).shape == (4, 2, 3)
    assert arguments.array(np.ones((4, 2, 3)), "z", shape=("n", "…")).shape == (4, 2, 3)
    with pytest.raises(InputError, match=r"shape \(n, 3\) or \(members, n, 3\); its shape is \(4,\)"):
        arguments.array(np.ones(4), "z", shape=[("n", 3), ("members", "n", 3)])
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        arguments.array(np.ones(4), "z", shape=(2,))


def test_points_and_images_need_rows():
    assert arguments.points(GRADIENT, "points", 2).shape == (3, 2)
    with pytest.raises(InputError, match="at least 4 rows"):
        arguments.points(GRADIENT, "points", 2, rows=4)
    with pytest.raises(InputError, match=r"\(n, 3\)"):
        arguments.points(np.zeros((0, 3)), "points", 3)
    assert arguments.points(np.zeros((0, 3)), "points", 3, rows=0).shape == (0, 3)
    assert arguments.images(np.ones((2, 1, 2, 2)), "images", 4).shape == (2, 4)
    with pytest.raises(InputError, match="pixels"):
        arguments.images(np.ones(4), "images")


def test_rounding_of_a_rescaling_is_forgiven_and_more_is_not():
    x = np.array([[0.0, 1 + 2e-16], [-1e-9, 0.5]])
    np.testing.assert_array_equal(arguments.images(x, "x"), np.array([[0, 1], [0, 0.5]], dtype=np.float32))
    with pytest.raises(InputError, match=r"run from 0 to 1\.01: rescale"):
        arguments.images([[0, 1.01]], "x")
    with pytest.raises(InputError, match="divide bytes by 255"):
        arguments.images(np.array([[0, 255]], dtype=np.uint8), "x")
    assert arguments.images([[-3, 7]], "x", unit_interval=False).tolist() == [[-3, 7]]
    with pytest.raises(InputError, match="rescale"):
        arguments.images([[1e154, 0]], "x", unit_interval=False)


def test_labels_are_any_integers_of_64_bits():
    assert arguments.labels([-5, 10**12], "y", 2).tolist() == [-5, 10**12]
    assert arguments.labels(torch.tensor([1, 2]), "y", 2).dtype == np.int64
    for wrong in ([1.0, 2.0], ["a", "b"], [1], np.array([2**63, 1], dtype=np.uint64), [True, False]):
        with pytest.raises(InputError, match=r"^y must"):
            arguments.labels(wrong, "y", 2)


def test_devices_that_are_not_here():
    assert arguments.device("cpu").type == "cpu"
    for wrong in ("cuda:99", "gpu", 3.5, None):
        with pytest.raises(InputError, match="does not exist here"):
            arguments.device(wrong)


def test_paths():
    assert arguments.path("a/b", "output") == arguments.path(pathlib.Path("a/b"), "output") == pathlib.Path("a/b")
    for wrong, message in [
        (3, "must be a path"),
        (b"a", "must be"),
        ("a\0", "must be"),
        ("a/" + "ü" * 128, "255 bytes"),
    ]:
        with pytest.raises(InputError, match=f"output .*{message}"):
            arguments.path(wrong, "output")
