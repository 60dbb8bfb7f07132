"""Layers of a configuration, strictness, and what a configuration is written as."""

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup import config
from groundup.errors import UsageError


@dataclass(frozen=True)
class Optim:
    """How weights move."""

    lr: float = 1e-3
    """largest learning rate,
    reached after the warm-up"""
    grad_clip: float | None = 1.0
    schedule: Literal["cosine", "linear"] = "cosine"
    seed: int = 1

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr = {self.lr}: must be above 0")


@dataclass(frozen=True)
class Lora:
    rank: int = 8


@dataclass(frozen=True)
class Source:
    path: Path
    weight: float = 1.0


@dataclass(frozen=True)
class Config:
    data: Path
    """text to train on"""
    n_steps: int = 100
    names: tuple[str, ...] = ()
    seed: int = 0
    arch: dict[str, Any] = field(default_factory=dict)
    optim: Optim = field(default_factory=lambda: Optim(lr=0.5))
    lora: Lora | None = None
    sources: tuple[Source, ...] = ()
    out: Path | None = None
    root: Path = Path("runs")
    resume: bool = field(default=False, metadata={"affects_run": False})
    quiet: bool = False


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "run.toml"
    file.write_text(text)
    return file


def test_each_layer_beats_the_one_before(tmp_path: Path) -> None:
    layers: dict[str, Any] = {
        "preset": {"n_steps": 1, "data": "preset", "optim": {"lr": 1.0}},
        "file": write(tmp_path, 'n_steps = 2\ndata = "file"\n[optim]\nlr = 2'),
        "env": {"GROUNDUP_N_STEPS": "3", "GROUNDUP_DATA": "env", "PATH": "/bin"},
        "flags": {"n_steps": "4"},
    }
    expected = [(1, "preset", 1.0), (2, "file", 2.0), (3, "env", 2.0), (4, "env", 2.0)]
    for n, values in enumerate(expected, 1):
        loaded = config.load(Config, **dict(list(layers.items())[:n])).config
        assert (loaded.n_steps, str(loaded.data), loaded.optim.lr) == values


def test_every_value_knows_its_origin(tmp_path: Path) -> None:
    file = write(tmp_path, '# a comment\ndata = "x"\n\n[optim]\n  grad_clip = "none"\n')
    loaded = config.load(Config, file=file, env={"GROUNDUP_OPTIM_SEED": "3"}, flags={"lr": "1e-4"})
    assert loaded.config == Config(data=Path("x"), optim=Optim(lr=1e-4, grad_clip=None, seed=3))
    assert loaded.origins["data"] == f"{file}:2"
    assert loaded.origins["optim.grad_clip"] == f"{file}:5"
    assert loaded.origins["optim.seed"] == "GROUNDUP_OPTIM_SEED"
    assert loaded.origins["optim.lr"] == "--lr"
    assert loaded.origins["n_steps"] == "default"
    assert config.origins_of(loaded.config) == loaded.origins
    assert config.origins_of(Config(data=Path("x"))) == {}


def test_a_table_keeps_the_defaults_that_its_parent_chose() -> None:
    assert config.from_dict(Config, {"data": "x", "optim": {"seed": 2}}, "here").optim == Optim(lr=0.5, seed=2)


def test_an_optional_table_comes_to_be_when_something_is_set_in_it() -> None:
    assert config.from_dict(Config, {"data": "x"}, "here").lora is None
    assert config.from_dict(Config, {"data": "x", "lora": {}}, "here").lora is None
    assert config.load(Config, flags={"data": "x", "lora.rank": "4"}).config.lora == Lora(rank=4)


def test_an_array_of_tables(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "x"\n[[sources]]\npath = "a"\n[[sources]]\npath = "b"\nweight = 2\n')
    assert config.load(Config, file=file).config.sources == (Source(Path("a")), Source(Path("b"), 2.0))
    with pytest.raises(UsageError, match="no setting is called wieght"):
        config.load(Config, file=write(tmp_path, 'data = "x"\nsources = [{path = "a", wieght = 1}]'))


def test_a_free_form_table_is_merged_key_by_key(tmp_path: Path) -> None:
    file = write(tmp_path, 'data = "x"\n[arch]\nn_layers = 2\nd_model = 64\n')
    flags = {"arch": {"n-layers": "4", "rope": {"theta": "1e4"}, "norm": "rms"}}
    arch = config.load(Config, file=file, flags=flags).config.arch
    assert arch == {"n_layers": 4, "d_model": 64, "rope": {"theta": 1e4}, "norm": "rms"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"names": ["a", "b"]}, ("a", "b")),
        ({"names": "a"}, ("a",)),
        ({"names": '["a", "b"]'}, ("a", "b")),
    ],
)
def test_text_for_a_sequence(flags: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert config.load(Config, flags={"data": "x", **flags}).config.names == expected


@dataclass(frozen=True)
class Biased:
    bias: tuple[tuple[int, float], ...] = ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [("7=0.5", ((7, 0.5),)), (["7=-100", "8=1e-3"], ((7, -100.0), (8, 0.001))), ("[[7, 2]]", ((7, 2.0),))],
)
def test_text_for_pairs(given: Any, expected: Any) -> None:
    assert config.load(Biased, flags={"bias": given}).config.bias == expected
    assert config.load(Biased, preset={"bias": [list(pair) for pair in expected]}).config.bias == expected


@pytest.mark.parametrize(
    ("given", "what"), [("7", "expected a pair"), ("x=1", "expected int"), ("7=", "expected float")]
)
def test_text_that_is_no_pair(given: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        config.load(Biased, flags={"bias": given})


@pytest.mark.parametrize(
    ("toml", "what", "where", "hint"),
    [
        ("nsteps = 3", "no setting is called nsteps", ":1", "n_steps"),
        ("\n[optim]\nlearning = 3", "no setting is called optim.learning", ":3", "optim.lr?"),
        ("[optim]\nlr_ = 3", "no setting is called optim.lr_", ":2", "optim.lr?"),
        ("zzzzz = 3", "no setting is called zzzzz", ":1", "valid: data, n_steps, names,"),
        ("grad-clip = 3", "no setting is called grad-clip", ":1", "optim.grad_clip"),
        ('n_steps = "3"', "n_steps = '3': expected int, got str", ":1", None),
        ("n_steps = true", "n_steps = True: expected int, got bool", ":1", None),
        ("optim = 3", "optim is a table, not 3", ":1", "[optim]"),
        ('[optim]\nschedule = "linaer"', "must be one of cosine, linear", ":2", None),
        ("n_steps = ", "not valid TOML", "run.toml", None),
        ("n_steps = 3", "data must be given", "run.toml", "--data VALUE"),
        ('data = "x"\n[optim]\nlr = -1', "optim.lr = -1.0: must be above 0", ":3", None),
        ('data = ""', "data = '': expected path", ":1", None),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path: Path, toml: str, what: str, where: str, hint: str) -> None:
    file = write(tmp_path, toml)
    with pytest.raises(UsageError) as raised:
        config.load(Config, file=file)
    assert what in raised.value.what
    assert "\n" not in raised.value.what
    assert (raised.value.where or "").endswith(where)
    assert (hint or "") in (raised.value.hint or "")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        config.load(Config, file=tmp_path / "absent.toml")
    with pytest.raises(UsageError, match="directory"):
        config.load(Config, file=tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'data = "caf\xe9"')
    with pytest.raises(UsageError, match="UTF-8"):
        config.load(Config, file=tmp_path / "latin.toml")


def test_a_short_name_must_mean_one_field() -> None:
    assert "seed" in config.short_names(Config)  # also the name of a field at the top, which it means
    assert config.load(Config, flags={"data": "x", "seed": "5"}).config.seed == 5
    assert config.load(Config, flags={"data": "x", "seed": "5"}).config.optim.seed == 1
    with pytest.raises(UsageError, match="no setting is called rnak") as raised:
        config.load(Config, flags={"data": "x", "rnak": "5"})
    assert raised.value.hint == "did you mean rank?"


def test_an_unknown_variable_of_the_environment_is_handed_back() -> None:
    loaded = config.load(Config, env={"GROUNDUP_N_STPES": "3", "OTHER": "1"}, flags={"data": "x"})
    assert loaded.unknown_env == ("GROUNDUP_N_STPES",)
    with pytest.raises(UsageError, match="expected int") as raised:
        config.load(Config, env={"GROUNDUP_N_STEPS": "many"}, flags={"data": "x"})
    assert raised.value.where == "GROUNDUP_N_STEPS"


texts = st.text(st.characters(exclude_categories=["Cs"]))
configs = st.builds(
    Config,
    data=st.just(Path("a b/c")),
    n_steps=st.integers(-(2**63), 2**63 - 1),
    names=st.lists(texts).map(tuple),
    arch=st.dictionaries(
        texts, st.one_of(texts, st.booleans(), st.floats(allow_nan=False), st.lists(st.integers(0, 9)))
    ),
    optim=st.builds(Optim, lr=st.floats(1e-9, math.inf), grad_clip=st.none() | st.floats(allow_nan=False)),
    lora=st.none() | st.builds(Lora, rank=st.integers(1, 64)),
    sources=st.lists(st.builds(Source, path=st.just(Path("p")))).map(tuple),
    out=st.none() | st.just(Path("/somewhere")),
)


@settings(max_examples=60, deadline=None)
@given(configs)
def test_toml_reads_back_as_the_same_configuration(value: Config) -> None:
    text = config.to_toml(value, dict.fromkeys(config.leaves(Config), "a flag"))
    assert config.from_dict(Config, tomllib.loads(text), "here") == value
    assert config.from_dict(Config, config.to_dict(value), "here") == value


def test_toml_says_where_values_came_from() -> None:
    loaded = config.load(Config, flags={"data": "x", "lr": "0.1"})
    lines = config.to_toml(loaded.config, loaded.origins).splitlines()
    assert 'data = "x"  # --data' in lines
    assert lines[lines.index("[optim]") + 1] == "lr = 0.1  # --lr"
    assert 'lora = "none"' in lines


def test_the_hash_is_of_what_the_run_computes() -> None:
    one = Config(data=Path("x"))
    assert config.config_hash(one) == config.config_hash(config.replace(one, "asked", quiet=True, resume=True))
    assert config.config_hash(one) != config.config_hash(config.replace(one, "asked", seed=1))
    assert config.config_hash(one) == "e0a5bcbcb1f61859030a54f03c573a30"


def test_a_replaced_value_says_why() -> None:
    loaded = config.load(Config, flags={"data": "x", "seed": "2"}).config
    faster = config.replace(loaded, "calibration", n_steps=7, optim=Optim(lr=0.1))
    assert faster.n_steps == 7
    origins = config.origins_of(faster)
    assert (origins["n_steps"], origins["optim.lr"], origins["seed"]) == ("calibration", "calibration", "--seed")


def test_json_schema_describes_every_field() -> None:
    schema = config.json_schema(Config)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["required"] == ["data"]
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(msgspec.to_builtins(Config(data=Path("x")), enc_hook=str))
    properties = schema["properties"]
    assert properties["data"] == {"type": "string", "format": "path", "description": "text to train on"}
    assert properties["root"] == {"type": "string", "format": "path", "default": "runs"}
    assert properties["optim"]["title"] == "Optim"
    assert properties["optim"]["properties"]["lr"] == {
        "type": "number",
        "description": "largest learning rate, reached after the warm-up",
        "default": 1e-3,
    }
    assert properties["optim"]["properties"]["schedule"]["enum"] == ["cosine", "linear"]
    assert properties["out"]["anyOf"][1] == {"const": "none"}
    assert properties["sources"]["items"]["properties"]["weight"]["default"] == 1.0


def test_bytes_that_no_locale_could_read_are_refused_with_the_cure():
    with pytest.raises(UsageError, match="is not text") as told:
        config.to_toml(config.from_dict(Named, {"name": "caf\udce9"}, "test"))
    assert "PYTHONUTF8" in str(told.value.hint)


@dataclass(frozen=True)
class Named:
    name: str = ""
