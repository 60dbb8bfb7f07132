"""Tune a pretrained model on conversations: the loss lies on the assistant's words and on the token that ends them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.commands import _stage
from groundup.errors import UsageError
from groundup.train.config import TrainConfig, how


@dataclass(frozen=True)
class Config:
    """What `groundup sft` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """the pretrained model: a run, a checkpoint or a Hugging Face folder"""
    data: tuple[str, ...] = ()
    """conversation files (Alpaca, ShareGPT, OpenAI messages; JSON or JSONL), or one folder made from them"""
    template: str = ""
    """chat template: chatml, llama3, plain and others; by default the tokenizer's own"""
    context_length: int = 0
    """tokens per row of packed conversations; 0 takes the model's"""
    val_fraction: float = 0.1
    """conversations held out for validation"""
    max_bad: float = 0.0
    """share of unreadable rows that is skipped and counted instead of being an error"""
    shuffle: bool = True
    """off: rows in the order of the file, for data that is sorted from easy to hard"""
    val_rows: int = 64
    """packed rows of the fixed validation set; 0 takes all"""
    ban: tuple[int, ...] = ()
    """conversations of the training split that are not to be read, by number; groundup data batch shows numbers"""
    prompt: str = "Tell me a story."
    """asked at every validation, as a sample; an empty one shows none"""
    system: str = ""
    """system prompt of that sample; none by default"""
    run_dir: str = how("")
    """where to write; by default runs/sft-<n>; an interrupted run goes on when named again"""
    resume_from: str = how("")
    """go on from this checkpoint of the run, and from no other; by default from the newest that is whole"""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(lr=1e-3, matrix_lr=0.01))
    """the loop's settings"""
    json: bool = False
    """one JSON object on stdout at the end"""
    quiet: bool = False
    """no progress"""
    dry_run: bool = False
    """say what would be done and stop"""


def run(config: Config) -> dict[str, Any]:
    """Returns the outcome: run folder, checkpoint, steps, losses."""
    if not config.model or not config.data:
        raise UsageError("a model and data must be named", hint="groundup sft RUN --data FILE.jsonl")
    return _stage.run("sft", config, config.model, job)


def job(config: Config, run_dir: Path, notice: Any) -> _stage.Job:
    """Rows of whole conversations, and the pretrained model, whose tokenizer gets the chat template."""
    from groundup import models
    from groundup.data.batches import Packed
    from groundup.text.records import Message
    from groundup.tokenizer import chat
    from groundup.weights import checkpoint

    loaded = checkpoint.load(config.model, kernels=config.train.kernels)
    model, tokenizer = loaded.model, loaded.needed_tokenizer()
    template = config.template or prepared_template(config) or chat.name_for(tokenizer)
    tokenizer.chat_template = chat.jinja_for(tokenizer, template)
    context_length = config.context_length or models.shape_of(model).context_length
    data = conversations_for(config, tokenizer, template, context_length, run_dir, notice)
    system = [Message("system", config.system)] if config.system else []
    asked = chat.render([*system, Message("user", config.prompt)], tokenizer, generation_prompt=True)
    train, rows = config.train, (context_length, config.train.batch_size)
    return _stage.Job(
        model=model,
        batches=Packed(data.split("train"), *rows, train.seed, config.shuffle, frozenset(config.ban)),
        held_out=Packed(data.split("val"), *rows),
        tokenizer=tokenizer,
        data=data,
        prompts=[(config.prompt, asked.ids)] if config.prompt else [],
        facts={"stage": "sft", "template": template},
    )


def conversations_for(
    config: Config, tokenizer: Any, template: str, context_length: int, run_dir: Path, notice: Any
) -> Any:
    """The token data named, or made here from conversation files inside the run folder; an existing one is kept."""
    from groundup.data import from_text, schemas, shards

    path = Path(config.data[0])
    if not (path / "manifest.json").exists():
        path = run_dir / "data"
        if not (path / "manifest.json").exists():
            shards.prepare_conversations(
                schemas.conversations(config.data, max_bad=config.max_bad, notice=notice),
                tokenizer, path, template=template, val_fraction=config.val_fraction,
                context_length=context_length, seed=config.train.seed, notice=notice,
            )  # fmt: skip
    data = shards.TokenData.open(path)
    from_text.check_tokenizer(data, tokenizer)
    written = data.manifest.get("template", template)
    if written != template:
        hint = f"--template {written}, or prepare the conversations again"
        raise UsageError(
            f"the conversations are written by the template {written!r}, not {template!r}", where=str(path), hint=hint
        )
    return data


def prepared_template(config: Config) -> str:
    """The template of conversations that are prepared already; "" for files that are yet to be."""
    from groundup import artifact

    manifest = Path(config.data[0]) / artifact.MANIFEST
    return artifact.read_json(manifest).get("template", "") if manifest.exists() else ""
