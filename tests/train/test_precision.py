"""fp32 masters behind a bfloat16 model."""

import pytest
import torch

from groundup.layers.masks import document_mask
from groundup.train.precision import Masters, device_for, dtype_for
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


def test_dtype_and_device_by_name(monkeypatch):
    cpu = torch.device("cpu")
    assert device_for("cpu") == cpu
    assert dtype_for("fp32", cpu) == torch.float32 and dtype_for("bf16", cpu) == torch.bfloat16
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("groundup.train.precision.has_bf16", lambda device, has=has: has)
        assert dtype_for("auto", cpu) == dtype


@pytest.mark.parametrize("capability, has", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_turing_has_no_bf16(monkeypatch, capability, has):
    from groundup.train.precision import has_bf16

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_bf16(torch.device("cuda")) is has


def test_document_mask_by_hand():
    mask = document_mask(torch.tensor([[1, 1, 2, 0]]))[0, 0].int().tolist()
    assert mask == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
