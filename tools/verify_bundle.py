"""A second verifier of Taggant evidence bundles: one file, standard library and `cryptography`, nothing of Taggant.

    python verify_bundle.py BUNDLE [--trust PEM]... [--tsa-root PEM]...

Written from docs/adr/0015-evidence-bundles.md: a line a check, then `PASSED: ...` (exit 0) or `FAILED: <code> <reason>`
(exit 1). Timestamps go to the `openssl` command. Left to the first verifier: scans, audits, comparison tests, what is
for display beside a bound, uniformity_p, the best decoy of weighted tests, and most of what a plan says.
"""

# fmt: off
import argparse
import ast
import base64
import functools
import hashlib
import io
import json
import math
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace as Record

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}(/(?!\.)[A-Za-z0-9._-]{1,100}){0,7}")
LN10, MOST_COLOURS = math.log(10), 2_000_000
NEEDED = ("manifest.json", "custody.jsonl", "mark.json", "environment.json")
ENTRY = "format case sequence previous time event subjects details taggant"
EVENTS = {  # members of the details, and what its files are called
    "opened": ("", ""), "key-checked": ("key_id accepted corpus_sha256", r"key-check(-\d+)?\.json"),
    "committed": ("root size", r"commitment(-\d+)?\.json"), "planned": ("plan key_id root", r"plan(-\d+)?\.json"),
    "begun": ("run command key_id plan questioned inputs options", ""), "finished": ("run tests", r"runs/{run}/.+"),
    "stopped": ("run reason", r"runs/{run}/responses\.log"), "noted": ("text", ""),
    "stamped": ("of what", r"stamps/.+\.tsr"), "sealed": ("opened", "")}
MARK = "scheme gamma_65536 context_width tokenizer_sha256 vocab_size special_ids"
OPENING = f"format leaf chacha_key index path root size {MARK}"
TEXTS, JUDGED = "documents prompts", "log10_p log10_p_adjusted finding notes"
EVIDENCE = f"{JUDGED} schema test key_id scheme gamma context_width n_tokens n_scored n_green green_fraction ci95 " \
    "z_score log10_e log10_p_saddlepoint theta n_contexts alpha status"
KINDS = {  # of tests: the material, and the members of the evidence
    "count": (TEXTS, EVIDENCE), "e-process": (TEXTS, EVIDENCE), "weights": ("weights", EVIDENCE),
    "scan": (TEXTS, f"{JUDGED} family intervals spans")}
BESIDE = "lineup comparisons sequential plan changes"

class Refused(Exception):
    """args: a code of ADR 15, and why."""

def need(condition, code, reason):
    if not condition:
        raise Refused(code, reason)

def members(value, names, code, what, optional=""):
    """`value`, if it is an object with exactly these members."""
    least = set(names.split())
    right = type(value) is dict and least <= value.keys() <= least | set(optional.split())
    need(right, code, f"{what}: its members are not {names}")
    return value

def canonical(value):
    """RFC 8785 text of a JSON value."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        text = f"{Decimal(repr(value or 0.0)):f}".removesuffix(".0")
        return text if 1e-6 <= abs(value) < 1e21 or not value else re.sub("e([+-])0*", r"e\1", repr(value))
    need(type(value) is not int or abs(value) < 1 << 53, "json", "an integer beyond what JSON holds exactly")
    return json.dumps(value, ensure_ascii=False)

def parse(data, what):
    """The value of canonical bytes: a member that stands twice, or NaN, is not written again as it was."""
    try:
        value = json.loads(data.decode())
        same = canonical(value).encode() == data
    except (ValueError, RecursionError):
        same = False
    need(same, "json", f"{what}: not canonical JSON")
    return value

def lines_of(data, what):
    *lines, rest = data.split(b"\n")
    need(not rest, "json", f"{what}: the last line is not ended")
    return lines

def sha256(data):
    return hashlib.sha256(data).hexdigest()

def moment(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

def files_in(source):
    """Name, size that is said, whether it is no regular file, and opener of every file in a directory or a zip."""
    if isinstance(source, Path) and source.is_dir():
        for path in sorted(source.rglob("*")):  # which follows no links
            if path.is_symlink() or not path.is_dir():
                name, odd = path.relative_to(source).as_posix(), path.is_symlink() or not path.is_file()
                yield name, path.lstat().st_size, odd, functools.partial(path.open, "rb")
        return
    data = source.read_bytes() if isinstance(source, Path) else source
    need(data[:4] == b"PK\3\4" and data[-22:-18] == b"PK\5\6", "zip", "not an archive from its first to its last byte")
    for info in (archive := zipfile.ZipFile(io.BytesIO(data))).infolist():
        if not info.is_dir() or info.file_size:
            packed = info.compress_type in (0, 8) and not info.flag_bits & 1
            need(packed, "zip", f"{info.filename!r}: encrypted, or neither stored nor deflated")
            need(info.file_size <= 200 * info.compress_size, "size", f"{info.filename!r} expands too far")
            odd = info.external_attr >> 28 not in (0, 8)
            yield info.orig_filename, info.file_size, odd, functools.partial(archive.open, info)

def read(source):
    """Every file's bytes by its name, each read once."""
    files, total = {}, 0
    try:
        for name, size, odd, opener in files_in(source):
            total += size
            need(NAME.fullmatch(name), "name", repr(name))
            need(not odd, "link", f"{name}: no regular file")
            need(name not in files, "twice", name)
            need(len(files) < 10_000 and size <= 1 << 30 and total <= 1 << 32, "size", f"{name}: too much")
            with opener() as handle:
                files[name] = handle.read(size + 1)
            need(len(files[name]) == size, "zip", f"{name}: another size than was said")
    except OSError as error:
        raise Refused("unreadable", str(error)) from None
    except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise Refused("zip", f"{type(error).__name__}: {error}") from None
    return files

def unseal(data, kind, keys, what):
    """The payload of a DSSE envelope with one good signature, and whose it is."""
    envelope = members(parse(data, what), "payload payloadType signatures", "envelope", what)
    signatures = envelope["signatures"]
    need(type(signatures) is list and len(signatures) == 1, "envelope", f"{what}: not one signature")
    one = members(signatures[0], "keyid sig", "envelope", what)
    need(envelope["payloadType"] == kind, "payload-type", f"{what}: no {kind}")
    try:
        payload, signature = (base64.b64decode(text) for text in (envelope["payload"], one["sig"]))
        spelled = [base64.b64encode(payload).decode(), base64.b64encode(signature).decode()]
    except (ValueError, TypeError):
        spelled = None
    need(spelled == [envelope["payload"], one["sig"]], "base64", f"{what}: not the one spelling of its bytes")
    need(one["keyid"] in keys, "key-id", f"{what}: no such signer")
    try:
        keys[one["keyid"]].verify(signature, b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload))
    except InvalidSignature:
        raise Refused("signature", f"{what}: not this key's signature of these bytes") from None
    return parse(payload, what), one["keyid"]

# --- numbers ---

@functools.cache
def log_comb(n, k):
    return math.log(math.comb(n, k))  # of the exact integer: no large log-gammas are subtracted

def log_pmf(k, n, p, q):
    return log_comb(n, k) + (k * math.log(p) if k else 0.0) + ((n - k) * math.log(q) if n > k else 0.0)

def log_tail(k, n, p, q):
    """log P(X >= k), X ~ Binomial(n, p), p + q = 1: the mass at k times a sum of falling terms, or the other side's."""
    if k <= 0 or k > n:
        return 0.0 if k <= 0 else -math.inf
    if k <= n * p:
        return math.log1p(-math.exp(log_tail(n - k + 1, n, q, p)))
    total, term, j = 1.0, 1.0, k
    while j < n and term > 1e-18 * total:
        term *= (n - j) * p / ((j + 1) * q)
        j, total = j + 1, total + term
    return log_pmf(k, n, p, q) + math.log(total)

def log10_e(k, n, gamma):
    """The mixture's integral, in closed form P(X <= k) / (P(X = k) (n + 1 - k)), X ~ Binomial(n + 1, γ)."""
    below = log_tail(n + 1 - k, n + 1, 1 - gamma, gamma)
    return (below - log_pmf(k, n + 1, gamma, 1 - gamma) - math.log(n + 1 - k)) / LN10

def lower_limit(k, n):
    """Clopper and Pearson's, 95 %: the q with P(X >= k) = .025."""
    low, high = 0.0, 1.0
    for _ in range(60 if k else 0):
        q = (low + high) / 2
        low, high = (q, high) if log_tail(k, n, q, 1 - q) < math.log(0.025) else (low, q)
    return low

def e_process(gamma):
    """Takes colours by `send`, gives log10 E: the tail P(Binomial(n + 1, γ) <= k) changes by (green - γ) × the mass."""
    n, k, tail, log_mass, lost, value = 0, 0, 1 - gamma, 0.0, 0.0, 0.0
    while True:
        green = yield value
        n, k = n + 1, k + green
        step = math.log(gamma * n / k if green else (1 - gamma) * n / (n - k)) - lost  # a compensated sum
        log_mass, before = log_mass + step, log_mass
        lost = (log_mass - before) - step
        tail += (green - gamma) * math.exp(log_mass)
        value = (math.log(tail / (n + 1) / (1 - gamma)) - log_mass) / LN10 if tail > 1e-3 else log10_e(k, n, gamma)

def bound(weights, gamma, s, theta):
    """log10 of the Chernoff bound at θ: Σ log(1 - g (1 - e^-θ|a|)) + θ (S_max - S), g the chance that a pair misses."""
    missed = math.fsum([*((1 - gamma) * a if a > 0 else -gamma * a for a in weights), -s])
    terms = [math.log1p((1 - gamma if a > 0 else gamma) * math.expm1(-theta * abs(a))) for a in weights]
    return min(0.0, (math.fsum(terms) + theta * missed) / LN10) if s > 0 else 0.0

def is_green(key, gamma_65536, pair):
    """The t-th little-endian uint16 of the keystream under the context's nonce, below gamma_65536."""
    *context, token = pair
    nonce = struct.pack(f"<{max(3, len(context))}I", *[0xFFFFFFFF] * (3 - len(context)), *context)
    nonce = nonce if len(context) <= 3 else hashlib.sha256(nonce).digest()[:12]
    cipher = Cipher(algorithms.ChaCha20(key, struct.pack("<I", token // 32) + nonce), None)
    return struct.unpack_from("<H", cipher.encryptor().update(bytes(64)), token % 32 * 2)[0] < gamma_65536

def arrays(data):
    """Of an .npz the arrays of plain numbers, by name: shape, and values in C order."""
    found = {}
    for name, array in read(data).items():
        start = 10 + int.from_bytes(array[8:10], "little")
        head = ast.literal_eval(array[10:start].decode())
        kind, shape = {"<u4": "I", "<i8": "q", "<f8": "d", "<f4": "f", "|b1": "?"}.get(head["descr"]), head["shape"]
        plain = array[:7] == b"\x93NUMPY\1" and (kind or re.fullmatch("<U[0-9]+", head["descr"]))
        need(plain, "material", f"{name} is no array of plain numbers")
        values = struct.unpack(f"<{math.prod(shape)}{kind}", array[start:]) if kind else ()
        rows = shape[0] if head["fortran_order"] and len(shape) == 2 else 0
        found[name.removesuffix(".npy")] = shape, [v for i in range(rows) for v in values[i::rows]] if rows else values
    return found

# --- the checks, in the order of ADR 15; each says what it found ---

def container(b):
    for name in NEEDED:
        need(name in b.files, "missing", name)
    return f"{len(b.files)} files"

def manifest(b):
    b.keys = {}
    for name in (name for name in b.files if name.startswith("signers/")):
        try:
            keyid, key = key_of(b.files[name])
            b.keys |= {keyid: key} if name == f"signers/{keyid}.pem" else {}
        except (ValueError, UnsupportedAlgorithm):
            pass  # it is refused among the signers
    statement, keyid = unseal(b.files["manifest.json"], "application/vnd.in-toto+json", b.keys, "manifest.json")
    members(statement, "_type predicateType subject predicate", "statement", "payload")
    b.said = members(statement["predicate"], "format case created opened custody taggant", "statement", "predicate")
    kinds = [statement["_type"], statement["predicateType"], b.said["format"]]
    need(kinds == ["https://in-toto.io/Statement/v1", "urn:taggant:bundle:1", "taggant-bundle/1"], "statement", kinds)
    b.subjects, b.used = [(one["name"], one["digest"]["sha256"]) for one in statement["subject"]], {keyid}
    return f"case {b.said['case']}, {b.said['created']}, signed by {keyid}"

def files(b):
    names, there = [name for name, _ in b.subjects], b.files.keys() - {"manifest.json", "manifest.tsr"}
    need(names == sorted(set(names)), "order", "the subjects are not sorted, or one stands twice")
    need(there <= set(names), "extra", f"{min(there - set(names), default='')} is no subject")
    for name, digest in b.subjects:
        need(name in there, "absent", name)
        need(sha256(b.files[name]) == digest, "digest", name)
    return f"{len(names)} have the digests that were signed"

def signers(b):
    for name in (name for name in b.files if name.startswith("signers/")):
        need(name[8:-4] in b.keys, "signer", f"{name} holds no Ed25519 key of that id")
    need(not b.trust or b.keys.keys() <= b.trust, "untrusted", f"{min(b.keys.keys() - b.trust, default='')}")
    b.left += [] if b.trust else ["whose the keys are (--trust)"]
    return f"{len(b.keys)}, {'trusted' if b.trust else 'whose they are was not checked'}"

def custody(b):
    b.log, b.digests, running, runs = [], [], None, 0
    lines = lines_of(b.files["custody.jsonl"], "custody.jsonl")
    need(lines, "event", "no entries")
    for number, line in enumerate(lines):
        what = f"entry {number}"
        payload, keyid = unseal(line, "application/vnd.taggant.custody+json", b.keys, what)
        entry = Record(**members(payload, ENTRY, "entry", what), number=number)
        event, names = entry.event, [one["name"] for one in entry.subjects]
        need(event in EVENTS, "event", f"{what}: {event}")
        run = members(entry.details, EVENTS[event][0], "entry", what).get("run")
        pattern = EVENTS[event][1].format(run=run)
        right = len(names) == bool(pattern) if event != "finished" else f"runs/{run}/run.json" in names
        right = right or (event == "stopped" and not names)  # nothing had been asked
        right = right and names == sorted(set(names)) and all(re.fullmatch(pattern, name) for name in names)
        need(right and entry.format == "taggant-custody/1", "entry", f"{what}: its format or its subjects")
        need(entry.case == b.said["case"], "case", what)
        need(type(entry.sequence) is int and entry.sequence == number, "sequence", what)
        need(entry.previous == (b.digests[-1] if number else None), "chain", what)
        need(moment(entry.time) >= moment((b.log or [entry])[-1].time), "time", what)
        runs += event == "begun"
        place = (event == "opened") == (number == 0) and (event == "sealed" or number + 1 < len(lines))
        place = place and (event not in ("begun", "sealed") or running is None)
        place = place and (event not in ("finished", "stopped") or run == running)
        need(place and (event != "begun" or run == f"{runs:04d}"), "event", f"{what}: {event} {run or ''}")
        running = run if event == "begun" else None if run else running
        for one in entry.subjects:
            need(sha256(b.files.get(f"case/{one['name']}", b"")) == one["sha256"], "subject", f"{what}: {one['name']}")
        entry.files = {f"case/{one['name']}": one["sha256"] for one in entry.subjects}
        b.log.append(entry)
        b.digests.append(sha256(line))
        b.used.add(keyid)
    need(b.said["custody"] == {"entries": len(lines), "last": b.digests[-1]}, "head", "the manifest has another log")
    unknown = {name for name in b.files if name.startswith("case/")} - {name for one in b.log for name in one.files}
    need(not unknown, "unrecorded", min(unknown, default=""))
    need(b.used == b.keys.keys(), "signer", "a key that signed nothing")
    return f"{len(lines)} entries, {b.log[0].time} to {b.log[-1].time}"

def mark(b):
    b.mark = members(parse(b.files["mark.json"], "mark.json"), f"format key_id {MARK}", "mark", "mark.json")
    b.units, b.gamma, b.h = b.mark["gamma_65536"], b.mark["gamma_65536"] / 65536, b.mark["context_width"]
    right = [b.mark["format"], b.mark["scheme"]] == ["taggant-mark/1", "greenlist/1"]
    need(right and 0 < b.gamma < 1 and 0 <= b.h <= 8, "mark", "its format, scheme, gamma or context width")
    parse(b.files["environment.json"], "environment.json")
    b.plans, b.root_of_plan = {}, {}
    for entry in b.log:
        said, own = entry.details, entry.files if entry.event in ("committed", "planned") else {}
        need(said.get("key_id", b.mark["key_id"]) == b.mark["key_id"], "mark", f"entry {entry.number}: another key")
        for name, digest in own.items():
            value = parse(b.files[name], name)
            if entry.event == "committed":
                found = [value["format"], value["root"], value["size"]]
                need(found == ["taggant-commitment/1", said["root"], said["size"]], "commitment", f"{name}: {found}")
            else:
                key, b.plans[digest] = value["key"], value
                root = b.root_of_plan[digest] = (key["commitment"] or {"root": None})["root"]
                found = [value["format"], digest, key["key_id"], root]
                wanted = ["taggant-plan/1", said["plan"], b.mark["key_id"], said["root"]]
                need(found == wanted, "plan", f"{name}: {found}")
                shown = root_of(key["inclusion"], key["commitment"]["size"]) if root else None
                need(shown == root, "commitment", f"{name}: its path leads elsewhere")
    b.key = None
    need(b.said["opened"] == b.log[-1].details["opened"] == ("opening.json" in b.files), "opening", "there, or not?")
    if "opening.json" not in b.files:
        b.left.append("colours: the key is not opened, so counts of green, and S, are the examiner's word")
        return f"{b.mark['key_id']}, not opened"
    said = members(parse(b.files["opening.json"], "opening.json"), OPENING, "opening", "opening.json")
    right = said["format"] == "taggant-opening/1" and all(said[name] == b.mark[name] for name in MARK.split())
    need(right, "opening", "opening.json: its format, or other parameters than mark.json has")
    b.key = bytes.fromhex(said["chacha_key"])
    by_id = {name: said[name] for name in ("scheme", "gamma_65536", "context_width", "tokenizer_sha256")}
    found = sha256(canonical(by_id | {"chacha_key_sha256": sha256(b.key)}).encode())
    need(found == b.mark["key_id"] == said["leaf"]["key_id"], "key-id", f"the opened key's is {found}")
    need(root_of(said, said["size"]) == said["root"], "commitment", "the path leads to another root")
    roots = [[one.details["root"], one.details["size"]] for one in b.log if one.event == "committed"]
    need(not roots or [said["root"], said["size"]] in roots, "commitment", "it leads to a root that was not committed")
    return f"{found}, opened{', as committed' if roots else ''}"

def root_of(place, size):
    """The Merkle root that a leaf and its path lead to. RFC 9162, 2.1.3.2."""
    node, last = place["index"], size - 1
    need(0 <= node <= last, "commitment", "an index outside the tree")
    found = hashlib.sha256(b"\0" + canonical(place["leaf"]).encode()).digest()
    for sibling in map(bytes.fromhex, place["path"]):
        need(last > 0, "commitment", "a path that is too long")
        right = node & 1 or node == last
        found = hashlib.sha256(b"\1" + (sibling + found if right else found + sibling)).digest()
        while right and not node & 1 and node:
            node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    need(last == 0, "commitment", "a path that is too short")
    return found.hex()

def stamps(b):
    """The imprint and the time that a response states. `openssl` verifies the rest, at that time, under given roots."""
    found, earliest = [("manifest.tsr", sha256(b.files["manifest.json"]))] if "manifest.tsr" in b.files else [], {}
    recorded = {d: digest for d, one in zip(b.digests, b.log, strict=True) for digest in one.files.values()}
    for entry in (one for one in b.log if one.event == "stamped"):
        of, event = entry.details["of"], {"commitment": "committed", "plan": "planned"}.get(entry.details["what"])
        known = [digest for one in b.log[: entry.number] if one.event == event for digest in one.files.values()]
        known = b.digests[: entry.number] if entry.details["what"] == "entry" else known
        need(of in known, "stamp", f"entry {entry.number}: over nothing that was recorded before")
        found.append((*entry.files, of))
    for name, of in found:
        stated = re.search(rb"\x18[\x0f-\x19](\d{14})(\.\d+)?Z", b.files[name])
        need(stated and b"\x04\x20" + bytes.fromhex(of) in b.files[name], "stamp", f"{name}: not over {of}")
        time = datetime.strptime(stated[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        for digest in {of, recorded.get(of, of)}:  # an entry's stamp is also one of the file that it records
            earliest[digest] = min(time, earliest.get(digest, time))
        if b.roots:
            with tempfile.NamedTemporaryFile() as response, tempfile.NamedTemporaryFile() as roots:
                Path(response.name).write_bytes(b.files[name])
                Path(roots.name).write_bytes(b"".join(b.roots))
                given = ["-in", response.name, "-CAfile", roots.name, "-attime", str(int(time.timestamp()))]
                command = ["openssl", "ts", "-verify", "-digest", of, *given]
                ran = subprocess.run(command, capture_output=True, check=False)
            expired = b"has expired" in ran.stderr or b"not yet valid" in ran.stderr
            code = "stamp-expired" if expired else "stamp-untrusted" if b"verify error" in ran.stderr else "stamp"
            need(ran.returncode == 0, code, f"{name}: {ran.stderr!r}")
    for run in (one for one in b.log if one.event == "begun" and one.details["plan"] in b.plans):
        rests = {digest for one in b.log if one.event == "committed" for digest in one.files.values()
                 if one.details["root"] == b.root_of_plan[run.details["plan"]]} | {run.details["plan"]}
        for of in rests & earliest.keys():
            need(earliest[of] <= moment(run.time), "stamp-late", f"run {run.details['run']} is before {earliest[of]}")
    b.left += ["who made the timestamps (--tsa-root)"] if found and not b.roots else []
    b.left += [] if found else ["when anything was done: no timestamp from outside, so the order is the signer's word"]
    return f"{len(found)}"

def runs(b):
    b.tests, b.families, begun = [], [], {one.details["run"]: one for one in b.log if one.event == "begun"}
    own = {"key_id": b.mark["key_id"], "scheme": b.mark["scheme"], "gamma": b.gamma, "context_width": b.h}
    for entry in (one for one in b.log if one.event == "finished"):
        run, tests = entry.details["run"], {}
        here, begin = f"case/runs/{run}/", begun[run].details
        said = members(parse(b.files[f"{here}run.json"], here), "format run command family tests", "run", here)
        right = [said["format"], said["run"], said["command"]] == ["taggant-run/1", run, begin["command"]]
        placed = [name for family in said["family"] for name in family["tests"]]
        right = right and sorted(said["tests"]) == sorted(entry.details["tests"]) == sorted(placed)
        need(right, "run", f"{here}run.json: another command, run or other tests than the log has")
        for name, one in said["tests"].items():
            test = Record(**members(one, "kind evidence material", "run", here, "statistic"), begun=begun[run])
            test.what, s = f"run {run}, {name}", one.get("statistic")
            need(test.kind in KINDS, "run", f"{test.what}: {test.kind}")
            material = members(test.material, KINDS[test.kind][0], "run", test.what)
            paths = {part: here + path for part, path in material.items()}
            need({here + test.evidence, *paths.values()} <= entry.files.keys(), "run", f"{test.what}: others' files")
            test.s, test.files = s, {part: b.files[path] for part, path in paths.items()}
            e = test.e = parse(b.files[here + test.evidence], test.what)
            members(e, KINDS[test.kind][1], "evidence", test.what, BESIDE)
            right = e["finding"] in ("detected", "inconclusive", "not detected")
            if test.kind != "scan":
                right = right and e == e | own | {"schema": "taggant-evidence/1"}
                right = right and e["status"] in ("exploratory", "confirmatory")
            right = right and e.get("plan", {"sha256": begin["plan"]})["sha256"] == begin["plan"]
            need(right, "evidence", f"{test.what}: another mark, schema, plan, finding or status")
            tests[name] = test
        for family in said["family"]:
            members(family, "tests key_check", "run", here)
            b.families.append((family["key_check"], [tests[name] for name in family["tests"]]))
        b.tests += tests.values()
        plan, primary, together = b.plans.get(begin["plan"]), None, {}
        if plan:
            primary = f"{plan['primary']['test']}/{plan['primary']['weights']}"
            planned = {name: test.e for name, test in tests.items() if "plan" in test.e}
            right = planned.keys() == {*plan["tests"]} and all(e["plan"]["test"] == name for name, e in planned.items())
            need(right, "run", f"{here}: not the tests that were planned")
            for name, e in planned.items():
                wanted = {"alpha": plan["alpha"], "primary": name == primary, **plan["lineup"]}
                wanted |= {"maximum_pairs": plan["maximum_pairs"]} if "sequential" in e else {}
                found = wanted | {"alpha": e["alpha"], "primary": e["plan"]["primary"]}
                found |= {n: v for part in ("lineup", "sequential") for n, v in e.get(part, {}).items()
                          if n in ("decoys", "seed", "maximum_pairs")}
                need(found == wanted, "evidence", f"run {run}, {name}: {found}, planned: {wanted}")
        for name in tests:  # what must be judged together: whoever splits a family pays less for many tests
            alone = name == primary or name.endswith("/control")
            together.setdefault(name if alone else name.startswith("each/"), set()).add(name)
        judged_so = sorted(sorted(one["tests"]) for one in said["family"] if one["tests"])
        need(sorted(map(sorted, together.values())) == judged_so, "run", f"{here}: other families than there must be")
    return f"{len(begun)} begun, {len(b.tests)} tests"

def numbers(b):
    for test in b.tests:
        if test.kind == "scan":
            b.left.append(f"{test.what}: a scan")
        else:
            (weighted if test.kind == "weights" else counted)(b, test)
    return "follow from the material"

def agree(what, code, said, **computed):
    """Whole numbers are the same, others to nine digits."""
    for name, value in computed.items():
        several = said[name] and type(value) is list
        for one, two in zip(said[name], value, strict=True) if several else [(said[name], value)]:
            same = one == two if None in (one, two) or type(two) is int else abs(one - two) <= 1e-9 * max(1, abs(one))
            need(same and type(one) is not bool, code, f"{what}: {name} is {one}, computed: {two}")

def rows(data, what):
    """The token ids of every row."""
    for number, line in enumerate(lines_of(data, what)):
        ids = members(parse(line, what), "id token_ids", "material", f"{what}, row {number}")["token_ids"]
        need(all(type(one) is int and 0 <= one < 0xFFFFFFFF for one in ids), "material", f"{what}, row {number}: ids")
        yield ids

def windows(b, ids):
    """Position and pair (context, token) of every window that is whole and holds no special token."""
    for at in range(b.h, len(ids)):
        pair = tuple(ids[at - b.h : at + 1])
        if not set(pair) & set(b.mark["special_ids"]):
            yield at, pair

def distinct(b, documents, prompts, plan, said):
    """The pairs that count, each with its colour; tokens looked at; how an e-process ended; log10 E on the way.

    plan: of an e-process, or None. said: without the key, the number of pairs at an early stop."""
    excluded = {pair for ids in prompts for _, pair in windows(b, ids)}
    kept, n_tokens, stale, number, log10_es, process = {}, 0, 0, 0, [0.0], e_process(b.gamma)
    next(process)
    for number, ids in enumerate(documents, 1):
        before = len(kept)
        for at, pair in windows(b, ids):
            if pair in excluded or pair in kept:
                continue
            kept[pair] = is_green(b.key, b.units, pair) if b.key else None
            if plan and b.key:
                log10_es.append(process.send(kept[pair]))
            early = plan and (log10_es[-1] >= -math.log10(plan["alpha"]) if b.key else said == len(kept))
            if early or (plan and len(kept) == plan["maximum_pairs"]):
                return kept, n_tokens + at + 1, [number, "early" if early else "maximum"], log10_es
        n_tokens, stale = n_tokens + len(ids), 0 if len(kept) > before else stale + 1
        if plan and stale == max(200, len(prompts)):
            break
    return kept, n_tokens, [number, "exhausted"], log10_es

def counted(b, test):
    """A count of distinct pairs, or an e-process over them."""
    e, what, gamma, claimed = test.e, test.what, b.gamma, test.e["log10_p"] is not None
    documents, prompts = (list(rows(test.files[part], what)) for part in TEXTS.split())
    plan = e["sequential"] if test.kind == "e-process" else None
    said = e["n_scored"] if plan and plan["stopped"] == "early" else None
    kept, n_tokens, ended, log10_es = distinct(b, documents, prompts, plan, said)
    n, k = len(kept), sum(kept.values()) if b.key else e["n_green"]
    agree(what, "pairs", e, n_tokens=n_tokens, n_scored=n, n_contexts=len({pair[:-1] for pair in kept}))
    need(not plan or [plan["n_answers"], plan["stopped"]] == ended, "pairs", f"{what}: it ended otherwise: {ended}")
    need(type(k) is int and 0 <= k <= n, "colours", f"{what}: n_green is {k}")
    agree(what, "colours", e, n_green=k)
    log10_p, value = log_tail(k, n, gamma, 1 - gamma) / LN10, log10_e(k, n, gamma)
    if plan:  # an early stop is at the largest E
        log10_p = -max(log10_es) if b.key else -value if ended[1] == "early" else e["log10_p"]
    agree(what, "p", e, log10_p=log10_p if claimed else None)
    agree(what, "e", e, log10_e=value if claimed else None)
    z = (k - n * gamma) / math.sqrt(n * gamma * (1 - gamma)) if claimed and n and not plan else None
    limits = [lower_limit(k, n), 1 - lower_limit(n - k, n)] if n and not plan else None
    agree(what, "z", e, z_score=z)
    agree(what, "interval", e, green_fraction=k / n if n else None, ci95=limits)
    agree(what, "theta", e, theta=None)
    lineup(b, test, list(kept), sum, k)

def weighted(b, test):
    """S = Σ a (green - γ), and the bound at the stored θ."""
    e, what, gamma, claimed = test.e, test.what, b.gamma, test.e["log10_p"] is not None
    try:
        found = arrays(test.files["weights"])
    except Refused as refused:
        raise Refused("material", f"{what}: {refused.args[1]}") from None
    (shape, contexts), (_, tokens), (_, weights) = (found[name] for name in ("contexts", "tokens", "weights"))
    pairs = [(*contexts[i * b.h : (i + 1) * b.h], token) for i, token in enumerate(tokens)]
    right = tuple(shape) == (len(pairs), b.h) and len(set(pairs)) == len(pairs) == len(weights)
    need(right and all(math.isfinite(a) and a for a in weights), "material", f"{what}: pairs twice, or no weights")
    need(not {one for pair in pairs for one in pair} & set(b.mark["special_ids"]), "pairs", f"{what}: special tokens")
    [n_tokens] = found.get("n_tokens", found["n_positions"])[1]
    agree(what, "pairs", e, n_tokens=n_tokens, n_scored=len(pairs), n_contexts=len({pair[:-1] for pair in pairs}))

    def score(colours):
        return math.fsum(a * (1 - gamma if green else -gamma) for a, green in zip(weights, colours, strict=True))

    s, theta = score([is_green(b.key, b.units, pair) for pair in pairs]) if b.key else test.s, e["theta"]
    agree(what, "colours", e | {"S": test.s}, n_green=None, S=s)
    need(not claimed if theta is None else claimed and 0 <= theta < math.inf, "theta", f"{what}: theta is {theta}")
    agree(what, "p", e, log10_p=bound(weights, gamma, s, theta) if claimed else None)
    deviation = math.sqrt(gamma * (1 - gamma) * math.fsum(a * a for a in weights))
    agree(what, "e", e, log10_e=None)
    agree(what, "z", e, z_score=s / deviation if claimed and pairs else None)
    agree(what, "interval", e, green_fraction=None, ci95=None)
    lineup(b, test, pairs, score, s - 1e-12 * math.fsum(map(abs, weights)))

def lineup(b, test, pairs, score, least):
    """The same score under decoys."""
    if "lineup" in test.e:
        what, said, scores = f"{test.what}, line-up", test.e["lineup"], []
        members(said, "decoys seed rank p_rank log10_p_best_decoy uniformity_p", "evidence", what)
        if said["decoys"] * len(pairs) > MOST_COLOURS:
            b.left.append(f"{what}: more than {MOST_COLOURS:,} colours")
            return
        for i in range(said["decoys"]):
            info = b"".join(struct.pack("<I", len(part)) + part for part in (b"decoy", str(i).encode()))
            key = HKDF(hashes.SHA256(), 32, b"taggant/1", info).derive(bytes.fromhex(said["seed"]))
            scores.append(score([is_green(key, b.units, pair) for pair in pairs]))
        rank = 1 + sum(one >= least for one in scores)
        agree(what, "lineup", said, rank=rank, p_rank=rank / (said["decoys"] + 1))
        if test.kind != "weights":
            best = log_tail(max(scores), len(pairs), b.gamma, 1 - b.gamma) / LN10
            agree(what, "lineup", said, log10_p_best_decoy=best)

def judged(b):
    """Holm in every family, what the key's check costs, and the finding."""
    for checked, family in b.families:
        alphas = {test.e["alpha"] for test in family if test.kind != "scan"}
        need(len(alphas) == 1 or not family, "evidence", "a family of several alphas")
        largest, left = -math.inf, len(family)
        for test in sorted(family, key=lambda one: one.e["log10_p"] or 0.0):
            largest = max(largest, min(0.0, (test.e["log10_p"] or 0.0) + math.log10(left)))
            left, claimed = left - 1, test.e["log10_p_adjusted"]
            if claimed is not None:  # a claim may be left out
                seen = [one.details["accepted"] for one in b.log[: test.begun.number] if one.event == "key-checked"]
                right = test.e["log10_p"] is not None and all(seen) and (checked or not seen)
                need(right, "adjusted", f"{test.what}: adjusted without a claim, or against the key's check")
                adjusted = min(0.0, largest - (math.log10(0.99) if checked else 0.0))
                agree(test.what, "adjusted", test.e, log10_p_adjusted=adjusted)
            detected = claimed is not None and claimed <= math.log10(*alphas)
            need(detected == (test.e["finding"] == "detected"), "finding", f"{test.what}: {test.e['finding']}")
    return ", ".join(f"{test.what}: {test.e['finding']}" for test in b.tests) or "no tests"

def answers(b, ended):
    """What a server had answered when a run ended, as it was logged; None where nothing was asked."""
    name = f"case/runs/{ended.details['run']}/responses.log"
    return b.files[name] if name in ended.files else None

def order(b):
    """Whether the log bears out what is called confirmatory."""
    tests = [test for test in b.tests if test.e.get("status") == "confirmatory"]
    for test in tests:
        this, plan, about = test.begun.number, test.begun.details["plan"], test.begun.details["questioned"]
        entry = next((one for one in b.log[:this] if one.event == "planned" and one.details["plan"] == plan), None)
        need(entry, "premature", f"{test.what}: not planned before")
        roots = [one.details["root"] for one in b.log[: entry.number] if one.event == "committed"]
        need(entry.details["root"] in roots, "premature", f"{test.what}: not committed to before it was planned")
        begun = [(one.number, one.details) for one in b.log[:this] if one.event == "begun"]
        ends = {one.details["run"]: one for one in b.log if one.event in ("finished", "stopped")}
        for one in (one for _, one in begun if one["plan"] == plan):  # only stopped ones, with the same beginning
            kept, mine = (answers(b, ends[run]) for run in (one["run"], test.begun.details["run"]))
            on = ends[one["run"]].event == "stopped" and kept is not None and mine is not None and mine.startswith(kept)
            need(on and one["questioned"] == about, "premature", f"{test.what}: its plan was used before")
        seen = [at for at, one in begun if at < entry.number and about and one["questioned"] == about]
        need(not seen, "premature", f"{test.what}: the model had been questioned before it was planned")
        checked = [one for one in b.log[entry.number :] if one.event == "key-checked"]
        need(not checked and "plan" in test.e, "premature", f"{test.what}: key checked late, or no test of the plan")
        gate = [one.e["finding"] for one in tests if one.begun is test.begun and one.e["plan"]["primary"]]
        right = "detected" in gate or test.e["finding"] != "detected"
        need(right, "premature", f"{test.what}: behind a primary test that found nothing")
    return f"{len(tests)} of {len(b.tests)} tests are confirmatory"

# --- all of them ---

def key_of(pem):
    key = load_pem_public_key(pem)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), key

CHECKS = {container: "unreadable", manifest: "statement", files: "statement", signers: "signer", custody: "entry",
          mark: "mark", stamps: "stamp", runs: "run", numbers: "material", judged: "evidence", order: "premature"}

def verify(source, trust=(), roots=()):
    """A line a check of a path, or of files by name; the last begins with PASSED or FAILED.

    Whatever is malformed in a way that no check names fails with its check's own code."""
    b, code = Record(trust={key_of(pem)[0] for pem in trust}, roots=roots, left=[]), "unreadable"
    try:
        b.files = source if isinstance(source, dict) else read(Path(source))
        for check, code in CHECKS.items():  # noqa: B007 (the code is that of the check that raises)
            yield f"{check.__name__:10} {check(b)}"
    except Refused as refused:
        yield f"FAILED: {refused.args[0]} {refused.args[1]}"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, SyntaxError, struct.error) as error:
        yield f"FAILED: {code} malformed ({type(error).__name__}: {error})"
    else:
        yield f"PASSED: all checks; not checked: {'; '.join(b.left) or 'nothing'}"

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    for name in ("--trust", "--tsa-root"):
        parser.add_argument(name, metavar="PEM", action="append", default=[], type=lambda path: Path(path).read_bytes())
    asked = parser.parse_args()
    for line in verify(asked.bundle, asked.trust, asked.tsa_root):
        print(line)
    sys.exit(line.startswith("FAILED"))

if __name__ == "__main__":
    main()
