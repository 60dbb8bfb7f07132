"""The bug zoo: one small model for each fault, run through the command, which has to call it by its name.

Three kinds are planted. Faults of weights and of configuration are in the folder, which is held to the original it was
"converted" from; faults of code are in groundup itself, patched for one test, and held to transformers.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from groundup import cli, models
from groundup.layers import attention, cache, decoder, feed_forward, loss, norms, rope
from groundup.layers.initialise import initialise
from groundup.layers.rope import RopeConfig, to_half_split, to_interleaved
from groundup.models import gpt2, llama
from groundup.train import losses
from groundup.weights import huggingface, portable

pytest.importorskip("transformers")

SHAPE = {"vocab_size": 61, "context_length": 64, "n_layers": 2, "d_model": 32, "n_heads": 4, "dropout": 0.0}
LLAMA3 = RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=16)
YARN = RopeConfig(theta=500_000.0, scaling="yarn", factor=8.0, trained_context=16)


def model_of(family_name: str, **fields: Any) -> Any:
    """A small model in which nothing is one or zero, so that every fault shows."""
    family = models.family(family_name)
    has = {field.name for field in dataclasses.fields(family.Config)}
    shape = SHAPE | {"n_kv_heads": 2, "head_dim": 8, "n_experts": 4, "n_active": 2} | fields
    model = family.Model(family.Config(**{name: value for name, value in shape.items() if name in has}))
    initialise(model, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()


def with_config(model: Any, **fields: Any) -> Any:
    """The same weights under another configuration."""
    family = models.family(models.name_of(model.config))
    other = family.Model(dataclasses.replace(model.config, **fields))
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name])
    return other


def changed(model: Any, **change: Callable[[Any], Any]) -> Any:
    """The same model with some weights changed, those whose names end so ("." is "__")."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for end, function in change.items():
                if name.endswith(end.replace("__", ".")):
                    parameter.copy_(function(parameter.clone()))
    return model


def write(folder: Path, model: Any, dtype: torch.dtype | None = None) -> Path:
    folder.mkdir()
    huggingface.write(folder, portable.of(model), dtype)
    return folder


def verify(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = cli.main(["verify", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    report = json.loads(captured.out)
    assert code == (0 if report["healthy"] else 5)
    return report


# --- in the folder: weights ---


def swap(one: str, other: str, model: Any) -> Any:
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if one in name or other in name:
                parameter.copy_(weights[name.replace(one, other) if one in name else name.replace(other, one)])
    return model


def permute_blocks(model: Any) -> Any:
    model.blocks = torch.nn.ModuleList([model.blocks[i] for i in sorted(range(len(model.blocks)), key=str)])
    return model


def permute_experts(order: tuple[int, ...], model: Any) -> Any:
    for block in model.blocks:
        block.mlp.experts = torch.nn.ModuleList([block.mlp.experts[i] for i in order])
    return model


def fused_otherwise(model: Any) -> Any:
    """q, k and v of one head after the other, and cut into three as if all of q came first."""
    with torch.no_grad():
        for block in model.blocks:
            parts = [block.attn.q_proj, block.attn.k_proj, block.attn.v_proj]
            for kind in ("weight", "bias"):
                fused = torch.cat([getattr(part, kind) for part in parts])
                fused = fused.unflatten(0, (3, 4, 8)).transpose(0, 1).flatten(0, 2)
                for part, piece in zip(parts, fused.chunk(3), strict=True):
                    getattr(part, kind).copy_(piece)
    return model


def as_llama(model: Any) -> Any:
    """A Qwen2 read as a Llama: the biases have no place."""
    other = model_of("llama", norm_eps=model.config.norm_eps, rope=model.config.rope)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name])
    return other


def ungrouped(model: Any) -> Any:
    def rows(weight: torch.Tensor) -> torch.Tensor:
        return weight.unflatten(0, (2, 2, -1)).transpose(0, 1).flatten(0, 2)

    return changed(model, q_proj__weight=rows, o_proj__weight=lambda weight: rows(weight.T).T)


def untied(model: Any, head: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    fields = {field.name: getattr(model.config, field.name) for field in dataclasses.fields(model.config)}
    other = type(model)(type(model.config)(**fields | {"tie_embeddings": False}))
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name] if name in weights else head(weights["tok_embed.weight"]))
    return other


# fault, family and fields of the original, what the conversion did to it, the first tensor that differs
IN_WEIGHTS: list[tuple[str, tuple[str, dict[str, Any]], Callable[[Any], Any], str]] = [
    (
        "wrong RoPE layout", ("llama", {}),
        lambda m: changed(
            m, q_proj__weight=lambda w: to_interleaved(w, 4), k_proj__weight=lambda w: to_interleaved(w, 2)
        ),
        "blocks.0.attn.q_proj",
    ),
    (
        "wrong RoPE layout", ("llama", {}),
        lambda m: changed(
            m, q_proj__weight=lambda w: to_half_split(w, 4), k_proj__weight=lambda w: to_half_split(w, 2)
        ),
        "blocks.0.attn.q_proj",
    ),
    ("transposed Conv1D", ("gpt2", {}), lambda m: changed(m, o_proj__weight=lambda w: w.T), "blocks.0.attn.o_proj"),
    (
        "reshaped Conv1D", ("gpt2", {}),
        lambda m: changed(m, mlp__up_proj__weight=lambda w: w.T.reshape(w.shape),
                          mlp__down_proj__weight=lambda w: w.T.reshape(w.shape)),
        "blocks.0.mlp.up_proj",
    ),
    ("wrong order of q, k, v", ("gpt2", {}), functools.partial(swap, "k_proj", "v_proj"), "blocks.0.attn.k_proj"),
    ("wrong order of q, k, v", ("gpt2", {}), fused_otherwise, "blocks.0.attn.q_proj"),
    ("swapped gate and up", ("llama", {}), functools.partial(swap, "gate_proj", "up_proj"), "blocks.0.mlp.gate_proj"),
    ("swapped gate and up", ("mixtral", {}), functools.partial(swap, "gate_proj", "up_proj"), "blocks.0.mlp"),
    ("permuted experts", ("mixtral", {}), functools.partial(permute_experts, (2, 0, 3, 1)), "blocks.0.mlp"),
    ("untied head", ("llama", {}), lambda m: untied(m, lambda table: torch.randn_like(table)), "logits"),
    ("untied head", ("llama", {}), lambda m: untied(m, lambda table: table), "tok_embed.weight"),
    (
        "tied head", ("llama", {"tie_embeddings": False}), lambda m: with_config(m, tie_embeddings=True), "logits",
    ),
    ("bf16-rounded weights", ("llama", {}), lambda m: m.bfloat16().float(), "tok_embed"),
    ("missing attention bias", ("qwen2", {}), as_llama, "blocks.0.attn.q_proj"),
    (
        "missing attention bias", ("gpt2", {}),
        lambda m: changed(
            m, q_proj__bias=torch.zeros_like, k_proj__bias=torch.zeros_like, v_proj__bias=torch.zeros_like
        ),
        "blocks.0.attn.q_proj",
    ),
    ("query heads in the wrong order", ("llama", {}), ungrouped, "blocks.0.attn.q_proj"),
    ("swapped norms", ("llama", {}), functools.partial(swap, "attn_norm", "mlp_norm"), "blocks.0.attn_norm"),
    (
        "norm weights off by one", ("llama", {}),
        lambda m: changed(m, norm__weight=lambda w: w - 1), "blocks.0.attn_norm",
    ),
    ("blocks in the wrong order", ("llama", {"n_layers": 12}), permute_blocks, "blocks.2.attn_norm"),
    ("shifted vocabulary", ("llama", {}), lambda m: changed(m, tok_embed__weight=lambda w: w.roll(3, 0)), "tok_embed"),
    (
        "other weights", ("llama", {}), lambda m: changed(m, blocks__1__mlp__up_proj__weight=lambda w: w + 0.01),
        "blocks.1.mlp.up_proj",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "original", "convert", "first"), IN_WEIGHTS)
def test_a_fault_of_weights(fault, original, convert, first, tmp_path, capsys):
    family, fields = original
    against = write(tmp_path / "original", model_of(family, **fields))
    path = write(tmp_path / "converted", convert(model_of(family, **fields)))
    report = verify(capsys, path, "--against", against)

    assert report["faults"] == [fault]
    assert report["first"]["name"] == first
    assert report["causes"][0]["is_whole"]
    assert report["causes"][0]["place"] == "files"
    assert report["rest"] == ""


# --- in the folder: configuration ---

IN_CONFIG: list[tuple[str, tuple[str, dict[str, Any]], dict[str, Any]]] = [
    ("wrong RoPE theta", ("llama", {"rope": RopeConfig(theta=500_000.0)}), {"rope": RopeConfig()}),
    ("YaRN in place of llama3 scaling", ("llama", {"rope": LLAMA3}), {"rope": YARN}),
    ("llama3 scaling in place of YaRN", ("qwen2", {"rope": YARN}), {"rope": LLAMA3}),
    ("no scaling in place of llama3 scaling", ("llama", {"rope": LLAMA3}), {"rope": RopeConfig(theta=500_000.0)}),
    ("wrong norm epsilon", ("llama", {"norm_eps": 1e-5}), {"norm_eps": 1e-6}),
    ("wrong norm epsilon", ("gpt2", {"norm_eps": 1e-5}), {"norm_eps": 1e-6}),
    ("GELU variant", ("gpt2", {"activation": "gelu_tanh"}), {"activation": "gelu"}),
    ("wrong head_dim", ("gpt2", {}), {"n_heads": 2}),
    ("wrong head_dim", ("llama", {}), {"n_heads": 2, "n_kv_heads": 1, "head_dim": 16}),
    ("wrong sliding window", ("mixtral", {"window": 8}), {"window": 16}),
    ("wrong number of active experts", ("mixtral", {}), {"n_active": 1}),
]


@pytest.mark.parametrize(("fault", "original", "fields"), IN_CONFIG)
def test_a_fault_of_configuration(fault, original, fields, tmp_path, capsys):
    family, right = original
    model = model_of(family, **right)
    report = verify(
        capsys, write(tmp_path / "converted", with_config(model, **fields)),
        "--against", write(tmp_path / "original", model),
    )  # fmt: skip

    assert report["faults"] == [fault]
    assert report["causes"][0]["is_whole"]
    assert report["causes"][0]["place"] == "files"


# --- in the code ---


def attention_with(**otherwise: Any) -> Callable[..., torch.Tensor]:
    """layers.attention.attention, with one thing wrong."""
    right = attention.attention

    def wrong(q, k, v, mask=None, is_causal=False, dropout=0.0, kernels="fused", *, window=None, scale=None):
        T, S = q.shape[-2], k.shape[-2]
        shift = otherwise.get("shift", 0)
        if shift and is_causal:
            mask, is_causal = torch.ones(T, S, dtype=torch.bool).tril(S - T + shift), False
        if otherwise.get("tiled") and k.shape[1] < q.shape[1]:
            n = q.shape[1] // k.shape[1]
            k, v = k.repeat(1, n, 1, 1), v.repeat(1, n, 1, 1)
        window = None if otherwise.get("no_window") else window
        return right(q, k, v, mask, is_causal, dropout, kernels, window=window, scale=otherwise.get("scale", scale))

    return wrong


def block_with(
    wiring: Callable[[Any, torch.Tensor, Callable[[Any], Any]], torch.Tensor],
) -> Callable[..., torch.Tensor]:
    """A Block.forward: `wiring(block, x, attend)` does what it wants with its four parts."""

    def forward(self, x, rotation=None, mask=None, cache=None):
        return wiring(self, x, lambda entering: self.attn(entering, mask, rotation, cache))

    return forward


def post_norm(block, x, attend):
    x = block.attn_norm(x + attend(x))
    return block.mlp_norm(x + block.mlp(x))


def no_attention_residual(block, x, attend):
    x = attend(block.attn_norm(x))
    return x + block.mlp(block.mlp_norm(x))


def parallel(block, x, attend):
    return x + attend(block.attn_norm(x)) + block.mlp(block.mlp_norm(x))


def narrow_norm(self, x):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def swapped_swiglu(self, x):
    return self.down_proj(torch.nn.functional.silu(self.up_proj(x)) * self.gate_proj(x))


def erf_mlp(self, x):
    return self.down_proj(torch.nn.functional.gelu(self.up_proj(x)))


def hidden_without_final_norm(self, ids, **given):
    norm, self.final_norm = self.final_norm, torch.nn.Identity()
    try:
        return DECODER_HIDDEN(self, ids, **given)
    finally:
        self.final_norm = norm


DECODER_HIDDEN = decoder.Decoder.hidden
GPT2_EMBED = gpt2.Model.embed


def positions_from_one(self, ids, positions, cache):
    return GPT2_EMBED(self, ids, positions + 1, cache)


def biasless(self, x):
    is_in_attention = self.out_features in (32, 16) and self.in_features == 32
    return x @ self.weight.T if is_in_attention or self.bias is None else x @ self.weight.T + self.bias


def routed_over_all(self, rows):
    scores, chosen = self.router(rows).softmax(-1).topk(self.n_active)
    return scores, chosen


RIGHT_ROPE = rope.RoPE.__init__


def rope_with(**fields: Any) -> Callable[..., None]:
    def init(self, head_dim, config=None, interleaved=False):
        RIGHT_ROPE(self, head_dim, dataclasses.replace(config or RopeConfig(), **fields), interleaved)

    return init


MIXED = "blocks.0.attn.o_proj (input)"

# fault, family and fields, what to patch (object, name, what with), the first tensor that differs
IN_CODE: list[tuple[str, tuple[str, dict[str, Any]], tuple[Any, str, Any], str]] = [
    ("missing scale", ("llama", {}), (attention, "attention", attention_with(scale=1.0)), MIXED),
    ("missing scale", ("gpt2", {}), (attention, "attention", attention_with(scale=1.0)), MIXED),
    (
        "wrong scale", ("llama", {}), (attention, "attention", attention_with(scale=1 / math.sqrt(32))),
        MIXED,
    ),
    ("mask off by one", ("llama", {}), (attention, "attention", attention_with(shift=1)), MIXED),
    ("mask off by one", ("gpt2", {}), (attention, "attention", attention_with(shift=-1)), MIXED),
    ("no causal mask", ("llama", {}), (attention, "attention", attention_with(shift=99)), MIXED),
    (
        "kv heads in the wrong order", ("llama", {}), (attention, "attention", attention_with(tiled=True)),
        "blocks.0.attn.k",
    ),
    (
        "sliding window ignored", ("mixtral", {"window": 8}), (attention, "attention", attention_with(no_window=True)),
        MIXED,
    ),
    (
        "wrong RoPE layout", ("qwen3", {}),
        (attention, "rotate", lambda x, cos, sin, interleaved=False: rope.rotate(x, cos, sin, True)), "blocks.0.attn.q",
    ),
    (
        "wrong RoPE theta", ("llama", {"rope": LLAMA3}),
        (rope.RoPE, "__init__", rope_with(theta=10_000.0)), "blocks.0.attn.q",
    ),
    (
        "YaRN in place of llama3 scaling", ("llama", {"rope": LLAMA3}),
        (rope.RoPE, "__init__", rope_with(scaling="yarn")), "blocks.0.attn.q",
    ),
    ("GELU variant", ("gpt2", {}), (feed_forward.MLP, "forward", erf_mlp), "blocks.0.mlp.down_proj (input)"),
    (
        "swapped gate and up", ("llama", {}), (feed_forward.SwiGLU, "forward", swapped_swiglu),
        "blocks.0.mlp.down_proj (input)",
    ),
    (
        "norm after instead of before", ("llama", {}),
        (llama.Block, "forward", block_with(post_norm)), "blocks.0.attn.q_proj",
    ),
    (
        "residual dropped", ("gpt2", {}), (gpt2.Block, "forward", block_with(no_attention_residual)),
        "blocks.0.mlp_norm",
    ),
    ("parallel block", ("llama", {}), (llama.Block, "forward", block_with(parallel)), "blocks.0.mlp_norm"),
    ("missing final norm", ("llama", {}), (decoder.Decoder, "hidden", hidden_without_final_norm), "logits"),
    ("positions off by one", ("gpt2", {"context_length": 65}), (gpt2.Model, "embed", positions_from_one), "pos_embed"),
    ("missing attention bias", ("qwen2", {}), (attention.Linear, "forward", biasless), "blocks.0.attn.q_proj"),
    (
        "wrong routing", ("mixtral", {}), (feed_forward.MixtureOfExperts, "choose", routed_over_all), "blocks.0.mlp",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "model", "patch", "first"), IN_CODE)
def test_a_fault_of_code(fault, model, patch, first, tmp_path, capsys, monkeypatch):
    family, fields = model
    path = write(tmp_path / "model", model_of(family, **fields))
    monkeypatch.setattr(*patch)
    report = verify(capsys, path)

    assert report["faults"] == [fault]
    assert report["first"]["name"] == first
    assert report["causes"][0]["is_whole"]
    assert report["causes"][0]["place"] == "code"
    assert report["rest"] == ""


def test_a_stale_cache(tmp_path, capsys, monkeypatch):
    """Only the first of several new positions is stored."""

    def append(self, layer, k, v):
        keys, values = APPEND(self, layer, k, v)
        if self.length and k.shape[2] == 1:
            keys, values = keys.clone(), values.clone()
            keys[:, :, -1], values[:, :, -1] = keys[:, :, -2], values[:, :, -2]
        return keys, values

    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(cache.KVCache, "append", append)
    assert verify(capsys, path)["faults"] == ["stale cache"]


APPEND = cache.KVCache.append


def test_a_cache_that_is_not_written(tmp_path, capsys, monkeypatch):
    def append(self, layer, k, v):
        kept = self.keys.clone(), self.values.clone()
        returned = [each.clone() for each in APPEND(self, layer, k, v)]
        if self.length > 30:
            self.keys, self.values = kept
        return tuple(returned)

    path = write(tmp_path / "model", model_of("gpt2"))
    monkeypatch.setattr(cache.KVCache, "append", append)
    (check,) = [check for check in verify(capsys, path)["checks"] if check["passed"] is False]
    assert check["fault"] == "stale cache"
    assert "the cached keys of position" in check["sentence"]


def test_positions_that_begin_again_with_every_part(tmp_path, capsys, monkeypatch):
    def hidden(self, ids, *, positions=None, **given):
        return DECODER_HIDDEN(
            self, ids, positions=torch.arange(ids.shape[1])[None] if positions is None else positions, **given
        )

    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(decoder.Decoder, "hidden", hidden)
    assert verify(capsys, path)["faults"] == ["positions restart"]


@pytest.mark.parametrize("part", ["sum", "number"])
def test_padding_that_is_counted_in_the_loss(part, tmp_path, capsys, monkeypatch):
    right = losses.linear_cross_entropy

    def wrong(hidden, weight, targets, **given):
        all_targets = targets.where(targets != loss.IGNORE, 0)
        total, n = right(hidden, weight, all_targets if part == "sum" else targets, **given)
        return total, n if part == "sum" else torch.tensor(targets.numel())

    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(losses, "linear_cross_entropy", wrong)
    assert verify(capsys, path)["faults"] == ["pad counted in the loss"]


def test_a_norm_that_squares_in_16_bits(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(norms.RMSNorm, "forward", narrow_norm)
    assert verify(capsys, path)["faults"] == ["RMSNorm without fp32"]


def test_a_gradient_that_is_wrong(tmp_path, capsys, monkeypatch):
    """The part of it that runs through the norm's own scale is forgotten, as in a backward pass written by hand."""

    def forward(self, x):
        return x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps).detach().to(x.dtype) * self.weight

    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(norms.RMSNorm, "forward", forward)
    report = verify(capsys, path)
    assert report["first"]["kind"] == "gradient"
    assert report["causes"] == []
    assert "the backward pass" in report["rest"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_activations_beyond_fp16(dtype, tmp_path, capsys):
    """Kept in fp16 it is a fault; kept otherwise, a remark."""
    model = changed(
        model_of("llama"), blocks__1__mlp__up_proj__weight=lambda w: w * 20_000, down_proj__weight=lambda w: w / 1000
    )
    report = verify(capsys, write(tmp_path / "model", model, dtype))
    assert report["faults"] == (["fp16 overflow"] if dtype == torch.float16 else [])
    (check,) = [check for check in report["checks"] if check["name"] == "within fp16"]
    assert check["sentence"].startswith("blocks.1.mlp.up_proj reaches ")


def test_several_faults_at_once(tmp_path, capsys):
    """A Qwen2 with YaRN read as a Llama: its biases, its epsilon and its positions are all gone."""
    against = write(tmp_path / "original", model_of("qwen2", rope=YARN, norm_eps=1e-6))
    path = write(tmp_path / "converted", with_config(as_llama(model_of("qwen2")), rope=RopeConfig(), norm_eps=1e-5))
    report = verify(capsys, path, "--against", against)
    assert set(report["faults"]) == {"missing attention bias", "wrong norm epsilon", "no scaling in place of YaRN"}
    assert report["rest"] == ""


def test_faults_of_code_and_of_the_folder_are_told_apart(tmp_path, capsys, monkeypatch):
    against = write(tmp_path / "original", model_of("llama"))
    path = write(tmp_path / "converted", swap("gate_proj", "up_proj", model_of("llama")))
    monkeypatch.setattr(attention, "attention", attention_with(scale=1.0))
    report = verify(capsys, path, "--against", against)
    assert [(cause["fault"], cause["place"]) for cause in report["causes"]] == [
        ("missing scale", "code"),
        ("swapped gate and up", "files"),
    ]
    assert report["rest"] == ""


def test_what_nothing_explains_is_said_so(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(feed_forward.SwiGLU, "forward", lambda self, x: self.down_proj(torch.cos(self.gate_proj(x))))
    report = verify(capsys, path)
    assert report["causes"] == []
    assert "the weights and the configuration are right" in report["rest"]
    assert "blocks.0.mlp.down_proj" in report["rest"]


def test_two_faults_of_code_in_one_place(tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "model", model_of("llama"))
    monkeypatch.setattr(attention, "attention", attention_with(scale=1.0, shift=-1))
    report = verify(capsys, path)
    assert set(report["faults"]) == {"missing scale", "mask off by one"}
    assert report["rest"] == ""


@pytest.mark.parametrize("fields", [{"n_layers": 1}, {"vocab_size": 70}, {"d_ff": 48, "n_layers": 3}])
def test_models_of_two_shapes(fields, tmp_path, capsys):
    against = write(tmp_path / "original", model_of("llama", **fields))
    report = verify(capsys, write(tmp_path / "converted", model_of("llama")), "--against", against)
    assert report["causes"] == []
    assert "these are models of two shapes: " in report["rest"]
    assert all(name in report["rest"] for name in fields)


def test_a_known_fault_beside_other_numbers(tmp_path, capsys):
    against = write(tmp_path / "original", model_of("llama"))
    model = changed(swap("gate_proj", "up_proj", model_of("llama")), blocks__1__attn__v_proj__weight=lambda w: w * 1.1)
    report = verify(capsys, write(tmp_path / "converted", model), "--against", against)
    assert report["faults"] == ["swapped gate and up", "other weights"]
    assert "1 of 20 weights hold other numbers than the judge's: blocks.1.attn.v_proj.weight" in str(report["causes"])
    assert report["rest"] == ""
