"""A real Llama of 60,000 parameters that has learned four answers and a story by heart, in a second or two."""

import functools
from pathlib import Path

import torch

from groundup.layers.loss import cross_entropy
from groundup.models import llama
from groundup.text.records import Message
from groundup.tokenizer import chat
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import train
from groundup.weights import checkpoint

STORY = "Once there was a cat. It saw a dog, and it ran. Then the dog slept. The cat came home."
STORY_ANSWER = "A fox found a key. It opened a door. Behind it was a hen."
TURNS = (
    (("Who are you?", "I am Tiny."),),
    (("tell you a story", STORY_ANSWER),),
    (("Say a", "a"), ("And then?", "b, of course.")),
    (("Say 你好", "你好, 世界!"),),
)


def messages(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]


@functools.cache
def tokenizer() -> Tokenizer:
    texts = [STORY, *(text for turns in TURNS for turn in turns for text in turn)]
    made = train(texts, 300)
    made.chat_template = chat.TEMPLATES["chatml"].jinja
    return made


@functools.cache
def model() -> llama.Model:
    torch.manual_seed(0)
    made = llama.Model(llama.Config(vocab_size=300, context_length=96, n_layers=2, d_model=48, n_heads=4, n_kv_heads=2))
    rows = [[*tokenizer().encode(STORY).tolist(), tokenizer().eos_id]]
    rows += [chat.render(messages(*turns), tokenizer()).ids.tolist() for turns in TURNS]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    targets = torch.tensor([row[1:] + [-100] * (width - len(row) + 1) for row in rows])
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(120):
        loss, n_targets = cross_entropy(made(ids), targets)
        (loss / n_targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return made.eval()


def save(path: Path, stage: str = "sft") -> Path:
    checkpoint.save(path, model(), tokenizer(), facts={"stage": stage, "template": "chatml"})
    return path
