"""The bundle of a step whose loss is no number, and the error that names its documents."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file

from groundup import artifact
from groundup.data.batches import Windows
from groundup.train import faulty_steps
from groundup.train.config import TrainConfig


def test_the_batch_its_documents_and_the_config_are_kept(split, tmp_path: Path):
    windows, config = Windows(split, 16, 4, seed=3), TrainConfig(batch_size=4, lr=0.5)
    folder = faulty_steps.save(tmp_path, 11, windows, config, math.nan, 3.5)
    assert folder == tmp_path / "faults" / "step-00000012"
    artifact.verify(folder, checksums=True)
    kept, batch = load_file(folder / "batch.safetensors"), windows.batch(11)
    assert torch.equal(kept["ids"].long(), batch.ids) and torch.equal(kept["targets"].long(), batch.targets)
    facts = json.loads((folder / "step.json").read_text())
    assert (facts["step"], facts["loss"], facts["grad_norm"], facts["train"]["lr"]) == (12, "nan", 3.5, 0.5)
    for span in facts["spans"]:
        found = split.document(span["document"])[span["start"] : span["stop"]]
        row = torch.cat([batch.ids[span["row"]], batch.targets[span["row"], -1:]])
        assert row[span["at"] : span["at"] + len(found)].tolist() == found.tolist()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    faulty_steps.save(tmp_path, 11, windows, config, math.nan, 3.5)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_fault_that_comes_again_and_again_does_not_fill_the_disk(split, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(faulty_steps, "MOST_BUNDLES", 2)
    windows, config = Windows(split, 16, 4), TrainConfig(batch_size=4)
    folders = [faulty_steps.save(tmp_path, step, windows, config, math.inf, 1.0) for step in (1, 2, 3, 2)]
    assert folders[2] is None and folders[3] == folders[1]
    assert len(list((tmp_path / "faults").iterdir())) == 2


def test_the_error_names_the_exact_documents(split, tmp_path: Path):
    windows = Windows(split, 16, 2, seed=3)
    documents = faulty_steps.documents(windows, [4, 5])
    error = faulty_steps.given_up(windows, [4, 5], tmp_path, last_good=3)
    assert error.exit_code == 1 and "in the steps 5 to 6, and going back to step 3 did not help" in error.what
    assert error.what.endswith("their documents are " + " ".join(map(str, documents)))
    assert "--ban" in error.hint and error.where == str(tmp_path)
    many = faulty_steps.given_up(windows, list(range(40)), tmp_path, None)
    assert "there is no earlier checkpoint" in many.what and many.what.endswith(" more")


def test_batches_without_documents_have_none_to_name(tmp_path: Path, split):
    class Own:
        def batch(self, step, rows=slice(None)):
            return Windows(split, 16, 2).batch(step, rows)

    assert faulty_steps.documents(Own(), [1]) == []
    assert "document" not in faulty_steps.given_up(Own(), [1], tmp_path, 1).what
    folder = faulty_steps.save(tmp_path, 1, Own(), TrainConfig(), math.nan, 1.0)
    assert json.loads((folder / "step.json").read_text())["spans"] is None
