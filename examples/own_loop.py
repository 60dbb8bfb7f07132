"""Train a small Llama in a loop of one's own, from groundup's public pieces: python examples/own_loop.py TEXT [STEPS].

The loop of the package (groundup/train/loop.py) adds checkpoints, resuming, precision and a report to these lines.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import groundup
from groundup import models
from groundup.data.batches import get_batch
from groundup.layers.loss import mean_cross_entropy
from groundup.optim.adamw import AdamW
from groundup.optim.clipping import gradient_clip
from groundup.optim.schedules import cosine
from groundup.tokenizer.train import train as train_tokenizer
from groundup.weights.single_file import load_checkpoint, save_checkpoint


def main(text_file: str, n_steps: int = 300, saved: str = "own_loop.safetensors") -> str:
    text = Path(text_file).read_text(encoding="utf-8")
    tokenizer = train_tokenizer([text], vocab_size=512)
    ids = tokenizer.encode(text)
    train_ids, val_ids = np.split(ids, [int(0.9 * len(ids))])

    shape = {"vocab_size": tokenizer.vocab_size, "context_length": 64}
    model = models.build("llama", "nano", shape, seed=0)
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)

    for step in range(n_steps):
        x, y = get_batch(train_ids, batch_size=16, context_length=64, generator=generator)
        loss = mean_cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        gradient_clip(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = cosine(step + 1, lr=3e-3, min_lr=3e-4, warmup_steps=20, n_steps=n_steps)
        optimizer.step()
        if step % 50 == 0 or step == n_steps - 1:
            with torch.no_grad():
                x, y = get_batch(val_ids, batch_size=16, context_length=64, generator=generator)
                print(f"step {step:4d}  train {loss.item():.3f}  val {mean_cross_entropy(model(x), y).item():.3f}")

    save_checkpoint(model, optimizer, n_steps, saved)
    assert load_checkpoint(saved, model, optimizer) == n_steps
    return groundup.generate(model, "The ", max_tokens=60, tokenizer=tokenizer, seed=0)


if __name__ == "__main__":
    print(main(sys.argv[1], *map(int, sys.argv[2:3])))
