"""No false alarm on healthy models; golden tensors; models of one's own. The faults are in test_verify_zoo.py."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from groundup import models
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.insight.verify import compare, differences, folders, golden, judges, names, recording, textbook
from groundup.layers.initialise import initialise
from groundup.layers.linear import Linear
from groundup.layers.rope import RopeConfig
from groundup.models import gpt2, llama
from groundup.weights import checkpoint, huggingface, portable

SHAPE = {"vocab_size": 53, "context_length": 64, "n_layers": 2, "d_model": 24, "n_heads": 6, "dropout": 0.0}
ELSEWHERE = [name for name in models.names() if hasattr(models.family(name), "HF_ARCHITECTURE")]
SCALINGS = [
    RopeConfig(theta=500_000.0),
    RopeConfig(scaling="linear", factor=4.0),
    RopeConfig(theta=500_000.0, scaling="llama3", factor=8.0, trained_context=16),
    RopeConfig(scaling="yarn", factor=8.0, trained_context=16),
    RopeConfig(scaling="yarn", factor=8.0, trained_context=16, mscale=1.0, mscale_all_dim=0.7, truncate=False),
]


def has(name: str, *fields: str) -> bool:
    return set(fields) <= {field.name for field in dataclasses.fields(models.family(name).Config)}


def small(name: str, spread: float = 0.3, **fields: Any) -> Any:
    shape = SHAPE | ({"n_kv_heads": 2} if has(name, "n_kv_heads") else {}) | fields
    model = models.family(name).Model(models.family(name).Config(**shape))
    initialise(model, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=spread)
    return model.eval()


def verified(folder: Path, model: Any, dtype: torch.dtype | None = None) -> Any:
    folder.mkdir(exist_ok=True)
    huggingface.write(folder, portable.of(model), dtype)
    return folders.verify(folder)


def assert_healthy(report: Any, n_least: int = 30) -> None:
    assert report.healthy, (report.first, report.failed)
    assert all(check.passed for check in report.checks)
    assert len(report.of_kind("activation")) >= n_least
    # Far from the border, not by luck.
    assert max(each.error / each.allowed for each in report.differences) < 0.5


# --- no false alarm ---


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize(
    "fields",
    [{}, {"tie_embeddings": False}, {"n_layers": 1, "context_length": 5}, {"n_heads": 1, "n_kv_heads": 1}],
    ids=["tied", "untied", "short", "one head"],
)
def test_healthy_families(name, fields, tmp_path):
    pytest.importorskip("transformers")
    fields = {key: value for key, value in fields.items() if has(name, key)}
    assert_healthy(verified(tmp_path / "model", small(name, **fields)), n_least=18)


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if has(name, "rope")])
@pytest.mark.parametrize("rope", SCALINGS, ids=lambda rope: f"{rope.scaling}")
def test_healthy_positions(name, rope, tmp_path):
    pytest.importorskip("transformers")
    assert_healthy(verified(tmp_path / "model", small(name, rope=rope)))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_healthy_as_training_begins_and_rounded(name, tmp_path):
    """Where norms are one, biases zero and everything is small; and kept in bf16, which both then widen."""
    pytest.importorskip("transformers")
    fresh = models.build(name, "nano", {"vocab_size": 53}, seed=0).eval()
    assert_healthy(verified(tmp_path / "fresh", fresh))
    assert_healthy(verified(tmp_path / "bf16", small(name), torch.bfloat16))


def shapes_of_presets(name: str) -> list[Any]:
    """Every preset with its own heads, norms and positions, and little of what only makes it large."""
    found = []
    for preset in models.family(name).PRESETS.values():
        fields = {"vocab_size": 40, "context_length": 40, "n_layers": 1, "d_ff": 24, "dropout": 0.0}
        fields |= {"d_model": 4 * preset.n_heads}
        fields |= (
            {"head_dim": 8 if preset.head_dim > preset.d_model // preset.n_heads else 4}
            if has(name, "head_dim")
            else {}
        )
        fields |= {"n_experts": 4} if has(name, "n_experts") else {}
        small_one = dataclasses.replace(preset, **fields)
        found += [small_one] if small_one not in found and preset.n_heads <= 64 else []
    return found


@pytest.mark.parametrize("name", ELSEWHERE)
def test_healthy_presets(name, tmp_path):
    pytest.importorskip("transformers")
    for n, config in enumerate(shapes_of_presets(name)):
        model = models.family(name).Model(config)
        initialise(model, seed=n)
        assert_healthy(verified(tmp_path / str(n), model.eval()), n_least=18)


def test_healthy_with_another_activation_and_padding(tmp_path):
    """transformers gives the embedding of the id of padding no gradient; that is no fault of ours."""
    pytest.importorskip("transformers")
    assert_healthy(verified(tmp_path / "gelu", small("gpt2", activation="gelu")))
    verified(tmp_path / "padded", small("llama"))
    file = tmp_path / "padded" / "config.json"
    file.write_text(file.read_text().replace('"pad_token_id": null', '"pad_token_id": 3'))
    assert '"pad_token_id": 3' in file.read_text()
    assert_healthy(folders.verify(tmp_path / "padded"))


def test_healthy_gguf(tmp_path):
    """Read by two programs, each in its own way."""
    pytest.importorskip("transformers")
    gguf = pytest.importorskip("groundup.weights.gguf")
    pytest.importorskip("gguf")
    gguf.write(tmp_path / "model.gguf", portable.of(small("llama")), "F32")
    assert_healthy(folders.verify(tmp_path / "model.gguf"))


def test_a_window_that_the_probe_is_too_short_for_is_said():
    report = compare(small("mixtral", window=2000, context_length=4000), None)
    assert report.healthy
    assert report.notes == ["the probe has 48 ids: a sliding window of 2,000 does not show in it"]


def test_a_judge_that_computes_what_we_do_not():
    """GELU by erf in another program: our code is right by its own equations, and so are the weights."""
    ours, judge = small("gpt2"), small("gpt2")
    for block in judge.blocks:
        block.mlp.activate = torch.nn.functional.relu
        block.mlp.forward = lambda x, mlp=block.mlp: mlp.down_proj(mlp.up_proj(x).relu())
    report = compare(ours, judge)
    assert report.faults == ["wrong activation"]
    assert report.causes[0].place == "judge"


def test_too_large_to_compare(tmp_path, monkeypatch):
    verified(tmp_path / "model", small("llama"))
    monkeypatch.setattr(folders, "n_parameters", lambda path: 10**15)
    with pytest.raises(EnvironmentFault, match="comparing takes 16000000.0 GB"):
        folders.verify(tmp_path / "model")


def test_healthy_windows(tmp_path):
    pytest.importorskip("transformers")
    for window in (1, 7, 48, 60):
        report = verified(tmp_path / str(window), small("mixtral", window=window, context_length=128))
        assert_healthy(report)


def test_deep_and_wide_models_keep_clear_of_the_border():
    """Rounding grows with depth and width, and what is allowed with it. The judge is the same model, other kernels."""
    for fields in ({"n_layers": 24}, {"d_model": 768, "n_heads": 12, "n_kv_heads": 4}):
        model = small("llama", 0.02, **fields)
        other = llama.Model(model.config, kernels="textbook")
        other.load_state_dict(model.state_dict())
        report = compare(model, other)
        assert_healthy(report)
        assert report.of_kind("activation")[-1].error > 0


# --- who judges ---


def test_without_transformers_the_equations_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "has_transformers", lambda: False)
    for name in ELSEWHERE:
        report = verified(tmp_path / name, small(name))
        assert_healthy(report)
        assert report.judge == "the equations, written out"
        assert "transformers is not installed" in report.notes

    monkeypatch.setattr(
        gpt2.Block, "forward", lambda self, x, rotation=None, mask=None, cache=None: x + self.attn(x, mask)
    )
    report = folders.verify(tmp_path / "gpt2")
    assert report.first.name == "blocks.0.attn.q_proj"
    assert "The fault is in the code" in report.rest


def test_families_that_nobody_else_knows_are_asked_what_needs_no_judge(tmp_path):
    for name in set(models.names()) - set(ELSEWHERE):
        checkpoint.save(tmp_path / name, small(name))
        report = folders.verify(tmp_path / name)
        assert report.healthy
        assert report.judge is None
        assert "no other program can run it" in report.notes[0]
        assert [check.name for check in report.checks if check.passed][:4] == [
            "finite", "causal", "batch = single", "cached = full",
        ]  # fmt: skip


def test_another_folder_judges(tmp_path, monkeypatch):
    original, converted = tmp_path / "original", tmp_path / "converted"
    checkpoint.save(original, small("llama"))
    checkpoint.save(converted, small("llama"))
    assert folders.verify(converted, original).judge == f"{judges.name_of_transformers()}, {original}"

    monkeypatch.setattr(judges, "has_transformers", lambda: False)
    report = folders.verify(converted, original)
    assert_healthy(report)
    assert report.judge == f"groundup, {original}"
    assert "shares our code" in report.notes[0]


# --- golden tensors ---


@pytest.mark.parametrize("name", ELSEWHERE)
def test_golden_tensors_take_the_place_of_transformers(name, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    folder = tmp_path / "model"
    verified(folder, small(name))
    folders.write_golden(folder, folder / golden.NAME)
    monkeypatch.setattr(judges, "has_transformers", lambda: False)
    report = folders.verify(folder)

    assert_healthy(report)
    assert report.judge.startswith("golden tensors of transformers")
    assert len(report.of_kind("gradient")) == len(list(small(name).parameters()))


def test_golden_tensors_find_causes(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    right = small("llama", rope=SCALINGS[2])
    verified(tmp_path / "right", right)
    file = tmp_path / "right.safetensors"
    folders.write_golden(tmp_path / "right", file)
    monkeypatch.setattr(judges, "has_transformers", lambda: False)

    wrong = llama.Model(dataclasses.replace(right.config, rope=dataclasses.replace(right.config.rope, theta=10_000.0)))
    wrong.load_state_dict(right.state_dict())
    verified(tmp_path / "wrong", wrong)
    report = folders.verify(tmp_path / "wrong", file)
    assert report.faults == ["wrong RoPE theta"]
    assert report.causes[0].is_whole


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda m: m.bfloat16().float(), "rounded to bf16"),
        (lambda m: tied(m), "the output head is another, tied here and a matrix of its own there"),
    ],
)
def test_without_the_judges_weights_the_place_says_what_it_can(wrong, said):
    judge = small("llama", tie_embeddings=False)
    found = judges.record_judge(judge, judge, recording.probe_ids(judge.config), [], "golden")
    found.weights = {}
    report = compare(wrong(small("llama", tie_embeddings=False)), found)
    assert report.faults == ["unexplained difference"]
    assert said in report.rest


def tied(model: Any) -> Any:
    other = type(model)(dataclasses.replace(model.config, tie_embeddings=True))
    other.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"})
    return other


def test_a_recording_comes_back_whole(tmp_path):
    model = small("gpt2")
    ids = recording.probe_ids(model.config)
    made = recording.record(model, ids, names.own_modules(model), who="me")
    golden.write(tmp_path / "golden.safetensors", made)
    back = golden.read(tmp_path / "golden.safetensors")

    assert back.who == "me"
    assert back.config == model.config
    assert list(back.activations) == list(made.activations)
    assert all(torch.equal(tensor, back.gradients[name]) for name, tensor in made.gradients.items())


def test_what_is_no_golden_file(tmp_path):
    file = tmp_path / "some.safetensors"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(ArtefactError, match="is damaged"):
        golden.read(file)
    golden.safetensors.torch.save_file({"a": torch.ones(2)}, file)
    with pytest.raises(ArtefactError, match="holds no golden tensors"):
        golden.read(file)
    golden.safetensors.torch.save_file({"a": torch.ones(2)}, file, metadata={"format": golden.FORMAT, "order": "[]"})
    with pytest.raises(ArtefactError, match="is damaged"):
        golden.read(file)


@pytest.mark.parametrize("n_experts", [3, 6])
def test_golden_tensors_find_permuted_experts(n_experts):
    """The judge's weights cannot be seen there, so orders are tried: all of a few, the near ones of many."""
    judge = small("mixtral", n_experts=n_experts)
    found = judges.record_judge(judge, judge, recording.probe_ids(judge.config), [], "golden")
    found.weights = {}
    ours = small("mixtral", n_experts=n_experts)
    for block in ours.blocks:
        block.mlp.experts = nn.ModuleList([*block.mlp.experts[2:], *block.mlp.experts[:2]])
    report = compare(ours, found)
    assert report.faults == ["permuted experts"]
    assert report.causes[0].is_whole


def test_what_transformers_cannot_open(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": "wide"}')
    with pytest.raises(EnvironmentFault, match="transformers cannot open it"):
        judges.open_transformers(tmp_path)


def test_golden_tensors_are_not_our_own(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "model", small("llama"))
    monkeypatch.setattr(judges, "has_transformers", lambda: False)
    with pytest.raises(EnvironmentFault, match="another program's"):
        folders.write_golden(tmp_path / "model", tmp_path / "golden.safetensors")


# --- models of one's own ---


class OwnBlock(nn.Module):
    """Somebody's first transformer, with their own names and one mistake to make."""

    def __init__(self, d_model: int, n_heads: int, is_scaled: bool):
        super().__init__()
        self.n_heads, self.is_scaled = n_heads, is_scaled
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in "qkvo")
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x):
        B, T, C = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(B, T, self.n_heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.mT / ((C // self.n_heads) ** 0.5 if self.is_scaled else 1)
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        x = x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class OwnModel(nn.Module):
    def __init__(self, config, is_scaled: bool = True):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.places = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(OwnBlock(config.d_model, config.n_heads, is_scaled) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


OWN_NAMES = {
    "tok_embed": "tokens", "pos_embed": "places", "final_norm": "norm",
    "blocks.{}.attn_norm": "blocks.{}.norm1", "blocks.{}.mlp_norm": "blocks.{}.norm2",
    "blocks.{}.attn.q_proj": "blocks.{}.q", "blocks.{}.attn.k_proj": "blocks.{}.k",
    "blocks.{}.attn.v_proj": "blocks.{}.v", "blocks.{}.attn.o_proj": "blocks.{}.o",
    "blocks.{}.mlp.up_proj": "blocks.{}.up", "blocks.{}.mlp.down_proj": "blocks.{}.down",
}  # fmt: skip


def own(judge: Any, **given: Any) -> OwnModel:
    model = OwnModel(judge.config, **given)
    weights = dict(judge.named_parameters())
    with torch.no_grad():
        for theirs, ours in OWN_NAMES.items():
            for layer in range(judge.config.n_layers):
                for kind in ("weight", "bias"):
                    if f"{theirs.format(layer)}.{kind}" in weights:
                        model.get_parameter(f"{ours.format(layer)}.{kind}").copy_(
                            weights[f"{theirs.format(layer)}.{kind}"]
                        )
    return model


def test_a_model_of_ones_own_is_held_to_another():
    judge = small("gpt2")
    report = compare(own(judge), judge, modules=OWN_NAMES)
    assert report.healthy
    assert len(report.of_kind("gradient")) == len(list(judge.parameters()))
    assert {check.name for check in report.checks if check.passed is None} == {
        "batch = single", "cached = full", "loss ignores padding",
    }  # fmt: skip

    report = compare(own(judge, is_scaled=False), judge, modules=OWN_NAMES)
    assert report.first.name == "blocks.0.o (input)"
    assert not report.healthy


def test_a_model_with_our_names_is_told_its_fault():
    """Whoever names the parts as the families do gets the cause too, without a table."""
    judge = small("llama")

    class Model(llama.Model):
        def hidden(self, ids, **given):
            return super().hidden(ids, **given) * 1.0 + 0.0

    mine = Model(judge.config)
    mine.load_state_dict(judge.state_dict())
    assert compare(mine, judge).healthy
    for block in mine.blocks:
        block.attn.scale = 1.0
    report = compare(mine, judge)
    assert report.faults == ["missing scale"]
    assert report.causes[0].place == "code"


def test_models_are_compared_in_fp32():
    with pytest.raises(UsageError, match="tok_embed.weight is bfloat16 on cpu"):
        compare(small("llama"), small("llama").bfloat16())


def test_a_comparison_leaves_the_models_as_they_were():
    ours, judge = small("llama").train(), small("llama").eval()
    before = ours.tok_embed.weight.clone()
    assert compare(ours, judge).healthy
    assert (ours.training, judge.training) == (True, False)
    assert torch.equal(ours.tok_embed.weight, before)
    assert ours.tok_embed.weight.grad is None
    assert not any(module._forward_hooks for module in ours.modules())


def test_configurations_that_differ_without_effect_are_said():
    ours, judge = (small("mixtral", window=window, context_length=5000) for window in (2000, 3000))
    report = compare(ours, judge)
    assert report.healthy
    assert report.notes[1].endswith("though it does not show: window is 2000 here and 3000 there")


def test_a_model_without_a_config():
    class Bigram(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)))

        def forward(self, ids):
            return self.table[ids]

    with pytest.raises(UsageError, match="no config that says which ids it knows"):
        compare(Bigram(), Bigram())
    report = compare(Bigram(), Bigram(), ids=torch.arange(8).view(2, 4))
    assert report.healthy
    assert len(report.of_kind("gradient")) == 1
    assert report.notes == ["only the logits were compared: no module of the judge has a name that is known"]


def test_models_with_nothing_in_common():
    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = llama.PRESETS["nano"]
            self.table = nn.Parameter(torch.randn(4096, 4096))

        def forward(self, ids):
            return self.table[ids]

    judge = small("llama", vocab_size=4096)
    report = compare(Nothing(), judge)
    assert report.first.name == "logits"
    assert report.causes == []
    assert "two shapes" in report.rest


# --- its parts ---


def test_the_equations_are_those_of_every_family():
    """Every tensor and gradient of the textbook, which a fault is looked for with, is the model's."""
    cases = (
        [(name, {}) for name in ELSEWHERE]
        + [("llama", {"rope": rope}) for rope in SCALINGS]
        + [("mixtral", {"window": 9})]
    )
    for name, fields in cases:
        report = compare(small(name, **fields), None)
        assert_healthy(report)
        assert report.judge == "the equations, written out"


def test_the_equations_know_what_they_do_not_know():
    assert not textbook.knows(models.build("fast", "nano", {}, seed=0))
    model = small("gpt2")
    model.extra = Linear(3, 3)
    assert not textbook.knows(model)


def test_ids_of_the_probe():
    config = llama.Config(vocab_size=10, context_length=20)
    ids = recording.probe_ids(config)
    assert ids.shape == (2, 20)
    assert torch.equal(ids, recording.probe_ids(config))
    assert not (recording.probe_ids(config, avoid=3) == 3).any()
    smaller = dataclasses.replace(config, vocab_size=4, context_length=7)
    assert recording.probe_ids(config, smaller).max() == 3
    assert recording.probe_ids(config, smaller).shape == (2, 7)
    assert recording.probe_ids(dataclasses.replace(config, context_length=999)).shape == (2, 48)


def test_errors_are_relative_and_infinities_are_seen():
    one = torch.tensor([1.0, 2.0, 4.0])
    assert differences.relative_error(one * 1.01, one) == pytest.approx(0.01)
    assert differences.relative_error(one, one) == 0
    assert differences.relative_error(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0])) == float("inf")
    assert differences.relative_error(torch.tensor([torch.inf, 1.0]), torch.tensor([torch.inf, 1.0])) == 0


def test_pairs_of_modules_follow_from_those_with_weights():
    pairs = names.pairs(small("gpt2"))
    paths = names.modules_by_path(pairs)
    assert paths["transformer.h.1.attn"] == ("blocks.1.attn",)
    assert paths["transformer.h.1"] == ("blocks.1",)
    assert paths["transformer.h.0.attn.c_attn"] == tuple(f"blocks.0.attn.{x}_proj" for x in "qkv")


def test_checks_that_fail_by_themselves():
    model = small("llama")
    with torch.no_grad():
        model.blocks[1].mlp.up_proj.weight[0, 0] = torch.nan
    report = compare(model, None)
    assert "blocks.1.mlp.up_proj.weight holds NaN" in report.failed[0].sentence
    assert report.faults == ["weights that are not finite"]


def test_an_unknown_path(tmp_path):
    with pytest.raises(UsageError):
        folders.verify(tmp_path / "nothing")
