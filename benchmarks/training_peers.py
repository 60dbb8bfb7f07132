"""The other sides of training.py, each as its own people train with it: a function that makes one step.

nanoGPT        its block and its loop, written anew from its description (https://github.com/karpathy/nanoGPT):
               one product for queries, keys and values, PyTorch's own attention, the exact GELU, a tied head,
               logits at once, AdamW, the norm of the gradients clipped at 1. On a CPU it trains in fp32, eager.
plain torch    the same with what PyTorch offers and no more: bf16 autocast, torch.compile, fused AdamW.
transformers   its Llama, as from_pretrained gives it, in fp32 or with bf16 autocast and torch.compile.
litgpt         its GPT of the same shape, where it is installed, with bf16 autocast and torch.compile.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[], float]
"""Makes one step over a batch and returns its mean loss."""


class NanoBlock(nn.Module):
    def __init__(self, d_model: int, n_heads: int, bias: bool):
        super().__init__()
        self.n_heads = n_heads
        self.attn_norm = nn.LayerNorm(d_model, bias=bias)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.out = nn.Linear(d_model, d_model, bias=bias)
        self.mlp_norm = nn.LayerNorm(d_model, bias=bias)
        self.up = nn.Linear(d_model, 4 * d_model, bias=bias)
        self.down = nn.Linear(4 * d_model, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.attn_norm(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class NanoGPT(nn.Module):
    def __init__(self, vocab_size: int, context: int, n_layers: int, d_model: int, n_heads: int, bias: bool):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.places = nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(NanoBlock(d_model, n_heads, bias) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model, bias=bias)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def take(self, ours: nn.Module) -> None:
        """The weights of our GPT-2, where this has a place for them."""
        theirs = {"tokens": ours.tok_embed, "places": ours.pos_embed, "norm": ours.final_norm}
        for i, block in enumerate(ours.blocks):  # pyright: ignore[reportArgumentType]
            at = f"blocks.{i}"
            theirs |= {f"{at}.attn_norm": block.attn_norm, f"{at}.out": block.attn.o_proj}
            theirs |= {
                f"{at}.mlp_norm": block.mlp_norm,
                f"{at}.up": block.mlp.up_proj,
                f"{at}.down": block.mlp.down_proj,
            }
            joined = self.get_submodule(f"{at}.qkv")
            for kind, parameter in joined.named_parameters():
                parts = [getattr(block.attn, f"{name}_proj") for name in "qkv"]
                parameter.copy_(torch.cat([getattr(part, kind) for part in parts]))
        for name, module in theirs.items():
            for kind, parameter in self.get_submodule(name).named_parameters():
                parameter.copy_(getattr(module, kind))


def nano_gpt(shape: dict[str, int], ids: Tensor, *, bias: bool, tuned: bool, ours: nn.Module | None = None) -> Step:
    """nanoGPT as it ships, or `tuned`: a plain torch loop with bf16 autocast, compiled."""
    torch.manual_seed(0)
    model = NanoGPT(
        shape["vocab_size"], shape["context_length"], shape["n_layers"], shape["d_model"], shape["n_heads"], bias
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, 0, 0.02)
    if ours is not None:
        model.take(ours)
    called = torch.compile(model) if tuned else model
    return loop(model, lambda: called(ids[:, :-1], ids[:, 1:].contiguous()), tuned)


def transformers_llama(folder: Path, ids: Tensor, *, tuned: bool) -> Step:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    called = torch.compile(model) if tuned else model

    def loss() -> Tensor:
        return F.cross_entropy(called(ids[:, :-1]).logits.flatten(0, 1).float(), ids[:, 1:].flatten())

    return loop(model, loss, tuned)


def has_litgpt() -> bool:
    return importlib.util.find_spec("litgpt") is not None


def litgpt(shape: dict[str, int], ids: Tensor) -> Step:
    """Its own configuration of this shape: LayerNorm, RoPE and GELU as in Pythia, no biases, the head tied."""
    import litgpt as peer  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    config = peer.Config(
        name="shape-a", block_size=shape["context_length"], padded_vocab_size=shape["vocab_size"],
        vocab_size=shape["vocab_size"], n_layer=shape["n_layers"], n_head=shape["n_heads"], n_embd=shape["d_model"],
        bias=False, parallel_residual=False, rotary_percentage=1.0,
    )  # fmt: skip
    model = peer.GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    model.apply(model._init_weights)
    called = torch.compile(model)
    return loop(model, lambda: F.cross_entropy(called(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()), True)


def loop(model: nn.Module, loss_of_batch: Callable[[], Tensor], tuned: bool) -> Step:
    """nanoGPT's loop: forward, backward, clip, AdamW (which it fuses on a GPU only; a tuned loop does so here too)."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=tuned)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            loss = loss_of_batch()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    step.n_parameters = sum(parameter.numel() for parameter in model.parameters())  # pyright: ignore[reportFunctionMemberAccess]
    return step
