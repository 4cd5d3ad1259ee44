"""Every error Taggant raises on purpose. Each is also the builtin a caller would expect to catch."""


class TaggantError(Exception):
    """Base of all deliberate errors. The message is one line: what is wrong, where, and what to do."""


class InputError(TaggantError, ValueError):
    """Input or output that is refused: unreadable, malformed, empty, or already there."""


class ModelError(InputError):
    """A directory or id that does not hold a usable safetensors model or tokenizer."""


class UnsupportedError(TaggantError, NotImplementedError):
    """A combination that would give a wrong mark or a wrong test, with the reason."""


class KeyFileError(TaggantError, ValueError):
    """A key that is missing, unreadable, malformed, or open to others. Never quotes the file's content."""


class TokenizerMismatchError(KeyFileError):
    """The tokenizer or model at hand is not the one the key was made for."""

    def __init__(self, message: str, *, expected: str, found: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class CommitmentError(KeyFileError):
    """A Merkle opening that does not lead to the committed root."""
