"""The kinds of event that passages are made of: how each is told, and what can be asked about it.

A wording in `new` is never trained. The question repeats the words of the passage that lead to the answer, and the
answer quotes the passage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from groundup.text.stories.dice import Dice, capital, with_article
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


def _put(dice: Dice, unused: Unused) -> dict[str, Any]:
    past, base = dice.pick((("put", "put"), ("left", "leave"), ("hid", "hide"), ("put", "put"), ("kept", "keep")))
    spot = unused.spot()
    return {"A": unused.person(), "T": unused.thing(), "P": spot, "At": capital(spot.at), "past": past, "base": base}


def _go(dice: Dice, unused: Unused) -> dict[str, Any]:
    past, base = dice.pick((("went", "go"), ("walked", "walk"), ("ran", "run"), ("went", "go")))
    return {"A": unused.person(), "P": unused.place(), "past": past, "base": base}


def _have(dice: Dice, unused: Unused) -> dict[str, Any]:
    colour, thing = unused.one(COLOURS), unused.thing()
    a_thing = with_article(f"{colour} {thing}")
    return {"A": unused.person(), "T": thing, "colour": colour, "Colour": capital(colour), "a_thing": a_thing}


def _give(dice: Dice, unused: Unused) -> dict[str, Any]:
    past, base = dice.pick((("gave", "give"), ("gave", "give"), ("sent", "send"), ("showed", "show")))
    return {"A": unused.person(), "B": unused.person(), "T": unused.thing(), "past": past, "base": base}


def _find(dice: Dice, unused: Unused) -> dict[str, Any]:
    spot = unused.place()
    past, base = dice.pick((("found", "find"), ("found", "find"), ("saw", "see"), ("lost", "lose")))
    return {"A": unused.person(), "T": unused.thing(), "P": spot, "At": capital(spot.at), "past": past, "base": base}


def _eat(dice: Dice, unused: Unused) -> dict[str, Any]:
    food = Thing(unused.one(FOODS))
    past, base = dice.pick((("ate", "eat"), ("bought", "buy"), ("wanted", "want")))
    return {"A": unused.person(), "T": food, "P": unused.place(), "past": past, "base": base}


def _meet(dice: Dice, unused: Unused) -> dict[str, Any]:
    place = unused.place()
    past, base = dice.pick((("met", "meet"), ("met", "meet"), ("saw", "see")))
    return {
        "A": unused.person(), "B": unused.person(), "P": place, "At": capital(place.at), "past": past, "base": base,
    }  # fmt: skip


def _animal(dice: Dice, unused: Unused) -> dict[str, Any]:
    place = unused.place()
    past, base = dice.pick((("saw", "see"), ("found", "find"), ("heard", "hear"), ("fed", "feed")))
    slots = {"A": unused.person(), "T": Thing(unused.one(ANIMALS)), "P": place, "At": capital(place.at)}
    return slots | {"past": past, "base": base}


CAUSES = {
    "happy": ("{he} had a new {t}", "{he} found the {t}", "{b} came home", "{b} gave {him} a {t}"),
    "sad": ("{he} lost the {t}", "the {t} was broken", "{b} went away", "{b} took the {t}"),
    "angry": ("{b} took the {t}", "{b} broke the {t}", "the {t} was gone", "{b} did not help {him}"),
    "afraid": ("it was dark", "{he} heard a {animal}", "{he} saw a {animal}", "{he} was alone"),
    "tired": ("{he} ran all day", "{he} carried the {t}", "{he} did not sleep", "{he} looked for the {t}"),
    "proud": ("{he} made a {t}", "{he} won the race", "{he} helped {b}", "{he} found the {t}"),
    "lonely": ("{b} went away", "{he} had no friends", "{b} was not there"),
    "hungry": ("{he} did not eat the {food}", "{he} gave the {food} to {b}", "{he} had no {food}"),
    "worried": ("{b} was late", "{he} could not find the {t}", "{b} was ill", "the {t} was gone"),
    "surprised": ("{he} saw a {animal}", "{b} came back", "{he} found a {t}", "{b} had a {t}"),
    "excited": ("{b} was coming", "{he} saw a {animal}", "{he} had a new {t}"),
    "cold": ("{he} had no coat", "it was snowing", "{he} fell into the water"),
}


def _feel(dice: Dice, unused: Unused) -> dict[str, Any]:
    feeling = unused.one(tuple(CAUSES))
    a, b = unused.person(), unused.person()
    thing, animal, food = unused.thing(), unused.one(ANIMALS), unused.one(FOODS)
    cause = dice.pick(CAUSES[feeling]).replace("a {t}", thing.a).replace("a {animal}", with_article(animal))
    cause = cause.format(he=a.he, him=a.him, b=b, t=thing, food=food)
    return {"A": a, "feeling": feeling, "Feeling": capital(feeling), "cause": cause}


WHEN = "[|||In the morning |After lunch |One day |In the evening ]"

# The first are told most alike; training begins with them.
RELATIONS = (
    Relation(
        "put", _put, ("A", "T", "P"),
        (
            "{A} {past} the {T} {P.at}.", WHEN + "{A} {past} the {T} {P.at}.", "{A} took the {T} and {past} it {P.at}.",
            "{A} had {T.a}. {A.He} {past} the {T} {P.at}.",
        ),
        (
            Asked(
                (
                    "Where is the {T}?", "Where did {A} {base} the {T}?", "Tell me where the {T} is.",
                    "Where is the {T} now?",
                    "In which place is the {T}?", "Where was the {T}?", "Tell me where {A} {past} the {T}.",
                ),
                (
                    "Where can I find the {T}?", "Do you know where the {T} is?",
                    "Please tell me where {A} {past} the {T}.",
                ),
                "{At}.",
            ),
            Asked(
                (
                    "Who {past} the {T} {P.at}?", "Who had the {T}?", "Tell me who {past} the {T} {P.at}.",
                    "Who {past} the {T}?",
                ),
                (
                    "Do you know who {past} the {T}?", "Which person {past} the {T} {P.at}?",
                    "Can you tell me who had the {T}?",
                ),
                "{A}.",
            ),
            Asked(
                (
                    "What did {A} {base} {P.at}?", "What is {P.at}?", "Tell me what {A} {past} {P.at}.",
                    "What did {A} {base}?",
                ),
                ("Do you know what {A} {past}?", "Which thing is {P.at}?", "Can you tell me what is {P.at}?"),
                "The {T}.",
            ),
        ),
    ),
    Relation(
        "find", _find, ("A", "T", "P"),
        (
            "{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}.", "{A} was {P.at}. There {A.he} {past} {T.a}.",
            "{A} looked around and {past} {T.a} {P.at}.",
        ),
        (
            Asked(
                (
                    "Where did {A} {base} the {T}?", "Where was the {T}?", "Tell me where {A} {past} the {T}.",
                    "In which place did {A} {base} the {T}?",
                    "Where did {A} {base} {T.a}?",
                ),
                ("Do you know where {A} {past} the {T}?", "Please tell me where the {T} was."),
                "{At}.",
            ),
            Asked(
                ("Who {past} the {T}?", "Who {past} {T.a}?", "Tell me who {past} {T.a}.", "Who {past} the {T} {P.at}?"),
                (
                    "Do you know who {past} the {T}?", "Which person {past} {T.a} {P.at}?",
                    "Can you tell me who {past} {T.a}?",
                ),
                "{A}.",
            ),
            Asked(
                (
                    "What did {A} {base}?", "What did {A} {base} {P.at}?", "Tell me what {A} {past}.",
                    "What was {P.at}?", "Tell me what {A} {past} {P.at}.",
                ),
                (
                    "Do you know what {A} {past} {P.at}?", "Which thing did {A} {base}?",
                    "Can you tell me what was {P.at}?",
                ),
                "The {T}.",
            ),
        ),
    ),
    Relation(
        "eat", _eat, ("A", "T", "P"),
        ("{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}.", "{A} was hungry and {past} {T.a} {P.at}."),
        (
            Asked(
                (
                    "What did {A} {base}?", "What did {A} {base} {P.at}?", "Tell me what {A} {past}.",
                    "What food did {A} {base}?",
                ),
                (
                    "Do you know what {A} {past}?", "Which food did {A} {base}?",
                    "Can you tell me what {A} {past} {P.at}?",
                ),
                "The {T}.",
            ),
            Asked(
                ("Who {past} {T.a}?", "Who {past} the {T}?", "Tell me who {past} {T.a}.", "Who {past} {T.a} {P.at}?"),
                ("Do you know who {past} {T.a}?", "Which person {past} the {T}?"),
                "{A}.",
            ),
        ),
    ),
    Relation(
        "animal", _animal, ("A", "T", "P"),
        ("{A} {past} {T.a} {P.at}.", WHEN + "{A} {past} {T.a} {P.at}.", "{A} was {P.at} when {A.he} {past} {T.a}."),
        (
            Asked(
                (
                    "Which animal did {A} {base}?", "What did {A} {base}?", "What animal did {A} {base} {P.at}?",
                    "Tell me which animal {A} {past}.",
                ),
                ("Do you know which animal {A} {past}?", "Can you tell me what {A} {past} {P.at}?"),
                "The {T}.",
            ),
            Asked(
                ("Where was the {T}?", "Where did {A} {base} the {T}?", "Tell me where {A} {past} {T.a}."),
                ("Do you know where the {T} was?", "Please tell me where {A} {past} the {T}."),
                "{At}.",
            ),
            Asked(
                ("Who {past} the {T}?", "Who {past} {T.a} {P.at}?", "Tell me who {past} the {T}."),
                ("Do you know who {past} the {T}?", "Which person {past} {T.a}?"),
                "{A}.",
            ),
        ),
    ),
    Relation(
        "meet", _meet, ("A", "B", "P"),
        ("{A} {past} {B} {P.at}.", WHEN + "{A} {past} {B} {P.at}.", "{A} was {P.at}. There {A.he} {past} {B}."),
        (
            Asked(
                (
                    "Where did {A} {base} {B}?", "Tell me where {A} {past} {B}.",
                    "In which place did {A} {base} {B}?", "Where was {B}?",
                ),
                ("Do you know where {A} {past} {B}?", "Please tell me where {A} {past} {B}."),
                "{At}.",
            ),
            Asked(
                ("Who {past} {B}?", "Who {past} {B} {P.at}?", "Tell me who {past} {B}."),
                ("Do you know who {past} {B}?", "Which person {past} {B} {P.at}?"),
                "{A}.",
            ),
            Asked(
                ("Whom did {A} {base}?", "Whom did {A} {base} {P.at}?", "Tell me whom {A} {past}."),
                ("Do you know whom {A} {past}?", "Which person did {A} {base} {P.at}?"),
                "{B}.",
            ),
        ),
    ),
    Relation(
        "go", _go, ("A", "P"),
        (
            "{A} {past} {P.to}.", WHEN + "{A} {past} {P.to}.", "{A} took {A.his} bag and {past} {P.to}.",
            "{A} was bored and {past} {P.to}.",
        ),
        (
            Asked(
                (
                    "Where did {A} {base}?", "Where did {A} go?", "Tell me where {A} {past}.",
                    "To which place did {A} {base}?",
                ),
                ("Do you know where {A} {past}?", "Please tell me where {A} went.", "Which place did {A} go to?"),
                "To the {P}.",
            ),
            Asked(
                ("Who {past} {P.to}?", "Tell me who {past} {P.to}.", "Who is {P.at}?", "Who went {P.to}?"),
                ("Do you know who {past} {P.to}?", "Which person went {P.to}?", "Can you tell me who is {P.at}?"),
                "{A}.",
            ),
        ),
    ),
    Relation(
        "give", _give, ("A", "B", "T"),
        (
            "{A} {past} {B} the {T}.", "{A} {past} the {T} to {B}.", WHEN + "{A} {past} the {T} to {B}.",
            "{A} took the {T} and {past} it to {B}.",
        ),
        (
            Asked(
                (
                    "Who {past} {B} the {T}?", "Who {past} the {T} to {B}?", "Tell me who {past} the {T} to {B}.",
                    "From whom is the {T}?",
                ),
                ("Do you know who {past} the {T} to {B}?", "Which person {past} {B} the {T}?"),
                "{A}.",
            ),
            Asked(
                (
                    "What did {A} {base} {B}?", "What did {A} {base} to {B}?", "Tell me what {A} {past} to {B}.",
                    "What did {B} get from {A}?",
                ),
                ("Do you know what {A} {past} to {B}?", "Which thing did {A} {base} {B}?"),
                "The {T}.",
            ),
            Asked(
                (
                    "To whom did {A} {base} the {T}?", "Who got the {T}?", "Tell me who got the {T}.",
                    "Who got the {T} from {A}?",
                ),
                ("Do you know who got the {T}?", "Which person got the {T} from {A}?"),
                "{B}.",
            ),
        ),
    ),
    Relation(
        "have", _have, ("A", "T", "colour"),
        (
            "{A} had {a_thing}.", "{A} got {a_thing}.", "{A} made {a_thing}.", WHEN + "{A} bought {a_thing}.",
            "There was {a_thing}. It was for {A}.",
        ),
        (
            Asked(
                (
                    "What colour is the {T}?", "What colour was {A}'s {T}?", "Which colour is the {T}?",
                    "Tell me the colour of the {T}.",
                    "What is the colour of the {T}?",
                ),
                (
                    "Do you know what colour the {T} is?", "Please tell me the colour of {A}'s {T}.",
                    "What colour did the {T} have?",
                ),
                "{Colour}.",
            ),
            Asked(
                (
                    "Who has the {T}?", "Who has the {colour} {T}?", "Tell me who has {a_thing}.",
                    "Whose is the {colour} {T}?",
                ),
                (
                    "Do you know who has the {T}?", "Which person has {a_thing}?",
                    "Can you tell me who got the {colour} {T}?",
                ),
                "{A}.",
            ),
            Asked(
                ("What does {A} have?", "What has {A} got?", "Tell me what {A} has.", "What is {A}'s new thing?"),
                ("Do you know what {A} has?", "Which thing does {A} have?", "Can you tell me what {A} got?"),
                "The {colour} {T}.",
            ),
        ),
    ),
    Relation(
        "feel", _feel, ("A", "feeling", "cause"),
        (
            "{A} was {feeling} because {cause}.", WHEN + "{A} was {feeling} because {cause}.",
            "{A} felt {feeling} because {cause}.",
        ),
        (
            Asked(
                (
                    "Why was {A} {feeling}?", "Why did {A} feel {feeling}?", "Tell me why {A} was {feeling}.",
                    "{A} was {feeling}. Why?",
                ),
                ("Do you know why {A} was {feeling}?", "Please tell me why {A} felt {feeling}."),
                "Because {cause}.",
            ),
            Asked(
                ("How did {A} feel?", "Tell me how {A} felt.", "What did {A} feel?", "How was {A}?"),
                ("Do you know how {A} felt?", "Please tell me how {A} felt."),
                "{Feeling}.",
            ),
            Asked(
                ("Who was {feeling}?", "Who felt {feeling}?", "Tell me who was {feeling}."),
                ("Do you know who was {feeling}?", "Which person felt {feeling}?"),
                "{A}.",
            ),
        ),
    ),
)  # fmt: skip
