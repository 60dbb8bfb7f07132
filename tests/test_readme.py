"""What README.md says is true: its tree is the tree, its commands are understood, its links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundup import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def fences(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)


def shown_tree() -> dict[str, str]:
    """Path and comment of each line of the fence that begins with `groundup/`; two spaces deeper is one folder down."""
    trees = [fence for fence in fences("text") if fence.startswith("groundup/")]
    assert len(trees) == 1, "README.md has one tree: a ```text fence that begins with groundup/"
    shown: dict[str, str] = {}
    folders: list[str] = []
    for line in trees[0].splitlines():
        found = re.fullmatch(r"(?P<indent>[\s│├└─]*)(?P<name>\S+)(?:\s+(?P<comment>\S.*))?", line)
        if not found:
            continue
        depth = len(found["indent"]) // (4 if "─" in trees[0] else 2)
        name = found["name"].rstrip("/")
        path = "/".join([*folders[:depth], name])
        if found["name"].endswith("/"):
            folders[depth:] = [name]
        shown[path] = (found["comment"] or "").lstrip("# ").strip()
    return shown


def real_tree() -> set[str]:
    """Every folder of the package that holds Python, and its files, but for those that Python names."""
    files = {path.relative_to(ROOT) for path in (ROOT / "groundup").rglob("*.py")}
    named = {path for path in files if not path.name.startswith("__")}
    return {path.as_posix() for path in named} | {path.parent.as_posix() for path in files}


def commands() -> Iterator[str]:
    """Every `groundup VERB …` line of a bash fence, continued lines joined, comments and pipes cut off."""
    for fence in fences("bash"):
        for line in fence.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            starts = [index for index, word in enumerate(words) if word == "groundup" and words[index - 1] != "install"]
            if starts and starts[0] in (
                0,
                *(index + 1 for index, word in enumerate(words) if "=" in word or word == "-m"),
            ):
                rest = words[starts[0] + 1 :]
                ends = [index for index, word in enumerate(rest) if word in ("|", ">", "&&", ";", "<")]
                yield shlex.join(rest[: ends[0]] if ends else rest)


def test_the_tree_is_true() -> None:
    shown = shown_tree()
    in_package = {path for path in shown if path.split("/")[0] == "groundup"}
    # A folder may be shown without its files, but then without any of them.
    opened = {path.rpartition("/")[0] for path in in_package}
    expected = {path for path in real_tree() if path == "groundup" or path.rpartition("/")[0] in opened}
    assert in_package == expected
    assert [path for path in shown if not (ROOT / path).exists()] == []


def test_every_line_of_the_tree_says_what_it_is() -> None:
    assert [path for path, comment in shown_tree().items() if not comment and path != "groundup"] == []


@pytest.mark.parametrize("command", sorted(set(commands())) or [pytest.param("", id="none")])
def test_a_command_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command or "groundup" in README, "README.md shows no command in a ```bash fence"
    arguments = shlex.split(command)
    if not arguments or arguments[0].startswith("-") or len(arguments) == 1 and "" not in cli.verbs_of(arguments[0]):
        return
    verb, rest = cli.find(arguments)
    if "--config" in rest:  # the file is the reader's own
        at = rest.index("--config")
        del rest[at : at + 2]
    cli.parse(verb, rest, env={})


def test_the_commands_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for fence in fences("bash") for target in re.findall(r"(?m)^make ([a-z]+)", fence)}
    assert [target for target in targets if not re.search(rf"(?m)^{target}:", makefile)] == []


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
