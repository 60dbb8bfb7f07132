"""Files in every wrapping, encoding and state of repair: what comes out, or what a person is told."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import psutil
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from groundup.errors import DataError
from groundup.text import archives, sources

STORY = "Once upon a time there was a café.\n\nIt was warm.\n"
PACKERS = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda raw: zstandard.ZstdCompressor().compress(raw),
}


def texts(*paths: Path, **options) -> list[str]:
    return [document.text for document in sources.documents(paths, **options)]


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# --- wrappings ---


@pytest.mark.parametrize("ending", ["", *PACKERS])
@pytest.mark.parametrize("kind", [".txt", ".md", ".jsonl", ".json"])
def test_each_kind_in_each_compression(tmp_path: Path, kind: str, ending: str) -> None:
    content = {
        ".jsonl": "\n".join(json.dumps({"text": text}) for text in (STORY, "two")),
        ".json": json.dumps([{"text": STORY}, {"text": "two"}], indent=2),
    }.get(kind, f"{STORY}<|endoftext|>\ntwo\n<|endoftext|>")
    path = tmp_path / f"a{kind}{ending}"
    path.write_bytes(PACKERS.get(ending, bytes)(content.encode()))
    assert [text.strip() for text in texts(path)] == [STORY.strip(), "two"]


@pytest.mark.parametrize("ending", ["", *PACKERS])
def test_tar_members_in_archive_order(tmp_path: Path, ending: str) -> None:
    packed = tar_of(
        {"b/2.txt": b"second", "a/1.md.gz": gzip.compress(b"first"), "a/x.png": b"\x89", "a/.hidden.txt": b"no"}
    )
    path = tmp_path / f"books.tar{ending}"
    path.write_bytes(PACKERS.get(ending, bytes)(packed))
    notices: list[str] = []
    found = list(sources.documents([path], notice=notices.append))
    assert [(document.text, document.source) for document in found] == [
        ("second", f"{path}:b/2.txt"),
        ("first", f"{path}:a/1.md.gz"),
    ]
    assert notices == [f"{path}: passed over 1 files that are no text by their names (1 x .png)"]


@pytest.mark.parametrize("name", ["a.tgz", "a.jsonl.tar.bz2"])
def test_other_names_of_packed_tars(tmp_path: Path, name: str) -> None:
    pack = PACKERS[".gz" if name.endswith("tgz") else ".bz2"]
    (tmp_path / name).write_bytes(pack(tar_of({"rows.jsonl": b'{"text": "one"}\n'})))
    assert texts(tmp_path / name) == ["one"]


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.txt", "one")
        archive.writestr("__MACOSX/a.txt", "no")
        archive.writestr("b.txt.xz", lzma.compress(b"two"))
    assert texts(tmp_path / "a.zip") == ["one", "two"]


def test_folder_by_name_whatever_the_system_lists_first(tmp_path: Path) -> None:
    for name in ["b.txt", "a/z.txt", "a.txt", "c.txt/inner.txt", ".hidden.txt", "a/y.md"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a/y.md", "a/z.txt", "a.txt", "b.txt", "c.txt/inner.txt"]


def test_link_loops_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.txt").write_text("one")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    assert texts(tmp_path) == ["one"]
    with pytest.raises(DataError, match="link that leads nowhere"):
        texts(tmp_path / "self.txt")


# --- encodings ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_and_without_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("naïve 天气\r\nline\rend".encode(encoding))
    assert texts(tmp_path / "a.txt") == ["naïve 天气\nline\nend"]
    (tmp_path / "a.jsonl").write_bytes('{"text": "天气"}\r\n{"text": "b"}'.encode(encoding))
    assert texts(tmp_path / "a.jsonl") == ["天气", "b"]


@pytest.mark.parametrize("n_before", [0, 10, 2**20 - 1, 2**20 + 5])
def test_latin_1_is_read_and_said(tmp_path: Path, n_before: int) -> None:
    plain = "x" * n_before
    text = plain + "un caf\xe9 \u201cbon et chaud\u201d"
    (tmp_path / "old.txt").write_bytes(text.encode("cp1252") + b"\x81")
    notices: list[str] = []
    assert "".join(texts(tmp_path / "old.txt", notice=notices.append)) == text + "\x81"
    assert len(notices) == 1 and "old.txt" in notices[0] and "Latin-1" in notices[0]


def test_a_last_byte_alone_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("un caf\xe9".encode("latin-1"))
    assert texts(tmp_path / "old.txt") == ["un caf\xe9"]


def test_other_encodings_are_refused_not_garbled(tmp_path: Path) -> None:
    (tmp_path / "zh.txt").write_bytes("人们都认为佛家和老子的学说不同".encode("gb18030") * 20)
    with pytest.raises(DataError, match="not valid UTF-8 at byte 1") as caught:
        texts(tmp_path / "zh.txt")
    assert "iconv" in caught.value.hint and caught.value.exit_code == 3


def test_broken_utf_8_is_an_error_or_replaced_when_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("天气 ".encode() + b"\xff\xfe ok")
    with pytest.raises(DataError, match="not valid UTF-8 at byte 8"):
        texts(tmp_path / "a.txt")
    assert texts(tmp_path / "a.txt", max_bad=1) == ["天气 \ufffd\ufffd ok"]


# --- documents and pieces ---


def test_separator_across_blocks(tmp_path: Path) -> None:
    for shift in range(12):
        first = "a" * (2**20 - shift)
        (tmp_path / "a.txt").write_text(f"{first}<|endoftext|>\nsecond\n<|endoftext|>")
        assert texts(tmp_path / "a.txt") == [first, "second"]


@given(st.text(alphabet="ab\n 天é🙂", max_size=300), st.integers(1, 40))
def test_pieces_are_the_text_and_never_too_long(text: str, longest: int) -> None:
    longest += 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "LONGEST", longest)
        found = list(sources.pieces(text))
    assert text.startswith("".join(found)) and not text[len("".join(found)) :].strip()
    assert all(len(piece.encode()) <= longest for piece in found)


def test_long_text_is_cut_at_blank_lines(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {i} says a word.\n\n" for i in range(120_000))
    (tmp_path / "a.txt").write_text(text)
    found = texts(tmp_path / "a.txt")
    assert "".join(found) == text and len(found) > 2
    assert all(piece.endswith("\n\n") and len(piece) <= 2**20 for piece in found)


@pytest.mark.parametrize("ending", ["", ".zst"])
def test_hundred_megabytes_without_a_line_end_in_little_memory(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"line.txt{ending}"
    with open(path, "wb") as raw, zstandard.ZstdCompressor(level=1).stream_writer(raw) if ending else raw as file:
        for i in range(100):
            file.write(os.urandom(2**18).hex().encode() * 2 + str(i).encode())
    before = psutil.Process().memory_info().rss
    n, most = 0, 0
    for document in sources.documents([path]):
        n += len(document.text)
        most = max(most, psutil.Process().memory_info().rss - before)
    assert n > 100 * 2**20 and most < 60 * 2**20


def test_control_characters_and_bare_marks_survive(tmp_path: Path) -> None:
    text = "a\x01b\u2028c\u202ed\x85e"
    (tmp_path / "a.txt").write_text(text, newline="")
    assert texts(tmp_path / "a.txt") == [text]


# --- rows ---

BAD_ROWS = {
    "not JSON": (b'{"text": "a"}\n{oops}\n{"text": "b"}\n', "not JSON", 2),
    "cut off": (b'{"text": "a"}\n{"text": "b"}\n{"text": "c', "incomplete", 3),
    "a list": (b'{"text": "a"}\n[1]\n{"text": "b"}\n', "a list", 2),
    "null": (b'{"text": "a"}\nnull\n{"text": "b"}\n', "null", 2),
    "not UTF-8": (b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b"}\n', "not UTF-8", 2),
    "no key": (b'{"text": "a"}\n\n{"txt": "x"}\n{"text": "b"}\n', "no key 'text'", 3),
    "a number": (b'{"text": "a"}\n{"text": 5}\n{"text": "b"}\n', "holds a number", 2),
    "a null": (b'{"text": "a"}\n{"text": null}\n{"text": "b"}\n', "holds null", 2),
    "a lone surrogate": (b'{"text": "a"}\n{"text": "\\ud800"}\n{"text": "b"}\n', "not JSON", 2),
    "deep": (b'{"text": "a"}\n' + b'{"text":' * 100_000 + b'\n{"text": "b"}\n', "not JSON", 2),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_names_number_and_reason_and_can_be_left_out(tmp_path: Path, case: str) -> None:
    content, reason, number = BAD_ROWS[case]
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        texts(path)
    assert caught.value.where == f"{path}, row {number}" and caught.value.exit_code == 3
    notices: list[str] = []
    assert texts(path, max_bad=1, notice=notices.append) == ["a", "b"]
    assert len(notices) == 1 and "left out 1 of" in notices[0] and reason in notices[0]


def test_missing_key_names_those_seen_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "content": "a long enough text"}\n')
    with pytest.raises(DataError) as caught:
        texts(tmp_path / "a.jsonl")
    assert caught.value.hint == "the keys are: id, content; did you mean --text-field content?"
    assert texts(tmp_path / "a.jsonl", field="content") == ["a long enough text"]


def test_share_of_bad_rows(tmp_path: Path) -> None:
    rows = ['{"text": "a"}'] * 98 + ["oops", '{"text": "b"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert len(texts(tmp_path / "a.jsonl", max_bad=0.02)) == 99
    with pytest.raises(DataError, match="1 of 100 rows cannot be used, allowed are 0.50%"):
        texts(tmp_path / "a.jsonl", max_bad=0.005)


def test_more_bad_rows_than_allowed_stop_with_counts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('oops\n{"no": 1}\nworse\n{"text": "b"}\n')
    with pytest.raises(DataError, match="3 rows cannot be used: 2 x the row is not JSON.*; 1 x no key 'text'"):
        texts(tmp_path / "a.jsonl", max_bad=2)


def test_damaged_array_says_how_far_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "b"}, {"te')
    found = sources.documents([tmp_path / "a.json"])
    assert [next(found).text, next(found).text] == ["a", "b"]
    with pytest.raises(DataError, match="after 2 whole rows"):
        next(found)


def test_row_that_is_too_long_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST_ROW", 1000)
    (tmp_path / "a.jsonl").write_text('{"text": "%s"}\n{"text": "b"}\n' % ("x" * 5000))
    with pytest.raises(DataError, match="row is longer than"):
        texts(tmp_path / "a.jsonl")
    assert texts(tmp_path / "a.jsonl", max_bad=1) == ["b"]


def test_json_lines_whatever_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "a"}\n{"text": "b", "n": 123456789012345678901234567890}\n')
    assert [row["text"] for _, row in sources.rows(tmp_path / "a.json")] == ["a", "b"]


# --- bad input ---


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    with pytest.raises(DataError, match="no file in it"):
        texts(tmp_path / "books")
    (tmp_path / "books/a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="none of the 1 files is text"):
        texts(tmp_path / "books")
    with pytest.raises(DataError, match="no such file") as caught:
        texts(tmp_path / "boks")
    assert caught.value.hint == f"did you mean {tmp_path / 'books'}?"


@pytest.mark.parametrize("content", [b"", b" \n\n\t", b"\xef\xbb\xbf", b"<|endoftext|>\n<|endoftext|>"])
def test_empty_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match="no text in it") as caught:
        texts(tmp_path / "a.txt")
    assert caught.value.exit_code == 3
    (tmp_path / "b.txt").write_text("something")
    notices: list[str] = []
    assert texts(tmp_path, notice=notices.append) == ["something"]
    assert notices == [f"{tmp_path / 'a.txt'}: empty, nothing read from it"]


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\x02\x00\x00")
    with pytest.raises(DataError, match="binary file, not text: byte 6 is zero"):
        texts(tmp_path / "a.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        texts(tmp_path / "a.txt")


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_compression(tmp_path: Path, ending: str, damage: str) -> None:
    packed = PACKERS[ending](os.urandom(5000).hex().encode())
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(packed[:-9] if damage == "cut" else b"this is not packed at all")
    with pytest.raises(DataError, match="cut off" if damage == "cut" else "cannot be read") as caught:
        texts(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.tar.gz"])
def test_damaged_archives(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        texts(tmp_path / name)
    if name == "a.tar":
        (tmp_path / name).write_bytes(tar_of({"a.txt": b"text" * 1000})[:2000])
        with pytest.raises(DataError):
            texts(tmp_path / name)


@pytest.mark.parametrize("ending", PACKERS)
def test_bombs_are_refused(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    (tmp_path / f"a.txt{ending}").write_bytes(PACKERS[ending](b"a" * (30 * 2**20)))
    with pytest.raises(DataError, match="more than 200 times its size"):
        texts(tmp_path / f"a.txt{ending}")


def test_bomb_in_a_zip_and_in_a_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(10):
            archive.writestr(f"{i}.txt", b"a" * (3 * 2**20))
    (tmp_path / "a.tar").write_bytes(tar_of({"a.txt.xz": lzma.compress(b"a" * (30 * 2**20))}))
    for name in ("a.zip", "a.tar"):
        with pytest.raises(DataError, match="more than 200 times its size"):
            texts(tmp_path / name)


@pytest.mark.parametrize("name", ["../a.txt", "/etc/a.txt", "b/../../a.txt"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({name: b"text"}))
    with pytest.raises(DataError, match="leads out of it"):
        texts(tmp_path / "a.tar")


def test_links_and_devices_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in [("link.txt", tarfile.SYMTYPE), ("dev.txt", tarfile.CHRTYPE)]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("real.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    notices: list[str] = []
    assert texts(tmp_path / "a.tar", notice=notices.append) == ["text"]
    assert len(notices) == 2 and all("link or a device" in notice for notice in notices)


# --- real files ---


def test_real_texts(shared_data: Path) -> None:
    english = shared_data / "pretrain" / "en"
    stories = texts(english / "tinystories_eot_sample.txt")
    assert len(stories) == 5 and all(story.strip() and "<|endoftext|>" not in story for story in stories)
    notices: list[str] = []
    speeches = texts(english / "nltk_inaugural.zip", notice=notices.append)
    assert len(speeches) > 50 and any("2005-Bush.txt: not UTF-8" in notice for notice in notices)
    assert len(texts(english / "c4_demo.jsonl.xz")) == 300
    shakespeare = texts(english / "tinyshakespeare.txt.xz")
    assert "".join(shakespeare) == lzma.decompress((english / "tinyshakespeare.txt.xz").read_bytes()).decode()
