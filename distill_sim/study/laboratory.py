"""A study in its directory, ready to run: all cells as one pipeline, and the rows of those that are finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distill_sim.condition import Condition
from distill_sim.pipeline import Pipeline, Stage
from distill_sim.study.cells import Builder, Cell, Single
from distill_sim.study.file import Study
from distill_sim.study.judging import ROWS
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Foundation
from watermark.files import strict_json


class Laboratory:
    """A study in its directory, ready to run: the foundation is made first, since the keys need its tokenizer."""

    def __init__(
        self,
        root: Path,
        study: Study,
        foundation: Foundation,
        keys: StudyKeys,
        *,
        processes: int = 1,
        metrics: Mapping[str, str] | None = None,
    ) -> None:
        fresh_keys = study.fresh_keys
        builder = Builder(foundation, keys, fresh_keys=fresh_keys, processes=processes, metrics=metrics)
        self.study = study
        self.keys = keys
        self.foundation = foundation
        self.singles = builder.singles(study.base, study.disjoint)
        self.cells = [
            builder.cell(name, condition, seed, key)
            for name, condition in study.conditions.items()
            for seed in range(study.repeats[name].seeds)
            for key in range(study.repeats[name].keys)
        ]
        self.pipeline = Pipeline(root, _engines_first(builder.graph.stages))

    def survival(self) -> Iterator[dict[str, Any]]:
        """Rows of all finished cells."""
        done = self.pipeline.finished()
        for cell in self.cells:
            if cell.judged in done:
                for row in self._rows(cell.judged):
                    yield {**_where(cell), **values_of(cell.condition), **row}

    def fresh(self) -> Iterator[dict[str, Any]]:
        """Rows under fresh keys: of each control once, whatever key it stands beside, and of some others."""
        done, seen = self.pipeline.finished(), set()
        for cell in self.cells:
            if cell.fresh in done and (cell.fresh, cell.name, cell.seed) not in seen:
                seen.add((cell.fresh, cell.name, cell.seed))
                own = cell.condition.source not in ("unmarked", "human")  # a student of its own under every key
                name = f"{cell.name}, key {cell.key}" if own else cell.name
                for row in self._rows(str(cell.fresh)):
                    yield {"condition": name, "seed": cell.seed, **row}

    def quality(self) -> Iterator[dict[str, Any]]:
        """Rows of what the mark cost."""
        done = self.pipeline.finished()
        for cell in self.cells:
            if cell.quality in done:
                for row in self._rows(str(cell.quality)):
                    yield {**_where(cell), **row}

    def examined(self) -> Iterator[tuple[Single, dict[str, Any]]]:
        """The finished controls of a likelihood ratio, each with its row."""
        done = self.pipeline.finished()
        for single in self.singles:
            if single.examined in done:
                yield single, self._rows(single.examined)[0]

    def _rows(self, stage: str) -> list[dict[str, Any]]:
        content: Any = strict_json((self.pipeline.directory(stage) / ROWS).read_bytes())
        return list(content)


def _engines_first(stages: list[Stage]) -> list[Stage]:
    """What an engine answers comes first, needing nothing: each worker then starts it once, and not for every cell."""
    return sorted(stages, key=lambda stage: "engine" not in stage.settings)


def _where(cell: Cell) -> dict[str, Any]:
    return {"condition": cell.name, "seed": cell.seed, "key": cell.key}


def values_of(condition: Condition) -> dict[str, Any]:
    """A condition as columns of survival.parquet."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(condition).items()}
    return {**values, "exposed": condition.exposed, "licensed": condition.source == "licensed"}
