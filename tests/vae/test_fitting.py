import contextlib
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL, wait_for

from vaept.errors import InputError, TrainingError
from vaept.processes import lock
from vaept.vae import fitting, training
from vaept.vae.ensemble import Ensemble, Seed
from vaept.vae.fitting import fit


def weights(ensemble):
    return [torch.cat([p.flatten() for p in member.parameters()]) for member in ensemble.members]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_training_improves_both_the_loss_and_the_images(ensemble, digits):
    elbo = ensemble.history.elbo
    assert elbo.shape == (3, 3) and (elbo[:, -1] > elbo[:, 0] + 1).all()
    assert (ensemble.history.kl > 0).all()


def test_members_are_bitwise_the_same_in_parallel(ensemble, digits):
    parallel = fit(digits, seeds=range(3), jobs=3, **SMALL)
    assert same(parallel, ensemble)
    assert np.array_equal(parallel.history.elbo, ensemble.history.elbo)


def test_a_member_depends_on_its_own_seed_only(ensemble, digits):
    alone = fit(digits, seeds=[2], jobs=1, **SMALL)
    assert torch.equal(weights(alone)[0], weights(ensemble)[2])
    first, second = weights(ensemble)[:2]
    assert not torch.equal(first, second)


def test_global_random_state_is_neither_used_nor_touched(ensemble, digits):
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    again = fit(digits, seeds=range(3), jobs=1, **SMALL)
    assert same(again, ensemble)
    assert torch.equal(before, torch.random.get_rng_state())


def test_each_source_of_randomness_matters(digits):
    seeds = [Seed(0, 0, 0), Seed(1, 0, 0), Seed(0, 1, 0), Seed(0, 0, 1)]
    members = weights(fit(digits, seeds=seeds, jobs=1, **(SMALL | {"epochs": 1})))
    assert len({tuple(member[:20].tolist()) for member in members}) == 4


def test_interrupted_training_continues_bit_for_bit_with_others(ensemble, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    real_epoch, calls = training._Stack.epoch, []

    def stops_in_the_second(self):
        calls.append([str(member.seed) for member in self.members])
        if len(calls) == 2:
            raise KeyboardInterrupt
        real_epoch(self)

    monkeypatch.setattr(training._Stack, "epoch", stops_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        fit(digits, seeds=[1, 2], jobs=1, checkpoint=tmp_path, **SMALL)
    resumed = fit(digits, seeds=range(3), jobs=1, checkpoint=tmp_path, **SMALL)
    assert calls[2:] == [["0"], ["0", "1", "2"], ["0", "1", "2"]], "the one behind should catch up"
    assert same(resumed, ensemble)
    assert np.array_equal(resumed.history.elbo, ensemble.history.elbo)


def test_killed_training_continues(tmp_path, ensemble, digits):
    code = (
        "import sys; from vaept import datasets; from vaept.vae import fitting, training\n"
        "training.CHECKPOINT_SECONDS = 0\n"
        "fitting.fit(datasets.load('digits'), seeds=[0], jobs=1, checkpoint=sys.argv[1], latent_dim=2, epochs=100000,"
        " hidden=(16,), batch_size=50, learning_rate=3e-3, progress=False)"
    )
    path = tmp_path / "member-0.safetensors"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(path, process)
        finally:
            process.kill()
    header, _ = training.read_tensors(path, "member")
    assert header["done"] >= 1
    with pytest.raises(InputError, match="belongs to other settings"):
        fit(digits, seeds=[0], jobs=1, checkpoint=tmp_path, **SMALL)


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-10], lambda content: b"", lambda content: b"\0" + content]
)
def test_a_damaged_checkpoint_is_named_and_the_member_trained_from_the_start(damage, ensemble, digits, tmp_path):
    fit(digits, seeds=[0], jobs=1, checkpoint=tmp_path, **SMALL)
    path = tmp_path / "member-0.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="member-0.*Seed 0 is trained from the start"):
        again = fit(digits, seeds=[0], jobs=1, checkpoint=tmp_path, **SMALL)
    assert torch.equal(weights(again)[0], weights(ensemble)[0])
    assert [path.name for path in tmp_path.iterdir()] == ["member-0.safetensors"]


def test_a_folder_of_checkpoints_is_for_one_training(digits, tmp_path):
    with lock(tmp_path / ".lock"), pytest.raises(InputError, match="Another process is at work"):
        fit(digits, seeds=[0], jobs=1, checkpoint=tmp_path, **SMALL)


def test_divergence_names_seed_epoch_and_step_and_spares_the_others(ensemble, digits, tmp_path, monkeypatch):
    real = training._Stack.epoch

    def poisoned(self):
        for member in self.members:
            if member.seed.weights == 1 and member.done == 1:
                member.numbers[0] = float("nan")
        real(self)

    monkeypatch.setattr(training._Stack, "epoch", poisoned)
    with pytest.raises(TrainingError, match="Seed 1: the loss became nan in epoch 2, step 1"):
        fit(digits, seeds=range(3), jobs=1, checkpoint=tmp_path, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["member-0.safetensors", "member-2.safetensors"]
    spared = weights(fit(digits, seeds=[0, 2], checkpoint=tmp_path, **SMALL))
    assert all(torch.equal(own, weights(ensemble)[i]) for own, i in zip(spared, (0, 2), strict=True))


def test_real_divergence_is_caught(digits):
    settings = SMALL | {"learning_rate": 1e6, "likelihood": "gaussian", "epochs": 20}
    with pytest.raises(TrainingError, match=r"Seed 0: the loss became \S+ in epoch \d+, step \d+. Lower the learning"):
        fit(digits, seeds=[0], jobs=1, **settings)


def test_learning_rate_falls_to_zero_so_the_last_step_changes_little(digits):
    few = fit(digits, seeds=[0], jobs=1, **(SMALL | {"epochs": 1, "batch_size": 1438}))
    # One epoch of one step: the step size is that of the start.
    start = few.settings.new_model(64)
    start.initialise(Seed.of(0).generators()[0])
    step = (torch.cat([p.flatten() for p in start.parameters()]) - weights(few)[0]).abs()
    assert step.max().item() == pytest.approx(3e-3, rel=1e-3)


def test_progress_counts_epochs_and_members(digits, capfd):
    fit(digits, seeds=range(2), jobs=1, **(SMALL | {"progress": True}))
    shown = capfd.readouterr().err
    assert "6/6" in shown and "members 2/2" in shown and "−ELBO" in shown


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer from 1 to 10000; it is 0"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": 10}, r"sequence, such as range\(3\)"),
        ({"seeds": [3, 1, 3]}, "repeated: 3"),
        ({"seeds": [-1]}, "a seed must be an integer from 0 to 4294967295; it is -1"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate must be a finite number of at most 1000000.0 above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"hidden": (-3,)}, r"hidden\[0\] must be an integer from 1 to 100000000; it is -3"),
        ({"likelihood": "cauchy"}, "bernoulli, gaussian"),
        ({"jobs": 0}, "jobs"),
        ({"device": "abacus"}, "device 'abacus' does not exist here; available: cpu"),
        ({"device": "meta"}, "device 'meta' does not exist here"),
    ],
)
def test_bad_arguments_are_refused_at_the_door(digits, argument, message):
    with pytest.raises(InputError, match=message):
        fit(digits, **({"seeds": [0]} | SMALL | argument))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"seeds": [2**32]}, "a seed must be an integer from 0 to 4294967295"),
        ({"seeds": range(10**9)}, "seeds has more than 10000 entries"),
        ({"seeds": "abc"}, "seeds must be a sequence"),
        ({"seeds": np.array(3)}, "seeds must be a sequence"),
        ({"seeds": [1.0]}, "a seed must be an integer"),
        ({"epochs": 10**9}, "epochs must be an integer from 1 to 1000000"),
        ({"batch_size": 10**18}, "batch_size must be an integer from 1"),
        ({"latent_dim": 10**6}, "latent_dim must be an integer from 1 to 10000"),
        ({"learning_rate": 1e7}, "learning_rate must be a finite number"),
        ({"learning_rate": "fast"}, "learning_rate must be a finite number"),
        ({"hidden": (8, 10**8)}, r"2\.\d*e\+09 weights each.* GiB for 3 epochs, more than the 8 GiB"),
        ({"hidden": 10**30}, "hidden"),
        ({"hidden": "8"}, "hidden must be an integer"),
        ({"hidden": None}, "hidden must be an integer"),
        ({"latent_dim": 5000, "full_covariance": True, "batch_size": 1438}, "weights"),
        ({"epochs": 10**6, "seeds": range(10_000)}, "10000 in all"),
        ({"full_covariance": "no"}, "full_covariance must be True or False"),
        ({"likelihood": ["bernoulli"]}, "bernoulli, gaussian"),
        ({"precision": None}, "float32, bfloat16"),
        ({"potential": 3}, "dipole, wells"),
        ({"jobs": "many"}, "jobs"),
        ({"device": 3.5}, "device 3.5 does not exist here"),
        ({"checkpoint": 3}, "checkpoint must be a path"),
        ({"start": "there"}, "start must be of the class Ensemble"),
    ],
)
def test_other_bad_arguments_are_refused_before_training(digits, argument, message, monkeypatch):
    monkeypatch.setattr(fitting, "train", None)
    monkeypatch.setattr(fitting, "memory", lambda: 2**33)
    with pytest.raises(InputError, match=message):
        fit(digits, **({"seeds": [0]} | SMALL | argument))


def test_data_of_another_kind_are_refused(digits):
    for wrong in (digits.train, None, "digits"):
        with pytest.raises(InputError, match=r"dataset must be a Dataset.*from_arrays"):
            fit(wrong, seeds=[0], **SMALL)


def test_a_checkpoint_that_is_a_file(digits, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fit(digits, seeds=[0], checkpoint=tmp_path / "file", **SMALL)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 16},
        {"hidden": np.array([16])},
        {"learning_rate": np.float64(0.003)},
        {"seeds": np.arange(3)},
        {"seeds": torch.arange(3)},
        {"learning_rate": torch.tensor(0.003, dtype=torch.float64)},
    ],
)
def test_arguments_of_other_types_give_the_same(digits, ensemble, change):
    found = fit(digits, **({"seeds": range(3), "jobs": 1} | SMALL | change))
    assert same(found, ensemble) and found.settings == ensemble.settings


def test_a_learning_rate_in_single_precision(digits):
    assert (
        fit(digits, seeds=[0], jobs=1, **(SMALL | {"learning_rate": np.float32(3e-3)})).settings.learning_rate < 0.0031
    )


def test_more_latent_coordinates_than_pixels_and_a_batch_of_all(digits):
    wide = fit(digits, seeds=[0], jobs=1, **(SMALL | {"latent_dim": 70, "batch_size": 10**6, "epochs": 1}))
    assert wide.posterior(digits.test)[0].shape == (1, 359, 70)


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "gradients off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_the_caller_set_in_torch_changes_nothing(digits, ensemble, surroundings, jobs):
    with SURROUNDINGS[surroundings]():
        found = fit(digits, seeds=range(3), jobs=jobs, **SMALL)
        mean, variance = found.posterior(digits.test)
        images = found.decode(mean[0])
    assert same(found, ensemble) and np.array_equal(images, ensemble.decode(mean[0]))
    assert all(np.array_equal(*pair) for pair in zip((mean, variance), ensemble.posterior(digits.test), strict=True))
    parameters = list(found.members[0].parameters())
    assert all(p.dtype == torch.float32 and p.device.type == "cpu" and not p.is_inference() for p in parameters)


def test_reduced_precision_learns_within_a_cast_of_the_caller(digits):
    how = SMALL | {"precision": "bfloat16", "jobs": 1, "seeds": [0]}
    alone = fit(digits, **how)
    with torch.autocast("cpu", torch.bfloat16):
        assert same(fit(digits, **how), alone)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none(digits):
    with pytest.raises(InputError, match="device 'cuda' does not exist here; available: cpu"):
        fit(digits, seeds=[0], device="cuda", **SMALL)


def test_labels_are_never_used(ensemble, digits):
    blind = dataclasses.replace(digits, train_labels=None, test_labels=None)
    assert same(fit(blind, seeds=range(3), jobs=1, **SMALL), ensemble)


@pytest.fixture(scope="module")
def field(digits):
    """Two distinct, whitened functions of the images."""
    left = np.linalg.svd(digits.train - digits.train.mean(0), full_matrices=False)[0][:, :2]
    return (left * np.sqrt(len(left))).astype(np.float32)


FIELD = SMALL | {"jobs": 1, "seeds": [0, 1], "epochs": 8, "coupling": 3, "schedule": "switch-off"}


def test_a_field_fixes_the_coordinates_and_is_gone_at_the_end(digits, field):
    trained = fit(digits, field=field, **FIELD)
    mean, _ = trained.posterior(digits.train)
    for own in mean:
        assert np.corrcoef(own.T, field.T)[[0, 1], [2, 3]].min() > 0.7
    history = trained.history
    assert np.array_equal(history.perturbed_kl[:, -1], history.kl[:, -1])
    assert (history.perturbed_kl[:, 2] < history.kl[:, 2]).all()
    assert trained.settings.final_strength == 0 and trained.settings.potential == "dipole"
    turned = fit(digits, field=-field, **FIELD).posterior(digits.train)[0]
    assert np.corrcoef(turned[0].T, mean[0].T)[[0, 1], [2, 3]].max() < -0.5


def test_training_in_a_field_can_be_interrupted_saved_and_loaded(digits, field, tmp_path, monkeypatch):
    whole = fit(digits, field=field, **FIELD)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0)
    real_epoch, calls = training._Stack.epoch, []

    def stops(self):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real_epoch(self)

    monkeypatch.setattr(training._Stack, "epoch", stops)
    with pytest.raises(KeyboardInterrupt):
        fit(digits, field=field, checkpoint=tmp_path, **FIELD)
    with pytest.raises(InputError, match="other settings or data"):
        fit(digits, field=-field, checkpoint=tmp_path, **FIELD)
    resumed = fit(digits, field=field, checkpoint=tmp_path, **FIELD)
    assert same(resumed, whole) and np.array_equal(resumed.history.perturbed_kl, whole.history.perturbed_kl)
    resumed.save(tmp_path / "e.safetensors")
    loaded = Ensemble.load(tmp_path / "e.safetensors")
    assert loaded.settings == whole.settings and same(loaded, whole)


def test_a_coupling_of_zero_changes_nothing(digits, field, ensemble):
    untouched = fit(digits, field=field, seeds=range(3), coupling=0, jobs=1, **SMALL)
    assert all(torch.equal(a, b) for a, b in zip(weights(untouched), weights(ensemble), strict=True))


def test_wells_are_learned_with_the_model_and_kept(digits, tmp_path):
    arguments = SMALL | {"seeds": [0, 1], "jobs": 1, "potential": "wells"}
    trained = fit(digits, **arguments)
    centres = [member.potential.centres for member in trained.members]
    assert not torch.equal(*centres) and trained.settings.final_strength == 1
    trained.save(tmp_path / "e.safetensors")
    loaded = Ensemble.load(tmp_path / "e.safetensors").members[1].potential.centres
    assert torch.equal(loaded, centres[1])


def test_members_go_on_from_others(digits, ensemble):
    seeds = [Seed(s, s + 10, s + 10) for s in range(3)]
    gone_on = fit(digits, seeds=seeds, start=ensemble, jobs=1, **SMALL)
    assert (gone_on.history.elbo[:, 0] > ensemble.history.elbo[:, 0] + 1).all()
    assert (gone_on.history.elbo[:, -1] > ensemble.history.elbo[:, -1]).all()
    for change, message in [
        ({"seeds": [0]}, "3 members and there are 1 seeds"),
        ({"hidden": (8,)}, "start has hidden"),
    ]:
        with pytest.raises(InputError, match=message):
            fit(digits, start=ensemble, jobs=1, **(SMALL | {"seeds": range(3)} | change))


def test_bfloat16_training_is_close_to_float32(digits, ensemble):
    reduced = fit(digits, seeds=range(3), jobs=1, precision="bfloat16", **SMALL)
    assert all(p.dtype == torch.float32 for p in reduced.members[0].parameters())
    difference = reduced.history.elbo[:, -1] - ensemble.history.elbo[:, -1]
    assert 0 < np.abs(difference).max() < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: {"field": f[:-1]}, r"shape \(1438, k\)"),
        (lambda f: {"field": f[:, 0]}, r"shape \(1438, k\)"),
        (lambda f: {"field": np.where(f > 2, np.nan, f)}, "field must be finite"),
        (lambda f: {"field": f * [1, 0]}, r"no variance in components \[1\]"),
        (lambda f: {"field": f, "coupling": -1}, "coupling must have values of at least 0"),
        (lambda f: {"field": f, "coupling": None}, "A field needs a coupling"),
        (lambda f: {"field": None, "potential": None}, "nothing to couple to"),
        (lambda f: {"field": None, "potential": "dipole"}, "needs a field"),
        (lambda f: {"field": f, "potential": "wells"}, "knows nothing of a field"),
        (lambda f: {"field": f, "potential": "rings"}, "potential must be one of dipole, wells"),
        (lambda f: {"field": f, "schedule": {"switch_off": 2}}, "switch_off"),
        (lambda f: {"field": f, "precision": "float8"}, "precision must be one of float32, bfloat16"),
    ],
)
def test_bad_fields_and_schedules(digits, field, change, message):
    with pytest.raises(InputError, match=message):
        fit(digits, **(FIELD | change(field)))


@pytest.mark.parametrize(
    "kind",
    [
        lambda f: torch.tensor(f, requires_grad=True),
        lambda f: f.tolist(),
        lambda f: f + 0j,
        lambda f: np.ma.masked_array(f, mask=False),
        np.asfortranarray,
        lambda f: f.astype(">f4"),
    ],
)
def test_fields_of_every_container_give_the_same(digits, field, kind):
    short = FIELD | {"seeds": [0], "epochs": 1}
    assert same(fit(digits, field=kind(field), **short), fit(digits, field=field, **short))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda f: f + 1j, "field must be real"),
        (lambda f: np.ma.masked_array(f, f > 2), "masked values"),
        (lambda f: {"values": f}, "field must be an array"),
        (lambda f: "diffusion", "field must be an array"),
        (lambda f: f * 1e30, "field has values up to"),
    ],
)
def test_fields_of_other_kinds_are_refused(digits, field, kind, message):
    with pytest.raises(InputError, match=message):
        fit(digits, field=kind(field), **FIELD)


def test_equal_couplings_and_missing_components_are_warned_of(digits, field):
    short = FIELD | {"seeds": [0], "epochs": 1}
    with pytest.warns(UserWarning, match="Some couplings are equal"):
        fit(digits, field=field, **(short | {"coupling": [2, 2]}))
    with pytest.warns(UserWarning, match="the last 1 feel no field and stay free"):
        fit(digits, field=field[:, :1], **short)
