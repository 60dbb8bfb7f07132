"""Beam search from prompts to texts, against transformers with its own stop strings on the same folder."""

import pytest
import torch

from groundup.errors import UsageError
from groundup.inference import beam
from groundup.inference.completing import Interrupted, complete
from groundup.inference.settings import Settings
from groundup.inference.text_stream import TextStream
from tests.inference import tiny


def ids_of(*texts: str) -> list[list[int]]:
    return [tiny.tokenizer().encode(text).tolist() for text in texts]


def texts_of(prompts: list[list[int]], settings: Settings, **options):
    return complete(tiny.model(), tiny.tokenizer(), prompts, settings, **options)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tiny.save(tmp_path_factory.mktemp("models") / "base", stage="pretrain")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


# None stands in the name of a special token, where transformers would find it, too.
@pytest.mark.parametrize("stop", ["", "dog, and", "h", " c"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_the_best_texts_and_scores_are_those_of_transformers(judge, stop, length_penalty):
    model, tokenizer = judge
    n_cut = 0
    for prompt in ids_of("Once there", "The", "b"):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, num_beams=4, do_sample=False,
            num_return_sequences=3, length_penalty=length_penalty, early_stopping=False,
            eos_token_id=list(tiny.tokenizer().stop_ids), pad_token_id=0, return_dict_in_generate=True,
            output_scores=True, **({"stop_strings": [stop], "tokenizer": tokenizer} if stop else {}),
        )  # fmt: skip
        asked = Settings(max_new_tokens=20, beams=4, length_penalty=length_penalty, stop=(stop,) if stop else ())
        ours = texts_of([prompt] * 3, asked)
        for text, sequence, score in zip(ours, theirs.sequences, theirs.sequences_scores, strict=True):
            expected = sequence[len(prompt) : len(prompt) + text.n_tokens]
            assert list(text.ids) == expected.tolist()
            assert text.score == pytest.approx(score.item(), abs=1e-4)
            whole = tokenizer.decode(text.ids, skip_special_tokens=True)
            assert text.text == (whole.partition(stop)[0] if stop else whole)
            n_cut += bool(stop) and stop in whole
    assert bool(n_cut) == bool(stop)


def test_each_prompt_has_its_own_search_and_a_copy_is_the_next_best():
    a, b = ids_of("Once", "The cat")
    settings, told = Settings(max_new_tokens=8, beams=3), {}
    done = texts_of([a, b, a, a], settings, on_done=told.__setitem__)
    assert [told[at] for at in range(4)] == done
    assert done[0].score > done[2].score > done[3].score
    assert [text.text for text in texts_of([b, a], settings, copies=[0, 2])] == [done[1].text, done[3].text]
    assert texts_of([a, a], settings, copies=[0, 0])[1].text == done[0].text


def test_what_cannot_be_searched_is_told():
    [a] = ids_of("Once")
    with pytest.raises(UsageError, match="3 texts are asked for, and 2 beams"):
        texts_of([a, a, a], Settings(beams=2))
    with pytest.raises(UsageError, match="ends where the context does"):
        texts_of([a], Settings(beams=2), shift=True)
    with pytest.raises(UsageError, match="cannot show it as it comes"):
        TextStream(tiny.model(), tiny.tokenizer(), a, Settings(beams=2))
    told = []
    with pytest.raises(UsageError, match="empty"):
        texts_of([a, []], Settings(beams=2, max_new_tokens=3), on_done=lambda *each: told.append(each))
    assert not told, "all prompts are checked before one is searched"


def test_ctrl_c_leaves_the_texts_that_are_ready(monkeypatch):
    search, calls = beam.search, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return search(*arguments, **options)

    monkeypatch.setattr(beam, "search", interrupted)
    with pytest.raises(Interrupted) as caught:
        texts_of(ids_of("Once", "The"), Settings(max_new_tokens=5, beams=2))
    first, second = caught.value.completions
    assert (first.n_tokens, second.n_tokens, second.finish_reason) == (5, 0, "interrupted")
