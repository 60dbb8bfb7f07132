"""The ledger against the batches themselves, forwards and backwards; banned documents; memory over many batches."""

from pathlib import Path

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch")

from groundup.data import ledger, shards  # noqa: E402
from groundup.data.batches import IGNORE, Packed, Windows  # noqa: E402
from groundup.data.ledger import Place  # noqa: E402
from groundup.data.shards import Split, TokenData  # noqa: E402
from groundup.data.token_files import Ids  # noqa: E402
from groundup.errors import UsageError  # noqa: E402

END = 999


@pytest.fixture
def split() -> Split:
    """Documents of 1 to 40 ids; document d consists of the number d, so a batch shows what it is made of."""
    rng = np.random.default_rng(0)
    documents = [np.full(length, d, dtype=np.uint16) for d, length in enumerate(rng.integers(1, 41, 60))]
    return Split.of_documents(documents, eos_id=END, name="train")


@pytest.fixture
def chats(tmp_path: Path, tokenizer, conversations) -> Split:
    shards.prepare_conversations(conversations(80), tokenizer, tmp_path / "data", val_fraction=0.1)
    return TokenData.open(tmp_path / "data").split("train")


def read(batches, step: int) -> list[list[int]]:
    """The ids of each row of a step with the one that is only predicted."""
    batch = batches.batch(step)
    return torch.cat([batch.ids, batch.targets[:, -1:]], dim=1).tolist()


@pytest.mark.parametrize("sampler", ["epoch", "random"])
def test_spans_are_what_stands_in_the_batch(split: Split, sampler: str):
    windows = Windows(split, 16, 5, seed=2, sampler=sampler)
    for step in range(40):
        rows = [[None] * 17 for _ in range(5)]
        for span in ledger.spans(windows, step):
            ids = split.document(span.document)[span.start : span.stop].tolist()
            assert ids
            rows[span.row][span.at : span.at + len(ids)] = ids
        assert rows == read(windows, step)
        part = ledger.spans(windows, step, slice(2, 4))
        assert part == [span for span in ledger.spans(windows, step) if span.row in (2, 3)]


def test_spans_of_packed_conversations(chats: Split):
    packed = Packed(chats, 200, 4, seed=1)
    for step in range(2 * packed.n_rows_per_epoch):
        batch = packed.batch(step)
        spans = ledger.spans(packed, step)
        for row in range(4):
            mine = [span for span in spans if span.row == row]
            assert len(mine) == int(batch.segments[row].max())
            for segment, span in enumerate(mine, start=1):
                here = torch.nonzero(batch.segments[row] == segment).flatten()
                assert (int(here[0]), len(here)) == (span.at, span.stop - 1) and span.start == 0
                assert batch.ids[row, here].tolist() == chats.document(span.document)[:-1].tolist()


@pytest.mark.parametrize("kind", ["epoch", "random", "packed"])
def test_inverse_lookup(split: Split, chats: Split, kind: str, monkeypatch):
    """A document is where the spans of every step say it is, and nowhere else."""
    monkeypatch.setattr(ledger, "NUMBERS_AT_ONCE", 7)
    batches = Packed(chats, 200, 4, seed=1) if kind == "packed" else Windows(split, 16, 5, seed=2, sampler=kind)
    expected: dict[int, set[Place]] = {}
    for step in range(30):
        for span in ledger.spans(batches, step):
            expected.setdefault(span.document, set()).add(Place(step, span.row))
    for document in range(batches.split.n_documents):
        found = list(ledger.places(batches, document, 30))
        assert len(set(found)) == len(found) and set(found) == expected.get(document, set())
    assert ledger.documents(batches, [3, 4]) == sorted(
        {document for document, places in expected.items() if {place.step for place in places} & {3, 4}}
    )


def test_a_document_that_is_not_there(split: Split):
    with pytest.raises(UsageError, match="no document 60"):
        list(ledger.places(Windows(split, 16, 5), 60, 1))
    with pytest.raises(UsageError, match="document 60 cannot be banned"):
        Windows(split, 16, 5, banned=frozenset({3, 60}))


@pytest.mark.parametrize("sampler", ["epoch", "random"])
def test_a_banned_document_is_neither_read_nor_learned_and_nothing_else_changes(split: Split, sampler: str):
    banned = frozenset({7, 8, 30, 59})
    plain = Windows(split, 16, 5, seed=2, sampler=sampler)
    without = Windows(split, 16, 5, seed=2, sampler=sampler, banned=banned)
    n_changed = 0
    for step in range(60):
        before, after = plain.batch(step), without.batch(step)
        assert not set(after.ids.unique().tolist()) & banned and not set(after.targets.unique().tolist()) & banned
        hidden = torch.zeros(5, 17, dtype=torch.bool)
        for span in ledger.spans(plain, step):
            if span.document in banned:
                hidden[span.row, span.at : span.at + span.stop - span.start] = True
        assert torch.equal(after.ids, torch.where(hidden[:, :-1], END, before.ids))
        assert torch.equal(after.targets, torch.where(hidden[:, 1:], IGNORE, before.targets))
        assert after.n_targets == int((after.targets != IGNORE).sum())
        n_changed += int(hidden.any())
        assert not any(span.document in banned for span in ledger.spans(without, step))
    assert 5 < n_changed < 60
    assert list(ledger.places(without, 7, 60)) == [] and list(ledger.places(plain, 7, 60))


def test_a_banned_conversation_is_padding(chats: Split):
    plain, without = (Packed(chats, 200, 4, seed=1, banned=frozenset(b)) for b in ((), (5, 6)))
    n_changed = 0
    for step in range(plain.n_rows_per_epoch):
        before, after = plain.batch(step), without.batch(step)
        hidden = torch.zeros(4, 200, dtype=torch.bool)
        for span in ledger.spans(plain, step):
            if span.document in (5, 6):
                hidden[span.row, span.at : span.at + span.stop - 1] = True
        assert torch.equal(after.ids, before.ids.masked_fill(hidden, 0))
        assert torch.equal(after.segments, before.segments.masked_fill(hidden, 0))
        assert torch.equal(after.targets, before.targets.masked_fill(hidden, IGNORE))
        n_changed += int(hidden.any())
    assert n_changed > 1 and list(ledger.places(without, 5, 99)) == []
    assert len(without.fixed()) == len(plain.fixed())
    assert sum(b.n_targets for b in without.fixed()) < sum(b.n_targets for b in plain.fixed())


@pytest.mark.soak
@pytest.mark.parametrize("sampler", ["epoch", "random"])
def test_memory_is_flat_over_ten_thousand_batches_of_a_corpus_larger_than_the_cap(tmp_path: Path, sampler: str):
    """Six gigabytes (a file with a hole) under a cap of 64 MB more than the process had."""
    path = tmp_path / "train.bin"
    with open(path, "wb") as file:
        file.truncate(6 * 2**30)
    n_ids = 3 * 2**30
    split = Split("train", Ids([path], "<u2"), np.array([0, n_ids], dtype=np.uint64))
    windows, process = Windows(split, 256, 8, sampler=sampler), psutil.Process()
    for step in range(100):
        windows.batch(step)
    before = process.memory_info().rss
    seen = []
    for step in range(100, 10_100):
        windows.batch(step)
        if step % 1000 == 0:
            seen.append(process.memory_info().rss - before)
    print(f"{sampler}: {max(seen) / 2**20:.1f} MB more at most, {(seen[-1] - seen[0]) / 2**20:+.1f} MB over the run")
    assert max(seen) < 64 * 2**20 and seen[-1] - seen[0] < 8 * 2**20
