"""What a model can be asked without a judge: does it agree with itself?

Each check is a function (model, ids, recording) -> Check and stands in the table at the foot with its name. A check
that does not apply, such as that of the cache to a model without one, says so and passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from groundup.data.batches import Batch
from groundup.insight.verify.differences import relative_error
from groundup.insight.verify.recording import Recording
from groundup.layers.loss import IGNORE
from groundup.train import losses

ALLOWED = 1e-4
"""Of the largest logit. Another shape of batch makes kernels add in another order, which is a hundred times less."""
FP16_MAX = 65504.0
PAD = 0


@dataclass(frozen=True)
class Check:
    """`passed` None: it does not apply. A check that fails names its fault, as a comparison with a judge does."""

    name: str
    passed: bool | None
    sentence: str = ""
    fault: str = ""
    hint: str = ""


def check_all(model: nn.Module, ids: Tensor, recording: Recording, *, is_fp16: bool = False) -> list[Check]:
    """Every check of the table. `is_fp16`: the weights are stored in fp16, so that activations have to fit it too."""
    with torch.no_grad():
        first = finite(model, ids, recording)
        if not first.passed:  # of what is no number, nothing else can be asked
            return [first]
        others = [_run(check, model, ids, recording) for check in CHECKS if check is not finite]
        return [first, *others, within_fp16(recording, is_fp16)]


def _run(check: Callable[..., Check], model: Any, ids: Tensor, recording: Recording) -> Check:
    try:
        return check(model, ids, recording)
    except (TypeError, AttributeError) as error:  # a model of one's own need not have all that ours have
        return Check(CHECKS[check], None, f"not asked: {error}")


def finite(model: nn.Module, ids: Tensor, recording: Recording) -> Check:
    name = CHECKS[finite]
    bad = [key for key, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if bad:
        hint = "these weights are lost: take an earlier checkpoint"
        return Check(name, False, f"{bad[0]} holds NaN or infinity", "weights that are not finite", hint)
    first = next((key for key, tensor in recording.activations.items() if not tensor.isfinite().all()), None)
    if first is not None:
        hint = "look there for a division by zero, or a position that sees nothing"
        return Check(name, False, f"{first} is NaN or infinite", "activations that are not finite", hint)
    return Check(name, True)


def causal(model: nn.Module, ids: Tensor, recording: Recording) -> Check:
    """A later id never changes an earlier logit."""
    name, T = CHECKS[causal], ids.shape[1]
    if T < 3:
        return Check(name, None)
    at = T - 2
    other = ids.clone()
    other[:, at:] = (other[:, at:] + 1) % recording.logits.shape[-1]
    before, after = recording.logits, _logits(model(other)).float().cpu()
    moved = [p for p in range(at) if relative_error(after[:, p], before[:, p]) > ALLOWED]
    if not moved:
        return Check(name, True)
    hint = "groundup.layers.masks.causal_mask makes the right mask; for T queries and S keys it is tril(S - T)"
    ahead = at - min(moved)
    if ahead <= len(list(getattr(model, "blocks", []))):  # each block looks ahead from where the one before it looked
        return Check(name, False, "a position sees the one after it", "mask off by one", hint)
    return Check(name, False, f"a position sees as far as {ahead} ahead of itself", "no causal mask", hint)


def batch_equals_single(model: nn.Module, ids: Tensor, recording: Recording) -> Check:
    """A sequence says the same alone, beside others, and after padding on its left."""
    name, T = CHECKS[batch_equals_single], ids.shape[1]
    whole = recording.logits
    alone = _logits(model(ids[1:])).float().cpu()
    if relative_error(alone, whole[1:]) > ALLOWED:
        sentence = "a sequence has other logits in a batch than alone"
        return Check(name, False, sentence, "rows of a batch mix", "no operation may reach over the first dimension")
    n = T // 3
    if n == 0:
        return Check(name, True)
    padded = torch.cat([torch.full((1, n), PAD), ids[1:, : T - n]], 1)
    is_real = torch.arange(T) >= n
    mask = (torch.ones(T, T, dtype=torch.bool).tril() & is_real)[None, None]
    mask = mask | torch.eye(T, dtype=torch.bool)  # what pads see is nobody's business, but it must be something
    positions = (torch.arange(T) - n).clamp(min=0)[None]
    found = _logits(model(padded, positions=positions, mask=mask)).float().cpu()
    if relative_error(found[:, n:], alone[:, : T - n]) > ALLOWED:
        sentence = "a sequence has other logits with padding on its left, though a mask hides it"
        hint = "the mask and the positions that are given have to reach attention and RoPE"
        return Check(name, False, sentence, "padding is seen", hint)
    return Check(name, True)


def cached_equals_full(model: Any, ids: Tensor, recording: Recording) -> Check:
    """Ids fed one part after the other through the cache have the logits of all at once."""
    name, T = CHECKS[cached_equals_full], ids.shape[1]
    if not hasattr(model, "new_cache"):
        return Check(name, None, "not asked: it has no cache")
    steps = _steps(T)

    def error(**given: Callable[[int, int], Tensor]) -> float:
        cache = model.new_cache(len(ids), T)
        parts = [
            model(ids[:, start:end], cache=cache, **{key: value(start, end) for key, value in given.items()})
            for start, end in steps
        ]
        return relative_error(torch.cat(parts, 1).float().cpu(), recording.logits)

    if error() <= ALLOWED:
        return Check(name, True)

    def positions(start: int, end: int) -> Tensor:
        return torch.arange(start, end)[None]

    def mask(start: int, end: int) -> Tensor:
        return torch.ones(end - start, end, dtype=torch.bool).tril(start)[None, None]

    if error(positions=positions) <= ALLOWED:
        hint = "the first new position is cache.length"
        return Check(name, False, "positions do not count on from the cache", "positions restart", hint)
    if error(mask=mask) <= ALLOWED:
        hint = "for T new queries and S keys the causal mask is tril(S - T)"
        return Check(name, False, "new queries get the wrong mask over what is cached", "mask of the cache", hint)
    return Check(
        name, False, _stale(model, ids, steps), "stale cache", "cache.append stores, and returns all positions"
    )


def _steps(T: int) -> list[tuple[int, int]]:
    """A long beginning, some at once, and the last ones one by one."""
    first, second = T // 2, T - min(2, T // 4)
    return [(a, b) for a, b in ((0, first), (first, second), *((i, i + 1) for i in range(second, T))) if b > a]


def _stale(model: Any, ids: Tensor, steps: list[tuple[int, int]]) -> str:
    """Where the cache, filled in parts, is not what it is when filled at once."""
    T = ids.shape[1]
    whole, parts = model.new_cache(len(ids), T), model.new_cache(len(ids), T)
    try:
        model(ids, cache=whole)
        for start, end in steps:
            model(ids[:, start:end], cache=parts)
        for layer in range(len(whole.keys)):
            for what in ("keys", "values"):
                right, found = getattr(whole, what)[layer].float(), getattr(parts, what)[layer].float()
                for position in range(T):
                    if relative_error(found[:, :, position], right[:, :, position]) > ALLOWED:
                        return f"the cached {what} of position {position} in block {layer} are not those of a full run"
    except (AttributeError, TypeError, RuntimeError, ValueError):
        pass
    return "the cache holds the right keys and values, and hands on others"


def padding_costs_nothing(model: Any, ids: Tensor, recording: Recording) -> Check:
    """The loss of training, of a row with padding behind it, is that of the row alone, written out by hand."""
    name, T = CHECKS[padding_costs_nothing], ids.shape[1]
    if not hasattr(model, "hidden") or not hasattr(model, "lm_head_weight"):
        return Check(name, None, "not asked: it has no hidden states")
    n = max(1, T // 3)
    inputs, targets = ids.clone(), ids.roll(-1, 1)
    inputs[:, -n:], targets[:, -n:] = PAD, IGNORE
    logits = _logits(model(inputs)).float()
    costs = logits.logsumexp(-1) - logits.gather(-1, targets.clamp(min=PAD)[..., None]).squeeze(-1)
    expected, n_expected = costs[:, :-n].sum().item(), costs[:, :-n].numel()
    segments = torch.ones_like(ids)
    segments[:, -n:] = 0
    total, n_targets, _ = losses.next_token(model, Batch(inputs, targets, segments, n_targets=ids[:, :-n].numel()))
    total = float(total)
    is_same = abs(total - expected) <= ALLOWED * abs(expected)
    if is_same and n_targets == n_expected:
        return Check(name, True)
    with_pads = costs.sum().item()
    is_counted = abs(total - with_pads) <= ALLOWED * abs(with_pads) or n_targets == costs.numel()
    if not is_counted:
        sentence = f"the loss of {n_expected} targets is {total:.4f}, and by hand {expected:.4f}"
        return Check(name, False, sentence, "another loss", "the sum of -log softmax(logits)[target]")
    what = "the sum" if not is_same else "the number of targets"
    sentence = (
        f"padding is counted in {what}: {total:.1f} over {n_targets} targets, not {expected:.1f} over {n_expected}"
    )
    return Check(name, False, sentence, "pad counted in the loss", f"leave out positions whose target is {IGNORE}")


def norms_in_fp32(model: nn.Module, ids: Tensor, recording: Recording) -> Check:
    """Norms square their input, and in 16 bits a square is soon too large or nothing: they have to do it in fp32."""
    name = CHECKS[norms_in_fp32]
    seen: set[str] = set()
    for path, module in model.named_modules():
        kind = type(module).__name__
        weight = getattr(module, "weight", None)
        if not kind.endswith("Norm") or kind in seen or not isinstance(weight, Tensor):
            continue
        seen.add(kind)
        # Only their size is large, and a norm takes that out again; but the square of 1000 does not fit into fp16.
        x = torch.randn(16, len(weight), generator=torch.Generator().manual_seed(0)) * 1000
        exact = functional_call(module, _in(module, torch.float32), (x,))
        found = functional_call(module, _in(module, torch.float16), (x.half(),)).float()
        if relative_error(found, exact) > 0.01:
            hint = "widen first: x.float(), and back to x.dtype at the end"
            return Check(name, False, f"{kind} ({path}) squares its input in 16 bits", f"{kind} without fp32", hint)
    return Check(name, True)


def _in(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: parameter.detach().to(dtype) for name, parameter in module.named_parameters()}


def within_fp16(recording: Recording, is_fp16: bool) -> Check:
    """The first tensor with a number that fp16 cannot hold. Only a model that is kept in fp16 has to care."""
    name = "within fp16"
    for key, tensor in recording.activations.items():
        largest = tensor.abs().max().item()
        if largest > FP16_MAX:
            sentence = f"{key} reaches {largest:,.0f}, and fp16 ends at {FP16_MAX:,.0f}"
            return Check(name, not is_fp16, sentence, "fp16 overflow", "use bf16, which ends where fp32 does")
    return Check(name, True)


def _logits(output: Any) -> Tensor:
    return output.logits if hasattr(output, "logits") else output


CHECKS = {
    finite: "finite",
    causal: "causal",
    batch_equals_single: "batch = single",
    cached_equals_full: "cached = full",
    padding_costs_nothing: "loss ignores padding",
    norms_in_fp32: "norms in fp32",
}
