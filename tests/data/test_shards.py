"""Token data: what is written is what was said, whoever wrote it, and every document is in one split."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.data import encoding, shards, splitting
from groundup.data.encoding import Encoded
from groundup.data.shards import Split, TokenData
from groundup.errors import ArtefactError, DataError, UsageError
from groundup.text.records import Conversation, Document, Message
from groundup.tokenizer import chat, train
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer


def written(split: Split) -> list[list[int]]:
    return [split.document(i).tolist() for i in range(split.n_documents)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_documents_with_end_tokens_in_order(tmp_path: Path, tokenizer: Tokenizer, documents) -> None:
    made = documents(200)
    manifest = shards.prepare(made, tokenizer, tmp_path / "data", val_fraction=0.1, seed=3)
    data = TokenData.open(tmp_path / "data", checksums=True)
    assert data.manifest == manifest and data.dtype == np.uint16 and data.tokenizer_hash == tokenizer.hash
    expected = [[*tokenizer.encode(document.text).tolist(), tokenizer.eos_id] for document in made]
    train_documents, val_documents = (written(data.split(name)) for name in ("train", "val"))
    assert sorted(train_documents + val_documents) == sorted(expected)
    assert train_documents == [ids for ids in expected if ids in train_documents]  # the order is kept
    assert 8 <= len(val_documents) <= 36
    for name, found in (("train", train_documents), ("val", val_documents)):
        n_bytes = sum(len(tokenizer.decode_bytes(ids[:-1])) for ids in found)
        assert manifest["counts"][name] == {"documents": len(found), "tokens": sum(map(len, found)), "bytes": n_bytes}
    assert manifest["sources"] == {"file-0": 67, "file-1": 67, "file-2": 66}
    assert manifest["split"] == {"rule": "hash of the document's number", "val_fraction": 0.1, "seed": 3}
    assert Tokenizer.load(tmp_path / "data" / "tokenizer").hash == tokenizer.hash


def test_bytes_do_not_depend_on_processes(tmp_path: Path, tokenizer: Tokenizer, documents, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 500)
    monkeypatch.setattr(encoding, "BATCHES_HERE", 2)
    for processes in (1, 2):
        shards.prepare(documents(150), tokenizer, tmp_path / f"{processes}", processes=processes, shard_tokens=2000)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")
    data = TokenData.open(tmp_path / "1")
    assert len(data.manifest["shards"]["train"]) > 2
    shards.prepare(documents(150), tokenizer, tmp_path / "one")
    whole = TokenData.open(tmp_path / "one").split("train")
    np.testing.assert_array_equal(np.asarray(data.split("train").ids), np.asarray(whole.ids))
    np.testing.assert_array_equal(data.split("train").offsets, whole.offsets)


def test_a_child_that_fails_says_why(tmp_path: Path, tokenizer: Tokenizer, documents, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 500)
    monkeypatch.setattr(encoding, "BATCHES_HERE", 0)

    def broken():
        yield from documents(50)
        raise DataError("row 51 is broken")

    with pytest.raises(DataError, match="row 51"):
        shards.prepare(broken(), tokenizer, tmp_path / "data", processes=2)
    assert list(tmp_path.iterdir()) == []


def test_wide_ids_for_a_large_vocabulary(tmp_path: Path, tokenizer: Tokenizer, documents, monkeypatch) -> None:
    n_more = 65_537 - tokenizer.vocab_size
    large = BPE(
        [*tokenizer.token_bytes, *([b""] * n_more)],
        tokenizer.merges,
        {**tokenizer.special_ids, **{f"<|extra{i}|>": tokenizer.vocab_size + i for i in range(n_more)}},
    )
    monkeypatch.setattr(large, "save", lambda folder: None)  # seconds, with so many special tokens
    shards.prepare(documents(20), large, tmp_path / "data")
    data = TokenData.open(tmp_path / "data")
    assert data.dtype == np.uint32 and data.vocab_size == 65_537
    assert tokenizer.decode(data.split("train").document(0)[:-1].tolist()).startswith("Story")


def test_id_beyond_the_vocabulary_is_an_error(tmp_path: Path, tokenizer: Tokenizer, documents, monkeypatch) -> None:
    monkeypatch.setattr(tokenizer, "vocab_size", 50)
    with pytest.raises(DataError, match="outside the vocabulary of 50"):
        shards.prepare(documents(3), tokenizer, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_write(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for nothing in ([], [Document("", "a")]):
        with pytest.raises(DataError, match="no documents to write"):
            shards.prepare(nothing, tokenizer, tmp_path / "data")
    with pytest.raises(UsageError, match="val_fraction is 1.5"):
        shards.prepare([Document("a")], tokenizer, tmp_path / "data", val_fraction=1.5)
    with pytest.raises(DataError, match="no <|endoftext|>"):
        plain = BPE(tokenizer.token_bytes, tokenizer.merges, {})
        shards.prepare([Document("a")], plain, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_damage_and_strange_folders_are_told(tmp_path: Path, tokenizer: Tokenizer, documents) -> None:
    with pytest.raises(ArtefactError):
        TokenData.open(tmp_path)
    shards.prepare(documents(10), tokenizer, tmp_path / "data")
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())
    for change, message in [({"format": "other"}, "no token data"), ({"version": 99}, "newer groundup")]:
        (tmp_path / "data/manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ArtefactError, match=message):
            TokenData.open(tmp_path / "data")
    (tmp_path / "data/manifest.json").write_text(json.dumps(manifest))
    with open(tmp_path / "data/train-00000.bin", "ab") as file:
        file.write(b"x")
    with pytest.raises(ArtefactError, match="train-00000.bin"):
        TokenData.open(tmp_path / "data")


def test_documents_in_memory(tokenizer: Tokenizer) -> None:
    split = Split.of_documents([np.array([5, 6]), np.array([7])], eos_id=0)
    assert written(split) == [[5, 6, 0], [7, 0]] and split.offsets.tolist() == [0, 3, 5]
    assert Split.of_documents([], eos_id=0).n_documents == 0


# --- what is held out ---


def test_one_text_is_divided_at_a_pause(tmp_path: Path, tokenizer: Tokenizer) -> None:
    paragraphs = [f"Paragraph {i} about a day in the park.\n\n" for i in range(50)]
    manifest = shards.prepare([Document("".join(paragraphs))], tokenizer, tmp_path / "data")
    data = TokenData.open(tmp_path / "data")
    head, tail = (data.split(name).document(0) for name in ("train", "val"))
    assert head[-1] == tail[-1] == tokenizer.eos_id
    texts = [tokenizer.decode(part[:-1].tolist()) for part in (head, tail)]
    assert "".join(texts) == "".join(paragraphs) and texts[0].endswith("\n\n")
    assert 0.05 < len(texts[1]) / len("".join(texts)) < 0.2
    assert manifest["split"]["rule"] == "the end of the longest document"
    assert manifest["counts"]["train"]["bytes"] + manifest["counts"]["val"]["bytes"] == len("".join(paragraphs))


def record(n: int) -> Encoded:
    return Encoded(np.arange(n) % 200 + 5, n)


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=150), st.integers(0, 5), st.sampled_from([0.01, 0.05, 0.3]))
def test_every_split_gets_something_and_nothing_twice(sizes: list[int], seed: int, share: float) -> None:
    records = [record(size) for size in sizes]
    for tokenizer in (TINY, None):
        divided = list(splitting.divide(records, tokenizer, share, seed))
        n_ids = {name: sum(len(r.ids) for where, _, r in divided if where == name) for name in ("train", "val")}
        if tokenizer is None and len(sizes) > 1:
            assert {where for where, _, _ in divided} == {"train", "val"} or max(sizes) > 0.5 * sum(sizes)
            assert [id(r) for _, _, r in divided] == [id(r) for r in records]
        if tokenizer is not None and sum(sizes) > 200:
            assert n_ids["train"] > 0 and n_ids["val"] > 0
        n_added = len(divided) - len(sizes)  # a text that was cut in two has a second end token
        assert n_ids["train"] + n_ids["val"] == sum(sizes) + n_added and n_added in (0, 1)


TINY = train.train(["some text"], 260)


def test_many_documents_are_divided_near_the_share_and_alike_each_time() -> None:
    places = [[where for where, _, _ in splitting.divide([record(5)] * 5000, TINY, 0.1, seed)] for seed in (0, 0, 1)]
    assert places[0] == places[1] != places[2]
    assert 400 < places[0].count("val") < 600


def test_a_large_document_is_not_held_out_for_a_small_share() -> None:
    divided = list(splitting.divide([record(1000), record(1000), record(900)], TINY, 0.05, 0))
    n_val = sum(len(r.ids) for where, _, r in divided if where == "val")
    assert n_val < 0.1 * 2900
    divided = list(splitting.divide([record(1000), record(1000), record(60)], TINY, 0.05, 0))
    assert [where for where, _, _ in divided] == ["train", "train", "val"]


def test_nothing_held_out_when_told_so(tmp_path: Path, tokenizer: Tokenizer, documents) -> None:
    shards.prepare(documents(5), tokenizer, tmp_path / "data", val_fraction=0)
    data = TokenData.open(tmp_path / "data")
    assert data.split("val").n_documents == 0 and len(data.split("val").ids) == 0
    assert data.split("train").n_documents == 5


# --- conversations ---


def test_conversations_with_their_marks(tmp_path: Path, tokenizer: Tokenizer, conversations) -> None:
    made = conversations(90)
    manifest = shards.prepare_conversations(made, tokenizer, tmp_path / "data", val_fraction=0.1, processes=1)
    data = TokenData.open(tmp_path / "data", checksums=True)
    expected = {tuple(chat.render(c.messages, tokenizer).ids.tolist()): c for c in made}
    n_targets = 0
    for name in ("train", "val"):
        split = data.split(name)
        for i in range(split.n_documents):
            said = expected.pop(tuple(split.document(i).tolist()))
            marks = split.is_target[int(split.offsets[i]) : int(split.offsets[i + 1])] != 0
            words = "".join(f"{m.content}<|im_end|>" for m in said.messages if m.role == "assistant")
            assert tokenizer.decode(split.document(i)[marks].tolist()) == words
            n_targets += int(marks.sum())
    assert not expected
    assert sum(counts["targets"] for counts in manifest["counts"].values()) == n_targets
    answer_bytes = sum(len(m.content.encode()) for c in made for m in c.messages if m.role == "assistant")
    assert sum(counts["target_bytes"] for counts in manifest["counts"].values()) == answer_bytes
    assert manifest["template"] == "chatml" and manifest["kind"] == "conversations"


def test_conversations_in_processes(tmp_path: Path, tokenizer: Tokenizer, conversations, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_RECORDS", 10)
    monkeypatch.setattr(encoding, "BATCHES_HERE", 1)
    for processes in (1, 2):
        shards.prepare_conversations(conversations(60), tokenizer, tmp_path / f"{processes}", processes=processes)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


def test_long_conversations_lose_their_oldest_turns_then_the_end(tmp_path: Path, tokenizer: Tokenizer) -> None:
    def exchange(i: int, n: int) -> list[Message]:
        return [Message("user", f"Question {i}?"), Message("assistant", "天气" * n)]

    system = Message("system", "Be kind.")
    made = [
        Conversation((system, *exchange(1, 20), *exchange(2, 5))),
        Conversation((system, *exchange(1, 500))),
        Conversation((system, Message("user", "long " * 500), Message("assistant", "a"))),
        Conversation(tuple(exchange(1, 2))),
    ]
    notices: list[str] = []
    manifest = shards.prepare_conversations(
        made, tokenizer, tmp_path / "data", context_length=90, val_fraction=0, notice=notices.append
    )
    split = TokenData.open(tmp_path / "data").split("train")
    texts = [tokenizer.decode(split.document(i).tolist()) for i in range(split.n_documents)]
    assert "Be kind." in texts[0] and "Question 1" not in texts[0] and texts[0].endswith("天气<|im_end|>\n")
    assert texts[1].endswith(("天", "气")) and "\ufffd" not in texts[1]
    assert all(len(split.document(i)) <= 91 for i in range(split.n_documents)) and len(texts) == 3
    assert manifest["left_out"] == {"too_long": 1}
    assert manifest["shortened"] == {"lost_end_of_answer": 1, "lost_oldest_turns": 1}
    assert len(notices) == 3


def test_conversations_without_a_trained_token_are_an_error_with_counts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    good = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
    mute = Conversation((Message("user", "Hi"),))
    with pytest.raises(DataError, match="2 of 5 conversations have no token to learn; the first is number 2"):
        shards.prepare_conversations([good, mute, good, mute, good], tokenizer, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    notices: list[str] = []
    made = [good, mute, good, mute, good]
    manifest = shards.prepare_conversations(made, tokenizer, tmp_path / "data", max_bad=2, notice=notices.append)
    assert manifest["left_out"] == {"nothing_to_learn": 2} and "2 conversations left out" in notices[0]


# --- other people's ids ---


@pytest.mark.parametrize("name", ["ids.npy", "ids.bin"])
def test_ids_of_others_become_token_data(
    tmp_path: Path, tokenizer: Tokenizer, documents, monkeypatch, name: str
) -> None:
    monkeypatch.setattr(encoding, "STRETCH", 300)
    made = documents(40)
    end = [tokenizer.eos_id]
    ids = np.concatenate([[*tokenizer.encode(document.text).tolist(), *end] for document in made])
    shards.write_ids(tmp_path / name, ids[:-1], tokenizer.vocab_size)
    shards.prepare_ids([tmp_path / name], tokenizer, tmp_path / "from-ids")
    shards.prepare(made, tokenizer, tmp_path / "from-text")
    for split in ("train", "val"):
        found, expected = (TokenData.open(tmp_path / f"from-{w}").split(split) for w in ("ids", "text"))
        np.testing.assert_array_equal(np.asarray(found.ids), np.asarray(expected.ids))
        np.testing.assert_array_equal(found.offsets, expected.offsets)


def test_held_out_documents_that_were_named(tmp_path: Path, tokenizer: Tokenizer, documents) -> None:
    made = documents(100)
    manifest = shards.prepare(made[:70], tokenizer, tmp_path / "data", val_fraction=0.5, held_out=made[70:])
    assert manifest["split"]["rule"] == "as named"
    data = TokenData.open(tmp_path / "data", checksums=True)
    for name, part in (("train", made[:70]), ("val", made[70:])):
        assert written(data.split(name)) == [[*tokenizer.encode(d.text).tolist(), tokenizer.eos_id] for d in part]
    with pytest.raises(DataError, match="no documents to hold out"):
        shards.prepare(made, tokenizer, tmp_path / "nothing", held_out=[])
