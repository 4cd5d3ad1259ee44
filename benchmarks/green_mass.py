"""What the literature makes of a model's next-token distributions: the probability of green tokens, bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import vocab_size
from detect import Probe, window_rule
from watermark import GreenList, Key


def mass_of_contexts(key: Key, model: Any, probes: Sequence[Probe]) -> float:
    """ADFP's test of an open-weight model: exp(−2n (mean − gamma)²), n the distinct contexts, each once.

    The first position of each context stands for it, with the model's whole distribution; a special token is never
    green; nothing that occurs in a prompt is left out; one-sided, p = 1 where the mean is not above gamma. Their green
    lists hang on two tokens, the key's on as many as it says. They read answers that carry the mark: no valid test
    where a model copies, so that here, as for every test, the probes are unmarked.

    Null: green lists of distinct contexts are independent draws, whatever the model. Valid bound.

    Source: Xu et al. 2026, Antidistillation Fingerprinting, arXiv 2602.03812. The paper itself could not be had;
    checked were the authors' code (YixuanEvenXu/antidistillation-fingerprinting, a05ad2b: mode "open" of
    stages/stage4_watermark_eval.py, compute_pvalue of stages/stage5_plotting.py) and a summary with the same formula.
    """
    contexts, masses = green_masses(key, model, probes)
    first = np.unique(contexts, axis=0, return_index=True)[1]
    return _hoeffding(masses[first], key.gamma)


def mass_of_positions(key: Key, model: Any, probes: Sequence[Probe]) -> float:
    """Hoeffding's bound on the mean green probability, every position by itself.

    Null: the positions' green masses are independent with mean gamma; positions that share a context are not, so this
    is no valid p where contexts repeat, and not what ADFP's authors do. It is here to be kind to the peer.
    """
    return _hoeffding(green_masses(key, model, probes)[1], key.gamma)


def green_masses(key: Key, model: Any, probes: Sequence[Probe]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of every position, in order: its context, uint32 [P, h] (h > 0), and the model's probability of green, [P]."""
    green, rule, size = GreenList(key), window_rule(key), vocab_size(key)
    contexts, masses = [np.zeros((0, key.context_width), dtype=np.uint32)], [np.zeros(0)]
    for probe in probes:
        here, offsets = rule.contexts(probe.answer_ids)
        if not len(offsets):
            continue
        ids = torch.tensor([[*probe.prompt_ids, *probe.answer_ids]])
        keep = torch.arange(len(probe.prompt_ids), ids.shape[1])
        logits = model(ids, torch.ones_like(ids), False, keep).logits[0][offsets - 1, :size]
        colours = green.mask(here, size)
        colours[:, list(rule.special_ids)] = False
        contexts.append(here)
        masses.append((logits.softmax(dim=-1) * torch.from_numpy(colours)).sum(dim=-1).double().numpy())
    return np.concatenate(contexts), np.concatenate(masses)


def _hoeffding(values: NDArray[Any], gamma: float) -> float:
    return -2 * len(values) * max(0.0, float(values.mean()) - gamma) ** 2 / math.log(10) if len(values) else 0.0
