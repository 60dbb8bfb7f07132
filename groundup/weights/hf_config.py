"""`config.json`: the shape of a model in Hugging Face's terms, both ways. The tensors are huggingface.py's.

Nothing is dropped on the way in. A setting that our models do not compute, or a key that nobody here has heard of, is
an ArtefactError that names it: it may change what the model says. Version 4 of transformers writes RoPE as `rope_theta`
and `rope_scaling`, version 5 as one table `rope_parameters`; both are read, and both are written.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from groundup import config as configs
from groundup import models
from groundup.errors import ArtefactError, UsageError
from groundup.layers.rope import RopeConfig
from groundup.weights.hf_keys import HARMLESS

OWN = "groundup-"
"""Before the name of a family that only groundup knows, so that nobody takes it for another."""

LARGEST = 1 << 62
"""Of a whole number in settings: what every format can write down again."""

ROPE_TABLE = {
    "factor": "factor", "original_max_position_embeddings": "trained_context",
    "low_freq_factor": "low_freq_factor", "high_freq_factor": "high_freq_factor",
    "beta_fast": "beta_fast", "beta_slow": "beta_slow", "attention_factor": "attention_factor",
    "mscale": "mscale", "mscale_all_dim": "mscale_all_dim", "truncate": "truncate",
}  # fmt: skip
ROPE_NAMES = {
    "none": (),
    "linear": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": (
        "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "mscale",
        "mscale_all_dim", "truncate",
    ),
}  # fmt: skip
"""What Hugging Face's table has for each scaling of ours."""

TAKE_ONE_OUT = "take out the one that is not meant"


# --- out ---


def write(config: Any, dtype: str = "float32") -> dict[str, Any]:
    """What config.json says of a Config of ours whose weights are stored in `dtype`."""
    name = models.name_of(config)
    family = models.family(name)
    # Left out, transformers would put ids of its own here, which this vocabulary may not even have.
    usual = {"torch_dtype": dtype, "dtype": dtype, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if hasattr(family, "NOT_ELSEWHERE"):
        return {"model_type": OWN + name, "vocab_size": config.vocab_size, "config": configs.to_dict(config)} | usual
    return {
        "architectures": [family.HF_ARCHITECTURE],
        "model_type": name,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        **family.to_hf_config(config),
        **(_write_rope(config.rope) if hasattr(config, "rope") else {}),
        **usual,
    }


def _write_rope(rope: RopeConfig) -> dict[str, Any]:
    ours = dataclasses.asdict(rope)
    table: dict[str, Any] = {"rope_type": "default" if rope.scaling == "none" else rope.scaling}
    for name in ROPE_NAMES[rope.scaling]:
        value = ours[ROPE_TABLE[name]]
        # 0 stands for "by the formula", which their files say by leaving it out.
        if value or name not in ("attention_factor", "mscale", "mscale_all_dim"):
            table[name] = value
    version_5 = {"rope_parameters": table | {"rope_theta": rope.theta}}
    return version_5 | {"rope_theta": rope.theta} | ({} if rope.scaling == "none" else {"rope_scaling": table})


# --- in ---


def read(content: Mapping[str, Any], where: str | None = None, skipped: list[str] | None = None) -> tuple[str, Any]:
    """(family, Config) that a config.json describes. With `skipped`, unknown keys are put there and not refused."""
    settings = Settings(content, where, skipped)
    name = settings.read("model_type", str)
    if name.startswith(OWN):
        return _read_own(settings, name.removeprefix(OWN))
    known = [each for each in models.names() if not hasattr(models.family(each), "NOT_ELSEWHERE")]
    if name not in known:
        hint = f"supported: {', '.join(known)}"
        raise ArtefactError(f"model_type is {name!r}, which is not supported", where=where, hint=hint)
    settings.must_be("quantization_config", None)
    try:
        config = models.family(name).from_hf_config(settings)
    except ValueError as error:
        raise ArtefactError(f"config.json describes no {name} that can be built: {error}", where=where) from error
    settings.refuse_unknown()
    return name, config


def _read_own(settings: "Settings", name: str) -> tuple[str, Any]:
    try:
        config = configs.from_dict(models.family(name).Config, settings.read("config", dict), "config.json")
    except (UsageError, ValueError) as error:
        raise ArtefactError(f"config.json describes no {name}: {error}", where=settings.where) from error
    settings.must_be("vocab_size", config.vocab_size)
    settings.refuse_unknown()
    return name, config


class Settings:
    """Reads a config.json key by key; a key that is missing, or of another kind, is an ArtefactError.

    `known`: the keys that somebody asked for, and those that are harmless. `skipped`: where the others are put, if they
    are not to be refused.
    """

    def __init__(self, content: Mapping[str, Any], where: str | None = None, skipped: list[str] | None = None):
        if not isinstance(content, Mapping):
            raise ArtefactError("config.json is no table of settings", where=where)
        self.content = content
        self.where = where
        self.skipped = skipped
        self.known = set(HARMLESS)

    def read(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of a key, which may be absent if there is a `default`."""
        self.known.add(key)
        value = self.content.get(key)
        if value is None and default is not ...:
            return default
        if type(value) is int and abs(value) > LARGEST:
            raise ArtefactError(f"{key} is too large a number in config.json", where=self.where)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            what = "is missing" if value is None else f"is {value!r:.80}, and should be of the kind {kind.__name__}"
            raise ArtefactError(f"{key} {what} in config.json", where=self.where)
        return value

    def table(self, key: str) -> "Settings":
        """The settings inside a key; none if it is absent."""
        return Settings(self.read(key, dict, {}), self.where, self.skipped)

    def must_be(self, key: str, *valid: Any) -> None:
        """Refuse a model that needs what ours do not compute. An absent key is as good as the first valid value."""
        self.known.add(key)
        value = self.content.get(key, valid[0])
        if value not in valid:
            only = " or ".join(map(repr, valid))
            raise ArtefactError(f"{key} is {value!r:.80} in config.json; only {only} can be computed", where=self.where)

    def ignore(self, *keys: str) -> None:
        """Keys that change nothing, given what else was read."""
        self.known.update(keys)

    def refuse_unknown(self) -> None:
        """Refuse, or put into `skipped`, what nobody asked for."""
        unknown = [f"{key} = {value!r:.60}" for key, value in self.content.items() if key not in self.known]
        if unknown and self.skipped is not None:
            self.skipped += [f"config.json: {line}" for line in unknown]
        elif unknown:
            raise ArtefactError(
                "config.json has settings that are not known here, and could change what the model says: "
                + ", ".join(unknown),
                where=self.where,
                hint="if they change nothing, --force skips them",
            )

    def rope(self, theta: float = 10_000.0) -> RopeConfig:
        """How positions turn queries and keys, as version 4 or 5 says it; `theta` where neither does.

        Both may say it, as folders for both do, but not two things: each version would take another one.
        """
        self.must_be("rope_interleaved", False)
        self.must_be("partial_rotary_factor", 1.0)
        self.must_be("use_mrope", False)
        stated = self.read("rope_theta", float, None)
        tables = [table for name in ("rope_parameters", "rope_scaling") if (table := self.table(name)).content]
        thetas = {stated, *(table.read("rope_theta", float, None) for table in tables)} - {None}
        if len(thetas) > 1:
            both = " and ".join(map(repr, sorted(thetas)))
            raise ArtefactError(f"rope_theta is both {both} in config.json", where=self.where, hint=TAKE_ONE_OUT)
        theta = thetas.pop() if thetas else theta
        said = [self._read_rope(table, theta) for table in tables or [self.table("rope_scaling")]]
        if said[0] != said[-1]:
            what = "rope_parameters and rope_scaling do not say the same in config.json"
            raise ArtefactError(what, where=self.where, hint=TAKE_ONE_OUT)
        return said[0]

    def _read_rope(self, table: "Settings", theta: float) -> RopeConfig:
        table.must_be("partial_rotary_factor", 1.0)
        kind = table.read("rope_type", str, None) or table.read("type", str, "default")
        scaling = "none" if kind == "default" else kind
        if scaling not in ROPE_NAMES:
            only = ", ".join(repr(name) for name in ("default", *ROPE_NAMES) if name != "none")
            raise ArtefactError(
                f"rope_type is {kind!r:.80} in config.json; only {only} can be computed", where=self.where
            )
        fields: dict[str, Any] = {}
        for name in ROPE_NAMES[scaling]:
            ours = ROPE_TABLE[name]
            default = RopeConfig.__dataclass_fields__[ours].default
            fields[ours] = table.read(name, type(default), default)
        if "trained_context" in fields and not fields["trained_context"]:
            fields["trained_context"] = self.read("max_position_embeddings", int)
        # A table of version 4 that was put into one of version 5 may keep what its type does not use.
        table.known.update({"type", "rope_type", "rope_theta"} | ({"factor"} if scaling == "none" else set()))
        table.refuse_unknown()
        return RopeConfig(theta=theta, scaling=scaling, **fields)
