"""The command line: finding verbs, filling their Config, and what people are told when something is wrong."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pydantic  # noqa: F401 - once it is loaded, cyclopts would check by its rules what config.py checks by ours
import pytest

import groundup
import groundup.commands
from groundup import cli
from groundup.config import origins_of
from groundup.errors import DataError, Stopped

ROOT = Path(__file__).parent.parent

ONE = '''"""Say what it was told.

And more about it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from groundup import errors

@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    """largest learning rate"""
    use_decay: bool = True

@dataclass(frozen=True)
class Config:
    data: str = field(metadata={"positional": True})
    """text to read"""
    names: tuple[str, ...] = ()
    n_steps: int = field(default=0, metadata={"alias": ["--max-iters"]})
    kind: Literal["plain", "fancy"] = "plain"
    arch: dict[str, Any] = field(default_factory=dict)
    optim: Optim = field(default_factory=Optim)
    json: bool = False

RAISES = {}
SEEN = []

def run(config):
    SEEN.append(config)
    if config.data in RAISES:
        raise RAISES[config.data]
    print(config.data)
    return int(config.data) if config.data.isdigit() else {"a": "dictionary"}
'''
TWO = '''"""Two verbs in one."""
from dataclasses import dataclass

@dataclass(frozen=True)
class UpConfig:
    far: int = 1

def up(config: UpConfig) -> int:
    """Go up."""
    print("up", config.far)
    return 0

VERBS = {"up": up}
'''


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder of two commands in place of the real ones; gives the module of `one`."""
    (tmp_path / "one.py").write_text(ONE)
    (tmp_path / "import_.py").write_text(TWO)
    (tmp_path / "_helper.py").write_text("")
    monkeypatch.setattr(cli, "COMMANDS", tmp_path)
    monkeypatch.setattr(groundup.commands, "__path__", [str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    yield lambda: sys.modules["groundup.commands.one"]
    for name in ("one", "import_"):
        sys.modules.pop(f"groundup.commands.{name}", None)


def last(commands):
    return commands().SEEN[-1]


# --- verbs ---


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_alone_it_shows_the_verbs(commands, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert re.search(r"import +Two verbs in one\.", shown)
    assert re.search(r"one +Say what it was told\.", shown)
    assert "helper" not in shown
    assert "groundup.commands.one" not in sys.modules  # summaries are read, not imported


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{groundup.__version__}\n"


def test_a_verb_with_verbs(commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import"]) == 0
    assert re.search(r"up +Go up\.", capsys.readouterr().out)
    assert cli.main(["import", "up", "--far", "3"]) == 0
    assert capsys.readouterr().out == "up 3\n"
    assert cli.main(["import", "upp"]) == 2
    assert capsys.readouterr().err == "error: groundup import has no verb upp\nhint: did you mean groundup import up?\n"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["noe"], "groundup has no verb noe", "did you mean groundup one?"),
        (["zzzz"], "groundup has no verb zzzz", "groundup --help lists the verbs"),
        (["--quiet", "one"], "--quiet stands before the verb", "options come last: groundup VERB --quiet"),
        (["one", "a", "--nsteps", "3"], "groundup one has no option --nsteps", "did you mean --n-steps?"),
        (["one", "a", "--optim.rl=3"], "groundup one has no option --optim.rl", "did you mean --optim.lr?"),
        (["one", "a", "b"], "groundup one does not know what to do with b", "groundup one --help lists the options"),
        (["one", "a", "--lr"], "parameter --lr requires an argument", "groundup one --help lists the options"),
        (["one", "a", "--lr", "1", "--lr", "2"], "parameter --lr specified multiple times", "groundup one --help"),
        (["one", "a", "--json=perhaps"], 'invalid value for --json: unable to convert "perhaps"', "groundup one"),
        (["one", "a", "--lr", "x"], "optim.lr = 'x': expected float, got str", None),
        (["one", "a", "--kind", "x"], "kind = 'x': must be one of plain, fancy", None),
        (["one"], "data must be given", "add --data VALUE, or data in the --config file"),
        (["one", "a", "--config", "absent.toml"], "cannot read the configuration: No such file", None),
    ],
)
def test_usage_errors(commands, capsys: pytest.CaptureFixture[str], arguments, error: str, hint: str | None) -> None:
    assert cli.main(arguments) == 2
    out, told = capsys.readouterr()
    assert out == ""
    assert told.startswith(f"error: {error}")
    if hint:
        assert f"\nhint: {hint}" in told
    assert len(told.splitlines()) <= 3


# --- from arguments to a Config ---


def test_flags_reach_nested_fields_by_either_name(commands) -> None:
    given = "one a --lr 3e-3 --no-use-decay --n-steps=4 --names x y --arch.n-layers 4 --arch.rope.theta 1e4"
    assert cli.main(given.split(" ")) == 0
    config = last(commands)
    assert (config.data, config.n_steps, config.names) == ("a", 4, ("x", "y"))
    assert (config.optim.lr, config.optim.use_decay) == (3e-3, False)
    assert config.arch == {"n_layers": 4, "rope": {"theta": 1e4}}
    assert cli.main(["one", "--data", "a", "--optim.lr=2", "--max-iters", "5", "--json"]) == 0
    assert (last(commands).optim.lr, last(commands).n_steps, last(commands).json) == (2.0, 5, True)
    assert origins_of(last(commands))["optim.lr"] == "--optim.lr"


def test_a_pair_is_one_word() -> None:
    verb, rest = cli.find(["generate", "model", "--logit-bias", "5=-100", "7=1.5", "--logit-bias=9=2", "--top-k", "3"])
    sampling = cli.parse(verb, rest, {}).sampling
    assert (sampling.logit_bias, sampling.top_k) == (((5, -100.0), (7, 1.5), (9, 2.0)), 3)


def test_a_flag_beats_the_environment_beats_the_file(
    commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text('data = "file"\nn_steps = 1\n[optim]\nlr = 1\n')
    monkeypatch.setenv("GROUNDUP_N_STEPS", "2")
    monkeypatch.setenv("GROUNDUP_LR", "2")
    monkeypatch.setenv("GROUNDUP_N_STPES", "3")
    monkeypatch.setenv("GROUNDUP_PLAIN", "1")  # known, though no setting
    assert cli.main(["one", "--config", "run.toml", "--lr", "3"]) == 0
    config = last(commands)
    assert (config.data, config.n_steps, config.optim.lr) == ("file", 2, 3.0)
    noted = "note: GROUNDUP_N_STPES is no setting of one; did you mean GROUNDUP_N_STEPS?\n"
    assert capsys.readouterr().err == noted


def test_help_of_a_verb(commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["one", "--bogus", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "Usage: groundup one" in shown
    assert "And more about it." in shown
    assert re.search(r"DATA --data +text to read \(required\)", shown)
    assert re.search(r"--lr FLOAT +largest learning rate \[default: 0.001\]", shown)
    assert re.search(r"optim \(in a file: the table \[optim\]\)", shown)
    assert re.search(r"--json +one JSON object on stdout", shown)
    assert re.search(r"--config PATH +TOML file", shown)
    assert "--no-json" not in shown
    assert "--no-use-decay" in shown


def test_schema_of_a_verb(commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["one", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["optim"]["properties"]["lr"]["description"] == "largest learning rate"


# --- how it ends ---


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            DataError("the file is empty", where="a.txt", hint="give another"),
            3,
            "error: the file is empty\nwhere: a.txt\nhint: give another\n",
        ),
        (Stopped("stopped at step 3"), 75, "stopped: stopped at step 3\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 4, "error: out of memory\nhint: a smaller batch"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            4,
            "error: out of memory\nwhere: Default",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 4, "error: the disk is full\nwhere: f\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f"), 4, "error: permission denied\nwhere: f\n"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "f"), 2, "error: no such file or directory\n"),
        (
            ZeroDivisionError("division\nby zero"),
            1,
            "error: ZeroDivisionError: division by zero\nhint: this is a fault",
        ),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_how_it_ends(commands, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, told: str) -> None:
    cli.main(["one", "first"])
    commands().RAISES["bad"] = error
    capfd.readouterr()
    assert cli.main(["one", "bad"]) == code
    shown = capfd.readouterr().err
    assert shown.startswith(told)
    assert "Traceback" not in shown


def test_the_traceback_is_for_those_who_ask(commands, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["one", "first"])
    commands().RAISES["bad"] = ZeroDivisionError("no")
    assert cli.main(["one", "bad", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_number_is_the_exit_code_and_other_answers_mean_done(commands) -> None:
    assert cli.main(["one", "7"]) == 7
    assert cli.main(["one", "a"]) == 0


def test_a_closed_pipe_ends_silently() -> None:
    command = f"{sys.executable} -m groundup --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


# --- the real verbs ---


def test_help_imports_little() -> None:
    code = "import sys; from groundup import cli; cli.main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    imported = set(done.stderr.split())
    assert not {"torch", "numpy", "numba", "matplotlib", "groundup.text", "groundup.commands.pretrain"} & imported
    assert len(imported) < 700, len(imported)


@pytest.mark.parametrize("name", sorted(cli.verb_files()))
def test_every_verb_has_a_summary_help_and_a_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"[A-Z].*\.", cli._first_line(cli.verb_files()[name]))
    assert cli.main([name, "--help"]) == 0
    capsys.readouterr()
    for verb in cli.verbs_of(name).values():
        assert re.match(r"[A-Z].*\.", verb.doc), f"{verb.name} has no summary"
        undocumented = [leaf.dotted for leaf in cli.configs.leaves(verb.config_class).values() if not leaf.doc]
        assert set(undocumented) <= set(cli.USUAL_DOCS), f"{verb.name}: {undocumented}"
        assert cli.main([*verb.name.split(), "--help"]) == 0
        capsys.readouterr()
        assert cli.main([*verb.name.split(), "--schema"]) == 0
        assert json.loads(capsys.readouterr().out)["type"] == "object"
