"""The lists that set-up reads agree with each other."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lines(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def plain(requirement: str) -> str:
    return re.split(r"[<>=\[;]", requirement)[0].lower().replace("_", "-")


def test_requirements_are_those_of_the_package() -> None:
    assert lines("requirements.txt") == PROJECT["dependencies"]


def test_constraints_pin_everything_that_make_installs_and_name_no_host() -> None:
    pinned = {plain(line) for line in lines("constraints.txt")}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9.]*", line) for line in lines("constraints.txt"))
    extras = PROJECT["optional-dependencies"]
    needed = (*PROJECT["dependencies"], *extras["plots"], *extras["test"], *extras["bench"])
    assert {plain(line) for line in needed} <= pinned


def test_continuous_integration_runs_make_test() -> None:
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
