"""The numbers of an inspection, on data whose numbers are known."""

from pathlib import Path

import numpy as np
import pytest

from groundup.data import inspect as inspection
from groundup.data import shards
from groundup.data.shards import Split, TokenData
from groundup.text.records import Document


def levels(report: dict) -> dict[str, str]:
    return {verdict["name"]: verdict["level"] for verdict in report["verdicts"]}


def test_distribution_by_hand() -> None:
    counts, n_outside = inspection.count_tokens(np.array([0, 1, 1, 2, 2, 2, 2, 9]), vocab_size=4)
    assert counts.tolist() == [1, 2, 4, 0] and n_outside == 1
    assert inspection.entropy(np.array([4, 2, 1, 1, 0])) == pytest.approx(1.75)
    assert inspection.zipf_slope((1e6 / np.arange(1, 2000) ** 1.2).astype(int)) == pytest.approx(-1.2, abs=0.01)


def test_hashes_tell_stretches_apart() -> None:
    ids = np.random.default_rng(0).integers(0, 1000, 5000)
    ids[4000:4100] = ids[100:200]
    hashes = inspection.stretch_hashes(ids, 32)
    assert len(hashes) == 5000 - 31 and len(np.unique(hashes)) == 5000 - 31 - 69
    assert len(inspection.stretch_hashes(ids[:20], 32)) == 0


@pytest.mark.parametrize("stretch", [1000, 2**22])
def test_repetition_wherever_it_stands(monkeypatch: pytest.MonkeyPatch, stretch: int) -> None:
    monkeypatch.setattr(inspection, "STRETCH", stretch)
    once = np.random.default_rng(0).integers(0, 1000, 10_000)
    assert inspection.repeated_share(once) == 0 and inspection.batch_overlap(once) < 0.01
    thrice = np.concatenate([once, [5], once, [7, 8], once])
    assert inspection.repeated_share(thrice) == pytest.approx(2 / 3, abs=0.01)
    assert inspection.batch_overlap(np.tile(once[:50], 1000)) > 0.9
    # A sample chosen by content finds the same share.
    monkeypatch.setattr(inspection, "MAX_HASHES", 2000)
    assert inspection.repeated_share(thrice) == pytest.approx(2 / 3, abs=0.05)


def test_shared_documents() -> None:
    train = Split.of_documents([np.arange(10, 10 + n) for n in range(1, 50)], 0, "train")
    val = Split.of_documents([np.arange(10, 15), np.arange(11, 16)], 0)
    assert inspection.shared_documents(train, val) == 0.5


def test_good_data(tmp_path: Path, tokenizer, documents) -> None:
    made = documents(300)
    shards.prepare(made, tokenizer, tmp_path / "data")
    report = inspection.tokens(TokenData.open(tmp_path / "data"), tokenizer)
    assert report["special_tokens"]["<|endoftext|>"]["count"] == report["counts"]["train"]["documents"]
    assert report["top_tokens"][0]["count"] >= report["top_tokens"][1]["count"] > 0
    assert levels(report)["end tokens"] == levels(report)["ids outside the vocabulary"] == "good"
    assert levels(report)["validation documents also in train"] == "good"


def test_unsuitable_data(tmp_path: Path, tokenizer) -> None:
    shards.prepare([Document("the same words again. " * 20)] * 200, tokenizer, tmp_path / "same")
    found = levels(inspection.tokens(TokenData.open(tmp_path / "same"), tokenizer))
    assert found["repeated 32-token stretches"] == found["validation documents also in train"] == "unsuitable"


def test_spans_show_what_is_learned(tmp_path: Path, tokenizer, conversations) -> None:
    made = conversations(3)
    shards.prepare_conversations(made, tokenizer, tmp_path / "data", val_fraction=0)
    split = TokenData.open(tmp_path / "data").split("train")
    answers = [message.content + "<|im_end|>" for message in made[1].messages if message.role == "assistant"]
    spans = inspection.spans(split, 1, tokenizer)
    assert [text for text, is_target in spans if is_target] == answers
    assert "".join(text for text, _ in spans) == tokenizer.decode(split.document(1).tolist())


def test_raw_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one<|endoftext|>two<|endoftext|>one<|endoftext|>three and more")
    (tmp_path / "b.txt").write_bytes("un caf\xe9".encode("latin-1"))
    report = inspection.documents([tmp_path])
    assert (report["documents"], report["bytes"], report["longest_bytes"]) == (5, 31, 14)
    assert report["verdicts"][0]["value"] == 0.2 and report["verdicts"][0]["level"] == "doubtful"
    assert "Latin-1" in report["notices"][0] and report["shown"][0]["text"] == "one"
