"""The grid's file, its columns, and pages on which a text stands as it is."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from groundup.errors import UsageError
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion
from groundup.insight import sample_grid
from groundup.insight.sample_grid import Cell, Column, Grid


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        (tmp_path / "grid.toml").write_text(text, encoding="utf-8")
        return tmp_path / "grid.toml"

    return write


def test_columns_are_named_or_all_combinations(file):
    grid = sample_grid.read(
        file(
            'prompts = ["Once", "Then"]\nn = 2\n[settings.careful]\ntemperature = 0.3\n'
            "[vary]\ntemperature = [0, 1.5]\ntop_k = [1, 5]\n"
        )
    )
    base = Settings(max_new_tokens=7, top_p=0.5)
    columns = sample_grid.columns(grid, base, "grid.toml")
    assert (grid.prompts, grid.n) == (("Once", "Then"), 2)
    assert [column.name for column in columns] == [
        "careful", "temperature 0, top_k 1", "temperature 0, top_k 5", "temperature 1.5, top_k 1",
        "temperature 1.5, top_k 5",
    ]  # fmt: skip
    assert columns[0].settings == Settings(max_new_tokens=7, top_p=0.5, temperature=0.3)
    assert columns[4].settings == Settings(max_new_tokens=7, top_p=0.5, temperature=1.5, top_k=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('prompts = ["Once"]', "no settings"),
        ("[vary]\ntemperature = [1]", "prompts must be given"),
        ("prompts = []\n[vary]\ntemperature = [1]", "no prompts"),
        ('prompts = ["Once"]\nn = 0\n[vary]\ntemperature = [1]', "n is 0"),
        ('prompts = ["Once"]\nprompt = "x"', "prompt"),
        ('prompts = ["Once"]\n[vary]\ntemperature = 1', "vary"),
    ],
)
def test_a_grid_that_asks_for_nothing_is_refused(file, text, message):
    with pytest.raises(UsageError, match=message):
        sample_grid.read(file(text))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid(("Once",), vary={"temperature": []}), "not a list of values"),
        (Grid(("Once",), vary={"temperatur": [1.0]}), "temperatur"),
        (Grid(("Once",), settings={"wild": {"temperature": -1.0}}), "temperature"),
        (Grid(("Once",), settings={"wild": {"top_k": "many"}}), "many"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(grid, message):
    with pytest.raises(UsageError, match=message):
        sample_grid.columns(grid, Settings(), "grid.toml")


def cells(prompt: str, text: str) -> list[Cell]:
    column = Column("wild", {"temperature": 1.2}, Settings(temperature=1.2))
    return [Cell(prompt, column, [Completion(text, "stop", (1, 2, 3, 4, 1, 2, 3, 4), 0.1)])]


def test_means_are_those_of_the_texts():
    made = [*cells("Once", "a"), *cells("Then", "b")]
    assert sample_grid.rows(made) == [("wild", "temperature 1.2", "8", "20.0%", "100%")]


LETTERS = st.text(st.sampled_from("ab1 \n*_`#<>-+=|[]()!&.~$\\é你"), max_size=40)


@given(LETTERS, LETTERS)
def test_a_text_stands_on_both_pages_as_it_is(prompt, text):
    made = cells(prompt, text)
    shown = MarkdownIt("commonmark").enable("table").render(sample_grid.to_markdown("Samples", {}, made))
    quotes = re.findall(r"(?s)<blockquote>(.*?)</blockquote>", shown)
    assert len(quotes) == 1
    assert letters(quotes[0]) == letters(html.escape(prompt + text))
    page = sample_grid.to_html("Samples", {"seed": 1}, made)
    [quote] = re.findall(r"(?s)<blockquote>(.*?)</blockquote>", page)
    assert html.unescape(re.sub("<[^>]*>", "", quote)) == prompt + text


def letters(shown: str) -> str:
    """What a reader sees of HTML, but for white space."""
    return re.sub(r"\s", "", html.unescape(re.sub("<[^>]*>", "", shown)))


def test_the_page_can_do_nothing():
    page = sample_grid.to_html("<script>", {"model": "<b>"}, cells("<script>alert(1)</script>", "<img src=x>"))
    assert "<script>" not in page and "<img" not in page
    assert "default-src 'none'" in page
