"""Memory that runs out: recognised wherever it is said, and answered with a setting that was computed."""

import subprocess
import sys

import pytest
import torch

from groundup.train import memory

CHILD = """
import resource, torch
from groundup.train import memory
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
for rows in (64, 32, 16, 8, 4, 2, 1):
    try:
        torch.ones(rows, 10_000_000)
        print("fits", rows)
        break
    except Exception as error:
        assert memory.is_out_of_memory(error), repr(error)
        print("short", rows, memory.smaller_micro_batch(rows))
"""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_it_is_recognised(error):
    assert memory.is_out_of_memory(error)
    wrapped = ValueError("a step failed")
    wrapped.__cause__ = error
    assert memory.is_out_of_memory(wrapped)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory of the past"), OSError(28)])
def test_other_faults_are_not(error):
    assert not memory.is_out_of_memory(error)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_a_limit_on_the_process_is_met_by_halving():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert lines[0] == "short 64 32", done.stderr[-500:]
    assert lines[-1].startswith("fits ") and int(lines[-1].split()[1]) in (1, 2, 4)


@pytest.mark.parametrize(("rows", "share", "smaller"), [(32, 0, 16), (12, 0, 6), (7, 0, 1), (1, 0, None), (8, 24, 6)])
def test_the_next_micro_batch_divides(rows, share, smaller):
    assert memory.smaller_micro_batch(rows, share) == smaller


def test_people_are_told_the_setting():
    error = memory.explained(MemoryError(), 32, 16)
    assert error.exit_code == 4 and "micro-batches of 32" in error.what
    assert "--micro-batch-size 16" in (error.hint or "")
    assert "--activation-checkpointing" in (memory.explained(MemoryError(), 1, None).hint or "")
