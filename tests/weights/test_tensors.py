"""Opening a model's files: folders, shards and GGUF files as records; and what is no model, by its name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from groundup.errors import ArtefactError, GroundupError, UsageError
from groundup.weights import strict_json, tensors
from groundup.weights.stored_tensor import count_bytes
from tests.weights.gguf_bytes import STRING, gguf, key, tensor, text

CONFIG = {"model_type": "llama", "hidden_size": 8}
NUMBERS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.weight": torch.ones(4).bfloat16(), "c": torch.zeros(0)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


@pytest.fixture
def whole(folder):
    safetensors.torch.save_file(NUMBERS, folder / "model.safetensors")
    return folder


SHARDS = {"model-00001-of-00002.safetensors": ["a.weight", "c"], "model-00002-of-00002.safetensors": ["b.weight"]}


@pytest.fixture
def sharded(folder):
    for shard, names in SHARDS.items():
        safetensors.torch.save_file({name: NUMBERS[name] for name in names}, folder / shard)
    write_index(folder, {name: shard for shard, names in SHARDS.items() for name in names})
    return folder


def write_index(folder, weight_map):
    content = {"metadata": {"total_size": 32}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def same_numbers(found):
    assert found.keys() == NUMBERS.keys()
    for name, numbers in NUMBERS.items():
        assert np.array_equal(found[name].numbers(), numbers.float().numpy())


# --- what is right ---


def test_a_folder_with_one_file(whole):
    found = tensors.open_model(whole)
    assert (found.format, found.config, found.path) == ("huggingface", CONFIG, whole)
    same_numbers(found.tensors)


def test_a_folder_with_shards(sharded):
    found = tensors.open_model(str(sharded))
    same_numbers(found.tensors)
    assert found.tensors["b.weight"].file.name == "model-00002-of-00002.safetensors"


def test_a_folder_that_transformers_sharded(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    found = tensors.open_model(tmp_path)
    assert len({tensor.file for tensor in found.tensors.values()}) > 2
    assert found.config["model_type"] == "llama"
    for name, theirs in model.state_dict().items():
        assert np.array_equal(found.tensors[name].numbers(), theirs.numpy())


def test_a_gguf_file(tmp_path):
    content = gguf([key("general.architecture", STRING, text("llama"))], [tensor("a", (4, 2))], bytes(32))
    for name in ("model.gguf", "without-ending"):
        (tmp_path / name).write_bytes(content)
        found = tensors.open_model(tmp_path / name)
        assert (found.format, found.config) == ("gguf", {"general.architecture": "llama"})
        assert found.tensors["a"].shape == (2, 4)


def test_links_into_a_cache_are_followed(whole, tmp_path):
    # As huggingface_hub lays out what it downloads: names are links to files named by their hash.
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(whole / name)
    same_numbers(tensors.open_model(snapshot).tensors)


def test_nothing_here_imports_torch(whole, tmp_path):
    packed = np.zeros(34, np.uint8).tobytes()
    (tmp_path / "q.gguf").write_bytes(gguf([], [tensor("a", (32,), 8)], packed))
    code = f"""
import sys
sys.modules["torch"] = None  # any import of it fails
from groundup.weights import tensors
for path in {[str(whole), str(tmp_path / "q.gguf")]!r}:
    for tensor in tensors.open_model(path).tensors.values():
        tensor.numbers()
heavy = {{"gguf", "safetensors", "transformers", "numba"}} & set(sys.modules)
assert not heavy, heavy
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr


# --- what is wrong with an index ---


def refused(path, message, error: type[GroundupError] = ArtefactError):
    with pytest.raises(error, match=message) as caught:
        tensors.open_model(path)
    return caught.value


def test_a_missing_shard(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    refused(sharded, "model-00002-of-00002.safetensors is missing")


def test_a_damaged_shard(sharded):
    file = sharded / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    error = refused(sharded, "model-00001-of-00002.safetensors is cut off: tensor 'a.weight'")
    assert error.where == str(file)


def test_a_tensor_in_no_shard(sharded):
    names = {name: shard for shard, names in SHARDS.items() for name in names}
    write_index(sharded, names | {"d": "model-00001-of-00002.safetensors"})
    refused(sharded, "the index says that model-00001-of-00002.safetensors has tensor 'd', and it has not")


def test_a_tensor_the_index_does_not_list(sharded):
    write_index(sharded, {"a.weight": "model-00001-of-00002.safetensors"})
    refused(sharded, "model-00001-of-00002.safetensors has tensor 'c', and the index does not list it")


def test_a_tensor_in_two_shards(sharded):
    safetensors.torch.save_file({name: NUMBERS[name] for name in ("a.weight", "b.weight")},
                                sharded / "model-00002-of-00002.safetensors")  # fmt: skip
    message = "model-00002-of-00002.safetensors has tensor 'a.weight', and the index says it is in model-00001-of-00002"
    refused(sharded, message)


def test_a_tensor_twice_in_the_index(sharded):
    (sharded / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}'
    )
    refused(sharded, "'a' stands there twice")


@pytest.mark.parametrize(
    "name",
    ["../config.json", "/etc/passwd", "a/b.safetensors", "..", "", "%2e%2e\\x", "a\0b", "C:\\x", "nul", "x" * 200,
     7, None, ["x"], {}],
)  # fmt: skip
def test_a_shard_outside_the_folder(name, sharded):
    write_index(sharded, {"a.weight": name})
    error = refused(sharded, "the index names .*, which is no file of this folder")
    assert error.where == str(sharded / "model.safetensors.index.json")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": [1]}', '{"weight_map": null}'])
def test_an_index_of_nothing(content, sharded):
    (sharded / "model.safetensors.index.json").write_text(content)
    refused(sharded, "the index lists no tensors")


# --- what is no model ---

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 688\n"


def test_nothing_there(tmp_path):
    refused(tmp_path / "none", "no such file or folder", UsageError)
    refused("with\0zero", "no such file or folder", UsageError)


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "the folder is empty")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("notes")
    refused(tmp_path, "holds no model: config.json is missing")


def test_pickles_are_not_opened(folder):
    canary = folder / "canary"
    (folder / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(Vtouch %s\ntR." % str(canary).encode())
    error = refused(folder, r"the weights are pickled \(pytorch_model.bin\), and a pickle can run any program")
    assert error.hint and "groundup import" in error.hint
    assert not canary.exists()


def test_a_pickle_given_as_a_model(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "ckpt.pt")
    assert refused(tmp_path / "ckpt.pt", "but a zip archive, such as PyTorch writes").hint == "groundup import"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS, "config.json is not JSON but the few lines that Git LFS leaves"),
        ("<!DOCTYPE html>", "config.json is not JSON but an HTML page"),
        ("", "config.json is empty"),
        ("{", "not valid JSON"),
        ("[]", r"not a JSON object but \[\]"),
        ('{"rope_theta": NaN}', "NaN is no number"),
        ('{"hidden_size": 8, "hidden_size": 9}', "'hidden_size' stands there twice"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ('{"a": "' + "x" * (1 << 25) + '"}', "more than 33,554,432 bytes"),
    ],
)  # fmt: skip
def test_a_damaged_config(content, message, whole):
    (whole / "config.json").write_text(content)
    assert refused(whole, message).where == str(whole / "config.json")


def test_a_link_to_nowhere(folder):
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "gone")
    refused(folder, "model.safetensors is a link to nowhere")


def test_no_weights(folder):
    refused(folder, "model.safetensors is missing")


def test_a_folder_of_gguf_files_and_a_file_of_a_folder(tmp_path, whole):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "q8.gguf").write_bytes(gguf())
    assert "q8.gguf" in (refused(tmp_path / "models", "each of which is a model", UsageError).hint or "")
    assert str(whole) in (refused(whole / "model.safetensors", "a model is a folder", UsageError).hint or "")


def test_an_adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "a LoRA adapter, which is no model without its base")


def test_a_text_file(tmp_path):
    (tmp_path / "story.txt").write_text("Once upon a time")
    refused(tmp_path / "story.txt", "story.txt is neither a folder nor a GGUF file")


def test_strict_json_takes_what_is_right():
    content = {"a": [1, 2.5, None, True, {"b": "ü"}], "": -1, "big": 10**30}
    assert strict_json.parse(json.dumps(content).encode(), "x") == content


def test_what_a_tensor_takes():
    assert count_bytes("F32", (2, 3)) == 24 and count_bytes("Q4_K", (3, 512)) == 3 * 2 * 144
    assert count_bytes("BF16", ()) == 2 and count_bytes("I64", (0, 5)) == 0
    for shape in [(-1,), (2, -3), (1 << 40, 1 << 40), (1,) * 33]:
        with pytest.raises(ValueError, match="negative|too large|33 dimensions"):
            count_bytes("F32", shape)
