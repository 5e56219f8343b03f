"""The picture, and where its labels go."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import BadInput
from edgekit.report.facts import read_facts
from edgekit.report.format import count, interval, percent, points, seconds, times
from edgekit.report.label_layout import Box, lay_out_labels
from edgekit.report.plots import lengths_svg, picture_svg, write_picture
from tests.report.made_up import write_result

FRAME = Box(0, 0, 700, 380)


def test_the_picture_is_deterministic_and_takes_its_colours_from_the_page(tmp_path: Path) -> None:
    facts = read_facts(write_result(tmp_path / "made-up"))
    svg = picture_svg(facts)
    assert svg == picture_svg(facts)
    assert svg.startswith("<svg viewBox=") and "var(--best)" in svg and "DejaVu" not in svg and "<style" not in svg
    for label in ("PyTorch eager fp32", "INT8 only", "after 2: distill", "the bundle"):
        assert label in svg
    assert "128" in lengths_svg(facts)


def test_a_quick_look_has_no_picture_of_lengths(tmp_path: Path) -> None:
    assert lengths_svg(read_facts(write_result(tmp_path / "quick", quick=True))) == ""


def test_without_times_size_takes_their_place(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "away", measured=False)
    assert picture_svg(read_facts(folder)) == "", "one size alone is no picture"
    for name, size in (("ort-fp32", 90_000), ("ort-int8-stock", 23_000)):
        variant = tmp_path / name
        variant.mkdir()
        (variant / "model.onnx").write_bytes(bytes(size))
        (variant / "tokenizer.json").write_bytes(bytes(700))
        path = folder / "lineage.json"
        path.write_text(path.read_text().replace('"folder": "/nowhere"', f'"folder": "{variant}"', 2))
    assert "model and tokenizer, MB" in picture_svg(read_facts(folder))


def test_the_readme_picture_is_a_png(tmp_path: Path) -> None:
    path = write_picture(write_result(tmp_path / "made-up"), tmp_path / "picture.png")
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG") and struct.unpack(">II", head[16:])[0] > 1200
    assert not list(tmp_path.glob(".*"))


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fewer than two"):
        write_picture(write_result(tmp_path / "away", measured=False), tmp_path / "picture.png")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(160, 540), st.floats(40, 340)), min_size=1, max_size=5))
def test_labels_do_not_cover_one_another(points_at: list[tuple[float, float]]) -> None:
    boxes = lay_out_labels(points_at, [8.0] * len(points_at), [(120.0, 27.0)] * len(points_at), [], FRAME)
    for number, box in enumerate(boxes):
        assert box.inside(FRAME)
        assert not any(box.overlap(other) for other in boxes[:number])


def test_how_much_of_a_line_a_box_hides() -> None:
    box = Box(0, 0, 10, 10)
    assert box.crossed((-5, 5), (20, 5)) == pytest.approx(10)
    assert box.crossed((5, 5), (5, 30)) == pytest.approx(5)
    assert box.crossed((-5, 11), (20, 11)) == box.crossed((20, 20), (30, 30)) == 0
    assert box.crossed((0, 0), (10, 10)) == pytest.approx(200**0.5)


def test_a_lone_label_stands_to_the_right() -> None:
    (box,) = lay_out_labels([(300.0, 200.0)], [10.0], [(100.0, 20.0)], [], FRAME)
    assert box == Box(315, 190, 415, 210)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (times(0.938), "0.94x"), (times(12.44), "12.4x"), (times(131.2), "131x"), (interval(0.3481, 0.3762), "0.348 to 0.376"),
        (percent(0.83327), "83.33%"), (points(-0.0147), "-1.47"), (points(0.00001), "0.00"), (points(-0.0), "0.00"), (points(0.002), "+0.20"),
        (count(8_801_815), "8.80 M"), (count(512), "512"), (seconds(0.021), "0.02 s"), (seconds(59.7), "1 min 00 s"),
        (seconds(252), "4 min 12 s"), (seconds(7500), "2 h 05 min"), (seconds(9.97), "10 s"),
    ],
)  # fmt: skip
def test_figures_in_words(shown: str, expected: str) -> None:
    assert shown == expected
