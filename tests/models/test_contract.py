"""The same questions to every architecture: a new file in models/ is tested before anyone remembers to."""

import dataclasses
import math
import warnings

import pytest
import torch

from groundup import models
from groundup.layers.initialise import initialise
from groundup.weights import checkpoint, huggingface

B, T, VOCAB_SIZE = 3, 12, 50
KERNELS = ["fused", "textbook"]


def small(name, **fields):
    """A model with weights large enough that attention is far from uniform and every mistake shows."""
    family = models.family(name)
    shape = {"vocab_size": VOCAB_SIZE, "context_length": 32, "n_layers": 2, "d_model": 24, "n_heads": 6, "dropout": 0.0}
    if "n_kv_heads" in {field.name for field in dataclasses.fields(family.Config)}:
        shape["n_kv_heads"] = 2
    kernels = fields.pop("kernels", "fused")
    model = family.Model(family.Config(**shape | fields), kernels)
    initialise(model, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model.eval()


@pytest.fixture(params=models.names())
def name(request):
    return request.param


@pytest.fixture
def ids():
    return torch.randint(VOCAB_SIZE, (B, T))


def test_shapes(name, ids):
    model = small(name)

    assert model(ids).shape == (B, T, VOCAB_SIZE)
    assert model.hidden(ids).shape == (B, T, 24)
    assert model.lm_head_weight.shape == (VOCAB_SIZE, 24)
    torch.testing.assert_close(model.hidden(ids) @ model.lm_head_weight.T, model(ids))


def test_a_shorter_input_has_the_same_logits(name, ids):
    model = small(name)
    torch.testing.assert_close(model(ids[:, :5]), model(ids)[:, :5], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_later_id_never_changes_earlier_logits(name, ids, kernels):
    model = small(name, kernels=kernels)
    before = model(ids)
    ids[:, 7] = (ids[:, 7] + 1) % VOCAB_SIZE
    after = model(ids)

    torch.testing.assert_close(after[:, :7], before[:, :7], atol=0, rtol=0)
    assert (after[:, 7:] - before[:, 7:]).abs().amax((0, 2)).min() > 1e-3


def test_kernels_agree_in_logits_and_gradients(name, ids):
    results = []
    for kernels in KERNELS:
        model = small(name, kernels=kernels)
        logits = model(ids)
        results.append([logits, *torch.autograd.grad(logits.logsumexp(-1).sum(), list(model.parameters()))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernels", KERNELS)
def test_cached_equals_full_forward(name, ids, kernels):
    model = small(name, kernels=kernels)
    cache = model.new_cache(B, T)
    parts = [
        model(ids[:, start:end], cache=cache) for start, end in ((0, 5), (5, 8), *((i, i + 1) for i in range(8, T)))
    ]

    assert cache.length == T
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernels", KERNELS)
def test_left_padded_batch_equals_single_sequences(name, ids, kernels):
    """Prompts of 12, 7 and 3 ids in one batch, then three more ids for each, through the cache."""
    model = small(name, kernels=kernels)
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


def test_packed_sequences_equal_single_ones(name, ids):
    """Two sequences in one row, kept apart by the mask, with positions that begin again."""
    model = small(name)
    segment = torch.tensor([0] * 5 + [1] * 7)
    mask = (segment[:, None] == segment) & torch.ones(T, T, dtype=torch.bool).tril()
    positions = torch.tensor([[*range(5), *range(7)]])
    packed = model(ids, positions=positions, mask=mask[None, None])

    torch.testing.assert_close(packed[:, :5], model(ids[:, :5]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[:, 5:], model(ids[:, 5:]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_every_parameter_gets_a_gradient(name, ids, tie_embeddings):
    model = small(name, tie_embeddings=tie_embeddings)
    model(ids).logsumexp(-1).square().sum().backward()

    without = [key for key, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    # Shifting all scores of a query by the same amount changes no softmax, so a bias of the keys has no effect.
    assert [key for key in without if not key.endswith("k_proj.bias")] == []


def test_all_in_bf16_stays_close(name, ids):
    model = small(name)
    exact = model(ids)
    rounded = model.bfloat16()(ids)

    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()


def test_dropout_acts_in_training_only(name, ids):
    model = small(name, dropout=0.3)
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
            is_residual = key.endswith(("o_proj.weight", "down_proj.weight"))
            assert parameter.std().item() == pytest.approx(0.02 / 4 if is_residual else 0.02, rel=0.05), key

    # At the start every id is about equally likely: the loss is log(vocab_size).
    logits = model(torch.randint(1000, (2, 50)))
    assert logits.logsumexp(-1).mean().item() == pytest.approx(math.log(1000), abs=0.1)


def test_starting_again_overwrites_everything(name):
    model = small(name)
    initialise(model, seed=3)
    fresh = small(name)
    initialise(fresh, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_parameters_are_counted_by_formula(name):
    family = models.family(name)
    shapes = [*family.PRESETS.values(), small(name).config, small(name, tie_embeddings=False, d_ff=100).config]
    for config in shapes:
        with torch.device("meta"):
            # Layers are alike: two of them and the difference to one tell the whole, also of 80.
            one, two = (family.Model(dataclasses.replace(config, n_layers=n)) for n in (1, 2))
        n_one, n_two = (sum(parameter.numel() for parameter in model.parameters()) for model in (one, two))
        assert family.count_parameters(config) == n_one + (config.n_layers - 1) * (n_two - n_one)


def test_save_and_load_round_trip(name, ids, tmp_path):
    model = small(name, tie_embeddings=False)
    checkpoint.save(tmp_path / "step", model)
    loaded = checkpoint.load(tmp_path / "step").model

    assert loaded.config == model.config
    assert torch.equal(loaded(ids), model(ids))


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_logits_and_greedy_text_equal_those_of_transformers(name, tie_embeddings, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = small(name, tie_embeddings=tie_embeddings, context_length=128, n_layers=3)
    checkpoint.save(tmp_path / "step", model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "step").eval()
    ids = torch.randint(VOCAB_SIZE, (2, 128))

    with torch.no_grad():
        assert (theirs(ids).logits - model(ids)).abs().max() <= 1e-5

        prompt = ids[:1, :6]
        expected = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False, eos_token_id=None
        )
        ours, cache, new = prompt, model.new_cache(1, 70), prompt
        for _ in range(64):
            new = model(new, cache=cache)[:, -1].argmax(-1, keepdim=True)
            ours = torch.cat([ours, new], dim=1)
    assert ours.tolist() == expected.tolist()


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_what_transformers_wrote_is_read(name, tie_embeddings, ids, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = small(name, tie_embeddings=tie_embeddings)
    config = transformers.AutoConfig.for_model(**huggingface.to_config(model.config))
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = checkpoint.load(tmp_path / "theirs")

    assert loaded.contract is None
    assert loaded.model.config == model.config
    with torch.no_grad():
        assert (theirs(ids).logits - loaded.model(ids)).abs().max() <= 1e-5


def test_config_refuses_what_cannot_be(name):
    family = models.family(name)
    for field, value in [("n_layers", 0), ("vocab_size", -1), ("n_heads", 7), ("dropout", 1.0), ("norm_eps", 0.0)]:
        with pytest.raises(ValueError, match=rf"{field} is {value}; valid values"):
            dataclasses.replace(family.PRESETS["nano"], **{field: value})


def test_config_round_trips_through_json(name):
    from groundup import config as configs

    for preset in models.family(name).PRESETS.values():
        plain = configs.to_dict(preset)
        assert configs.from_dict(type(preset), plain, "test") == preset


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiles(name, ids):
    model = small(name)
    torch.testing.assert_close(torch.compile(model)(ids), model(ids), atol=1e-5, rtol=1e-5)
