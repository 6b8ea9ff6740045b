"""The visual language: colours that everybody can see and tell apart, and glyphs that do not repeat."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.markers import MarkerStyle

from uda_lessons.board import figures
from uda_lessons.board.points import NO_LABEL, uint16

VISION = {  # from linear RGB to what is seen of it (Machado et al. 2009, severity 1)
    "normal": np.eye(3),
    "no green cones": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "no red cones": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
}
CONES = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]  # of OKLab (Ottosson 2020)
OKLAB = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]


def linear(colour: str) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    """As WCAG 2 defines it."""
    low, high = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def oklab(colour: str, vision) -> np.ndarray:
    seen = np.clip(vision @ linear(colour), 0, 1)
    return np.array(OKLAB) @ np.cbrt(np.array(CONES) @ seen)


def test_contrast_of_what_is_known():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_class_colour_has_a_contrast_of_three_with_the_paper(theme):
    look = figures.LOOK[theme]
    assert len(look["classes"]) == 10
    assert min(contrast(colour, look["paper"]) for colour in look["classes"]) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("vision", "least"), [("normal", 0.09), ("no green cones", 0.06), ("no red cones", 0.06)])
def test_any_two_class_colours_can_be_told_apart(theme, vision, least):
    colours = [oklab(colour, np.array(VISION[vision])) for colour in figures.LOOK[theme]["classes"]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > least


def test_no_class_of_forty_looks_like_another():
    assert len({(figures.class_colour(c), figures.class_glyph(c)) for c in range(40)}) == 40
    assert [figures.class_glyph(c) for c in (0, 9, 10, 20, 30)] == ["o", "o", "s", "^", "D"]


def test_the_map_draws_each_glyph_of_its_classes():
    """Two source and two target points: of class 0, which is a circle, and of class 30, which is a diamond."""
    points = SimpleNamespace(source=2, kind="samples", y_s=torch.tensor([0, 30]))
    frame = SimpleNamespace(
        positions=uint16([[0, 0], [1, 1], [2, 2], [3, 3]]), predictions=uint16([0, 30, 30, 0]), step=0, map="PCA",
        centroids=uint16(np.full((2, 31, 2), NO_LABEL)), notes=(), plane=b"",
    )  # fmt: skip
    axis = figures.new_figure(3, 3).add_subplot()
    figures.draw_map(axis, points, frame, [str(c) for c in range(31)])
    drawn = [
        (c.get_offsets().tolist(), len(c.get_paths()[0].vertices)) for c in axis.collections if len(c.get_offsets())
    ]
    circle, diamond = (len(MarkerStyle(glyph).get_path().vertices) for glyph in "oD")
    assert drawn == [([[0, 0]], circle), ([[3, 3]], circle), ([[1, 1]], diamond), ([[2, 2]], diamond)]
