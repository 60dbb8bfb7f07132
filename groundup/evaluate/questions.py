"""Asking a chat model questions whose right answers are known, and counting."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from groundup.inference import engine
from groundup.inference.settings import Settings
from groundup.text.records import Message
from groundup.tokenizer import chat
from groundup.tokenizer.protocol import Tokenizer


class Question(Protocol):
    """Messages that end with the user's, the expected answer, and whether it counts."""

    kind: str
    messages: tuple[Message, ...]
    answer: str
    scored: bool
    wording_is_new: bool


def ask(
    model: Any,
    tokenizer: Tokenizer,
    questions: Sequence[Any],
    is_right: Callable[[Any, str], bool],
    max_new_tokens: int = 96,
) -> list[dict[str, Any]]:
    """One row per question with the model's greedy answer; an answer that never ends is wrong whatever it says."""
    prompts = [chat.render(q.messages, tokenizer, generation_prompt=True).ids.tolist() for q in questions]
    settings = Settings(max_new_tokens=max_new_tokens, temperature=0.0, stop_ids=tokenizer.stop_ids)
    rows = []
    for question, made in zip(questions, engine.generate(model, prompts, settings), strict=True):
        answer = tokenizer.decode(made.text_ids)
        rows.append(
            {
                "kind": question.kind,
                "question": question.messages[-1].content,
                "expected": question.answer,
                "answer": answer,
                "right": made.finish_reason == "stop" and is_right(question, answer),
                "scored": question.scored,
                "wording_is_new": question.wording_is_new,
            }
        )
    return rows


def accuracy(rows: Sequence[dict[str, Any]]) -> tuple[float, dict[str, float]]:
    """(share of right answers, the same by kind) among the scored rows.

    >>> accuracy([{"kind": "sum", "scored": True, "right": True}, {"kind": "sum", "scored": False, "right": False}])
    (1.0, {'sum': 1.0})
    """
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["scored"]:
            by_kind[row["kind"]].append(row["right"])
    n_right = sum(map(sum, by_kind.values()))
    n_all = sum(map(len, by_kind.values()))
    return n_right / max(1, n_all), {kind: sum(rights) / len(rights) for kind, rights in sorted(by_kind.items())}
