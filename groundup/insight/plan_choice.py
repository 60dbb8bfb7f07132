"""Configurations that fit: the nearest one to a run that does not, and the largest model for a budget."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup import models
from groundup.insight.calibration import Machine
from groundup.insight.plan import ROOM, TOKENS_PER_PARAMETER, Plan, of_run
from groundup.insight.plan_corpus import Corpus
from groundup.insight.plan_costs import Run, n_parameters

LARGEST = 3e9
"""Parameters; beyond, one machine is not asked any more."""


@dataclass(frozen=True)
class Choice:
    """Another configuration, in flags, with its plan."""

    flags: str
    plan: Plan


def that_fits(plan: Plan, machine: Machine) -> Choice | None:
    """The same run within the memory of the plan: a smaller micro-batch, activations computed twice, a smaller size."""
    run, limit = plan.run, plan.memory_limit
    for fields, flags in ({}, ""), ({"activation_checkpointing": True}, " --activation-checkpointing"):
        largest = largest_micro_batch(changed(run, **fields), machine, limit)
        if largest is not None:
            rows, found = largest
            return Choice(f"--micro-batch-size {rows}{flags}", found)
    family = models.name_of(run.shape)
    for size, shape in reversed(sizes(family, run.shape)):
        if n_parameters(shape) < plan.n_parameters:
            smaller = dataclasses.replace(run, shape=shape)
            largest = largest_micro_batch(smaller, machine, limit)
            if largest is not None:
                return Choice(f"--size {size} --micro-batch-size {largest[0]}", largest[1])
    return None


def largest_micro_batch(run: Run, machine: Machine, limit: float) -> tuple[int, Plan] | None:
    """The most sequences at a time whose memory is within the limit, at most as many as are asked for."""

    def at(rows: int) -> Plan:
        smaller = changed(run, micro_batch_size=rows, gradient_accumulation_steps=0)
        return of_run(smaller, machine, None, Path(), tries=False, memory_limit=limit)

    def fits(found: Plan) -> bool:
        return found.memory.total <= ROOM * limit

    program = machine.base_bytes if run.device == "cpu" else 0.0
    if 8 * n_parameters(run.shape) + program > ROOM * limit:
        return None  # weights and gradients alone
    rows, found = run.rows, at(run.rows)
    if fits(found):
        return rows, found
    one = at(1)
    if rows == 1 or not fits(one):
        return None
    # Memory grows with the sequences nearly along a line; where it foresees a fit, that is looked at.
    slope = (found.memory.total - one.memory.total) / (rows - 1)
    most = 1 + (ROOM * limit - one.memory.total) / max(slope, 1.0)
    for n in range(rows - 1, 1, -1):
        if run.train.rows_per_device % n == 0 and n <= most and fits(found := at(n)):
            return n, found
    return 1, one


def changed(run: Run, **fields: Any) -> Run:
    return dataclasses.replace(run, train=dataclasses.replace(run.train, **fields))


def sizes(family: str, like: Any) -> list[tuple[str, Any]]:
    """The presets of a family with the vocabulary and context of `like`, the smallest first."""
    found = []
    for name, preset in models.family(family).PRESETS.items():
        fields = {"vocab_size": like.vocab_size, "context_length": like.context_length}
        if getattr(getattr(preset, "rope", None), "scaling", "none") != "none":
            continue  # made for long contexts; the same shape is there without
        shape = models.change(preset, fields)
        if n_parameters(shape) <= LARGEST:
            found.append((name, shape))
    return sorted(found, key=lambda one: n_parameters(one[1]))


@dataclass(frozen=True)
class Row:
    """A size with 20 tokens per parameter: how long that takes here, and with how much memory."""

    size: str
    n_parameters: int
    n_tokens: float
    tokens_per_second: float
    seconds: float
    micro_batch_size: int
    memory: float
    """0 where not even one sequence fits."""


def table(run: Run, machine: Machine, limit: float, budget: float = 0.0) -> list[Row]:
    """Every size of the family of `run`, trained as `run` is; up to the first that takes twice a budget."""
    rows = []
    for size, shape in sizes(models.name_of(run.shape), run.shape):
        one = dataclasses.replace(run, shape=shape)
        n_tokens = float(TOKENS_PER_PARAMETER * n_parameters(shape))
        largest = largest_micro_batch(one, machine, limit)
        if largest is None:
            rows.append(Row(size, n_parameters(shape), n_tokens, 0.0, float("inf"), 0, 0.0))
            break  # those that follow are larger
        n, plan = largest
        rate = run.tokens_per_step / plan.seconds.step
        rows.append(Row(size, plan.n_parameters, n_tokens, rate, n_tokens / rate, n, plan.memory.total))
        if budget and rows[-1].seconds > 2 * budget:
            break
    return rows


def largest_within(rows: list[Row], seconds: float) -> Row | None:
    """The largest model that has seen its 20 tokens per parameter when the budget is over."""
    fitting = [row for row in rows if row.memory and row.seconds <= (seconds or float("inf"))]
    return max(fitting, key=lambda row: row.n_parameters, default=None)


def words_about_data(row: Row, corpus: Corpus | None) -> str:
    """Is there text enough for it?"""
    if corpus is None or not corpus.n_tokens:
        return f"it wants {row.n_tokens / 1e6:,.0f}M tokens of text"
    epochs = row.n_tokens / corpus.n_tokens
    if epochs <= 1:
        return f"the text has {corpus.n_tokens / 1e6:,.1f}M tokens, which is enough"
    advice = "" if epochs <= 4 else ": after four times little is learned from it again; a smaller model, or more text"
    return f"the text has {corpus.n_tokens / 1e6:,.1f}M tokens, to be seen {epochs:,.1f} times{advice}"
