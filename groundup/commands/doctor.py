"""Say what this machine can train, and the line that mends what it cannot.

Facts are gathered in one place (`examine`) and judged by pure functions (`judge`), so that every machine can be tested
on any other. It works where torch is missing or broken: that is when it is needed.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

TORCH_NEEDED = (2, 10)
PYTHON_NEEDED = (3, 11)
MEMORY_NEEDED_GB = 2  # what `groundup demo` is held to
DISK_NEEDED_GB = 2

WHEELS = "https://download.pytorch.org/whl"
# Oldest driver that runs any build of a CUDA major version
# (https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
OLDEST_DRIVER_BY_CUDA = {13: 580, 12: 525}


@dataclass(frozen=True)
class Config:
    """What `groundup doctor` can be told."""

    folder: Path = field(default=Path(), metadata={"positional": True})
    """where runs will be written: its disk is looked at"""
    json: bool = False
    """one JSON object on stdout instead of lines"""


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_gb: float
    capability: tuple[int, int]  # (8, 6) for an RTX 3090


@dataclass(frozen=True)
class Torch:
    """What torch says of itself; `fault` is why it cannot be imported."""

    version: str
    cuda: str | None = None  # the CUDA it was built for, None for a CPU build
    rocm: str | None = None
    sees_gpu: bool = False
    sees_mps: bool = False
    architectures: tuple[str, ...] = ()  # "sm_90", "compute_90": what its kernels were compiled for
    has_cpu_bf16: bool = False
    n_threads: int = 0
    fault: str | None = None


@dataclass(frozen=True)
class Machine:
    python: tuple[int, int, int]
    system: str
    n_cores: int
    memory_gb: float
    memory_free_gb: float
    disk_free_gb: float
    folder: str
    torch: Torch | None
    driver: str | None  # of NVIDIA
    gpus: tuple[Gpu, ...]
    missing_by_extra: Mapping[str, tuple[str, ...]]  # packages that each extra would install


class Verdict(NamedTuple):
    level: Literal["ok", "note", "problem", "extra"]  # extra: optional, and not installed
    what: str
    hint: str | None = None


def run(config: Config) -> int:
    """4 when something stops training or leaves a GPU idle, else 0."""
    import msgspec
    import orjson

    machine = examine(config.folder)
    verdicts = list(judge(machine))
    if config.json:
        report = {"machine": machine, "verdicts": [verdict._asdict() for verdict in verdicts]}
        print(orjson.dumps(msgspec.to_builtins(report), option=orjson.OPT_INDENT_2).decode())
    else:
        show(verdicts)
    return 4 if any(verdict.level == "problem" for verdict in verdicts) else 0


def show(verdicts: Iterable[Verdict]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    colour_by_level = {"ok": "green", "note": "yellow", "problem": "bold red", "extra": "dim"}
    for level, what, hint in verdicts:
        console.print(Text(f"{level:<9}", colour_by_level[level]) + Text(what))
        if hint:
            console.print(Text(f"{'':<9}{hint}"))


# --- judging ---


def judge(machine: Machine) -> Iterator[Verdict]:
    yield judge_python(machine.python, machine.system)
    wheel = wheel_for(machine.driver, machine.gpus[0].capability) if machine.gpus else "cpu"
    yield judge_torch(machine.torch, wheel)
    if machine.torch and not machine.torch.fault:
        yield from judge_gpus(machine.torch, machine.driver, machine.gpus, wheel)
        yield judge_cpu(machine.torch, machine.n_cores)
    elif machine.gpus:
        yield Verdict("note", f"{describe(machine.gpus[0])}, unused until torch works")
    yield judge_room("memory", machine.memory_free_gb, f"of {machine.memory_gb:.1f} GB free", MEMORY_NEEDED_GB)
    yield judge_room("disk", machine.disk_free_gb, f"GB free at {machine.folder}", DISK_NEEDED_GB)
    yield from judge_extras(machine.missing_by_extra)


def judge_python(python: tuple[int, int, int], system: str) -> Verdict:
    name = f"Python {'.'.join(map(str, python))} on {system}"
    if python[:2] < PYTHON_NEEDED:
        return Verdict("problem", name, f"install Python {'.'.join(map(str, PYTHON_NEEDED))} or newer")
    return Verdict("ok", name)


def judge_torch(torch: Torch | None, wheel: str | None) -> Verdict:
    if torch is None:
        return Verdict("problem", "torch is not installed", install(wheel))
    if torch.fault:
        return Verdict("problem", f"torch {torch.version} cannot be imported: {torch.fault}", reinstall(wheel))
    built_for = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.rocm}" if torch.rocm else "CPU"
    name = f"torch {torch.version}, built for {built_for}"
    if version(torch.version) < TORCH_NEEDED:
        wanted = ".".join(map(str, TORCH_NEEDED))
        return Verdict("problem", f"{name}: {wanted} or newer is needed", f'pip install --upgrade "torch>={wanted}"')
    return Verdict("ok", name)


def judge_gpus(torch: Torch, driver: str | None, gpus: tuple[Gpu, ...], wheel: str | None) -> Iterator[Verdict]:
    """Does torch see the GPU, was it compiled for it, and what does the GPU compute in?"""
    if torch.sees_mps:
        yield Verdict("ok", "Apple GPU, used by --device mps")
    if not gpus:
        if not torch.sees_mps:
            yield Verdict("ok", "no GPU: everything runs on the CPU")
        return
    on = f" (driver {driver})" if driver else ""
    for gpu in gpus:
        name = describe(gpu) + on
        if not torch.sees_gpu:
            yield judge_unseen(torch, driver, name, wheel)
        elif torch.rocm is None and not is_compiled_for(torch.architectures, gpu.capability):
            arch = "sm_{}{}".format(*gpu.capability)
            has = " ".join(torch.architectures)
            yield Verdict("problem", f"{name}: this torch has no code for its {arch}, only {has}", reinstall(wheel))
        else:
            yield judge_dtype(gpu, name, is_rocm=torch.rocm is not None)


def judge_unseen(torch: Torch, driver: str | None, name: str, wheel: str | None) -> Verdict:
    """Why torch does not see a GPU that is there."""
    if wheel is None:
        oldest = OLDEST_DRIVER_BY_CUDA[12]
        return Verdict("problem", f"{name}: the driver is too old for any torch", f"install driver {oldest} or newer")
    if torch.cuda is None:
        return Verdict("problem", f"{name} is idle: this torch is a CPU build", reinstall(wheel))
    needed = OLDEST_DRIVER_BY_CUDA.get(version(torch.cuda)[0], 0)
    if driver and version(driver)[0] < needed:
        what = f"{name} is idle: this torch is built for CUDA {torch.cuda}, which needs driver {needed} or newer"
        return Verdict("problem", what, f"{reinstall(wheel)}, or update the driver")
    hint = "look at CUDA_VISIBLE_DEVICES, container options (--gpus all) and nvidia-smi"
    return Verdict("problem", f"{name} is there, but torch {torch.version} does not see it", hint)


def judge_dtype(gpu: Gpu, name: str, *, is_rocm: bool = False) -> Verdict:
    if is_rocm or gpu.capability >= (8, 0):
        return Verdict("ok", f"{name}: trains in bf16")
    if gpu.capability >= (7, 0):
        hint = "its fast format is fp16, which needs loss scaling: torch.amp.GradScaler, in a training loop of your own"
        return Verdict("note", f"{name}: has no bf16, so --precision auto trains in fp32", hint)
    return Verdict("note", f"{name}: has neither bf16 nor fast fp16, so --precision auto trains in fp32")


def judge_cpu(torch: Torch, n_cores: int) -> Verdict:
    dtype = "bf16 in hardware" if torch.has_cpu_bf16 else "fp32 (no bf16 in hardware)"
    name = f"{n_cores} cores, torch uses {torch.n_threads}; {dtype}"
    if 0 < torch.n_threads < n_cores // 2:
        return Verdict("note", name, f"OMP_NUM_THREADS={n_cores} would use them all")
    return Verdict("ok", name)


def judge_room(kind: str, free_gb: float, of: str, needed_gb: float) -> Verdict:
    if free_gb < needed_gb:
        return Verdict("note", f"{kind}: {free_gb:.1f} {of}", f"groundup demo needs {needed_gb} GB")
    return Verdict("ok", f"{kind}: {free_gb:.1f} {of}")


def judge_extras(missing_by_extra: Mapping[str, tuple[str, ...]]) -> Iterator[Verdict]:
    if complete := [extra for extra, missing in missing_by_extra.items() if not missing]:
        yield Verdict("ok", f"extras installed: {', '.join(complete)}")
    for extra, missing in missing_by_extra.items():
        if missing:
            yield Verdict("extra", f'{", ".join(missing)}: pip install "groundup[{extra}]"')


def describe(gpu: Gpu) -> str:
    return f"{gpu.name}, {gpu.memory_gb:.0f} GB, compute capability {gpu.capability[0]}.{gpu.capability[1]}"


def version(text: str) -> tuple[int, ...]:
    """`"2.13.0+cpu"` as `(2, 13, 0)`."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0]))


def wheel_for(driver: str | None, capability: tuple[int, int]) -> str | None:
    """The folder of pytorch.org's builds for a GPU and its driver; None where the driver is too old for any.

    CUDA 13 dropped what came before Turing; Blackwell came with CUDA 12.8.
    """
    major = version(driver)[0] if driver else max(OLDEST_DRIVER_BY_CUDA.values())
    if major < OLDEST_DRIVER_BY_CUDA[12]:
        return None
    if capability < (7, 5):
        return "cu126"
    if major >= OLDEST_DRIVER_BY_CUDA[13]:
        return "cu130"
    return "cu128" if capability >= (10, 0) else "cu126"


def install(wheel: str | None) -> str:
    size = "200 MB" if wheel == "cpu" else "2.5 GB"
    return f"pip install torch --index-url {WHEELS}/{wheel or 'cpu'}   (about {size})"


def reinstall(wheel: str | None) -> str:
    return install(wheel).replace("install", "install --force-reinstall", 1)


def is_compiled_for(architectures: Iterable[str], capability: tuple[int, int]) -> bool:
    """`sm_86` runs on 8.6 and later 8.x; `compute_80` is translated by the driver for anything newer than 8.0."""
    for kind, digits, minor in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(architectures)):
        compiled = (int(digits), int(minor))
        if compiled <= capability and (kind == "compute" or compiled[0] == capability[0]):
            return True
    return False


# --- examining ---


def examine(folder: Path) -> Machine:
    import psutil

    torch = examine_torch()
    driver, gpus = parse_nvidia_smi(ask_nvidia_smi())
    memory = psutil.virtual_memory()
    limit = container_memory_limit()
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone tells which cores are ours
    return Machine(
        python=sys.version_info[:3],
        system=f"{platform.system()} {platform.machine()}",
        n_cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        memory_gb=min(memory.total, limit) / 1e9,
        memory_free_gb=min(memory.available, limit) / 1e9,
        disk_free_gb=shutil.disk_usage(there).free / 1e9,
        folder=str(there),
        torch=torch,
        driver=driver,
        gpus=gpus or torch_gpus(torch),
        missing_by_extra=missing_packages(),
    )


def examine_torch() -> Torch | None:
    try:
        installed = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    try:
        import torch

        from groundup.train.devices import has_bf16
    except Exception as error:  # a broken library, a missing symbol, a wrong processor: whatever it is, it is told
        return Torch(installed, fault=" ".join(str(error).split()))
    return Torch(
        version=str(torch.__version__),
        cuda=torch.version.cuda,
        rocm=torch.version.hip,
        sees_gpu=torch.cuda.is_available(),
        sees_mps=torch.backends.mps.is_available(),
        architectures=tuple(torch.cuda.get_arch_list()),
        has_cpu_bf16=has_bf16(torch.device("cpu")),
        n_threads=torch.get_num_threads(),
    )


def torch_gpus(found: Torch | None) -> tuple[Gpu, ...]:
    """The GPUs as torch names them, where nvidia-smi is absent (ROCm, some containers)."""
    if not (found and found.sees_gpu):
        return ()
    import torch

    all_properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Gpu(each.name, each.total_memory / 1e9, (each.major, each.minor)) for each in all_properties)


def ask_nvidia_smi() -> str:
    command = [
        "nvidia-smi",
        "--query-gpu=driver_version,memory.total,compute_cap,name",
        "--format=csv,noheader,nounits",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def parse_nvidia_smi(text: str) -> tuple[str | None, tuple[Gpu, ...]]:
    """`"570.86.15, 24576, 8.6, NVIDIA GeForce RTX 3090"`, one line per GPU, memory in MiB."""
    rows = re.findall(r"(?m)^\s*([\d.]+), (\d+), (\d+)\.(\d+), (.+?)\s*$", text)
    gpus = [Gpu(name, int(mib) * 2**20 / 1e9, (int(major), int(minor))) for _, mib, major, minor, name in rows]
    return (rows[0][0] if rows else None), tuple(gpus)


def container_memory_limit() -> float:
    """Bytes that the control group of this process may use; infinite where there is no limit."""
    try:
        return float(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control groups, or "max"
        return float("inf")


def missing_packages() -> dict[str, tuple[str, ...]]:
    """For each extra of the installed groundup, the packages it names that are not here."""
    try:
        requirements = importlib.metadata.requires("groundup") or []
    except importlib.metadata.PackageNotFoundError:  # running from a folder that was never installed
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        found = re.match(r"""([\w.-]+).*;\s*extra\s*==\s*['"]([\w-]+)['"]""", requirement)
        if found:
            package, extra = found.groups()
            missing.setdefault(extra, []).extend([] if is_installed(package) else [package])
    return {extra: tuple(packages) for extra, packages in sorted(missing.items())}


def is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
