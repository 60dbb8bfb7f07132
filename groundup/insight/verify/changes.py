"""Changes of weights, as hypotheses make them: every weight alone, or weights put in each other's places."""

from collections.abc import Callable, Mapping

from torch import Tensor

from groundup.insight.verify.hypotheses import Case, Weights

Change = Callable[[Weights], Weights]


def each(change: Callable[[str, Tensor], Tensor | None]) -> Change:
    """A change of every weight alone; None leaves it as it is. A change of nothing is not a hypothesis."""

    def apply(weights: Weights) -> Weights:
        changed = {name: change(name, tensor) for name, tensor in weights.items()}
        if all(tensor is None for tensor in changed.values()):
            raise ValueError("there is nothing to change")
        return {name: weights[name] if tensor is None else tensor for name, tensor in changed.items()}

    return apply


def taken_from(source: Mapping[str, str]) -> Change:
    """A change of places: the weight `name` comes from where `source[name]` is."""

    def apply(weights: Weights) -> Weights:
        return dict(weights) | {name: weights[other] for name, other in source.items()}

    return apply


def n_layers(case: Case) -> int:
    """How many blocks the weights are of."""
    return 1 + max((int(name.split(".")[1]) for name in case.weights if name.startswith("blocks.")), default=-1)


def some(tensors: Mapping[str, Tensor]) -> str:
    """The first three names, and how many more there are."""
    names = list(tensors)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
