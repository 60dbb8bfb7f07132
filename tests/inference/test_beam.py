"""Beam search against transformers' own, and against looking at every text there is."""

import itertools
import math

import numpy as np
import pytest
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.inference import beam, sampling
from groundup.inference.settings import Settings
from tests.inference.fake_runner import FakeRunner, bigrams, of_table, of_whole_text

PROMPT = [5, 6, 7]


def every_text(runner: FakeRunner, n: int, stop_ids: tuple[int, ...], length_penalty: float):
    """(score, ids) of all texts of at most n ids that end with a stop id, or are n long."""
    for length in range(1, n + 1):
        for ids in itertools.product(range(runner.vocab_size), repeat=length):
            if any(id_ in stop_ids for id_ in ids[:-1]) or (length < n and ids[-1] not in stop_ids):
                continue
            total = 0.0
            for at, id_ in enumerate(ids):
                total += sampling.log_probability(runner.next_logits([*PROMPT, *ids[:at]]).astype(np.float32), id_)
            yield total / length**length_penalty, list(ids)


@pytest.mark.parametrize("stop_ids", [(), (1,)])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_with_enough_beams_it_finds_the_best_text_of_all(stop_ids, length_penalty, seed):
    runner = of_whole_text(8, seed)
    settings = Settings(max_new_tokens=3, stop_ids=stop_ids)
    best = sorted(every_text(runner, 3, stop_ids, length_penalty), reverse=True)[:3]
    found = beam.search(runner, PROMPT, settings, n_beams=520, length_penalty=length_penalty, n_best=3)
    assert [text.ids for text in found] == [ids for _, ids in best]
    for text, (score, _) in zip(found, best, strict=True):
        assert sum(text.logprobs) / len(text.ids) ** length_penalty == pytest.approx(score, abs=1e-5)


def test_one_beam_is_greedy():
    runner = of_whole_text(8)
    ids = list(PROMPT)
    for _ in range(10):
        ids.append(int(runner.next_logits(ids).argmax()))
    [text] = beam.search(runner, PROMPT, Settings(max_new_tokens=10), n_beams=1)
    assert (text.prompt_ids, text.ids, text.finish_reason) == (PROMPT, ids[3:], "length")


@pytest.mark.parametrize("n_beams", [1, 2, 5])
def test_states_are_forked_no_more_than_needed_and_all_closed(n_beams):
    runner = of_whole_text(8)
    beam.search(runner, PROMPT, Settings(max_new_tokens=10), n_beams=n_beams)
    assert all(state.is_closed for state in runner.states())
    assert runner.n_runs == 10
    assert runner.n_ids == 3 + 9 * n_beams
    if n_beams == 1:
        assert len(runner.states()) == 1


def test_states_are_closed_when_the_model_fails():
    def next_logits(ids: list[int]) -> np.ndarray:
        return np.full(8, math.nan if len(ids) == 6 else 0.0)

    runner = FakeRunner(next_logits, 8)
    with pytest.raises(ArtefactError, match="not finite"):
        beam.search(runner, PROMPT, Settings(max_new_tokens=10), n_beams=3)
    assert all(state.is_closed for state in runner.states())


def test_a_stop_id_ends_a_text_and_the_context_does():
    table = np.full((8, 8), -9.0, np.float32)
    table[7, 2] = table[2, 3] = table[3, 1] = 9
    [text] = beam.search(of_table(table), PROMPT, Settings(stop_ids=(1,)), n_beams=2)
    assert (text.ids, text.text_ids, text.finish_reason) == ([2, 3, 1], [2, 3], "stop")
    [text] = beam.search(of_table(table, context_length=5), PROMPT, Settings(stop_ids=(1,)), n_beams=2)
    assert (text.ids, text.finish_reason) == ([2, 3], "length")


def test_what_cannot_be_searched_is_told():
    runner = of_table(bigrams(8))
    for wrong, message in [
        ({"n_beams": 0}, "n_best is 1 of 0"), ({"n_best": 5}, "n_best is 5 of 4"), ({"n_best": 0}, "n_best is 0"),
        ({"length_penalty": math.nan}, "length_penalty"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=message):
            beam.search(runner, PROMPT, Settings(), **wrong)
    with pytest.raises(UsageError, match="empty"):
        beam.search(runner, [], Settings())
    with pytest.raises(UsageError, match="id 8"):
        beam.search(runner, [8], Settings())
    with pytest.raises(UsageError, match="id 9"):
        beam.search(runner, PROMPT, Settings(logit_bias=((9, 1.0),)))


# --- transformers ---


@pytest.fixture(scope="module")
def judge():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=None, eos_token_id=None
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.25)
    return model


def runner_of(judge) -> FakeRunner:
    @torch.no_grad()
    def next_logits(ids: list[int]) -> np.ndarray:
        return judge(torch.tensor([ids])).logits[0, -1].float().numpy()

    return FakeRunner(next_logits, 50)


@pytest.mark.parametrize("stop_ids", [(), (44,), (44, 15, 7, 14)])
@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("more", [{}, {"no_repeat_ngram": 2, "repetition_penalty": 1.3}], ids=["plain", "penalised"])
def test_it_is_the_beam_search_of_transformers(judge, stop_ids, length_penalty, more):
    their_names = {"no_repeat_ngram": "no_repeat_ngram_size", "repetition_penalty": "repetition_penalty"}
    ended_early = 0
    for n_beams, prompt in [(2, [5, 6, 7]), (3, [1]), (4, [9, 9, 8, 30]), (6, [17, 2])]:
        ids = torch.tensor([prompt])
        theirs = judge.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, num_beams=n_beams, do_sample=False,
            num_return_sequences=n_beams, length_penalty=length_penalty, early_stopping=False,
            eos_token_id=list(stop_ids) or None, pad_token_id=49, return_dict_in_generate=True, output_scores=True,
            **{their_names[name]: value for name, value in more.items()},
        )  # fmt: skip
        settings = Settings(max_new_tokens=12, stop_ids=stop_ids, **more)
        ours = beam.search(
            runner_of(judge), prompt, settings, n_beams=n_beams, length_penalty=length_penalty, n_best=n_beams
        )
        assert len(ours) == n_beams
        for text, sequence, score in zip(ours, theirs.sequences, theirs.sequences_scores, strict=True):
            expected = sequence[len(prompt) : len(prompt) + len(text.ids)].tolist()
            assert text.ids == expected
            assert set(sequence[len(prompt) + len(text.ids) :].tolist()) <= {49}
            if not more:
                assert sum(text.logprobs) / len(text.ids) ** length_penalty == pytest.approx(score.item(), abs=1e-4)
            ended_early += text.finish_reason == "stop"
    assert (ended_early > 0) == bool(stop_ids)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("stop_ids", [(), (44,)])
def test_what_a_text_says_may_end_it_as_their_stopping_criteria_do(judge, stop_ids, length_penalty):
    from transformers import StoppingCriteria, StoppingCriteriaList

    def is_over(new_ids) -> bool:
        return len(new_ids) > 1 and (new_ids[-2] + new_ids[-1]) % 9 == 0

    class Over(StoppingCriteria):
        def __call__(self, ids, scores, **options):
            return torch.tensor([is_over(row[n_prompt:].tolist()) for row in ids])

    n_over = 0
    for n_beams, prompt in [(3, [5, 6, 7]), (4, [9, 9, 8, 30]), (5, [17, 2])]:
        n_prompt, ids = len(prompt), torch.tensor([prompt])
        theirs = judge.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, num_beams=n_beams, do_sample=False,
            num_return_sequences=n_beams, length_penalty=length_penalty, early_stopping=False,
            eos_token_id=list(stop_ids) or None, pad_token_id=49, return_dict_in_generate=True, output_scores=True,
            stopping_criteria=StoppingCriteriaList([Over()]),
        )  # fmt: skip
        ours = beam.search(
            runner_of(judge), prompt, Settings(max_new_tokens=12, stop_ids=stop_ids),
            n_beams=n_beams, length_penalty=length_penalty, n_best=n_beams, is_over=is_over,
        )  # fmt: skip
        for text, sequence, score in zip(ours, theirs.sequences, theirs.sequences_scores, strict=True):
            assert text.ids == sequence[n_prompt : n_prompt + len(text.ids)].tolist()
            assert text.score == pytest.approx(score.item(), abs=1e-4)
            assert text.ends_with_stop_id == (text.ids[-1] in stop_ids)
            n_over += is_over(text.ids)
    assert n_over
