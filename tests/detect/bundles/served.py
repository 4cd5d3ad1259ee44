"""What a server said, made up: its response log, as `detect.questioned` writes one, and the documents made of it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from detect.bundles.material import document_name
from detect.observation import Texts
from detect.plans.plan import Plan
from detect.questioned.questions import ApiSampling, Questions
from detect.questioned.responses import Response, ResponseLog

SERVER = {"server": "http://127.0.0.1:8000/v1", "model_name": "student"}
PROMPTS = ("Why?", "Étoile 😀\n")
FED = [[3, 4, 5], [6, 7]]  # the same, in ids
Ids = list[int]


def questions(plan: Plan | None) -> Questions:
    """Those of a run; without a plan with other settings than any plan has."""
    sampling = ApiSampling(300) if plan is None else _sampling(plan)
    seed = 7 if plan is None or plan.sampling is None else plan.sampling.seed
    digest = None if plan is None else plan.digest
    return Questions(SERVER["server"], SERVER["model_name"], "chat", PROMPTS, sampling, seed, digest)


def _sampling(plan: Plan) -> ApiSampling:
    one = plan.sampling
    assert one is not None
    return ApiSampling(one.max_new_tokens, one.temperature, one.top_p, one.logprobs)


def answer(request: int, ids: Ids, *, of_text: bool) -> Response:
    """An answer; its token ids are the server's own, unless it gave text alone."""
    words = " ".join(f"w{one}" for one in ids)
    return Response(
        request, request % len(PROMPTS), words, None if of_text else tuple(ids), "length" if ids else "stop",
        prompt_tokens=9, completion_tokens=len(ids), response_id=f"cmpl-{request}", created=1_796_000_000 + request,
        model="student",
    )  # fmt: skip


def log_of(plan: Plan | None, answers: Sequence[Ids], of_text: Collection[int]) -> bytes:
    """A log of the answers to requests 0, 1, 2 …, of which some overtook others."""
    came = sorted(range(len(answers)), key=lambda request: request + 1.5 * (request % 3 == 1))
    with tempfile.TemporaryDirectory() as place, ResponseLog(Path(place) / "log", questions(plan)) as log:
        for request in came:
            log.record(answer(request, answers[request], of_text=request in of_text))
        return log.read()


def documents_of(answers: Sequence[Ids], of_text: Collection[int]) -> Texts:
    """As a case keeps them."""
    names = [document_name(number, of_text=number in of_text) for number in range(len(answers))]
    return Texts(list(answers), FED, names)
