"""Jobs to a file: cut off anywhere, they end with the same bytes, and nothing is made twice."""

import json
from dataclasses import replace

import pytest

from groundup.errors import UsageError
from groundup.inference import bulk
from groundup.inference.completing import complete
from groundup.inference.language_model import LanguageModel
from groundup.inference.prompt_file import Prompt
from groundup.inference.settings import Settings
from tests.inference import tiny

TEXTS = ["Once", "Once there was a cat. It saw a dog, and it ran.", "Then", "Once", "The cat", "Once there", "Once"]


def job_of(texts: list[str] = TEXTS, n: int = 1, **settings) -> bulk.Job:
    speaker = LanguageModel(tiny.model(), tiny.tokenizer())
    prompts = [
        Prompt({"prompt": text, "id": f"no {at}"}, tuple(speaker.prompt_ids(text)), f"row {at}")
        for at, text in enumerate(texts)
    ]
    settings = {"max_new_tokens": 30, "temperature": 1.5, "seed": 5} | settings
    return bulk.Job(speaker, prompts, Settings(**settings), n, {"trim": False, "shift": False}, batch_size=3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "texts.jsonl"


def test_rows_stand_in_the_order_of_the_prompts_and_say_all(path):
    job = job_of()
    assert bulk.to_file(job, path) == 0
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    made = complete(tiny.model(), tiny.tokenizer(), [prompt.ids for prompt in job.prompts], job.settings)
    assert [row["completion"] for row in rows] == [each.text for each in made], "as all at once, copies told apart"
    assert [(row["index"], row["id"], row["prompt"]) for row in rows] == [
        (at, f"no {at}", text) for at, text in enumerate(TEXTS)
    ]
    assert rows[0]["finish_reason"] in ("stop", "length")
    assert rows[0]["settings"]["seed"] == 5 and rows[0]["model"] == "None"
    assert len({row["completion"] for row in rows if row["prompt"] == "Once"}) == 3


@pytest.mark.parametrize("n", [1, 2])
def test_cut_off_anywhere_it_ends_with_the_same_bytes(path, n):
    bulk.to_file(job_of(n=n), path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for n_rows in range(0, len(lines), 3):
        for torn in (b"", lines[n_rows][:20]):
            path.write_bytes(b"".join(lines[1:][:n_rows]) + torn)  # not from the first on: batches end in any order
            added = []
            n_before = bulk.to_file(job_of(n=n), path, on_row=added.append)
            assert path.read_bytes() == whole
            assert (n_before, len(added)) == (n_rows, len(lines) - n_rows), "nothing was made twice"


def test_what_is_done_needs_no_model(path):
    bulk.to_file(job_of(), path)
    before = path.read_bytes()
    job = job_of()
    idle = replace(job, speaker=LanguageModel(None, tiny.tokenizer()))
    left = []
    assert bulk.to_file(idle, path, on_begin=left.append) == len(TEXTS)
    assert (left, path.read_bytes()) == ([0], before)


def test_without_a_seed_the_files_own_is_taken(path):
    bulk.to_file(job_of(seed=None), path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    bulk.to_file(job_of(seed=None), path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.5}, "begun with temperature 1.5, and now it is 0.5"),
        ({"seed": 6}, "begun with seed 5, and now it is 6"),
        ({"stop": ("x",)}, "begun with stop"),
        ({"texts": ["Then", *TEXTS[1:]]}, "another prompt"),
        ({"texts": TEXTS[:2]}, "another prompt"),
    ],
)
def test_texts_of_another_job_are_refused_and_kept(path, change, message):
    bulk.to_file(job_of(), path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=message) as caught:
        bulk.to_file(job_of(**change), path)
    assert "--replace" in str(caught.value.hint)
    assert path.read_bytes() == before


def test_another_model_or_option_is_refused(path, tmp_path):
    bulk.to_file(job_of(), path)
    job = job_of()
    with pytest.raises(UsageError, match="texts are by None"):
        bulk.to_file(replace(job, speaker=replace(job.speaker, path=tmp_path / "other")), path)
    with pytest.raises(UsageError, match="begun with trim False, and now it is True"):
        bulk.to_file(replace(job, options={"trim": True, "shift": False}), path)


@pytest.mark.parametrize("content", [b"notes, not rows\nmore", b'{"prompt": "Once"}\n', b"[1]\n", b'{"index": 0}\n'])
def test_a_file_of_something_else_is_refused_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(UsageError, match="something else"):
        bulk.to_file(job_of(), path)
    assert path.read_bytes() == content


def test_ctrl_c_keeps_what_has_ended(path):
    rows = []

    def interrupt(row):
        rows.append(row)
        if len(rows) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bulk.to_file(job_of(), path, on_row=interrupt)
    assert len(path.read_bytes().splitlines()) == 4
    assert bulk.to_file(job_of(), path) == 4


def test_without_a_file_rows_come_in_order():
    rows = []
    bulk.in_order(job_of(), rows.append)
    assert [row["index"] for row in rows] == list(range(len(TEXTS)))


def test_what_a_row_has_under_our_names_is_left_out(path):
    job = job_of()
    odd = Prompt({"prompt": "Once", "completion": "theirs", "model": "gpt-9"}, job.prompts[0].ids, "row 1")
    job = replace(job, prompts=[odd])
    bulk.to_file(job, path)
    [row] = map(json.loads, path.read_text("utf-8").splitlines())
    assert row["completion"] != "theirs" and row["model"] == "None"
    assert bulk.to_file(job, path) == 1
