"""What a stage looks at while it trains: the loss on a fixed set of rows, and what the model writes after a prompt."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from groundup.data.batches import Batch
from groundup.evaluate.loss import byte_lengths, held_out_loss
from groundup.inference import engine
from groundup.inference.settings import Settings
from groundup.models import shape_of
from groundup.tokenizer.protocol import Tokenizer
from groundup.train import plots
from groundup.train.run_folder import RunFolder

REDRAW_SECONDS = 30.0  # a drawing takes most of a second


class Checkup:
    """Called by the loop with (model, step): returns `val_loss` and `val_bits_per_byte`, records samples, draws plots.

    `prompts` are (text to show, ids to continue); `show(step, prompt, text)` is told what the model wrote.
    The rows and the seed never change, so numbers of a run compare.
    """

    def __init__(
        self,
        rows: list[Batch],
        tokenizer: Tokenizer,
        run: RunFolder,
        prompts: Sequence[tuple[str, np.ndarray]] = (),
        max_new_tokens: int = 80,
        show: Callable[[int, str, str], object] = lambda step, prompt, text: None,
    ):
        self._rows = rows
        self._tokenizer = tokenizer
        self._run = run
        self._prompts = prompts
        self._show = show
        self._lengths = byte_lengths(tokenizer)
        self._drawn_at = time.monotonic()
        self._redraw_seconds = REDRAW_SECONDS
        self._settings = Settings(max_new_tokens=max_new_tokens, temperature=0.7, seed=0, stop_ids=tokenizer.stop_ids)

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]:
        """Raises nothing that training should die of: a prompt too long for the context is cut on the left."""
        longest = shape_of(model).context_length // 2
        if self._prompts:
            ids = [prompt[-longest:].tolist() for _, prompt in self._prompts]
            for (shown, _), made in zip(self._prompts, engine.generate(model, ids, self._settings), strict=True):
                # A young model may spell half of a surrogate pair, which no file of UTF-8 can hold.
                text = self._tokenizer.decode_bytes(made.text_ids, skip_special=False).decode("utf-8", "replace")
                self._run.sample(step, shown, text)
                self._show(step, shown, text)
        began = time.monotonic()
        if began - self._drawn_at > self._redraw_seconds:
            plots.draw_if_possible(self._run.path)
            self._drawn_at = time.monotonic()
            # A long run has a long table to read: drawing must stay a small part of it.
            self._redraw_seconds = max(REDRAW_SECONDS, 50 * (self._drawn_at - began))
        if not self._rows:
            return {}
        result = held_out_loss(model, self._rows, self._lengths)
        metrics = {"val_loss": result["loss"]}
        if "bits_per_byte" in result:
            metrics["val_bits_per_byte"] = result["bits_per_byte"]
        return metrics
