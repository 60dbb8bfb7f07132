"""The two trainings as a user calls them: raw text in, a checkpoint out that transformers opens, then a chat model."""

import json
from pathlib import Path

import pytest
import torch

from groundup import models
from groundup.cli import main
from groundup.text import stories
from groundup.weights import checkpoint

TINY = [
    "--arch.n-layers",
    "1",
    "--arch.d-model",
    "32",
    "--arch.n-heads",
    "2",
    "--arch.n-kv-heads",
    "2",
    "--arch.d-ff",
    "64",
]
FAST = ["--batch-size", "8", "--precision", "fp32", "--quiet"]


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join(stories.story(0, index) for index in range(40)))
    return str(file)


def pretrain(capsys, text, run_dir, *more, model=("--model", "llama")):
    n_steps = () if "--n-steps" in more else ("--n-steps", "20")
    fast = FAST[2:] if "--batch-size" in more else FAST
    tiny = [*TINY[:6], *TINY[8:]] if "lab" in model else TINY
    code = main(
        ["pretrain", text, *model, *tiny, *fast, "--vocab-size", "300", "--context-length", "32", *n_steps,
         "--run-dir", str(run_dir), "--json", *more]
    )  # fmt: skip
    out = capsys.readouterr()
    return code, out


def test_raw_text_to_a_model_that_transformers_opens(text, tmp_path, capsys):
    code, out = pretrain(capsys, text, tmp_path / "run")
    assert code == 0, out.err
    result = json.loads(out.out)
    assert result["n_steps"] == 20 and result["val_loss"] < 5.0

    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = checkpoint.load(tmp_path / "run")
    theirs = AutoModelForCausalLM.from_pretrained(result["checkpoint"])
    ids = loaded.tokenizer.encode("The cat and").tolist()
    assert AutoTokenizer.from_pretrained(result["checkpoint"]).encode("The cat and") == ids
    ours = checkpoint.load(result["checkpoint"]).model
    with torch.no_grad():
        torch.testing.assert_close(ours(torch.tensor([ids])), theirs(torch.tensor([ids])).logits, atol=1e-5, rtol=0)

    from groundup.inference import engine
    from groundup.inference.settings import Settings

    (made,) = engine.generate(ours, [ids], Settings(max_new_tokens=20, temperature=0.0))
    expected = theirs.generate(
        torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert made.ids == expected[0, len(ids) :].tolist()
    for name in (
        "config.toml",
        "run.json",
        "metrics.jsonl",
        "metrics.csv",
        "samples.jsonl",
        "report.html",
        "plots/loss.svg",
    ):
        assert (tmp_path / "run" / name).stat().st_size > 0


def test_gpt2_by_size_from_a_raw_file(text, tmp_path, capsys):
    shape = ["--arch.n-layers", "1", "--arch.d-model", "32", "--arch.n-heads", "2", "--arch.d-ff", "64"]
    code = main(
        ["pretrain", "--data", text, "--model", "gpt2", "--size", "124", *shape, *FAST, "--vocab-size", "300",
         "--context-length", "32", "--n-steps", "5", "--run-dir", str(tmp_path / "run")]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    assert checkpoint.load(tmp_path / "run").contract.family == "gpt2"


def test_another_configuration_in_the_folder_is_refused(text, tmp_path, capsys):
    pretrain(capsys, text, tmp_path / "run")
    code, out = pretrain(capsys, text, tmp_path / "run", "--lr", "0.5")
    assert code == 2
    assert "lr" in out.err and "hint:" in out.err


def test_no_data_and_text_that_is_too_short(tmp_path, capsys):
    assert main(["pretrain"]) == 2
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    code, out = pretrain(capsys, str(short), tmp_path / "run")
    assert code == 3, out.err
    assert "error:" in out.err and "Traceback" not in out.err


def test_a_vocabulary_below_the_bytes_is_refused(text, tmp_path, capsys):
    code = main(["pretrain", text, "--vocab-size", "100", "--run-dir", str(tmp_path / "run"), "--quiet"])
    assert code == 2 and "256" in capsys.readouterr().err


@pytest.fixture
def belle(tmp_path):
    """Belle's form of ShareGPT: `human` and `assistant`."""
    file = tmp_path / "belle.json"
    rows = [
        {"id": str(i), "conversations": [
            {"from": "human", "value": f"{n} 加一"}, {"from": "assistant", "value": f"是 {n + 1}。"},
        ]}
        for i, n in enumerate(list(range(5)) * 12)
    ]  # fmt: skip
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return str(file)


def test_belle_conversations_train_and_generation_stops_by_itself(text, belle, tmp_path, capsys):
    assert pretrain(capsys, text, tmp_path / "base", "--arch.context-length", "128")[0] == 0
    code = main(
        ["sft", str(tmp_path / "base"), "--data", belle, "--run-dir", str(tmp_path / "chat"), "--n-steps", "60", *FAST,
         "--context-length", "64", "--json", "--lr", "1e-2"]
    )  # fmt: skip
    out = capsys.readouterr()
    assert code == 0, out.err
    assert json.loads(out.out)["val_loss"] < 1.0

    import groundup

    model = groundup.load(str(tmp_path / "chat"))
    assert model.tokenizer.chat_template
    messages = [{"role": "user", "content": "3 加一"}]
    reply = groundup.generate(model, messages=messages, temperature=0.0, max_new_tokens=40)
    assert reply.startswith("是") and len(reply) <= 8  # forty tokens would be far longer: it stopped by itself


def test_conversations_without_anything_to_learn_are_an_error_with_counts(text, tmp_path, capsys):
    pretrain(capsys, text, tmp_path / "base")
    silent = tmp_path / "silent.jsonl"
    silent.write_text(json.dumps({"messages": [{"role": "user", "content": "hello?"}]}) + "\n")
    code = main(["sft", str(tmp_path / "base"), "--data", str(silent), "--run-dir", str(tmp_path / "x"), "--quiet"])
    err = capsys.readouterr().err
    assert code == 3 and "1" in err and "Traceback" not in err


def test_evaluate_prints_loss_perplexity_and_bits_per_byte(text, tmp_path, capsys):
    pretrain(capsys, text, tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--data", text, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= {"loss", "perplexity", "bits_per_byte", "n_targets"}
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "run" / "data")]) == 0
    assert "bits per byte" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["sft", "evaluate"])
def test_a_model_without_a_tokenizer_is_refused(verb, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shape = {"vocab_size": 300, "context_length": 16, "n_layers": 1, "d_model": 32, "n_heads": 2, "d_ff": 64}
    checkpoint.save(tmp_path / "bare", models.build("llama", "nano", shape, seed=0))
    assert main([verb, str(tmp_path / "bare"), "--data", text, "--quiet"]) == 5
    err = capsys.readouterr().err
    assert "has no tokenizer" in err and "together with its tokenizer" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "lama"], "model is 'lama'; valid values are"),
        (["--size", "huge"], "size is 'huge'; valid values for llama are nano"),
        (["--arch.n-layer", "2"], "n_layer is no field of llama"),
        (["--arch.n-heads", "5"], "n_heads is 5; valid values divide d_model"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_anything_is_made(text, tmp_path, capsys, options, message):
    assert main(["pretrain", text, "--run-dir", str(tmp_path / "run"), *options]) == 2
    said = capsys.readouterr().err
    assert message in said and "groundup model info" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, code, message",
    [
        (["--batch-size", "7", "--micro-batch-size", "2"], 2, "micro_batch_size = 2: does not divide the 7"),
        (["--device", "cuda:7"], 4, "there is no device cuda:7"),
        (["--device", "gpu"], 2, "device 'gpu' is not known"),
        (["--train.lrr", "1"], 2, "did you mean --train.lr?"),
        (["--batch-size", "4000"], 3, "fewer than one batch of 4000"),
        (["--ban", "4711"], 2, "document 4711 cannot be banned"),
        (["--resume-from", "elsewhere"], 2, "there is no checkpoint to resume from"),
        (["--devices", "3"], 2, "not a multiple of devices = 3"),
    ],
)
def test_bad_input_is_one_sentence_and_the_right_exit_code(text, tmp_path, capsys, options, code, message):
    found, out = pretrain(capsys, text, tmp_path / "run", *options)
    assert (found, message in out.err) == (code, True), out.err
    assert "Traceback" not in out.err


def test_the_batch_can_be_told_in_accumulated_steps_too(text, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert pretrain(capsys, text, whole)[0] == 0
    assert pretrain(capsys, text, parts, "--gradient-accumulation-steps", "4")[0] == 0
    losses = [[row["train_loss"] for row in rows(run) if "train_loss" in row] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def rows(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_a_comparison_trains_every_combination_and_tells_the_best(text, tmp_path, capsys):
    run_dir = tmp_path / "compare"
    options = ["--compare", "norm=rms,layer", "--seeds", "2", "--n-steps", "4"]
    code, out = pretrain(capsys, text, run_dir, *options, model=("--model", "lab"))
    assert code == 0, out.err
    results = {result["name"]: result["val_losses"] for result in json.loads(out.out)["results"]}
    assert set(results) == {"norm=rms", "norm=layer"} and all(len(losses) == 2 for losses in results.values())
    assert (run_dir / "ablation.png").is_file() and (run_dir / "norm-rms" / "seed-1" / "card.json").is_file()
    assert not (run_dir / "norm-rms" / "seed-1" / "data").exists()  # all runs read the same shards

    code, out = pretrain(capsys, text, tmp_path / "no", "--compare", "norm=rms,nrom", model=("--model", "lab"))
    assert code == 2 and "norm" in out.err


def test_a_run_goes_on_when_its_folder_is_named_and_from_a_checkpoint_that_is_named(
    text, tmp_path, monkeypatch, capsys
):
    """Also where the folder had its name from us the first time, or is told in another way."""
    monkeypatch.chdir(tmp_path)
    steps = ("--n-steps", "4", "--save-every", "2", "--keep", "9")
    code, out = pretrain(capsys, text, "", *steps)
    first = json.loads(out.out)
    assert code == 0 and first["run_dir"] == str(Path("runs", "pretrain-1"))
    code, out = pretrain(capsys, text, f"{tmp_path}/runs/pretrain-1", *steps)
    assert code == 0, out.err
    earlier = str(Path("runs", "pretrain-1", "checkpoints", "step-00000002"))
    code, out = pretrain(capsys, text, Path("runs", "pretrain-1"), *steps, "--resume-from", earlier)
    assert code == 0, out.err
    assert json.loads(out.out)["val_loss"] == first["val_loss"]
    assert '"kind":"resumed","step":2' in Path("runs", "pretrain-1", "events.jsonl").read_text()


def test_rows_longer_than_the_model_and_conversations_of_another_template_are_refused(text, belle, tmp_path, capsys):
    gpt2 = ("--arch.n-layers", "1", "--arch.d-model", "32", "--arch.n-heads", "2")
    fast = [*FAST, "--vocab-size", "300", "--context-length", "32", "--n-steps", "2"]
    assert main(["pretrain", text, "--model", "gpt2", *gpt2, *fast, "--run-dir", str(tmp_path / "base")]) == 0
    sft = ["sft", str(tmp_path / "base"), *FAST, "--n-steps", "2"]
    made = ["--data", belle, "--run-dir", str(tmp_path / "long"), "--context-length", "128"]
    assert main([*sft, *made]) == 2
    said = capsys.readouterr().err
    assert "rows of 128 tokens are too long for the model, whose context is 32" in said
    made = ["--data", str(tmp_path / "long" / "data"), "--run-dir", str(tmp_path / "other"), "--template", "plain"]
    assert main([*sft, *made]) == 2
    assert "written by the template 'chatml', not 'plain'" in capsys.readouterr().err
