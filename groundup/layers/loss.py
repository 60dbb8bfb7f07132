"""Cross-entropy: how surprised the model is by the right id, -log p(target), in nats.

Every form returns the sum over the targets and their number, not a mean. Whoever adds several micro-batches up divides
once by all targets of the step; a mean of means would weigh a target by how lonely it was in its micro-batch.

Two additions keep logits from growing without end, which in 16 bits ends in loss spikes. 0 leaves either out.

    softcap    logits become softcap · tanh(logits / softcap), so that none leaves ±softcap. Gemma 2, arXiv 2408.00118
    z_loss     each target costs z_loss · log(sum(exp(logits)))² more, which keeps that sum near 1.
               Chowdhery et al. 2022 (PaLM), arXiv 2204.02311, section 5, with 1e-4
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
    *,
    z_loss: float = 0.0,
    softcap: float = 0.0,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """(sum of -log softmax(logits)[target] over targets that are not `ignore`, their number), computed in fp32.

    With logits all equal over 100 ids, each target costs log(100) = 4.605 nats.
    """
    logits = at_least_fp32(logits)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    is_target = targets != ignore

    if is_fused(kernels) and not z_loss:
        by_row = logits.reshape(-1, logits.shape[-1])
        total = F.cross_entropy(by_row, targets.flatten(), ignore_index=ignore, reduction="sum")
        return total, is_target.sum()

    target = targets.where(is_target, 0)[..., None]
    target_logit = logits.gather(-1, target)
    if is_fused(kernels):
        surprise = -torch.log_softmax(logits, dim=-1).gather(-1, target)
        log_total = target_logit + surprise
    else:
        # -log(exp(z_t) / sum(exp(z))) = log(sum(exp(z))) - z_t, and the largest z is taken out: exp cannot overflow.
        highest = logits.amax(-1, keepdim=True).detach()
        log_total = (logits - highest).exp().sum(-1, keepdim=True).log() + highest
        surprise = log_total - target_logit
    loss = (surprise + z_loss * log_total.square()).squeeze(-1)
    return loss.where(is_target, 0).sum(), is_target.sum()


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
    *,
    z_loss: float = 0.0,
    softcap: float = 0.0,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """cross_entropy(hidden @ weight.T, targets), without ever holding all logits.

    Logits are by far the largest tensor of a small model: 32 sequences of 256 ids over a vocabulary of 4096 take
    134 MB, and their gradients as much again. The fused form walks over `chunk_size` positions at a time, and finishes
    each chunk with its gradient while its logits are in the processor's cache. Positions that are not trained on
    cost nothing.
    """
    if not is_fused(kernels):
        return cross_entropy(hidden @ weight.T, targets, ignore, kernels, z_loss=z_loss, softcap=softcap)

    by_row, targets = hidden.reshape(-1, hidden.shape[-1]), targets.flatten()
    rows = (targets != ignore).nonzero().squeeze(-1)
    wants_gradient = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    total = _LinearCrossEntropy.apply(by_row, weight, targets, rows, chunk_size, wants_gradient, z_loss, softcap)
    return total, torch.tensor(len(rows), device=hidden.device)


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient of the loss by the logits z is known as soon as they are, so the forward pass can compute it.

    Of -log softmax(z)[t] it is softmax(z) - onehot(t); of c · log(sum(exp(z)))², which is added for the z-loss,
    2c · log(sum(exp(z))) · softmax(z); and the softcap a · tanh(z / a) passes on 1 - tanh(z / a)² of it.
    """

    @staticmethod
    def forward(
        ctx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        rows: Tensor,
        chunk_size: int,
        wants_gradient: bool,
        z_loss: float,
        softcap: float,
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
        if wants_gradient:
            d_hidden = torch.zeros_like(hidden)
            # Summed over chunks in fp32: many small additions to a bf16 number would be rounded away.
            d_weight = torch.zeros_like(weight, dtype=total.dtype)

        # Where every position is a target, a slice: a view, where a list of rows would make copies.
        n_rows, is_all = len(rows), len(rows) == len(targets)
        for start in range(0, n_rows, chunk_size):
            span = slice(start, min(start + chunk_size, n_rows))
            chunk = span if is_all else rows[span]
            x, target = hidden[chunk], targets[chunk, None]
            logits = (x @ weight.T).to(total.dtype)
            if softcap:
                bent = logits.div_(softcap).tanh_()
                logits = bent * softcap
            target_logit = logits.gather(-1, target)
            highest = logits.amax(-1, keepdim=True)
            exponentials = logits.sub_(highest).exp_()
            sums = exponentials.sum(-1, keepdim=True)
            log_total = sums.log() + highest
            total += (log_total - target_logit).sum()
            if z_loss:
                total += z_loss * log_total.square().sum()

            if wants_gradient:
                probs = exponentials.mul_((1 + 2 * z_loss * log_total) / sums if z_loss else 1 / sums)
                d_logits = probs.scatter_add_(-1, target, probs.new_full(target.shape, -1))
                if softcap:
                    d_logits *= bent.square_().neg_().add_(1)
                d_logits = d_logits.to(x.dtype)
                d_hidden[chunk] = (d_logits @ weight).to(hidden.dtype)
                d_weight += d_logits.T @ x

        if wants_gradient:
            ctx.save_for_backward(d_hidden, d_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        d_hidden, d_weight = ctx.saved_tensors
        gradients = d_hidden * d_total.to(d_hidden.dtype), d_weight * d_total.to(d_weight.dtype)
        return *gradients, None, None, None, None, None, None
