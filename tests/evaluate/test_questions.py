"""Asking and counting, with a model that always says the same."""

import doctest
from dataclasses import dataclass

import torch
from torch import nn

from groundup.evaluate import questions
from groundup.text.records import Message
from groundup.tokenizer.train import train


@dataclass
class Config:
    vocab_size: int
    context_length: int = 64
    n_layers: int = 1
    n_kv_heads: int = 1
    head_dim: int = 1


class Parrot(nn.Module):
    """Says the ids it was given, one after the other, whatever it is asked."""

    def __init__(self, ids: list[int], vocab_size: int):
        super().__init__()
        self.config = Config(vocab_size)
        self.ids = ids
        self.lm_head_weight = nn.Parameter(torch.eye(vocab_size))
        self.n_said = 0

    def hidden(self, ids, cache=None, positions=None, mask=None):
        said = self.ids[min(self.n_said, len(self.ids) - 1)]
        self.n_said += 1
        return torch.nn.functional.one_hot(torch.full(ids.shape, said), self.config.vocab_size).float()

    def logits_of(self, hidden):
        return hidden @ self.lm_head_weight.T


@dataclass
class Question:
    kind: str
    messages: tuple[Message, ...]
    answer: str
    scored: bool = True
    wording_is_new: bool = False


def test_an_answer_is_right_only_when_it_ends():
    tokenizer = train(["Paris Rome what is it? " * 20], 262)
    question = Question("fact", (Message("user", "what is it?"),), "Paris")
    said = tokenizer.encode("Paris").tolist()
    is_right = lambda q, reply: reply == q.answer  # noqa: E731
    ends = Parrot([*said, tokenizer.special_ids["<|im_end|>"]], tokenizer.vocab_size)
    (row,) = questions.ask(ends, tokenizer, [question], is_right)
    assert (row["answer"], row["right"], row["expected"]) == ("Paris", True, "Paris")
    endless = Parrot(said, tokenizer.vocab_size)
    (row,) = questions.ask(endless, tokenizer, [question], is_right, max_new_tokens=len(said))
    assert (row["answer"], row["right"]) == ("Paris", False)


def test_accuracy_counts_scored_rows_only():
    rows = [{"kind": k, "scored": s, "right": r} for k, s, r in [("a", 1, 1), ("a", 1, 0), ("b", 1, 1), ("c", 0, 0)]]
    assert questions.accuracy(rows) == (2 / 3, {"a": 0.5, "b": 1.0})
    assert doctest.testmod(questions).failed == 0
