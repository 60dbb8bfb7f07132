"""llama2.c: ckpt.pt, and .bin in its three versions, written here as its exporter writes them."""

import struct

import numpy as np
import pytest
import torch

from groundup.errors import ArtefactError
from groundup.layers.rope import to_interleaved
from groundup.weights import foreign
from tests.weights.foreign.conftest import IDS
from tests.weights.foreign.other_programs import meta_llama, meta_llama_logits

SIZES = (16, 24, 2, 4, 2, 20, 32)
"""dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len"""
ARGS = {"dim": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 20, "multiple_of": 8, "max_seq_len": 32}
MATRICES = [
    *(f"attention.{name}" for name in ("wq", "wk", "wv", "wo")),
    *(f"feed_forward.{name}" for name in ("w1", "w2", "w3")),
]


def of_layers(state, *names):
    return [state[f"layers.{layer}.{name}.weight"] for name in names for layer in range(2)]


def is_tied(state):
    return state["output.weight"] is state["tok_embeddings.weight"]


def fp32(tensors):
    return b"".join(tensor.float().numpy().tobytes() for tensor in tensors)


def version_0(state):
    *sizes, vocab_size, max_seq_len = SIZES
    angles = torch.zeros(max_seq_len, 2)
    tensors = [
        state["tok_embeddings.weight"],
        *of_layers(state, "attention_norm", *MATRICES[:4], "ffn_norm", *MATRICES[4:]),
        state["norm.weight"],
        angles.cos(),
        angles.sin(),
        *([] if is_tied(state) else [state["output.weight"]]),
    ]
    return struct.pack("<7i", *sizes, vocab_size if is_tied(state) else -vocab_size, max_seq_len) + fp32(tensors)


def version_1(state):
    header = struct.pack("<Ii7iB", 0x616B3432, 1, *SIZES, is_tied(state)).ljust(256, b"\0")
    head = [] if is_tied(state) else [state["output.weight"]]
    norms = [*of_layers(state, "attention_norm", "ffn_norm"), state["norm.weight"]]
    return header + fp32([*norms, state["tok_embeddings.weight"], *of_layers(state, *MATRICES), *head])


def version_2(state, group_size=8):
    header = struct.pack("<Ii7iBi", 0x616B3432, 2, *SIZES, is_tied(state), group_size).ljust(256, b"\0")
    head = [] if is_tied(state) else [state["output.weight"]]
    content = header + fp32([*of_layers(state, "attention_norm", "ffn_norm"), state["norm.weight"]])
    for tensor in [state["tok_embeddings.weight"], *of_layers(state, *MATRICES), *head]:
        numbers, scales = quantised(tensor, group_size)
        content += numbers.numpy().tobytes() + fp32([scales])
    return content


def quantised(tensor, group_size):
    groups = tensor.reshape(-1, group_size)
    scales = groups.abs().amax(1) / 127
    return (groups / scales[:, None]).round().to(torch.int8), scales


def dequantised(state, group_size):
    changed = dict(state)
    for name, tensor in state.items():
        if tensor.ndim == 2:
            numbers, scales = quantised(tensor, group_size)
            changed[name] = (numbers.float() * scales[:, None]).reshape(tensor.shape)
    return changed


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("write", [version_0, version_1])
def test_float32_exports(write, tied, tmp_path, assert_same_logits):
    state = meta_llama(tied=tied)
    (tmp_path / "stories.bin").write_bytes(write(state))
    read = foreign.read(tmp_path / "stories.bin")

    assert read.config.tie_embeddings == tied
    assert (read.config.context_length, read.config.n_kv_heads, read.config.norm_eps) == (32, 2, 1e-5)
    assert_same_logits(read, meta_llama_logits(state, IDS, 4))
    for name, heads in (("q_proj", 4), ("k_proj", 2)):
        ours = read.tensors[f"blocks.1.attn.{name}.weight"].load()
        assert torch.equal(to_interleaved(ours, heads), state[f"layers.1.attention.w{name[0]}.weight"])


@pytest.mark.parametrize("tied", [True, False])
def test_int8_export(tied, tmp_path, assert_same_logits):
    state = meta_llama(tied=tied)
    (tmp_path / "stories.bin").write_bytes(version_2(state))
    read = foreign.read(tmp_path / "stories.bin")

    assert "int8 in groups of 8" in read.facts["precision"]
    assert_same_logits(read, meta_llama_logits(dequantised(state, 8), IDS, 4))


@pytest.mark.parametrize("args", [{}, {"n_kv_heads": None}, {"hidden_dim": 24, "norm_eps": 1e-5, "dropout": 0.2}])
def test_checkpoints_of_its_training(args, tmp_path, assert_same_logits):
    n_kv_heads = 4 if "n_kv_heads" in args else 2
    state = meta_llama(n_kv_heads=n_kv_heads)
    model = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
    content = {"model": model, "model_args": ARGS | args, "iter_num": 7, "optimizer": {}, "config": {"device": "cuda"}}
    torch.save(content, tmp_path / "ckpt.pt")
    read = foreign.read(tmp_path / "ckpt.pt")

    assert read.facts["step"] == 7
    assert (read.config.n_kv_heads, read.config.dropout) == (n_kv_heads, args.get("dropout", 0.0))
    assert_same_logits(read, meta_llama_logits(state, IDS, 4))


def test_a_model_of_seven_billion_opens_at_once(tmp_path):
    """A file of 27 GB that takes no room on the disk, and of which one small tensor is read."""
    n, d, d_ff, vocab_size = 32, 4096, 11008, 32000
    header = struct.pack("<Ii7iB", 0x616B3432, 1, d, d_ff, n, 32, 32, vocab_size, 2048, 0).ljust(256, b"\0")
    n_numbers = (2 * n + 1) * d + 2 * vocab_size * d + n * (4 * d * d + 3 * d * d_ff)
    with open(tmp_path / "llama.bin", "wb") as file:
        file.write(header)
        file.write(np.full(d, 1.5, np.float32).tobytes())
        file.truncate(256 + 4 * n_numbers)
    read = foreign.read(tmp_path / "llama.bin")

    assert read.n_parameters == 6_738_415_616
    assert (read.tensors["blocks.0.attn_norm.weight"].load() == 1.5).all()


@pytest.mark.parametrize("write", [version_0, version_1, version_2])
def test_every_cut_is_refused(write, tmp_path):
    content = write(meta_llama())
    for length in [*range(0, 300, 7), *range(300, len(content), 501), len(content) - 1]:
        (tmp_path / "x.bin").write_bytes(content[:length])
        with pytest.raises(ArtefactError):
            foreign.read(tmp_path / "x.bin", "llama2c")
    (tmp_path / "x.bin").write_bytes(content + b"\0")
    with pytest.raises(ArtefactError, match="bytes, and its header asks for"):
        foreign.read(tmp_path / "x.bin", "llama2c")


def header(*sizes, version=1, flags=b"\1"):
    return struct.pack("<Ii7i", 0x616B3432, version, *sizes) + flags.ljust(220, b"\0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack("<7i", 288, 768, 6, 6, 6, 32000, 256), "it has 28 bytes, and its header asks for"),
        (struct.pack("<7i", 0, 768, 6, 6, 6, 32000, 256), "d_model would be 0"),
        (struct.pack("<7i", *[2**31 - 1] * 7), "its header asks for"),
        (struct.pack("<7i", 288, 768, 6, 7, 7, 32000, 256), "7 heads, 7 for keys and values, do not divide"),
        (header(*SIZES, version=3), "has version 3; 0, 1 and 2 are read"),
        (header(*SIZES, flags=b"\7"), "its flag for a shared head is 7"),
        (header(16, 24, -2, 4, 2, 20, 32), "n_layers would be -2"),
        (header(16, 24, 2**31 - 1, 4, 2, 20, 32), "its header asks for"),
        (header(*SIZES, version=2, flags=b"\1\0\0\0\0"), "groups of 0 numbers do not divide 16"),
        (header(*SIZES, version=2, flags=b"\1\5\0\0\0"), "groups of 5 numbers do not divide 16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        (b"<!DOCTYPE html><html><body>404: not found</body></html>", "HTML page"),
        (b"", "is empty"),
    ],
)
def test_headers_that_cannot_be(content, message, tmp_path):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / "x.bin", "llama2c")
    assert foreign.recognise(tmp_path / "x.bin") in (None, "llama2c")


def test_scales_that_are_none_are_refused(tmp_path):
    """As an export of before version 2 was final would look, which wrote all scales at the end."""
    content = bytearray(version_2(meta_llama()))
    at = 256 + 4 * 5 * 16 + 20 * 16
    content[at : at + 4] = struct.pack("<f", float("nan"))
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(ArtefactError, match="the scales of tok_embeddings.weight are no scales"):
        foreign.read(tmp_path / "x.bin").tensors["tok_embed.weight"].load()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_heads": None}, "n_heads is missing"),
        ({"n_layers": 3}, "layers.2.attention_norm.weight is missing"),
        ({"n_layers": 1}, "layers.1.attention.wq.weight is unknown"),
        ({"n_layers": 10**9}, "describes 1000000000 layers"),
        ({"dim": 8}, r"tok_embeddings.weight has shape \(20, 16\), not \(20, 8\)"),
        ({"n_kv_heads": 3}, "n_kv_heads is 3"),
    ],
)
def test_settings_that_do_not_fit(args, message, tmp_path):
    torch.save({"model": meta_llama(), "model_args": ARGS | args}, tmp_path / "ckpt.pt")
    with pytest.raises(ArtefactError, match=message):
        foreign.read(tmp_path / "ckpt.pt")
