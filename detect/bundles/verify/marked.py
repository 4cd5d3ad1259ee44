"""The mark of a bundle: its parameters, its opened key where there is one, its commitments and its plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detect.bundles import canonical
from detect.bundles.custody import Log
from detect.bundles.entries import digest
from detect.bundles.environment import FORMAT as ENVIRONMENT_FORMAT
from detect.bundles.held import MARK
from detect.bundles.mark import Mark
from detect.bundles.refused import Refused
from detect.bundles.seal import ENVIRONMENT, FILES, OPENING, VOCABULARY
from detect.bundles.verify.manifest import Files
from detect.keycheck import check_of
from detect.plans.plan import Plan
from watermark.errors import CommitmentError, KeyFileError, TaggantError
from watermark.greenlist import GreenList
from watermark.keys import Commitment, Opening, key_id, verify_opening
from watermark.keys.tokenizers import check_vocabulary

MOST_PAIRS, MOST_CHECKS = 10**10, 100  # of a key's check; checks of it
_PARAMETERS = ("scheme", "gamma_65536", "context_width", "tokenizer_sha256", "vocab_size", "special_ids")


@dataclass(frozen=True)
class Marked:
    """What a bundle says of its mark.

    Attributes:
        opening: None: the key is not handed over.
        plans: by their digests.
        shown: the tokens are there that the tokenizer's hash is of, which shows the special ids.
    """

    mark: Mark
    opening: Opening | None = field(repr=False)
    plans: Mapping[str, Plan]
    shown: bool = False

    @property
    def opened(self) -> bool:
        return self.opening is not None

    @property
    def key_id(self) -> str:
        return self.mark.key_id

    @property
    def scheme(self) -> str:
        return self.mark.scheme

    @property
    def gamma_65536(self) -> int:
        return self.mark.gamma_65536

    @property
    def gamma(self) -> float:
        return self.mark.gamma

    @property
    def context_width(self) -> int:
        return self.mark.context_width

    @property
    def special_ids(self) -> tuple[int, ...]:
        return self.mark.special_ids

    @property
    def chacha_key(self) -> bytes:
        """Of the opened mark (ValueError: it is not opened)."""
        if self.opening is None:
            raise ValueError("the key is not opened, so nothing can be coloured under it")
        return bytes.fromhex(self.opening.chacha_key)

    @property
    def green(self) -> GreenList:
        """The mark's colours; where it is not opened those of no key, for its gamma and its context width."""
        key = self.chacha_key if self.opened else bytes(32)
        return GreenList.from_chacha_key(key, self.gamma_65536, self.context_width)

    def special_ids_note(self, *, verified: bool) -> str:
        """As a key has it, for a tally's notes."""
        return "special ids: as the bundle has them"


def read_mark(files: Files, log: Log, opened: bool) -> Marked:
    """Read and check all that is about the mark.

    1. mark.json; every entry of the log is about this key.
    2. Every check of the key, commitment and plan is the one that the log says, and shows what it says.
    3. The opened key gives this key id, and its path leads to a root; one that was committed to, if the log has any.
    4. The tokens, where they are there, and the special ids are those of the tokenizer that the key id is of.

    Args:
        opened: what the manifest says.

    Raises:
        Refused: "json", "mark", "commitment", "plan", "opening" or "key-id".
    """
    mark = Mark.from_json(canonical.loads(files[MARK], MARK))
    environment = canonical.loads(files[ENVIRONMENT], ENVIRONMENT)
    if not isinstance(environment, dict) or environment.get("format") != ENVIRONMENT_FORMAT:
        raise Refused("mark", f"{ENVIRONMENT} describes no machine")
    for number, entry in enumerate(log.entries):
        if entry.details.get("key_id", mark.key_id) != mark.key_id:
            raise Refused("mark", f"custody.jsonl, line {number + 1}: about another key than {mark.key_id[:16]}")
    if sum(1 for _ in log.of("key-checked")) > MOST_CHECKS:
        raise Refused("mark", f"custody.jsonl: more than {MOST_CHECKS} checks of the key")
    plans: dict[str, Plan] = {}
    for entry in log.entries:
        if entry.event == "committed":
            (name,) = entry.subjects
            _check_commitment(files[f"{FILES}/{name}"], entry.details["root"], entry.details["size"], name)
        elif entry.event == "key-checked":
            (name,) = entry.subjects
            _check_key_check(canonical.loads(files[f"{FILES}/{name}"], name), entry.details, mark, name)
        elif entry.event == "planned":
            (name,) = entry.subjects
            plan = _read_plan(files[f"{FILES}/{name}"], name)
            if (plan.digest, plan.key_id, _root(plan)) != (entry.details["plan"], mark.key_id, entry.details["root"]):
                raise Refused("plan", f"{name}: of another digest, key or commitment than the log has")
            if (plan.gamma, plan.context_width) != (mark.gamma, mark.context_width):
                raise Refused("plan", f"{name}: of another gamma or context width than the mark")
            _check_inclusion(plan, name)
            plans[plan.digest] = plan
    opening = _read_opening(files, log, mark, opened)
    return Marked(mark, opening, plans, _check_vocabulary(files, mark))


def _root(plan: Plan) -> str | None:
    return None if plan.inclusion is None else plan.inclusion.commitment.root


def _check_commitment(data: bytes, root: str, size: int, name: str) -> None:
    content = canonical.loads(data, name)
    try:
        read = Commitment.from_json(content)
    except TaggantError as error:
        raise Refused("commitment", f"{name}: {error}") from None
    if (read.root, read.size) != (root, size):
        raise Refused("commitment", f"{name}: another root or size than the log has")


def _check_key_check(content: object, details: Mapping[str, Any], mark: Mark, name: str) -> None:
    try:
        read = check_of(content, mark.key_id, mark.gamma, name)
    except TaggantError as error:
        raise Refused("mark", str(error)) from None
    if read.n_scored > MOST_PAIRS:
        raise Refused("mark", f"{name}: of more pairs than any text has")
    if (read.accepted, read.corpus_sha256) != (details["accepted"], details["corpus_sha256"]):
        raise Refused("mark", f"{name}: another outcome or another text than the log has")


def _read_plan(data: bytes, name: str) -> Plan:
    content = canonical.loads(data, name)
    try:
        plan = Plan.from_json(content)
    except TaggantError as error:
        raise Refused("plan", f"{name}: {error}") from None
    if plan.digest != digest(data):
        raise Refused("plan", f"{name}: not as `taggant plan` writes it")
    return plan


def _check_inclusion(plan: Plan, name: str) -> None:
    try:
        if plan.inclusion is not None:
            plan.inclusion.check(plan.key_id)
    except CommitmentError as error:
        raise Refused("commitment", f"{name}: {error}") from None


def _read_opening(files: Files, log: Log, mark: Mark, opened: bool) -> Opening | None:
    if not opened == log.entries[-1].details["opened"] == (OPENING in files):
        raise Refused("opening", f"manifest, log and files do not agree on whether there is an {OPENING}")
    if not opened:
        return None
    content = canonical.loads(files[OPENING], OPENING)
    try:
        opening = Opening.from_json(content)
    except TaggantError as error:
        raise Refused("opening", f"{OPENING}: {error}") from None
    for name in _PARAMETERS:
        if getattr(opening, name) != getattr(mark, name):
            raise Refused("opening", f"{OPENING}: another {name} than mark.json has")
    _check_key_id(opening, mark)
    try:
        verify_opening(opening)
    except CommitmentError as error:
        raise Refused("commitment", f"{OPENING}: {error}") from None
    committed = [(one.details["root"], one.details["size"]) for _, one in log.of("committed")]
    if committed and (opening.root, opening.size) not in committed:
        raise Refused("commitment", f"{OPENING}: it leads to a root that was not committed")
    return opening


def _check_vocabulary(files: Files, mark: Mark) -> bool:
    """Whether the mark's tokens are there; that they are its (Refused)."""
    if VOCABULARY not in files:
        return False
    if mark.tokenizer_sha256 is None or mark.vocab_size is None:
        raise Refused("mark", f"{VOCABULARY} is there, and the mark names no tokenizer")
    try:
        check_vocabulary(files[VOCABULARY], mark.special_ids, mark.vocab_size, mark.tokenizer_sha256)
    except KeyFileError as error:
        raise Refused("mark", f"{VOCABULARY}: {error}") from None
    return True


def _check_key_id(opening: Opening, mark: Mark) -> None:
    found = key_id(
        digest(bytes.fromhex(opening.chacha_key)),
        scheme=opening.scheme,
        gamma_65536=opening.gamma_65536,
        context_width=opening.context_width,
        tokenizer_sha256=opening.tokenizer_sha256,
    )
    if found != mark.key_id or opening.leaf.key_id != mark.key_id:
        raise Refused("key-id", f"{OPENING}: the key and its parameters give {found}, the mark is {mark.key_id}")
