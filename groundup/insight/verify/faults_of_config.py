"""Faults of configuration: the right weights and code, and a number in config.json that is not theirs.

The judge's own configuration is tried first, where it is known, then the values that are usual.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from groundup import config as configs
from groundup.insight.verify.hypotheses import Case, Hypothesis

THETAS = (10_000.0, 100_000.0, 130_000.0, 500_000.0, 1_000_000.0, 5_000_000.0, 10_000_000.0)
GELUS = ("gelu_tanh", "gelu")
EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)

SCALED = {"none": "no scaling", "linear": "linear scaling", "llama3": "llama3 scaling", "yarn": "YaRN"}
HEADS = ("n_heads", "n_kv_heads", "head_dim")
HINT = "mend config.json: it has to say what the weights were trained with"


def hypotheses(case: Case) -> Iterator[Hypothesis]:
    ours = flat(case.config)
    seen: list[dict[str, Any]] = []
    for fields in (*from_judge(ours, flat(case.judge.config)), *usual(case, ours)):
        if fields not in seen and any(ours.get(name, value) != value for name, value in fields.items()):
            seen.append(fields)
            yield Hypothesis(fault_of(fields, ours), sentence_of(fields, ours), HINT, fields=fields)


def flat(config: Any) -> dict[str, Any]:
    """Every value of a Config by its dotted name, with those that follow from others."""
    if not dataclasses.is_dataclass(config):
        return {}  # somebody's own, of which nothing is known
    found: dict[str, Any] = {}
    for name, value in configs.to_dict(config).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            found[name] = value
    return found | {name: getattr(config, name) for name in HEADS if hasattr(config, name)}


def from_judge(ours: dict[str, Any], judge: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What differs, one value at a time; what belongs together (heads, RoPE's scaling), together."""
    differing = {name: value for name, value in judge.items() if name in ours and ours[name] != value}
    heads = {name: value for name, value in differing.items() if name in HEADS}
    scaling = {name: value for name, value in differing.items() if name.startswith("rope.") and name != "rope.theta"}
    rope = {name: value for name, value in differing.items() if name.startswith("rope.")}
    yield from (fields for fields in (heads, scaling, rope) if fields)
    without_effect = ("context_length", "dropout", *heads, *scaling)
    yield from ({name: value} for name, value in differing.items() if name not in without_effect)


def usual(case: Case, ours: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"norm_eps": value} for value in EPSILONS)
    if ours.get("activation") in GELUS:
        yield from ({"activation": value} for value in GELUS)
    if "rope.theta" in ours:
        yield from ({"rope.theta": value} for value in THETAS)
    if "rope.scaling" in ours:
        yield {"rope.scaling": "none", "rope.factor": 1.0}
        if ours["rope.scaling"] != "none":
            trained = ours.get("rope.trained_context") or ours.get("context_length", 0)
            yield from (
                {"rope.scaling": kind, "rope.trained_context": trained} for kind in ("linear", "llama3", "yarn")
            )
    if all(name in ours for name in HEADS):
        yield from _other_heads(case, ours)


def _other_heads(case: Case, ours: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same widths of queries and keys, cut into another number of heads."""
    q, kv = ours["n_heads"] * ours["head_dim"], ours["n_kv_heads"] * ours["head_dim"]
    for head_dim in range(2, q + 1):
        is_whole = q % head_dim == 0 and kv % head_dim == 0 and (q // head_dim) % (kv // head_dim) == 0
        if is_whole and (head_dim % 2 == 0 or "rope.theta" not in ours) and "q_norm" not in str(list(case.weights)):
            yield {"n_heads": q // head_dim, "n_kv_heads": kv // head_dim, "head_dim": head_dim}


def other_shapes(case: Case) -> str:
    """The sizes in which the two configurations differ, "n_layers is 2 here and 4 there"; empty where they do not."""
    ours, judge = flat(case.config), flat(case.judge.config)
    sizes = ("vocab_size", "n_layers", "d_model", "d_ff", "n_experts")
    differing = [name for name in sizes if name in ours and name in judge and ours[name] != judge[name]]
    return ", ".join(f"{name} is {ours[name]} here and {judge[name]} there" for name in differing)


def without_effect(ours: Any, judge: Any) -> str:
    """What differs between the configurations of two models that compute the same; empty where nothing does."""
    here, there = flat(ours), flat(judge)
    differing = [name for name in here if name in there and here[name] != there[name] and name != "dropout"]
    return ", ".join(f"{name} is {_shown(here[name])} here and {_shown(there[name])} there" for name in differing)


def fault_of(fields: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    if "head_dim" in fields or "n_heads" in fields:
        return "wrong head_dim"
    if "rope.scaling" in fields:
        return f"{SCALED.get(ours.get('rope.scaling', ''), 'a scaling')} in place of {SCALED[fields['rope.scaling']]}"
    known = {
        "norm_eps": "wrong norm epsilon", "rope.theta": "wrong RoPE theta", "window": "wrong sliding window",
        "activation": "GELU variant", "n_kv_heads": "wrong number of key-value heads",
        "n_active": "wrong number of active experts",
    }  # fmt: skip
    named = [known[name] for name in fields if name in known]
    if named:
        return named[0]
    return "wrong RoPE scaling" if any(name.startswith("rope.") for name in fields) else f"wrong {next(iter(fields))}"


def sentence_of(fields: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What is said here, and what would be right: "norm_eps is 1e-06, and 1e-05 would be right"."""
    parts = [(name, ours.get(name), value) for name, value in fields.items() if ours.get(name, value) != value]
    here = ", ".join(f"{name} = {_shown(value)}" for name, value, _ in parts)
    right = ", ".join(f"{name} = {_shown(value)}" for name, _, value in parts)
    return f"the configuration says {here}; the numbers come out with {right}"


def in_code(fields: Mapping[str, Any], config: Any) -> tuple[str, str]:
    """(fault, sentence) of code that computes with these values, whatever the configuration says."""
    ours = flat(config)
    differing = {name: value for name, value in fields.items() if ours.get(name, value) != value}
    computed = ", ".join(f"{name} = {_shown(value)}" for name, value in differing.items())
    said = ", ".join(f"{name} = {_shown(ours.get(name))}" for name in differing)
    fault = fault_of({name: ours.get(name) for name in fields}, dict(fields))
    return fault, f"the code computes with {computed}, and the configuration says {said}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
    return str(value)
