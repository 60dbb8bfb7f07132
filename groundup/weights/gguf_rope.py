"""RoPE in GGUF's metadata, both ways.

none     rope.freq_base
linear   .scaling.type and .scaling.factor
yarn     the same with .scaling.original_context_length. llama.cpp takes beta_fast as 32 and beta_slow as 1, whatever is
         written; queries and keys grow by 0.1 · ln(factor) + 1, times .scaling.attn_factor
llama3   has no key. By how much each pair is slowed down stands in the tensor `rope_freqs.weight`, for architecture
         "llama" only; from these numbers the settings are found again

Source: llama.cpp, `src/llama-model.cpp`, `src/llama-context.cpp`, `conversion/base.py`, `conversion/llama.py`.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from groundup.errors import ArtefactError, UsageError
from groundup.layers.rope import SCALINGS, RopeConfig, attention_factor

FREQUENCIES = "rope_freqs.weight"

YARN_BETAS = (32.0, 1.0)

CLOSE = 1e-5
"""Relative, of frequencies: numbers in 32 bits that were computed in two ways."""


# --- out ---


def to_metadata(rope: RopeConfig, head_dim: int, architecture: str) -> tuple[dict[str, Any], np.ndarray | None]:
    """The keys, without the architecture before them, and the numbers of `rope_freqs.weight` if it needs them.

    UsageError on what llama.cpp does not compute.
    """
    said: dict[str, Any] = {"rope.freq_base": float(rope.theta)}
    if rope.scaling == "llama3":
        if architecture != "llama":
            raise UsageError(f'llama.cpp computes rope.scaling = "llama3" in a Llama only, not in a {architecture}')
        return said, slowed_by(rope, head_dim).astype(np.float32)
    if rope.scaling != "none":
        said |= {"rope.scaling.type": rope.scaling, "rope.scaling.factor": float(rope.factor)}
    if rope.scaling == "yarn":
        said |= _yarn(rope)
    return said, None


def _yarn(rope: RopeConfig) -> dict[str, Any]:
    if (rope.beta_fast, rope.beta_slow) != YARN_BETAS or not rope.truncate:
        raise UsageError(
            "llama.cpp computes YaRN with beta_fast 32, beta_slow 1 and whole pairs only; this model has "
            f"{rope.beta_fast:g}, {rope.beta_slow:g} and truncate = {rope.truncate}"
        )
    said: dict[str, Any] = {"rope.scaling.original_context_length": rope.trained_context}
    said["rope.scaling.yarn_beta_fast"], said["rope.scaling.yarn_beta_slow"] = YARN_BETAS
    if attention_factor(rope) != _usual_growth(rope):
        # The first is what llama.cpp's converter writes, the second what llama.cpp reads.
        said["rope.scaling.yarn_attn_factor"] = attention_factor(rope)
        said["rope.scaling.attn_factor"] = attention_factor(rope) / _usual_growth(rope)
    return said


def _usual_growth(rope: RopeConfig) -> float:
    return attention_factor(replace(rope, attention_factor=0.0, mscale=0.0, mscale_all_dim=0.0))


def slowed_by(rope: RopeConfig, head_dim: int) -> np.ndarray:
    """How many times slower each pair turns than without scaling, float64 (head_dim / 2,)."""
    frequencies = _frequencies(rope.theta, head_dim)
    return frequencies / SCALINGS[rope.scaling](torch.from_numpy(frequencies), rope).numpy()


def _frequencies(theta: float, head_dim: int) -> np.ndarray:
    return theta ** -(np.arange(0, head_dim, 2) / head_dim)


# --- in ---


def from_keys(keys: Any, context_length: int, head_dim: int, factors: np.ndarray | None) -> RopeConfig:
    """The settings that `keys` (gguf_config.Keys) say, and `factors`, the numbers of `rope_freqs.weight`.

    ArtefactError on a scaling that is not known here; ValueError on impossible numbers.
    """
    theta = keys.read("rope.freq_base", float, 10_000.0)
    stated_factor = keys.read("rope.scaling.factor", float, 0.0) or keys.read("rope.scale_linear", float, 0.0) or 1.0
    scaling = keys.read("rope.scaling.type", str, "none" if stated_factor == 1 else "linear")
    if scaling not in ("none", "linear", "yarn"):
        keys.refuse(f"rope.scaling.type is {scaling!r}, which is not supported")
    factor = 1.0 if scaling == "none" else stated_factor
    trained_context = keys.read("rope.scaling.original_context_length", int, context_length)

    if factors is not None and not np.allclose(factors, 1, rtol=0, atol=CLOSE):
        if factor != 1:
            keys.refuse(f"the file scales RoPE twice, by rope.scaling.type and by {FREQUENCIES}")
        return _llama3(theta, head_dim, factors.astype(np.float64), trained_context, keys)
    if scaling == "yarn":
        return _read_yarn(keys, RopeConfig(theta=theta, scaling="yarn", factor=factor, trained_context=trained_context))
    keys.must_be("rope.scaling.attn_factor", 1.0)
    return RopeConfig(theta=theta, scaling="none" if factor == 1 else "linear", factor=factor)


def _read_yarn(keys: Any, rope: RopeConfig) -> RopeConfig:
    keys.must_be("rope.scaling.yarn_ext_factor", 1.0, -1.0)
    rope = replace(
        rope,
        beta_fast=keys.read("rope.scaling.yarn_beta_fast", float, YARN_BETAS[0]),
        beta_slow=keys.read("rope.scaling.yarn_beta_slow", float, YARN_BETAS[1]),
    )
    growth = keys.read("rope.scaling.yarn_attn_factor", float, 0.0) or attention_factor(rope)
    growth = keys.read("rope.scaling.attn_factor", float, growth / attention_factor(rope)) * attention_factor(rope)
    return (
        rope if math.isclose(growth, attention_factor(rope), rel_tol=CLOSE) else replace(rope, attention_factor=growth)
    )


def _llama3(theta: float, head_dim: int, factors: np.ndarray, trained_context: int, keys: Any) -> RopeConfig:
    """The settings of llama3 that slow the pairs down by these factors.

    Between the pairs that are left alone (1) and those slowed down in full (the largest factor) lie some of which a
    share is kept: (turns - low) / (high - low), where turns = trained_context · frequency / 2π. Through these shares
    goes a line. It says two of the three numbers; the third, `low`, is 1 in every model there is.
    """
    factor = float(factors.max())
    candidates = [(trained_context, 4.0), (8192, 4.0)]
    if len(factors) == head_dim // 2 and factor > 1:
        is_between = (factors > 1 + CLOSE) & (factors < factor * (1 - CLOSE))
        per_position = _frequencies(theta, head_dim)[is_between] / (2 * math.pi)
        shares = (1 / factors[is_between] - 1 / factor) / (1 - 1 / factor)
        if len(shares) > 1:
            slope, intercept = map(float, np.polyfit(per_position, shares, 1))
            span = -1 / intercept if intercept < 0 else 3.0
            candidates.append((round(slope * span), round(1 + span, 3)))
        if len(shares):
            candidates.append((round(float((1 + 3 * shares[0]) / per_position[0])), 4.0))
    for context, high in candidates:
        if context < 1 or high <= 1:
            continue
        rope = RopeConfig(
            theta=theta, scaling="llama3", factor=round(factor, 4), trained_context=context, high_freq_factor=high
        )
        if factors.shape == (head_dim // 2,) and np.allclose(slowed_by(rope, head_dim), factors, rtol=CLOSE, atol=0):
            return rope
    raise ArtefactError(f"{FREQUENCIES} slows the pairs of RoPE down in a way that is not known", where=keys.where)
