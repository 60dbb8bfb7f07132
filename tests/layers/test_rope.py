"""RoPE: against transformers, against the paper's complex numbers, and by its defining property."""

import pytest
import torch

from groundup.layers.rope import RoPE, inverse_frequencies, rotate, to_half_split, to_interleaved


def test_frequencies_of_the_paper():
    assert inverse_frequencies(4, 100.0).tolist() == pytest.approx([1.0, 0.1])


def test_half_split_equals_transformers():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_theta": 5e5, "rope_type": "default"}
    )
    q, k = torch.randn(2, 4, 10, 16), torch.randn(2, 2, 10, 16)
    positions = torch.arange(300, 310)[None]
    theirs = llama.apply_rotary_pos_emb(q, k, *llama.LlamaRotaryEmbedding(config)(q, positions))

    rope = RoPE(16, theta=5e5)
    for x, expected in zip((q, k), theirs, strict=True):
        torch.testing.assert_close(rope(x, positions[0]), expected, atol=1e-5, rtol=1e-5)


def test_interleaved_equals_a_product_of_complex_numbers():
    x, positions = torch.randn(3, 7, 8, dtype=torch.float64), torch.arange(7)
    angles = positions[:, None] * inverse_frequencies(8).double()
    expected = torch.view_as_real(
        torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones_like(angles), angles)
    )

    torch.testing.assert_close(RoPE(8, interleaved=True)(x, positions), expected.flatten(-2), atol=1e-6, rtol=0)


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
