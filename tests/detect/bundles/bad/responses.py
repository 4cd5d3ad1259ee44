"""Response logs that are of something else, or of other answers than were counted."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np

from detect.bundles.material import write_run
from detect.decoys import lineup
from detect.examined import Examined
from detect.sequential import Sequential
from tests.detect.bundles.bad.registry import RUN, bad, case_of
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import (
    KEY,
    SEED,
    Files,
    Made,
    answers_and_weights,
    documents,
    planned_families,
    weighed_answers,
)
from tests.detect.bundles.served import FED, SERVER, documents_of, log_of
from watermark.windows import Pairs

LOG = "case/runs/0001/responses.log"
SAMPLED = "case/runs/0001/sampled-distinct.documents.jsonl"


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def lines_of(d: Draft, name: str = LOG) -> list[bytes]:
    return d.files[name].splitlines(keepends=True)


def asked(d: Draft, name: str = LOG, **members: Any) -> None:
    """Other questions, by what the first line says of them; None: nothing."""
    first, *lines = lines_of(d, name)
    value = json.loads(first)
    value["work"] = {part: one for part, one in (value["work"] | members).items() if one is not None}
    d.files[name] = b"".join([written(value), *lines])


def answer(d: Draft, to: int, **members: Any) -> None:
    """Another answer to a request."""
    lines = lines_of(d)
    at = next(i for i, line in enumerate(lines) if json.loads(line).get("request") == to)
    lines[at] = written(json.loads(lines[at]) | members)
    d.files[LOG] = b"".join(lines)


# --- other questions ---


@bad("responses", "server")
def log_of_another_model(d: Draft) -> None:
    asked(d, model="another")


@bad("responses", "server")
def log_of_another_server(d: Draft) -> None:
    asked(d, server="https://api.example.com/v1")


@bad("responses", "server")
def log_of_another_plan(d: Draft) -> None:
    asked(d, plan="ab" * 32)


@bad("responses", "server")
def log_of_no_plan(d: Draft) -> None:
    asked(d, plan=None)


@bad("responses", "server")
def log_of_another_endpoint(d: Draft) -> None:
    asked(d, endpoint="completions")


@bad("responses", "server")
def log_of_another_seed(d: Draft) -> None:
    asked(d, seed=1)


@bad("responses", "server")
def log_of_another_sampling(d: Draft) -> None:
    sampling = json.loads(lines_of(d)[0])["work"]["sampling"]
    asked(d, sampling=sampling | {"temperature": 0.1})


@bad("responses", "server")
def log_of_more_prompts_than_planned(d: Draft) -> None:
    d.files[LOG] = lines_of(d)[0]
    asked(d, prompts=5)


@bad("responses", "resumed")
def stopped_run_with_the_log_of_another_model(d: Draft) -> None:
    asked(d, "case/runs/0002/responses.log", model="another")


@bad("responses", "text")
def log_of_texts(d: Draft) -> None:
    d.files[LOG] = b""
    d.entry("finished")["subjects"].append({"name": "runs/0001/responses.log", "sha256": ""})
    d.entry("finished")["subjects"].sort(key=lambda one: str(one["name"]))


@bad("run", "server")
def server_in_place_of_the_planned_weights(d: Draft) -> None:
    d.entry("begun")["details"]["questioned"] = {"model": "34" * 32}


# --- not as it is written ---


@bad("responses", "server")
def no_log_of_a_server(d: Draft) -> None:
    del d.files[LOG]
    subjects = d.entry("finished")["subjects"]
    subjects[:] = [one for one in subjects if one["name"] != "runs/0001/responses.log"]


@bad("responses", "server")
def empty_log(d: Draft) -> None:
    d.files[LOG] = b""


@bad("responses", "server")
def log_without_answers(d: Draft) -> None:
    d.files[LOG] = lines_of(d)[0]


@bad("responses", "server")
def log_without_its_last_byte(d: Draft) -> None:
    d.files[LOG] = d.files[LOG][:-1]


@bad("responses", "server")
def log_without_its_first_line(d: Draft) -> None:
    d.files[LOG] = b"".join(lines_of(d)[1:])


@bad("responses", "server")
def log_in_canonical_json(d: Draft) -> None:
    d.files[LOG] = d.files[LOG].replace(b'", "', b'","')


@bad("responses", "server")
def answer_with_its_members_in_another_order(d: Draft) -> None:
    first, second, *lines = lines_of(d)
    d.files[LOG] = b"".join([first, written(dict(sorted(json.loads(second).items()))), *lines])


@bad("responses", "server")
def answer_with_another_member(d: Draft) -> None:
    answer(d, 0, headers={})


@bad("responses", "server")
def answer_that_is_there_twice(d: Draft) -> None:
    d.files[LOG] += lines_of(d)[-1]


@bad("responses", "server")
def answer_to_another_prompt(d: Draft) -> None:
    answer(d, 2, prompt=1)


@bad("responses", "server")
def answer_long_before_its_turn(d: Draft) -> None:
    """No request is asked so far ahead of the first that is not answered."""
    answer(d, 11, request=77)


@bad("responses", "server")
def ids_of_an_answer_that_are_none(d: Draft) -> None:
    answer(d, 0, token_ids=[True])


# --- other answers than were counted ---


@bad("responses", "server")
def answer_that_was_changed(d: Draft) -> None:
    ids = json.loads(next(line for line in lines_of(d) if b'"request": 2,' in line))["token_ids"]
    answer(d, 2, token_ids=[*ids[:-1], ids[-1] + 1])


@bad("responses", "server")
def answer_that_is_not_there(d: Draft) -> None:
    d.files[LOG] = b"".join(line for line in lines_of(d) if b'"request": 2,' not in line)


@bad("responses", "server")
def answers_in_place_of_one_another(d: Draft) -> None:
    first, second = (b'"request": 0, "prompt": 0', b'"request": 2, "prompt": 0')
    log = d.files[LOG].replace(first, b"?").replace(second, first)
    d.files[LOG] = log.replace(b"?", second)


@bad("responses", "server-exhausted")
def answer_that_was_left_out(d: Draft) -> None:
    """The e-process could have gone on: it was ended where the examiner liked."""
    d.files[LOG] += lines_of(d)[-1].replace(b'"request": 4, "prompt": 0', b'"request": 5, "prompt": 1')


@bad("responses", "server-closed")
def answer_that_was_counted_as_empty(d: Draft) -> None:
    answer(d, 1, text="Because it is so.")


@bad("responses", "server-exhausted")
def words_of_an_answer_that_was_empty(d: Draft) -> None:
    answer(d, 3, text="")


@bad("responses", "server")
def answer_of_text_alone_that_is_called_the_servers_ids(d: Draft) -> None:
    answer(d, 2, token_ids=None)


@bad("responses", "server")
def document_of_another_name(d: Draft) -> None:
    d.files[SAMPLED] = d.files[SAMPLED].replace(b'"id":"0"', b'"id":"row 0"')


@bad("responses", "server")
def document_that_the_e_process_did_not_look_at(d: Draft) -> None:
    """Of an answer that came after its end."""
    assert len(lines_of(d, SAMPLED)) == 3
    d.files[SAMPLED] += b'{"id":"3/text","token_ids":[17,18]}\n'


# --- a fixed number of tokens, and weights ---


@bad("responses", "nothing")
def fewer_tokens_than_planned(d: Draft) -> Files:
    return case_of(partial(weighed_answers, tokens=1000))


@bad("responses", "nothing")
def more_answers_than_planned(d: Draft) -> Files:
    return case_of(partial(weighed_answers, tokens=50))


@bad("responses", "nothing")
def weights_of_other_answers(d: Draft) -> Files:
    return case_of(partial(weighed_answers, n_tokens=110))


@bad("responses", "nothing")
def weights_of_contexts_that_no_answer_has(d: Draft) -> Files:
    _, one = answers_and_weights(KEY)
    other = Pairs(one.pairs.contexts + np.uint32(5000), one.pairs.tokens, one.pairs.n_contexts)
    return case_of(partial(weighed_answers, pairs=other))


@bad("run", "server-weights")
def weights_without_the_answers(d: Draft) -> None:
    value = d.json(RUN)
    del value["tests"]["sampled/excess"]["material"]["documents"]
    d.put(RUN, value)


@bad("responses", "server-weights")
def tests_of_different_documents(d: Draft) -> None:
    """What the one counts the server said; what the other weighs is something else, too."""
    kept = d.files["case/runs/0001/sampled-excess.documents.jsonl"]
    d.files["case/runs/0001/text.jsonl"] = kept + b'{"id":"6","token_ids":[]}\n'
    d.entry("finished")["subjects"].append({"name": "runs/0001/text.jsonl", "sha256": ""})
    value = d.json(RUN)
    value["tests"]["sampled/distinct"]["material"]["documents"] = "text.jsonl"
    d.put(RUN, value)


@bad("responses", "server-exhausted")
def text_shorter_than_its_document(d: Draft) -> None:
    answer(d, 3, text="a")


@bad("responses", "nothing")
def document_longer_than_was_asked_for(d: Draft) -> Files:
    """Of a text, from a server that says it kept to no limit either."""

    def examined(made: Made) -> None:
        made.commit()
        one, said = made.plan(effect=0.5, access="chat"), documents(made.key, 0.9, 1, seed=3, length=70)
        test = Sequential(made.key, FED, one.alpha, one.maximum_pairs or 0)
        test.add(0, said[0])
        counted = test.result()
        seen = Examined(counted, [], lineup(counted, 19, seed=SEED), observed=documents_of(said, [0]))
        begun = made.begin("suspect", plan=one, questioned=SERVER)
        begun.answers.write_bytes(log_of(one, said, [0]))
        write_run(begun, "suspect", planned_families(made, one, {"sampled/distinct": seen}))

    return case_of(examined)


@bad("responses", "nothing")
def weights_above_0_of_what_no_answer_says(d: Draft) -> Files:
    """The log and the answers are a server's, the weights are made up: green pairs are liked that nobody said."""
    _, one = answers_and_weights(KEY)
    return case_of(partial(weighed_answers, weights=np.abs(one.weights)))
