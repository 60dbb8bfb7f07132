"""OpenAI's files of GPT-2: a tiny one that TensorFlow wrote, and what TensorFlow computed with it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from groundup.errors import ArtefactError
from groundup.weights import foreign
from tests.weights.foreign.conftest import IDS

FIXTURE = Path(__file__).parents[2] / "fixtures" / "weights" / "gpt2_tensorflow"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(FIXTURE, tmp_path / "124M"))


def test_what_tensorflow_computes(assert_same_logits):
    read = foreign.read(FIXTURE)

    assert read.family == "gpt2"
    config = read.config
    assert (config.vocab_size, config.context_length, config.n_layers, config.d_model, config.n_heads) == (
        260,
        12,
        2,
        8,
        2,
    )
    assert config.tie_embeddings and config.norm_eps == 1e-5
    assert_same_logits(read, torch.tensor(EXPECTED["logits"]), EXPECTED["ids"])


def test_its_tokenizer():
    tokenizer = foreign.read(FIXTURE).tokenizer
    assert tokenizer is not None
    assert list(tokenizer.encode(EXPECTED["text"])) == EXPECTED["ids"]
    assert tokenizer.vocab_size == 260


def test_without_a_tokenizer_or_by_the_name_of_the_index(folder, assert_same_logits):
    (folder / "encoder.json").unlink()
    read = foreign.read(folder / "model.ckpt.index")
    assert read.tokenizer is None
    assert_same_logits(read, torch.tensor(EXPECTED["logits"]), EXPECTED["ids"])


@pytest.mark.parametrize(
    "path", ["model.ckpt", "/models/124M/model.ckpt", r"C:\\models\\model.ckpt", "../x/model.ckpt"]
)
def test_the_checkpoint_is_looked_for_in_this_folder_only(path, folder, tmp_path):
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')
    assert foreign.read(folder).config.n_layers == 2

    (tmp_path / "x").mkdir()
    for file in folder.glob("model.ckpt.*"):
        file.rename(tmp_path / "x" / file.name)
    shutil.copy(FIXTURE / "model.ckpt.index", folder / "other.index")
    with pytest.raises(ArtefactError, match="checkpoint names 'model.ckpt', and model.ckpt.index is not here"):
        foreign.read(folder)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(ArtefactError, match="no checkpoint of TensorFlow is here"):
        foreign.read(tmp_path, "gpt2_tensorflow")


def test_several_checkpoints_and_none_named(folder):
    (folder / "checkpoint").unlink()
    assert foreign.read(folder).config.n_layers == 2
    shutil.copy(folder / "model.ckpt.index", folder / "model-1000.index")
    with pytest.raises(ArtefactError, match="several checkpoints are here: model-1000.index, model.ckpt.index"):
        foreign.read(folder)


@pytest.mark.parametrize("text", ["\n", 'model_checkpoint_path: ""', 'model_checkpoint_path: ".."', "\0" * 100_000])
def test_a_checkpoint_file_that_names_nothing(text, folder):
    (folder / "checkpoint").write_text(text)
    with pytest.raises(ArtefactError, match="checkpoint names|no list of TensorFlow's checkpoints"):
        foreign.read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 3}, "model/h2/ln_1/g is missing"),
        ({"n_layer": 1}, "model/h1/attn/c_attn/b is unknown"),
        ({"n_layer": 10**12}, "describes 1000000000000 layers"),
        ({"n_embd": 4}, r"model/wte has shape \(260, 8\), not \(260, 4\)"),
        ({"n_ctx": 13}, r"model/wpe has shape \(12, 8\), not \(13, 8\)"),
        ({"n_head": 3}, "n_heads is 3"),
        ({"n_head": "2"}, "n_head is '2', and should be of the kind int"),
        ({"n_vocab": None}, "n_vocab is missing"),
    ],
)
def test_settings_that_do_not_fit(change, message, folder):
    hparams = json.loads((folder / "hparams.json").read_text()) | change
    (folder / "hparams.json").write_text(json.dumps(hparams))
    with pytest.raises(ArtefactError, match=message):
        foreign.read(folder)


def test_a_file_that_is_missing_or_cut(folder):
    data = folder / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"has 15,743 bytes, and 'model/wte' ends at 15,744") as error:
        foreign.read(folder)
    assert "cut off" in str(error.value.hint)
    data.unlink()
    with pytest.raises(ArtefactError, match="model.ckpt.data-00000-of-00001 is missing"):
        foreign.read(folder)


def test_a_changed_number_is_noticed(folder):
    data = folder / "model.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    read = foreign.read(folder)
    read.tensors["pos_embed.weight"].load()
    with pytest.raises(ArtefactError, match="model/wte is damaged: its checksum differs from the index's"):
        read.tensors["tok_embed.weight"].load()


def test_nothing_is_read_twice_the_same_way(folder):
    """Bit for bit what the file holds: a fused and transposed layer, put together again."""
    read, raw = foreign.read(folder), (folder / "model.ckpt.data-00000-of-00001").read_bytes()
    q, k, v = (read.tensors[f"blocks.0.attn.{name}.weight"].load() for name in ("q_proj", "k_proj", "v_proj"))
    fused = torch.cat([q, k, v]).T.contiguous()
    assert fused.numpy().tobytes() in raw
    assert len(IDS) < read.config.context_length
