"""Cross-entropy: how surprised the model is by the right id, -log p(target), in nats.

Every form returns the sum over the targets and their number, not a mean. Whoever adds several micro-batches up divides
once by all targets of the step; a mean of means would weigh a target by how lonely it was in its micro-batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from groundup.layers.kernels import Kernels, is_fused
from groundup.layers.softmax import at_least_fp32

IGNORE = -100
"""The target of a position that is not trained on."""


def cross_entropy(
    logits: Float[Tensor, "... vocab_size"],
    targets: Int[Tensor, "..."],
    ignore: int = IGNORE,
    kernels: Kernels = "fused",
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """(sum of -log softmax(logits)[target] over targets that are not `ignore`, their number), computed in fp32.

    With logits all equal over 100 ids, each target costs log(100) = 4.605 nats.
    """
    logits = at_least_fp32(logits)
    is_target = targets != ignore

    if is_fused(kernels):
        total = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=ignore, reduction="sum")
        return total, is_target.sum()

    # -log(exp(z_t) / sum(exp(z))) = log(sum(exp(z))) - z_t, and the largest z is taken out so that exp cannot overflow.
    highest = logits.amax(-1, keepdim=True).detach()
    log_total = (logits - highest).exp().sum(-1).log() + highest.squeeze(-1)
    target_logit = logits.gather(-1, targets.where(is_target, 0)[..., None]).squeeze(-1)
    return (log_total - target_logit).where(is_target, 0).sum(), is_target.sum()


def mean_cross_entropy(
    logits: Float[Tensor, "... vocab_size"], targets: Int[Tensor, "..."], ignore: int = IGNORE
) -> Float[Tensor, ""]:
    """The mean over the targets, in nats; exp of it is the perplexity. NaN where there is no target."""
    total, n_targets = cross_entropy(logits, targets, ignore)
    return total / n_targets


def linear_cross_entropy(
    hidden: Float[Tensor, "... d_model"],
    weight: Float[Tensor, "vocab_size d_model"],
    targets: Int[Tensor, "..."],
    ignore: int = IGNORE,
    chunk_size: int = 512,
    kernels: Kernels = "fused",
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """cross_entropy(hidden @ weight.T, targets), without ever holding all logits.

    Logits are by far the largest tensor of a small model: 32 sequences of 256 ids over a vocabulary of 4096 take
    134 MB, and their gradients as much again. The fused form walks over `chunk_size` positions at a time, and finishes
    each chunk with its gradient while its logits are in the processor's cache. Positions that are not trained on
    cost nothing.
    """
    if not is_fused(kernels):
        return cross_entropy(hidden @ weight.T, targets, ignore, kernels)

    rows = (targets.flatten() != ignore).nonzero().squeeze(-1)
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    total = _LinearCrossEntropy.apply(
        hidden.flatten(0, -2), weight, targets.flatten(), rows, chunk_size, wants_gradient
    )
    return total, torch.tensor(len(rows), device=hidden.device)


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient of -log softmax(z)[t] by z is softmax(z) - onehot(t), so the forward pass can compute it at once."""

    @staticmethod
    def forward(
        ctx, hidden: Tensor, weight: Tensor, targets: Tensor, rows: Tensor, chunk_size: int, wants_gradient: bool
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        d_hidden = torch.zeros_like(hidden)
        # Summed over chunks in fp32: many small additions to a bf16 number would be rounded away.
        d_weight = torch.zeros_like(weight, dtype=total.dtype)

        for chunk in rows.split(chunk_size):
            x, target = hidden[chunk], targets[chunk, None]
            logprobs = torch.log_softmax(x @ weight.T, dim=-1, dtype=total.dtype)
            total -= logprobs.gather(-1, target).sum()
            if wants_gradient:
                d_logits = logprobs.exp_().scatter_add_(-1, target, logprobs.new_full(target.shape, -1)).to(x.dtype)
                d_hidden[chunk] = d_logits @ weight
                d_weight += d_logits.T @ x

        ctx.save_for_backward(d_hidden, d_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * d_total.to(d_hidden.dtype), d_weight * d_total.to(d_weight.dtype), None, None, None, None
