"""The benchmark's control under fresh keys: the same keys every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.ten_keys import _control_under_fresh_keys
from detect.observation import ContextMass, Reading
from distill_sim.stages import READING
from tests import tiny
from tests.detect.material import no_probes
from watermark.windows import Pairs


def test_the_keys_are_the_same_every_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    contexts, tokens = (
        np.repeat(np.arange(30, dtype=np.uint32), 10)[:, None],
        np.tile(np.arange(10, dtype=np.uint32), 30),
    )
    Reading(
        pairs=Pairs(contexts, tokens, 30),
        weights=rng.standard_normal(300),
        n_positions=30,
        with_reference=True,
        argmax=Pairs(contexts[:5], tokens[:5], 1),
        mass=ContextMass(contexts[:1], np.zeros((1, 1), np.uint32), np.ones((1, 1), np.float32)),
        probes=no_probes(),
    ).save(tmp_path / READING)
    found, again = (_control_under_fresh_keys(tmp_path, 300, tiny.shared()) for _ in range(2))
    assert found == again
    assert found["within_limits"]
    assert 1e-3 < found["saddlepoint_uniformity_p"] <= 1
    assert found["claim_withdrawn"] == 0
    assert found["smallest"] < -1
