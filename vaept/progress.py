"""How long work shows its progress, on standard error. Nothing here can change a number: no result hangs on it."""

from tqdm import tqdm


def bar(iterable, title, *, total=None, unit="step", show=True):
    """Iterate with a progress bar, which goes when it is full.

    Parameters
    ----------
    iterable : iterable
    title, unit : str
    total : int, optional
        Where the iterable has no length.
    show : bool
    """
    return tqdm(iterable, title, total, unit=unit, disable=not show, leave=False)


class TrainingBar:
    """A bar over the epochs of all members of an ensemble, with how many are finished and their mean −ELBO."""

    def __init__(self, members, epochs, show=True):
        self.epochs, self.done, self.losses = epochs, [0] * members, {}
        self.bar = tqdm(total=members * epochs, unit="epoch", desc="training", disable=not show)
        if not self.bar.disable and not self.bar.fp.isatty():
            self.bar.mininterval = self.bar.maxinterval = 10  # a log file needs no animation

    def __enter__(self):
        return self

    def note(self, member, value):
        """Take what a member reports: (epochs done, −ELBO in nats, or None before the first)."""
        self.done[member], loss = value
        if loss is not None:
            self.losses[member] = loss
        mean = f"{sum(self.losses.values()) / len(self.losses):.2f} nats" if self.losses else "…"
        finished = sum(done == self.epochs for done in self.done)
        self.bar.set_postfix_str(f"members {finished}/{len(self.done)}, −ELBO {mean}", refresh=False)
        self.bar.update(sum(self.done) - self.bar.n)

    def __exit__(self, *_):
        self.bar.refresh()
        self.bar.close()
