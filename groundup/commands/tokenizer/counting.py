"""What `train` and `extend` have in common: text or kept counts to counts of pieces, and progress on the terminal."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.errors import DataError, UsageError
from groundup.text import sources
from groundup.tokenizer import compiled, counts
from groundup.tokenizer.counts import Counts
from groundup.tokenizer.train import count, join

MAX_THREADS = 8
"""More would wait for the one that reads."""

SIZED = (".txt", ".md")
"""Files whose size is the size of their text."""


REQUEST = "request.json"
"""In a folder of counts: what was counted."""


class Progress:
    """Shows what `train` reports, one line for counting and one for merging; closed at the end."""

    def __init__(self, n_bytes: int | None, n_merges: int, quiet: bool):
        self._phases = {"bytes": ("counting pieces", n_bytes, "B"), "merges": ("merging pairs", n_merges, "merges")}
        self._quiet = quiet
        self._shown: dict[str, Any] = {}
        self._open = ExitStack()
        compiled.announce = functools.partial(say, quiet=quiet)

    def __call__(self, what: str, n_done: int) -> None:
        from groundup.train.watch import phase

        if what not in self._shown:
            self._open.close()
            title, total, unit = self._phases[what]
            self._shown[what] = self._open.enter_context(phase(title, total, unit, quiet=self._quiet))
        self._shown[what].advance(n_done - self._shown[what].done)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


def check(paths: Sequence[str], out: Path, may_replace: bool) -> None:
    """UsageError if `out` is taken, DataError if a path is not there."""
    if out.exists() and not may_replace:
        raise UsageError("there is something already", where=str(out), hint="choose another --out, or add --replace")
    for path in paths:
        if not Path(path).exists():
            raise DataError("there is no such file or folder", where=path)


def counted(config: Any, pattern: str, special_tokens: tuple[str, ...], progress: Progress) -> Counts:
    """The counts of all paths, which are text or kept counts; kept in `config.counts` if that is asked for.

    What is kept there already is taken instead of counting, after a check that it is of the same paths.
    """
    if config.counts and counts.is_counts(config.counts):
        kept = Counts.load(config.counts)
        expected = Counts(kept.pieces, kept.offsets, kept.counts, pattern, special_tokens)
        kept.check_same_kind(expected)
        request = Path(config.counts) / REQUEST
        if not request.exists() or artifact.read_json(request) != _request(config):
            raise UsageError(
                "these counts are of other text",
                where=config.counts,
                hint="choose another --counts, or give the folder itself as the text",
            )
        say(f"{config.counts}: {kept.n_bytes / 1e6:.1f} MB are counted already", config.quiet)
        return kept
    if config.counts and Path(config.counts).exists() and any(Path(config.counts).iterdir()):
        raise UsageError("there is something already", where=config.counts, hint="choose another --counts")

    kept = [replace_specials(Counts.load(path), special_tokens) for path in config.paths if counts.is_counts(path)]
    texts = tuple(path for path in config.paths if not counts.is_counts(path))
    if texts:
        found = count(
            first(texts_of(config, texts), config.max_bytes),
            pattern,
            special_tokens=special_tokens,
            threads=config.threads or min(MAX_THREADS, n_cores()),
            progress=progress,
        )
        kept.append(found)
    whole = join(kept)
    if whole.pattern != pattern:
        raise DataError(f"the counts are of pieces split by {whole.pattern!r}, not {pattern!r}")
    if config.counts:
        whole.save(config.counts)
        artifact.write_json(Path(config.counts) / REQUEST, _request(config))
    return whole


def replace_specials(kept: Counts, special_tokens: tuple[str, ...]) -> Counts:
    """Counts for a vocabulary with these special tokens. DataError if text was cut at others."""
    if set(kept.special_tokens) != set(special_tokens):
        raise DataError(
            f"the counts were made with the special tokens {', '.join(kept.special_tokens) or 'none'}",
            hint="count the text anew, or give the same --special-tokens",
        )
    return replace(kept, special_tokens=special_tokens)


def _request(config: Any) -> dict[str, Any]:
    """What was counted: names, sizes and times of the files, and how much of them."""
    files = [
        file
        for path in map(Path, config.paths)
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return {"files": [list(stat) for stat in stats], "max_bytes": config.max_bytes, "text_field": config.text_field}


def size_of(config: Any) -> int | None:
    """Bytes of text, where the sizes of the files tell."""
    files = [Path(path) for path in config.paths]
    if not all(file.is_file() and file.suffix in SIZED for file in files):
        return config.max_bytes
    size = sum(file.stat().st_size for file in files)
    return min(size, config.max_bytes) if config.max_bytes else size


def texts_of(config: Any, paths: Sequence[str] | None = None) -> Iterator[str]:
    notice: Callable[[str], None] = functools.partial(say, quiet=config.quiet)
    chosen = config.paths if paths is None else paths
    texts = tuple(path for path in chosen if not counts.is_counts(path))
    if not texts:
        return
    for document in sources.documents(texts, field=config.text_field, notice=notice):
        yield document.text


def first(texts: Iterator[str], max_bytes: int | None) -> Iterator[bytes]:
    """The texts until `max_bytes` are full; the last one is cut, between two characters."""
    left = max_bytes
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        if left is not None and len(data) >= left:
            yield data[:left].decode("utf-8", "ignore").encode()
            return
        yield data
        left = None if left is None else left - len(data)


def n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(text, file=sys.stderr)
