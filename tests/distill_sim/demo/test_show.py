"""The demo on a terminal, on a pipe, and quietly."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill_sim.demo.show import COSTS, TITLES, Display
from distill_sim.pipeline import Event

FORBIDDEN = re.compile(r"proves|match|guilty|caught|thief|certain|confidence|ngram|hash_key|verdict", re.IGNORECASE)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, events: list[Event], *, quiet: bool = False) -> str:
    with Display.over(stream, quiet=quiet) as display:
        for event in events:
            display.event(event)
    return stream.getvalue()


STORY = [
    Event("marked", "kept", 1.0, "", 0.0),
    Event("unmarked", "started", 0.0, "", 0.0),
    Event("unmarked", "progress", 0.5, "60 of 120 answers", 0.0),
    Event("unmarked", "finished", 1.0, "", 41.6),
]


def test_a_pipe_gets_one_line_for_each_beginning_and_end() -> None:
    """Kept stages too: a hidden bar knows less than a shown one."""
    assert shown(io.StringIO(), STORY).splitlines() == [
        "kept      teacher writes marked answers",
        "started   teacher writes unmarked answers",
        "finished  teacher writes unmarked answers (42 s)",
    ]


def test_quiet_shows_nothing() -> None:
    assert shown(io.StringIO(), STORY, quiet=True) == ""
    assert shown(Terminal(), STORY, quiet=True) == ""


def test_a_terminal_gets_a_bar_with_the_time_left_and_lines_for_ends() -> None:
    text = shown(Terminal(), STORY)
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip() and "elapsed" not in line]
    assert lines == ["kept      teacher writes marked answers", "finished  teacher writes unmarked answers (42 s)"]
    assert re.search(r"\d+% \|.*\| \d\d:\d\d elapsed, [\d:?]+ left", text)
    assert not text.rstrip("\r ").endswith("left")  # the bar goes away


def bar_after(events: list[Event]) -> Any:
    with Display.over(Terminal(), quiet=False) as display:
        for event in events:
            display.event(event)
        line = display._line
        return line.n, line.initial, line.total, line.desc


def test_the_bar_adds_up_what_stages_cost() -> None:
    assert bar_after(STORY[:3]) == (
        COSTS["marked"] + COSTS["unmarked"] / 2,
        COSTS["marked"],  # kept: no time was spent on it, so it says nothing about the time left
        sum(COSTS.values()),
        "unmarked: 60 of 120 answers",
    )
    everything = [Event(name, "finished", 1.0, "", 1.0) for name in TITLES]
    done, _, total, running = bar_after(everything)
    assert done == total
    assert running == ""


def test_two_stages_side_by_side_are_both_named() -> None:
    events = [Event(name, "progress", 0.1, f"step {name}", 0.0) for name in ("student", "control")]
    assert bar_after(events)[3] == "student: step student; control: step control"


# --- closing ---


def summary(**changes: Any) -> dict[str, Any]:
    def model(sampled: float, reading: float, rank: int) -> dict[str, Any]:
        return {
            "sampled": {"log10_p": sampled},
            "reading": {"log10_p": reading, "lineup": {"rank": rank, "decoys": 1000}},
        }

    return {
        "student": model(-1.9, -23.4, 1),
        "control": model(-0.2, 0.0, 731),
        "teacher_marked": {"text": {"log10_p": -812.3, "green_fraction": 0.547}},
        "teacher_unmarked": {"text": {"log10_p": -0.4, "green_fraction": 0.2512}},
        "seconds": 401.7,
        **changes,
    }


def closing(tmp_path: Path, content: dict[str, Any]) -> str:
    (tmp_path / "summary.json").write_text(json.dumps(content))
    return Display.closing(tmp_path)


def test_the_closing_lines(tmp_path: Path) -> None:
    text = closing(tmp_path, summary())
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert rows[0][1:] == ["sampled", "reading", "rank"]
    assert rows[1] == ["student of marked text", "about 0.013", "below 10^-23", "1 of 1,001"]
    assert rows[2] == ["control, unmarked text", "about 0.63", "about 1", "731 of 1,001"]
    assert rows[3] == ["marked text", "p below 10^-30, 54.7% green"]  # never less than 10^-30 for people
    assert rows[4] == ["unmarked text", "p about 0.4, 25.1% green"]
    assert rows[-1] == ["402 seconds. Open in a browser:"]
    assert len({len(line) for line in text.splitlines()[:3]}) == 1  # a table
    assert not FORBIDDEN.search(text)


def test_the_closing_lines_say_how_many_decoys_there_were(tmp_path: Path) -> None:
    content = summary()
    for name in ("student", "control"):
        content[name]["reading"]["lineup"]["decoys"] = 19
    assert closing(tmp_path, content).splitlines()[1].endswith("1 of 20")


def test_a_withdrawn_claim_has_neither_p_nor_rank(tmp_path: Path) -> None:
    content = summary()
    content["control"]["reading"] = {"log10_p": None}
    line = closing(tmp_path, content).splitlines()[2]
    assert re.split(r"\s{2,}", line)[-2:] == ["not claimed", "none"]


def test_a_text_without_a_counted_pair(tmp_path: Path) -> None:
    text = closing(tmp_path, summary(teacher_marked={"text": {"log10_p": 0.0, "green_fraction": None}}))
    assert "nothing counted" in text


@pytest.mark.parametrize("title", TITLES.values())
def test_titles_are_plain_words(title: str) -> None:
    assert not FORBIDDEN.search(title)
