"""A graph of stages by content: the same work under two conditions is one stage."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from distill_sim.pipeline import Stage
from distill_sim.study.scales import Model

STAGES, MAKING, JUDGING = "distill_sim.stages", "distill_sim.study.making", "distill_sim.study.judging"


class Graph:
    """Stages by content."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    @property
    def stages(self) -> list[Stage]:
        """In an order in which every stage comes after those it needs."""
        return list(self._stages.values())

    def add(
        self,
        kind: str,
        function: str,
        settings: Mapping[str, Any],
        needs: Sequence[str] = (),
        private: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a stage unless it is there, and return its name."""
        content = {"function": function, "settings": dict(settings)}
        name = f"{kind}-{hashlib.sha256(rfc8785.dumps(content)).hexdigest()[:12]}"
        if name not in self._stages:
            needed = tuple(dict.fromkeys(needs))
            self._stages[name] = Stage(name, function, settings, needed, private=private or {})
        return name


@dataclass(frozen=True)
class Ref:
    """A model in a role of a stage: one that no condition changes, or a stage's."""

    id: str
    directory: Path | None = None

    @classmethod
    def of(cls, model: Model) -> Ref:
        return cls(model.id, model.directory)

    @property
    def needs(self) -> list[str]:
        return [self.id] if self.directory is None else []

    def private(self, role: str) -> dict[str, Any]:
        return {} if self.directory is None else {role: str(self.directory)}


def number(*parts: Any) -> int:
    """A seed of 48 bits from whatever tells two draws apart."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
