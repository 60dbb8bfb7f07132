"""The report: one page, complete, harmless whatever the model wrote."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from groundup.errors import ArtefactError, UsageError
from groundup.insight import report, svg
from groundup.insight.page import STYLE
from groundup.train.curves import Curve
from groundup.train.run_folder import RunFolder

VOID = {"meta", "link", "br", "hr", "img", "input"}
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</blockquote></main><iframe src='https://example.com'></iframe>",
    "'\" onmouseover=alert(1) x='",
    "<svg/onload=alert(1)>",
    "</style><style>@import 'https://example.com'</style>",
    "javascript:alert(1)",
    "\u202e&lt;b&gt; \x00 \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
)


class Page(HTMLParser):
    """Tags with attributes and the text between them; fails on tags that do not match."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_self_contained(page: Page) -> None:
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "link", "style", "body", "main", "footer", "h1", "h2", "h3", "p", "div"),
        *("span", "b", "code", "blockquote", "table", "tr", "th", "td", "details", "summary", "figure", "figcaption"),
        *("svg", "path", "line", "rect", "circle", "text", "g"),
    }
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "style", "srcset") for name in attributes)
        assert attributes.get("href", "data:,") == "data:,"
    assert "url(" not in STYLE and "@import" not in STYLE


def test_a_demo_shows_everything(demo_dir: Path) -> None:
    path = report.write(demo_dir)
    assert path == demo_dir / "report.html"
    page = Page(path)
    check_self_contained(page)
    for said in (
        "bits per byte on held-out text", "3.21M", "9.83M", "5:01", "1.31 GB", "of 280 held-out questions right",
        "The capital of France is Paris.", "two red sails", "Pretraining", "Instruction tuning", "Learning rate",
        "Tokens per second", "step 1,200", "do not know", "stories (not scored)", "Some wrong answers",
        "Anna has the lantern at the harbour.", "Where the time went", "pretrain: configuration", "train.schedule",
        "environment GROUNDUP_SCHEDULE", "preset nano", "flag --n-steps", "3f6ab0b2c41d9e77", "21,300",
        "9.83M tokens (2.0 times the 4.81M",
        "3.1 tokens per parameter; the rule of thumb is 20", "in wordings that were not", "config hash",
    ):  # fmt: skip
        assert said in page.text, said


def test_accuracy_on_the_page_is_that_of_the_questions(demo_dir: Path) -> None:
    rows = [json.loads(line) for line in (demo_dir / "questions.jsonl").read_text().splitlines()]
    html = report.write(demo_dir).read_text(encoding="utf-8")
    for kind in {row["kind"] for row in rows}:
        right = [row["right"] for row in rows if row["kind"] == kind]
        name = kind + (" (not scored)" if kind == "stories" else "")
        found = re.search(rf"<span>{re.escape(name)}</span>.*?<span>(\d+)%</span>.*?>(\d+)/(\d+)<", html)
        assert found and int(found[2]) == sum(right) and int(found[3]) == len(right)
        assert int(found[1]) == round(100 * sum(right) / len(right))
    bodies = re.findall(r"<details><summary><span class=\"row\">.*?</details>", html, re.DOTALL)
    for body in bodies:
        marks = re.findall(r'<tr class="(right|wrong)"', body)
        assert marks == sorted(marks, reverse=True), "wrong answers come first"


def test_a_single_run(run_dir: Path) -> None:
    page = Page(report.write(run_dir))
    check_self_contained(page)
    assert "Pretraining" in page.text and "Samples over time" in page.text and "held-out questions" not in page.text
    assert "What it says" not in page.text and "Where the time went" not in page.text


def test_same_files_same_page(run_dir: Path) -> None:
    first = report.write(run_dir).read_bytes()
    assert report.write(run_dir).read_bytes() == first


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_was_written_becomes_markup(tmp_path: Path, payload: str) -> None:
    folder = tmp_path / "run <b> & 'x'"
    facts = {"seed": payload, "n_parameters": 10, payload: payload}
    toml = f"prompt = {json.dumps(payload)}  # {payload}\n".replace("\\u0000", "")
    with RunFolder.open(folder, verb=payload, config_toml=toml, config_hash=payload, facts=facts, resume=True) as run:
        run.metric({"step": 1, "train_loss": 2.0, payload: payload})
        run.sample(1, payload, payload)
        run.note = payload  # type: ignore[attr-defined]
    question = {"kind": payload, "question": payload, "expected": payload, "answer": payload, "right": False}
    (folder / "questions.jsonl").write_text(json.dumps(question) + "\n")
    summary = {"story": payload, "dialogue": [{"role": payload, "content": payload}], "seconds_by_phase": {payload: 1}}
    (folder / "demo.json").write_text(json.dumps(summary))
    page = Page(report.write(folder))
    check_self_contained(page)
    shown = payload.replace("\0", "\ufffd")
    assert page.text.replace("\0", "\ufffd").count(shown) >= 8, "shown as what it is"
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy and policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy


def test_missing_parts_are_absent(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "train_loss": 3.0}\n{"step": 6, "train_lo')
    page = Page(report.write(tmp_path))
    assert "Loss per token" in page.text and "Learning rate" not in page.text and "Samples" not in page.text
    (tmp_path / "metrics.jsonl").write_text("")
    assert "Loss per token" not in Page(report.write(tmp_path)).text


def test_a_run_that_diverged_is_drawn(tmp_path: Path) -> None:
    values = [3.0, None, 1e9, -1e-9, 2.0, 1e300]
    rows = [{"step": 10**9 + i, "train_loss": value, "lr": 0.0} for i, value in enumerate(values)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = Page(report.write(tmp_path))
    numbers = " ".join(str(value) for _, attributes in page.tags for value in attributes.values())
    assert "nan" not in numbers and "inf" not in numbers


def test_folders_without_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError) as refused:
            report.write(path)
        assert refused.value.hint
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ArtefactError):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_an_interrupted_run_says_so(run_dir: Path) -> None:
    about = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps(about | {"state": "running"}))
    assert "interrupted" in Page(report.write(run_dir)).text


@pytest.mark.parametrize("limits", [(0, 1), (1.7, 9.1), (-3e-5, 4e-5), (0, 123_456_789), (2.0, 2.0), (1e9, 1e9 + 7)])
def test_ticks_are_round_and_inside(limits: tuple[float, float]) -> None:
    low, high = limits
    found = svg.ticks(low, high, 5)
    assert 1 <= len(found) <= 12
    if high > low:
        assert all(low - 1e-9 * abs(low) <= tick <= high * (1 + 1e-9) for tick in found)
        step = found[1] - found[0]
        assert step / 10 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(
            round(step / 10 ** math.floor(math.log10(step) + 1e-9))
        )


def test_a_curve_stands_where_its_values_are() -> None:
    line = svg.Line("a", "train", Curve(np.array([0, 50, 100]), np.array([0.0, 1.0, 0.5])))
    drawn = svg.chart("x", [line], (0.0, 1.0), lambda value: f"{value:.1f}")
    assert 'd="M0.0 1000.0L500.0 0.0L1000.0 500.0"' in drawn
    assert '<text x="8" y="50.0%" dy="4" class="train">a 0.5</text>' in drawn
