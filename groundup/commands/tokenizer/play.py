"""`groundup tokenizer play`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from groundup.tokenizer.merge_tree import Growth
    from groundup.tokenizer.protocol import Tokenizer

BACKGROUNDS = ("#cfe3fa", "#fbd9bd", "#c9ead5", "#e6d3f8", "#f7e5a1", "#f6ccd8")
FEW_BACKGROUNDS = ("bright_cyan", "bright_yellow", "bright_green", "bright_magenta", "white")
"""Of the tokens, in turn, with black ink; a terminal of sixteen colours has only the few."""


@dataclass(frozen=True)
class PlayConfig:
    tokenizer: str = field(metadata={"positional": True})
    """folder or file of a tokenizer"""
    out: str | None = None
    """write a page to this .html file, to be opened in a browser; without it, read lines and show them here"""
    steps: bool = False
    """show also how each piece was joined from its bytes"""
    replace: bool = False
    """put the new page in place of a file that is there"""
    dry_run: bool = False
    """make the page and say its size, write no file"""
    json: bool = False
    """one JSON object for each line, or for the page"""
    quiet: bool = False


def play(config: PlayConfig) -> None:
    """See how text is cut and joined: as a page for the browser, or line by line in the terminal."""
    from groundup.tokenizer.protocol import Tokenizer

    out = Path(config.out) if config.out is not None else None
    if out and out.suffix not in (".html", ".htm"):
        raise UsageError("--out must end in .html", where=config.out)
    if out and out.exists() and not config.replace:
        raise UsageError("there is something already", where=config.out, hint="choose another --out, or add --replace")
    tokenizer = Tokenizer.load(config.tokenizer)
    if out:
        _write_page(tokenizer, out, config)
    else:
        _show_lines(tokenizer, config)


# --- the page ---


def _write_page(tokenizer: "Tokenizer", out: Path, config: PlayConfig) -> None:
    import orjson

    from groundup import artifact
    from groundup.insight.play import play_page

    page = play_page(tokenizer, Path(config.tokenizer).resolve().name).encode()
    if not config.dry_run:
        out.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_file(out, page)
    if config.json:
        print(orjson.dumps({"page": str(out), "bytes": len(page), "vocab_size": tokenizer.vocab_size}).decode())
    else:
        print(out)
    if not config.quiet:
        size = f"{len(page) / 1e6:.2f} MB with {tokenizer.vocab_size:,} tokens"
        print(f"would write {size}" if config.dry_run else f"{size}; open it in a browser", file=sys.stderr)


# --- the terminal ---


def _show_lines(tokenizer: "Tokenizer", config: PlayConfig) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for line in _lines(config):
        if not line and not config.json:
            continue
        growths = _grown(tokenizer, line)
        if config.json:
            _print_json(tokenizer, line, growths, config)
            continue
        # Written in one go and by ourselves: rich would leave with an error of its own when a pipe closes.
        with console.capture() as written:
            for part in _view(tokenizer, line, growths, config, console):
                console.print(part)
        encoding = sys.stdout.encoding or "utf-8"
        print(written.get().encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _lines(config: PlayConfig) -> Iterator[bytes]:
    """Lines of standard input without their ends; a person who types is asked for them."""
    is_asked = sys.stdin.isatty() and not config.quiet and not config.json
    if is_asked:
        print("Type a text to see its tokens; Ctrl-D ends.", file=sys.stderr)
    while True:
        if is_asked:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            break
        yield line.rstrip(b"\r\n")
    if is_asked:
        print(file=sys.stderr)


def _grown(tokenizer: "Tokenizer", line: bytes) -> "list[Growth]":
    """The line's pieces with their joins; a tokenizer that joins nothing has one piece for each token."""
    from groundup.tokenizer.bpe import BPE
    from groundup.tokenizer.merge_tree import Growth, Node, grow

    if isinstance(tokenizer, BPE):
        return grow(tokenizer, line)
    nodes = [Node(i, tokenizer.token_bytes[i]) for i in tokenizer.encode(line).tolist()]
    return [Growth(node.token, (), (node,)) for node in nodes]


def _view(
    tokenizer: "Tokenizer", line: bytes, growths: "list[Growth]", config: PlayConfig, console: "Console"
) -> "Iterator[Text]":
    from rich.text import Text

    tokens = [node for growth in growths for node in growth.tokens]
    yield _coloured(tokenizer, growths, console)
    yield Text(" ".join(str(node.id) for node in tokens), "dim")
    counts = f"{_many(len(tokens), 'token')}, {_many(len(line), 'byte')}"
    yield Text(f"{counts}, {len(line) / max(1, len(tokens)):.2f} bytes per token", "dim")
    if config.steps:
        from groundup.tokenizer.merge_tree import steps

        for growth in {growth.data: growth for growth in growths if growth.joins}.values():
            yield Text()
            yield from map(Text, steps(growth))


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _coloured(tokenizer: "Tokenizer", growths: "list[Growth]", console: "Console") -> "Text":
    """Tokens on changing backgrounds, pieces apart; without colours, a bar between the tokens of a piece."""
    from rich.text import Text

    backgrounds = FEW_BACKGROUNDS if console.color_system in ("standard", "windows") else BACKGROUNDS
    shown, n = Text(), 0
    for growth in growths:
        if n:
            shown.append(" ")
        for k, node in enumerate(growth.tokens):
            if k and console.color_system is None:
                shown.append("|")
            shown.append(_name(tokenizer, node.id), f"black on {backgrounds[n % len(backgrounds)]}")
            n += 1
    return shown


def _name(tokenizer: "Tokenizer", i: int) -> str:
    from groundup.insight.tokenizer_contents import row

    return row(tokenizer, i)["token"]


def _print_json(tokenizer: "Tokenizer", line: bytes, growths: "list[Growth]", config: PlayConfig) -> None:
    import orjson

    tokens = [node for growth in growths for node in growth.tokens]
    facts: dict[str, Any] = {
        "text": line.decode("utf-8", "replace"),
        "bytes": len(line),
        "n_tokens": len(tokens),
        "ids": [node.id for node in tokens],
        "pieces": [[_name(tokenizer, node.id) for node in growth.tokens] for growth in growths],
    }
    if config.steps:
        from groundup.tokenizer.merge_tree import step_facts

        facts["steps"] = [step_facts(growth) for growth in growths]
    print(orjson.dumps(facts).decode(), flush=True)
