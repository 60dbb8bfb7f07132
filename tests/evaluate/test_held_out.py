"""Which text a model is measured on, and in what windows."""

import pytest
import torch

from groundup.data import shards
from groundup.data.batches import IGNORE
from groundup.errors import ArtefactError
from groundup.evaluate import held_out
from groundup.text.records import Document
from groundup.tokenizer.train import train
from tests.inference import tiny


def prepared(path, tokenizer):
    shards.prepare((Document(f"text number {i}") for i in range(20)), tokenizer, path, val_fraction=0.25)
    return path


def other_tokenizer():
    return train(["other words, and more of them than there were before"] * 9, 270)


def test_text_files_are_taken_whole_and_each_id_is_predicted_once(tmp_path):
    (tmp_path / "a.txt").write_text("One text. " * 30)
    tokenizer = tiny.tokenizer()
    split = held_out.split_of(tmp_path / "a.txt", tokenizer)
    ids = tokenizer.encode("One text. " * 30).tolist()
    assert [int(id_) for id_ in split.ids] == [*ids, tokenizer.eos_id]
    batches = held_out.windows(split, 16, batch_size=3)
    targets = torch.cat([batch.targets.flatten() for batch in batches])
    assert targets[targets != IGNORE].tolist() == [*ids, tokenizer.eos_id][1:]
    assert [tuple(batch.ids.shape) for batch in held_out.windows(split, 10_000)] == [(1, len(ids))]


def test_token_data_of_another_tokenizer_is_refused(tmp_path):
    tokenizer = tiny.tokenizer()
    data = prepared(tmp_path / "data", tokenizer)
    assert held_out.split_of(data, tokenizer).name == "val"
    with pytest.raises(ArtefactError, match="the data was made with the tokenizer"):
        held_out.split_of(data, other_tokenizer())


def test_what_a_run_was_trained_on(tmp_path, monkeypatch):
    tokenizer, other = (
        tiny.tokenizer(),
        other_tokenizer(),
    )
    step = tmp_path / "run" / "checkpoints" / "step-1"
    step.mkdir(parents=True)
    assert held_out.of_run(step, tokenizer) == held_out.OfRun(None, 0)
    config = tmp_path / "run" / "config.toml"
    config.write_text('data = "texts"\ncontext_length = 48\n')
    assert held_out.of_run(step, tokenizer) == held_out.OfRun(None, 48)
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "texts", tokenizer)
    assert held_out.of_run(step, tokenizer).data.resolve() == tmp_path / "texts"
    own = prepared(tmp_path / "run" / "data", tokenizer)
    assert held_out.of_run(step, tokenizer).data == own
    assert held_out.of_run(step, other).data is None
    for path in (own, tmp_path / "texts"):
        (path / "manifest.json").write_text('{"format": "something else"}')
    assert held_out.of_run(step, tokenizer).data is None
    config.write_text("= no TOML")
    assert held_out.of_run(step, tokenizer) == held_out.OfRun(None, 0)
