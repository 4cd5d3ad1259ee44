"""A second verifier of Taggant evidence bundles: standard library and `cryptography`, nothing of Taggant.

    python verify_bundle.py BUNDLE [--trust PEM]... [--tsa-root PEM]...

Written from docs/adr/0015-evidence-bundles.md. Ends with `PASSED` and what was not checked (exit 0), or with `FAILED:
<check>: <reason>` (exit 1). Timestamps go to the `openssl` command. Left to the first verifier: scans, audits, tests of
comparison, what is for display, best decoys of weights, texts that were tokenised again, most of a plan, and types of
what nothing follows from.
"""

# fmt: off
import base64
import hashlib
import hmac
import io
import json
import math
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import chain, compress, starmap
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key, pkcs7

LN10, TIME = math.log(10), "%Y-%m-%dT%H:%M:%SZ"
ASKED = re.compile(  # canonical JSON of a begun run's plan, and of what it questioned: others would be other models
    r'\[(null|"[0-9a-f]{64}"),(null|{"model":"[0-9a-f]{64}"}|{"model_name":TEXT,"server":TEXT})]'.replace(
        "TEXT", r'"(?:[^"\\]|\\.)*"'), re.DOTALL)
FLAGS = 0b1000_0000_1110  # of a zip's entries: of its deflating, sizes behind the data, names in UTF-8
LARGE, ZEROS = 1 << 15, memoryview(bytes(1 << 17))  # values of keystream that are looked at together; what gives them
DIGEST, SHORT = re.compile("[0-9a-f]{64}"), re.compile("[A-Za-z0-9._/-]{1,100}")  # of a file; a test's name
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,100}(/(?!\.)[A-Za-z0-9._-]{1,100}){0,7}")
ENTRY = re.compile(  # an event, the members of its details, its files
    r"opened|sealed opened|noted text|stopped reason run( runs/\d{4}/responses\.log)?|stamped of what stamps/\S+\.tsr|"
    r"begun command inputs key_id options plan questioned run|finished run tests( runs/\d{4}/\S+)+|"
    r"key-checked accepted corpus_sha256 key_id key-check(-[1-9]\d*)?\.json|"
    r"committed root size commitment(-[1-9]\d*)?\.json|planned key_id plan root plan(-[1-9]\d*)?\.json")
OTHER = "( key-checked| committed| planned| noted| stamped)"
LOG = re.compile(f"opened({OTHER}| sealed| begun{OTHER}* (finished|stopped))* sealed")
MARK = "scheme gamma_65536 context_width tokenizer_sha256 vocab_size special_ids"
ANSWER = "request prompt text token_ids finish_reason logprobs usage id created model system_fingerprint"
WORK = "kind server model endpoint sampling seed prompts prompts_sha256"
SAMPLING = "max_new_tokens temperature top_p logprobs"
KEY_CHECK = "key_id accepted log10_p n_scored n_green corpus_sha256 n_documents created format"
JUDGED, TEXTS = "log10_p log10_p_adjusted finding notes", "documents prompts"
EVIDENCE = f"{JUDGED} schema test key_id scheme gamma context_width n_tokens n_scored n_green green_fraction ci95 " \
    "z_score log10_e log10_p_saddlepoint theta n_contexts alpha status"
KINDS = {  # of tests: their material, the members of their evidence, and those that may be there besides
    "count": (TEXTS, EVIDENCE, "lineup plan changes"), "scan": (TEXTS, f"{JUDGED} family intervals spans", ""),
    "e-process": (TEXTS, f"{EVIDENCE} sequential", "lineup plan"),
    "weights": ("weights", f"{EVIDENCE}", "lineup plan comparisons")}

EXCLUDED = " excluded_contexts excluded_n_contexts excluded_tokens excluded_weights"
EXPECTED = " expected_contexts expected_n_contexts expected_n_positions expected_tokens expected_weights"
ARRAYS = re.compile((  # of weights: those of a reading, or else of an excess
    r"(argmax_contexts argmax_n_contexts argmax_tokens )?contexts(?(1)| distinct_contexts distinct_n_contexts "
    rf"distinct_tokens)({EXCLUDED})?({EXPECTED})? format(?(1) mass_contexts mass_probabilities mass_tokens n_contexts "
    r"n_positions| n_contexts n_listed n_positions n_tokens) probe_contexts probe_in_answers probe_in_prompts "
    r"probe_members probe_n_contexts probe_texts probe_times probe_tokens tokens weights with_reference"
    ).replace(" ", r"\.npy ") + r"\.npy")
LOOKED_AT = "contexts n_contexts n_listed n_positions n_tokens tokens weights"
HEAD = re.compile(rb"\x93NUMPY\x01\x00..{'descr': '<(u4|i8|f8)', 'fortran_order': (True|False), "
                  rb"'shape': \((|\d+,|\d+, \d+)\), } *\n", re.DOTALL)

def need(condition, reason):
    if not condition:
        raise ValueError(reason)

def take(value, names):
    """`value`, if it is an object with just these members."""
    need(type(value) is dict and sorted(value) == sorted(names.split()), f"its members are not {names}")
    return value

def agree(said, right, tolerance=0.0):
    """Every member of `right` is said to be so; numbers with a fraction but for rounding."""
    for name, value in right.items():
        one, fraction = said[name], type(value) is float and type(said[name]) in (int, float)
        near = fraction and abs(one - value) <= tolerance * max(1, abs(one))
        need(near or (one == value and type(one) is type(value)), f"{name} is {one}, not {value}")

def canonical(value, room=51):
    """RFC 8785 text of a JSON value, of at most 50 values within values."""
    room -= type(value) in (dict, list)
    need(room, "nested too deeply")
    if type(value) is dict:
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name], room)}" for name in names) + "}"
    if type(value) is list:
        return "[" + ",".join(canonical(one, room) for one in value) + "]"
    if type(value) is float:
        plain, text = not value or 1e-6 <= abs(value) < 1e21, repr(value or 0)
        return f"{Decimal(text):f}".removesuffix(".0") if plain else re.sub("e([+-])0*", r"e\1", text)
    need(type(value) is not int or abs(value) < 1 << 53, "an integer beyond what JSON holds exactly")
    return json.dumps(value, ensure_ascii=False)

def parse(data):
    """The value of canonical JSON: a member that stands twice, or NaN, is not written again as it was."""
    value = json.loads(data.decode())
    need(canonical(value).encode() == data, "not canonical JSON")
    return value

def lines_of(data):
    *lines, rest = data.split(b"\n")
    need(not rest, "the last line is not ended")
    return lines

def is_time(text):
    return datetime.strptime(text, TIME).strftime(TIME) == text  # strptime also takes other spellings

def sha256(data):
    return hashlib.sha256(data).hexdigest()

def in_order(line, names):
    """The object of a response log's line: these members in this order, written as Python does."""
    value = json.loads(line.decode())
    same = json.dumps(value, ensure_ascii=False, allow_nan=False).encode() == line
    need(same and " ".join(value) == names, f"not a line of a response log: {line[:80]!r}")
    return value

def unseal(data, kind, keys):
    """The payload of a DSSE envelope with one good signature, and whose it is."""
    envelope = parse(data)
    keyid, texts = envelope["signatures"][0]["keyid"], [envelope["payload"], envelope["signatures"][0]["sig"]]
    payload, signature = map(base64.b64decode, texts)
    texts = [base64.b64encode(payload).decode(), base64.b64encode(signature).decode()]
    right = {"payload": texts[0], "payloadType": kind, "signatures": [{"keyid": keyid, "sig": texts[1]}]}
    need(envelope == right and keyid in keys, f"no envelope of {kind} by one signer who is there")
    keys[keyid].verify(signature, b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload))
    return parse(payload), keyid

def read(source, wanted=None, most=1 << 32):
    """Every file's bytes by its name, of a directory or of a zip's bytes: each is read once, or not (None)."""
    if isinstance(source, Path):
        names = {path.relative_to(source).as_posix(): path for path in source.rglob("*")}
        found = [(name, path.lstat().st_size, path.is_file() and not path.is_symlink(), path.read_bytes)
                 for name, path in names.items() if path.is_symlink() or not path.is_dir()]
    else:
        need(source[:4] == b"PK\3\4" and source[-22:-18] == b"PK\5\6", "no zip archive from its first to its last byte")
        archive = zipfile.ZipFile(io.BytesIO(source))
        names = [info.orig_filename.removesuffix("/") for info in archive.infolist()]
        found = [(info.orig_filename, info.file_size, info.external_attr >> 28 in (0, 8) and not info.flag_bits & ~FLAGS
                  and info.compress_type in (0, 8) and info.file_size <= 200 * info.compress_size,
                  lambda info=info: archive.read(info)) for info in archive.infolist()
                 if info.file_size or not info.is_dir()]
    need(len(found) <= 10_000 and sum(size for _, size, _, _ in found) <= most, "too many files, or bytes")
    need(all(map(NAME.fullmatch, names)), "a name that nothing in a bundle has")
    files = {}
    for name, size, regular, reader in found:
        need(NAME.fullmatch(name) and name not in files, f"{name!r} is a directory's name, or there twice")
        need(regular and size <= 1 << 30, f"{name}: a link, encrypted, packed otherwise, or too large")
        files[name] = reader() if wanted is None or name in wanted else None
        need(files[name] is None or len(files[name]) == size, f"{name}: another size than was said")
    return files

def arrays(data, form=ARRAYS, wanted=LOOKED_AT):
    """Of an .npz the arrays that are looked at, by name: their type and shape, and the numbers in C order."""
    files, found = read(data, [f"{name}.npy" for name in wanted.split()], 1 << 30), {}
    need(form.fullmatch(" ".join(sorted(files))), "other arrays than weights have")
    for name, array in ((name[:-4], array) for name, array in files.items() if array is not None):
        start = 10 + int.from_bytes(array[8:10], "little")
        head = HEAD.fullmatch(array[:start])
        need(head, f"{name}: no array of numbers as NumPy writes it")
        shape = tuple(map(int, re.findall(rb"\d+", head[3])))
        kind = {b"u4": "I", b"i8": "q", b"f8": "d"}[head[1]]
        values = memoryview(array)[start:].cast(kind)
        need(len(values) == math.prod(shape), f"{name}: not as many numbers as it says")
        if head[2] == b"True":  # column by column, which NumPy writes only where that is another order
            need(len(shape) == 2 and min(shape) > 1, f"{name}: its order")
            by_column, values = values, memoryview(bytearray(values.nbytes)).cast(kind)
            for i in range(shape[1]):
                values[i::shape[1]] = by_column[i * shape[0]:(i + 1) * shape[0]]
        found[name] = (kind, shape), values
    return found

def log_mass(k, n, p):
    """log P(X = k), X ~ Binomial(n, p), by deviances (Loader 2000): no digits are lost, however many there are."""
    if k in (0, n):
        return n * (math.log(p) if k else math.log1p(-p))
    def rest(m):  # of Stirling's formula for m!
        if m < 16:
            return math.lgamma(m + 1) - (m + 0.5) * math.log(m) + m - math.log(2 * math.pi) / 2
        return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * m * m)) / (m * m)) / (m * m)) / m
    def deviance(x, mean, off):  # x log(x / mean) + mean - x, where off = x - mean
        return x * math.log(x / mean) - off if abs(off) > mean / 2 else mean * series(off / mean)
    off = k - n * p
    found = rest(n) - rest(k) - rest(n - k) - deviance(k, n * p, off) - deviance(n - k, n * (1 - p), -off)
    return found - math.log(2 * math.pi * k * (1 - k / n)) / 2

def series(x):
    """(1 + x) log(1 + x) - x."""
    if abs(x) > 0.1:
        return (1 + x) * math.log1p(x) - x
    return math.fsum((-x) ** m / (m * (m - 1)) for m in range(2, 20))

def log_tail(k, n, p):
    """log P(X >= k) and log P(X = k), X ~ Binomial(n, p): a sum of falling terms, or the other side's."""
    mass = log_mass(k, n, p)
    if k <= n * p:
        return (math.log1p(-math.exp(log_tail(n - k + 1, n, 1 - p)[0])) if k else 0.0), mass
    total, term, j = 1.0, 1.0, k
    while j < n and term > 1e-18 * total:
        term *= (n - j) * p / ((j + 1) * (1 - p))
        j, total = j + 1, total + term
    return mass + math.log(total), mass

def log10_e(k, n, gamma):
    """The mixture's integral, in closed form P(X <= k) / (P(X = k) (n + 1 - k)), X ~ Binomial(n + 1, γ)."""
    return (log_tail(n + 1 - k, n + 1, 1 - gamma)[0] - log_tail(k, n + 1, gamma)[1] - math.log(n + 1 - k)) / LN10

def e_process(colours, gamma):
    """log10 E after every pair, 0 where it is below 1: the tail of `log10_e` changes by (green - γ) × the mass."""
    k, tail, mass = 0, 1 - gamma, 0.0
    for n, green in enumerate(colours, 1):
        k += green
        mass += math.log(gamma * n / k if green else (1 - gamma) * n / (n - k))
        tail += (green - gamma) * math.exp(mass)
        yield max(0.0, (math.log(tail / (n + 1) / (1 - gamma)) - mass) / LN10) if k > n * gamma else 0.0

def is_limit(q, k, n):
    """Whether q, to nine digits, is Clopper and Pearson's lower limit: P(X >= k) = .025."""
    below, above = (log_tail(k, n, min(max(q + off, 1e-99), 1 - 1e-16))[0] for off in (-1e-9, 1e-9))
    return below <= math.log(0.025) <= above if k else q == 0

def bound(weights, gamma, s, theta):
    """log10 of the Chernoff bound at θ: Σ log(1 - g (1 - e^-θ|a|)) + θ (S_max - S), g the chance that a pair misses."""
    missed = math.fsum([*((1 - gamma) * a if a > 0 else -gamma * a for a in weights), -s])
    terms = [math.log1p((1 - gamma if a > 0 else gamma) * math.expm1(-theta * abs(a))) for a in weights]
    return min(0.0, (math.fsum(terms) + theta * missed) / LN10) if s > 0 else 0.0

def layout(pairs):
    """The pairs' order by context and token; and in batches, where in which keystreams their colours are.

    Tokens of a context that lie near each other share a stretch of keystream: to go on costs less than to begin anew.
    """
    order, batches, block, size = sorted(range(len(pairs)), key=pairs.__getitem__), [], 0, LARGE
    for *context, token in map(pairs.__getitem__, order):
        if size >= LARGE:
            stretches, places, last, size = [], [], None, 0
            batches.append((stretches, places))
        if context != last or token // 32 > block + 64:
            nonce = struct.pack(f"<{max(3, len(context))}I", *[0xFFFFFFFF] * (3 - len(context)), *context)
            nonce = nonce if len(context) <= 3 else hashlib.sha256(nonce).digest()[:12]
            stretches.append([struct.pack("<I", token // 32) + nonce, 0])
            last, first, offset = context, token // 32, size - token // 32 * 32
        block = token // 32
        stretches[-1][1], size = 64 * (block + 1 - first), offset + 32 * (block + 1)
        places.append(offset + token)
    return order, batches

def greens(key, gamma, batches):
    """In this order, whether they are green: the t-th little-endian uint16 of the keystream is below γ."""
    cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
    def batch(stretches, places, restart=cipher.reset_nonce, stream=cipher.update):
        found = b"".join([restart(nonce) or stream(ZEROS[:length]) for nonce, length in stretches])
        return map(int(gamma * 65536).__gt__, map(memoryview(found).cast("H").__getitem__, places))
    return chain.from_iterable(starmap(batch, batches))

def green_sums(keys, gamma, batches, weights):
    """Of every key, what the green pairs weigh together; the weights are in the order of `layout`."""
    return [math.fsum(compress(weights, greens(key, gamma, batches))) for key in keys]

def decoy(seed, i):
    info = b"".join(struct.pack("<I", len(part)) + part for part in (b"decoy", str(i).encode()))
    return hmac.digest(hmac.digest(b"taggant/1", bytes.fromhex(seed), "sha256"), info + b"\1", "sha256")  # HKDF

def pairs_of(b, documents, excluded=frozenset(), patience=math.inf):
    """Every distinct pair, the number of its document, and of tokens up to it; the last is none, but where it ends."""
    seen, n_tokens, fresh, number = set(excluded), 0, 0, 0
    for number, ids in enumerate(documents, 1):
        need(all(type(one) is int and 0 <= one < 0xFFFFFFFF for one in ids), "ids that are none")
        for at in range(b.h, len(ids)):
            pair = tuple(ids[at - b.h:at + 1])
            if pair not in seen and not b.special & set(pair):
                seen.add(pair)
                fresh = number
                yield pair, number, n_tokens + at + 1
        n_tokens += len(ids)
        if number - fresh == patience:
            break
    yield None, number, n_tokens

def root_of(leaf, index, size, path):
    """The Merkle root that a leaf and its path lead to. RFC 9162, 2.1.3: the path's last is nearest to the root."""
    if size == 1:
        need(index == 0 and not path, "a path of another length than its place in the tree")
        return sha256(b"\0" + canonical(leaf).encode())
    half, (*below, beside) = 1 << (size - 1).bit_length() - 1, path
    right = index >= half
    found = root_of(leaf, index - half, size - half, below) if right else root_of(leaf, index, half, below)
    return sha256(b"\1" + bytes.fromhex(beside + found if right else found + beside))

def container(b):  # the first of the checks, in the order of ADR 15; b.at is where they are
    """The signers are there, the manifest is signed by one of them, and its subjects are the files."""
    need({"manifest.json", "custody.jsonl", "mark.json", "environment.json"} <= b.files.keys(), "a file is missing")
    for name in (name for name in b.files if name.startswith("signers/")):
        b.at, key = f"signers: {name}", load_pem_public_key(b.files[name])
        keyid = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        need(isinstance(key, Ed25519PublicKey) and name == f"signers/{keyid}.pem", "it holds no Ed25519 key of that id")
        need(not b.trust or key in b.trust, "it is not trusted")
        b.keys[keyid] = key
    b.at = "manifest"
    said, keyid = unseal(b.files["manifest.json"], "application/vnd.in-toto+json", b.keys)
    agree(take(said, "_type predicateType subject predicate"), {"_type": "https://in-toto.io/Statement/v1"})
    b.said, b.used = take(said["predicate"], "format case created opened custody taggant"), {keyid}
    agree(said | b.said, {"predicateType": "urn:taggant:bundle:1", "format": "taggant-bundle/1"})
    need(is_time(b.said["created"]) and re.fullmatch("[0-9a-f]{32}", b.said["case"]), "no time, or no case")
    b.at, names = "files", sorted(b.files.keys() - {"manifest.json", "manifest.tsr"})
    right = [{"name": name, "digest": {"sha256": sha256(b.files[name])}} for name in names]
    need(said["subject"] == right, "they are not those of the manifest, in its order")

def custody(b):
    """Every entry is signed, follows from the one before, and has files that are as they were recorded."""
    b.log, recorded, previous, time = [], set(), None, ""
    for number, line in enumerate(lines_of(b.files["custody.jsonl"])):
        b.at = f"custody: entry {number}"
        said, keyid = unseal(line, "application/vnd.taggant.custody+json", b.keys)
        take(said, "format case sequence previous time event subjects details taggant")
        one = Namespace(**said, number=number, digest=sha256(line))
        names = [subject["name"] for subject in one.subjects]
        form = ENTRY.fullmatch(" ".join([one.event, *sorted(one.details), *names]))
        need(form and one.time >= time and is_time(one.time), "not what this event has, or too early")
        asked = canonical([one.details.get("plan"), one.details.get("questioned")])
        need(one.event != "begun" or ASKED.fullmatch(asked), f"plan and model are {asked}")
        need(one.event != "finished" or f"runs/{one.details['run']}/run.json" in names, "without its run.json")
        own = one.event != "finished" or all(name.startswith(f"runs/{one.details['run']}/") for name in names)
        need(own, "another run's file")
        need(one.event != "stopped" or {*names} <= {f"runs/{one.details['run']}/responses.log"}, "another run's file")
        one.files = {f"case/{name}": sha256(b.files[f"case/{name}"]) for name in sorted(set(names))}
        right = [{"name": name[5:], "sha256": digest} for name, digest in one.files.items()]
        right = {"format": "taggant-custody/1", "case": b.said["case"], "sequence": number, "subjects": right}
        agree(said, right | {"previous": previous})
        previous, time = one.digest, one.time
        recorded.update(one.files)
        b.used.add(keyid)
        b.log.append(one)
    b.at, numbers = "custody", [one.details["run"] for one in b.log if "run" in one.details]
    b.ends = {one.details["run"]: one for one in b.log if one.event in ("finished", "stopped")}
    need(LOG.fullmatch(" ".join(one.event for one in b.log)), "no log begins, goes on or ends like this")
    need(numbers == [f"{1 + i // 2:04d}" for i in range(len(numbers))], "runs that are not numbered as they began")
    agree(b.said, {"custody": {"entries": len(b.log), "last": previous}})
    need({name for name in b.files if name.startswith("case/")} == recorded, "a file that no entry has")
    need(b.used == b.keys.keys(), "a signer that signed nothing")

def of(b, event, before=None):
    return [one for one in b.log[:before] if one.event == event]

def mark(b):
    """The log is about this mark, commitments and plans are as it says; an opened key is this mark's, and committed."""
    b.mark = take(parse(b.files["mark.json"]), f"format key_id {MARK}")
    b.h, b.gamma, b.special = b.mark["context_width"], b.mark["gamma_65536"] / 65536, set(b.mark["special_ids"])
    agree(b.mark, {"format": "taggant-mark/1", "scheme": "greenlist/1"})
    need(0 < b.gamma < 1 and 0 <= b.h <= 8 and parse(b.files["environment.json"]), "gamma or context width")
    size, named = b.mark["vocab_size"], b.mark["tokenizer_sha256"]
    need(named is None or (DIGEST.fullmatch(named) and type(size) is int and 0 < size < 1 << 32), "its tokenizer")
    ids = b.mark["special_ids"]
    right = named and all(type(one) is int and one >= 0 for one in ids) and ids == sorted(b.special)
    need(right and ids[-1:] < [size] if named else size is None and not ids, "special ids, or those of no tokenizer")
    need(len(of(b, "key-checked")) <= 100, "more checks of the key than there may be")
    need({one.details.get("key_id", b.mark["key_id"]) for one in b.log} == {b.mark["key_id"]}, "another key's log")
    for one in of(b, "committed"):
        said = take(parse(b.files[min(one.files)]), "format root size created")
        agree(said, {"format": "taggant-commitment/1", **one.details})
        need(is_time(said["created"]), "no time")
    for one in of(b, "key-checked"):
        [name] = one.files
        b.at, said = f"mark: {name}", take(parse(b.files[name]), KEY_CHECK)
        agree(said, {"format": "taggant-key-check/2", **one.details})
        k, n = said["n_green"], said["n_scored"]
        need(type(k) is type(n) is int and 0 <= k <= n <= 10**10, "no counts")
        need(DIGEST.fullmatch(said["corpus_sha256"]), "no digest of a text")
        agree(said, {"log10_p": float(log_tail(k, n, b.gamma)[0] / LN10)}, 1e-9)
        agree(said, {"accepted": said["log10_p"] > -2})
    b.at = "mark"
    for one in of(b, "planned"):
        [(b.at, digest)] = one.files.items()
        plan, b.at = parse(b.files[b.at]), f"mark: {b.at}"
        key, tree = plan["key"], plan["key"]["commitment"] or {"root": None}
        agree({"plan": digest, "root": tree["root"], "key_id": key["key_id"]}, one.details)
        agree(plan, {"format": "taggant-plan/1", "gamma": b.gamma, "context_width": b.h})
        if key["commitment"]:
            agree(key["inclusion"]["leaf"], {"key_id": key["key_id"]})
            agree(tree, {"root": root_of(size=tree["size"], **key["inclusion"])})
        b.plans[digest] = plan | tree
    b.at, opened = "mark: opening.json", "opening.json" in b.files
    need(b.said["opened"] is b.log[-1].details["opened"] is opened, "is it there, or not?")
    if opened:
        said = take(parse(b.files["opening.json"]), f"format leaf chacha_key index path root size {MARK}")
        agree(said, {"format": "taggant-opening/1"} | {name: b.mark[name] for name in MARK.split()})
        b.key = bytes.fromhex(said["chacha_key"])
        own = {name: said[name] for name in ("scheme", "gamma_65536", "context_width", "tokenizer_sha256")}
        keyid = sha256(canonical(own | {"chacha_key_sha256": sha256(b.key)}).encode())
        need(keyid == b.mark["key_id"] == said["leaf"]["key_id"], f"the opened key's id is {keyid}")
        agree(said, {"root": root_of(said["leaf"], said["index"], said["size"], said["path"])})
        roots = [one.details for one in of(b, "committed")]
        need(not roots or {"root": said["root"], "size": said["size"]} in roots, "its root was not committed")
    if "vocabulary.bin" in b.files:  # the tokens that the tokenizer's hash is of, and then the special ids
        b.at, tokens, last, at, n = "mark: vocabulary.bin", b.files["vocabulary.bin"], b"", 0, 0
        while at < len(tokens) and n <= b.mark["vocab_size"]:
            end = at + 4 + int.from_bytes(tokens[at:at + 4], "little")
            last, at, n = tokens[at + 4:end], end, n + 1
        need(at == len(tokens) and n == b.mark["vocab_size"] and n < 1 << 24 and last and 0 not in last,
             "not as many whole tokens as there are, or where they end is not clear")
        ids = sorted(b.special)
        need(ids == b.mark["special_ids"] and ids[-1:] < [n] and sha256(tokens + struct.pack(f"<{len(ids)}I", *ids))
             == b.mark["tokenizer_sha256"], "these tokens and special ids are not those of the mark's tokenizer")
    shown = f"that the tokenizer that the key was made for, with its {len(b.special)} special ids, is the model's"
    word = "which ids are special: pairs with one count nowhere, and the list is the examiner's word"
    if b.mark["tokenizer_sha256"] and (b.special or not (opened and "vocabulary.bin" in b.files)):
        b.left.append(shown if opened and "vocabulary.bin" in b.files else word)

def der(data, *path):
    """Tag and content of every DER element in a row; with a path, of those within its elements."""
    found = []
    while data:
        at = 2 + (data[1] & 127 if data[1] > 127 else 0)
        end = at + (int.from_bytes(data[2:at], "big") if at > 2 else data[1])
        found, data = [*found, (data[0], data[at:end])], data[end:]
    return der(found[path[0]][1], *path[1:]) if path else found

def timestamps(b):
    """Timestamps are over what they say, made by their authority, and not later than the runs that rest on them."""
    found, earliest = [("manifest.tsr", sha256(b.files["manifest.json"]))] if "manifest.tsr" in b.files else [], {}
    for one in of(b, "stamped"):
        kind = {"commitment": "committed", "plan": "planned", "entry": None}[one.details["what"]]
        known = [digest for x in of(b, kind, one.number) for digest in x.files.values()]
        need(one.details["of"] in (known if kind else [x.digest for x in b.log[:one.number]]), "over nothing before it")
        found.append((min(one.files), one.details["of"]))
    for name, digest in found:
        b.at, response = f"timestamps: {name}", b.files[name]
        need(len(response) <= 1 << 17, "more bytes than a timestamp has")
        tag, stated = der(response, 0, 1, 1, 0, 2, 1, 0, 0)[4]  # of the TSTInfo, in the token's encapsulated content
        need(tag == 0x18, "not a TSTInfo")
        whole, fraction = re.fullmatch(r"(\d{14})(?:\.(\d{1,99}))?Z", stated.decode("ascii")).groups("0")
        time = datetime.strptime(f"{whole}.{fraction[:6]}+0000", "%Y%m%d%H%M%S.%f%z")
        token = response[response.index(b"\2\1\0") + 3:]  # behind the status, which is: granted
        own = [one.public_bytes(Encoding.PEM) for one in pkcs7.load_der_pkcs7_certificates(token)]
        with tempfile.TemporaryDirectory() as place:
            Path(place, "response").write_bytes(response)
            Path(place, "roots").write_bytes(b"\n".join(b.roots or own))  # without roots it rests on what it brings
            command = ["openssl", "ts", "-verify", "-in", "response", "-digest", digest, "-CAfile", "roots", "-attime",
                       f"{int(time.timestamp())}", *([] if b.roots else ["-partial_chain"])]
            ran = subprocess.run(command, capture_output=True, check=False, cwd=place)
        need(ran.returncode == 0, f"OpenSSL says {ran.stderr.decode()!r}")
        for over in (digest, *(d for one in b.log if one.digest == digest for d in one.files.values())):
            earliest[over] = min(time, earliest.get(over, time))  # an entry's is also one of the file that it records
    for run in of(b, "begun"):
        root = b.plans.get(run.details["plan"], {"root": None})["root"]
        rests = [d for one in of(b, "committed") if one.details["root"] == root for d in one.files.values()]
        for time in (earliest[digest] for digest in (run.details["plan"], *rests) if digest in earliest):
            need(time <= datetime.fromisoformat(run.time), f"run {run.details['run']} began before what it rests on")
    b.left += [] if b.roots or not found else ["who made the timestamps (--tsa-root)"]
    b.settled = {one.details["plan"] for one in of(b, "planned") if one.details["plan"] in earliest}

def runs(b):
    """Runs have the tests that the log and their plan have, on files of their own, and judged together as they must."""
    begins = of(b, "begun")
    for entry, begun in ((one, begins[int(one.details["run"]) - 1]) for one in of(b, "finished")):
        run, here, plan = entry.details["run"], f"case/runs/{entry.details['run']}/", b.plans.get(begun.details["plan"])
        b.at, tests, together, primary, often = f"runs: run {run}", {}, {}, None, Counter()
        need(plan or begun.details["plan"] is None, "its plan was not recorded")
        served = "server" in (begun.details["questioned"] or {})
        need(not plan or served == (plan["access"] != "weights"), "the model was not reached as the plan says")
        said = take(parse(b.files[f"{here}run.json"]), "format run command family tests")
        agree(said, {"format": "taggant-run/1", "run": run, "command": begun.details["command"]})
        form = f"tests key_check{' keys' if said['command'] == 'attribute' else ''}"
        families = [(take(one, form)["key_check"], one.get("keys", 1), one["tests"]) for one in said["family"]]
        right = all(type(a) is bool and type(n) is int and 0 < n <= 10**9 for a, n, _ in families)
        placed = sorted(x for *_, names in families if right for x in names)
        need(sorted(said["tests"]) == sorted(entry.details["tests"]) == placed, "not the tests of the log, each once")
        need(all(map(SHORT.fullmatch, placed)), "names that no test has")
        alone = placed == ["attribution"] if said["command"] == "attribute" else "attribution" not in placed
        need(alone, "the one test of attribute, and of no other command, is attribution")
        shared = len({one["evidence"] for one in said["tests"].values()}) < len(placed)
        need(not shared, "tests that share their evidence")
        for name, one in said["tests"].items():
            b.at, (parts, members, optional) = f"runs: run {run}, {name}", KINDS[one["kind"]]
            take(one, "kind evidence material statistic" if parts == "weights" else "kind evidence material")
            parts = "weights documents" if parts == "weights" and served else parts
            paths = {part: here + path for part, path in take(one["material"], parts).items()}
            often[paths.get("documents", name)] += 1
            need(often[paths.get("documents", name)] <= 8, "more tests on the same documents than there may be")
            need({here + one["evidence"], *paths.values()} <= entry.files.keys(), "files that are not the run's")
            e = parse(b.files[here + one["evidence"]])
            take(e, " ".join([members, *(name for name in optional.split() if name in e)]))
            own = {"key_id": b.mark["key_id"], "scheme": b.mark["scheme"], "gamma": b.gamma, "context_width": b.h}
            agree(e, {} if one["kind"] == "scan" else own | {"schema": "taggant-evidence/1"})
            named = name.partition("/")[0]
            need(named not in ("sampled", "reading") or e.get("test") == named, f"its test is {e.get('test')}")
            status = "exploratory" if one["kind"] == "scan" else e["status"]  # a scan has none
            need(e["finding"] in ("detected", "inconclusive", "not detected")
                 and status in ("exploratory", "confirmatory"), "no such finding, or status")
            levels = [e.get("alpha", 0.5), e.get("sequential", {}).get("alpha", 0.5)]
            need(all(type(one) is float and 1e-202 <= one < 1 for one in levels), "no level")
            need(DIGEST.fullmatch(e.get("lineup", {"seed": "0" * 64})["seed"]), "no seed")
            need((e["log10_p"] or 0) <= 0 and e.get("lineup", {"decoys": 1})["decoys"] <= 10**6, "p, or decoys")
            effect = plan["effect"] if plan else begun.details["options"].get("effect")
            effect = effect if type(effect) in (int, float) and 0 < effect < 1 else None
            material = {part: b.files[path] for part, path in paths.items()}
            tests[name] = Namespace(what=f"run {run}, {name}", begun=begun, kind=one["kind"], e=e, effect=effect,
                                    whole="", control=None, s=one.get("statistic"), files=material, plan=plan,
                                    name=name)
        planned = {f"{name}/control" for name in (plan["tests"] if plan and plan["positive_control"] else ())}
        need(planned >= {name for name in tests if name.endswith("/control")}, "a control of what was not planned")
        of_plan = {name: test.e for name, test in tests.items() if "plan" in test.e}
        need(of_plan.keys() == set(plan["tests"] if plan else ()), "not the tests that were planned")
        for name, e in of_plan.items():
            primary = f"{plan['primary']['test']}/{plan['primary']['weights']}"
            said = take(e["plan"], "sha256 test primary control")
            agree(said, {"sha256": begun.details["plan"], "test": name, "primary": name == primary})
            control = tests.get(f"{name}/control")
            numbers = control and {"log10_p": control.e["log10_p"], "finding": control.e["finding"]}
            level = plan["alpha"] / (1 if name == primary else len(plan["tests"]) - 1)
            right = not control or math.isclose(control.e["alpha"], level, rel_tol=1e-9)
            right = right and (not control or control.kind == tests[name].kind == "weights")
            need(right and said["control"] == numbers, "its control is not as it was recorded, or planned")
            tests[name].control = control and control.e["finding"]
            need("lineup" in e or e["log10_p"] is None, "its planned line-up is not there")
            wanted = {"maximum_pairs": plan["maximum_pairs"], **plan["lineup"], "alpha": plan["alpha"]}
            agree(wanted | e.get("sequential", {}) | e.get("lineup", {}) | {"alpha": e["alpha"]}, wanted)
            stops = name == primary and plan["stopping"] == "e-process"  # a count in its place could end where it likes
            kind = "weights" if name != "sampled/distinct" else "e-process" if stops else "count"
            need(tests[name].kind == kind, f"of the kind {tests[name].kind}, the plan's is {kind}")
            level = plan["alpha"] * (0.99 if any(a for a, _, names in families if name in names) else 1)
            need(not stops or math.isclose(e["sequential"]["alpha"], level, rel_tol=1e-9), f"it stops not at {level}")
            told = stops or served or name.startswith("reading/")
            b.left += [] if told else [f"{tests[name].what}: that as many tokens were sampled as the plan says"]
        for name in tests:  # what must be judged together: whoever splits a family pays less for many tests
            alone = name == primary or name.endswith("/control")
            together.setdefault(name if alone else name.startswith("each/"), []).append(name)
        scans = [all(tests[name].kind == "scan" for name in names) for *_, names in families if names]
        need(not any(scans), "a family of scans alone")
        right = sorted(map(sorted, together.values())) == sorted(sorted(names) for *_, names in families if names)
        need(right, "other families than there must be")
        b.families += [(checked, keys, [tests[name] for name in names]) for checked, keys, names in families]

def numbers(b):
    """Pairs, colours, p, e, z, intervals and line-ups follow from the material, and from the key if it is opened."""
    for test in b.tests():
        b.at, e, gamma, right = f"numbers: {test.what}", test.e, b.gamma, {}
        how = take(e["sequential"], "alpha maximum_pairs n_answers stopped") if test.kind == "e-process" else None
        prompts = [take(parse(line), "id token_ids")["token_ids"] for line in lines_of(test.files.get("prompts", b""))]
        ids = [struct.pack(f"<{len(one) + 1}I", len(one), *one) for one in prompts]
        found = {"rows": len(prompts), "sha256": sha256(b"".join(ids))}
        test.settled = bool(test.plan and prompts and test.plan["left_out"] == found)
        test.free = test.kind == "weights" or any(prompts)
        if test.kind == "scan":
            b.left.append(f"{test.what}: a scan, and the stretches it found")
            continue
        if test.kind == "weights":
            found = arrays(test.files["weights"])
            weights, contexts, tokens = (found[name][1] for name in ("weights", "contexts", "tokens"))
            rows = len(tokens)
            form = {"weights": ("d", (rows,)), "contexts": ("I", (rows, b.h)), "tokens": ("I", (rows,))}
            need({name: kind for name, (kind, _) in found.items()} == dict.fromkeys(found, ("q", ())) | form,
                 "arrays of other types or shapes than weights have")
            need(("n_tokens" in found) == (e["test"] == "sampled"), "answers in place of a reading, or vice versa")
            [one], [listed] = found["n_positions"][1], found.get("n_listed", (None, [0]))[1]
            [right["n_tokens"]] = found.get("n_tokens", found["n_positions"])[1]
            need(one > 0 and 0 <= listed <= one <= right["n_tokens"], "their numbers of positions and tokens")
            pairs = [(*contexts[i * b.h:(i + 1) * b.h], token) for i, token in enumerate(tokens)]
            need(len(set(pairs)) == rows and all(math.isfinite(a) and a for a in weights)
                 and 1e-40 <= max(map(abs, weights), default=1) <= 1e40, "pairs twice, or weights that are none")
            need(not any(b.special & set(pair) for pair in pairs), "special tokens have weights")
            agree({"n_contexts": found["n_contexts"][1][0]}, {"n_contexts": len({pair[:-1] for pair in pairs})})
            if test.plan:
                against = test.name.removesuffix("/control") in ("sampled/excess", "reading/difference")
                held = read(test.files["weights"], ["with_reference.npy"], 1 << 30)
                audited = {"excluded_weights.npy", *(["expected_weights.npy"] if against else [])}
                need(held["with_reference.npy"].endswith(b"\1") == against and audited <= held.keys(),
                     "weighed otherwise than planned, or nothing to audit")
                need(max(Counter(pair[:-1] for pair in pairs).values(), default=0) <= test.plan["top"],
                     f"more weights a context than the plan's {test.plan['top']}")
        else:
            rows = map(parse, lines_of(test.files["documents"]))
            documents = [take(row, "id token_ids")["token_ids"] for row in rows]
            excluded = {pair for pair, _, _ in pairs_of(b, prompts)}
            found = [*pairs_of(b, documents, excluded, max(200, len(prompts)) if how else math.inf)]
            stop, ended = len(found), "exhausted"
            if how:
                order, batches = layout([pair for pair, _, _ in found[:-1]])
                colours = [green for _, green in sorted(zip(order, greens(b.key, gamma, batches), strict=True))] \
                    if b.key else ()
                log10_es, level = [0.0, *e_process(colours, gamma)], -math.log10(how["alpha"])
                crossed = [n for n, x in enumerate(log10_es) if x >= level] if b.key else [e["n_scored"]]
                near = [n for n, x in enumerate(log10_es) if abs(x - level) <= 1e-9 and n <= min(crossed[:1] or [n])]
                need(not near, f"stopped is {how['stopped']}, by rounding alone: so near does E come to its level")
                crossed = crossed if b.key or how["stopped"] == "early" else []
                ends = [(n, "early") for n in crossed[:1]] + [(how["maximum_pairs"], "maximum"), (stop, ended)]
                stop, ended = min(ends)
                right = {"stopped": ended, "n_answers": found[stop - 1][1]}
            pairs, right["n_tokens"] = [pair for pair, _, _ in found[:stop] if pair], found[stop - 1][2]
            weights = [1.0] * len(pairs)
            every = pairs_of(Namespace(h=b.h, special=set()), documents)
            whole = [pair for pair, _, at in every if pair and at <= right["n_tokens"]]
        n, k, claimed, value = len(pairs), e["n_green"], e["log10_p"] is not None, None
        right |= {"n_scored": n, "n_contexts": len({pair[:-1] for pair in pairs})}
        order, batches = layout(pairs)
        sums = partial(green_sums, gamma=gamma, batches=batches, weights=[weights[i] for i in order])
        total = gamma * math.fsum(weights)
        s = sums([b.key])[0] - total if b.key else float(test.s) if k is None else k - n * gamma
        z = s / math.sqrt(gamma * (1 - gamma) * math.fsum(a * a for a in weights)) if n and not how else None
        if test.kind == "weights":
            right |= {"n_green": None, "S": s}
            need((e["theta"] or 0) >= 0 and (e["theta"] is not None) == claimed, f"theta is {e['theta']}")
            p = bound(weights, gamma, s, e["theta"] or 0.0)
        else:
            k = round(s + n * gamma)
            need(0 <= k <= n, f"n_green is {k}")
            if b.key and len(whole) > n:  # what the count were, had nothing been left out for standing in a prompt
                found = sum(greens(b.key, gamma, layout(whole)[1]))
                shown = log10_e(found, len(whole), gamma) if how else log_tail(found, len(whole), gamma)[0] / LN10
                pairs_out = f"{len(whole) - n:,} pair{'s' * (len(whole) - n > 1)}"
                test.whole = f" (with the {pairs_out} left out {found:,} of {len(whole):,} green, log10 " \
                    f"{'e' if how else 'p'} {shown:.1f})"
            right |= {"n_green": k, "theta": None}
            p, value = log_tail(k, n, gamma)[0] / LN10, log10_e(k, n, gamma)
            if how:  # E rises with every green pair and falls with every other: that bounds it without the key, too
                early, low, high = ended == "early", max(0.0, value), log10_e(k, k, gamma)
                right_end = early == (value >= level) and not (early and log10_e(k - 1, n - 1, gamma) >= level)
                need(b.key or right_end, f"stopped is {ended}, which {k} green of {n} pairs do not allow")
                p = -max(log10_es[:n + 1]) if b.key else -low if early or not claimed else e["log10_p"]
                free = claimed and not b.key and not early and how["stopped"] == ended
                need(not free or (-p < level and low - 1e-9 * max(1, low) <= -p <= high + 1e-9 * max(1, high)),
                     f"log10_p is {p}, not between {-min(high, level)} and {-low}")
        right |= {"log10_p": p, "log10_e": value, "z_score": z} if claimed else {"log10_e": None, "z_score": None}
        right["green_fraction"] = k / n if n and test.kind != "weights" else None
        agree({"S": test.s, **e, **(how or {})}, right, 1e-9)
        low, high = (None, None) if e["ci95"] is None else e["ci95"]
        right = is_limit(low, k, n) and is_limit(1 - high, n - k, n) if test.kind == "count" and n else low is None
        need(right, f"ci95 is {e['ci95']}")
        if "lineup" in e:
            said = take(e["lineup"], "decoys seed rank p_rank log10_p_best_decoy uniformity_p")
            keys = [decoy(said["seed"], i) for i in range(said["decoys"])]
            spread = b.spread if n * len(keys) > 1 << 19 else map  # over processes, where that is worth it
            scores = [one - total for some in spread(sums, [keys[i::32] for i in range(32)]) for one in some]
            rank = 1 + sum(one >= s - 1e-12 * math.fsum(map(abs, weights)) for one in scores)
            best = log_tail(round(max(scores) + n * gamma), n, gamma)[0] / LN10 if test.kind != "weights" else None
            right = {"rank": rank, "p_rank": rank / (said["decoys"] + 1), "log10_p_best_decoy": best}
            agree(said if best is not None else said | {"log10_p_best_decoy": None}, right, 1e-9)

def read_log(data, asked, digest, plan):
    """Of a response log its first line, the answers by request, and how many of requests 0, 1, 2 … leave no gap."""
    (first, *lines), planned = data.split(b"\n")[:-1], {"plan": digest} if digest else {}
    first, answers, gap = in_order(first, "format work"), {}, 0
    work = first["work"]
    agree(first | work, {"format": "taggant-journal/1", "kind": "taggant-responses/1"})
    agree(work, {"server": asked["server"], "model": asked["model_name"], **planned})
    right = " ".join([*work, *work["sampling"]]) == " ".join([WORK, *planned, SAMPLING])
    sizes = work["prompts"], work["sampling"]["max_new_tokens"]
    need(right and all(type(one) is int and one > 0 for one in sizes), "its first line")
    if plan and plan["sampling"]:  # another's runs ask no server, or were stopped
        how, probes, access = plan["sampling"], plan["probes"], plan["access"]
        right = {name: how[name] for name in SAMPLING.split()}, how["seed"], access
        need((work["sampling"], work["seed"], work["endpoint"]) == right, "it was not asked as planned")
        right = work["prompts"] <= probes["rows"] if access == "chat" else work["prompts"] == probes["prompts"]
        need(right, f"asked were {work['prompts']} prompts")  # a plan counts ids where a row has both, chat takes words
    for line in lines:
        one = in_order(line, ANSWER)
        i, ids = one["request"], one["token_ids"]
        need(type(i) is int and 0 <= i < gap + 64 and i not in answers, f"request {i} is there twice, or too early")
        right = ids is None or all(type(token) is int for token in ids)
        need(right and one["prompt"] == i % work["prompts"] and type(one["text"]) is str, f"no answer to request {i}")
        answers[i] = one
        while gap in answers:
            gap += 1
    return work, answers, gap

def responses(b):
    """Servers were asked as runs and plans say, and their answers are the documents of the tests."""
    for begun in of(b, "begun"):
        said, end, plan = begun.details, b.ends[begun.details["run"]], b.plans.get(begun.details["plan"])
        b.at, name = f"responses: run {said['run']}", f"case/runs/{said['run']}/responses.log"
        asked, data = said["questioned"] or {}, b.files[name] if name in end.files else b""
        need("server" in asked or name not in end.files, "the log of a server that was not asked")
        found = read_log(data, asked, said["plan"], plan) if b"\n" in data else ({}, {}, 0)
        if "server" in asked and end.event == "finished":
            need(found[-1] and data.endswith(b"\n"), "no log with an answer, or its last line is not ended")
            answered(b, [test for test in b.tests() if test.begun is begun], plan, *found)

def answered(b, tests, plan, work, answers, gap):
    """The documents of a run's tests are a server's answers: as many as the rule that ended the asking says."""
    [data], again, aside, total = {test.files["documents"] for test in tests}, 0, 0, 0
    asked = plan["sampling"]["tokens"] if plan else tests[0].begun.details["options"].get("sample_tokens")
    process = any(test.kind == "e-process" for test in tests)
    target = asked if type(asked) is int and asked > 0 else math.inf if process else 20_000
    rows = [take(parse(line), "id token_ids") for line in lines_of(data)]
    documents, n = [row["token_ids"] for row in rows], len(rows)
    need(0 < n <= gap, f"{n} documents of {gap} answers")
    for i, (row, ids) in enumerate(zip(rows, documents, strict=True)):
        given, text, own = answers[i]["token_ids"], answers[i]["text"], row["id"] == f"{i}"
        own_ids = given is not None and given[:work["sampling"]["max_new_tokens"]] == ids
        right = own_ids if own else (text or not ids) and (ids or not re.search("[0-9A-Za-z]", text))
        need(right and (own or row["id"] == f"{i}/text"), f"document {i}, called {row['id']}, is not answer {i}")
        longest, used = work["sampling"]["max_new_tokens"], answers[i]["usage"]["completion_tokens"]
        most = longest * (4 if used is not None and used <= longest else 1)  # a text may be spelled in more tokens
        size = max(len(x.encode("utf-8", "replace")) for x in (text, unicodedata.normalize("NFKD", text)))
        need(own or len(ids) <= min(most, 1 + size), f"document {i} is longer than its text, or than was asked for")
        aside += not own and given is not None
        need(total < target and all(type(token) is int for token in ids), "no ids, or more than were wanted")
        again, total = again + (not own), total + len(ids)
    ended, sure = total >= target, any(test.e.get("status") == "confirmatory" for test in tests)
    need(ended or process or not sure, f"confirmatory with {total} tokens of {target}")
    for test in tests:
        if test.kind == "weights":
            found = arrays(test.files["weights"])
            ((_, (rows, _)), contexts), [n_tokens] = found["contexts"], found["n_tokens"][1]
            seen = {tuple(ids[i - b.h:i]) for ids in documents for i in range(b.h, len(ids))}
            right = n_tokens == total and {tuple(contexts[i * b.h:(i + 1) * b.h]) for i in range(rows)} <= seen
            need(right, "other answers were weighed")
            said = {tuple(ids[i - b.h:i + 1]) for ids in documents for i in range(b.h, len(ids))}
            (_, tokens), (_, weights), flat = found["tokens"], found["weights"], contexts
            liked = ((*flat[i * b.h:(i + 1) * b.h], tokens[i]) for i in range(rows) if weights[i] > 0)
            need(found["n_listed"][1][0] or said.issuperset(liked), "a weight above 0 of a pair that no answer has")
            b.left.append(f"{test.what}: that weights are what a reference makes of a server's answers")
            continue
        prompts = [parse(line)["token_ids"] for line in lines_of(test.files["prompts"])]
        need(len(prompts) >= work["prompts"], "fewer prompts than were asked")
        if test.kind == "e-process":
            how, pairs = test.e["sequential"], [*pairs_of(b, documents, {pair for pair, _, _ in pairs_of(b, prompts)})]
            stale = n - max([number for _, number, _ in pairs[:-1]], default=0)  # answers without a new pair
            empty = n >= 50 and not any(documents[-50:])
            ended = ended or empty or how["stopped"] != "exhausted" or stale >= max(200, len(prompts))
            need(how["n_answers"] == n, "documents that the e-process did not look at")
    need(ended or n == gap, f"{gap - n} answers left out, where nothing had ended the asking")
    run = f"run {tests[0].begun.details['run']}"
    first = min(one.time for one in of(b, "begun") if one.details["questioned"] == tests[0].begun.details["questioned"])
    first, model = datetime.fromisoformat(first).timestamp(), work["model"]
    other = sum(one["model"] not in (None, model) for one in answers.values())
    early = sum(one["created"] is not None and one["created"] < first for one in answers.values())
    b.left += [f"{run}: why {other} answers name another model than {model}"] if other else []
    b.left += [f"{run}: why {early} answers say they were made before the model was first asked"] if early else []
    b.left.append(f"{run}: what was asked and said: the log, with a digest of the prompts, is the examiner's word")
    b.left += [f"{run}: that {again} of {n} documents are the text of their answers, tokenised again"
               + (f"; of {aside} the server gave ids, which were set aside" if aside else "")] if again else []

def findings(b):
    """Holm in every family, what the key's check costs, and the finding."""
    for checked, keys, family in b.families:
        alphas = {test.e["alpha"] for test in family if test.kind != "scan"}
        largest, ranked = -math.inf, sorted(family, key=lambda one: one.e["log10_p"] or 0.0)
        for rank, test in enumerate(ranked):
            b.at, e, claimed, [alpha] = f"findings: {test.what}", test.e, test.e["log10_p_adjusted"] is not None, alphas
            largest = max(largest, min(0.0, (e["log10_p"] or 0.0) + math.log10(len(family) + keys - 1 - rank)))
            seen = [one.details["accepted"] is True for one in of(b, "key-checked", test.begun.number)]
            must = seen or (test.plan and test.plan["key"]["check"])
            right = e["log10_p"] is not None and all(seen) and (checked or not must)
            need(right or not claimed, "adjusted without a claim, or against the key's check")
            adjusted = min(0.0, largest - (math.log10(0.99) if checked else 0.0))
            agree(e, {"log10_p_adjusted": adjusted} if claimed else {}, 1e-9)  # a claim may be left out
            detected = claimed and e["log10_p_adjusted"] <= math.log10(alpha)
            need(detected == (e["finding"] == "detected"), f"its finding is {e['finding']}")
            told = claimed and not detected and {"weights": test.control == "detected", "scan": True}.get(test.kind)
            told = claimed and not detected and enough(test, family, keys, checked) if told is None else told
            need(e["finding"] != "not detected" or told,
                 "its finding is 'not detected', where too little was looked at to say so")
            if told and test.kind != "scan" and e["finding"] == "inconclusive":
                b.left.append(f"{test.what}: why it is called inconclusive, where its numbers make it a negative")
            b.left += [] if claimed or "plan" not in e else [f"{test.what}: why a planned test claims no p"]
            if test.name == "attribution":
                b.left.append(f"among how many keys the mark was looked for, and that no others were tried: {keys}")

def enough(test, family, keys, checked):
    """Whether a fraction of green that was to be found would have been, at Holm's first step, with a chance of .9."""
    e, how = test.e, test.e.get("sequential")
    level, n = e["alpha"] * (0.99 if checked else 1) / (len(family) + keys - 1), e["n_scored"]
    effect = test.effect or {"text": 0.5, "sampled": 0.28}[e["test"]]
    if how and (how["stopped"] != "maximum" or how["alpha"] > level * (1 + 1e-9)):
        return False
    reached = (lambda k: log10_e(k, n, e["gamma"]) >= -math.log10(how["alpha"])) if how else \
        (lambda k: log_tail(k, n, e["gamma"])[0] <= math.log(level))
    low, high = 0, n + 1
    while low < high:
        low, high = (low, (low + high) // 2) if reached((low + high) // 2) else ((low + high) // 2 + 1, high)
    return effect > e["gamma"] and low <= n and log_tail(low, n, effect)[0] >= math.log(0.9)

def finding(test):
    """What a test found, in words."""
    e, adjusted, sought = test.e, test.e["log10_p_adjusted"], ""
    if e["finding"] == "not detected" and test.kind in ("count", "e-process"):
        sought = f" of a green fraction of {test.effect or {'text': 0.5, 'sampled': 0.28}[e['test']]:g}"
    p = "no p claimed" if adjusted is None else f"adjusted log10 p {adjusted:.1f}"
    level = f" at alpha {e['alpha']:g}" if "alpha" in e else ""
    return f"{test.what}: {e['finding']}{sought}, {e.get('status', 'exploratory')}, {p}{level}{test.whole}"

def goes_on(b, later, earlier):
    """A server's answers to an earlier run, which was stopped, are the beginning of those to a later one."""
    old, new = (f"case/runs/{one['run']}/responses.log" for one in (earlier, later))
    end = b.ends[earlier["run"]]
    held = end.event == "stopped" and old in end.files and new in b.ends[later["run"]].files
    return held and later["questioned"] == earlier["questioned"] and b.files[new].startswith(b.files[old])

def named(begun):
    """The questioned model of a run; this machine has several names."""
    said = begun["questioned"]
    own = r"(?i)//(localhost|127(\.\d+){3}|\[::1\])(?![^:/])"
    return said | {"server": re.sub(own, "//localhost", said["server"])} if "server" in (said or {}) else said

def order(b):
    """The log bears out what is called confirmatory."""
    tests = [test for test in b.tests() if test.e.get("status") == "confirmatory"]
    rest = [test.what for test in tests if test.begun.details["plan"] not in b.settled]
    names, unstamped = ", ".join(rest) or "no confirmatory test", "when anything was done: "
    unstamped += f"the order is the signer's word, but where a plan was stamped; of {names}" if b.settled else \
        "no plan that was carried out has a timestamp from outside, so the order is the signer's word"
    contact = "that the first contact with the model came after the timestamp of its plan: the signer's word"
    b.left.append(contact if tests and not rest else unstamped)
    for test in tests:
        b.at, said, at = f"order: {test.what}", test.begun.details, test.begun.number
        planned = [one for one in of(b, "planned", at) if one.details["plan"] == said["plan"]]
        need(planned and "plan" in test.e and test.plan["tokenizer"], "not planned before, or without a tokenizer")
        before = planned[0].number
        committed = [one for one in of(b, "committed", before) if one.details["root"] == planned[0].details["root"]]
        need(committed, "not committed to before it was planned")
        dates = [(parse(b.files[min(one.files)])["created"], one.time) for one in [planned[0], *committed]]
        need(all(created <= time for created, time in dates), "dated after the entry that records it")
        earlier = [one.details for one in of(b, "begun", at) if one.details["plan"] == said["plan"]]
        need(all(goes_on(b, said, one) for one in earlier), "its plan was used before")
        on = f"run {said['run']}: why it goes on from {len(earlier)} stopped run{'s' * (len(earlier) > 1)}"
        b.left += [on] if earlier and on not in b.left else []
        model, seen = named(said), [named(one.details) for one in of(b, "begun", before)]
        need(model and model not in seen, "no model is named, or questioned before the plan")
        looked = [one for one in of(b, "begun", at) if one.details["plan"] != said["plan"] and (
            named(one.details) == model or (one.details["plan"] and not one.details["questioned"]))]
        stopped = [one.details["run"] for one in of(b, "stopped", at)]
        choice = any(one.details["plan"] or one.details["run"] in stopped for one in looked)
        need(not choice, "another run on the model gave a choice")
        plans = [{x.details["plan"] for x in of(b, "planned", one.number)} for one in looked]
        need(all(len(some) < 2 for some in plans), "looked at when there were several plans to choose from")
        need(of(b, "key-checked") == of(b, "key-checked", before), "the key was checked after the plan")
        need(test.kind == "weights" or test.settled, "it leaves out other ids than its plan says")
        test.free = test.kind == "weights"
        gate = [one.e["finding"] for one in tests if one.begun is test.begun and one.e["plan"]["primary"]]
        need("detected" in gate or test.e["finding"] != "detected", "behind a primary test that found nothing")

def verify(source, trust=(), roots=(), spread=map):
    """The lines to be printed of a path, or of files by name; the last begins with PASSED or FAILED.

    `spread` is what maps a function over the decoys of a large line-up.
    """
    b = Namespace(at="container", roots=roots, spread=spread, keys={}, plans={}, key=None, families=[])
    b.tests = lambda: [test for *_, family in b.families for test in family]
    b.left = [] if trust else ["whose the signers' keys are (--trust)"]
    try:
        b.trust = [load_pem_public_key(pem) for pem in trust]
        b.files = source if type(source) is dict else read(source if source.is_dir() else source.read_bytes())
        for check in (container, custody, mark, timestamps, runs, numbers, responses, findings, order):
            b.at = check.__name__
            check(b)
            yield f"{check.__name__:10} {check.__doc__}"
    except Exception as error:  # whatever is malformed raises something
        yield f"FAILED: {b.at}: {error or type(error).__name__}"
    else:
        b.left += [] if b.key else ["colours: the key is not opened: counts of green, and S, are the examiner's word"]
        hand = any(one.details["questioned"] and "server" not in one.details["questioned"] for one in of(b, "begun"))
        b.left += ["that weights and answers are those of the model that is named"] if hand else []
        seed = {test.what: test.e["lineup"]["seed"] for test in b.tests() if "lineup" in test.e and not test.plan}
        b.left += ["that nothing questioned was examined before, outside this log, under another name, or as texts",
                   *(f"{what}: the seed of its line-up, which the examiner chose" for what in seed
                     if seed[what] != "0" * 64),
                   *(f"{test.what}: which ids were fed in as prompts, whose pairs count nowhere" for test in b.tests()
                     if test.free),
                   *(f"{test.what}: its tests of comparison" for test in b.tests() if test.e.get("comparisons")),
                   "that the key was drawn at random, not chosen for its colours",
                   "the notes of tests: the examiner's words"] if b.tests() else []
        yield from map(finding, b.tests())
        yield f"PASSED: every check; not checked: {'; '.join(b.left) or 'nothing'}"

def main():
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    for name in ("--trust", "--tsa-root"):
        parser.add_argument(name, metavar="PEM", action="append", default=[], type=lambda path: Path(path).read_bytes())
    asked = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for line in verify(asked.bundle, asked.trust, asked.tsa_root, pool.map):
            print("".join(one if one.isprintable() else "?" for one in line))
    sys.exit(line.startswith("FAILED"))

if __name__ == "__main__":
    main()
