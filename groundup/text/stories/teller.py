"""Tells one story: keeps who takes part, who was spoken of last, and what can be asked afterwards.

A plot is a function that calls `say` with several forms of the same sentence, one of which is used. In a form `{A}` is
the name and `{a}` the name or, when it is clear who is meant, the pronoun; likewise for the others. The slots:

    A B C   people, A the hero           T U   things          P Q   places
    G M     grown-ups, by their work     F     food            S     a spot where things lie
    K L     beasts                       R     a relative

K and G take part in the plot; L and M only pass by.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from groundup.text.stories.dice import Dice, capital
from groundup.text.stories.world import BEASTS, COLOURS, FOODS, KIN, PEOPLE, PLACES, ROLES, SPOTS, THINGS, Person, Thing

_THINGS = {name: tuple(Thing(name, colour) for colour in ("", "", "", *COLOURS)) for name in THINGS}
_FOODS = tuple(map(Thing, FOODS))
FEELING = {
    "good": ("happy", "glad", "very happy", "proud", "full of joy"),
    "bad": ("sad", "very sad", "unhappy", "worried", "close to tears"),
}


class _Form(NamedTuple):
    """A template, whom it speaks of first and at all, and which of its slots may become pronouns.

    Only the first `{a}` of a form may have to be a name; where A was named before in the form it became `{a2}`.
    """

    template: str
    first: str
    everybody: frozenset[str]
    leading: tuple[str, ...]
    following: tuple[str, ...]


@cache
def _form(template: str) -> _Form:
    """
    >>> _form("{a} smiled, for {a} knew {B}.")
    _Form(template='{a} smiled, for {a2} knew {B}.', first='A', everybody=frozenset({...}), leading=('a',), ...)
    """
    named: list[str] = []
    leading: set[str] = set()
    following: set[str] = set()

    def rename(match: re.Match[str]) -> str:
        slot, end = match.groups()
        known = slot.upper() in named
        named.append(slot.upper())
        if slot.isupper():
            return match.group()
        (following if known else leading).add(slot)
        return "{" + slot + ("2" if known else "") + end

    template = re.sub(r"\{([ABCKGRabckgr])([}.])", rename, template)
    return _Form(template, named[0] if named else "", frozenset(named), tuple(leading), tuple(following))


class Teller:
    """One story in the making. `slots` is what the forms may name; plots may put more into it."""

    __slots__ = ("_before", "_focus", "dice", "met", "notes", "sentences", "slots", "title")

    def __init__(self, dice: Dice):
        pick = dice.pick
        a, b, c = dice.some(PEOPLE, 3)
        p, q = dice.some(PLACES, 2)
        t, u = dice.some(THINGS, 2)
        (k, other), (g, m) = dice.some(BEASTS, 2), dice.some(ROLES, 2)
        self.dice = dice
        self.sentences: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self.met: set[str] = set()
        self.title = ""
        self._focus = ""
        self._before: frozenset[str] = frozenset()
        self.slots: dict[str, Any] = {
            "A": a, "B": b, "C": c, "P": p, "Q": q, "T": pick(_THINGS[t]), "U": pick(_THINGS[u]), "S": pick(SPOTS),
            "F": pick(_FOODS), "K": k, "L": other, "G": g, "M": m, "R": pick(KIN),
        }  # fmt: skip

    def next_episode(self) -> None:
        """The same people, but other things and places."""
        places, things = self.dice.some(PLACES, 2), self.dice.some(THINGS, 2)
        self.slots |= zip("PQ", places, strict=True)
        self.slots |= ((slot, self.dice.pick(_THINGS[thing])) for slot, thing in zip("TU", things, strict=True))
        self.slots |= {"S": self.dice.pick(SPOTS), "F": self.dice.pick(_FOODS), "K": self.dice.pick(BEASTS)}
        self.notes.clear()
        self.paragraph()

    def person(self, slot: str) -> Person:
        return self.slots[slot]

    def say(self, *forms: str) -> None:
        """One sentence, in one of the forms."""
        form = forms[int(self.dice.random() * len(forms))]
        template, first, everybody, leading, following = _form(form)
        slots = self.slots
        for slot in leading:
            slots[slot] = self._refer(slot.upper(), self._before if self._focus == slot.upper() else None)
        for slot in following:
            slots[slot + "2"] = self._refer(slot.upper(), everybody)
        self.sentences.append(capital(self.dice.fill(template, slots)))
        if first:
            self._focus, self._before = first, everybody
            self.met |= everybody

    def maybe(self, probability: float, *forms: str) -> None:
        if self.dice.random() < probability:
            self.say(*forms)

    def each(self, n: int, draw: Callable[[], dict[str, Any]], *forms: str) -> None:
        """n sentences in n different forms, with slots drawn anew for each."""
        for form in self.dice.some(forms, n):
            self.slots |= draw()
            self.say(form)

    def _refer(self, slot: str, company: frozenset[str] | None) -> str:
        """The name, or the pronoun when it is clear: when the company has nobody else whom it could mean."""
        person: Person = self.slots[slot]
        if company is None or any(self.slots[other].he == person.he for other in company if other != slot):
            return person.name
        return person.he if self.dice.random() < 0.85 else person.name

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
        text = " ".join(self.sentences).replace(" \n ", "\n").rstrip()
        return f"{self.title}\n{text}" if self.title else text
