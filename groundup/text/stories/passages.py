"""Short passages in the style of the stories, and questions whose answer must be looked up in them.

A passage is a few events; an `Event` is one of the `RELATIONS` with its people, things and places filled in. Within one
passage every person, thing and place occurs in one event only, so a question has one answer. Whether a combination of
people, things and places is trained or held out is decided by `kept_back` alone, so no held-out event is ever part of a
training passage.
"""

from dataclasses import dataclass
from typing import Any

from groundup.text.stories.dice import Dice, capital, kept_back
from groundup.text.stories.relations import RELATIONS, Relation, Unused
from groundup.text.stories.world import THINGS

UNKNOWN = "I do not know."

# Questions about what a passage does not tell.
UNTOLD = (
    "Where is the {t}?", "Who gets the {t}?", "Where did {b} go?", "What did {b} find?", "Why was {b} sad?",
    "What colour is the {t}?",
)  # fmt: skip
UNTOLD_SHARE = 0.05  # in training; the exam's "I do not know" is small talk's
PLAIN_RELATIONS = 4  # that the plainest passages are made of
SAME_RELATION = 0.15  # of the events of a passage are of its first relation: only who and what tell them apart
FILLERS = (
    "It was a [sunny|cold|warm|windy|grey] day.", "The sun was [shining|warm].", "It rained [all day|a little].",
    "The birds sang.",
    "Then it was time for [lunch|bed|school].", "It was [late|early].", "Everybody was busy.", "Nobody said a word.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    relation: Relation
    slots: dict[str, Any]

    @property
    def is_kept_back(self) -> bool:
        return kept_back(self.relation.name, *(format(self.slots[name]) for name in self.relation.key))

    def text(self, dice: Dice, variety: float) -> str:
        return capital(dice.fill(_pick(dice, self.relation.told, variety), self.slots))


@dataclass(frozen=True, slots=True)
class Passage:
    text: str
    events: tuple[Event, ...]
    unused: Unused
    variety: float
    is_exam: bool = False


def event(dice: Dice, unused: Unused, relation: Relation, *, exam: bool) -> Event:
    """An event of the trained combinations, or with `exam` of the held-out ones."""
    while True:
        taken = set(unused.taken)
        found = Event(relation, relation.draw(dice, unused))
        if found.is_kept_back == exam:
            return found
        unused.taken = taken


def passage(dice: Dice, n_events: int, *, variety: float = 1.0, exam: bool = False) -> Passage:
    """A passage of n events, often two or more of the same relation, so that an answer has to be looked up.

    `variety` 0 is a few relations, each told and asked in its plainest form; 1 is all of them in all forms.
    """
    relations = RELATIONS[: PLAIN_RELATIONS + round(variety * (len(RELATIONS) - PLAIN_RELATIONS))]
    unused = Unused(dice)
    main = dice.pick(relations)
    events: list[Event] = []
    for i in range(n_events):
        relation = main if i == 0 or dice.chance(SAME_RELATION) else dice.pick(relations)
        events.append(event(dice, unused, relation, exam=exam))
    sentences = [e.text(dice, variety) for e in events]
    if n_events > 2 and dice.chance(0.3):
        sentences.insert(dice.between(0, n_events), dice.fill(dice.pick(FILLERS), {}))
    return Passage(" ".join(sentences), tuple(events), unused, variety, exam)


def _pick(dice: Dice, forms: tuple[str, ...], variety: float) -> str:
    """The first form, which is the plainest, or with the probability `variety` any."""
    return dice.pick(forms) if dice.chance(variety) else forms[0]


def question(dice: Dice, told: Passage, *, new_wording: bool = False) -> tuple[str, str]:
    """(question, answer) about one event of the passage, or rarely about something that it does not tell."""
    return several(dice, told, 1, new_wording=new_wording)[0]


def several(dice: Dice, told: Passage, n: int, *, new_wording: bool = False) -> list[tuple[str, str]]:
    """Up to n questions with different answers, each asking an event for something else."""
    things = [(event, asked) for event in told.events for asked in event.relation.asked]
    turns = []
    for event, asked in dice.some(things, min(n, len(things))):
        if not told.is_exam and dice.chance(UNTOLD_SHARE * told.variety):
            slots = {"t": told.unused.one(THINGS), "b": told.unused.person()}
            turns.append((dice.pick(UNTOLD).format_map(slots), UNKNOWN))
        else:
            wording = dice.pick(asked.new) if new_wording else _pick(dice, asked.trained, told.variety)
            turns.append((wording.format_map(event.slots), asked.answer.format_map(event.slots)))
    return turns


def questions(dice: Dice, told: Passage, n: int) -> list[tuple[str, str]]:
    """Up to n different questions in a row. One about somebody just named may say "she": "Where did she go?"."""
    turns = dict([question(dice, told)])
    for _ in range(n - 1):
        said = " ".join(list(turns.items())[-1])
        just_named = [e for e in told.events if "A" in e.slots and format(e.slots["A"]) in said]
        if not just_named or dice.chance(0.5):
            turns.update([question(dice, told)])
            continue
        slots = just_named[0].slots
        for asked in just_named[0].relation.asked:
            with_pronoun = [w.replace("{A}", "{A.he}") for w in asked.trained if "did {A} " in w]
            if with_pronoun:
                turns.setdefault(dice.pick(with_pronoun).format_map(slots), asked.answer.format_map(slots))
    return list(turns.items())[:n]
