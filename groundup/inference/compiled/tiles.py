"""Whether this processor has a matrix unit that this process may use: Intel's AMX, with numbers in bf16, on Linux."""

import ctypes
import os
import platform
import sys

import numpy as np
from llvmlite import binding

ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18
"""Linux gives a thread the 8 KB that tiles take only when its process has asked for them (arch_prctl(2))."""


def _knows_tiles() -> bool:
    """Can code be compiled for it here? Not where numba was told to compile for another kind of processor."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    if os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES"):
        return False
    features = binding.get_host_cpu_features()
    return bool(features.get("amx-tile") and features.get("amx-bf16"))


KNOWS_TILES = _knows_tiles()
"""Of the processor alone: compiled code is kept, and serves processes that may use the unit and others."""
HAS_TILES = KNOWS_TILES and ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0

SHAPES = np.zeros(64, np.uint8)
"""What the unit is told: eight tiles of 16 rows, of 64 bytes each."""
SHAPES[0] = 1
SHAPES[16:32].view(np.uint16)[:] = 64
SHAPES[48:56] = 16
