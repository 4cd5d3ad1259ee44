"""The one error of reading a bundle, and every code it can have."""

from __future__ import annotations

from watermark.errors import TaggantError

CODES = {
    "unreadable": "the bundle cannot be read",
    "name": "a file's name is none that a bundle may have",
    "twice": "a file is there twice",
    "link": "something that is no regular file",
    "size": "more, or larger, than a bundle may hold",
    "zip": "the archive is malformed, encrypted, or of a kind that is not read",
    "missing": "a file that every bundle has is not there",
    "json": "no JSON, or JSON in another form than the canonical one",
    "base64": "no base64, or in another spelling than the one",
    "envelope": "an envelope with other members than it must have",
    "payload-type": "an envelope for something else",
    "key-id": "a key that is not there, or another one than is said",
    "signature": "a signature that is not the key's over these bytes",
    "statement": "the manifest says something else than a manifest does",
    "extra": "a file that the manifest does not name",
    "absent": "a file that the manifest names is not there",
    "digest": "a file is another one than the manifest says",
    "order": "the manifest's files are not in order, or one is named twice",
    "signer": "a signer's key is unreadable, unused, or under another name than its key id",
    "untrusted": "signed by a key that is not among the trusted ones",
    "entry": "an entry of the log has other members, or of other types, than it must",
    "case": "an entry of another case",
    "sequence": "an entry's number is not the next",
    "chain": "an entry does not name the line before it",
    "time": "an entry is older than the one before it",
    "event": "an event that is not allowed where it stands",
    "head": "the manifest counts other entries than the log has, or names another last one",
    "subject": "a file that the log names is not there, or another one",
    "unrecorded": "a file of the case that no entry names",
    "mark": "what is said of the mark is malformed, or contradicts itself",
    "opening": "the opened key's file is malformed",
    "commitment": "the opened key's path does not lead to a commitment in the log",
    "plan": "a plan is malformed, or for another key",
    "stamp": "a timestamp is malformed, or over other bytes",
    "stamp-untrusted": "a timestamp that no trusted authority made",
    "stamp-expired": "a timestamp whose authority's certificate was not valid",
    "stamp-late": "a timestamp that is later than what rests on it",
    "run": "what is said of a run is malformed",
    "evidence": "a test's evidence is malformed, or of another key or other parameters",
    "material": "what a test rests on is malformed",
    "pairs": "the material has other pairs than the evidence counts",
    "colours": "other colours than the evidence counts",
    "p": "another p-value than follows",
    "e": "another e-value than follows",
    "z": "another z than follows",
    "interval": "another interval than follows",
    "lineup": "another line-up than follows",
    "theta": "a bound at a theta where there is none",
    "responses": "a server's response log is malformed, of other questions, or not what was counted",
    "adjusted": "another adjusted p-value than follows",
    "finding": "another finding than follows",
    "premature": "called confirmatory, where the log does not bear it out",
}


class Refused(TaggantError, ValueError):
    """A bundle, or a case, that is not what it says.

    Attributes:
        code: of `CODES`.
    """

    def __init__(self, code: str, reason: str) -> None:
        if code not in CODES:
            raise KeyError(code)
        super().__init__(reason)
        self.code = code
