"""How one model is trained by several ranks: each holds all of it (DDP), or a part of it (FSDP).

    DDP    every rank has the whole model, and adds its gradients to the others' while the backward pass goes on.
           Li et al. 2020, arXiv 2006.15704
    FSDP   every rank keeps a slice of each weight, of its gradient and of the optimizer's memory, and a block's weights
           are whole only while it computes. Rajbhandari et al. 2019 (ZeRO, stage 3), arXiv 1910.02054

All three classes are called the same way, micro-batch by micro-batch:

    with shared.adding(is_last):
        loss_sum, n_targets, metrics = shared(batch)
        loss_sum.backward()
    precise.collect()

After the last one, the fp32 weights' gradients are sums over all micro-batches of all ranks: sums, because the loop
divides once by all targets of the step, whose number differs from rank to rank.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from groundup.train.precision import Masters


class Alone:
    """One process: nothing is shared."""

    def __init__(self, precise: Masters, loss: Callable[..., Any]):
        self._precise, self._loss = precise, loss

    def __call__(self, batch: Any) -> tuple[Tensor, int, dict[str, float]]:
        """(sum, number of targets, metrics) of this micro-batch."""
        return self._loss(self._precise.working, batch)

    def adding(self, is_last: bool) -> AbstractContextManager[Any]:
        """Around the forward and backward pass of a micro-batch; the ranks exchange gradients in the last one."""
        return contextlib.nullcontext()

    def evaluating(self) -> AbstractContextManager[Any]:
        """Around everything that calls the model outside a step."""
        return contextlib.nullcontext()


class _LossOf(nn.Module):
    """The loss as a module, because DDP watches the forward pass of one."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any]):
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> tuple[Tensor, int, dict[str, float]]:
        return self._loss(self.model, batch)


class Replicated(Alone):
    """DDP: all ranks hold the model; rank 0's weights are everybody's from here on."""

    def __init__(self, precise: Masters, loss: Callable[..., Any], dtype: torch.dtype, moved: Callable[[], None]):
        import torch.distributed as dist
        from torch.nn.parallel import DistributedDataParallel

        super().__init__(precise, loss)
        self._moved = moved
        for weight in (*precise.masters.parameters(), *precise.masters.buffers()):
            dist.broadcast(weight.detach(), src=0)
        precise.refresh()
        self._ddp = DistributedDataParallel(_LossOf(precise.working, loss), gradient_as_bucket_view=True)
        self._ddp.register_comm_hook(None, self._add if precise.working is precise.masters else self._add_in_fp32)

    def __call__(self, batch: Any) -> tuple[Tensor, int, dict[str, float]]:
        self._moved()
        return self._ddp(batch)

    def adding(self, is_last: bool) -> AbstractContextManager[Any]:
        return contextlib.nullcontext() if is_last else self._ddp.no_sync()

    def _add(self, _, bucket):
        """DDP's own sum of a bucket of gradients over the ranks, but not divided by their number."""
        import torch.distributed as dist

        self._moved()
        adding = dist.all_reduce(bucket.buffer(), async_op=True)
        return adding.get_future().then(lambda done: done.value()[0])  # pyright: ignore[reportOptionalMemberAccess]

    def _add_in_fp32(self, _, bucket):
        """With 16-bit working weights: collect the bucket's gradients into the masters' first, and add those up.

        The sums of thousands of targets over ranks would lose digits in 16 bits. The bucket is left empty, so that the
        `collect` after the backward pass finds nothing to add.
        """
        import torch.distributed as dist

        self._moved()
        masters = self._precise.take(bucket.parameters(), bucket.gradients())
        bucket.buffer().zero_()
        gradients = [master.grad for master in masters if master.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])

        def put_back(done):
            sums = done.value()[0].split([gradient.numel() for gradient in gradients])
            for gradient, total in zip(gradients, sums, strict=True):
                gradient.copy_(total.view_as(gradient))
            return bucket.buffer()

        return dist.all_reduce(flat, async_op=True).get_future().then(put_back)  # pyright: ignore[reportOptionalMemberAccess]


class Sharded(Alone):
    """FSDP2: weights become DTensors, sharded in fp32; blocks compute in `dtype` and add gradients up in fp32."""

    def __init__(self, precise: Masters, loss: Callable[..., Any], dtype: torch.dtype, moved: Callable[[], None]):
        import torch.distributed as dist
        from torch.distributed import fsdp
        from torch.distributed.device_mesh import init_device_mesh

        super().__init__(precise, loss)
        self._moved = moved
        self._model = model = precise.masters
        device = next(model.parameters()).device
        mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        policy = fsdp.MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
        for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            fsdp.fully_shard(block, mesh=mesh, mp_policy=policy)
        fsdp.fully_shard(model, mesh=mesh, mp_policy=policy)
        fsdp.register_fsdp_forward_method(model, "hidden")  # the loss calls this and not `forward`
        for module in model.modules():
            if isinstance(module, fsdp.FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        for block in model.blocks:  # pyright: ignore[reportGeneralTypeIssues]
            block.register_forward_pre_hook(lambda module, args: self._moved(), prepend=True)

    @contextlib.contextmanager
    def evaluating(self):
        """Weights that the model left whole, because a backward pass would follow, are slices again afterwards."""
        try:
            yield
        finally:
            self._model.reshard()  # pyright: ignore[reportCallIssue]
