"""The feed-forward half of a block: every position alone is widened to `d_ff`, bent, and narrowed again."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from groundup.layers.activations import ACTIVATIONS, silu
from groundup.layers.kernels import Kernels, is_fused
from groundup.layers.linear import Linear
from groundup.layers.softmax import at_least_fp32, softmax


def hidden_size(d_model: int, multiple_of: int = 64, multiplier: float | None = None) -> int:
    """Meta's rule for the `d_ff` of a SwiGLU.

    A SwiGLU has three matrices where an MLP has two, so 2/3 of the usual 4 · d_model keeps the number of parameters.
    Some sizes then stretch it by a multiplier; the result is rounded up to a multiple that the hardware likes.

    hidden_size(4096, 256) == 11008    hidden_size(8192, 4096, 1.3) == 28672    hidden_size(1024, 64) == 2752
    """
    size = int(2 / 3 * 4 * d_model)
    if multiplier is not None:
        size = int(multiplier * size)
    return -(-size // multiple_of) * multiple_of


class MLP(nn.Module):
    """down(activation(up(x))), the feed-forward of GPT-2. `activation` is a name in ACTIVATIONS."""

    def __init__(
        self, d_model: int, d_ff: int, bias: bool = True, kernels: Kernels = "fused", activation: str = "gelu_tanh"
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; valid values are {', '.join(ACTIVATIONS)}")
        self.activate = ACTIVATIONS[activation]
        self.kernels: Kernels = kernels
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        return self.down_proj(self.activate(self.up_proj(x), self.kernels))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)): a second map decides how much of each hidden unit passes.

    Shazeer 2020, arXiv 2002.05202. The feed-forward of Llama.
    """

    def __init__(self, d_model: int, d_ff: int, bias: bool = False, kernels: Kernels = "fused"):
        super().__init__()
        self.kernels: Kernels = kernels
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        return self.down_proj(silu(self.gate_proj(x), self.kernels) * self.up_proj(x))


class MixtureOfExperts(nn.Module):
    """Several SwiGLUs, of which every position uses the `n_active` that a router finds best for it.

    The parameters of all, at the cost per position of a few. Shazeer et al. 2017, arXiv 1701.06538; in the form of
    Mixtral, Jiang et al. 2024, arXiv 2401.04088: softmax over the chosen experts' scores, computed in fp32.
    Nothing here keeps the experts equally busy in training: that is the business of a loss.
    """

    def __init__(self, d_model: int, d_ff: int, n_experts: int, n_active: int, kernels: Kernels = "fused"):
        super().__init__()
        if not 1 <= n_active <= n_experts:
            raise ValueError(f"n_active is {n_active}; valid values are from 1 to n_experts, which is {n_experts}")
        self.n_active = n_active
        self.is_fused = is_fused(kernels)
        self.router = Linear(d_model, n_experts)
        self.experts = nn.ModuleList(SwiGLU(d_model, d_ff, kernels=kernels) for _ in range(n_experts))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        rows = x.reshape(-1, x.shape[-1])
        shares, chosen = self.choose(rows)
        if self.is_fused:
            return self.by_expert(rows, shares, chosen).view_as(x)

        # Every expert looks at every position, and a share of zero silences those that were not chosen.
        all_shares = shares.new_zeros(len(rows), len(self.experts)).scatter(-1, chosen, shares)
        y = torch.zeros_like(rows, dtype=shares.dtype)
        for expert, share in zip(self.experts, all_shares.unbind(-1), strict=True):
            y = y + share[:, None] * expert(rows)
        return y.to(x.dtype).view_as(x)

    def choose(self, rows: Float[Tensor, "N d_model"]) -> tuple[Float[Tensor, "N n_active"], Int[Tensor, "N n_active"]]:
        """The share of each chosen expert in the output, summing to one, and which experts these are."""
        scores, chosen = at_least_fp32(self.router(rows)).topk(self.n_active)
        return softmax(scores), chosen

    def by_expert(
        self,
        rows: Float[Tensor, "N d_model"],
        shares: Float[Tensor, "N n_active"],
        chosen: Int[Tensor, "N n_active"],
    ) -> Float[Tensor, "N d_model"]:
        """Sorts the positions by expert, so that each expert runs once, over its own positions only."""
        order = chosen.flatten().argsort(stable=True)
        n_rows = chosen.flatten().bincount(minlength=len(self.experts)).tolist()
        row = order // self.n_active
        # An expert that nobody chose runs over nothing, which gives its weights a gradient of zero and not none.
        parts = rows[row].split(n_rows)
        y = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        y = y * shares.flatten()[order, None]
        return torch.zeros_like(rows, dtype=y.dtype).index_add(0, row, y).to(rows.dtype)
