"""Figures of chapter 3: the latent spaces of several seeds."""

import matplotlib.pyplot as plt
import numpy as np

from vaept.companion.figures.style import BLUE, GREY, ORANGE, RED, book_figure, draw_cloud, draw_gallery


@book_figure
def ten_seeds(latents, elbo, labels):
    """The latent planes of the members side by side, the same images in each.

    Parameters
    ----------
    latents : array, shape (members, n, 2)
    elbo : array, shape (members,)
        Nats; its negative is printed over each plane.
    labels : array of int, shape (n,), or None
    """
    columns = min(5, len(latents))
    rows = -(-len(latents) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(7.2, 7.2 / columns * rows * 1.12 + 0.15), sharex=True, sharey=True, squeeze=False
    )
    reach = 1.05 * np.quantile(np.abs(latents), 0.998)
    for axis in axes.flat[len(latents) :]:
        axis.set_axis_off()
    for member, (axis, points) in enumerate(zip(axes.flat, latents, strict=False)):
        draw_cloud(axis, points, labels)
        axis.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axis.set_title(f"seed {member}, −ELBO {-elbo[member]:.2f}", fontsize=7.5)
    return figure


MEASURES = {
    "coordinates": "as they are\n(correlation)",
    "signed_permutation": "best signed permutation\n(correlation)",
    "orthogonal": "best rotation\n(R²)",
    "linear": "best linear map\n(R²)",
    "cka": "similarity of shapes\n(linear CKA)",
    "neighbours": "shared neighbours\n(fraction of 10)",
}


@book_figure
def agreement_by_group(agreements, controls):
    """How well members agree, as they are and after the best map of each group.

    Parameters
    ----------
    agreements : mapping from str to Agreement
        One colour each, such as one for each latent dimension.
    controls : sequence of Agreement
        The same with the images shuffled for each member: agreement by chance.
    """
    figure, axis = plt.subplots(figsize=(7.2, 3.6))
    height = 0.8 / len(agreements)
    positions = -np.arange(len(MEASURES), dtype=float)
    markers = zip(agreements.items(), controls, (BLUE, ORANGE, RED), strict=False)
    for i, ((name, agreement), control, colour) in enumerate(markers):
        y = positions + 0.4 - height * (i + 0.5)
        estimates = [getattr(agreement, measure) for measure in MEASURES]
        means = np.array([estimate.mean for estimate in estimates])
        low, high = (np.array([getattr(estimate, end) for estimate in estimates]) for end in ("low", "high"))
        axis.barh(y, means, height=0.9 * height, color=colour, label=name)
        axis.errorbar(means, y, xerr=np.nan_to_num([means - low, high - means]).clip(0), fmt="none", color="black")
        chance = [getattr(control, measure).mean for measure in MEASURES]
        axis.plot(chance, y, "|", color="black", markersize=9, label="by chance" if i == 0 else None)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlim=(-1.02, 1.02), xlabel="agreement between two members (1 = perfect)")
    axis.set_yticks(positions, MEASURES.values())
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


@book_figure
def elbo_against_rotation(degrees, losses, spread):
    """−ELBO of trained members whose latent plane is turned, relative to the unturned member.

    Parameters
    ----------
    degrees : array, shape (k,)
    losses : array, shape (members, k)
        −ELBO minus its value at 0°, nats.
    spread : float
        Standard deviation of −ELBO over seeds, nats, drawn as a band for scale.
    """
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    axis.axhspan(0, spread, color=GREY, alpha=0.35, linewidth=0)
    axis.set_title("grey band: one standard deviation over seeds", loc="right", fontsize=8)
    axis.plot(degrees, losses.T, color=BLUE, linewidth=0.9, alpha=0.6)
    axis.plot(degrees, losses.mean(axis=0), color="black", linewidth=1.8)
    axis.set(xlabel="angle by which the latent plane is turned (degrees)", xticks=np.arange(0, 361, 45))
    axis.set_ylabel("−ELBO minus its\nvalue at 0° (nats)")
    return figure


@book_figure
def one_place(rows):
    """What every seed decodes at one and the same place of its latent space.

    Parameters
    ----------
    rows : mapping from str to tuple of (array of shape (members, height, width), str)
        For each way of training the decoded images and how far they differ, in words.
    """
    return draw_gallery(rows)
