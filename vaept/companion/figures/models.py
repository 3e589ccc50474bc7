"""Figures of chapter 2: a model and its energies."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from vaept.companion.figures.style import BLUE, GREY, MAX_DOTS, RED, SMALL, WIDTH, book_figure, draw_image
from vaept.companion.markdown import mean_and_spread


@book_figure
def posterior_as_wave_packet(images, means, variances, populations, energies):
    """Images, their Gaussian posteriors in the well, and the populations of its levels.

    Parameters
    ----------
    images : array, shape (k, height, width) or (k, pixels)
        One row each.
    means, variances : arrays, shape (k, 2)
    populations : sequence of k arrays, shape (levels,)
        Each with as many levels as are to be shown.
    energies : array, shape (k,)
    """
    figure, axes = plt.subplots(
        len(images), 3, figsize=(WIDTH, 1.55 * len(images) + 0.3), width_ratios=[0.7, 1.1, 1.8], sharex="col"
    )
    deviations = np.sqrt(variances)
    reach = max(2, float((np.abs(means) + 2 * deviations).max()))
    tiny = deviations.max(axis=1) < reach / 20
    tops = np.array([np.max(each) for each in populations])
    if tops.min() > tops.max() / 5:  # one scale for all, unless it would hide some
        tops[:] = tops.max()
    ends = [np.flatnonzero(each > top / 100).max(initial=4) + 1 for each, top in zip(populations, tops, strict=True)]
    for row, image, mean, deviation, is_tiny, population, top, energy in zip(
        axes, images, means, deviations, tiny, populations, tops, energies, strict=True
    ):
        draw_image(row[0], image)
        row[1].add_patch(Ellipse((0, 0), 2, 2, color=BLUE, alpha=0.3, linewidth=0))
        row[1].add_patch(Ellipse(mean, *(2 * deviation), color=RED, linewidth=0))
        if is_tiny:
            row[1].plot(*mean, "o", color="black", markersize=10, fillstyle="none", markeredgewidth=1)  # finds it
        row[1].set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
        row[1].set_title(f"σ = {deviation[0]:.2g} and {deviation[1]:.2g}", fontsize=SMALL)
        row[2].stairs(population, np.arange(len(population) + 1) - 0.5, fill=True, color=RED, linewidth=0)
        row[2].axvline(2 * energy, color="black", linewidth=1, linestyle="--")
        row[2].set_title(_parts(energy, (mean**2).sum() / 8), fontsize=SMALL, loc="right")
        row[2].set(xlim=(-0.6, max(*ends, 2.1 * max(energies)) - 0.4), ylim=(0, 1.05 * top))
        row[2].yaxis.set_major_locator(MaxNLocator(2))
    axes[0, 2].annotate(
        "mean", (2 * energies[0], tops[0]), (3, 0), textcoords="offset points", va="top", fontsize=SMALL
    )
    for axis, words in zip(axes[:, 0], ("low energy", "median energy", "high energy"), strict=len(images) == 3):
        axis.set_title(words if len(images) == 3 else "", fontsize=SMALL)
    ringed = ", ringed\nwhere very small" if tiny.any() else ""
    axes[-1, 1].set_xlabel(f"blue: prior, σ = 1\nred: posterior{ringed}", fontsize=SMALL)
    axes[-1, 2].set_xlabel("level N of the bowl, energy N/2")
    axes[len(images) // 2, 2].set_ylabel("share of the image\nin level N")
    return figure


def _parts(energy, shifted):
    """An energy and the two parts that it consists of, in words, with three digits or decimals."""
    decimals = np.clip(2 - int(np.floor(np.log10(max(energy, 1e-9)))), 0, 3)
    whole, first, second = (f"{value:.{decimals}f}" for value in (energy, shifted, abs(energy - shifted)))
    return f"energy {whole} = shift {first} + squeeze {second}"


@book_figure
def energy_bounds_kl(kl, bound):
    """Every image as a dot, KL against its bound 4⟨H₀⟩.

    Parameters
    ----------
    kl, bound : arrays, shape (n,)
        Nats.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4))
    axis.scatter(bound[:MAX_DOTS], kl[:MAX_DOTS], s=7, color=BLUE, linewidths=0)
    low, top = 0.8 * kl.min(), 1.5 * kl.max()
    left = min(0.9 * bound.min(), low)
    axis.set(xscale="log", yscale="log", xlim=(left, 1.2 * bound.max()), ylim=(low, top))
    axis.plot([low, top], [low, top], color="black", linewidth=1)
    axis.fill_between([left, low, top], [low, low, top], top, color=GREY, alpha=0.25, linewidth=0)
    axis.text(0.03, 0.95, "KL > 4⟨H₀⟩:\nimpossible", va="top", transform=axis.transAxes)
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_locator(LogLocator(subs=(1, 2, 5)))
        line.set_major_formatter(StrMethodFormatter("{x:g}"))
        line.set_minor_formatter(NullFormatter())
    axis.set(xlabel="four times the energy, 4⟨H₀⟩ (nats)", ylabel="KL to the prior (nats)")
    return figure


@book_figure
def training_history(reconstruction, kl):
    """Both terms of the negative ELBO, and their sum, against epochs; a line for each member.

    Parameters
    ----------
    reconstruction, kl : arrays, shape (members, epochs)
        Nats; the panels show −reconstruction, kl, and kl − reconstruction.
    """
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.4))
    epochs = np.arange(1, kl.shape[1] + 1)
    for axis, values, title in zip(
        axes, (-reconstruction, kl, kl - reconstruction), ("−reconstruction", "KL", "−ELBO"), strict=True
    ):
        axis.plot(epochs, values.T, color=BLUE, alpha=0.5, linewidth=1)
        late = values[:, len(epochs) // 4 :]  # the first epochs would fix the scale otherwise
        margin = 0.1 * np.ptp(late) + 1e-9
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        title = f"{title}\nat the end {mean_and_spread(values[:, -1])}"
        axis.set_title(title, fontsize=SMALL)
        low = 0 if values is kl else late.min() - margin  # a KL near 0 says that latents are not used
        top = late.max() + margin
        cut = values.max() > top or values.min() < low
        axis.set(xlabel="epoch\n(start is cut off)" if cut else "epoch", ylim=(low, top))
    axes[0].set_ylabel("nats per image")
    return figure


@book_figure
def bound_against_time(seconds, bound, likelihood, published):
    """How fast the bound falls in training, beside a likelihood that was obtained in the end and a published one.

    Parameters
    ----------
    seconds, bound : arrays, shape (n,)
        Time of training, and −ELBO of test images then, in nats.
    likelihood, published : float
        −log p(x) in nats, of the trained model and of the reference.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 2.8))
    minutes = np.asarray(seconds) / 60
    axis.plot(minutes, bound, "o-", color=BLUE, markersize=4, linewidth=1)
    axis.plot(minutes[-1], likelihood, "D", color=RED, markersize=7)
    axis.axhline(published, color="black", linewidth=1, linestyle="--")
    axis.annotate("−ELBO of test images", (minutes[-1], bound[-1]), (-4, 8), textcoords="offset points", ha="right")
    words = f"−log p(x), 5 000 samples: {likelihood:.2f}"
    axis.annotate(words, (minutes[-1], likelihood), (-10, 3), textcoords="offset points", ha="right", color=RED)
    axis.annotate(f"published: {published:.2f}", (minutes[0], published), (8, -12), textcoords="offset points")
    shown = np.asarray(bound)[np.asarray(bound) < published + 25]
    axis.set(xlabel="minutes of training", ylabel="nats per image", xlim=(0, None))
    axis.set_ylim(min(published, likelihood) - 2.5, max(shown.max(initial=0), bound[-1], likelihood) + 2)
    return figure
