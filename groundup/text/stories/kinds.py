"""The kinds of conversation: how each is made, how often it is trained, and whether it is scored.

A maker is a function of (dice, difficulty, exam) that returns an `Exchange`: what the user says and the one right reply.
`exam` is None for training; for the held-out questions it is an `Exam`, and the maker then uses a wording that is never
trained, or a combination that is kept back from training. To tune: the weights and scores are in `KINDS` at the foot, what
`difficulty` means is in `n_events` and `n_words` below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from groundup.text.records import Message
from groundup.text.stories import passages, talk, tasks
from groundup.text.stories.dice import Dice, capital, kept_back
from groundup.text.stories.topics import TOPICS, Topic
from groundup.text.stories.world import PEOPLE, PLACES, THINGS, Person, Place, Thing


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
    """Sentences of a passage: one at difficulty 0, four to six at difficulty 1, two to four in an exam."""
    if exam:
        return dice.between(2, 4)
    most = 1 + round(5 * difficulty)
    return dice.between(max(1, most - 2), most)


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

LAYOUTS = ("{p} {q}", "{p}\n{q}", "Read this: {p} {q}", "{p} Question: {q}")


def passage(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    told = passages.passage(dice, n_events(dice, difficulty, exam), exam=exam is not None)
    question, reply = passages.question(dice, told, new_wording=exam is not None and exam.new_wording)
    return _one_turn(dice.pick(LAYOUTS).format(p=told.text, q=question), reply)


def dialogue(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    """Several questions about one passage, and sometimes a greeting before and thanks after them."""
    told = passages.passage(dice, max(2, n_events(dice, difficulty, exam)), exam=exam is not None)
    messages: list[Message] = []
    if dice.chance(0.3):
        intent = talk.INTENTS[0]
        messages += [Message("user", dice.pick(intent.trained)), Message("assistant", intent.reply)]
    question, reply = passages.question(dice, told)
    messages.append(Message("user", dice.pick(LAYOUTS).format(p=told.text, q=question)))
    for _ in range(dice.between(1, 3)):
        messages.append(Message("assistant", reply))
        question, reply = passages.question(dice, told)
        messages.append(Message("user", dice.pick(("", "", "And now: ", "Next question: ")) + question))
    if dice.chance(0.3):
        intent = next(intent for intent in talk.INTENTS if intent.name == "thanks")
        messages.append(Message("assistant", reply))
        messages.append(Message("user", dice.pick(intent.trained)))
        reply = intent.reply
    return Exchange(tuple(messages), reply)


# Repeat or rewrite as told.


def repeat(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    task = dice.pick(tasks.DRAW)
    slots, reply = task.make(dice, n_words(dice, difficulty, exam), exam is not None)
    wording = dice.pick(task.new if exam and exam.new_wording else task.trained)
    return _one_turn(wording.format_map(slots), reply)


# Small talk.


def small_talk(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    is_new = exam is not None and exam.new_wording
    while True:
        if dice.chance(0.12):
            one, wording = dice.pick(talk.UNKNOWN_ONES), dice.pick(talk.UNKNOWABLE_NEW if is_new else talk.UNKNOWABLE)
            if is_new or kept_back("unknowable", one, wording) == (exam is not None):
                return _one_turn(wording.format(x=one), talk.UNKNOWABLE_REPLY)
        elif exam is None or is_new:
            intent = dice.pick(talk.INTENTS)
            return _one_turn(dice.pick(intent.new if is_new else intent.trained), intent.reply)


# Stories.


def _cast(dice: Dice, exam: Exam | None) -> tuple[Person, Person, Place]:
    while True:
        (a, b), place = dice.some(PEOPLE, 2), dice.pick(PLACES)
        if kept_back("story", a.name, b.name, place.name) == (exam is not None):
            return a, b, place


SHORT_STORY = (
    (
        "One day {A} and {B} [went|walked|ran] {P.to}.", "{A} met {B} {P.at}.", "{A} and {B} were {P.at}.",
        "It was a [sunny|warm|cold|windy] day, and {A} and {B} were {P.at}.",
    ),
    ("{A} had {T.a}.", "There {A.he} found {T.a}.", "{A} looked for {A.his} {T}.", "{A} showed {B} {T.a}."),
    (
        '"[What a nice|Look at the] {T}!" said {B}.', '"May I have the {T}?" asked {B}.',
        "{B} wanted to see the {T}.", "{B} [liked|loved] the {T} too.",
    ),
    (
        "So {A} gave the {T} to {B}.", "They played with the {T} all day.",
        "Then the {T} fell into the water, and {B} got it back.",
        "But the {T} was broken, and {B} helped to mend it.",
    ),
    (
        "In the end they were [happy|good friends].", "{A} was [happy|glad] and thanked {B}.",
        "In the evening they went home together.", "They laughed and went home.",
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
    slots = {"A": a, "B": b, "P": place, "T": Thing(dice.pick(THINGS))}
    return [capital(dice.fill(dice.pick(forms), slots)) for forms in SHORT_STORY]


def story(dice: Dice, difficulty: float, exam: Exam | None) -> Exchange:
    a, b, place = _cast(dice, exam)
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
    """`weight` is the share of training conversations, `n_exam` the number of held-out questions."""

    name: str
    make: Callable[[Dice, float, Exam | None], Exchange]
    weight: float
    n_exam: int
    is_scored: bool


KINDS = (
    Kind("passage", passage, 0.36, 120, True),
    Kind("repeat", repeat, 0.12, 60, True),
    Kind("fact", fact, 0.12, 60, True),
    Kind("opposite", opposite, 0.07, 40, True),
    Kind("category", category, 0.07, 40, True),
    Kind("sum", sums, 0.08, 40, True),
    Kind("talk", small_talk, 0.06, 40, True),
    Kind("story", story, 0.05, 40, True),
    Kind("continue", carry_on, 0.02, 10, False),
    Kind("dialogue", dialogue, 0.05, 10, False),
    Kind("new_sum", new_sum, 0.00, 20, False),
)
