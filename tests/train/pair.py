"""What two ranks find out about themselves, for test_distributed.py: `python -m tests.train.pair FOLDER` on each.

To start a process costs seconds, so that one pair asks all questions. Rank 0 writes the answers to FOLDER/answers.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.data.batches import IGNORE, Batch
from groundup.errors import GroundupError
from groundup.optim.shards import whole
from groundup.train import distributed, losses
from groundup.train.config import TrainConfig
from groundup.train.step import Stepper
from tests.train import ranks


class Uneven:
    """Batches whose rows have very different numbers of targets: 1, 3, 5 ..."""

    def batch(self, step: int, rows: slice = slice(None)) -> Batch:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 32, (8, 16), generator=generator)
        targets = torch.randint(0, 32, (8, 16), generator=generator)
        for row in range(8):
            targets[row, 2 * row + 1 :] = IGNORE
        ids, targets = ids[rows], targets[rows]
        return Batch(ids, targets, None, int((targets != IGNORE).sum()))


def two_steps(world: distributed.World, **settings: Any) -> dict[str, list[Tensor]]:
    """The gradients of the first step, and the weights after the second."""
    devices = world.world_size
    config = TrainConfig(batch_size=8, devices=devices, device="cpu", lr=1e-3, matrix_lr=1e-3, **settings)
    stepper = Stepper(ranks.build(), Uneven(), losses.next_token, config, world)
    first = stepper.gradients(0)
    gradients = [whole(weight.grad).clone() for weight in stepper.model.parameters()]
    stepper.update(0.0, 10)
    second = stepper.gradients(1)
    stepper.update(1.0, 10)
    weights = [whole(weight.detach()).clone() for weight in stepper.model.parameters()]
    return {
        "gradients": gradients,
        "weights": weights,
        "numbers": [torch.tensor([first.loss, first.norm, second.loss, second.norm])],
    }


def differences(world: distributed.World) -> dict[str, dict[str, float]]:
    """By case: the largest difference of two ranks from one process with the same batch."""
    alone = distributed.World(world.device)
    found = {}
    for parallel, precision, optimizer, micro_batch_size, recomputes in (
        ("ddp", "fp32", "adamw", 4, False),
        ("ddp", "fp32", "muon", 2, False),
        ("ddp", "bf16", "adamw", 1, True),
        ("fsdp", "fp32", "adamw", 4, False),
        ("fsdp", "fp32", "muon", 2, True),
        ("fsdp", "bf16", "adamw", 4, False),
    ):
        settings = {
            "precision": precision,
            "optimizer": optimizer,
            "micro_batch_size": micro_batch_size,
            "activation_checkpointing": recomputes,
        }
        one = two_steps(alone, **settings)
        world.is_sharded = parallel == "fsdp"
        two = two_steps(world, **settings)
        found[f"{parallel} {precision} {optimizer}"] = {
            what: max((a - b).abs().max().item() for a, b in zip(one[what], two[what], strict=True)) for what in one
        }
    return found


def main(folder: Path) -> None:
    with distributed.joined(TrainConfig(device="cpu", devices=2, hang_timeout=60.0)) as world:
        answers: dict[str, Any] = {
            "rows": world.rows(8).start,
            "sum": world.sum(torch.tensor([1.0 + world.rank])).item(),
            "any": [world.any(world.rank == 1), world.any(False)],
            "told": world.from_main({"loss": 0.1 + 0.2 + world.rank, "inf": float("inf")}),
            "seeds": world.seed(5) - 5,
            "differences": differences(world),
        }
        (folder / f"rank-{world.rank}.json").write_text(json.dumps(answers))
        world.is_sharded = False
        ranks.train(world, folder / "two")
        ranks.train(world, folder / "one-to-two")
        world.is_sharded = True
        ranks.train(world, folder / "fsdp", ema_decay=0.9)
        ranks.train(world, folder / "one-to-fsdp")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except GroundupError as error:
        sys.exit(ranks.cli._tell(error))
