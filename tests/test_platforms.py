"""What works here works on Windows, too: no fork, no POSIX, an old encoding, paths with backslashes.

There is no Windows here, so each of its differences is made by itself: in a child process whose names of POSIX are
gone, in an ASCII locale, with `PureWindowsPath`.
"""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "groundup"
TEXT = "Ça va? 万事开头难 — “naïve” façade 🙂\n\n" * 200

# Modules and functions that Python has on POSIX alone; they vanish once the libraries that need them are loaded.
NOT_WINDOWS = """
import os, signal, sys, time, types
import numpy, torch, psutil, safetensors, rich, cyclopts, regex, tokenize, numba
import multiprocessing.resource_tracker, concurrent.futures.process, subprocess, tempfile
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog", "posix_ipc"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "sync", "fdatasync", "sched_getaffinity", "sched_setaffinity", "getuid", "geteuid",
             "getgid", "getpgid", "setsid", "killpg", "nice", "fchmod", "chown", "mkfifo", "wait3", "wait4",
             "pread", "pwrite", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "uname", "getloadavg", "posix_fallocate"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGCHLD", "alarm", "setitimer", "pause",
             "pthread_sigmask", "sigwait", "siginterrupt"):
    if hasattr(signal, name):
        delattr(signal, name)
del time.tzset
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=lambda number, mode, n: None)
"""

IMPORT_ALL = """
import importlib, pkgutil, groundup
for module in pkgutil.walk_packages(groundup.__path__, "groundup."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:  # an extra that is not installed
        if error.name in (%r) or (error.name or "").startswith("groundup"):
            raise
print("all imported")
"""

SMALL = (
    "--arch.n-layers", "1", "--arch.d-model", "16", "--arch.n-heads", "1", "--context-length", "16",
    "--vocab-size", "280", "--train.batch-size", "2", "--train.n-steps", "2", "--train.device", "cpu",
)  # fmt: skip
ASCII_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "cp1252"}


def python(code: str, *args: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    known = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **(env or {})}
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, cwd=cwd, env=known, timeout=240, check=False
    )


def groundup(*args: str, before: str = "", cwd: Path, env: dict[str, str] | None = None) -> bytes:
    """What the command line prints, in a process that ran `before`. It has to succeed."""
    # Spawned children run this module again, so what it does stands behind the usual guard.
    code = (
        f"{before}\nfrom groundup import cli\nif __name__ == '__main__':\n    raise SystemExit(cli.main(sys.argv[1:]))"
    )
    done = python(f"import sys\n{code}", *args, cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def test_nothing_of_posix_is_needed_to_import(tmp_path: Path) -> None:
    posix_alone = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty")
    done = python(NOT_WINDOWS + IMPORT_ALL % (posix_alone,), cwd=tmp_path)
    assert done.stdout.decode().strip() == "all imported", done.stderr.decode()


@pytest.mark.parametrize(("before", "env"), [(NOT_WINDOWS, {}), ("", ASCII_LOCALE)], ids=["not-posix", "ascii-locale"])
def test_a_run_from_text_to_text(tmp_path: Path, before: str, env: dict[str, str]) -> None:
    """Tokenizer, shards, training, generating: what people do first."""
    # In an ASCII locale Python cannot even hold other names; on Windows, whatever its code page, it can.
    name = "my text" if env else "Übung 万"
    (tmp_path / name).mkdir()
    (tmp_path / name / "text.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "run.toml").write_text('prompt = "万事 🙂"\n', encoding="utf-8")
    run = ("pretrain", name, "--config", "run.toml", "--run-dir", f"runs/{name}", "--quiet", *SMALL)
    groundup(*run, before=before, cwd=tmp_path, env=env)
    asked = ("generate", f"runs/{name}", "a", "--max-new-tokens", "3", "--quiet")
    assert groundup(*asked, before=before, cwd=tmp_path, env=env)


def test_processes_start_by_spawn_whatever_the_default(tmp_path: Path) -> None:
    """Two processes tokenise; they are spawned, as they have to be beside threads and on Windows."""
    code = """
import multiprocessing, os, sys
from groundup.data import encoding, shards
from groundup.text.records import Document
from groundup.tokenizer import train
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn", force=True)
    del os.fork
    encoding.BATCH_CHARACTERS, encoding.BATCHES_HERE = 500, 2
    documents = [Document(f"the cat sat on mat number {i}. " * 10) for i in range(40)]
    tokenizer = train.train([document.text for document in documents], 270)
    for processes in (1, 2):
        shards.prepare(documents, tokenizer, f"data-{processes}", processes=processes)
"""
    (tmp_path / "prepare.py").write_text(code, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "prepare.py"], cwd=tmp_path, env=env, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    one, two = ((tmp_path / f"data-{n}" / "manifest.json").read_bytes() for n in (1, 2))
    assert one == two


# --- what the source says ---


@functools.cache
def calls() -> list[tuple[str, ast.Call, ast.AST | None]]:
    """(where, call, what its result is asked for) of every call in the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        parent_of = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                where = f"{file.relative_to(ROOT).as_posix()}:{node.lineno}"
                found.append((where, node, parent_of.get(node)))
    return found


def test_every_text_file_is_opened_with_an_encoding() -> None:
    """Else it would be the locale's: cp1252 in much of the world, gbk in China."""
    forgotten = []
    for where, call, _ in calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        keywords = {keyword.arg for keyword in call.keywords}
        if name in ("read_text", "write_text"):
            # What Linux itself writes is ASCII, and not on Windows at all.
            is_kernels = ast.unparse(call.func).startswith(("Path('/proc/", "Path('/sys/"))
            is_told = bool(keywords & {"encoding", None}) or len(call.args) > (name == "write_text") or is_kernels
            forgotten += [] if is_told else [where]
        if name == "open" and isinstance(call.func, ast.Name):
            modes = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "" if not modes else "b"
            forgotten += [where] if "b" not in str(mode) and "encoding" not in keywords else []
    assert not forgotten, "\n".join(forgotten)


def test_a_path_inside_a_folder_is_written_with_slashes() -> None:
    """A manifest made on Windows is read elsewhere: the text of a relative path is always `as_posix()`."""
    assert str(PureWindowsPath("a/b.bin").relative_to("a")) == "b.bin"
    assert str(PureWindowsPath("run/tokenizer/x.json").relative_to("run")) == "tokenizer\\x.json"
    with_backslashes = [
        where
        for where, call, parent in calls()
        if isinstance(call.func, ast.Name)
        and call.func.id == "str"
        and call.args
        and isinstance(call.args[0], ast.Call)
        and isinstance(call.args[0].func, ast.Attribute)
        and call.args[0].func.attr == "relative_to"
    ] + [
        where
        for where, call, parent in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "relative_to"
        and isinstance(parent, ast.FormattedValue)
    ]
    assert not with_backslashes, "\n".join(with_backslashes)
