"""What every stage of training does around the loop: the run folder, the ranks, the checks before, the papers after.

Not a verb. A stage (pretrain, sft) says what is trained on what, as a `Job`; everything else is here, once.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup import config as configs
from groundup.errors import DataError, UsageError

# A stage's Config has these fields: run_dir, val_rows, resume_from, train, json, quiet, dry_run.


@dataclass
class Job:
    """What a stage hands over: a model, what it learns from, and what it is looked at with."""

    model: Any
    batches: Any
    """of training, with `n_rows_per_epoch`"""
    held_out: Any
    """batches of the same kind from the validation split"""
    tokenizer: Any
    data: Any
    """the TokenData that both are from"""
    prompts: Sequence[tuple[str, Any]] = ()
    """(text to show, ids) to continue at every validation"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """for the checkpoints' contract: the stage, the chat template"""


Make = Callable[[Any, Path, Any], Job]
"""make(config, run_dir, notice), called once the run folder is open."""


def run(verb: str, config: Any, parent: str, make: Make, expected: Any = None) -> dict[str, Any]:
    """Train, or say what would be done. `expected` is the model's Config, where it is known before the work begins.

    Returns the outcome: run folder, checkpoint, steps, losses.
    """
    from groundup.train import launch, run_folder

    run_dir = Path(config.run_dir) if config.run_dir else run_folder.next_run_dir(verb)
    if config.dry_run:
        plan = {"run_dir": str(run_dir), "would": "train", "config": configs.to_dict(config)}
        if config.json:
            print_json(plan)
        return plan
    if launch.is_needed(config.train):
        return supervised(verb, configs.replace(config, "default", run_dir=str(run_dir)))
    from groundup.train import distributed

    config = distributed.as_rank(config)
    outcome = train(verb, config, run_dir, parent, make, expected)
    if config.json:
        print_json(outcome)
    elif not config.quiet:
        next_verb = "chat" if verb == "sft" else "generate"
        print(f"trained: {outcome['checkpoint']}\nnext:    groundup {next_verb} {outcome['run_dir']}", file=sys.stderr)
    return outcome


def train(verb: str, config: Any, run_dir: Path, parent: str, make: Make, expected: Any) -> dict[str, Any]:
    """The whole run of one process."""
    from functools import partial

    from groundup.evaluate.checkup import Checkup
    from groundup.insight import anatomy, anatomy_costs, calibration, report
    from groundup.train import card, distributed, loop, losses, plots, reference, watch
    from groundup.train.devices import dtype_for

    with distributed.joined(config.train) as world:
        with (
            world.open_run(
                run_dir,
                verb=verb,
                config_toml=configs.to_toml(config, configs.origins_of(config)),
                config_hash=configs.config_hash(config),
                facts={"seed": config.train.seed, "parent": parent or None, "code": card.code()},
                resume=True,
            ) as folder,
            watch.Watch(folder, config.train.n_steps, quiet=config.quiet) as shown,
        ):
            shown.note(f"run folder: {run_dir}")
            if expected is not None:
                shown.note(foreseen(config, expected, config.context_length))
            with world.main_first():
                job = make(config, folder.path, shown.note)
            check_lengths(job)
            check_rows(job.batches, config, shown.note)
            if expected is None:
                shown.note(foreseen(config, job.model.config, job.batches.context_length, verb == "sft"))
            checkup = Checkup(
                job.held_out.fixed(config.val_rows), job.tokenizer, folder, job.prompts, show=shown.sample
            )
            n_parameters = sum(p.numel() for p in job.model.parameters())
            folder.remember(n_parameters=n_parameters, data=job.data.manifest["counts"], tokenizer=job.tokenizer.hash)
            context_length = job.batches.context_length
            anatomy_of_it = anatomy.take_apart(job.model, context_length)
            flops = anatomy_costs.operations(anatomy_of_it, context_length).training_by_rule
            outcome = loop.train(
                job.model,
                job.batches,
                partial(losses.next_token, z_loss=config.train.z_loss),
                config.train,
                run=folder,
                watch=shown,
                tokenizer=job.tokenizer,
                evaluate=checkup,
                facts=job.facts,
                identity={"data": card.data_hash(job.data.manifest)},
                resume_from=config.resume_from,
                reference=reference.of_origins(configs.origins_of(config)),
                flops_per_token=flops,
                peak_flops=calibration.peak_flops(dtype_for(config.train.precision, world.device), world.device) or 0.0,
            )
            if world.is_main:
                plots.draw_if_possible(folder.path)
        if world.is_main:
            report.write(folder.path)
            card.write(folder.path)
    return {
        "run_dir": str(folder.path), "checkpoint": str(outcome.step_dir), "n_steps": outcome.n_steps,
        "n_parameters": n_parameters, "seconds": round(outcome.seconds, 1), **outcome.metrics,
    }  # fmt: skip


def foreseen(config: Any, shape: Any, context_length: int, is_packed: bool = False) -> str:
    """What the run will take, in a line; EnvironmentFault where the machine has not got it."""
    from groundup.insight import plan

    return plan.before_run(
        shape, config.train, context_length=context_length, run_dir=Path(config.run_dir or "."),
        val_rows=config.val_rows, is_packed=is_packed,
    )  # fmt: skip


def check_lengths(job: Job) -> None:
    """A model of an earlier run, or one that --arch gave a context of its own, may be too short for the rows."""
    longest = job.model.config.context_length
    for batches, flag in ((job.batches, "--context-length"), (job.held_out, "--val-context-length")):
        if batches.context_length > longest:
            what = f"rows of {batches.context_length} tokens are too long for the model, whose context is {longest}"
            raise UsageError(what, hint=f"{flag} {longest}")


def check_rows(batches: Any, config: Any, notice: Callable[[str], object]) -> None:
    """Fewer rows than a batch are seen several times in every step: DataError for text, a note for conversations."""
    n_rows, batch_size = batches.n_rows_per_epoch, config.train.batch_size
    what = f"{n_rows} rows of {batches.context_length} tokens, fewer than one batch of {batch_size}"
    if too_long := getattr(batches, "n_too_long", 0):
        notice(f"{too_long} conversations are longer than {batches.context_length} tokens and are not learned from")
    if n_rows >= batch_size:
        return
    if hasattr(batches, "conversations"):
        notice(f"the conversations fill {what}: --batch-size {n_rows} would do")
    else:
        hint = f"use more text, --batch-size {n_rows}, or a smaller --context-length"
        raise DataError(f"the text fills {what}", hint=hint)


def supervised(verb: str, config: Any) -> dict[str, Any]:
    """The same command in several processes; raises SystemExit with their exit code if it is not 0."""
    from groundup.train import launch

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.toml")
        file.write_text(configs.to_toml(config), encoding="utf-8")
        code = launch.supervise([verb, "--config", str(file)], config.train.devices, config.train.max_restarts, say)
    if code:
        raise SystemExit(code)
    return {"run_dir": config.run_dir}


def print_json(found: Mapping[str, Any]) -> None:
    """For machines, on stdout."""
    import orjson

    print(orjson.dumps(found).decode())
