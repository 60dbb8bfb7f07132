"""The runner against the plain forward: every text alone, whole, and without a cache."""

import copy
import random
import threading

import numpy as np
import pytest
import torch

from groundup.inference import recorded, torch_runner
from groundup.inference.runner import Runner, Work
from groundup.inference.torch_runner import TorchRunner, TorchState, groups
from groundup.layers import cache_pool
from tests.models.tiny import CASES, VOCAB_SIZE, Case

PROMPTS = [[5, 6, 7], [9], [5, 6, 7, 8, 9, 10, 11, 3, 4], [30, 31, 32], [9, 9]]


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request) -> Case:
    return request.param


def plain(model, ids: list[int]) -> np.ndarray:
    """Logits after each id, (len(ids), vocab_size)."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=1e-4)


class Text:
    """A state, and the ids that it should hold."""

    def __init__(self, state, ids: list[int]):
        self.state, self.ids = state, ids


def schedule(model, seed: int, n_steps: int = 12, is_recorded: bool | None = None) -> None:
    """Texts join, go on by any number of ids, are cut, copied and leave, in any company."""
    dice, runner = random.Random(seed), TorchRunner(model, is_recorded)
    texts: list[Text] = []
    for _ in range(n_steps):
        for text in list(texts):
            if (fate := dice.random()) < 0.1:
                text.state.close()
                texts.remove(text)
            elif fate < 0.2:
                text.state.truncate(length := dice.randint(0, len(text.ids)))
                del text.ids[length:]
            elif fate < 0.3 and len(texts) < 8:
                texts.append(Text(text.state.fork(), list(text.ids)))
        for _ in range(dice.randint(0, 2)):
            texts.append(Text(runner.open(), []))
        chosen = [text for text in dice.sample(texts, len(texts)) if len(text.ids) < 24 and dice.random() < 0.8]
        if not chosen:
            continue
        work = []
        for text in chosen:
            new = dice.choices(range(VOCAB_SIZE), k=dice.choice([1, 1, 1, 2, 7]))
            work.append(Work(text.state, new, every=dice.random() < 0.3))
            text.ids += new
        for text, item, logits in zip(chosen, work, runner.run(work), strict=True):
            assert item.state.length == len(text.ids)
            expected = plain(model, text.ids)
            close(logits, expected[-len(item.ids) :] if item.every else expected[-1])


def test_it_is_a_runner():
    model = CASES["llama"].model()
    runner = TorchRunner(model)
    assert isinstance(runner, Runner)
    assert not isinstance(model, Runner)
    assert (runner.name, runner.vocab_size, runner.context_length) == ("torch", VOCAB_SIZE, 32)


@pytest.mark.parametrize("kernels", ["fused", "textbook"])
def test_prompts_and_what_follows_equal_the_plain_forward(case, kernels):
    model = case.model(kernels=kernels)
    runner = TorchRunner(model)
    texts = [Text(runner.open(), list(prompt)) for prompt in PROMPTS]
    for logits, text in zip(runner.run([Work(text.state, text.ids) for text in texts]), texts, strict=True):
        close(logits, plain(model, text.ids)[-1])

    for step in range(6):
        for text in texts:
            text.ids.append((7 * step + len(text.ids)) % VOCAB_SIZE)
        for logits, text in zip(runner.run([Work(text.state, text.ids[-1:]) for text in texts]), texts, strict=True):
            close(logits, plain(model, text.ids)[-1])


def test_logits_after_every_id(case):
    model = case.model()
    runner = TorchRunner(model)
    states = [runner.open() for _ in PROMPTS]
    every = [index % 2 == 0 for index in range(len(PROMPTS))]
    made = runner.run([Work(*each) for each in zip(states, PROMPTS, every, strict=True)])
    for logits, prompt, is_every in zip(made, PROMPTS, every, strict=True):
        close(logits, plain(model, prompt) if is_every else plain(model, prompt)[-1])


@pytest.mark.parametrize("seed", range(2))
def test_whatever_joins_and_leaves(case, seed):
    schedule(case.model(), seed)


def test_the_step_that_a_gpu_records(case, monkeypatch):
    """Here it runs without a recording, and positions are rounded up to a multiple of 8 to meet several shapes."""
    monkeypatch.setattr(cache_pool, "STEP", 8)
    monkeypatch.setattr(recorded, "STEP", 8)
    schedule(case.model(), 7, is_recorded=True)


@pytest.mark.gpu
def test_a_recorded_step_is_played_back(case):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = case.model()
    on_gpu = copy.deepcopy(model).cuda()
    runner = TorchRunner(on_gpu)
    assert (runner._steps is None) == (case.family == "mixtral")
    states = [runner.open() for _ in range(5)]
    ids = [[3, index] for index in range(5)]
    for step in range(12):
        chosen = range(5) if step < 6 else range(1 + step % 3)
        made = runner.run([Work(states[i], ids[i][states[i].length :]) for i in chosen])
        for i, logits in zip(chosen, made, strict=True):
            np.testing.assert_allclose(logits, plain(model, ids[i])[-1], atol=1e-3, rtol=1e-2)
            ids[i].append((step + 3 * i) % VOCAB_SIZE)


def test_recording_is_for_models_that_talk_on_a_gpu():
    model = CASES["llama"].model()
    assert TorchRunner(model)._steps is None
    assert not recorded.is_worth_it(model, model.lm_head_weight)


def test_a_long_prompt_runs_in_chunks(case, monkeypatch):
    monkeypatch.setattr(torch_runner, "CHUNK", 4)
    model = case.model()
    runner, ids = TorchRunner(model), list(range(10, 24))
    [last] = runner.run([Work(runner.open(), ids)])
    [every] = runner.run([Work(runner.open(), ids, every=True)])
    close(last, plain(model, ids)[-1])
    close(every, plain(model, ids))


def test_who_shares_a_forward():
    assert list(groups([1, 300, 1, 290, 4])) == [[0, 2, 4], [3, 1]]
    assert list(groups([])) == []
    assert list(groups([1] * 64)) == [list(range(64))]
    assert list(groups([700, 700])) == [[0], [1]], "together they would be more than a chunk"
    assert list(groups([5000, 20])) == [[1], [0]]


@pytest.mark.parametrize("windows", [(3, None), (None, 5), (2, 4)])
def test_layers_may_have_windows_of_their_own(windows):
    model = CASES["mixtral-with-window"].model()
    for block, window in zip(model.blocks, windows, strict=True):
        block.attn.window = window
    for seed in range(2):
        schedule(model, seed)


def test_a_model_in_bf16_runs_in_bf16():
    exact, model = CASES["llama"].model(noise=0.1), CASES["llama"].model(noise=0.1).bfloat16()
    runner = TorchRunner(model)
    states = [runner.open() for _ in PROMPTS]
    made = runner.run([Work(state, prompt) for state, prompt in zip(states, PROMPTS, strict=True)])
    assert runner.bytes_per_position == TorchRunner(exact).bytes_per_position / 2
    for logits, prompt in zip(made, PROMPTS, strict=True):
        expected = plain(exact, prompt)[-1]
        assert logits.dtype == np.float32
        assert np.linalg.norm(logits - expected) < 0.05 * np.linalg.norm(expected)


def test_memory_is_known_beforehand(case):
    runner = TorchRunner(case.model())
    runner.run([Work(runner.open(), [1]), Work(runner.open(), [1])])
    pool = runner._pool
    n_bytes = sum(tensor.nbytes for tensor in (*pool.keys, *pool.values))
    assert n_bytes == runner.bytes_per_position * pool.n_rows * pool.n_positions
    assert (pool.n_rows, pool.n_positions) == (2, 256)


def test_room_is_given_back_with_the_last_state():
    runner = TorchRunner(CASES["llama"].model())
    one, other = runner.open(), runner.open()
    runner.run([Work(one, [1]), Work(other, [1])])
    one.close()
    one.close()
    assert runner._pool.n_rows == 2
    other.close()
    assert runner._pool.n_rows == 0
    close(runner.run([Work(runner.open(), [1, 2])])[0], plain(runner.model, [1, 2])[-1])


def test_the_same_ones_step_after_step_are_not_moved(monkeypatch):
    runner = TorchRunner(CASES["llama"].model())
    states = [runner.open() for _ in range(6)]
    moves = []
    monkeypatch.setattr(TorchRunner, "_exchange", lambda self, *rows: moves.append(rows))
    runner.run([Work(state, [1, 2, 3][: 1 + index % 3]) for index, state in enumerate(states[:4])])
    moves.clear()  # those that run together at the start lie together: empty rows move for nothing
    for state in states[4:]:
        state.close()
    for order in (states[:4], states[3::-1]):
        runner.run([Work(state, [1]) for state in order])
    assert moves == []


def test_work_that_cannot_be_done_is_refused():
    model = CASES["llama"].model()
    runner = TorchRunner(model)
    state, closed, foreign = runner.open(), runner.open(), TorchRunner(model).open()
    closed.close()
    for work, message in [
        ([Work(closed, [1])], "closed"),
        ([Work(foreign, [1])], "another runner's"),
        ([Work(state, [])], "no ids"),
        ([Work(state, [1]), Work(state, [2])], "twice"),
    ]:
        with pytest.raises(ValueError, match=message):
            runner.run(work)
    assert state.length == 0
    with pytest.raises(ValueError, match="length is 1"):
        state.truncate(1)


def test_beyond_the_context_the_model_decides():
    gpt2, llama = (TorchRunner(CASES[name].model()) for name in ("gpt2", "llama"))
    with pytest.raises(ValueError, match="33 positions were asked of a GPT-2"):
        gpt2.run([Work(gpt2.open(), [1] * 33)])
    with pytest.warns(UserWarning, match="position 33 is beyond the context_length of 32"):
        [logits] = llama.run([Work(llama.open(), [1] * 33)])
    with pytest.warns(UserWarning, match="beyond"):
        close(logits, plain(llama.model, [1] * 33)[-1])


def test_padding_never_reaches_beyond_the_context():
    model = CASES["gpt2"].model()
    runner = TorchRunner(model)
    long, short = list(range(31)), [1, 2]
    states = [runner.open(), runner.open()]
    runner.run([Work(states[0], long[:30]), Work(states[1], short[:1])])
    made = runner.run([Work(states[0], long[30:]), Work(states[1], [2, 3, 4, 5])])
    close(made[0], plain(model, long)[-1])
    close(made[1], plain(model, [1, 2, 3, 4, 5])[-1])


def test_a_model_in_training_is_left_in_training():
    model = CASES["llama"].model(dropout=0.5)
    expected = plain(model, [1, 2, 3])[-1]
    model.train()
    runner = TorchRunner(model)
    close(runner.run([Work(runner.open(), [1, 2, 3])])[0], expected)
    assert model.training
    assert model.blocks[0].training
    model(torch.tensor([[1, 2]])).sum().backward()


def test_rows_that_were_interrupted_while_they_moved_hold_nothing(monkeypatch):
    model = CASES["llama"].model()
    runner = TorchRunner(model)
    states = [runner.open() for _ in range(3)]
    runner.run([Work(state, [index, 7]) for index, state in enumerate(states)])

    def swap(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner._pool, "swap", swap)
        with pytest.raises(KeyboardInterrupt):
            runner.run([Work(states[0], [5]), Work(states[2], [6])])
    for index, state in enumerate(states):
        ids = [index, 7, 5]
        [logits] = runner.run([Work(state, ids[state.length :])])
        close(logits, plain(model, ids)[-1])


def test_two_threads_share_a_model():
    """Each with a runner of its own."""
    model, wrong = CASES["fast-with-ngrams"].model(), []

    def work(seed: int) -> None:
        try:
            schedule(model, seed)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_fork_goes_its_own_way():
    model = CASES["fast-with-longer-ngrams"].model()
    runner = TorchRunner(model)
    state = runner.open()
    assert isinstance(state, TorchState)
    assert state.fork().length == 0
    runner.run([Work(state, [1, 2, 3, 4])])
    fork = state.fork()
    one, other = runner.run([Work(state, [5, 6]), Work(fork, [7])])
    close(one, plain(model, [1, 2, 3, 4, 5, 6])[-1])
    close(other, plain(model, [1, 2, 3, 4, 7])[-1])
