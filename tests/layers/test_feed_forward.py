"""Feed-forwards against transformers', and the rule for their width."""

import pytest
import torch

from groundup.layers.activations import ACTIVATIONS
from groundup.layers.feed_forward import MLP, MixtureOfExperts, SwiGLU, hidden_size
from tests.layers.agreement import DTYPES, KERNELS, assert_agree, copied, gradients


@pytest.mark.parametrize(
    ("d_model", "multiple_of", "multiplier", "d_ff"),
    [
        (1024, 64, None, 2752),
        (4096, 256, None, 11008),
        (5120, 256, None, 13824),
        (8192, 4096, 1.3, 28672),
        (4096, 1024, 1.3, 14336),
        (16384, 4096, 1.2, 53248),
        (2048, 256, 1.5, 8192),
        (3072, 256, 1.0, 8192),
    ],
)
def test_hidden_size_of_published_models(d_model, multiple_of, multiplier, d_ff):
    assert hidden_size(d_model, multiple_of, multiplier) == d_ff


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
def test_swiglu_equals_transformers(kernels, dtype):
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")

    theirs = llama.LlamaMLP(llama.LlamaConfig(hidden_size=12, intermediate_size=20, num_attention_heads=2)).to(dtype)
    ours = SwiGLU(12, 20, kernels=kernels).to(dtype)
    names = {name: name for name, _ in ours.named_parameters()}
    copied(theirs, [(ours.get_parameter(name), theirs.get_parameter(name)) for name in names])

    assert_agree(ours, theirs, [torch.randn(2, 3, 12)], dtype, lambda: gradients(ours, theirs, names))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("activation", "theirs"), [("gelu_tanh", "gelu_new"), ("gelu", "gelu"), ("silu", "silu"), ("relu_squared", "relu2")]
)
def test_mlp_equals_transformers(kernels, activation, theirs, dtype):
    gpt2 = pytest.importorskip("transformers.models.gpt2.modeling_gpt2")

    config = gpt2.GPT2Config(n_embd=12, n_head=2, resid_pdrop=0.0, activation_function=theirs)
    theirs = gpt2.GPT2MLP(20, config).to(dtype)
    ours = MLP(12, 20, kernels=kernels, activation=activation).to(dtype)
    layers = [(ours.up_proj, theirs.c_fc), (ours.down_proj, theirs.c_proj)]
    copied(theirs, [pair for a, b in layers for pair in ((a.weight, b.weight.T), (a.bias, b.bias))])

    assert_agree(
        ours,
        theirs,
        [torch.randn(2, 3, 12)],
        dtype,
        lambda: [pair for a, b in layers for pair in ((a.weight.grad, b.weight.grad.T), (a.bias.grad, b.bias.grad))],
    )


def test_the_default_is_gpt2s():
    assert MLP(4, 8).activate is ACTIVATIONS["gelu_tanh"]


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation is 'relu'; valid values are silu, gelu, gelu_tanh, relu_squared"):
        MLP(4, 8, activation="relu")


# --- mixture of experts ---


def mixtral(n_experts, n_active, dtype, kernels):
    """Mixtral's block with random weights, ours with the same, and the pairs of their gradients."""
    modeling = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    config = modeling.MixtralConfig(
        hidden_size=12, intermediate_size=20, num_attention_heads=2, num_local_experts=n_experts,
        num_experts_per_tok=n_active, experts_implementation="eager",
    )  # fmt: skip
    theirs = modeling.MixtralSparseMoeBlock(config).to(dtype)
    ours = MixtureOfExperts(12, 20, n_experts, n_active, kernels).to(dtype)

    def pairs(of):
        gates_and_ups, downs = of(theirs.experts.gate_up_proj), of(theirs.experts.down_proj)
        yield of(ours.router.weight), of(theirs.gate.weight)
        for expert, gate_and_up, down in zip(ours.experts, gates_and_ups, downs, strict=True):
            yield of(expert.gate_proj.weight), gate_and_up[:20]
            yield of(expert.up_proj.weight), gate_and_up[20:]
            yield of(expert.down_proj.weight), down

    copied(theirs, pairs(lambda x: x))
    return ours, theirs, lambda: pairs(lambda x: x.grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("n_experts", "n_active"), [(5, 2), (4, 4), (3, 1), (1, 1)])
def test_mixture_of_experts_equals_mixtral(n_experts, n_active, kernels, dtype):
    ours, theirs, pairs = mixtral(n_experts, n_active, dtype, kernels)
    assert_agree(ours, theirs, [torch.randn(2, 9, 12)], dtype, pairs)


@pytest.mark.parametrize("kernels", KERNELS)
def test_an_expert_that_nobody_chose_costs_nothing_and_has_a_gradient_of_zero(kernels):
    layer = MixtureOfExperts(8, 12, n_experts=6, n_active=2, kernels=kernels)
    y = layer(torch.randn(1, 1, 8))  # one position, so two experts
    y.sum().backward()

    assert y.shape == (1, 1, 8)
    learning = [float(expert.down_proj.weight.grad.abs().max()) > 0 for expert in layer.experts]
    assert sum(learning) == 2
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("kernels", KERNELS)
def test_experts_serve_any_number_of_positions(kernels):
    layer, x = MixtureOfExperts(8, 12, n_experts=4, n_active=2, kernels=kernels), torch.randn(3, 8)
    torch.testing.assert_close(torch.stack([layer(row) for row in x]), layer(x))
    assert layer(x[:0, None]).shape == (0, 1, 8)


def test_a_position_is_served_by_the_experts_its_router_prefers():
    """Expert 1 is the one that all positions choose; its output is then all there is."""
    layer = MixtureOfExperts(4, 6, n_experts=3, n_active=1)
    x = torch.rand(2, 3, 4)
    with torch.no_grad():
        layer.router.weight.copy_(torch.tensor([[-1.0], [1.0], [0.0]]).expand(3, 4))

    torch.testing.assert_close(layer(x), layer.experts[1](x))


@pytest.mark.parametrize("n_active", [0, 4])
def test_a_number_of_active_experts_that_cannot_be_is_refused(n_active):
    with pytest.raises(ValueError, match=f"n_active is {n_active}; valid values are from 1 to n_experts, which is 3"):
        MixtureOfExperts(4, 6, n_experts=3, n_active=n_active)
