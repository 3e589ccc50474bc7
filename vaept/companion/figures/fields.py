"""Figures of chapter 5: what a field does."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from vaept.companion.figures.style import (
    BLUE,
    ENERGY,
    GREY,
    ORANGE,
    RED,
    SMALL,
    WIDTH,
    book_figure,
    draw_cloud,
    draw_planes,
    label_ends,
)

IN_FIELD, NO_FIELD, AFTERWARDS, COLLAPSED = RED, BLUE, ORANGE, GREY  # what a colour means in all of this chapter
OF_KIND = {"field": IN_FIELD, "none": NO_FIELD, "afterwards": AFTERWARDS, "collapsed": COLLAPSED}  # of a price
SHUFFLED = GREY  # a field that says nothing of the images
ENDS = (-0.9, 0.9995)  # of agreement on an axis of its inverse hyperbolic tangent


@book_figure
def symmetry_breaking_toy(walkers, titles, tilt):
    """Runs on a ring of equally good optima: where they end without, in, and after a small field.

    Parameters
    ----------
    walkers : array, shape (panels, runs, 2)
        Where the runs end.
    titles : sequence of str
    tilt : array, shape (2,)
        The field in the second panel: minus the gradient of what is added to (|z|² − 1)²/4 there.
    """
    figure, axes = plt.subplots(1, len(walkers), figsize=(WIDTH, 2.1), sharex=True, sharey=True)
    points = np.linspace(-1.7, 1.7, 161)
    plane = np.stack(np.meshgrid(points, points), axis=-1)
    ring = ((plane**2).sum(axis=-1) - 1) ** 2
    for panel, (axis, ends, title) in enumerate(zip(axes, walkers, titles, strict=True)):
        height = ring - 4 * plane @ tilt if panel == 1 else ring
        axis.contourf(points, points, np.minimum(height - height.min(), 1.5), levels=12, cmap=ENERGY)
        axis.plot(*ends.T, "o", color="black", markersize=4, markeredgecolor="white", markeredgewidth=0.5)
        axis.set(aspect="equal", xticks=[], yticks=[], title=title)
        if panel == 1:
            direction = tilt / np.linalg.norm(tilt)
            axis.annotate(
                "", 0.45 * direction, -0.45 * direction, arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 2}
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
    figure, axes = plt.subplots(1, len(values), figsize=(WIDTH, 2.2))
    for axis, points, title in zip(np.atleast_1d(axes), values, titles, strict=True):
        draw_cloud(axis, points[:, :2], labels)
        low, high = np.quantile(points[:, :2], [0.002, 0.998], axis=0)
        margin = 0.06 * (high - low)
        axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        axis.set(title=title, xlabel="u₁", ylabel="u₂", xticks=[], yticks=[])
    return figure


@book_figure
def ten_seeds_in_a_field(before, after, labels, named=None, agreement=("", "")):
    """The latent planes of the members without a field and, below a line, trained in one that is gone at the end.

    Parameters
    ----------
    before, after : arrays, shape (members, n, 2)
    labels : array of int, shape (n,), or None
    named : sequence of int or mapping from int to str, optional
        Labels that are written, or what is written for them; all if None.
    agreement : pair of str
        What follows the titles, such as the agreement of coordinates.
    """
    titles = (f"without a field{agreement[0]}", f"in a field that is gone at the end{agreement[1]}")
    return draw_planes(dict(zip(titles, (before, after), strict=True)), labels, 5, named)


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
        len(arms), 2, figsize=(WIDTH, (0.27 * rows + 1.1) * len(arms)), sharey="row", squeeze=False
    )
    for (left, right), (name, own) in zip(axes, arms.items(), strict=True):
        for row, (title, (agreement, losses)) in enumerate(own.items()):
            colour = NO_FIELD if "no field" in title else SHUFFLED if "shuffled" in title else IN_FIELD
            _draw_stretched(left, [agreement], [row], colour)
            right.plot(losses, np.full(len(losses), row), "o", color=colour, markersize=3, alpha=0.6, linewidth=0)
            right.plot(losses.mean(), row, "|", color="black", markersize=11)
            if "warm start" in title:
                right.axvline(losses.mean(), color="black", linewidth=0.8, linestyle=":")
        left.axvline(0, color=GREY, linewidth=0.8)
        left.set(yticks=range(len(own)), yticklabels=list(own), title=f"agreement, {name}")
        _stretch(left)
        left.invert_yaxis()
        right.set_title(f"−ELBO (nats), {name}")
        right.xaxis.set_major_locator(MaxNLocator(3))
    axes[-1, 0].set_xlabel("better →")
    axes[-1, 1].set_xlabel("← better")
    return figure


@book_figure
def price_list(arms):
    """What each way to comparable coordinates costs: agreement, and −ELBO against the first arm's, a row for each arm.

    Parameters
    ----------
    arms : mapping from str to dict from str to triple of (Estimate, array of shape (members,), str)
        For each latent dimension and the title of each arm: coordinate agreement, −ELBO of the members in nats, and
        "field" or "none" for what it was trained in, "afterwards" for what was done to the finished models of the
        latter, or "collapsed". The best agreement of a latent dimension is above.
    """
    costs = {}
    for name, own in arms.items():
        first = next(iter(own.values()))[1].mean()
        costs[name] = {title: losses.mean() - first for title, (_, losses, kind) in own.items() if kind != "afterwards"}
    every = np.concatenate([list(own.values()) for own in costs.values()])
    most = 4 * np.quantile(np.abs(every), 0.8) or 1.0  # what costs more is an arrow
    span = np.array([every.min(), min(every.max(), most)])
    span += np.array([-0.25, 0.3]) * (np.ptp(span) or 1.0)
    heights = [0.17 * len(own) + 0.5 for own in arms.values()]
    figure, axes = plt.subplots(
        len(arms),
        2,
        figsize=(WIDTH, sum(heights) + 0.5),
        sharex="col",
        squeeze=False,
        height_ratios=heights,
        width_ratios=(1.2, 1),
    )
    for (left, right), (name, own) in zip(axes, arms.items(), strict=True):
        _draw_prices(left, right, own, costs[name], most)
        left.text(-0.05, 1.02, name, ha="right", va="bottom", fontsize="large", transform=left.transAxes)
        right.set(title="−ELBO (change)", xlim=span, yticks=[])
    axes[-1, 0].set_xlabel("better →")
    axes[-1, 1].set_xlabel("← better (nats)")
    words = {"field": "in a field", "none": "no field", "afterwards": "turned or changed afterwards"}
    words["collapsed"] = "a coordinate has collapsed"
    kinds = [kind for kind in words if kind in {kind for own in arms.values() for *_, kind in own.values()}]
    marks = [plt.Line2D([], [], marker="o", linestyle="none", color=OF_KIND[kind]) for kind in kinds]
    names, columns = [words[kind] for kind in kinds], 2 if len(kinds) > 3 else 3
    figure.legend(marks, names, loc="outside upper right", ncols=columns)
    return figure


def _draw_prices(left, right, own, costs, most):
    """Agreement and cost of one latent dimension's arms, the best agreement above; an arrow is for what costs more."""
    titles = sorted(own, key=lambda title: -own[title][0].mean)
    for kind, colour in OF_KIND.items():
        rows = [row for row, title in enumerate(titles) if own[title][2] == kind]
        _draw_stretched(left, [own[titles[row]][0] for row in rows], rows, colour)
        dear = {row: costs[titles[row]] for row in rows if titles[row] in costs}
        for marker, beyond in (("o", False), (">", True)):
            few = {row: min(cost, most) for row, cost in dear.items() if (cost > most) == beyond}
            if few:
                right.plot(list(few.values()), list(few), marker, color=colour, markersize=4)
        for row, cost in dear.items():
            _write(right, f"{cost:+.2f}" if abs(cost) < 10 else f"{cost:+.0f}", min(cost, most), row, colour)
    _stretch(left)
    left.set_title("agreement")
    left.set_yticks(range(len(titles)), titles, fontsize=SMALL)
    for axis in (left, right):
        axis.set_ylim(len(titles) - 0.4, -0.6)
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":", zorder=0)


def _fill(place, arms):
    """How the marks of a latent dimension are filled: those of the smallest are hollow if there are several."""
    return "none" if place == 0 < len(arms) - 1 else "full"


def _draw_stretched(axis, agreements, rows, colour):
    """Agreements with their intervals and, beside these, their values, in rows of an axis of `_stretch`."""
    ends = np.array([(each.low, each.mean, each.high) for each in agreements]).reshape(-1, 3)
    low, mean, high = np.arctanh(ends.clip(*ENDS)).T
    axis.hlines(rows, low, high, color=colour, linewidth=1.2)
    axis.plot(mean, rows, "o", color=colour, markersize=4)
    for row, each, left, right in zip(rows, agreements, low, high, strict=True):
        side = -1 if right > 3 else 1  # left of what ends near the right edge
        _write(axis, f"{each.mean:.2f}", right if side > 0 else left, row, colour, side)


def _write(axis, words, x, row, colour, side=1):
    """Words in a row, right of a place or, with the side −1, left of it."""
    words = words.replace("-", "−")
    where = {"textcoords": "offset points", "va": "center", "ha": "left" if side > 0 else "right"}
    axis.annotate(words, (x, row), (5 * side, 0), fontsize=SMALL, color=colour, **where)


def _stretch(axis):
    """Ticks of agreement that is drawn as its inverse hyperbolic tangent, so that 0.99 and 0.999 can be told apart."""
    axis.set_xticks(np.arctanh([0, 0.9, 0.99, 0.999]), ["0", "0.9", ".99", ".999"], fontsize=SMALL)
    axis.set_xlim(np.arctanh(ENDS[0]) - 0.1, np.arctanh(ENDS[1]) + 0.1)


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
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.7))
    ends = np.array([(each.mean - each.low, each.high - each.mean) for each in agreement]).T
    left.errorbar(couplings, [each.mean for each in agreement], np.abs(ends), color=IN_FIELD, marker="o", markersize=4)
    left.axhline(1, color=GREY, linewidth=0.8)
    left.axhline(0, color=GREY, linewidth=0.8)
    left.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    left.set(xscale="log", xlabel="coupling λ", title="agreement of coordinates")
    right.set(xscale="log", xlabel="coupling λ", title="cost of the field (nats)")
    mean = costs.mean(axis=1)
    error = 2 * costs.std(axis=1, ddof=1) / np.sqrt(costs.shape[1])
    if not np.isfinite(exponent):
        right.errorbar(couplings, mean, error, color=IN_FIELD, fmt="o", markersize=4)
        right.axhline(0, color=GREY, linewidth=0.8)
        return figure
    seen = mean > error  # of the others, only the upper end can be said
    above, below = ~seen & (mean + error > 0), mean + error <= 0
    right.set_yscale("log")
    right.errorbar(couplings[seen], mean[seen], error[seen], color=IN_FIELD, fmt="o", markersize=4, label="mean ± 2 se")
    marks = {"color": IN_FIELD, "markersize": 5, "linestyle": "none"}
    if above.any():
        right.plot(couplings[above], (mean + error)[above], marker="v", fillstyle="none", label="at most", **marks)
    line = np.exp(np.log(mean[used]).mean() + exponent * (np.log(couplings) - np.log(couplings[used]).mean()))
    right.plot(couplings, line, color="black", linewidth=1, label=f"fit λ^{exponent:.2f}")
    square = mean[used][-1] * (couplings / couplings[used][-1]) ** 2
    right.plot(couplings, square, color="black", linestyle="--", linewidth=1.2, label="prediction λ²")
    right.set_ylim(0.4 * np.append(mean[seen], (mean + error)[above]).min(), 2.5 * (mean + error).max())
    if below.any():
        bottom = np.full(below.sum(), right.get_ylim()[0])
        right.plot(couplings[below], bottom, marker="X", clip_on=False, label="below 0", **marks)
    right.legend(loc="upper left")
    return figure


@book_figure
def persistence(epochs, agreement, losses):
    """Agreement of coordinates, and −ELBO, against further epochs without a field.

    Parameters
    ----------
    epochs : array, shape (k,)
        From 0.
    agreement : mapping from str to sequence of k Estimates
        Coordinate agreement for each latent dimension.
    losses : mapping from str to array of shape (k, members)
        −ELBO, nats; drawn relative to its mean at 0.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.5))
    lowest, ends, levels = 0.97, [], []
    for place, (name, values) in enumerate(agreement.items()):
        marks = {"color": IN_FIELD, "marker": "o", "markersize": 4, "fillstyle": _fill(place, agreement)}
        marks["linestyle"] = "--" if marks["fillstyle"] == "none" else "-"
        low, mean, high = np.array([(each.low, each.mean, each.high) for each in values]).T
        left.fill_between(epochs, low, high, color=IN_FIELD, alpha=0.2, linewidth=0)
        left.plot(epochs, mean, **marks)
        change = losses[name] - losses[name][0].mean()
        right.plot(epochs, change.mean(axis=1), **marks)
        ends.append((name, change[-1].mean(), IN_FIELD))
        levels.append((name, mean[-1], IN_FIELD))
        lowest = np.nanmin([lowest, *low, *mean])
    left.axhline(0.97, color="black", linewidth=0.8, linestyle=":")
    left.text(0.03, 0.04, "dotted: asked for", fontsize=SMALL, transform=left.transAxes)
    left.set(ylim=(min(0.9, lowest - 0.02), 1.005), title="agreement of coordinates")
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set_title("change of −ELBO (nats)")
    label_ends(left, levels)
    label_ends(right, ends)
    for axis in (left, right):
        axis.set_xlabel("further epochs")
    return figure


@book_figure
def arrangements(likeness, losses):
    """−ELBO of members against how much their map resembles the corrected one, up to a rotation.

    Parameters
    ----------
    likeness : mapping from str to array of shape (members,)
        For each arm: R² after the best rotation with the mean of the corrected maps, of others where it is one.
    losses : mapping from str to array of shape (members,)
        −ELBO, nats.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 3.0))
    for title, values in likeness.items():
        colour, filled = NO_FIELD if "no field" in title else IN_FIELD, "none" if "warm" in title else "full"
        axis.plot(values, losses[title], "o", color=colour, fillstyle=filled, markersize=5, alpha=0.8, label=title)
    axis.set(xlabel="likeness to the corrected map (R², best rotation)", ylabel="−ELBO (nats)")
    axis.legend()
    return figure
