"""How long everything takes: training beside its peers, the two commands in a new clone, imports, memory.

    python benchmarks/speed.py              all of it, three times (hours with --mnist)
    python benchmarks/speed.py training     only this part; likewise start, book, test
    python benchmarks/speed.py --help

The peers are the loop that most tutorials show (single images through torch.utils.data.DataLoader) and pythae
(Chadebec, Vincent & Allassonnière 2022; `pip install -r benchmarks/requirements.txt`): the same networks, batches,
images and optimiser. All train in two processes of one thread, which is in their favour: they would train one member
after the other. Runs of ours and theirs alternate. Every number is kept in results/speed.json, with its machine: two
processors with the same vector units are one. *The matrix products alone*, one member
after the other, are what a trainer that did nothing else would take.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import click
import numpy as np
import psutil

HERE = Path(__file__).resolve().parent
TABLE = HERE / "results" / "speed.json"
SIZE = {"latent_dim": 2, "hidden": 400, "batch_size": 128, "learning_rate": 1e-3}
MEMBERS = 8
SECONDS_BETWEEN_LOOKS = 0.5


def images(dataset):
    """Training images, float32 (60000, 784): MNIST where it is at hand, else noise of its shape."""
    from vaept import load
    from vaept.errors import VaeptError

    try:
        return load(dataset).train
    except VaeptError as error:
        print(f"{error} Noise of the same shape is used: times do not depend on what the images show.", file=sys.stderr)
        return np.random.default_rng(0).random((60_000, 784), dtype=np.float32)


def ours(x, epochs, precision="float32"):
    """Seconds for `MEMBERS` members, and −ELBO of the last epoch in nats."""
    from vaept import fit
    from vaept.datasets import from_arrays

    data, how = (
        from_arrays(x),
        SIZE | {"hidden": (SIZE["hidden"],), "precision": precision, "jobs": 2, "progress": False},
    )
    fit(from_arrays(x[:256]), seeds=range(2), epochs=1, **how)  # starts the processes
    start = time.perf_counter()
    ensemble = fit(data, seeds=range(MEMBERS), epochs=epochs, **how)
    return time.perf_counter() - start, float(-ensemble.history.elbo[:, -1].mean())


def loop(x, epochs):
    """Seconds for one member in the loop of the tutorials."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from vaept.vae.model import VAE

    torch.set_num_threads(1)
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.tensor(x)), batch_size=SIZE["batch_size"], shuffle=True)
    model = VAE(x.shape[1], SIZE["latent_dim"], SIZE["hidden"])
    optimiser = torch.optim.Adam(model.parameters(), lr=SIZE["learning_rate"])
    start = time.perf_counter()
    for _ in range(epochs):
        for (batch,) in loader:
            reconstruction, kl = model.elbo_terms(batch, torch.randn(len(batch), SIZE["latent_dim"]))
            optimiser.zero_grad()
            (kl - reconstruction).mean().backward()
            optimiser.step()
    return time.perf_counter() - start, None


def pythae(x, epochs):
    """Seconds for one member by pythae's own trainer."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.set_num_threads(1)
    pixels, width, d = x.shape[1], SIZE["hidden"], SIZE["latent_dim"]

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(pixels, width), torch.nn.ReLU())
            self.mean, self.log_variance = torch.nn.Linear(width, d), torch.nn.Linear(width, d)

        def forward(self, batch):
            h = self.body(batch.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            layers = torch.nn.Linear(d, width), torch.nn.ReLU(), torch.nn.Linear(width, pixels), torch.nn.Sigmoid()
            self.body = torch.nn.Sequential(*layers)

        def forward(self, z):
            return ModelOutput(reconstruction=self.body(z))

    model = VAE(VAEConfig((pixels,), d, reconstruction_loss="bce"), encoder=Encoder(), decoder=Decoder())
    with tempfile.TemporaryDirectory() as folder:
        how = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=SIZE["batch_size"],
            learning_rate=SIZE["learning_rate"],
            no_cuda=True,
        )
        trainer = BaseTrainer(model, BaseDataset(torch.tensor(x), torch.zeros(len(x))), training_config=how)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start, None


def products(x, epochs):
    """Seconds for the matrix products of one member alone, forwards and backwards."""
    import torch

    torch.set_num_threads(1)
    n, width, d = SIZE["batch_size"], SIZE["hidden"], SIZE["latent_dim"]
    shapes = ((x.shape[1], width), (width, 2 * d), (d, width), (width, x.shape[1]))
    layers = [(torch.rand(n, rows), torch.rand(rows, columns), torch.rand(n, columns)) for rows, columns in shapes]
    start = time.perf_counter()
    for _ in range(epochs * -(-len(x) // n)):
        for number, (inputs, weights, gradient) in enumerate(layers):
            inputs @ weights, inputs.T @ gradient
            if number:  # nobody asks for the gradient of the images
                gradient @ weights.T
    return time.perf_counter() - start, None


CONTENDERS = {  # name: function, members that one process trains, processes
    "vaept, float32": (lambda x, epochs: ours(x, epochs), MEMBERS, 1),
    "vaept, bfloat16": (lambda x, epochs: ours(x, epochs, "bfloat16"), MEMBERS, 1),
    "tutorials' loop": (loop, 1, 2),
    "pythae": (pythae, 1, 2),
    "the matrix products alone": (products, 1, 2),
}


def training(epochs):
    """Seconds for a member-epoch of each contender; bfloat16 only where the processor has units for it."""
    from vaept.vae.ensemble import usable_precision

    found = {}
    for name, (_, members, processes) in CONTENDERS.items():
        if "bfloat16" in name and usable_precision("bfloat16") != "bfloat16":
            print(f"{name} is left out: this processor has no units for it.", file=sys.stderr)
            continue
        call = [sys.executable, __file__, "contender", name, str(epochs)]
        running = [
            subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(processes)
        ]
        outputs = [process.communicate()[0] for process in running]
        if any(process.returncode for process in running):
            raise SystemExit(f"{name} failed; for pythae: pip install -r benchmarks/requirements.txt")
        seconds, loss = map(list, zip(*(json.loads(output.splitlines()[-1]) for output in outputs), strict=True))
        found[f"member-epoch, {name}, s"] = max(seconds) / (epochs * members * processes)
        if loss[0] is not None:
            found[f"−ELBO after {epochs} epochs, {name}, nats"] = loss[0]
    return found


def command(*words, cwd=HERE.parent):
    """Seconds that a command takes, and the most memory that it and all its children held at once, GB."""
    peak, start = 0, time.perf_counter()
    process = subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL)
    ended = threading.Event()

    def look():
        nonlocal peak
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            peak = max(peak, sum(map(_held, _tree(process.pid))))

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"{' '.join(words)} ended with status {code}.")
    return time.perf_counter() - start, peak / 1e9


def _tree(pid):
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _held(process):
    """Bytes of a process; what several share counts once in all of them together, where the system can tell."""
    try:
        held = process.memory_full_info()
        return getattr(held, "pss", held.uss)
    except psutil.Error:
        return 0


def start():
    """Seconds until the package is imported, and until the command has printed its help."""
    vaept = Path(sys.executable).with_name("vaept")
    return {
        "import vaept, s": command(sys.executable, "-c", "import vaept")[0],
        "vaept --help, s": command(str(vaept), "--help")[0],
        "vaept train --help, s": command(str(vaept), "train", "--help")[0],
    }


def _clone(folder):
    subprocess.run(["git", "clone", "--quiet", str(HERE.parent), folder], check=True)


def book(profile="digits"):
    """Seconds of `make book` in a new clone: installing, the rest, and once more with nothing changed."""
    with tempfile.TemporaryDirectory() as folder:
        _clone(folder)
        found = {"installing, s": command("make", ".venv/.installed", cwd=folder)[0]}
        found["book, s"], found["book, memory, GB"] = command("make", "book", f"PROFILE={profile}", cwd=folder)
        found["book once more, s"] = command("make", "book", f"PROFILE={profile}", cwd=folder)[0]
    return {f"{profile}: {name}": value for name, value in found.items()}


def test():
    """Seconds of `make test` in a new clone that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        _clone(folder)
        command("make", ".venv/.installed", cwd=folder)
        return {"make test, s": command("make", "test", cwd=folder)[0]}


def keep(found):
    """Add a run's numbers to the table of this machine and print what is known of them."""
    import torch

    known = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"
    of_this = known.setdefault(machine, {})
    for name, value in found.items():
        of_this.setdefault(name, []).append(round(value, 4))
        values = of_this[name]
        print(
            f"{name:<50}{median(values):>10.3f}   [{min(values):.3f}, {max(values):.3f}] of {len(values)}", flush=True
        )
    TABLE.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


@click.group(invoke_without_command=True, help=__doc__.split("\n\n")[0])
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="How often all is measured.")
@click.option("--mnist", is_flag=True, help="The published book too.")
@click.pass_context
def main(context, runs, mnist):
    if context.invoked_subcommand is None:
        for _ in range(runs):
            for part in (start, lambda: training(3), book, test, *([lambda: book("mnist")] if mnist else [])):
                keep(part())


@main.command("training")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--epochs", default=3, show_default=True, type=click.IntRange(1))
def training_alone(runs, epochs):
    """A member-epoch of ours, of the tutorials' loop and of pythae."""
    for _ in range(runs):
        keep(training(epochs))


@main.command("contender", hidden=True)
@click.argument("name", type=click.Choice(list(CONTENDERS)))
@click.argument("epochs", type=int)
def contender(name, epochs):
    print(json.dumps(CONTENDERS[name][0](images("mnist"), epochs)))


for alone in (start, book, test):

    @main.command(alone.__name__, help=alone.__doc__)
    @click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
    def _alone(runs, part=alone):
        for _ in range(runs):
            keep(part())


if __name__ == "__main__":
    main()
