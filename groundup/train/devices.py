"""Which device to train on, told from the names that people type, and what it computes fast in.

| device | torch calls it | 16 bits in hardware                                                               |
|--------|----------------|-----------------------------------------------------------------------------------|
| NVIDIA | cuda           | bf16 from Ampere on (capability 8.0); fp16 on Volta and Turing (7.0: RTX 2080 Ti)  |
| AMD    | cuda, too      | bf16 in CDNA (MI100 and later) and RDNA 3 and later; fp16 before                   |
| Apple  | mps            | none that is faster for training than fp32 on all of them                          |
| CPU    | cpu            | bf16 where it has AVX-512 BF16 (Zen 4, Cooper Lake and later)                      |

Older ones work too, in fp32. Who asks for a dtype gets it anywhere: torch emulates what the hardware lacks, slowly.
"""

import torch

from groundup.errors import EnvironmentFault, UsageError

# The beginnings of AMD's names for chips whose matrix units know bf16: "gfx90a:sramecc+:xnack-" is an MI250.
AMD_WITH_BF16 = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_for(wanted: str) -> torch.device:
    """The device of a name such as `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is the first of cuda, mps, cpu there is.

    UsageError: a name that no device has. EnvironmentFault: a device that this machine has not.
    """
    if wanted == "auto":
        return torch.device(present()[0])
    kind, colon, number = wanted.partition(":")
    is_name = kind in ("cpu", "cuda", "mps") and (number.isascii() and number.isdigit() if colon else True)
    if not is_name or (kind == "cpu" and int(number or 0)):
        about_amd = "; a GPU of AMD's is cuda here, as in all of torch" if kind in ("rocm", "hip", "amd") else ""
        raise UsageError(
            f"device {wanted!r} is not known; valid values are auto, cpu, cuda, cuda:1, mps{about_amd}",
            where="device",
            hint=f"this machine has {', '.join(present())}",
        )
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(
            f"there is no device {wanted}: this machine has {', '.join(present())}",
            where="device",
            hint="`groundup doctor` says what torch sees and why; --device auto takes the first",
        )
    if kind == "mps" and (int(number or 0) or not torch.backends.mps.is_available()):
        raise EnvironmentFault(
            f"there is no device {wanted}: this machine has {', '.join(present())}",
            where="device",
            hint="mps needs a Mac with Apple's own chip and macOS 14 or later; --device auto takes what there is",
        )
    return torch.device(wanted)


def present() -> list[str]:
    """The names of all devices here, the ones to prefer first; the last is always the CPU."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if len(gpus) == 1:
        gpus = ["cuda"]
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def has_bf16(device: torch.device) -> bool:
    """Does the device multiply bfloat16 matrices in hardware?"""
    if device.type == "cuda" and torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.startswith(AMD_WITH_BF16)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return False


def has_fp16(device: torch.device) -> bool:
    """Does the device multiply float16 matrices faster than fp32? Pascal (6.1) knows them, at 1/64 of the speed."""
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (7, 0)
    return False


def dtype_for(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of `fp32`, `bf16` or `fp16`; for `auto` bf16 where the hardware has it, else fp16, else fp32."""
    if wanted == "auto":
        wanted = "bf16" if has_bf16(device) else "fp16" if has_fp16(device) else "fp32"
    if wanted not in DTYPES:
        raise UsageError(f"precision {wanted!r} is not known; valid values are auto, {', '.join(DTYPES)}")
    return DTYPES[wanted]


def widest_dtype(device: torch.device) -> torch.dtype:
    """What long sums are added up in: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def memory_mb(device: torch.device) -> float:
    """Megabytes (10^6 bytes) in use: on a GPU the most that tensors have held so far, else what this process holds."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type == "mps":
        return torch.mps.current_allocated_memory() / 1e6
    import psutil

    return psutil.Process().memory_info().rss / 1e6
