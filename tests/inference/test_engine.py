"""The engine against the plain loop: no cache, no batch, the whole text through the model for every token."""

from dataclasses import replace

import pytest
import torch

from groundup import models
from groundup.errors import UsageError
from groundup.inference import engine
from groundup.inference.settings import Settings
from groundup.weights import checkpoint

PROMPTS = [[5, 6, 7], [9], [5, 6, 7, 8, 9, 10, 11], [30, 31, 32], [9, 9]]
GREEDY = Settings(max_new_tokens=12, temperature=0.0)
RANDOM = Settings(max_new_tokens=12, temperature=1.3, top_p=0.9, top_k=30, repetition_penalty=1.2, seed=7)
ALL = Settings(
    max_new_tokens=12, temperature=1.5, top_k=35, top_p=0.97, min_p=0.001, typical_p=0.98, repetition_penalty=1.1,
    presence_penalty=0.3, frequency_penalty=0.2, no_repeat_ngram=2, logit_bias=((7, 1.0), (8, -100.0)), seed=8,
)  # fmt: skip


@pytest.fixture(params=models.names())
def model(request):
    family = models.family(request.param)
    made = family.Model(
        family.Config(vocab_size=40, context_length=32, n_layers=2, d_model=24, n_heads=4, tie_embeddings=False)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            # Weights large enough that a wrong mask or position changes the text.
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return made.eval()


def greedy_without_cache(model, prompt: list[int], n: int) -> list[int]:
    ids = list(prompt)
    for _ in range(n):
        ids.append(model(torch.tensor([ids]))[0, -1].argmax().item())
    return ids[len(prompt) :]


def test_cached_equals_the_plain_loop(model):
    for prompt in PROMPTS:
        [result] = engine.generate(model, [prompt], GREEDY)
        assert result.ids == greedy_without_cache(model, prompt, 12)


@pytest.mark.parametrize("settings", [GREEDY, RANDOM, ALL], ids=["greedy", "random", "all"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_text_does_not_depend_on_its_batch(model, settings, batch_size):
    alone = [engine.generate(model, [prompt], settings)[0] for prompt in PROMPTS]
    together = engine.generate(model, PROMPTS, settings, batch_size=batch_size)
    assert [result.ids for result in together] == [result.ids for result in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_stream_equals_generate(model):
    for settings in (GREEDY, RANDOM, ALL):
        assert list(engine.stream(model, PROMPTS[0], settings)) == engine.generate(model, PROMPTS[:1], settings)[0].ids


def test_copies_of_a_prompt_differ_and_are_repeatable(model):
    first = engine.generate(model, [PROMPTS[0]] * 3, RANDOM)
    assert len({tuple(result.ids) for result in first}) == 3
    assert [r.ids for r in engine.generate(model, [PROMPTS[0]] * 3, RANDOM)] == [r.ids for r in first]


def test_without_a_seed_texts_differ(model):
    texts = {tuple(engine.generate(model, [PROMPTS[0]], Settings(temperature=2.0, top_p=1.0))[0].ids) for _ in range(4)}
    assert len(texts) > 1


def test_a_stop_id_ends_the_text_and_is_not_part_of_it(model):
    free = engine.generate(model, [PROMPTS[0]], GREEDY)[0].ids
    stop_id = next(id_ for id_ in free[1:] if id_ != free[0])
    at = free.index(stop_id)
    [result] = engine.generate(model, [PROMPTS[0]], Settings(max_new_tokens=12, temperature=0.0, stop_ids=(stop_id,)))
    assert result.finish_reason == "stop"
    assert result.ids == free[: at + 1]
    assert result.text_ids == free[:at]
    assert len(result.logprobs) == at + 1


def test_length_is_the_reason_when_nothing_stops_it(model):
    [result] = engine.generate(model, [PROMPTS[0]], GREEDY)
    assert (result.finish_reason, len(result.ids), result.text_ids) == ("length", 12, result.ids)


def test_a_text_ends_where_the_context_does(model):
    results = engine.generate(model, [[5] * 30, [5, 6]], Settings(max_new_tokens=500, temperature=0.0))
    assert [len(result.ids) for result in results] == [2, 30]
    assert {result.finish_reason for result in results} == {"length"}
    assert results[1].ids == greedy_without_cache(model, [5, 6], 30)


def test_the_caller_can_end_a_sequence(model):
    seen: list[tuple[int, int]] = []

    def on_token(index: int, id_: int) -> bool:
        seen.append((index, id_))
        return index == 1 and sum(i == 1 for i, _ in seen) == 3

    results = engine.generate(model, PROMPTS, GREEDY, on_token=on_token)
    assert [len(result.ids) for result in results] == [12, 3, 12, 12, 12]
    assert results[1].finish_reason == "stop"
    assert results[1].text_ids == results[1].ids
    for index, result in enumerate(results):
        assert [id_ for i, id_ in seen if i == index] == result.ids


def test_finished_texts_are_not_computed_further(model):
    widths = []
    hidden = model.hidden
    model.hidden = lambda ids, **options: (widths.append(len(ids)), hidden(ids, **options))[1]
    engine.generate(model, PROMPTS, GREEDY, on_token=lambda index, id_: index != 2)
    assert widths == [4, 1] + [1] * 11, "the longest prompt runs apart: padding the others would cost more"


def test_logprobs_are_those_of_the_model(model):
    [result] = engine.generate(model, [PROMPTS[0]], RANDOM)
    logits = model(torch.tensor([PROMPTS[0] + result.ids]))[0, len(PROMPTS[0]) - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(result.ids)[:, None])[:, 0]
    assert result.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_alternatives_are_the_likeliest_ids_of_each_place(model):
    results = engine.generate(model, PROMPTS, replace(RANDOM, n_alternatives=3))
    assert [result.ids for result in results] == [result.ids for result in engine.generate(model, PROMPTS, RANDOM)]
    for prompt, result in zip(PROMPTS, results, strict=True):
        logprobs = model(torch.tensor([prompt + result.ids]))[0, len(prompt) - 1 : -1].log_softmax(-1)
        best = logprobs.topk(3)
        assert [[id_ for id_, _ in place] for place in result.alternatives] == best.indices.tolist()
        told = [[logprob for _, logprob in place] for place in result.alternatives]
        torch.testing.assert_close(torch.tensor(told), best.values, atol=1e-4, rtol=1e-4)
    assert engine.generate(model, PROMPTS[:1], RANDOM)[0].alternatives == []


def test_what_is_forbidden_does_not_come(model):
    for result in engine.generate(model, PROMPTS, ALL):
        text = result.prompt_ids + result.ids
        pairs = list(zip(text, text[1:], strict=False))[len(result.prompt_ids) - 1 :]
        assert 8 not in result.ids
        assert len(set(pairs)) == len(pairs)


def test_generating_leaves_a_model_in_training_as_it_was(model):
    model.train()
    engine.generate(model, PROMPTS, GREEDY)
    next(engine.stream(model, PROMPTS[0], GREEDY))
    assert model.training
    model(torch.tensor([[1, 2]])).sum().backward()


def test_no_prompts_give_no_results(model):
    assert engine.generate(model, [], GREEDY) == []


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "empty"), ([5] * 32, "32 tokens"), ([5, 40], "id 40"), ([-1], "id -1")]
)
def test_a_prompt_that_cannot_be_continued_is_refused(model, prompt, message):
    with pytest.raises(UsageError, match=message):
        engine.generate(model, [[5], prompt], GREEDY)
    with pytest.raises(UsageError, match=message):
        engine.stream(model, prompt, GREEDY).__next__()


def test_a_bias_that_the_model_cannot_have_is_refused(model):
    with pytest.raises(UsageError, match="id 40"):
        engine.generate(model, [[5]], Settings(logit_bias=((40, 1.0),)))


def test_rows_that_finish_early_do_not_change_the_others(model):
    free = engine.generate(model, PROMPTS, GREEDY)
    limits = [1, 9, 3, 2, 12]
    count = [0] * len(PROMPTS)

    def on_token(index: int, id_: int) -> bool:
        count[index] += 1
        return count[index] == limits[index]

    results = engine.generate(model, PROMPTS, GREEDY, on_token=on_token)
    assert [r.ids for r in results] == [f.ids[:limit] for f, limit in zip(free, limits, strict=True)]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_greedy_text_equals_that_of_transformers(family, tmp_path):
    transformers = pytest.importorskip("transformers")
    module = models.family(family)
    torch.manual_seed(3)
    model = module.Model(
        module.Config(vocab_size=120, context_length=128, n_layers=3, d_model=32, n_heads=4, tie_embeddings=False)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.2)
    checkpoint.save(tmp_path / "model", model)
    judge = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)

    prompts = [[5, 6, 7], [99, 3, 2, 1, 44, 17], [8]]
    results = engine.generate(model, prompts, Settings(max_new_tokens=64, temperature=0.0))
    for prompt, result in zip(prompts, results, strict=True):
        ids = torch.tensor([prompt])
        expected = judge.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
        assert result.ids == expected[0, len(prompt) :].tolist()
