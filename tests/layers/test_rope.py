"""RoPE: against transformers, against the paper's complex numbers, and by its defining property."""

import dataclasses
import math
import re

import pytest
import torch

from groundup.layers.rope import (
    SCALINGS,
    RoPE,
    RopeConfig,
    attention_factor,
    inverse_frequencies,
    rotate,
    to_half_split,
    to_interleaved,
)
from tests.layers.agreement import DTYPES, assert_agree

LLAMA3 = {"theta": 5e5, "scaling": "llama3", "trained_context": 8192}
YARN = {"scaling": "yarn", "trained_context": 8192, "factor": 8.0}
SCALED = [
    (16, {"theta": 1e4}),
    (64, {"theta": 1e4, "scaling": "linear", "factor": 4.0}),
    (128, {**LLAMA3, "factor": 8.0}),  # Llama 3.1
    (64, {**LLAMA3, "factor": 32.0}),  # Llama 3.2 1B
    (16, {**LLAMA3, "trained_context": 64, "factor": 2.5, "low_freq_factor": 1.5, "high_freq_factor": 3.0}),
    (128, {**YARN, "theta": 5e5}),
    (128, {**YARN, "theta": 1e6, "factor": 4.0, "trained_context": 32768}),  # Qwen2.5 and Qwen3, stretched
    (64, {**YARN, "theta": 1.5e5, "factor": 32.0, "trained_context": 4096, "truncate": False}),  # gpt-oss
    (64, {**YARN, "factor": 40.0, "trained_context": 4096, "mscale": 1.0, "mscale_all_dim": 0.707}),  # DeepSeek's form
    (64, {**YARN, "factor": 40.0, "mscale": 1.0}),
    (64, {**YARN, "attention_factor": 1.5, "beta_fast": 20.0, "beta_slow": 2.0}),
    (64, {**YARN, "factor": 1.0}),
    (8, {**YARN, "trained_context": 16, "factor": 2.0}),  # too short for a ramp
]


def test_frequencies_of_the_paper():
    assert inverse_frequencies(4, RopeConfig(theta=100.0)).tolist() == pytest.approx([1.0, 0.1])


# --- scalings ---


def in_transformers(head_dim, config):
    """The same settings for transformers' Llama, where 0 is None."""
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    names = {"theta": "rope_theta", "trained_context": "original_max_position_embeddings"}
    rope = {names.get(name, name): value for name, value in dataclasses.asdict(config).items()}
    rope["rope_type"] = {"none": "default"}.get(config.scaling, config.scaling)
    for name in ("scaling", *(name for name in ("attention_factor", "mscale", "mscale_all_dim") if not rope[name])):
        del rope[name]
    wanted = {
        "default": {"rope_theta"},
        "linear": {"rope_theta", "factor"},
        "llama3": {"rope_theta", "factor", names["trained_context"], "low_freq_factor", "high_freq_factor"},
        "yarn": set(rope) - {"low_freq_factor", "high_freq_factor"},
    }[rope["rope_type"]]
    return llama.LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        max_position_embeddings=int((config.trained_context or 4096) * config.factor),
        rope_parameters={name: rope[name] for name in wanted | {"rope_type"}},
    )


@pytest.mark.parametrize(("head_dim", "settings"), SCALED)
def test_scalings_equal_transformers(head_dim, settings):
    ropes = pytest.importorskip("transformers.modeling_rope_utils")
    config = RopeConfig(**settings)
    theirs = in_transformers(head_dim, config)
    if config.scaling == "none":
        rotary = pytest.importorskip("transformers.models.llama.modeling_llama").LlamaRotaryEmbedding
        frequencies, factor = rotary.compute_default_rope_parameters(theirs)
    else:
        frequencies, factor = ropes.ROPE_INIT_FUNCTIONS[config.scaling](theirs)

    torch.testing.assert_close(inverse_frequencies(head_dim, config), frequencies, atol=0, rtol=2e-7)
    assert attention_factor(config) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("head_dim", "settings"), SCALED)
def test_half_split_equals_transformers(head_dim, settings, dtype):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config, positions = RopeConfig(**settings), torch.arange(300, 310)[None]
    rotary = llama.LlamaRotaryEmbedding(in_transformers(head_dim, config))
    rope = RoPE(head_dim, config)

    def theirs(q, k, of):
        return llama.apply_rotary_pos_emb(q, k, *rotary(q, positions))[of]

    q, k = torch.randn(2, 4, 10, head_dim), torch.randn(2, 2, 10, head_dim)
    assert_agree(lambda q: rope(q, positions[0]), lambda q: theirs(q, q, 0), [q], dtype)
    assert_agree(lambda k: rope(k, positions[0]), lambda k: theirs(k, k, 1), [k], dtype)


GOLDEN_LLAMA3 = [
    (128, 8.0, {
        28: 3.211445995e-03, 29: 2.166570764e-03, 30: 1.371893568e-03, 32: 5.248461610e-04, 34: 1.785078128e-04,
        35: 9.556212354e-05, 63: 3.068925989e-07,
    }),
    (64, 32.0, {
        14: 3.211446e-03, 15: 1.290548e-03, 16: 4.295568e-04, 17: 9.708288e-05, 18: 1.946164e-05, 31: 9.418307e-08,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("head_dim", "factor", "golden"), GOLDEN_LLAMA3, ids=["Llama 3.1", "Llama 3.2 1B"])
def test_golden_numbers_of_llama3(head_dim, factor, golden):
    """Computed in fp64 from the published rule, by nobody's code that is imported here."""
    scaled = inverse_frequencies(head_dim, RopeConfig(**LLAMA3, factor=factor))
    for pair, frequency in golden.items():
        assert scaled[pair].item() == pytest.approx(frequency, rel=1e-6), pair

    ratio = scaled / inverse_frequencies(head_dim, RopeConfig(theta=5e5))
    if head_dim == 128:
        assert ((ratio == 1).sum(), (ratio == 1 / factor).sum()) == (29, 29)


def test_golden_numbers_of_yarn():
    config = RopeConfig(**YARN, theta=5e5)
    ratio = inverse_frequencies(128, config) / inverse_frequencies(128, RopeConfig(theta=5e5))
    golden = {28: 0.485294, 29: 0.433824, 30: 0.382353, 32: 0.279412, 34: 0.176471}

    assert all(ratio[pair].item() == pytest.approx(value, abs=1e-6) for pair, value in golden.items())
    assert ratio[:19].tolist() == pytest.approx([1.0] * 19)
    assert ratio[35:].tolist() == pytest.approx([0.125] * 29)
    assert attention_factor(config) == pytest.approx(1.2079441542, abs=1e-10)


def test_yarn_lengthens_queries_and_keys_and_no_other_does():
    x = torch.randn(2, 5, 16)
    for settings in ({}, {"scaling": "linear", "factor": 8.0}, {**LLAMA3, "factor": 8.0}):
        torch.testing.assert_close(RoPE(16, RopeConfig(**settings))(x).norm(dim=-1), x.norm(dim=-1))
    longer = RoPE(16, RopeConfig(**YARN))(x).norm(dim=-1)
    torch.testing.assert_close(longer, (0.1 * math.log(8) + 1) * x.norm(dim=-1))


def test_a_factor_of_one_changes_nothing():
    plain = inverse_frequencies(64)
    for scaling in SCALINGS:
        scaled = inverse_frequencies(64, RopeConfig(scaling=scaling, trained_context=512))
        torch.testing.assert_close(scaled, plain, atol=0, rtol=2e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"theta": 1.0}, "rope.theta is 1.0; valid values are above 1"),
        ({"theta": math.nan}, "rope.theta is nan"),
        ({"scaling": "ntk"}, "rope.scaling is 'ntk'; valid values are none, linear, llama3, yarn"),
        ({"scaling": "linear", "factor": 0.5}, "rope.factor is 0.5; valid values are from 1"),
        ({"factor": 8.0}, 'rope.factor is 8.0; valid values are only 1 with rope.scaling = "none"'),
        ({"scaling": "llama3", "factor": 8.0}, "rope.trained_context is 0; valid values are whole numbers from 1"),
        ({"scaling": "yarn", "factor": 8.0}, "rope.trained_context is 0; valid values are whole numbers from 1"),
        ({**LLAMA3, "low_freq_factor": 4.0}, "rope.high_freq_factor is 4.0; valid values are above"),
        ({**LLAMA3, "low_freq_factor": 0.0}, "rope.low_freq_factor is 0.0; valid values are above 0"),
        ({**YARN, "beta_slow": 64.0}, "rope.beta_fast is 32.0; valid values are above rope.beta_slow"),
        ({**YARN, "beta_slow": -1.0}, "rope.beta_slow is -1.0; valid values are above 0"),
        ({**YARN, "mscale": -1.0}, "rope.mscale is -1.0; valid values are above 0, and 0 for not given"),
    ],
)
def test_a_config_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RopeConfig(**settings)


# --- rotations ---


def test_interleaved_equals_a_product_of_complex_numbers():
    x, positions = torch.randn(3, 7, 8, dtype=torch.float64), torch.arange(7)
    angles = positions[:, None] * inverse_frequencies(8).double()
    expected = torch.view_as_real(
        torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones_like(angles), angles)
    )

    torch.testing.assert_close(RoPE(8, interleaved=True)(x, positions), expected.flatten(-2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layouts_are_one_rotation_of_pairs_laid_out_differently(dtype):
    half_split, interleaved = RoPE(8), RoPE(8, interleaved=True)

    def in_the_other_layout(x):
        return half_split(x.unflatten(-1, (4, 2)).mT.flatten(-2)).unflatten(-1, (2, 4)).mT.flatten(-2)

    assert_agree(interleaved, in_the_other_layout, [torch.randn(2, 3, 7, 8)], dtype)


def test_products_depend_on_distance_only():
    q, k, rope = torch.randn(1, 32), torch.randn(1, 32), RoPE(32)

    def product(i, j):
        return (rope(q, torch.tensor([i])) * rope(k, torch.tensor([j]))).sum()

    torch.testing.assert_close(product(7, 3), product(507, 503), atol=1e-4, rtol=0)
    torch.testing.assert_close(product(3, 3), (q * k).sum())


@pytest.mark.parametrize("interleaved", [False, True])
def test_keeps_lengths_and_leaves_position_zero_alone(interleaved):
    x = torch.randn(2, 5, 12)
    y = RoPE(12, interleaved=interleaved)(x)

    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(y[:, 0], x[:, 0])


def test_positions_may_differ_per_sequence_and_have_no_end():
    rope, x = RoPE(8), torch.randn(2, 3, 4, 8)  # (B, n_heads, T, head_dim)
    positions = torch.tensor([[0, 1, 2, 3], [100_000, 100_001, 100_002, 100_003]])
    y = rope(x, positions[:, None])

    torch.testing.assert_close(y[0], rope(x[0]))
    torch.testing.assert_close(y[1], rope(x[1], positions[1]))


def test_a_weight_moves_between_the_layouts():
    """Scores of one model in both layouts are equal once the rows of its weights are reordered."""
    n_heads, head_dim, x = 2, 6, torch.randn(5, 10)
    weights = [torch.randn(n_heads * head_dim, 10) for _ in range(2)]

    def scores(weights, interleaved):
        q, k = ((x @ w.T).unflatten(-1, (n_heads, head_dim)).transpose(0, 1) for w in weights)
        rope = RoPE(head_dim, interleaved=interleaved)
        return rope(q) @ rope(k).transpose(-1, -2)

    half_split = [to_half_split(w, n_heads) for w in weights]
    torch.testing.assert_close(scores(weights, True), scores(half_split, False), atol=1e-5, rtol=1e-5)
    for before, after in zip(weights, half_split, strict=True):
        assert torch.equal(to_interleaved(after, n_heads), before)
        # The reordering as Hugging Face's conversion of Meta's files writes it.
        assert torch.equal(after, before.view(n_heads, head_dim // 2, 2, 10).transpose(1, 2).reshape(-1, 10))
    bias = torch.arange(12.0)
    assert to_half_split(bias, 2).tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


def test_angles_are_fp32_under_bf16():
    cos, _ = RoPE(4).rotation(torch.tensor([4001]), torch.bfloat16)

    assert cos.dtype == torch.bfloat16
    assert cos[0, 0].item() == pytest.approx(torch.tensor(4001.0).cos().item(), abs=4e-3)


def test_worked_example():
    """A quarter turn takes (1, 0) to (0, 1)."""
    zero, one = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    assert rotate(torch.tensor([[1.0, 0.0]]), zero, one).tolist() == [[0.0, 1.0]]


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="head_dim is 7"):
        RoPE(7)
