"""The kinds of conversation: how each is made, how often it is trained, and whether it is scored.

A maker is a function of (dice, difficulty, exam) that returns an `Exchange`: what the user says and the one right
reply. `exam` is None for training; for the held-out questions it is an `Exam`, and the maker then uses a wording that
is never trained, or a combination that is kept back from training.

To tune: weights, sizes of the exam and scores are in `KINDS` at the foot; what `difficulty` means is in `n_events` and
`n_words` below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from groundup.text.records import Message
from groundup.text.stories import passages, talk, tasks
from groundup.text.stories.dice import Dice, capital, kept_back
from groundup.text.stories.topics import TOPICS, Topic
from groundup.text.stories.world import (
    ANIMALS,
    BEASTS,
    COLOURS,
    FOODS,
    PEOPLE,
    PLACES,
    SPOTS,
    THINGS,
    Person,
    Place,
    Thing,
)


@dataclass(frozen=True, slots=True)
class Exam:
    """What a held-out question is to be: a new wording, or a kept-back combination in a trained wording."""

    new_wording: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages up to and with the last of the user, and the reply. `must_name` is what a free reply has to contain."""

    messages: tuple[Message, ...]
    reply: str
    must_name: tuple[str, ...] = ()


def n_events(dice: Dice, difficulty: float, exam: Exam | None) -> int:
    """Events of a passage: one or two at difficulty 0, one to three from 0.25 on and in an exam."""
    return dice.between(1, 2 if not exam and difficulty < 0.25 else 3)


def variety(difficulty: float, exam: Exam | None) -> float:
    """Of the forms in which a passage is told and asked: the plainest at difficulty 0, all of them from 0.6 on."""
    return 1.0 if exam else min(1.0, difficulty / 0.6)


def n_questions(dice: Dice, n_events: int, exam: Exam | None) -> int:
    """Questions about one passage: in training several, so that more of what is read is answers to learn from.

    With their replies they stay within about 120 tokens: a conversation that is cut would ask about what it has lost.
    """
    return 1 if exam else dice.between(1, 3 if n_events < 3 else 2)


def n_words(dice: Dice, difficulty: float, exam: Exam | None) -> int:
    """Words of a list to repeat: two at difficulty 0, up to five at difficulty 1."""
    return dice.between(2, 4) if exam else dice.between(2, 2 + round(3 * difficulty))


def _user(text: str, system: str = "") -> tuple[Message, ...]:
    user = Message("user", text)
    return (Message("system", system), user) if system else (user,)


def _one_turn(text: str, reply: str, system: str = "") -> Exchange:
    return Exchange(_user(text, system), reply)


# Facts, opposites, categories.

OPENINGS = ("Please answer. ", "I have a question. ", "Question: ", "Help me. ")
SYSTEMS = ("Answer the question.", "You are a friendly helper.", "Keep your answers short.", "You help people.")


def _dressed(dice: Dice, text: str, reply: str, exam: Exam | None) -> Exchange:
    """In training, sometimes behind a few opening words or under a system prompt that the reply obeys."""
    if exam or dice.chance(0.75):
        return _one_turn(text, reply)
    if dice.chance(0.6):
        return _one_turn(dice.pick(OPENINGS) + text, reply)
    one_word = reply.count(" ") == 0 and dice.chance(0.4)
    return _one_turn(text, reply, "Answer with one word." if one_word else dice.pick(SYSTEMS))


def _ask(dice: Dice, topics: tuple[Topic, ...], exam: Exam | None) -> Exchange:
    while True:
        topic = dice.pick(topics)
        x, y = dice.pick(topic.facts)
        wording = dice.pick(topic.new if exam and exam.new_wording else topic.trained)
        if (exam is None) == topic.is_trained(x, wording):
            return _dressed(dice, topic.question(x, wording), topic.reply(y), exam)


FACTS = tuple(topic for topic in TOPICS if topic.kind == "fact" for _ in range(1 + len(topic.facts) // 12))
OPPOSITES = tuple(topic for topic in TOPICS if topic.kind == "opposite")
CATEGORIES = tuple(topic for topic in TOPICS if topic.kind == "category")


def fact(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    return _ask(dice, FACTS, exam)


def opposite(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    return _ask(dice, OPPOSITES, exam)


def category(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    return _ask(dice, CATEGORIES, exam)


# Sums of two numbers up to ten.

SUMS = (
    "What is {a} + {b}?", "How much is {a} + {b}?", "{a} + {b} =", "What is {a} plus {b}?", "Add {a} and {b}.",
    "Tell me what {a} plus {b} is.", "How much is {a} plus {b}?", "What is the sum of {a} and {b}?",
    "What do {a} and {b} make?",
    "Find {a} + {b}.",
)  # fmt: skip
SUMS_NEW = (
    "Please add {a} and {b}.", "Do you know how much {a} plus {b} is?", "Can you tell me what {a} + {b} is?",
    "How much do {a} and {b} make?", "Find the sum of {a} and {b}.",
)  # fmt: skip


def is_known_sum(a: int, b: int) -> bool:
    """Whether the sum is trained at all, in any wording; the others are the kind `new_sum`."""
    return not kept_back("sum", min(a, b), max(a, b))


def is_trained_sum(a: int, b: int, wording: str) -> bool:
    return is_known_sum(a, b) and wording in SUMS and not kept_back("sum", a, b, wording)


def _sum(dice: Dice, known: bool, exam: Exam | None) -> Exchange:
    while True:
        a, b = dice.between(0, 10), dice.between(0, 10)
        wording = dice.pick(SUMS_NEW if exam and exam.new_wording else SUMS)
        if is_known_sum(a, b) == known and (exam is None) == is_trained_sum(a, b, wording):
            return _dressed(dice, wording.format(a=a, b=b), f"{a + b}.", exam)


def sums(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    return _sum(dice, True, exam)


def new_sum(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    return _sum(dice, False, exam)


# Passages.

LAYOUTS = ("Read this: {p} {q}", "Read: {p}\n{q}", "Here is a story. {p} {q}", "Listen: {p} Question: {q}")


def _told(dice: Dice, n: int, difficulty: float, exam: Exam | None) -> passages.Passage:
    return passages.passage(dice, n, variety=variety(difficulty, exam), exam=exam is not None)


def passage(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    told = _told(dice, n_events(dice, difficulty, exam), difficulty, exam)
    is_new = exam is not None and exam.new_wording
    n = n_questions(dice, len(told.events), exam)
    return _ask_about(dice, told, passages.several(dice, told, n, new_wording=is_new))


def dialogue(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    """Questions that lean on the ones before, and sometimes a greeting before and thanks after them."""
    told = _told(dice, max(2, n_events(dice, difficulty, exam)), difficulty, exam)
    made = _ask_about(dice, told, passages.questions(dice, told, 2), ("", "", "And now: ", "Next: "))
    if dice.chance(0.3):
        intent = talk.INTENTS["greeting"]
        greeting = (Message("user", dice.pick(intent.trained)), Message("assistant", intent.reply))
        made = Exchange(greeting + made.messages, made.reply)
    if dice.chance(0.3):
        intent = talk.INTENTS["thanks"]
        thanks = (Message("assistant", made.reply), Message("user", dice.pick(intent.trained)))
        made = Exchange(made.messages + thanks, intent.reply)
    return made


def _ask_about(
    dice: Dice, told: passages.Passage, turns: list[tuple[str, str]], openings: tuple[str, ...] = ("",)
) -> Exchange:
    """The passage with the first question, then the others turn by turn; a question is asked only once."""
    (question, reply), *more = dict(turns).items()
    messages = [Message("user", dice.pick(LAYOUTS).format(p=told.text, q=question))]
    for question, next_reply in more:
        messages += [Message("assistant", reply), Message("user", dice.pick(openings) + question)]
        reply = next_reply
    return Exchange(tuple(messages), reply)


# Repeat or rewrite as told.


def repeat(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    task = dice.pick(tasks.DRAW)
    slots, reply = task.make(dice, n_words(dice, difficulty, exam), exam is not None)
    wording = dice.pick(task.new if exam and exam.new_wording else task.trained)
    return _one_turn(wording.format_map(slots), reply)


# Go on with a list.

RECITED = THINGS + FOODS + ANIMALS + COLOURS + tuple(person.name for person in PEOPLE)
RECITE = ("Words: {w}. Go on after {x}.", "Here are some words: {w}. What follows after {x}?", "Read: {w}. Go on: {x}")
RECITE_NEW = ("Words: {w}. Please go on after {x}.", "Here are some words: {w}. Do you know what follows after {x}?")


def recite_share(difficulty: float) -> float:
    """Of the conversations: most of the first, few of the later ones."""
    return max(0.02, 0.7 * (1 - difficulty / 0.25))


def recite(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    """A list of words, to be read on from one of them.

    The plainest looking up there is, with many words to learn it from. What it teaches, finding the same word again and
    saying what comes next, is what all questions about passages are built on; without it they are learned far later.
    """
    while True:
        words = dice.some(RECITED, dice.between(5, 12))
        if kept_back("recite", *words) == (exam is not None):
            break
    start = dice.between(0, len(words) - 3)
    wording = dice.pick(RECITE_NEW if exam and exam.new_wording else RECITE)
    text = wording.format(w=" ".join(words), x=words[start])
    return _one_turn(text, f"Then {' '.join(words[start + 1 :])}.")


# Small talk.

INTENTS = tuple(talk.INTENTS.values())


def small_talk(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    is_new = exam is not None and exam.new_wording
    while True:
        if dice.chance(0.12):
            one, wording = dice.pick(talk.UNKNOWN_ONES), dice.pick(talk.UNKNOWABLE_NEW if is_new else talk.UNKNOWABLE)
            if is_new or kept_back("unknowable", one, wording) == (exam is not None):
                return _one_turn(wording.format(x=one), talk.UNKNOWABLE_REPLY)
        elif exam is None or is_new:
            intent = dice.pick(INTENTS)
            return _one_turn(dice.pick(intent.new if is_new else intent.trained), intent.reply)


# Stories.


def _cast(dice: Dice, exam: Exam | None) -> tuple[Person, Person, Place]:
    while True:
        (a, b), place = dice.some(PEOPLE, 2), dice.pick(PLACES)
        if kept_back("story", a.name, b.name, place.name) == (exam is not None):
            return a, b, place


# Shapes of short stories: each is a list of sentences, each of those a choice of forms.
BEGINNINGS = (
    "One day {A} and {B} [went|walked|ran] {P.to}.", "{A} met {B} {P.at}.", "{A} and {B} were {P.at}.",
    "It was a [sunny|warm|cold|windy] day, and {A} and {B} were {P.at}.", "{A} and {B} were playing {P.at}.",
)  # fmt: skip
ENDINGS = (
    "In the end they were [happy|good friends].", "{A} was [happy|glad] and thanked {B}.",
    "In the evening they went home together.", "They laughed and went home.", "It was a good day for {A} and {B}.",
)  # fmt: skip
SHORT_STORIES = (
    (
        BEGINNINGS,
        ("{A} had {T.a}.", "There {A} found {T.a}.", "{A} showed {B} {T.a}."),
        (
            '"[What a nice|Look at the] {T}!" said {B}.', '"May I have the {T}?" asked {B}.',
            "{B} [liked|loved] the {T} too.",
        ),
        (
            "So {A} gave the {T} to {B}.", "They played with the {T} all day.",
            "Then the {T} fell into the water, and {B} got it back.",
            "But the {T} was broken, and {B} helped to mend it.",
        ),
        ENDINGS,
    ),
    (
        BEGINNINGS,
        ("{A} could not find the {T}.", "But {A} had lost the {T}.", '"Where is my {T}?" asked {A}.'),
        ("{A} was sad.", "{B} wanted to help.", "They looked everywhere."),
        ("{B} found it {S.at}.", "It was {S.at}.", 'Then {B} looked {S.at}. "Here it is!" said {B}.'),
        ENDINGS,
    ),
    (
        BEGINNINGS,
        ("Then it began to [rain|snow].", "It was getting dark.", "They heard a noise."),
        ("{A} was afraid.", '"I am [cold|afraid]," said {A}.', "{A} wanted to go home."),
        ("But {B} took {A} by the hand.", "{B} sang a song.", "But it was only {K}, and they laughed."),
        ENDINGS,
    ),
)  # fmt: skip
STORY_WORDINGS = (
    "Write a story about {a} and {b} {p}.", "Tell me a story about {a} and {b} {p}.", "Tell a story: {a} and {b} {p}.",
    "I want a story about {a} and {b} {p}.", "Write a short story about {a} and {b} {p}.",
    "Can you tell me a story about {a} and {b} {p}?",
)  # fmt: skip
STORY_WORDINGS_NEW = (
    "Please tell me a story about {a} and {b} {p}.", "Write me a story about {a} and {b} {p}.",
    "Do you know a story about {a} and {b} {p}?",
    "Tell me a short story about {a} and {b} {p}.",
)  # fmt: skip


def _short_story(dice: Dice, a: Person, b: Person, place: Place) -> list[str]:
    slots = {"A": a, "B": b, "P": place, "T": Thing(dice.pick(THINGS)), "S": dice.pick(SPOTS), "K": dice.pick(BEASTS)}
    return [capital(dice.fill(dice.pick(forms), slots)) for forms in dice.pick(SHORT_STORIES)]


ANY_STORY = ("Tell me a story.", "Tell you a story.", "Write a story.", "Please tell me a story.", "I want a story.")


def story(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    a, b, place = _cast(dice, exam)
    if exam is None and dice.chance(0.2):
        return Exchange(_user(dice.pick(ANY_STORY)), " ".join(_short_story(dice, a, b, place)))
    wording = dice.pick(STORY_WORDINGS_NEW if exam and exam.new_wording else STORY_WORDINGS)
    request = wording.format(a=a, b=b, p=place.at)
    return Exchange(_user(request), " ".join(_short_story(dice, a, b, place)), (a.name, b.name, place.name))


CONTINUE = (
    "Continue this story: {s}",
    "Continue: {s}",
    "What happened next? {s}",
    "Go on with this story: {s}",
    "Tell me the rest: {s}",
)
CONTINUE_NEW = ("Please continue: {s}", "Please go on with this story: {s}")


def carry_on(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    a, b, place = _cast(dice, exam)
    sentences = _short_story(dice, a, b, place)
    n = dice.between(1, 3)
    wording = dice.pick(CONTINUE_NEW if exam and exam.new_wording else CONTINUE)
    return Exchange(_user(wording.format(s=" ".join(sentences[:n]))), " ".join(sentences[n:]))


@dataclass(frozen=True, slots=True)
class Kind:
    """`weight` is the share of training conversations but `recite`, `n_exam` the number of held-out questions."""

    name: str
    make: Callable[[Dice, float, Exam | None], Exchange]
    weight: float
    n_exam: int
    is_scored: bool


KINDS = (
    Kind("passage", passage, 0.27, 60, True),
    Kind("repeat", repeat, 0.14, 60, True),
    Kind("fact", fact, 0.19, 60, True),
    Kind("opposite", opposite, 0.09, 40, True),
    Kind("category", category, 0.05, 40, True),
    Kind("sum", sums, 0.08, 40, True),
    Kind("talk", small_talk, 0.08, 40, True),
    Kind("story", story, 0.04, 40, True),
    Kind("continue", carry_on, 0.02, 10, False),
    Kind("dialogue", dialogue, 0.04, 10, False),
    Kind("new_sum", new_sum, 0.00, 20, False),
    Kind("recite", recite, 0.00, 10, False),  # beside the others: `recite_share`
)
