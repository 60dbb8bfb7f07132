"""The pages of docs/ are true: files are written, commands and code executed, and what is shown is what is printed.

A page is gone through from top to bottom, in a copy of the project and in a process of its own:

    ```python title="some/file.py"    is written to that file
    ```python                         is executed
    ```bash                           its lines are commands: groundup, pytest, python
    ```text                           after commands: lines that these printed; before any: a drawing
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
EXECUTED = ["add-your-own-architecture.md"]
COPIED = ["groundup", "tests", "pyproject.toml", "README.md"]

# What goes through a page. It stands alone in its process: a new file in models/ must be the only one of its name.
READER = r'''
import contextlib, io, os, re, shlex, subprocess, sys
page = open(sys.argv[1], encoding="utf-8").read()
os.environ["COLUMNS"] = "120"
printed = ""

def run(command):
    """The output of a command; it fails if the command does."""
    program, *arguments = shlex.split(command)
    out = io.StringIO()
    if program in ("python", "pytest"):
        first = ["-I"] if program == "python" else ["-m", "pytest", "-q"]
        done = subprocess.run([sys.executable, *first, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
    assert program == "groundup", f"a page may not run {program}"
    from groundup import cli
    with contextlib.redirect_stdout(out):
        code = cli.main(arguments)
    assert code == 0, f"{command}\nleft with {code}\n{out.getvalue()}"
    return out.getvalue()

names = {}
for info, block in re.findall(r"(?ms)^```(\S+(?: title=\"[^\"]+\")?)\n(.*?)^```", page):
    language, _, title = info.partition(" title=")
    if title:
        with open(title.strip('"'), "w", encoding="utf-8") as file:
            file.write(block)
    elif language == "python":
        exec(compile(block, sys.argv[1], "exec"), names)
    elif language == "bash":
        printed = "\n".join(run(line) for line in block.replace("\\\n", " ").splitlines() if line.strip())
    elif language == "text" and printed:
        lines = {" ".join(line.split()) for line in printed.splitlines()}
        missing = [line for line in block.splitlines() if line.strip() and " ".join(line.split()) not in lines]
        assert not missing, "shown, and not printed:\n" + "\n".join(missing) + "\n--- printed:\n" + printed
print("executed", len(names) > 0)
'''


@pytest.mark.parametrize("name", EXECUTED)
def test_a_page_can_be_followed(name, tmp_path):
    for part in COPIED:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        ignored = {"ignore": shutil.ignore_patterns("__pycache__")} if copy is shutil.copytree else {}
        copy(ROOT / part, tmp_path / part, **ignored)
    command = [sys.executable, "-c", READER, str(ROOT / "docs" / name)]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert done.stdout.endswith("executed True\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_it_names_are_there(page):
    """`groundup/models/qwen3.py` and their like, but for those that the reader writes."""
    text = page.read_text(encoding="utf-8")
    written = set(re.findall(r'title="([^"]+)"', text))
    named = set(re.findall(r"`((?:groundup|tests)/[\w./]+)`", text)) | {
        f"groundup/{name}" for name in re.findall(r"`((?:layers|models|weights)/\w+\.py)`", text)
    }
    assert [name for name in named - written if not (ROOT / name).exists()] == []
