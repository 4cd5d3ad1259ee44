"""Where the command starts: before anything slow is imported, Ctrl-C already ends it without a traceback."""

from __future__ import annotations

import signal


def main() -> None:
    """Run `taggant`."""
    waiting = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where it is ignored, as under nohup
    if waiting:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing has begun that would need cleaning up
    from detect.cli.main import main as run

    if waiting:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
