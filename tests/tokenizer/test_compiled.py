"""Where the compiled form cannot be had, the plain one serves, and nobody waits in vain."""

import errno
import threading
from importlib import metadata

import numpy as np
import pytest

from groundup import artifact, compiled_code
from groundup.compiled_code import CompiledCode
from groundup.errors import EnvironmentFault
from groundup.tokenizer import compiled


@pytest.fixture
def told(monkeypatch, tmp_path):
    """A new cache folder, and what is announced. The kernels of this process are not compiled anew."""
    said: list[str] = []
    monkeypatch.setattr(compiled, "announce", said.append)
    monkeypatch.setattr(CompiledCode, "folder", property(lambda code: tmp_path / "cache"))
    monkeypatch.setattr(compiled.CODE, "_started", {})
    return said


def compile_nothing(monkeypatch):
    class Module:
        run = staticmethod(lambda: None)

    monkeypatch.setattr(compiled, "load", lambda name: Module)


def test_ready_compiles_once_and_says_so(told, monkeypatch):
    compile_nothing(monkeypatch)
    assert not compiled.is_ready()
    assert not compiled.ready(wait=False)
    assert not told
    assert compiled.ready()
    assert compiled.ready()
    assert told == ["compiling the fast tokenizer, once, for about 20 seconds"]


def refuse(*_, **__):
    raise EnvironmentFault("cannot write: Read-only file system", where="/cache")


def no_home():
    raise RuntimeError("Could not determine home directory.")


def no_numba():
    raise metadata.PackageNotFoundError("numba")


@pytest.mark.parametrize("folder", [no_home, no_numba])
def test_no_home_and_no_numba(told, monkeypatch, folder):
    monkeypatch.setattr(CompiledCode, "folder", property(lambda code: folder()))
    assert not compiled.ready()
    assert "cannot be compiled" in told[-1]
    compiled.start()


def test_a_cache_folder_that_is_there_but_refuses(told, monkeypatch):
    compiled.folder().mkdir()
    monkeypatch.setattr(artifact, "lock", refuse)  # this waited for ever
    assert not compiled.ready()
    assert "Read-only" in told[-1]


def test_what_lies_in_a_folder_that_is_read_only_is_not_taken(told, monkeypatch):
    """numba would look elsewhere, find nothing, and compile."""
    compiled.folder().mkdir()
    (compiled.folder() / "ready").touch()
    assert compiled.is_ready()
    monkeypatch.setattr(compiled_code.os, "access", lambda path, mode: False)
    assert not compiled.is_ready()
    started = []
    monkeypatch.setattr(compiled_code.subprocess, "Popen", lambda *args, **options: started.append(args))
    compiled.start()
    assert not started


def test_a_child_that_cannot_be_started_is_no_error(told, monkeypatch):
    def no_memory(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(compiled_code.subprocess, "Popen", no_memory)
    compiled.start()
    assert not told


def test_who_comes_second_waits_for_the_first(told, monkeypatch):
    compile_nothing(monkeypatch)
    with artifact.lock(compiled.folder()):
        second = threading.Thread(target=compiled.compile_all)
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join(5)
    assert compiled.is_ready()


def test_a_file_system_without_locks_is_not_taken_for_one_that_is_locked(monkeypatch, tmp_path):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(artifact, "_lock_file", no_locks)
    with pytest.raises(EnvironmentFault, match="No locks available") as refused, artifact.lock(tmp_path):
        pass
    assert not isinstance(refused.value, artifact.Locked)


def test_numba_compiles_one_form_of_each_kernel_whoever_owns_the_arrays():
    assert compiled.ready()
    encoder = compiled.load("encoder")
    from groundup.tokenizer.bpe import BPE

    merges = np.array([[97, 98]], np.uint32)
    merges.flags.writeable = False
    before = len(encoder.kernels.learn_merges.signatures)
    encoder.Encoder(BPE([*(bytes([byte]) for byte in range(256)), b"ab"], merges, {}))
    assert len(encoder.kernels.learn_merges.signatures) == max(1, before)
