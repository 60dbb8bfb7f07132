"""The kinds of event that passages are made of: how each is told, and what can be asked about it.

A wording in `new` is never trained. A question names somebody or something of one event, and the reply is a sentence
that says it again and goes on as the passage does: "Where did Anna go?" "I read that Anna went to the barn." So looking
up is finding the name in the passage and reading on from there, which a model of a million parameters learns within
minutes. (Replies of one word, "The barn.", were tried: the model has to know where to look before it has said what it
looks for, and in the same time learned only what kind of word to answer with.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundup.text.stories.dice import Dice, with_article
from groundup.text.stories.world import ANIMALS, COLOURS, FOODS, PEOPLE, PLACES, SPOTS, THINGS, Person, Place, Thing


@dataclass(frozen=True, slots=True)
class Asked:
    """A kind of question about an event: its wordings and the short answer, which quotes the passage."""

    trained: tuple[str, ...]
    new: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Relation:
    """How one kind of event is told, what distinguishes it from all others (`key`), and what can be asked about it.

    `draw` takes what is still unused in the passage and returns the slots of the templates.
    """

    name: str
    draw: Callable[[Dice, "Unused"], dict[str, Any]]
    key: tuple[str, ...]
    told: tuple[str, ...]
    asked: tuple[Asked, ...]


class Unused:
    """The people, things and places that the passage has not used yet."""

    def __init__(self, dice: Dice):
        self.dice = dice
        self.taken: set[str] = set()

    def one(self, table: tuple[Any, ...]) -> Any:
        while True:
            item = self.dice.pick(table)
            name = format(item)
            if name not in self.taken:
                self.taken.add(name)
                return item

    def person(self) -> Person:
        return self.one(PEOPLE)

    def thing(self) -> Thing:
        return Thing(self.one(THINGS))

    def place(self) -> Place:
        return self.one(PLACES)

    def spot(self) -> Place:
        return self.one(PLACES if self.dice.chance(0.4) else SPOTS)


def _past(dice: Dice, *verbs: tuple[str, str]) -> dict[str, str]:
    past, base = dice.pick(verbs)
    return {"past": past, "base": base}


def _lie(dice: Dice, unused: Unused) -> dict[str, Any]:
    return {"T": unused.thing(), "P": unused.spot()}


def _go(dice: Dice, unused: Unused) -> dict[str, Any]:
    return {
        "A": unused.person(),
        "P": unused.place(),
        **_past(dice, ("went", "go"), ("walked", "walk"), ("ran", "run")),
    }


def _find(dice: Dice, unused: Unused) -> dict[str, Any]:
    verbs = (("found", "find"), ("saw", "see"), ("lost", "lose"))
    return {"A": unused.person(), "T": unused.thing(), "P": unused.place(), **_past(dice, *verbs)}


def _animal(dice: Dice, unused: Unused) -> dict[str, Any]:
    verbs = (("saw", "see"), ("heard", "hear"), ("fed", "feed"))
    return {"A": unused.person(), "T": Thing(unused.one(ANIMALS)), "P": unused.place(), **_past(dice, *verbs)}


def _eat(dice: Dice, unused: Unused) -> dict[str, Any]:
    verbs = (("ate", "eat"), ("bought", "buy"), ("wanted", "want"))
    return {"A": unused.person(), "T": Thing(unused.one(FOODS)), "P": unused.place(), **_past(dice, *verbs)}


def _done(dice: Dice, unused: Unused) -> dict[str, Any]:
    verbs = (("found", "found"), ("broke", "broken"), ("took", "taken"), ("hid", "hidden"), ("made", "made"))
    past, part = dice.pick(verbs)
    return {"A": unused.person(), "T": unused.thing(), "past": past, "part": part}


def _own(dice: Dice, unused: Unused) -> dict[str, Any]:
    return {"A": unused.person(), "T": unused.thing()}


def _colour(dice: Dice, unused: Unused) -> dict[str, Any]:
    return {"T": unused.thing(), "colour": unused.one(COLOURS)}


def _meet(dice: Dice, unused: Unused) -> dict[str, Any]:
    people = {"A": unused.person(), "B": unused.person()}
    return people | {"P": unused.place(), **_past(dice, ("met", "meet"), ("saw", "see"), ("helped", "help"))}


def _give(dice: Dice, unused: Unused) -> dict[str, Any]:
    people = {"A": unused.person(), "B": unused.person()}
    return people | {"T": unused.thing(), **_past(dice, ("gave", "give"), ("sent", "send"), ("showed", "show"))}


CAUSES = {
    "happy": ("{b} came home", "{b} found the {t}", "the {t} was back"),
    "sad": ("the {t} was gone", "the {t} was broken", "{b} went away"),
    "angry": ("{b} took the {t}", "{b} broke the {t}", "{b} lost the {t}"),
    "afraid": ("it was dark", "a {animal} was near", "there was a noise"),
    "proud": ("the {t} was ready", "{b} liked the {t}"),
    "lonely": ("{b} went away", "{b} was not there"),
    "hungry": ("the {food} was gone", "{b} ate the {food}", "there was no {food}"),
    "worried": ("{b} was late", "{b} was ill", "the {t} was gone"),
    "surprised": ("{b} came back", "{b} had a {t}", "a {animal} came in"),
    "excited": ("{b} was coming", "the {t} was new"),
    "cold": ("it was snowing", "the door was open", "the fire was out"),
}


def _feel(dice: Dice, unused: Unused) -> dict[str, Any]:
    feeling = unused.one(tuple(CAUSES))
    thing, animal = unused.thing(), with_article(unused.one(ANIMALS))
    cause = dice.pick(CAUSES[feeling]).replace("a {t}", thing.a).replace("a {animal}", animal)
    cause = cause.format(b=unused.person(), t=thing, food=unused.one(FOODS))
    return {"A": unused.person(), "feeling": feeling, "cause": cause}


WHEN = "[In the morning |After lunch |One day |In the evening ]"
QUOTED = "I read that "

# The first are told most alike; training begins with them.
RELATIONS = (
    Relation(
        "find", _find, ("A", "T", "P"),
        ("{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}."),
        (
            Asked(
                ("What did {A} {base}?", "Tell me what {A} {past}.", "What did {A} {base} {P.at}?"),
                ("Do you know what {A} {past}?", "Which thing did {A} {base}?", "Please tell me what {A} {past}."),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
            Asked(
                ("Where did {A} {base} {T.a}?", "Tell me where {A} {past} {T.a}.", "Where did {A} {base} the {T}?"),
                ("Do you know where {A} {past} {T.a}?", "In which place did {A} {base} {T.a}?"),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
        ),
    ),
    Relation(
        "lie", _lie, ("T", "P"),
        ("The {T} is {P.at}.",),
        (
            Asked(
                ("Where is the {T}?", "Tell me where the {T} is.", "In which place is the {T}?"),
                ("Do you know where the {T} is?", "Where can I find the {T}?", "Please tell me where the {T} is."),
                "The {T} is {P.at}.",
            ),
        ),
    ),
    Relation(
        "go", _go, ("A", "P"),
        ("{A} {past} {P.to}.", WHEN + "{A} {past} {P.to}."),
        (
            Asked(
                ("Where did {A} {base}?", "Tell me where {A} {past}.", "To which place did {A} {base}?"),
                ("Do you know where {A} {past}?", "Please tell me where {A} {past}.", "Which place did {A} {base} to?"),
                QUOTED + "{A} {past} {P.to}.",
            ),
        ),
    ),
    Relation(
        "done", _done, ("A", "T"),
        ("The {T} was {part} by {A}.",),
        (
            Asked(
                ("Who {past} the {T}?", "Tell me who {past} the {T}.", "By whom was the {T} {part}?"),
                ("Do you know who {past} the {T}?", "Which person {past} the {T}?"),
                "The {T} was {part} by {A}.",
            ),
        ),
    ),
    Relation(
        "eat", _eat, ("A", "T", "P"),
        ("{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}."),
        (
            Asked(
                ("What did {A} {base}?", "Tell me what {A} {past}.", "What food did {A} {base}?"),
                ("Do you know what {A} {past}?", "Which food did {A} {base}?", "Please tell me what {A} {past}."),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
            Asked(
                ("Where did {A} {base} {T.a}?", "Tell me where {A} {past} {T.a}."),
                ("Do you know where {A} {past} {T.a}?", "In which place did {A} {base} {T.a}?"),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
        ),
    ),
    Relation(
        "own", _own, ("A", "T"),
        ("The {T} is for {A}.",),
        (
            Asked(
                ("Who gets the {T}?", "For whom is the {T}?", "Tell me who gets the {T}."),
                ("Do you know who gets the {T}?", "Which person gets the {T}?", "Please tell me who gets the {T}."),
                "The {T} is for {A}.",
            ),
        ),
    ),
    Relation(
        "animal", _animal, ("A", "T", "P"),
        ("{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}."),
        (
            Asked(
                ("What did {A} {base}?", "Which animal did {A} {base}?", "Tell me which animal {A} {past}."),
                ("Do you know which animal {A} {past}?", "What animal did {A} {base}?"),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
            Asked(
                ("Where did {A} {base} {T.a}?", "Tell me where {A} {past} {T.a}."),
                ("Do you know where {A} {past} {T.a}?", "In which place did {A} {base} {T.a}?"),
                QUOTED + "{A} {past} {T.a} {P.at}.",
            ),
        ),
    ),
    Relation(
        "colour", _colour, ("T", "colour"),
        ("The {T} is {colour}.",),
        (
            Asked(
                ("What colour is the {T}?", "Which colour is the {T}?", "Tell me the colour of the {T}."),
                ("Do you know what colour the {T} is?", "Please tell me the colour of the {T}."),
                "The {T} is {colour}.",
            ),
        ),
    ),
    Relation(
        "meet", _meet, ("A", "B", "P"),
        ("{A} {past} {B} {P.at}.", WHEN + "{A} {past} {B} {P.at}."),
        (
            Asked(
                ("Whom did {A} {base}?", "Tell me whom {A} {past}.", "Whom did {A} {base} {P.at}?"),
                ("Do you know whom {A} {past}?", "Which person did {A} {base}?"),
                QUOTED + "{A} {past} {B} {P.at}.",
            ),
            Asked(
                ("Where did {A} {base} {B}?", "Tell me where {A} {past} {B}."),
                ("Do you know where {A} {past} {B}?", "In which place did {A} {base} {B}?"),
                QUOTED + "{A} {past} {B} {P.at}.",
            ),
        ),
    ),
    Relation(
        "give", _give, ("A", "B", "T"),
        ("{A} {past} {B} the {T}.", WHEN + "{A} {past} {B} the {T}."),
        (
            Asked(
                ("What did {A} {base} {B}?", "Tell me what {A} {past} {B}."),
                ("Do you know what {A} {past} {B}?", "Which thing did {A} {base} {B}?"),
                QUOTED + "{A} {past} {B} the {T}.",
            ),
            Asked(
                ("To whom did {A} {base} the {T}?", "Tell me to whom {A} {past} the {T}."),
                ("Do you know to whom {A} {past} the {T}?", "To which person did {A} {base} the {T}?"),
                QUOTED + "{A} {past} {B} the {T}.",
            ),
        ),
    ),
    Relation(
        "feel", _feel, ("A", "feeling", "cause"),
        ("{A} was {feeling} because {cause}.", WHEN + "{A} was {feeling} because {cause}."),
        (
            Asked(
                ("Why was {A} {feeling}?", "Tell me why {A} was {feeling}.", "Why did {A} feel {feeling}?"),
                ("Do you know why {A} was {feeling}?", "Please tell me why {A} was {feeling}."),
                QUOTED + "{A} was {feeling} because {cause}.",
            ),
            Asked(
                ("How was {A}?", "How did {A} feel?", "Tell me how {A} felt."),
                ("Do you know how {A} felt?", "Please tell me how {A} was."),
                QUOTED + "{A} was {feeling} because {cause}.",
            ),
        ),
    ),
)  # fmt: skip
