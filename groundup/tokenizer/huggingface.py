"""Hugging Face's folder, which is our own format too: what `AutoTokenizer` opens.

tokenizer.json           everything that decides the ids; which forms of it are read is said in json_*.py
tokenizer_config.json    which special token has which role, and the chat template
special_tokens_map.json  the same special tokens for older programs
vocab.json, merges.txt   tokens and merges in GPT-2's form, where there are merges of bytes

What a file asks for and is not done here:
- `post_processor`: templates only add tokens around a text. `encode` adds none. That BOS begins a text is kept as
  `adds_bos`, and prompts are begun with it; what else a template adds, such as EOS, is not done.
- `truncation` and `padding`: all ids come back, and no others.
- Added tokens in text become special only where `allow_special` names them. So `lstrip`, `rstrip` and `single_word`,
  which say what else such a token swallows or needs around it, are read and not applied: the name alone is the token.
Anything else that would change ids is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.errors import ArtefactError
from groundup.tokenizer import gpt2_files, json_byte_level, json_llama, json_lookup, vocabulary
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list
from groundup.tokenizer.protocol import NAMES_BY_ROLE, Tokenizer

CONFIG, SPECIAL_TOKENS_MAP, TEMPLATE = "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"

FILES = ("vocab.json", "merges.txt", SPECIAL_TOKENS_MAP, CONFIG, "tokenizer.json")
"""In the order they are written: where the last one is, all are. The first two only for byte-level BPE."""

FORMS = {
    "bpe": json_byte_level,
    "sentencepiece": json_llama,
    "character": json_lookup,
    "word": json_lookup,
}
"""What writes and reads tokenizer.json for a kind of tokenizer."""

POST_PROCESSORS = ("ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "Sequence")
"""Those that add tokens around a text, or none, and leave its own ids alone."""

OURS = "groundup"
"""The key in tokenizer_config.json for what tokenizer.json cannot say: merges that are ranks, ids behind the last."""


# --- writing ---


def write(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the FILES into `folder`, which is made if needed. UsageError on what they cannot hold."""
    said = _as_files_say(tokenizer) if isinstance(tokenizer, BPE) else tokenizer
    contents: dict[str, str] = {}
    if isinstance(said, BPE):
        contents["vocab.json"], contents["merges.txt"] = gpt2_files.contents(said)
    contents[SPECIAL_TOKENS_MAP] = _json(_special_tokens_map(tokenizer))
    contents[CONFIG] = _json(_config(tokenizer, said))
    contents["tokenizer.json"] = _json(_tokenizer_json(said))
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if name in contents:
            artifact.write_file(folder / name, contents[name])


def _as_files_say(tokenizer: BPE) -> BPE:
    """The tokenizer as it would be without a marker: its merges a list, no ids behind the last token."""
    size = 1 + max(i for i, token in enumerate(tokenizer._shown_bytes) if token)
    if not tokenizer.by_result and size == tokenizer.vocab_size:
        return tokenizer
    return tokenizer.with_tokens(tokenizer.token_bytes[:size], as_list(tokenizer))


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    form = FORMS[tokenizer.kind].content(tokenizer)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_added(tokenizer, name)} for i, name in _by_id(tokenizer)],
        "normalizer": form["normalizer"],
        "pre_tokenizer": form["pre_tokenizer"],
        "post_processor": _begin_with_bos(tokenizer) if tokenizer.adds_bos else None,
        "decoder": form["decoder"],
        "model": form["model"],
    }


def _begin_with_bos(tokenizer: Tokenizer) -> dict[str, Any]:
    """BOS before a text, and before each of a pair."""
    name = tokenizer.roles["bos"]
    before = {"SpecialToken": {"id": name, "type_id": 0}}
    first, second = ({"Sequence": {"id": each, "type_id": 0}} for each in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [before, first],
        "pair": [before, first, before, second],
        "special_tokens": {name: {"id": name, "ids": [tokenizer.bos_id], "tokens": [name]}},
    }


def _by_id(tokenizer: Tokenizer) -> list[tuple[int, str]]:
    return sorted((i, name) for name, i in tokenizer.special_ids.items())


def _added(tokenizer: Tokenizer, name: str) -> dict[str, Any]:
    return {
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": name not in tokenizer.shown,
    }


def _config(tokenizer: Tokenizer, said: Tokenizer) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(i): _added(tokenizer, name) for i, name in _by_id(tokenizer)},
        **_special_tokens_map(tokenizer),
    }
    if tokenizer.adds_bos:
        config["add_bos_token"] = True
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    if said is not tokenizer:
        merges = "by rank" if isinstance(tokenizer, BPE) and tokenizer.by_result else "listed"
        config[OURS] = {"merges": merges, "vocab_size": tokenizer.vocab_size, "hash_of_files": said.hash}
    return config


def _special_tokens_map(tokenizer: Tokenizer) -> dict[str, Any]:
    named: dict[str, Any] = {f"{role}_token": name for role, name in _roles(tokenizer).items()}
    if not named and tokenizer.special_ids:
        named["eos_token"] = None  # otherwise the names would be looked at, and roles given out by them
    used = {*named.values(), *tokenizer.shown}
    others = [name for _, name in _by_id(tokenizer) if name not in used]
    return {**named, "additional_special_tokens": others}


def _roles(tokenizer: Tokenizer) -> dict[str, str]:
    roles = tokenizer.roles
    return {role: roles[role] for role in NAMES_BY_ROLE if roles.get(role) in tokenizer.special_ids}


# --- reading ---


@dataclass
class Companions:
    """What lies beside a tokenizer.json."""

    roles: dict[str, str] | None = None
    chat_template: str | None = None
    adds_bos: bool | None = None
    marker: Mapping[str, Any] = field(default_factory=dict)


def read(file: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json; the files beside it may be absent.

    ArtefactError: a damaged file, or one that asks for what is not done here.
    """
    content = vocabulary.read_json(file)
    beside = read_companions(file.parent)
    where = str(file)
    with vocabulary.blaming(where, "a tokenizer in a form that is supported"):
        _refuse_post_processor(content.get("post_processor"), where)
        special_ids, shown = read_added(content.get("added_tokens") or [], where)
        options = {"roles": beside.roles, "shown": shown, "chat_template": beside.chat_template}
        form = _form(content, where)
        tokenizer = _as_marked(form.read(content, special_ids, options, where), beside.marker)
        in_template = _begins_with(content.get("post_processor"), tokenizer.roles.get("bos"))
        said = in_template if beside.adds_bos is None else beside.adds_bos
        tokenizer.adds_bos = said and tokenizer.bos_id is not None
        return tokenizer


def _form(content: dict[str, Any], where: str) -> Any:
    kind = content["model"].get("type", "BPE")
    if kind == "BPE" and json_byte_level.is_one(content):
        return json_byte_level
    if kind == "BPE" and json_llama.is_one(content):
        return json_llama
    if kind == "WordLevel":
        return json_lookup
    what = "BPE of a kind other than byte-level and Llama's" if kind == "BPE" else "a model other than BPE"
    raise ArtefactError(
        f"this tokenizer uses {what}, which is not supported",
        where=where,
        hint=f"it says {vocabulary.shown(kind)}; supported are byte-level BPE (GPT-2, Llama 3, Qwen), Llama 2's form of"
        " SentencePiece BPE, and the character and word tokenizers that groundup saves",
    )


def _steps(post_processor: Any) -> list[Any]:
    if post_processor is None:
        return []
    return post_processor["processors"] if post_processor["type"] == "Sequence" else [post_processor]


def _begins_with(post_processor: Any, name: str | None) -> bool:
    """Does a template put this token before a text?"""
    firsts = [step["single"][:1] for step in _steps(post_processor) if step["type"] == "TemplateProcessing"]
    return any(part.get("SpecialToken", {}).get("id") == name for first in firsts for part in first)


def _refuse_post_processor(step: Any, where: str) -> None:
    for each in _steps(step):
        if each["type"] not in POST_PROCESSORS[:-1]:
            what = f"this tokenizer uses the post-processor {vocabulary.shown(each['type'])}, which is not supported"
            raise ArtefactError(what, where=where)


def read_added(added_tokens: list[dict[str, Any]], where: str) -> tuple[dict[str, int], set[str]]:
    """Ids by name, in the order of the ids, and the names of those that are text to a reader."""
    ids: dict[str, int] = {}
    shown = set()
    for added in added_tokens:
        name, i, special = added["content"], added["id"], added.get("special", True)
        if not isinstance(name, str) or not name or type(i) is not int or not isinstance(special, bool):
            raise ArtefactError(f"{vocabulary.shown(added)} is no added token", where=where)
        if ids.setdefault(name, i) != i:
            raise ArtefactError(f"the added token {vocabulary.shown(name)} has two ids", where=where)
        if not special:
            shown.add(name)
    return dict(sorted(ids.items(), key=lambda item: item[1])), shown


def read_companions(folder: Path) -> Companions:
    """Roles, chat template and marker from the files beside. ArtefactError on a damaged one."""
    config: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS_MAP, CONFIG):
        if (folder / name).is_file():
            config |= vocabulary.read_json(folder / name)
    keys = {role: f"{role}_token" for role in NAMES_BY_ROLE}
    named = {role: _name(config.get(key)) for role, key in keys.items()}
    roles = {role: name for role, name in named.items() if name is not None}
    marker = config.get(OURS)
    adds_bos = config.get("add_bos_token")
    return Companions(
        adds_bos=adds_bos if isinstance(adds_bos, bool) else None,
        roles=roles if any(key in config for key in keys.values()) else None,
        chat_template=_template(folder, config.get("chat_template")),
        marker=marker if isinstance(marker, dict) else {},
    )


def _name(token: Any) -> str | None:
    """The name of a special token, which stands alone or in a description of it."""
    name = token.get("content") if isinstance(token, dict) else token
    return name if isinstance(name, str) else None


def _template(folder: Path, template: Any) -> str | None:
    """From the configuration: one template, or several with names; or from a file of its own."""
    if isinstance(template, list):
        named = [t for t in template if isinstance(t, dict) and t.get("name") == "default"]
        template = named[0].get("template") if named else None
    if template is None and (folder / TEMPLATE).is_file():
        try:
            template = vocabulary.read_bytes(folder / TEMPLATE).decode()
        except UnicodeDecodeError as error:
            raise ArtefactError("this chat template is not UTF-8", where=str(folder / TEMPLATE)) from error
    return template if isinstance(template, str) else None


def _as_marked(tokenizer: Tokenizer, marker: Mapping[str, Any]) -> Tokenizer:
    """What the marker says, if tokenizer.json is still the one that it was written beside: the hash tells."""
    if not marker or not isinstance(tokenizer, BPE):
        return tokenizer
    size = marker.get("vocab_size", tokenizer.vocab_size)
    if type(size) is not int or not tokenizer.vocab_size <= size <= 2 * tokenizer.vocab_size:
        return tokenizer
    if marker.get("hash_of_files") != tokenizer.hash:
        return tokenizer
    tokens = tokenizer.token_bytes + [b""] * (size - tokenizer.vocab_size)
    return tokenizer.with_tokens(tokens, None if marker.get("merges") == "by rank" else tokenizer.merges)
