"""Nothing half-written: folders, files, locks, and what is left when a process is killed."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault, UsageError

ROOT = Path(__file__).parent.parent


def make(path: Path, text: str = "hello", replace: bool = False, kind: str = "") -> None:
    with artifact.writing(path, {"format": 1} | ({"kind": kind} if kind else {}), replace=replace) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "ids.bin").write_bytes(bytes(range(256)))
        (folder / "words.txt").write_text(text)


def start(code: str, *arguments: object) -> subprocess.Popen:
    """A Python that runs `code` and says "ready" before it waits."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


# --- folders ---


def test_a_folder_arrives_whole_with_its_manifest(tmp_path: Path) -> None:
    make(tmp_path / "a" / "data")
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["data"]
    manifest = artifact.verify(tmp_path / "a" / "data", checksums=True)
    assert manifest["format"] == 1
    assert list(manifest["files"]) == ["deep/ids.bin", "words.txt"]
    expected = {"size": 256, "xxh3_128": xxhash.xxh3_128_hexdigest(bytes(range(256)))}
    assert manifest["files"]["deep/ids.bin"] == expected


def test_the_manifest_may_be_filled_while_writing(tmp_path: Path) -> None:
    facts: dict = {}
    with artifact.writing(tmp_path / "data", facts) as folder:
        (folder / "x").write_text("x")
        facts["count"] = 3
    assert artifact.verify(tmp_path / "data")["count"] == 3


def test_an_error_tells_the_name_that_people_gave(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError) as caught, artifact.writing(tmp_path / "data") as folder:
        raise ArtefactError("damaged", where=str(folder / "x"))
    assert caught.value.where == str(tmp_path / "data" / "x")
    with pytest.raises(ArtefactError) as caught, artifact.writing_file(tmp_path / "one") as file:
        raise ArtefactError("damaged", where=str(file))
    assert caught.value.where == str(tmp_path / "one")


def test_a_place_is_claimed_over_an_older_one_of_its_kind_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "older", "old", kind="export")
    make(tmp_path / "other", "old", kind="checkpoint")
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    assert artifact.claim(tmp_path / "mine", "export") == tmp_path / "mine"  # an empty folder
    (tmp_path / "mine" / "x").touch()
    assert artifact.claim(tmp_path / "free", "export") == tmp_path / "free"
    for name in ("older", "other", "file", "mine"):
        with pytest.raises(UsageError, match=f"{name} exists already"):
            artifact.claim(tmp_path / name, "export")

    assert artifact.claim(tmp_path / "older", "export", replace=True) == tmp_path / "older"
    for name in ("other", "file", "mine"):
        with pytest.raises(UsageError, match=f"{name} is no export folder that groundup wrote"):
            artifact.claim(tmp_path / name, "export", replace=True)
    assert artifact.claim(tmp_path / "file", replace=True) == tmp_path / "file"
    with pytest.raises(UsageError, match="mine is a folder, so it is not overwritten"):
        artifact.claim(tmp_path / "mine", replace=True)

    for source in (tmp_path / "older", tmp_path / "older" / "inside", tmp_path / "mine" / ".." / "older"):
        with pytest.raises(UsageError, match="older is what the new one would be made of, or a folder around it"):
            artifact.claim(tmp_path / "older", "export", replace=True, source=source)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), artifact.writing(tmp_path / "data") as folder:
        (folder / "x").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    make(tmp_path / "data", "old")
    with pytest.raises(UsageError, match="data exists already"):
        make(tmp_path / "data", "new")
    assert (tmp_path / "data" / "words.txt").read_text() == "old"
    make(tmp_path / "data", "new", replace=True)
    assert (tmp_path / "data" / "words.txt").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_a_failed_replacement_keeps_the_old(tmp_path: Path) -> None:
    make(tmp_path / "data", "old")
    with pytest.raises(RuntimeError), artifact.writing(tmp_path / "data", replace=True):
        raise RuntimeError
    artifact.verify(tmp_path / "data", checksums=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "cannot write: Read-only file system"),
    ],
)
@pytest.mark.parametrize("place", ["while filling", "while syncing", "at the rename"])
def test_a_refusing_disk_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str, place: str
) -> None:
    make(tmp_path / "data", "old")

    def fail(*_: object) -> None:
        raise error

    with pytest.raises(EnvironmentFault, match=what), artifact.writing(tmp_path / "data", replace=True) as folder:
        (folder / "x").write_text("x")
        if place == "while filling":
            raise error
        monkeypatch.setattr(os, "fsync", fail) if place == "while syncing" else None
        monkeypatch.setattr(Path, "rename", fail) if place == "at the rename" else None
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    artifact.verify(tmp_path / "data", checksums=True)


def test_every_failing_call_leaves_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The k-th sync or rename fails, for every k there is."""
    make(tmp_path / "data", "old")
    for k in range(1, 100):
        calls = iter(range(1, 1000))
        for owner, name in ((os, "fsync"), (Path, "rename")):
            real = getattr(owner, name)

            def maybe(*arguments: object, real=real, calls=calls, k=k) -> object:
                if next(calls) == k:
                    raise OSError(errno.EIO, "Input/output error")
                return real(*arguments)

            monkeypatch.setattr(owner, name, maybe)
        try:
            make(tmp_path / "data", "new", replace=True)
            failed = False
        except EnvironmentFault:
            failed = True
        monkeypatch.undo()
        artifact.sweep(tmp_path)
        artifact.verify(tmp_path / "data", checksums=True)
        assert (tmp_path / "data" / "words.txt").read_text() in ("old", "new")
        if not failed:
            assert k > 8
            break


def test_a_full_disk_under_a_size_limit(tmp_path: Path) -> None:
    """A real refusal by the system: the process may not write files above 64 KiB."""
    code = """
        import resource, signal, sys
        from pathlib import Path
        from groundup import artifact, errors
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            with artifact.writing(Path(sys.argv[1])) as folder:
                (folder / "big").write_bytes(bytes(1 << 20))
        except errors.EnvironmentFault as fault:
            sys.exit(fault.what)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "data")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "the disk is full"
    assert list(tmp_path.iterdir()) == []


# --- reading ---


@pytest.mark.parametrize(
    ("damage", "what", "checksums"),
    [
        (lambda data: (data / "words.txt").unlink(), "words.txt is missing", False),
        (lambda data: (data / "words.txt").write_text("hell"), "words.txt has 4 bytes, its manifest says 5", False),
        (lambda data: (data / "words.txt").write_text("hellO"), "words.txt is damaged", True),
        (lambda data: (data / "manifest.json").unlink(), "manifest.json is missing", False),
        (lambda data: (data / "manifest.json").write_bytes(b'{"files": {'), "not valid JSON", False),
        (lambda data: (data / "manifest.json").write_bytes(b"[]"), "lists no files", False),
        (lambda data: (data / "manifest.json").write_bytes(b'{"files": {"a": 3}}'), "lists no files", False),
        (lambda data: (data / "manifest.json").write_bytes(b'{"files": {"../x": {"size": 0}}}'), "outside", False),
        (lambda data: (data / "manifest.json").write_bytes(b'{"files": {"/x": {"size": 0}}}'), "outside", False),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, what: str, checksums: bool) -> None:
    make(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(ArtefactError, match=what):
        artifact.verify(tmp_path / "data", checksums=checksums)


@given(st.data())
def test_every_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flips") / "data"
    make(folder)
    file = folder / data.draw(st.sampled_from(["deep/ids.bin", "words.txt"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    artifact.verify(folder)
    with pytest.raises(ArtefactError, match="damaged"):
        artifact.verify(folder, checksums=True)


def test_read_json_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot read"):
        artifact.read_json(tmp_path)


# --- single files and lines ---


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact.write_file(tmp_path / "latest", "step-1")
    artifact.write_file(tmp_path / "latest", b"step-2")
    assert (tmp_path / "latest").read_bytes() == b"step-2"

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(EnvironmentFault):
        artifact.write_file(tmp_path / "latest", "step-3")
    assert (tmp_path / "latest").read_bytes() == b"step-2"
    assert [entry.name for entry in tmp_path.iterdir()] == ["latest"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot write: Not a directory"):
        artifact.write_file(tmp_path / "file" / "x", "")


def test_lines_are_appended_and_a_torn_one_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    artifact.append_json(path, {"step": 1})
    artifact.append_json(path, {"step": 2, "loss": float("nan")})
    with open(path, "ab") as file:
        file.write(b'{"step": 3, "lo')
    artifact.append_json(path, {"step": 3})
    assert path.read_bytes() == b'{"step":1}\n{"step":2,"loss":null}\n{"step":3}\n'
    path.write_bytes(b'{"st')
    artifact.append_json(path, {"step": 1})
    assert path.read_bytes() == b'{"step":1}\n'


def test_a_growing_file_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    with artifact.growing(path) as file:
        assert list(file.rows()) == []
        file.add({"n": 1})
        assert path.read_bytes() == b'{"n":1}\n', "what was added is there, whatever becomes of this process"
    path.write_bytes(b'{"n":1}\n{"n":2}\n{"n"')
    with artifact.growing(path) as file:
        assert list(file.rows()) == [{"n": 1}, {"n": 2}]
        assert path.read_bytes().endswith(b'{"n"'), "reading changes nothing"
        file.add({"n": 3})
        file.add({"n": 4})
    assert path.read_bytes() == b'{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n'


def test_a_growing_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"no rows\nat all")
    with pytest.raises(ArtefactError) as caught, artifact.growing(path) as file:
        list(file.rows())
    assert caught.value.where == f"{path}, line 1"
    assert path.read_bytes() == b"no rows\nat all"


def test_a_growing_file_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    code = f"""
from groundup import artifact
try:
    with artifact.growing({str(path)!r}):
        print("held twice")
except artifact.Locked as error:
    print(error.what)
"""
    with artifact.growing(path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "another process is writing" in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == b""


def test_json_for_people(tmp_path: Path) -> None:
    artifact.write_json(tmp_path / "run.json", {"a": [1]})
    assert (tmp_path / "run.json").read_text() == '{\n  "a": [\n    1\n  ]\n}\n'
    assert artifact.read_json(tmp_path / "run.json") == {"a": [1]}


@pytest.mark.parametrize("name", ["run-1", "a.b_c", "A" * 128, "..a"])
def test_a_safe_name(name: str) -> None:
    assert artifact.safe_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a\\b", "a\0", "A" * 129, "nul", "COM1.txt", "%2e", "a b", "a\n", "é"]
)
def test_an_unsafe_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        artifact.safe_name(name)


# --- several processes ---

HOLD = """
    import sys, time
    from groundup import artifact
    with artifact.lock(sys.argv[1]):
        print("ready", flush=True)
        time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who_holds(tmp_path: Path) -> None:
    process = start(HOLD, tmp_path / "run")
    with pytest.raises(EnvironmentFault, match=rf"pid {process.pid}\b"), artifact.lock(tmp_path / "run"):
        pass
    kill(process)
    with artifact.lock(tmp_path / "run"):  # the lock of a dead process
        with pytest.raises(EnvironmentFault, match=rf"pid {os.getpid()}\b"), artifact.lock(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".lock").read_text() == f"{os.getpid()}\n"
    with artifact.lock(tmp_path / "run"):
        pass


def test_an_orphaned_worker_does_not_hold_the_lock(tmp_path: Path) -> None:
    code = """
        import os, sys, time
        from groundup import artifact
        with artifact.lock(sys.argv[1]):
            child = os.fork()
            if child == 0:
                time.sleep(60)
            print("ready", flush=True)
            print(child, flush=True)
            time.sleep(60)
    """
    process = start(code, tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        with artifact.lock(tmp_path):
            os.kill(child, 0)  # it still lives
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


FILL = """
    import sys, time
    from groundup import artifact
    with artifact.writing(sys.argv[1], replace=True) as folder:
        (folder / "words.txt").write_text("new")
        print("ready", flush=True)
        time.sleep(60)
"""


def test_sweeping_clears_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    make(tmp_path / "data", "old")
    living, dead = start(FILL, tmp_path / "data"), start(FILL, tmp_path / "data")
    (tmp_path / ".tmp-notes").write_text("not ours")
    kill(dead)
    assert len(list(tmp_path.iterdir())) == 4
    artifact.sweep(tmp_path)
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left[0].startswith(f".tmp-{living.pid}-")
    assert left[1:] == [".tmp-notes", "data"]
    kill(living)
    artifact.sweep(tmp_path)
    assert (tmp_path / "data" / "words.txt").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".tmp-notes", "data"]


@pytest.mark.parametrize(("replacement", "expected"), [("whole", "new"), ("half", "old"), ("absent", "old")])
def test_killed_between_the_two_renames(tmp_path: Path, replacement: str, expected: str) -> None:
    """The old version has stepped aside, the new one has not arrived: neither may be lost."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    make(tmp_path / "data", "old")
    temporary = artifact._beside(tmp_path / "data", "tmp").name.replace(str(os.getpid()), str(process.pid), 1)
    (tmp_path / "data").rename(tmp_path / temporary.replace(".tmp-", ".old-"))
    if replacement != "absent":
        make(tmp_path / "new", "new")
        (tmp_path / "new").rename(tmp_path / temporary)
    if replacement == "half":
        (tmp_path / temporary / "manifest.json").unlink()
    artifact.sweep(tmp_path)
    artifact.verify(tmp_path / "data", checksums=True)
    assert (tmp_path / "data" / "words.txt").read_text() == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_killed_at_random_moments_while_replacing(tmp_path: Path) -> None:
    code = """
        import itertools, sys
        from groundup import artifact
        print("ready", flush=True)
        for n in itertools.count():
            with artifact.writing(sys.argv[1], {"n": n}, replace=True) as folder:
                for name in "abc":
                    (folder / name).write_text(str(n))
    """
    data = tmp_path / "data"
    make(data)
    for delay in (0.005, 0.011, 0.017, 0.023, 0.029, 0.037):
        process = start(code, data)
        time.sleep(delay)
        kill(process)
        artifact.sweep(tmp_path)
        manifest = artifact.verify(data, checksums=True)
        assert {(data / name).read_text() for name in manifest["files"] if name in "abc"} <= {str(manifest.get("n"))}
        assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_the_manifest_is_json_that_people_read(tmp_path: Path) -> None:
    make(tmp_path / "data")
    text = (tmp_path / "data" / "manifest.json").read_bytes()
    assert text.count(b"\n") > 5
    assert orjson.loads(text)["format"] == 1
