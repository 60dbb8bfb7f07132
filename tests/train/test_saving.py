"""What is saved comes back to the last bit; who is found, kept, pointed at and removed; what the thread does."""

import math
import threading
from pathlib import Path

import pytest
import torch

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault, GroundupError, UsageError
from groundup.train import step_dirs, step_writer
from groundup.train.progress import Progress
from groundup.train.saving import last_metrics
from groundup.weights import checkpoint
from tests.faults.tiny import Trial, saved
from tests.train.test_loop import bytes_of


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def pointed(run_dir: Path) -> tuple[str, str]:
    return tuple((run_dir / name).read_text().strip().rpartition("/")[2] for name in ("latest", "best"))


def test_progress_comes_back_to_the_last_bit():
    progress = Progress(
        step=3, best_val_loss=math.inf, metrics={"val_loss": math.nan, "third": 1 / 3, "tiny": 5e-324},
        guard={"losses": [0.1, math.inf], "last_good": None, "n": 3}, n_bad_evaluations=2, n_skips=4,
    )  # fmt: skip
    import json

    back = Progress.from_json(json.loads(json.dumps(progress.to_json(), allow_nan=False)))
    assert math.isnan(back.metrics.pop("val_loss")) and math.isnan(progress.metrics.pop("val_loss"))
    assert back == progress
    with pytest.raises(ArtefactError, match="unknown parts: flux"):
        Progress.from_json({"flux": 1})


def test_save_load_save_gives_the_same_bytes(tmp_path):
    with Trial(tmp_path / "one") as one:
        first = one.save(3)
    with Trial(tmp_path / "two") as two:
        two.progress = two.saver.resume(first)
        again = two.saver.save(two.progress)
        two.saver.wait()
        assert again.parent.parent == tmp_path / "two"
    assert bytes_of(again) == bytes_of(first)


def test_resumed_it_goes_on_as_if_nothing_had_been(tmp_path):
    with Trial(tmp_path / "whole") as whole:
        last = whole.save(6)
    with Trial(tmp_path / "cut") as cut:
        cut.save(4)
        cut.step()
    with Trial(tmp_path / "cut") as cut:
        progress = cut.resume()
        assert (progress.step, progress.seconds) == (4, 0.5)
        assert [row["step"] for row in cut.run.metrics()] == [1, 2, 3, 4]
        assert bytes_of(cut.save(2)) == bytes_of(last)


def test_the_state_is_that_of_the_call_however_long_the_writing_takes(tmp_path, monkeypatch):
    """The thread is held back while training goes on."""
    with Trial(tmp_path / "whole") as whole:
        expected = bytes_of(whole.save(2))
    gate = threading.Event()
    write = checkpoint.write
    monkeypatch.setattr(step_writer.checkpoint, "write", lambda *a, **k: (gate.wait(60), write(*a, **k)))
    with Trial(tmp_path / "held") as held:
        held.step()
        held.step()
        step_dir = held.saver.save(held.progress)
        for _ in range(5):
            held.step()
        held.progress.metrics["later"] = 1.0
        assert not step_dir.exists() and held.saver.step_dir is None
        held.saver.check()
        gate.set()
        held.saver.wait()
        assert held.saver.step_dir == step_dir
    assert bytes_of(step_dir) == expected


def test_without_memory_for_a_copy_it_writes_at_once(tmp_path, monkeypatch):
    from groundup.train import saving

    class Nothing:
        available = 0

    monkeypatch.setattr(saving.psutil, "virtual_memory", Nothing)
    with Trial(tmp_path) as trial:
        trial.step()
        step_dir = trial.saver.save(trial.progress)
        assert trial.saver.step_dir == step_dir
    artifact.verify(step_dir, checksums=True)


def test_extra_tensors_come_back(tmp_path):
    with Trial(tmp_path) as trial:
        trial.save(1, {"scaler.scale": torch.tensor([65536.0]), "ema_updates": torch.tensor(7)})
        trial.step()
        with pytest.raises(ValueError, match="cannot be named"):
            trial.saver.save(trial.progress, {"0.x": torch.zeros(1)})
    with Trial(tmp_path) as trial:
        trial.resume()
        assert {name: one.tolist() for name, one in trial.saver.extra.items()} == {
            "scaler.scale": [65536.0], "ema_updates": 7,
        }  # fmt: skip


def test_the_running_mean_is_the_model_of_the_checkpoint(tmp_path):
    with Trial(tmp_path) as trial:
        mean = {f"ema.{name}": torch.full_like(one, 0.25) for name, one in trial.model.named_parameters()}
        trial.step()
        step_dir = trial.save(1, {**mean, "ema.n_updates": torch.tensor(2)})
        weights = {name: one.detach().clone() for name, one in trial.model.named_parameters()}
    loaded = checkpoint.load(step_dir)
    assert all((one == 0.25).all() for one in loaded.model.parameters())
    assert loaded.contract is not None and loaded.contract.probe_logits
    with Trial(tmp_path) as trial:
        trial.resume()
        assert all(torch.equal(one, weights[name]) for name, one in trial.model.named_parameters())
        assert trial.saver.extra.keys() == {*mean, "ema.n_updates"}
        assert all((trial.saver.extra[name] == 0.25).all() for name in mean)


def test_nothing_that_is_not_finite_is_written(tmp_path):
    for place in ("weight", "state", "extra"):
        with Trial(tmp_path / place) as trial:
            good = trial.save()
            trial.step()
            weight = next(iter(trial.model.parameters()))
            extra = {"x": torch.tensor([1.0, math.nan])} if place == "extra" else {}
            if place == "weight":
                weight.data.view(-1)[0] = math.inf
            if place == "state":
                state = next(o.state[weight] for o in trial.optimizers if weight in o.state)
                next(one for one in state.values() if torch.is_tensor(one) and one.ndim).view(-1)[-1] = -math.inf
            with pytest.raises(GroundupError, match="not finite") as caught:
                trial.saver.save(trial.progress, extra)
            assert caught.value.exit_code == 1
        assert names(tmp_path / place) == [good.name]


def test_old_ones_go_but_not_the_best_nor_the_one_to_go_back_to(tmp_path):
    with Trial(tmp_path) as trial:
        for step in range(1, 7):
            trial.progress.best_step = step + 0 if step == 2 else trial.progress.best_step
            trial.progress.guard = {"last_good": 3}
            trial.save()
            assert pointed(tmp_path)[0] == f"step-{step:08d}"
    assert names(tmp_path) == [f"step-{step:08d}" for step in (2, 3, 5, 6)]
    assert pointed(tmp_path) == ("step-00000006", "step-00000002")


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000, 7):
        step_dirs.path_of(tmp_path, step).mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-final").mkdir()
    assert [step_dirs.step_of(one) for one in step_dirs.all_of(tmp_path)] == [7, 99_999_999, 100_000_000]


def test_the_one_that_was_asked_for_and_no_other(tmp_path):
    first, second, third = saved(tmp_path)
    with Trial(tmp_path, keep=9) as trial:
        assert trial.resume(first).step == 1
        assert names(tmp_path) == ["aside-step-00000002", "aside-step-00000003", "step-00000001"]
        assert pointed(tmp_path)[0] == first.name
        assert trial.save() == second
    (second / "model.safetensors").write_bytes(b"")
    with Trial(tmp_path) as trial:
        with pytest.raises(ArtefactError, match=r"model.safetensors has 0 bytes"):
            trial.resume(second)
        with pytest.raises(UsageError, match="no checkpoint to resume from"):
            trial.resume(tmp_path / "nowhere")
        assert names(tmp_path)[-2:] == [first.name, second.name]
        assert third.name not in names(tmp_path)


def test_going_back_in_the_middle_of_a_run(tmp_path):
    with Trial(tmp_path, keep=9) as trial:
        trial.progress = Progress()
        first = trial.save()
        expected = {name: one.detach().clone() for name, one in trial.model.named_parameters()}
        trial.save()
        trial.step()
        assert trial.saver.resume().step == 2
        assert trial.saver.resume(first).step == 1
        assert all(torch.equal(one, expected[name]) for name, one in trial.model.named_parameters())
        assert [row["step"] for row in trial.run.metrics()] == [1]
        assert trial.saver.step_dir == first


@pytest.mark.parametrize("what", ["data", "config"])
def test_one_of_another_configuration_or_data_is_refused_unless_allowed(tmp_path, what):
    with Trial(tmp_path / "a", identity={"data": "a"}) as trial:
        step_dir = trial.save()
    other = {"identity": {"data": "b"}} if what == "data" else {"identity": {"data": "a"}, "config_hash": "other"}
    with Trial(tmp_path / "b", **other) as trial, pytest.raises(ArtefactError, match=f"is of another {what}"):
        trial.resume(step_dir)
    with Trial(tmp_path / "c", **other, allow_mismatch=True) as trial:
        assert trial.resume(step_dir).step == 1
        assert "going on all the same" in trial.told[0]


def test_what_the_thread_met_comes_with_the_next_call(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise EnvironmentFault("the disk is full")

    for on_error in ("stop", "warn"):
        with Trial(tmp_path / on_error, on_error=on_error) as trial:
            good = trial.save()
            with monkeypatch.context() as patch:
                patch.setattr(step_writer.checkpoint, "write", refuse)
                trial.step()
                trial.saver.save(trial.progress)
                trial.saver._writing._thread.join()
            trial.step()
            if on_error == "stop":
                with pytest.raises(EnvironmentFault, match="disk is full"):
                    trial.saver.check()
                assert trial.saver.step_dir == good
            else:
                trial.saver.save(trial.progress)
                assert "step-00000002 could not be saved" in trial.told[0]
                trial.saver.wait()
                assert trial.saver.step_dir is not None and trial.saver.step_dir.name == "step-00000003"
        assert last_metrics(tmp_path / on_error) == {}


def test_interrupted_it_gives_up_what_it_was_writing(tmp_path, monkeypatch):
    gate = threading.Event()
    write = checkpoint.write
    monkeypatch.setattr(step_writer.checkpoint, "write", lambda *a, **k: (gate.wait(60), write(*a, **k)))
    with pytest.raises(KeyboardInterrupt), Trial(tmp_path) as trial:
        trial.step()
        trial.saver.save(trial.progress)
        trial.saver._writing.give_up()
        gate.set()
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    assert artifact.read_json(tmp_path / "run.json")["state"] == "stopped"


def test_another_process_writes(tmp_path):
    with Trial(tmp_path, is_main=False) as trial:
        trial.saver.preflight()
        trial.save()
    assert not (tmp_path / "checkpoints").exists()
