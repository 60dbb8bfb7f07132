"""Calibration: what is measured is kept, read again, and not asked of another machine; nothing here is timed."""

import json

import pytest
import torch

from groundup.insight import calibration, trial
from groundup.insight.calibration import Machine
from groundup.insight.trial import Result, Spec


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration.compiled_code, "caches", lambda: tmp_path / "cache")
    monkeypatch.setattr(calibration, "product_rate", lambda dtype, device: 1e11 if dtype == torch.float32 else 3e11)


def test_a_peak_is_measured_once_and_kept(monkeypatch):
    cpu = torch.device("cpu")
    assert calibration.peak_flops(torch.bfloat16, cpu) == 3e11
    monkeypatch.setattr(calibration, "product_rate", lambda dtype, device: pytest.fail("measured again"))
    assert calibration.peak_flops(torch.bfloat16, cpu) == 3e11
    assert calibration.peak_flops(torch.int8, cpu) is None
    assert json.loads(calibration.path().read_text())["flops"] == {"cpu bf16": 3e11}


def test_quick_never_measures():
    assert calibration.machine(quick=True) == Machine(key=calibration.key())
    assert not calibration.path().exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"flops": {}}', '"text"'])
def test_a_damaged_file_is_as_none(content):
    calibration.path().parent.mkdir(parents=True)
    calibration.path().write_text(content)
    assert calibration.remembered().measured_in == 0


def test_another_number_of_threads_is_another_machine(monkeypatch):
    before = calibration.path()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    assert calibration.path() != before


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(calibration.compiled_code, "caches", lambda: tmp_path / "file")
    assert calibration.peak_flops(torch.float32, torch.device("cpu")) == 1e11


def test_two_steps_tell_two_unknowns():
    """A machine that multiplies at half of its peak and moves at a quarter of its bandwidth is found out."""
    known = Machine(flops={"cpu fp32": 1e11}, bandwidth=1e10, operation_seconds=1e-6)
    truth = Machine(
        flops=known.flops, efficiency={"fp32": 0.5}, moving={"fp32": 2.5e9}, operation_seconds=1e-6, measured_in=1.0
    )
    steps = []
    from groundup.insight.rehearsal import rehearse

    for each in calibration.SMALL_STEPS:
        spec = Spec(**each, precision="fp32")
        work = rehearse(spec.shape, spec.train, rows=spec.rows, context_length=spec.context_length).gradients
        took = truth.seconds("fp32", work.flops, work.moved, work.n_operations)
        steps.append((spec, Result(took, 0, 0, 0, 0)))
    assert calibration.fitted(known, "fp32", steps) == pytest.approx((0.5, 2.5e9))


def test_contradicting_times_still_give_something_that_can_be():
    known = Machine(flops={"cpu fp32": 1e11}, bandwidth=1e10)
    steps = [
        (Spec(**each, precision="fp32"), Result(took, 0, 0, 0, 0))
        for each, took in zip(calibration.SMALL_STEPS, (9.0, 0.01), strict=True)
    ]
    assert all(number > 0 for number in calibration.fitted(known, "fp32", steps))


def test_rates_are_of_something():
    assert calibration.bandwidth() > 0 and calibration.operation_seconds() > 0
    assert all(rate > 0 for rate in calibration.tokenizer_rates())


def test_a_trial_makes_steps_and_knows_its_memory(monkeypatch):
    monkeypatch.setattr(trial, "import_what_a_run_does", lambda: None)
    spec = Spec("llama", "nano", 2, 16, {"vocab_size": 64, "n_layers": 1}, "fp32", evaluation_rows=2, seconds=0.0)
    made = trial.make(spec)
    assert min(made.gradients, made.update, made.evaluation) > 0
    assert made.peak_bytes >= made.base_bytes > 5e7
