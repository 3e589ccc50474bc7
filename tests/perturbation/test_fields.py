import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.stats import ortho_group

from vaept.errors import DamagedFileError, InputError
from vaept.perturbation._signs import orientation_of
from vaept.perturbation.fields import (
    FIELDS,
    Field,
    diffusion_field,
    held_out_agreement,
    load_field,
    neighbour_field,
    pca_field,
    random_network_field,
    shuffled,
    subspace_field,
)

pytestmark = pytest.mark.filterwarnings("ignore:The signs of components")
ARRAYS = ("values", "eigenvalues", "points", "coordinates", "scales", "densities", "references", "centre", "spread")


@pytest.fixture(scope="module")
def field(digits):
    return diffusion_field(digits.train, 3)


@pytest.fixture(scope="module")
def embedding(digits):
    return neighbour_field(digits.train, 2, landmarks=400)


def strip(s, width=0.05, seed=0):
    """Points along a strip of length 1 at the positions s, in three dimensions."""
    return np.column_stack([s, width * np.random.default_rng(seed).random(len(s)), np.zeros(len(s))])


def correlation(a, b):
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def explained(x, y):
    """R² of each column of y after the best linear map of x."""
    x, y = x - x.mean(0), y - y.mean(0)
    return 1 - ((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum(0) / (y**2).sum(0)


def test_circle_gives_sine_and_cosine_and_a_reported_doublet():
    angle = np.linspace(0, 2 * np.pi, 900, endpoint=False)
    with pytest.warns(UserWarning, match=r"nearly equal levels.*\(0, 1\), \(2, 3\)"):
        field = diffusion_field(circle(), 4)
    assert field.near_multiplets == ((0, 1), (2, 3))
    for order in (1, 2):
        expected = np.column_stack([np.cos(order * angle), np.sin(order * angle)])
        assert explained(field.values[:, 2 * order - 2 : 2 * order], expected).min() > 0.999


def circle(n=900):
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


@pytest.mark.filterwarnings("ignore:The diffusion field has nearly equal levels")
def test_directions_in_a_doublet_do_not_hang_on_the_last_bits():
    """Equal levels up to rounding: an error of one part in 10⁶ in the images may turn eigenvectors by any angle."""
    rng, base = np.random.default_rng(0), diffusion_field(circle(), 4)
    for _ in range(3):
        noisy = circle() * (1 + 1e-7 * rng.standard_normal((900, 2)))
        assert np.abs(diffusion_field(noisy, 4).values - base.values).max() < 0.05
    order = rng.permutation(900)
    assert np.abs(diffusion_field(circle()[order], 4).values - base.values[order]).max() < 1e-3


def test_signs_do_not_hang_on_the_last_bits(digits):
    rng, x = np.random.default_rng(0), digits.train[:, 10:50]
    for make in (diffusion_field, pca_field):
        base = make(x, 3)
        for _ in range(3):
            near = make(x * (1 + 1e-7 * rng.standard_normal(x.shape)).astype(np.float32), 3)
            assert correlation(near.values, base.values).min() > 0.999


def test_a_turn_is_fixed_by_functions_of_the_images_alone(digits):
    """Whatever signs and directions an eigensolver gives, the same components come out."""
    rng, x = np.random.default_rng(0), digits.train
    values = np.linalg.qr(x[:, 20:24] - x[:, 20:24].mean(0, dtype=float))[0] * np.sqrt(len(x))
    levels = np.array([3.0, 2.0, 2.0, 1.0])
    expected = values @ orientation_of(values, levels, x)[0]
    for _ in range(5):
        turn = np.diag(rng.choice([-1.0, 1.0], 4))
        turn[1:3, 1:3] = ortho_group.rvs(2, random_state=rng)
        found = (values @ turn) @ orientation_of(values @ turn, levels, x)[0]
        assert np.abs(found - expected).max() < 1e-9
    assert np.abs(expected.T @ expected / len(x) - np.eye(4)).max() < 1e-9


def test_a_sign_that_little_speaks_for_is_reported(rng):
    half = rng.standard_normal((250, 1))
    values = np.concatenate([half, -half]) / np.sqrt((half**2).mean())
    _, doubtful = orientation_of(values, np.ones(1), np.repeat(values**2, 30, axis=1))
    _, clear = orientation_of(values, np.ones(1), np.repeat(values, 30, axis=1))
    assert doubtful == [0] and clear == []


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(threads, digits, tmp_path):
    """OPENBLAS_NUM_THREADS and OMP_NUM_THREADS are read when libraries load, so each needs a process of its own."""
    code = (
        "import sys, hashlib, warnings; warnings.simplefilter('ignore')\n"
        "from vaept import datasets; from vaept.perturbation.fields import *\n"
        "d = datasets.load('digits')\n"
        "for f in (diffusion_field(d.train, 3), pca_field(d.train, 3), neighbour_field(d.train, 3, landmarks=200),\n"
        "          subspace_field(d.train, 3), random_network_field(d.train, 3)):\n"
        "    f.save(sys.argv[1]); print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())\n"
        "    print(hashlib.sha256(f.transform(d.test).tobytes()).hexdigest())"
    )
    env = os.environ | {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, env=env)
    expected = []
    for field in (
        diffusion_field(digits.train, 3),
        pca_field(digits.train, 3),
        neighbour_field(digits.train, 3, landmarks=200),
        subspace_field(digits.train, 3),
        random_network_field(digits.train, 3),
    ):
        field.save(tmp_path / "f")
        expected.append(hashlib.sha256((tmp_path / "f").read_bytes()).hexdigest())
        expected.append(hashlib.sha256(field.transform(digits.test).tobytes()).hexdigest())
    assert shown.stdout.split() == expected, shown.stderr


def test_a_doublet_that_is_cut_in_two_is_reported_and_fixed():
    with pytest.warns(UserWarning, match=r"1 is the first left out"):
        field = diffusion_field(circle(300), 1)
    assert field.near_multiplets == ((0, 1),)
    with pytest.warns(UserWarning, match="nearly equal"):
        whole = diffusion_field(circle(300), 2)
    assert np.abs(field.values[:, 0] - whole.values[:, 0]).max() < 1e-4


def test_lanczos_finds_every_member_of_a_fourfold_multiplet():
    """A flat torus of 48 × 48 points, more than are diagonalised densely: levels of multiplicity 4, 4, …"""
    angle = 2 * np.pi * np.arange(48) / 48
    a, b = (g.ravel() for g in np.meshgrid(angle, angle))
    with pytest.warns(UserWarning, match="nearly equal levels"):
        field = diffusion_field(np.column_stack([np.cos(a), np.sin(a), np.cos(b), np.sin(b)]), 8, n_neighbors=8)
    assert field.near_multiplets == ((0, 1, 2, 3), (4, 5, 6, 7))
    assert np.ptp(field.eigenvalues[:4]) < 1e-9 and np.ptp(field.eigenvalues[4:]) < 1e-9
    products = np.column_stack([f(a) * g(b) for f in (np.cos, np.sin) for g in (np.cos, np.sin)])
    assert explained(field.values[:, 4:], products).min() > 0.999


def test_first_coordinate_of_a_strip_is_a_cosine_of_its_length(rng):
    s = rng.random(1500)
    first = diffusion_field(strip(s), 1).values[:, 0]
    assert abs(np.corrcoef(first, np.cos(np.pi * s))[0, 1]) > 0.99


def test_an_unevenly_sampled_strip_is_measured_in_shares_of_its_points(rng):
    share = rng.random(1500)
    s = share**2
    first = diffusion_field(strip(s, width=0.01), 1).values[:, 0]
    assert abs(np.corrcoef(first, np.cos(np.pi * share))[0, 1]) > 0.98
    middle = np.argsort(s)[50:-50:20]
    assert np.all(np.diff(first[middle]) > 0) or np.all(np.diff(first[middle]) < 0)


def test_eigenvalues_descend_and_values_are_standardised(field, embedding, digits):
    for found in (field, embedding, pca_field(digits.train, 4)):
        assert np.all(np.diff(found.eigenvalues) <= 0) and found.next_eigenvalue <= found.eigenvalues[-1]
        assert found.values.dtype == np.float32 and len(found.values) == len(digits.train)
        assert np.abs(found.values.mean(0)).max() < 1e-5 and found.values.std(0) == pytest.approx(1, abs=1e-5)
        with pytest.raises(ValueError, match="read-only"):
            found.values[0] = 0
    assert field.eigenvalues[-1] > 0 and field.eigenvalues[0] < 1


def test_principal_components_are_those_of_the_covariance(digits):
    field = pca_field(digits.train, 3)
    centred = digits.train.astype(float) - digits.train.mean(0, dtype=float)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(correlation(field.values, left[:, :3])) == pytest.approx(1, abs=1e-6)
    assert field.eigenvalues == pytest.approx(singular[:3] ** 2 / (singular**2).sum(), rel=1e-5)


def test_the_same_arguments_give_the_same_bits(field, embedding, digits):
    for first, again in (
        (field, diffusion_field(digits.train, 3)),
        (embedding, neighbour_field(digits.train, 2, landmarks=400)),
    ):
        assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in ARRAYS)


def test_order_of_the_images_does_not_matter(field, digits, rng):
    order = rng.permutation(len(digits.train))
    permuted = diffusion_field(digits.train[order], 3)
    assert np.abs(permuted.values - field.values[order]).max() < 1e-3
    assert permuted.eigenvalues == pytest.approx(field.eigenvalues, abs=1e-9)


def test_transform_agrees_with_the_values(field, embedding, digits):
    for found in (field, embedding, pca_field(digits.train, 4)):
        assert np.abs(found.transform(digits.train[100:300]) - found.values[100:300]).max() < 1e-4
    unflattened = digits.test.reshape(-1, *digits.image_shape)
    assert np.array_equal(field.transform(unflattened), field.transform(digits.test))


def test_held_out_images_land_where_their_neighbours_are(field, embedding, digits):
    for found, least in ((field, 0.97), (embedding, 0.97), (pca_field(digits.train, 2), 0.95)):
        agreement = held_out_agreement(found, digits.test)
        assert agreement.correlation.min() > least and agreement.r2.min() > least - 0.03
    misplaced = field.values[np.random.default_rng(0).permutation(len(field.values))]
    assert np.abs(correlation(misplaced, field.values)).max() < 0.1


def test_landmarks_give_the_field_of_all_images(field, digits):
    found = diffusion_field(digits.train, 3, landmarks=900)
    assert len(found.references) == 900 and found.values.shape == field.values.shape
    assert explained(found.values, field.values).min() > 0.9 and correlation(found.values, field.values).min() > 0.9


def test_fields_of_disjoint_halves_agree(digits):
    """Of 700 images the single components are not determined, but what they span nearly is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The diffusion field has nearly")
        first, second = (diffusion_field(digits.train[start::2], 6).transform(digits.test) for start in (0, 1))
    assert explained(first, second)[:3].min() > 0.9 and explained(second, first)[:3].min() > 0.9


def test_saved_and_loaded(field, digits, tmp_path):
    field.save(tmp_path / "field.safetensors")
    loaded = Field.load(tmp_path / "field.safetensors")
    assert all(np.array_equal(getattr(field, name), getattr(loaded, name)) for name in ARRAYS)
    assert loaded.name == field.name and loaded.next_eigenvalue == field.next_eigenvalue
    assert np.array_equal(loaded.transform(digits.test), field.transform(digits.test))
    linear = pca_field(digits.train, 2)
    linear.save(tmp_path / "linear.safetensors")
    again = Field.load(tmp_path / "linear.safetensors")
    assert np.array_equal(again.transform(digits.test), linear.transform(digits.test))


def test_damaged_or_missing_file(field, tmp_path):
    path = tmp_path / "field.safetensors"
    with pytest.raises(InputError, match="no file"):
        Field.load(path)
    field.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DamagedFileError, match="damaged"):
        Field.load(path)


def test_shuffling_keeps_the_values_but_not_their_images(field, digits):
    other = shuffled(field)
    assert other.name == "shuffled diffusion"
    assert np.array_equal(np.sort(other.values, axis=0), np.sort(field.values, axis=0))
    assert np.allclose(np.cov(other.values.T), np.cov(field.values.T), atol=1e-4)
    assert np.abs(correlation(other.values, field.values)).max() < 0.1
    assert np.array_equal(shuffled(field).values, other.values)
    assert not np.array_equal(shuffled(field, seed=1).values, other.values)
    for use in (other.transform, lambda x: held_out_agreement(other, x)):
        with pytest.raises(InputError, match="shuffled field has no values at new images"):
            use(digits.test)


def test_pieces_are_joined_with_a_warning(rng):
    clusters = rng.standard_normal((240, 3)) + np.repeat(np.outer([0, 50, 100], [1, 0, 0]), 80, axis=0)
    with pytest.warns(UserWarning, match="in 3 pieces; they are joined by the shortest edges"):
        field = diffusion_field(clusters, 2)
    assert field.eigenvalues[0] < 1 - 1e-8
    means = field.values.reshape(3, 80, 2).mean(1)
    assert means[0, 0] < means[1, 0] < means[2, 0] or means[0, 0] > means[1, 0] > means[2, 0]


def test_duplicates_do_no_harm(rng):
    x = np.repeat(rng.random((150, 5)), rng.integers(1, 4, 150), axis=0)
    x = np.concatenate([x, np.repeat(x[:1], 30, axis=0)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The (neighbour graph|diffusion field|signs)")
        field = diffusion_field(x, 3, n_neighbors=10)
    assert np.isfinite(field.values).all() and np.isfinite(field.transform(x[::2])).all()
    assert np.abs(field.values[-30:] - field.values[-1]).max() < 1e-5


def test_a_neighbour_field_is_completed_by_principal_components(digits):
    field = neighbour_field(digits.train, 4, landmarks=400)
    plane = neighbour_field(digits.train, 2, landmarks=400)
    assert np.allclose(field.values[:, :2], plane.values, atol=1e-5)
    linear = pca_field(digits.train, 2).values
    correlation = np.corrcoef(field.values[:, 2:].T, linear.T)[:2, 2:]
    assert np.abs(np.diag(correlation)).min() > 0.9
    assert field.values.shape == (len(digits.train), 4) and np.isfinite(field.values).all()


def halves(make, digits, *args, **how):
    """A field of two disjoint halves of the training images, at the test images."""
    order = np.random.default_rng(0).permutation(len(digits.train))
    return [make(digits.train[rows], *args, **how).transform(digits.test) for rows in np.array_split(order, 2)]


ALIKE = {  # fields that two halves find alike, and the least correlation of a component at k = 2, 8 and 32
    "no step": (lambda x, k: subspace_field(x, k, iterations=0), (0.995, 0.97, 0.85)),
    "a step": (subspace_field, (0.97, 0.85, 0.6)),
    "network": (random_network_field, (0.99, 0.96, 0.85)),
}


@pytest.mark.parametrize(("make", "least"), ALIKE.values(), ids=[*ALIKE])
def test_fields_that_fixed_functions_order(make, least, digits, tmp_path):
    """Uncorrelated and standardised, alike for two halves as they are, and the first of many the same as a few."""
    for k, bound in zip((2, 8, 32), least, strict=True):
        field = make(digits.train, k)
        own = field.values.astype(float)
        assert np.abs(own.T @ own / len(own) - np.eye(k)).max() < 1e-5 and np.abs(own.mean(0)).max() < 1e-5
        assert np.abs(field.transform(digits.train) - field.values).max() < 1e-4
        assert np.abs(own[:, :2] - make(digits.train, 2).values).max() < 1e-4
        assert correlation(*halves(make, digits, k)).min() > bound
        assert field.near_multiplets == () and field.eigenvalues.shape == (0,)
    field.save(tmp_path / "field")
    loaded = load_field(tmp_path / "field")
    assert type(loaded) is type(field) and loaded.name == field.name
    assert np.array_equal(loaded.transform(digits.test), field.transform(digits.test))
    assert correlation(shuffled(loaded).values, field.values).max() < 0.2


def test_without_a_step_components_are_fixed_projections_made_uncorrelated(digits):
    directions = np.random.default_rng(0).standard_normal((3, 64)).T
    projections = (digits.train - digits.train.mean(0, dtype=float)) @ directions
    expected, factor = np.linalg.qr(projections)
    expected *= np.sign(np.diag(factor)) * np.sqrt(len(expected))
    assert np.abs(subspace_field(digits.train, 3, iterations=0).values - expected).max() < 1e-4


def test_steps_lead_from_fixed_projections_to_what_principal_components_span(digits):
    linear = pca_field(digits.train, 4).values
    shares = [explained(subspace_field(digits.train, 4, iterations=s).values, linear).mean() for s in (0, 1, 2, 100)]
    assert np.all(np.diff(shares) > 0.02) and shares[-1] > 0.9999
    alone = subspace_field(digits.train, 3, iterations=100).values
    assert np.abs(correlation(alone, linear[:, :3])).min() > 0.99


def test_components_of_equal_variance_have_a_frame_of_their_own(rng):
    """Two samples from a round distribution, of which principal components agree by chance only."""
    first, second, new = (rng.standard_normal((4000, 6)) * [2, 2, 2, 1, 1, 1] for _ in range(3))
    for make, low, high in ((subspace_field, 0.95, 1), (pca_field, -1, 0.9)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The principal components field")
            found = correlation(*(make(x, 3).transform(new) for x in (first, second)))
        assert low < found.min() < high


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (765,), (8, 8, 3), (1, 9)])
@pytest.mark.parametrize("make", [subspace_field, random_network_field])
def test_images_of_any_shape(make, shape, rng):
    x = rng.random((90, *shape))
    field = make(x, 5)
    assert field.values.shape == (90, 5) and np.array_equal(
        field.transform(x[:9].reshape(9, -1)), field.transform(x[:9])
    )
    assert np.abs(field.transform(x) - field.values).max() < 1e-4
    assert np.array_equal(field.values, make(x.reshape(90, -1), 5).values)


def test_networks_differ_by_their_seed(digits):
    first, again, other = (random_network_field(digits.train, 2, seed=seed).values for seed in (0, 0, 1))
    assert np.array_equal(first, again) and np.abs(correlation(first, other)).max() < 0.95
    assert explained(digits.train, first).max() < 0.999  # no linear function of the pixels


def test_every_field_that_can_be_named_takes_images_and_a_number(digits):
    for make in FIELDS.values():
        assert make(digits.train[:200], 2).values.shape == (200, 2)


X = np.random.default_rng(0).random((40, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diffusion_field(X[0], 2), r"shape \(n, pixels\)"),
        (lambda: diffusion_field(X[:0], 2), r"its shape is \(0, 6\)"),
        (lambda: diffusion_field(np.where(X > 0.9, np.nan, X), 2), "x must be finite"),
        (lambda: diffusion_field(X.astype(str), 2), "x must be an array of real numbers"),
        (lambda: pca_field(np.ones((40, 6)), 2), "1 different images"),
        (lambda: diffusion_field(np.repeat(X[:3], 20, axis=0), 2), "3 different images, too few for 2 components"),
        (lambda: diffusion_field(np.repeat(X[:5], 20, axis=0), 2), "as many duplicates as neighbours"),
        (lambda: diffusion_field(X, 0), "n_components must be an integer from 1 to"),
        (lambda: diffusion_field(X, 2, n_neighbors=39), "40 images or landmarks are too few for 39 neighbours"),
        (lambda: diffusion_field(X, 2, n_neighbors=0), "n_neighbors must be an integer"),
        (lambda: diffusion_field(X, 30, landmarks=31), "31 images or landmarks are too few"),
        (lambda: diffusion_field(X, 2, landmarks=41), "landmarks must be an integer from 1 to 40; it is 41"),
        (lambda: neighbour_field(X, 2, landmarks=41), "landmarks must be"),
        (lambda: neighbour_field(X, 2, perplexity=39), "For perplexity 39 and"),
        (
            lambda: neighbour_field(X, 2, landmarks=8, perplexity=5),
            "landmarks must be an integer of at least 12; it is 8",
        ),
        (lambda: neighbour_field(X, 7), "at most the number of pixels, 6"),
        (lambda: pca_field(X, 7), "vary in 6 directions only"),
        (lambda: pca_field(np.column_stack([X[:, :2], X[:, :2]]), 3), "vary in 2 directions only"),
        (lambda: subspace_field(X[0], 2), r"shape \(n, pixels\)"),
        (lambda: subspace_field(np.where(X > 0.9, np.nan, X), 2), "x must be finite"),
        (lambda: subspace_field(X, 7), "vary in 6 directions only"),
        (lambda: subspace_field(np.ones((40, 6)), 2), "1 different images"),
        (lambda: subspace_field(X, 2, iterations=-1), "iterations must be an integer from 0 to 100; it is -1"),
        (lambda: random_network_field(X, 0), "n_components must be an integer from 1 to"),
        (lambda: random_network_field(X, 2, seed=-1), "seed must be an integer"),
        (lambda: random_network_field(np.repeat(X[:3], 20, axis=0), 2), "3 different images, too few for 2 components"),
        (lambda: random_network_field(X, 2).transform(X[:, :5]), r"shape \(n, 6\)"),
        (lambda: pca_field(X, 2).transform(X[:, :5]), r"shape \(n, 6\)"),
        (lambda: held_out_agreement(pca_field(X, 2), X[:2]), "at least 3 new images"),
        (lambda: held_out_agreement(pca_field(X, 2), X, n_neighbors=41), "n_neighbors must be an integer from 1 to 40"),
    ],
)
def test_bad_input(call, message):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The (principal|signs)")
        with pytest.raises(InputError, match=message):
            call()
