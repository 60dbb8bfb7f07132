"""`groundup generate` as a person calls it: text on stdout, everything else on stderr."""

import io
import json
import subprocess
import sys

import pytest
import torch

import groundup
from groundup import cli
from groundup.tokenizer.train import train
from groundup.weights import checkpoint
from tests.inference import tiny

BEGINNING, REST = "Once there", tiny.STORY.removeprefix("Once there")
GREEDY = ["--temperature", "0", "--max-new-tokens", "60"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "base", stage="pretrain"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tuned"))


@pytest.fixture
def typed(monkeypatch):
    def put(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    put("")
    return put


def test_the_completion_is_all_that_goes_to_a_pipe(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, *GREEDY]) == 0
    assert capsys.readouterr() == (REST + "\n", "")


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_the_prompt_may_come_through_a_pipe(base, typed, capsys, arguments):
    typed(BEGINNING + "\n")
    assert cli.main(["generate", base, *arguments, *GREEDY]) == 0
    assert capsys.readouterr().out == REST + "\n"


def test_an_empty_prompt_begins_a_document(base, typed, capsys):
    assert cli.main(["generate", base, "", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out


def test_json_says_what_was_made_and_how(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, "--json", "--max-new-tokens", "4", "--top-k", "3"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert set(made) == {
        "prompt", "completion", "finish_reason", "n_tokens", "repeated_4grams", "tokens_per_second", "settings",
    }  # fmt: skip
    assert (made["prompt"], made["finish_reason"], made["n_tokens"]) == (BEGINNING, "length", 4)
    assert made["settings"]["top_k"] == 3

    again = ["generate", base, BEGINNING, "--max-new-tokens", "4", "--top-k", "3"]
    assert cli.main([*again, "--seed", str(made["settings"]["seed"])]) == 0
    assert capsys.readouterr().out == made["completion"] + "\n", "the seed that was drawn gives the same text"


def test_several_texts_differ(base, typed, capsys):
    arguments = ["generate", base, BEGINNING, "--n", "3", "--temperature", "3", "--seed", "1", "--max-new-tokens", "8"]
    assert cli.main([*arguments, "--json"]) == 0
    texts = [json.loads(line)["completion"] for line in capsys.readouterr().out.splitlines()]
    assert len(set(texts)) == 3
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "\n---\n".join(texts) + "\n"


def test_stop_trim_and_show_special(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, *GREEDY, "--stop", "dog, and"]) == 0
    assert capsys.readouterr().out == " was a cat. It saw a \n"
    assert cli.main(["generate", base, BEGINNING, "--temperature", "0", "--max-new-tokens", "12", "--trim"]) == 0
    assert capsys.readouterr().out == " was a cat.\n"
    assert cli.main(["generate", base, BEGINNING, *GREEDY, "--show-special"]) == 0
    assert capsys.readouterr().out == REST + "<|endoftext|>\n"


def test_settings_come_from_a_file_and_flags_beat_it(base, typed, capsys, tmp_path):
    preset = tmp_path / "sampling.toml"
    preset.write_text("[sampling]\ntemperature = 0.0\nmax_new_tokens = 3\nmin_p = 0.1\nrepetition_penalty = 1.5\n")
    assert cli.main(["generate", base, BEGINNING, "--json", "--config", str(preset), "--max-new-tokens", "2"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["n_tokens"] == 2
    assert (made["settings"]["temperature"], made["settings"]["min_p"]) == (0.0, 0.1)
    assert made["settings"]["repetition_penalty"] == 1.5


def test_completing_with_a_chat_model_is_said_unless_quiet(tuned, typed, capsys):
    assert cli.main(["generate", tuned, BEGINNING, *GREEDY]) == 0
    out, err = capsys.readouterr()
    assert out == REST + "\n"
    assert "groundup chat" in err
    assert cli.main(["generate", tuned, BEGINNING, *GREEDY, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_context_is_said(base, typed, capsys):
    prompt = (tiny.STORY + " ") * 2 + "Once there was a"
    assert 80 < len(tiny.tokenizer().encode(prompt)) < 96
    assert cli.main(["generate", base, prompt, "--max-new-tokens", "500", "--temperature", "0"]) == 0
    err = capsys.readouterr().err
    assert "context of 96 tokens is full" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-p", "0"], "top_p"),
        (["--temperature", "-1"], "temperature"),
        (["--max-new-tokens", "0"], "max_new_tokens"),
        (["--n", "0"], "n is 0"),
        (["--temperatur", "1"], "--temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--stop-ids", "4000"], "no token"),
        (["--stop", ""], "stop"),
        (["--preset", "nowhere.toml"], "nowhere.toml"),
        (["--prompts", "x.jsonl"], "two jobs"),
        (["--grid", "x.toml"], "two jobs"),
        (["--out", "x.txt"], "--prompts or --grid"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--best"], "--n 8 --best"),
        (["--beams", "2", "--lookup"], "drafts guess for texts that are drawn"),
        (["--draft", "x", "--prompt-lookup"], "both guess ahead"),
        (["--beams", "-1"], "beams is -1"),
        (["--beams", "4", "--temperature", "0"], "temperature is for drawing"),
        (["--beams", "4", "--n-alternatives", "2"], "n_alternatives is for drawing"),
        (["--beams", "4", "--shift"], "--shift is for texts that are drawn"),
        (["--beams", "4", "--best", "--n", "2"], "--best is for texts that are drawn"),
        (["--beams", "2", "--n", "3"], "--beams 3"),
        (["--length-penalty", "2"], "length_penalty weighs"),
        (["--beams", "2", "--length-penalty", "nan"], "length_penalty is nan"),
    ],
)
def test_settings_that_cannot_be_meant_end_with_2(base, typed, capsys, arguments, message):
    assert cli.main(["generate", base, "a", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_prompt_beyond_the_context_ends_with_2(base, typed, capsys):
    assert cli.main(["generate", base, "word " * 300]) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert "context of 96" in err
    assert "--shift" in err


def test_shift_goes_beyond_the_context_with_a_warning(base, typed, capsys):
    for prompt, n in (("word " * 300, 5), (BEGINNING, 150)):
        # Nothing ends it: the id that would is ruled out by the draw's own rules at this temperature only by chance.
        arguments = ["--shift", "--max-new-tokens", str(n), "--temperature", "5", "--seed", "1", "--json"]
        assert cli.main(["generate", base, prompt, *arguments]) == 0
        out, err = capsys.readouterr()
        made = json.loads(out)
        if made["finish_reason"] == "length":
            assert made["n_tokens"] == n
            assert "longer than the context of 96" in " ".join(err.split())


def test_the_best_of_several_is_the_likeliest(base, typed, capsys):
    arguments = ["generate", base, BEGINNING, "--n", "6", "--temperature", "3", "--seed", "1", "--max-new-tokens", "8"]
    assert cli.main([*arguments, "--best"]) == 0
    best = capsys.readouterr().out.removesuffix("\n")
    speaker = groundup.load(base)
    made = groundup.Predictor(speaker).complete([BEGINNING] * 6, temperature=3.0, seed=1, max_new_tokens=8)

    def likelihood(each) -> float:
        """By one full pass over prompt and text."""
        ids = torch.tensor([[*speaker.prompt_ids(BEGINNING), *each.ids]])
        logprobs = speaker.model(ids)[0].log_softmax(-1)
        n = len(each.ids)
        return sum(float(logprobs[-n - 1 + at, id_]) for at, id_ in enumerate(each.ids)) / n

    with torch.no_grad():
        assert best == max(made, key=likelihood).text
    assert len({each.text for each in made}) > 1


def test_beams_give_the_best_texts_with_their_scores(base, typed, capsys):
    arguments = ["generate", base, "The", "--beams", "4", "--max-new-tokens", "9", "--stop", "slept"]
    assert cli.main([*arguments, "--n", "3", "--json"]) == 0
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = [each["score"] for each in made]
    assert scores == sorted(scores, reverse=True) and len({each["completion"] for each in made}) == 3
    assert made[0]["settings"]["beams"] == 4 and "temperature" not in made[0]["settings"]
    assert not any("slept" in each["completion"] for each in made)

    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == made[0]["completion"] + "\n"
    predictor = groundup.Predictor.load(base)
    texts = predictor.generate(["The"] * 3, beams=4, max_new_tokens=9, stop="slept")
    assert texts == [each["completion"] for each in made]


@pytest.mark.parametrize("extra", [["--temperature", "0"], ["--temperature", "1.5", "--seed", "3"]])
def test_drafts_change_no_text_and_say_how_often_they_were_right(base, tuned, typed, capsys, extra):
    arguments = ["generate", base, BEGINNING, "--max-new-tokens", "40", "--json", *extra]
    assert cli.main(arguments) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "n_drafted" not in plain
    for draft in (["--draft", tuned], ["--lookup"], ["--prompt-lookup", "--n", "2"]):
        assert cli.main([*arguments, *draft]) == 0
        made = json.loads(capsys.readouterr().out.splitlines()[0])
        assert made["completion"] == plain["completion"]
        if "--draft" in draft:  # of the same weights, which draw with the same numbers
            assert made["n_accepted"] == made["n_drafted"] > 8


def test_a_draft_that_does_not_belong_ends_with_5(base, typed, capsys, tmp_path):
    checkpoint.save(tmp_path / "other", tiny.model(), train([tiny.STORY], 300))
    assert cli.main(["generate", base, BEGINNING, "--draft", str(tmp_path / "other")]) == 5
    err = capsys.readouterr().err
    assert f"error: the draft model has another tokenizer than {base}" in err
    assert cli.main(["generate", base, BEGINNING, "--draft", str(tmp_path / "nowhere")]) == 2


def test_json_tells_what_else_was_likely(base, typed, capsys):
    arguments = ["generate", base, BEGINNING, "--json", "--n-alternatives", "3", "--temperature", "0"]
    assert cli.main([*arguments, "--max-new-tokens", "5"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert "".join(token["token"] for token in made["tokens"]) == made["completion"]
    for token in made["tokens"]:
        assert len(token["alternatives"]) == 3
        assert token["alternatives"][0] == {name: token[name] for name in ("id", "token", "logprob")}


def test_a_preset_is_taken_and_flags_beat_it(base, typed, capsys, tmp_path):
    preset = tmp_path / "calm.toml"
    preset.write_text("temperature = 0.0\nmax_new_tokens = 3\nmin_p = 0.1\n")
    assert cli.main(["generate", base, BEGINNING, "--json", "--preset", str(preset), "--max-new-tokens", "2"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["n_tokens"], made["settings"]["temperature"], made["settings"]["min_p"]) == (2, 0.0, 0.1)
    preset.write_text("temperature = 0.0\ntemprature = 3\n")
    assert cli.main(["generate", base, BEGINNING, "--preset", str(preset)]) == 2
    assert "calm.toml:2" in capsys.readouterr().err


def test_a_text_that_repeats_itself_is_told(base, typed, capsys, monkeypatch):
    from groundup.inference import engine

    monkeypatch.setattr(engine, "follow", lambda *_: (id_ for id_ in [70] * 60))
    assert cli.main(["generate", base, BEGINNING]) == 0
    assert "98% of its runs of four tokens are repetitions" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("extra", [[], ["--json"], ["--n", "2"]])
def test_ctrl_c_leaves_with_what_was_made(base, typed, capsys, monkeypatch, extra):
    from groundup.inference import language_model

    def interrupting(*arguments, **options):
        speaker = load(*arguments, **options)
        hidden, calls = speaker.model.hidden, []

        def counted(*arguments, **options):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return hidden(*arguments, **options)

        monkeypatch.setattr(speaker.model, "hidden", counted)
        return speaker

    load = language_model.load
    monkeypatch.setattr(language_model, "load", interrupting)
    assert cli.main(["generate", base, BEGINNING, *GREEDY, *extra]) == 130
    out, err = capsys.readouterr()
    assert "interrupted" in err
    text = json.loads(out)["completion"] if "--json" in extra else out.split("\n")[0]
    assert text and REST.startswith(text)


def test_a_closed_pipe_is_no_error(base):
    command = f"{sys.executable} -m groundup generate {base} 'Once there' --n 200 --json --quiet | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


def test_dry_run_makes_nothing(base, typed, capsys):
    assert cli.main(["generate", base, BEGINNING, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "would continue" in err


def test_no_model_ends_with_2(typed, capsys, tmp_path):
    assert cli.main(["generate"]) == 2
    assert cli.main(["generate", str(tmp_path / "nowhere"), "a"]) == 2
    assert capsys.readouterr().out == ""
