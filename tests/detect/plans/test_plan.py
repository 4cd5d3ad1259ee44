"""Plans: a second canonical form and tree, every check that names what differs, and files that are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.exact.power import pairs_needed
from detect.plans.content import COUNTED
from detect.plans.parts import (
    NEED_REFERENCE,
    TESTS,
    Inclusion,
    PlannedExclusion,
    PlannedProbes,
    PlannedSampling,
    PositiveControl,
)
from detect.plans.plan import UNCOMMITTED_NOTE, Plan
from detect.readers.row import Row, make_row
from tests.detect.material import make_key, secret
from watermark.errors import CommitmentError, InputError
from watermark.keys import UNTIMESTAMPED_NOTE, Commitment, Leaf

KEY = make_key(0)
MOMENT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
SEED = bytes(range(32))
DIGEST = "ab" * 32


def rows(*members: dict[str, Any]) -> list[Row]:
    return [make_row(one, "probes.jsonl", n, prompts_only_ok=True) for n, one in enumerate(members, 1)]


PROMPT_IDS = [[3, 4, 5], [6, 7]]  # in which a count leaves the prompts out
PROBES = rows(
    {"id": "x", "prompt": "Why?", "text": "Because it is so.", "more": 1},
    {"prompt": "Étoile 😀\n", "token_ids": [5, 6, 7]},
    {"prompt_ids": [1, 2], "prompt": "ids win"},
    {"prompt": "Why?"},
)


def inclusion(key: Any = KEY, others: int = 4) -> Inclusion:
    leaves = [Leaf(f"acct-{n}", "2026-11", make_key(100 + n).key_id) for n in range(others)]
    return Inclusion.of(key.key_id, Commitment.of([*leaves, Leaf("mine", None, key.key_id)], created=MOMENT))


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {"primary": COUNTED, "sampling": PlannedSampling(), "seed": SEED, "created": MOMENT}
    values |= {"inclusion": inclusion(), "tokenizer": "ef" * 32}
    values |= changes
    if values["tokenizer"] is not None and COUNTED in {values["primary"], *values.get("also", ())}:
        values = {"left_out": PlannedExclusion.of(PROMPT_IDS)} | values
    return Plan.make(values.pop("key", KEY), values.pop("rows", PROBES), **values)


def full() -> Plan:
    """A plan with something everywhere."""
    return plan(
        primary="reading/difference",
        also=[COUNTED, "sampled/excess"],
        reference=DIGEST,
        frequencies=PlannedProbes.of(PROBES[:1]).sha256,
        positive_control=PositiveControl("cd" * 32, "student of the marked teacher, δ = 2"),
        sampling=PlannedSampling(tokens=5000, temperature=0.7, top_p=0.9, seed=3),
        stopping="fixed",
        effect=0.3,
    )


# --- the file ---


def test_the_digest_is_of_the_file() -> None:
    """RFC 8785 as far as a plan needs it: sorted members, no spaces, the shortest digits, UTF-8."""
    one = plan(alpha=1e-6)
    text = json.dumps(one.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = text.replace(":1e-06,", ":0.000001,").replace(":1.0,", ":1,").replace(":1.0}", ":1}")
    assert one.canonical == text.encode()
    assert one.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("make", [plan, full, lambda: plan(inclusion=None)], ids=["counted", "full", "uncommitted"])
def test_saved_and_loaded_it_is_the_same(make: Callable[[], Plan], tmp_path: Path) -> None:
    one = make()
    one.save(tmp_path / "plan.json")
    assert hashlib.sha256((tmp_path / "plan.json").read_bytes()).hexdigest() == one.digest
    again = Plan.load(tmp_path / "plan.json")
    assert again == one
    assert (again.digest, again.canonical) == (one.digest, one.canonical)
    assert isinstance(again.sampling.temperature, float)  # written as 1
    (tmp_path / "pretty.json").write_text(json.dumps(one.to_json(), indent=4))
    assert Plan.load(tmp_path / "pretty.json").digest == one.digest
    with pytest.raises(InputError, match="already exists"):
        one.save(tmp_path / "plan.json")


def test_every_member_moves_the_digest() -> None:
    """Nothing that is settled can be changed without another digest."""
    changes: list[Plan] = [
        plan(alpha=1e-5),
        plan(power=0.95),
        plan(effect=0.3),
        plan(key=make_key(1), inclusion=inclusion(make_key(1))),
        plan(inclusion=None),
        plan(inclusion=inclusion(others=5)),
        plan(rows=PROBES[:3]),
        plan(rows=PROBES[::-1]),
        plan(reference=DIGEST),
        plan(reference=DIGEST[::-1]),
        plan(also=["reading/mass"]),
        plan(positive_control=PositiveControl(DIGEST)),
        plan(positive_control=PositiveControl(DIGEST, "x")),
        plan(tokenizer=DIGEST),
        plan(tokenizer=None),
        plan(left_out=None),
        plan(left_out=PlannedExclusion.of(PROMPT_IDS[::-1])),
        plan(left_out=PlannedExclusion.of([*PROMPT_IDS, []])),
        plan(key_check=DIGEST),
        plan(key_check=DIGEST[::-1]),
        plan(access="completions"),
        plan(access="weights"),
        plan(sampling=PlannedSampling(max_new_tokens=63)),
        plan(sampling=PlannedSampling(temperature=0.9)),
        plan(sampling=PlannedSampling(top_p=0.9)),
        plan(access="weights", sampling=PlannedSampling(top_k=40)),
        plan(sampling=PlannedSampling(seed=1)),
        plan(sampling=PlannedSampling(tokens=100)),
        plan(stopping="fixed", sampling=PlannedSampling(tokens=100)),
        plan(maximum_pairs=20_000),
        plan(top=64),
        plan(decoys=10),
        plan(seed=bytes(32)),
        plan(created=datetime(2026, 11, 24, 8, 0, 1, tzinfo=UTC)),
    ]
    digests = {one.digest for one in [plan(), *changes]}
    assert len(digests) == len(changes) + 1
    assert plan().digest == plan().digest


def test_defaults() -> None:
    one = plan()
    assert (one.stopping, one.fixed_pairs, one.maximum_pairs) == ("e-process", 7885, 12_616)
    assert one.fixed_pairs == pairs_needed(0.28, 0.25)
    assert (one.gamma, one.context_width, one.tests) == (0.25, 1, (COUNTED,))
    assert (one.lineup.decoys, one.lineup.seed) == (1000, SEED.hex())
    reading = plan(primary="reading/mass", sampling=None)
    assert (reading.stopping, reading.fixed_pairs, reading.maximum_pairs) == ("fixed", None, None)
    first, second = plan(seed=None), plan(seed=None)
    assert first.lineup.seed != second.lineup.seed  # drawn when the plan is made


def test_no_secret_is_in_it() -> None:
    for hidden in (secret(0), KEY.chacha_key):
        for shown in (full().canonical.decode(), repr(full())):
            assert hidden.hex() not in shown
            assert repr(hidden) not in shown


# --- probes ---


def test_the_probes_digest_by_hand() -> None:
    lines = [
        '{"prompt":"Why?","text":"Because it is so."}',
        '{"prompt":"Étoile 😀\\n","token_ids":[5,6,7]}',
        '{"prompt":"ids win","prompt_ids":[1,2]}',
        '{"prompt":"Why?"}',
    ]
    expected = hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()
    assert PlannedProbes.of(PROBES) == PlannedProbes(expected, 4, 3)


def test_what_is_fed_decides_and_nothing_else() -> None:
    base = PlannedProbes.of(rows({"prompt": "a", "text": "b"}, {"text": "c"}))
    assert PlannedProbes.of(rows({"id": 7, "prompt": "a", "text": "b", "x": [1]}, {"id": "z", "text": "c"})) == base
    others = [
        rows({"text": "c"}, {"prompt": "a", "text": "b"}),
        rows({"prompt": "a", "text": "b"}, {"text": "c "}),
        rows({"prompt": "b", "text": "a"}, {"text": "c"}),
        rows({"prompt": "a", "text": "b"}, {"prompt": "c"}),
        rows({"prompt": "a"}, {"text": "b"}, {"text": "c"}),
        rows({"prompt": "a", "text": "b"}, {"text": "c"}, {"text": "c"}),
        rows({"prompt": "a", "text": "b"}),
    ]
    assert len({PlannedProbes.of(one).sha256 for one in others} | {base.sha256}) == len(others) + 1
    with pytest.raises(InputError, match="no probes"):
        PlannedProbes.of([])


row_members = st.fixed_dictionaries(
    {"text": st.text(st.characters(codec="utf-8"), max_size=6)},
    optional={
        "prompt": st.text(st.characters(codec="utf-8"), max_size=6),
        "token_ids": st.lists(st.integers(0, 9), max_size=3),
        "prompt_ids": st.lists(st.integers(0, 9), max_size=3),
    },
)


@given(st.lists(row_members, min_size=1, max_size=4), st.lists(row_members, min_size=1, max_size=4))
def test_different_rows_have_different_digests(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    a, b = PlannedProbes.of(rows(*first)), PlannedProbes.of(rows(*second))
    assert (a == b) == (first == second)


# --- the key and its commitment ---


def tree_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:k]) + tree_root(leaves[k:])).digest()


@pytest.mark.parametrize("others", range(9))
def test_the_key_is_shown_to_be_in_the_commitment(others: int) -> None:
    found = inclusion(others=others)
    leaves = [Leaf(f"acct-{n}", "2026-11", make_key(100 + n).key_id).canonical for n in range(others)]
    assert found.commitment.root == tree_root(sorted([*leaves, Leaf("mine", None, KEY.key_id).canonical])).hex()
    assert found.commitment.leaves == ()
    one = plan(inclusion=found)
    one.check_key(KEY)
    assert "key" not in one.unchecked


def tampered(**changes: Any) -> Plan:
    return plan(inclusion=replace(inclusion(), **changes))


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (tampered(index=(inclusion().index + 1) % 5), "path"),
        (tampered(path=(*inclusion().path[:-1], "0" * 64)), "do not lead to the committed root"),
        (tampered(path=inclusion().path[:-1]), "path is shorter"),
        (tampered(path=(*inclusion().path, "0" * 64)), "path is longer"),
        (tampered(leaf=Leaf("other", None, KEY.key_id)), "do not lead to the committed root"),
        (tampered(leaf=Leaf("mine", None, make_key(1).key_id)), "leaf is of key"),
        (tampered(commitment=Commitment("0" * 64, 5, "2026-11-24T08:00:00Z")), "do not lead to the committed root"),
        (plan(inclusion=None, key=make_key(1)), f"for key {make_key(1).key_id[:16]}, this one is {KEY.short_id}"),
        (replace(plan(), context_width=2), "context width 2"),
        (replace(plan(primary="reading/mass", sampling=None), gamma=0.24), "gamma 0.24"),
    ],
)
def test_another_key_or_another_tree_is_refused(one: Plan, reason: str) -> None:
    with pytest.raises(CommitmentError, match=reason):
        one.check_key(KEY)
    assert "key" in one.unchecked
    assert not one.is_confirmatory


def test_a_key_that_was_not_committed_to() -> None:
    with pytest.raises(CommitmentError, match="not among the 5 marks"):
        Inclusion.of(make_key(7).key_id, Commitment.of(_five()))


def _five() -> list[Leaf]:
    return [Leaf(f"a{n}", None, make_key(n).key_id) for n in range(5)]


# --- carrying it out ---


def follow(one: Plan, **other: Any) -> None:
    """Every check, with what the plan says, or with something else."""
    one.check_key(other.get("key", KEY))
    one.check_key_check(*other.get("key_check", (one.key_check and True, one.key_check)))
    one.check_access(other.get("access", one.access))
    one.check_tokenizer(other.get("tokenizer", one.tokenizer))
    one.check_probes(other.get("rows", PROBES))
    one.check_reference(other.get("reference", one.reference))
    one.check_frequencies(other.get("frequencies", None if one.frequencies is None else PROBES[:1]))
    if one.left_out is not None:
        one.check_left_out(other.get("prompts", PROMPT_IDS))
    if one.sampling is not None:
        sampling = {name: getattr(one.sampling, name) for name in PlannedSampling.__dataclass_fields__}
        one.check_sampling(**{**sampling, **other.get("sampling", {})})
    settings = {"alpha": one.alpha, "effect": one.effect, "tests": one.tests, "top": one.top}
    settings |= {"decoys": one.lineup.decoys, "seed": bytes.fromhex(one.lineup.seed)}
    one.check_settings(**{**settings, **other.get("settings", {})})


@pytest.mark.parametrize("make", [plan, full, lambda: plan(primary="reading/mass", sampling=None)])
def test_followed_it_is_confirmatory(make: Callable[[], Plan]) -> None:
    one = make()
    assert not one.is_confirmatory
    always = {"key", "key check", "access", "tokenizer", "probes", "reference", "frequencies", "settings"}
    assert set(one.unchecked) >= always
    follow(one)
    assert one.unchecked == ()
    assert one.is_confirmatory
    assert not replace(one).is_confirmatory  # what was checked is not copied along, and not saved
    assert one == make()


def test_each_check_is_needed() -> None:
    checks = ("key", "key check", "access", "tokenizer", "probes", "reference", "frequencies", "sampling", "settings")
    for each in checks:
        one = plan()
        object.__setattr__(one, f"check_{each.replace(' ', '_')}", lambda *_, **__: None)
        follow(one)
        assert one.unchecked == (each,)
        assert not one.is_confirmatory


def test_without_a_commitment_it_never_is() -> None:
    one = plan(inclusion=None)
    follow(one)
    assert one.unchecked == ()
    assert not one.is_confirmatory
    assert UNCOMMITTED_NOTE in one.notes


def test_what_is_left_out_by_hand() -> None:
    """Of each prompt its length, then its ids, as little-endian uint32."""
    written = b"".join(one.to_bytes(4, "little") for one in (3, 3, 4, 5, 2, 6, 7))
    assert PlannedExclusion.of(PROMPT_IDS) == PlannedExclusion(2, hashlib.sha256(written).hexdigest())
    assert PlannedExclusion.of([[3], [4]]) != PlannedExclusion.of([[3, 4], []])
    with pytest.raises(InputError, match=r"left_out\.rows"):
        PlannedExclusion.of([])


def test_other_ids_left_out_than_planned_are_refused() -> None:
    for other in (PROMPT_IDS[:1], PROMPT_IDS[::-1], [*PROMPT_IDS, [8, 9]]):
        with pytest.raises(InputError, match="prompts' token ids are not those of the plan"):
            follow(plan(), prompts=other)


def test_without_what_is_left_out_it_never_is() -> None:
    one = plan(left_out=None)
    follow(one)
    assert one.unchecked == ()
    assert one.shortcomings == ("the plan does not say in which ids a count leaves its prompts out",)
    for changes in ({"tokenizer": None}, {"primary": "reading/mass", "sampling": None}):
        with pytest.raises(InputError, match="and only there"):
            plan(left_out=PlannedExclusion.of(PROMPT_IDS), **changes)


def test_without_a_tokenizer_it_never_is() -> None:
    one = plan(tokenizer=None)
    follow(one, tokenizer=DIGEST)
    assert one.unchecked == ()
    assert one.shortcomings == ("no tokenizer in the plan",)


@pytest.mark.parametrize(
    ("planned", "found", "reason"),
    [
        (None, (True, DIGEST), "the key passed a check"),
        (None, (False, DIGEST), "was refused by"),
        (DIGEST, (False, DIGEST), "was refused by"),
        (DIGEST, (True, DIGEST[::-1]), "the key passed a check"),  # another one
    ],
)
def test_a_key_check_that_the_plan_does_not_know_of(planned: str | None, found: tuple[bool, str], reason: str) -> None:
    with pytest.raises(CommitmentError, match=f"{reason}.* that the plan does not know of"):
        follow(plan(key_check=planned), key_check=found)
    one = plan(key_check=DIGEST)
    follow(one, key_check=(None, None))  # its record may be lost; p is adjusted all the same
    assert one.is_confirmatory


def test_a_plan_is_not_older_than_its_commitment() -> None:
    with pytest.raises(InputError, match="the key was committed to at 2026-11-24T08:00:00Z, after the plan's date"):
        plan(created=datetime(2026, 11, 24, 7, 59, 59, tzinfo=UTC))


def test_what_cannot_be_had_through_a_server() -> None:
    weighed: dict[str, Any] = {"primary": "sampled/excess", "reference": DIGEST}
    for values, reason in (
        ({"primary": "reading/mass", "sampling": None, "access": "chat"}, "reading needs the model's weights"),
        ({"access": "chat", "sampling": PlannedSampling(top_k=40)}, "top-k 40, which no server can be asked for"),
        ({"access": "chat", "sampling": PlannedSampling(logprobs=5)}, "log-probabilities are asked of a server"),
        ({**weighed, "access": "weights", "sampling": PlannedSampling(9, logprobs=5)}, "log-probabilities are asked"),
    ):
        with pytest.raises(InputError, match=reason):
            plan(**values)
    assert plan(**weighed, sampling=PlannedSampling(9, logprobs=5)).access == "chat"
    assert plan(access="weights", sampling=PlannedSampling(top_k=40)).access == "weights"
    assert full().access == "weights"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"rows": PROBES[:2]}, "the probes have 2 rows, those of the plan 4"),
        ({"rows": [*PROBES[:3], *rows({"prompt": "What?"})]}, "content or order is not the plan's"),
        ({"rows": PROBES[::-1]}, "content or order"),
        ({"access": "chat"}, "access is chat, the plan says weights: give --model"),
        ({"tokenizer": None}, "tokenizer: none is given, digest efefefefefefefef is planned"),
        ({"tokenizer": DIGEST}, "tokenizer: digest abababababababab is given"),
        ({"frequencies": None}, "frequencies: none are given, .* is planned"),
        ({"frequencies": PROBES[1:]}, "frequencies: SHA-256 .* is given, .* is planned; give the same files"),
        ({"reference": None}, f"reference: none is given, digest {DIGEST[:16]} is planned"),
        ({"reference": "0" * 64}, "reference: digest 0000000000000000 is given"),
        ({"sampling": {"temperature": 0.8}}, "sampling temperature is 0.8, the plan says 0.7"),
        ({"sampling": {"seed": 4}}, "sampling seed is 4, the plan says 3"),
        ({"sampling": {"tokens": 6000}}, "sampling tokens is 6000, the plan says 5000"),
        ({"sampling": {"top_k": 40}}, "sampling top_k is 40, the plan says 0"),
        ({"settings": {"alpha": 0.01}}, "alpha is 0.01, the plan says 1e-06"),
        ({"settings": {"effect": 0.28}}, "effect is 0.28, the plan says 0.3"),
        ({"settings": {"tests": [COUNTED]}}, f"tests is {COUNTED}, the plan says"),
        ({"settings": {"tests": TESTS}}, "tests is"),
        ({"settings": {"top": 64}}, "top is 64, the plan says 256"),
        ({"settings": {"decoys": 10}}, "decoys is 10, the plan says 1000"),
        ({"settings": {"seed": bytes(32)}}, "seed is 0000"),
    ],
    ids=str,
)
def test_what_differs_is_named(other: dict[str, Any], reason: str) -> None:
    one = full()
    with pytest.raises(InputError, match=reason) as caught:
        follow(one, **other)
    assert "\n" not in str(caught.value)
    assert not one.is_confirmatory


def test_more_that_differs() -> None:
    with pytest.raises(InputError, match="reference: digest abababababababab is given, none is planned"):
        plan().check_reference(DIGEST)
    plan().check_reference(None)
    unneeded = plan(reference=DIGEST)  # no planned test weighs against it
    unneeded.check_reference(None)
    assert "reference" not in unneeded.unchecked
    with pytest.raises(InputError, match="reference: digest 0000"):
        unneeded.check_reference("0" * 64)
    controlled = full()
    assert not controlled.has_checked_control
    controlled.check_positive_control("cd" * 32)
    assert controlled.has_checked_control
    with pytest.raises(InputError, match="positive control: digest abab"):
        full().check_positive_control(DIGEST)
    with pytest.raises(InputError, match="samples nothing"):
        plan(primary="reading/mass", sampling=None).check_sampling()


def test_notes_say_what_a_timestamp_would_be_worth() -> None:
    one = plan()
    first, second, third, fourth = one.notes
    assert one.digest in first
    assert second.startswith(f"the probes, and frequencies if any: SHA-256 {one.probes.sha256}; the plan fixes them")
    assert second.endswith("only where these digests were published before the key existed")
    assert one.inclusion.commitment.root in third
    assert fourth == UNTIMESTAMPED_NOTE


# --- plans that are none ---


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"maximum_pairs": 12_615}, "12,615 pairs is below 1.6 x the 7,885"),
        ({"effect": 0.25}, "above gamma"),
        ({"effect": 0.2}, "above gamma"),
        ({"alpha": 1.0}, "alpha must lie strictly between 0 and 1"),
        ({"alpha": 1e-201}, "alpha"),
        ({"power": 0.0}, "power"),
        ({"primary": "sampled/mass"}, "'primary' must be"),
        ({"also": ["reading/difference"]}, "weighs against a reference, and the plan has none"),
        ({"primary": "sampled/excess"}, "weighs against a reference"),
        ({"primary": "sampled/excess", "reference": DIGEST}, "number of tokens is fixed beforehand"),
        ({"primary": "sampled/excess", "reference": DIGEST, "stopping": "e-process"}, "only sampled/distinct has an"),
        ({"also": ["sampled/excess"], "reference": DIGEST}, "not beside an e-process"),
        ({"also": ["reading/mass", "reading/difference"], "reference": DIGEST}, "not both ways"),
        ({"stopping": "fixed"}, "give --sample TOKENS"),
        ({"stopping": "fixed", "sampling": PlannedSampling(9), "maximum_pairs": 20_000}, "leave --max-pairs out"),
        ({"stopping": "sometimes"}, "'stopping' must be"),
        ({"sampling": None}, "how answers are sampled"),
        ({"primary": "reading/mass"}, "how answers are sampled"),
        ({"rows": rows({"text": "an answer"})}, "hold no prompts"),
        ({"rows": rows({"prompt": "", "text": "an answer"})}, "hold no prompts"),
        ({"rows": rows({"prompt": "why"}), "primary": "reading/mass", "sampling": None}, "`reading` needs answers"),
        ({"reference": "x"}, "reference.digest"),
        (
            {"frequencies": "x", "also": ["sampled/excess"], "reference": DIGEST, "stopping": "fixed"},
            "frequencies.sha256",
        ),
        ({"frequencies": DIGEST}, "scale what is weighed against a reference"),
        ({"top": 0}, "'top'"),
        ({"decoys": 0}, "lineup.decoys"),
        ({"seed": b"short"}, "lineup.seed"),
    ],
    ids=str,
)
def test_contradictions_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        plan(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (PlannedSampling, {"tokens": 0}),
        (PlannedSampling, {"temperature": 0}),
        (PlannedSampling, {"temperature": float("nan")}),
        (PlannedSampling, {"top_p": 1.1}),
        (PlannedSampling, {"seed": -1}),
        (PlannedSampling, {"max_new_tokens": True}),
        (PositiveControl, {"digest": "x"}),
        (PositiveControl, {"digest": DIGEST, "note": "n" * 401}),
        (PlannedProbes, {"sha256": DIGEST, "rows": 1, "prompts": 2}),
        (PlannedExclusion, {"rows": 0, "sha256": DIGEST}),
        (PlannedExclusion, {"rows": 1, "sha256": "x"}),
    ],
    ids=str,
)
def test_parts_out_of_range(kind: Callable[..., Any], values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be"):
        kind(**values)


def test_the_two_lists_of_tests_agree() -> None:
    from detect.cli import plan_options

    assert plan_options.TESTS == TESTS
    assert set(NEED_REFERENCE) < set(TESTS)


def changed(path: str, value: Any) -> str:
    """The full plan's JSON with one member replaced; "-" as a value removes it."""
    content = full().to_json()
    *way, last = path.split(".")
    place = content
    for name in way:
        place = place[name]
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ("{", "not JSON"),
        ('{"format": 1, "format": 2}', "names a member twice"),
        (changed("alpha", "-"), "lacks the member 'alpha'"),
        (changed("more", 1), "1 unknown member"),
        (changed("format", "taggant-plan/2"), "'format' must be taggant-plan/1"),
        (changed("alpha", "1e-6"), "'alpha' must be a number"),
        (changed("alpha", 0), "alpha"),
        (changed("created", "2026-11-24"), "'created' must be a UTC time"),
        (changed("created", "2026-1-24T08:00:00Z"), "'created' must be a UTC time"),
        (changed("context_width", 9), "'context_width'"),
        (changed("key", None), "'key' must be a JSON object"),
        (changed("key.key_id", "AB" * 32), "'key.key_id'"),
        (changed("key.commitment", None), "'key.commitment' must be a JSON object"),
        (changed("key.inclusion", None), "'key.inclusion' must be a JSON object"),
        (changed("key.inclusion.path", "x"), "list of hashes"),
        (changed("key.inclusion.path", [1]), "'key.inclusion.path'"),
        (changed("key.inclusion.index", 5), "'key.inclusion.index'"),
        (changed("key.inclusion.leaf.account", "a\x07"), "account label"),
        (changed("key.inclusion.leaf.account", "e\u0301"), "in another form"),  # not NFC
        (changed("key.commitment.size", 0), "'size'"),
        (changed("primary", "sampled"), "'primary' must be a JSON object"),
        (changed("primary.weights", "distinct"), "'primary' must be"),
        (changed("tests", "sampled/distinct"), "must hold its primary one"),
        (changed("tests", ["reading/difference", "reading/difference"]), "each once"),
        (changed("tests", [["x"]]), "'tests' must be"),
        (changed("tests", [COUNTED]), "must hold its primary one"),
        (changed("probes.sha256", 5), "'probes.sha256'"),
        (changed("probes.rows", "-"), "'probes' lacks the member 'rows'"),
        (changed("reference", {"digest": None}), "'reference.digest'"),
        (changed("positive_control.note", 4), "'positive_control.note'"),
        (changed("sampling.more", 4), "unknown member"),
        (changed("sampling.temperature", "hot"), "'sampling.temperature'"),
        (changed("fixed_pairs", 10), "fixed_pairs is 10, but"),
        (changed("maximum_pairs", 10), "belongs to the e-process"),
        (changed("lineup.seed", "0" * 63), "'lineup.seed'"),
    ],
)
def test_malformed_files_are_refused_in_one_line(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        Plan.load(path)
    assert not isinstance(caught.value, CommitmentError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_smaller_number_of_pairs_cannot_be_written_in(tmp_path: Path) -> None:
    """Neither n nor the maximum can be made to look sufficient by hand."""
    for name, value, reason in (("fixed_pairs", 100, "need 7885"), ("maximum_pairs", 9000, "below 1.6 x the 7,885")):
        content = plan().to_json() | {name: value}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=reason):
            Plan.load(path)


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Plan.load(tmp_path / "none")
    with pytest.raises(InputError, match="not a regular file"):
        Plan.load(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        Plan.load(tmp_path / "latin")
