"""A rehearsal says what the real step does: bytes by the tensors it makes, FLOPs by PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from groundup import models
from groundup.insight import allocator
from groundup.insight.rehearsal import rehearse
from groundup.insight.trial import RandomIds
from groundup.train import losses
from groundup.train.config import TrainConfig
from groundup.train.distributed import World
from groundup.train.step import Stepper

ROWS, T = 4, 32


def shape_of(family, **fields):
    return models.change(models.preset(family, "nano"), {"vocab_size": 300, "n_layers": 2, **fields})


def played(shape, train=None, **more):
    return rehearse(shape, train or TrainConfig(), rows=ROWS, context_length=T, precision="fp32", **more)


@pytest.mark.parametrize("family", models.names())
def test_every_family_can_be_rehearsed_and_its_weights_are_counted(family):
    shape = shape_of(family)
    found = played(shape)
    n_bytes = 4 * models.family(family).count_parameters(shape)
    assert n_bytes <= found.start.end < n_bytes + 1000  # beside them, at most the angles of RoPE
    assert found.peak > found.start.end
    assert found.resident >= found.peak
    assert found.gradients.flops > 0


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_flops_are_those_of_pytorchs_own_counter(kernels):
    shape = shape_of("llama", n_kv_heads=3)
    train = TrainConfig(batch_size=ROWS, precision="fp32", kernels=kernels, device="cpu")
    model = models.fresh(shape, seed=0, kernels=kernels)
    stepper = Stepper(model, RandomIds(ROWS, T, 300), losses.next_token, train, World(torch.device("cpu")))
    with FlopCounterMode(display=False) as counted:
        stepper.gradients(0)
    # What PyTorch's counter takes the CPU's fused attention for is nothing at all.
    attention = 0 if kernels == "textbook" else 7 * 2 * ROWS * shape.n_heads * T * T * shape.head_dim * shape.n_layers
    assert played(shape, train).gradients.flops == counted.get_total_flops() + attention


@pytest.mark.parametrize(("optimizer", "numbers"), [("adamw", 2), ("sgd", 1)])
def test_the_state_of_an_optimizer_is_counted(optimizer, numbers):
    shape = shape_of("gpt2")
    found = played(shape, TrainConfig(optimizer=optimizer))
    n_bytes = 4 * models.family("gpt2").count_parameters(shape)
    assert found.update.end - found.start.end == pytest.approx(numbers * n_bytes, rel=0.01)


def test_what_saves_memory_does_so_here_too():
    shape = shape_of("llama", n_layers=3)
    plain = played(shape)
    kept, kept_twice = (played(shape, TrainConfig(activation_checkpointing=n)).gradients.peak for n in (False, True))
    weights = plain.gradients.end  # with gradients; what is beyond them are activations
    assert kept_twice - weights < 0.5 * (kept - weights)
    assert played(shape, TrainConfig(kernels="textbook")).gradients.peak > plain.gradients.peak
    assert played(shape, TrainConfig(ema_decay=0.9)).peak > plain.peak


def test_deep_models_lie_on_the_line_through_two_that_are_less_deep(monkeypatch):
    from groundup.insight import rehearsal

    shape = shape_of("qwen3", n_layers=8)
    foreseen = played(shape)
    monkeypatch.setattr(rehearsal, "FEW_LAYERS", (2, 8))
    whole = played(shape)
    assert foreseen.peak == pytest.approx(whole.peak, rel=0.01)
    assert foreseen.gradients.flops == whole.gradients.flops
    assert foreseen.update.end == whole.update.end


def test_a_second_micro_batch_adds_gradients_to_those_that_are_there():
    shape = shape_of("llama")
    one, two, many = (played(shape, n_micro_batches=n) for n in (1, 2, 7))
    assert one.n_micro_batches == 1 and two.n_micro_batches == many.n_micro_batches == 2
    assert two.peak >= one.peak and many.peak == two.peak
    assert two.gradients.flops == 2 * one.gradients.flops


def test_a_gpu_keeps_no_scores_and_packed_rows_a_mask():
    shape = shape_of("llama")
    assert played(shape, device="cuda").peak > 0
    assert played(shape, is_packed=True).peak >= played(shape).peak


# --- the allocator ---


def test_large_blocks_are_mapped_and_gone_when_they_are_freed():
    n = 40 * allocator.MIB  # above the largest threshold
    events = [event for i in range(1, 5) for event in ((i, n), (i, 0))]
    assert allocator.resident_bytes(events) == pytest.approx(n, rel=0.01)


def test_after_a_free_smaller_blocks_lie_on_a_heap_that_keeps_its_gaps():
    heap = allocator.Heap()
    heap.take(1, 8 * allocator.MIB)
    assert heap.resident == pytest.approx(8 * allocator.MIB, rel=0.01)
    heap.give_back(1)
    assert heap.resident == 0  # it was mapped, and raised the threshold
    for name in (2, 3, 4):
        heap.take(name, 6 * allocator.MIB)
    heap.give_back(3)
    assert heap.resident == pytest.approx(18 * allocator.MIB, rel=0.02)  # a gap is not given back
    heap.take(5, 5 * allocator.MIB)
    assert heap.resident == pytest.approx(18 * allocator.MIB, rel=0.02)  # it is filled
    heap.give_back(5)
    heap.take(6, 7 * allocator.MIB)
    assert heap.resident == pytest.approx(25 * allocator.MIB, rel=0.02)  # or it is too small


def test_neighbours_are_joined_and_the_top_is_given_back():
    heap = allocator.Heap()
    heap.take(1, 16 * allocator.MIB)
    heap.give_back(1)
    for name in (2, 3, 4, 5):
        heap.take(name, 15 * allocator.MIB)
    for name in (3, 2, 4):
        heap.give_back(name)
    heap.take(6, 44 * allocator.MIB)
    assert heap.resident == pytest.approx(60 * allocator.MIB, rel=0.02)
    heap.give_back(6)
    heap.give_back(5)
    assert heap.resident < allocator.MIB
