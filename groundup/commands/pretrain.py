"""Train a language model from random weights (or go on from a checkpoint) on raw text or prepared shards."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from groundup.commands import _stage
from groundup.errors import ArtefactError, UsageError
from groundup.train.config import TrainConfig, how


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
    """split pattern of the tokenizer that is trained: gpt2, cl100k, llama3; with characters, each one is a token"""
    context_length: int = 256
    """tokens a sequence is trained on"""
    val_fraction: float = 0.05
    """documents held out for validation"""
    val_data: str = ""
    """text files or a folder of them to validate on, in place of a share of the data"""
    val_context_length: int = 0
    """tokens of a window of the validation set; 0 takes context_length"""
    sampler: str = "epoch"
    """epoch: every window once per epoch; random: windows at random offsets"""
    val_rows: int = 64
    """windows of the fixed validation set; 0 takes all of it"""
    compare: tuple[str, ...] = ()
    """train every combination of these fields instead, as norm=rms,layer position=rope,learned with --model lab"""
    seeds: int = 3
    """runs of each combination that is compared"""
    ban: tuple[int, ...] = ()
    """documents of the training split that are not to be read, by number; groundup data batch shows numbers"""
    prompt: str = "Once upon a time"
    """continued at every validation, as a sample; an empty one shows none"""
    run_dir: str = how("")
    """where to write; by default runs/pretrain-<n>; an interrupted run goes on when named again"""
    resume_from: str = how("")
    """go on from this checkpoint of the run, and from no other; by default from the newest that is whole"""
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
    if not config.data:
        raise UsageError("no data was named", hint="groundup pretrain FILE-OR-FOLDER")
    if config.compare:
        return compare(config)
    # Refused now, not after a tokenizer was trained.
    expected = None if config.init_from else shape(config, config.vocab_size)
    return _stage.run("pretrain", config, config.init_from, job, expected)


def compare(config: Config) -> dict[str, Any]:
    """An ablation: a run for each combination and seed, on the same data; returns the results."""
    import dataclasses
    import sys
    from functools import partial

    from groundup import config as configs
    from groundup.insight import ablation
    from groundup.train import run_folder, watch

    choices = ablation.combinations(config.compare)
    variants = [configs.replace(config, "--compare", compare=(), arch={**config.arch, **one}) for one in choices]
    for variant in variants:
        shape(variant, config.vocab_size)
    run_dir = Path(config.run_dir) if config.run_dir else run_folder.next_run_dir("compare")
    if config.dry_run:
        _stage.print_json({"run_dir": str(run_dir), "would": "train", "runs": len(choices) * config.seeds})
        return {"run_dir": str(run_dir)}

    def say(text: str) -> None:
        if not config.quiet:
            print(text, file=sys.stderr)

    _, data = materials(config, run_dir, partial(watch.phase, quiet=config.quiet), say)

    def make(fields: dict[str, Any], seed: int, folder: Path) -> dict[str, Any]:
        train = dataclasses.replace(config.train, seed=seed)
        changes = {"compare": (), "arch": {**config.arch, **fields}, "data": str(data.path), "run_dir": str(folder)}
        return run(configs.replace(config, "--compare", **changes, tokenizer="", train=train, quiet=True, json=False))

    results = ablation.compare(choices, config.seeds, run_dir, make, say)
    outcome = {"run_dir": str(run_dir), "results": [dataclasses.asdict(result) for result in results]}
    if config.json:
        _stage.print_json(outcome)
    else:
        print(ablation.table(results))
    if pictures := ablation.draw_if_possible(run_dir, results):
        say(f"pictures: {', '.join(map(str, pictures))}")
    return outcome


def job(config: Config, run_dir: Path, notice: Any) -> _stage.Job:
    """Windows of running text, and a model with fresh weights or those of `init_from`."""
    from functools import partial

    from groundup.data.batches import Windows
    from groundup.train import watch

    tokenizer, data = materials(config, run_dir, partial(watch.phase, quiet=config.quiet), notice)
    train, rows = config.train, (config.context_length, config.train.batch_size)
    val_length = config.val_context_length or config.context_length
    return _stage.Job(
        model=build_model(config, tokenizer.vocab_size),
        batches=Windows(data.split("train"), *rows, train.seed, config.sampler, frozenset(config.ban)),
        held_out=Windows(data.split("val"), val_length, max(1, rows[0] * rows[1] // val_length)),
        tokenizer=tokenizer,
        data=data,
        prompts=[(config.prompt, tokenizer.encode(config.prompt))] if config.prompt else [],
        facts={"stage": "pretrain"},
    )


def materials(config: Config, run_dir: Path, phase: Any, notice: Any) -> tuple[Any, Any]:
    """The tokenizer and the shards: as prepared, or made here from raw text inside the run folder."""
    from itertools import chain

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

    def held_out():
        return sources.documents([Path(config.val_data)], notice=notice)

    def everything():
        # A character that validation has and training lacks is a token, too.
        return chain(documents(), held_out()) if config.val_data else documents()

    is_by_characters = config.pattern == from_text.CHARACTERS

    tokenizer = (
        Tokenizer.load(named)
        if named
        else from_text.tokenizer_for(
            everything if is_by_characters else documents,
            run_dir / "tokenizer",
            phase,
            vocab_size=config.vocab_size,
            pattern=config.pattern,
        )
    )
    data = from_text.shards_for(
        documents, tokenizer, run_dir / "data", phase,
        val_fraction=config.val_fraction, seed=config.train.seed, processes=os.cpu_count() or 1, notice=notice,
        held_out=held_out if config.val_data else None,
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
