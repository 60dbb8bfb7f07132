"""Devices by capability: what each kind of machine would choose, with the machines faked."""

from types import SimpleNamespace

import psutil
import pytest
import torch

from groundup.errors import EnvironmentFault, UsageError
from groundup.train import devices

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def machine(monkeypatch):
    """machine(gpus=2, capability=(7, 5)) is one with two of NVIDIA's; chip="gfx90a" makes them AMD's."""

    def fake(*, gpus=0, capability=(0, 0), chip="", mps=False, cpu_bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(gcnArchName=chip))
        monkeypatch.setattr(torch.version, "hip", "6.4" if chip else None)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu_bf16)

    return fake


@pytest.mark.parametrize(
    "here, device, dtype",
    [
        ({"gpus": 1, "capability": (6, 1)}, "cuda", torch.float32),  # GTX 1080: fp16 in name only
        ({"gpus": 1, "capability": (7, 0)}, "cuda", torch.float16),  # V100
        ({"gpus": 1, "capability": (7, 5)}, "cuda", torch.float16),  # RTX 2080 Ti
        ({"gpus": 1, "capability": (8, 0)}, "cuda", torch.bfloat16),  # A100
        ({"gpus": 1, "capability": (9, 0)}, "cuda", torch.bfloat16),  # H100
        ({"gpus": 2, "capability": (12, 0)}, "cuda:0", torch.bfloat16),  # two RTX 5090
        ({"gpus": 1, "chip": "gfx90a:sramecc+:xnack-", "capability": (9, 0)}, "cuda", torch.bfloat16),  # MI250
        ({"gpus": 1, "chip": "gfx1100", "capability": (11, 0)}, "cuda", torch.bfloat16),  # RX 7900
        ({"gpus": 1, "chip": "gfx1030", "capability": (10, 3)}, "cuda", torch.float16),  # RX 6800: no bf16, though 10
        ({"gpus": 1, "chip": "gfx906", "capability": (9, 0)}, "cuda", torch.float16),  # MI50
        ({"mps": True}, "mps", torch.float32),
        ({"cpu_bf16": True}, "cpu", torch.bfloat16),
        ({}, "cpu", torch.float32),
    ],
)
def test_auto_takes_the_best_there_is(machine, here, device, dtype):
    machine(**here)
    found = devices.device_for("auto")
    assert str(found) == device
    assert devices.dtype_for("auto", found) == dtype


@pytest.mark.parametrize("wanted", ["cpu", "cpu:0", "cuda", "cuda:0", "cuda:1", "mps"])
def test_a_device_by_its_name(machine, wanted):
    machine(gpus=2, capability=(8, 0), mps=True)
    assert devices.device_for(wanted) == torch.device(wanted)


@pytest.mark.parametrize(
    "wanted", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1:1", "cuda:²", "cpu:1", "meta", "xpu"]
)
def test_a_name_that_no_device_has(machine, wanted):
    machine(gpus=2, capability=(8, 0))
    with pytest.raises(UsageError, match="valid values are auto, cpu, cuda, cuda:1, mps") as caught:
        devices.device_for(wanted)
    assert caught.value.hint == "this machine has cuda:0, cuda:1, cpu"


def test_an_amd_gpu_goes_by_the_name_of_cuda(machine):
    machine(gpus=1, chip="gfx1100")
    with pytest.raises(UsageError, match="AMD's is cuda here"):
        devices.device_for("rocm")


@pytest.mark.parametrize(
    "here, wanted, there_is",
    [
        ({"gpus": 2, "capability": (8, 0)}, "cuda:7", "cuda:0, cuda:1, cpu"),
        ({"gpus": 1, "capability": (8, 0)}, "cuda:1", "cuda, cpu"),
        ({"mps": True}, "cuda", "mps, cpu"),
        ({}, "cuda", "has cpu"),
        ({}, "mps", "has cpu"),
        ({"mps": True}, "mps:1", "mps, cpu"),
    ],
)
def test_a_device_that_is_not_here(machine, here, wanted, there_is):
    machine(**here)
    with pytest.raises(EnvironmentFault, match=f"no device {wanted}: .*{there_is}"):
        devices.device_for(wanted)


def test_who_asks_for_a_dtype_gets_it(machine):
    machine()
    for device in (CPU, CUDA, MPS):
        assert devices.dtype_for("fp32", device) == torch.float32
        assert devices.dtype_for("bf16", device) == torch.bfloat16
        assert devices.dtype_for("fp16", device) == torch.float16
    with pytest.raises(UsageError, match="auto, fp32, bf16, fp16"):
        devices.dtype_for("int8", CPU)


def test_memory_is_of_this_process_or_of_the_gpu(machine, monkeypatch):
    machine(gpus=1)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5_000_000)
    assert devices.memory_mb(CUDA) == 5.0
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 7_000_000)
    assert devices.memory_mb(MPS) == 7.0
    held = psutil.Process().memory_info().rss / 1e6
    assert devices.memory_mb(CPU) == pytest.approx(held, rel=0.1)
