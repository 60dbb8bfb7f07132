"""Plans: arithmetic that can be checked by hand, what is refused, what is proposed instead."""

import dataclasses
from pathlib import Path

import pytest

from groundup import models
from groundup.errors import EnvironmentFault
from groundup.insight import calibration, plan, plan_choice, plan_corpus, plan_costs
from groundup.insight.calibration import Machine
from groundup.train.config import TrainConfig

MACHINE = Machine(
    flops={"cpu fp32": 1e11, "cpu bf16": 2e11}, bandwidth=1e10, efficiency={"fp32": 0.5, "bf16": 0.5},
    moving={"fp32": 1e10, "bf16": 1e10}, operation_seconds=1e-6, disk_rate=1e8, base_bytes=3e8, kernel_bytes=1e5,
    tokenizer_rate=1e6, encoding_rate=1e6, measured_in=1.0,
)  # fmt: skip


def run_of(family="llama", size="nano", context_length=64, **settings):
    shape = models.change(models.preset(family, size), {"vocab_size": 512, "context_length": context_length})
    train = TrainConfig(**{"batch_size": 8, "n_steps": 100, "precision": "fp32", "device": "cpu", **settings})
    return plan.run_of(shape, train, context_length, 16, False)


def plan_of(run, limit=0.0, corpus=None):
    return plan.of_run(run, MACHINE, corpus, Path(), tries=False, memory_limit=limit)


def test_what_is_exact():
    found = plan_of(run_of(optimizer="adamw"))
    n = found.n_parameters
    assert found.memory.terms["weights in fp32"] == found.memory.terms["gradients"] == 4 * n
    assert found.memory.terms["optimizer's state"] == pytest.approx(8 * n, rel=0.01)
    assert found.disk.checkpoint == pytest.approx(12 * n, rel=0.02)
    assert found.n_tokens == 100 * 8 * 64
    assert found.tokens_per_parameter == found.n_tokens / n


def test_a_running_mean_is_held_and_saved():
    without, with_mean = plan_of(run_of()), plan_of(run_of(ema_decay=0.99))
    n = without.n_parameters
    assert with_mean.disk.checkpoint - without.disk.checkpoint == pytest.approx(4 * n)
    assert with_mean.memory.terms["their running mean"] == 4 * n
    assert with_mean.memory.terms["optimizer's state"] == without.memory.terms["optimizer's state"]


def test_kept_checkpoints_count_and_one_more_while_it_is_written():
    two, five = (plan_of(run_of(keep=keep)).disk for keep in (2, 5))
    assert five.total - two.total == pytest.approx(3 * two.checkpoint, rel=0.01)
    assert two.peak - two.total == pytest.approx(2 * two.checkpoint, rel=0.01)  # the best, and the one being written


def test_minutes_become_steps_and_steps_seconds():
    by_steps = plan_of(run_of())
    assert by_steps.seconds.phases["training"] == pytest.approx(100 * by_steps.seconds.step)
    by_minutes = plan_of(run_of(minutes=1.0))
    spent = by_minutes.seconds.phases["training"] + by_minutes.seconds.phases["evaluations"]
    assert spent == pytest.approx(60, rel=0.05)


def test_twice_the_micro_batches_take_twice_the_time():
    one, four = plan_of(run_of(batch_size=8, micro_batch_size=8)), plan_of(run_of(batch_size=32, micro_batch_size=8))
    assert 3 < four.seconds.step / one.seconds.step < 4.2


def test_raw_text_costs_a_tokenizer_and_shards():
    corpus = plan_corpus.Corpus(2e6, 5e5, 100, 512, False, False, False, 5e4)
    found = plan_of(run_of(), corpus=corpus)
    assert found.seconds.phases["tokenizer"] == pytest.approx(2.0)
    assert found.disk.phases["shards"] == pytest.approx(2 * 5e5 + 8 * 102 + 5e4)
    assert found.epochs == pytest.approx(found.n_tokens / 5e5)


def test_a_corpus_of_raw_text_is_estimated_and_of_token_data_exact(tmp_path):
    from groundup.data import shards
    from groundup.text import sources, stories
    from groundup.tokenizer import train

    text = "\n\n".join(document.text for document in stories.documents(0, 40_000))
    (tmp_path / "a.txt").write_text(text)
    tokenizer = train.train([text], 300)
    tokenizer.save(tmp_path / "tokenizer")

    @dataclasses.dataclass
    class Config:
        data: str = str(tmp_path / "a.txt")
        tokenizer: str = ""
        init_from: str = ""
        vocab_size: int = 300
        pattern: str = "gpt2"

    guessed = plan_corpus.look(Config())
    shards.prepare(sources.documents([tmp_path / "a.txt"]), tokenizer, tmp_path / "data")
    exact = plan_corpus.look(Config(data=str(tmp_path / "data")))
    assert exact.is_exact and not guessed.is_exact
    assert guessed.n_bytes == pytest.approx(exact.n_bytes, rel=0.001)
    assert guessed.n_tokens == pytest.approx(exact.n_tokens, rel=0.001)
    assert guessed.tokenizer_bytes == pytest.approx(plan_corpus.size_of(tmp_path / "tokenizer"), rel=0.01)


def test_of_more_text_than_is_read_the_size_of_the_files_tells(tmp_path, monkeypatch):
    for i in range(6):
        (tmp_path / f"{i}.txt").write_text("So it goes. " * 1000)
    monkeypatch.setattr(plan_corpus, "COUNTED_BYTES", 20_000)
    n_bytes, _, more, _ = plan_corpus.read(tmp_path)
    assert n_bytes * more == pytest.approx(6 * 12_000, rel=0.02)


# --- what cannot be, and what can ---


def test_a_run_that_cannot_fit_has_a_fault_and_a_neighbour_that_fits():
    run = run_of(size="mini", batch_size=32, context_length=256)
    whole = plan_of(run)
    assert not whole.faults
    tight = plan_of(run, limit=0.8 * whole.memory.total)
    assert "of memory" in tight.faults[0]
    choice = plan_choice.that_fits(tight, MACHINE)
    assert choice is not None and choice.plan.memory.total <= 0.95 * tight.memory_limit
    assert choice.flags.startswith("--micro-batch-size ")
    assert run.train.batch_size % choice.plan.run.rows == 0


def test_where_one_sequence_is_too_much_a_smaller_size_is_proposed():
    tight = plan_of(run_of(size="small", batch_size=2, context_length=256), limit=4.5e8)
    choice = plan_choice.that_fits(tight, MACHINE)
    assert choice is not None and choice.flags.startswith("--size ")
    assert plan_choice.that_fits(plan_of(run_of(batch_size=1), limit=1e8), MACHINE) is None


def test_the_largest_model_of_a_budget_is_the_last_whose_tokens_fit_in(monkeypatch):
    monkeypatch.setattr(plan_choice, "LARGEST", 1e7)
    rows = plan_choice.table(run_of(), MACHINE, 2e9)
    sizes = [row.n_parameters for row in rows]
    assert sizes == sorted(sizes)
    budget = rows[1].seconds * 1.01
    assert plan_choice.largest_within(rows, budget) == rows[1]
    assert plan_choice.largest_within(rows, rows[0].seconds / 2) is None
    assert rows[0].n_tokens == 20 * rows[0].n_parameters


def test_scant_text_is_said(tmp_path):
    row = plan_choice.Row("nano", 1_000_000, 2e7, 1e4, 2e3, 8, 1e9)
    corpus = plan_corpus.Corpus(4e6, 1e6, 100, 512, True, True, True, 0)
    assert "seen 20.0 times: after four" in plan_choice.words_about_data(row, corpus)
    assert "enough" in plan_choice.words_about_data(row, dataclasses.replace(corpus, n_tokens=1e9))


# --- before a run ---


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(calibration, "machine", lambda quick=False, notice=None: MACHINE)


def before(run, tmp_path, **more):
    return plan.before_run(run.shape, run.train, context_length=run.context_length, run_dir=tmp_path / "run", **more)


def test_a_paragraph_before_a_run(measured, tmp_path):
    said = before(run_of(), tmp_path, n_tokens=10_000)
    for words in ("M parameters, fp32 on cpu", "a step", "of memory", "of disk", "tokens per parameter", "5.1 times"):
        assert words in said


def test_without_a_measurement_no_seconds_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "machine", lambda quick=False, notice=None: Machine())
    assert "a step" not in before(run_of(), tmp_path)


def test_a_run_that_cannot_fit_is_refused_with_flags_that_do(measured, monkeypatch, tmp_path):
    run = run_of(size="mini", batch_size=16, context_length=256)
    monkeypatch.setattr(plan_costs, "limit_bytes", lambda device="cpu": 5e8)
    with pytest.raises(EnvironmentFault, match="of memory, and there are 500 MB") as refused:
        before(run, tmp_path)
    assert "--micro-batch-size" in (refused.value.hint or "")


def test_a_run_whose_checkpoints_do_not_fit_on_the_disk_is_refused(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(plan_costs, "free_bytes", lambda folder: 1e6)
    with pytest.raises(EnvironmentFault, match="are free") as refused:
        before(run_of(), tmp_path)
    assert "--keep" in (refused.value.hint or "") and refused.value.exit_code == 4


@pytest.mark.parametrize(("seconds", "text"), [(9, "9 s"), (700, "12 min"), (9000, "2.5 h"), (10 * 86400, "10.0 days")])
def test_durations_in_words(seconds, text):
    assert plan.duration(seconds) == text
