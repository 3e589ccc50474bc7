"""What the commands of `vaept.companion.cli` do: a function each, with the options as arguments."""

import contextlib
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

from click import echo

from vaept import arguments, datasets
from vaept.companion import book, codepaths, machines
from vaept.companion import report as report_of_runs
from vaept.companion.analysis import analysis_figures
from vaept.companion.inspection import description, refusal
from vaept.companion.ledger import MEMBERS, as_markdown, as_text, changes, ledger, outdated, save_verdicts
from vaept.companion.markdown import mean_and_spread, shown
from vaept.companion.parts import code_hashes
from vaept.companion.passports import Catalogue, Passports
from vaept.companion.pdf import FILE, browser
from vaept.companion.places import default_store
from vaept.companion.profiles import arm
from vaept.companion.profiles import profile as find_profile
from vaept.companion.records import Records
from vaept.companion.study import open_study
from vaept.errors import InputError
from vaept.files import ensure_writable
from vaept.perturbation.fields import FIELDS
from vaept.processes import cores, lock
from vaept.vae.agreement import compare
from vaept.vae.ensemble import Settings
from vaept.vae.evaluation import elbo
from vaept.vae.fitting import fit

MAIN_ARMS = ("cold", "corrected")


def reproduce(profile, data, jobs, device, store, output, everything, pdf):
    """Make the book, and say where the time went and what was found; returns the latter, and lists of what was used.

    The lists are those of `vaept.companion.unchanged.remember`.
    """
    root, times = book.checkout(), {}

    @contextlib.contextmanager
    def timed(part):
        start = time.perf_counter()
        yield
        times[part] = times.get(part, 0) + time.perf_counter() - start

    own = _own_data(data, profile)
    study = open_study(profile, own, store=store, jobs=jobs, device=device, everything=everything)
    with timed("data"):
        echo("\n".join(description(study.dataset, study.profile)[:-1]))
    output = output or _book_folder(root, study)
    _check_output(output, root, study)
    if (printer := browser() if pdf else None) is None and pdf:
        raise InputError("--pdf needs Chromium or Chrome in the path; without it the book is built all the same.")
    study.carry_out(echo, timed)
    with timed("records and ledger"):
        records = study.records()
        entries = ledger(records, machines.machines_of(records))
    echo("Executing the chapters")
    with timed("chapters"):
        executed = book.execute(study, jobs or cores(), report=echo)
    echo("Building the book")
    with timed("building"), lock(output / ".lock", wait=True):
        index = book.build(study, records, entries, executed, output, printer)

    echo("\nTime")
    for part, seconds in [*times.items(), ("in all", sum(times.values()))]:
        echo(f"  {part:<22}{seconds:7.1f} s")
    pages = [index.parent, output / f"vaept-book-{study.profile.name}.zip"]
    said = [*_main_results(study, records, entries), f"\nThe book: {index}", f"The same in one file: {pages[1]}"]
    said += [f"To be printed: {index.with_name(FILE)}"] if printer else []
    echo("\n".join(said))
    return "\n".join(said), study.store.used, pages


def _main_results(study, records, entries):
    """Lines on what became of the claims, and the numbers that a reader asks for first."""
    yield f"\nThe claims (vaept verify --profile {study.profile.name} shows every check)"
    for entry in entries:
        yield f"  {entry.claim.id}  {entry.verdict}"
    yield "\nMain numbers (on test images; mean [95 % interval over members])"
    for (name, d), record in records.arms.items():
        if name in MAIN_ARMS:
            yield f"  d = {d}, {arm(name).title}"
            for quantity, value in _main_numbers(record, d).items():
                yield f"    {quantity:<40}{value}"


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


def _book_folder(root, study):
    """Where the book of a study is if no folder is given."""
    own = study.profile.dataset != find_profile(study.source).dataset
    return root / "_build" / (study.profile.name + (f"-{study.dataset.name}" if own else ""))


def _check_output(output, root, study):
    """Refuse a folder that cannot be written, or whose old book, which is deleted, would hold something else."""
    for kept in (root, study.store.root.resolve()):
        if kept.is_relative_to(output):
            raise InputError(f"The book cannot be built in {output}, which holds {kept}. Give another folder.")
    ensure_writable(output)


def _main_numbers(record, d):
    """The numbers of one arm that a reader asks for first, from its `vaept.companion.records.ArmRecord`."""
    losses, agreement = record.minus_elbo, record.agreement
    return {
        "−ELBO, mean ± sd over members (nats)": mean_and_spread(losses),
        "log p(x) − ELBO (nats)": f"{(record.log_likelihood + record.minus_elbo_of_these).mean():.2f}",
        "active units": f"{record.active_units.mean():.1f} of {d}",
        "coordinate agreement, no alignment": shown(agreement.coordinates, ".2f"),
        "after the best signed permutation": shown(agreement.signed_permutation, ".2f"),
        "R² after the best rotation": shown(agreement.orthogonal, ".2f"),
        "R² after the best linear map": shown(agreement.linear, ".2f"),
    }


def figures(profile, data, store, output, check):
    """List the figures of a book with their passports, or those that have changed; then the status is 1."""
    root, study = book.checkout(), open_study(profile, _own_data(data, profile), store=store)
    kept = Passports.load(output or _book_folder(root, study))
    if not check:
        echo(kept.as_text())
        return
    changed = Catalogue(study).changes(kept, book.code_of_figures(root))
    for name, what in changed.items():
        echo(f"{name}: {what}")
    echo(f"{len(changed)} of {len(kept.figures)} figures would be made from something else now.")
    if changed:
        sys.exit(1)


def verify(profile, published, results, jobs, device, store, figures):
    """Print the ledger of what is published or of a run, or compare the two; the status is 1 if a number moved."""
    root = results or book.checkout() / "results"
    if figures is not None:
        ensure_writable(figures)
    if profile is None and not published:
        for folder in _published(root):
            _show_published(Records.load(folder), root, figures)
        return
    study = open_study(profile or "digits", store=store, jobs=jobs, device=device, everything=published)
    folder = root / study.profile.name
    if published and folder not in _published(root):
        raise InputError(f"Nothing is published for the profile {study.profile.name}: {folder} holds no records.json.")
    old = Records.load(folder) if published else None
    study.carry_out(echo)
    records = study.records()
    entries = ledger(records, machines.machines_of(records, root))
    echo("\n" + as_text(entries))
    _draw(records, figures)
    if published and _compare(entries, old, folder):
        sys.exit(1)


def _published(root):
    folders = sorted(path.parent for path in root.glob("*/records.json"))
    if not folders:
        raise InputError(f"Nothing is published in {root}: it holds no folder with a records.json.")
    return folders


def _show_published(records, root, figures):
    """The ledger of published records, with what is known of the code that made them."""
    echo(f"Published: profile {records.profile}, {records.n_train:,} images of {records.data}")
    if sentence := outdated(records, code_hashes()):
        echo(sentence)
    spread = machines.machines_of(records, root)
    if spread is not None:
        echo(f"Verdicts also from runs under other code paths: {', '.join(run.path for run in spread.runs)}")
        if spread.outdated:
            echo("These runs were made by an earlier version of the code; `vaept spread` makes them again.")
    echo("\n" + as_text(ledger(records, spread)) + "\n")
    _draw(records, figures)


def _draw(records, folder):
    if folder is not None:
        for name, figure in analysis_figures(records).items():
            path = folder / f"{name}_{records.profile}.png"
            figure.savefig(path)
            echo(f"Drew {path}")


def _compare(entries, published, folder):
    """Print a fresh ledger beside published records; whether a number moved."""
    spread = machines.machines_of(published, folder.parent)
    found = changes(entries, ledger(published, spread), spread)
    echo(f"\nBeside the published numbers ({folder}):")
    for change in found:
        values = f"{shown(change.fresh)}, published {shown(change.published)}"
        if change.spread:
            values += f", between machines {change.spread[0]:.3g} to {change.spread[1]:.3g}"
        echo(f"  {change.verdict:<36}{change.id.partition(' ')[0]}  {change.quantity}: {values}")
    unmeasured = sum(change.spread is None for change in found)
    if spread is None or len(spread.runs) < machines.LEAST:
        echo(
            "The spread between machines was not measured for this profile and these data (`vaept spread` does): the "
            "published intervals over members were used instead, which do not hold it."
        )
    elif unmeasured:
        echo(
            f"For {unmeasured} numbers fewer than {machines.LEAST} runs differ, and the spread between machines is not "
            f'known; there "{MEMBERS}" is said instead.'
        )
    moved = sum(change.moved for change in found)
    echo(f"{moved} of {len(found)} numbers moved.")
    return moved > 0


def publish(profile, results, jobs, device, store):
    """Write what `verify` reads."""
    root = results or book.checkout() / "results"
    study = open_study(profile, store=store, jobs=jobs, device=device, everything=True)
    folder = root / profile
    ensure_writable(folder)
    study.carry_out(echo)
    study.records().save(folder)
    records = Records.load(folder)
    entries = ledger(records, machines.machines_of(records, root))
    (folder / "ledger.md").write_text(f"# Ledger, profile {profile}\n\n" + as_markdown(entries), "utf-8")
    save_verdicts(entries, folder)
    echo(f"Wrote {folder}, {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


def spread(profile, paths, results, jobs, store):
    """Carry a study out under code paths, write and print what each gave."""
    folder, store = (results or book.checkout() / "results") / profile, store or default_store()
    study = open_study(profile, store=store)
    names = list(codepaths.CODE_PATHS)
    if paths is not None:
        names = list(dict.fromkeys(name.strip() for name in paths.split(",") if name.strip()))
    ensure_writable(folder)
    study.check()
    with lock(folder / ".lock"):
        found = codepaths.measure(study.profile, names, store=store, results=folder, jobs=jobs, report=echo)
    if found is None:
        raise InputError("No code path could be run: see above, or choose others with --paths.")
    records = Records.load(folder) if (folder / "records.json").is_file() else None
    published = records is not None and found.fits(records)
    echo("\n" + machines.table(found, ledger(records) if published else []))
    if published:
        verdicts = [check.verdict for entry in ledger(records, found) for check in entry.checks]
        echo(f"{verdicts.count('undecided')} checks undecided.")
    echo(f"Wrote {folder / machines.FILE}")


def check(data, profile):
    """Print the `description` of data; the status is 1 if no study can be made of them."""
    chosen = find_profile(profile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a line says the same
        dataset = datasets.load(data)
    echo("\n".join(description(dataset, chosen)))
    if refusal(dataset, chosen):
        sys.exit(1)


def train(data, seeds, hidden, field, coupling, schedule, jobs, device, output, **how):
    """Train an ensemble, save it and print its numbers; `how` are arguments of `fit`."""
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
    shutil.rmtree(checkpoint)
    for seed, member in zip(ensemble.seeds, ensemble.members, strict=True):
        bound = elbo(member, dataset.test)
        echo(
            f"seed {seed}: −ELBO {-bound.elbo.mean():.2f} nats on test images "
            f"(−reconstruction {-bound.reconstruction.mean():.2f}, KL {bound.kl.mean():.2f})"
        )
    if len(ensemble.seeds) > 1:
        agreement = compare(ensemble.posterior(dataset.test)[0]).coordinates
        echo(f"coordinate agreement without alignment: {agreement}")
    echo(f"Saved {output}")


def report(runs, key, labels, orient, jobs, output):
    """Examine runs of a user's own, and say in a line what relates them."""
    output = output or Path("report").resolve()
    found = report_of_runs.make(runs, output, key=key, labels=labels, orient_by=orient, jobs=jobs)
    echo(
        "\n".join(
            [
                *found["notes"],
                report_of_runs.MEANING[found["group"]][0],
                *filter(None, [report_of_runs.nearly(found)]),
                f"group: {found['group']}",
                f"Wrote {output}",
            ]
        )
    )
