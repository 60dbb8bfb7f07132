"""docs/reliability.md names for every fault the tests that show it, and these tests exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
TABLE = [line.strip("|").split("|") for line in PAGE.splitlines() if re.match(r"\| T\d+ ", line)]
ROWS = {cells[0].strip(): cells for cells in TABLE}


def exists(test_id: str) -> bool:
    file, _, name = test_id.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return not name or any(isinstance(one, ast.FunctionDef) and one.name == name for one in ast.walk(tree))


def test_every_fault_has_a_row_and_every_row_a_test_that_exists():
    assert list(ROWS) == [f"T{number}" for number in range(1, 15)]
    for fault, row in ROWS.items():
        ids = re.findall(r"`(tests/[^`]+)`", "|".join(row))
        assert ids, f"{fault} names no test"
        for test_id in ids:
            assert exists(test_id), f"{fault} names {test_id}, which is not there"
