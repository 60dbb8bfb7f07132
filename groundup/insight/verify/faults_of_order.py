"""Faults of order: the right numbers in the wrong place, as conversions leave them.

One function for each; it says what to do with the weights of a model that has the fault, so that they are right again.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from groundup.insight.verify.changes import Change, each, n_layers, taken_from
from groundup.insight.verify.hypotheses import Case, Hypothesis, Weights

MAX_PERMUTED = 4
"""Experts of which every order is tried; of more, those that are near."""


# --- attention ---


def rope_layout(case: Case) -> Iterator[Hypothesis]:
    head_dim = getattr(case.config, "head_dim", 0)
    if not hasattr(case.config, "rope") or head_dim % 2:
        return

    def reordered(to_half_split: bool, with_norms: bool) -> Change:
        def change(name: str, tensor: Tensor) -> Tensor | None:
            is_norm = name.endswith(("q_norm.weight", "k_norm.weight"))
            if not name.rpartition(".")[0].endswith(("q_proj", "k_proj")) and not (is_norm and with_norms):
                return None
            sizes = (-1, head_dim // 2, 2) if to_half_split else (-1, 2, head_dim // 2)
            return tensor.unflatten(0, sizes).transpose(1, 2).flatten(0, 2)

        return each(change)

    for with_norms in (False, True):
        yield Hypothesis(
            "wrong RoPE layout",
            "the rows of q_proj and k_proj are interleaved (Meta's and GGUF's order), and pairs are turned half-split",
            "groundup.layers.rope.to_half_split(weight, n_heads) puts them right",
            weights=reordered(True, with_norms),
        )
        yield Hypothesis(
            "wrong RoPE layout",
            "the rows of q_proj and k_proj were reordered from interleaved to half-split once too often",
            "leave them as they are in the file: groundup.layers.rope.to_interleaved(weight, n_heads) undoes it",
            weights=reordered(False, with_norms),
        )


def qkv_order(case: Case) -> Iterator[Hypothesis]:
    """Where a fused tensor was split: another order of the three, or one head after the other."""
    layers = range(n_layers(case))
    for order in itertools.permutations("qkv"):
        if order != ("q", "k", "v"):
            source = {
                f"blocks.{layer}.attn.{right}_proj.{kind}": f"blocks.{layer}.attn.{found}_proj.{kind}"
                for layer in layers
                for right, found in zip("qkv", order, strict=True)
                for kind in ("weight", "bias")
                if f"blocks.{layer}.attn.{found}_proj.{kind}" in case.weights
            }
            yield Hypothesis(
                "wrong order of q, k, v",
                f"what stands in q_proj, k_proj, v_proj belongs in {', '.join(f'{x}_proj' for x in _inverse(order))}",
                "the fused tensor of this format has another order: split it so",
                weights=taken_from(source),
            )
    for by_head in (True, False):
        yield Hypothesis(
            "wrong order of q, k, v",
            "the fused tensor holds "
            + ("q, k, v of one head after the other" if by_head else "all of q, then k, then v")
            + ", and was split the other way",
            "reshape it to (n_heads, 3, head_dim, d_model) before it is split"
            if by_head
            else "split it into three equal parts",
            weights=_split_by_head(case, by_head),
        )


def _inverse(order: tuple[str, ...]) -> list[str]:
    """order says what each right place is filled with; this, where each that is there belongs."""
    return ["qkv"[order.index(letter)] for letter in "qkv"]


def _split_by_head(case: Case, by_head: bool) -> Change:
    def apply(weights: Weights) -> Weights:
        found = dict(weights)
        for layer in range(n_layers(case)):
            for kind in ("weight", "bias"):
                names = [f"blocks.{layer}.attn.{letter}_proj.{kind}" for letter in "qkv"]
                if all(name in weights for name in names):
                    fused = torch.cat([weights[name] for name in names])
                    n_heads = case.config.n_heads
                    sizes = (n_heads, 3, -1) if by_head else (3, n_heads, -1)
                    parts = fused.unflatten(0, sizes).transpose(0, 1).flatten(0, 2).chunk(3)
                    found |= dict(zip(names, parts, strict=True))
        return found

    return apply


def grouped_heads(case: Case) -> Iterator[Hypothesis]:
    n_heads, n_kv_heads = (getattr(case.config, name, 0) for name in ("n_heads", "n_kv_heads"))
    if not n_kv_heads or n_kv_heads in (1, n_heads):
        return
    for sizes in ((n_heads // n_kv_heads, n_kv_heads), (n_kv_heads, n_heads // n_kv_heads)):

        def change(name: str, tensor: Tensor, sizes: tuple[int, int] = sizes) -> Tensor | None:
            if name.rpartition(".")[0].endswith("attn.q_proj"):
                return tensor.unflatten(0, (*sizes, -1)).transpose(0, 1).flatten(0, 2)
            if name.endswith("attn.o_proj.weight"):
                return tensor.unflatten(1, (*sizes, -1)).transpose(1, 2).flatten(1, 3)
            return None

        yield Hypothesis(
            "query heads in the wrong order",
            "the query heads are not grouped by the key-value head that they share",
            "query heads 0 .. n-1 share the first key-value head, the next n the second, and so on",
            weights=each(change),
        )


# --- feed-forward ---


def gate_and_up(case: Case) -> Iterator[Hypothesis]:
    gates = [name for name in case.weights if "gate_proj" in name]
    source = {name: name.replace("gate_proj", "up_proj") for name in gates}
    if source:
        yield Hypothesis(
            "swapped gate and up",
            "what stands in gate_proj belongs in up_proj, and the other way round",
            "Meta's w1 is gate_proj, w3 is up_proj, w2 is down_proj",
            weights=taken_from(source | {up: gate for gate, up in source.items()}),
        )


def experts(case: Case) -> Iterator[Hypothesis]:
    n = getattr(case.config, "n_experts", 0)
    layers = [
        layer for layer in range(n_layers(case)) if f"blocks.{layer}.mlp.experts.0.gate_proj.weight" in case.weights
    ]
    if not layers:
        return
    orders: list[dict[int, tuple[int, ...]]] = []
    matched = {layer: _matching_experts(case, layer, n) for layer in layers}
    if all(matched.values()):
        orders.append({layer: order for layer, order in matched.items() if order})
    else:
        orders += [dict.fromkeys(layers, order) for order in _near_orders(n)]
    for order_by_layer in orders:
        source = {}
        for layer, order in order_by_layer.items():
            for place, found in enumerate(order):
                for kind in ("gate", "up", "down"):
                    prefix = f"blocks.{layer}.mlp.experts"
                    source[f"{prefix}.{place}.{kind}_proj.weight"] = f"{prefix}.{found}.{kind}_proj.weight"
        order = next(iter(order_by_layer.values()))
        yield Hypothesis(
            "permuted experts",
            "the experts stand in another order than the rows of the router: "
            f"in block {next(iter(order_by_layer))} the router means {', '.join(map(str, order))} by 0 to {n - 1}",
            "number the experts as numbers, not as texts (10 comes after 9, not after 1), as the router does",
            weights=taken_from(source),
        )


def _matching_experts(case: Case, layer: int, n: int) -> tuple[int, ...]:
    """For each expert of the judge, the one of ours with its very weights; empty where they cannot be paired."""
    name = "blocks.{}.mlp.experts.{}.gate_proj.weight"
    theirs = [case.judge.weights.get(name.format(layer, expert)) for expert in range(n)]
    ours = [case.weights[name.format(layer, expert)] for expert in range(n)]
    order = []
    for right in theirs:
        same = [i for i, tensor in enumerate(ours) if right is not None and torch.equal(tensor, right)]
        order += same[:1]
    return tuple(order) if sorted(order) == list(range(n)) and order != list(range(n)) else ()


def _near_orders(n: int) -> Iterator[tuple[int, ...]]:
    same = tuple(range(n))
    if n <= MAX_PERMUTED:
        yield from (order for order in itertools.permutations(same) if order != same)
        return
    yield same[::-1]
    yield from (same[shift:] + same[:shift] for shift in range(1, n))
    by_text = sorted(same, key=str)
    yield tuple(by_text.index(i) for i in same)
    for a, b in itertools.combinations(same, 2):
        order = list(same)
        order[a], order[b] = b, a
        yield tuple(order)


# --- matrices, blocks, rows ---


def transposed(case: Case) -> Iterator[Hypothesis]:
    """GPT-2's Conv1D keeps (in, out). Only a square matrix can be forgotten without an error."""
    square = {n for n, t in case.weights.items() if t.ndim == 2 and t.shape[0] == t.shape[1] and "embed" not in n}
    kinds = sorted({name.split(".", 2)[2] for name in square if name.startswith("blocks.")})
    groups = [[kind] for kind in kinds] + ([kinds] if len(kinds) > 1 else [])
    for group in groups:

        def change(name: str, tensor: Tensor, group: list[str] = group) -> Tensor | None:
            return tensor.T.contiguous() if name in square and name.endswith(tuple(group)) else None

        yield Hypothesis(
            "transposed Conv1D",
            f"{', '.join(kind.removesuffix('.weight') for kind in group)} is transposed: Conv1D keeps (in, out), "
            "Linear (out, in), and a square matrix does not show it",
            "transpose it when it is read (HF_TRANSPOSED in the family's file)",
            weights=each(change),
        )

    def reshaped(name: str, tensor: Tensor) -> Tensor | None:
        is_matrix = tensor.ndim == 2 and name.startswith("blocks.") and ".attn." not in name
        return tensor.reshape(tensor.shape[::-1]).T.contiguous() if is_matrix else None

    yield Hypothesis(
        "reshaped Conv1D",
        "the matrices of the feed-forward were given the right shape by reshape or view, which mixes their numbers",
        "transpose them with .T",
        weights=each(reshaped),
    )


def block_order(case: Case) -> Iterator[Hypothesis]:
    n = n_layers(case)
    by_text = sorted(range(n), key=str)
    for order, sentence in (
        (
            [by_text.index(i) for i in range(n)],
            "the blocks are sorted by their numbers as texts: 0, 1, 10, 11, 2",
        ),
        (list(reversed(range(n))), "the blocks stand in reverse order"),
    ):
        if order != list(range(n)):
            source = {}
            for name in case.weights:
                if name.startswith("blocks."):
                    _, layer, rest = name.split(".", 2)
                    source[name] = f"blocks.{order[int(layer)]}.{rest}"
            hint = "sort the names of tensors by their numbers"
            yield Hypothesis("blocks in the wrong order", sentence, hint, weights=taken_from(source))


def swapped_norms(case: Case) -> Iterator[Hypothesis]:
    for one, other in (("attn_norm", "mlp_norm"), ("q_norm", "k_norm")):
        source = {n: n.replace(one, other) for n in case.weights if one in n}
        if source:
            yield Hypothesis(
                "swapped norms",
                f"what stands in {one} belongs in {other}, and the other way round",
                "the first norm of a block is that of attention",
                weights=taken_from(source | {there: here for here, there in source.items()}),
            )


def embedding_rows(case: Case) -> Iterator[Hypothesis]:
    """The row that the judge reads for an id may stand elsewhere in our table."""
    rows = case.judge.activations.get("tok_embed")
    table = case.weights.get("tok_embed.weight")
    if rows is None or table is None or rows.shape[-1] != table.shape[-1]:
        return
    ids, rows = case.ours.ids.flatten(), rows.flatten(0, -2)
    shifts = set()
    for id, row in list(zip(ids.tolist(), rows, strict=True))[:8]:
        same = (table == row).all(-1).nonzero().flatten().tolist()
        shifts.add(same[0] - id if same else None)
    shift = shifts.pop()
    if shift and not shifts:
        yield Hypothesis(
            "shifted vocabulary",
            f"the row of id n stands at n {shift:+d} in the embedding",
            "the tokenizer's special tokens come first in one of the two, and last in the other",
            weights=each(lambda name, t: t.roll(-shift, 0) if name.startswith(("tok_embed", "lm_head")) else None),
        )


FAULTS = (
    rope_layout, qkv_order, transposed, gate_and_up, experts, grouped_heads, swapped_norms, block_order, embedding_rows,
)  # fmt: skip


def hypotheses(case: Case) -> Iterator[Hypothesis]:
    for fault in FAULTS:
        yield from fault(case)
