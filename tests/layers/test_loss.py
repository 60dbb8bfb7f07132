"""Cross-entropy against torch's own, by hand, and in chunks."""

import math

import pytest
import torch
import torch.nn.functional as F

from groundup.layers.loss import IGNORE, cross_entropy, linear_cross_entropy, mean_cross_entropy

KERNELS = ["fused", "textbook"]


def some_targets(*shape, vocab_size):
    targets = torch.randint(vocab_size, shape)
    return targets.masked_fill(torch.rand(shape) < 0.3, IGNORE)


@pytest.mark.parametrize("kernels", KERNELS)
def test_by_hand(kernels):
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    total, n_targets = cross_entropy(probs.log(), torch.tensor([0, 2]), kernels=kernels)

    assert n_targets == 2
    assert total.item() == pytest.approx(-math.log(0.5) - math.log(0.8))
    # The perplexity of guessing among 100 equal ids is 100.
    assert mean_cross_entropy(torch.zeros(3, 100), torch.tensor([1, 50, 99])).exp().item() == pytest.approx(100)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_equals_torch_in_outputs_and_gradients(kernels, shape):
    logits = (4 * torch.randn(*shape, 9)).requires_grad_()
    targets = some_targets(*shape, vocab_size=9)
    total, n_targets = cross_entropy(logits, targets, kernels=kernels)
    expected = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")

    assert n_targets == (targets != IGNORE).sum()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(total, logits)[0], torch.autograd.grad(expected, logits)[0], atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_is_stable_and_ignores_what_it_is_told(kernels):
    logits = torch.tensor([[1e6, 0.0, -1e6], [3.0, 2.0, 1.0]], requires_grad=True)
    total, n_targets = cross_entropy(logits, torch.tensor([0, 7]), ignore=7, kernels=kernels)
    total.backward()

    assert (total.item(), n_targets.item()) == (0.0, 1)
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().max() == 0


@pytest.mark.parametrize("kernels", KERNELS)
def test_bf16_logits_are_summed_in_fp32(kernels):
    logits = torch.randn(64, 1000).bfloat16()
    targets = torch.randint(1000, (64,))
    total, _ = cross_entropy(logits, targets, kernels=kernels)

    assert total.dtype == torch.float32
    torch.testing.assert_close(total, cross_entropy(logits.double(), targets)[0].float())


@pytest.mark.parametrize("chunk_size", [1, 5, 1024])
def test_in_chunks_equals_the_plain_form(chunk_size):
    hidden, weight = torch.randn(3, 7, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    targets = some_targets(3, 7, vocab_size=11)

    plain, n_targets = linear_cross_entropy(hidden, weight, targets, kernels="textbook")
    chunked, n_chunked = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size)
    assert n_chunked == n_targets
    torch.testing.assert_close(chunked, plain)
    for one, other in zip(
        torch.autograd.grad(chunked / n_targets, (hidden, weight)),
        torch.autograd.grad(plain / n_targets, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_in_chunks_the_gradient_is_that_of_finite_differences():
    hidden = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, IGNORE, 2])

    assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, targets, chunk_size=2)[0], (hidden, weight))


def test_in_chunks_without_any_target():
    hidden, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    total, n_targets = linear_cross_entropy(hidden, weight, torch.full((4,), IGNORE))
    total.backward()

    assert (total.item(), n_targets.item()) == (0.0, 0)
    assert hidden.grad.abs().max() == weight.grad.abs().max() == 0


def test_in_chunks_under_bf16_is_as_good_as_the_plain_form():
    torch.manual_seed(0)
    exact_hidden, exact_weight = torch.randn(256, 32), 0.1 * torch.randn(500, 32)
    targets = torch.randint(500, (256,))
    errors = {}
    for kernels in KERNELS:
        hidden, weight = (x.bfloat16().requires_grad_() for x in (exact_hidden, exact_weight))
        wide = [x.detach().double().requires_grad_() for x in (hidden, weight)]
        exact = torch.autograd.grad(linear_cross_entropy(*wide, targets)[0], wide)
        ours = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, kernels=kernels)[0], (hidden, weight))
        errors[kernels] = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, exact, strict=True)]

    for fused, textbook in zip(errors["fused"], errors["textbook"], strict=True):
        assert fused < max(1.5 * textbook, 5e-3)


def test_in_chunks_no_gradient_is_computed_where_none_is_wanted():
    """Validation runs on weights that could learn, under no_grad: one product per chunk and not three."""
    hidden, weight, targets = torch.randn(4, 3), torch.randn(5, 3, requires_grad=True), torch.tensor([1, 2, 3, 4])

    def products():
        with torch.profiler.profile() as profile:
            linear_cross_entropy(hidden, weight, targets)
        return sum(event.count for event in profile.key_averages() if event.key == "aten::mm")

    assert products() == 3
    with torch.no_grad():
        assert products() == 1
