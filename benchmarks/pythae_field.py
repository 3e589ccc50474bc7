"""The correction in another trainer: what a field gains where pythae trains, beside the trainer of this package.

    OMP_NUM_THREADS=1 python benchmarks/pythae_field.py
    python benchmarks/pythae_field.py --help

pythae (Chadebec, Vincent & Allassonnière 2022; `pip install -r benchmarks/requirements.txt`) trains its own VAE with
its own networks and its own loop, first as it is and then with the class of `field_for_pythae.py`. Field, coupling and
schedule are those that `vaept.recommend` chooses on the training images; images, seeds, widths, batches, epochs and
learning rates are the same for both trainers, the initial weights and the order of batches are each one's own; a
further arm of this package draws the first layer of the decoder as pythae does.
Everything is measured on the test images. The numbers are kept in results/pythae_field.json, from which the book takes
them.
"""

import contextlib
import json
import logging
import os
import platform
import tempfile
import time
import warnings
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy

from vaept import compare, elbo, fit, from_encoder, load, recommend
from vaept.companion.citation import made_from
from vaept.progress import bar

HERE = Path(__file__).resolve().parent
TABLE = HERE / "results" / "pythae_field.json"
SETTINGS = {"hidden": 512, "batch_size": 64, "learning_rate": 2e-3}  # pythae's own networks have one layer of 512
SAMPLES = 16  # of latents of an image, for −ELBO


def pythae_trained(dataset, latent_dim, seed, epochs, recipe=None):
    """A model that pythae trained, in the field of a `Recipe` if there is one."""
    from field_for_pythae import VAEInField
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.manual_seed(seed)
    config = VAEConfig((dataset.pixels,), latent_dim, reconstruction_loss="bce")
    model, labels = VAE(config), torch.zeros(len(dataset.train))
    if recipe is not None:
        model, labels = VAEInField(config), torch.tensor(recipe.field.values)
        model.epochs, model.coupling, model.schedule = epochs, recipe.coupling, asdict(recipe.schedule)
    with tempfile.TemporaryDirectory() as folder, _silent():
        how = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=SETTINGS["batch_size"],
            learning_rate=SETTINGS["learning_rate"],
            scheduler_cls="CosineAnnealingLR",
            scheduler_params={"T_max": epochs},
            seed=seed,
            no_cuda=True,
        )
        BaseTrainer(model, BaseDataset(torch.tensor(dataset.train), labels), training_config=how).train()
    return model  # as it is at the end; what pythae saves is the epoch of the least loss, which a warm start has first


@contextlib.contextmanager
def _silent():
    """Without the log and the bars of pythae, one for each epoch."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)


@torch.no_grad()
def pythae_measured(model, images):
    """Posterior means (n, d) and −ELBO in nats under the plain prior, of a model that pythae trained."""
    latents = from_encoder(model.encoder, images)
    mean, logvar = torch.tensor(latents.mu), torch.tensor(latents.logvar)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1)
    generator, x, total = torch.Generator().manual_seed(0), torch.tensor(images), 0.0
    for _ in range(SAMPLES):
        z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)
        decoded = model.decoder(z.float())["reconstruction"].flatten(1)
        total += float(binary_cross_entropy(decoded, x, reduction="none").sum(-1).mean()) / SAMPLES
    return latents.mu, total + float(kl.mean())


def own_measured(member, images):
    """The same of a member that this package trained."""
    return from_encoder(member.encode, images).mu, -float(elbo(member, images, n_samples=SAMPLES).elbo.mean())


def arms(dataset, latent_dim, members, epochs, recipe, show=True):
    """Rows of the table for one latent dimension: each trainer, without and with the field."""
    same = SETTINGS | {"latent_dim": latent_dim, "epochs": epochs, "seeds": range(members), "jobs": 1, "progress": show}
    in_field, rows = {name: getattr(recipe, name) for name in ("field", "coupling", "schedule")}, []
    for arm, own, how in (("plain", None, {}), ("field", recipe, in_field)):
        start, found = time.perf_counter(), []
        for seed in bar(range(members), f"pythae, {arm}, d = {latent_dim}", unit="model", show=show):
            model = pythae_trained(dataset, latent_dim, seed, epochs, own)
            found.append(pythae_measured(model, dataset.test))
        rows.append(_row("pythae", arm, latent_dim, found, time.perf_counter() - start))
        start, ensemble = time.perf_counter(), fit(dataset, **same, **how)
        found = [own_measured(member, dataset.test) for member in ensemble.members]
        rows.append(_row("vaept", arm, latent_dim, found, time.perf_counter() - start))
    start, ensemble = time.perf_counter(), fit(dataset, **same, start=with_first_layer_of_pytorch(dataset, **same))
    found = [own_measured(member, dataset.test) for member in ensemble.members]
    return [*rows, _row("vaept", "first layer", latent_dim, found, time.perf_counter() - start)]


def with_first_layer_of_pytorch(dataset, *, seeds, **settings):
    """Members before their training whose decoder's first layer was drawn as PyTorch draws it, and so pythae.

    Its weights are then as large as latents with few coordinates need, and its biases differ.
    """
    ensemble = fit(dataset, seeds=seeds, **settings | {"epochs": 1})
    for seed, member in zip(seeds, ensemble.members, strict=True):
        member.initialise(torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)
        member.decoder[0].reset_parameters()
    return ensemble


def _row(trainer, arm, latent_dim, found, seconds):
    latents, losses = zip(*found, strict=True)
    agreement = compare(np.stack(latents))
    measured = {name: asdict(getattr(agreement, name)) for name in ("coordinates", "signed_permutation", "orthogonal")}
    row = {"trainer": trainer, "arm": arm, "d": latent_dim, **measured, "minus_elbo": list(losses)}
    return row | {"seconds": round(seconds / len(found), 2)}


def measured(dims, members, epochs, show=True):
    """The whole table, as a dict of JSON values."""
    dataset, rows, recipes = load("digits"), [], []
    for d in dims:
        recipe = recommend(dataset, d, epochs=epochs, jobs=1, progress=show, **SETTINGS)
        if recipe.field is None:
            raise click.ClickException(f"For d = {d} no field is recommended: {' '.join(recipe.reasons)}")
        chosen = {"d": d, "field": recipe.trials[0].field, "coupling": recipe.coupling}
        recipes.append(chosen | {"schedule": asdict(recipe.schedule), "reasons": list(recipe.reasons)})
        rows += arms(dataset, d, members, epochs, recipe, show)
    return {
        "data": dataset.name,
        "data_checksum": dataset.checksum,
        "members": members,
        "settings": SETTINGS,
        "epochs": epochs,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: metadata.version(name) for name in ("vaept", "pythae", "torch", "numpy", "scipy")},
        "commit": made_from(HERE.parent, "")["commit"],
        "recipes": recipes,
        "rows": rows,
    }


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--members", default=5, show_default=True, type=click.IntRange(3), help="Seeds of each arm.")
@click.option("--epochs", default=60, show_default=True, type=click.IntRange(1), help="Of every training.")
@click.option("--output", default=TABLE, type=click.Path(dir_okay=False, path_type=Path), help="The table.")
def main(members, epochs, output):
    try:
        metadata.version("pythae")
    except metadata.PackageNotFoundError:
        raise click.ClickException("pythae is missing: pip install -r benchmarks/requirements.txt") from None
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # of fields of few images; the pilots show what is wrong
    found = measured((2, 4), members, epochs)
    for row in found["rows"]:
        agreement, loss = row["coordinates"], np.array(row["minus_elbo"])
        interval = f"{agreement['mean']:.3f} [{agreement['low']:.3f}, {agreement['high']:.3f}]"
        name = f"{row['trainer']}, {row['arm']}, d = {row['d']}"
        print(f"{name:<24} agreement {interval:<24} −ELBO {loss.mean():.2f} ± {loss.std(ddof=1):.2f} nats", flush=True)
    output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
