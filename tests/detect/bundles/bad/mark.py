"""Marks, openings, commitments and plans that contradict each other."""

from __future__ import annotations

from typing import Any

import rfc8785

from detect.bundles.entries import digest
from detect.exact.binomial import log10_sf
from tests.detect.bundles.bad.registry import (
    bad,
    good,
)
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import KEY, VOCABULARY
from tests.detect.material import make_key
from watermark.keys import Commitment, Leaf


@bad("mark")
def mark_with_another_member(d: Draft) -> None:
    d.change("mark.json", delta=2.0)


@bad("mark")
def mark_with_no_gamma(d: Draft) -> None:
    d.change("mark.json", gamma_65536=0)


@bad("mark")
def run_of_another_key(d: Draft) -> None:
    d.entries[1]["details"]["key_id"] = make_key(9).key_id


@bad("mark")
def mark_of_another_key(d: Draft) -> None:
    d.change("mark.json", key_id=make_key(9).key_id)


def other_special_ids(d: Draft, ids: list[int], **more: Any) -> None:
    """In mark and opening alike: the key id is of the tokenizer's hash, which stays."""
    for name in ("mark.json", "opening.json"):
        d.change(name, special_ids=ids, **more)


@bad("mark", "texts-shown")
def special_ids_that_are_not_the_tokenizers(d: Draft) -> None:
    other_special_ids(d, [0, 1, 7, 8])


@bad("mark", "texts-shown")
def special_id_that_was_left_out(d: Draft) -> None:
    other_special_ids(d, [0, 1])


@bad("mark", "texts-shown")
def special_id_taken_for_an_empty_token(d: Draft) -> None:
    """The hash stays: the id 0 is the same four bytes as an empty token behind its length."""
    d.files["vocabulary.bin"] += bytes(4)
    other_special_ids(d, [1, 7], vocab_size=2001)


@bad("mark", "texts-shown")
def vocabulary_of_another_tokenizer(d: Draft) -> None:
    d.files["vocabulary.bin"] = d.files["vocabulary.bin"].replace(b"t7", b"u7", 1)


@bad("mark", "texts-shown")
def vocabulary_that_was_cut(d: Draft) -> None:
    d.files["vocabulary.bin"] = d.files["vocabulary.bin"][:-1]


@bad("mark", "texts-shown-closed")
def vocabulary_without_its_last_token(d: Draft) -> None:
    d.files["vocabulary.bin"] = d.files["vocabulary.bin"][:-9]
    d.change("mark.json", vocab_size=1999)


@bad("mark")
def vocabulary_of_a_mark_without_a_tokenizer(d: Draft) -> None:
    d.files["vocabulary.bin"] = VOCABULARY


@bad("key-id")
def parameters_changed_under_the_same_key(d: Draft) -> None:
    d.change("mark.json", gamma_65536=20000)
    d.change("opening.json", gamma_65536=20000)


@bad("key-id")
def context_width_changed_under_the_same_key(d: Draft) -> None:
    d.change("mark.json", context_width=2)
    d.change("opening.json", context_width=2)


@bad("key-id")
def another_key_opened(d: Draft) -> None:
    d.change("opening.json", chacha_key=make_key(9).chacha_key.hex())


@bad("key-id")
def leaf_of_another_key(d: Draft) -> None:
    d.change("opening.json", leaf__key_id=make_key(9).key_id)


@bad("opening")
def opening_of_other_parameters(d: Draft) -> None:
    d.change("opening.json", gamma_65536=20000)


@bad("opening")
def opening_with_another_member(d: Draft) -> None:
    d.change("opening.json", secret="x")


@bad("opening")
def opening_that_was_taken_out(d: Draft) -> None:
    del d.files["opening.json"]


@bad("opening", "text-closed")
def opening_that_was_put_in(d: Draft) -> None:
    d.files["opening.json"] = good("text")["opening.json"]


@bad("opening")
def manifest_says_it_is_closed(d: Draft) -> None:
    d.predicate["opened"] = False


@bad("commitment")
def path_that_leads_elsewhere(d: Draft) -> None:
    d.change("opening.json", root="ab" * 32)


@bad("commitment", "early")
def path_with_another_step(d: Draft) -> None:
    path = d.json("opening.json")["path"]
    d.change("opening.json", path=[*path, "ab" * 32])


@bad("commitment", "early")
def path_cut_short(d: Draft) -> None:
    d.change("opening.json", path=d.json("opening.json")["path"][:-1])


@bad("commitment", "early")
def opening_by_another_commitment(d: Draft) -> None:
    alone = Commitment.of([Leaf(None, None, KEY.key_id)])
    d.put("opening.json", alone.open(KEY).to_json())


@bad("commitment", "early")
def commitment_to_another_root(d: Draft) -> None:
    d.change("case/commitment.json", root="ab" * 32)


@bad("commitment", "early")
def commitment_of_another_size(d: Draft) -> None:
    d.change("case/commitment.json", size=4)


@bad("commitment", "early-closed")
def plan_with_a_wrong_path(d: Draft) -> None:
    value = d.json("case/plan.json")
    value["key"]["inclusion"]["path"][0] = "ab" * 32
    replan(d, value)


def replan(d: Draft, value: Any) -> None:
    """Another plan, and everything names it by its digest."""
    old, d.files["case/plan.json"] = d.files["case/plan.json"], rfc8785.dumps(value)
    new = digest(d.files["case/plan.json"])
    d.entry("planned")["details"]["plan"] = d.entry("begun")["details"]["plan"] = new
    for name in [name for name in d.files if name.startswith("case/runs/")]:
        d.files[name] = d.files[name].replace(digest(old).encode(), new.encode())


@bad("plan", "early")
def plan_changed(d: Draft) -> None:
    d.change("case/plan.json", alpha=0.01)


@bad("plan", "early")
def plan_for_another_key(d: Draft) -> None:
    value = d.json("case/plan.json")
    value["key"]["key_id"] = make_key(9).key_id
    replan(d, value)


@bad("plan", "early")
def plan_of_another_format(d: Draft) -> None:
    replan(d, d.json("case/plan.json") | {"format": "taggant-plan/0"})


@bad("plan", "early")
def plan_with_another_root_than_the_log(d: Draft) -> None:
    d.entry("planned")["details"]["root"] = "ab" * 32


@bad("mark", "weights")
def key_check_of_another_outcome(d: Draft) -> None:
    green, log10_p = 180, log10_sf(180, 400, KEY.gamma)
    d.change("case/key-check.json", accepted=False, n_green=green, log10_p=log10_p)


@bad("mark", "weights")
def key_check_that_contradicts_itself(d: Draft) -> None:
    d.change("case/key-check.json", n_green=180)


@bad("mark", "weights")
def key_check_that_should_have_refused(d: Draft) -> None:
    d.change("case/key-check.json", n_green=180, log10_p=log10_sf(180, 400, KEY.gamma))


@bad("mark", "weights")
def key_check_on_another_text(d: Draft) -> None:
    d.change("case/key-check.json", corpus_sha256="ab" * 32)


@bad("mark", "weights")
def key_check_on_more_than_any_text_has(d: Draft) -> None:
    """To compute a chance among so many would take a verifier for ever, and costs whoever writes it down nothing."""
    n, green = 10**13, 10**13 // 5
    d.change("case/key-check.json", n_scored=n, n_green=green, log10_p=log10_sf(green, n, KEY.gamma))


@bad("plan", "early")
def plan_of_another_context_width(d: Draft) -> None:
    replan(d, d.json("case/plan.json") | {"context_width": 5})


@bad("mark", "text-closed")
def special_ids_of_no_tokenizer(d: Draft) -> None:
    d.change("mark.json", special_ids=[1, 2])


@bad("mark", "texts-shown-closed")
def special_ids_out_of_order(d: Draft) -> None:
    d.change("mark.json", special_ids=[1, 0, 7])


@bad("commitment", "early")
def commitment_with_another_member(d: Draft) -> None:
    d.change("case/commitment.json", note="x")


@bad("mark", "weights")
def key_check_without_its_format(d: Draft) -> None:
    value = d.json("case/key-check.json")
    del value["format"]
    d.put("case/key-check.json", value)
