"""Attention against torch's and transformers', and against sums written out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundup.layers.attention import Attention, attention, is_best_by_products, repeat_heads, within_window
from groundup.layers.cache import KVCache
from groundup.layers.linear import Linear
from groundup.layers.masks import causal_mask, document_mask, window_mask
from groundup.layers.rope import RoPE, to_interleaved
from tests.layers.agreement import DTYPES, KERNELS, assert_agree, assert_near, copied, gradients


def qkv(*leading, T=6, S=6, head_dim=8):
    return [torch.randn(*leading, n, head_dim, requires_grad=True) for n in (T, S, S)]


# --- one head, step by step ---


def by_hand(queries, keys, values, sees, scale=1.0):
    """Attention on lists of numbers: `sees(i, j)` says whether position i may look at position j."""
    outputs = []
    for i, query in enumerate(queries):
        seen = [j for j in range(len(keys)) if sees(i, j)]
        # How well each key fits the query: their product, number by number.
        scores = [scale * sum(a * b for a, b in zip(query, keys[j], strict=True)) for j in seen]
        # Positive shares that sum to one.
        shares = [math.exp(score) for score in scores]
        shares = [share / sum(shares) for share in shares]
        # The mean of the values, weighted by the shares.
        outputs.append(
            [sum(w * values[j][d] for w, j in zip(shares, seen, strict=True)) for d in range(len(values[0]))]
        )
    return torch.tensor(outputs)


@pytest.mark.parametrize("kernels", KERNELS)
def test_step_1_without_weights_each_position_becomes_a_mean_of_those_like_it(kernels):
    x = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.1]])
    y = attention(x, x, x, kernels=kernels, scale=1.0)

    torch.testing.assert_close(y, by_hand(x.tolist(), x.tolist(), x.tolist(), sees=lambda i, j: True))
    # The first and the third are alike, so they mix: 2 · 4 shared as e^4 : e^0 : e^4.
    e = math.exp(4)
    assert y[0].tolist() == pytest.approx([(2 * e + 2 * e) / (2 * e + 1), (2 + 0.1 * e) / (2 * e + 1)])


@pytest.mark.parametrize("kernels", KERNELS)
def test_step_2_with_weights_a_position_asks_offers_and_tells_different_things(kernels):
    x = torch.randn(4, 3)
    w_q, w_k, w_v = torch.randn(2, 3), torch.randn(2, 3), torch.randn(5, 3)  # values may have a width of their own
    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T
    expected = by_hand(q.tolist(), k.tolist(), v.tolist(), sees=lambda i, j: True, scale=1 / math.sqrt(2))

    torch.testing.assert_close(torch.softmax(q @ k.T / math.sqrt(2), -1) @ v, expected)
    torch.testing.assert_close(attention(q, k, v[:, :2], kernels=kernels), expected[:, :2])


@pytest.mark.parametrize("kernels", KERNELS)
def test_step_3_causal_nobody_looks_ahead(kernels):
    q, k, v = torch.randn(4, 2), torch.randn(4, 2), torch.randn(4, 2)
    lists = [x.tolist() for x in (q, k, v)]
    y = attention(q, k, v, is_causal=True, kernels=kernels)

    torch.testing.assert_close(y, by_hand(*lists, sees=lambda i, j: j <= i, scale=1 / math.sqrt(2)))
    torch.testing.assert_close(y[0], v[0])  # the first sees only itself
    within = attention(q, k, v, is_causal=True, kernels=kernels, window=2)
    torch.testing.assert_close(within, by_hand(*lists, sees=lambda i, j: i - 2 < j <= i, scale=1 / math.sqrt(2)))


@pytest.mark.parametrize("kernels", KERNELS)
def test_step_4_heads_stacked_equal_heads_fused(kernels):
    """Three heads with weights of their own, side by side, are one layer whose weights stand on top of each other."""
    n_heads, head_dim, d_model, x = 3, 4, 10, torch.randn(2, 6, 10)
    heads = [[Linear(d_model, head_dim) for _ in "qkv"] for _ in range(n_heads)]
    out = Linear(n_heads * head_dim, d_model)
    stacked = [attention(*(project(x) for project in head), is_causal=True, kernels=kernels) for head in heads]
    expected = out(torch.cat(stacked, dim=-1))

    fused = Attention(d_model, n_heads, head_dim=head_dim, kernels=kernels)
    with torch.no_grad():
        for i, projection in enumerate((fused.q_proj, fused.k_proj, fused.v_proj)):
            projection.weight.copy_(torch.cat([head[i].weight for head in heads]))
        fused.o_proj.weight.copy_(out.weight)
    torch.testing.assert_close(fused(x), expected, atol=1e-6, rtol=1e-5)

    pull = torch.randn_like(expected)
    expected.backward(pull)
    fused(x).backward(pull)
    for i, projection in enumerate((fused.q_proj, fused.k_proj, fused.v_proj)):
        expected_gradient = torch.cat([head[i].weight.grad for head in heads])
        torch.testing.assert_close(projection.weight.grad, expected_gradient, atol=1e-5, rtol=1e-5)


# --- the formula ---


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("leading", [(2, 3), (3,), (), (2, 2, 3)])
def test_causal_equals_torch(kernels, leading):
    q, k, v = qkv(*leading)

    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attention(q, k, v, is_causal=True, kernels=kernels), expected, atol=1e-6, rtol=0)
    masked = attention(q, k, v, causal_mask(6, 6), kernels=kernels)
    torch.testing.assert_close(masked, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernels", KERNELS)
def test_without_a_mask_every_position_is_seen(kernels):
    q, k, v = qkv(2, 3, T=4, S=7)
    expected = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(8), -1) @ v

    torch.testing.assert_close(attention(q, k, v, kernels=kernels), expected, atol=1e-6, rtol=0)


def test_kernels_agree_in_outputs_and_gradients():
    masks = {
        "none": (None, False),
        "causal": (None, True),
        "any": (torch.rand(2, 1, 5, 5) < 0.6, False),
        "per head": (torch.rand(2, 4, 5, 5) < 0.6, False),
        "keys": (torch.rand(2, 1, 1, 5) < 0.6, False),
    }
    for n_kv_heads in (4, 2, 1):
        inputs = [torch.randn(2, n, 5, 8, requires_grad=True) for n in (4, n_kv_heads, n_kv_heads)]
        for name, (mask, is_causal) in masks.items():
            results = []
            for kernels in KERNELS:
                y = attention(*inputs, mask, is_causal, kernels=kernels)
                results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize("is_causal", [True, False])
def test_training_in_bf16_equals_fp32_up_to_rounding(is_causal, n_kv_heads):
    exact = [torch.randn(2, n, 16, 8, requires_grad=True) for n in (4, n_kv_heads, n_kv_heads)]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    mask = None if is_causal else (torch.rand(2, 1, 16, 16) < 0.5) | torch.eye(16, dtype=torch.bool)
    assert is_best_by_products(rounded[0], rounded[1], mask, dropout=0.0)

    results = []
    for inputs in (rounded, exact):
        y = attention(*inputs, mask, is_causal)
        results.append([y, *torch.autograd.grad(y.float().square().sum(), inputs)])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()


def test_in_bf16_a_query_that_sees_nothing_gets_zeros():
    q, k, v = (torch.randn(1, 1, 3, 8).bfloat16().requires_grad_() for _ in range(3))
    mask = torch.tensor([[False] * 3, [True] * 3, [True] * 3])

    assert attention(q, k, v, mask)[..., 0, :].abs().max() == 0


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_query_that_sees_nothing_gets_zeros_and_harms_nobody(kernels):
    q, k, v = qkv(1, 1, T=2, S=3)
    mask = torch.tensor([[False, False, False], [True, True, False]])
    y = attention(q, k, v, mask, kernels=kernels)
    gradients = torch.autograd.grad(y.sum(), (q, k, v))

    assert y[..., 0, :].abs().max() == 0
    assert y[..., 1, :].abs().min() > 0
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kernels", KERNELS)
def test_causal_queries_are_the_last_of_the_positions(kernels):
    q, k, v = qkv(1, 2, T=6, S=6)
    full = attention(q, k, v, is_causal=True, kernels=kernels)

    for T in (1, 2, 5):
        last = attention(q[..., -T:, :], k, v, is_causal=True, kernels=kernels)
        torch.testing.assert_close(last, full[..., -T:, :], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_repeated_heads_equal_the_grouped_form(kernels, dtype):
    """Grouped-query attention as one einsum over (group of 3, key-value head): no head is copied."""

    def grouped(q, k, v):
        scores = torch.einsum("bkgtd,bksd->bkgts", q.unflatten(1, (2, 3)), k) / math.sqrt(8)
        probs = scores.float().masked_fill(~causal_mask(5, 5), -math.inf).softmax(-1).to(q.dtype)
        return torch.einsum("bkgts,bksd->bkgtd", probs, v).flatten(1, 2)

    def repeated(q, k, v):
        return attention(q, repeat_heads(k, 3), repeat_heads(v, 3), is_causal=True, kernels=kernels)

    inputs = [torch.randn(2, 6, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)]
    assert_agree(repeated, grouped, inputs, dtype)
    assert_agree(lambda q, k, v: attention(q, k, v, is_causal=True, kernels=kernels), grouped, inputs, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("window", [1, 3, 6, 50])
@pytest.mark.parametrize(("T", "S"), [(6, 6), (1, 6), (3, 6)])
def test_a_window_equals_its_mask(T, S, window, kernels, dtype):
    inputs = [torch.randn(2, 4, T, 8), torch.randn(2, 2, S, 8), torch.randn(2, 2, S, 8)]
    mask = causal_mask(T, S, window)
    some = (torch.rand(2, 1, T, S) < 0.5) | torch.eye(S, dtype=torch.bool)[-T:]
    cases = [
        ({"is_causal": True}, mask),
        ({"mask": some}, some & window_mask(T, S, window)),
        ({"mask": some[..., :1, :]}, some[..., :1, :] & window_mask(T, S, window)),
        ({}, window_mask(T, S, window)),
    ]
    for how, equal_mask in cases:
        seen = equal_mask.any(-1).all()  # where a query sees nothing, torch in bf16 has NaN in its gradients

        def theirs(q, k, v, equal_mask=equal_mask):
            return F.scaled_dot_product_attention(q, k, v, equal_mask, enable_gqa=True)

        if seen or dtype == torch.float32:
            assert_agree(
                lambda *x, how=how: attention(*x, kernels=kernels, window=window, **how), theirs, inputs, dtype
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("shape", [(1, 7), (2, 1, 1, 7), (1, 6, 1, 7), (2, 6, 1, 7)])
def test_one_query_of_heads_in_groups_equals_torch(shape, kernels, dtype):
    inputs = [torch.randn(2, 6, 1, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)]
    mask = torch.rand(shape) < 0.6
    mask[..., 0] = True
    assert_agree(
        lambda q, k, v: attention(q, k, v, mask, kernels=kernels),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True),
        inputs,
        dtype,
    )


def test_one_query_at_the_end_of_a_long_cache_costs_a_window():
    q, k = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 100, 4)
    near, _, mask = within_window(q, k, k, None, True, 8)
    assert near.shape[-2] == 8 and mask is None

    q = torch.randn(1, 2, 5, 4)
    near, _, mask = within_window(q, k, k, None, True, 8)
    assert near.shape[-2] == 12 and mask.shape == (5, 12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_scale_of_ones_own_equals_torch(scale, kernels, dtype):
    inputs = [torch.randn(2, 3, 6, 8) for _ in "qkv"]

    assert_agree(
        lambda q, k, v: attention(q, k, v, is_causal=True, kernels=kernels, scale=scale),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale),
        inputs,
        dtype,
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_scores_of_any_size(kernels):
    q, k, v = (1000 * torch.randn(1, 4, 8), 1000 * torch.randn(1, 4, 8), torch.randn(1, 4, 8))

    assert attention(q, k, v, is_causal=True, kernels=kernels).isfinite().all()


# --- the layer ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_layer_equals_torch_multihead_attention(kernels, dtype):
    ours = Attention(24, 4, bias=True, kernels=kernels).to(dtype)
    theirs = nn.MultiheadAttention(24, 4, batch_first=True).to(dtype)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)

    def pairs(of):
        yield of(ours.o_proj.weight), of(theirs.out_proj.weight)
        yield of(ours.o_proj.bias), of(theirs.out_proj.bias)
        # Not three and three: a bias of keys adds the same to all scores, so its gradient is rounding and no more.
        yield torch.cat([of(p.weight) for p in projections]), of(theirs.in_proj_weight)
        yield torch.cat([of(p.bias) for p in projections]), of(theirs.in_proj_bias)

    copied(theirs, list(pairs(lambda x: x))[:2], std=0.3)
    with torch.no_grad():
        for projection, weight, bias in zip(
            projections, theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
        ):
            projection.weight.copy_(weight)
            projection.bias.copy_(bias)
    x = torch.randn(2, 7, 24)

    def run_theirs(x):
        return theirs(x, x, x, attn_mask=~causal_mask(7, 7), need_weights=False)[0]

    for run in (ours, lambda x: ours(x, causal_mask(7, 7))):
        ours.zero_grad()
        theirs.zero_grad()
        assert_agree(run, run_theirs, [x], dtype, lambda: pairs(lambda x: x.grad))
    assert_near(ours(x.to(dtype)[0]), run_theirs(x.to(dtype))[0], dtype)


FAMILIES = [
    ("Llama", {}, {}),
    ("Llama", {"attention_bias": True}, {"bias": True}),
    ("Qwen2", {}, {"bias": True, "out_bias": False}),
    ("Qwen3", {"rms_norm_eps": 1e-6}, {"qk_norm_eps": 1e-6}),
    ("Mistral", {"sliding_window": 3}, {"window": 3}),
    (
        "Qwen3",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
        {"window": 4, "qk_norm_eps": 1e-6},
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("family", "settings", "ours"), FAMILIES)
def test_layer_with_rope_and_grouped_heads_equals_transformers(family, settings, ours, kernels, dtype):
    transformers = pytest.importorskip("transformers")
    masking = pytest.importorskip("transformers.masking_utils")
    modeling = pytest.importorskip(f"transformers.models.{family.lower()}.modeling_{family.lower()}")
    config = getattr(transformers, f"{family}Config")(
        hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=6, num_hidden_layers=1,
        attn_implementation="sdpa", **settings,
    )  # fmt: skip
    theirs = getattr(modeling, f"{family}Attention")(config, 0).to(dtype)
    ours = Attention(24, 4, 2, 6, kernels=kernels, **ours).to(dtype)
    names = {name: name for name, _ in ours.named_parameters()}
    assert set(names) == {name for name, _ in theirs.named_parameters()}
    copied(theirs, [(ours.get_parameter(name), theirs.get_parameter(name)) for name in names], std=0.3)

    x, positions = torch.randn(2, 9, 24), torch.arange(9)
    windowed = "sliding_window" in settings
    make_mask = masking.create_sliding_window_causal_mask if windowed else masking.create_causal_mask
    mask = make_mask(
        config=config, inputs_embeds=x, attention_mask=None, past_key_values=None, position_ids=positions[None]
    )
    assert (mask is not None) == windowed
    turns = getattr(modeling, f"{family}RotaryEmbedding")(config)(x.to(dtype), positions[None])
    rotation = RoPE(6).rotation(positions, dtype)

    assert_agree(
        lambda x: ours(x, rotation=rotation),
        lambda x: theirs(x, position_embeddings=turns, attention_mask=mask)[0],
        [x],
        dtype,
        lambda: gradients(ours, theirs, names),
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_layouts_of_pairs_give_the_same_layer(kernels):
    ours = Attention(24, 4, 2, 6, kernels=kernels)
    other = Attention(24, 4, 2, 6, kernels=kernels, interleaved=True)
    other.load_state_dict(ours.state_dict())
    with torch.no_grad():
        other.q_proj.weight.copy_(to_interleaved(ours.q_proj.weight, 4))
        other.k_proj.weight.copy_(to_interleaved(ours.k_proj.weight, 2))
    x, rotation = torch.randn(2, 5, 24), RoPE(6).rotation(torch.arange(5))

    torch.testing.assert_close(other(x, rotation=rotation), ours(x, rotation=rotation), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("window", [None, 3])
def test_packed_documents_are_as_if_alone(window, kernels, dtype):
    """Documents of 4 and 5 ids in one row give what each gives by itself, with positions of its own."""
    layer = Attention(16, 4, 2, window=window, kernels=kernels).to(dtype)
    rope, x = RoPE(4), torch.randn(1, 9, 16, dtype=dtype)
    documents, positions = torch.tensor([[0] * 4 + [1] * 5]), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4])

    packed = layer(x, document_mask(documents), rope.rotation(positions, dtype))
    alone = [layer(part, rotation=rope.rotation(torch.arange(part.shape[1]), dtype)) for part in x.split([4, 5], 1)]
    assert_near(packed, torch.cat(alone, dim=1), dtype)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_later_position_never_changes_an_earlier_one(kernels):
    layer, x = Attention(16, 4, n_kv_heads=2, kernels=kernels), torch.randn(1, 8, 16)
    before = layer(x)
    x[:, 5] += 1
    after = layer(x)

    torch.testing.assert_close(after[:, :5], before[:, :5], atol=0, rtol=0)
    assert (after[:, 5:] - before[:, 5:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("how", [{}, {"window": 1}, {"window": 3}, {"window": 9}, {"window": 3, "qk_norm_eps": 1e-6}])
def test_layer_with_rope_and_cache_equals_the_full_forward(how, kernels, dtype):
    layer = Attention(16, 4, n_kv_heads=2, head_dim=6, kernels=kernels, **how).to(dtype)
    rope, x = RoPE(6), torch.randn(2, 9, 16, dtype=dtype)
    full = layer(x, rotation=rope.rotation(torch.arange(9), dtype))
    # Once causal by itself, and once with the mask of a batch whose second row begins with two empty positions.
    padded = torch.ones(2, 1, 1, 9, dtype=torch.bool)
    padded[1, ..., :2] = False
    by_mask = layer(x, padded & causal_mask(9, 9), rope.rotation(torch.arange(9), dtype))

    for is_padded, expected in ((False, full), (True, by_mask)):
        cache, parts = KVCache(1, 2, 2, 6, max_length=9, dtype=dtype), []
        for start, end in ((0, 4), (4, 7), (7, 8), (8, 9)):
            mask = padded[..., :end] & causal_mask(end - start, end) if is_padded else None
            rotation = rope.rotation(torch.arange(start, end), dtype)
            with torch.no_grad():
                parts.append(layer(x[:, start:end], mask, rotation, cache))
        assert_near(torch.cat(parts, dim=1)[:, 2:], expected[:, 2:], dtype)


@pytest.mark.parametrize("kernels", KERNELS)
def test_dropout_acts_in_training_only_and_keeps_the_mean(kernels):
    layer, x = Attention(8, 2, dropout=0.5, kernels=kernels), torch.randn(1, 4, 8)
    layer.eval()
    quiet = layer(x)
    assert torch.equal(layer(x), quiet)

    layer.train()
    torch.manual_seed(0)
    many = layer(x.expand(20_000, 4, 8))
    assert (many[0] - many[1]).abs().max() > 0
    torch.testing.assert_close(many.mean(0), quiet[0], atol=0.06, rtol=0)


@pytest.mark.compiles
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("kernels", KERNELS)
def test_compiled_once_for_all_lengths_without_a_break(kernels, window):
    torch.compiler.reset()
    layer, graphs = Attention(8, 2, window=window, kernels=kernels), []
    # "fullgraph" makes a break an error. The first graph is for one length, and the second for any.
    compiled = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph.forward, fullgraph=True)
    for T in (4, 5, 6, 7, 8):
        x = torch.randn(2, T, 8)
        torch.testing.assert_close(compiled(x), layer(x))
    assert len(graphs) == 2


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="n_kv_heads is 3; it must divide n_heads, which is 4"):
        Attention(16, 4, n_kv_heads=3)


@pytest.mark.parametrize("window", [0, -3])
def test_a_window_without_the_query_is_refused(window):
    with pytest.raises(ValueError, match=f"window is {window}; valid values are whole numbers from 1"):
        Attention(16, 4, window=window)
