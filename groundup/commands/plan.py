"""Say what a training run will take, before it starts: time, memory, disk; and what would fit where it does not.

groundup plan CONFIG.toml                      a configuration of groundup pretrain
groundup plan DATA --size small --minutes 10   the same in flags
groundup plan DATA --budget 8h           the largest model that is well trained in eight hours
groundup plan DATA --memory 8GB          the largest that fits
groundup plan --sizes                          every size against its days on this machine
"""

import functools
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.commands import pretrain
from groundup.errors import EnvironmentFault, UsageError


@dataclass(frozen=True)
class Config(pretrain.Config):
    """What `groundup plan` can be told: all that `groundup pretrain` can, and what there is room for."""

    memory: str = ""
    """plan for so much memory, as 8GB, in place of this machine's; with no size named, propose the largest that fits"""
    budget: str = ""
    """propose the largest model that 20 tokens per parameter can be given in this time: 30m, 8h, 2d"""
    sizes: bool = False
    """a table of the family's sizes against days on this machine"""
    gpu: bool = False
    """plan memory by a GPU's rules, whether there is one here or not: --gpu --memory 8GB"""
    trial: bool = True
    """make a few real steps, where that takes seconds; off: reckon from the calibration alone"""


def run(config: Config) -> int | None:
    """Prints the plan; EnvironmentFault (exit 4) with a configuration that fits, if this one does not."""
    from groundup import config as configs
    from groundup.insight import calibration, plan

    if config.data.endswith(".toml"):
        config = from_file(config)
    origins = configs.origins_of(config)
    has_size = any(origins.get(name, "default") != "default" for name in ("size", "arch", "init_from"))
    limit, budget = bytes_of(config.memory), seconds_of(config.budget)

    def say(text: str) -> None:
        if not config.quiet:
            print(text, file=sys.stderr)

    if config.data and not Path(config.data).exists():
        say(f"there is no {config.data} yet: planned without it")
        config = configs.replace(config, "not there yet", data="")
    machine = calibration.machine(notice=say)
    device = "cuda" if config.gpu else ""
    if config.gpu and not plan.device_is_here("cuda"):
        say("no GPU is here: its memory is reckoned by its rules, and its time is not told")
    if config.sizes or budget or (limit and not has_size):
        return propose(config, machine, limit, budget, device)
    found = plan.estimate(config, machine, tries=config.trial, memory_limit=limit, device=device)
    tell(config, as_dict(found), list(lines(found, machine)))
    if not found.faults:
        return None
    from groundup.insight import plan_choice

    choice = plan_choice.that_fits(found, machine) if found.memory.total > plan.ROOM * found.memory_limit else None
    hint = f"it fits with {choice.flags}: {plan.gb(choice.plan.memory.total)}" if choice else None
    if found.disk.peak > found.disk_free:
        hint = "; ".join(filter(None, [hint, "free some space, name another disk with --run-dir, or lower --keep"]))
    raise EnvironmentFault("this cannot be: " + "; ".join(found.faults), hint=hint)


def from_file(config: Config) -> Config:
    """The configuration in the file that stands in the place of data, with the flags that were given beside it."""
    from groundup import config as configs

    values = {}
    for name, origin in configs.origins_of(config).items():
        if origin.startswith("--") and name != "data":
            values[name] = functools.reduce(getattr, name.split("."), config)
    return configs.load(Config, file=Path(config.data), flags=values).config


def propose(config: Config, machine: Any, limit: float, budget: float, device: str) -> int | None:
    """The table of sizes, and with a budget or a limit which of them to take."""
    import dataclasses

    from groundup.insight import plan, plan_choice, plan_corpus, plan_costs

    corpus = plan_corpus.look(config) if config.data else None
    shape = plan.shape_of(dataclasses.replace(config, arch={}, init_from=""), corpus)
    a_run = plan.run_of(shape, config.train, config.context_length, config.val_rows, False, device=device)
    room = limit or plan_costs.limit_bytes(a_run.device)
    rows = plan_choice.table(a_run, machine, room, budget)
    wanted = bool(budget or limit)
    best = plan_choice.largest_within(rows, budget) if wanted else None
    facts: dict[str, Any] = {"memory_limit": room, "budget_seconds": budget or None, "sizes": []}
    facts["sizes"] = [dataclasses.asdict(row) | {"seconds": row.seconds if row.memory else None} for row in rows]
    shown = list(size_lines(rows, a_run, room))
    if best is not None:
        n_steps = max(1, round(best.n_tokens / a_run.tokens_per_step))
        command = f"groundup pretrain {config.data or 'DATA'} --model {config.model} --size {best.size}"
        command += f" --context-length {config.context_length} --batch-size {config.train.batch_size}"
        command += f" --micro-batch-size {best.micro_batch_size} --n-steps {n_steps}"
        about = plan_choice.words_about_data(best, corpus)
        facts["proposal"] = {"size": best.size, "n_steps": n_steps, "command": command, "data": about}
        within = f" within {config.budget}" if budget else ""
        took = "" if device == "cuda" else f", {plan.duration(best.seconds)}"
        shown += [
            "",
            f"The largest{within}: {config.model} {best.size}, {best.n_parameters / 1e6:.1f}M parameters{took}, "
            f"{plan.gb(best.memory)} of memory; {about}.",
            f"  {command}",
        ]
    tell(config, facts, shown)
    if wanted and best is None:
        what = f"no size of {config.model} can be trained within "
        what += " and ".join(filter(None, [config.budget, config.memory and f"{config.memory} of memory"]))
        smallest = rows[0] if rows else None
        hint = f"the smallest takes {plan.duration(smallest.seconds)}" if smallest and smallest.memory else None
        raise EnvironmentFault(what, hint=hint or "a smaller --context-length or --vocab-size needs less")
    return None


# --- what is shown ---


def tell(config: Config, facts: dict[str, Any], shown: list[str]) -> None:
    import orjson

    if config.json:
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(shown))


def lines(found: Any, machine: Any) -> Iterator[str]:
    """A plan for people."""
    from groundup.insight.plan import TOKENS_PER_PARAMETER, duration, gb

    run, train, seconds = found.run, found.run.train, found.seconds
    is_unknown = run.device != "cpu" and f"{run.device} {run.precision}" not in machine.flops
    yield f"Model      {found.n_parameters:,} parameters; training in {run.precision} on {run.device}"
    flops = found.flops_per_token
    yield f"           {flops / 1e6:,.1f} MFLOP a token, {flops * found.n_tokens:.3g} in all"
    parts = f"{run.rows} at a time" if run.n_micro_batches > 1 else "at once"
    batch = f"{train.batch_size} × {run.context_length} tokens, {parts}"
    yield f"Steps      {seconds.n_steps:,} of {batch}: {found.n_tokens / 1e6:,.2f}M tokens"
    ratio = found.tokens_per_parameter
    verdict = "about right"
    if ratio < TOKENS_PER_PARAMETER / 2:
        verdict = "fewer: a smaller model would learn as much"
    elif ratio > TOKENS_PER_PARAMETER * 5:
        verdict = "many more: a larger model would learn more"
    yield f"           {ratio:,.1f} tokens per parameter; {TOKENS_PER_PARAMETER} are a good measure ({verdict})"
    if found.corpus:
        kind = "exactly" if found.corpus.is_exact else "about"
        yield (
            f"Text       {kind} {found.corpus.n_tokens / 1e6:,.2f}M tokens of {gb(found.corpus.n_bytes)}, "
            f"seen {found.epochs:.2f} times"
        )
    yield ""
    if is_unknown:
        yield "Time       not told for a GPU: it is not measured here"
    else:
        how = "by steps made on trial" if seconds.is_measured else "reckoned from this machine's calibration, roughly"
        yield f"Time       {duration(seconds.total)}, {how}"
        for name, n in seconds.phases.items():
            yield f"  {name:<38}{duration(n):>12}"
        rate = run.tokens_per_step / seconds.step
        peak = machine.rate(run.precision, run.device)
        share = f"{flops * rate / peak:.0%} of the {peak / 1e9:,.0f} GFLOP/s that a large product reaches"
        yield f"  {seconds.step:.3g} s a step, {rate:,.0f} tokens/s, {share}"
    yield ""
    how = "measured on trial" if found.memory.is_measured else "reckoned"
    there = f"; {gb(found.memory_limit)} are there" if math.isfinite(found.memory_limit) else ""
    yield f"Memory     {gb(found.memory.total)} at the peak, {how}{there}"
    for name, n in found.memory.terms.items():
        yield f"  {name:<38}{gb(n):>12}"
    yield ""
    free = gb(found.disk_free)
    yield f"Disk       {gb(found.disk.total)} when it is over, {gb(found.disk.peak)} at most; {free} are free"
    for name, n in found.disk.phases.items():
        yield f"  {name:<38}{gb(n):>12}"


def size_lines(rows: list[Any], a_run: Any, room: float) -> Iterator[str]:
    """Sizes against days."""
    from groundup.insight.plan import duration, gb

    batch = f"{a_run.train.batch_size} × {a_run.context_length}"
    within = f", within {gb(room)}" if math.isfinite(room) else ""
    yield f"20 tokens per parameter, {a_run.precision} on {a_run.device}, batches of {batch}{within}"
    yield ""
    yield (
        f"{'size':<14}{'parameters':>12}{'tokens':>10}"
        f"{'tokens/s':>10}{'time':>12}{'days':>9}{'at a time':>11}{'memory':>10}"
    )
    for row in rows:
        if not row.memory:
            yield f"{row.size:<14}{row.n_parameters / 1e6:>11,.1f}M   does not fit, and so none that is larger"
            continue
        name = f"{row.size:<14}{row.n_parameters / 1e6:>11,.1f}M{row.n_tokens / 1e6:>9,.0f}M"
        is_gpu = a_run.device != "cpu"
        rate, took, days = (
            ("?", "?", "?")
            if is_gpu
            else (f"{row.tokens_per_second:,.0f}", duration(row.seconds), f"{row.seconds / 86400:,.2f}")
        )
        yield f"{name}{rate:>10}{took:>12}{days:>9}{row.micro_batch_size:>11}{gb(row.memory):>10}"


def as_dict(found: Any) -> dict[str, Any]:
    """A plan for machines; bytes and seconds."""
    import dataclasses

    return {
        "parameters": found.n_parameters,
        "precision": found.run.precision,
        "device": found.run.device,
        "flops_per_token": found.flops_per_token,
        "flops": found.flops_per_token * found.n_tokens,
        "n_steps": found.seconds.n_steps,
        "tokens": found.n_tokens,
        "tokens_per_parameter": found.tokens_per_parameter,
        "epochs": found.epochs,
        "text": dataclasses.asdict(found.corpus) if found.corpus else None,
        "seconds": {
            "total": found.seconds.total, "step": found.seconds.step, "evaluation": found.seconds.evaluation,
            "by_phase": found.seconds.phases, "is_measured": found.seconds.is_measured,
        },
        "memory": {
            "total": found.memory.total, "limit": found.memory_limit, "by_term": found.memory.terms,
            "is_measured": found.memory.is_measured,
        },
        "disk": {
            "total": found.disk.total, "peak": found.disk.peak, "free": found.disk_free,
            "checkpoint": found.disk.checkpoint, "by_phase": found.disk.phases,
        },
        "fits": not found.faults,
        "faults": list(found.faults),
    }  # fmt: skip


# --- what people type ---

UNITS = {"": 1.0, "B": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
TIMES = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def bytes_of(text: str) -> float:
    """Bytes of "8GB", "500MB", "16GiB"; 0 for nothing."""
    if not text:
        return 0.0
    found = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if not found or found[1].count(".") > 1 or not float(found[1].rstrip(".") or 0):
        raise UsageError(f"memory = {text!r}: valid values are such as 8GB, 500MB, 16GiB", where="--memory")
    unit = UNITS[found[2].upper()]
    return float(found[1]) * (1024 ** "BKMGT".index(found[2].upper() or "B") if found[3] else unit)


def seconds_of(text: str) -> float:
    """Seconds of "8h", "30m", "2d", "1.5h"; 0 for nothing."""
    if not text:
        return 0.0
    found = re.fullmatch(r"\s*([\d.]+)\s*(s|m|min|h|d|w)\s*", text, re.IGNORECASE)
    if not found or found[1].count(".") > 1 or not float(found[1].rstrip(".") or 0):
        raise UsageError(f"budget = {text!r}: valid values are such as 30m, 8h, 2d", where="--budget")
    return float(found[1]) * TIMES[found[2].lower()]
