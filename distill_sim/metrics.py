"""Metrics of a student's training, on request, by the Trainer's own integrations: in a directory, to no service."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from watermark.errors import InputError


@dataclass(frozen=True)
class Metrics:
    """Where every step's loss, gradient norm and learning rate go. They change nothing about the training.

    Attributes:
        tool: "tensorboard" or "trackio"; each an extra of Taggant.
        directory: made if need be; `tensorboard --logdir` or TRACKIO_DIR of whoever looks at it.
        run: name of the training among others in the directory.

    Raises:
        InputError: another tool, or one that is not installed.
    """

    tool: Literal["tensorboard", "trackio"]
    directory: Path
    run: str = "student"

    def __post_init__(self) -> None:
        if self.tool not in ("tensorboard", "trackio"):
            raise InputError(f"metrics: tool is {self.tool!r}; use tensorboard or trackio")
        if find_spec(self.tool) is None:
            raise InputError(f"metrics by {self.tool} need it; pip install 'taggant[{self.tool}]' installs it")
        object.__setattr__(self, "directory", Path(self.directory).absolute())

    def callback(self, steps_done: int) -> Any:
        """The Trainer's callback; what a killed try wrote beyond `steps_done` is replaced."""
        if self.tool == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            purge = steps_done + 1 if steps_done else None
            return TensorBoardCallback(SummaryWriter(str(self.directory / self.run), purge_step=purge))
        from transformers.integrations import TrackioCallback

        os.environ["TRACKIO_DIR"] = str(self.directory)  # read when trackio is imported, by the next line

        class OnStderr(TrackioCallback):
            """As inherited; what trackio prints is no data."""

            def on_train_begin(self, *args: Any, **named: Any) -> None:
                with redirect_stdout(sys.stderr):
                    super().on_train_begin(*args, **named)

            def on_train_end(self, *args: Any, **named: Any) -> None:
                with redirect_stdout(sys.stderr):
                    super().on_train_end(*args, **named)

        return OnStderr()
