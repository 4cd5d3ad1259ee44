"""Formats that are no text, by how a file begins, and by its name where that does not tell: what is said of them."""

from __future__ import annotations

from pathlib import PurePosixPath

from watermark.errors import InputError

EXPORT = "export it as plain text (UTF-8)"
LOOKED_AT = 1 << 12  # bytes of a beginning that tell all of it
_PDF, _RTF = b"%PDF-", b"{\\rtf"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_NAME_AT = 30  # where the name of a zip archive's first member begins; its length stands at 26
_OFFICE_MEMBERS = ("[Content_Types].xml", "_rels/", "docProps/", "word/", "mimetype")
_OFFICE = (
    *(".doc", ".docm", ".docx", ".dot", ".dotx", ".odt", ".ott", ".pages", ".rtf", ".wpd", ".wps"),
    *(".odp", ".ods", ".ppt", ".pptx", ".xls", ".xlsm", ".xlsx", ".epub", ".mobi"),
)


def refuse_formats(data: bytes, name: str) -> None:
    """Raise InputError where a file is a document of another program's, or an archive.

    Args:
        data: its beginning, LOOKED_AT bytes if it has them.
    """
    kind = _kind(data, name)
    if kind is not None:
        raise InputError(f"{name} is {kind}, not a text; {EXPORT}")
    if data.startswith(_ZIP):
        raise InputError(
            f"{name} is an archive, not a text; what `taggant suspect` saved as .npz goes to `taggant attribute "
            "--reading`, any other has to be unpacked first"
        )


def advice(name: str) -> str:
    """What is to be done with a file that is not UTF-8."""
    suffix = PurePosixPath(name).suffix.lower()
    return EXPORT if suffix in (".pdf", *_OFFICE) else "convert the file to UTF-8 or leave it out"


def _kind(data: bytes, name: str) -> str | None:
    if data.startswith(_PDF):
        return "a PDF"
    office = PurePosixPath(name).suffix.lower() in _OFFICE
    if data.startswith((_OLE, _RTF)) or (data.startswith(_ZIP) and (office or _is_office_archive(data))):
        return "a document of an office program"
    return None


def _is_office_archive(data: bytes) -> bool:
    length = int.from_bytes(data[26:28], "little")
    return data[_NAME_AT : _NAME_AT + length].decode("utf-8", "replace").startswith(_OFFICE_MEMBERS)
