"""Figures of chapter 2: a model and its energies."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from vaept.companion.figures.style import (
    BLUE,
    GREY,
    MAX_DOTS,
    RED,
    add_class_legend,
    book_figure,
    class_colours,
    draw_image,
)


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
    figure, axes = plt.subplots(len(images), 3, figsize=(7.2, 1.9 * len(images)), width_ratios=[1, 1.3, 2])
    reach = max(3.2, float(np.abs(means).max() + 3 * np.sqrt(variances.max())))
    for row, image, mean, variance, population, energy in zip(
        axes, images, means, variances, populations, energies, strict=True
    ):
        draw_image(row[0], image)
        for radius in np.sqrt(8 * np.array([0.5, 1, 1.5, 2])):
            row[1].add_patch(Ellipse((0, 0), 2 * radius, 2 * radius, fill=False, color=GREY, linewidth=0.8))
        row[1].add_patch(Ellipse((0, 0), 2, 2, color=BLUE, alpha=0.3, linewidth=0))
        row[1].add_patch(Ellipse(mean, *(2 * np.sqrt(variance)), color=RED, linewidth=0))
        row[1].plot(*mean, "o", color=RED, markersize=7, fillstyle="none", markeredgewidth=0.8)  # finds a tiny one
        row[1].set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xlabel="z₁", ylabel="z₂")
        row[2].fill_between(np.arange(len(population)), population, step="mid", color=RED, linewidth=0)
        row[2].axvline(2 * energy, color="black", linewidth=1, linestyle="--")
        text = f"energy {energy:.3g}, mean level {2 * energy:.3g}"
        row[2].text(0.98, 0.9, text, ha="right", va="top", fontsize=8, transform=row[2].transAxes)
        row[2].set(ylabel="population", xlim=(-0.5, len(population)), ylim=(0, None))
    axes[0, 1].set_title("blue: prior, red: posterior")
    axes[0, 2].set_title("levels N of the well, energy N/2")
    axes[-1, 2].set_xlabel("level N")
    return figure


@book_figure
def energy_bounds_kl(kl, bound, labels):
    """Every image as a dot, KL against its bound 4⟨H₀⟩.

    Parameters
    ----------
    kl, bound : arrays, shape (n,)
        Nats.
    labels : array of int, shape (n,), or None
    """
    figure, axis = plt.subplots(figsize=(5.0, 3.8))
    rows = slice(MAX_DOTS)
    axis.scatter(bound[rows], kl[rows], s=7, c=class_colours(labels, len(kl))[rows], linewidths=0)
    low, top = 0.9 * kl.min(), 1.5 * kl.max()
    axis.set(xscale="log", yscale="log", xlim=(min(0.9 * bound.min(), low), 1.1 * bound.max()), ylim=(low, top))
    axis.plot([low, top], [low, top], color="black", linewidth=1)
    axis.text(top, top, " KL = 4⟨H₀⟩", ha="left", va="top", fontsize=8)
    axis.xaxis.set_minor_formatter("")
    axis.yaxis.set_minor_formatter("")
    axis.set(xlabel="4⟨H₀⟩ (nats)", ylabel="KL to the prior (nats)")
    add_class_legend(figure, labels)
    return figure


@book_figure
def training_history(reconstruction, kl):
    """Both terms of the negative ELBO, and their sum, against epochs; a line for each member.

    Parameters
    ----------
    reconstruction, kl : arrays, shape (members, epochs)
        Nats; the panels show −reconstruction, kl, and kl − reconstruction.
    """
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
    epochs = np.arange(1, kl.shape[1] + 1)
    for axis, values, title in zip(
        axes, (-reconstruction, kl, kl - reconstruction), ("−reconstruction", "KL", "−ELBO"), strict=True
    ):
        axis.plot(epochs, values.T, color=BLUE, alpha=0.5, linewidth=1)
        late = values[:, len(epochs) // 10 :]  # the first steps would fix the scale otherwise
        margin = 0.1 * np.ptp(late) + 1e-9
        axis.set(title=title, xlabel="epoch", ylim=(late.min() - margin, late.max() + margin))
    axes[0].set_ylabel("nats per image")
    return figure
