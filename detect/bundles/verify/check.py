"""All checks of a bundle, in the order of ADR 15: the first that fails ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from detect.bundles.container import read_bundle
from detect.bundles.custody import Log
from detect.bundles.entries import digest
from detect.bundles.held import LOG, MARK
from detect.bundles.refused import Refused
from detect.bundles.seal import FILES
from detect.bundles.signer import PublicKey
from detect.bundles.verify.judgement import check_family, check_order
from detect.bundles.verify.leftout import Whole, whole_of
from detect.bundles.verify.manifest import Files, Manifest, check_signers, keys_in
from detect.bundles.verify.marked import Marked, read_mark
from detect.bundles.verify.numbers import check_numbers
from detect.bundles.verify.responses import Tokens, check_responses
from detect.bundles.verify.runs import RecordedFamily, RecordedTest, read_runs
from detect.bundles.verify.stamped import Stamped, read_stamps
from detect.bundles.verify.unchecked import unchecked_of
from detect.wording import amount
from watermark.errors import InputError

OnCheck = Callable[[str, str], None]  # a check that was passed, and what it found


@dataclass(frozen=True)
class Verified:
    """A bundle that passed every check, and what it says: these bytes were verified.

    Attributes:
        confirmatory: the tests that are, by the log.
        wholes: of counts under an opened key, by `what` of a test: what they were with the pairs they leave out.
        unchecked: what could not be checked, for people.
    """

    files: Files = field(repr=False)
    manifest: Manifest
    log: Log = field(repr=False)
    marked: Marked
    stamps: tuple[Stamped, ...]
    families: tuple[RecordedFamily, ...] = field(repr=False)
    confirmatory: tuple[RecordedTest, ...] = field(repr=False)
    wholes: Mapping[str, Whole] = field(repr=False)
    unchecked: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """One of the case's files, by the name that the log has."""
        return self.files[f"{FILES}/{name}"]

    @property
    def tests(self) -> list[RecordedTest]:
        """Of all families, in order."""
        return [test for family in self.families for test in family.tests]


def verify_bundle(
    path: str | Path,
    *,
    trusted: Sequence[PublicKey] = (),
    roots: Sequence[x509.Certificate] = (),
    tokens: Tokens | None = None,
    on_check: OnCheck = lambda name, found: None,
) -> Verified:
    """Verify a bundle, a directory or a zip archive; each of its bytes is read once.

    Args:
        trusted: keys that may have signed; none: whose they are is not checked.
        roots: of timestamping authorities; none: who made the timestamps is not checked.
        tokens: of the mark's tokenizer; None: texts that were tokenised again are not.
        on_check: called after each check that was passed.

    Raises:
        Refused: with the code of the first check that failed; "size" where there is too little memory for one.
        TokenizerMismatchError: `tokens` are not of the mark's tokenizer.
    """
    try:
        return verify_files(read_bundle(path), trusted=trusted, roots=roots, tokens=tokens, on_check=on_check)
    except MemoryError:
        raise Refused("size", f"{path}: there is too little memory to verify it") from None


def verify_files(
    files: Files,
    *,
    trusted: Sequence[PublicKey] = (),
    roots: Sequence[x509.Certificate] = (),
    tokens: Tokens | None = None,
    on_check: OnCheck = lambda name, found: None,
) -> Verified:
    """As `verify_bundle`, of files that `detect.bundles.container.read_bundle` gave."""
    size = sum(map(len, files.values()))
    on_check("container", f"{amount(len(files), 'file')}, {size:,} bytes")
    keys = keys_in(files)
    manifest = Manifest.read(files, keys)
    on_check("manifest", f"case {manifest.case}, sealed {manifest.created}, signed by {manifest.keyid}")
    manifest.check(files)
    on_check("files", f"{amount(len(manifest.subjects), 'file')} as they were signed for")
    check_signers(files, keys, trusted)
    on_check("signers", f"{amount(len(keys), 'key')}, {'all trusted' if trusted else 'whose they are was not checked'}")
    log = _read_log(files, manifest, keys)
    times = f"{log.entries[0].time} to {log.entries[-1].time}"
    on_check("custody", f"{amount(len(log.entries), 'line')}, unbroken, {times}")
    marked = read_mark(files, log, manifest.opened)
    _check_special_ids(marked, tokens)
    on_check("mark", f"key {marked.key_id}, {'opened' if marked.opened else 'not opened'}")
    stamps = read_stamps(files, log, marked, roots)
    on_check("timestamps", _of_stamps(stamps, bool(roots)))
    families = read_runs(files, log, marked)
    tests = [test for family in families for test in family.tests]
    runs = sum(1 for _ in log.of("begun"))
    on_check("runs", f"{amount(runs, 'run')} begun, {amount(len(tests), 'test')} recorded")
    for family in families:
        for test in family.tests:
            _check_numbers(test, family, marked)
    on_check("numbers", _of_numbers(tests, marked))
    answered = check_responses(files, tests, log, marked, tokens)
    on_check("responses", str(answered))
    for family in families:
        check_family(family, log)
    wholes = {test.what: whole for test in tests if (whole := whole_of(test, marked)) is not None}
    on_check("findings", "; ".join(_of_finding(test, wholes.get(test.what)) for test in tests) or "none")
    confirmatory = check_order(tests, log, lambda name: files[f"{FILES}/{name}"])
    on_check("order", f"{len(confirmatory)} of {amount(len(tests), 'test')} confirmatory by the log")
    unchecked = unchecked_of(
        bool(trusted), bool(roots), tokens is not None, marked, stamps, families, answered, log, confirmatory
    )
    return Verified(
        files, manifest, log, marked, tuple(stamps), tuple(families), tuple(confirmatory), wholes, unchecked
    )


def _read_log(files: Files, manifest: Manifest, keys: dict[str, PublicKey]) -> Log:
    log = Log.read(files[LOG], keys)
    log.require_sealed()
    if log.case != manifest.case:
        raise Refused("case", "custody.jsonl: of another case than the manifest")
    if (len(log.entries), log.last) != (manifest.entries, manifest.last):
        raise Refused("head", "custody.jsonl: it has not the entries, or not the end, that the manifest says")
    for name, found in log.subjects.items():
        if digest(files.get(f"{FILES}/{name}", b"")) != found or f"{FILES}/{name}" not in files:
            raise Refused("subject", f"{FILES}/{name} is not there, or not the file that was recorded")
    for name in files:
        if name.startswith(f"{FILES}/") and name.removeprefix(f"{FILES}/") not in log.subjects:
            raise Refused("unrecorded", f"{name} is recorded by no entry")
    for keyid in keys:
        if keyid not in (*log.signers, manifest.keyid):
            raise Refused("signer", f"the key {keyid[:16]} signed nothing here")
    return log


def _check_numbers(test: RecordedTest, family: RecordedFamily, marked: Marked) -> None:
    """As `check_numbers`; material that nothing can be computed of is refused."""
    try:
        check_numbers(test, family, marked)
    except InputError as error:
        raise Refused("material", f"{test.what}: {error}") from None


def _check_special_ids(marked: Marked, tokens: Tokens | None) -> None:
    """Raise Refused where the mark's tokenizer, whose fingerprint its key id is of, has other special ids."""
    if tokens is None or marked.mark.tokenizer_sha256 != tokens.sha256:
        return
    if marked.special_ids != tokens.special_ids:
        raise Refused("mark", f"{MARK}: other special ids than those of the mark's tokenizer")


def _of_finding(test: RecordedTest, whole: Whole | None) -> str:
    """As the second verifier says it, too."""
    one = test.evidence
    sought = f" of a green fraction of {test.sought:g}" if one["finding"] == "not detected" and test.sought else ""
    p = "no p claimed" if one["log10_p_adjusted"] is None else f"adjusted log10 p {one['log10_p_adjusted']:.1f}"
    level = f" at alpha {one['alpha']:g}" if "alpha" in one else ""
    said = f"{test.what}: {one['finding']}{sought}, {one.get('status', 'exploratory')}, {p}{level}"
    return said if whole is None else f"{said} ({whole})"


def _of_stamps(stamps: Sequence[Stamped], rooted: bool) -> str:
    if not stamps:
        return "none: when anything was done is the signer's word"
    times = ", ".join(f"{one.what} {one.stamp.time:%Y-%m-%dT%H:%M:%SZ} by {one.stamp.authority}" for one in stamps)
    return times if rooted else f"{times}; whether these authorities are what they are called was not checked"


def _of_numbers(tests: Sequence[RecordedTest], marked: Marked) -> str:
    if marked.opened:
        return f"{amount(len(tests), 'test')} computed again from the opened key"
    return "what follows from the examiner's counts of green pairs: the key is not opened"
