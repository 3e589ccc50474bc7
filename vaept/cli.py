"""The commands. Errors that a user can act on end as one sentence; an interrupted command can be repeated."""

import os
import sys
import time
from pathlib import Path

import click
import joblib
import numpy as np

import vaept
from vaept import book, datasets
from vaept.degeneracy import compare
from vaept.errors import InputError, VaeptError
from vaept.evaluation import elbo
from vaept.model import LIKELIHOODS
from vaept.profiles import profiles
from vaept.storage import ensure_writable
from vaept.study import open_study
from vaept.training import fit

INTERRUPTED = "Interrupted. What was finished is kept; the same command continues from there."


class _Command(click.Command):
    """A command whose expected errors become one sentence on standard error and exit status 1."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except VaeptError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno is None:
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise click.ClickException(f"{error.strerror}{where}.") from error
        except KeyboardInterrupt:
            click.echo("\n" + INTERRUPTED, err=True)
            sys.exit(130)


@click.group()
@click.version_option(vaept.__version__, prog_name="vaept")
def main():
    """Degenerate latent spaces of variational autoencoders: a reproducible companion to arXiv:1907.05267."""


jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes, one thread each. [default: one per core]"
)
device_option = click.option("--device", default="cpu", show_default=True, metavar="D", help="A torch device, as cuda.")


@main.command(cls=_Command)
@click.option(
    "--profile",
    default="digits",
    show_default=True,
    metavar="P",
    help=f"What to train and measure: {', '.join(profiles())}.",
)
@click.option(
    "--data",
    metavar="PATH",
    help="An .npz file of your own, with x (n, …) in [0, 1] or uint8 and optionally integer labels y; or the folder "
    "whose subfolder mnist has the official files (as VAEPT_DATA_DIR).",
)
@jobs_option
@device_option
@click.option(
    "--store", type=click.Path(path_type=Path), metavar="DIR", help="Keep results here. [default: _build/runs]"
)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="The book. [default: _build/PROFILE]")
def reproduce(profile, data, jobs, device, store, output):
    """Train, measure, execute the chapters and build the book.

    Finished parts are found again, so a second call with nothing changed takes seconds, and a call that was
    interrupted continues. MNIST is downloaded once, or taken from $VAEPT_DATA_DIR/mnist if that is set.
    """
    root = book.checkout()
    if data is not None and Path(data).is_dir():
        os.environ["VAEPT_DATA_DIR"], data = str(Path(data).resolve()), None
    study = open_study(profile, data, store=store, jobs=jobs, device=device)
    name = study.profile.name if data is None else f"{study.profile.name}-{Path(data).stem}"
    output = output or root / "_build" / name
    ensure_writable(output)
    times, results = {}, {}

    with _timed(times, "data"):
        dataset = study.dataset
    click.echo(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images.")
    for d in study.profile.latent_dims:
        click.echo(f"d = {d}: {study.profile.members} members, {study.profile.epochs} epochs each")
        with _timed(times, f"training, d = {d}"):
            study.ensemble_folder(d)
        with _timed(times, f"evaluation, d = {d}"):
            results[d] = study.evaluation(d)
    click.echo("Executing the chapters")
    with _timed(times, "chapters"):
        executed = book.execute(study, jobs or joblib.cpu_count(), report=click.echo)
    click.echo("Building the book")
    numbers = _main_numbers(results)
    with _timed(times, "building"):
        index = book.build(study, executed, output, _substitutions(study, numbers))

    click.echo("\nTime")
    for part, seconds in [*times.items(), ("in all", sum(times.values()))]:
        click.echo(f"  {part:<22}{seconds:7.1f} s")
    click.echo("\nMain numbers (on test images; mean [95 % interval over members])")
    for d, row in numbers.items():
        click.echo(f"  d = {d}")
        for quantity, value in row.items():
            click.echo(f"    {quantity:<40}{value}")
    click.echo(f"\nThe book: {index}")


class _timed:
    def __init__(self, times, part):
        self.times, self.part = times, part

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        self.times[self.part] = time.perf_counter() - self.start


def _main_numbers(results):
    numbers = {}
    for d, result in results.items():
        agreement = compare(result.mean)
        numbers[d] = {
            "−ELBO, mean ± sd over members (nats)": f"{-result.elbo.mean():.2f} ± {_deviation(result.elbo):.2f}",
            "log p(x) − ELBO (nats)": f"{_gap(result):.2f}",
            "active units": f"{result.active.sum(1).mean():.1f} of {d}",
            "coordinate agreement, no alignment": f"{agreement.coordinates}",
            "after the best signed permutation": f"{agreement.signed_permutation}",
            "R² after the best rotation": f"{agreement.orthogonal}",
            "R² after the best linear map": f"{agreement.linear}",
        }
    return numbers


def _gap(result):
    """Mean distance of the ELBO from the importance-weighted log p(x), on the images that have both."""
    m = result.importance_weighted.shape[1]
    return (result.importance_weighted - (result.reconstruction - result.kl)[:, :m]).mean()


def _deviation(values):
    return np.std(values, ddof=1) if len(values) > 1 else 0.0


def _substitutions(study, numbers):
    d, row = next(iter(numbers.items()))
    return {
        "profile": study.profile.name,
        "data": study.dataset.name,
        "n_train": f"{len(study.dataset.train):,}",
        "members": study.profile.members,
        "d": d,
        "minus_elbo": row["−ELBO, mean ± sd over members (nats)"],
        "agreement": row["coordinate agreement, no alignment"],
        "rotation": row["R² after the best rotation"],
    }


@main.command(cls=_Command)
@click.option("--data", default="digits", show_default=True, metavar="PATH", help="digits, mnist or an .npz file.")
@click.option("--latent-dim", default=2, show_default=True, metavar="N", help="Latent coordinates, d.")
@click.option("--seeds", default=5, show_default=True, metavar="N", help="Members: seeds 0 … N − 1.")
@click.option("--epochs", default=50, show_default=True, metavar="N", help="Passes over the training images.")
@click.option("--hidden", default="128", show_default=True, metavar="W,W,…", help="Widths of the encoder's layers.")
@click.option("--likelihood", type=click.Choice(LIKELIHOODS), default="bernoulli", show_default=True)
@click.option("--batch-size", default=64, show_default=True, metavar="N", help="Images in a step.")
@click.option("--learning-rate", default=2e-3, show_default=True, metavar="X", help="Adam's first step size.")
@jobs_option
@device_option
@click.option(
    "--output", type=click.Path(path_type=Path), default="ensemble.safetensors", show_default=True, metavar="FILE"
)
def train(data, latent_dim, seeds, epochs, hidden, likelihood, batch_size, learning_rate, jobs, device, output):
    """Train one ensemble and save it.

    Checkpoints lie in a folder beside FILE until it is written; the same command continues from them.
    """
    try:
        widths = [int(width) for width in hidden.split(",") if width.strip()]
    except ValueError as error:
        raise InputError(f"--hidden needs integers separated by commas, such as 400,200; it is {hidden!r}.") from error
    dataset = datasets.load(data)
    checkpoint = output.with_name(output.name + ".members")
    ensemble = fit(
        dataset,
        latent_dim=latent_dim,
        seeds=range(seeds),
        epochs=epochs,
        hidden=widths,
        likelihood=likelihood,
        batch_size=batch_size,
        learning_rate=learning_rate,
        jobs=jobs,
        device=device,
        checkpoint=checkpoint,
    )
    ensemble.save(output)
    for path in checkpoint.iterdir():
        path.unlink()
    checkpoint.rmdir()
    for seed, member in zip(ensemble.seeds, ensemble.members, strict=True):
        bound = elbo(member, dataset.test)
        click.echo(
            f"seed {seed}: −ELBO {-bound.elbo.mean():.2f} nats on test images "
            f"(−reconstruction {-bound.reconstruction.mean():.2f}, KL {bound.kl.mean():.2f})"
        )
    if len(ensemble.seeds) > 1:
        click.echo(
            f"coordinate agreement without alignment: {compare(ensemble.posterior(dataset.test)[0]).coordinates}"
        )
    click.echo(f"Saved {output}")
