"""When compiled code counts as ready: where numba would take it, and nowhere else."""

import os
import shutil

from groundup.compiled_code import CompiledCode


def version(folder) -> str:
    code = CompiledCode("groundup.nothing", lambda: sorted(folder.glob("*.py")), main="", libraries=["numpy"])
    return code.folder.name


def test_code_is_for_the_files_that_numba_compiled_it_from(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    file = tmp_path / "a" / "kernel.py"
    file.write_text("pass")
    shutil.copy2(file, tmp_path / "b" / "kernel.py")
    before = version(tmp_path / "a")
    assert version(tmp_path / "a") == before
    assert version(tmp_path / "b") != before, "the same text in another place"
    os.utime(file, (1, 1))
    later = version(tmp_path / "a")
    assert later != before, "written at another time"
    file.write_text("pass  # changed")
    os.utime(file, (1, 1))
    assert version(tmp_path / "a") != later, "another text"
