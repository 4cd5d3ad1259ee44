"""textseal's green list: its core and its detector, without the parts that load language models and fetch data."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from serve import Call, serve


def _without_init(name: str) -> None:
    """A package whose __init__ is not run: textseal's imports sentence-transformers and asks the network for data."""
    parent, _, last = name.rpartition(".")
    if parent:
        place = Path(sys.modules[parent].__path__[0]) / last
    else:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        place = Path(spec.origin).parent
    module = ModuleType(name)
    module.__path__ = [str(place)]
    sys.modules[name] = module


_without_init("textseal")
_without_init("textseal.posthoc")

from textseal.common.watermark.core import WatermarkConfig  # noqa: E402
from textseal.posthoc.detector import GreenlistDetector  # noqa: E402
from textseal.posthoc.generator import GreenlistGenerator  # noqa: E402

SETTINGS = WatermarkConfig(secret_key=42, ngram=1, watermark_type="greenlist", method="binary", gamma=0.25, delta=2.0)


def step(vocabulary: int, logits: Any) -> Call:
    mark = GreenlistGenerator.__new__(GreenlistGenerator)  # its constructor wants a model
    mark.wm_args, mark.delta = SETTINGS, SETTINGS.delta
    return lambda ids: mark.logits_processor(logits, ids[:, -1:])


def score(vocabulary: int) -> Call:
    given: list[Any] = []
    tokenizer = SimpleNamespace(encode=lambda text, **_: given[0], decode=None, add_special_tokens=None)
    found = GreenlistDetector(SimpleNamespace(vocab_size=vocabulary, **vars(tokenizer)), SETTINGS)

    def call(ids: Any) -> Any:
        given[:] = [ids]
        return found.get_pvalues(found.get_scores_by_t([""], scoring_method="v2", seen_windows=set()))

    return call


if __name__ == "__main__":
    serve({"textseal, green list": step}, {"textseal, green list": score}, ("textseal", "torch"))
