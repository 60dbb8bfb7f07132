"""Names, shapes and folders in Hugging Face's terms. Equal logits are shown for every model in tests/models."""

import json

import pytest
import safetensors.torch
import torch

from groundup import models
from groundup.errors import ArtefactError, UsageError
from groundup.models import gpt2, llama
from groundup.tokenizer.alphabet import CHARACTER_BY_BYTE
from groundup.weights import huggingface, lazy, portable

GPT2 = gpt2.Model(gpt2.Config(vocab_size=20, context_length=8, n_layers=2, d_model=12, n_heads=2))
LLAMA = llama.Model(
    llama.Config(
        vocab_size=20, n_layers=2, d_model=12, n_heads=6, n_kv_heads=2, tie_embeddings=False,
        rope=llama.RopeConfig(theta=500_000.0),
    )
)  # fmt: skip


def taken(model):
    """A model's tensors as a Hugging Face file has them."""
    return {name: tensor.load() for name, tensor in huggingface.to_theirs(portable.of(model)).items()}


def given(model, tensors):
    """A model of the same shape from such tensors."""
    family = models.name_of(model)
    theirs = {name: lazy.of(tensor) for name, tensor in tensors.items()}
    ours = huggingface.to_ours(family, model.config, theirs, "somewhere")
    return portable.build(portable.Portable(family, model.config, ours))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    return path


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_there_and_back(model):
    assert same(given(model, taken(model)), model)


def test_gpt2_is_fused_and_transposed():
    tensors = taken(GPT2)
    attn = GPT2.blocks[1].attn

    fused = tensors["transformer.h.1.attn.c_attn.weight"]
    assert fused.shape == (12, 36)
    assert torch.equal(fused[:, 12:24], attn.k_proj.weight.T)
    assert tensors["transformer.h.1.attn.c_attn.bias"].shape == (36,)
    assert tensors["transformer.h.1.mlp.c_fc.weight"].shape == (12, 48)
    assert "lm_head.weight" not in tensors


def test_files_of_gpt2s_body_with_its_old_buffers_are_read():
    """As openai-community/gpt2 is stored: without "transformer.", with the causal mask, with or without the head."""
    body = {name.removeprefix("transformer."): tensor for name, tensor in taken(GPT2).items()}
    for layer in range(2):
        body[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
        body[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    assert same(given(GPT2, body), GPT2)

    body["lm_head.weight"] = body["wte.weight"].clone()
    assert same(given(GPT2, body), GPT2)


def test_half_precision_becomes_fp32():
    model = given(LLAMA, {name: tensor.bfloat16() for name, tensor in taken(LLAMA).items()})

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.tok_embed.weight, LLAMA.tok_embed.weight.bfloat16().float())


def test_the_model_owns_its_memory():
    tensors = taken(LLAMA)
    model = given(LLAMA, tensors)
    with torch.no_grad():
        model.tok_embed.weight.add_(1)
    assert not torch.equal(tensors["model.embed_tokens.weight"], model.tok_embed.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda t: t.pop("lm_head.weight"), "lm_head.weight is missing"),
        (lambda t: t.update({"model.norm.bias": torch.ones(12)}), "model.norm.bias is unknown"),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(13)}),
            r"model.norm.weight has shape \(13,\), not \(12,\)",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(12, dtype=torch.int8)}),
            "model.norm.weight has the dtype torch.int8, which holds no weights",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(12).to(torch.uint16)}),
            "model.norm.weight has the dtype torch.uint16, which holds no weights",
        ),
        (
            lambda t: t.update({"model.layers.0.mlp.up_proj.weight": torch.ones(12, 64)}),
            r"up_proj.weight has shape \(12, 64\), not \(64, 12\)",
        ),
    ],
)
def test_a_tensor_without_a_place_or_a_place_without_a_tensor(change, message):
    tensors = taken(LLAMA)
    change(tensors)
    with pytest.raises(ArtefactError, match=message):
        given(LLAMA, tensors)


def test_all_faults_are_listed_a_line_each():
    tensors = taken(GPT2)
    for name in [name for name in tensors if "ln_" in name]:
        del tensors[name]
    with pytest.raises(ArtefactError, match=r"(?s)h.0.ln_1.weight is missing.*\n.*ln_f.bias is missing") as caught:
        given(GPT2, tensors)
    assert caught.value.what.count("is missing") == 10

    with pytest.raises(ArtefactError, match=r"ln_2.weight is unknown.*\n  and 3 more") as caught:
        given(GPT2, taken(GPT2) | {f"{i}.ln_2.weight": torch.ones(1) for i in range(23)})
    assert caught.value.what.count("\n") == 21


def test_a_model_that_the_file_cannot_hold_takes_no_memory():
    huge = llama.Config(n_layers=10**12, d_model=6, n_heads=1)
    with pytest.raises(ArtefactError, match=r"1000000000000 layers.*the weights are 21 tensors"):
        huggingface.to_ours("llama", huge, {name: lazy.of(tensor) for name, tensor in taken(LLAMA).items()})
    beyond_64_bits = lazy.LazyTensor((0, 2**64), torch.float32, lambda: torch.empty(0))
    with pytest.raises(ArtefactError, match="the weights are 1 tensors with 0 numbers"):
        huggingface.to_ours("llama", LLAMA.config, {"model.norm.weight": beyond_64_bits})


def test_a_tied_head_must_be_the_embedding():
    tensors = taken(GPT2)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + 1
    with pytest.raises(
        ArtefactError, match=r"lm_head.weight is not transformer.wte.weight, to which config.json ties it"
    ):
        given(GPT2, tensors)


# --- folders ---


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_folder_read_and_written_again_is_the_same_bit_for_bit(model, dtype, folder, tmp_path):
    huggingface.write(folder, portable.of(model), dtype)
    again = tmp_path / "again"
    again.mkdir()
    huggingface.write(again, huggingface.read(folder))

    assert {file.name for file in folder.iterdir()} == {file.name for file in again.iterdir()}
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name
    assert json.loads((again / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    stored = safetensors.torch.load_file(again / "model.safetensors")
    assert all(torch.equal(stored[name], tensor.to(dtype)) for name, tensor in taken(model).items())


def test_of_several_dtypes_the_widest_is_in_the_settings(folder):
    """transformers loads everything in that one, and would round the others."""
    source = portable.of(LLAMA)
    source.tensors = {
        name: lazy.of(tensor.load().half() if "proj" in name or "embed" in name else tensor.load())
        for name, tensor in source.tensors.items()
    }
    huggingface.write(folder, source)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert same(portable.build(huggingface.read(folder)), portable.build(source))


def test_a_tokenizer_in_other_files_is_not_forgotten(folder):
    huggingface.write(folder, portable.of(LLAMA))
    assert huggingface.read(folder).tokenizer is None
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(CHARACTER_BY_BYTE.values())}))
    (folder / "merges.txt").write_text("")
    assert huggingface.read(folder).tokenizer.vocab_size == 256


def test_shards_are_as_large_as_allowed_and_no_tensor_is_cut(folder):
    huggingface.write(folder, portable.of(LLAMA), max_shard_bytes=4000)

    index = json.loads((folder / "model.safetensors.index.json").read_text())
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
    assert len(sizes) > 3 and set(index["weight_map"].values()) == set(sizes)
    assert index["metadata"]["total_size"] == 4 * sum(parameter.numel() for parameter in LLAMA.parameters())
    assert max(sizes.values()) < 4000 + 1000  # and the header
    assert same(portable.build(huggingface.read(folder)), LLAMA)

    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.randint(20, (2, 8))
    with torch.no_grad():
        assert (theirs(ids).logits - LLAMA(ids)).abs().max() <= 1e-5


def test_only_one_tensor_at_a_time_is_in_memory(folder):
    """Counted, not timed: how many loaded tensors are alive while a folder is written."""
    alive, most = 0, 0

    class Counted(torch.Tensor):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def counting(tensor):
        def load():
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return tensor.load().clone().as_subclass(Counted)

        return lazy.LazyTensor(tensor.shape, tensor.dtype, load)

    source = portable.of(LLAMA)
    source.tensors = {name: counting(tensor) for name, tensor in source.tensors.items()}
    huggingface.write(folder, source, torch.bfloat16)
    assert most <= 2


def test_what_only_groundup_knows_is_not_written_elsewhere(folder):
    from groundup.models import fast

    source = portable.of(fast.Model(fast.PRESETS["nano"]))
    with pytest.raises(UsageError, match="Hugging Face's formats cannot hold a fast model: "):
        huggingface.write(folder, source)
    assert list(folder.iterdir()) == []
