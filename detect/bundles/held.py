"""What a case holds: its log and what lies beside it, read and verified; nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detect.bundles import canonical
from detect.bundles.custody import Log
from detect.bundles.entries import digest
from detect.bundles.mark import Mark
from detect.bundles.refused import Refused
from detect.bundles.signer import PublicKey
from watermark.errors import InputError

LOG, MARK, SIGNERS = "custody.jsonl", "mark.json", "signers"


@dataclass(frozen=True)
class Held:
    """What a case holds, as it was read.

    Attributes:
        mark: None: no command has named it yet.
    """

    directory: Path
    log: Log
    keys: Mapping[str, PublicKey]
    mark: Mark | None

    @classmethod
    def read(cls, directory: Path, data: bytes | None = None) -> Held:
        """Read and verify a case's log; a last line that was cut short is not there.

        Args:
            data: of the log, if it was read already.

        Raises:
            InputError: no case.
            Refused: the log, or what is beside it, is not what it says.
        """
        if not (directory / LOG).is_file():
            raise InputError(f"{directory} is not a case: it holds no {LOG}; give one that `--case` made")
        data = (directory / LOG).read_bytes() if data is None else data
        whole = data[: data.rfind(b"\n") + 1]
        keys = {}
        for path in sorted((directory / SIGNERS).glob("*.pem")):
            key = PublicKey.from_pem(path.read_bytes(), f"{SIGNERS}/{path.name}")
            keys[key.keyid] = key
        marked = directory / MARK
        mark = Mark.from_json(canonical.loads(marked.read_bytes(), MARK)) if marked.is_file() else None
        return cls(directory, Log.read(whole, keys), keys, mark)

    def refuse_other(self, mark: Mark) -> None:
        """Raise InputError where it is a case of another mark."""
        if self.mark is not None and self.mark != mark:
            raise InputError(
                f"{self.directory} is a case of key {self.mark.key_id[:16]}, this one is {mark.key_id[:16]}; make "
                "another case for another mark"
            )

    def files(self) -> dict[str, bytes]:
        """Every recorded file by its name, as it was recorded.

        Raises:
            Refused: "subject": one is not there, or was changed.
        """
        return {name: self.file(name) for name in sorted(self.log.subjects)}

    def file(self, name: str) -> bytes:
        """One recorded file, as `files`."""
        try:
            data = (self.directory / name).read_bytes()
        except OSError:
            raise Refused("subject", f"{self.directory / name} was recorded and cannot be read; restore it") from None
        if digest(data) != self.log.subjects[name]:
            raise Refused("subject", f"{self.directory / name} is not the file that was recorded; restore it")
        return data
