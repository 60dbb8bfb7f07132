"""`groundup model`: what a person types, in every spelling and for every sort of model, and what they read."""

import json
import re

import pytest

from groundup import models
from groundup.cli import main
from groundup.commands.model import columns
from groundup.weights import checkpoint


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def told(capsys, *arguments):
    """(exit code, stdout, stderr)"""
    code = main(["model", *map(str, arguments)])
    return code, *capsys.readouterr()


def facts(capsys, *arguments):
    code, out, _ = told(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


# --- which model ---


@pytest.mark.parametrize(
    ("spelling", "name", "parameters"),
    [
        ("124M", "gpt2-124m", 124_439_808),
        ("gpt2", "gpt2-124m", 124_439_808),
        ("gpt2-124m", "gpt2-124m", 124_439_808),
        ("llama-215m", "llama-215m", 215_127_040),
        ("llama3.2-1b", "llama3.2-1b", 1_235_814_400),
        ("Llama-3.2-1B", "llama3.2-1b", 1_235_814_400),
        ("llama3.1-405b", "llama3.1-405b", 405_853_388_800),
        ("qwen3-0.6b", "qwen3-0.6b", 596_049_920),
        ("smollm2-135m", "smollm2-135m", 134_515_008),
    ],
)
def test_a_preset_in_the_spellings_that_people_use(spelling, name, parameters, capsys):
    found = facts(capsys, "info", spelling)
    assert (found["name"], found["parameters"]) == (name, parameters)
    assert facts(capsys, "explain", spelling)["parameters"] == parameters


def test_every_name_of_the_table_is_understood(capsys):
    rows = facts(capsys, "info")
    assert len(rows) == len({row["name"] for row in rows}) == sum(len(models.family(f).PRESETS) for f in models.names())
    for row in rows:
        family, config = models.find(row["name"])
        assert (family, models.family(family).count_parameters(config)) == (row["family"], row["parameters"])


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (["info", "lama3.2-1b"], "no model is called lama3.2-1b", "did you mean llama3.2-1b?"),
        (["info", "zzz"], "no model is called zzz", "groundup model info lists all"),
        (["explain", "nano"], "several models are called nano", "gpt2-nano, "),
        (["explain"], "no model was named", "groundup model info lists"),
        (["info", "./nowhere"], "there is no such folder", ""),
        (["info", "nowhere.gguf"], "there is no such", ""),
        (["info", "gpt2", "--micro-batch-size", "0"], "micro_batch_size is 0", ""),
        (["info", "gpt2", "--context-length", "-1"], "context_length is -1", ""),
        (["explain", "gpt2", "--layer", "12"], "layer is 12; valid values are 0 to 11", ""),
    ],
)
def test_what_cannot_be_meant(arguments, what, hint, capsys):
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (2, "")
    assert what in err
    assert hint in err


def test_a_checkpoint_a_run_and_a_config_alone(tmp_path, capsys):
    model = models.build("qwen3", "nano", {"vocab_size": 70, "tie_embeddings": False}, seed=0)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    checkpoint.save(tmp_path / "run" / "checkpoints" / "step-1", model)
    (tmp_path / "run" / "latest").write_text("checkpoints/step-1")
    (tmp_path / "alone").mkdir()
    config_json = (tmp_path / "run" / "checkpoints" / "step-1" / "config.json").read_text()
    (tmp_path / "alone" / "config.json").write_text(config_json)

    for path in ("run", "run/checkpoints/step-1", "alone", "alone/config.json"):
        assert facts(capsys, "info", tmp_path / path)["parameters"] == n_parameters
    assert facts(capsys, "explain", tmp_path / "run")["family"] == "qwen3"

    # What another program's file says and nobody here knows is named, and the rest is shown.
    unknown = json.loads(config_json) | {"gate_warmth": 7}
    (tmp_path / "alone" / "config.json").write_text(json.dumps(unknown))
    code, out, err = told(capsys, "info", tmp_path / "alone")
    assert code == 0
    assert "gate_warmth = 7" in err
    assert f"{n_parameters:,}" in out
    assert told(capsys, "info", tmp_path / "alone", "--quiet")[2] == ""


@pytest.mark.parametrize("absurd", [{"num_hidden_layers": 10**9}, {"vocab_size": 10**15}])
def test_a_config_that_claims_the_impossible_is_refused_at_once(absurd, tmp_path, capsys):
    checkpoint.save(tmp_path / "step", models.build("llama", "nano", {"vocab_size": 70}, seed=0))
    content = json.loads((tmp_path / "step" / "config.json").read_text()) | absurd
    (tmp_path / "config.json").write_text(json.dumps(content))
    for verb in ("info", "explain"):
        code, out, err = told(capsys, verb, tmp_path)
        assert (code, out) == (5, "")
        assert "which cannot be meant" in err


def test_a_gguf_file(tmp_path, capsys):
    pytest.importorskip("gguf")
    from groundup.weights import gguf, portable

    model = models.build("llama", "nano", {"vocab_size": 70}, seed=0)
    gguf.write(tmp_path / "m.gguf", portable.of(model), "F32")
    assert facts(capsys, "info", tmp_path / "m.gguf")["parameters"] == sum(p.numel() for p in model.parameters())


# --- what is told ---


def test_info_counts_everything(capsys):
    found = facts(capsys, "info", "mixtral-mini", "--micro-batch-size", "4", "--context-length", "128")
    assert (found["config"]["context_length"], found["flops_per_token"]["context_length"]) == (512, 128)
    assert sum(found["parameters_by_part"].values()) == found["parameters"] > found["active_parameters"]
    flops = found["flops_per_token"]
    assert flops["forward"] == flops["forward_by_weights"] + flops["forward_by_attention"]
    assert flops["training"] == 3 * flops["forward"]
    sizes = found["memory_bytes"]
    assert sizes["weights"]["int8"] == found["parameters"]
    assert sizes["cache_at_full_context"]["bf16"] == 128 * sizes["cache_per_position"]["bf16"]
    assert sizes["training"]["parameters"] == 16 * found["parameters"]
    assert sizes["training"]["batch_size"] == 4

    _, out, _ = told(capsys, "info", "mixtral-mini")
    for words in ("Parameters", "met by a token", "by attention", "6 N + 12 ·", "cache of one id", "16 bytes each"):
        assert words in out


def test_explain_shows_every_part_with_its_file(capsys):
    _, out, _ = told(capsys, "explain", "gpt2-124m")
    assert "ids ─ tok_embed + pos_embed ─ n_layers × Block" in out
    for line in (
        r"├ blocks 0-11 +12 × Block +85,054,464 +208 M  each reads",
        r"│ │ ├ q_proj +Linear 768 → 768 \+ bias +590,592 +1\.18 M  queries: what a position looks for",
        r"└ lm_head +Embedding 768 → 50,257, as tok_embed +- +77\.2 M",
        r"  Attention +layers/attention\.py:\d+ +Multi-head",
    ):
        assert re.search(rf"(?m)^{line}", out), line

    found = facts(capsys, "explain", "gpt2-124m")
    block = next(part for part in found["parts"] if part["count"] == 12)
    assert [part["part"] for part in block["parts"]] == ["attn_norm", "attn", "mlp_norm", "mlp"]


def test_explain_one_layer_names_every_weight_here_and_there(capsys):
    _, out, _ = told(capsys, "explain", "llama3.2-1b", "--layer", "3")
    assert re.search(r"blocks\.3\.attn\.k_proj\.weight +512 × 2,048  model\.layers\.3\.self_attn\.k_proj\.weight", out)
    weights = facts(capsys, "explain", "mixtral-mini", "--layer", "0")["weights"]
    assert sum("experts" in weight["name"] for weight in weights) == 24
    _, out, _ = told(capsys, "explain", "mixtral-mini", "--layer", "0")
    assert out.count("experts.0-7.gate_proj") == 1
    # A family that no other format holds has no other names.
    weights = facts(capsys, "explain", "fast-nano", "--layer", "0")["weights"]
    assert all(weight["huggingface"] == weight["name"] for weight in weights)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "arguments",
    [
        ["info"],
        ["info", "mixtral-8x7b"],
        ["info", "llama3.1-405b"],
        ["explain", "gpt2-124m"],
        ["explain", "llama3.1-405b"],
        ["explain", "mixtral-8x7b"],
        ["explain", "fast-nano"],
        ["explain", "mixtral-8x7b", "--layer", "1"],
    ],
    ids=" ".join,
)
def test_it_fits_the_terminal(arguments, width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = told(capsys, *arguments)
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > width] == []


def test_numbers_as_people_read_them():
    assert [columns.count(n) for n in (0, 999, 1000, 9_996, 124_439_808, 999_600_000, 405e9, 2.5e12)] == [
        "0", "999", "1.00K", "10.0K", "124M", "1.00B", "405B", "2.50T",
    ]  # fmt: skip
    assert columns.flops(284_812_800) == "285 M"
    assert [columns.memory(n) for n in (5, 1024, 36 * 2**20, 3.21 * 2**30, 2**41)] == [
        "5 B", "1.00 KiB", "36.0 MiB", "3.21 GiB", "2.00 TiB",
    ]  # fmt: skip
