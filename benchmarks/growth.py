"""How time and memory grow with members, images, latent coordinates, weights and the basis of spectra.

    python benchmarks/growth.py [--runs N]

One quantity is varied, the others stay; each size is measured in a process of its own on one thread, so that its peak
memory is its own. An exponent is the slope of log time (or memory above that of the smallest) over log size. Results
are kept in results/growth.json, which the book shows, with what a study of 100 members on a million images would take.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click
import numpy as np

TABLE = Path(__file__).resolve().parent / "results" / "growth.json"
USUAL = {"members": 2, "images": 10_000, "latent_dim": 2, "width": 400}
PIXELS, EPOCHS, SAMPLES = 784, 1, 20_000


def trained(members, images, latent_dim, width):
    """Seconds for one epoch of all members."""
    from vaept import fit
    from vaept.datasets import from_arrays

    data = from_arrays(np.random.default_rng(0).random((images, PIXELS), dtype=np.float32))
    how = {"latent_dim": latent_dim, "hidden": [width], "jobs": 1, "progress": False}
    fit(from_arrays(data.train[:256]), seeds=[0], epochs=1, **how)
    start = time.perf_counter()
    fit(data, seeds=range(members), epochs=EPOCHS, **how)
    return time.perf_counter() - start


def levels(samples, latent_dim, n_levels):
    """Seconds for the levels of a mixture of ten Gaussians from draws."""
    from vaept import spectrum

    random = np.random.default_rng(0)
    centres = random.normal(size=(10, latent_dim)) * 2
    points = centres[random.integers(10, size=samples)] + random.normal(size=(samples, latent_dim)) / 2
    start = time.perf_counter()
    spectrum.from_samples(points, n_levels)
    return time.perf_counter() - start


VARIED = {  # what: (function, what stays, name of the size, sizes)
    "training, members": (trained, USUAL, "members", (2, 4, 8, 16)),
    "training, images": (trained, USUAL, "images", (10_000, 20_000, 40_000, 80_000)),
    "training, latent coordinates": (trained, USUAL, "latent_dim", (2, 8, 32, 128)),
    "training, width of the hidden layer": (trained, USUAL, "width", (200, 400, 800, 1600)),
    "levels, samples": (levels, {"latent_dim": 2, "n_levels": 8}, "samples", (5_000, 10_000, 20_000, 40_000)),
    "levels, latent coordinates": (levels, {"samples": SAMPLES, "n_levels": 8}, "latent_dim", (2, 4, 8, 16)),
    "levels, how many": (levels, {"samples": SAMPLES, "latent_dim": 2}, "n_levels", (4, 8, 16, 32)),
}


def exponent(sizes, values):
    """Slope of log value over log size, and its standard error."""
    (slope, _), covariance = np.polyfit(np.log(sizes), np.log(values), 1, cov=True)
    return float(slope), float(covariance[0, 0] ** 0.5)


@click.group(invoke_without_command=True, help=__doc__.split("\n\n")[0])
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.pass_context
def main(context, runs):
    if context.invoked_subcommand is not None:
        return
    table = {}
    for what, (_, _, name, sizes) in VARIED.items():
        seconds, memory = [], []
        for size in sizes:
            call = [sys.executable, __file__, "one", what, str(size)]
            found = [json.loads(subprocess.check_output(call, text=True)) for _ in range(runs)]
            seconds.append(median(run[0] for run in found))
            memory.append(median(run[1] for run in found))
        slope, error = exponent(sizes, seconds)
        table[what] = {"of": name, "sizes": sizes, "seconds": seconds, "GB": memory, "exponent": [slope, error]}
        print(f"{what:<40}{slope:6.2f} ± {error:.2f}   {[round(value, 2) for value in seconds]} s", flush=True)
    found = {"machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", "runs": runs}
    TABLE.write_text(json.dumps(found | {"usual": USUAL | {"epochs": EPOCHS}, "rows": table}, indent=1) + "\n")


@main.command("one", hidden=True)
@click.argument("what", type=click.Choice(list(VARIED)))
@click.argument("size", type=int)
def one(what, size):
    function, rest, name, _ = VARIED[what]
    seconds = function(**rest | {name: size})
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9]))


if __name__ == "__main__":
    main()
