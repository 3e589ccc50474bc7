"""The commands: their names, options and help. What they do is in `vaept.companion.commands`, by the same names.

That module and the libraries beneath it take seconds to import, so it is imported when a command runs, and what the
options must know of them is written out here.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import click

import vaept
from vaept.companion.profiles import code_paths, profiles
from vaept.errors import VaeptError

FIELDS = ("neighbour", "diffusion", "principal", "subspace", "fixed", "random")  # as vaept.perturbation.fields.FIELDS
SCHEDULES = ("constant", "adiabatic", "switch-off")  # the keys of vaept.perturbation.potentials.SCHEDULES
LIKELIHOODS = ("bernoulli", "gaussian")  # vaept.vae.model.LIKELIHOODS
UNCHANGED = "Nothing has changed since this book was made; delete it to have it built again."
INTERRUPTED = "Interrupted. What was finished is kept; the same command continues from there."


class _Command(click.Command):
    """Calls the function of its name; errors that are expected become one sentence and exit status 1."""

    def invoke(self, ctx):
        scheduler = ctx.params.pop("scheduler", None)
        try:
            from vaept.cluster import on_cluster
            from vaept.companion import commands
            from vaept.processes import one_thread

            # Members run in processes, and one thread in each gives the same bits however many cores there are.
            with one_thread(), on_cluster(scheduler) if scheduler else nullcontext():
                return getattr(commands, self.name)(**ctx.params)
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


class _Reproduce(_Command):
    """The same, unless its book would come out as it is: then it says so at once."""

    def invoke(self, ctx):
        from vaept.companion import unchanged

        options = {name: value for name, value in ctx.params.items() if name != "scheduler"}
        now = unchanged.inputs(options)
        if said := unchanged.recall(options, now):
            click.echo(f"{UNCHANGED}\n{said}")
        else:
            unchanged.remember(options, now, *super().invoke(ctx))


@click.group()
@click.version_option(vaept.__version__, prog_name="vaept")
def main():
    """Degenerate latent spaces of variational autoencoders: a reproducible companion to arXiv:1907.05267."""


def option(name, help=None, metavar=None, **how):
    """An option whose default, if it has one, is shown."""
    return click.option(name, help=help, metavar=metavar, show_default=how.get("default") is not None, **how)


def profile_option(default=None):
    return option(
        "--profile",
        f"What to train and measure: {', '.join(profiles())}, or a TOML file of yours.",
        "P",
        default=default,
    )


def folder(name, help):
    return option(name, help, "DIR", type=click.Path(path_type=Path, file_okay=False, resolve_path=True))


results_option = folder("--results", "What is published. [default: results]")
store_option = folder("--store", "Keep results here. [default: _build/runs]")
jobs_option = option("--jobs", "Processes, one thread each. [default: one per core]", "N", type=click.IntRange(min=1))
scheduler_option = option("--scheduler", "Let a Dask cluster do the work of members.", "ADDRESS")
device_option = option("--device", "A torch device, as cuda.", "D", default="cpu")


@main.command(cls=_Reproduce)
@profile_option("digits")
@option(
    "--data",
    "An .npz file of your own, with x (n, …) in [0, 1] or uint8 and optionally integer labels y; or the folder whose "
    "subfolder mnist has the official files (as VAEPT_DATA_DIR).",
    "PATH",
)
@jobs_option
@scheduler_option
@device_option
@store_option
@folder("--output", "The book. [default: _build/PROFILE]")
@option("--everything", "Make the price list, two labs and lengths too, even if they are published.", is_flag=True)
@option("--pdf", "Print the book to one PDF too, by Chromium.", is_flag=True)
def reproduce():
    """Train, measure, execute the chapters and build the book.

    Finished parts are found again, so a call that was interrupted continues, and one that would make the same book
    again says so at once. MNIST is downloaded once, or taken from $VAEPT_DATA_DIR/mnist if that is set.
    """


@main.command(cls=_Command)
@profile_option("digits")
@option("--data", "As for `vaept reproduce`, if it was given there.", "PATH")
@store_option
@folder("--output", "The book. [default: _build/PROFILE]")
@option("--check", "List only figures whose inputs have changed since the book was built.", is_flag=True)
def figures():
    """List the figures of a built book, with the claim each serves and what made it.

    With --check, only those are listed that would be made from something else now, and what that is: the code that
    their notebook comes through, the results they drew on (under the names that the present code and profile give
    them), or the data. Nothing is made. The exit status is 1 if there is such a figure.
    """


@main.command(cls=_Command)
@profile_option()
@option("--published", "Compare a run, made now where it is missing, with what is published.", is_flag=True)
@results_option
@jobs_option
@device_option
@store_option
@folder("--figures", "Draw the analysis figures there.")
def verify():
    """Print the ledger of the claims: thresholds, values with intervals, controls, verdicts.

    Without options it is filled from the published records, without images and without training, and says which of the
    code that made them has changed since; with --profile from a run of that profile, made now where it is missing.

    With --published each number of the run is said to be the same as the published one (it differs by no more than
    1e-6 of it), within the spread between machines, or moved. That spread is the interval in which 99 % of further runs
    on other machines are expected, by Student's t from the runs that `vaept spread` keeps in DIR/PROFILE/machines.json;
    it holds these and the published number. Where it was not measured, the published interval over members is used
    instead. The exit status is 1 if a number moved.

    A check is undecided, and does not count as holding, if the runs on several machines differ in whether it holds.
    """


@main.command(cls=_Command)
@profile_option("mnist")
@results_option
@jobs_option
@scheduler_option
@device_option
@store_option
def publish():
    """Write what a profile's run measured to DIR/PROFILE: records, latents of test images, ledger.

    These files are what `vaept verify` reads; commit them with the run that the book shows.
    """


@main.command(cls=_Command)
@profile_option("digits")
@option("--paths", f"Code paths, of {', '.join(code_paths())}. [default: all]", "A,B,…")
@results_option
@jobs_option
@store_option
def spread():
    """Measure how far a profile's numbers differ between machines, into DIR/PROFILE/machines.json.

    The study is carried out under several code paths of the libraries, each as on another processor, and in the other
    precision; each takes as long as the study itself. Finished paths are kept, and the same command continues. A path
    that this processor cannot run, or that gives the numbers of another one, is left out. Commit the file: `vaept
    verify --published` measures other machines by it, and the ledger calls checks in which the runs differ undecided.
    """


@main.command(cls=_Command)
@click.argument("data")
@profile_option("digits")
def check():
    """Say what DATA are and what a study leaves out of them, before anything is trained.

    DATA is digits, mnist, cells or an .npz file. The exit status is 1 if no study of the profile can be made of them.
    """


@main.command(cls=_Command)
@option("--data", "digits, mnist, cells or an .npz file.", "PATH", default="digits")
@option("--latent-dim", "Latent coordinates, d.", "N", default=2)
@option("--seeds", "Members: seeds 0 … N − 1.", "N", default=5)
@option("--epochs", "Passes over the training images.", "N", default=50)
@option("--hidden", "Widths of the encoder's layers.", "W,W,…", default="128")
@option("--likelihood", type=click.Choice(LIKELIHOODS), default="bernoulli")
@option("--batch-size", "Images in a step.", "N", default=64)
@option("--learning-rate", "Adam's first step size.", "X", default=2e-3)
@option("--field", "Train in a field of the unlabelled images; it is saved beside FILE.", type=click.Choice(FIELDS))
@option("--coupling", "λ, the strength of the field. [default: 1.5]", "X", type=float)
@option("--schedule", "With a field: when.", type=click.Choice(SCHEDULES), default="switch-off")
@jobs_option
@scheduler_option
@device_option
@option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    default="ensemble.safetensors",
)
def train():
    """Train one ensemble and save it.

    Checkpoints lie in a folder beside FILE until it is written; the same command continues from them.
    """


@main.command(cls=_Command)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@option("--key", "Of an .h5ad file, as X_scVI: which latents of obsm.", "KEY")
@option("--labels", "An .npy, an .npz with y or a text file: a label for each example.", "FILE", type=Path)
@option(
    "--orient",
    "A field that was saved, or data of which one is made: turned latents are written too.",
    "PATH",
    type=Path,
)
@jobs_option
@folder("--output", "report.html and report.json. [default: report]")
def report():
    """Say up to which maps two or more RUNS of a model agree, and what may be concluded from their latents.

    Each of RUNS is a file of posterior means of the same examples: an .npz with mu (n, d) and, if there are, logvar, y
    and names; or .npy, .csv, .parquet or .h5ad. With names, another order of the examples is found and mended.
    """
