"""A configuration: a tree of frozen dataclasses, filled layer by layer, every value knowing where it came from.

    defaults <- preset <- TOML file <- GROUNDUP_* environment <- flags

The dataclasses are plain; this file alone is strict. An unknown key or a value of the wrong type is a `UsageError`
that names the file and line, the field, and the nearest name that exists. A nested dataclass is a table in TOML;
flags and environment variables may say the last part of a name alone (`lr` for `optim.lr`) where only one field ends
in it. `"none"` means None wherever a field allows None, since TOML has no null.

This file is not the command line: `cli.py` turns arguments into the `flags` mapping.

    load(Config, file=Path("small.toml"), flags={"lr": "1e-3"}).config
"""

import dataclasses
import difflib
import functools
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser
import msgspec
import orjson
import xxhash

from groundup.errors import GroundupError, UsageError

ENV_PREFIX = "GROUNDUP_"
# How a run talks, not what it computes: two configurations that differ only here are the same run.
NOT_IDENTITY = frozenset({"json", "quiet", "dry_run"})


class Resolved(NamedTuple):
    """A configuration, and for each dotted field the layer that set it."""

    config: Any
    origins: dict[str, str]
    unknown_env: tuple[str, ...]  # GROUNDUP_* names that no field has; another verb may own them


# --- the shape of a configuration ---


@dataclass(frozen=True)
class Leaf:
    """One value of a configuration: a field that is not itself a nested dataclass."""

    dotted: str
    type: Any
    default: Any  # MISSING where the field must be given
    doc: str
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.dotted.rpartition(".")[2]

    @property
    def is_array_of_tables(self) -> bool:
        return _row(self.type) is not None


def leaves(cls: type) -> dict[str, Leaf]:
    """Every value that a configuration class holds, by dotted name, in the order of its fields."""
    return {leaf.dotted: leaf for leaf in _walk(cls, "", MISSING)}


def short_names(cls: type) -> dict[str, str]:
    """Dotted name by every name that means it: itself, and its last part where no other field ends so."""
    dotted_by_name: dict[str, list[str]] = {}
    for leaf in leaves(cls).values():
        dotted_by_name.setdefault(leaf.name, []).append(leaf.dotted)
    short = {name: dotted[0] for name, dotted in dotted_by_name.items() if len(dotted) == 1}
    return short | {dotted: dotted for dotted in leaves(cls)}


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `name`, compared whole and by its last part, dashes and underscores alike."""

    def plain(text: str) -> str:
        return text.lower().replace("-", "_").lstrip("_")

    by_plain: dict[str, str] = {}
    for option in valid:
        by_plain.setdefault(plain(option), option)
        by_plain.setdefault(plain(option).rpartition(".")[2], option)
    for wanted in (plain(name), plain(name).rpartition(".")[2]):
        if close := difflib.get_close_matches(wanted, by_plain, n=1, cutoff=0.6):
            return by_plain[close[0]]
    return None


def _walk(cls: type, prefix: str, instance: Any) -> Iterator[Leaf]:
    """`instance` holds the defaults that the parent's `default_factory` chose for this table."""
    for field, hint, doc in _fields(cls):
        default = _default(field) if instance is MISSING else getattr(instance, field.name)
        if table := _table(hint):
            yield from _walk(table, f"{prefix}{field.name}.", MISSING if default is None else default)
        else:
            yield Leaf(prefix + field.name, hint, default, doc, field.metadata)


@functools.cache
def _fields(cls: type) -> list[tuple[dataclasses.Field, Any, str]]:
    """(field, its resolved type, the string written under it) of each field."""
    hints = typing.get_type_hints(cls)
    # A field that is inherited is documented where it is written.
    written = [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]
    documented = [item for base in written for item in docstring_parser.parse_from_object(base).params]
    docs = {item.arg_name: " ".join((item.description or "").split()) for item in documented if item.description}
    return [(field, hints[field.name], docs.get(field.name, "")) for field in dataclasses.fields(cls)]


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _table(hint: Any) -> Any:
    """The dataclass of a nested table, `Optim` in `Optim` and in `Optim | None`; None for a plain value."""
    options = [option for option in _options(hint) if option is not types.NoneType]
    return options[0] if len(options) == 1 and dataclasses.is_dataclass(options[0]) else None


def _row(hint: Any) -> Any:
    """The dataclass of an array of tables, `Source` in `tuple[Source, ...]` and `list[Source]`; None for others."""
    items = [item for item in typing.get_args(hint) if item is not Ellipsis]
    of_one_kind = typing.get_origin(hint) in (list, tuple) and len(items) == 1
    return items[0] if of_one_kind and dataclasses.is_dataclass(items[0]) else None


def is_pairs(hint: Any) -> bool:
    """True for `tuple[tuple[int, float], ...]`: each pair is one word on the command line, `7=0.5`."""
    items = [item for item in typing.get_args(hint) if item is not Ellipsis]
    return len(items) == 1 and typing.get_origin(items[0]) is tuple and len(typing.get_args(items[0])) == 2


# --- filling it ---


def load(
    cls: type,
    *,
    preset: Mapping[str, Any] | None = None,
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Fill `cls` from its defaults and up to four layers; a later layer wins, value by value.

    `preset` is nested like the TOML file; `env` and `flags` hold text (flags also typed values) by dotted or short
    name. Raises UsageError.
    """
    names = short_names(cls)
    by_env = {ENV_PREFIX + name.upper().replace(".", "_"): dotted for name, dotted in names.items()}
    from_env = {name: value for name, value in (env or {}).items() if name.startswith(ENV_PREFIX)}

    given = _Given(cls)
    given.nested(preset or {}, lambda _: "preset")
    if file is not None:
        text = _read(file)
        given.nested(_parse_toml(text, file), lambda dotted: _at(file, text, dotted))
    for name in sorted(from_env.keys() & by_env.keys()):
        given.text(by_env[name], from_env[name], name)
    for name, value in (flags or {}).items():
        if name not in names:
            raise _unknown(name, names, "the command line")
        given.text(names[name], value, flag(name))

    config = given.build(str(file) if file else None)
    origins = {dotted: given.origins.get(dotted, "default") for dotted in leaves(cls)}
    _origins_by_id[id(config)] = (config, origins)
    return Resolved(config, origins, tuple(sorted(from_env.keys() - by_env.keys())))


def from_dict(cls: type, mapping: Mapping[str, Any], where: str) -> Any:
    """A `cls` from nested plain values, strictly. `where` names their source in errors."""
    given = _Given(cls)
    given.nested(mapping, lambda _: where)
    return given.build(where)


def flag(name: str) -> str:
    """How a field is spelt on the command line: `optim.grad_clip` is `--optim.grad-clip`."""
    return "--" + name.replace("_", "-")


class _Given:
    """The values given so far, flat by dotted name, later ones over earlier ones."""

    def __init__(self, cls: type):
        self.cls = cls
        self.leaves = leaves(cls)
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def nested(self, mapping: Mapping[str, Any], where: Callable[[str], str]) -> None:
        """A preset or a file: `where(dotted)` names the place of a key."""
        for dotted, value in self._flat(self.cls, mapping, "", where):
            leaf = self.leaves.get(dotted)
            self._put(dotted, _convert(leaf.type, value, dotted, where(dotted)) if leaf else None, where(dotted))

    def text(self, dotted: str, value: Any, origin: str) -> None:
        """A flag or an environment variable."""
        self._put(dotted, _convert_text(self.leaves[dotted].type, value, dotted, origin), origin)

    def build(self, where: str | None) -> Any:
        return self._build(self.cls, "", where, MISSING)

    def _put(self, dotted: str, value: Any, origin: str) -> None:
        leaf = self.leaves.get(dotted)
        before = self.values.get(dotted, leaf.default if leaf else None)
        if isinstance(value, dict) and isinstance(before, dict):  # `--arch.n-layers 4` keeps a file's other keys
            value = before | value
        self.values[dotted] = value
        self.origins[dotted] = origin

    def _flat(
        self, cls: type, mapping: Mapping[str, Any], prefix: str, where: Callable[[str], str]
    ) -> Iterator[tuple[str, Any]]:
        hints = {field.name: hint for field, hint, _ in _fields(cls)}
        for key, value in mapping.items():
            dotted = f"{prefix}{key}"
            if key not in hints:
                raise _unknown(dotted, self.leaves, where(dotted))
            table = _table(hints[key])
            if table and isinstance(value, Mapping):
                yield from self._flat(table, value, f"{dotted}.", where)
            elif table and not (value in (None, "none") and types.NoneType in _options(hints[key])):
                raise UsageError(f"{dotted} is a table, not {value!r}", where=where(dotted), hint=f"write [{dotted}]")
            else:
                yield dotted, value

    def _build(self, cls: Any, prefix: str, where: str | None, instance: Any) -> Any:
        """The dataclasses from the leaves outwards. `instance` holds defaults, as in `_walk`."""
        values, missing = {}, []
        for field, hint, _ in _fields(cls):
            dotted = prefix + field.name
            default = _default(field) if instance is MISSING else getattr(instance, field.name)
            table = _table(hint)
            asked_for = default is not None or any(name.startswith(f"{dotted}.") for name in self.values)
            if table and asked_for and dotted not in self.values:
                value = self._build(table, f"{dotted}.", where, MISSING if default is None else default)
            else:
                value = self.values.get(dotted, default)
            if value is MISSING:
                missing.append(dotted)
            values[field.name] = value
        if missing:
            hint = f"add {flag(missing[0])} VALUE, or {missing[0].rpartition('.')[2]} in the --config file"
            raise UsageError(f"{' and '.join(missing)} must be given", where=where, hint=hint)
        try:
            return cls(**values)
        except GroundupError:
            raise
        except ValueError as error:  # the class's own check
            named = [
                origin for name, origin in self.origins.items() if re.search(rf"\b{re.escape(name)}\b", str(error))
            ]
            raise UsageError(str(error), where=", ".join(named) or where) from error


# --- single values ---


def _convert(hint: Any, value: Any, dotted: str, where: str, *, strict: bool = True) -> Any:
    """`value` as the field's type. Unless `strict`, text may spell a number or a truth value."""
    if types.NoneType in _options(hint) and value in (None, "none"):
        return None
    row = _row(hint)
    if row and isinstance(value, (list, tuple)) and all(isinstance(item, Mapping) for item in value):
        return typing.get_origin(hint)(from_dict(row, item, where) for item in value)
    try:
        return msgspec.convert(value, hint, strict=strict, dec_hook=_convert_path)
    except msgspec.ValidationError as error:
        literals = [option for option in _options(hint) if typing.get_origin(option) is typing.Literal]
        choices = ", ".join(str(choice) for option in literals for choice in typing.get_args(option))
        reason = f"must be one of {choices}" if choices else str(error).replace("`", "").replace("Expected", "expected")
        raise UsageError(f"{dotted} = {value!r}: {reason}", where=where) from error


def _convert_path(hint: type, value: Any) -> Any:
    if isinstance(value, hint):
        return value
    if hint is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError(f"Expected {hint.__name__.lower()}, got {value!r}")


def _convert_text(hint: Any, value: Any, dotted: str, where: str) -> Any:
    """Text for one value, one or several texts for a sequence, or a mapping of texts for a free-form table.

    A pair is one text, `7=0.5`.
    """
    kinds = {typing.get_origin(option) or option for option in _options(hint)}
    if isinstance(value, str) and (dict in kinds or (kinds & {list, tuple} and value.startswith("["))):
        value = _literal(value)
    if isinstance(value, str) and kinds & {list, tuple}:
        value = [value]
    if isinstance(value, Mapping) and dict in kinds:
        value = _literal(value)
    if is_pairs(hint) and isinstance(value, (list, tuple)):
        value = [_pair(item, dotted, where) if isinstance(item, str) else item for item in value]
    return _convert(hint, value, dotted, where, strict=False)


def _pair(text: str, dotted: str, where: str) -> list[str]:
    if "=" not in text:
        raise UsageError(f"{dotted} = {text!r}: expected a pair", where=where, hint=f"write {text}=NUMBER")
    return text.split("=", 1)


def _literal(value: Any) -> Any:
    """Text as the TOML value it spells (4, 1e-3, true, [1, 2]), or as itself where it spells none."""
    if isinstance(value, Mapping):
        return {key.replace("-", "_"): _literal(item) for key, item in value.items()}
    try:
        return tomllib.loads(f"value = {value}")["value"] if isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        return value


def _unknown(dotted: str, valid: Iterable[str], where: str) -> UsageError:
    valid = list(valid)
    near = nearest(dotted, valid)
    hint = f"did you mean {near}?" if near else f"valid: {', '.join(valid)}"
    return UsageError(f"no setting is called {dotted}", where=where, hint=hint)


# --- TOML ---


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError("a configuration is UTF-8 text, and this file is not", where=str(file)) from error
    except OSError as error:
        raise UsageError(f"cannot read the configuration: {error.strerror}", where=str(file)) from error


def _parse_toml(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(file)) from error


def _at(file: Path, text: str, dotted: str) -> str:
    """`file:line` of a key. tomllib keeps no positions, so the line is looked for: a header, then `key =`."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        table = header[1] + "." if header else table
        here = header[1] if header else table + re.sub("[\"']", "", key[1]) if key else None
        if here == dotted:
            return f"{file}:{number}"
    return str(file)


def to_toml(config: Any, origins: Mapping[str, str] | None = None) -> str:
    """TOML that `load` reads back as the same configuration, each value with its origin as a comment."""
    return "\n".join(_toml_lines(to_dict(config), "", origins or {})).lstrip("\n") + "\n"


def _toml_lines(table: Mapping[str, Any], prefix: str, origins: Mapping[str, str]) -> Iterator[str]:
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    for key, value in table.items():
        if key not in nested:
            comment = f"  # {origins[prefix + key]}" if prefix + key in origins else ""
            yield f"{_toml_key(key)} = {_toml_value(value)}{comment}"
    for key, value in nested.items():
        yield f"\n[{prefix}{_toml_key(key)}]"
        yield from _toml_lines(value, f"{prefix}{_toml_key(key)}.", origins)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, float):
        return repr(value)  # inf and nan are spelt as TOML spells them
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + "}"
    try:
        # JSON's escapes of a string are TOML's; DEL alone is one that JSON leaves raw and TOML forbids.
        return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
    except TypeError as error:  # bytes that the system's locale could not read as text
        raise UsageError(f"{value!r} is not text", hint="set PYTHONUTF8=1, or a locale with UTF-8") from error


# --- what else a configuration becomes ---


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values (str, int, float, bool, None, list, dict), as JSON and TOML hold them."""
    return msgspec.to_builtins(config, enc_hook=str)


def config_hash(config: Any) -> str:
    """32 hex digits over every value that changes what a run computes, equal on every machine.

    Left out are `json`, `quiet`, `dry_run` and fields declared `field(metadata={"affects_run": False})`.
    """
    identity = {}
    for dotted, leaf in leaves(type(config)).items():
        if leaf.name not in NOT_IDENTITY and leaf.metadata.get("affects_run", True):
            identity[dotted] = functools.reduce(lambda at, name: getattr(at, name, None), dotted.split("."), config)
    plain = msgspec.to_builtins(identity, enc_hook=str)
    return xxhash.xxh3_128_hexdigest(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS))


def json_schema(cls: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration file of this class, each field described."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object_schema(cls)}
    return orjson.loads(orjson.dumps(schema))


def _object_schema(cls: type) -> dict[str, Any]:
    properties, required = {}, []
    for field, hint, doc in _fields(cls):
        default = _default(field)
        described = {"description": doc} if doc else {}
        if default is MISSING:
            required.append(field.name)
        elif not _table(hint):
            described["default"] = msgspec.to_builtins("none" if default is None else default, enc_hook=str)
        properties[field.name] = _value_schema(hint) | described
    doc = {"description": cls.__doc__} if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(") else {}
    closed = {"additionalProperties": False}
    return {"type": "object", "title": cls.__name__, **doc, "properties": properties, "required": required, **closed}


def _value_schema(hint: Any) -> dict[str, Any]:
    options = [option for option in _options(hint) if option is not types.NoneType]
    if len(options) < len(_options(hint)):
        return {"anyOf": [*map(_value_schema, options), {"const": "none"}]}
    if table := _table(hint):
        return _object_schema(table)
    if row := _row(hint):
        return {"type": "array", "items": _object_schema(row)}
    return msgspec.json.schema(hint, schema_hook=lambda other: {"type": "string", "format": other.__name__.lower()})


# A configuration stays a plain frozen dataclass, so its origins are kept beside it, by identity.
_origins_by_id: dict[int, tuple[Any, dict[str, str]]] = {}


def origins_of(config: Any) -> dict[str, str]:
    """Where each value of a configuration came from; empty for one that neither `load` nor `replace` made."""
    return dict(_origins_by_id.get(id(config), (config, {}))[1])


def replace(config: Any, because: str, **changes: Any) -> Any:
    """A copy with other top-level values, `because` as their origin: what calibration or resuming decided."""
    changed = dataclasses.replace(config, **changes)
    names = [name for name in leaves(type(config)) if name.split(".")[0] in changes]
    _origins_by_id[id(changed)] = (changed, origins_of(config) | dict.fromkeys(names, because))
    return changed
