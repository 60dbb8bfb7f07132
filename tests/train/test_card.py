"""The run card: complete, exact, made from a run folder at any time, and strict when it is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from groundup import artifact
from groundup.errors import ArtefactError, UsageError
from groundup.train import card
from groundup.train.run_folder import RunFolder

TOML = 'data = "books"\nrun_dir = "x"\n\n[train]\nlr = 0.001  # flag --lr\nseed = 3\nlog = []\n'
LOSSES = [float(x) for x in np.random.default_rng(0).normal(3, 1, 50)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Fifty steps with odd float values, three validations, shards in the folder."""
    path = tmp_path / "pretrain-1"
    facts = {"seed": 3, "parent": None, "n_parameters": 1000, "tokenizer": "aaaa", "code": card.code()}
    with RunFolder.open(path, verb="pretrain", config_toml=TOML, config_hash="ff", facts=facts, resume=True) as run:
        run.metric({"step": 0, "val_loss": 5.5})
        for step, loss in enumerate(LOSSES, 1):
            run.metric({"step": step, "train_loss": loss if step != 7 else float("nan"), "tokens": step * 512})
            if step % 25 == 0:
                run.metric({"step": step, "val_loss": 4.0 / step, "val_bits_per_byte": 1.5 / step})
        with artifact.writing(path / "data", {"counts": {"train": {"tokens": 9}}, "sources": {"books": 1}}) as folder:
            (folder / "train-00000.bin").write_bytes(b"12345678")
    return path


def test_what_stands_on_it(run_dir: Path) -> None:
    path = card.write(run_dir)
    assert path == run_dir / "card.json"
    found = card.read(path)
    assert found == json.loads(path.read_text()) == card.read(run_dir)
    assert found["config"]["train"] == {"lr": 0.001, "seed": 3, "log": []}
    assert found["seeds"] == {"seed": 3} and found["tokenizer"] == "aaaa" and found["config_hash"] == "ff"
    assert found["tokens"] == 25_600 and found["tokens_per_parameter"] == 25.6 and found["rule_of_thumb"] == 20
    assert found["started_from"] is None and found["state"] == "finished" and found["verb"] == "pretrain"
    assert set(found["versions"]) >= {"python", "groundup"} and found["machine"]["n_cpus"]
    assert found["results"]["best_val_loss"] == 4.0 / 50 and found["results"]["best_step"] == 50
    assert found["results"]["best_val_bits_per_byte"] == 1.5 / 50 and found["results"]["step"] == 50
    assert found["data"]["counts"] == {"train": {"tokens": 9}}
    files = {"train-00000.bin": xxhash.xxh3_128_hexdigest(b"12345678")}
    assert found["data"]["hash"] == xxhash.xxh3_128_hexdigest(json.dumps(files, separators=(",", ":")).encode())
    assert len(found["code"]["source_hash"]) == 32


def test_the_losses_are_exact(run_dir: Path) -> None:
    found = card.read(card.write(run_dir))
    expected: dict[int, float | None] = {**dict(enumerate(LOSSES, 1)), 7: None}
    assert card.losses(found, "train_loss") == expected
    assert card.losses(found, "val_loss") == {0: 5.5, 25: 4.0 / 25, 50: 4.0 / 50}
    assert found["curves"]["train_loss"]["steps"] == {"first": 1, "every": 1}


def test_a_long_run_keeps_some_losses_at_their_steps(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "MOST_LOSSES", 20)
    found = card.of(run_dir)
    assert found["curves"]["train_loss"]["steps"] == {"first": 1, "every": 5}
    assert card.losses(found, "train_loss") == {step: LOSSES[step - 1] for step in range(1, 50, 5)}


def test_uneven_steps_are_listed() -> None:
    assert card._thinned([1, 2, 5], [1.0, 2.0, 3.0]) == {"steps": [1, 2, 5], "values": [1.0, 2.0, 3.0]}
    assert card._thinned([], []) == {"steps": [], "values": []}


def test_cleaned_shards_keep_their_hash(run_dir: Path) -> None:
    known = card.read(card.write(run_dir))["data"]
    artifact.remove(run_dir / "data")
    assert card.read(card.write(run_dir))["data"] == known
    (run_dir / "card.json").unlink()
    assert card.of(run_dir)["data"]["hash"] is None


def test_the_model_it_started_from(tmp_path: Path, run_dir: Path) -> None:
    with artifact.writing(tmp_path / "base" / "checkpoints" / "step-1") as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "base" / "latest").write_text("checkpoints/step-1\n")
    run = artifact.read_json(run_dir / "run.json")
    run["facts"]["parent"] = str(tmp_path / "base")
    artifact.write_json(run_dir / "run.json", run)
    weights = xxhash.xxh3_128_hexdigest(b"weights")
    assert card.of(run_dir)["started_from"] == {"path": str(tmp_path / "base"), "weights_hash": weights}


def test_a_run_that_has_not_begun_to_train_has_a_card_too(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, verb="sft", config_toml=TOML, config_hash="", facts={}, resume=True):
        found = card.read(card.write(tmp_path))
    assert found["state"] == "running" and found["tokens"] is None and found["tokens_per_parameter"] is None
    assert card.losses(found, "train_loss") == {}


def test_no_card(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(UsageError):
            card.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"version": 2},
        {"version": None},
        {"config": "lr = 1"},
        {"curves": {}},
        {"curves": {"train_loss": {"steps": [1], "values": [1.0, 2.0]}, "val_loss": {"steps": [], "values": []}}},
        {"curves": {"train_loss": {"steps": [1], "values": ["x"]}, "val_loss": {"steps": [], "values": []}}},
        {"curves": [1]},
    ],
)
def test_a_damaged_card(run_dir: Path, change: dict[str, Any]) -> None:
    path = card.write(run_dir)
    artifact.write_json(path, artifact.read_json(path) | change)
    with pytest.raises(ArtefactError) as error:
        card.read(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"null"])
def test_what_is_no_card_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(ArtefactError):
        card.read(tmp_path / "card.json")


def test_the_source_hash_sees_an_edit_and_no_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "PACKAGE", tmp_path)
    hashes = []
    for content in (b"a = 1\nb = 2\n", b"a = 1\r\nb = 2\r\n", b"a = 1\nb = 3\n"):
        (tmp_path / "x.py").write_bytes(content)
        card.code.cache_clear()
        hashes.append(card.code()["source_hash"])
    card.code.cache_clear()
    assert hashes[0] == hashes[1] != hashes[2]
