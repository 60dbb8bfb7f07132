"""Faults of values: weights that are missing, left over, rounded or simply others.

One function for each; it says what to do with the weights of a model that has the fault, so that they are right again.
Most need to see the judge's weights.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from groundup.insight.verify.changes import each, some
from groundup.insight.verify.hypotheses import Case, Hypothesis, Weights


def head(case: Case) -> Iterator[Hypothesis]:
    theirs = case.judge.weights.get("lm_head.weight")
    if "lm_head.weight" in case.weights:
        is_copy = torch.equal(case.weights["lm_head.weight"], case.weights["tok_embed.weight"])
        what = "a copy of the embedding table, which training drives away from it" if is_copy else "a matrix of its own"
        yield Hypothesis(
            "untied head",
            f"lm_head is {what} here, and should be the embedding table itself",
            "set tie_word_embeddings to true and leave lm_head.weight out",
            fields={"tie_embeddings": True},
            weights=lambda weights: {name: tensor for name, tensor in weights.items() if name != "lm_head.weight"},
        )
    elif theirs is not None:
        yield Hypothesis(
            "tied head",
            "the head is the embedding table here, and should be a matrix of its own",
            "set tie_word_embeddings to false and carry lm_head.weight over",
            fields={"tie_embeddings": False},
            weights=lambda weights: dict(weights) | {"lm_head.weight": theirs},
        )


def missing_bias(case: Case) -> Iterator[Hypothesis]:
    theirs = {name: tensor for name, tensor in case.judge.weights.items() if name.endswith(".bias")}
    ours = case.weights
    lacking = {name: t for name, t in theirs.items() if t.any() and (name not in ours or not ours[name].any())}
    if lacking:
        yield Hypothesis(
            "missing attention bias" if all(".attn." in name for name in lacking) else "missing bias",
            f"the judge has a bias where there is none here, or zeros: {some(lacking)}",
            "carry the biases over, into a family that has them (Qwen2 where Llama has none)",
            weights=lambda weights: dict(weights) | lacking,
        )
    added = {name: torch.zeros_like(t) for name, t in ours.items() if name.endswith(".bias") and t.any()}
    if theirs or case.judge.weights:
        extra = {name: t for name, t in added.items() if name not in theirs or not theirs[name].any()}
        if extra:
            yield Hypothesis(
                "a bias too many",
                f"there is a bias here where the judge has none, or zeros: {some(extra)}",
                "leave it out, or set it to zero",
                weights=lambda weights: dict(weights) | extra,
            )


def norm_offset(case: Case) -> Iterator[Hypothesis]:
    for offset, what in ((1.0, "the weight minus one, as Gemma keeps it"), (-1.0, "the weight plus one")):

        def change(name: str, tensor: Tensor, offset: float = offset) -> Tensor | None:
            return tensor + offset if name.endswith("norm.weight") else None

        yield Hypothesis(
            "norm weights off by one", f"the norms hold {what}", f"add {offset:g} to them", weights=each(change)
        )


def rounded(case: Case) -> Iterator[Hypothesis]:
    theirs = {name: tensor for name, tensor in case.judge.weights.items() if name in case.weights}
    matrices = [name for name, tensor in theirs.items() if tensor.ndim > 1]
    n_differing = sum(not torch.equal(case.weights[name], theirs[name]) for name in matrices)
    if len(theirs) < len(case.weights) or n_differing < len(matrices) / 2:  # a rounding is of all of them
        return
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "fp16"), (None, "8 bits or fewer")):
        if all(_is_rounding(case.weights[key], tensor, dtype) for key, tensor in theirs.items()):
            yield Hypothesis(
                f"{name}-rounded weights" if dtype else "quantised weights",
                f"the weights are the judge's, rounded to {name}",
                "nothing is wrong but the precision; convert again from the original, in fp32"
                if dtype
                else "nothing is wrong but the precision; take a larger quantisation, or the original",
                weights=lambda weights: dict(weights) | theirs,
            )
            return


def _is_rounding(ours: Tensor, theirs: Tensor, dtype: torch.dtype | None) -> bool:
    if ours.shape != theirs.shape:
        return False
    if dtype is not None:
        return torch.equal(ours, theirs.to(dtype).float())
    if ours.ndim < 2:  # these are kept as they are
        return torch.allclose(ours, theirs, rtol=0.01, atol=1e-6)
    lost = torch.linalg.vector_norm(ours - theirs) / torch.linalg.vector_norm(theirs).clamp(min=1e-30)
    return bool(lost < 0.15)


def other_numbers(case: Case, mended: Weights) -> Hypothesis | None:
    """The last resort: where the judge's weights can be seen, name those that ours, `mended`, still lack."""
    theirs = {n: t for n, t in case.judge.weights.items() if n in mended and t.shape == mended[n].shape}
    differing = {name: tensor for name, tensor in theirs.items() if not torch.equal(mended[name], tensor)}
    if not differing:
        return None
    if len(differing) == len(mended):
        sentence, hint = "not one weight is the judge's", "these are two models, or two moments of one training"
    else:
        share = f"{len(differing)} of {len(mended)}"
        sentence = f"{share} weights hold other numbers than the judge's: {some(differing)}"
        hint = "copy them again; groundup verify --checksums finds a file that was changed"
    return Hypothesis("other weights", sentence, hint, weights=lambda weights: dict(weights) | differing)


FAULTS = (head, missing_bias, norm_offset, rounded)


def hypotheses(case: Case) -> Iterator[Hypothesis]:
    for fault in FAULTS:
        yield from fault(case)
