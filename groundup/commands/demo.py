"""Everything in one command: text, tokenizer, shards, pretraining, tuning, questions, report, and then a chat."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup import config as configs
from groundup.errors import UsageError

PHASES = ("corpus", "tokenizer", "shards", "pretrain", "sft", "evaluate", "report")
# Enough that looking things up is learned, which happens all at once and late. Steps and not minutes: on a machine that
# is slow today the demo takes longer, and ends with the same model.
PRETRAINING_STEPS, TUNING_STEPS = 220, 2000
OWN_MINUTES = 4.6
TUNING_SHARE = 0.86  # of the minutes: looking things up takes far longer to learn than the stories
OWN_TUNING_SHARE = 0.35  # with one's own text, which deserves most of them


@dataclass(frozen=True)
class Config:
    """What `groundup demo` can be told."""

    data: tuple[str, ...] = ()
    """your own text: files or folders; by default simple English stories are generated"""
    sft: tuple[str, ...] = ()
    """your own conversations (JSON or JSONL); with your own text there is no tuning without them"""
    minutes: float = 0.0
    """wall-clock time of the trainings; 0: as many steps as the built-in text needs, and with your own 4.6 minutes"""
    size: str = "micro"
    """preset of models/llama.py"""
    vocab_size: int = 2048
    """of the tokenizer"""
    corpus_mb: float = 20.0
    """megabytes of stories to generate"""
    n_conversations: int = 140_000
    """conversations to generate, from easy to hard"""
    skip: tuple[str, ...] = ()
    """phases to leave out: sft, evaluate, report"""
    fresh: bool = False
    """remove what an earlier demo made and begin anew"""
    run_dir: str = "runs/demo"
    """where everything is written; called again, an interrupted demo goes on there"""
    seed: int = 0
    """of the corpus, the weights and the order of the data"""
    json: bool = False
    """one JSON object on stdout at the end"""
    quiet: bool = False
    """no progress"""
    dry_run: bool = False
    """say what would be done and stop"""

    def __post_init__(self) -> None:
        unknown = [name for name in self.skip if name not in ("sft", "evaluate", "report")]
        if unknown:
            raise ValueError(f"skip = {unknown[0]!r}: the phases that can be left out are sft, evaluate, report")
        if not self.minutes >= 0:
            raise ValueError(f"minutes = {self.minutes}: must not be negative")


def run(config: Config) -> dict[str, Any]:
    """Returns the summary that `--json` prints; see `Demo.summary`."""
    import orjson

    from groundup.insight.memory import PeakMemory
    from groundup.train.run_folder import RunFolder

    run_dir = Path(config.run_dir)
    if config.dry_run:
        plan = {"run_dir": str(run_dir), "phases": list(Demo(config).phases()), "config": configs.to_dict(config)}
        print(orjson.dumps(plan).decode())
        return plan
    for path in (*config.data, *config.sft):
        if not Path(path).exists():
            raise UsageError(f"there is no {path}", hint="groundup demo --data FOLDER --sft FILE.jsonl")
    if config.fresh and run_dir.exists():
        with artifact.lock(run_dir):
            pass
        artifact.remove(run_dir)
    with (
        RunFolder.open(
            run_dir,
            verb="demo",
            config_toml=configs.to_toml(config, configs.origins_of(config)),
            config_hash=configs.config_hash(configs.replace(config, "one command", fresh=False)),
            facts={"seed": config.seed},
            resume=True,
        ),
        PeakMemory() as memory,
    ):
        demo = Demo(config)
        for name, phase in demo.phases().items():
            demo.timed(name, phase, memory)
        demo.name_the_model()
    summary = demo.summary()
    if config.json:
        print(orjson.dumps(summary).decode())
    if not config.quiet:
        demo.say_goodbye()
    return summary


class Demo:
    """The phases in order. Each leaves an artefact and is passed over when that is there, so a demo can go on."""

    def __init__(self, config: Config):
        self.config = config
        self.run_dir = Path(config.run_dir)
        self.has_tuning = "sft" not in config.skip and bool(config.sft or not config.data)
        self.tuning_share = (OWN_TUNING_SHARE if config.data else TUNING_SHARE) if self.has_tuning else 0.0
        self.has_questions = self.has_tuning and not config.data and not config.sft
        self._notes = self.run_dir / "demo.json"

    def phases(self) -> dict[str, Callable[[], None]]:
        """The phases of this configuration by name, in order."""
        wanted = {
            "corpus": not self.config.data,
            "sft": self.has_tuning,
            "evaluate": "evaluate" not in self.config.skip,
            "report": "report" not in self.config.skip,
        }
        return {name: getattr(self, name) for name in PHASES if wanted.get(name, True)}

    # --- the phases ---

    def corpus(self) -> None:
        """Stories to read and conversations to learn from, as JSON lines."""
        from groundup.text import stories

        config, out = self.config, self.run_dir / "corpus"
        if (out / "manifest.json").exists():
            return
        with artifact.writing(out, {"format": "groundup corpus", "seed": config.seed}) as folder:
            with self.phase("writing stories", config.corpus_mb * 1e6, "B") as shown:
                documents = stories.documents(config.seed, int(config.corpus_mb * 1e6))
                write_lines(folder / "stories.jsonl", ({"text": d.text} for d in documents), shown.advance)
            with self.phase("writing conversations", config.n_conversations, "conversations") as shown:
                rows = (
                    {"messages": [{"role": m.role, "content": m.content} for m in conversation.messages]}
                    for conversation in stories.conversations(config.seed, config.n_conversations)
                )
                write_lines(folder / "conversations.jsonl", rows, lambda _: shown.advance(1))

    def tokenizer(self) -> None:
        """Byte pairs, learned from the text (and from the built-in conversations, whose words are the same)."""
        from groundup.data import from_text

        from_text.tokenizer_for(
            self.documents, self.run_dir / "tokenizer", self.phase, vocab_size=self.config.vocab_size, pattern="gpt2"
        )

    def shards(self) -> None:
        """The text as ids on disk."""
        from groundup.data import from_text
        from groundup.tokenizer.protocol import Tokenizer

        from_text.shards_for(
            self.documents, Tokenizer.load(self.run_dir / "tokenizer"), self.run_dir / "data", self.phase,
            val_fraction=0.05 if self.config.data else 0.02, seed=self.config.seed, processes=n_processes(),
            notice=self.say,
        )  # fmt: skip

    def pretrain(self) -> None:
        """`groundup pretrain` on the shards."""
        from groundup.commands import pretrain
        from groundup.train.config import TrainConfig

        pretrain.run(
            pretrain.Config(
                data=str(self.run_dir / "data"),
                size=self.config.size,
                arch={"context_length": 512, **({"n_heads": 4} if self.config.size == "micro" else {})},
                start="mimetic",
                context_length=256 if self.config.data else 128,
                prompt="" if self.config.data else "Once upon a time",
                run_dir=str(self.run_dir / "pretrain"),
                quiet=self.config.quiet,
                train=TrainConfig(
                    **self.length(1 - self.tuning_share, PRETRAINING_STEPS), lr=6e-3, seed=self.config.seed
                ),
            )
        )

    def sft(self) -> None:
        """`groundup sft` on the conversations, in their order from easy to hard when they are the built-in ones."""
        from groundup.commands import sft
        from groundup.train.config import TrainConfig

        is_own = bool(self.config.sft)
        files = self.config.sft or (str(self.run_dir / "corpus" / "conversations.jsonl"),)
        sft.run(
            sft.Config(
                model=str(self.run_dir / "pretrain"),
                data=files,
                shuffle=is_own,
                val_fraction=0.1 if is_own else 0.02,
                context_length=0 if is_own else 128,
                run_dir=str(self.run_dir / "sft"),
                quiet=self.config.quiet,
                train=TrainConfig(
                    **self.length(self.tuning_share, TUNING_STEPS),
                    batch_size=16,
                    lr=3e-3,
                    seed=self.config.seed,
                ),
            )
        )

    def evaluate(self) -> None:
        """Held-out questions, answered greedily and scored strictly; a story and a dialogue to read."""
        from groundup.evaluate import questions
        from groundup.text import stories
        from groundup.weights import checkpoint

        found: dict[str, Any] = {"n_questions": 0, "accuracy": None, "accuracy_by_kind": {}}
        loaded = checkpoint.load(self.last_run())
        if self.has_questions:
            asked = stories.held_out(self.config.seed)
            with self.phase("asking held-out questions", None) as shown:
                rows = questions.ask(loaded.model, loaded.needed_tokenizer(), asked, stories.is_right)
                shown.advance(len(rows))
            write_lines(self.run_dir / "questions.jsonl", rows, lambda _: None)
            accuracy, by_kind = questions.accuracy(rows)
            n_scored = sum(row["scored"] for row in rows)
            found |= {"n_questions": n_scored, "accuracy": accuracy, "accuracy_by_kind": by_kind}
        self.remember(**found, **self.samples(loaded))

    def report(self) -> None:
        """One page with everything."""
        from groundup.insight import report

        report.write(self.run_dir)

    # --- what they share ---

    def length(self, share: float, n_steps: int) -> dict[str, Any]:
        """Of one training: its share of the minutes if there are any, else so many steps."""
        minutes = self.config.minutes or (OWN_MINUTES if self.config.data or self.config.sft else 0.0)
        return {"minutes": share * minutes} if minutes else {"n_steps": n_steps}

    def documents(self) -> Iterable[Any]:
        """The text to learn from: the user's, or the generated stories (then the conversations' words as well)."""
        from groundup.text import sources

        paths = self.config.data or (self.run_dir / "corpus" / "stories.jsonl",)
        return sources.documents([Path(path) for path in paths], notice=self.say)

    def samples(self, loaded: Any) -> dict[str, Any]:
        """A story (by the last model), and a dialogue of three turns where there is a chat model."""
        from groundup.evaluate import quality
        from groundup.inference import engine
        from groundup.inference.settings import Settings
        from groundup.text.records import Message
        from groundup.tokenizer import chat
        from groundup.weights import checkpoint

        tokenizer = loaded.tokenizer
        settings = Settings(max_new_tokens=160, temperature=0.6, seed=self.config.seed, stop_ids=tokenizer.stop_ids)

        def answer(model: Any, ids: Any) -> str:
            longest = model.config.context_length - settings.max_new_tokens  # a barely trained model talks on and on
            return tokenizer.decode(engine.generate(model, [list(ids)[-longest:]], settings)[0].text_ids)

        base = checkpoint.load(self.run_dir / "pretrain").model
        start = "Once upon a time" if not self.config.data else tokenizer.decode(next(iter(self.opening())))
        story = start + answer(base, tokenizer.encode(start))
        dialogue: list[Message] = []
        if self.has_questions:
            for said in (
                "Hello!",
                "Read this: Anna ran to the mill. The ball is red. What colour is the ball?",
                "Thank you.",
            ):
                dialogue.append(Message("user", said))
                ids = chat.render(dialogue, tokenizer, generation_prompt=True).ids
                dialogue.append(Message("assistant", answer(loaded.model, ids)))
        words = quality.vocabulary(document.text for document in islice(self.documents(), 2000))
        verdict = quality.floor(story, words)
        return {
            "story": story,
            "story_faults": list(verdict.reasons),
            "dialogue": [{"role": m.role, "content": m.content} for m in dialogue],
        }

    def opening(self) -> Iterator[Any]:
        """The first few ids of a held-out document, for the model to go on from."""
        from groundup.data.shards import TokenData

        yield TokenData.open(self.run_dir / "data").split("val").document(0)[:8]

    def last_run(self) -> Path:
        """The folder of the last training."""
        return self.run_dir / ("sft" if self.has_tuning else "pretrain")

    def name_the_model(self) -> None:
        """So that the demo's folder can be named wherever a model is asked for."""
        from groundup.weights import checkpoint

        model = checkpoint.resolve(self.last_run()).relative_to(self.run_dir)
        artifact.write_file(self.run_dir / "best", f"{model.as_posix()}\n")

    def timed(self, name: str, phase: Callable[[], None], memory: Any) -> None:
        """Run a phase; what it took is added to what earlier, interrupted calls took."""
        began = time.monotonic()
        try:
            phase()
        finally:
            known = self.known()
            seconds = known.get("seconds_by_phase", {})
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 1)
            peak = max(known.get("peak_memory_mb", 0.0), round(memory.megabytes, 1))
            self.remember(seconds_by_phase=seconds, seconds=round(sum(seconds.values()), 1), peak_memory_mb=peak)

    def known(self) -> dict[str, Any]:
        """What earlier phases noted."""
        return artifact.read_json(self._notes) if self._notes.exists() else {}

    def remember(self, **facts: Any) -> None:
        """Add to the notes, which the report and the summary read."""
        artifact.write_json(self._notes, {**self.known(), **facts})

    def summary(self) -> dict[str, Any]:
        """Seconds, memory, accuracy, losses, samples, and where everything lies."""
        from groundup.train.saving import last_metrics
        from groundup.weights import checkpoint

        known = self.known()
        keys = ("seconds", "seconds_by_phase", "peak_memory_mb", "n_questions", "accuracy", "accuracy_by_kind")
        summary = {key: known.get(key) for key in keys}
        summary["val_bits_per_byte"] = last_metrics(self.run_dir / "pretrain").get("val_bits_per_byte")
        if self.has_tuning:
            summary["sft_val_loss"] = last_metrics(self.run_dir / "sft").get("val_loss")
        summary |= {"run_dir": str(self.run_dir), "checkpoint": str(checkpoint.resolve(self.last_run()))}
        return summary | {"story": known.get("story"), "dialogue": known.get("dialogue")}

    @contextmanager
    def phase(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Any]:
        """A progress bar on stderr."""
        from groundup.train import watch

        with watch.phase(title, total, unit, quiet=self.config.quiet) as shown:
            yield shown

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.config.quiet:
            print(text, file=sys.stderr)

    def say_goodbye(self) -> None:
        """What came out, and the exact command that goes on."""
        summary = self.summary()
        if summary["accuracy"] is not None:
            self.say(f"\n{summary['accuracy']:.0%} of {summary['n_questions']} held-out questions right:")
            for kind, share in summary["accuracy_by_kind"].items():
                self.say(f"  {kind:<12} {share:.0%}")
        if summary["story"]:
            self.say(f"\n{summary['story']}\n")
        self.say(f"report: {self.run_dir / 'report.html'}")
        verb = "chat" if self.has_tuning else "generate"
        self.say(f"next:   groundup {verb} {self.run_dir}")


def n_processes() -> int:
    """One per core."""
    import os

    return os.cpu_count() or 1


def write_lines(file: Path, rows: Iterable[dict[str, Any]], written: Callable[[int], Any]) -> None:
    """JSON lines; `written` hears the number of bytes of each."""
    import orjson

    with file.open("wb") as out:
        for row in rows:
            written(out.write(orjson.dumps(row) + b"\n"))
