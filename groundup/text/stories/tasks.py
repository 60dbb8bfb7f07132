"""Tasks of repeating and rewriting: say it again, say it twice, the first or last word, another name, the past tense.

`make` of a task returns the slots of its wordings and the one right reply. With `held_out` the words are combinations
that `kept_back` keeps from training. A sentence to repeat begins a line, as the reply does: then it is the same tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass

from groundup.text.stories import passages
from groundup.text.stories.dice import Dice, kept_back
from groundup.text.stories.relations import RELATIONS, Unused
from groundup.text.stories.world import ANIMALS, FOODS, PEOPLE, PLACES, THINGS


def _words(dice: Dice, n_words: int, held_out: bool) -> list[str]:
    while True:
        words = dice.some(THINGS + FOODS, n_words)
        if kept_back("words", *words) == held_out:
            return words


def _sentence(dice: Dice, held_out: bool, names: tuple[str, ...] = ()) -> tuple[str, passages.Event]:
    """A plain sentence about one person: 'Mia put the drum in the barn.'"""
    relations = [r for r in RELATIONS if not names or r.name in names]
    told = passages.event(dice, Unused(dice), dice.pick(relations), exam=held_out)
    return told.relation.told[0].format_map(told.slots), told


def _say(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    text = _sentence(dice, held_out)[0]
    return {"s": text}, text


def _twice(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    while True:
        word = dice.pick(THINGS + FOODS + ANIMALS)
        if kept_back("twice", word) == held_out:
            return {"w": word}, f"I say {word}, {word}."


def _last(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    words = _words(dice, n_words, held_out)
    return {"w": ", ".join(words)}, f"The last word is {words[-1]}."


def _first(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    words = _words(dice, n_words, held_out)
    return {"w": ", ".join(words)}, f"The first word is {words[0]}."


def _list(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    words = _words(dice, n_words, held_out)
    return {"w": ", ".join(words)}, f"They are {' and '.join(words)}."


def _rename(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    told = _sentence(dice, held_out, ("go", "find", "eat", "meet"))[1]
    other = told.slots["A"]
    while other is told.slots["A"]:
        other = dice.pick(PEOPLE)
    text, reply = (
        "Then " + told.relation.told[0].format_map(told.slots | {"A": one}) for one in (told.slots["A"], other)
    )
    return {"s": text, "a": told.slots["A"].name, "b": other.name}, reply


PRESENT = (
    ("walks", "walked"), ("runs", "ran"), ("goes", "went"), ("comes", "came"), ("drives", "drove"), ("rides", "rode"),
    ("climbs", "climbed"), ("jumps", "jumped"), ("hurries", "hurried"), ("returns", "returned"),
)  # fmt: skip


def _past(dice: Dice, n_words: int, held_out: bool) -> tuple[dict[str, str], str]:
    while True:
        person, place, (now, then) = dice.pick(PEOPLE), dice.pick(PLACES), dice.pick(PRESENT)
        if kept_back("past", person.name, place.name, now) == held_out:
            return {"s": f"{person} {now} {place.to}."}, f"{person} {then} {place.to}."


@dataclass(frozen=True, slots=True)
class Task:
    """`make` returns the slots of the wordings and the reply; `weight` is its share among the tasks, in parts."""

    make: Callable[[Dice, int, bool], tuple[dict[str, str], str]]
    weight: int
    trained: tuple[str, ...]
    new: tuple[str, ...]


TASKS = (
    Task(
        _say, 3,
        (
            "Repeat:\n{s}", "Say this:\n{s}", "Repeat after me:\n{s}", "Say:\n{s}", "Write this again:\n{s}",
            "Repeat this sentence:\n{s}",
        ),
        ("Please repeat:\n{s}", "Repeat what I say:\n{s}", "Say this sentence again:\n{s}"),
    ),
    Task(
        _twice, 1,
        (
            "Say {w} twice.", "Say the word {w} twice.", "Write {w} two times.", "Say {w} two times.",
            "Repeat {w} twice.",
        ),
        ("Please say {w} twice.", "Repeat the word {w} two times.", "Write the word {w} twice."),
    ),
    Task(
        _last, 1,
        (
            "What is the last word: {w}?", "Say the last of these words: {w}.", "Which word comes last: {w}?",
            "Tell me the last word: {w}.",
        ),
        ("Please say the last word: {w}.", "Do you know the last word: {w}?"),
    ),
    Task(
        _first, 1,
        (
            "What is the first word: {w}?", "Say the first of these words: {w}.", "Which word comes first: {w}?",
            "Tell me the first word: {w}.",
        ),
        ("Please say the first word: {w}.", "Do you know the first word: {w}?"),
    ),
    Task(
        _list, 1,
        (
            "Join these words with and: {w}.", "Put and between the words: {w}.", "Write these words with and: {w}.",
            "Say with and: {w}.",
        ),
        ("Please join with and: {w}.", "Write the words with and between them: {w}."),
    ),
    Task(
        _rename, 2,
        (
            "Change {a} to {b}:\n{s}", "Write {b} and not {a}:\n{s}", "Put {b} in the place of {a}:\n{s}",
            "Say it with {b}:\n{s}",
        ),
        ("Please change {a} to {b}:\n{s}", "Say this with {b} and not {a}:\n{s}"),
    ),
    Task(
        _past, 2,
        (
            "Say it in the past:\n{s}", "Put this into the past:\n{s}", "Write this in the past:\n{s}",
            "Tell it in the past:\n{s}",
        ),
        ("Please put it into the past:\n{s}", "Say this in the past:\n{s}", "Write it in the past:\n{s}"),
    ),
)  # fmt: skip
DRAW = tuple(task for task in TASKS for _ in range(task.weight))
