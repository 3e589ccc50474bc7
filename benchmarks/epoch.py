"""Seconds per epoch and member, alone and in a stack of five, beside the loop that most tutorials show, on one thread.

The peer reads single images through torch.utils.data.DataLoader. Model, optimiser, batches and data are the same.
Usage: python benchmarks/epoch.py [EPOCHS]. Data: MNIST where it is at hand, else noise of its shape.
"""

import sys
import time
from statistics import median

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from vaept import datasets
from vaept.errors import VaeptError
from vaept.vae.ensemble import Seed, Settings
from vaept.vae.stack import Task, _Member, _Stack

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3


def images():
    try:
        return datasets.load("mnist")
    except VaeptError:
        x = np.random.default_rng(0).random((60000, 784), dtype=np.float32)
        return datasets.Dataset("noise", x, x[:10], None, None, (28, 28), "noise")


def ours(dataset, settings, members):
    task = Task(dataset, None, settings, torch.device("cpu"))
    stack = _Stack(task, [_Member(task, Seed.of(seed), None, None) for seed in range(members)])
    for _ in range(EPOCHS):
        start = time.perf_counter()
        stack.epoch()
        yield (time.perf_counter() - start) / members


def peer(dataset, settings):
    loader = DataLoader(TensorDataset(torch.tensor(dataset.train)), batch_size=settings.batch_size, shuffle=True)
    model = settings.new_model(dataset.pixels)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for (x,) in loader:
            reconstruction, kl = model.elbo_terms(x, torch.randn(len(x), settings.latent_dim))
            loss = (kl - reconstruction).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield time.perf_counter() - start


def main():
    torch.set_num_threads(1)
    dataset = images()
    print(f"{dataset.name}, {len(dataset.train)} images of {dataset.pixels} pixels, batch 128, {EPOCHS} epochs")
    print(f"{'hidden':>12}{'d':>4}{'vaept s/epoch':>16}{'of five':>10}{'DataLoader s/epoch':>20}{'ratio':>8}")
    for hidden, d in (((400,), 2), ((400, 200), 2), ((400, 200), 8)):
        settings = Settings(d, EPOCHS, hidden)
        alone, five = (median(ours(dataset, settings, members)) for members in (1, 5))
        theirs = median(peer(dataset, settings))
        print(f"{hidden!s:>12}{d:>4}{alone:>16.2f}{five:>10.2f}{theirs:>20.2f}{theirs / five:>8.2f}")


if __name__ == "__main__":
    main()
