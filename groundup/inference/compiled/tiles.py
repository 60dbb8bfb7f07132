"""Whether this processor has a matrix unit that this process may use: Intel's AMX, with numbers in bf16, on Linux."""

import ctypes
import platform
import sys

import numpy as np
from llvmlite import binding

ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18
"""Linux gives a thread the 8 KB that tiles take only when its process has asked for them (arch_prctl(2))."""


def _may_use_tiles() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    features = binding.get_host_cpu_features()
    if not (features.get("amx-tile") and features.get("amx-bf16")):
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0


HAS_TILES = _may_use_tiles()

SHAPES = np.zeros(64, np.uint8)
"""What the unit is told: eight tiles of 16 rows, of 64 bytes each."""
SHAPES[0] = 1
SHAPES[16:32].view(np.uint16)[:] = 64
SHAPES[48:56] = 16
