"""What every test runs under: no network, few threads, warnings as errors."""

import importlib.util
import os
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OFFLINE = Path(__file__).parent / "offline"

# In this process and, through the path, in every Python that a test starts.
runpy.run_path(str(OFFLINE / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ["HF_HUB_OFFLINE"] = "1"
# Two threads that wait for each other on a busy machine take ten times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# torch.compile would start processes for its kernels, which first import torch.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

# Shapes in signatures are checked while the tests run; see shapes.py. (jaxtyping's own pytest option takes one package
# only when the checker has arguments.) `make test` turns it off for torch.compile.
HOOKED = ["groundup.layers", "groundup.models", "groundup.optim", "groundup.train"]
if importlib.util.find_spec("torch") is not None and not os.environ.get("GROUNDUP_TEST_WITHOUT_SHAPES"):
    importlib.import_module("tests.shapes").check_in(HOOKED)

# The rooms without torch are tested on every Python, also where torch is not installed.
if importlib.util.find_spec("torch") is None:
    rooms = ["layers", "models", "optim", "weights", "inference", "train", "evaluate", "insight", "serve"]
    collect_ignore_glob = [f"{room}/*" for room in rooms]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="store what layers and models compute today as .npz snapshots"
    )


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """In every run and in any order. A test that needs no torch must not wait for it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def shared_data() -> Path:
    """Real books, stories and instruction sets that lie beside the repository, where they do."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder of real texts beside the repository")
    return folder


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GROUNDUP_")]:
        monkeypatch.delenv(name)
