"""Why a model's numbers are not the judge's: the faults of four tables, tried one after the other.

A model written out by the equations (textbook.py) tells where to look. If the equations give the judge's numbers with
our weights, the weights and the configuration are right and the fault is in the code. If they give ours, the code is
right. Both questions have an answer of their own, so faults of both kinds at once are both found.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from groundup.insight.verify import faults_of_code, faults_of_config, faults_of_order, faults_of_values, textbook
from groundup.insight.verify.differences import Difference, differences
from groundup.insight.verify.hypotheses import DOES_NOT_FIT, Case, Equations, Hypothesis, OwnModel, search


@dataclass(frozen=True)
class Cause:
    """`place`: "files" (weights or configuration), "code", or "judge" where that computes what ours does not.

    `proof` says what was seen once the fault was taken back; `is_whole`, that nothing then differs.
    """

    fault: str
    place: str
    sentence: str
    hint: str
    proof: str
    is_whole: bool


@dataclass(frozen=True)
class Explanation:
    causes: list[Cause]
    rest: str
    """What is known where the causes do not explain everything; empty where they do."""


def explain(case: Case, first: Difference) -> Explanation:
    shapes = faults_of_config.other_shapes(case)
    if shapes:
        return Explanation([], f"these are models of two shapes: {shapes}")
    if not textbook.knows(case.model):
        causes = list(_of_files(case, OwnModel(case), _by_weights_and_config(case)))
        return Explanation(causes, "" if _is_whole(causes) else nearest(case, first))

    equations = Equations(case)
    is_code_right = case.reach(equations, [], case.ours) == math.inf
    are_files_right = case.reach(equations, [], case.judge) == math.inf
    causes: list[Cause] = []
    if not is_code_right and not are_files_right:
        # A family that has more to it than the equations here know: its own code has the say.
        causes = list(_of_files(case, OwnModel(case), _by_weights_and_config(case)))
        if _is_whole(causes):
            return Explanation(causes, "")
        causes = []
    if not is_code_right and not case.backward:  # every fault of code that is known shows on the way forward
        causes += _of_code(case, equations)
    is_explained = is_code_right or _is_whole(causes)
    if not are_files_right:
        of_files = list(_of_files(case, equations, [*_by_weights_and_config(case), *faults_of_code.hypotheses(case)]))
        causes += of_files
        is_explained = is_explained and _is_whole(of_files)
    if is_explained:
        return Explanation(causes, "")
    if not is_code_right and are_files_right:
        module = first.name.removesuffix(" (input)")
        where = "the backward pass" if first.kind == "gradient" else "the code"
        rest = (
            "the weights and the configuration are right: written out by the equations, they give the judge's "
            f"numbers. The fault is in {where} at {module}, and is none that is known here"
        )
        return Explanation(causes, rest)
    return Explanation(causes, nearest(case, first))


def _by_weights_and_config(case: Case) -> Iterator[Hypothesis]:
    yield from faults_of_config.hypotheses(case)
    yield from faults_of_order.hypotheses(case)
    yield from faults_of_values.hypotheses(case)


def _of_code(case: Case, equations: Equations) -> Iterator[Cause]:
    of_code = list(faults_of_code.hypotheses(case))
    candidates = [*of_code, *faults_of_config.hypotheses(case), *faults_of_order.hypotheses(case)]
    found, is_whole = search(case, equations, case.ours, candidates, pairs=of_code)
    proof = "the equations with this fault give our very numbers" if is_whole else "the equations come closer with it"
    for each in found:
        fault, sentence, hint = each.fault, each.sentence, each.hint
        if each.fields:
            fault, sentence = faults_of_config.in_code(each.fields, case.config)
        elif each.weights:
            sentence = f"the code computes as if this were so: {sentence}"
        if not each.variant:
            hint = "look where the model reads this from its Config or its weights"
        yield Cause(fault, "code", sentence, hint, proof, is_whole)


def _of_files(case: Case, subject: OwnModel | Equations, candidates: Iterable[Hypothesis]) -> Iterator[Cause]:
    found, is_whole = search(case, subject, case.judge, candidates)
    if not is_whole:
        found, is_whole = _with_other_weights(case, subject, found)
    proof = _proof(case, found) if is_whole else "with it taken back, the first difference comes later"
    for each in found:
        place = "judge" if each.variant else "files"
        sentence = f"the judge computes what this family does not: {each.sentence}" if each.variant else each.sentence
        hint = "this model needs a family of its own" if each.variant else each.hint
        yield Cause(each.fault, place, sentence, hint, proof, is_whole)


def _with_other_weights(
    case: Case, subject: OwnModel | Equations, found: list[Hypothesis]
) -> tuple[list[Hypothesis], bool]:
    """What was found, and that some weights are simply others; that alone where what was found is of no help."""
    for chosen in (found, []) if found else ([],):
        mended = case.weights
        for each in chosen:
            mended = each.weights(mended) if each.weights else mended
        rest = faults_of_values.other_numbers(case, mended)
        if rest is None or chosen and rest.sentence == "not one weight is the judge's":
            continue
        if case.reach(subject, [*chosen, rest], case.judge) == math.inf:
            return [*chosen, rest], True
    return found, False


def _proof(case: Case, found: list[Hypothesis]) -> str:
    """The last word is the model's own, gradients included, where it can be built so."""
    for subject in (OwnModel(case), Equations(case)):
        try:
            mended = list(differences(subject.run(found, backward=True), case.judge, case.allowed))
        except DOES_NOT_FIT:
            continue
        if all(each.agrees for each in mended if each.kind == "activation"):
            n = sum(each.agrees for each in mended)
            what = "that" if len(found) == 1 else "all of that"
            return f"with {what} undone, {n} of {len(mended)} tensors agree, the logits among them"
    return "with it undone, every tensor agrees"


def _is_whole(causes: list[Cause]) -> bool:
    return bool(causes) and causes[-1].is_whole


# --- where no fault of the tables explains it ---


def nearest(case: Case, first: Difference) -> str:
    """What the first tensor that differs says by its place alone: everything before it agrees."""
    name = first.name
    if first.kind == "gradient":
        return f"the whole forward pass agrees, and the gradient of {name} does not: a backward pass is at fault"
    if name == "tok_embed" and (rounding := _rounding(case)):
        return f"the embeddings are the judge's, rounded to {rounding}; so, it seems, are all weights"
    if name == "logits":
        here, there = (getattr(config, "tie_embeddings", None) for config in (case.config, case.judge.config))
        how = ", tied here and a matrix of its own there" if here and there is False else ""
        how = ", a matrix of its own here and tied there" if there and here is False else how
        return f"the last states agree and the logits do not: the output head is another{how}"
    last = name.removesuffix(" (input)").rpartition(".")[2]
    said = NEAREST.get("input" if name.endswith("o_proj (input)") else last, "")
    if name.endswith("down_proj (input)"):
        said = "what stands between the projections of the feed-forward: the activation"
    return f"no fault that is known here explains it. The first that differs is {said or name}"


def _rounding(case: Case) -> str:
    ours, judge = case.ours.activations["tok_embed"], case.judge.activations["tok_embed"]
    names = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    return next((name for dtype, name in names.items() if torch.equal(ours, judge.to(dtype).float())), "")


NEAREST = {
    "tok_embed": "the embedding table: other rows, or another order of them",
    "pos_embed": "the table of positions",
    "attn_norm": "the norm before attention: its weight, its epsilon or its kind",
    "mlp_norm": "the norm before the feed-forward: its weight, its epsilon or its kind",
    "final_norm": "the last norm: its weight, its epsilon or its kind",
    "q_proj": "the weights of the queries", "k_proj": "the weights of the keys", "v_proj": "the weights of the values",
    "q": "the queries after they are turned: RoPE, or how they are cut into heads",
    "k": "the keys after they are turned: RoPE, or how they are cut into heads",
    "input": "what attention mixes, and its queries, keys and values agree: scale or mask",
    "o_proj": "the output projection of attention",
    "gate_proj": "the weights of gate_proj", "up_proj": "the weights of up_proj",
    "down_proj": "the weights of down_proj",
    "router": "the router", "mlp": "the feed-forward", "attn": "attention",
}  # fmt: skip
