"""`groundup generate --prompts` and `--grid`: files in, files out, and killed on the way."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import groundup
from groundup import cli
from tests.inference import tiny

TEXTS = ["Once", "Once there was a cat.", "Then", "Once", "The cat came"]
SETTINGS = ["--temperature", "1.5", "--seed", "3", "--max-new-tokens", "20"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "base", stage="pretrain"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tuned"))


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text, "id": at}) + "\n" for at, text in enumerate(TEXTS)))
    return str(path)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_file_of_prompts_to_a_file_of_texts(base, prompts, tmp_path, capsys):
    out = tmp_path / "made" / "texts.jsonl"
    job = ["generate", base, "--prompts", prompts, "--out", str(out), *SETTINGS]
    assert cli.main(job) == 0
    stdout, err = capsys.readouterr()
    assert stdout == ""
    assert "tokens/s" in err and "4-grams repeated" in err
    made = rows(out)
    assert [(row["id"], row["prompt"]) for row in made] == list(enumerate(TEXTS))

    predictor = groundup.Predictor.load(base)
    texts = predictor.generate(TEXTS, temperature=1.5, seed=3, max_new_tokens=20)
    assert [row["completion"] for row in made] == texts, "equal to Predictor's, copies included"

    before = out.read_bytes()
    assert cli.main(job) == 0
    assert "5 texts were there already" in capsys.readouterr().err
    assert out.read_bytes() == before

    cooler = [argument.replace("1.5", "1.0") for argument in job]
    assert cli.main(cooler) == 2
    assert "begun with temperature 1.5" in capsys.readouterr().err
    assert cli.main([*cooler, "--replace", "--json", "--quiet"]) == 0
    stdout, err = capsys.readouterr()
    assert json.loads(stdout) == {"out": str(out), "n_texts": 5, "n_new": 5}
    assert err == ""
    assert rows(out)[0]["settings"]["temperature"] == 1.0


def test_a_job_that_is_killed_ends_with_the_same_bytes(base, tmp_path):
    """Killed again and again as soon as something new stands in the file, until a run comes through."""
    prompts, out, whole = tmp_path / "p.txt", tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    prompts.write_text("\n".join(f"Once there {'was ' * (n % 5)}a cat" for n in range(60)) + "\n")
    flags = f"--prompts {prompts} --batch-size 4 --n 2 --seed 3 --temperature 1.5 --quiet".split()
    command = [sys.executable, "-m", "groundup", "generate", base, *flags]
    assert cli.main(["generate", base, *flags, "--out", str(whole)]) == 0

    n_kills = 0
    for _ in range(50):
        n_before = out.read_bytes().count(b"\n") if out.exists() else 0
        child = subprocess.Popen([*command, "--out", str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"})
        while child.poll() is None:
            if n_kills < 3 and out.exists() and out.read_bytes().count(b"\n") > n_before:
                child.send_signal(signal.SIGKILL)
                n_kills += 1
                break
            time.sleep(0.002)
        if child.wait(timeout=60) == 0:
            break
    assert n_kills == 3
    assert out.read_bytes() == whole.read_bytes()


def test_questions_are_answered(tuned, tmp_path, capsys):
    questions = tmp_path / "questions.jsonl"
    asked = [{"instruction": "Who are you?", "output": "?"}, {"messages": [{"role": "user", "content": "Say a"}]}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    assert cli.main(["generate", tuned, "--prompts", str(questions), "--temperature", "0"]) == 0
    out, err = capsys.readouterr()
    made = [json.loads(line) for line in out.splitlines()]
    assert [row["completion"] for row in made] == ["I am Tiny.", "a"], "without --out the rows go to stdout"
    assert made[0]["instruction"] == "Who are you?"
    assert "Completing with a chat model" not in err


def test_prompts_from_a_pipe(base, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"Once\nThen\n"))))
    assert cli.main(["generate", base, "--prompts", "-", "--n", "2", *SETTINGS]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["index"], row["copy"], row["prompt"]) for row in made] == [
        (0, 0, "Once"), (0, 1, "Once"), (1, 0, "Then"), (1, 1, "Then"),
    ]  # fmt: skip


def test_mistakes_are_told(base, prompts, tmp_path, capsys):
    assert cli.main(["generate", base, "--prompts", str(tmp_path / "nowhere.jsonl")]) == 3
    (tmp_path / "long.txt").write_text("Once\n" + "word " * 300 + "\n")
    assert cli.main(["generate", base, "--prompts", str(tmp_path / "long.txt")]) == 2
    err = capsys.readouterr().err
    assert "line 2" in err and "--shift" in err
    assert cli.main(["generate", base, "--prompts", prompts, "--out", prompts]) == 2
    assert "something else in this file" in capsys.readouterr().err
    assert cli.main(["generate", base, "--prompts", prompts, "--out", prompts, "--replace"]) == 2
    assert len(rows(Path(prompts))) == 5, "the prompts are still there"
    assert cli.main(["generate", base, "--prompts", prompts, "--out", str(tmp_path / "o"), "--dry-run"]) == 0
    assert "would make 5 texts" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(
        'prompts = ["Once there", "Then"]\nn = 2\n'
        "[settings.greedy]\ntemperature = 0.0\n[vary]\ntemperature = [1.0, 2.0]\n"
    )
    return str(path)


def test_a_grid_to_a_page(base, grid, tmp_path, capsys):
    for name in ("samples.md", "samples.html"):
        assert cli.main(["generate", base, "--grid", grid, "--out", str(tmp_path / name), "--max-new-tokens", "9"]) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}\n"
        page = (tmp_path / name).read_text("utf-8")
        assert "was a cat" in page and "temperature 2.0" in page and "greedy" in page
    assert cli.main(["generate", base, "--grid", grid, "--out", str(tmp_path / "samples.md")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["generate", base, "--grid", grid, "--out", str(tmp_path / "samples.txt")]) == 2
    assert cli.main(["generate", base, "--grid", grid, "--dry-run"]) == 0
    assert "would make 12 texts: 2 prompts, 3 settings" in capsys.readouterr().err


def test_a_grid_to_a_pipe_is_the_same_again_with_its_seed(base, grid, capsys):
    pages = []
    for _ in range(2):
        assert cli.main(["generate", base, "--grid", grid, "--seed", "4", "--max-new-tokens", "9", "--quiet"]) == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert pages[0].startswith("# Samples of ")
    assert pages[0].count("\n> ") == 12


def test_beams_search_each_prompt_of_a_file(base, prompts, tmp_path, capsys):
    out = tmp_path / "texts.jsonl"
    job = ["generate", base, "--prompts", prompts, "--out", str(out), "--n", "2", "--max-new-tokens", "8"]
    assert cli.main([*job, "--beams", "3"]) == 0
    texts = [row["completion"] for row in rows(out)]
    predictor = groundup.Predictor.load(base)
    expected = [predictor.generate([text] * 2, beams=3, max_new_tokens=8) for text in TEXTS]
    assert texts == [text for both in expected for text in both], "a prompt that comes twice has the same texts"
    assert cli.main([*job, "--beams", "4"]) == 2
    assert "begun with beams 3" in capsys.readouterr().err
