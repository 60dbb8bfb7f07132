"""The command line: `groundup VERB [options]`. A verb is a file or a folder of `commands/`, imported only when chosen.

A command module has a docstring (its first line is the summary) and either `Config` and `run(config)`, or
`VERBS = {"train": train}`: functions of one argument, annotated with a Config of their own. `config.py` fills the
Config from defaults, `--config FILE.toml`, `GROUNDUP_*` variables and flags; cyclopts cuts arguments into options and
prints help. A field's metadata may say `positional` (may stand without its flag) and `alias` (further flags).

Data goes to stdout, words for people to stderr; the exit codes are those of `errors.py`.
"""

import errno
import functools
import importlib
import inspect
import io
import os
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import orjson

import groundup
from groundup import config as configs
from groundup.errors import EnvironmentFault, GroundupError, Stopped, UsageError

ABOUT = """From a folder of text to a chat model that you understand. Begin with: groundup demo"""
COMMANDS = Path(__file__).parent / "commands"
HELP_FLAGS = ("--help", "-h")
INTERRUPTED = 130
# A lone dash means stdin. cyclopts would take it for an option, so it travels past it under this name.
LONE_DASH = "\0-"
# Variables of the environment that mean something, though they are no setting of a verb.
NO_SETTINGS = ("GROUNDUP_PLAIN",)
# Fields that many verbs have and few need to explain.
USUAL_DOCS = {
    "json": "one JSON object on stdout",
    "quiet": "no progress, no remarks",
    "dry_run": "say what would be done, and do nothing",
}
EVERY_VERB = (
    ("config", Path, "TOML file with these settings; a flag beats it"),
    ("schema", bool, "print the JSON Schema of that file"),
    ("debug", bool, "show the traceback of an error"),
    ("help", bool, "show this page (also -h)"),
)


class Verb(NamedTuple):
    """One thing the command line can do: a Config class, and the function that takes one."""

    name: str  # "pretrain", "tokenizer train"
    doc: str
    config_class: type
    run: Callable[[Any], Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    # Threads that spin while they wait make a shared machine ten times slower; a short spin costs a quiet one nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # A model may write what an old code page lacks: "?" stands for it there, and the text goes on.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):  # rich makes it one
            raise
        # Whoever read our output has enough. What is still buffered must not fail again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _tell(_as_ours(error))


# --- from a name to a verb ---


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in (*HELP_FLAGS, "help"):
        _print_overview("groundup", ABOUT, {name: _first_line(path) for name, path in verb_files().items()})
        return 0
    if arguments[0] in ("--version", "-V"):
        print(groundup.__version__)
        return 0
    asks_for_help = len(arguments) == 1 or arguments[1] in HELP_FLAGS
    if asks_for_help and "" not in (verbs := verbs_of(arguments[0])):
        summaries = {sub: verb.doc.partition("\n")[0] for sub, verb in verbs.items()}
        _print_overview(f"groundup {arguments[0]}", inspect.getdoc(_module(arguments[0])) or "", summaries)
        return 0
    verb, rest = find(arguments)
    config = parse(verb, rest, os.environ)
    code = 0 if config is None else verb.run(config)
    return code if isinstance(code, int) else 0


def find(arguments: Sequence[str]) -> tuple[Verb, list[str]]:
    """The verb that a command line begins with, and the arguments after it. UsageError names the nearest verb."""
    name, *rest = arguments
    verbs = verbs_of(name)
    if list(verbs) == [""]:
        return verbs[""], rest
    if not rest or rest[0] not in verbs:
        raise _unknown(rest[0] if rest else "", verbs, f"groundup {name}")
    return verbs[rest[0]], rest[1:]


def verbs_of(name: str) -> dict[str, Verb]:
    """The sub-verbs in the file of a verb, by name; a verb without any stands alone under ""."""
    module = _module(name)
    if not hasattr(module, "VERBS"):
        return {"": Verb(name, inspect.getdoc(module) or "", module.Config, module.run)}
    return {sub: _sub_verb(name, sub, run) for sub, run in module.VERBS.items()}


def _sub_verb(name: str, sub: str, run: Callable[[Any], Any]) -> Verb:
    (config_class,) = [hint for argument, hint in typing.get_type_hints(run).items() if argument != "return"]
    return Verb(f"{name} {sub}", inspect.getdoc(run) or "", config_class, run)


def verb_files() -> dict[str, Path]:
    """The file of every verb, by the verb's name; `import_.py` is `import`, a name that Python keeps for itself.

    A verb whose sub-verbs have files of their own is a folder, and its file is `__init__.py`.
    """
    files = [path for path in COMMANDS.glob("*.py") if not path.stem.startswith("_")]
    files += COMMANDS.glob("*/__init__.py")
    return {_module_name(path).rstrip("_"): path for path in sorted(files, key=_module_name)}


def _module_name(path: Path) -> str:
    return path.parent.name if path.stem == "__init__" else path.stem


def _module(name: str) -> types.ModuleType:
    files = verb_files()
    if name not in files:
        raise _unknown(name, files, "groundup")
    return importlib.import_module(f"groundup.commands.{_module_name(files[name])}")


def _unknown(name: str, valid: Iterable[str], program: str) -> UsageError:
    if name.startswith("-"):
        return UsageError(f"{name} stands before the verb", hint=f"options come last: {program} VERB {name}")
    near = configs.nearest(name, valid)
    what = f"{program} has no verb {name}" if name else f"{program} needs a verb"
    return UsageError(what, hint=f"did you mean {program} {near}?" if near else f"{program} --help lists the verbs")


def _first_line(path: Path) -> str:
    """The first line of a module's docstring, from its text: to import every verb would take seconds."""
    with open(path, encoding="utf-8") as file:
        found = re.match(r'\s*"""(.*?)("""|\n)', file.read(1000))
    return found[1] if found else ""


# --- from arguments to a Config ---


def parse(verb: Verb, arguments: Sequence[str], env: Mapping[str, str]) -> Any:
    """The Config that these arguments make; None when help or the schema was asked for, and printed."""
    given: dict[str, Any] = {}
    app = _app(f"groundup {verb.name}", verb.doc, config=[lambda app, commands, found: given.update(_take(found))])
    app.default(_command_for(verb.config_class))
    if any(flag in arguments for flag in HELP_FLAGS):
        app.help_print([])
        return None
    short_by_dotted = {configs.flag(leaf.dotted): configs.flag(name) for name, leaf in _named(verb.config_class)}
    try:
        arguments = [_respelt(argument, short_by_dotted) for argument in arguments]
        app.parse_args(arguments, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        raise _as_usage_error(error, verb) from error
    file, wants_schema, *_ = [given.pop(name, None) for name, *_ in EVERY_VERB]
    if wants_schema:
        print(orjson.dumps(configs.json_schema(verb.config_class), option=orjson.OPT_INDENT_2).decode())
        return None
    loaded = configs.load(verb.config_class, file=Path(file) if file else None, env=env, flags=given)
    by_env = {configs.ENV_PREFIX + name.upper().replace(".", "_") for name in configs.short_names(verb.config_class)}
    for name in loaded.unknown_env:
        if name not in NO_SETTINGS and (near := configs.nearest(name, by_env)):
            print(f"note: {name} is no setting of {verb.name}; did you mean {near}?", file=sys.stderr)
    return loaded.config


def _command_for(config_class: type) -> Callable[..., None]:
    """A function whose signature has one parameter per value of the Config, for cyclopts to read."""
    parameters = sorted(_parameters(config_class), key=lambda parameter: parameter.kind)

    def command(**_: Any) -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _named(config_class: type) -> Iterator[tuple[str, configs.Leaf]]:
    """Every value with the shortest name that means it. Arrays of tables are too deep for flags: a file has them."""
    short_by_dotted = {dotted: name for name, dotted in configs.short_names(config_class).items() if "." not in name}
    for dotted, leaf in configs.leaves(config_class).items():
        if not leaf.is_array_of_tables:
            yield short_by_dotted.get(dotted, dotted), leaf


def _respelt(argument: str, short_by_dotted: Mapping[str, str]) -> str:
    """`--optim.lr=1` as `--lr=1`: both are understood, the help shows the shorter."""
    if argument == "-":
        return LONE_DASH
    flag, equals, value = argument.partition("=")
    return short_by_dotted.get(flag, flag) + equals + value


def _parameters(config_class: type) -> Iterator[inspect.Parameter]:
    for name, leaf in _named(config_class):
        table = leaf.dotted.rpartition(".")[0]
        yield _parameter(
            leaf.dotted.replace(".", "__"),
            leaf.type,
            names=[configs.flag(name), *leaf.metadata.get("alias", ())],
            is_positional=bool(leaf.metadata.get("positional")),
            default=None if leaf.default is MISSING else leaf.default,
            help=(leaf.doc or USUAL_DOCS.get(leaf.name, "")) + (" (required)" if leaf.default is MISSING else ""),
            **({"group": cyclopts.Group(f"{table} (in a file: the table \\[{table}])", sort_key=1)} if table else {}),
        )
    group = cyclopts.Group("Every verb", sort_key=9)
    for name, hint, doc in EVERY_VERB:
        yield _parameter(name, hint, names=[configs.flag(name)], default=None, help=doc, group=group)


def _parameter(
    name: str, hint: Any, *, names: list[str], default: Any, is_positional: bool = False, **shown: Any
) -> inspect.Parameter:
    parameter = cyclopts.Parameter(
        name=names,
        negative=None if default is True else "",
        show_default=bool(default) or type(default) in (int, float),
        consume_multiple=True,
        **shown,
    )
    if configs.is_pairs(hint):  # one word each, where cyclopts would take two; config.py reads them
        hint = tuple[str, ...]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[hint | None, parameter])


def _take(arguments: cyclopts.ArgumentCollection) -> Iterator[tuple[str, Any]]:
    """(dotted name, text) of what was typed. It is taken from cyclopts, which would convert it: config.py does that."""
    for argument in arguments:
        texts = [
            token.value if token.implicit_value is cyclopts.UNSET else token.implicit_value for token in argument.tokens
        ]
        texts = ["-" if text == LONE_DASH else text for text in texts]
        if argument.tokens and argument.tokens[0].keys:  # --arch.rope.theta 1e4 has the keys rope and theta
            table: dict[str, Any] = {}
            for token, text in zip(argument.tokens, texts, strict=True):
                *above, last = token.keys
                functools.reduce(lambda at, key: at.setdefault(key, {}), above, table)[last] = text
            texts = [table]
        if texts:
            yield argument.field_info.name.replace("__", "."), texts[0] if len(texts) == 1 else texts
        argument.tokens.clear()


def _as_usage_error(error: cyclopts.CycloptsError, verb: Verb) -> UsageError:
    program = f"groundup {verb.name}"
    hint = f"{program} --help lists the options"
    if isinstance(error, cyclopts.UnknownOptionError):
        wrong = (error.token.keyword or error.token.value).partition("=")[0]
        near = configs.nearest(wrong, map(configs.flag, configs.short_names(verb.config_class)))
        return UsageError(f"{program} has no option {wrong}", hint=f"did you mean {near}?" if near else hint)
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return UsageError(f"{program} does not know what to do with {' '.join(error.unused_tokens or [])}", hint=hint)
    what = str(error).rstrip(".")
    return UsageError(what[:1].lower() + what[1:], hint=hint)


def _print_overview(program: str, about: str, summaries: Mapping[str, str]) -> None:
    app = _app(program, about)
    for name, summary in summaries.items():
        app.command(_app(name, summary))
    app.help_print([])


def _app(name: str, doc: str, **more: Any) -> cyclopts.App:
    return cyclopts.App(name=name, help=doc, help_format="plaintext", help_flags=[], version_flags=[], **more)


# --- what people are told ---


def _as_ours(error: Exception) -> GroundupError:
    """Any failure as one that says what, where and what helps."""
    if isinstance(error, GroundupError):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        hint = "a smaller batch (--micro-batch-size), context (--context-length) or model needs less"
        return EnvironmentFault("out of memory", where=text or None, hint=hint)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault("the disk is full", where=error.filename, hint="free some space there")
    if isinstance(error, OSError) and error.strerror and error.filename:
        kind = (
            UsageError
            if isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
            else EnvironmentFault
        )
        return kind(error.strerror.lower(), where=str(error.filename))
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return GroundupError(what, hint="this is a fault of groundup: run again with --debug for the traceback")


def _tell(error: GroundupError) -> int:
    kind = "stopped" if isinstance(error, Stopped) else "error"
    for label, text in ((kind, error.what), ("where", error.where), ("hint", error.hint)):
        if text:
            print(f"{label}: {text}", file=sys.stderr)
    return error.exit_code
