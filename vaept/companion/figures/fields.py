"""Figures of chapter 5: what a field does."""

import matplotlib.pyplot as plt
import numpy as np

from vaept.companion.figures.style import BLUE, GREY, ORANGE, RED, book_figure, draw_cloud, draw_planes


@book_figure
def symmetry_breaking_toy(walkers, titles, field_angle):
    """Runs on a ring of equally good optima: where they end without, in, and after a small field.

    Parameters
    ----------
    walkers : array, shape (panels, runs, 2)
        Where the runs end.
    titles : sequence of str
    field_angle : float
        Direction of the field in the second panel, radians.
    """
    figure, axes = plt.subplots(1, len(walkers), figsize=(7.2, 2.7), sharex=True, sharey=True)
    points = np.linspace(-1.7, 1.7, 161)
    radius = np.hypot(*np.meshgrid(points, points))
    for panel, (axis, ends, title) in enumerate(zip(axes, walkers, titles, strict=True)):
        axis.contourf(points, points, np.minimum((radius**2 - 1) ** 2, 1.5), levels=12, cmap="Greys", alpha=0.6)
        axis.plot(*ends.T, "o", color=RED, markersize=3, alpha=0.7, linewidth=0)
        axis.set(aspect="equal", xticks=[], yticks=[], title=title)
        if panel == 1:
            direction = np.array([np.cos(field_angle), np.sin(field_angle)])
            axis.annotate(
                "", 0.45 * direction, -0.45 * direction, arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 2}
            )
    return figure


@book_figure
def first_components(values, labels, titles):
    """The first two components of several fields at the same images, coloured afterwards by class.

    Parameters
    ----------
    values : sequence of arrays, shape (n, k ≥ 2)
    labels : array of int, shape (n,), or None
    titles : sequence of str
    """
    figure, axes = plt.subplots(1, len(values), figsize=(7.2, 2.7))
    for axis, points, title in zip(np.atleast_1d(axes), values, titles, strict=True):
        draw_cloud(axis, points[:, :2], labels)
        low, high = np.quantile(points[:, :2], [0.002, 0.998], axis=0)
        margin = 0.06 * (high - low)
        axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axis.set(title=title, xlabel="u₁", ylabel="u₂", xticks=[], yticks=[])
    return figure


@book_figure
def ten_seeds_in_a_field(before, after, labels):
    """The latent planes of the members without a field and, below a line, trained in one that is gone at the end.

    Parameters
    ----------
    before, after : arrays, shape (members, n, 2)
    labels : array of int, shape (n,), or None
    """
    return draw_planes({"without a field": before, "in a field that is gone at the end": after}, labels, 5)


@book_figure
def teaser(before, after, labels):
    """`ten_seeds_in_a_field` in short, of the same before, after and labels: four planes of each."""
    return draw_planes(
        {"trained as usual": before[:4], "trained in a field that is gone at the end": after[:4]}, labels, 4
    )


@book_figure
def agreement_with_controls(arms):
    """How well members agree without alignment, and how good they are, for every arm.

    Parameters
    ----------
    arms : mapping from str to dict from str to pair of (Estimate, array of shape (members,))
        For each latent dimension and the title of each arm: coordinate agreement, and −ELBO of the members in nats. A
        line is drawn through the mean of the arm whose title holds "warm start".
    """
    rows = max(len(own) for own in arms.values())
    figure, axes = plt.subplots(
        len(arms), 2, figsize=(7.2, (0.27 * rows + 0.75) * len(arms)), sharey="row", squeeze=False
    )
    for (left, right), (name, own) in zip(axes, arms.items(), strict=True):
        for row, (title, (agreement, losses)) in enumerate(own.items()):
            colour = RED if "neighbour" in title else GREY if "no field" in title or "shuffled" in title else BLUE
            left.plot([agreement.low, agreement.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
            left.plot(agreement.mean, row, "o", color=colour)
            right.plot(losses, np.full(len(losses), row), "o", color=colour, markersize=3, alpha=0.6, linewidth=0)
            right.plot(losses.mean(), row, "|", color="black", markersize=11)
            if "warm start" in title:
                right.axvline(losses.mean(), color=GREY, linewidth=0.8, linestyle=":")
        left.axvline(0, color=GREY, linewidth=0.8)
        left.axvline(1, color=GREY, linewidth=0.8)
        left.set(yticks=range(len(own)), yticklabels=list(own), title=name, xlim=(-1.05, 1.05))
        left.invert_yaxis()
        right.set_title("each dot a member, bar: mean, dotted: warm start", fontsize=7.5)
    axes[-1, 0].set_xlabel("coordinate agreement, no alignment")
    axes[-1, 1].set_xlabel("−ELBO under the plain prior (nats)")
    return figure


@book_figure
def price_list(arms):
    """What each way to comparable coordinates costs: agreement against −ELBO, a numbered mark for each arm.

    Parameters
    ----------
    arms : mapping from str to dict from str to triple of (Estimate, array of shape (members,), str)
        For each latent dimension and the title of each arm: coordinate agreement, −ELBO of the members in nats, and
        "field" or "none" for what it was trained in, or "collapsed". The same titles, in one order, for all.
    """
    titles = list(dict.fromkeys(title for own in arms.values() for title in own))
    height = max(3.0, 0.19 * len(titles) + 0.4)
    figure, axes = plt.subplots(
        1, len(arms) + 1, figsize=(7.2, height), squeeze=False, width_ratios=[1] * len(arms) + [0.75]
    )
    for axis, (name, own) in zip(axes[0], arms.items(), strict=False):
        for title, (agreement, losses, kind) in own.items():
            x = np.arctanh(np.clip([agreement.low, agreement.mean, agreement.high], -0.9, 0.9995))
            colour = {"field": RED, "none": BLUE, "collapsed": GREY}[kind]
            axis.plot(x[[0, 2]], [losses.mean()] * 2, color=colour, linewidth=1, alpha=0.5)
            where = {"ha": "center", "va": "center", "fontsize": 6.5, "color": "white", "weight": "bold"}
            box = {"boxstyle": "circle,pad=0.18", "facecolor": colour, "edgecolor": "white", "linewidth": 0.5}
            axis.text(x[1], losses.mean(), str(titles.index(title) + 1), bbox=box, **where)
        ticks = [0, 0.5, 0.9, 0.99, 0.999]
        axis.set_xticks(np.arctanh(ticks), [f"{tick:g}" for tick in ticks])
        means = [losses.mean() for _, losses, _ in own.values()]
        margin = 0.06 * (np.ptp(means) or 1)
        axis.set(xlim=(-0.6, 4), ylim=(min(means) - margin, max(means) + margin), title=name)
        axis.set(xlabel="coordinate agreement", ylabel="−ELBO (nats)")
    axes[0, -1].set_axis_off()
    words = "\n".join(f"{number}  {title}" for number, title in enumerate(titles, start=1))
    axes[0, -1].text(0, 1, words, ha="left", va="top", fontsize=7, transform=axes[0, -1].transAxes, linespacing=1.5)
    return figure


@book_figure
def dose_response(couplings, agreement, costs, exponent, used):
    """Agreement of coordinates and cost in nats against the coupling of a field that stays on.

    Parameters
    ----------
    couplings : array, shape (k,)
        All above 0.
    agreement : sequence of k Estimates
        Coordinate agreement.
    costs : array, shape (k, members)
        −ELBO under the plain prior minus that without a field; nats.
    exponent : float
        Of the fitted power law; NaN if none was fitted.
    used : array of bool, shape (k,)
        The couplings that it was fitted to.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
    ends = np.array([(each.mean - each.low, each.high - each.mean) for each in agreement]).T
    left.errorbar(couplings, [each.mean for each in agreement], np.abs(ends), color=RED, marker="o", markersize=4)
    left.axhline(1, color=GREY, linewidth=0.8)
    left.axhline(0, color=GREY, linewidth=0.8)
    left.set(xscale="log", xlabel="coupling λ", ylabel="coordinate agreement")
    mean = costs.mean(axis=1)
    error = 2 * costs.std(axis=1, ddof=1) / np.sqrt(costs.shape[1])
    right.errorbar(
        couplings, mean, error, color=BLUE, marker="o", markersize=4, linestyle="none", label="cost ± 2 s.e."
    )
    if np.isfinite(exponent):
        line = np.exp(np.log(mean[used]).mean() + exponent * (np.log(couplings) - np.log(couplings[used]).mean()))
        right.plot(couplings, line, color="black", label=f"fit λ^{exponent:.2f}", linewidth=1)
        square = mean[used][-1] * (couplings / couplings[used][-1]) ** 2
        right.plot(couplings, square, color=GREY, linestyle="--", label="prediction λ²", linewidth=1)
    right.set_yscale("symlog", linthresh=0.1 if np.abs(mean).max() > 0.1 else 0.01)
    right.set(xscale="log", xlabel="coupling λ", ylabel="cost of the field (nats)")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.legend(loc="upper left")
    return figure


@book_figure
def persistence(epochs, agreement, losses):
    """Agreement of coordinates, and −ELBO, against the epochs trained after the field was gone.

    Parameters
    ----------
    epochs : array, shape (k,)
        From 0.
    agreement : mapping from str to sequence of k Estimates
        Coordinate agreement for each latent dimension.
    losses : mapping from str to array of shape (k, members)
        −ELBO, nats; drawn relative to its mean at 0.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.7))
    lowest = 0.97
    for (name, values), colour in zip(agreement.items(), (RED, BLUE, ORANGE), strict=False):
        low, mean, high = np.array([(each.low, each.mean, each.high) for each in values]).T
        left.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        left.plot(epochs, mean, color=colour, marker="o", markersize=4, label=name)
        change = losses[name] - losses[name][0].mean()
        right.plot(epochs, change.mean(axis=1), color=colour, marker="o", markersize=4, label=name)
        lowest = np.nanmin([lowest, *low, *mean])
    left.axhline(0.97, color=GREY, linewidth=0.8, linestyle=":")
    left.set(ylim=(min(0.9, lowest - 0.02), 1.005), xlabel="epochs after the field is gone")
    left.set_ylabel("coordinate agreement")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set(xlabel="epochs after the field is gone", ylabel="change of −ELBO (nats)")
    left.legend(loc="lower left")
    return figure


@book_figure
def arrangements(likeness, losses):
    """−ELBO of members against how much their map resembles the corrected one, up to a rotation.

    Parameters
    ----------
    likeness : mapping from str to array of shape (members,)
        For each arm: R² after the best rotation with the mean of the corrected maps.
    losses : mapping from str to array of shape (members,)
        −ELBO, nats.
    """
    figure, axis = plt.subplots(figsize=(5.6, 3.0))
    for (title, values), colour in zip(likeness.items(), (GREY, BLUE, RED, ORANGE), strict=False):
        axis.plot(values, losses[title], "o", color=colour, markersize=5, alpha=0.8, label=title)
    axis.set(xlabel="likeness to the corrected map (R² after the best rotation)", ylabel="−ELBO (nats)")
    axis.legend()
    return figure
