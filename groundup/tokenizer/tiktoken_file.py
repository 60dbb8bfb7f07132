"""tiktoken's files: one token a line, its bytes in base64 and its rank, which is its id.

    IHRoZQ== 279

Such a file says neither how text is split nor which special tokens there are. For the files that many people have,
both are known here; for any other they must be given. Llama 3's `tokenizer.model` is a file of this form, too.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from groundup import artifact
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_ranks
from groundup.tokenizer.split import PATTERNS, expression

if TYPE_CHECKING:
    import tiktoken

LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) (\d{1,9})")

_GPT2 = {"<|endoftext|>": 50256}
_CL100K = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}
_O200K = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

BY_CHECKSUM = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": ("gpt2", _GPT2),  # r50k_base
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": ("gpt2", _GPT2),  # p50k_base
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": ("cl100k", _CL100K),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": ("o200k", _O200K),
}
"""OpenAI's files by SHA-256: pattern and special tokens. Source: `tiktoken_ext/openai_public.py`."""

_LLAMA3 = (
    *("begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1", "finetune_right_pad_id"),
    *("step_id", "start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag", "image"),
    *(f"reserved_special_token_{i}" for i in range(2, 246)),
)
_QWEN = ("endoftext", "im_start", "im_end", *(f"extra_{i}" for i in range(205)))

BY_NAME = {
    ("tokenizer.model", 128_000): ("llama3", None, _LLAMA3),  # meta-llama/llama-models, models/llama3/api/tokenizer.py
    ("qwen.tiktoken", 151_643): ("qwen2", "NFC", _QWEN),  # Qwen/Qwen-7B, tokenization_qwen.py
}
"""Other files by name and number of tokens: pattern, normalizer, and the special tokens that follow the last token."""


def is_one(data: bytes) -> bool:
    """Whether a file that begins with these bytes is of this form."""
    return LINE.fullmatch(data[: 1 << 16].split(b"\n", 1)[0].rstrip(b"\r")) is not None


def read(file: Path, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None) -> BPE:
    """The tokenizer of a file. `pattern` and `special_tokens` (id by name) go before what is known of the file.

    ArtefactError: a damaged file, or one that is not known here and comes without a pattern.
    """
    data = vocabulary.read_bytes(file)
    rank_by_token = _ranks(data, str(file))
    normalizer = None
    known_pattern, known_tokens = BY_CHECKSUM.get(hashlib.sha256(data).hexdigest(), (None, {}))
    if (named := BY_NAME.get((file.name, len(rank_by_token)))) is not None:
        known_pattern, normalizer, names = named
        known_tokens = {f"<|{name}|>": len(rank_by_token) + i for i, name in enumerate(names)}
    pattern = pattern or known_pattern
    if pattern is None:
        raise ArtefactError(
            "this file does not say how text is split, and it is none that is known here",
            where=str(file),
            hint=f"give the pattern: files.load(path, pattern='cl100k'); named ones are {', '.join(PATTERNS)}",
        )
    special_ids = dict(known_tokens if special_tokens is None else special_tokens)
    token_by_id = {rank: token for token, rank in rank_by_token.items()}
    if clash := [name for name, i in special_ids.items() if i in token_by_id]:
        raise ArtefactError(f"the special token {clash[0]!r} has the id of an ordinary token", where=str(file))
    tokens = vocabulary.table(token_by_id, special_ids, str(file))
    vocabulary.check_bytes(tokens, str(file))
    with vocabulary.blaming(str(file), "a tokenizer"):
        return BPE(tokens, None, special_ids, pattern, whole_first=True, normalizer=normalizer)


def _ranks(data: bytes, where: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        line = line.rstrip(b"\r")
        if not line:
            continue
        match = LINE.fullmatch(line)
        try:
            token = base64.b64decode(match[1], validate=True) if match else b""
        except ValueError:
            token = b""
        if match is None or not token:
            raise ArtefactError("a line is not a token in base64 and its rank", where=f"{where}, line {number}")
        if token in ranks:
            raise ArtefactError(f"the token {vocabulary.shown(token)} comes twice", where=f"{where}, line {number}")
        ranks[token] = int(match[2])
    vocabulary.check_ids(ranks.values(), where)
    return ranks


def write_tiktoken(tokenizer: BPE, path: Path | str) -> None:
    """Write the tokens and ranks. The pattern and the special tokens are not in it, whoever reads it has to know them.

    UsageError if ranks cannot say in which order this tokenizer merges.
    """
    lines = sorted((rank, base64.b64encode(token)) for token, rank in as_ranks(tokenizer).items())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    artifact.write_file(path, b"".join(b"%s %d\n" % (token, rank) for rank, token in lines))


def to_tiktoken(tokenizer: BPE, name: str = "groundup") -> "tiktoken.Encoding":
    """The same tokenizer as tiktoken's `Encoding`, built from our tables; nothing is downloaded.

    UsageError if tiktoken would give other ids: see `write_tiktoken`, or a tokenizer that normalises.
    EnvironmentFault if tiktoken is not installed.
    """
    try:
        import tiktoken
    except ModuleNotFoundError as error:
        raise EnvironmentFault("tiktoken is not installed", hint="pip install tiktoken") from error
    if tokenizer.normalizer:
        raise UsageError(f"this tokenizer brings text into the form {tokenizer.normalizer} first, tiktoken cannot")
    return tiktoken.Encoding(
        name=name,
        pat_str=expression(tokenizer.pattern),
        mergeable_ranks=as_ranks(tokenizer),
        special_tokens=tokenizer.special_ids,
    )
