"""fp32 masters behind a bfloat16 model."""

import torch

from groundup.layers.masks import document_mask
from groundup.train.precision import Masters
from tests.train.conftest import build


def test_masters_collect_gradients_in_fp32_over_micro_batches():
    model = build()
    precise = Masters(model, torch.bfloat16)
    ids = torch.arange(16)[None]
    for _ in range(2):
        precise.working(ids).float().square().mean().backward()
        precise.collect()
    exact = build()
    (2 * exact(ids).square().mean()).backward()
    for ours, theirs in zip(model.parameters(), exact.parameters(), strict=True):
        assert ours.grad.dtype == torch.float32
        cosine = torch.nn.functional.cosine_similarity(ours.grad.flatten(), theirs.grad.flatten(), dim=0)
        assert cosine > 0.99


def test_refresh_copies_masters_and_fp32_needs_no_copy():
    model = build()
    assert Masters(model, torch.float32).working is model
    precise = Masters(model, torch.bfloat16)
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    precise.refresh()
    for master, working in zip(model.parameters(), precise.working.parameters(), strict=True):
        assert torch.equal(master.to(torch.bfloat16), working)


def test_document_mask_by_hand():
    mask = document_mask(torch.tensor([[1, 1, 2, 0]]))[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
