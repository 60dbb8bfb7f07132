"""Pickles from strangers: none runs anything, and each ends in one kind of error."""

import io
import os
import pickle
import random
import struct
import subprocess
import zipfile

import numpy as np
import psutil
import pytest
import torch

from groundup.errors import ArtefactError
from groundup.weights import foreign
from groundup.weights.foreign import pickled
from tests.weights.foreign.other_programs import book_gpt


class Calls:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(canary):
    """Each would leave a file behind, if it ran."""
    text = str(canary)
    return {
        "open": Calls(open, text, "w"),
        "os.system": Calls(os.system, f"touch {text}"),
        "subprocess": Calls(subprocess.check_call, ["touch", text]),
        "eval": Calls(eval, f"open({text!r}, 'w')"),
        "exec": Calls(exec, f"open({text!r}, 'w')"),
        "numpy": Calls(np.memmap, text, np.uint8, "w+", 0, (1,)),
        "torch": Calls(torch.UntypedStorage.from_file, text, True, 16),
        "nested": {"model": [{"w": Calls(open, text, "w")}]},
    }


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "a pickle was executed"


def writers(content):
    """Every form in which a pickle comes under the name of a checkpoint."""
    zipped, legacy, old = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"model_args": {}, "model": content}, zipped)
    torch.save(content, legacy, _use_new_zipfile_serialization=False)
    torch.save(content, old, pickle_protocol=4)
    array = io.BytesIO()
    np.save(array, np.array([content], dtype=object), allow_pickle=True)
    return {
        "torch.save": zipped.getvalue(),
        "torch.save before 1.6": legacy.getvalue(),
        "torch.save with protocol 4": old.getvalue(),
        "bare, protocol 0": pickle.dumps(content, protocol=0),
        "bare, protocol 2": pickle.dumps(content, protocol=2),
        "bare, protocol 5": pickle.dumps(content, protocol=5),
        "an array of objects": array.getvalue(),
    }


@pytest.mark.parametrize("name", attacks(""))
def test_nothing_is_executed(name, canary, tmp_path, monkeypatch):
    # What would let torch.load run it, where it is not told otherwise.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with torch.serialization.safe_globals([open, os.system, subprocess.check_call, eval, exec]):
        for form, content in writers(attacks(canary)[name]).items():
            for ending in (".pt", ".pth", ".bin", ".ckpt"):
                path = tmp_path / f"x{ending}"
                path.write_bytes(content)
                foreign.recognise(path)
                for chosen in (None, *foreign.FORMATS):
                    with pytest.raises(ArtefactError) as error:
                        foreign.read(path, chosen)
                    assert error.value.exit_code == 5 and str(tmp_path) in str(error.value), form


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_the_attacks_do_work(tmp_path):
    """Or the test above shows nothing."""
    for name, attack in attacks(tmp_path / "canary").items():
        content = pickle.dumps(attack)
        try:
            pickle.loads(content)
        except ValueError:  # such as a storage from a file that is too small
            assert name == "torch"
        assert (tmp_path / "canary").exists(), name
        (tmp_path / "canary").unlink()


def test_what_it_asked_for_is_named(tmp_path):
    torch.save({"model": Calls(os.system, "true")}, tmp_path / "x.pt")
    with pytest.raises(ArtefactError, match=r"the pickle asks for '\w+\.system', which no tensor needs") as error:
        pickled.load(tmp_path / "x.pt")
    assert "torch.save(model.state_dict()" in str(error.value.hint)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.float64(1.5), r"numpy\.\w+\.multiarray\.scalar"),
        (np.ones(3), r"numpy\.\w+\.multiarray\._reconstruct"),
        (np.array([object()], dtype=object), r"numpy\.\w+\.multiarray\._reconstruct"),
        (bytearray(3), "bytearray"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_what_is_no_tensor_is_named(value, named, tmp_path):
    torch.save({"model": {}, "best_val_loss": value}, tmp_path / "x.pt")
    with pytest.raises(ArtefactError, match=f"the pickle asks for .*{named}"):
        pickled.load(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "the few lines that Git LFS leaves"),
        (b"<!DOCTYPE html><html>not found</html>", "an HTML page"),
        (b"PK\x03\x04" + b"\0" * 60, "is damaged"),
        (b"\x93NUMPY\x01\x00" + b" " * 60, "is not a file of torch.save"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickle, which can run any program"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "of PyTorch before 1.6"),
        (b"\0" * 100, "zeros"),
        (bytes(range(100, 200)), "x.pt is not a file of torch.save$|x.pt is not a file of torch.save "),
    ],
)
def test_other_files_under_this_name(content, message, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ArtefactError, match=message) as error:
        pickled.load(tmp_path / "x.pt")
    assert error.value.hint != "groundup import", "which is what was tried"


def saved(content=None):
    file = io.BytesIO()
    torch.save(book_gpt(n_layers=1) if content is None else content, file)
    return file.getvalue()


def rezipped(content, change):
    """The archive again, its entries changed by `change(list of (ZipInfo, bytes))`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = [(info, archive.read(info)) for info in archive.infolist()]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for info, data in change(entries):
            archive.writestr(info, data)
    return file.getvalue()


def compressed(entries):
    for info, data in entries:
        info.compress_type = zipfile.ZIP_DEFLATED
        yield info, data


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (compressed, "the archive is compressed"),
        (lambda entries: [(i, d) for i, d in entries if not i.filename.endswith("data.pkl")], "not one of torch.save"),
        (lambda entries: [*entries, ("other/data.pkl", b"N.")], "not one of torch.save"),
        (lambda entries: [*entries, ("archive/constants.pkl", b"N.")], "not one of torch.save"),
        (lambda entries: [*entries, entries[-1]], "two entries of the archive have one name"),
        (
            lambda entries: [(i, b"big" if i.filename.endswith("byteorder") else d) for i, d in entries],
            "big-endian",
        ),
        (
            lambda entries: [(i, b"N" * (1 << 26) if i.filename.endswith("data.pkl") else d) for i, d in entries],
            "its pickle has 67,108,864 bytes",
        ),
    ],
)
def test_archives_that_torch_does_not_write(change, message, tmp_path):
    (tmp_path / "x.pth").write_bytes(rezipped(saved(), change))
    with pytest.raises(ArtefactError, match=message):
        pickled.load(tmp_path / "x.pth")


def test_an_archive_that_claims_more_than_it_has(tmp_path):
    content = bytearray(saved())
    at = content.rfind(b"PK\x01\x02")  # the last entry in the list at the end
    content[at + 20 : at + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ArtefactError, match="says it holds more than it does"):
        pickled.load(tmp_path / "x.pth")


def test_a_million_entries_are_counted_before_they_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZipFile", None)
    content = bytearray(saved())
    at = content.rfind(b"PK\x05\x06")
    content[at + 10 : at + 12] = b"\xff\xff"
    large = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1 << 20, 1 << 20, 46 << 20, 0)
    (tmp_path / "x.pth").write_bytes(content[:at] + large + content[at:])
    with pytest.raises(ArtefactError, match="more entries than any model's"):
        pickled.load(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(10**6, 10**6),
        torch.ones(4).as_strided((1 << 40, 2), (0, 1)),
        torch.empty(1 << 40, 4, device="meta"),
        torch.ones(3, 3).to_sparse(),
    ],
    ids=["expanded", "strided", "meta", "sparse"],
)
def test_tensors_with_more_numbers_than_the_file_has(tensor, tmp_path):
    torch.save({"model": {"w": tensor}}, tmp_path / "x.pt")
    with pytest.raises(ArtefactError, match=r"'w' has shape|the pickle asks for"):
        pickled.tensors(pickled.load(tmp_path / "x.pt")["model"], tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_an_error_or_harmless(tmp_path):
    """Cut anywhere, or with bytes changed; numbers have no checksum that is looked at."""
    content, path, random_numbers = saved(), tmp_path / "x.pth", random.Random(0)
    for length in range(0, len(content), 397):
        path.write_bytes(content[:length])
        with pytest.raises(ArtefactError):
            foreign.read(path, fields={"n_heads": 3})
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(random_numbers.randint(1, 4)):
            damaged[random_numbers.randrange(len(content))] = random_numbers.randrange(256)
        path.write_bytes(damaged)
        try:
            read = foreign.read(path, "llms_from_scratch", {"n_heads": 3})
        except ArtefactError:
            continue
        assert all(tensor.load().shape == tensor.shape for tensor in read.tensors.values())


def test_numbers_stay_in_the_file_until_they_are_used(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": torch.ones(50_000_000)}}, path)
    process = psutil.Process()
    before = process.memory_info().rss
    tensors = pickled.tensors(pickled.load(path)["model"], path)

    assert tensors["w"].load()[-1] == 1
    assert process.memory_info().rss - before < 50_000_000, "of 200 MB"
