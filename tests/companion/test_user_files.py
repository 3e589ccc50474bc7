import sys
from pathlib import Path

import numpy as np
import pytest

from vaept.companion.user_files import Run, in_one_order, read, read_labels, write_back
from vaept.errors import InputError

NAMES = np.array([f"cell {k}" for k in range(30)])


@pytest.fixture
def mu(rng):
    return rng.standard_normal((30, 3))


def as_csv(path, mu, names=None, header="name,z0,z1,z2"):
    cells = [map(repr, row) for row in mu.tolist()]
    lines = [",".join(row) if names is None else ",".join([name, *row]) for name, row in zip(NAMES, cells, strict=True)]
    path.write_text("\n".join(([] if names is None else [header]) + lines), "utf-8")


def test_npz_npy_and_csv_say_the_same(mu, tmp_path):
    np.savez(tmp_path / "a.npz", mu=mu, logvar=-(mu**2), y=np.arange(30), names=NAMES)
    np.save(tmp_path / "a.npy", mu)
    as_csv(tmp_path / "bare.csv", mu)
    as_csv(tmp_path / "named.csv", mu, NAMES)
    for name in ("a.npz", "a.npy", "bare.csv", "named.csv"):
        run = read(tmp_path / name)
        np.testing.assert_array_equal(run.mu, mu)
        assert run.names is None or run.names.tolist() == NAMES.tolist()
    run = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(run.logvar, -(mu**2))
    assert run.y.tolist() == list(range(30))


def test_parts_of_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("id,mu0,logvar0,y\n7,0.5,-1,a\n8,1.5,-2,b\n", "utf-8")
    run = read(tmp_path / "t.csv")
    assert run.mu.tolist() == [[0.5], [1.5]] and run.logvar.tolist() == [[-1], [-2]]
    assert run.y.tolist() == [0, 1] and run.names.tolist() == ["7", "8"]


def test_parquet_and_anndata(mu, tmp_path):
    arrow, h5py = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("h5py")
    columns = {"name": NAMES} | {f"z{k}": column for k, column in enumerate(mu.T)}
    arrow.write_table(sys.modules["pyarrow"].table(columns), tmp_path / "a.parquet")
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file.create_group("obsm")["X_scVI"] = mu
        file.create_group("obs").attrs["_index"] = "barcode"
        file["obs"]["barcode"] = NAMES.astype("S")
    for run in (read(tmp_path / "a.parquet"), read(tmp_path / "a.h5ad", "X_scVI")):
        np.testing.assert_array_equal(run.mu, mu)
        assert run.names.tolist() == NAMES.tolist()
        written = tmp_path / f"b{run.path.suffix}"
        write_back(run.rows(np.arange(9, 19)), mu[9:19], written)
        back = h5py.File(written)["obsm"]["X_oriented"][9:19] if written.suffix == ".h5ad" else read(written).mu
        np.testing.assert_array_equal(back, mu[9:19])
    with pytest.raises(InputError, match=r"Say with --key which latents .* it holds: X_scVI"):
        read(tmp_path / "a.h5ad", "X_pca")


@pytest.mark.parametrize(("suffix", "package"), [(".parquet", "pyarrow"), (".h5ad", "h5py")])
def test_a_package_that_is_missing_is_named(suffix, package, tmp_path, monkeypatch):
    (tmp_path / f"a{suffix}").write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        read(tmp_path / f"a{suffix}", "X")


def test_another_order_is_found_by_names(mu, rng):
    order = rng.permutation(30)
    runs, notes = in_one_order([Run(Path("a"), mu, names=NAMES), Run(Path("b"), mu, names=NAMES).rows(order)])
    np.testing.assert_array_equal(runs[1].mu, mu)
    assert notes == ["Another order of the examples was found by their names and mended: b."]
    runs, notes = in_one_order([Run(Path("a"), mu, names=NAMES), Run(Path("b"), mu, names=NAMES).rows(order[:25])])
    assert len(runs[0].mu) == 25 and "Only the 25 examples" in notes[0]
    np.testing.assert_array_equal(runs[0].mu, runs[1].mu)


def test_another_order_is_found_by_the_data(mu, rng, tmp_path):
    order = rng.permutation(30)
    np.savez(tmp_path / "a.npz", mu=mu, x=np.arange(60).reshape(30, 2))
    np.savez(tmp_path / "b.npz", mu=mu[order], x=np.arange(60).reshape(30, 2)[order])
    runs, _ = in_one_order([read(tmp_path / "a.npz"), read(tmp_path / "b.npz")])
    np.testing.assert_array_equal(runs[0].mu, runs[1].mu)


def test_orders_that_cannot_be_found_are_refused(mu):
    with pytest.raises(InputError, match="different numbers of examples and not all name them: a 30, b 29"):
        in_one_order([Run(Path("a"), mu), Run(Path("b"), mu[1:])])
    with pytest.raises(InputError, match="30 labels of b are not those of a: the order of the examples differs"):
        in_one_order([Run(Path("a"), mu, y=np.arange(30)), Run(Path("b"), mu, y=np.arange(30)[::-1])])
    with pytest.raises(InputError, match="no name of an example in common"):
        in_one_order([Run(Path("a"), mu, names=NAMES), Run(Path("b"), mu, names=np.char.add(NAMES, "!"))])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", {"z": np.zeros((3, 2))}, "needs an array mu"),
        ("a.npz", {"mu": np.full((3, 2), np.nan)}, "mu in a.npz must be finite; 6 of its values"),
        ("a.npz", {"mu": np.ones((3, 2))}, "are at one place"),
        ("a.npz", {"mu": np.eye(3, 2) * 1e-200}, "hardly differ, by less than 1e-100; rescale"),
        ("a.npz", {"mu": np.zeros(3)}, "mu in a.npz must have shape"),
        ("a.npz", {"mu": np.eye(3, 2), "logvar": np.zeros((3, 1))}, "logvar in a.npz must have shape"),
        ("a.npz", {"mu": np.eye(3, 2), "y": np.zeros(2, int)}, "a label of each of 3 examples"),
        ("a.npz", {"mu": np.eye(2), "names": np.array(["a", "a"])}, "must be 2 different ones"),
        ("a.npz", b"PK", "cannot be read as latents"),
        ("a.npy", b"", "cannot be read as latents"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,b\n1,2\n3", "as many entries as its first, 2"),
        ("a.csv", b"a,b\n1,2\n3,x", "column b of a.csv holds 'x'"),
        ("a.csv", b"a,b\n1,nan\n3,4", "must be finite"),
        ("a.txt", b"1", "none of the files that can be read"),
        ("a.parquet", None, "There is no file"),
    ],
)
def test_what_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


def test_labels_are_texts_or_numbers(tmp_path):
    (tmp_path / "y.txt").write_text("b\na\nb\n", "utf-8")
    np.savez(tmp_path / "y.npz", y=np.array([4, 5, 6]))
    assert read_labels(tmp_path / "y.txt", 3).tolist() == [1, 0, 1]
    assert read_labels(tmp_path / "y.npz", 3).tolist() == [4, 5, 6]
    with pytest.raises(InputError, match="a label of each of 4 examples"):
        read_labels(tmp_path / "y.npz", 4)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv"])
def test_latents_are_written_back_in_the_same_format(name, mu, tmp_path):
    run = Run(tmp_path / name, mu, y=np.arange(30), names=NAMES)
    write_back(run, 2 * mu, tmp_path / f"b{name}")
    back = read(tmp_path / f"b{name}")
    np.testing.assert_array_equal(back.mu, 2 * mu)
    if name != "a.npy":
        assert back.y.tolist() == run.y.tolist() and back.names.tolist() == NAMES.tolist()
