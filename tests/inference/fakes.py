"""A model and a tokenizer small enough to know by heart, with the call signatures of the real ones."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn


class FakeCache:
    """Remembers the ids; `append` is what the real cache's is to keys and values."""

    def __init__(self, batch_size: int, max_length: int):
        self.ids = torch.zeros(batch_size, max_length, dtype=torch.long)
        self.positions = torch.zeros(batch_size, max_length, dtype=torch.long)
        self.length = 0

    def append(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        end = self.length + ids.shape[1]
        self.ids[:, self.length : end] = ids
        self.positions[:, self.length : end] = positions
        self.length = end
        return self.ids[:, :end], self.positions[:, :end]

    def keep(self, rows: Tensor) -> None:
        self.ids, self.positions = self.ids[rows], self.positions[rows]


class FakeModel(nn.Module):
    """Uniform attention over embeddings of ids and positions: every real id before the last one matters, no pad may."""

    def __init__(self, vocab_size: int = 40, context_length: int = 32, d_model: int = 16):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.tok_embed = nn.Parameter(torch.randn(vocab_size, d_model, generator=generator))
        self.pos_embed = nn.Parameter(torch.randn(context_length, d_model, generator=generator))
        self.lm_head_weight = nn.Parameter(torch.randn(vocab_size, d_model, generator=generator))
        self.widths: list[int] = []

    def new_cache(self, batch_size: int, max_length: int, dtype: torch.dtype) -> FakeCache:
        return FakeCache(batch_size, max_length)

    def hidden(self, ids: Tensor, *, cache=None, positions=None, mask=None) -> Tensor:
        cache = cache or FakeCache(len(ids), ids.shape[1])
        start, self.widths = cache.length, [*self.widths, len(ids)]
        if positions is None:
            positions = torch.arange(start, start + ids.shape[1]).expand_as(ids)
        all_ids, all_positions = cache.append(ids, positions)
        if mask is None:
            mask = torch.ones(ids.shape[1], cache.length, dtype=torch.bool).tril(start)[None, None]
        weight = mask[:, 0].float() / mask[:, 0].sum(-1, keepdim=True)
        values = self.tok_embed[all_ids] * (1 + self.pos_embed[all_positions])
        return torch.tanh(weight @ values + values[:, start:])

    def forward(self, ids: Tensor, **options) -> Tensor:
        return self.hidden(ids, **options) @ self.lm_head_weight.T


class FakeTokenizer:
    """One id per character of a short alphabet, after an end token and the two of a chat."""

    special_ids = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    alphabet = "abcdefghijklmnopqrstuvwxyz .!?\n\"'0123"
    stop_ids = (0, 2)
    eos_id = 0
    chat_template = None

    def encode(self, text: str) -> np.ndarray:
        return np.array([self.alphabet.index(letter) + 3 for letter in text], dtype=np.uint32)

    def decode(self, ids, skip_special: bool = False) -> str:
        names = {id_: "" if skip_special else name for name, id_ in self.special_ids.items()}
        return "".join(names[id_] if id_ in names else self.alphabet[id_ - 3] for id_ in ids)

    def stream(self):
        return SimpleNamespace(push=lambda id_: self.alphabet[id_ - 3], flush=lambda: "")
