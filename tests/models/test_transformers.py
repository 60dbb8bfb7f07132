"""The same weights in transformers: the same states after every block, logits, gradients and text.

Families that transformers does not know say so in NOT_ELSEWHERE, and are held to their parts and formulas in files of
their own (test_fast.py, test_lab.py).
"""

import warnings

import pytest
import torch

from groundup import models
from groundup.layers.rope import RopeConfig
from groundup.weights import checkpoint, hf_config
from tests.models import tiny
from tests.models.tiny import VOCAB_SIZE

transformers = pytest.importorskip("transformers")

SHAPES = {
    "plain": {},
    "untied": {"tie_embeddings": False},
    "one-kv-head": {"d_model": 30, "n_heads": 5, "n_kv_heads": 1, "d_ff": 17, "vocab_size": 37, "n_layers": 1},
    "multi-head": {"n_kv_heads": 6, "d_ff": 80, "norm_eps": 1e-3},
    "wide-heads": {"head_dim": 10},
    "narrow-heads": {"head_dim": 2, "n_heads": 3, "n_kv_heads": 3},
    "theta": {"rope": RopeConfig(theta=500_000.0)},
    "linear": {"rope": RopeConfig(scaling="linear", factor=3.0)},
    "llama3": {"rope": RopeConfig(theta=300.0, scaling="llama3", factor=8.0, trained_context=32)},
    "yarn": {"rope": RopeConfig(theta=300.0, scaling="yarn", factor=4.0, trained_context=16)},
    "yarn-factor": {
        "rope": RopeConfig(scaling="yarn", factor=4.0, trained_context=16, attention_factor=1.3, truncate=False)
    },
    "yarn-mscale": {
        "rope": RopeConfig(
            scaling="yarn", factor=9.0, trained_context=16, mscale=0.7, mscale_all_dim=0.4, beta_fast=9.0
        )
    },
    "one-expert": {"n_active": 1, "n_experts": 3},
    "all-experts": {"n_active": 3, "n_experts": 3},
    "window": {"window": 5},
}


def cases():
    for name in models.names():
        family = models.family(name)
        if hasattr(family, "NOT_ELSEWHERE"):
            skip = pytest.mark.skip(reason=f"{name}: {family.NOT_ELSEWHERE}")
            yield pytest.param(name, {}, id=name, marks=skip)
            continue
        fields = set(family.Config.__dataclass_fields__)
        for shape, values in SHAPES.items():
            # GPT-2 takes part with what it has; a shape it has nothing of would be the plain one again.
            known = {field: value for field, value in values.items() if field in fields}
            if known or not values:
                yield pytest.param(name, known, id=f"{name}-{shape}")


FAMILIES = [name for name in models.names() if not hasattr(models.family(name), "NOT_ELSEWHERE")]


def twins(tmp_path, name, fields, **options):
    """A model of ours and the same one, through its folder on disk, in transformers."""
    ours = tiny.small(name, noise=0.2, **{"context_length": 128, "n_layers": 3} | fields)
    checkpoint.save(tmp_path / "step", ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "step", **options).eval()
    if name == "mixtral" and hasattr(theirs, "set_experts_implementation"):
        # Their kernel for several experts at once takes no odd widths.
        theirs.set_experts_implementation("eager")
    return ours, theirs


@pytest.mark.parametrize(("name", "fields"), list(cases()))
def test_blocks_logits_and_gradients_are_theirs(name, fields, tmp_path):
    ours, theirs = twins(tmp_path, name, fields)
    ids = torch.randint(ours.config.vocab_size, (2, 50))
    states = []
    for block in ours.blocks:
        block.register_forward_hook(lambda _, __, y: states.append(y))
    logits, judged = ours(ids), theirs(ids, output_hidden_states=True)

    # Their last state is already normed.
    for state, expected in zip(states[:-1], judged.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.final_norm(states[-1]), judged.hidden_states[-1], atol=1e-5, rtol=1e-5)
    assert (logits - judged.logits).abs().max() <= 1e-5

    for each in (logits, judged.logits):
        each.logsumexp(-1).square().sum().backward()
    expected = theirs.get_input_embeddings().weight.grad
    assert (ours.tok_embed.weight.grad - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", FAMILIES)
def test_in_bf16_it_stays_as_close_as_bf16_is(name, tmp_path):
    # All experts at work, because rounding that sends an id to another expert is no small difference.
    fields = {"n_active": 4} if name == "mixtral" else {}
    ours, theirs = twins(tmp_path, name, fields, dtype=torch.bfloat16)
    ids = torch.randint(VOCAB_SIZE, (2, 50))

    with torch.no_grad():
        logits, expected = ours.bfloat16()(ids).float(), theirs(ids).logits.float()
    assert (logits - expected).norm() <= 2e-2 * expected.norm()


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_text_is_theirs(name, tmp_path):
    ours, theirs = twins(tmp_path, name, {"tie_embeddings": False})
    prompt = torch.randint(VOCAB_SIZE, (1, 6))

    with torch.no_grad():
        expected = theirs.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False, eos_token_id=None
        )
        text, cache, new = prompt, ours.new_cache(1, 70), prompt
        for _ in range(64):
            new = ours(new, cache=cache)[:, -1].argmax(-1, keepdim=True)
            text = torch.cat([text, new], dim=1)
    assert text.tolist() == expected.tolist()


@pytest.mark.parametrize("tie_embeddings", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_they_wrote_is_read(name, tie_embeddings, tmp_path):
    config = tiny.config(name, tie_embeddings=tie_embeddings)
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**hf_config.write(config))
    ).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = checkpoint.load(tmp_path / "theirs")
    ids = torch.randint(VOCAB_SIZE, (2, 20))

    assert loaded.contract is None
    assert loaded.model.config == config
    with torch.no_grad():
        assert (theirs(ids).logits - loaded.model(ids)).abs().max() <= 1e-5
