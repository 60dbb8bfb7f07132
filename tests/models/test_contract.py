"""The same questions to every architecture: a new file in models/ is tested before anyone remembers to."""

import dataclasses
import math

import pytest
import torch

from groundup import models
from groundup.layers.initialise import initialise
from groundup.weights import checkpoint
from tests.models import tiny
from tests.models.tiny import CASES, VOCAB_SIZE

B, T = 3, 12
KERNELS = ["fused", "textbook"]


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    return request.param


@pytest.fixture(params=models.names())
def name(request):
    return request.param


@pytest.fixture
def ids():
    return torch.randint(VOCAB_SIZE, (B, T))


def test_shapes(case, ids):
    model = case.model()

    assert model(ids).shape == (B, T, VOCAB_SIZE)
    assert model.hidden(ids).shape == (B, T, 24)
    assert model.lm_head_weight.shape == (VOCAB_SIZE, 24)
    torch.testing.assert_close(model.logits_of(model.hidden(ids)), model(ids))
    if not model.softcap:
        torch.testing.assert_close(model.hidden(ids) @ model.lm_head_weight.T, model(ids))


def test_a_shorter_input_has_the_same_logits(case, ids):
    model = case.model()
    torch.testing.assert_close(model(ids[:, :5]), model(ids)[:, :5], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_later_id_never_changes_earlier_logits(case, ids, kernels):
    model = case.model(kernels=kernels)
    before = model(ids)
    ids[:, 7] = (ids[:, 7] + 1) % VOCAB_SIZE
    after = model(ids)

    torch.testing.assert_close(after[:, :7], before[:, :7], atol=0, rtol=0)
    assert (after[:, 7:] - before[:, 7:]).abs().amax((0, 2)).min() > 1e-3


def test_kernels_agree_in_logits_and_gradients(case, ids):
    results = []
    for kernels in KERNELS:
        model = case.model(kernels=kernels)
        assert model.kernels == kernels  # by which the loss goes, too
        logits = model(ids)
        results.append([logits, *torch.autograd.grad(logits.logsumexp(-1).sum(), list(model.parameters()))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernels", KERNELS)
def test_cached_equals_full_forward(case, ids, kernels):
    model = case.model(kernels=kernels)
    cache = model.new_cache(B, T)
    parts = [
        model(ids[:, start:end], cache=cache) for start, end in ((0, 5), (5, 8), *((i, i + 1) for i in range(8, T)))
    ]

    assert cache.length == T
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=1e-5)


def test_a_cache_forgets_and_drops_rows(case, ids):
    model, cache = case.model(), case.model().new_cache(B, T)
    model(ids[:, :9], cache=cache)
    cache.length = 5
    model(ids[:, 5:6], cache=cache)
    cache.keep(torch.tensor([2, 0]))

    kept = ids[[2, 0]]
    torch.testing.assert_close(model(kept[:, 6:8], cache=cache), model(kept[:, :8])[:, 6:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_left_padded_batch_equals_single_sequences(case, ids, kernels):
    """Prompts of 12, 7 and 3 ids in one batch, then three more ids for each, through the cache."""
    model = case.model(kernels=kernels)
    lengths, new = [12, 7, 3], torch.randint(VOCAB_SIZE, (B, 3))
    is_real = torch.arange(T + 3) >= torch.tensor([[T - length] for length in lengths])
    positions = (is_real.cumsum(-1) - 1).clamp(min=0)
    allowed = torch.ones(T + 3, T + 3, dtype=torch.bool).tril() & is_real[:, None, None, :]

    cache = model.new_cache(B, T + 3)
    batch = [model(ids, cache=cache, positions=positions[:, :T], mask=allowed[..., :T, :T])]
    for i in range(T, T + 3):
        mask = allowed[..., i : i + 1, : i + 1]
        batch.append(model(new[:, i - T, None], cache=cache, positions=positions[:, i, None], mask=mask))
    logits = torch.cat(batch, dim=1)

    assert logits.isfinite().all()
    for row, length in enumerate(lengths):
        alone = model(torch.cat([ids[row, T - length :], new[row]])[None])
        torch.testing.assert_close(logits[row, T - length :], alone[0], atol=1e-5, rtol=1e-5)


def test_packed_sequences_equal_single_ones(case, ids):
    """Two sequences in one row, kept apart by the mask, with positions that begin again."""
    model = case.model()
    segment = torch.tensor([0] * 5 + [1] * 7)
    mask = (segment[:, None] == segment) & torch.ones(T, T, dtype=torch.bool).tril()
    positions = torch.tensor([[*range(5), *range(7)]])
    packed = model(ids, positions=positions, mask=mask[None, None])

    torch.testing.assert_close(packed[:, :5], model(ids[:, :5]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[:, 5:], model(ids[:, 5:]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_every_parameter_gets_a_gradient(case, ids, tie_embeddings):
    model = case.model(tie_embeddings=tie_embeddings)
    model(ids).logsumexp(-1).square().sum().backward()

    without = [key for key, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    # Shifting all scores of a query by the same amount changes no softmax, so a bias of the keys has no effect.
    assert [key for key in without if not key.endswith("k_proj.bias")] == []


def test_all_in_bf16_stays_close(case, ids):
    # With weights as large as elsewhere, rounding would send some ids to other experts.
    model = case.model(noise=0.1)
    exact = model(ids)
    rounded = model.bfloat16()(ids)

    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()


def test_dropout_acts_in_training_only(case, ids):
    model = case.model(dropout=0.3)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


def test_a_seed_gives_the_same_weights(name):
    fields = {"vocab_size": 30, "n_layers": 2}
    one, same, other = (models.build(name, "nano", fields, seed=seed) for seed in (7, 7, 8))

    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.tok_embed.weight, other.tok_embed.weight)


def test_starting_weights_follow_the_table(name):
    model = models.build(name, "micro", {"n_layers": 8, "vocab_size": 1000, "tie_embeddings": False}, seed=0)
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            assert parameter.abs().max() == 0
        elif parameter.ndim == 1:
            assert parameter.min() == parameter.max() == 1
        else:
            own = [std for ending, std in model.starting_std.items() if key.endswith(ending)]
            is_residual = key.endswith(("o_proj.weight", "down_proj.weight"))
            expected = own[0] if own else 0.02 / 4 if is_residual else 0.02
            # The std of n normal numbers is off by 1 / sqrt(2n) of itself.
            assert parameter.std().item() == pytest.approx(expected, rel=4 / math.sqrt(2 * parameter.numel())), key

    # At the start every id is about equally likely: the loss is log(vocab_size).
    logits = model(torch.randint(1000, (2, 50)))
    assert logits.logsumexp(-1).mean().item() == pytest.approx(math.log(1000), abs=0.1)


def test_starting_again_overwrites_everything(name):
    model = tiny.small(name)
    initialise(model, seed=3)
    fresh = models.family(name).Model(tiny.config(name))
    initialise(fresh, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_mimetic_attention_starts_every_family(name, ids):
    model = models.build(name, "nano", {"vocab_size": VOCAB_SIZE, "n_layers": 2}, seed=0, start="mimetic")
    assert model.blocks[1].attn.o_proj.weight.std() > 0.01
    assert model(ids).isfinite().all()


def test_parameters_are_counted_by_formula(case):
    """Without allocating: on the "meta" device tensors have a shape and no numbers."""
    family = models.family(case.family)
    shapes = [
        tiny.config(case.family, **case.fields | others) for others in ({}, {"tie_embeddings": False, "d_ff": 100})
    ]
    for config in shapes + (list(family.PRESETS.values()) if case == CASES[case.family] else []):
        with torch.device("meta"):
            # Layers are alike: two of them and the difference to one tell the whole, also of 80.
            one, two = (family.Model(dataclasses.replace(config, n_layers=n)) for n in (1, 2))
        n_one, n_two = (sum(parameter.numel() for parameter in model.parameters()) for model in (one, two))
        assert family.count_parameters(config) == n_one + (config.n_layers - 1) * (n_two - n_one)


def test_every_family_has_sizes_for_a_laptop(name):
    family = models.family(name)
    sizes = [family.count_parameters(family.PRESETS[size]) for size in ("nano", "micro", "mini", "small")]

    assert sizes == sorted(sizes)
    assert sizes[0] < 1.2e6
    assert sizes[-1] < 50e6


def test_other_programs_can_hold_it_or_a_sentence_says_why(name):
    family = models.family(name)
    if hasattr(family, "NOT_ELSEWHERE"):
        assert len(family.NOT_ELSEWHERE) > 40
        assert not [each for each in vars(family) if each.startswith(("HF_", "GGUF_"))]
    else:
        assert {"HF_ARCHITECTURE", "HF_TRANSPOSED", "HF_MODULES", "GGUF_ARCHITECTURE"} <= set(vars(family))
        assert "rope_theta" not in family.to_hf_config(family.PRESETS["nano"])


def test_save_and_load_round_trip(case, ids, tmp_path):
    model = case.model(tie_embeddings=False)
    checkpoint.save(tmp_path / "step", model)
    loaded = checkpoint.load(tmp_path / "step").model

    assert loaded.config == model.config
    assert torch.equal(loaded(ids), model(ids))


def test_config_refuses_what_cannot_be(name):
    family = models.family(name)
    for field, value in [("n_layers", 0), ("vocab_size", -1), ("n_heads", 7), ("dropout", 1.0), ("norm_eps", 0.0)]:
        with pytest.raises(ValueError, match=rf"{field} is {value}; valid values"):
            models.change(family.PRESETS["nano"], {field: value})


def test_config_round_trips_through_json(name):
    from groundup import config as configs

    for preset in models.family(name).PRESETS.values():
        plain = configs.to_dict(preset)
        assert configs.from_dict(type(preset), plain, "test") == preset


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
# PyTorch hides this one from people, where experts break the graph, but not from a filter that makes it an error.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", [*models.names(), "fast-with-ngrams"])
def test_compiles(name, ids):
    # All families share the code of a Decoder, which is compiled for a few of them only unless it is told to forget.
    torch.compiler.reset()
    model = CASES[name].model(n_layers=1)
    torch.testing.assert_close(torch.compile(model)(ids), model(ids), atol=1e-5, rtol=1e-5)
