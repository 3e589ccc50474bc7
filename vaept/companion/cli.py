"""The commands. Errors that a user can act on end as one sentence; an interrupted command can be repeated."""

import os
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import click

import vaept
from vaept import arguments, datasets
from vaept.companion import book, codepaths, machines
from vaept.companion.inspection import description, refusal
from vaept.companion.ledger import MEMBERS, as_markdown, as_text, changes, ledger, outdated
from vaept.companion.profiles import arm, profiles
from vaept.companion.profiles import profile as find_profile
from vaept.companion.records import Records
from vaept.companion.report import analysis_figures
from vaept.companion.store import default_store
from vaept.companion.study import code_hashes, open_study
from vaept.companion.wording import shown
from vaept.errors import InputError, VaeptError
from vaept.files import ensure_writable
from vaept.perturbation.fields import FIELDS
from vaept.perturbation.potentials import SCHEDULES
from vaept.processes import cores, lock, on_cluster, one_thread
from vaept.vae.agreement import compare
from vaept.vae.ensemble import Settings
from vaept.vae.evaluation import elbo
from vaept.vae.model import LIKELIHOODS
from vaept.vae.training import fit

MAIN_ARMS = ("cold", "corrected")
INTERRUPTED = "Interrupted. What was finished is kept; the same command continues from there."


class _Command(click.Command):
    """A command whose expected errors become one sentence on standard error and exit status 1."""

    def invoke(self, ctx):
        scheduler = ctx.params.pop("scheduler", None)
        try:
            with on_cluster(scheduler) if scheduler else nullcontext():
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
    # Members run in processes, and one thread in each gives the same bits however many cores there are.
    click.get_current_context().with_resource(one_thread())


FOLDER = click.Path(path_type=Path, file_okay=False, resolve_path=True)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes, one thread each. [default: one per core]"
)
scheduler_option = click.option("--scheduler", metavar="ADDRESS", help="Let a Dask cluster do the work of members.")
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
@scheduler_option
@device_option
@click.option("--store", type=FOLDER, metavar="DIR", help="Keep results here. [default: _build/runs]")
@click.option("--output", type=FOLDER, metavar="DIR", help="The book. [default: _build/PROFILE]")
def reproduce(profile, data, jobs, device, store, output):
    """Train, measure, execute the chapters and build the book.

    Finished parts are found again, so a second call with nothing changed takes seconds, and a call that was
    interrupted continues. MNIST is downloaded once, or taken from $VAEPT_DATA_DIR/mnist if that is set.
    """
    root, times = book.checkout(), {}
    study = open_study(profile, _own_data(data, profile), store=store, jobs=jobs, device=device)
    if output is not None:
        _check_output(output, root, study)
    with _timed(times, "data"):
        for line in description(study.dataset, study.profile)[:-1]:
            click.echo(line)
    if output is None:
        name = f"-{study.dataset.name}" if study.profile.dataset != find_profile(profile).dataset else ""
        output = root / "_build" / f"{profile}{name}"
        _check_output(output, root, study)
    _carry_out(study, times)
    with _timed(times, "records and ledger"):
        records = study.records()
        entries = ledger(records, machines.machines_of(records))
    click.echo("Executing the chapters")
    with _timed(times, "chapters"):
        executed = book.execute(study, jobs or cores(), report=click.echo)
    click.echo("Building the book")
    with _timed(times, "building"), lock(output / ".lock", wait=True):
        index = book.build(study, records, entries, executed, output)

    click.echo("\nTime")
    for part, seconds in [*times.items(), ("in all", sum(times.values()))]:
        click.echo(f"  {part:<22}{seconds:7.1f} s")
    click.echo("\nThe claims (vaept verify --profile " + study.profile.name + " shows every check)")
    for entry in entries:
        click.echo(f"  {entry.claim.id}  {entry.verdict:<15}{entry.count}")
    click.echo("\nMain numbers (on test images; mean [95 % interval over members])")
    for (name, d), record in records.arms.items():
        if name in MAIN_ARMS:
            click.echo(f"  d = {d}, {arm(name).title}")
            for quantity, value in _main_numbers(record, d).items():
                click.echo(f"    {quantity:<40}{value}")
    click.echo(f"\nThe book: {index}\nThe same in one file: {output / f'vaept-book-{profile}.zip'}")


def _own_data(data, profile):
    """What --data means: None if it is the folder that MNIST's files lie in, which is then known, else the data."""
    if data is None or data in datasets.NAMED or not Path(data).is_dir():
        return data
    if find_profile(profile).dataset != "mnist" or not (Path(data) / "mnist").is_dir():
        raise InputError(
            f"--data {data} is a folder. A folder is taken for that of the official MNIST files only: with a profile "
            "of MNIST, and a subfolder mnist. Give your own data as an .npz file, as numpy.savez writes it."
        )
    os.environ["VAEPT_DATA_DIR"] = str(Path(data).resolve())
    return None


def _check_output(output, root, study):
    """Refuse a folder that cannot be written, or whose old book, which is deleted, would hold something else."""
    for kept in (root, study.store.root.resolve()):
        if kept == output or kept.is_relative_to(output):
            raise InputError(f"The book cannot be built in {output}, which holds {kept}. Give another folder.")
    ensure_writable(output)


def _main_numbers(record, d):
    """The numbers of one arm that a reader asks for first, from its `vaept.companion.records.ArmRecord`."""
    losses, agreement = record.minus_elbo, record.agreement
    spread = losses.std(ddof=1) if len(losses) > 1 else 0.0
    return {
        "−ELBO, mean ± sd over members (nats)": f"{losses.mean():.2f} ± {spread:.2f}",
        "log p(x) − ELBO (nats)": f"{(record.log_likelihood + record.minus_elbo_of_these).mean():.2f}",
        "active units": f"{record.active_units.mean():.1f} of {d}",
        "coordinate agreement, no alignment": shown(agreement.coordinates, ".2f"),
        "after the best signed permutation": shown(agreement.signed_permutation, ".2f"),
        "R² after the best rotation": shown(agreement.orthogonal, ".2f"),
        "R² after the best linear map": shown(agreement.linear, ".2f"),
    }


def _carry_out(study, times):
    """Make every ensemble of a study and its evaluation, with a line for each, if the data allow the whole study."""
    study.check()
    runs = study.profile.runs()
    for number, run in enumerate(runs, start=1):
        click.echo(f"{number} of {len(runs)}: {run.title}")
        with _timed(times, "fields and training"):
            study.ensemble_folder(run)
        with _timed(times, "evaluation"):
            study.evaluation_folder(run)
        with _timed(times, "uses"):
            study.measure_folders(run)


class _timed:
    def __init__(self, times, part):
        self.times, self.part = times, part

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        self.times[self.part] = self.times.get(self.part, 0) + time.perf_counter() - self.start


@main.command(cls=_Command)
@click.option(
    "--profile", metavar="P", help="A run of this profile, made now where it is missing: " + ", ".join(profiles()) + "."
)
@click.option("--published", is_flag=True, help="Compare that run with what the repository publishes.")
@click.option("--results", type=FOLDER, metavar="DIR", help="What is published. [default: results]")
@jobs_option
@device_option
@click.option("--store", type=FOLDER, metavar="DIR", help="Keep results here. [default: _build/runs]")
@click.option("--figures", type=FOLDER, metavar="DIR", help="Draw the analysis figures there.")
def verify(profile, published, results, jobs, device, store, figures):
    """Print the ledger of the claims: thresholds, values with intervals, controls, verdicts.

    Without options it is filled from the published records, without images and without training, and says which of the
    code that made them has changed since.

    With --published each number of the run is said to be the same as the published one (it differs by no more than
    1e-6 of it), within the spread between machines, or moved. That spread is the interval in which 99 % of further runs
    on other machines are expected, by Student's t from the runs that `vaept spread` keeps in DIR/PROFILE/machines.json;
    it holds these and the published number. Where it was not measured, the published interval over members is used
    instead. The exit status is 1 if a number moved.

    A check is undecided, and does not count as holding, if the runs on several machines differ in whether it holds.
    """
    root = results or book.checkout() / "results"
    if figures is not None:
        ensure_writable(figures)
    if profile is None and not published:
        for folder in _published(root):
            _show_published(Records.load(folder), root, figures)
        return
    study = open_study(profile or "digits", store=store, jobs=jobs, device=device)
    folder = root / study.profile.name
    if published and folder not in _published(root):
        raise InputError(f"Nothing is published for the profile {study.profile.name}: {folder} holds no records.json.")
    old = Records.load(folder) if published else None
    _carry_out(study, {})
    records = study.records()
    entries = ledger(records, machines.machines_of(records, root))
    click.echo("\n" + as_text(entries))
    _draw(records, figures)
    if published and _compare(entries, old, folder):
        sys.exit(1)


def _show_published(records, root, figures):
    """The ledger of published records, with what is known of the code that made them."""
    click.echo(f"Published: profile {records.profile}, {records.n_train:,} images of {records.data}")
    today = code_hashes()
    if sentence := outdated(records, today):
        click.echo(sentence)
    spread = machines.machines_of(records, root)
    if spread is not None:
        names = ", ".join(run.path for run in spread.runs)
        click.echo(f"Verdicts also from runs under other code paths: {names}")
        if spread.outdated:
            click.echo("These runs were made by an earlier version of the code; `vaept spread` makes them again.")
    click.echo("\n" + as_text(ledger(records, spread)) + "\n")
    _draw(records, figures)


def _compare(entries, published, folder):
    """Print a fresh ledger beside published records; whether a number moved."""
    spread = machines.machines_of(published, folder.parent)
    found = changes(entries, ledger(published, spread), spread)
    click.echo(f"\nBeside the published numbers ({folder}):")
    for change in found:
        values = f"{shown(change.fresh)}, published {shown(change.published)}"
        if change.spread:
            values += f", between machines {change.spread[0]:.3g} to {change.spread[1]:.3g}"
        click.echo(f"  {change.verdict:<36}{change.id.partition(' ')[0]}  {change.quantity}: {values}")
    unmeasured = sum(change.spread is None for change in found)
    if spread is None or len(spread.runs) < machines.LEAST:
        click.echo(
            "The spread between machines was not measured for this profile and these data (`vaept spread` does): the "
            "published intervals over members were used instead, which do not hold it."
        )
    elif unmeasured:
        click.echo(
            f"For {unmeasured} numbers fewer than {machines.LEAST} runs differ, and the spread between machines is not "
            f'known; there "{MEMBERS}" is said instead.'
        )
    moved = sum(change.moved for change in found)
    click.echo(f"{moved} of {len(found)} numbers moved.")
    return moved > 0


def _draw(records, folder):
    if folder is not None:
        for name, figure in analysis_figures(records).items():
            path = folder / f"{name}_{records.profile}.png"
            figure.savefig(path)
            click.echo(f"Drew {path}")


def _published(root):
    folders = sorted(path.parent for path in root.glob("*/records.json"))
    if not folders:
        raise InputError(f"Nothing is published in {root}: it holds no folder with a records.json.")
    return folders


@main.command(cls=_Command)
@click.option("--profile", default="mnist", show_default=True, metavar="P", help=f"One of {', '.join(profiles())}.")
@click.option("--results", type=FOLDER, metavar="DIR", help="Write here. [default: results]")
@jobs_option
@scheduler_option
@device_option
@click.option("--store", type=FOLDER, metavar="DIR", help="Keep results here. [default: _build/runs]")
def publish(profile, results, jobs, device, store):
    """Write what a profile's run measured to DIR/PROFILE: records, latents of test images, ledger.

    These files are what `vaept verify` reads; commit them with the run that the book shows.
    """
    root = results or book.checkout() / "results"
    study = open_study(profile, store=store, jobs=jobs, device=device)
    folder = root / profile
    ensure_writable(folder)
    _carry_out(study, {})
    study.records().save(folder)
    records = Records.load(folder)
    entries = ledger(records, machines.machines_of(records, root))
    (folder / "ledger.md").write_text(f"# Ledger, profile {profile}\n\n" + as_markdown(entries), "utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    click.echo(f"Wrote {folder}, {size:.1f} MB")


@main.command(cls=_Command)
@click.option("--profile", default="digits", show_default=True, metavar="P", help=f"One of {', '.join(profiles())}.")
@click.option(
    "--paths",
    default=",".join(codepaths.CODE_PATHS),
    metavar="A,B,…",
    help=f"Code paths, of {', '.join(codepaths.CODE_PATHS)}. [default: all]",
)
@click.option("--results", type=FOLDER, metavar="DIR", help="Write here. [default: results]")
@jobs_option
@click.option(
    "--store", type=FOLDER, metavar="DIR", help="Keep results here, in a folder for each path. [default: _build/runs]"
)
def spread(profile, paths, results, jobs, store):
    """Measure how far a profile's numbers differ between machines, into DIR/PROFILE/machines.json.

    The study is carried out under several code paths of the libraries, each as on another processor, and in the other
    precision; each takes as long as the study itself. Finished paths are kept, and the same command continues. A path
    that this processor cannot run, or that gives the numbers of another one, is left out. Commit the file: `vaept
    verify --published` measures other machines by it, and the ledger calls checks in which the runs differ undecided.
    """
    root = results or book.checkout() / "results"
    store = store or default_store()
    study = open_study(profile, store=store)
    names = list(dict.fromkeys(name.strip() for name in paths.split(",") if name.strip()))
    ensure_writable(root / profile)
    study.check()
    with lock(root / profile / ".lock"):
        how = {"store": store, "results": root / profile, "jobs": jobs, "report": click.echo}
        found = codepaths.measure(study.profile, names, **how)
    if found is None:
        raise InputError("No code path could be run: see above, or choose others with --paths.")
    published = []
    if (root / profile / "records.json").is_file():
        records = Records.load(root / profile)
        published = ledger(records) if found.fits(records) else []
    click.echo("\n" + machines.table(found, published))
    if published:
        entries = ledger(records, found)
        click.echo(
            f"{sum(check.verdict == 'undecided' for each in entries for check in each.checks)} checks undecided."
        )
    click.echo(f"Wrote {root / profile / machines.FILE}")


@main.command(cls=_Command)
@click.argument("data")
@click.option("--profile", default="digits", show_default=True, metavar="P", help=f"One of {', '.join(profiles())}.")
def check(data, profile):
    """Say what DATA are and what a study leaves out of them, before anything is trained.

    DATA is digits, mnist or an .npz file. The exit status is 1 if no study of the profile can be made of them.
    """
    chosen = find_profile(profile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a line says the same
        dataset = datasets.load(data)
    for line in description(dataset, chosen):
        click.echo(line)
    if refusal(dataset, chosen):
        sys.exit(1)


@main.command(cls=_Command)
@click.option("--data", default="digits", show_default=True, metavar="PATH", help="digits, mnist or an .npz file.")
@click.option("--latent-dim", default=2, show_default=True, metavar="N", help="Latent coordinates, d.")
@click.option("--seeds", default=5, show_default=True, metavar="N", help="Members: seeds 0 … N − 1.")
@click.option("--epochs", default=50, show_default=True, metavar="N", help="Passes over the training images.")
@click.option("--hidden", default="128", show_default=True, metavar="W,W,…", help="Widths of the encoder's layers.")
@click.option("--likelihood", type=click.Choice(LIKELIHOODS), default="bernoulli", show_default=True)
@click.option("--batch-size", default=64, show_default=True, metavar="N", help="Images in a step.")
@click.option("--learning-rate", default=2e-3, show_default=True, metavar="X", help="Adam's first step size.")
@click.option(
    "--field",
    type=click.Choice(list(FIELDS)),
    help="Train in a field made from the unlabelled images; it is saved beside FILE.",
)
@click.option("--coupling", type=float, metavar="X", help="λ, the strength of the field. [default: 1.5]")
@click.option(
    "--schedule",
    type=click.Choice(list(SCHEDULES)),
    default="switch-off",
    show_default=True,
    help="With a field: when.",
)
@jobs_option
@scheduler_option
@device_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    default="ensemble.safetensors",
    show_default=True,
    metavar="FILE",
)
def train(data, seeds, hidden, field, coupling, schedule, jobs, device, output, **how):
    """Train one ensemble and save it.

    Checkpoints lie in a folder beside FILE until it is written; the same command continues from them.
    """
    try:
        how["hidden"] = [int(width) for width in hidden.split(",") if width.strip()]
    except ValueError as error:
        raise InputError(f"--hidden needs integers separated by commas, such as 400,200; it is {hidden!r}.") from error
    if field is None and coupling is not None:
        raise InputError(f"--coupling {coupling:g} needs --field, one of {', '.join(FIELDS)}.")
    if field is not None:
        how |= {"coupling": 1.5 if coupling is None else coupling, "schedule": schedule, "potential": "dipole"}
    Settings(**how)  # refuses what cannot be used before data are read and a field is made
    arguments.device(device)
    checkpoint = output.with_name(output.name + ".members")
    ensure_writable(checkpoint)
    dataset = datasets.load(data)
    if field is not None:
        how["field"] = FIELDS[field](dataset.train, how["latent_dim"])
        how["field"].save(output.with_name(f"{output.stem}.field.safetensors"))
    ensemble = fit(dataset, seeds=range(seeds), **how, jobs=jobs, device=device, checkpoint=checkpoint)
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
