"""nanoGPT's ckpt.pt: equal logits, with biases and without, in both forms of GELU."""

import functools

import pytest
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.weights import foreign
from groundup.weights.foreign import nanogpt
from tests.weights.foreign.conftest import IDS
from tests.weights.foreign.other_programs import nanogpt as make
from tests.weights.foreign.other_programs import nanogpt_logits as compute

ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 12, "block_size": 10, "vocab_size": 20, "dropout": 0.1}

DEEP = functools.reduce(lambda inside, _: (inside, inside), range(60), ())
"""Small in memory and in a pickle, and as a text longer than any disk."""


def save(path, state, **args):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, betas=(0.9, 0.95))
    parameter.grad = torch.ones(3)
    optimizer.step()
    content = {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "model_args": ARGS | args,
        "iter_num": 2000,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "openwebtext", "compile": True, "learning_rate": 6e-4, "device": "cuda"},
    }
    torch.save(content, path)
    return path


def test_without_biases_and_with_the_exact_gelu(tmp_path, assert_same_logits):
    """What nanoGPT trains by itself."""
    state = make(bias=False)
    read = foreign.read(save(tmp_path / "ckpt.pt", state, bias=False))

    assert (read.family, read.config.activation) == ("gpt2", "gelu")
    assert read.config.tie_embeddings and read.config.dropout == 0.1
    assert read.facts["gelu"] == "erf" and read.facts["step"] == 2000 and "zeros" in read.facts["biases"]
    assert_same_logits(read, compute(state, IDS, 3, "erf"))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("gelu", "activation"), [("tanh", "gelu_tanh"), ("erf", "gelu")])
def test_with_either_gelu(bias, gelu, activation, tmp_path, assert_same_logits):
    state = make(bias=bias)
    read = foreign.read(save(tmp_path / "ckpt.pt", state, bias=bias), fields={"gelu": gelu})

    assert read.config.activation == activation
    assert_same_logits(read, compute(state, IDS, 3, gelu))


def test_from_before_there_was_a_choice_of_biases(tmp_path, assert_same_logits):
    state = make()
    read = foreign.read(save(tmp_path / "ckpt.pt", state))

    assert read.family == "gpt2" and read.facts["gelu"] == "tanh"
    assert_same_logits(read, compute(state, IDS, 3, "tanh"))


def test_the_two_forms_of_gelu_do_not_pass_for_each_other():
    state = make()
    difference = compute(state, IDS, 3, "erf") - compute(state, IDS, 3, "tanh")
    assert difference.abs().max() > 1e-4


def test_another_gelu_is_refused(tmp_path):
    with pytest.raises(UsageError, match="gelu is 'relu'; valid values are erf, tanh"):
        foreign.read(save(tmp_path / "ckpt.pt", make()), fields={"gelu": "relu"})


def test_compiled_with_masks_and_in_bf16(tmp_path):
    """torch.compile's prefix, the masks of attention without a fused kernel, and a padded vocabulary."""
    state = {name: tensor.bfloat16() for name, tensor in make(vocab_size=64).items()}
    state |= {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 10, 10).tril() for layer in range(2)}
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in state.items()}
    path = save(tmp_path / "ckpt.pt", compiled, vocab_size=64)
    read = nanogpt.read(path)

    assert read.config.vocab_size == 64
    q, k, v = (read.tensors[f"blocks.1.attn.{name}.weight"] for name in ("q_proj", "k_proj", "v_proj"))
    assert {tensor.dtype for tensor in read.tensors.values()} == {torch.bfloat16}
    fused = torch.cat([q.load(), k.load(), v.load()])
    assert torch.equal(fused, state["transformer.h.1.attn.c_attn.weight"])


def test_a_head_of_its_own(tmp_path, assert_same_logits):
    state = make() | {"lm_head.weight": torch.randn(20, 12)}
    read = foreign.read(save(tmp_path / "ckpt.pt", state))

    assert not read.config.tie_embeddings
    assert_same_logits(read, compute(state, IDS, 3, "tanh"))


def test_meta_pkl_is_never_opened(tmp_path, assert_same_logits):
    (tmp_path / "meta.pkl").write_bytes(b"cposix\nsystem\n(S'touch canary'\ntR.")
    state = make()
    assert_same_logits(foreign.read(save(tmp_path / "ckpt.pt", state)), compute(state, IDS, 3, "tanh"))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("transformer.h.1.ln_2.bias"),
            r"transformer.h.1.ln_2.bias is missing, which has shape \(12,\)",
        ),
        (
            lambda s: s.update({"transformer.h.2.ln_1.weight": torch.ones(12)}),
            "transformer.h.2.ln_1.weight is unknown",
        ),
        (
            lambda s: s.update({"transformer.h.0.attn.c_attn.weight": torch.ones(12, 36)}),
            r"transformer.h.0.attn.c_attn.weight has shape \(12, 36\), not \(36, 12\)",
        ),
        (
            lambda s: s.update({"transformer.ln_f.weight": torch.ones(12, dtype=torch.int8)}),
            "transformer.ln_f.weight has the dtype torch.int8",
        ),
        (lambda s: s.update({"transformer.ln_f.weight": 1.0}), "'transformer.ln_f.weight' is float, not a tensor"),
        (lambda s: s.clear(), "there are no tensors by name"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, tmp_path):
    state = make()
    change(state)
    with pytest.raises(ArtefactError, match=message):
        foreign.read(save(tmp_path / "ckpt.pt", state), "nanogpt")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"n_layer": 10**9}, "describes 1000000000 layers"),
        ({"n_embd": 10**9, "n_head": 1}, "describes 2 layers with"),
        ({"n_head": 0}, "describes no gpt2 that can be built: n_heads is 0"),
        ({"n_head": 5}, "n_heads is 5"),
        ({"n_head": 3.0}, "n_head is 3.0, and should be of the kind int"),
        ({"n_head": None}, "n_head is missing in the settings"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"block_size": 11}, r"transformer.wpe.weight has shape \(10, 12\), not \(11, 12\)"),
        ({"bias": True, "vocab_size": True}, "vocab_size is True, and should be of the kind int"),
        ({"n_head": 10**600}, "n_head is too large"),
        ({"dropout": 10**600}, "dropout is too large"),
        ({"n_head": DEEP}, "n_head is a tuple, and should be of the kind int"),
        ({"bias": 1}, "bias is 1, and should be of the kind bool"),
    ],
)
def test_settings_that_cannot_be_are_refused(args, message, tmp_path):
    with pytest.raises(ArtefactError, match=message):
        foreign.read(save(tmp_path / "ckpt.pt", make(), **args))


def test_all_faults_are_listed(tmp_path):
    state = make()
    for name in [name for name in state if ".ln_" in name]:
        del state[name]
    with pytest.raises(ArtefactError) as error:
        foreign.read(save(tmp_path / "ckpt.pt", state))
    for name in ("transformer.h.0.ln_1.weight", "transformer.h.1.ln_2.bias", "transformer.ln_f.bias"):
        assert f"{name} is missing" in str(error.value)
