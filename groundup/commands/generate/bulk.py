"""`groundup generate RUN --prompts FILE [--out FILE.jsonl]`: every row of a file, in batches."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

from groundup.commands.generate import say_if_chat
from groundup.inference import bulk
from groundup.inference.prompt_file import read

if TYPE_CHECKING:
    from groundup.commands.generate import Config


def run(config: "Config", people: Console, speaker: Any) -> int:
    """Makes what is not there yet. After Ctrl-C, or a kill, the same command goes on."""

    def notice(text: str) -> None:
        people.print(text, style="dim", markup=False)

    prompts = read(config.prompts, speaker, may_be_longer=config.shift, notice=notice)
    if any("prompt" in prompt.row for prompt in prompts):
        say_if_chat(speaker, people)
    if any(name in prompt.row for prompt in prompts for name in bulk.OURS):
        notice(f"what rows have under {', '.join(bulk.OURS)} is replaced by what is made")
    options = {"show_special": config.show_special, "trim": config.trim, "shift": config.shift}
    job = bulk.Job(speaker, prompts, config.sampling, config.n, options, config.batch_size)
    if config.dry_run:
        n_tokens = sum(len(prompt.ids) for prompt in prompts) * config.n
        most = len(job.keys) * config.sampling.max_new_tokens
        people.print(f"would make {len(job.keys):,} texts: {n_tokens:,} tokens of prompts, up to {most:,} new ones")
        return 0
    if config.out:
        _to_file(config, people, job)
    else:
        bulk.in_order(job, lambda row: print(orjson.dumps(row).decode(), flush=True))
    return 0


def _to_file(config: "Config", people: Console, job: bulk.Job) -> None:
    from groundup import artifact
    from groundup.train.watch import phase

    out = Path(config.out)
    if config.replace:
        artifact.claim(out, replace=True, source=None if config.prompts == "-" else config.prompts)
        out.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    made, started = _Tally(), time.monotonic()
    try:
        with phase("generating", len(job.keys), "texts", config.quiet) as shown:

            def on_begin(n_left: int) -> None:
                shown.total = n_left

            def on_row(row: Mapping[str, Any]) -> None:
                made.add(row)
                shown.advance()

            n_before = bulk.to_file(job, out, on_begin, on_row)
    except KeyboardInterrupt:
        people.print(f"{made.n:,} texts were written to {out}; the same command goes on with the others.", markup=False)
        raise
    if n_before:
        people.print(f"{n_before:,} texts were there already.", markup=False)
    if made.n:
        people.print(made.said(time.monotonic() - started), style="dim", markup=False)
    if config.json:
        print(orjson.dumps({"out": str(out), "n_texts": n_before + made.n, "n_new": made.n}).decode())


class _Tally:
    """Sums over the rows that were made."""

    def __init__(self) -> None:
        self.n = self.n_tokens = 0
        self.repeated = 0.0
        self.reasons: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any]) -> None:
        self.n += 1
        self.n_tokens += row["n_tokens"]
        self.repeated += row["repeated_4grams"]
        self.reasons[row["finish_reason"]] += 1

    def said(self, seconds: float) -> str:
        reasons = ", ".join(f"{n:,} x {reason}" for reason, n in self.reasons.most_common())
        rate = self.n_tokens / max(seconds, 1e-9)
        repeated = self.repeated / self.n
        return f"{self.n_tokens:,} tokens, {rate:,.0f} tokens/s; {repeated:.1%} of 4-grams repeated; ended by {reasons}"
