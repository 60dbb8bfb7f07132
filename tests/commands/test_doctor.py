"""The doctor's judgement of machines that are not this one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from groundup.commands import doctor
from groundup.commands.doctor import Gpu, Machine, Torch

CUDA_WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
RTX_3090 = Gpu("NVIDIA GeForce RTX 3090", 25.3, (8, 6))
HEALTHY = Machine(
    python=(3, 11, 9),
    system="Linux x86_64",
    n_cores=8,
    memory_gb=32.0,
    memory_free_gb=20.0,
    disk_free_gb=100.0,
    folder="/home/me",
    torch=Torch("2.13.0", cuda="13.0", sees_gpu=True, architectures=CUDA_WHEEL, n_threads=8),
    driver="580.65.06",
    gpus=(RTX_3090,),
    missing_by_extra={"plots": (), "serve": ("starlette", "uvicorn")},
)


def problems(**changes: Any) -> list[doctor.Verdict]:
    return [verdict for verdict in doctor.judge(dataclasses.replace(HEALTHY, **changes)) if verdict.level == "problem"]


def text(**changes: Any) -> str:
    return "\n".join(f"{one.what} {one.hint}" for one in doctor.judge(dataclasses.replace(HEALTHY, **changes)))


def test_a_healthy_machine_has_no_problem() -> None:
    assert problems() == []
    assert "RTX 3090, 25 GB, compute capability 8.6 (driver 580.65.06): trains in bf16" in text()
    assert "torch 2.13.0, built for CUDA 13.0" in text()
    assert "extras installed: plots" in text()
    assert 'starlette, uvicorn: pip install "groundup[serve]"' in text()


@pytest.mark.parametrize(
    ("changes", "what", "hint"),
    [
        ({"python": (3, 10, 2)}, "Python 3.10.2", "install Python 3.11 or newer"),
        ({"torch": None}, "torch is not installed", "/whl/cu130   (about 2.5 GB)"),
        ({"torch": None, "gpus": ()}, "torch is not installed", "/whl/cpu   (about 200 MB)"),
        ({"torch": Torch("2.13.0", fault="libcudart.so.13: cannot open"), "gpus": ()}, "libcudart.so.13", "reinstall"),
        ({"torch": Torch("2.9.1+cpu"), "gpus": ()}, "2.10 or newer is needed", '"torch>=2.10"'),
        # a GPU stands idle under a CPU build
        ({"torch": Torch("2.13.0+cpu")}, "is idle: this torch is a CPU build", "/whl/cu130"),
        # built for a CUDA newer than the driver
        (
            {"torch": Torch("2.13.0", cuda="13.0", architectures=CUDA_WHEEL), "driver": "550.54.15"},
            "built for CUDA 13.0, which needs driver 580 or newer",
            "/whl/cu126   (about 2.5 GB), or update the driver",
        ),
        ({"torch": Torch("2.13.0", cuda="12.6"), "driver": "470.82.01"}, "driver is too old", "install driver 525"),
        ({"torch": Torch("2.13.0", cuda="13.0")}, "does not see it", "CUDA_VISIBLE_DEVICES"),
        # the wheel has no code for the GPU
        (
            {
                "torch": Torch("2.13.0", cuda="12.6", sees_gpu=True, architectures=("sm_80", "sm_90")),
                "gpus": (Gpu("NVIDIA GeForce RTX 5090", 34.0, (12, 0)),),
                "driver": "570.86.15",
            },
            "has no code for its sm_120, only sm_80 sm_90",
            "/whl/cu128",
        ),
        (
            {"gpus": (Gpu("Tesla V100", 17.0, (7, 0)),)},
            "has no code for its sm_70",
            "/whl/cu126",
        ),
    ],
)
def test_a_problem_and_the_line_that_mends_it(changes: dict[str, Any], what: str, hint: str) -> None:
    found = problems(**changes)
    assert len(found) == 1, found
    assert what in found[0].what
    assert hint in (found[0].hint or "")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "trains in bf16"), ((7, 5), "torch.amp.GradScaler"), ((6, 1), "neither bf16 nor fast fp16")],
)
def test_the_format_follows_the_capability(capability: tuple[int, int], expected: str) -> None:
    verdict = doctor.judge_dtype(Gpu("a", 8.0, capability), "a")
    assert expected in f"{verdict.what} {verdict.hint}"


def test_other_accelerators_and_none() -> None:
    assert "no GPU: everything runs on the CPU" in text(gpus=(), driver=None)
    assert "Apple GPU" in text(gpus=(), driver=None, torch=Torch("2.13.0", sees_mps=True))
    rocm = Torch("2.13.0+rocm7.0", rocm="7.0", sees_gpu=True, architectures=("gfx1100",))
    assert "Radeon, 24 GB, compute capability 11.0: trains in bf16" in text(
        torch=rocm, driver=None, gpus=(Gpu("Radeon", 24.0, (11, 0)),)
    )


def test_what_is_scarce_is_noted() -> None:
    assert "groundup demo needs 2 GB" in text(memory_free_gb=1.0)
    assert "disk: 0.5 GB free at /home/me groundup demo needs 2 GB" in text(disk_free_gb=0.5)
    assert "OMP_NUM_THREADS=8" in text(torch=Torch("2.13.0", n_threads=1), gpus=())
    assert problems(memory_free_gb=0.1, disk_free_gb=0.1) == []


@pytest.mark.parametrize(
    ("architectures", "capability", "expected"),
    [
        (["sm_86"], (8, 6), True),
        (["sm_80"], (8, 9), True),  # later minor versions run earlier ones' code
        (["sm_89"], (8, 6), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (12, 0), True),
        (["sm_120"], (12, 0), True),
        (["sm_90a"], (9, 0), True),
        ([], (8, 0), False),
    ],
)
def test_which_gpus_a_wheel_was_compiled_for(architectures: list[str], capability: tuple, expected: bool) -> None:
    assert doctor.is_compiled_for(architectures, capability) is expected


def test_the_answer_of_nvidia_smi() -> None:
    answer = "570.86.15, 24576, 8.6, NVIDIA GeForce RTX 3090\n570.86.15, 81559, 9.0, NVIDIA H100 80GB HBM3\n"
    driver, gpus = doctor.parse_nvidia_smi(answer)
    assert driver == "570.86.15"
    assert [(gpu.name, round(gpu.memory_gb), gpu.capability) for gpu in gpus] == [
        ("NVIDIA GeForce RTX 3090", 26, (8, 6)),
        ("NVIDIA H100 80GB HBM3", 86, (9, 0)),
    ]
    assert doctor.parse_nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the driver.") == (
        None,
        (),
    )
    assert doctor.parse_nvidia_smi("") == (None, ())


def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    code = doctor.run(doctor.Config(folder=tmp_path / "not" / "there", json=True))
    report = json.loads(capsys.readouterr().out)
    assert code in (0, 4)
    assert report["machine"]["torch"]["n_threads"] >= 1
    assert report["machine"]["folder"] == str(tmp_path)
    assert {verdict["level"] for verdict in report["verdicts"]} <= {"ok", "note", "problem", "extra"}
    assert doctor.run(doctor.Config(folder=tmp_path)) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       Python 3.")


def test_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "examine_torch", lambda: None)
    assert doctor.run(doctor.Config(folder=tmp_path)) == 4
    assert "torch is not installed" in capsys.readouterr().out


def test_extras_are_read_from_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = ["numpy>=2", 'matplotlib>=3.9; extra == "plots"', "not-a-package; extra == 'data'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: requirements)
    monkeypatch.setattr(doctor, "is_installed", lambda package: package == "matplotlib")
    assert doctor.missing_packages() == {"data": ("not-a-package",), "plots": ()}
