"""The held-out questions on the report: accuracy by kind as bars that open to the answers, the wrong ones first.

A row of questions.jsonl: {kind, question, expected, answer, right, scored, wording_is_new}.
"""

from __future__ import annotations

from html import escape

from groundup.insight import svg
from groundup.insight.page import details, short
from groundup.train import tables

RIGHT_SHOWN = 40  # right answers per kind; wrong ones are all shown


def render(rows: list[tables.Row]) -> str:
    """Accuracy by kind as bars that open to the questions, after a few wrong answers of different kinds."""
    if not rows:
        return ""
    scored = [row for row in rows if row.get("scored", True)]
    kinds: dict[str, list[tables.Row]] = {}
    for row in [*scored, *(row for row in rows if not row.get("scored", True))]:
        kinds.setdefault(f"{row['kind']}{'' if row.get('scored', True) else ' (not scored)'}", []).append(row)
    said = [f"{name}: {_share(part)}" for name, part in _wordings(scored) if part]
    wrong: dict[str, tables.Row] = {}
    for row in scored:
        if not row["right"]:
            wrong.setdefault(row["kind"], row)
    examples = _question_table(list(wrong.values())[:6])
    return (
        "<h2>Questions it was never trained on</h2>"
        f'<p class="note">{escape("; ".join(said))}. Open a kind to read its questions.</p>'
        + "".join(_kind(name, part) for name, part in kinds.items())
        + (f"<h3>Some wrong answers</h3>{examples}" if wrong else "")
    )


def _wordings(scored: list[tables.Row]) -> list[tuple[str, list[tables.Row]]]:
    return [
        ("Right in all", scored),
        ("in wordings that were trained", [row for row in scored if not row.get("wording_is_new", False)]),
        ("in wordings that were not", [row for row in scored if row.get("wording_is_new", False)]),
    ]


def _kind(name: str, rows: list[tables.Row]) -> str:
    n_right = sum(bool(row["right"]) for row in rows)
    share = n_right / len(rows)
    counted = rows[0].get("scored", True)
    color = "part" if not counted else "good" if share >= 0.9 else "weak"
    summary = (
        f'<span class="row"><span>{escape(name)}</span>{svg.bar(share, color)}'
        f'<span>{share:.0%}</span><span class="dim">{n_right}/{len(rows)}</span></span>'
    )
    wrong, right = [row for row in rows if not row["right"]], [row for row in rows if row["right"]]
    hidden = len(right) - RIGHT_SHOWN
    more = f'<p class="note">and {hidden:,} more right answers, in questions.jsonl</p>' if hidden > 0 else ""
    return details(summary, _question_table(wrong + right[:RIGHT_SHOWN]) + more)


def _question_table(rows: list[tables.Row]) -> str:
    lines = "".join(
        f'<tr class="{_verdict(row)}"><td class="mark">{_verdict(row)}</td>'
        f"<td>{escape(short(row['question']))}</td>"
        f'<td class="answer" data-name="answer">{escape(short(row["answer"]))}</td>'
        f'<td data-name="expected">{escape(short(row.get("expected") or ""))}</td></tr>'
        for row in rows
    )
    head = "<tr><th></th><th>question</th><th>its answer</th><th>expected</th></tr>"
    return f'<div class="scroll"><table class="questions">{head}{lines}</table></div>'


def _verdict(row: tables.Row) -> str:
    return "right" if row["right"] else "wrong"


def _share(rows: list[tables.Row]) -> str:
    return f"{sum(bool(row['right']) for row in rows) / len(rows):.1%} of {len(rows):,}"
