"""The feed-forward half of a block: every position alone is widened to `d_ff`, bent, and narrowed again."""

from jaxtyping import Float
from torch import Tensor, nn

from groundup.layers.activations import gelu_tanh, silu
from groundup.layers.kernels import Kernels
from groundup.layers.linear import Linear


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
    """down(gelu(up(x))), the feed-forward of GPT-2."""

    def __init__(self, d_model: int, d_ff: int, bias: bool = True, kernels: Kernels = "fused"):
        super().__init__()
        self.kernels: Kernels = kernels
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        return self.down_proj(gelu_tanh(self.up_proj(x), self.kernels))


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
