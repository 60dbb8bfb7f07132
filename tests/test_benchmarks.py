"""The benchmarks do the same work on both sides and say what they find: rows, page, texts, how peers are asked."""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import corpus
import harness
import many_pieces
import numpy as np
import pytest
import tokenizer as benchmark
import tokenizer_encoding
import tokenizer_peers as peers
import tokenizer_training
from harness import Row

from groundup.tokenizer.train import train

TEXT = (
    "It was the best of times, it wasn't the worst of times: 1234 days.\r\n\n  And then?  “Ça va” 万事开头难。\n" * 30
)
SHORT = "the cat sat on the mat\n\nthe dog sat on the log\n"


def needed(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


# --- rows and pages ---


@pytest.mark.parametrize(
    ("row", "ratio", "goal", "is_reached"),
    [
        (Row("a", "s", ours=2, peer=6, peer_name="x", least_ratio=3), 3, "3x", True),
        (Row("b", "MB/s", ours=2, peer=6, peer_name="x", least_ratio=1), 1 / 3, "1x", False),
        (Row("c", "MB", ours=200, limit=300), 1.5, "<= 300 MB", True),
        (Row("d", "MB/s", ours=200, limit=300), 2 / 3, ">= 300 MB/s", False),
        (Row("e", "s", ours=0.2, peer=0.1, peer_name="x", limit=0.3), 0.5, "<= 0.3 s", True),
        (Row("f", "s", ours=1, peer=1, peer_name="x"), 1, "", None),
        (Row("g", "s", peer_name="x", least_ratio=1, failed="the ids differ"), None, "1x", False),
    ],
)
def test_a_row_knows_which_side_is_better(row: Row, ratio: float | None, goal: str, is_reached: bool | None) -> None:
    assert row.ratio == pytest.approx(ratio) and row.goal == goal and row.is_reached is is_reached


def test_rows_are_printed_as_a_table_or_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Row("training", "s", ours=1.234, peer=2.5, peer_name="other", least_ratio=1.5, note="English"),
        Row("encoding", "MB/s", peer_name="other", failed="ids differ"),
    ]
    assert harness.report(rows, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "training (English)", "1.23 s", "2.50 s", "other", "2.03x", "1.5x", "reached",
    ]  # fmt: skip
    assert "ids differ" in lines[3]
    assert harness.report(rows[:1], as_json=True) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert {"row", "ours", "peer", "peer_name", "unit", "ratio", "goal"} <= found.keys()
    assert found["ratio"] == pytest.approx(2.5 / 1.234)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (0.012, "0.0120"), (0.3, "0.300"), (1.5, "1.50"), (123.4, "123"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert harness.number(value) == text


def test_a_section_of_the_page_is_replaced_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "BENCHMARK.md"
    monkeypatch.setattr(sys, "argv", [str(harness.ROOT / "benchmarks" / "tokenizer.py"), "--only", "small"])
    text = harness.section("Small", [Row("a", "s", ours=1)], ["numpy", "no-such-package"], ["Text: none"])
    assert "`python benchmarks/tokenizer.py --only small`" in text
    assert f"numpy {np.__version__}, no-such-package absent" in text
    harness.write_section("one", "first\n", page)
    harness.write_section("two", text, page)
    harness.write_section("one", "second\n", page)
    content = page.read_text()
    assert content.startswith("# Benchmarks\n") and "first" not in content
    assert content.index("second") < content.index("## Small")
    harness.write_section("one", "second\n", page)
    assert page.read_text() == content
    page.write_text(content.replace("<!-- one: end -->", ""))
    with pytest.raises(ValueError, match="has no end"):
        harness.write_section("one", "third\n", page)


def test_sides_take_turns() -> None:
    order: list[str] = []
    sides: dict[str, Callable[[], None]] = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    seconds = harness.in_turns(sides, 2)
    assert order == ["a", "b", "a", "b"] and [len(times) for times in seconds.values()] == [2, 2]


def test_a_child_process_answers_and_its_memory_is_its_own() -> None:
    ballast = b"x" * 200_000_000
    assert 5 < harness.in_child("harness:peak_mb") < 150
    assert len(ballast) < harness.peak_mb() * 1e6
    with pytest.raises(RuntimeError, match="nothing_of_that_name"):
        harness.in_child("harness:nothing_of_that_name")


# --- texts ---


def test_own_texts_are_sorted_by_kind_and_nothing_is_in_twice(tmp_path: Path) -> None:
    prose = "It is a truth universally acknowledged, that a single man must be in want of a wife."
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text(f"{prose}\n\nHe said no.\n")
    (folder / "inner" / "b.md").write_text(f"{prose.replace(',', '').replace(' a ', chr(10) + 'a ')}\n\nHe said no.\n")
    (folder / "c.jsonl").write_text(json.dumps({"text": "千里之行，始于足下。" * 5}, ensure_ascii=False) + "\n")
    for name in ("d.py", "e.py"):
        (folder / name).write_text("print('once')\n")
    found = {text.kind: text for text in corpus.load([folder], tmp_path / "cache")}
    assert found["en"].path.read_text() == f"{prose}\n\nHe said no.\n\nHe said no.\n\n"
    assert found["code"].path.read_text() == "print('once')\n\n\n"
    assert found["zh"].path.read_text() == "千里之行，始于足下。" * 5 + "\n\n"
    assert [text.n_bytes for text in found.values()] == [text.path.stat().st_size for text in found.values()]
    assert "sha256 " in str(found["en"])

    gathered = found["en"].path.parent
    assert corpus.load([gathered]) == list(found.values())  # what was gathered is used as it is
    found["en"].path.write_text("changed")
    with pytest.raises(corpus.DataError, match="not what it was"):
        corpus.load([folder], tmp_path / "cache")
    (folder / "a.txt").write_text("changed")
    assert corpus.load([folder], tmp_path / "cache")[0].path.parent != gathered


def test_the_text_of_many_pieces_is_the_same_every_time_and_as_long_as_asked() -> None:
    blocks = list(many_pieces.stream(1_000_000, 100_000))
    assert blocks == list(many_pieces.stream(1_000_000, 100_000))
    assert sum(map(len, blocks[:-1])) < 1_000_000 <= sum(map(len, blocks))
    assert max(map(len, b"".join(blocks).split())) == 9
    numbers = np.arange(many_pieces.MAX_DISTINCT - 200_000, many_pieces.MAX_DISTINCT)
    assert len(set(many_pieces.spelled(numbers).split())) == 200_000
    with pytest.raises(ValueError, match="distinct"):
        next(many_pieces.stream(1, 10**12))


# --- the same work on both sides ---


def merges_of(text: str, n_merges: int) -> peers.Merges:
    tokenizer = train([text], 256 + n_merges, special_tokens=())
    return [(tokenizer.token_bytes[a], tokenizer.token_bytes[b]) for a, b in tokenizer.merges.tolist()]


def test_ranks_are_turned_back_into_merges() -> None:
    merges = merges_of(TEXT, 50)
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {left + right: 256 + i for i, (left, right) in enumerate(merges)}
    assert peers.merges_of_ranks(ranks) == merges


@pytest.mark.parametrize("name", ["tokenizers", "gigabpe"])
def test_a_peer_is_asked_to_train_what_we_train(name: str, tmp_path: Path) -> None:
    needed(name)
    path = tmp_path / "text.txt"
    path.write_text(SHORT * 3 + "a few more words\n", encoding="utf-8")
    lines = peers.lines(path)
    tokenizer = train(lines, 256 + 20, special_tokens=())
    expected = [(tokenizer.token_bytes[a], tokenizer.token_bytes[b]) for a, b in tokenizer.merges.tolist()]
    assert peers.TRAINERS[name](str(path), 20, "gpt2", 1)() == expected


def test_rustbpe_is_asked_to_train_with_the_same_pattern(tmp_path: Path) -> None:
    needed("rustbpe")
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    (left, right), *_ = merges = peers.train_rustbpe(str(path), 20, "cl100k", 1)()
    assert len(merges) == 20 and left + right in TEXT.encode()


def test_gigabpe_is_not_timed_with_a_pattern_it_does_not_know() -> None:
    needed("gigabpe")
    with pytest.raises(peers.Missing):
        peers.train_gigabpe("", 1, "cl100k", 1)


@pytest.mark.parametrize("name", list(peers.ENCODERS))
def test_an_encoder_gives_the_ids_of_all_documents_in_one_array(name: str, shared_data: Path) -> None:
    module, make = peers.ENCODERS[name]
    needed(module)
    encoder = make()
    documents = [TEXT[:500], "", "<|endoftext|>", TEXT[500:900]]
    given = documents if encoder.takes_text else [text.encode() for text in documents]
    table = {rank: token for token, rank in peers.cl100k().items()}
    ids = encoder.flat(encoder.encode(given, 1))
    assert ids.dtype == np.uint32
    assert b"".join(table[i] for i in ids.tolist()) == "".join(documents).encode()
    needed("tiktoken")
    assert np.array_equal(ids, peers.tiktoken_lists().flat(peers.tiktoken_lists().encode(documents, 1)))


def test_the_first_difference_is_found() -> None:
    assert harness.first_difference([1, 2], [1, 2]) is None
    assert harness.first_difference([1, 2], [1, 3]) == "number 1 is 2 here and 3 there"
    assert harness.first_difference(np.array([1]), np.array([1, 3])) == "number 1 is nothing here and 3 there"
    assert harness.first_difference(np.array([7, 8]), np.array([7, 8])) is None


def test_what_failed_is_a_row_without_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(function: str, *arguments: object, **options: object) -> None:
        raise RuntimeError("it broke")

    for part in (tokenizer_encoding, tokenizer_training):
        monkeypatch.setattr(part, "in_child", fail)
    text = corpus.Corpus("en", tmp_path / "en.txt", 0, "", [])
    text.path.write_text(SHORT)
    monkeypatch.setattr(benchmark, "load_corpora", lambda *arguments: [text])
    options = argparse.Namespace(
        only=["training", "encoding", "pathological", "small", "memory"], corpus=[], cache=tmp_path, kinds=["en"],
        repetitions=1, skip_slow=False, gigabytes=1.0, distinct=10**6, vocab_size=1000, write=False, json=True,
    )  # fmt: skip
    assert benchmark.run(options) == 1
    rows = tokenizer_training.training_rows([text], 1000, 1, skip_slow=False)
    assert {(row.failed, row.ours, row.is_reached) for row in rows} == {("it broke", None, False)}
