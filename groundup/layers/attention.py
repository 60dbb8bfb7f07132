"""Attention: each position gathers from others what it needs. Vaswani et al. 2017, arXiv 1706.03762.

`attention` is the formula, for any leading dimensions; `Attention` is the layer around it, with its four projections,
several heads, and fewer key-value heads than query heads where memory counts (grouped-query attention,
Ainslie et al. 2023, arXiv 2305.13245):

    n_kv_heads = n_heads          n_kv_heads = 2, n_heads = 4      n_kv_heads = 1
    q  q  q  q                    q  q  q  q                       q  q  q  q
    |  |  |  |                     \\/    \\/                         \\__\\/__/
    kv kv kv kv                    kv    kv                           kv
    multi-head                    grouped-query                    multi-query

How queries and keys learn their positions, and what the combinations are called, is in rope.py.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from groundup.layers.cache import KVCache
from groundup.layers.dropout import dropout as drop
from groundup.layers.kernels import Kernels, is_fused
from groundup.layers.linear import Linear
from groundup.layers.masks import causal_mask, window_mask
from groundup.layers.norms import RMSNorm
from groundup.layers.rope import Rotation, rotate
from groundup.layers.softmax import softmax


def repeat_heads(x: Float[Tensor, "... n_kv_heads S head_dim"], n: int) -> Float[Tensor, "... n_heads S head_dim"]:
    """Gives each key-value head to the n query heads of its group: heads a, b become a, a, b, b for n = 2."""
    return x.repeat_interleave(n, dim=-3)


def attention(
    q: Float[Tensor, "... T head_dim"],
    k: Float[Tensor, "... S head_dim"],
    v: Float[Tensor, "... S head_dim"],
    mask: Bool[Tensor, "... #T #S"] | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
    kernels: Kernels = "fused",
    *,
    window: int | None = None,
    scale: float | None = None,
) -> Float[Tensor, "... T head_dim"]:
    """softmax(q kᵀ · scale) v: a mean of the values, weighted by how well each key fits the query.

    `mask` broadcasts to (..., T, S); true means attend. A query that may attend to nothing gets zeros.
    `is_causal`, in place of a mask, means: each of the T queries, which are the last of the S positions, sees no
    later one. `window` is how many positions a query reaches back at most, itself included, in addition to either.
    In dimension -3, `q` may have more heads than `k` and `v`: each of theirs then serves a group of equal size.
    `scale` None means 1 / sqrt(head_dim). `dropout` is the share of weights set to zero; pass 0 outside training.
    """
    if window is not None and window < k.shape[-2]:
        k, v, mask = within_window(q, k, v, mask, is_causal, window)
    T, S = q.shape[-2], k.shape[-2]
    n_groups = q.shape[-3] // k.shape[-3] if q.ndim > 2 else 1
    if T == 1:
        is_causal = False  # the last position sees them all
    if is_causal and mask is None and T < S:
        mask = causal_mask(T, S, device=q.device)
    is_square_causal = is_causal and mask is None

    if is_fused(kernels):
        if is_best_by_products(q, k, mask, dropout):
            y = by_products(q, k, v, causal_mask(T, S, device=q.device) if is_square_causal else mask, scale)
            # Looking at the mask, as `is_best_by_products` does, would cut a compiled graph in two.
            return y * mask.any(-1, keepdim=True) if mask is not None and torch.compiler.is_compiling() else y
        if T == 1 and n_groups > 1 and (mask is None or mask.ndim < 3 or mask.shape[-3] == 1):
            # What the heads of a group ask are several queries of the head that they share: no key is repeated, which
            # halves the time.
            grouped = q.squeeze(-2).unflatten(-2, (-1, n_groups))
            y = F.scaled_dot_product_attention(grouped, k, v, mask, dropout, scale=scale)
            return y.flatten(-3, -2).unsqueeze(-2)
        return F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_square_causal, scale=scale, enable_gqa=n_groups > 1
        )

    if n_groups > 1:
        k, v = repeat_heads(k, n_groups), repeat_heads(v, n_groups)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_square_causal:
        mask = causal_mask(T, S, device=q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return drop(softmax(scores), dropout, kernels) @ v


def within_window(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, window: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys and values without what no query reaches back to, and the mask that hides the rest.

    One query at the end of a long cache costs `window` positions, however long the cache is.
    """
    T = q.shape[-2]
    S = min(k.shape[-2], T + window - 1)
    k, v = k[..., -S:, :], v[..., -S:, :]
    if T == 1:
        return k, v, None if mask is None else mask[..., -S:]
    if mask is None:
        return k, v, (causal_mask if is_causal else window_mask)(T, S, window, q.device)
    return k, v, mask[..., -S:] & window_mask(T, S, window, q.device)


def is_best_by_products(q: Tensor, k: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Training in bf16 on a CPU: PyTorch's fused kernel takes 2 to 6 times as long, mostly in its backward pass."""
    is_training = torch.is_grad_enabled() and q.requires_grad and not dropout
    is_small_bf16 = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.ndim > 2 and k.shape[-2] <= 1024
    return is_training and is_small_bf16 and (mask is None or torch.compiler.is_compiling() or bool(mask.any(-1).all()))


def by_products(
    q: Float[Tensor, "... n_heads T head_dim"],
    k: Float[Tensor, "... n_kv_heads S head_dim"],
    v: Float[Tensor, "... n_kv_heads S head_dim"],
    mask: Bool[Tensor, "... #T #S"] | None,
    scale: float | None = None,
) -> Float[Tensor, "... n_heads T head_dim"]:
    """The formula as two batched products, the mask and the scale folded into the first as an addend and a factor.

    A query that may attend to nothing gets the mean of the values here.
    """
    n_groups = q.shape[-3] // k.shape[-3]
    if n_groups > 1:
        k, v = repeat_heads(k, n_groups), repeat_heads(v, n_groups)
    addend = q.new_zeros(1) if mask is None else q.new_zeros(mask.shape).masked_fill_(~mask, -1e9)
    addend = addend.expand(*q.shape[:-1], k.shape[-2]).flatten(0, -3)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = torch.baddbmm(addend, q.flatten(0, -3), k.flatten(0, -3).mT, alpha=scale)
    return (torch.softmax(scores, -1) @ v.flatten(0, -3)).view(q.shape[:-1] + v.shape[-1:])


class Attention(nn.Module):
    """Multi-head self-attention over T positions; usually (B, T, d_model), and a cache needs exactly that.

    layer: this layer's place in a KVCache.
    head_dim: d_model / n_heads where it is not given; it may be anything.
    out_bias: whether `o_proj` has a bias; as `bias`, which is that of the other three, where it is not given.
    qk_norm_eps: if given, every query and key head is normed before it is turned (`q_norm`, `k_norm`), which bounds
        the scores. Henry et al. 2020, arXiv 2010.04245; in this form in Qwen3.
    window: how many positions a query reaches back, itself included. Beltagy et al. 2020, arXiv 2004.05150.
    scale: factor of the scores; 1 / sqrt(head_dim) where it is not given.
    interleaved: the layout of pairs that `rotation` turns (see rope.py).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        *,
        bias: bool = False,
        out_bias: bool | None = None,
        qk_norm_eps: float | None = None,
        window: int | None = None,
        scale: float | None = None,
        interleaved: bool = False,
        dropout: float = 0.0,
        kernels: Kernels = "fused",
        layer: int = 0,
    ):
        super().__init__()
        n_kv_heads = n_kv_heads or n_heads
        head_dim = head_dim or d_model // n_heads
        if n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads is {n_kv_heads}; it must divide n_heads, which is {n_heads}")
        if window is not None and window < 1:
            raise ValueError(f"window is {window}; valid values are whole numbers from 1, and None for no window")

        self.head_dim = head_dim
        self.window = window
        self.scale = scale
        self.interleaved = interleaved
        self.dropout = dropout
        self.kernels: Kernels = kernels
        self.layer = layer
        self.q_proj = Linear(d_model, n_heads * head_dim, bias)
        self.k_proj = Linear(d_model, n_kv_heads * head_dim, bias)
        self.v_proj = Linear(d_model, n_kv_heads * head_dim, bias)
        self.o_proj = Linear(n_heads * head_dim, d_model, bias if out_bias is None else out_bias)
        self.q_norm = None if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps, kernels)
        self.k_norm = None if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps, kernels)

    def forward(
        self,
        x: Float[Tensor, "... T d_model"],
        mask: Bool[Tensor, "... #T S"] | None = None,
        rotation: Rotation | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "... T d_model"]:
        """`mask` None is causal; otherwise it is used as is, within the window. `rotation` turns queries and keys."""
        # (B, T, n_heads * head_dim) -> (B, n_heads, T, head_dim): from here on, heads are a batch of their own.
        q = self.q_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)
        k = self.k_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)

        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = rotate(q, *rotation, self.interleaved), rotate(k, *rotation, self.interleaved)

        # Keys are stored as they were turned at their own position, so they need no second turn later.
        if cache is not None:
            k, v = cache.append(self.layer, k, v)

        dropout = self.dropout if self.training else 0.0
        is_causal = mask is None
        y = attention(q, k, v, mask, is_causal, dropout, self.kernels, window=self.window, scale=self.scale)
        return self.o_proj(y.transpose(-3, -2).flatten(-2))
