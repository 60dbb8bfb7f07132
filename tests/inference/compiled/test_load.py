"""Opening a model without torch, and which engine takes it."""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from groundup import compiled_code
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.inference import language_model
from groundup.inference.compiled import load as compiled
from groundup.inference.compiled.code import CODE, compile_kind
from groundup.inference.compiled.weights import NAMES
from groundup.inference.completing import complete
from groundup.inference.settings import Settings
from groundup.weights import checkpoint, gguf, portable
from tests.inference import tiny
from tests.models.tiny import small

SIZES = {"vocab_size": 300, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "context_length": 64}


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path / "m", small("llama", noise=0.1, **SIZES), tiny.tokenizer(), facts={"stage": "pretrain"})
    compile_kind("F32")
    return tmp_path / "m"


def text(speaker, **settings) -> str:
    asked = Settings(max_new_tokens=20, **settings)
    return complete(speaker.model, speaker.tokenizer, [speaker.prompt_ids("Once")], asked)[0].text


def test_both_engines_say_the_same(folder):
    ours, theirs = language_model.load(folder, engine="compiled"), language_model.load(folder)
    assert (ours.engine, theirs.engine) == ("compiled (fp32)", "torch")
    assert ours.n_parameters == theirs.n_parameters
    assert (ours.is_chat, ours.context_length) == (theirs.is_chat, theirs.context_length) == (False, 64)
    for settings in ({"temperature": 0.0}, {"seed": 1}, {"seed": 2, "temperature": 1.5, "repetition_penalty": 1.2}):
        assert text(ours, **settings) == text(theirs, **settings)


def test_a_gguf_file_says_the_same(folder, tmp_path):
    model = checkpoint.load(folder)
    gguf.write(tmp_path / "m.gguf", portable.of(model.model, model.tokenizer), "F32")
    ours = language_model.load(tmp_path / "m.gguf", engine="compiled")
    assert text(ours, temperature=0.0) == text(language_model.load(folder), temperature=0.0)


def test_auto_takes_the_compiled_engine_where_it_can(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(language_model, "has_gpu", lambda: False)
    said: list[str] = []
    assert language_model.load(folder, engine="auto").engine == "compiled (fp32)"
    monkeypatch.setattr(type(CODE), "start", lambda code, part: said.append(part) or True)
    monkeypatch.setattr(type(CODE), "is_ready", lambda code, part: False)
    assert language_model.load(folder, engine="auto", notice=said.append).engine == "torch"
    assert said[0] == "-F32" and "the torch engine serves meanwhile" in said[1]
    monkeypatch.setattr(language_model, "has_gpu", lambda: True)
    assert language_model.load(folder, engine="auto").engine == "torch"


def test_nothing_is_announced_that_does_not_happen(folder, monkeypatch):
    monkeypatch.setattr(language_model, "has_gpu", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    said: list[str] = []
    assert language_model.load(folder, engine="auto", notice=said.append).engine == "torch"
    [line] = said
    assert "cannot be compiled: /proc/nowhere" in line
    with pytest.raises(EnvironmentFault, match="compiled engine cannot serve: /proc/nowhere") as caught:
        language_model.load(folder, engine="compiled")
    assert caught.value.hint == "--engine torch"


def test_who_wants_no_compiled_code_is_not_told_so(folder, monkeypatch):
    monkeypatch.setattr(language_model, "has_gpu", lambda: False)
    monkeypatch.setenv(compiled_code.OFF, "1")
    said: list[str] = []
    assert language_model.load(folder, engine="auto", notice=said.append).engine == "torch"
    assert not said
    with pytest.raises(EnvironmentFault, match="GROUNDUP_PLAIN is set"):
        language_model.load(folder, engine="compiled")


@pytest.mark.parametrize(
    ("family", "fields", "reason"),
    [("fast", {}, "knows gpt2, llama"), ("llama", {"d_ff": 100}, "rows of 100 numbers cannot be cut into blocks")],
)
def test_what_it_cannot_take_goes_to_torch_and_is_told_when_asked_for(family, fields, reason, tmp_path):
    checkpoint.save(tmp_path / "m", small(family, noise=0.1, **SIZES | fields), tiny.tokenizer())
    assert language_model.load(tmp_path / "m", engine="auto").engine == "torch"
    with pytest.raises(UsageError, match=reason) as caught:
        language_model.load(tmp_path / "m", engine="compiled")
    assert caught.value.hint == "--engine torch"


def test_unknown_names(folder):
    with pytest.raises(UsageError, match="valid values are auto, torch, compiled"):
        language_model.load(folder, engine="cuda")
    with pytest.raises(UsageError, match="valid values are auto, fp32, bf16, fp16, int8, int8-row, int4"):
        language_model.load(folder, engine="compiled", weights="int3")


def test_weights_that_are_cut_or_mixed_up(folder):
    file = folder / "groundup.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"tokenizer_hash": "0" * 64}))
    with pytest.raises(ArtefactError):
        compiled.load(folder)
    file.write_text(json.dumps(content))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtefactError):
        compiled.load(folder)


def with_interleaved_keys(folder):
    """Rows of a matrix in the order of another layout of RoPE: every number is there, and the model is another one."""
    file, name = folder / "model.safetensors", "model.layers.1.self_attn.k_proj.weight"
    numbers = safetensors.torch.load_file(file)
    numbers[name] = numbers[name].unflatten(0, (2, 2, 8)).transpose(1, 2).flatten(0, 2).contiguous()
    safetensors.torch.save_file(numbers, file, metadata={"format": "pt"})


@pytest.mark.parametrize("weights", ["fp32", "bf16", "fp16", "int8"])
def test_a_changed_weight_shows_in_the_probe(weights, folder):
    compile_kind(NAMES[weights])
    assert not compiled.load(folder, weights, force=True).skipped
    with_interleaved_keys(folder)
    with pytest.raises(ArtefactError, match=r"a logit of the probe is off by [\d.]+: the model does not answer"):
        compiled.load(folder, weights)
    [line] = language_model.load(folder, engine="compiled", weights=weights, force=True).skipped
    assert "a logit of the probe is off by" in line


def test_a_changed_weight_is_refused_by_both_engines_alike(folder):
    with_interleaved_keys(folder)
    refused = []
    for engine in ("torch", "compiled"):
        with pytest.raises(ArtefactError) as caught:
            language_model.load(folder, engine=engine)
        refused.append((caught.value.what, caught.value.where, caught.value.hint))
    assert refused[0] == refused[1]


def test_a_probe_of_ids_that_the_model_has_not_is_not_asked(folder):
    file = folder / "groundup.json"
    content = json.loads(file.read_text())
    content["probe_ids"] = [999_999]
    file.write_text(json.dumps(content).ljust(file.stat().st_size))  # of the size that the manifest knows
    with pytest.raises(ArtefactError, match=r"probe_ids is \[0, 119, .*\], and was \[999999\] when it was saved"):
        compiled.load(folder)


def test_it_talks_without_torch(folder):
    code = """
import sys
sys.modules["torch"] = None
from groundup.cli import main
sys.exit(main(["generate", sys.argv[1], "Once", "--engine", "compiled", "--sampling.temperature", "0", "--quiet",
               "--sampling.max-new-tokens", "20"]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.removesuffix("\n") == text(language_model.load(folder), temperature=0.0)


def test_what_is_compiled_is_taken_without_numbas_compiler(folder):
    """Registering all that it could compile with is most of what numba takes to start."""
    code = """
import sys
from groundup.cli import main
code = main(["generate", sys.argv[1], "Once", "--engine", "compiled", "--quiet", "--max-new-tokens", "3"])
print(sorted(name for name in sys.modules if name in ("numba.np.arraymath", "numba.cpython.listobj")), file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_a_long_answer_is_the_textbook_models(folder):
    """Greedy, up to the end of the context, against whole forward passes without a cache."""
    model, speaker = checkpoint.load(folder).model, language_model.load(folder, engine="compiled")
    ids = speaker.prompt_ids("Once")
    asked = Settings(max_new_tokens=100, temperature=0.0)
    made = complete(speaker.model, speaker.tokenizer, [ids], asked)[0].ids
    for id_ in made:
        with torch.no_grad():
            assert int(model(torch.tensor([ids]))[0, -1].argmax()) == id_
        ids = [*ids, id_]
