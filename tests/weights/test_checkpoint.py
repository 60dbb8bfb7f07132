"""Checkpoint folders: what is in them, what is found again, and what is refused."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from groundup.errors import ArtefactError, GroundupError, UsageError
from groundup.models import gpt2, llama
from groundup.tokenizer.bpe import BPE
from groundup.weights import checkpoint, portable

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")


@pytest.fixture
def tokenizer():
    tokens = [b""] * 4 + [bytes([byte]) for byte in range(256)]
    return BPE(tokens, [], {name: i for i, name in enumerate(SPECIALS)}, chat_template="{{ messages }}")


@pytest.fixture
def model():
    config = llama.Config(vocab_size=264, context_length=16, n_layers=2, d_model=24, n_heads=6, n_kv_heads=2)
    model = llama.Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    return model


@pytest.fixture
def step_dir(tmp_path, model, tokenizer):
    folder = tmp_path / "run" / "checkpoints" / "step-00000010"
    training = {"0.tok_embed.weight.mean": torch.ones(3), "0.step": torch.tensor(10)}
    checkpoint.save(folder, model, tokenizer, training=training, state={"step": 10}, facts={"stage": "pretrain"})
    return folder


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    resize(file.parent, file.name)


def resize(folder, name):
    """The manifest of someone who changed a file knowingly."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name]["size"] = (folder / name).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))


# --- round trips ---


def test_everything_comes_back(step_dir, model, tokenizer):
    loaded = checkpoint.load(step_dir)
    ids = torch.randint(264, (2, 16))

    assert torch.equal(loaded.model(ids), model(ids))
    assert loaded.model.config == model.config
    assert not loaded.model.training
    assert loaded.tokenizer.hash == tokenizer.hash
    assert loaded.path == step_dir
    assert (loaded.contract.facts, loaded.contract.rope_layout) == ({"stage": "pretrain"}, "half-split")

    tensors, state = checkpoint.load_training(step_dir)
    assert state == {"step": 10}
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "0.tok_embed.weight.mean": [1, 1, 1],
        "0.step": 10,
    }


def test_the_folder_is_what_the_docstring_says(step_dir):
    names = {file.relative_to(step_dir).as_posix() for file in step_dir.rglob("*") if file.is_file()}
    ours = {"config.json", "generation_config.json", "model.safetensors", "groundup.json", "manifest.json"}
    ours |= {"training/state.safetensors", "training/state.json"}

    assert ours <= names
    assert {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} <= names - ours


def test_generation_stops_where_the_tokenizer_says(step_dir):
    for name in ("config.json", "generation_config.json"):
        content = json.loads((step_dir / name).read_text())
        assert (content["eos_token_id"], content["pad_token_id"], content["bos_token_id"]) == ([0, 2], 3, None)


def test_saving_again_gives_the_same_bytes(step_dir, tmp_path):
    loaded = checkpoint.load(step_dir)
    tensors, state = checkpoint.load_training(step_dir)
    again = tmp_path / "again"
    facts = loaded.contract.facts
    checkpoint.save(again, loaded.model, loaded.tokenizer, training=tensors, state=state, facts=facts)

    for file in step_dir.rglob("*"):
        if file.is_file():
            assert (again / file.relative_to(step_dir)).read_bytes() == file.read_bytes(), file.name


def test_transformers_opens_it_with_its_tokenizer(step_dir, tokenizer):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(step_dir)
    model = transformers.AutoModelForCausalLM.from_pretrained(step_dir)

    assert theirs.encode("hello", add_special_tokens=False) == tokenizer.encode("hello").tolist()
    assert model.generation_config.eos_token_id == [0, 2]
    assert model.dtype == torch.float32


def test_weights_are_fp32_whatever_the_model_was(tmp_path, model):
    checkpoint.save(tmp_path / "x", model.bfloat16())

    stored = safetensors.torch.load_file(tmp_path / "x" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}


def test_weights_go_into_a_model_that_is_there(step_dir, model):
    other = llama.Model(model.config)
    checkpoint.load_weights(step_dir, other)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))

    with pytest.raises(ArtefactError, match="the checkpoint holds Config"):
        checkpoint.load_weights(step_dir, llama.Model(llama.Config()))


def test_a_model_in_several_files_is_read(step_dir, model, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(step_dir / "config.json", theirs)
    tensors = safetensors.torch.load_file(step_dir / "model.safetensors")
    names = sorted(tensors)
    files = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for file, held in files.items():
        safetensors.torch.save_file({name: tensors[name] for name in held}, theirs / file)
    index = {"weight_map": {name: file for file, held in files.items() for name in held}}
    (theirs / "model.safetensors.index.json").write_text(json.dumps(index))

    loaded = checkpoint.load(theirs)
    assert torch.equal(loaded.model.lm_head_weight, model.lm_head_weight)
    assert (loaded.contract, loaded.tokenizer) == (None, None)

    index["weight_map"]["model.norm.weight"] = "../elsewhere.safetensors"
    (theirs / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtefactError, match="../elsewhere.safetensors"):
        checkpoint.load(theirs)


# --- which folder is meant ---


def test_a_run_folder_means_its_best_else_its_latest(step_dir):
    run_dir = step_dir.parent.parent
    later = shutil.copytree(step_dir, step_dir.with_name("step-00000020"))

    (run_dir / "latest").write_text("checkpoints/step-00000020\n")
    assert checkpoint.resolve(run_dir) == later
    (run_dir / "best").write_text("checkpoints/step-00000010\n")
    assert checkpoint.resolve(str(run_dir)) == step_dir
    assert checkpoint.resolve(step_dir) == step_dir


@pytest.mark.parametrize("named", ["checkpoints/step-00000099", "", "../elsewhere", "/etc"])
def test_a_pointer_to_nothing_is_refused(step_dir, named):
    run_dir = step_dir.parent.parent
    shutil.copytree(step_dir, run_dir.parent / "elsewhere")
    (run_dir / "best").write_text(named)

    with pytest.raises(ArtefactError, match="best names .*, where there is no checkpoint"):
        checkpoint.resolve(run_dir)


def test_what_is_no_model_is_said(step_dir, tmp_path):
    with pytest.raises(UsageError, match="there is no such folder"):
        checkpoint.resolve(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="this folder holds no model"):
        checkpoint.resolve(step_dir.parent)
    with pytest.raises(UsageError, match=r"a model is a folder or a .gguf file") as caught:
        checkpoint.resolve(step_dir / "model.safetensors")
    assert caught.value.hint.startswith(f"give {step_dir};")


# --- what is refused ---


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_is_lost_is_not_saved(tmp_path, model, value):
    with torch.no_grad():
        model.blocks[1].mlp.up_proj.weight[3, 4] = value
    with pytest.raises(GroundupError, match=r"blocks.1.mlp.up_proj.weight has values that are not finite"):
        checkpoint.save(tmp_path / "x", model)
    assert not (tmp_path / "x").exists()


def test_a_tokenizer_with_more_ids_than_the_model_has_rows(tmp_path, tokenizer):
    small = gpt2.Model(gpt2.Config(vocab_size=100, n_layers=1, d_model=8, n_heads=1))
    with pytest.raises(ArtefactError, match="the tokenizer has 260 ids, the model's vocab_size is 100"):
        checkpoint.save(tmp_path / "x", small, tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_checkpoint_is_not_overwritten_unasked(step_dir, model, tokenizer):
    with pytest.raises(UsageError, match="exists already"):
        checkpoint.save(step_dir, model)
    checkpoint.save(step_dir, model, replace=True)
    assert checkpoint.load(step_dir).tokenizer is None
    with pytest.raises(ArtefactError, match="no training state to resume from"):
        checkpoint.load_training(step_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(rope_theta=5e5, rope_parameters=None), "rope.theta is 500000.0, and was 10000.0"),
        (lambda c: c.update(rms_norm_eps=1e-6), "norm_eps is 1e-06, and was 1e-05"),
        (
            lambda c: c.update(num_attention_heads=3, num_key_value_heads=1, head_dim=8),
            "n_heads is 3, and was 6",
        ),
    ],
)
def test_a_changed_setting_is_named(step_dir, change, message):
    change_json(step_dir / "config.json", change)
    with pytest.raises(ArtefactError, match=message):
        checkpoint.load(step_dir)


def test_another_tokenizer_or_template_is_named(step_dir, tokenizer):
    tokens = tokenizer.token_bytes
    other = BPE([*tokens[:4], *tokens[:3:-1]], [], tokenizer.special_ids, chat_template="other")
    other.save(step_dir)
    manifest = json.loads((step_dir / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name]["size"] = (step_dir / name).stat().st_size
    (step_dir / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ArtefactError, match=r"(?s)tokenizer_hash is .*template_hash is "):
        checkpoint.load(step_dir)


def test_a_changed_weight_shows_in_the_probe(step_dir):
    file = step_dir / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    # Query rows in the interleaved order of RoPE: every number is there, and the model is another one.
    name = "model.layers.1.self_attn.q_proj.weight"
    tensors[name] = tensors[name].unflatten(0, (6, 2, 2)).transpose(1, 2).flatten(0, 2).contiguous()
    safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})

    with pytest.raises(ArtefactError, match="does not answer as it did when it was saved"):
        checkpoint.load(step_dir)

    forced = checkpoint.load(step_dir, force=True)
    assert [line for line in forced.skipped if "a logit of the probe is off by" in line] == forced.skipped


def test_force_says_what_it_skips_and_lets_nothing_else_pass(step_dir):
    change_json(step_dir / "config.json", lambda c: c.update(rms_norm_eps=1e-6, invented=3))
    tensors = safetensors.torch.load_file(step_dir / "model.safetensors")
    extra = tensors | {"model.layers.0.self_attn.q_proj.bias": torch.ones(24)}
    safetensors.torch.save_file(extra, step_dir / "model.safetensors", metadata={"format": "pt"})
    resize(step_dir, "model.safetensors")

    with pytest.raises(ArtefactError, match="settings that are not known here.*: invented = 3"):
        checkpoint.load(step_dir)
    skipped = checkpoint.load(step_dir, force=True).skipped
    assert skipped == [
        "config.json: invented = 3",
        "model.layers.0.self_attn.q_proj.bias (24,)",
        "norm_eps is 1e-06, and was 1e-05 when it was saved",
    ]

    # What is missing has no number that could take its place.
    del tensors["model.norm.weight"]
    safetensors.torch.save_file(tensors, step_dir / "model.safetensors", metadata={"format": "pt"})
    resize(step_dir, "model.safetensors")
    with pytest.raises(ArtefactError, match="model.norm.weight is missing"):
        checkpoint.load(step_dir, force=True)


def test_a_probe_of_another_length_is_a_difference(step_dir):
    change_json(step_dir / "groundup.json", lambda c: c["probe_logits"].pop())
    with pytest.raises(ArtefactError, match="the probe has 16 logits, and had 15 when it was saved"):
        checkpoint.load(step_dir)


def test_a_contract_that_was_lost_is_missed(step_dir):
    (step_dir / "groundup.json").unlink()
    with pytest.raises(ArtefactError, match="groundup.json is missing"):
        checkpoint.load(step_dir)


def test_a_contract_from_before_a_field_existed_is_kept(step_dir):
    change_json(step_dir / "groundup.json", lambda c: c["config"]["rope"].clear())
    assert checkpoint.load(step_dir).model.config.rope.theta == 10_000.0


def test_what_a_run_resumes_from_is_read_to_the_last_byte(step_dir):
    file = step_dir / "training" / "state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    assert checkpoint.load(step_dir).contract is not None
    with pytest.raises(ArtefactError, match=r"state.safetensors is damaged"):
        checkpoint.load_training(step_dir)


def test_shared_weights_stay_in_their_file_and_may_be_written_to_all_the_same(step_dir, model):
    before = (step_dir / "model.safetensors").read_bytes()
    shared = checkpoint.load(step_dir, share=True).model
    ids = torch.randint(264, (2, 16))
    assert torch.equal(shared(ids), model(ids))

    with torch.no_grad():
        shared.tok_embed.weight.add_(1)
    assert (step_dir / "model.safetensors").read_bytes() == before


def test_a_model_of_another_format_becomes_a_checkpoint(step_dir, model, tokenizer, tmp_path):
    source = checkpoint.open_portable(step_dir)
    checkpoint.convert(tmp_path / "again", source, {"imported_from": "elsewhere"})
    again = checkpoint.load(tmp_path / "again")

    assert again.contract.facts == {"imported_from": "elsewhere"}
    assert again.tokenizer.hash == tokenizer.hash
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (step_dir / "model.safetensors").read_bytes()


def test_a_model_larger_than_memory_makes_no_promise_of_its_answers(step_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "fits_in_memory", lambda *_, **__: False)
    checkpoint.convert(tmp_path / "again", checkpoint.open_portable(step_dir))
    assert checkpoint.load(tmp_path / "again").contract.probe_logits == []


def test_a_truncated_or_missing_file_is_named(step_dir):
    file = step_dir / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    with pytest.raises(ArtefactError, match=r"model.safetensors has \d+ bytes, its manifest says"):
        checkpoint.load(step_dir)
    file.unlink()
    with pytest.raises(ArtefactError, match="model.safetensors is missing"):
        checkpoint.load(step_dir)


def test_damage_without_a_manifest_is_still_found(step_dir, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(step_dir / "config.json", theirs)
    with pytest.raises(ArtefactError, match="model.safetensors is missing"):
        checkpoint.load(theirs)
    (theirs / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ArtefactError, match="pickled"):
        checkpoint.load(theirs)
    (theirs / "model.safetensors").write_bytes((step_dir / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="model.safetensors is cut off"):
        checkpoint.load(theirs)
    (theirs / "config.json").write_text("{")
    with pytest.raises(ArtefactError, match="not valid JSON"):
        checkpoint.load(theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "the checkpoint has format 2, and this groundup reads 1"),
        (lambda c: c.pop("format_version"), "the checkpoint has format None"),
        (lambda c: c.update(surprise=1), "surprise"),
        (lambda c: c.pop("probe_ids"), "probe_ids must be given"),
        (lambda c: c.update(probe_ids=[10**9]), "probe_ids is"),
    ],
)
def test_a_contract_that_cannot_be_read(step_dir, change, message):
    change_json(step_dir / "groundup.json", change)
    with pytest.raises(ArtefactError, match=message):
        checkpoint.load(step_dir)
