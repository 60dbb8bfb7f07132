"""Two ranks against one process: the same gradients, the same updates, the same bytes after one of them was killed."""

import contextlib
import hashlib
import json
import random
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from groundup.errors import GroundupError, UsageError
from groundup.train import distributed, launch
from groundup.train.config import TrainConfig
from groundup.weights import checkpoint
from tests.train import ranks

ALONE = distributed.World(torch.device("cpu"))


def only(folder: Path, step: int) -> None:
    """Leave of a run what it had after that step."""
    for step_dir in (folder / "checkpoints").glob("step-*"):
        if step_dir.name != f"step-{step:08d}":
            shutil.rmtree(step_dir)


def losses_of(folder: Path) -> list[float]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["train_loss"] for row in rows if "train_loss" in row]


def bytes_of(folder: Path) -> dict[str, str]:
    """The hash of every file of the last checkpoint."""
    last = folder / "checkpoints" / "step-00000012"
    files = sorted(file for file in last.rglob("*") if file.is_file())
    return {str(file.relative_to(last)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(folder / "checkpoints" / "step-00000012").model.named_parameters())


def orphans(folder: Path) -> list[str]:
    """Command lines of ranks and launchers of a run in that folder that still run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs of one process and of two, and what the two found out; see pair.py."""
    folder = tmp_path_factory.mktemp("ranks")
    ranks.train(ALONE, folder / "one")
    ranks.train(ALONE, folder / "one-ema", ema_decay=0.9)
    for name in ("one-to-two", "one-to-fsdp"):
        shutil.copytree(folder / "one", folder / name)
        only(folder / name, 4)
    assert launch.supervise([str(folder)], 2, 0, module="tests.train.pair") == 0
    return folder


def answers(folder: Path, rank: int) -> dict:
    return json.loads((folder / f"rank-{rank}.json").read_text())


def test_what_a_rank_knows_of_the_others(folder):
    first, second = answers(folder, 0), answers(folder, 1)
    assert (first["rows"], second["rows"]) == (0, 4)
    assert first["sum"] == second["sum"] == 3.0
    assert first["any"] == second["any"] == [True, False]
    assert first["told"] == second["told"] == {"loss": 0.1 + 0.2, "inf": float("inf")}
    assert first["seeds"] == 0 != second["seeds"]


def test_two_ranks_make_the_update_of_one_process(folder):
    for rank in (0, 1):
        for case, found in answers(folder, rank)["differences"].items():
            assert found["gradients"] < 1e-6, case
            assert found["weights"] < (1e-6 if "adamw" in case else 1e-5), case  # Muon computes in bf16
            assert found["numbers"] < 1e-5, case


@pytest.mark.parametrize("name", ["two", "one-to-two", "one-to-fsdp"])
def test_on_any_number_of_ranks_the_same_rows_give_the_same_losses(folder, name):
    assert losses_of(folder / name) == pytest.approx(losses_of(folder / "one"), rel=1e-5)


@pytest.mark.parametrize(("name", "settings"), [("two", {}), ("fsdp", {"ema_decay": 0.9})])
def test_one_process_goes_on_with_what_two_have_saved(folder, tmp_path, name, settings):
    shutil.copytree(folder / name, tmp_path / "run")
    only(tmp_path / "run", 8)
    ranks.train(ALONE, tmp_path / "run", **settings)
    alone = folder / ("one-ema" if settings else "one")
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(alone), rel=1e-5)
    whole = weights_of(alone)
    for parameter, weight in weights_of(tmp_path / "run").items():
        torch.testing.assert_close(weight, whole[parameter], atol=1e-5, rtol=1e-4)


def test_slices_lie_in_one_file_for_each_rank_and_hold_no_pickle(folder):
    shards = sorted((folder / "fsdp" / "checkpoints" / "step-00000012" / "training" / "shards").iterdir())
    assert [file.suffix for file in shards] == [".safetensors", ".safetensors"]
    listed = json.loads((folder / "fsdp" / "checkpoints" / "step-00000012" / "manifest.json").read_text())["files"]
    assert {f"training/shards/{file.name}" for file in shards} <= set(listed)
    assert not list((folder / "fsdp" / "checkpoints").glob(".*"))


def test_rank_0_alone_has_written(folder):
    events = [json.loads(line)["kind"] for line in (folder / "two" / "events.jsonl").read_text().splitlines()]
    assert events.count("opened") == 1
    assert len(losses_of(folder / "two")) == 12


def test_a_killed_rank_is_started_again_and_the_run_ends_with_the_same_bytes(folder, tmp_path):
    notes: list[str] = []
    arguments = [str(tmp_path / "run"), json.dumps({"trouble": "die", "at": 5})]
    assert launch.supervise(arguments, 2, 2, notes.append, module="tests.train.ranks") == 0
    assert len(notes) == 1
    assert bytes_of(tmp_path / "run") == bytes_of(folder / "two")
    assert losses_of(tmp_path / "run") == losses_of(folder / "two")
    assert orphans(tmp_path) == []


def test_one_process_is_a_world_that_needs_no_others():
    world = distributed.world(TrainConfig(device="cpu"))
    assert (world.rank, world.world_size, world.is_main, world.rows(8)) == (0, 1, True, slice(0, 8))
    assert world.any(True)
    assert not world.any(False)
    assert world.from_main("this") == "this"
    with distributed.joined(TrainConfig(device="cpu")) as joined, joined.main_first():
        assert not joined.is_sharded


def test_a_rank_follows_the_number_of_processes_and_is_quiet(monkeypatch):
    from groundup.commands.sft import Config

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = distributed.as_rank(Config(train=TrainConfig(batch_size=8), json=True))
    assert (config.train.devices, config.quiet, config.json) == (4, True, False)
    assert not launch.is_needed(config.train)
    with pytest.raises(UsageError, match="batch_size = 6"):
        distributed.as_rank(Config(train=TrainConfig(batch_size=6)))


# --- minutes long ---


def kill_a_rank(delay: float, who: int, killed: list[float]) -> None:
    """So many seconds after two ranks have begun, kill one of them: still importing, training, saving or ending."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        here = psutil.Process().children(recursive=True)
        running = [one for one in here if "tests.train.ranks" in one.cmdline() and "--standalone" not in one.cmdline()]
        if len(running) == 2:
            time.sleep(delay)
            with contextlib.suppress(psutil.NoSuchProcess):
                running[who].kill()
                killed.append(time.monotonic())
            return
        time.sleep(0.05)


@pytest.mark.soak
def test_twenty_kills_at_random_instants(folder, tmp_path):
    chance = random.Random(0)
    recoveries = []
    for trial in range(20):
        run, killed = tmp_path / f"run-{trial}", []
        killer = threading.Thread(target=kill_a_rank, args=(chance.uniform(0, 8), trial % 2, killed))
        killer.start()
        code = launch.supervise([str(run), "{}"], 2, 2, module="tests.train.ranks")
        ended = time.monotonic()
        killer.join()
        assert code == 0, trial
        assert bytes_of(run) == bytes_of(folder / "two"), trial
        assert orphans(tmp_path) == []
        recoveries += [ended - instant for instant in killed]
        print(f"run {trial}: the same bytes; {len(recoveries)} kills so far", flush=True)
    print(f"{len(recoveries)} kills in 20 runs; seconds from kill to end: {max(recoveries):.0f} at most")


@pytest.mark.soak
@pytest.mark.parametrize("who", [0, 1])
def test_what_one_rank_says_is_said_once_and_not_tried_again(tmp_path, capfd, who):
    arguments = [str(tmp_path / "run"), json.dumps({"trouble": "bad row", "who": who})]
    assert launch.supervise(arguments, 2, 2, module="tests.train.ranks") == 3
    assert capfd.readouterr().err.count("row 7 is bad") == 1
    assert orphans(tmp_path) == []


@pytest.mark.soak
def test_a_hung_rank_is_named_with_its_step(tmp_path, capfd):
    arguments = [str(tmp_path / "run"), json.dumps({"trouble": "hang", "at": 3})]
    assert launch.supervise(arguments, 2, 1, module="tests.train.ranks") == 0
    assert "rank 1 at step 3" in capfd.readouterr().err
    assert orphans(tmp_path) == []


@pytest.mark.soak
def test_a_stop_is_agreed_on_and_saved(tmp_path):
    arguments = [str(tmp_path / "run"), json.dumps({"trouble": "stop", "at": 5})]
    assert launch.supervise(arguments, 2, 1, module="tests.train.ranks") == 75
    assert (tmp_path / "run" / "checkpoints" / "step-00000006").is_dir()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "stopped"


@pytest.mark.soak
def test_attempts_come_to_an_end(tmp_path):
    with pytest.raises(GroundupError, match="gave up after 1 attempts"):
        launch.supervise([str(tmp_path / "run"), json.dumps({"trouble": "die"})], 2, 0, module="tests.train.ranks")
    assert orphans(tmp_path) == []
