"""The stories: deterministic, never alike, in good English, in a small vocabulary, the same from several processes."""

import re
import subprocess
import sys

import pytest

from groundup.text import stories
from groundup.text.stories.dice import Dice, kept_back, with_article
from groundup.text.stories.plots import scenes
from groundup.text.stories.tell import THEMES
from groundup.text.stories.teller import Teller, _form
from groundup.text.stories.world import PEOPLE

PLOTS = [plot for plots, _ in THEMES for plot in plots]
FAULTS = {
    "article": r"\ba [aeiou]|\ban [^aeiouh]",
    "unfilled slot": r"[{}\[\]|]",
    "space": r"  | [.,?!]|\n\n|^\s|\s$",
    "stop": r"\.\.|\?\.|,\.",
    "small letter after a stop": r"[.!?] [a-z]",
    "word said twice": r"\b([a-z]+) \1\b",
}


@pytest.fixture(scope="module")
def sample() -> list[str]:
    return [stories.story(0, index) for index in range(6000)]


def test_a_story_depends_on_seed_and_index_alone():
    assert stories.story(3, 14) == stories.story(3, 14)
    assert len({stories.story(3, 14), stories.story(3, 15), stories.story(4, 14)}) == 3


def test_a_story_is_the_same_in_another_process_with_another_hash_seed():
    code = "from groundup.text import stories; print(stories.story(5, 6), end='')"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "1"})
    assert out.stdout == stories.story(5, 6), out.stderr


def test_no_two_are_alike(sample):
    assert len(set(sample)) == len(sample)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_english_has_no_fault_that_a_pattern_can_find(sample, fault):
    found = [text for text in sample if re.search(FAULTS[fault], text, re.MULTILINE)]
    assert not found, found[:2]


def test_quotation_marks_come_in_pairs(sample):
    assert not [text for text in sample if text.count('"') % 2]


def test_length(sample):
    words = [len(text.split()) for text in sample]
    assert 80 <= sum(words) / len(words) <= 150
    assert min(words) >= 20
    assert max(words) <= 450


def test_vocabulary_is_small_but_not_tiny(sample):
    words = {word.lower() for text in sample for word in re.findall(r"[A-Za-z]+", text)}
    assert 1200 <= len(words) <= 1800


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
def test_every_plot_tells_itself_in_many_ways(plot):
    told = set()
    for index in range(200):
        teller = Teller(Dice(0, plot.__name__, index))
        plot(teller)
        scenes.recap(teller)
        told.add(re.sub(r"[A-Z]\w+", "", teller.text()))
    assert len(told) == 200


def test_pronouns_stand_only_where_they_are_clear():
    teller = Teller(Dice(0, "pronouns", 0))
    tom, ben, mia = (next(p for p in PEOPLE if p.name == name) for name in ("Tom", "Ben", "Mia"))
    teller.slots |= {"A": tom, "B": ben, "C": mia}
    for _ in range(50):
        teller.forget()
        teller.say("{a} came.")
        assert teller.sentences[-1] == "Tom came."
        teller.say("{A} met {B}.")
        teller.say("{a} smiled.")
        assert teller.sentences[-1] == "Tom smiled.", "he could be Ben"
        teller.say("{A} met {C}.")
        teller.say("{a} smiled.")
        assert teller.sentences[-1] in ("Tom smiled.", "He smiled.")
        teller.say("{c} smiled.")
        assert teller.sentences[-1] == "Mia smiled.", "the last sentence was about Tom"


def test_a_form_knows_whom_it_speaks_of():
    form = _form("{a} gave {B} the {T}, for {a} liked {B.him}.")
    assert form.template == "{a} gave {B} the {T}, for {a2} liked {B.him}."
    assert (form.first, form.everybody, form.leading, form.following) == ("A", {"A", "B"}, ("a",), ("a",))


def test_documents_stop_at_the_size_and_do_not_depend_on_processes():
    alone = list(stories.documents(7, 800_000, processes=1))
    assert alone == list(stories.documents(7, 800_000, processes=2))
    size = sum(len(document.text.encode()) for document in alone)
    assert 800_000 <= size < 800_000 + len(alone[-1].text) + 1
    assert alone[3].text == stories.story(7, 3)


def test_the_package_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import groundup.text.stories; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_articles():
    assert [with_article(noun) for noun in ("umbrella", "kite", "orange kite")] == [
        "an umbrella",
        "a kite",
        "an orange kite",
    ]


def test_a_share_of_combinations_is_kept_back_and_always_the_same():
    kept = sum(kept_back("test", i) for i in range(8000)) / 8000
    assert 0.11 < kept < 0.14
    assert [i for i in range(30) if kept_back("test", i)] == [i for i in range(30) if kept_back("test", i)]
