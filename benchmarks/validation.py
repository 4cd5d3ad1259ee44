"""The error-rate table of this version: `taggant validate` on SmolLM2, read against a poorer copy of itself.

    python -m benchmarks.validation [-o DIRECTORY]        into benchmarks/results/validation_model by default

The copy (its weights rounded to a sixteenth of their largest) is a reference that anybody can make; no key had a part
in it. Everything else is the command's default, but for shorter answers. Some twelve minutes of one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.validity import coarse
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import load_model, load_tokenizer

OPTIONS = ("--answers", "64", "--max-new-tokens", "100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "validation_model")
    arguments = parser.parse_args()
    model = pull_smollm2()
    with tempfile.TemporaryDirectory() as directory:
        coarse(load_model(model)).save_pretrained(directory)
        load_tokenizer(model).save_pretrained(directory)
        command = ["validate", "-o", str(arguments.output), "--model", str(model), "--reference", directory, *OPTIONS]
        program = "from detect.cli.entry import main; main()"
        sys.exit(subprocess.run([sys.executable, "-c", program, *command], check=False).returncode)


if __name__ == "__main__":
    main()
