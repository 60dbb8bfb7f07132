"""`groundup import` as a person calls it: other programs' files become checkpoints."""

import json

import pytest
import safetensors.torch
import torch

from groundup import cli
from groundup.models import gpt2
from groundup.weights import checkpoint, huggingface, portable
from tests.inference import tiny


@pytest.fixture(scope="module")
def nanogpt(tmp_path_factory):
    """A checkpoint as nanoGPT's train.py writes it, and the model in it."""
    model = gpt2.Model(
        gpt2.Config(
            vocab_size=300, context_length=16, n_layers=2, d_model=12, n_heads=3, dropout=0.0, activation="gelu"
        )
    )
    theirs = {name: tensor.load() for name, tensor in huggingface.to_theirs(portable.of(model)).items()}
    transposed = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    state = {name: tensor.T if name.endswith(transposed) else tensor for name, tensor in theirs.items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    arguments = {
        "n_layer": 2,
        "n_head": 3,
        "n_embd": 12,
        "block_size": 16,
        "bias": True,
        "vocab_size": 300,
        "dropout": 0.0,
    }
    file = tmp_path_factory.mktemp("theirs") / "ckpt.pt"
    torch.save({"model": state, "model_args": arguments, "iter_num": 5, "config": {}}, file)
    return file, model.eval()


def test_a_foreign_checkpoint_becomes_one_of_ours(nanogpt, tmp_path, capsys):
    file, model = nanogpt
    tiny.tokenizer().save(tmp_path / "tok")
    out = tmp_path / "mine"
    assert cli.main(["import", str(file), "--out", str(out), "--tokenizer", str(tmp_path / "tok")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "gpt2, 7," in said.err

    loaded = checkpoint.load(out)
    assert loaded.contract.facts["imported_from"] == "ckpt.pt"
    assert loaded.tokenizer.hash == tiny.tokenizer().hash
    ids = torch.randint(300, (2, 16))
    with torch.no_grad():
        assert torch.equal(loaded.model(ids), model(ids))
    assert cli.main(["generate", str(out), "Once", "--max-new-tokens", "3", "--quiet"]) == 0


def test_a_hugging_face_folder_becomes_a_checkpoint(tmp_path, capsys):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    huggingface.write(theirs, portable.of(tiny.model(), tiny.tokenizer()), torch.bfloat16)
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["family"], said["skipped"]) == ("llama", [])
    assert said["parameters"] == sum(parameter.numel() for parameter in tiny.model().parameters())

    loaded = checkpoint.load(tmp_path / "mine")
    assert torch.equal(loaded.model.tok_embed.weight, tiny.model().tok_embed.weight.bfloat16().float())
    assert loaded.contract.probe_logits


def test_force_says_what_it_skips(tmp_path, capsys):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    huggingface.write(theirs, portable.of(tiny.model(), tiny.tokenizer()))
    settings = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(settings | {"invented": True}))

    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine")]) == 5
    said = capsys.readouterr().err
    assert "invented = True" in said and "--force skips them" in said
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine"), "--force"]) == 0
    assert "skipped: config.json: invented = True" in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_says_what_would_stop_it(nanogpt, tmp_path, capsys):
    there = ["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--dry-run"]
    assert cli.main(there) == 0
    assert "would write gpt2, " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

    assert cli.main([*there, "--tokenizer", "en-zh-8k"]) == 5
    said = capsys.readouterr().err
    assert "the model's vocab_size is 300" in said and "where: en-zh-8k" in said
    (tmp_path / "mine").write_text("mine")
    assert cli.main(there) == 2
    assert "mine exists already" in capsys.readouterr().err


def test_pickled_weights_of_transformers_are_read_here_alone(tmp_path, capsys):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    huggingface.write(theirs, portable.of(tiny.model(), tiny.tokenizer()))
    tensors = safetensors.torch.load_file(theirs / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    (theirs / "model.safetensors").unlink()
    torch.save(tensors, theirs / "pytorch_model.bin")

    assert cli.main(["export", "hf", str(theirs), "--out", str(tmp_path / "out")]) == 5
    assert f"hint: groundup import {theirs}" in capsys.readouterr().err
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine")]) == 0
    loaded = checkpoint.load(tmp_path / "mine")
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), tiny.model().parameters(), strict=True))
    assert loaded.tokenizer.hash == tiny.tokenizer().hash
    capsys.readouterr()

    # In several files, of which the index says the wrong one.
    (theirs / "pytorch_model.bin").unlink()
    names = sorted(tensors)
    files = {"pytorch_model-1-of-2.bin": names[::2], "pytorch_model-2-of-2.bin": names[1::2]}
    for file, held in files.items():
        torch.save({name: tensors[name].clone() for name in held}, theirs / file)
    index = {"weight_map": {name: file for file, held in files.items() for name in held}}
    (theirs / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine"), "--replace"]) == 0
    index["weight_map"][names[0]] = "pytorch_model-2-of-2.bin"
    (theirs / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine"), "--replace"]) == 5
    assert "the index says it is in pytorch_model-2-of-2.bin" in capsys.readouterr().err


def test_what_is_groundups_own_needs_no_import(tmp_path, capsys):
    """And so cannot come out with a contract that it does not keep."""
    mine = tiny.save(tmp_path / "run" / "checkpoints" / "step-1")
    (tmp_path / "run" / "latest").write_text("checkpoints/step-1")
    for path in (mine, tmp_path / "run"):
        assert cli.main(["import", str(path), "--out", str(tmp_path / "out")]) == 2
        assert "this is groundup's own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_lost_is_not_taken_over(nanogpt, tmp_path, capsys):
    content = torch.load(nanogpt[0])
    content["model"]["transformer.ln_f.weight"] = torch.full((12,), torch.nan)
    torch.save(content, tmp_path / "ckpt.pt")
    assert cli.main(["import", str(tmp_path / "ckpt.pt"), "--out", str(tmp_path / "mine")]) == 5
    assert "final_norm.weight has values that are not finite" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_tokenizer_that_cannot_be_read_is_skipped_by_force_alone(tmp_path, capsys):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    huggingface.write(theirs, portable.of(tiny.model()))
    (theirs / "vocab.json").write_text("{}")
    there = ["import", str(theirs), "--out", str(tmp_path / "mine")]
    assert cli.main(there) == 5
    said = capsys.readouterr().err
    assert "this is not a tokenizer" in said and "--force goes on without a tokenizer" in said
    assert cli.main([*there, "--force"]) == 0
    assert "skipped: the tokenizer: this is not a tokenizer" in capsys.readouterr().err


def test_what_cannot_be_taken_over_is_said(nanogpt, tmp_path, capsys):
    assert cli.main(["import", str(nanogpt[0])]) == 2
    assert "--out" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("not a model")
    assert cli.main(["import", str(tmp_path / "notes.txt"), "--out", str(tmp_path / "mine")]) in (2, 5)
    assert "error: " in capsys.readouterr().err
    assert cli.main(["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--set", "n_heads"]) == 2
    assert "'n_heads' sets nothing" in capsys.readouterr().err
    assert cli.main(["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--format", "word"]) == 2
    capsys.readouterr()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    huggingface.write(theirs, portable.of(tiny.model()))
    assert cli.main(["import", str(theirs), "--out", str(tmp_path / "mine"), "--set", "n_heads=2"]) == 2
    assert "n_heads=2 cannot be set" in capsys.readouterr().err
    assert cli.main(["import", str(theirs / "model.safetensors"), "--out", str(tmp_path / "mine")]) == 5
    assert f"hint: give {theirs}" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
