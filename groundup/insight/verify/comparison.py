"""One model held to another, tensor by tensor, forward and backward; and if it differs, why."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from groundup.errors import UsageError
from groundup.insight.verify import causes, checks, faults_of_config, names, textbook
from groundup.insight.verify.differences import JITTER, allowances, differences
from groundup.insight.verify.hypotheses import Case
from groundup.insight.verify.judges import is_transformers, our_config, record_judge
from groundup.insight.verify.recording import Recording, probe_ids, record
from groundup.insight.verify.report import Report


def compare(
    ours: nn.Module,
    judge: nn.Module | Recording | None,
    *,
    ids: Tensor | None = None,
    modules: Mapping[str, str] | None = None,
    transposed: tuple[str, ...] = (),
    backward: bool = True,
    who: str = "",
    model_name: str = "",
    is_fp16: bool = False,
) -> Report:
    """Hold `ours` to `judge`: a model with the same weights, or stored tensors.

    None leaves the checks that need no judge, and the equations written out, where they are those of this model.

    Both are called as model(ids) with ids (B, T), and give logits, or an object that has them. How the judge's modules
    are named is said by `modules`, a table like a family's HF_MODULES, with the ends of those names whose weights are
    kept transposed; without it by the family's own table, and where a model has none, they are named as ours. `ids`
    need not be given where `ours.config` has a vocab_size and a context_length. Causes are found of models whose
    modules are named, and whose `config` has the fields, as in models/.

        compare(my_model, transformers_model, modules=llama.HF_MODULES).faults == []
    """
    both = [model for model in (ours, judge) if isinstance(model, nn.Module)]
    _refuse_others_than_fp32(both)
    was_training = [model.training for model in both]
    try:
        for model in both:
            model.eval()
        return _compare(ours, judge, ids, modules, transposed, backward, who, model_name, is_fp16)
    finally:
        for model, before in zip(both, was_training, strict=True):
            model.train(before)


def _refuse_others_than_fp32(both: list[nn.Module]) -> None:
    """Rounding to 16 bits hides most faults, and another device adds in another order."""
    for model in both:
        for name, parameter in model.named_parameters():
            if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
                kind = f"{str(parameter.dtype).removeprefix('torch.')} on {parameter.device}"
                what = f"models are compared in fp32 on the CPU, and {name} is {kind}"
                raise UsageError(what, hint="compare(model.float().cpu(), ...)")


def _compare(
    ours: nn.Module,
    judge: nn.Module | Recording | None,
    ids: Tensor | None,
    modules: Mapping[str, str] | None,
    transposed: tuple[str, ...],
    backward: bool,
    who: str,
    model_name: str,
    is_fp16: bool,
) -> Report:
    if ids is None:
        ids = judge.ids if isinstance(judge, Recording) else ids_for(ours, judge)
    paths = names.own_modules(ours)
    config = getattr(ours, "config", None)
    has_judge = judge is not None or textbook.is_equations_of(ours)
    recording = record(ours, ids, paths, backward=backward and has_judge)
    report = Report(model_name or type(ours).__module__, None)
    report.checks = checks.check_all(ours, ids, recording, is_fp16=is_fp16)
    if not has_judge:
        return report
    if judge is None:
        judge = textbook.of_model(ours, {}).run(ids, textbook.Variant(), backward=backward)
    elif not isinstance(judge, Recording):
        pairs = names.pairs(ours, modules, transposed)
        judge = record_judge(judge, ours, ids, pairs, who or _name_of(judge), backward=backward)
    report.judge = judge.who

    window = getattr(config, "window", None) or 0
    if window >= ids.shape[1]:
        report.notes.append(f"the probe has {ids.shape[1]} ids: a sliding window of {window:,} does not show in it")
    shaken = record(ours, ids, paths, backward=False, jitter=JITTER)
    allowed = allowances(recording, shaken)
    report.differences = list(differences(recording, judge, allowed))
    if len(report.of_kind("activation")) == 1:
        report.notes.append("only the logits were compared: no module of the judge has a name that is known")
    first = report.first
    if first is None and (differing := faults_of_config.without_effect(config, judge.config)):
        report.notes.append(f"the configurations differ, though it does not show: {differing}")
    if first is not None:
        case = Case(ours, recording, judge, allowed, backward=first.kind == "gradient")
        explanation = causes.explain(case, first)
        report.causes, report.rest = explanation.causes, explanation.rest
    return report


def ids_for(ours: nn.Module, judge: nn.Module | None) -> Tensor:
    """The probe for two models."""
    config, shape = getattr(ours, "config", None), getattr(judge, "config", None)
    if not hasattr(config, "vocab_size") or not hasattr(config, "context_length"):
        raise UsageError("the model has no config that says which ids it knows", hint="compare(..., ids=ids)")
    padding = getattr(shape, "pad_token_id", None)
    if judge is not None and is_transformers(judge):
        shape = our_config(judge)
    return probe_ids(config, shape if hasattr(shape, "context_length") else None, padding)


def _name_of(judge: nn.Module) -> str:
    return f"{type(judge).__module__}.{type(judge).__qualname__}"
