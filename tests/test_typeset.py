"""Set pages: the same for a seed, whole, and with their text; fonts that are not there are named with their package."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_quality.core import PageError
from ocr_quality.typeset import FONTS, LAYOUTS, installed_fonts, typeset

OWN = "DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("font", OWN)
def test_layout_and_font(layout, font):
    p = typeset(5, layout, font, 9, 150)
    again = typeset(5, layout, font, 9, 150)
    assert np.array_equal(p.gray, again.gray) and p.text == again.text
    assert p.gray.dtype == np.uint8 and p.gray.ndim == 2 and 100 < len(p.text) < 1500
    assert (p.layout, p.font, p.point, p.dpi) == (layout, font, 9, 150)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(list(LAYOUTS)), st.floats(6, 16), st.sampled_from((100, 150, 200)))
def test_nothing_is_cut_at_the_edge(seed, layout, point, dpi):
    p = typeset(seed, layout, "DejaVuSans", point, dpi)
    paper = float(np.median(p.gray))
    rim = np.concatenate([p.gray[:3].ravel(), p.gray[-3:].ravel(), p.gray[:, :3].ravel(), p.gray[:, -3:].ravel()])
    assert rim.min() > paper - 25 and p.gray.min() < paper - 60


def test_letters_grow_with_points_and_dots():
    small, large = typeset(1, "letter", "DejaVuSans", 8, 100), typeset(1, "letter", "DejaVuSans", 16, 200)
    assert large.x_height_px == pytest.approx(4 * small.x_height_px) and small.text == large.text


def test_every_letter_is_in_every_font():
    from PIL import ImageFont
    text = "".join(typeset(s, layout, "DejaVuSans", 9, 100).text for s in range(3) for layout in LAYOUTS)
    for name, file in installed_fonts().items():
        font = ImageFont.truetype(str(file), 40)
        box = np.asarray(font.getmask("\ufffe")).tobytes()
        missing = [c for c in sorted(set(text) - set(" \n"))
                   if font.getbbox(c) in (None, (0, 0, 0, 0)) or np.asarray(font.getmask(c)).tobytes() == box]
        assert not missing, (name, missing)


def test_a_font_that_is_not_here_is_named_with_its_package():
    lacking = next((f for f in FONTS if f not in installed_fonts()), None)
    if lacking is None: pytest.skip("every font is installed")
    with pytest.raises(PageError, match=FONTS[lacking]): typeset(0, font=lacking)


@pytest.mark.parametrize("bad", [{"layout": "poem"}, {"font": "Papyrus"}, {"point": 0}, {"point": 40}, {"dpi": 72}, {"dpi": 1200},
                                 {"dpi": float("nan")}])
def test_unknown_names_and_sizes_out_of_range_are_refused(bad):
    with pytest.raises(PageError, match="typeset: expected "): typeset(0, **bad)


def test_matplotlibs_fonts_are_always_there(): assert set(OWN) <= set(installed_fonts())
