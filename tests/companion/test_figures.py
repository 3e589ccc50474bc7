import base64
import inspect
import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import image as mpimg
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from vaept.companion import analysis, figures
from vaept.companion.figures import style
from vaept.uses.relaxation import Relaxation
from vaept.vae.agreement import Estimate, compare


def draw(name, rng, labels):
    times = np.array([5.0, 3.0])
    latents = rng.standard_normal((3, 40, 2))
    agreement, grouped = compare(latents), analysis.by_group(latents)
    plane = rng.standard_normal((21, 21))
    arguments = {
        "wells_and_levels": ([np.arange(9.0)], [np.arange(9.0)] * 2, [[1.0]] * 2, [np.ones((9, 1))] * 2, ["a", "b"]),
        "oscillator_states_2d": (np.arange(21.0), [plane, plane], [(1, 0), (0, 1)]),
        "tilt_chooses_axes": (np.arange(21.0), [0.0, 1.0], np.array([[plane, plane]] * 2), 1e-6),
        "posterior_as_wave_packet": (
            rng.random((2, 8, 8)),
            latents[0, :2],
            np.ones((2, 2)),
            np.ones((2, 5)),
            [1.0, 2.0],
        ),
        "energy_bounds_kl": (rng.random(40) + 0.1, rng.random(40) + 2),
        "bound_against_time": ([10.0, 60.0, 600.0], [120.0, 100.0, 92.0], 88.1, 86.8),
        "training_history": (-rng.random((3, 20)), rng.random((3, 20))),
        "ten_seeds": (latents, -rng.random(3), labels),
        "one_place": ({"without": (rng.random((3, 8, 8)), "a"), "with": (rng.random((3, 8, 8)), "b")},),
        "agreement_by_group": ({"d = 2": grouped, "d = 8": grouped}, [grouped, grouped]),
        "elbo_against_rotation": (np.arange(0, 361, 90), rng.random((3, 5)), 0.1),
        "series_against_exact": (np.linspace(0, 1, 5), np.arange(5.0), {"order 1": np.ones(5), "Padé": np.ones(5)}),
        "error_slopes": (np.logspace(-3, -1, 5), rng.random((2, 5)) + 0.1, [1.0, 2.0]),
        "levels_of_a_latent_space": (np.linspace(0, 1, 21), rng.random((21, 3)), [0.0, 1.0, 2.0], [1, 2], [0.0, 0.4]),
        "fingerprints": ({"d = 2": (rng.random((3, 4)), rng.random((3, 4, 2)))}, {"d = 2": np.arange(4)}),
        "levels_beside_seeds": (
            {"d = 2": (rng.random((3, 4)), rng.random((3, 4, 2)))},
            {"0, shuffled": {"d = 2": (rng.random(4), rng.random((4, 2)))}},
        ),
        "eigenfunctions_decoded": ((np.arange(21.0),) * 2, np.stack([plane] * 2), [0.1, 0.2], rng.random((3, 3, 8, 8))),
        "populations_by_class": (rng.random((3, 5)), [0, 1, 2], [0.5, 1.0, 2.0], 10),
        "symmetry_breaking_toy": (rng.standard_normal((3, 10, 2)), ["a", "b", "c"], rng.standard_normal(2)),
        "first_components": ([latents[0], latents[1]], labels, ["a", "b"]),
        "ten_seeds_in_a_field": (latents, latents, labels),
        "teaser": (latents, latents, labels),
        "agreement_with_controls": ({"d = 2": {"no field, warm start": (agreement.coordinates, rng.random(3))}},),
        "dose_response": (np.array([0.1, 1.0]), [agreement.coordinates] * 2, rng.random((2, 3)), 2.0, np.ones(2, bool)),
        "persistence": (np.arange(2), {"d = 2": [agreement.coordinates] * 2}, {"d = 2": rng.random((2, 3))}),
        "arrangements": ({"cold": rng.random(3)}, {"cold": rng.random(3)}),
        "landscape": (
            (np.arange(21.0),) * 2,
            plane,
            SimpleNamespace(minima=latents[0, :4] + 9, saddles=latents[1, :3] + 9),
            [0, 1, 2, 3],
            [SimpleNamespace(images=latents[2] + 9, saddles=latents[1, :3] + 9, energies=rng.random(40))],
            None if labels is None else rng.random((4, 8, 8)),
        ),
        "path_between_images": (
            rng.random((2, 30)),
            rng.random((2, 6, 8, 8)),
            None if labels is None else [["0"] * 6, ["1"] * 6],
        ),
        "relaxation_against_gap": (
            {
                "a": Relaxation(
                    times, times, np.stack([times, times], 1), 4.0, np.arange(1.0, 5), *rng.random((2, 4, 2))
                )
            },
        ),
        "slow_modes_decoded": (
            rng.random((2, 5, 8, 8)),
            np.array([3.0, 2.0]),
            None if labels is None else rng.random((2, 2, 10)),
            range(10),
            None if labels is None else ["40% mass", "20% slant"],
        ),
        "states_against_classes": (
            rng.integers(0, 9, (3, 10)),
            np.arange(10),
            None if labels is None else rng.integers(0, 9, (3, 10)),
        ),
        "groupings": ({"d = 2": {"cold": {"slow modes": rng.random(3), "k-means": rng.random(3)}}},),
        "images_by_energy": ({"highest": (rng.random((10, 8, 8)), rng.random(10))},),
        "outliers_by_score": ({"cold": {"energy": agreement.linear, "KL": agreement.linear}}, 0.05),
        "denoise": ({"clean": (rng.random((5, 8, 8)), ""), "noisy": (rng.random((5, 8, 8)), "9 dB")},),
        "scores_against_noise": (
            (0.5, 1.0),
            {"PSNR (dB), d = 2": {"noisy": [agreement.linear] * 2, "median": []}},
        ),
        "cluster": (
            {"cold": (rng.random((3, 8, 8)), "0.5")},
            None if labels is None else [["0 (90 %)", "1", "2"]],
        ),
        "encoders_against_decoders": (
            {
                name: (rng.random((3, 3)), rng.random((3, 3, *((8, 8) if labels is not None else (12,)))))
                for name in ("no field", "field")
            },
        ),
        "price_list": (
            {f"d = {d}": {f"arm {k}": (agreement.linear, rng.random(3), k) for k in KINDS} for d in (2, 4)},
        ),
        "explained_by_group": ({"same": rng.random(3), "rotation": rng.random(3)}, "rotation", 0.1),
        "coordinates_of_runs": (None if labels is None else rng.random(4), rng.random(4)),
        "planes_of_runs": (latents, latents, labels),
        "generate": ({"prior": (rng.random((5, 8, 8)), None if labels is None else agreement.linear)},),
    }[name]
    if name == "wells_and_levels":
        arguments = (arguments[0][0], *arguments[1:])
    return getattr(figures, name)(*arguments, made_by="made by a test")


KINDS = ("field", "none", "afterwards", "collapsed")
NAMES = [name for name, value in vars(figures).items() if inspect.isfunction(value) and hasattr(value, "__wrapped__")]


@pytest.mark.parametrize("labels", [None, np.arange(40) % 10])
@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_what_made_it_and_is_opaque(name, labels, rng, tmp_path):
    figure = draw(name, rng, labels)
    assert isinstance(figure, Figure)
    assert "made by a test" in [text.get_text() for text in figure.texts]
    assert not plt.get_fignums(), "the figure is still open in pyplot"
    figure.savefig(tmp_path / "figure.png")
    pixels = mpimg.imread(tmp_path / "figure.png")
    assert pixels.shape[1] > 600 and (pixels[..., 3] == 1).all()
    assert pixels[..., :3].std() > 0.01


def test_few_lines_are_kept_as_lines_and_images_as_dots(rng):
    first, again = (draw("training_history", np.random.default_rng(0), None) for _ in range(2))
    lines, metadata = style.as_kept(first, "a test")
    assert lines["text/plain"] == "a test" and set(lines) == {"image/svg+xml", "text/plain"}
    assert lines["image/svg+xml"].startswith("<?xml") and 5_000 < len(lines["image/svg+xml"]) < 200_000
    assert lines == style.as_kept(again, "a test")[0], "a figure that is drawn twice is not the same file"
    preview = mpimg.imread(io.BytesIO(base64.b64decode(metadata["image/svg+xml"]["preview"])))
    assert preview.std() > 0.01 and abs(preview.shape[1] - style.PREVIEW) < 50
    for name in ("denoise", "oscillator_states_2d"):
        shown, metadata = style.as_kept(draw(name, rng, None), "a test")
        assert set(shown) == {"image/png", "text/plain"} and not metadata


@pytest.mark.parametrize("name", NAMES)
def test_labels_can_be_read_on_a_narrow_page(name, rng):
    figure = draw(name, rng, np.arange(40) % 10)
    words = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_text() != "made by a test"]
    pixels = 350 / figure.get_figwidth() / 72  # a point, where the page has 350 pixels for the figure
    assert min(text.get_fontsize() for text in words) * pixels > 7


def test_only_named_classes_are_written_and_means_stand_beside_their_rows(rng):
    latents, labels = rng.standard_normal((3, 40, 2)), np.arange(40) % 10
    for name in ("planes_of_runs", "ten_seeds_in_a_field"):
        figure = getattr(figures, name)(latents, latents, labels, [7, 2], made_by="a test")
        written = [text.get_text() for text in figure.findobj(Text)]
        assert [text for text in written if text.isdigit()] == ["7", "2"] * 6
    figure = figures.explained_by_group({"same": np.array([-3.0, 1.0])}, "same", None, made_by="a test")
    assert {"−1.00", "same\n(the report's answer)"} <= {text.get_text() for text in figure.findobj(Text)}
    assert [line.get_marker() for line in figure.axes[0].lines[:2]] == ["<", "o"]
    figure = figures.ten_seeds_in_a_field(latents, latents, labels, None, (": 0.1", ": 0.9"), made_by="a test")
    assert "without a field: 0.1" in [text.get_text() for text in figure.findobj(Text)]


def test_names_of_classes_do_not_hide_each_other():
    found = style._apart([np.zeros(2), np.zeros(2), np.ones(2)], 0.5)
    ways = [np.hypot(*(found[i] - found[j])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(ways) > 0.499 and (found[2] == 1).all()
    assert (style._apart([np.zeros(2), np.zeros(2)], 0) == 0).all()


def test_panels_of_one_axis_have_one_scale():
    value = agreement_of(0.2), agreement_of(0.9)
    panels = {f"PSNR (dB), d = {d}": {"plain": [value[k]] * 2} for k, d in enumerate((2, 4))}
    figure = figures.scores_against_noise((0.5, 1.0), panels, made_by="a test")
    first, second = figure.axes
    assert "above: better than corrected" in [text.get_text() for text in first.texts]
    assert {"plain", "corrected"} <= {text.get_text() for text in second.texts}
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[0] < 0.2 < 0.9 < first.get_ylim()[1]
    panels["PSNR (dB), d = 2"]["noisy"] = [agreement_of(-9)] * 2
    figure = figures.scores_against_noise((0.5, 1.0), panels, made_by="a test")
    assert figure.axes[0].get_ylim()[0] > -1


def agreement_of(mean):
    return Estimate(mean, mean - 0.01, mean + 0.01)


def test_every_colour_can_be_seen_on_white():
    with plt.style.context(style.STYLE):
        classes = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for colour in (style.BLUE, style.ORANGE, style.RED, style.GREY, style.VIOLET, *classes):
        channels = np.array(to_rgb(colour))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 3, colour


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_what_it_needs(name):
    function = getattr(figures, name)
    parameters = list(inspect.signature(function).parameters)
    documented = inspect.getdoc(function)
    assert all(parameter in documented for parameter in parameters)


def test_a_figure_without_its_origin_is_refused(rng):
    with pytest.raises(TypeError, match="made_by"):
        figures.training_history(np.zeros((2, 3)), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((8, 8), (8, 8)),
        ((8, 8, 1), (8, 8)),
        ((1, 8, 8), (8, 8)),
        ((8, 8, 3), (8, 8, 3)),
        ((3, 8, 8), (8, 8, 3)),
        ((12,), None),
        ((1,), None),
        ((3, 4, 5), (4, 5, 3)),
        ((2, 4, 5), None),
    ],
)
def test_images_of_any_shape_can_be_shown(shape, shown, rng):
    picture = style.as_picture(rng.random(shape))
    assert (None if picture is None else picture.shape) == shown
    figure = figures.posterior_as_wave_packet(
        rng.random((2, *shape)), np.zeros((2, 2)), np.ones((2, 2)), np.ones((2, 5)), [0.0, 0.0], made_by="test"
    )
    assert len(figure.axes) == 6


def test_populations_share_a_scale_unless_it_hides_some():
    for second, shared in (([0.4, 0.3, 0.3], True), (np.full(100, 0.01), False)):
        made = figures.posterior_as_wave_packet(
            np.ones((2, 8, 8)), np.zeros((2, 2)), np.ones((2, 2)), [[0.8, 0.2], second], [0.1, 1.0], made_by="test"
        )
        tops = [axis.get_ylim()[1] for axis in (made.axes[2], made.axes[5])]
        assert (tops[0] == tops[1]) == shared
        assert "ringed" not in made.axes[4].get_xlabel()


def test_an_energy_is_shown_in_its_parts_and_a_history_with_its_end():
    means = np.array([[2.0, 0.0]] * 2)
    made = figures.posterior_as_wave_packet(
        np.ones((2, 8, 8)), means, np.ones((2, 2)), [[0.8, 0.2]] * 2, [0.75, 12.5], made_by="test"
    )
    titles = [made.axes[k].get_title(loc="right") for k in (2, 5)]
    assert titles == ["energy 0.750 = shift 0.500 + squeeze 0.250", "energy 12.5 = shift 0.5 + squeeze 12.0"]
    assert [text.get_text() for axis in made.axes for text in axis.texts] == ["mean"]
    made = figures.training_history(-np.ones((2, 4)), np.array([[3.0] * 4, [1.0] * 4]), made_by="test")
    assert made.axes[1].get_title() == "KL\nat the end 2.00 ± 1.41" and made.axes[1].get_ylim()[0] == 0
    assert made.axes[1].get_xlabel() == "epoch"
    made = figures.training_history(-np.array([[9.0] + [1] * 7] * 2), np.ones((2, 8)), made_by="test")
    assert made.axes[0].get_xlabel().endswith("cut off)") and made.axes[1].get_xlabel() == "epoch"


def test_a_power_of_ten_is_set_as_one(rng):
    plane = rng.standard_normal((5, 5))
    pairs = np.array([[plane, plane]] * 2)
    made = figures.tilt_chooses_axes(np.arange(5.0), [0.0, 1.0], pairs, 1e-6, made_by="test")
    assert made.get_suptitle().endswith("λ = 1 × 10⁻⁶")


def test_levels_that_come_in_pairs_have_their_gaps_written_and_each_level_of_the_plane_a_row(rng):
    grid, states = np.arange(9.0), rng.random((9, 4))
    wells, energies = [grid, grid], [[0.0, 0.5, 1.0, 1.5], [0.0, 0.001, 0.5, 0.52]]
    made = figures.wells_and_levels(grid, wells, energies, [states] * 2, ["one", "two"], made_by="test")
    gaps = [[text.get_text() for text in axis.texts] for axis in made.axes]
    assert gaps == [[], ["gap\n0.001", "gap\n0.02"]]
    drawn = made.axes[1].lines[-8:]  # a level's line and its state, four times
    np.testing.assert_allclose(
        [line.get_ydata()[-1] - 0.3 * state[-1] for line, state in zip(drawn[1::2], states.T, strict=True)],
        [0.0005, 0.0005, 0.51, 0.51],
    )
    numbers = np.array([(0, 0), (1, 0), (0, 1)])
    made = figures.oscillator_states_2d(grid, rng.standard_normal((3, 9, 9)), numbers, made_by="test")
    titles = [axis.get_title() for axis in made.axes]
    assert titles == ["n = (0, 0)", "", "n = (1, 0)", "n = (0, 1)"]


def test_style_does_not_leak(rng):
    before = plt.rcParams["font.size"], plt.rcParams["figure.dpi"]
    figures.training_history(-rng.random((3, 20)), rng.random((3, 20)), made_by="test")
    assert before == (plt.rcParams["font.size"], plt.rcParams["figure.dpi"])


def test_values_in_a_row_can_be_decoded_too(rng):
    points = (np.arange(5.0),) * 2
    for shape in ((12,), (4, 4, 3), (3, 4, 4), (1,), (2, 3, 4)):
        images = rng.random((3, 3, *shape))
        made = figures.eigenfunctions_decoded(points, rng.random((1, 5, 5)), [0.1], images, made_by="a test")
        assert isinstance(made, Figure)
        plt.close(made)


def test_a_name_is_printed_as_it_is(tmp_path):
    name = "a$b_{c} <b> 100 % $"
    figure = figures.training_history(-np.ones((2, 3)), np.arange(6.0).reshape(2, 3), made_by=name)
    figure.savefig(tmp_path / "figure.png")
    (text,) = [text for text in figure.texts if text.get_text() == name]
    assert not text.get_parse_math()


def test_a_few_of_many_classes_are_named(rng):
    classes = np.arange(150) * 10**10 - 7
    made = figures.populations_by_class(rng.random((150, 5)), classes, rng.random(150), 10, made_by="a test")
    names = [tick.get_text() for tick in made.axes[0].get_yticklabels()]
    assert len(names) <= style.NAMED_CLASSES and set(names) <= set(map(str, classes)) and names[0] == "-7"
    made = figures.states_against_classes(np.ones((150, 150), int), classes, made_by="a test")
    assert len(made.axes[0].get_xticks()) <= style.NAMED_CLASSES and made.axes[0].get_yticklabels()[0].get_text() == "1"


def test_what_is_absent_is_not_in_the_legend(rng):
    axes, plane = (np.arange(5.0),) * 2, rng.random((5, 5))
    images, found = rng.random((2, 8, 8)), SimpleNamespace(minima=np.ones((2, 2)), saddles=np.empty((0, 2)))
    for numbers, n_deep, names in (([0], None, ["minima"]), ([0, 1], 1, ["deep minimum", "shallow"])):
        made = figures.landscape(axes, plane, found, numbers, [], images, n_deep=n_deep, made_by="a test")
        assert [text.get_text() for text in made.axes[0].get_legend().get_texts()] == names
    found.saddles = np.ones((1, 2))
    made = figures.landscape(axes, plane, found, [0, 1], [], images, made_by="a test")
    assert [text.get_text() for text in made.axes[0].get_legend().get_texts()] == ["saddles", "minima"]
    made = figures.images_by_energy({"a": (rng.random((4, 8, 8)), rng.random(4))}, made_by="a test")
    assert len(made.axes) == 4


def test_titles_tell_what_was_found(rng):
    table = np.array([[9, 5], [1, 5]])
    made = figures.states_against_classes(table, ["a", "b"], made_by="a test")
    assert made.axes[0].get_title().startswith("1 of 2 classes have a state of their own\n")
    made = figures.states_against_classes(table, ["a", "b"], 9 * np.eye(2), made_by="a test")
    assert "of their own, 2 a group of k-means" in made.axes[0].get_title()
    scores = {"d = 2": {"cold": {"slow modes": np.full(3, 0.25)}}, "d = 4": {"warm": {"k-means": np.full(3, 0.5)}}}
    made = figures.groupings(scores, made_by="a test")
    rows = [tick.get_text() for tick in made.axes[0].get_yticklabels()]
    assert rows == ["cold: slow modes", "cold: k-means", "warm: slow modes", "warm: k-means"]
    assert [[text.get_text() for text in axis.texts] for axis in made.axes] == [["0.25"], ["0.50"]]
    strips, names = rng.random((2, 2, 8, 8)), [["a", "b?"], ["a", "b"]]
    made = figures.path_between_images(rng.random((2, 9)), strips, names, made_by="a test")
    words = [text.get_text() for axis in made.axes if axis.get_legend() for text in axis.get_legend().get_texts()]
    assert words[0].endswith("1 of 2 sure") and words[1].endswith("2 of 2 sure")
    arms = {
        "d = 2": {name: (Estimate(own, own, own), rng.random(3), "field") for name, own in (("a", 0.1), ("b", 0.9))}
    }
    made = figures.price_list(arms, made_by="a test")
    assert [tick.get_text() for tick in made.axes[0].get_yticklabels()] == ["b", "a"]
    times, measured = np.array([5.0, 4.9, 1.0]), np.array([6.0, 5.0, 1.0])
    found = Relaxation(times, measured, np.ones((3, 2)), 4.0, np.arange(1.0, 5), *rng.random((2, 4, 3)))
    made = figures.relaxation_against_gap({"a": found}, made_by="a test")
    assert "1.20 × the prediction" in made.axes[0].get_title()
    names = [text.get_text() for text in made.axes[0].get_legend().get_texts()]
    assert names == ["mode 1: 5", "mode 2: 4.9, not drawn", "mode 3: 1"]


def test_a_straight_line_is_drawn_beside_the_lowest_path(rng):
    points = rng.random((9, 2))
    way = SimpleNamespace(images=points, energies=rng.random(9))
    found = SimpleNamespace(minima=points[[0, -1]], saddles=points[4:5])
    plane = (np.arange(5.0),) * 2, rng.random((5, 5))
    made = figures.landscape(*plane, found, [0, 1], [way], straight=rng.random(20), made_by="a test")
    names = [text.get_text() for axis in made.axes if axis.get_legend() for text in axis.get_legend().get_texts()]
    assert names[-2:] == ["lowest path", "straight line"]
