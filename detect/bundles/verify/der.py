"""As much of DER as a timestamp takes: elements one after the other, each with the tag that is expected there."""

from __future__ import annotations

from typing import NamedTuple

INTEGER, OCTETS, OID, TIME, SEQUENCE, SET, FIRST = 0x02, 0x04, 0x06, 0x18, 0x30, 0x31, 0xA0
NULL = b"\x05\x00"


class Element(NamedTuple):
    """One element.

    Attributes:
        content: without tag and length.
        whole: with them.
    """

    tag: int
    content: bytes
    whole: bytes


def elements(data: bytes, *tags: int) -> list[Element]:
    """The elements that `data` consists of.

    Args:
        tags: that they must have, in order; none: any.

    Raises:
        ValueError: malformed, or other elements.
    """
    found, at = [], 0
    while at < len(data):
        found.append(_element(data, at))
        at += len(found[-1].whole)
    if tags and tuple(one.tag for one in found) != tags:
        raise ValueError("other elements than expected")
    return found


def only(data: bytes, tag: int) -> Element:
    """The one element that `data` is (ValueError: it is not)."""
    (one,) = elements(data, tag)
    return one


def encoded(tag: int, *parts: bytes) -> bytes:
    """An element with that content, as short as can be."""
    content = b"".join(parts)
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, *([len(content)] if len(content) < 0x80 else [0x80 | len(size), *size])]) + content


def _element(data: bytes, at: int) -> Element:
    if at + 2 > len(data):
        raise ValueError("cut short")
    size, start = data[at + 1], at + 2
    if size > 0x80:
        start += size - 0x80
        size = int.from_bytes(data[at + 2 : start], "big")
        if size < 0x80 or data[at + 2] == 0:
            raise ValueError("a length that is longer than it must be")
    elif size == 0x80:
        raise ValueError("a length that is not said")
    if start + size > len(data):
        raise ValueError("cut short")
    return Element(data[at], data[start : start + size], data[at : start + size])
