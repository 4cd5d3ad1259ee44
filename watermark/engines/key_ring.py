"""Keys that requests to a server name: by file, never by secret."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from watermark.errors import KeyFileError
from watermark.keys import Key

ARGUMENT = "taggant_key"  # of a request
ENVIRONMENT = "TAGGANT_KEYS"

_log = logging.getLogger(__name__)


class KeyRing:
    """The keys that requests may be marked with.

    Args:
        place: a directory: a request names a file in it. A file: every request is marked with that key, and none may
            name another. None: a request names any path, so only whoever may open key files may ask.
    """

    def __init__(self, place: str | None) -> None:
        self._place = None if not place else Path(place)
        self._loaded: dict[Path, tuple[tuple[int, ...], Key]] = {}

    @classmethod
    def of_environment(cls) -> KeyRing:
        """As TAGGANT_KEYS says."""
        return cls(os.environ.get(ENVIRONMENT))

    def known(self) -> list[Key]:
        """The keys that are there from the beginning, in the order of their files' names.

        Raises:
            KeyFileError: one of them cannot be used, or there is none.
        """
        if self._place is None:
            return []
        paths = sorted(self._place.glob("*.key")) if self._place.is_dir() else [self._place]
        if not paths:
            raise KeyFileError(f"{self._place} holds no key files (*.key); put some there, or change {ENVIRONMENT}")
        return [self._load(path) for path in paths]

    def key_for(self, arguments: Mapping[str, Any] | None) -> Key | None:
        """The key of a request with these extra arguments; None: it stays unmarked.

        Raises:
            KeyFileError: it names none that it may use. Where the server chose the place, the message does not tell it.
        """
        name = (arguments or {}).get(ARGUMENT)
        if self._place is not None and not self._place.is_dir():
            if name is not None:
                raise KeyFileError(f"{ARGUMENT}: every request is marked with the server's own key; leave it out")
            return self._load(self._place)
        if name is None:
            return None
        if not isinstance(name, str) or not name:
            raise KeyFileError(f"{ARGUMENT} names a key file, so it must be a string")
        if self._place is None:
            return self._load(Path(name))
        return self._inside(self._place, name)

    def _inside(self, directory: Path, name: str) -> Key:
        try:
            if PurePath(name).name != name or name.startswith(".") or not name.endswith(".key"):
                raise KeyFileError(f"{ARGUMENT} {name!r} is no plain name of a .key file")
            return self._load(directory / name)
        except KeyFileError as error:
            problem = str(error)
        _log.warning("a request was refused: %s", problem)
        raise KeyFileError(f"{ARGUMENT}: this server has no key of that name that it can use")

    def _load(self, path: Path) -> Key:
        """`Key.load`, again only when the file is another than before."""
        try:
            found = path.stat()
        except (OSError, ValueError):  # a name with a zero byte
            return Key.load(path)  # says what is wrong
        state = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if path not in self._loaded or self._loaded[path][0] != state:
            self._loaded[path] = (state, Key.load(path))
        return self._loaded[path][1]
