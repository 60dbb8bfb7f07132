"""What a terminal, a file and a quiet program show."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from groundup.train import tables, watch
from groundup.train.run_folder import RunFolder

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PROGRAM = """
from groundup.train import watch
watch.SHOW_RATE_AFTER = 0
watch.REDRAW_EVERY = 0
with watch.phase("tokenizing", 4_000_000, "B") as shown:
    for part in range(4):
        shown.advance(1_000_000)
    shown.note("a [bold]note[/bold] \\x1b[31m\\u2028 \\u4f60\\u597d")
with watch.Watch(None, 10_000_000, title="pretrain") as shown:
    shown.start(10_000_000, 9_999_000)
    for step in range(9_999_001, 9_999_040):
        row = {"step": step, "train_loss": 2.3145, "lr": 6e-4, "grad_norm": 0.82, "tokens_per_second": 41234.0}
        row |= {"mfu": 0.712, "memory_mb": 812.4, "skipped": 3 if step > 9_999_020 else 0}
        shown.step(row)
    shown.evaluated({"step": step, "val_loss": 2.5, "val_bits_per_byte": 1.213})
    shown.sample(step, "Once", " upon a time\\n\\x9b31mthere \\x1b[31m was \\u4f60\\u597d " + 60 * "more ")
    shown.step({**row, "step": step + 1})
"""


def run_in_terminal(width: int, **env: str) -> str:
    """What the program writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=theirs, env={**clean, "TERM": "xterm", **env}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    data, _ = program.communicate()
    assert program.returncode == 0, shown.decode()
    assert data == b"", "people are spoken to on stderr only"
    return shown.decode("utf-8", "replace")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_terminal_line_fits_and_says_the_loss(width: int) -> None:
    shown = run_in_terminal(width)
    lines = [ESCAPE.sub("", line) for line in re.split(r"[\r\n]+", shown)]
    bars = [line for line in lines if line.startswith("pretrain")]
    assert bars and max(map(len, bars)) < width
    assert all("loss 2.314" in line for line in bars[-2:])
    if width == 40:
        assert "10.0M/10.0M" in bars[-1], "a long count is shortened before the loss is dropped"
    else:
        assert all("9,999,040/10,000,000  loss 2.314  ~2.314  ETA" in line for line in bars[-1:])
    if width == 160:
        for part in ("━", "3 skipped", "val 1.213 bits/byte", "41.2k tok/s", "MFU 71 %", "812 MB", "lr 6.0e-04"):
            assert part in bars[-1]
        assert "skipped" not in bars[5]
    [sample] = [line for line in lines if line.startswith("step 9,999,039 wrote: Once")]
    assert len(sample) <= width and sample.endswith("…")
    assert any(line.startswith("step 9,999,039: val loss 2.500, bits per byte 1.213") for line in lines)
    assert any(re.fullmatch(r"tokenizing  … 4.00 MB in 0.\d s", line) for line in lines)
    assert any("a [bold]note[/bold]" in line and "你好" in line for line in lines)
    assert "\x1b[31m\u2028" not in shown, "a note cannot send escape sequences"


def test_no_color_no_colour() -> None:
    assert "\x1b[3" in run_in_terminal(100, TERM="xterm-256color")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", run_in_terminal(100, TERM="xterm-256color", NO_COLOR="1"))


def test_a_dumb_terminal_gets_plain_lines() -> None:
    shown = run_in_terminal(100, TERM="dumb")
    assert "\x1b" not in shown and "pretrain  9,999,001/10,000,000  loss 2.314" in shown


def test_ascii_where_letters_are_ascii() -> None:
    shown = ESCAPE.sub("", run_in_terminal(100, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C"))
    assert shown.isascii() and "tokenizing  ... 4.00 MB" in shown and "\\u4f60" in shown


def test_a_file_gets_the_first_line_then_one_now_and_then(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    with watch.Watch(None, 1000, title="pretrain") as shown:
        for step in range(1, 1001):
            now += 0.02
            shown.step({"step": step, "train_loss": float("nan") if step == 500 else 3.0})
    out, err = capsys.readouterr()
    assert out == ""
    steps = [int(re.split(r"[ /]+", line)[1].replace(",", "")) for line in err.splitlines()]
    assert steps[0] == 1 and steps[-1] == 1000 and len(steps) == 5
    assert "ETA 15.0 s" in err and "\x1b" not in err


@pytest.mark.parametrize(("seconds_per_step", "first_step"), [(0.05, 40.0), (2.0, 2.0), (0.0001, 0.5)])
def test_the_time_left_does_not_hang_on_the_first_step(
    monkeypatch: pytest.MonkeyPatch, seconds_per_step: float, first_step: float
) -> None:
    """Which compiles: at ten million steps its forty seconds would promise twelve years."""
    now = 0.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now)
    shown = watch.Watch(None, 10_000_000, quiet=True)
    shown.start(10_000_000, 0)
    for step in range(1, 4):
        now += first_step if step == 1 else seconds_per_step
        shown.step({"step": step, "train_loss": 3.0})
        assert shown._clock is not None
        left = shown._clock.seconds_left(10_000_000)
        assert left is None if step == 1 else left == pytest.approx((10_000_000 - step) * seconds_per_step)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture) -> None:
    with watch.phase("reading", 3, quiet=True) as shown:
        shown.advance()
        shown.note("x")
    with watch.Watch(None, 3, quiet=True) as training:
        training.step({"step": 1, "train_loss": 1.0})
        training.evaluated({"step": 1, "val_loss": 1.0})
        training.note("y")
    assert capsys.readouterr() == ("", "")


def test_a_broken_phase_says_so(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError), watch.phase("reading"):
        raise ValueError
    assert re.fullmatch(r"reading  … stopped after 0.\d s\n", capsys.readouterr().err)


def test_notes_are_kept(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, verb="sft", config_toml="", config_hash="", facts={}, resume=False) as run:
        watch.Watch(run, 1, quiet=True).note("42 conversations were too long")
    assert [e["text"] for e in tables.read(tmp_path / "events.jsonl") if e["kind"] == "note"] == [
        "42 conversations were too long"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (3.21, "3.2 s"), (92, "1:32"), (7509, "2:05:09"), (277_200, "3 d 05 h"), (1e8, "1,157 d")]
    + [(float("inf"), "?"), (float("nan"), "?")],
)
def test_durations(seconds: float, text: str) -> None:
    assert watch.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [(0, "", "0"), (812, "", "812"), (999.7, "", "1.00k"), (41_234, "", "41.2k"), (999_960, "", "1.00M")]
    + [
        (10_400_000, "B", "10.4 MB"),
        (512, "B", "512 B"),
        (1.5, "documents", "1.50 documents"),
        (1, "documents", "1 document"),
        (3e13, "", "30.0T"),
    ],
)
def test_quantities(number: float, unit: str, text: str) -> None:
    assert watch.quantity(number, unit) == text


def test_smoothed_loss_is_unbiased_and_passes_over_nan() -> None:
    smoothed = watch._Smoothed()
    assert smoothed.value is None
    for value in (4.0, float("nan"), 4.0, None):
        smoothed.add(value)
    assert smoothed.value == pytest.approx(4.0)
