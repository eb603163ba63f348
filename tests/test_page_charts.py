"""The marks of the charts stand where the numbers say, and the colours can be seen."""

import itertools
import math
import re
from importlib.resources import files

import numpy as np
import pytest

from fairseq_musc.evaluate.calibration import binned
from fairseq_musc.evaluate.figure import Points
from fairseq_musc.page import charts
from fairseq_musc.page.charts import Series, intervals, line_chart, reliability, scatter, steps, thinned

STYLE = (files("fairseq_musc.page") / "templates" / "page.css").read_text()
COLOURS = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\);", STYLE))


@pytest.mark.parametrize("most", [3, 5, 6])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (47.3, 72.9), (0.0003, 0.0011), (-3, 12000), (99.9, 100), (5, 6)])
def test_ticks_are_few_round_and_within(low, high, most):
    ticks = steps(low, high, most)
    assert 1 <= len(ticks) <= most
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(mantissa - one) for one in (1, 2, 5, 10)) < 1e-6
        assert all(math.isclose(b - a, step, rel_tol=1e-6) for a, b in itertools.pairwise(ticks))


def test_an_interval_stands_between_its_ticks():
    chart = intervals({"DE": [(0.70, 0.60, 0.80), None], "Avg.": [(0.5, 0.4, 0.9), (0.55, 0.5, 0.6)]})
    at = {tick.label: tick.at for tick in chart.ticks}
    (mark,) = chart.rows[0].marks
    assert (mark.series, mark.low, mark.high) == (0, at["60"], at["80"])
    assert mark.x == pytest.approx((at["60"] + at["80"]) / 2, abs=0.02)
    assert [mark.series for mark in chart.rows[1].marks] == [0, 1]
    assert chart.box.left <= at["40"] < at["90"] <= chart.box.x_end
    assert chart.rows[0].y < chart.rows[1].y


def test_a_curve_goes_through_its_points_and_breaks_at_what_is_not_finite():
    chart = line_chart([Series(0, 0, [(0, 1.0), (10, 2.0), (20, math.nan), (30, 3.0), (40, 1.0)], chosen=30)])
    (line,) = chart.lines
    moves = re.findall(r"([ML])([\d.]+) ([\d.]+)", line.path)
    assert [move for move, _, _ in moves] == ["M", "L", "M", "L"]
    places = [(float(x), float(y)) for _, x, y in moves]
    box = chart.box
    assert [x for x, _ in places] == pytest.approx(
        [box.left + (box.x_end - box.left) * update / 40 for update in (0, 10, 30, 40)], abs=0.01
    )
    assert places[0][1] == places[3][1] > places[1][1] > places[2][1]
    assert line.chosen == places[2]
    assert line_chart([Series(0, 0, [(5, math.nan)], chosen=5)]).lines[0] == (0, 0, "", None)


def test_a_point_by_itself_is_a_dot():
    (line,) = line_chart([Series(1, 2, [(5, 0.5)])]).lines
    assert re.fullmatch(r"M[\d.]+ [\d.]+h0", line.path)


def test_thinning_keeps_means_and_ends():
    points = [(update, float(update % 7)) for update in range(1, 1001)]
    few, together = thinned(points, 60)
    assert len(few) <= 60 and together == 17 and few[-1][0] == 1000
    assert few[0] == (17, pytest.approx(sum(value for _, value in points[:17]) / 17))
    assert thinned(points[:60], 60) == (points[:60], 1)


def test_a_panel_of_figure_1_has_every_point_in_its_colour_and_its_place():
    rng = np.random.default_rng(0)
    n = 4000
    points = Points(rng.random(n), rng.random(n), rng.random(n) < 0.7, rng.random(n) < 0.7)
    panel = scatter("de", points)
    assert panel.rows == n == sum(panel.counts.values())
    names = {(True, True): "blue", (True, False): "orange", (False, True): "green", (False, False): "red"}
    expected = {name: set() for name in names.values()}
    for x, y, target, ensemble in zip(*points, strict=True):
        left, bottom = charts.SCATTER.left, charts.SCATTER.y_end
        place = round(left + round(x * charts.GRID)), round(bottom - round(y * charts.GRID))
        expected[names[bool(target), bool(ensemble)]].add(place)
    found = {
        name: {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)", path)} for name, path in panel.paths.items()
    }
    assert found == expected


def test_45_000_rows_are_four_nodes_a_panel():
    rng = np.random.default_rng(1)
    points = Points(rng.random(45_000), rng.random(45_000), rng.random(45_000) < 0.5, rng.random(45_000) < 0.5)
    panel = scatter("all", points)
    assert len(panel.paths) == 4
    assert sum(map(len, panel.paths.values())) < 1_000_000


def test_a_reliability_diagram_has_a_point_for_each_bin_that_has_rows():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], size=200)
    bins = binned(p, rng.integers(3, size=200), 10)
    chart = reliability(bins)
    box = charts.RELIABILITY
    filled = [place for place in range(10) if bins.rows[place]]
    assert len(chart.points) == len(chart.bars) == len(chart.gaps) == len(filled) < 10
    for (x, y), place in zip(chart.points, filled, strict=True):
        assert (x - box.left) / (box.x_end - box.left) == pytest.approx(bins.confidence[place], abs=1e-4)
        assert (box.y_end - y) / (box.y_end - box.top) == pytest.approx(bins.accuracy[place], abs=1e-4)
    highest = max(chart.bars, key=lambda bar: bar.height)
    assert chart.bars.index(highest) == filled.index(int(bins.rows.argmax()))


def luminance(colour):
    """As the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize(
    ("colour", "least"),
    [
        *((name, 4.5) for name in ("ink", "ink-2", "accent")),
        *((name, 3) for name in ("blue", "red", "orange", "green", "s0", "s1", "s2", "s3", "s4", "s5")),
    ],
)
def test_colours_stand_out_in_light_and_dark(colour, least, theme):
    for ground in ("panel", "ground"):
        pair = [COLOURS[name].split(", ")[theme] for name in (colour, ground)]
        assert contrast(*pair) >= least


def test_every_colour_that_is_used_is_defined_for_light_and_dark():
    assert set(re.findall(r"var\(--([\w-]+)\)", STYLE)) == set(COLOURS)
