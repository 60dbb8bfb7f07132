"""`groundup import` as a person calls it: other programs' files become checkpoints."""

import json

import pytest
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


def test_a_dry_run_writes_nothing(nanogpt, tmp_path, capsys):
    assert cli.main(["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_taken_over_is_said(nanogpt, tmp_path, capsys):
    assert cli.main(["import", str(nanogpt[0])]) == 2
    assert "--out" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("not a model")
    assert cli.main(["import", str(tmp_path / "notes.txt"), "--out", str(tmp_path / "mine")]) in (2, 5)
    assert "error: " in capsys.readouterr().err
    assert cli.main(["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--set", "n_heads"]) == 2
    assert "'n_heads' sets nothing" in capsys.readouterr().err
    assert cli.main(["import", str(nanogpt[0]), "--out", str(tmp_path / "mine"), "--format", "word"]) == 2
    assert not (tmp_path / "mine").exists()
