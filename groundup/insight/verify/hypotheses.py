"""A hypothesis is a fault that a model may have, made testable: what to change so that its numbers come out right.

Nothing is guessed from the looks of a difference. A hypothesis is applied, the model is run again, and only if every
tensor then agrees is it the cause. Several faults at once are found one after the other: a hypothesis that moves the
first difference further back is kept, and the rest is searched again.
"""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from groundup.insight.verify import names, textbook
from groundup.insight.verify.differences import FLOOR, difference, differences
from groundup.insight.verify.recording import Recording, Watch, record

Weights = Mapping[str, Tensor]
MAX_FAULTS = 3
# What a change that does not fit a model's shapes or fields ends in: that hypothesis is then not the cause.
DOES_NOT_FIT = (RuntimeError, ValueError, KeyError, IndexError, AttributeError, TypeError)


@dataclass(frozen=True)
class Hypothesis:
    """One fault. What is applied to a model that has it, to get what it should have been: other values in its
    configuration (`fields`, by dotted name), other `weights`, or another way to compute (`variant`)."""

    fault: str
    sentence: str
    hint: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    weights: Callable[[Weights], Weights] | None = None
    variant: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A model of ours, what it computes and what the judge does; `allowed` is what rounding may do."""

    model: nn.Module
    ours: Recording
    judge: Recording
    allowed: Mapping[str, float]
    backward: bool
    """Whether the gradients have to be looked at, because everything before them agrees."""

    @property
    def config(self) -> Any:
        return getattr(self.model, "config", None)

    @property
    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def reach(self, subject: "OwnModel | Equations", applied: list[Hypothesis], target: Recording) -> float:
        """How many tensors agree before the first that does not; inf where all do."""
        order = {name: n for n, name in enumerate(self.ours.activations)}

        def watch(name: str, tensor: Tensor) -> None:
            if name in order and name in target.activations:
                allowed = self.allowed.get(name, FLOOR)
                if not difference(name, "activation", tensor, target.activations[name], allowed).agrees:
                    raise _Differs(name)

        try:
            found = subject.run(applied, backward=self.backward, watch=watch)
        except _Differs as differs:
            return order[differs.name]
        gradients = (each for each in differences(found, target, self.allowed) if each.kind == "gradient")
        for n, each in enumerate(gradients if self.backward else ()):
            if not each.agrees:
                return len(order) + n
        return math.inf


class _Differs(Exception):
    """Ends a run at the first tensor that is not what it should be: the rest would tell no more."""

    def __init__(self, name: str):
        self.name = name


class OwnModel:
    """The model itself, with hypotheses applied to a copy that shares every weight it can."""

    def __init__(self, case: Case):
        self.case = case

    def run(self, hypotheses: Iterable[Hypothesis], *, backward: bool = False, watch: Watch | None = None) -> Recording:
        model, weights = self.case.model, self.case.weights
        fields: dict[str, Any] = {}
        for hypothesis in hypotheses:
            if hypothesis.variant:
                raise ValueError("a model computes as its code says")
            fields |= hypothesis.fields
            weights = dict(hypothesis.weights(weights)) if hypothesis.weights else weights
        if fields:
            with torch.device("meta"):
                model = type(model)(changed(self.case.config, fields))
        else:
            shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
            model = copy.deepcopy(model, shared)
        for name, tensor in weights.items():
            path, _, last = name.rpartition(".")
            owner = model.get_submodule(path)
            owner.register_parameter(last, nn.Parameter(tensor.detach()))
        return record(model.eval(), self.case.ours.ids, names.own_modules(model), backward=backward, watch=watch)


class Equations:
    """The model's weights and configuration, computed by the textbook."""

    def __init__(self, case: Case):
        self.case = case
        self.layer_norms = textbook.layer_norms(case.model)

    def run(self, hypotheses: Iterable[Hypothesis], *, backward: bool = False, watch: Watch | None = None) -> Recording:
        weights: Weights = self.case.weights
        fields: dict[str, Any] = {}
        variant = textbook.Variant()
        for hypothesis in hypotheses:
            fields |= hypothesis.fields
            weights = hypothesis.weights(weights) if hypothesis.weights else weights
            without = variant.without | hypothesis.variant.get("without", frozenset())
            variant = dataclasses.replace(variant, **{**hypothesis.variant, "without": without})
        book = textbook.Textbook(self.case.config, weights, self.layer_norms, fields)
        return book.run(self.case.ours.ids, variant, backward=backward, watch=watch)


def changed(config: Any, fields: Mapping[str, Any]) -> Any:
    """A Config with other values, given by dotted names."""
    own = {name: value for name, value in fields.items() if "." not in name}
    for table in {name.partition(".")[0] for name in fields if "." in name}:
        inner = {name.partition(".")[2]: value for name, value in fields.items() if name.startswith(f"{table}.")}
        own[table] = dataclasses.replace(getattr(config, table), **inner)
    has = {each.name for each in dataclasses.fields(config)}
    return dataclasses.replace(config, **{name: value for name, value in own.items() if name in has})


def search(
    case: Case,
    subject: OwnModel | Equations,
    target: Recording,
    hypotheses: Iterable[Hypothesis],
    pairs: Iterable[Hypothesis] = (),
) -> tuple[list[Hypothesis], bool]:
    """(hypotheses that bring `subject` to `target`, whether all of it). The fewest that do, in the order given.

    Of `pairs`, any two are tried together: two faults in one place hide each other, for neither alone moves the first
    difference.
    """
    hypotheses = list(hypotheses)
    chosen: list[Hypothesis] = []
    reached = case.reach(subject, [], target)
    while len(chosen) < MAX_FAULTS and reached != math.inf:
        best, reach = _best(case, subject, target, ([*chosen, each] for each in hypotheses), reached)
        if not best:
            two = ([*chosen, *pair] for pair in itertools.combinations(pairs, 2))
            best, reach = _best(case, subject, target, two, reached)
        if not best:
            break
        chosen, reached = best, reach
    return chosen, reached == math.inf


def _best(
    case: Case,
    subject: OwnModel | Equations,
    target: Recording,
    candidates: Iterable[list[Hypothesis]],
    reached: float,
) -> tuple[list[Hypothesis], float]:
    """The candidate that reaches furthest, and how far; an empty list where none reaches further than `reached`."""
    best: list[Hypothesis] = []
    for candidate in candidates:
        try:
            reach = case.reach(subject, candidate, target)
        except DOES_NOT_FIT:
            continue
        if reach > reached:
            best, reached = candidate, reach
        if reach == math.inf:
            break
    return best, reached
