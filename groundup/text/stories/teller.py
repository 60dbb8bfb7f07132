"""Tells one story: keeps who takes part, who was spoken of last, and what can be asked afterwards.

A plot is a function that calls `say` with several forms of the same sentence, one of which is used. Slots of the forms:
`{A}` is the name and `{a}` the name or, when it is clear who is meant, the pronoun; likewise B and C. `{T}`, `{U}` are
things, `{P}`, `{Q}` places, `{S}` a spot where things lie, `{F}` food, `{K}` a beast, `{G}` a grown-up, `{R}` a relative.
"""

import re
from functools import lru_cache
from typing import Any, NamedTuple

from groundup.text.stories.dice import Dice, capital
from groundup.text.stories.world import BEASTS, COLOURS, FOODS, KIN, PEOPLE, PLACES, ROLES, SPOTS, THINGS, Person, Thing

PEOPLE_SLOTS = "ABCKGR"
_THINGS = {name: tuple(Thing(name, colour) for colour in ("", "", "", *COLOURS)) for name in THINGS}
_FOODS = tuple(map(Thing, FOODS))
FEELING = {
    "good": ("happy", "glad", "very happy", "proud", "full of joy"),
    "bad": ("sad", "very sad", "unhappy", "worried", "close to tears"),
}


class _Mentions(NamedTuple):
    """Whom a form speaks of: the first person, everybody, and the slots that may become pronouns."""

    first: str
    everybody: frozenset[str]
    pronouns: tuple[str, ...]


@lru_cache(maxsize=None)
def _mentions(form: str) -> _Mentions:
    slots = re.findall(r"\{([ABCKGRabckgr])[}.]", form)
    everybody = frozenset(slot.upper() for slot in slots)
    pronouns = tuple(sorted({slot for slot in slots if slot.islower()}))
    return _Mentions(slots[0].upper() if slots else "", everybody, pronouns)


class Teller:
    """One story in the making. `slots` is what the forms may name; plots may put more into it."""

    __slots__ = ("_before", "_focus", "dice", "notes", "sentences", "slots", "title")

    def __init__(self, dice: Dice):
        pick = dice.pick
        a, b, c = dice.some(PEOPLE, 3)
        p, q = dice.some(PLACES, 2)
        t, u = dice.some(THINGS, 2)
        self.dice = dice
        self.sentences: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self.title = ""
        self._focus = ""
        self._before: frozenset[str] = frozenset()
        self.slots: dict[str, Any] = {
            "A": a, "B": b, "C": c, "P": p, "Q": q, "T": pick(_THINGS[t]), "U": pick(_THINGS[u]), "S": pick(SPOTS),
            "F": pick(_FOODS), "K": pick(BEASTS), "G": pick(ROLES), "R": pick(KIN),
        }  # fmt: skip

    def person(self, slot: str) -> Person:
        return self.slots[slot]

    def say(self, *forms: str) -> None:
        """One sentence, in one of the forms."""
        form = forms[int(self.dice.random() * len(forms))]
        mentions = _mentions(form)
        slots = self.slots
        for slot in mentions.pronouns:
            slots[slot] = self._refer(slot.upper())
        self.sentences.append(capital(self.dice.fill(form, slots)))
        if mentions.first:
            self._focus, self._before = mentions.first, mentions.everybody

    def maybe(self, probability: float, *forms: str) -> None:
        if self.dice.random() < probability:
            self.say(*forms)

    def _refer(self, slot: str) -> str:
        """The pronoun, if the last sentence was about this person and about nobody else with the same pronoun."""
        person: Person = self.slots[slot]
        if self._focus != slot:
            return person.name
        if any(self.slots[other].he == person.he for other in self._before if other != slot):
            return person.name
        return person.he if self.dice.random() < 0.8 else person.name

    def forget(self) -> None:
        """Make the next sentence name people again, as after a change of scene."""
        self._focus = ""

    def paragraph(self) -> None:
        """A new scene; on paper it may begin on a new line."""
        self._focus = ""
        if self.sentences and self.dice.random() < 0.35:
            self.sentences.append("\n")

    def feel(self, slot: str, mood: str) -> None:
        self.slots["feeling"] = self.dice.pick(FEELING[mood])
        lower, upper = "{" + slot.lower() + "}", "{" + slot + "}"
        self.say(f"{lower} was {{feeling}}.", f"{lower} felt {{feeling}}.", f"Now {upper} was {{feeling}}.")

    def note(self, question: str, answer: str) -> None:
        """Something that can be asked about this story once it is told. Both are templates."""
        self.notes.append((question.format_map(self.slots), answer.format_map(self.slots)))

    def exchange(self, asker: str, question: str, answerer: str, answer: str) -> None:
        """Somebody asks and somebody answers, in direct speech; neither ends the other's sentence: the answer has no
        final stop, and a request has one."""
        self.slots["question"], self.slots["answer"] = question, capital(answer)
        by, to = "{" + asker + "}", "{" + answerer + "}"
        if question[-1] == ".":
            self.slots["question"] = question[:-1]
            self.say(
                f'"{{question}}," said {by}. "{{answer}}," [said|answered|replied] {to}.',
                f'{by} said to {to}: "{{question}}." {to} answered: "{{answer}}."',
                f'"{{question}}," {by} said, and {to} [answered|replied]: "{{answer}}."',
            )
            return
        self.say(
            f'"{{question}}" asked {by}. "{{answer}}," [said|answered] {to}.',
            f'"{{question}}" {by} [asked|wanted to know]. "{{answer}}," [said|answered|replied] {to}.',
            f'{by} asked {to}: "{{question}}" {to} [said|answered]: "{{answer}}."',
            f'"{{question}}" [asked|said] {by}, and {to} answered: "{{answer}}."',
        )

    def text(self) -> str:
        text = " ".join(self.sentences).replace(" \n ", "\n")
        return f"{self.title}\n{text}" if self.title else text
