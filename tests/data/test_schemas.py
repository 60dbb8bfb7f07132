"""Other people's rows become conversations; those that cannot are counted with the reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from groundup.data import schemas
from groundup.errors import DataError

FIXTURES = Path(__file__).parent.parent / "fixtures" / "schemas"


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_fixture_rows(name: str) -> None:
    for case in json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")):
        assert schemas.detect(case["row"]) == name
        found = schemas.read(case["row"])
        assert [[message.role, message.content] for message in found.messages] == case["messages"]
        assert found.meta == {"schema": name}


def turns(*said: tuple[str, str]) -> dict:
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in said]}


REFUSED = {
    "no assistant": (turns(("human", "Hi")), "assistant has no turn"),
    "empty answer": ({"instruction": "Hi", "output": " "}, "the assistant's, is empty"),
    "empty question": ({"instruction": "", "output": "Hi"}, "the user's, is empty"),
    "two users": (turns(("human", "a"), ("human", "b"), ("gpt", "c")), "both the user's"),
    "late system": (turns(("human", "a"), ("system", "b"), ("gpt", "c")), "only come first"),
    "unknown speaker": (turns(("narrator", "a"), ("gpt", "c")), "'narrator' is not known"),
    "tool calls": (turns(("human", "a"), ("function_call", "{}"), ("gpt", "c")), "calls tools"),
    "openai tools": ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]}, "calls tools"),
    "image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not text"),
    "null content": ({"messages": [{"role": "user", "content": None}]}, "neither text nor a list"),
    "weight 0": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
        "weight 0",
    ),
    "bad answer": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "label": False},
        "marked as a bad one",
    ),
    "number": ({"instruction": "a", "output": 4}, "'output' does not hold text"),
    "history": ({"instruction": "a", "output": "b", "history": [["c"]]}, "history 1 is not a pair"),
    "no keys": ({}, r"no schema has the keys \(none\)"),
    "other keys": ({"question": "a", "answer": "b"}, "no schema has the keys answer, question"),
    "turn without value": ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt"}]}, "lacks"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case: str) -> None:
    row, reason = REFUSED[case]
    with pytest.raises(DataError, match=reason):
        schemas.read(row)


def test_mixed_files_are_read_row_by_row_and_counted(tmp_path: Path) -> None:
    good = [
        case["row"] for name in schemas.SCHEMAS for case in json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    ]
    rows = [*good, REFUSED["no assistant"][0], REFUSED["other keys"][0], REFUSED["no assistant"][0]]
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    counts: Counter[str] = Counter()
    notices: list[str] = []
    found = list(schemas.conversations([tmp_path], max_bad=3, notice=notices.append, count_by_schema=counts))
    assert len(found) == len(good) and counts == {"alpaca": 3, "sharegpt": 3, "openai": 3}
    assert "left out 3 of 12 rows: 2 x the assistant has no turn" in notices[0]
    assert notices[1] == "read 3 x openai, 3 x sharegpt, 3 x alpaca"
    with pytest.raises(DataError, match="no turn") as caught:
        list(schemas.conversations([tmp_path]))
    assert caught.value.where == f"{tmp_path / 'mixed.jsonl'}, row 10"


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match="no conversation in it"):
        list(schemas.conversations([tmp_path / "a.json"]))


@pytest.mark.parametrize(
    ("name", "schema", "n"),
    [
        ("alpaca_rasbt_1100.json.xz", "alpaca", 1100),
        ("alpaca_zh_1k.json.xz", "alpaca", 1000),
        ("sharegpt_dummy.json.xz", "sharegpt", 500),
        ("openai_messages_typed.jsonl.xz", "openai", 500),
    ],
)
def test_real_files(shared_data: Path, name: str, schema: str, n: int) -> None:
    counts: Counter[str] = Counter()
    assert len(list(schemas.conversations([shared_data / "sft" / name], count_by_schema=counts))) == n
    assert counts == {schema: n}
