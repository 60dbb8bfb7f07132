"""The shapes in signatures, checked by jaxtyping and beartype while the tests run: each form of a call once.

Whether arguments and a result fit their annotations depends on their types, shapes and kinds of numbers alone. Layers
are called with the same ones thousands of times, and to check a call takes longer than most of what is called.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any

import jaxtyping

# The number tower lets `theta=500_000` be a float.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
_jaxtyped: Callable = jaxtyping.jaxtyped


def check_in(modules: Sequence[str]) -> None:
    """Check what these modules (dotted names, with all below them) annotate, once they are imported."""
    jaxtyping.jaxtyped = jaxtyped  # what the hook writes above each function
    jaxtyping.install_import_hook(modules, CHECKER)


def jaxtyped(*, typechecker: Any) -> Callable:
    """jaxtyping's decorator, which does not check again what has passed."""
    decorate = _jaxtyped(typechecker=typechecker)
    return lambda it: remembering(it, decorate) if isinstance(it, FunctionType) else decorate(it)


def remembering(function: Callable, decorate: Callable) -> Callable:
    """`function`, whose calls are checked by `decorate` where arguments and result have a form that is new."""
    checked = decorate(function)
    passed: dict[Hashable, set[Hashable]] = {}  # results by arguments

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        asked = (*map(form, args), *kwargs, *map(form, kwargs.values()))
        if asked not in passed:
            made = checked(*args, **kwargs)
            if None not in (*asked, result := form(made)):
                passed.setdefault(asked, set()).add(result)
            return made
        made = function(*args, **kwargs)
        if (result := form(made)) is None or result not in passed[asked]:
            decorate(functools.wraps(function)(lambda *_, **__: made))(*args, **kwargs)
            passed[asked].add(result)
        return made

    return call


def form(value: Any) -> Hashable:
    """All of a value that an annotation can speak of; None where beartype looks at one item by chance each time."""
    kind = type(value)
    if hasattr(kind, "shape"):  # a tensor or an array, without torch being imported for it
        return kind, tuple(value.shape), value.dtype
    if isinstance(value, tuple):
        parts = [form(part) for part in value]
        return None if None in parts else (kind, *parts)
    if isinstance(value, (list, dict, set)):
        return None
    return (kind, value) if kind is str else kind
