"""Train a language model from random weights (or go on from a checkpoint) on raw text or prepared shards."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from groundup import config as configs
from groundup.errors import ArtefactError, UsageError
from groundup.train.config import TrainConfig


@dataclass(frozen=True)
class Config:
    """What `groundup pretrain` can be told."""

    data: str = field(default="", metadata={"positional": True})
    """text files or a folder of them, or a folder made by `groundup data prepare`"""
    model: str = "llama"
    """architecture: the name of a file in models/"""
    size: str = "nano"
    """preset of that architecture, such as nano, 124 or 124M"""
    arch: dict[str, Any] = field(default_factory=dict)
    """single fields of the architecture on top of the preset: --arch.n-layers 4"""
    start: Literal["normal", "mimetic"] = "normal"
    """fresh weights: normal, or mimetic, which begins attention near the identity and suits small models"""
    init_from: str = ""
    """checkpoint or run to go on from with its own architecture and tokenizer (continued pretraining)"""
    tokenizer: str = ""
    """tokenizer folder; by default one is trained on the data"""
    vocab_size: int = 4096
    """of the tokenizer that is trained"""
    pattern: str = "gpt2"
    """split pattern of the tokenizer that is trained: gpt2, cl100k, llama3"""
    context_length: int = 256
    """tokens a sequence is trained on"""
    val_fraction: float = 0.05
    """documents held out for validation"""
    sampler: str = "epoch"
    """epoch: every window once per epoch; random: windows at random offsets"""
    val_rows: int = 64
    """windows of the fixed validation set; 0 takes all of it"""
    prompt: str = "Once upon a time"
    """continued at every validation, as a sample; an empty one shows none"""
    run_dir: str = ""
    """where to write; by default runs/pretrain-<n>; an interrupted run goes on when named again"""
    train: TrainConfig = field(default_factory=TrainConfig)
    """the loop's settings"""
    json: bool = False
    """one JSON object on stdout at the end"""
    quiet: bool = False
    """no progress"""
    dry_run: bool = False
    """say what would be done and stop"""


def run(config: Config) -> dict[str, Any]:
    """Returns the outcome: run folder, checkpoint, steps, losses."""
    from functools import partial

    from groundup.data.batches import Windows
    from groundup.evaluate.checkup import Checkup
    from groundup.insight import report
    from groundup.train import loop, losses, plots, run_folder, watch

    if not config.data:
        raise UsageError("no data was named", hint="groundup pretrain FILE-OR-FOLDER")
    if not config.init_from:
        shape(config, config.vocab_size)  # refused now, not after a tokenizer was trained
    run_dir = Path(config.run_dir) if config.run_dir else run_folder.next_run_dir("pretrain")
    phase = partial(watch.phase, quiet=config.quiet)
    if config.dry_run:
        return finish(config, {"run_dir": str(run_dir), "would": "train", "config": configs.to_dict(config)})
    with (
        run_folder.RunFolder.open(
            run_dir,
            verb="pretrain",
            config_toml=configs.to_toml(config, configs.origins_of(config)),
            config_hash=configs.config_hash(config),
            facts={"seed": config.train.seed, "parent": config.init_from or None},
            resume=True,
        ) as folder,
        watch.Watch(folder, config.train.n_steps, quiet=config.quiet) as shown,
    ):
        shown.note(f"run folder: {run_dir}")
        tokenizer, data = materials(config, run_dir, phase, shown.note)
        model = build_model(config, tokenizer.vocab_size)
        split = data.split("train")
        windows = Windows(
            split, config.context_length, config.train.batch_size, config.train.seed, sampler=config.sampler
        )
        held_out = Windows(data.split("val"), config.context_length, config.train.batch_size, 0)
        prompts = [(config.prompt, tokenizer.encode(config.prompt))] if config.prompt else []
        checkup = Checkup(held_out.fixed(config.val_rows), tokenizer, folder, prompts)
        n_parameters = sum(p.numel() for p in model.parameters())
        folder.remember(n_parameters=n_parameters, data=data.manifest["counts"], tokenizer=tokenizer.hash)
        outcome = loop.train(
            model, windows, losses.next_token, config.train,
            run=folder, watch=shown, tokenizer=tokenizer, evaluate=checkup, facts={"stage": "pretrain"},
        )  # fmt: skip
        plots.draw_if_possible(run_dir)
    report.write(run_dir)
    return finish(config, {
        "run_dir": str(run_dir), "checkpoint": str(outcome.step_dir), "n_steps": outcome.n_steps,
        "n_parameters": n_parameters, "seconds": round(outcome.seconds, 1), **outcome.metrics,
    })  # fmt: skip


def materials(config: Config, run_dir: Path, phase: Any, notice: Any) -> tuple[Any, Any]:
    """The tokenizer and the shards: as prepared, or made here from raw text inside the run folder."""
    from groundup.data import from_text
    from groundup.data.shards import TokenData
    from groundup.text import sources
    from groundup.tokenizer.protocol import Tokenizer
    from groundup.weights import checkpoint

    path = Path(config.data)
    named = config.tokenizer or (str(checkpoint.resolve(config.init_from)) if config.init_from else "")
    if (path / "manifest.json").exists():
        data = TokenData.open(path)
        tokenizer = Tokenizer.load(named or path / "tokenizer")
        from_text.check_tokenizer(data, tokenizer)
        return tokenizer, data

    def documents():
        return sources.documents([path], notice=notice)

    tokenizer = (
        Tokenizer.load(named)
        if named
        else from_text.tokenizer_for(
            documents, run_dir / "tokenizer", phase, vocab_size=config.vocab_size, pattern=config.pattern
        )
    )
    data = from_text.shards_for(
        documents, tokenizer, run_dir / "data", phase,
        val_fraction=config.val_fraction, seed=config.train.seed, processes=os.cpu_count() or 1, notice=notice,
    )  # fmt: skip
    return tokenizer, data


def build_model(config: Config, vocab_size: int) -> Any:
    """The model of the config with fresh weights, or the one to go on from."""
    from groundup import models
    from groundup.weights import checkpoint

    if config.init_from:
        model = checkpoint.load(config.init_from, kernels=config.train.kernels).model
        n_known = models.shape_of(model).vocab_size
        if n_known < vocab_size:
            raise ArtefactError(f"the tokenizer has {vocab_size} ids and the model {n_known}", where=config.init_from)
        return model
    wanted = shape(config, vocab_size)
    return models.fresh(wanted, seed=config.train.seed, kernels=config.train.kernels, start=config.start)


def shape(config: Config, vocab_size: int) -> Any:
    """The Config of the model that is asked for; UsageError where there can be none."""
    from groundup import models

    fields = {"context_length": config.context_length, **config.arch, "vocab_size": vocab_size}
    try:
        return models.change(models.preset(config.model, config.size), fields)
    except ValueError as error:
        raise UsageError(str(error), hint="groundup model info shows the sizes there are") from error


def finish(config: Config, outcome: dict[str, Any]) -> dict[str, Any]:
    """Print the outcome for machines, or the next command for people."""
    import sys

    import orjson

    if config.json:
        print(orjson.dumps(outcome).decode())
    elif not config.quiet and "checkpoint" in outcome:
        print(f"trained: {outcome['checkpoint']}\nnext:    groundup generate {outcome['run_dir']}", file=sys.stderr)
    return outcome
