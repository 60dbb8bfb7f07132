"""Real text to measure on: English, Chinese and code, nothing in it twice.

    python benchmarks/corpus.py [--corpus FOLDER...] [--cache FOLDER]

Without `--corpus` it is gathered from what the machine has: the packed texts of ../shared/data where they lie beside
the repository, the docstrings, documents and sources of Python's standard library and of the installed packages, the
system's documents. Each kind is filled up to its size from its sources in order and is never padded by repeating: what
is too small stays too small, and the rows say how many bytes were used, of what, and their hash.

With `--corpus`, every readable text in the folders is taken, each document to the kind it looks like. A folder that
was gathered here before (it holds a corpus.json) is used as it is.
"""

import argparse
import ast
import hashlib
import inspect
import json
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from groundup.errors import DataError, GroundupError
from groundup.text import sources
from groundup.text.archives import opened, plain_name
from groundup.text.files import ROW_ENDINGS, files

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundup" / "benchmarks"

KINDS = {"en": "English", "code": "code", "zh": "Chinese"}
TARGET = {"en": 110_000_000, "zh": 25_000_000, "code": 40_000_000}
"""Bytes at which a kind is full; it ends with the document that reaches it."""

CODE_ENDINGS = (".py", ".pyi", ".c", ".h", ".cpp", ".hpp", ".rs", ".go", ".js", ".ts", ".java", ".sh", ".sql")
DOCUMENT_NAMES = re.compile(r"(\.(md|rst|txt)|METADATA|README|NEWS|FAQ)(\.gz)?$")
SYSTEM_NAMES = re.compile(r"(\.(md|rst)|README|NEWS|FAQ|HACKING)(\.gz)?$")

LONG = 40
"""Letters; a paragraph with fewer may well occur twice without being a copy."""
SMALL = bytes(range(256)).lower()
NO_LETTERS = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalpha())
WHITE = b" \t\r\n"


class Part(NamedTuple):
    """What one source gave."""

    source: str
    n_documents: int
    n_bytes: int


class Corpus(NamedTuple):
    """One kind of text in one file. `sha256` is of the whole file."""

    kind: str
    path: Path
    n_bytes: int
    sha256: str
    parts: list[Part]

    def __str__(self) -> str:
        parts = ", ".join(f"{part.source} {part.n_bytes / 1e6:.1f}" for part in self.parts)
        return f"{self.kind}: {self.n_bytes:,} bytes, sha256 {self.sha256[:16]} (MB: {parts})"


# --- from sources to a folder of corpora ---


def load(folders: list[Path], cache: Path = CACHE, notice: Callable[[str], None] = lambda text: None) -> list[Corpus]:
    """The corpora of `folders`, or of this machine if there are none, gathered now or found in `cache`."""
    if len(folders) == 1 and (folders[0] / "corpus.json").is_file():
        return _read(folders[0])
    place = cache / (f"corpus-{_stamp(folders)}" if folders else "corpus")
    if not (place / "corpus.json").is_file():
        notice(f"gathering text into {place}: a minute or two, once")
        place.mkdir(parents=True, exist_ok=True)
        _gather(own_sources(folders) if folders else default_sources(), place, None if folders else TARGET)
    return _read(place)


def _gather(
    found: Iterable[tuple[str, str, Iterator[tuple[str, bytes]]]], place: Path, target: dict[str, int] | None
) -> None:
    """Write en.txt, zh.txt, code.txt and corpus.json. A source is (kind or "", name, its (name, text) in order)."""
    parts: dict[str, list[Part]] = {}
    n_bytes: dict[str, int] = {}
    distinct: dict[str, Distinct] = {}
    with ExitStack() as stack:
        out: dict[str, Any] = {}
        for kind, name, documents in found:
            if target and n_bytes.get(kind, 0) >= target[kind]:
                continue
            counted: dict[str, list[int]] = {}
            for document_name, text in documents:
                here = kind or kind_of(document_name, text)
                if here not in out:
                    out[here] = stack.enter_context(open(place / f"{here}.txt", "wb"))
                    distinct[here] = Distinct(whole=here == "code")
                text = distinct[here](text)
                if text:
                    out[here].write(text + b"\n\n")
                    n_bytes[here] = n_bytes.get(here, 0) + len(text) + 2
                    counted.setdefault(here, [0, 0])
                    counted[here][0] += 1
                    counted[here][1] += len(text) + 2
                if target and n_bytes.get(here, 0) >= target[here]:
                    break
            for here, (n_documents, size) in counted.items():
                parts.setdefault(here, []).append(Part(name, n_documents, size))
    if not parts:
        raise DataError("there is no text to measure on", hint="name folders of text: --corpus FOLDER...")
    listed = {
        kind: {"sha256": _sha256(place / f"{kind}.txt"), "bytes": n_bytes[kind], "parts": parts[kind]} for kind in parts
    }
    (place / "corpus.json").write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


def _read(place: Path) -> list[Corpus]:
    listed = json.loads((place / "corpus.json").read_text(encoding="utf-8"))
    corpora = []
    for kind, entry in listed.items():
        path = place / f"{kind}.txt"
        if not path.is_file() or _sha256(path) != entry["sha256"]:
            raise DataError("this corpus is not what it was", where=str(path), hint=f"rm -r {place}")
        corpora.append(Corpus(kind, path, entry["bytes"], entry["sha256"], [Part(*part) for part in entry["parts"]]))
    return corpora


def _stamp(folders: list[Path]) -> str:
    """Changes when a file in the folders does."""
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    stamps = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in found]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:8]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Distinct:
    """Passes on what was not seen before: of code whole files, of prose paragraphs.

    Two paragraphs are the same if their letters are, whatever their case, line breaks and marks.
    """

    def __init__(self, whole: bool):
        self.whole = whole
        self.seen: set[bytes] = set()

    def __call__(self, text: bytes) -> bytes:
        if self.whole:
            return text if self._is_new(text) else b""
        paragraphs = text.replace(b"\r\n", b"\n").split(b"\n\n")
        return b"\n\n".join(part for part in paragraphs if self._is_short_or_new(part)).strip(b"\n")

    def _is_short_or_new(self, paragraph: bytes) -> bool:
        letters = paragraph.translate(SMALL, NO_LETTERS)
        if 2 * len(letters) < len(paragraph):
            letters = paragraph.translate(None, WHITE)
        return len(letters) < LONG or self._is_new(letters)

    def _is_new(self, text: bytes) -> bool:
        key = xxhash.xxh3_128_digest(text)
        if key in self.seen:
            return False
        self.seen.add(key)
        return True


def kind_of(name: str, text: bytes) -> str:
    """Code by its name, Chinese by its letters, else English."""
    if plain_name(name).endswith(CODE_ENDINGS):
        return "code"
    sample = text[:20_000].decode("utf-8", "ignore")
    n_chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in sample)
    return "zh" if 5 * n_chinese > len(sample) else "en"


# --- sources ---


def own_sources(folders: list[Path]) -> Iterator[tuple[str, str, Iterator[tuple[str, bytes]]]]:
    for folder in folders:
        yield "", folder.resolve().name, _documents(folder)
        yield "code", folder.resolve().name, _sources([folder])


def default_sources() -> Iterator[tuple[str, str, Iterator[tuple[str, bytes]]]]:
    """(kind, name of the source, its documents), the most natural text first."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    if SHARED.is_dir():
        yield "en", "shared books and web text", _documents(SHARED / "pretrain" / "en")
        yield "en", "shared instructions and answers", _of_kind("en", _strings(SHARED / "sft"))
        yield "zh", "shared Chinese text", _documents(SHARED / "pretrain" / "zh")
        yield "zh", "shared Chinese instructions", _of_kind("zh", _strings(SHARED / "sft"))
    yield "en", "documents of installed packages", _of_kind("en", _named(packages, DOCUMENT_NAMES))
    yield "en", "docstrings of the standard library", _docstrings([library])
    yield "en", "docstrings of installed packages", _docstrings(packages)
    yield "en", "documents of the system", _of_kind("en", _named([Path("/usr/share/doc")], SYSTEM_NAMES))
    yield "code", "the standard library", _sources([library])
    yield "code", "sources of installed packages", _sources(packages)


def _of_kind(kind: str, documents: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    return ((name, text) for name, text in documents if kind_of(name, text) == kind)


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Texts and rows with `text`, packed or not, as groundup reads them; rows of other forms are left out."""
    for file in files([path]):
        with suppress(DataError):
            for document in sources.documents([file], max_bad=0.5):
                yield document.source, document.text.encode("utf-8", "replace")


def _strings(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every text of more than a few words in rows of whatever form: instructions, answers, conversations."""
    for path in files([folder], endings=ROW_ENDINGS):
        with suppress(DataError):  # a file whose rows are spread over lines
            for number, row in sources.rows(path, sources.Tolerance(0.5)):
                text = "\n".join(filter(lambda text: len(text) > 30, _strings_in(row)))
                yield f"{path.name}:{number}", text.encode("utf-8", "replace")


def _strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings_in(inner)


def _docstrings(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    """The documentation inside Python sources, one text a file, as `inspect.cleandoc` shows it."""
    for path, source in _sources(folders):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        texts = [inspect.cleandoc(text) for node in nodes if (text := ast.get_docstring(node, clean=False))]
        yield path, "\n\n".join(text for text in texts if len(text) > 80).encode("utf-8", "replace")


def _sources(folders: list[Path]) -> Iterator[tuple[str, bytes]]:
    return _named(folders, re.compile("(" + "|".join(map(re.escape, CODE_ENDINGS)) + ")$"))


def _named(folders: list[Path], names: "re.Pattern[str]") -> Iterator[tuple[str, bytes]]:
    """Files in folders whose names match, in the order of their names, that are UTF-8 and no generated monsters."""
    for folder in folders:
        for here, inner, names_here in os.walk(folder):
            # The standard library's folder may hold the installed packages, which are a source of their own.
            inner[:] = sorted({*inner} - {"__pycache__", "site-packages", "dist-packages", "node_modules"})
            for name in sorted(names_here):
                path = Path(here, name)
                if not names.search(name) or not path.is_file() or path.stat().st_size > 2_000_000:
                    continue
                try:
                    with opened(path) as stream:
                        text = stream.read()
                    text.decode()
                except (GroundupError, OSError, UnicodeDecodeError):
                    continue
                yield str(path), text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], metavar="FOLDER", help="text of your own")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FOLDER", help=f"where it is kept ({CACHE})")
    options = parser.parse_args(arguments)
    try:
        for corpus in load(options.corpus, options.cache, lambda text: print(text, file=sys.stderr)):
            print(f"{corpus.path}\n  {corpus}")
    except GroundupError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
