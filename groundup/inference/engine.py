"""Prompts in, new token ids out: one pass over the prompts, then one token at a time with a key-value cache.

Prompts of different lengths run together, padded on the left so that all of them end in the same column:

    slot      0  1  2  3  4 | 5  6          positions  0 0 0 1 2 | 3 4
    prompt A  .  .  a  b  c | x  y                     0 1 2 3 4 | 5 6
    prompt B  d  e  f  g  h | z  w

Positions count from each prompt's first real id and no real id attends to a pad, so a row computes what it would
compute alone. Text, stop strings and chat templates are not known here: `text_stream.py` has them.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from groundup.inference import sampling
from groundup.inference.generation import Generation
from groundup.inference.history import History
from groundup.inference.prompt import checked_prompt
from groundup.inference.settings import Settings


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    on_token: Callable[[int, int], Any] | None = None,
    batch_size: int = 64,
) -> list[Generation]:
    """Continues every prompt; the results stand in the order of the prompts.

    A sequence never grows beyond the model's `context_length`: it ends there with the reason "length".
    `on_token(index of the prompt, id)` is called for each new id; a true answer ends that sequence ("stop").
    Prompts of similar length share a batch of at most `batch_size` rows. Raises UsageError for a prompt that is
    empty, does not fit in the context or has ids the model does not know.
    """
    seed = settings.some_seed()
    copies: Counter[tuple[int, ...]] = Counter()
    rows = []
    for index, prompt in enumerate(prompts):
        ids = _checked(prompt, index, model, settings)
        rows.append(_Row(index, Generation(list(ids)), sampling.noise(seed, ids, copies[ids]), History(ids)))
        copies[ids] += 1

    by_length = sorted(rows, key=lambda row: len(row.result.prompt_ids))
    for start in range(0, len(rows), batch_size):
        for row, id_ in _decode(model, by_length[start : start + batch_size], settings):
            if on_token is not None and on_token(row.index, id_):
                row.result.finish_reason = "stop"
    return [row.result for row in rows]


def stream(model: nn.Module, prompt: Sequence[int], settings: Settings, copy: int = 0) -> Generator[int, None, None]:
    """The new ids of one prompt, each as soon as it is drawn; the stop id, if one comes, is the last.

    They are the ids that `generate` returns for this prompt, or its given copy, with the same settings and seed.
    """
    ids = _checked(prompt, 0, model, settings)
    row = _Row(0, Generation(list(ids)), sampling.noise(settings.some_seed(), ids, copy), History(ids))
    for _, id_ in _decode(model, [row], settings):
        yield id_


@dataclass
class _Row:
    """One sequence on its way."""

    index: int
    result: Generation
    noise: np.random.Generator
    history: History

    @property
    def is_done(self) -> bool:
        return bool(self.result.finish_reason)

    def go_on(self, logits: np.ndarray, settings: Settings, context_length: int) -> int:
        """The next id, drawn from logits (vocab_size,) and added to the result."""
        result = self.result
        id_ = sampling.choose(logits, settings, self.history, self.noise.random())
        self.history.add(id_)
        result.ids.append(id_)
        result.logprobs.append(sampling.log_probability(logits, id_))
        if settings.n_alternatives:
            result.alternatives.append(sampling.alternatives(logits, settings.n_alternatives))
        if id_ in settings.stop_ids:
            result.ends_with_stop_id = True
            result.finish_reason = "stop"
        elif len(result.ids) >= settings.max_new_tokens or len(result.prompt_ids) + len(result.ids) >= context_length:
            result.finish_reason = "length"
        return id_


@torch.no_grad()  # inference_mode would leave weights that FSDP gathers here unusable for training
def _decode(model: Any, rows: list[_Row], settings: Settings) -> Iterator[tuple[_Row, int]]:
    """Runs one batch to its end, yielding (row, id) for each new id."""
    weight, context_length = model.lm_head_weight, model.config.context_length
    ids, is_real = _pad_left([row.result.prompt_ids for row in rows], weight.device)
    n_new = min(settings.max_new_tokens, context_length - min(len(row.result.prompt_ids) for row in rows))
    cache = model.new_cache(len(rows), ids.shape[1] + n_new, weight.dtype)

    with _evaluating(model):
        while True:
            # The first pass takes whole prompts, each later one only the newest id: the cache has the rest.
            positions = _positions(is_real, ids.shape[1], context_length)
            hidden = model.hidden(ids, cache=cache, positions=positions, mask=_mask(is_real, ids.shape[1]))
            logits = model.logits_of(hidden[:, -1]).float().cpu().numpy()

            for row, of_row in zip(rows, logits, strict=True):
                if not row.is_done:
                    yield row, row.go_on(of_row, settings, context_length)

            # A finished row that waits to be dropped repeats its last id.
            ids = torch.tensor([row.result.ids[-1:] for row in rows], device=weight.device)
            is_real = torch.cat([is_real, torch.ones_like(ids, dtype=torch.bool)], dim=-1)

            # Dropping rows copies the cache, so it waits until half of them are done.
            going = [i for i, row in enumerate(rows) if not row.is_done]
            if not going:
                return
            if len(going) <= len(rows) / 2:
                kept = torch.tensor(going)
                cache.keep(kept)
                rows, ids, is_real = [rows[i] for i in going], ids[kept], is_real[kept]


def _pad_left(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids (B, T) that end together, and which of them are no padding, (B, T) boolean."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, torch.arange(width, device=device) >= width - lengths[:, None]


def _positions(is_real: Tensor, n_newest: int, context_length: int) -> Tensor | None:
    """Positions (B, T) of the newest T slots; None, which means simply counted, where nothing is padded.

    A finished row that waits to be dropped stays at the last position there is.
    """
    if is_real.all() and is_real.shape[1] <= context_length:
        return None
    return (is_real.cumsum(-1) - 1).clamp(0, context_length - 1)[:, -n_newest:]


def _mask(is_real: Tensor, n_newest: int) -> Tensor | None:
    """What the newest T slots may attend to, (B, 1, T, S), true = attend; None, which means causal, without padding.

    A pad attends to itself, because a softmax over nothing is not a number; nothing real attends to a pad.
    """
    if is_real.all():
        return None
    slot = torch.arange(is_real.shape[1], device=is_real.device)
    query = slot[-n_newest:, None]
    return ((slot <= query) & is_real[:, None, None, :]) | (slot == query)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, and afterwards as it was: samples are also drawn in the middle of training."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _checked(prompt: Sequence[int], index: int, model: Any, settings: Settings) -> tuple[int, ...]:
    """The prompt's ids as plain integers, if the model can take them and the settings."""
    settings.check_vocabulary(model.config.vocab_size)
    return checked_prompt(prompt, model.config.vocab_size, model.config.context_length, f"prompt {index + 1}")
