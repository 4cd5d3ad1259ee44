"""docs/speed.md from the results: `python -m benchmarks.speed_page`. Nothing is measured, every figure is a result's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.peers.tables import VOCABULARY, table

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
NAMES = ("peers", "hot_paths", "text", "reading_speed", "scaling", "startup")
Results = dict[str, Any]


def results() -> Results:
    """What the benchmarks wrote, by name."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in NAMES}


def page(found: Results, profiles: dict[str, str]) -> str:
    """The page.

    Args:
        found: as `results`.
        profiles: text of each profile, by name.
    """
    sections = (
        _head(found), _claims(found), _bounds(found), _text(found), _scaling(found), _startup(found),
        _profiles(profiles), _tables(found),
    )  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _head(found: Results) -> str:
    machine = found["peers"]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found["peers"]["versions"].items()))
    measured = sorted({one["date"] for one in found.values()})
    loads = f"load average {found['peers']['load_average_at_start']} when the contest began"
    missing = found["peers"]["left_out"]
    out = "".join(f"\nLeft out: {name} ({reason})." for name, reason in missing.items())
    return f"""# Speed

Made by `python -m benchmarks.speed_page` from [benchmarks/results](../benchmarks/results); `make bench` measures everything
again, `make profiles` the profiles. {machine["processor"]}, two cores, no GPU, Python {machine["python"]}; {versions}.
Measured {" and ".join(measured)}, {loads}.{out}

How: every library in a process of its own, all with the same torch, the same ids and vocabulary, one thread each; rounds in
alternating order (A B C … C B A); medians of CPU time, with the least and the most of any round. What a mark does differs:
left and self hash, KGW, textseal's green list and ours add δ to a key-dependent part of the vocabulary; Unigram's part is
always the same; SynthID and Gumbel change how a token is drawn."""


def _claims(found: Results) -> str:
    headline = found["peers"]["headline"]
    rows = ["| V = 128,000, CPU time | batch 1 | 8 | 64 |", "|---|---|---|---|"]
    for name, label in (
        ("left_over_cold", "transformers' left hash over Taggant, contexts never seen"),
        ("left_over_cached", "over Taggant, contexts seen before"),
        ("self_over_cold", "transformers' self hash over Taggant, contexts never seen"),
        ("self_over_cached", "over Taggant, contexts seen before"),
        ("sampling_over_cold", "softmax and one draw over Taggant, contexts never seen"),
    ):
        values = [headline[f"step_batch_{batch}"][name] for batch in (1, 8, 64)]
        rows.append(f"| {label} | " + " | ".join(f"{value:g} ×" for value in values) + " |")
    rows += ["", "| V = 128,000, CPU time of a test from ids to p | 512 ids | 8,192 ids |", "|---|---|---|"]
    for name, label in (
        ("left_over_taggant", "transformers' detector, left hash, over Taggant"),
        ("self_over_taggant", "the same, self hash"),
        ("left_over_not_compiled", "left hash over Taggant without its compiled kernels"),
        ("vllm_over_taggant", "vLLM's detector, context width 1, over Taggant"),
        ("vllm_default_over_taggant", "vLLM's detector, its default width 4"),
        ("tokenizer_over_taggant", "SmolLM2's tokenizer on as many tokens of text"),
    ):
        values = [headline[f"score_{tokens}_tokens"][name] for tokens in (512, 8192)]
        rows.append(f"| {label} | " + " | ".join("–" if one is None else f"{one:g} ×" for one in values) + " |")
    return "## Against the peers\n\nRatios of medians; every time is at the end of this page.\n\n" + "\n".join(rows)


def _bounds(found: Results) -> str:
    hot, reading = found["hot_paths"], found["reading_speed"]
    colouring, rows, line, many = hot["colouring"], hot["rows"], hot["lineup"], hot["attribution"]
    alone, text = colouring["no_block_shared"], colouring["text"]
    speed, spoken = alone["million_pairs_per_cpu_second"], text["million_pairs_per_cpu_second"]
    least = colouring["vector_operations_a_block"]
    micro = rows["cpu_microseconds"]
    weights, read = reading["weights"], reading["reading"]
    return f"""## What bounds each hot path

**Colouring pairs: the processor's vector units.** A colour is one ChaCha20 block: ten double rounds of eight quarters, each four
times add, xor and rotate, {colouring["operations_a_block"]} operations on 32-bit words, {least} on vectors of sixteen. At
{colouring["gigahertz"]} GHz (measured by a chain of multiplications) the words of a block take
{colouring["cycles_a_block_without_picking"]} cycles, {colouring["word_operations_a_cycle"]} word operations a cycle, and
{alone["cycles_a_block"]} with the value picked from them; nothing else is left to save but the block itself. So neighbours that
share one, as the 32 tokens of a block do after one context, have it computed once: real English has {text["blocks_a_pair"]} blocks
a pair. In million pairs per CPU second, no block shared, and the pairs of English text: {speed["laid_out_one_key"]} and
{spoken["laid_out_one_key"]} once laid out, {speed["from_ids_one_key"]} and {spoken["from_ids_one_key"]} from ids and contexts with everything checked.
Threads share nothing but the pairs.

**Line-ups and attribution: the same blocks, once a key.** Blocks and places do not depend on the key; they are laid out once, and
each tile of {128} blocks is coloured and counted under every key before the next: {speed["laid_out_16_keys_counted"]} million pairs per CPU second.
{line["decoys"]:,} decoys over {line["pairs"]:,} pairs: {line["counted"]["wall_seconds"]} s counted, {line["weighed"]["wall_seconds"]} s weighed
({line["counted"]["cpu_seconds"]} and {line["weighed"]["cpu_seconds"]} CPU seconds, {line["threads"]} threads). {many["accounts"]:,} accounts over
{many["pairs"]:,} pairs: {many["wall_seconds"]} s ({many["cpu_seconds"]} CPU seconds), of which {many["of_which_deriving_wall_cpu"][0]} s derive the keys.

**A step of generation, contexts never seen: the keystream of a row.** {rows["vocabulary"]:,} colours are {rows["vocabulary"] // 32:,} blocks:
{micro["compiled"]} µs compiled, comparison and transposition included ({rows["cycles_a_block_compiled"]} cycles a block); by OpenSSL,
where numba is not loaded, {micro["by_openssl"]} µs. Rows of a batch are made in as many threads as torch uses.
**Contexts seen before: memory.** One pass adds δ where a byte of the row says so: {micro["added_to_logits"]} µs, a copy of the logits
{micro["copy_of_the_logits"]} µs. At batch 64 a new tensor costs more than the sums; `in_place=True` writes into the logits.

**On a GPU: the same integer operations.** With Triton every block stays in registers from the state to the colours, so only
the mask is written; without it torch's operations write each step of the rounds. Neither was timed: there was no GPU. Under
`torch.compile` colours are one operation, which costs the compiler nothing and keeps the key out of its code.

**Distinct pairs: memory passes of a radix sort.** {hot["dedup"]["all_distinct"]["million_tokens_per_cpu_second"]} million tokens per CPU second where
all pairs are distinct, {hot["dedup"]["zipf"]["million_tokens_per_cpu_second"]} million where they repeat as words do: a pass over the codes for
each byte that is in use.

**Reading a model: its forward passes.** From two models' logits to the sums of D a position takes {weights["cpu_milliseconds_a_position"]} ms
at V = {weights["vocabulary"]:,}: two softmaxes and two exponentials, over {weights["positions_at_once"]} positions at a time, so that no
array of all positions by the vocabulary is ever made; what stays is two tables of distinct contexts by the vocabulary. On SmolLM2,
{read["positions"]:,} positions: {read["forward_cpu_seconds"]} CPU seconds of forward passes, {read["reading_cpu_seconds"]} of reading them included,
{read["bound_and_lineup_cpu_seconds"]} for the bound and 1,000 decoys: {read["reading_and_lineup_over_forward"]} × the forward passes alone."""


def _text(found: Results) -> str:
    rows = [
        "| threads | bare tokenizer, s | Taggant, s | share of its speed | in CPU time |",
        "|---|---|---|---|---|",
    ]
    for run in found["text"]["runs"]:
        rows.append(
            f"| {run['threads']} | {run['bare_wall_seconds']['median']} | {run['taggant_wall_seconds']['median']} | "
            f"{run['share_of_the_bare_speed_wall']:.1%} | {run['share_of_the_bare_speed_cpu']:.1%} |"
        )
    size, tokens = found["text"]["megabytes"], found["text"]["runs"][0]["tokens"]
    return (
        f"## Text\n\nA file of {size} MB, {tokens:,} tokens, from the file to the evidence, against its tokenizer alone on "
        "the same pieces; start-up aside, medians of wall seconds.\n\n" + "\n".join(rows)
    )


def _scaling(found: Results) -> str:
    rows = ["| what grows | sizes | wall time ∝ | memory ∝ | at the largest |", "|---|---|---|---|---|"]
    for name, one in found["scaling"].items():
        if not isinstance(one, dict) or "points" not in one:
            continue
        first, last, powers = one["points"][0], one["points"][-1], one["exponents"]
        shown = ["–" if powers[measure] is None else f"size^{powers[measure]:g}" for measure in ("wall", "megabytes")]
        rows.append(
            f"| {name} | {first['size']:,} … {last['size']:,} | {shown[0]} | {shown[1]} | "
            f"{last['wall']:g} s, {last['megabytes']:g} MB |"
        )
    return (
        "## Cost against size\n\n![Time and memory against size, log–log](scaling.svg)\n\nExponents by least squares "
        "over the larger half of the sizes; memory beyond that of a process that has imported and compiled the same. "
        "`python -m benchmarks.scaling` says what each size is made of.\n\n" + "\n".join(rows)
    )


def _startup(found: Results) -> str:
    rows = ["| a fresh process | wall seconds | of the large packages, it imported |", "|---|---|---|"]
    for name, one in found["startup"]["started"].items():
        rows.append(f"| `{name}` | {one['wall_seconds_median']} | {', '.join(one['imported']) or '–'} |")
    size = found["startup"]["sizes"]
    largest = ", ".join(f"{name} {megabytes}" for name, megabytes in size["largest_megabytes"].items())
    return (
        "## Start-up and size\n\n" + "\n".join(rows) + f"\n\nThe wheel has {size['wheel_kilobytes']:,} kB and installs "
        f"{size['installed_kilobytes']:,} kB. What it needs: {size['dependencies']} distributions, "
        f"{size['dependencies_megabytes']:,} MB; the largest, in MB: {largest}. Ids and text are scored without torch "
        "and transformers; a model's tokenizer needs transformers only where its files alone do not say what it is."
    )


def _profiles(profiles: dict[str, str]) -> str:
    lines = []
    for name, text in sorted(profiles.items()):
        own = [line.strip() for line in text.splitlines() if "%  " in line][:3]
        shown = ", ".join(f"{line.split('  ')[0]} in `{line.split('  ')[1]}`" for line in own)
        lines.append(f"- [{name}](../benchmarks/results/profiles/{name}.txt): {shown}")
    return "## Where the time goes\n\nSampled by py-spy; a line's share holds what it calls compiled.\n\n" + "\n".join(
        lines
    )


def _tables(found: Results) -> str:
    cases = found["peers"]["cases"]
    first = [case for case in cases if case["vocabulary"] == VOCABULARY]
    rest = [case for case in cases if case["vocabulary"] != VOCABULARY]
    return "## Every time\n\n" + "\n\n".join(table(case) for case in [*first, *rest])


def main() -> None:
    profiles = {path.stem: path.read_text() for path in sorted((RESULTS / "profiles").glob("*.txt"))}
    PAGE.write_text(page(results(), profiles))


if __name__ == "__main__":
    main()
