import dataclasses

import numpy as np
import pytest
import torch

from vaept.datasets import Dataset
from vaept.errors import InputError
from vaept.files import read_json, restored, write_json
from vaept.uses import interchange as module
from vaept.uses.interchange import Interchange, exchanged, interchange, left_out, properties, turned_exchange
from vaept.vae.ensemble import Ensemble, History, Settings
from vaept.vae.evaluation import elbo


def of_members(ensemble, members):
    """An ensemble of other members."""
    history = History(*[np.zeros((len(members), ensemble.settings.epochs))] * 3)
    seeds = ensemble.seeds[:1] * len(members)
    return dataclasses.replace(ensemble, members=tuple(members), seeds=seeds, history=history)


def flipped(model, settings, coordinate):
    """The same model with a coordinate of its latent space turned round."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    last = max(name for name in weights if name.startswith("encoder") and name.endswith("weight"))
    for name in (last, last.replace("weight", "bias")):
        weights[name][coordinate] *= -1
    weights["decoder.0.weight"][:, coordinate] *= -1
    return settings.model(model.pixels, weights)


def taken(ensemble, dataset):
    return interchange(ensemble, dataset, jobs=1, progress=False)


@pytest.fixture(scope="module")
def found(ensemble, digits):
    return taken(ensemble, digits)


@pytest.fixture(scope="module")
def linear(digits):
    """An ensemble of one affine model with a known decoder, whose posteriors have hardly any width."""
    rng, settings = np.random.default_rng(0), Settings(2, 1, hidden=(), likelihood="gaussian")
    weights = {name: torch.zeros_like(value) for name, value in settings.new_model(64).state_dict().items()}
    weights["encoder.0.weight"][:2] = torch.tensor(rng.standard_normal((2, 64)) / 8)
    weights["encoder.0.bias"][2:] = -30
    weights["decoder.0.weight"][:, 0] = torch.tensor(rng.standard_normal(64))
    model = settings.model(64, weights)
    history = History(*[np.zeros((1, 1))] * 3)
    return Ensemble(settings, ("0",), (model,), history, (8, 8), digits.checksum)


def test_the_diagonal_is_what_each_member_costs_alone(found, ensemble, digits):
    images = digits.test[: module.IMAGES]
    own = [-elbo(member, images, n_samples=module.SAMPLES).elbo.mean() for member in ensemble.members]
    np.testing.assert_allclose(found.nats.diagonal(), own, rtol=1e-6)
    assert not found.above_own.diagonal().any()


def test_copies_are_exchanged_for_nothing(ensemble, digits):
    first, other = ensemble.members[:2]
    found = taken(of_members(ensemble, [first, first, other]), digits)
    assert found.above_own[0, 1] == found.above_own[1, 0] == 0 < found.above_own[0, 2]
    for matrix in (found.classifier, *found.probes.values()):
        assert matrix[0, 0] == matrix[0, 1] == matrix[1, 0] and matrix[0, 0] != matrix[0, 2]


def test_flipped_coordinates_cost_what_the_decoder_makes_of_them(linear, digits):
    (model,) = linear.members
    copies = [model, flipped(model, linear.settings, 0), flipped(model, linear.settings, 1)]
    found = taken(of_members(linear, copies), digits)
    z = model.encode(torch.tensor(digits.test))[0].numpy()[:, 0].astype(float)
    weight = model.decoder[0].weight[:, 0].numpy().astype(float)
    inverse = 1 / float(model.log_noise_variance.exp())
    # |x + wz|² − |x − wz|² = 4 z x·w, halved and in units of the noise
    expected = 2 * inverse * (z * (digits.test @ weight)).mean()
    np.testing.assert_allclose(found.above_own[[0, 1], [1, 0]], expected, rtol=1e-4)
    np.testing.assert_allclose(found.above_own[[0, 2], [2, 0]], 0, atol=1e-4)  # nothing is decoded from it
    decoded = z[:, None] * weight
    own, dealt = (((x - decoded) ** 2).sum(axis=1).mean() for x in (digits.test, np.roll(digits.test, 1, axis=0)))
    np.testing.assert_allclose(found.nats_by_chance - found.nats.diagonal(), inverse * (dealt - own) / 2, rtol=1e-4)


def test_a_probe_is_carried_over_by_equal_coordinates_alone(linear, digits):
    (model,) = linear.members
    found = taken(of_members(linear, [model, flipped(model, linear.settings, 0)]), digits)
    z, other = (model.encode(torch.tensor(x))[0].numpy() for x in (digits.train, digits.test))
    known, asked = (properties(x.reshape(-1, 8, 8))["slant"] for x in (digits.train, digits.test))
    design = np.column_stack([np.ones(len(z)), z])
    fit = np.linalg.lstsq(design, known, rcond=None)[0]
    for column, sign in enumerate((1, -1)):
        residual = asked - np.column_stack([np.ones(len(other)), other * [sign, 1]]) @ fit
        expected = 1 - (residual**2).mean() / asked.var()
        np.testing.assert_allclose(found.probes["slant"][0, column], expected, atol=1e-5)


def test_images_are_spread_over_all(ensemble, digits, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 4)
    rows = [0, 119, 239, 358]
    labels = digits.test_labels[rows]
    few = dataclasses.replace(digits, test=digits.test[rows], test_labels=labels, checksum=None, classes=digits.classes)
    np.testing.assert_array_equal(taken(ensemble, digits).nats, taken(ensemble, few).nats)


def test_it_comes_back_from_a_file(found, tmp_path):
    write_json(tmp_path / "it.json", "interchange", found)
    again = restored(read_json(tmp_path / "it.json", "interchange"), Interchange)
    np.testing.assert_array_equal(again.classifier, found.classifier)
    assert again.probes.keys() == {"slant", "width", "height", "mass", "thickness"}
    np.testing.assert_array_equal(again.probes["slant"], found.probes["slant"])
    assert again.classifier_by_chance == found.classifier_by_chance and 0 < again.classifier_by_chance < 0.2


def test_without_classes_and_pictures_they_are_left_out(ensemble, digits, tmp_path):
    rows = Dataset("rows", digits.train, digits.test)
    assert left_out(digits) == {} and set(left_out(rows)) == {"classifier", "probes"}
    found = taken(ensemble, rows)
    assert found.classifier is None and found.classifier_by_chance is None and found.probes == {}
    write_json(tmp_path / "it.json", "interchange", found)
    assert restored(read_json(tmp_path / "it.json", "interchange"), Interchange).classifier is None


def test_what_does_not_vary_is_no_property(ensemble, digits):
    pair = digits.train[:2] / digits.train[:2].sum(axis=1, keepdims=True) * 10
    pictures = Dataset("pair", np.tile(pair.clip(0, 1), (40, 1)), np.zeros((20, 64)), image_shape=(8, 8))
    assert set(taken(ensemble, pictures).probes) == set()


def test_an_image_is_shown_by_every_decoder(ensemble, digits):
    image = digits.test[3]
    shown = exchanged(ensemble, image)
    assert shown.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(exchanged(ensemble, image.reshape(8, 8)), shown)
    mean = ensemble.posterior(image[None])[0][0]
    np.testing.assert_allclose(shown[0, 2], ensemble.decode(mean)[2, 0], atol=1e-6)


def bar(width, height, lean=0):
    """A bright bar that leans by so many pixels to the right for each row upwards."""
    picture = np.zeros((height + 4, width + 2 * abs(lean) * height + 4))
    for row in range(height):
        start = 2 + abs(lean) * height + lean * (height - 1 - row)
        picture[2 + row, start : start + width] = 0.5
    return picture


@pytest.mark.parametrize(("width", "height"), [(3, 9), (1, 1), (8, 2), (1, 12)])
def test_properties_of_an_upright_bar(width, height):
    found = {name: value[0] for name, value in properties(bar(width, height)[None]).items()}
    corner = 2 - np.sqrt(2)  # where two sides meet in one pixel, its diagonal is counted
    expected = {"slant": 0, "width": width, "height": height, "mass": width * height / 2}
    expected["thickness"] = 2 * width * height / (2 * (width + height) - corner)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lean", [-2, -1, 1, 2])
def test_properties_of_a_leaning_bar(lean):
    found = {name: value[0] for name, value in properties(bar(6, 20, lean)[None]).items()}
    assert found["slant"] == pytest.approx(lean * (1 - 1 / 20**2))
    assert found["height"] == pytest.approx(20) and found["mass"] == 60
    # rows are steps, not slices: what is left of the lean within a row counts as width
    assert found["width"] == pytest.approx(np.sqrt(6**2 + lean**2 * (1 - 1 / 20**2)))


def test_properties_know_no_place_and_only_mass_knows_brightness(rng):
    picture = rng.random((6, 5))
    moved = np.zeros((2, 12, 9))
    moved[0, 1:7, 2:7], moved[1, 4:10, 3:8] = picture, 0.25 * picture
    for name, (first, second) in properties(moved).items():
        assert second == pytest.approx((0.25 if name == "mass" else 1) * first, abs=1e-9), name


def test_an_empty_picture_has_mass_alone():
    found = properties(np.zeros((1, 4, 4)))
    assert found.pop("mass") == 0 and all(np.isnan(values).all() for values in found.values())


def test_turning_undoes_what_is_only_turned(ensemble, digits):
    own = ensemble.members[0]
    turned = (own, flipped(own, ensemble.settings, 1), ensemble.members[1])
    of_three = dataclasses.replace(ensemble, members=turned)
    before, after = taken(of_three, digits).above_own, turned_exchange(of_three, digits)
    assert before[0, 1] > 0.1 and before[1, 0] > 0.1 and not after.diagonal().any()
    np.testing.assert_allclose(after[:2, :2], 0, atol=0.02)  # of the noise, which is not turned


def test_refusals(ensemble, digits):
    with pytest.raises(InputError, match="two at least"):
        taken(ensemble.first(1), digits)
    with pytest.raises(InputError, match="ensemble must be"):
        taken(digits, digits)
    with pytest.raises(InputError, match="dataset must be"):
        taken(ensemble, digits.test)
    with pytest.raises(InputError, match="jobs"):
        interchange(ensemble, digits, jobs=0)
    with pytest.raises(InputError, match="shape"):
        taken(ensemble, Dataset("other", digits.train[:, :60], digits.test[:, :60]))
    with pytest.raises(InputError, match="two at least"):
        turned_exchange(ensemble.first(1), digits)
    with pytest.raises(InputError, match="shape"):
        turned_exchange(ensemble, Dataset("other", digits.train[:, :60], digits.test[:, :60]))
    with pytest.raises(InputError, match="image must have shape"):
        exchanged(ensemble, digits.test[:2])
    with pytest.raises(InputError, match="pictures must have"):
        properties(-np.ones((1, 4, 4)))
