"""Beyond the context: held to windows that a loop of full forward passes makes by hand."""

import dataclasses

import pytest
import torch

from groundup.inference import sliding
from groundup.inference.completing import complete
from groundup.inference.settings import Settings
from groundup.inference.text_stream import TextStream
from groundup.models import gpt2, llama
from tests.inference import tiny

CONTEXT, N = 16, 50
TOKENIZER = tiny.tokenizer()
# Nothing ends a text: what could is ruled out.
BIAS = tuple((id_, -1000.0) for id_ in TOKENIZER.special_ids.values())
GREEDY = Settings(max_new_tokens=N, temperature=0.0, logit_bias=BIAS)
WILD = Settings(max_new_tokens=N, temperature=1.5, seed=3, logit_bias=BIAS)


def small(family=llama):
    torch.manual_seed(1)
    shape = family.Config(vocab_size=TOKENIZER.vocab_size, context_length=CONTEXT, n_layers=1, d_model=16, n_heads=2)
    return family.Model(shape).eval()


@torch.no_grad()
def by_hand(model, ids: list[int], first: list[int]) -> list[int]:
    """One full pass per token over the window: all ids since it began; a full one begins anew with its later half."""
    half = CONTEXT // 2 - len(first)
    window, made = list(ids), []
    while len(made) < N:
        if len(window) >= CONTEXT:
            window = first + (list(ids) + made)[-half:]
        logits = model(torch.tensor([window]))[0, -1]
        logits[[id_ for id_, _ in BIAS]] = -torch.inf
        window.append(int(logits.argmax()))
        made.append(window[-1])
    return made


@pytest.mark.parametrize("family", [llama, gpt2])
@pytest.mark.parametrize("n_prompt", [1, 10, 15, 16, 40])
@pytest.mark.parametrize("has_bos", [False, True])
def test_windows_are_those_made_by_hand(family, n_prompt, has_bos, monkeypatch):
    model = small(family)
    prompt = [7, *torch.randint(40, 90, (n_prompt - 1,)).tolist()]
    monkeypatch.setattr(sliding, "first_of", lambda tokenizer: [7] if has_bos else [])
    expected = by_hand(model, prompt, [7] if has_bos else [])
    stream = TextStream(model, TOKENIZER, prompt, GREEDY, shift=True)
    assert "".join(stream) == stream.completion.text
    [whole] = complete(model, TOKENIZER, [prompt], GREEDY, shift=True)
    for completion in (stream.completion, whole):
        assert (list(completion.ids), completion.finish_reason) == (expected, "length")
        assert len(completion.logprobs) == N


def test_a_text_does_not_depend_on_its_neighbours():
    model = small()
    prompts = [[41, 42, 43], [44], [45, 46, 47, 48, 49, 50, 51, 52], [41, 42, 43]]
    together = [text.ids for text in complete(model, TOKENIZER, prompts, WILD, shift=True)]
    alone = [complete(model, TOKENIZER, [prompt], WILD, shift=True)[0].ids for prompt in prompts[:3]]
    assert together[:3] == alone
    second = TextStream(model, TOKENIZER, prompts[3], WILD, shift=True, copy=1)
    "".join(second)
    assert together[3] == second.completion.ids != together[0]


def test_a_text_that_fits_is_the_same_without():
    settings = dataclasses.replace(WILD, max_new_tokens=CONTEXT - 3)
    [plain] = complete(small(), TOKENIZER, [[41, 42, 43]], settings)
    [shifted] = complete(small(), TOKENIZER, [[41, 42, 43]], settings, shift=True)
    assert plain.ids == shifted.ids


def test_a_stop_ends_it_in_a_later_window():
    [free] = complete(small(), TOKENIZER, [[41, 42, 43]], WILD, shift=True)
    at = next(at for at in range(25, N) if free.ids[at] not in free.ids[:at])
    stopping = dataclasses.replace(WILD, stop_ids=(free.ids[at],))
    [text] = complete(small(), TOKENIZER, [[41, 42, 43]], stopping, shift=True)
    stream = TextStream(small(), TOKENIZER, [41, 42, 43], stopping, shift=True)
    assert "".join(stream) == text.text
    assert (text.ids, text.finish_reason) == (free.ids[: at + 1], "stop")
    assert (stream.completion.ids, stream.completion.finish_reason) == (text.ids, "stop")


def test_bos_begins_every_window_where_the_model_expects_it():
    from groundup.tokenizer.train import train

    tokenizer = train(["some text"], 262, special_tokens=["<|begin_of_text|>", "<|end_of_text|>"])
    assert sliding.first_of(tokenizer) == []
    tokenizer.adds_bos = True
    assert sliding.first_of(tokenizer) == [tokenizer.bos_id]
