"""The demo on a terminal: one bar over all stages with the time left, a line for each that ends, and the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from detect.wording import probability_words
from watermark.files import strict_json

if TYPE_CHECKING:
    from tqdm import tqdm

    from distill_sim.pipeline import Event

TITLES = {
    "marked": "teacher writes marked answers",
    "unmarked": "teacher writes unmarked answers",
    "probes": "teacher writes unmarked probes",
    "student": "student learns the marked answers",
    "control": "control learns the unmarked answers",
    "reading-student": "student reads the probes",
    "reading-control": "control reads the probes",
    "sampled-student": "student is asked questions",
    "sampled-control": "control is asked questions",
    "fluency": "fluency of marked and unmarked answers",
    "judged": "tests and line-ups under the key",
}
COSTS = {"marked": 12, "unmarked": 12, "probes": 7, "student": 12, "control": 12, "reading-student": 5,
         "reading-control": 5, "sampled-student": 3, "sampled-control": 3, "fluency": 3, "judged": 2}  # fmt: skip


class Display:
    """Shows pipeline events; `event` is the callback."""

    def __init__(self, line: tqdm[Any], stream: TextIO, quiet: bool) -> None:
        self._line = line
        self._stream = stream
        self._quiet = quiet
        self._fractions: dict[str, float] = {}
        self._running: dict[str, str] = {}

    @classmethod
    @contextmanager
    def over(cls, stream: TextIO, *, quiet: bool) -> Iterator[Display]:
        """Open the bar on `stream` (hidden unless that is a terminal), and close it at the end."""
        from tqdm import tqdm

        layout = "{percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left  {desc}"
        with tqdm(total=sum(COSTS.values()), bar_format=layout, file=stream, leave=False, dynamic_ncols=True,
                  disable=True if quiet else None) as line:  # fmt: skip
            yield cls(line, stream, quiet)

    def event(self, event: Event) -> None:
        """Show one event."""
        if event.kind in ("started", "progress"):
            self._running[event.stage] = event.what
        else:
            self._running.pop(event.stage, None)
        if event.kind == "kept" and not self._line.disable:  # a hidden bar has no `initial`
            self._line.initial += COSTS[event.stage]  # no time was spent on it now
        self._fractions[event.stage] = event.fraction
        self._say(event)
        self._line.set_description_str(
            "; ".join(f"{name}: {what}" for name, what in self._running.items()), refresh=False
        )
        done = sum(COSTS[name] * fraction for name, fraction in self._fractions.items())
        self._line.update(done - self._line.n)

    def _say(self, event: Event) -> None:
        if self._quiet or event.kind == "progress":
            return
        marks = {"kept": "kept    ", "started": "started ", "finished": "finished"}
        time = f" ({event.seconds:.0f} s)" if event.kind == "finished" else ""
        if event.kind != "started" or self._line.disable:
            self._line.write(f"{marks[event.kind]}  {TITLES[event.stage]}{time}", file=self._stream)

    @staticmethod
    def closing(root: Path) -> str:
        """The results in a few lines, from the run's summary.json."""
        summary: Any = strict_json((root / "summary.json").read_bytes())
        lines = [_row("p of the tests", "sampled", "reading", "rank")]
        for name, title in (("student", "student of marked text"), ("control", "control, unmarked text")):
            sampled, reading = summary[name]["sampled"], summary[name]["reading"]
            p_sampled, p_reading = (probability_words(one["log10_p"]) for one in (sampled, reading))
            lines.append(_row(title, p_sampled, p_reading, _rank(reading.get("lineup"))))
        for name, title in (("teacher_marked", "marked text"), ("teacher_unmarked", "unmarked text")):
            text = summary[name]["text"]
            green = "nothing counted" if text["green_fraction"] is None else f"{text['green_fraction']:.1%} green"
            lines.append(f"{title:26} p {probability_words(text['log10_p'])}, {green}")
        lines.append(f"\n{summary['seconds']:.0f} seconds. Open in a browser:")
        return "\n".join(lines)


def _rank(lineup: Any) -> str:
    """A withdrawn claim has no line-up."""
    return "none" if lineup is None else f"{lineup['rank']:,} of {lineup['decoys'] + 1:,}"


def _row(title: str, sampled: str, reading: str, rank: str) -> str:
    return f"{title:26} {sampled:>17} {reading:>17} {rank:>14}"
