"""Cross-entropy against torch's own, by hand, and in chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from groundup.layers.loss import IGNORE, cross_entropy, linear_cross_entropy, mean_cross_entropy
from tests.layers.agreement import KERNELS, assert_near

ADDITIONS = [{}, {"z_loss": 1e-2}, {"softcap": 3.0}, {"z_loss": 1e-2, "softcap": 3.0}]


def as_torch_writes_it(logits, targets, z_loss=0.0, softcap=0.0):
    """The sum over the targets, from torch's own pieces."""
    logits = logits.flatten(0, -2)
    logits = softcap * torch.tanh(logits / softcap) if softcap else logits
    is_target = targets.flatten() != IGNORE
    total = F.cross_entropy(logits, targets.flatten(), reduction="sum")
    return total + z_loss * torch.logsumexp(logits[is_target], -1).square().sum()


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


@pytest.mark.parametrize("additions", ADDITIONS)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("shape", [(12,), (3, 4), (2, 3, 2)])
def test_equals_torch_in_outputs_and_gradients(kernels, shape, additions):
    logits = (4 * torch.randn(*shape, 9)).requires_grad_()
    targets = some_targets(*shape, vocab_size=9)
    total, n_targets = cross_entropy(logits, targets, kernels=kernels, **additions)
    expected = as_torch_writes_it(logits, targets, **additions)

    assert n_targets == (targets != IGNORE).sum()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(
        torch.autograd.grad(total, logits)[0], torch.autograd.grad(expected, logits)[0], atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("kernels", KERNELS)
def test_additions_by_hand(kernels):
    """Ten equal logits: log(10) for the target, log(10)² for the z-loss, and no softcap changes that."""
    logits, targets = torch.zeros(1, 10), torch.tensor([4])
    total, _ = cross_entropy(logits, targets, kernels=kernels, z_loss=0.5, softcap=2.0)
    assert total.item() == pytest.approx(math.log(10) + 0.5 * math.log(10) ** 2)

    # However sure the model is, its logits are then 2 and -2.
    logits = torch.tensor([[1e9, -1e9]])
    total, _ = cross_entropy(logits, torch.tensor([0]), kernels=kernels, softcap=2.0)
    assert total.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-4)


@pytest.mark.parametrize("kernels", KERNELS)
def test_is_stable_and_ignores_what_it_is_told(kernels):
    logits = torch.tensor([[1e6, 0.0, -1e6], [3.0, 2.0, 1.0]], requires_grad=True)
    total, n_targets = cross_entropy(logits, torch.tensor([0, 7]), ignore=7, kernels=kernels)
    total.backward()

    assert (total.item(), n_targets.item()) == (0.0, 1)
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().max() == 0


@pytest.mark.parametrize("additions", ADDITIONS[1:])
@pytest.mark.parametrize("kernels", KERNELS)
def test_additions_ignore_what_they_are_told_too(kernels, additions):
    logits = torch.tensor([[1.0, 0.0, -1.0], [3.0, 2.0, 1.0]], requires_grad=True)
    total, _ = cross_entropy(logits, torch.tensor([0, 7]), ignore=7, kernels=kernels, **additions)
    alone, _ = cross_entropy(logits[:1], torch.tensor([0]), kernels=kernels, **additions)
    total.backward()

    torch.testing.assert_close(total, alone)
    assert logits.grad[1].abs().max() == 0


@pytest.mark.parametrize("kernels", KERNELS)
def test_bf16_logits_are_summed_in_fp32(kernels):
    logits = torch.randn(64, 1000).bfloat16()
    targets = torch.randint(1000, (64,))
    total, _ = cross_entropy(logits, targets, kernels=kernels)

    assert total.dtype == torch.float32
    torch.testing.assert_close(total, cross_entropy(logits.double(), targets)[0].float())


@pytest.mark.parametrize("additions", ADDITIONS)
@pytest.mark.parametrize("chunk_size", [1, 5, 1024])
def test_in_chunks_equals_the_plain_form(chunk_size, additions):
    hidden, weight = torch.randn(3, 7, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    targets = some_targets(3, 7, vocab_size=11)

    plain, n_targets = linear_cross_entropy(hidden, weight, targets, kernels="textbook", **additions)
    chunked, n_chunked = linear_cross_entropy(hidden, weight, targets, chunk_size=chunk_size, **additions)
    expected = as_torch_writes_it(hidden @ weight.T, targets, **additions)
    assert n_chunked == n_targets
    for total in (plain, chunked):
        torch.testing.assert_close(total, expected)
        for one, other in zip(
            torch.autograd.grad(total / n_targets, (hidden, weight), retain_graph=True),
            torch.autograd.grad(expected / n_targets, (hidden, weight), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("additions", ADDITIONS)
def test_in_chunks_the_gradient_is_that_of_finite_differences(additions):
    hidden = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, IGNORE, 2])

    def total(hidden, weight):
        return linear_cross_entropy(hidden, weight, targets, chunk_size=2, **additions)[0]

    assert torch.autograd.gradcheck(total, (hidden, weight))


class Sizes(TorchDispatchMode):
    """The number of elements of every tensor that any operation makes, also inside of autograd."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return made


@pytest.mark.parametrize("additions", ADDITIONS)
def test_in_chunks_all_logits_never_are(additions):
    """200 positions over 1000 ids would be 200,000 logits; no tensor is larger than 16 rows of them, or the weight."""
    hidden, weight = torch.randn(4, 50, 8, requires_grad=True), torch.randn(1000, 8, requires_grad=True)
    targets = torch.randint(1000, (4, 50))
    kept = []

    def largest(**how):
        with (
            Sizes() as sizes,
            torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x),
        ):
            linear_cross_entropy(hidden, weight, targets, **how, **additions)[0].backward()
        return sizes.largest

    assert largest(kernels="textbook") == 200_000
    kept.clear()
    assert largest(chunk_size=16) == 16_000
    # Between forward and backward there are only the gradients.
    assert max(kept) == weight.numel()


@pytest.mark.parametrize("kernels", KERNELS)
def test_one_position_alone_costs_what_it_costs_in_a_batch(kernels):
    hidden, weight, target = torch.randn(3, requires_grad=True), torch.randn(5, 3), torch.tensor(2)
    expected = F.cross_entropy(weight @ hidden, target)

    torch.testing.assert_close(cross_entropy(weight @ hidden, target, kernels=kernels)[0], expected)
    total, n_targets = linear_cross_entropy(hidden, weight, target, kernels=kernels)
    torch.testing.assert_close(total, expected)
    assert n_targets == 1
    for one, other in zip(torch.autograd.grad(total, hidden), torch.autograd.grad(expected, hidden), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("additions", ADDITIONS)
def test_in_chunks_under_autocast_gradients_keep_the_dtype_of_the_weights(additions):
    hidden, weight = torch.randn(40, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(11, (40,))
    expected = as_torch_writes_it(hidden @ weight.T, targets, **additions)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = linear_cross_entropy(hidden, weight, targets, chunk_size=16, **additions)

    for one, other in zip(
        torch.autograd.grad(total, (hidden, weight)), torch.autograd.grad(expected, (hidden, weight)), strict=True
    ):
        assert one.dtype == torch.float32
        assert_near(one, other, torch.bfloat16)


def test_in_chunks_without_any_target():
    hidden, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    total, n_targets = linear_cross_entropy(hidden, weight, torch.full((4,), IGNORE))
    total.backward()

    assert (total.item(), n_targets.item()) == (0.0, 0)
    assert hidden.grad.abs().max() == weight.grad.abs().max() == 0


@pytest.mark.parametrize("additions", ADDITIONS)
def test_in_chunks_under_bf16_is_as_good_as_the_plain_form(additions):
    exact_hidden, exact_weight = torch.randn(256, 32), 0.1 * torch.randn(500, 32)
    targets = torch.randint(500, (256,))
    errors = {}
    for kernels in KERNELS:
        hidden, weight = (x.bfloat16().requires_grad_() for x in (exact_hidden, exact_weight))
        wide = [x.detach().double().requires_grad_() for x in (hidden, weight)]
        exact = as_torch_writes_it(wide[0] @ wide[1].T, targets, **additions)
        total, _ = linear_cross_entropy(hidden, weight, targets, kernels=kernels, **additions)
        assert total.dtype == torch.float32
        assert_near(total, exact, torch.bfloat16)
        pairs = zip(torch.autograd.grad(total, (hidden, weight)), torch.autograd.grad(exact, wide), strict=True)
        errors[kernels] = [((a - b).norm() / b.norm()).item() for a, b in pairs]

    for fused, textbook in zip(errors["fused"], errors["textbook"], strict=True):
        assert fused < max(1.5 * textbook, 5e-3)
        assert fused < 2e-2


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
