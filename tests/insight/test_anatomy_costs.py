"""What a model costs, against numbers that can be worked out by hand or are published."""

import pytest

from groundup import models
from groundup.insight import anatomy, anatomy_costs
from groundup.weights import portable


def test_gpt2_124m():
    config = models.preset("gpt2", "124m")
    root = anatomy.of("gpt2", config)
    operations = anatomy_costs.operations(root, 1024)

    # nanoGPT counts N without the position table, and 6 N + 12 L H Q T = 6 · 123,653,376 + 12 · 12 · 768 · 1024.
    assert operations.n == 124_439_808 - 1024 * 768
    assert operations.training_by_rule == 6 * 123_653_376 + 12 * 12 * 768 * 1024 == 855_166_464
    assert operations.by_weights == 2 * (12 * (4 * 768**2 + 2 * 768 * 3072) + 768 * 50257)
    assert operations.training == pytest.approx(operations.training_by_rule, rel=0.01)
    assert anatomy_costs.weights_memory(root) == {"fp32": 497_759_232, "bf16": 248_879_616, "int8": 124_439_808}
    # facts of a planner: 16 bytes a parameter are 1.85 GiB; 2 · layers · kv · head_dim numbers a position.
    assert anatomy_costs.training_memory(root, config, 1, 1024).parameters / 2**30 == pytest.approx(1.85, abs=0.01)
    assert anatomy_costs.cache_memory(anatomy.cache_numbers(portable.outline("gpt2", config)))["fp32"] == 73_728


@pytest.mark.parametrize(("name", "gib"), [("llama-215m", 3.21), ("llama-130m", 1.95), ("gpt2-124m", 1.85)])
def test_memory_to_train_is_16_bytes_a_parameter(name, gib):
    family, config = models.find(name)
    memory = anatomy_costs.training_memory(anatomy.of_alike(family, config), config, 1, 512)
    assert memory.parameters / 2**30 == pytest.approx(gib, abs=0.01)


def test_the_rule_is_near_the_exact_count_for_every_preset():
    for family in models.names():
        for size, config in models.family(family).PRESETS.items():
            operations = anatomy_costs.operations(anatomy.of_alike(family, config), config.context_length)
            assert operations.training_by_rule == pytest.approx(operations.training, rel=0.01), (family, size)


def test_llama3_70b_with_gqa_has_a_small_cache():
    """2 · 80 layers · 8 heads · 128 numbers: 320 KiB a position in bf16, as is told of Llama 2 and 3 70B."""
    config = models.preset("llama", "llama3-70b")
    numbers = anatomy.cache_numbers(portable.outline("llama", config))
    assert anatomy_costs.cache_memory(numbers)["bf16"] == 320 * 1024
    assert anatomy_costs.cache_memory(numbers, 8192)["bf16"] == 2.5 * 2**30


def test_batch_and_context_are_paid_for():
    config = models.preset("llama", "mini")
    root = anatomy.of("llama", config)
    one, two = (anatomy_costs.training_memory(root, config, n, 512) for n in (1, 2))
    assert two.activations == 2 * one.activations
    assert two.parameters == one.parameters
    assert two.logits == one.logits == 4 * 4096 * (2 * 512 + 256)  # 512 positions at a time, however many there are
    assert two.total == two.parameters + two.logits + two.activations


def test_a_shorter_context_costs_attention_and_nothing_else():
    config = models.preset("gpt2", "124m")
    full, half = (anatomy_costs.operations(anatomy.of("gpt2", config, n), n) for n in (1024, 512))
    assert half.by_weights == full.by_weights
    assert 2 * half.by_attention == full.by_attention
    assert half.n == full.n
