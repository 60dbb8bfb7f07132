"""What a stage minimises: `loss(model, batch) -> (sum over targets, number of targets, metrics)`.

Sums, not means: the loop adds them over micro-batches and divides once by all targets of the step, so that many small
batches equal the one big batch even when their numbers of targets differ.
"""

from torch import Tensor

from groundup.data.batches import Batch
from groundup.layers.loss import linear_cross_entropy
from groundup.layers.masks import document_mask


def next_token(model, batch: Batch, z_loss: float = 0.0) -> tuple[Tensor, int, dict[str, float]]:
    """Cross-entropy of every target: the loss of pretraining, and of tuning where the batch masks the user's words.

    `z_loss`: see layers/loss.py. Validation leaves it out.
    """
    mask = None if batch.segments is None else document_mask(batch.segments)
    hidden = model.hidden(batch.ids, positions=batch.positions, mask=mask)
    total, n_targets = linear_cross_entropy(
        hidden, model.lm_head_weight, batch.targets, kernels=model.kernels, z_loss=z_loss, softcap=model.softcap
    )
    return total, int(n_targets), {}
