"""A study's keys: all derived from one secret, so that a study can be carried out again with the same ones.

keys/owner.key      made by the first run, or given
keys/<key id>.key   the marks that workers need, each standing alone
"""

from __future__ import annotations

from pathlib import Path

from distill_sim.condition import Condition
from watermark.errors import InputError
from watermark.keys import Key, TokenizerIdentity

OWNER = "owner.key"


class StudyKeys:
    """Whose mark a condition carries, and whose is looked for.

    Args:
        directory: of the key files.
        owner: everything is derived from it.
    """

    def __init__(self, directory: Path, owner: Key) -> None:
        self._directory = directory
        self._owner = owner
        self._files: dict[str, Path] = {}

    @classmethod
    def open(cls, directory: Path, tokenizer: object, given: Path | None = None) -> StudyKeys:
        """The keys in a study's directory, made if need be.

        Args:
            tokenizer: the teacher's.
            given: an owner's key to be used; None: one is made.

        Raises:
            InputError: the study began with another key, or the key names no tokenizer.
            KeyFileError: as `Key.load`.
            TokenizerMismatchError: the key was made for another tokenizer.
        """
        path = directory / OWNER
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            made = Key.generate(tokenizer=tokenizer) if given is None else Key.load(given)  # type: ignore[arg-type]
            made.check_tokenizer(tokenizer)  # type: ignore[arg-type]
            if made.tokenizer is None:
                raise InputError(f"{given} names no tokenizer; make a key with `taggant keygen --tokenizer`")
            made.save(path)
        owner = Key.load(path)
        owner.check_tokenizer(tokenizer)  # type: ignore[arg-type]
        if given is not None and Key.load(given) != owner:
            raise InputError(f"{path} is another key than {given}: this study began with it; choose another directory")
        return cls(directory, owner)

    @property
    def tokenizer(self) -> TokenizerIdentity:
        """The teacher's, as the keys name it."""
        assert self._owner.tokenizer is not None
        return self._owner.tokenizer

    @property
    def owner_key_id(self) -> str:
        return self._owner.key_id

    def marking(self, condition: Condition, key: int) -> list[Key]:
        """Whose marks the condition's answers carry, in turns."""
        if condition.source == "licensed":
            return [self._of(condition, f"licensed-{key}")]
        if condition.source == "another-owner":
            return [self._of(condition, f"another-owner-{key}")]
        others = [self._of(condition, f"account-{key}-{number}") for number in range(1, condition.accounts)]
        return [self._account(condition, key), *others]

    def looked_for(self, condition: Condition, key: int) -> dict[str, Key]:
        """Whose marks the questioned model is tested for, by role."""
        found = {"account": self._account(condition, key)}
        if condition.source == "licensed":
            found["licensed"] = self._of(condition, f"licensed-{key}")
        return found

    def file(self, key: Key) -> Path:
        """Where workers read a key, delta included."""
        name = f"{key.short_id}-{key.delta:.15g}"
        if name not in self._files:
            path = self._directory / f"{name}.key"
            if not path.exists():
                key.save(path)
            self._files[name] = path
        return self._files[name]

    def _account(self, condition: Condition, key: int) -> Key:
        return self._of(condition, f"account-{key}")

    def _of(self, condition: Condition, account: str) -> Key:
        return self._owner.account(account).retuned(
            gamma=condition.gamma, delta=condition.delta, context_width=condition.context_width
        )
