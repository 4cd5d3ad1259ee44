"""Exact tests of texts and questioned models.

Names load what they need on first use: `tally` and `assess` neither torch nor transformers, and the command line
nothing at all before it knows what is asked.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.counting import tally, weigh, window_rule
    from detect.decoys import Lineup, lineup
    from detect.evidence import Assessment, Evidence, assess, assess_family
    from detect.fed import Probe
    from detect.observation import Reading
    from detect.questioned.reading import read_model
    from detect.questioned.sampled import sample_model

__all__ = [
    "Assessment",
    "Evidence",
    "Lineup",
    "Probe",
    "Reading",
    "assess",
    "assess_family",
    "lineup",
    "read_model",
    "sample_model",
    "tally",
    "weigh",
    "window_rule",
]

_MODULES = {
    "detect.counting": ("tally", "weigh", "window_rule"),
    "detect.decoys": ("Lineup", "lineup"),
    "detect.evidence": ("Assessment", "Evidence", "assess", "assess_family"),
    "detect.fed": ("Probe",),
    "detect.observation": ("Reading",),
    "detect.questioned.reading": ("read_model",),
    "detect.questioned.sampled": ("sample_model",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
