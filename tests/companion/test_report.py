import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from vaept.companion import report
from vaept.errors import InputError
from vaept.vae.agreement import Estimate


def test_all_analysis_figures_need_the_records_alone(records):
    made = report.analysis_figures(records)
    assert len(made) == 8 and all(isinstance(figure, Figure) for figure in made.values())
    for figure in made.values():
        assert any("profile test, data digits" in text.get_text() for text in figure.texts)


def test_a_study_without_a_plane_leaves_the_planes_out(records):
    arms = {key: record for key, record in records.arms.items() if key[1] == 4}
    made = report.analysis_figures(dataclasses.replace(records, arms=arms))
    assert "ten_seeds" not in made and "dose_response" in made


def test_likeness_forgives_rotations_only(records):
    found = report.likeness(records)
    assert all((values > 0.9).all() for values in found.values())
    record = records.arms["cold", 2]
    mixed = dataclasses.replace(record, mean=np.random.default_rng(0).permuted(record.mean, axis=1))
    found = report.likeness(dataclasses.replace(records, arms=records.arms | {("cold", 2): mixed}))
    assert (found["no field, cold start"] < 0.3).all()


def test_what_is_not_published_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="There are no records"):
        report.published("digits")
    monkeypatch.setattr(report, "CHECKOUT", None)
    with pytest.raises(InputError, match="come with the repository"):
        report.published("digits")


def test_tables_show_estimates_and_minus_signs():
    shown = report.table(("a-b", "value"), [("x", Estimate(-0.5, -0.6, 0.4)), ("-1 y-z", -2)])
    assert shown.splitlines() == ["| a-b | value |", "|---|---|", "| x | −0.50 [−0.60, 0.40] |", "| −1 y-z | −2 |"]


def test_tables_show_a_dash_for_what_is_none_and_no_interval_where_there_is_none():
    nothing, point = Estimate(np.nan, np.nan, np.nan), Estimate(0.5, np.nan, np.nan)
    assert report.table(("a", "b"), [(nothing, point)]).splitlines()[-1] == "| – | 0.50 |"
    assert report.cell(np.array([1.0, 2.0])) == "1.50" and report.cell(np.array([np.nan])) == "none"


def test_classes_are_predicted_only_where_all_can_be(rng):
    labels = np.repeat([-3, 10**12], 20)
    latents = rng.standard_normal((40, 2)) + 100 * (labels > 0)[:, None]
    assert report.class_accuracy(latents, labels) == 1
    for few in (None, np.zeros(40, int), np.arange(40), np.arange(40) // 36):
        assert np.isnan(report.class_accuracy(latents, few))


def test_correlations_that_do_not_exist_are_none(rng):
    x = rng.standard_normal(5)
    assert report.correlation(x, -x).mean == pytest.approx(-1)
    assert np.isnan(report.correlation(x, np.ones(5)).mean) and np.isnan(report.correlation(x[:2], x[:2]).mean)
    assert (report.correlation(x[:3], x[:3]).low, report.correlation(x[:3], x[:3]).high) == (-1, 1)


def test_an_arm_that_was_not_trained_is_taken_from_the_published_run(records, monkeypatch):
    monkeypatch.setattr(report, "published", lambda profile: profile)
    assert report.with_arm(records, "warm") is records and report.with_arm(records, "wells") == "digits"


def test_cells_of_tables_say_where_nothing_was_measured():
    assert report.cell(np.array([1.0, 2, 3, np.nan]), ".1f").startswith("2.0 [1.")
    assert report.cell(np.array([-1.0])).startswith("−1.00") and report.cell(None) == "–"
