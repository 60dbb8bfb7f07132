"""A model as one file: the same logits in a process that knows nothing of groundup, and a file that reads well."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import groundup
from groundup import models
from groundup.errors import ArtefactError, GroundupError
from groundup.layers.rope import SCALINGS, RopeConfig
from groundup.tokenizer.character import CharacterTokenizer
from groundup.weights import lazy, portable, standalone, standalone_fold, standalone_inline
from tests.models import tiny
from tests.models.tiny import small

ROOT = Path(__file__).parent.parent.parent
IDS = torch.tensor([[1, 7, 49, 3, 3, 0, 12, 30]])
STRETCHED = {"factor": 4.0, "trained_context": 16}


def cases() -> dict[str, tuple[str, dict]]:
    """(family, fields) of every model that is exported here, by name: those of the contract, untied, and stretched."""
    found = {name: (case.family, case.fields) for name, case in tiny.CASES.items()}
    for name in models.names():
        found[f"{name}-untied"] = (name, {"tie_embeddings": False})
        found[f"{name}-tied"] = (name, {"tie_embeddings": True})
        if "rope" in {field.name for field in dataclasses.fields(models.family(name).Config)}:
            for scaling in list(SCALINGS)[1:]:
                found[f"{name}-{scaling}"] = (name, {"rope": RopeConfig(scaling=scaling, **STRETCHED)})
    return found


CASES = cases()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The folder of every case, exported once."""
    root = tmp_path_factory.mktemp("standalone")
    for case, (name, fields) in CASES.items():
        (root / case).mkdir()
        standalone.write(root / case, portable.of(small(name, **fields)))
    return {case: root / case for case in CASES}


ALONE = """
import importlib.util, json, sys
for name in ("groundup", "jaxtyping", "safetensors", "transformers"):
    sys.modules[name] = None
import torch
found = {}
for folder in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("model", folder + "/model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    loaded = model.load()
    with torch.no_grad():
        logits = loaded(torch.tensor(json.loads(sys.argv[1])))
    found[folder] = logits, model.generate(loaded, [5, 6, 7], 9)
torch.save(found, sys.argv[2] + "/found.pt")
"""


@pytest.fixture(scope="module")
def found(folders) -> dict[str, tuple[torch.Tensor, list[int]]]:
    """Logits and greedy ids of every case, from one process that cannot import groundup."""
    paths = [str(folder) for folder in folders.values()]
    subprocess.run([sys.executable, "-I", "-c", ALONE, json.dumps(IDS.tolist()), *paths], check=True)
    by_path = torch.load(paths[0] + "/found.pt")
    return {case: by_path[str(folder)] for case, folder in folders.items()}


@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_our_model_does_bit_for_bit(case, found):
    name, fields = CASES[case]
    model = small(name, **fields)
    with torch.no_grad():
        logits, cache = model(IDS), model.new_cache(1, 12)
        new, ids = torch.tensor([[5, 6, 7]]), [5, 6, 7]
        for _ in range(9):
            new = model(new, cache=cache)[:, -1].argmax(-1, keepdim=True)
            ids.append(int(new))

    assert torch.equal(found[case][0], logits)
    assert found[case][1] == ids


def test_from_the_command_line(folders):
    file = folders["llama-tied"] / "model.py"
    done = subprocess.run([sys.executable, "-I", file, "5 6 7", "3"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"5 6 7( \d+){3}\n", done.stdout)
    with pytest.raises(SystemExit, match="usage: python model.py"):
        opened(file)["main"]([])


def opened(file: Path) -> dict:
    """What a model.py defines, in this process."""
    names = {"__name__": "model", "__file__": str(file)}
    exec(file.read_text(), names)
    return names


@pytest.mark.parametrize("name", models.names())
def test_it_reads_as_our_own_files_do(name, folders):
    """ruff formats nothing anew and finds nothing; nothing is there twice, unused or of another library."""
    file = folders[f"{name}-untied"] / "model.py"
    ruff = [Path(sys.executable).with_name("ruff"), "--config", ROOT / "pyproject.toml"]
    for command in (["format", "--check"], ["check", "--ignore=E501"]):
        done = subprocess.run([ruff[0], command[0], *ruff[1:], *command[1:], file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    text = file.read_text()
    tree = ast.parse(text)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= {"torch", *sys.stdlib_module_names}
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert len(set(names)) == len(names)
    assert [each for each in names if len(re.findall(rf"\b{each}\b", text)) == 1] == []
    # The choice between two forms is gone, and what was written about the layers is not.
    assert "kernels" not in text.replace("layers/kernels.py", "")
    assert '"B T d_model"' in text
    family_doc = models.family(name).__doc__.strip().splitlines()[0]
    assert f"# {family_doc}" in text
    assert "# (B, T, n_heads * head_dim) -> (B, n_heads, T, head_dim)" in text


def test_config_values_are_written_out():
    rope = RopeConfig(theta=500_000.0, scaling="llama3", factor=32.0, trained_context=8192)
    text = standalone.text_of(portable.of(small("llama", rope=rope)))
    assert "    d_model=24,\n" in text
    assert 'rope=RopeConfig(theta=500000.0, scaling="llama3", factor=32.0, trained_context=8192),' in text
    long = dataclasses.replace(rope, low_freq_factor=1.25, high_freq_factor=4.5, beta_fast=33.5)
    assert "    rope=RopeConfig(\n        theta=500000.0,\n" in standalone.text_of(
        portable.of(small("llama", rope=long))
    )


def test_weights_keep_their_dtype_and_the_tokenizer_comes_along(tmp_path):
    model, tokenizer = small("llama"), CharacterTokenizer.train(["abc"])
    source = portable.of(model, tokenizer)
    source.tensors = {name: lazy.of(tensor.load().bfloat16()) for name, tensor in source.tensors.items()}
    standalone.write(tmp_path, source)

    assert (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "model.safetensors").stat().st_size < 2.2 * source.n_parameters
    assert "tokenizer" in (tmp_path / "model.py").read_text().split('"""')[1]
    alone = opened(tmp_path / "model.py")
    loaded = alone["load"]()
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.tok_embed.weight, model.tok_embed.weight.bfloat16().float())
    assert alone["load"](dtype=torch.bfloat16).tok_embed.weight.dtype == torch.bfloat16


def test_what_does_not_fit_together_is_refused_before_anything_is_written(tmp_path):
    source = portable.of(small("llama"))
    source.tensors = {**source.tensors, "final_norm.weight": lazy.of(torch.ones(7))}
    with pytest.raises(ArtefactError, match="final_norm.weight has shape"):
        standalone.write(tmp_path, source)
    assert list(tmp_path.iterdir()) == []


def test_the_licence_is_the_projects():
    words = (ROOT / "LICENSE").read_text().split()
    assert " ".join(words).endswith(" ".join(standalone.LICENCE.split()))
    assert f"groundup {groundup.__version__}" in standalone.text_of(portable.of(small("llama")))


# --- taking out the choice ---


def folded(text: str) -> str:
    return standalone_fold.fold(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def f(x, kernels='fused'):\n    return g(x, kernels)", "def f(x):\n    return g(x)"),
        ("def f(kernels, x, *, y=1):\n    return g(kernels, x)", "def f(x, *, y=1):\n    return g(x)"),
        ("def f(x, *, kernels='fused'):\n    return g(x, y=1, kernels=kernels)", "def f(x):\n    return g(x, y=1)"),
        ("def f(x, *, kernels='fused', y):\n    return g(kernels=k)", "def f(x, *, y):\n    return g()"),
        ("f(\n    a,\n    kernels=kernels,\n)", "f(\n    a,\n)"),
        ("f(\n    self.kernels,\n    a,\n)", "f(\n    a,\n)"),
        (
            "def f():\n    if is_fused(kernels):\n        # why\n        return 1\n    return 2",
            "def f():\n    # why\n    return 1",
        ),
        ("if is_fused(k):\n    a\nelse:\n    b", "a"),
        ("if not self.is_fused:\n    a\nelse:\n    b", "b"),
        (
            "def f():\n    a\n    if x and torch.is_grad_enabled():\n        b\n    return c",
            "def f():\n    a\n    return c",
        ),
        ("x = a if self.is_fused else b", "x = a"),
        ("def f():\n    self.kernels: Kernels = kernels\n    self.x = 1", "def f():\n    self.x = 1"),
        ("T = Callable[[Tensor, Kernels], Tensor]", "T = Callable[[Tensor], Tensor]"),
        ("x = 'é'; f('é', kernels)  # noqa: E702", "x = 'é'; f('é')"),
        ("a = f(\n    b, kernels=kernels, c=1\n)", "a = f(b, c=1)"),
        ("a = [\n    lambda b, kernels: c\n    for d in e\n]", "a = [lambda b: c for d in e]"),
    ],
)
def test_what_folding_does(before, after):
    assert folded(before) == after


def test_every_answer_and_name_it_knows_is_one_of_our_source():
    text = "\n".join(
        file.read_text() for folder in ("layers", "models") for file in (ROOT / "groundup" / folder).glob("*.py")
    )
    for condition in standalone_fold.CHOSEN:
        assert condition.rstrip(")") in text, condition
    for name in (*standalone_fold.CHOICE, standalone_fold.TYPE_OF_CHOICE, f"{standalone_fold.NEEDLESS}(self)"):
        assert name in text


# --- gathering ---


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Writes modules of a package that counts as ours: modules(leaf="...", whole="...")."""
    monkeypatch.setattr(standalone_inline, "OURS", "pieces")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces" / "__init__.py").touch()

    def write(**text_by_name):
        for name, text in text_by_name.items():
            (tmp_path / "pieces" / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "pieces"]:
        del sys.modules[name]
    standalone_inline.read.cache_clear()


def run(gathered: standalone_inline.Gathered) -> dict:
    names: dict = {}
    exec("\n".join([*gathered.imports, *(section.text for section in gathered.sections)]), names)
    return names


def test_names_that_clash_and_names_that_are_aliases(modules):
    modules(
        leaf="def scale(x):\n    return 2 * x\n\n\ndef twice(x):\n    return scale(x)\n\n\ndef unused():\n    pass\n",
        whole="from pieces.leaf import twice as double\n\n\n"
        "def scale(x):\n    double_ = double(x)\n    return double_ + 1\n\n\n"
        "def whole(double_, scale_=3):\n    return scale(double_) * scale_\n",
    )
    gathered = standalone_inline.gather([("pieces.whole", "whole")])
    assert [section.names for section in gathered.sections] == [["scale", "twice"], ["scale", "whole"]]
    assert run(gathered)["whole"](5) == 33


def test_order_is_that_of_need_and_values_keep_their_words(modules):
    modules(
        leaf='"""Leaf. `unused` is not here.\n\n    a drawing\n\nThe end.\n"""\n\n'
        '# Why two.\nTWO = 2\n"""Two."""\nTHREE = 3\n\nunused = 1\n',
        middle="from pieces.leaf import THREE, TWO\n\nSUM = TWO + THREE\n",
        whole="import math as m\nfrom os.path import join\nfrom pieces.middle import SUM, TWO\n\n\n"
        "def whole():\n    return m.floor(SUM + TWO), join('a', 'b')\n",
    )
    gathered = standalone_inline.gather([("pieces.whole", "whole")])
    assert [section.module for section in gathered.sections] == ["pieces.leaf", "pieces.middle", "pieces.whole"]
    assert gathered.sections[0].text == '# Why two.\nTWO = 2\n"""Two."""\nTHREE = 3'
    assert gathered.sections[0].doc == "Leaf.\n\n    a drawing\n\nThe end."
    assert run(gathered)["whole"]() == (7, "a/b")


def test_what_cannot_be_gathered_is_said(modules):
    modules(
        leaf="x = 1\n",
        whole="from pieces import leaf\n\n\ndef f():\n    return leaf.x\n\n\ndef g():\n    return nowhere\n",
    )
    with pytest.raises(GroundupError, match="leaf is no function, class or value of pieces"):
        standalone_inline.gather([("pieces.whole", "f")])
    with pytest.raises(GroundupError, match="nowhere is used in pieces.whole.g"):
        standalone_inline.gather([("pieces.whole", "g")])
