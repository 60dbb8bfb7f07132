"""The running mean of the weights, which is often a better model than the weights themselves.

Each step moves the mean a little towards the weights: mean <- d · mean + (1 - d) · weights, with d = `decay`. Noise
that pushes the weights to and fro cancels in it (Polyak and Juditsky 1992, https://doi.org/10.1137/0330046).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

N_UPDATES = "ema_n_updates"


class Ema:
    """Holds one mean for each parameter, under its name.

    The t-th update takes min(decay, (1 + t) / (10 + t)), so that a short run forgets its random start: over t steps the
    mean looks back on about a tenth of them, until `decay` says otherwise (TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; valid values are from 0 to below 1")
        self.decay = decay
        self.n_updates = 0
        self._parameters = dict(model.named_parameters())
        self._means = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the means towards the weights as they are now; once after each step of the optimizers."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        means, weights = list(self._means.values()), [weight.detach() for weight in self._parameters.values()]
        torch._foreach_lerp_(means, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model has the means and `tensors` the weights: they change places, one at a time, and back."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def tensors(self) -> dict[str, Tensor]:
        """`ema.<parameter>` for each parameter, and the number of updates: all that `load` needs. No copies."""
        means = {f"ema.{name}": mean for name, mean in self._means.items()}
        return {**means, N_UPDATES: torch.tensor(self.n_updates)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave, from among other names too. ValueError names what is missing or misshapen."""
        if N_UPDATES not in tensors:
            raise ValueError(f"the running mean of the weights lacks {N_UPDATES}")
        for name, mean in self._means.items():
            found = tensors.get(f"ema.{name}")
            if found is None or found.shape != mean.shape:
                what = "is missing" if found is None else f"has shape {tuple(found.shape)}, not {tuple(mean.shape)}"
                raise ValueError(f"the running mean of {name} {what}")
            mean.copy_(found)
        self.n_updates = int(tensors[N_UPDATES].item())

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._means[name])
            self._means[name].copy_(kept)
