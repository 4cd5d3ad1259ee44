"""Bundles that must be refused, each by its name, with the code: a module a family."""

from __future__ import annotations

from tests.detect.bundles.bad import container, custody, findings, manifest, mark, numbers, responses, runs, timestamps
from tests.detect.bundles.bad.registry import BAD, good, made

FAMILIES = (container, manifest, custody, mark, timestamps, runs, numbers, responses, findings)

__all__ = ["BAD", "FAMILIES", "good", "made"]
