"""What a stage minimises, on a model of either kernels."""

import pytest
import torch

from groundup import models
from groundup.data.batches import Batch
from groundup.train import losses


@pytest.mark.parametrize("family", ["llama", "fast"])
def test_the_kernels_of_the_model_are_those_of_its_loss(family):
    ids = torch.randint(40, (2, 9))
    batch = Batch(ids[:, :-1], ids[:, 1:], None, n_targets=16)
    totals = {}
    for kernels in ("fused", "textbook"):
        model = models.build(family, "nano", {"vocab_size": 40}, seed=0, kernels=kernels)
        totals[kernels], n_targets, _ = losses.next_token(model, batch)
        assert n_targets == 16

    assert "LinearCrossEntropy" in totals["fused"].grad_fn.name()
    assert "LinearCrossEntropy" not in totals["textbook"].grad_fn.name()
    torch.testing.assert_close(totals["fused"], totals["textbook"])
