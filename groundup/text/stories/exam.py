"""The held-out questions, and the strict rule that says whether a reply is right.

Held out by construction: a question has a wording that no training conversation uses, or combines a fact with a
wording, or people with things and places, in a way that `kept_back` keeps from training.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from groundup.text.records import Message
from groundup.text.stories.dice import Dice
from groundup.text.stories.kinds import KINDS, Exam, Kind

NEW_WORDING_SHARE = 0.5
MOST_ALIKE = 0.12  # of the questions of a kind may have the same answer, so that guessing does not pay


@dataclass(frozen=True, slots=True)
class Question:
    """`messages` end with the user's turn. `must_name` is empty where the reply has to equal `answer`."""

    kind: str
    messages: tuple[Message, ...]
    answer: str
    scored: bool
    wording_is_new: bool
    must_name: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.messages[-1].content


def held_out(seed: int = 0) -> list[Question]:
    """The exam: per kind as many questions as `KINDS` says, no two alike."""
    return [question for kind in KINDS for question in _of_kind(kind, seed)]


def _of_kind(kind: Kind, seed: int) -> list[Question]:
    questions: dict[tuple[Message, ...], Question] = {}
    same_answer: Counter[str] = Counter()
    most = MOST_ALIKE * kind.n_exam if kind.is_scored else kind.n_exam
    index = 0
    while len(questions) < kind.n_exam:
        dice = Dice(seed, "exam " + kind.name, index)
        index += 1
        # Small talk has no combinations to keep back, so all its held-out wordings are new.
        exam = Exam(new_wording=kind.name == "talk" or dice.chance(NEW_WORDING_SHARE))
        made = kind.make(dice, 1.0, exam)
        if made.messages in questions or same_answer[made.reply] + 1 > most:
            continue
        same_answer[made.reply] += 1
        questions[made.messages] = Question(
            kind.name, made.messages, made.reply, kind.is_scored, exam.new_wording, made.must_name
        )
    return list(questions.values())


def normal(text: str) -> str:
    """What strict comparison ignores: case, space around and between words, and a final full stop."""
    return " ".join(text.lower().split()).removesuffix(".").strip()


def is_right(question: Question, reply: str) -> bool:
    """Equal to the answer but for case, space and a final full stop; a story must keep to its people and place."""
    if question.must_name:
        return _is_story(question, reply)
    return normal(reply) == normal(question.answer)


def _is_story(question: Question, reply: str) -> bool:
    """At least three different, finished sentences in which everybody and the place of the request occur as words."""
    sentences = re.findall(r'[^.!?]+[.!?]+"?', reply)
    words = set(re.findall(r"[A-Za-z]+", reply))
    finished = reply.rstrip().endswith((".", "!", "?", '"'))
    different = len({normal(sentence) for sentence in sentences}) == len(sentences) >= 3
    return finished and different and words >= set(question.must_name) and normal(question.text) not in normal(reply)


def commonest_guess(questions: Iterable[Question]) -> dict[str, float]:
    """The share right of someone who always gives the commonest answer of the kind: by scored kind, and "overall"."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        if question.scored:
            by_kind.setdefault(question.kind, []).append(question)
    best: Counter[str] = Counter()
    for kind, of_kind in by_kind.items():
        guesses = {normal(question.answer): question.answer for question in of_kind}
        best[kind] = max(sum(is_right(question, guess) for question in of_kind) for guess in guesses.values())
    shares = {kind: best[kind] / len(of_kind) for kind, of_kind in by_kind.items()}
    n = sum(len(of_kind) for of_kind in by_kind.values())
    return shares | {"overall": sum(best.values()) / n} if n else shares
