"""A run folder and a demo folder as training leaves them: real writers, invented numbers."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from groundup.train.run_folder import RunFolder

KINDS = ("facts", "passages", "sums", "opposites", "stories", "small talk", "repeat", "do not know")

CONFIG = """\
seed = 0            # default
n_steps = 1200      # flag --n-steps
data = "runs/demo/data"

[model]
family = "llama"    # preset nano
d_model = 192       # preset nano
n_layers = 6        # preset nano

[train]
lr = 6.0e-3         # file demo.toml
batch_size = 64     # default
schedule = "linear" # environment GROUNDUP_SCHEDULE
"""


def make_run(
    path: Path, verb: str = "pretrain", n_steps: int = 1200, start: float = 8.3, floor: float = 1.9, prompt: str = ""
) -> Path:
    noise = random.Random(n_steps)
    facts = {
        "seed": 0,
        "parent": "runs/demo/pretrain" if verb == "sft" else None,
        "n_parameters": 3_214_080,
        "data": {
            "train": {"documents": 21_300, "tokens": 4_812_331, "bytes": 17_321_004, "targets": 4_812_331},
            "val": {"documents": 1_121, "tokens": 201_004, "bytes": 723_006, "targets": 201_004},
        },
        "tokenizer": "3f6ab0b2c41d9e77",
    }
    with RunFolder.open(path, verb=verb, config_toml=CONFIG, config_hash="c0ffee", facts=facts, resume=False) as run:
        for step in range(1, n_steps + 1):
            clean = floor + (start - floor) * math.exp(-step / (n_steps * 0.07)) + 0.9 * (1 - step / n_steps)
            row = {
                "step": step,
                "train_loss": clean * (1 + 0.035 * noise.gauss(0, 1)),
                "lr": 6e-3 * min(step / 60, (n_steps - step + 1) / n_steps),
                "grad_norm": 0.7 + 0.2 * noise.random(),
                "tokens": step * 8192,
                "seconds": step * 0.11,
                "tokens_per_second": 74_000 * (1 + 0.04 * noise.gauss(0, 1)) * (0.4 if 500 < step < 520 else 1),
            }
            if step % 100 == 0:
                row |= {"val_loss": clean + 0.09, "val_bits_per_byte": (clean + 0.09) / math.log(2) / 3.4}
            run.metric(row)
            if step % 300 == 0:
                run.sample(step, prompt or "Once upon a time", STORY[: 120 + step // 4])
    return path


STORY = (
    " there was a small fox named Pim who lived behind the mill. Every morning Pim went down to the river to count "
    "the boats, because his grandmother had told him that a boat with a red sail would bring her letters.\n\n"
    'One day the wind was so strong that no boat came. "Do not be sad," said the miller. "Tomorrow is a day too." '
    "And so it was: the next morning there were two red sails."
)


def make_demo(path: Path) -> Path:
    RunFolder.open(path, verb="demo", config_toml=CONFIG, config_hash="d0", facts={"seed": 0}, resume=True).close()
    make_run(path / "pretrain")
    make_run(
        path / "sft", "sft", n_steps=400, start=3.1, floor=0.4, prompt="<|im_start|>user\nWho lives behind the mill?"
    )
    noise = random.Random(1)
    questions = []
    for kind in KINDS:
        for number in range(40):
            right = noise.random() < 0.93
            asked = f"Anna gave the lantern to Tom on day {number}. Who has the lantern now ({kind})?"
            answer = "Tom has it." if right else "Anna has the lantern at the harbour."
            questions.append(
                {
                    "kind": kind,
                    "question": asked,
                    "expected": "Tom",
                    "answer": answer,
                    "right": right,
                    "scored": kind != "stories",
                    "wording_is_new": number % 2 == 0,
                }
            )
    (path / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    scored = [question for question in questions if question["scored"]]
    by_kind = {kind: [q["right"] for q in scored if q["kind"] == kind] for kind in KINDS if kind != "stories"}
    summary = {
        "seconds": 301.4,
        "seconds_by_phase": {
            "corpus": 4.1,
            "tokenizer": 9.8,
            "data": 3.3,
            "pretrain": 141.0,
            "sft": 120.5,
            "evaluate": 20.1,
            "report": 2.6,
        },
        "peak_memory_mb": 1312,
        "n_questions": len(scored),
        "accuracy": sum(q["right"] for q in scored) / len(scored),
        "accuracy_by_kind": {kind: sum(rights) / len(rights) for kind, rights in by_kind.items()},
        "val_bits_per_byte": 0.846,
        "story": "Once upon a time" + STORY,
        "dialogue": [
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "The capital of France is Paris."},
            {"role": "user", "content": "And what do you call a young cat?"},
            {"role": "assistant", "content": "A young cat is a kitten."},
        ],
        "run_dir": "runs/demo",
        "checkpoint": "runs/demo/sft",
    }
    (path / "demo.json").write_text(json.dumps(summary))
    return path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "pretrain-1")


@pytest.fixture
def demo_dir(tmp_path: Path) -> Path:
    return make_demo(tmp_path / "demo")
