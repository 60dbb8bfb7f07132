"""The conversations and the held-out questions: nothing held out is trained, and nothing wrong is called right."""

import re
from collections import Counter

import pytest

from groundup.text import stories
from groundup.text.records import Message
from groundup.text.stories import kinds, passages, talk, tasks
from groundup.text.stories.dice import Dice
from groundup.text.stories.exam import Question, normal
from groundup.text.stories.kinds import KINDS, Exam
from groundup.text.stories.relations import RELATIONS
from groundup.text.stories.topics import TOPICS

N_TRAINED = 100_000


@pytest.fixture(scope="module")
def exam() -> list[Question]:
    return stories.held_out()


@pytest.fixture(scope="module")
def trained() -> list:
    """Conversations of every difficulty."""
    return [stories.conversation(0, index, index / N_TRAINED) for index in range(N_TRAINED)]


@pytest.fixture(scope="module")
def scored(exam) -> list[Question]:
    return [question for question in exam if question.scored]


def test_the_exam_is_large_and_even_enough(exam, scored):
    by_kind = Counter(question.kind for question in scored)
    assert len(scored) >= 330
    assert len(by_kind) >= 8
    assert min(by_kind.values()) >= 35
    assert sum(question.wording_is_new for question in scored) >= len(scored) / 3
    assert len({(question.kind, question.messages) for question in exam}) == len(exam)
    assert all(question.messages[-1].role == "user" for question in exam)
    assert stories.held_out() == exam


@pytest.mark.parametrize("seed", range(5))
def test_guessing_the_commonest_answer_does_not_pay(seed):
    shares = stories.commonest_guess(stories.held_out(seed))
    assert set(shares) == {kind.name for kind in KINDS if kind.is_scored} | {"overall"}
    assert max(shares.values()) < 0.2


def test_commonest_guess_counts_right_answers():
    def question(answer):
        return Question("k", (Message("user", "?"),), answer, True, False)

    assert stories.commonest_guess([question("Yes."), question("yes"), question("No."), question("Hm.")])["k"] == 0.5
    assert stories.commonest_guess([]) == {}


# Nothing held out is trained.


def test_no_held_out_question_is_among_trained_conversations(exam, trained):
    def words(text):
        return " ".join(re.findall(r"\w+|[+=]", text.lower()))

    last_turns = {words(m.content) for c in trained for m in c.messages if m.role == "user"}
    beginnings = {c.messages[:n] for c in trained for n in range(1, len(c.messages))}
    for question in exam:
        assert question.messages not in beginnings
        if len(question.messages) == 1:
            assert words(question.text) not in last_turns, question.text


def test_no_held_out_fact_can_ever_be_trained(exam):
    """All questions of fact that training can draw, written out in full."""
    trainable = {t.question(x, w) for t in TOPICS for x, _ in t.facts for w in t.trained if t.is_trained(x, w)}
    trainable |= {w.format(a=a, b=b) for w in kinds.SUMS for a in range(11) for b in range(11)
                  if kinds.is_trained_sum(a, b, w)}  # fmt: skip
    trainable |= {w for intent in kinds.INTENTS for w in intent.trained}
    drawn = [q.text for q in exam if q.kind in ("fact", "opposite", "category", "sum", "new_sum", "talk")]
    assert not trainable & set(drawn)


def test_events_of_training_and_exam_are_two_worlds():
    for index in range(2000):
        told = passages.passage(Dice(0, "test", index), 4)
        assert not any(event.is_kept_back for event in told.events)
        asked = passages.passage(Dice(0, "test", index), 3, exam=True)
        assert all(event.is_kept_back for event in asked.events)


def test_new_wordings_are_never_trained(trained):
    """Each wording as a pattern, against the ends of everything that users say in training, kind by kind."""

    def pattern(wordings):
        kinds_of_text = [re.sub(r"\\\{[^}]*\\\}", r"[^.?!:]+?", re.escape(w)) for w in wordings]
        return re.compile(r"(?:^|[.?!:\n] )(?:" + "|".join(kinds_of_text) + ")$")

    new_by_kind = {
        kind: pattern([w for topic in TOPICS if topic.kind == kind for w in topic.new])
        for kind in ("fact", "opposite", "category")
    }
    in_passages = [w for relation in RELATIONS for asked in relation.asked for w in asked.new]
    new_by_kind["passage"] = new_by_kind["dialogue"] = pattern(in_passages)
    new_by_kind["sum"] = pattern(kinds.SUMS_NEW)
    new_by_kind["talk"] = pattern([w for i in kinds.INTENTS for w in i.new] + list(talk.UNKNOWABLE_NEW))
    new_by_kind["story"] = pattern(kinds.STORY_WORDINGS_NEW)
    new_by_kind["repeat"] = pattern([w for task in tasks.TASKS for w in task.new])
    assert new_by_kind["fact"].search("Do you know the capital of France?")
    for conversation in trained[::5]:
        new = new_by_kind.get(conversation.meta["kind"])
        for message in conversation.messages:
            if new is not None and message.role == "user":
                assert not new.search(message.content), message.content


def test_stories_ask_nothing_that_is_held_out(exam):
    alone = [question for question in exam if len(question.messages) == 1 and question.kind != "new_sum"]
    short = {question.text for question in alone if len(question.text.split()) > 3}
    for index in range(3000):
        text = stories.story(0, index)
        assert not [question for question in short if question in text]


# Conversations.


def test_conversations_are_sound_and_of_every_kind(trained):
    by_kind = Counter(conversation.meta["kind"] for conversation in trained)
    n_others = N_TRAINED - by_kind["recite"]
    assert 0.05 < by_kind["recite"] / N_TRAINED < 0.15
    for kind in KINDS:
        if kind.name != "recite":
            assert by_kind[kind.name] / n_others == pytest.approx(kind.weight, abs=0.01), kind.name
    assert sum(kind.weight for kind in KINDS) == pytest.approx(1)
    for conversation in trained[::20]:
        conversation.check()
        assert conversation.messages[-1].role == "assistant"
        assert not re.search(r"[{}\[\]]|  ", " ".join(m.content for m in conversation.messages))


def test_passages_grow_with_difficulty():
    def mean_length(difficulty):
        made = [kinds.passage(Dice(0, "length", i), difficulty, None).messages[0].content for i in range(300)]
        return sum(map(len, made)) / len(made)

    assert mean_length(0.0) < mean_length(0.5) < mean_length(1.0)
    one = kinds.passage(Dice(0, "length", 0), 0.0, None).messages[0].content
    assert one.count(".") + one.count("?") <= 4


def test_passages_begin_plain():
    for index in range(300):
        told = passages.passage(Dice(0, "plain", index), 2, variety=0.0)
        assert {event.relation for event in told.events} <= set(RELATIONS[: passages.PLAIN_RELATIONS])
        plainest = {asked.trained[0].format_map(e.slots) for e in told.events for asked in e.relation.asked}
        assert {question for question, _ in passages.several(Dice(1, "plain", index), told, 3)} <= plainest


def test_questions_about_one_passage_are_different():
    for index in range(500):
        dice = Dice(0, "different", index)
        told = passages.passage(dice, 3)
        questions = [question for question, answer in passages.several(dice, told, 4) if answer != passages.UNKNOWN]
        assert len(set(questions)) == len(questions)


def test_conversations_do_not_depend_on_processes():
    alone = list(stories.conversations(1, 1200, processes=1))
    assert alone == list(stories.conversations(1, 1200, processes=2))
    assert alone[7] == stories.conversation(1, 7, 7 / 1199)


def test_the_passage_contains_the_answer():
    """Every answer is quoted from the passage, but for the grammar of "to the lake", and a question has one answer."""
    for index in range(3000):
        dice = Dice(0, "answer", index)
        told = passages.passage(dice, 4)
        _, answer = passages.question(dice, told)
        core = answer.rstrip(".").removeprefix("The ").removeprefix("Because ").removeprefix("To the ")
        core = core.removeprefix("I read that ")
        if answer != passages.UNKNOWN:
            assert core.lower() in told.text.lower(), (told.text, answer)


def test_a_question_about_a_passage_has_one_answer():
    for index in range(2000):
        dice = Dice(0, "one answer", index)
        told = passages.passage(dice, 5)
        answers: dict[str, set[str]] = {}
        for event in told.events:
            for asked in event.relation.asked:
                for wording in asked.trained + asked.new:
                    answers.setdefault(wording.format_map(event.slots), set()).add(asked.answer.format_map(event.slots))
        assert all(len(found) == 1 for found in answers.values()), {q: a for q, a in answers.items() if len(a) > 1}


# The strict rule.


def test_the_expected_answer_is_right(exam):
    for question in exam:
        assert stories.is_right(question, question.answer)
        assert stories.is_right(question, "  " + question.answer + "\n")


def test_case_and_final_stop_do_not_matter_but_words_do():
    question = Question("fact", (Message("user", "What is the capital of France?"),), "Paris.", True, False)
    for right in ("Paris.", "Paris", "paris", " PARIS. "):
        assert stories.is_right(question, right)
    wrong_ones = """/./Rome./Paris. Rome./Paris or Rome/The capital is Paris./Not Paris./Pari/Paris?/Paris Paris/
        What is the capital of France?/Paris.<|im_end|>/Paris. Paris."""
    for wrong in wrong_ones.split("/"):
        assert not stories.is_right(question, wrong), wrong


def test_wrong_replies_are_wrong_for_every_question(scored):
    answers = {kind.name: sorted({q.answer for q in scored if q.kind == kind.name}) for kind in KINDS}
    for question in scored:
        others = [a for a in answers[question.kind] if normal(a) != normal(question.answer)]
        for wrong in ("", " ", ".", question.text, others[0], others[-1], " ".join(answers[question.kind]),
                      question.text + " " + question.text):  # fmt: skip
            assert not stories.is_right(question, wrong), (question, wrong)
        if not question.must_name:
            for wrong in (question.answer + " " + others[0], "I think it is " + question.answer, question.answer * 2):
                assert not stories.is_right(question, wrong)


def test_a_story_must_keep_to_its_people_and_place():
    question = Question(
        "story",
        (Message("user", "Tell me a story about Mia and Tom at the lake."),),
        "",
        True,
        False,
        ("Mia", "Tom", "lake"),
    )
    good = "Mia and Tom went to the lake. Tom had a kite. They were happy."
    assert stories.is_right(question, good)
    for wrong in (
        good.replace("Tom", "Ben"),
        good.replace("lake", "barn"),
        "Mia and Tom went to the lake. They were happy.",
        "Mia and Tom went to the lake. Mia and Tom went to the lake. Mia and Tom went to the lake.",
        "Mia Tom lake.",
        good.replace("They were happy.", "They were happy and then they"),
        question.text * 3,
        good.replace("lake", "lakes"),
    ):
        assert not stories.is_right(question, wrong), wrong


def test_every_kind_makes_both_sorts_of_exam_question():
    for kind in KINDS:
        for new_wording in (True,) if kind.name == "talk" else (True, False):
            made = kind.make(Dice(0, "sorts", 1), 1.0, Exam(new_wording))
            assert made.messages[-1].role == "user"
            assert made.reply
