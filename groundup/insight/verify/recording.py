"""Recording: what a model computes for some ids, tensor by tensor on the way, and the gradient of every weight.

Every module that has a name of ours leaves its output under that name. What enters a module is kept too, as
"blocks.0.attn.o_proj (input)", where no other name has it already, and so are the queries, keys and values as attention
gets them, turned and cut into heads: "blocks.0.attn.q". The same names are recorded of models of other programs.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Watch = Callable[[str, Tensor], None]

LENGTH = 48
LONGEST = 1024
"""Ids per row of the probe, where the context has room; up to LONGEST where a sliding window wants to be seen."""


@dataclass
class Recording:
    """`activations` in the order in which they were computed, fp32. `weights` and `config` where they can be seen."""

    who: str
    ids: Tensor
    activations: dict[str, Tensor]
    gradients: dict[str, Tensor] = field(default_factory=dict)
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    config: Any = None

    @property
    def logits(self) -> Tensor:
        return self.activations["logits"]


def probe_ids(config: Any, judge: Any = None, avoid: int | None = None) -> Tensor:
    """(2, T) ids that two models of these configurations both know; always the same ones.

    transformers gives the embedding of padding no gradient, so that id is avoided.
    """
    shapes = [each for each in (config, judge) if each is not None]
    vocab_size = min(each.vocab_size for each in shapes)
    length = LENGTH
    window = getattr(config, "window", None)
    if window and window + 16 <= LONGEST:
        length = max(length, window + 16)
    length = min(length, *(each.context_length for each in shapes))
    ids = torch.randint(vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    return ids if avoid is None else ids.where(ids != avoid, (avoid + 1) % vocab_size)


def record(
    model: nn.Module,
    ids: Tensor,
    names_by_path: Mapping[str, tuple[str, ...]],
    *,
    who: str = "ours",
    backward: bool = True,
    jitter: float = 0.0,
    watch: Watch | None = None,
    widths: Mapping[str, int] | None = None,
) -> Recording:
    """Run `model` on ids (B, T); keep what the modules in `names_by_path` give, and the gradients by their own names.

    Where one module of the model is several of ours, its output is cut by their `widths`.

    `watch` sees every tensor as soon as it is there, and may end it all by raising. `jitter` moves every output by that
    share of itself, up or down: what comes of it shows how far rounding alone may carry two programs apart.
    """
    tape = _Tape(jitter, watch)
    with contextlib.ExitStack() as hooks, torch.set_grad_enabled(backward):
        for path, names in names_by_path.items():
            module = _submodule(model, path)
            if module is not None:
                cut = [widths.get(name, 0) for name in names] if widths and len(names) > 1 else []
                hooks.enter_context(tape.listen(module, names, cut))
        hooks.enter_context(_AttentionInputs(tape))
        output = model(ids)
        logits = output.logits if hasattr(output, "logits") else output
        tape.keep("logits", logits)
        gradients = _gradients(model, logits, ids) if backward else {}
    return Recording(who, ids, tape.tensors, gradients, config=getattr(model, "config", None))


def next_token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    """The mean of -log softmax(logits)[next id], written out, so that it leans on no layer that is being verified."""
    if ids.shape[1] > 1:
        logits, ids = logits[:, :-1], ids[:, 1:]
    logits, targets = logits.float(), ids
    return (logits.logsumexp(-1) - logits.gather(-1, targets[..., None]).squeeze(-1)).mean()


def _gradients(model: nn.Module, logits: Tensor, ids: Tensor) -> dict[str, Tensor]:
    parameters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    found = torch.autograd.grad(next_token_loss(logits, ids), list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


class _Tape:
    """Tensors by name, each the first time it is computed."""

    def __init__(self, jitter: float, watch: Watch | None):
        self.tensors: dict[str, Tensor] = {}
        self.last = ""
        self._seen: dict[tuple[int, torch.Size], Tensor] = {}  # holding them keeps their addresses from being reused
        self._jitter = jitter
        self._watch = watch
        self._generator = torch.Generator().manual_seed(0)

    @contextlib.contextmanager
    def listen(self, module: nn.Module, names: tuple[str, ...], cut: list[int]) -> Iterator[None]:
        def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
            entering = next((each for each in (*args, *kwargs.values()) if _is_real(each)), None)
            if entering is not None and (entering.data_ptr(), entering.shape) not in self._seen:
                self.keep(f"{names[0]} (input)", entering)

        def after(module: nn.Module, args: tuple, output: Any) -> Any:
            tensor = output[0] if isinstance(output, tuple) else output
            if not _is_real(tensor):
                return None
            if self._jitter and tensor is output and not list(module.children()):
                tensor = output = self._moved(tensor)
            self.last = names[0]
            if len(names) == 1 or sum(cut) == tensor.shape[-1]:
                for name, part in zip(names, tensor.split(cut, -1) if cut else [tensor], strict=True):
                    self.keep(name, part)
            return output

        handles = (module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def keep(self, name: str, tensor: Tensor) -> None:
        self._seen[tensor.data_ptr(), tensor.shape] = tensor
        if name not in self.tensors:
            self.tensors[name] = tensor.detach().float().cpu()
            if self._watch is not None:
                self._watch(name, self.tensors[name])

    def _moved(self, tensor: Tensor) -> Tensor:
        signs = torch.randint(2, tensor.shape, generator=self._generator).to(tensor.device) * 2 - 1
        return tensor * (1 + self._jitter * signs)


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


class _AttentionInputs(TorchFunctionMode):
    """Sees every call of PyTorch's fused attention, ours and theirs, and keeps the queries, keys and values."""

    def __init__(self, tape: _Tape):
        super().__init__()
        self.tape = tape

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == "scaled_dot_product_attention" and len(args) >= 3:
            layer = self.tape.last.rpartition(".")[0]  # the projections ran just before
            for name, tensor in zip("qkv", args, strict=False):
                self.tape.keep(f"{layer}.{name}", tensor)
        return func(*args, **(kwargs or {}))
