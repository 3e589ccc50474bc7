"""What all figures of the book share: style, colours, panels of latent planes and of images."""

import functools
import itertools
import re
import textwrap
from importlib import resources

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

STYLE = str(resources.files("vaept.companion.figures").joinpath("vaept.mplstyle"))
WIDTH = 5.2  # of every figure, inches
SMALL = 8  # points: the smallest text beside that in the corner
BLUE, ORANGE, RED, GREY, VIOLET = "#3f90da", "#dd7800", "#b51a00", "#868d96", "#730bd9"
DIVERGING = "PuOr"
ENERGY = LinearSegmentedColormap.from_list("energy", ["#2a6db5", "#7fb0dc", "#c9dff2", "white"])  # dark: low
MAX_DOTS = 2500
MAX_CORNERS = 10_000  # of what a notebook keeps as lines
PREVIEW = 840  # pixels across, twice as many as where it is shown
NAMED_CLASSES = 20  # of more, not all are named


def book_figure(draw):
    """A function that draws a figure, in the book's style, with the keyword `made_by` printed in its corner.

    A notebook keeps it as lines where they are few (SVG), else as dots (PNG), and `made_by` as its plain text.
    """

    @functools.wraps(draw)
    def styled(*args, made_by, **kwargs):
        with plt.style.context(STYLE):
            figure = draw(*args, **kwargs)
            lines = textwrap.wrap(made_by, 100)
            foot = (0.02 + 0.12 * len(lines)) / figure.get_figheight()
            figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
            where = {"ha": "right", "va": "bottom", "fontsize": 6.5, "color": "#666666"}
            figure.text(0.995, 0.004, "\n".join(lines), parse_math=False, **where)
            figure._ipython_display_ = functools.partial(_display, figure, made_by)
            plt.close(figure)  # the caller has it; pyplot need not show it a second time
        return figure

    return styled


def as_kept(figure, made_by):
    """What a notebook keeps of a figure: a dict from MIME type to content, and metadata: of lines a preview in dots."""
    from IPython.core.pylabtools import print_figure

    with plt.style.context(STYLE):
        if not _has_few_lines(figure):
            return {"image/png": print_figure(figure, "png", base64=True), "text/plain": made_by}, {}
        lines = print_figure(figure, "svg", metadata={"Date": None})
        lines = re.sub(r"\n\s*", "\n", re.sub(r"\s*<!--.*?-->", "", lines))  # a tenth of it says what letters are
        preview = print_figure(figure, "png", base64=True, dpi=PREVIEW / WIDTH)
    return {"image/svg+xml": lines, "text/plain": made_by}, {"image/svg+xml": {"preview": preview}}


def _display(figure, made_by):
    from IPython.display import display

    data, metadata = as_kept(figure, made_by)
    display(data, metadata=metadata, raw=True)


def _has_few_lines(figure):
    """Whether all of a figure is text and lines with at most `MAX_CORNERS` corners together."""
    corners = 0
    for artist in figure.findobj():
        if isinstance(artist, AxesImage | QuadMesh):
            return False
        if isinstance(artist, Line2D):
            corners += len(artist.get_path().vertices)
        elif isinstance(artist, Collection):
            corners += max(1, len(artist.get_offsets())) * sum(len(path.vertices) for path in artist.get_paths())
    return corners <= MAX_CORNERS


def label_ends(axis, ends, gap=0.09):
    """Names at the right ends of lines, (text, y, colour) each, at least this share of the axis apart."""
    to_share = axis.transScale + axis.transLimits
    shares = np.array([to_share.transform((axis.get_xlim()[1], y))[1] for _, y, _ in ends])
    order = np.argsort(shares, kind="stable")
    places = shares[order].clip(0, 1)
    for _ in range(100):  # neighbours push each other away
        overlap = np.maximum(gap - np.diff(places), 0) / 2
        places[:-1] -= overlap
        places[1:] += overlap
    for place, (text, _, colour) in zip(places, (ends[i] for i in order), strict=True):
        axis.text(1.02, place, text, color=colour, va="center", fontsize=SMALL, transform=axis.transAxes)


def draw_plane(axis, points, values):
    """Signed values, shape (n, n), over a square of the plane with n points along each axis, as colours; 0 is white."""
    limit = np.abs(values).max()
    axis.pcolormesh(points, points, values, cmap=DIVERGING, vmin=-limit, vmax=limit, shading="gouraud")
    axis.set(aspect="equal", xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def as_picture(image):
    """An image as matplotlib shows it, grey (rows, columns) or in colour (rows, columns, 3); None if it is no picture.

    Colours come last or first; sides of 1 do not count.
    """
    image = np.squeeze(image)
    if image.ndim == 3 and image.shape[0] == 3 != image.shape[2]:
        image = np.moveaxis(image, 0, 2)
    return image if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3) else None


def draw_image(axis, image):
    """An image as a picture or, where it is none, its values in their order as a curve."""
    picture = as_picture(image)
    if picture is None:  # show the values in their order
        axis.plot(np.ravel(image), color="black", linewidth=0.8)
        axis.set(xticks=[], yticks=[])
    else:
        axis.imshow(picture if picture.ndim == 2 else picture.clip(0, 1))
        axis.set_axis_off()


def draw_cloud(axis, points, labels, named=None, gap=0):
    """Points (n, 2) as dots, coloured by class, with the names of these classes amid them: of the first if None.

    Names are at least the gap apart. A mapping from classes says how to call them.
    """
    colours = class_colours(labels, len(points))[:MAX_DOTS]
    axis.scatter(*points[:MAX_DOTS].T, s=np.clip(2500 / len(colours), 2, 6), c=colours, linewidths=0)
    if labels is None:
        return
    outline = [patheffects.withStroke(linewidth=2, foreground="white")]
    named = np.unique(labels)[:NAMED_CLASSES] if named is None else named
    places = [np.median(points[labels == label], axis=0) for label in named]
    for label, (x, y) in zip(named, _apart(places, gap), strict=True):
        name = named[label] if isinstance(named, dict) else label
        axis.text(x, y, str(name), ha="center", va="center", fontsize=SMALL, weight="bold", path_effects=outline)


def _apart(places, gap):
    """Places (n, 2) that are moved until no two of them are nearer than the gap, or are where they were."""
    found = np.array(places)
    for _ in range(100 if gap else 0):
        for i, j in itertools.combinations(range(len(found)), 2):
            way = found[i] - found[j]
            far = np.hypot(*way)
            if far < gap:
                way = way / far if far > 0 else np.array([0.0, 1.0])
                found[i], found[j] = found[i] + way * (gap - far) / 2, found[j] - way * (gap - far) / 2
    return found


def draw_planes(groups, labels, columns, named=None):
    """Latent planes in rows, each group of rows under its title; the named classes are as in `draw_cloud`."""
    members = min(len(latents) for latents in groups.values())
    columns = min(columns, members)
    rows = -(-members // columns)
    side = WIDTH / columns
    figure = plt.figure(figsize=(WIDTH, len(groups) * (rows * side + 0.3)))
    for part, (title, latents) in zip(figure.subfigures(len(groups), 1), groups.items(), strict=True):
        part.suptitle(title)
        axes = part.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        reach = 1.1 * min(np.abs(latents).max(), 1.3 * np.quantile(np.abs(latents), 0.998))
        for axis in axes.flat[members:]:
            axis.set_axis_off()
        for axis, points in zip(axes.flat, latents[:members], strict=False):
            draw_cloud(axis, points, labels, named, 0 if named is None else 0.3 * reach)
            axis.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    return figure


def draw_intervals(axis, values, places, colour, label):
    """Estimates as dots with their intervals, from left to right."""
    means = np.array([value.mean for value in values])
    ends = np.array([[value.low, value.high] for value in values])
    reach = np.nan_to_num(np.abs(ends - means[:, None])).T
    axis.errorbar(means, places, xerr=reach, fmt="o", color=colour, markersize=4, linewidth=1, label=label)


def draw_gallery(rows, names=None):
    """Rows of images, with what they are at the left and a number at the right."""
    n = max(len(images) for images, _ in rows.values())
    height = 0.47 + (0.34 if names else 0)
    figure, axes = plt.subplots(
        len(rows), n + 2, figsize=(WIDTH, height * len(rows) + 0.2), squeeze=False, width_ratios=[2.4, *[1] * n, 2.7]
    )
    for row, (own, (title, (images, number))) in enumerate(zip(axes, rows.items(), strict=True)):
        for axis in own:
            axis.set_axis_off()
        for axis, image in zip(own[1:-1], images, strict=False):
            draw_image(axis, image)
        for axis, name in zip(own[1:-1], names[row] if names else (), strict=False):
            axis.set_title(name.replace(": ", "\n"), fontsize=SMALL)
        title, number = textwrap.fill(title, 16), number.replace(" [", "\n[")
        own[0].text(1, 0.5, title, ha="right", va="center", fontsize=SMALL, transform=own[0].transAxes)
        own[-1].text(0, 0.5, number, ha="left", va="center", fontsize=SMALL, transform=own[-1].transAxes)
    return figure


def class_colours(labels, n):
    """The colour of each of n points by its class, ndarray of str; one colour for all without labels."""
    if labels is None:
        return np.full(n, BLUE)
    palette = np.array(plt.rcParams["axes.prop_cycle"].by_key()["color"])
    return palette[np.unique(labels, return_inverse=True)[1] % len(palette)]


def name_classes(axis, classes, size=None):
    """Ticks with the names of classes, of every few where they are many; their places."""
    places = range(0, len(classes), -(-len(classes) // NAMED_CLASSES))
    names = [str(classes[place]) for place in places]
    upright = axis.axis_name == "x" and len(names) * max(map(len, names)) > 25
    axis.set_ticks(places, names, rotation=90 if upright else 0)
    if size:
        axis.set_tick_params(labelsize=size)
    return places
