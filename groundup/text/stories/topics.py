"""In which words general facts are asked and told.

A `Topic` holds facts of one shape, `{x}` asked and `{y}` answered, with the wordings in which they are asked. The
wordings in `new` are never trained, with any fact. Of the others, some pairs of (fact, wording) are kept back too.
"""

from dataclasses import dataclass

from groundup.text.stories.dice import capital, kept_back, with_article
from groundup.text.stories.facts import (
    CAPITALS,
    CATEGORIES,
    COLOURS_OF,
    EATS,
    HOMES,
    HOW_MANY,
    LEGS,
    MATERIALS,
    OPPOSITES,
    SENSES,
    SOUNDS,
    TOOLS,
    WORKERS,
    YOUNG,
)
from groundup.text.stories.world import DAYS, MONTHS, NUMBERS


@dataclass(frozen=True, slots=True)
class Topic:
    """`facts` maps what is asked about to the short answer; `told` says a fact as a sentence in a story."""

    name: str
    kind: str
    facts: tuple[tuple[str, str], ...]
    trained: tuple[str, ...]
    new: tuple[str, ...]
    told: tuple[str, ...]

    def question(self, x: str, wording: str) -> str:
        noun, _, rest = x.partition(" ")
        return wording.format(x=x, ax=with_article(x), X=capital(x), noun=noun, rest=rest)

    def statement(self, x: str, y: str, form: str) -> str:
        """The fact as a clause: no capital letter, no full stop."""
        noun, _, rest = x.partition(" ")
        return form.format(x=x, y=y, ax=with_article(x), noun=noun, rest=rest)

    @staticmethod
    def reply(y: str) -> str:
        return capital(y) + "."

    def is_trained(self, x: str, wording: str) -> bool:
        return wording in self.trained and not kept_back(self.name, x, wording)


def _next(words: tuple[str, ...], step: int, *, around: bool = True) -> tuple[tuple[str, str], ...]:
    n = len(words)
    return tuple((words[i], words[(i + step) % n]) for i in range(n) if around or 0 <= i + step < n)


TOPICS = (
    Topic(
        "capital", "fact", CAPITALS,
        (
            "What is the capital of {x}?", "Tell me the capital of {x}.", "Which city is the capital of {x}?",
            "What is {x}'s capital?", "Name the capital of {x}.", "What city is the capital of {x}?",
            "The capital of {x} is which city?", "What is the capital city of {x}?", "Do you know {x}'s capital city?",
        ),
        (
            "Please tell me which city is the capital of {x}.", "Do you know the capital of {x}?",
            "Can you name the capital city of {x}?", "I want to know the capital of {x}.",
        ),
        (
            "{y} is the capital of {x}", "the capital of {x} is {y}", "the capital city of {x} is called {y}",
        ),
    ),
    Topic(
        "sound", "fact", SOUNDS,
        (
            "What does {ax} say?", "What sound does {ax} make?", "Tell me what {ax} says.",
            "Which sound does {ax} make?",
            "Tell me the sound of {ax}.", "How does {ax} sound?", "What is the sound of {ax}?",
        ),
        ("Do you know what {ax} says?", "Which sound comes from {ax}?", "Can you tell me what sound {ax} makes?"),
        ("{ax} says {y}", "the sound of {ax} is {y}"),
    ),
    Topic(
        "young", "fact", tuple((x, with_article(y)) for x, y in YOUNG),
        (
            "What is a young {x} called?", "What is a baby {x} called?", "What do you call a baby {x}?",
            "What is the name for a young {x}?", "Tell me the name for a baby {x}.", "What do people call a young {x}?",
        ),
        (
            "Do you know what a baby {x} is called?", "Tell me what you call a young {x}.",
            "Which word means a young {x}?",
        ),
        ("a young {x} is called {y}", "a baby {x} is called {y}", "{y} is a young {x}"),
    ),
    Topic(
        "home", "fact", tuple((x, f"in {y}") for x, y in HOMES),
        (
            "Where does {ax} live?", "What is the home of {ax}?", "Tell me where {ax} lives.",
            "Where is the home of {ax}?",
            "In what place does {ax} live?", "Where do you find the home of {ax}?",
        ),
        ("Do you know where {ax} lives?", "Where does {ax} have its home?", "Can you tell me where {ax} lives?"),
        ("{ax} lives {y}", "the home of {ax} is {y}"),
    ),
    Topic(
        "legs", "fact", LEGS,
        (
            "How many legs does {ax} have?", "Count the legs of {ax}.", "Tell me how many legs {ax} has.",
            "What is the number of legs of {ax}?", "How many legs are on {ax}?",
        ),
        (
            "Do you know how many legs {ax} has?", "How many legs has {ax} got?",
            "I want to know how many legs {ax} has.",
        ),
        ("{ax} has {y}",),
    ),
    Topic(
        "colour", "fact", COLOURS_OF,
        (
            "What colour is {x}?", "Which colour is {x}?", "Tell me the colour of {x}.", "What is the colour of {x}?",
            "Tell me what colour {x} is.", "What colour does {x} have?",
        ),
        ("Do you know what colour {x} is?", "Which colour does {x} have?", "Can you name the colour of {x}?"),
        ("{x} is {y}", "the colour of {x} is {y}"),
    ),
    Topic(
        "material", "fact", MATERIALS,
        (
            "What is {x} made of?", "What do you need to make {x}?", "Tell me what {x} is made of.",
            "What do people make {x} from?",
            "From what do we make {x}?", "What is {x} made from?",
        ),
        ("Do you know what {x} is made of?", "What do we use to make {x}?", "Can you tell me what {x} is made from?"),
        ("{x} is made of {y}", "people make {x} from {y}", "{x} is made from {y}"),
    ),
    Topic(
        "worker", "fact", WORKERS,
        (
            "Who {x}?", "Tell me who {x}.", "What do you call someone who {x}?", "Which person {x}?",
            "What is the job of someone who {x}?",
            "What do we call a person who {x}?",
        ),
        ("Do you know who {x}?", "Name someone who {x}.", "Please tell me: who {x}?"),
        ("{y} is someone who {x}", "{y} {x}"),
    ),
    Topic(
        "tool", "fact", TOOLS,
        (
            "What do you need to {x}?", "What do you use to {x}?", "What do people use to {x}?",
            "Tell me what you need to {x}.",
            "I want to {x}. What do I need?", "What helps you to {x}?",
        ),
        ("What should I use to {x}?", "Do you know what I need to {x}?", "What do I need if I want to {x}?"),
        ("you need {y} to {x}", "people use {y} to {x}", "with {y} you can {x}"),
    ),
    Topic(
        "eats", "fact", EATS,
        (
            "What does {ax} eat?", "What does {ax} like to eat?", "Tell me what {ax} eats.",
            "What is the food of {ax}?",
            "What do you give {ax} to eat?", "What food does {ax} like?",
        ),
        ("Do you know what {ax} eats?", "Which food does {ax} eat?", "Can you tell me what {ax} likes to eat?"),
        ("{ax} eats {y}", "{ax} likes to eat {y}"),
    ),
    Topic(
        "how many", "fact", HOW_MANY,
        (
            "How many {noun} are there {rest}?", "How many {noun} are {rest}?", "Tell me how many {noun} are {rest}.",
            "What is the number of {noun} {rest}?", "Say how many {noun} there are {rest}.", "Count the {noun} {rest}.",
        ),
        (
            "Do you know how many {noun} are {rest}?", "Please tell me how many {noun} there are {rest}.",
            "Can you tell me the number of {noun} {rest}?",
        ),
        ("there are {y} {noun} {rest}",),
    ),
    Topic(
        "sense", "fact", tuple((x, f"your {y}") for x, y in SENSES),
        (
            "What do you {x} with?", "Tell me what you {x} with.", "With what do you {x}?",
            "Which part of your body do you {x} with?",
            "What part of the body do we need to {x}?",
        ),
        ("Do you know what you {x} with?", "Which part of the body do you {x} with?", "What do people {x} with?"),
        ("you {x} with {y}",),
    ),
    Topic(
        "day after", "fact", _next(DAYS, 1),
        (
            "What day comes after {x}?", "Which day comes after {x}?", "Tell me the day after {x}.",
            "What is the day after {x}?",
            "Today is {x}. What day is tomorrow?", "Which day follows {x}?",
        ),
        ("Do you know which day comes after {x}?", "What day follows {x}?", "If today is {x}, what day is tomorrow?"),
        ("{y} comes after {x}", "the day after {x} is {y}"),
    ),
    Topic(
        "day before", "fact", _next(DAYS, -1),
        (
            "What day comes before {x}?", "Which day comes before {x}?", "Tell me the day before {x}.",
            "What is the day before {x}?",
            "Today is {x}. What day was yesterday?",
        ),
        ("Do you know which day comes before {x}?", "If today is {x}, what day was yesterday?"),
        ("{y} comes before {x}", "the day before {x} is {y}"),
    ),
    Topic(
        "month after", "fact", _next(MONTHS, 1),
        (
            "What month comes after {x}?", "Which month comes after {x}?", "Tell me the month after {x}.",
            "What is the month after {x}?", "Which month follows {x}?",
        ),
        ("Do you know which month comes after {x}?", "What month follows {x}?"),
        ("{y} comes after {x}", "the month after {x} is {y}"),
    ),
    Topic(
        "month before", "fact", _next(MONTHS, -1),
        (
            "What month comes before {x}?", "Which month comes before {x}?", "Tell me the month before {x}.",
            "What is the month before {x}?",
        ),
        ("Do you know which month comes before {x}?", "Can you tell me the month before {x}?"),
        ("{y} comes before {x}", "the month before {x} is {y}"),
    ),
    Topic(
        "number after", "fact", _next(tuple(map(str, range(21))), 1, around=False),
        (
            "What number comes after {x}?", "Which number comes after {x}?", "Count on from {x}. What comes next?",
            "Tell me the number after {x}.", "What is the next number after {x}?",
        ),
        ("Do you know which number comes after {x}?", "What is the number after {x}?"),
        ("{y} comes after {x}", "the number after {x} is {y}"),
    ),
    Topic(
        "number word", "fact", tuple((str(i), word) for i, word in enumerate(NUMBERS)),
        (
            "How do you write {x} in words?", "Write {x} in words.", "Write the number {x} as a word.",
            "What is {x} in words?",
            "Tell me the word for {x}.", "Which word do you write for {x}?",
        ),
        ("Please write {x} in words.", "What is the word for {x}?", "Say the number {x} as a word."),
        ("the word for {x} is {y}", "in words, {x} is {y}"),
    ),
    Topic(
        "opposite", "opposite", OPPOSITES,
        (
            "What is the opposite of {x}?", "Tell me the opposite of {x}.", "Which word is the opposite of {x}?",
            "What word means the opposite of {x}?", "Name the opposite of {x}.", "{X} is the opposite of what?",
            "The opposite of {x} is what?", "Say the opposite of {x}.", "Give me the opposite of {x}.",
            "Not {x} but the opposite: what is it?",
        ),
        (
            "Do you know the opposite of {x}?", "Can you tell me the opposite of {x}?", "I need the opposite of {x}.",
            "What would be the opposite of {x}?", "Please say the opposite of {x}.",
        ),
        ("the opposite of {x} is {y}", "{x} is the opposite of {y}", "{y} is the opposite of {x}"),
    ),
    Topic(
        "category", "category", CATEGORIES,
        (
            "What kind of thing is {x}?", "What is {x}?", "What sort of thing is {x}?", "Tell me what {x} is.",
            "{X} is a kind of what?", "Which kind of thing is {x}?", "What kind of thing do we call {x}?",
            "Say what kind of thing {x} is.",
            "Tell me what kind of thing {x} is.", "To which group does {x} belong?",
        ),
        (
            "Do you know what kind of thing {x} is?", "Can you tell me what {x} is?",
            "Please tell me what sort of thing {x} is.",
            "What group does {x} belong to?", "I want to know what kind of thing {x} is.",
        ),
        ("{x} is {y}",),
    ),
)  # fmt: skip
