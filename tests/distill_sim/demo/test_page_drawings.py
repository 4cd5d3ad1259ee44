"""The demo's page: its drawings, and its style."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distill_sim.demo import page as pages
from distill_sim.demo import plots
from distill_sim.drawing import VARIABLES
from distill_sim.judge import Scores
from tests.distill_sim.demo.pages import (
    Page,
)


class TestPlots:
    SCORES = Scores(9.0, np.linspace(-3, 3, 100))

    def drawn(self) -> dict[str, str]:
        return {
            "green": plots.green_fractions(
                [plots.Fraction("a", 0.5, 0.4, 0.6), plots.Fraction("b", 0.2, 0.1, 0.3)], 0.25
            ),
            "price": plots.perplexities({"a": 20.0, "b": 11.0}),
            "evidence": plots.evidence([plots.Paired("Reading", -22.0, -0.1)], -6.0),
            "lineup": plots.lineups({"Student": self.SCORES, "Control": Scores(-0.5, self.SCORES.decoys)}),
        }

    def test_only_the_pages_colours(self) -> None:
        for svg in self.drawn().values():
            assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#[\w-]+', "", svg))
            assert {"ink", "soft"} <= set(re.findall(r"var\(--(\w+)\)", svg)) <= set(VARIABLES.values())
            assert "<style" not in svg
            assert "<metadata" not in svg

    def test_ids_are_unique_and_references_resolve(self, whole: Page) -> None:
        ids = [attributes["id"] for _, attributes in whole.tags if "id" in attributes]
        assert len(ids) == len(set(ids)) > 20
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', whole.html)) <= set(ids)

    def test_the_same_numbers_give_the_same_drawing(self) -> None:
        assert self.drawn() == self.drawn()

    def test_student_and_control_differ_without_colour(self) -> None:
        assert all("<pattern" in self.drawn()[name] for name in ("price", "evidence", "lineup"))

    def test_bars_end_at_the_floor(self) -> None:
        far, floor = (plots.evidence([plots.Paired("Reading", p, 0.0)], -6.0) for p in (-4000.0, -30.5))
        assert far == floor
        assert plots.evidence([plots.Paired("Reading", -20.0, 0.0)], -6.0) != floor

    def test_lengths_are_the_numbers(self) -> None:
        """The two bars' widths stand in the ratio of the two perplexities."""
        svg = plots.perplexities({"a": 20.0, "b": 5.0})
        bars = re.findall(r'd="M ([\d.]+) [\d.]+ ?\nL ([\d.]+) [\d.]+ ?\n[^"]*z', svg)
        widths = [abs(float(right) - float(left)) for left, right in bars]
        assert any(first == pytest.approx(4 * second, rel=1e-3) for first in widths for second in widths if second)

    def test_scores_that_are_all_alike(self) -> None:
        """A model that did not change has no weights: every score is 0, and the histogram one bar."""
        svg = plots.lineups({"Student": Scores(0.0, np.zeros(10))})
        assert "decoys from 0.0 to 0.0, the key at 0.0" in svg

    def test_labels_are_escaped(self) -> None:
        svg = plots.perplexities({'<b>"&': 2.0})
        assert "&lt;b&gt;&#34;&amp; 2.0" in svg

    def test_settings_of_matplotlib_stay_as_they_were(self) -> None:
        import matplotlib

        before = dict(matplotlib.rcParams)
        self.drawn()
        assert dict(matplotlib.rcParams) == before

    def test_matplotlib_is_loaded_late_and_pyplot_never(self) -> None:
        code = (
            "import sys, distill_sim.demo.page; assert 'matplotlib' not in sys.modules\n"
            "import distill_sim.demo.plots as p; p.perplexities({'a': 1.0}); assert 'matplotlib' in sys.modules\n"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestStyle:
    def test_one_style_for_both_pages(self) -> None:
        """The shared style is the highlighted page's, to the letter."""
        templates = Path(pages.__file__).parents[2] / "detect" / "pages" / "templates"
        base = (templates / "base.css.jinja").read_text()
        highlight = (templates / "highlight.html.jinja").read_text()
        assert '{% include "base.css.jinja" %}' in highlight or base in highlight

    @pytest.mark.parametrize("dark", [False, True])
    def test_contrast_of_the_plots(self, whole: Page, dark: bool) -> None:
        blocks = re.findall(r":root \{(.*?)\}", whole.html, re.DOTALL)  # light, dark; light, dark
        assert len(blocks) == 4
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[dark] + blocks[2 + dark]))

        def luminance(name: str) -> float:
            parts = [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

        for name in ("first", "second", "ink", "soft"):
            low, high = sorted((luminance(name), luminance("card")))
            assert (high + 0.05) / (low + 0.05) > 4.5, name
