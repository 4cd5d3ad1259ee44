"""Good bundles of every kind, made in a moment from made-up token ids, without any model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from detect.bundles.case import Case
from detect.bundles.events import record_check, record_commitment, record_note, record_plan
from detect.bundles.mark import Mark
from detect.bundles.material import COUNT, SCAN, Family, Tested, write_run
from detect.bundles.opening import opening_of
from detect.bundles.signer import Signer
from detect.counting import tally, weigh
from detect.decoys import lineup
from detect.evidence import Assessment, assess_family
from detect.exact.binomial import log10_sf
from detect.examined import Examined, judge_control, judge_planned
from detect.fed import Excluded, Probe, ProbePairs
from detect.joint import Reading as TextReading
from detect.joint import judge_readings
from detect.keycheck import FORMAT as CHECK_FORMAT
from detect.keycheck import KeyCheck
from detect.observation import ContextMass, Excess, Expectation, Reading, Texts
from detect.plans.parts import Inclusion, PlannedSampling, PositiveControl
from detect.plans.plan import Plan
from detect.scan import scan_documents
from detect.sequential import Sequential, SequentialTally
from tests.detect.bundles.helpers import sealed_files
from tests.detect.bundles.served import FED, SERVER, documents_of, log_of
from tests.detect.bundles.tsa import STAMPED, Authority
from tests.detect.material import as_set, make_key, secret
from tests.detect.plans.test_plan import PROMPT_IDS, follow, plan
from tests.detect.test_sequential import marked_answers
from watermark.greenlist import GreenList
from watermark.keys import Commitment, Key, Leaf, Parameters, TokenizerIdentity
from watermark.keys.tokenizers import tokens_sha256
from watermark.windows import Pairs, WindowRule

KEY = make_key(0)
WIDE = make_key(1, h=2, special=(0, 1, 7))  # context of two tokens, special ids
LONG = make_key(2, gamma_65536=30000, h=5)  # contexts that are hashed into the nonce
TOKENS, SPECIAL = [f"t{i}" for i in range(2000)], (0, 1, 7)
VOCABULARY = b"".join(len(one).to_bytes(4, "little") + one.encode() for one in TOKENS)
SHOWN = Key(secret(3), Parameters(16384, 2.0, 1, TokenizerIdentity("", tokens_sha256(TOKENS, SPECIAL), 2000, SPECIAL)))
DIGEST = "ab" * 32
CHECKED = "cd" * 32  # digest of the human text of the key's check
MODEL = {"model": "34" * 32}
SEED = hashlib.sha256(b"line-up").digest()
INPUTS = [{"name": "answers.jsonl", "sha256": DIGEST, "bytes": 4096}]
BEGUN = STAMPED - timedelta(hours=2)  # when cases are opened
Files = dict[str, bytes]
assert PROMPT_IDS == FED  # what plans leave out is what servers were asked


def signer(number: int) -> Signer:
    """The same signer for the same number."""
    return Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"signer %d" % number).digest()))


class Clock:
    """Stands in for `detect.bundles.case.now`; goes on half a minute whenever it is looked at."""

    moment = BEGUN

    def __call__(self) -> str:
        self.moment += timedelta(seconds=30)
        return self.moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Made:
    """A case in the making.

    Attributes:
        case: by a clock that goes on a minute with every entry.
        stamp: gives an authority's timestamp, by the same clock.
    """

    case: Case
    key: Key
    stamp: Callable[[bytes], bytes]

    def run(
        self, command: str, families: Sequence[Family], *, plan: Plan | None = None, questioned: Any = None
    ) -> None:
        begun = self.begin(command, plan=plan, questioned=questioned)
        write_run(begun, command, families)

    def begin(self, command: str, *, plan: Plan | None = None, questioned: Any = None) -> Any:
        details = {"command": command, "key_id": self.key.key_id, "plan": None if plan is None else plan.digest}
        return self.case.begin({**details, "questioned": questioned, "inputs": INPUTS, "options": {"alpha": 1e-6}})

    def check(self, accepted: bool = True) -> None:
        green = 100 if accepted else 180
        log10_p = log10_sf(green, 400, self.key.gamma)
        assert accepted == (log10_p > -2)
        created = "2026-11-24T06:00:00+00:00"
        found = KeyCheck(self.key.key_id, accepted, log10_p, 400, green, CHECKED, 3, created, CHECK_FORMAT)
        record_check(self.case, found)

    def commit(self, *, stamped: bool = False) -> Commitment:
        """To this key among others."""
        whole = Commitment.of(leaves_of(self.key), created=BEGUN)
        record_commitment(self.case, whole, self.stamp(whole.canonical) if stamped else None)
        return whole

    def plan(self, *, stamped: bool = False, **changes: Any) -> Plan:
        whole = Commitment.of(leaves_of(self.key), created=BEGUN)
        own = {"key": self.key, "inclusion": Inclusion.of(self.key.key_id, whole), "decoys": 19, "seed": SEED}
        changes = {"access": "weights"} | changes | own
        one = plan(created=BEGUN + timedelta(seconds=30), **changes)
        follow(one, key=self.key)
        record_plan(self.case, one, self.stamp(one.canonical) if stamped else None)
        return one


def leaves_of(key: Key) -> list[Leaf]:
    others = [Leaf(f"acct-{n}", "2026-11", make_key(100 + n).key_id) for n in range(4)]
    return [*others, Leaf("mine", None, key.key_id)]


def sealed(
    directory: Path,
    key: Key,
    make: Callable[[Made], None],
    *,
    opened: bool = True,
    stamped: bool = False,
    vocabulary: bytes | None = None,
) -> Files:
    """The files of a bundle."""
    clock = Clock()
    private = directory / "signer.key"
    private.touch(mode=0o600)
    private.write_bytes(signer(1)._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with patch("detect.bundles.case.now", clock), Case(directory / "case", private) as case:
        case.hold(Mark.of(key))
        made = Made(case, key, lambda data: authority().stamp(data, clock.moment))
        make(made)
        committed = any(case.log.of("committed"))
        opening = opening_of(case.held, key, leaves_of(key) if committed else ()) if opened else None
        return sealed_files(case, opening, made.stamp if stamped else None, vocabulary)


@lru_cache
def authority(name: str = "authority") -> Authority:
    return Authority.make(name)


# --- what is tested ---


def documents(key: Key, green: float = 0.6, number: int = 6, seed: int = 0, length: int = 36) -> list[list[int]]:
    """Made-up answers, of a context of one as they come; wider ones are walked token by token."""
    if key.context_width == 1:
        return marked_answers(key, number, green, seed, length)
    rng, mark, found = np.random.default_rng(seed), GreenList(key), []
    for _ in range(number):
        ids = rng.integers(10, 2000, key.context_width).tolist()
        for _ in range(length):
            context = np.array([ids[len(ids) - key.context_width :]], dtype=np.uint32)
            row = mark.mask(context.reshape(1, -1), 2000)[0]
            ids.append(int(rng.choice(np.flatnonzero(row if rng.random() < green else ~row))))
        found.append(ids)
    return found


def text_families(key: Key, *, checked: bool = False, green: float = 0.7, scanned: bool = True) -> list[Family]:
    """As of `taggant detect --each --scan --decoys 19`."""
    texts = [*documents(key, green, 2), []]
    if key.special_ids:
        texts[0][4] = key.special_ids[-1]
    prompts = [texts[0][:12], texts[1][:3]]
    how = Assessment(key_check=checked or None, check_corpus=CHECKED if checked else None)
    counted = tally(key, texts, prompts)
    scan = scan_documents(key, texts, prompts) if scanned else None
    line = lineup(counted, 19, seed=SEED)
    (judged,) = judge_readings([TextReading("the text as it came", counted, scan, (), line)], how)
    observed = Texts(texts, prompts, [f"row {i}" for i in range(len(texts))])
    pooled = {"text": Tested(COUNT, judged.whole.to_dict(), observed)}
    if judged.scan is not None:
        spans = [{"document_index": one.document, "start_token": one.start_token, "end_token": one.end_token,
                  "n_scored": one.n_scored, "n_green": one.n_green, "log10_p": one.log10_p,
                  "log10_p_adjusted": one.log10_p_adjusted} for one in judged.scan.spans]  # fmt: skip
        pooled["text/scan"] = Tested(SCAN, judged.scan.to_dict(spans), observed)
    each = assess_family([tally(key, [one], prompts) for one in texts], how)
    alone = {f"each/{i + 1:05d}": Tested(COUNT, one.to_dict(), Texts([texts[i]], prompts, [f"row {i}"]))
             for i, one in enumerate(each)}  # fmt: skip
    return [Family(pooled, checked), Family(alone, checked)]


def reading(key: Key, strength: float = 0.6, number: int = 60, seed: int = 0) -> Reading:
    """Weights that follow the key as strongly as is said, or not at all."""
    rng, h = np.random.default_rng(seed), key.context_width
    contexts = np.sort(rng.choice(4000, number // 4, replace=False)).astype(np.uint32)
    table = np.repeat(np.stack([contexts + i for i in range(h)], axis=1).reshape(len(contexts), h), 4, axis=0)
    pairs = Pairs(table, np.tile(np.arange(10, 14, dtype=np.uint32), len(contexts)), len(contexts))
    colours = GreenList(key).is_green(pairs.contexts, pairs.tokens)
    weights = rng.standard_normal(number) + strength * (colours - key.gamma)
    few = Pairs(table[::4], np.full(len(contexts), 11, dtype=np.uint32), len(contexts))
    return Reading(
        pairs=pairs,
        weights=weights,
        n_positions=number,
        with_reference=True,
        argmax=few,
        mass=ContextMass(few.contexts, np.tile(np.arange(10, 15, dtype=np.uint32), (len(contexts), 1)),
                         np.full((len(contexts), 5), 0.1, np.float32)),
        probes=ProbePairs.of(WindowRule(h), [Probe([1, 2, 3, 4, 8, 9], [4, 5, 6, 2, 3, 9])]),
        expectation=Expectation(pairs, rng.standard_normal(number), number),
        excluded=Excluded(Pairs(np.full((3, h), 9, dtype=np.uint32), np.arange(3, dtype=np.uint32), 1), np.ones(3)),
    )  # fmt: skip


def excess(key: Key, strength: float = 0.6, seed: int = 1) -> Excess:
    """The same of answers."""
    one, rng = reading(key, strength, seed=seed), np.random.default_rng(seed)
    return Excess(
        pairs=one.pairs, weights=one.weights, n_positions=60, with_reference=True,
        probes=ProbePairs.of_prompts(WindowRule(key.context_width), [[1, 2, 3, 4, 5, 6, 7]]),
        n_tokens=80, n_listed=0, distinct=one.argmax,
        expectation=Expectation(one.argmax, rng.standard_normal(15), 15), excluded=one.excluded,
    )  # fmt: skip


def weighed(key: Key, observed: Reading | Excess) -> Examined:
    found = weigh(key, observed)
    return Examined(found, ["made up"], lineup(found, 19, seed=SEED), observed=observed)


def asked(
    key: Key, one: Plan, level: float, green: float, number: int, *, decoys: int = 19, prompts: Sequence[Any] = FED
) -> Examined:
    """An e-process over made-up answers; one was never given."""
    answers: list[list[int]] = documents(key, green, number)
    answers[1] = []
    test = Sequential(key, prompts, level, one.maximum_pairs or 0)
    for index, ids in enumerate(answers):
        test.add(index, ids)
    found = test.result()
    return Examined(found, [], lineup(found, decoys, seed=SEED), observed=Texts(answers, list(prompts)))


def planned_families(made: Made, one: Plan, tests: Mapping[str, Examined], *, checked: bool = False) -> list[Family]:
    how = Assessment(one.alpha, one.effect, checked or None, check_corpus=CHECKED if checked else None)
    judged = judge_planned(one, tests, how)
    tested = {
        name: Tested.of(test.tally, judged[name].to_dict(), _seen(test), test.answers) for name, test in tests.items()
    }
    primary = {one.primary: tested.pop(one.primary)}
    beside = []
    for name, test in tests.items():
        control = judge_control(one, name, test, how)
        if control is not None:
            assert test.control is not None
            assert test.control_observed is not None
            seen = Tested.of(test.control, control.to_dict(), test.control_observed)
            beside.append(Family({f"{name}/control": seen}, checked))
    return [Family(primary, checked), Family(tested, checked), *beside]


def _seen(test: Examined) -> Any:
    assert test.observed is not None
    return test.observed


# --- the cases ---


def texts(made: Made) -> None:
    made.run("detect", text_families(made.key))


def checked_texts(made: Made) -> None:
    made.check()
    made.commit()
    record_note(made.case, "the disk came from the court, its seal intact")
    made.begin("detect").stop("answers.jsonl cannot be read")
    made.run("detect", text_families(made.key, checked=True, scanned=False))
    made.run("detect", text_families(made.key, checked=True, green=0.25))


def planned(made: Made, *, green: float = 0.6, number: int = 30, stamped: bool = False) -> None:
    made.commit(stamped=stamped)
    one = made.plan(stamped=stamped, effect=0.5)
    tests = {"sampled/distinct": asked(made.key, one, one.alpha, green, number)}
    made.run("suspect", planned_families(made, one, tests), plan=one, questioned=MODEL)


OF_TEXT = (1, 3)  # requests of which the server gave text alone


def served(made: Made, *, green: float = 0.6, number: int = 12, stopped: Sequence[tuple[int, str]] = ()) -> None:
    """An e-process over a server's answers, of which it may have given more than were counted.

    Args:
        stopped: earlier runs of the plan, by how many bytes were logged when they ended, and why they did.
    """
    made.commit()
    one = made.plan(effect=0.5, access="chat")
    test = asked(made.key, one, one.alpha, green, number)
    answers: Any = _seen(test).documents
    log = log_of(one, answers, OF_TEXT)
    for size, reason in stopped:
        begun = made.begin("suspect", plan=one, questioned=SERVER)
        begun.answers.write_bytes(log[:size])
        begun.stop(reason)
    assert isinstance(test.tally, SequentialTally)
    counted = replace(test, observed=documents_of(answers[: test.tally.n_answers], OF_TEXT))
    begun = made.begin("suspect", plan=one, questioned=SERVER)
    begun.answers.write_bytes(log)
    write_run(begun, "suspect", planned_families(made, one, {"sampled/distinct": counted}))


def resumed(made: Made) -> None:
    """A plan whose first two runs were stopped; the third goes on from where they had come to, and ends."""
    served(made, stopped=[(100, "no connection"), (1500, "killed")])


def weighed_answers(made: Made, *, tokens: int = 100, **changes: Any) -> None:
    """A server's answers, weighed against a reference, and counted; the fixed number of tokens is reached by the last.

    Args:
        changes: to what was weighed.
    """
    made.commit()
    one = made.plan(
        primary="sampled/excess", also=["sampled/distinct"], reference=DIGEST, stopping="fixed", access="chat",
        sampling=PlannedSampling(tokens=tokens),
    )  # fmt: skip
    answers, observed = answers_and_weights(made.key)
    texts = documents_of(answers, OF_TEXT)
    counted = tally(made.key, answers, FED, test="sampled")
    tests = {
        "sampled/excess": replace(weighed(made.key, replace(observed, **changes)), answers=texts),
        "sampled/distinct": Examined(counted, [], lineup(counted, 19, seed=SEED), observed=texts),
    }
    begun = made.begin("suspect", plan=one, questioned=SERVER)
    begun.answers.write_bytes(log_of(one, answers, OF_TEXT))
    write_run(begun, "suspect", planned_families(made, one, tests))


def answers_and_weights(key: Key) -> tuple[list[list[int]], Excess]:
    """Five answers of 24 tokens, one of which is empty, and the weights of their contexts."""
    one = excess(key, 2.5)
    contexts = np.unique(one.pairs.contexts).tolist()
    said = [[token for context in contexts[i : i + 3] for token in 4 * (context, 11)] for i in range(0, 15, 3)]
    said.insert(1, [])
    pairs = WindowRule(key.context_width).extract(said, FED).pairs
    there = as_set(pairs)
    contexts, tokens = map(tuple, one.pairs.contexts.tolist()), one.pairs.tokens.tolist()
    liked = [pair in there for pair in zip(contexts, tokens, strict=True)]
    weights = np.where(liked, one.weights, -3 / (1 + np.exp(one.weights)))  # what nobody said is below 0
    return said, replace(one, weights=weights, n_tokens=sum(map(len, said)), distinct=pairs)


def weights(made: Made, *, strength: float = 2.5) -> None:
    made.check()
    made.commit()
    one = made.plan(
        primary="reading/difference", also=["sampled/excess"], reference=DIGEST, stopping="fixed",
        sampling=PlannedSampling(tokens=100), key_check=CHECKED, positive_control=PositiveControl("56" * 32),
    )  # fmt: skip
    one.check_positive_control("56" * 32)
    control = reading(made.key, 1.5, seed=5)
    read = weighed(made.key, reading(made.key, strength))
    read = replace(read, control=weigh(made.key, control), control_observed=control)
    tests = {"reading/difference": read, "sampled/excess": weighed(made.key, excess(made.key, strength))}
    made.run("suspect", planned_families(made, one, tests, checked=True), plan=one, questioned=MODEL)


def attributed(made: Made) -> None:
    """As of `taggant attribute --case`: one key among 1,000."""
    texts = documents(made.key, 0.7, 2)
    (one,) = assess_family([tally(made.key, texts)], keys=1000)
    made.run("attribute", [Family({"attribution": Tested(COUNT, one.to_dict(), Texts(texts, []))}, False, 1000)])


def stopped_at_a_server(made: Made) -> None:
    """A run that asks a server under a plan that samples nothing, and was stopped for it."""
    whole = made.commit()
    one = made.plan(primary="reading/difference", reference=DIGEST, stopping="fixed", sampling=None)
    begun = made.begin("suspect", plan=one, questioned=SERVER)
    asks = plan(key=made.key, inclusion=Inclusion.of(made.key.key_id, whole), access="chat", effect=0.5)
    begun.answers.write_bytes(log_of(asks, [[1, 2, 3]], ()).replace(asks.digest.encode(), one.digest.encode()))
    begun.stop("killed")


def nothing(made: Made) -> None:
    """A run that was stopped, and nothing else."""
    made.begin("detect").stop("killed")


GOOD: dict[str, Callable[[Path], Files]] = {
    "text": lambda at: sealed(at, KEY, lambda made: made.run("detect", text_families(KEY)[:1])),
    "text-closed": lambda at: sealed(at, KEY, lambda made: made.run("detect", text_families(KEY)[:1]), opened=False),
    "texts": lambda at: sealed(at, KEY, texts),
    "texts-closed": lambda at: sealed(at, KEY, texts, opened=False),
    "texts-checked": lambda at: sealed(at, KEY, checked_texts),
    "texts-wide": lambda at: sealed(at, WIDE, texts),
    "texts-long": lambda at: sealed(at, LONG, texts),
    "texts-shown": lambda at: sealed(at, SHOWN, texts, vocabulary=VOCABULARY),
    "texts-shown-closed": lambda at: sealed(at, SHOWN, texts, opened=False, vocabulary=VOCABULARY),
    "early": lambda at: sealed(at, KEY, planned),
    "early-closed": lambda at: sealed(at, KEY, planned, opened=False),
    "server": lambda at: sealed(at, KEY, served),
    "server-closed": lambda at: sealed(at, KEY, served, opened=False),
    "server-exhausted": lambda at: sealed(at, KEY, lambda made: served(made, green=0.3, number=5)),
    "server-weights": lambda at: sealed(at, KEY, weighed_answers),
    "resumed": lambda at: sealed(at, KEY, resumed),
    "maximum": lambda at: sealed(at, KEY, lambda made: planned(made, green=0.25)),
    "exhausted": lambda at: sealed(at, KEY, lambda made: planned(made, green=0.3, number=5)),
    "exhausted-closed": lambda at: sealed(at, KEY, lambda made: planned(made, green=0.3, number=5), opened=False),
    "stopped-at-a-server": lambda at: sealed(at, KEY, stopped_at_a_server),
    "weights": lambda at: sealed(at, KEY, weights),
    "weights-closed": lambda at: sealed(at, KEY, weights, opened=False),
    "weights-none": lambda at: sealed(at, WIDE, lambda made: weights(made, strength=0.0)),
    "stamped": lambda at: sealed(at, KEY, lambda made: planned(made, stamped=True), stamped=True),
    "attributed": lambda at: sealed(at, KEY, attributed),
    "nothing": lambda at: sealed(at, KEY, nothing),
}
