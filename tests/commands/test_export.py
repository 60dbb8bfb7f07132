"""`groundup export` as a person calls it: what is written opens elsewhere, and is held to its source first."""

import dataclasses
import functools
import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from groundup import cli
from groundup.data import shards
from groundup.data.shards import TokenData
from groundup.models import fast, gpt2, llama
from groundup.text.records import Document
from groundup.weights import checkpoint, huggingface, portable, read_back
from tests.inference import tiny
from tests.models.tiny import small

IDS = torch.tensor([[5, 17, 40, 3, 8]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("models") / "tuned")


@pytest.fixture(scope="module")
def logits(run):
    with torch.no_grad():
        return tiny.model()(IDS)


def exported(run, out, *options):
    return cli.main(["export", options[0], str(run), "--out", str(out), *options[1:]])


# --- Hugging Face ---


@pytest.mark.parametrize(("weights", "tolerance"), [("keep", 0), ("bf16", 0.2), ("fp16", 0.02)])
def test_transformers_opens_what_export_hf_wrote(run, logits, tmp_path, capsys, weights, tolerance):
    transformers = pytest.importorskip("transformers")
    assert exported(run, tmp_path / "out", "hf", "--weights", weights) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'out'}\n"
    assert "read back: 20 tensors, " + ("bit for bit the same" if weights == "keep" else "at most 0.00") in said.err
    assert weights != "keep" or "100% the same choices" in said.err

    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        assert (theirs(IDS).logits - logits).abs().max() <= tolerance + 1e-5
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.encode("Say a") == tiny.tokenizer().encode("Say a").tolist()
    assert tokenizer.chat_template == tiny.tokenizer().chat_template


def test_large_models_are_cut_into_files(run, tmp_path):
    assert exported(run, tmp_path / "out", "hf", "--max-shard-size", "50KB", "--quiet") == 0
    assert len(list((tmp_path / "out").glob("model-*-of-*.safetensors"))) > 3
    assert checkpoint.load(tmp_path / "out").model.config == tiny.model().config


def test_json_says_how_it_compares(run, tmp_path, capsys):
    assert exported(run, tmp_path / "out", "hf", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["tensors"] == 20
    assert (said["largest_rounding"], said["logit_difference"], said["same_choices"]) == (0.0, 0.0, 1.0)


def test_a_dry_run_writes_nothing(run, tmp_path, capsys):
    for kind, name in (("hf", "out"), ("gguf", "out.gguf"), ("single-file", "out")):
        assert exported(run, tmp_path / name, kind, "--dry-run") == 0
        assert capsys.readouterr().err == "would write llama, 65,328 parameters\n"
    assert list(tmp_path.iterdir()) == []


# --- GGUF ---


@pytest.mark.parametrize("weights", ["fp32", "F16", "bf16", "int8", "q8_0"])
def test_a_gguf_file_is_a_model_wherever_one_is_asked_for(run, logits, tmp_path, capsys, weights):
    pytest.importorskip("gguf")
    file = tmp_path / "tiny.gguf"
    assert exported(run, file, "gguf", "--weights", weights) == 0
    capsys.readouterr()
    assert "FROM ./tiny.gguf" in (tmp_path / "tiny.Modelfile").read_text()

    greedy = ["Once there", "--temperature", "0", "--max-new-tokens", "60"]
    assert cli.main(["generate", str(file), *greedy, "--quiet"]) == 0
    assert capsys.readouterr().out == tiny.STORY.removeprefix("Once there") + "\n"
    with torch.no_grad():
        difference = (checkpoint.load(file).model(IDS) - logits).abs().max()
    assert difference <= {"fp32": 1e-6, "F16": 0.05, "bf16": 0.3, "int8": 0.6, "q8_0": 0.6}[weights]


def test_gguf_wants_its_ending(run, tmp_path, capsys):
    assert exported(run, tmp_path / "tiny.bin", "gguf") == 2
    assert "hint: --out " in capsys.readouterr().err


def test_transformers_opens_the_gguf_file(run, logits, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    assert exported(run, tmp_path / "tiny.gguf", "gguf", "--weights", "fp32", "--quiet") == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf")
    with torch.no_grad():
        assert (theirs(IDS).logits - logits).abs().max() <= 1e-5


# --- what it costs ---


@pytest.fixture
def trained(run, tmp_path):
    """A run with the data that it held out, as training leaves them; its one checkpoint is the tiny model."""
    shutil.copytree(run, tmp_path / "runs" / "mine" / "checkpoints" / "step-1")
    mine = tmp_path / "runs" / "mine"
    (mine / "latest").write_text("checkpoints/step-1")
    (mine / "config.toml").write_text('data = "gone.txt"\ncontext_length = 60\n')
    texts = [tiny.STORY.replace("cat", f"cat number {i}") for i in range(40)]
    shards.prepare((Document(text) for text in texts), tiny.tokenizer(), mine / "data", val_fraction=0.25)
    return mine


def bits_per_byte(path, data):
    """By torch's own cross-entropy, over windows as long as the rows of training."""
    model, tokenizer = checkpoint.load(path).model, tiny.tokenizer()
    ids = torch.from_numpy(np.asarray(TokenData.open(data).split("val").ids[:]).astype(np.int64))
    total, n_bytes = 0.0, 0
    for start in range(0, len(ids) - 1, 60):
        row = ids[start : start + 61]
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum")
        total += loss.item()
        n_bytes += sum(len(tokenizer.token_bytes[id_]) for id_ in row[1:].tolist())
    return total / math.log(2) / n_bytes


def test_what_is_quantised_is_measured_on_what_the_run_held_out(trained, tmp_path, capsys):
    pytest.importorskip("gguf")
    assert exported(trained, tmp_path / "m.gguf", "gguf", "--weights", "int4", "--json") == 0
    said = json.loads(capsys.readouterr().out)["bits_per_byte"]
    assert said["before"] == pytest.approx(bits_per_byte(trained, trained / "data"), rel=1e-4)
    assert said["after"] == pytest.approx(bits_per_byte(tmp_path / "m.gguf", trained / "data"), rel=1e-4)
    assert (said["weights_before"], said["weights_after"]) == ("fp32", "int4")
    assert said["text"] == str(trained / "data")

    assert exported(trained, tmp_path / "m.gguf", "gguf", "--weights", "int8", "--replace") == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"int8: \d\.\d{4} bits per byte, fp32: \d\.\d{4} \([+-]\d\.\d\d%\), on [\d,]+ tokens of ", last)
    assert exported(trained, tmp_path / "m.gguf", "gguf", "--weights", "fp16", "--replace") == 0
    assert "bits per byte" not in capsys.readouterr().err, "16 bits are measured when that is asked for"


def test_what_is_measured_can_be_named(run, tmp_path, capsys):
    (tmp_path / "text.txt").write_text(tiny.STORY * 20)
    text = ["--measure", str(tmp_path / "text.txt")]
    assert exported(run, tmp_path / "out", "hf", "--weights", "bf16", *text) == 0
    assert re.search(r"^bf16: .* of .*text\.txt, by torch$", capsys.readouterr().err, re.MULTILINE)
    assert exported(run, tmp_path / "gone", "hf", "--measure", str(tmp_path / "no.txt")) == 2
    assert "error: there is no such text\n" in capsys.readouterr().err
    assert not (tmp_path / "gone").exists()


def test_a_model_without_its_text_is_exported_and_that_is_said(run, tmp_path, capsys):
    pytest.importorskip("gguf")
    assert exported(run, tmp_path / "m.gguf", "gguf", "--weights", "int8") == 0
    assert "what it costs in bits per byte is not known: --measure TEXT would measure it" in capsys.readouterr().err


def test_the_compiled_engine_measures_what_it_will_run(tmp_path, capsys):
    pytest.importorskip("gguf")
    sizes = {"vocab_size": 300, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "context_length": 64}
    checkpoint.save(tmp_path / "m", small("llama", noise=0.1, **sizes), tiny.tokenizer())
    (tmp_path / "text.txt").write_text(tiny.STORY * 20)
    options = ["--weights", "int8", "--measure", str(tmp_path / "text.txt"), "--json"]
    assert exported(tmp_path / "m", tmp_path / "m.gguf", "gguf", *options) == 0
    said = json.loads(capsys.readouterr().out)["bits_per_byte"]
    assert said["engine"] == "compiled (int8)"
    command = ["evaluate", str(tmp_path / "m.gguf"), "--data", str(tmp_path / "text.txt"), "--json"]
    for options in ([], ["--engine", "compiled"]):
        assert cli.main([*command, *options]) == 0
        assert json.loads(capsys.readouterr().out)["bits_per_byte"] == pytest.approx(said["after"], rel=1e-5)


# --- one file ---


def test_single_file_runs_where_groundup_is_not(run, logits, tmp_path, capsys):
    assert exported(run, tmp_path / "out", "single-file") == 0
    program = (
        "import sys; sys.modules['groundup'] = None\n"
        "import json, torch, model\n"
        f"print(json.dumps(model.load()(torch.tensor({IDS.tolist()})).tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "out", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (torch.tensor(json.loads(done.stdout)) - logits).abs().max() <= 1e-5


# --- what is refused ---


def test_what_cannot_be_held_elsewhere_is_said(tmp_path, capsys):
    checkpoint.save(tmp_path / "fast", fast.Model(fast.PRESETS["nano"]))
    assert exported(tmp_path / "fast", tmp_path / "out", "hf") == 2
    assert "error: Hugging Face's formats cannot hold a fast model: " in capsys.readouterr().err
    assert exported(tmp_path / "fast", tmp_path / "out.gguf", "gguf") == 2
    assert "error: GGUF cannot hold a fast model: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["fast"]


def test_what_is_there_is_kept_unless_asked(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    assert exported(run, tmp_path / "out", "hf") == 2
    assert "out exists already" in capsys.readouterr().err
    assert exported(run, tmp_path / "out", "hf", "--replace") == 2
    assert "out is no huggingface folder that groundup wrote, so it is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == "precious"

    (tmp_path / "out" / "mine").unlink()
    assert exported(run, tmp_path / "out", "hf") == 0
    (tmp_path / "out" / "more").touch()
    assert exported(run, tmp_path / "out", "hf", "--replace") == 0
    assert not (tmp_path / "out" / "more").exists()


@pytest.mark.parametrize("kind", ["hf", "single-file"])
def test_the_model_itself_is_never_overwritten(run, tmp_path, capsys, kind):
    mine = shutil.copytree(run, tmp_path / "runs" / "mine")
    before = {file: file.read_bytes() for file in mine.iterdir()}
    for out in (mine, mine.parent, mine / "config.json"):
        assert exported(mine, out, kind, "--replace") == 2
        assert "of, or a folder around it" in (said := capsys.readouterr().err) or "not overwritten" in said
    assert {file: file.read_bytes() for file in mine.iterdir()} == before


def test_a_gguf_file_and_its_modelfile_take_nothing_away(run, tmp_path, capsys):
    pytest.importorskip("gguf")
    (tmp_path / "tiny.Modelfile").write_text("mine")
    assert exported(run, tmp_path / "tiny.gguf", "gguf") == 2
    assert "tiny.Modelfile exists already" in capsys.readouterr().err
    assert exported(run, tmp_path / "tiny.gguf", "gguf", "--no-modelfile") == 0
    before = (tmp_path / "tiny.gguf").read_bytes()
    assert exported(tmp_path / "tiny.gguf", tmp_path / "tiny.gguf", "gguf", "--replace", "--no-modelfile") == 2

    (tmp_path / "folder.gguf").mkdir()
    assert exported(run, tmp_path / "folder.gguf", "gguf", "--replace") == 2
    assert "folder.gguf is a folder" in capsys.readouterr().err
    assert (tmp_path / "tiny.gguf").read_bytes() == before
    assert (tmp_path / "tiny.Modelfile").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["hf", "--weights", "half"], "weights are 'half'; valid values are keep, fp32, bf16, fp16"),
        (["hf", "--weights", "int8"], "transformers opens weights of 8 or 4 bits only by further packages"),
        (["hf", "--weights", "int4"], "/tuned --out FILE.gguf --weights int4"),
        (["hf", "--max-shard-size", "many"], "max_shard_size is 'many'; valid values are such as 500MB or 5GB"),
        (["hf", "--max-shard-size", "0GB"], "max_shard_size is '0GB'"),
        (["gguf", "--weights", "Q4_K"], "weights are 'Q4_K'; valid values are fp32, bf16, fp16, int8, int4"),
        (["gguf", "--weights", "int8-row"], "no file keeps int8-row, but an opened model does: groundup generate "),
    ],
)
def test_a_wrong_option_is_said(run, tmp_path, capsys, options, message):
    assert exported(run, tmp_path / "out.gguf", *options) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_checkpoint_does_not_travel_on(run, tmp_path, capsys):
    damaged = shutil.copytree(run, tmp_path / "damaged")
    content = bytearray((damaged / "model.safetensors").read_bytes())
    content[-7] ^= 64
    (damaged / "model.safetensors").write_bytes(content)

    assert exported(damaged, tmp_path / "out", "hf") == 5
    assert "model.safetensors is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_came_back_otherwise_is_never_handed_out():
    """The check itself: a tensor, a setting and a missing tensor are each found."""
    model = gpt2.Model(gpt2.Config(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2))
    other = gpt2.Model(model.config)
    with torch.no_grad():
        for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
            mine.copy_(theirs)
        other.blocks[0].mlp.up_proj.weight[2, 3] += 0.01
    source, changed = portable.of(model), portable.of(other)

    assert read_back.check(source, portable.of(model)).logits == 0
    with pytest.raises(read_back.ArtefactError, match="blocks.0.mlp.up_proj.weight came back 0.0"):
        read_back.check(source, changed, read_back.ROUNDINGS["BF16"])
    assert read_back.check(source, changed, read_back.Rounding("any", 1.0)).same_choices is not None
    changed.config = dataclasses.replace(model.config, activation="gelu", dropout=0.5)
    with pytest.raises(read_back.ArtefactError, match="otherwise: activation is 'gelu', and was 'gelu_tanh'$"):
        read_back.check(source, changed)
    changed.config = model.config
    changed.tensors = {name: tensor for name, tensor in source.tensors.items() if "final_norm" not in name}
    with pytest.raises(read_back.ArtefactError, match="final_norm.weight is missing"):
        read_back.check(source, changed)


def test_rounding_is_no_fault_until_a_tensor_is_lost():
    """F16 has few numbers near zero: a bias that has hardly begun to learn is rounded coarsely, and may be."""
    model = gpt2.Model(gpt2.Config(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2))
    rounded = gpt2.Model(model.config)
    for size, message in ((1e-5, None), (1e-7, "final_norm.bias has numbers so near zero that F16 would lose")):
        with torch.no_grad():
            model.final_norm.bias.copy_(torch.randn(8) * size)
            for mine, theirs in zip(rounded.parameters(), model.parameters(), strict=True):
                mine.copy_(theirs.half())
        check = functools.partial(read_back.check, portable.of(model), portable.of(rounded), read_back.ROUNDINGS["F16"])
        if message is None:
            assert 2**-11 < check().rounding < 0.05
        else:
            with pytest.raises(read_back.ArtefactError, match=message):
                check()


@pytest.mark.parametrize(
    ("change", "options", "code", "message"),
    [
        (lambda t: t.mul_(torch.nan), ["hf"], 5, "down_proj.weight has values that are not finite"),
        (lambda t: t.mul_(torch.nan), ["single-file"], 5, "down_proj.weight has values that are not finite"),
        (lambda t: t.div_(0), ["gguf"], 5, "down_proj.weight has values that are not finite"),
        (lambda t: t.mul_(1e8), ["hf", "--weights", "fp16"], 2, "down_proj.weight has numbers that are not finite, "),
    ],
)
def test_what_could_only_talk_nonsense_is_not_written(tmp_path, capsys, change, options, code, message):
    model = llama.Model(llama.Config(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2))
    with torch.no_grad():
        change(model.blocks[0].mlp.down_proj.weight)
    (tmp_path / "theirs").mkdir()
    huggingface.write(tmp_path / "theirs", portable.of(model))

    assert exported(tmp_path / "theirs", tmp_path / "out.gguf", *options) == code
    said = capsys.readouterr().err
    assert message in said and ".tmp-" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_what_is_skipped_by_force_is_said_even_quietly(tmp_path, capsys):
    model = llama.Model(llama.Config(vocab_size=20, context_length=8, n_layers=1, d_model=8, n_heads=2))
    (tmp_path / "theirs").mkdir()
    huggingface.write(tmp_path / "theirs", portable.of(model))
    settings = json.loads((tmp_path / "theirs" / "config.json").read_text())
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(settings | {"invented": True}))

    assert exported(tmp_path / "theirs", tmp_path / "out", "hf", "--force", "--quiet", "--json") == 0
    said = capsys.readouterr()
    assert said.err == "skipped: config.json: invented = True\n"
    assert json.loads(said.out)["skipped"] == ["config.json: invented = True"]
