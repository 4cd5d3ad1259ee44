"""What `taggant suspect` is asked to do: its options, as they were typed or as a plan settles them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from detect.cli.server_options import API_ONLY

if TYPE_CHECKING:
    from detect.plans.plan import Plan
    from detect.questioned.questions import Endpoint
    from detect.readers import Row

RECORDED = (
    *("tests", "probes_marked", "endpoint", "sample_tokens", "maximum_pairs", "max_new_tokens", "temperature", "top_p"),
    *("top_k", "sample_seed", "logprobs", "top", "concurrency", "max_tokens", "max_requests", "decoys", "seed"),
    *("alpha", "effect", "without_control"),
)
MODEL_ONLY = ("save_reading", "control_name", "without_control")  # options that need the weights


@dataclass(frozen=True)
class Asked:
    """The options, under the names of `suspect`'s parameters; None: not given.

    Attributes:
        without_control: the plan's positive control is left out, on purpose.
        frequency_rows: of `frequency_files`, read once.
        key_check: whether the key passed its check on human text; None: it was never checked.
        check_corpus: digest of the human text of that check.
        plan_digest: of the plan that is carried out.
        top_k: only a plan can ask for it.
        tests: by their names in a plan; None: what options and probes suggest.
        maximum_pairs: at which the plan's e-process ends; None: the number of tokens is fixed.
    """

    key_file: Path
    plan_file: Path | None
    model_name: str | None
    api_server: str | None
    api_model: str | None
    probe_files: tuple[str, ...]
    probes_marked: bool
    reference_name: str | None
    frequency_files: tuple[str, ...]
    control_name: str | None
    without_control: bool
    tokenizer: str | None
    save_reading: Path | None
    save_excess: Path | None
    top: int | None
    sample_tokens: int | None
    max_new_tokens: int | None
    temperature: float
    top_p: float
    sample_seed: int
    endpoint: Endpoint
    log_file: Path | None
    concurrency: int
    max_tokens: int | None
    max_requests: int | None
    timeout: float
    give_up_after: float
    logprobs: int | None
    decoys: int | None
    seed: bytes
    alpha: float
    effect: float | None
    frequency_rows: list[Row] | None = None
    key_check: bool | None = None
    check_corpus: str | None = None
    plan_digest: str | None = None
    top_k: int = 0
    tests: tuple[str, ...] | None = None
    maximum_pairs: int | None = None

    def recorded(self) -> dict[str, Any]:
        """What of it a case records: nothing of where files and models lie, and no address."""
        from detect.cli.casework import shown_options

        return shown_options({name: getattr(self, name) for name in RECORDED})

    def questioned(self) -> dict[str, str]:
        """The questioned model, as a case names it.

        Raises:
            ModelError: a directory or id that holds none.
        """
        if self.api_server is not None:
            from detect.questioned.questions import shown_address

            return {"server": shown_address(self.api_server), "model_name": str(self.api_model)}
        from watermark.engines.models import model_digest

        return {"model": model_digest(str(self.model_name))}

    @property
    def access(self) -> str:
        """How the model is reached, in the words of a plan."""
        return "weights" if self.api_server is None else self.endpoint

    @property
    def sampled_tests(self) -> tuple[str, ...]:
        """By their names in a plan: the sampled tests that a plan has, or that the options suggest."""
        if self.tests is not None:
            return tuple(test for test in self.tests if test.startswith("sampled/"))
        if self.api_server is None and self.sample_tokens is None:
            return ()
        return ("sampled/distinct",) if self.reference_name is None else ("sampled/excess",)


def refuse_mixed(ctx: click.Context, asked: Asked) -> None:
    """Raise UsageError unless exactly one kind of access is asked for, and nothing that belongs to the other."""
    if (asked.model_name is None) == (asked.api_server is None):
        raise click.UsageError("give --model where the weights are at hand, or --api and --model-name; not both", ctx)
    if asked.api_server is not None and asked.api_model is None:
        raise click.UsageError("--api needs --model-name, the name the server knows the questioned model by", ctx)
    kind, foreign = ("--api", MODEL_ONLY) if asked.model_name is None else ("--model", API_ONLY)
    for name, flag in typed(ctx).items():
        if name in foreign:
            raise click.UsageError(f"{flag} has no meaning with {kind}; leave it out", ctx)
    if asked.api_server is not None and asked.reference_name is None and "top" in typed(ctx):
        raise click.UsageError("--top has no meaning with --api unless there is a --reference; leave it out", ctx)
    if asked.frequency_files and asked.reference_name is None:
        raise click.UsageError("--frequencies scale what is weighed against a --reference: give both", ctx)
    if asked.save_excess is not None and asked.plan_file is None and "sampled/excess" not in asked.sampled_tests:
        raise click.UsageError(
            "--save-excess: no answers are weighed; give --reference, and --sample with --model", ctx
        )
    if asked.save_excess is not None and asked.save_excess == asked.save_reading:
        raise click.UsageError("--save-reading and --save-excess must be two files", ctx)
    if asked.control_name is not None and asked.plan_file is None:
        raise click.UsageError("--positive-control needs --plan: which model is one is settled beforehand", ctx)
    if asked.without_control and asked.plan_file is None:
        raise click.UsageError("--no-positive-control has no meaning without --plan; leave it out", ctx)
    if asked.without_control and asked.control_name is not None:
        raise click.UsageError("give --positive-control or --no-positive-control, not both", ctx)


def refuse_against_plan(ctx: click.Context, plan: Plan, asked: Asked) -> None:
    """Before anything is opened: raise UsageError for another way to the model, or a control that is left out.

    A plan has one look, and one without its control is wasted on a negative.
    """
    from detect.plans.content import COUNTED
    from watermark.errors import InputError

    if (asked.api_server is None) != (plan.access == "weights"):
        try:
            plan.check_access(asked.access)
        except InputError as error:
            raise click.UsageError(str(error), ctx) from None
    usable = plan.positive_control is not None and plan.access == "weights" and plan.primary != COUNTED
    if asked.without_control and not usable:
        raise click.UsageError("--no-positive-control: the plan's primary test uses none; leave it out", ctx)
    if usable and asked.control_name is None and not asked.without_control:
        raise click.UsageError(
            "the plan names a positive control: give it as --positive-control DIR. Without it a negative would be "
            "inconclusive, and the plan's one look used up; --no-positive-control accepts that",
            ctx,
        )


def typed(ctx: click.Context) -> dict[str, str]:
    """Parameters that were given on the command line: name → flag."""
    return {
        param.name: param.opts[0]
        for param in ctx.command.params
        if param.name is not None and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }
