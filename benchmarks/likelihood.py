"""Whether the trainer reaches a published likelihood, and how soon.

    python benchmarks/likelihood.py [--epochs N] [--threads N] [--folder DIR]

The reference is Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519, table 1: a VAE with one stochastic layer of 50
units and k = 1): two deterministic layers of 200 units, MNIST with images drawn anew in black and white in every epoch,
−log p(x) of test images from 5 000 importance samples each. Theirs took 3 280 epochs of batches of 20 with steps that
fall in stages; ours take batches of 128 and this package's schedule. Weights are kept in DIR every ten epochs, and the
same command goes on from there. Results are kept in results/likelihood.json, which the book shows.
"""

import json
import os
import platform
import time
from pathlib import Path

import click
import numpy as np
import torch

from vaept.datasets import load
from vaept.vae.ensemble import Seed, Settings
from vaept.vae.evaluation import elbo, log_likelihood
from vaept.vae.training import Task, _Member, _Stack

TABLE = Path(__file__).resolve().parent / "results" / "likelihood.json"
PUBLISHED, SAMPLES = 86.76, 5000
SIZE = {"latent_dim": 50, "hidden": (200, 200), "batch_size": 128, "learning_rate": 1e-3}
OFTEN = 10  # epochs between points of the curve


def drawn(images, seed):
    """Images in black and white: each pixel is white with its value as the probability."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(images.shape, generator=generator) < images).float()


class Drawn(_Stack):
    """A stack that is trained on images drawn anew in every epoch."""

    def epoch(self):
        gray = self.x
        self.x = drawn(gray, 1 + self.members[0].done)
        super().epoch()
        self.x = gray


def curve_of(member, stack, test, folder):
    """Train to the end; seconds of training, epochs, and −ELBO of the test images in nats, every `OFTEN` epochs."""
    kept = folder / "curve.json"
    points = json.loads(kept.read_text()) if kept.exists() and member.done else []
    points = [point for point in points if point["epochs"] <= member.done]
    seconds = points[-1]["seconds"] if points else 0.0
    while member.done < member.settings.epochs:
        start = time.perf_counter()
        stack.epoch()
        seconds += time.perf_counter() - start
        if member.error:
            raise SystemExit(str(member.error))
        if member.done % OFTEN == 0 or member.done in (1, 2, 5, member.settings.epochs):
            points.append(
                {"epochs": member.done, "seconds": seconds, "−ELBO": -float(elbo(model_of(member), test).elbo.mean())}
            )
            member.store()
            kept.write_text(json.dumps(points))
            print(f"{member.done} epochs, {seconds:.0f} s: −ELBO {points[-1]['−ELBO']:.2f} nats", flush=True)
    return points


def model_of(member):
    """The `VAE` with a member's present weights."""
    return member.settings.model(28 * 28, member.weights())


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--epochs", default=400, show_default=True, type=click.IntRange(1), help="Of the training.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="Of the training.")
@click.option(
    "--folder", default="_build/likelihood", show_default=True, type=click.Path(path_type=Path), help="Checkpoints."
)
def main(epochs, threads, folder):
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    data = load("mnist")
    settings = Settings(**SIZE, epochs=epochs)
    task = Task(data, None, settings, torch.device("cpu"))
    member = _Member(task, Seed.of(0), None, folder / "member.safetensors")
    test = drawn(torch.tensor(data.test), 0).numpy()
    points = curve_of(member, Drawn(task, [member]), test, folder)
    start = time.perf_counter()
    found = -log_likelihood(model_of(member), test, n_samples=SAMPLES)
    result = {
        "published": PUBLISHED,
        "obtained": float(found.mean()),
        "standard error": float(found.std(ddof=1) / np.sqrt(len(found))),
        "samples": SAMPLES,
        "images": len(found),
        "curve": points,
        "seconds": points[-1]["seconds"],
        "seconds of the estimate": time.perf_counter() - start,
        "threads": threads,
        "settings": SIZE | {"epochs": epochs},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }
    TABLE.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"−log p(x) = {result['obtained']:.2f} nats; published {PUBLISHED}", flush=True)


if __name__ == "__main__":
    main()
