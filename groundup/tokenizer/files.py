"""A tokenizer on disk: the files that Hugging Face's `AutoTokenizer` opens, which are our own format too.

tokenizer.json           everything that decides the ids: split pattern, tokens, merges, special tokens
tokenizer_config.json    which special token ends a text and which pads, and the chat template
special_tokens_map.json  the same special tokens for older programs
vocab.json, merges.txt   tokens and merges in GPT-2's form, for programs and people that read those

Saving what was loaded gives the same bytes. A file that asks for what `Tokenizer` does not do is refused, not bent.
"""

import json
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.errors import ArtefactError
from groundup.tokenizer.alphabet import spell, unspell
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import END_OF_TEXT, PAD
from groundup.tokenizer.split import PATTERNS, expression

FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json")
"""In the order they are written: where the last one is, all are."""


# --- writing ---


def save(tokenizer: BPE, folder: Path) -> None:
    """Write the five FILES into `folder`, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    spelled = _spelled(tokenizer)
    vocab = {token: i for i, token in enumerate(spelled)}
    merges = [f"{spelled[left]} {spelled[right]}" for left, right in tokenizer.merges.tolist()]
    contents = {
        "tokenizer.json": _json(_tokenizer_json(tokenizer, vocab, merges)),
        "tokenizer_config.json": _json(_tokenizer_config(tokenizer)),
        "special_tokens_map.json": _json(_special_tokens_map(tokenizer)),
        "vocab.json": _json(vocab),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
    }
    for name in FILES:
        artifact.write_file(folder / name, contents[name])


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def _spelled(tokenizer: BPE) -> list[str]:
    spelled = [spell(token) for token in tokenizer.token_bytes]
    for name, i in tokenizer.special_ids.items():
        spelled[i] = name
    return spelled


def _tokenizer_json(tokenizer: BPE, vocab: dict[str, int], merges: list[str]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_added(name)} for i, name in _by_id(tokenizer)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": expression(tokenizer.pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _byte_level(),
            ],
        },
        "post_processor": None,
        "decoder": _byte_level(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }


def _by_id(tokenizer: BPE) -> list[tuple[int, str]]:
    return sorted((i, name) for name, i in tokenizer.special_ids.items())


def _added(name: str) -> dict[str, Any]:
    return {
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _byte_level() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _tokenizer_config(tokenizer: BPE) -> dict[str, Any]:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(i): _added(name) for i, name in _by_id(tokenizer)},
        **_special_tokens_map(tokenizer),
    }
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    return config


def _special_tokens_map(tokenizer: BPE) -> dict[str, Any]:
    roles = {"eos_token": END_OF_TEXT, "pad_token": PAD}
    named: dict[str, Any] = {role: name for role, name in roles.items() if name in tokenizer.special_ids}
    others = [name for _, name in _by_id(tokenizer) if name not in named.values()]
    return {**named, "additional_special_tokens": others}


# --- reading ---


def load(path: Path) -> BPE:
    """The tokenizer of a folder, or of a `tokenizer.json`, whose neighbour `tokenizer_config.json` may be absent.

    ArtefactError: no such file, a damaged one, or one that asks for what byte-level BPE as written here does not do.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise ArtefactError(
            "there is no tokenizer here", where=str(file), hint="groundup tokenizer train TEXT --out FOLDER"
        )
    content = artifact.read_json(file)
    try:
        _refuse_unknown(content, str(file))
        special_ids, tokens = _read_tokens(content, str(file))
        merges = _read_merges(content["model"]["merges"], tokens, str(file))
        pattern = _read_pattern(content["pre_tokenizer"], str(file))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtefactError(f"this is not a byte-level BPE tokenizer: {error!r}", where=str(file)) from error
    config_file = file.with_name("tokenizer_config.json")
    config = artifact.read_json(config_file) if config_file.is_file() else {}
    template = config.get("chat_template") if isinstance(config, dict) else None
    return BPE(tokens, merges, special_ids, pattern, template if isinstance(template, str) else None)


def _refuse_unknown(content: dict[str, Any], where: str) -> None:
    model = content["model"]
    asked = {
        "a model other than BPE": model.get("type", "BPE") != "BPE",
        "a normalizer": content.get("normalizer") is not None,
        "dropout": bool(model.get("dropout")),
        "byte_fallback": bool(model.get("byte_fallback")),
        "ignore_merges": bool(model.get("ignore_merges")),
        "a prefix or suffix of words": bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")),
        "added tokens that are not special": not all(added["special"] for added in content["added_tokens"]),
    }
    for what, is_asked in asked.items():
        if is_asked:
            raise ArtefactError(f"this tokenizer uses {what}, which is not supported", where=where)


def _read_tokens(content: dict[str, Any], where: str) -> tuple[dict[str, int], list[bytes]]:
    special_ids = {added["content"]: added["id"] for added in content["added_tokens"]}
    name_by_id = {i: token for token, i in content["model"]["vocab"].items()} | {i: n for n, i in special_ids.items()}
    if sorted(name_by_id) != list(range(len(name_by_id))):
        raise ArtefactError("the ids of the vocabulary have gaps", where=where)
    special = set(special_ids.values())
    tokens = [b"" if i in special else unspell(name_by_id[i]) for i in range(len(name_by_id))]
    missing = [byte for byte in range(256) if bytes([byte]) not in set(tokens)]
    if missing:
        raise ArtefactError(f"{len(missing)} of the 256 bytes are not in the vocabulary", where=where)
    return dict(sorted(special_ids.items(), key=lambda item: item[1])), tokens


def _read_merges(merges: list[str | list[str]], tokens: list[bytes], where: str) -> list[tuple[int, int]]:
    """Pairs of ids from "a b" (every version writes or reads it) or ["a", "b"] (tokenizers since 0.20)."""
    id_by_token = {token: i for i, token in enumerate(tokens) if token}
    pairs = []
    for merge in merges:
        left, right = (unspell(part) for part in (merge.split(" ") if isinstance(merge, str) else merge))
        if left not in id_by_token or right not in id_by_token or left + right not in id_by_token:
            raise ArtefactError(
                f"the merge {merge!r} joins or makes a token that is not in the vocabulary", where=where
            )
        pairs.append((id_by_token[left], id_by_token[right]))
    return pairs


def _read_pattern(pre_tokenizer: dict[str, Any], where: str) -> str:
    """The name of the split pattern, from `Split` and `ByteLevel`, or `ByteLevel` alone, which is GPT-2's."""
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    last = steps[-1]
    if last["type"] == "ByteLevel" and not last.get("add_prefix_space"):
        if len(steps) == 1 and last.get("use_regex", True):
            return "gpt2"
        if len(steps) == 2 and not last.get("use_regex", True) and steps[0]["type"] == "Split":
            for name, pattern in PATTERNS.items():
                if steps[0]["pattern"] == {"Regex": pattern} and steps[0]["behavior"] == "Isolated":
                    return name
    raise ArtefactError(
        "this tokenizer splits text in a way that is not supported",
        where=where,
        hint=f"supported are the patterns {', '.join(PATTERNS)}",
    )
