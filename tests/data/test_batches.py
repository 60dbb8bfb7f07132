"""Batches: pure functions of the step, each window once, targets of their own conversation only."""

from pathlib import Path

import numpy as np
import psutil
import pytest

torch = pytest.importorskip("torch")

from groundup.data import shards  # noqa: E402
from groundup.data.batches import IGNORE, Packed, Windows, first_fit, get_batch  # noqa: E402
from groundup.data.shards import Split, TokenData  # noqa: E402
from groundup.data.token_files import Ids  # noqa: E402
from groundup.errors import DataError, UsageError  # noqa: E402


def text(n: int, name: str = "train") -> Split:
    """A split whose id at position p is p, so that a batch shows where it was taken."""
    return Split(name, np.arange(n, dtype=np.uint32), np.array([0, n], dtype=np.uint64))


def same(left, right) -> bool:
    segments = left.segments is right.segments or torch.equal(left.segments, right.segments)
    return torch.equal(left.ids, right.ids) and torch.equal(left.targets, right.targets) and segments


# --- windows ---


@pytest.mark.parametrize("sampler", ["epoch", "random"])
def test_targets_are_the_next_ids_and_rows_are_cut_alike(sampler: str) -> None:
    windows = Windows(text(1000), 16, 12, seed=3, sampler=sampler)
    for step in (0, 1, 7, 100_000):
        batch = windows.batch(step)
        assert batch.ids.shape == (12, 16) and batch.ids.dtype == torch.int64 and batch.n_targets == 12 * 16
        assert torch.equal(batch.targets, batch.ids + 1) and torch.equal(batch.ids[:, 1:], batch.targets[:, :-1])
        for n_ranks in (2, 3, 4):
            size = 12 // n_ranks
            parts = [windows.batch(step, slice(rank * size, (rank + 1) * size)) for rank in range(n_ranks)]
            assert torch.equal(torch.cat([part.ids for part in parts]), batch.ids)
            assert sum(part.n_targets for part in parts) == batch.n_targets
        assert same(batch, Windows(text(1000), 16, 12, seed=3, sampler=sampler).batch(step))
        assert not same(batch, Windows(text(1000), 16, 12, seed=4, sampler=sampler).batch(step))


@pytest.mark.parametrize(("n", "batch_size"), [(1000, 7), (17, 2), (33, 3), (1001, 61)])
def test_each_epoch_visits_every_window_once_in_its_own_order(n: int, batch_size: int) -> None:
    windows = Windows(text(n), 16, batch_size, seed=1)
    per_epoch = windows.n_rows_per_epoch
    n_steps = -(-3 * per_epoch // batch_size)
    starts = torch.cat([windows.batch(step).ids[:, 0] for step in range(n_steps)])[: 3 * per_epoch]
    epochs = [epoch.tolist() for epoch in starts.split(per_epoch)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(min(epoch), min(epoch) + 16 * per_epoch, 16))
        assert max(epoch) + 16 < n
    if per_epoch > 10:
        assert len({tuple(epoch) for epoch in epochs}) == 3 and len({min(epoch) for epoch in epochs}) > 1
    assert windows.epoch(0) == 0 and windows.epoch(3 * per_epoch) == 3 * batch_size


def test_random_rows_reach_both_ends() -> None:
    windows = Windows(text(20), 16, 200, sampler="random")
    assert set(windows.batch(0).ids[:, 0].tolist()) == {0, 1, 2, 3}


def test_fixed_rows_predict_every_id_once() -> None:
    batches = Windows(text(100, "val"), 16, 4).fixed()
    targets = torch.cat([batch.targets.flatten() for batch in batches])
    assert targets[targets != IGNORE].tolist() == list(range(1, 100))
    assert sum(batch.n_targets for batch in batches) == 99 and [len(batch.ids) for batch in batches] == [4, 3]
    assert all(same(a, b) for a, b in zip(batches, Windows(text(100, "val"), 16, 4, seed=9).fixed(0), strict=True))
    assert [len(batch.ids) for batch in Windows(text(100), 16, 4).fixed(5)] == [4, 1]
    spread = torch.cat([batch.ids[:, 0] for batch in Windows(text(100), 16, 4).fixed(3)])
    assert spread.tolist() == [0, 2 * 16, 4 * 16], "from all of the file, which may begin with what is easy"
    short = Windows(text(5, "val"), 16, 4).fixed(8)
    assert len(short) == 1 and short[0].n_targets == 4


def test_text_shorter_than_a_row() -> None:
    with pytest.raises(DataError, match="the train split has 16 tokens, fewer than one row of 16") as caught:
        Windows(text(16), 16, 4).batch(0)
    assert caught.value.exit_code == 3 and "--context-length 4" in caught.value.hint
    assert Windows(text(17), 16, 4).batch(0).n_targets == 64
    with pytest.raises(DataError, match="the val split has 1 token,"):
        Windows(text(1, "val"), 16, 4).fixed()
    with pytest.raises(UsageError, match="sampler 'other'"):
        Windows(text(17), 16, 4, sampler="other")


def test_large_data_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    with open(path, "wb") as file:
        for _ in range(32):
            file.write(np.arange(2**21, dtype="<u2").tobytes())
    split = Split("train", Ids([path], "<u2"), np.array([0, 2**26], dtype=np.uint64))
    windows = Windows(split, 1024, 64)
    windows.batch(0)
    before = psutil.Process().memory_info().rss
    for step in range(1, 100):
        windows.batch(step)
    assert psutil.Process().memory_info().rss - before < 24 * 2**20


def test_get_batch_draws_as_nanogpt_does() -> None:
    ids = np.arange(500, dtype=np.uint16)
    x, y = get_batch(ids, 6, 8, generator=torch.Generator().manual_seed(5))
    # nanoGPT, train.py, get_batch
    ix = torch.randint(len(ids) - 8, (6,), generator=torch.Generator().manual_seed(5))
    assert torch.equal(x, torch.stack([torch.from_numpy(ids[i : i + 8].astype(np.int64)) for i in ix]))
    assert torch.equal(y, torch.stack([torch.from_numpy(ids[i + 1 : i + 9].astype(np.int64)) for i in ix]))
    again = get_batch(torch.from_numpy(ids.astype(np.int32)), 6, 8, "cpu", torch.Generator().manual_seed(5))
    assert torch.equal(again[0], x) and again[0].dtype == torch.int64
    with pytest.raises(DataError, match="the data has 8 tokens"):
        get_batch(ids[:8], 6, 8)


# --- packed conversations ---


@pytest.fixture
def chats(tmp_path: Path, tokenizer, conversations) -> Split:
    shards.prepare_conversations(conversations(100), tokenizer, tmp_path / "data", val_fraction=0.1)
    return TokenData.open(tmp_path / "data").split("train")


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_conversation_once_and_every_target_its_own_next_id(chats: Split, tokenizer, shuffle: bool) -> None:
    packed = Packed(chats, 400, 4, seed=2, shuffle=shuffle)
    assert packed.n_too_long == 0
    seen: list[int] = []
    n_rows = packed.n_rows_per_epoch
    for step in range(-(-n_rows // 4)):
        batch = packed.batch(step)
        assert batch.ids.shape == batch.targets.shape == batch.segments.shape == (4, 400)
        assert batch.n_targets == int((batch.targets != IGNORE).sum())
        for row in range(min(4, n_rows - 4 * step)):
            for segment in range(1, int(batch.segments[row].max()) + 1):
                here = batch.segments[row] == segment
                ids, targets = batch.ids[row, here].tolist(), batch.targets[row, here].tolist()
                i = next(
                    i for i in range(chats.n_documents) if i not in seen and chats.document(i)[:-1].tolist() == ids
                )
                seen.append(i)
                following = chats.document(i)[1:].tolist()
                marks = chats.is_target[int(chats.offsets[i]) : int(chats.offsets[i + 1])]
                assert targets == [t if mark else IGNORE for t, mark in zip(following, marks[1:], strict=True)]
                # Each answer is learned whole, with the token that ends it.
                learned = tokenizer.decode([t for t in targets if t != IGNORE])
                said = tokenizer.decode(ids).split("<|im_start|>assistant\n")[1:]
                assert learned == "".join(answer.split("<|im_end|>")[0] + "<|im_end|>" for answer in said)
            padding = batch.segments[row] == 0
            assert (batch.targets[row, padding] == IGNORE).all()
            # One stretch a conversation, padding last.
            numbers = batch.segments[row][~padding].tolist()
            assert numbers == sorted(numbers) and not padding[: len(numbers)].any()
    assert sorted(seen) == list(range(chats.n_documents))


def test_rows_follow_the_file_without_shuffle(chats: Split) -> None:
    packed = Packed(chats, 120, 4, shuffle=False)
    firsts = [int(packed.conversations(row)[0]) for row in range(packed.n_rows_per_epoch)]
    assert firsts == sorted(firsts)
    assert same(packed.batch(0), packed.batch(packed.n_rows_per_epoch))  # step n begins epoch 4 at row 0


def test_packed_batches_are_pure_functions(chats: Split) -> None:
    packed = Packed(chats, 120, 6, seed=1)
    n_rows = packed.n_rows_per_epoch
    assert same(packed.batch(3), Packed(chats, 120, 6, seed=1).batch(3))
    whole = packed.batch(5)
    parts = [packed.batch(5, slice(i, i + 2)) for i in (0, 2, 4)]
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    epochs = [torch.cat([packed.batch(e * n_rows + s).ids for s in range(n_rows)])[:n_rows] for e in (0, 1)]
    assert not torch.equal(*epochs)
    assert sorted(map(tuple, epochs[0].tolist())) == sorted(map(tuple, epochs[1].tolist()))


def test_fixed_rows_are_the_same_for_every_seed(chats: Split) -> None:
    first, second = (
        Packed(chats, 120, 6, seed=seed, shuffle=shuffle).fixed(8) for seed, shuffle in ((0, True), (1, False))
    )
    assert [len(batch.ids) for batch in first] == [6, 2]
    in_order = Packed(chats, 120, 6, shuffle=False)
    n = in_order.n_rows_per_epoch
    wanted = torch.cat([in_order._read(np.array([i * n // 8])).ids for i in range(8)])
    assert n > 16 and torch.equal(torch.cat([batch.ids for batch in first]), wanted)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_conversations_that_no_row_can_hold(chats: Split) -> None:
    lengths = np.diff(chats.offsets.astype(np.int64)) - 1
    packed = Packed(chats, 60, 4)
    assert packed.n_too_long == int((lengths > 60).sum()) > 0
    held = np.concatenate([packed.conversations(row) for row in range(packed.n_rows_per_epoch)])
    assert sorted(held.tolist()) == np.flatnonzero(lengths <= 60).tolist()
    with pytest.raises(DataError, match=r"no conversation that fits: \d+ in all, \d+ longer than 3 tokens"):
        Packed(chats, 3, 4).batch(0)
    with pytest.raises(DataError, match="no marks of what to learn"):
        Packed(text(100), 16, 4)


def test_positions_begin_anew_with_each_conversation(chats: Split) -> None:
    batch = Packed(chats, 200, 2, shuffle=False).batch(0)
    for row in range(2):
        for segment in batch.segments[row].unique():
            positions = batch.positions[row, batch.segments[row] == segment]
            assert positions.tolist() == list(range(len(positions)))
    assert Windows(text(100), 16, 2).batch(0).positions is None
    assert torch.equal(batch.to("cpu").ids, batch.ids)


def test_first_fit_fills_rows_and_is_quick() -> None:
    assert first_fit([6, 5, 3, 2], room=8).tolist() == [0, 1, 1, 0]
    lengths = np.random.default_rng(0).integers(10, 200, 100_000).tolist()
    rows = first_fit(lengths, room=512)
    filled = np.bincount(rows, weights=lengths)
    assert filled.max() <= 512 and filled.mean() > 0.97 * 512
    # A row is never far behind: the order of the file stays, give or take the rows kept open.
    assert (np.maximum.accumulate(rows) - rows).max() <= 64
