"""A tokenizer on disk: one function to save any, one to load any, whatever program wrote it.

What is saved is Hugging Face's folder (huggingface.py). Loaded are

tokenizer.json                                       huggingface.py
vocab.json + merges.txt, encoder.json + vocab.bpe    gpt2_files.py
NAME.tiktoken, and Llama 3's tokenizer.model         tiktoken_file.py
NAME.model of SentencePiece                          sentencepiece_file.py

by the name of the file, or of the folder that holds it; where several are there, the first of this list. What groundup
saved and loads again is the same tokenizer, and saves the same bytes. A file that asks for what is not done here is
refused, not bent.
"""

from collections.abc import Mapping
from pathlib import Path

from groundup.errors import ArtefactError
from groundup.tokenizer import gpt2_files, huggingface, sentencepiece_file, tiktoken_file
from groundup.tokenizer.huggingface import FILES as FILES
from groundup.tokenizer.protocol import Tokenizer

READY = Path(__file__).with_name("ready")


def save(tokenizer: Tokenizer, folder: Path | str) -> None:
    """Write a tokenizer into a folder, which is made if needed, as the files that `AutoTokenizer` opens.

    UsageError on a tokenizer that they cannot hold.
    """
    huggingface.write(tokenizer, Path(folder))


def load(path: Path | str, *, pattern: str | None = None, special_tokens: Mapping[str, int] | None = None) -> Tokenizer:
    """The tokenizer of a folder or a file, or one that comes with groundup, by its name: see `ready`.

    pattern and special_tokens (id by name) are for files that do not say them: GPT-2's and tiktoken's.
    ArtefactError: no tokenizer there, a damaged one, or one that asks for what is not supported.
    """
    path = READY / Path(path) if str(path) in ready() and not Path(path).exists() else Path(path)
    file = _in_folder(path) if path.is_dir() else path
    if not file.is_file():
        raise ArtefactError(
            "there is no tokenizer here",
            where=str(file),
            hint=f"groundup tokenizer train TEXT --out FOLDER, or use the ready {', '.join(ready())}",
        )
    if file.suffix == ".tiktoken" or (file.suffix == ".model" and tiktoken_file.is_one(_beginning(file))):
        return tiktoken_file.read(file, pattern, special_tokens)
    if file.suffix == ".model":
        return sentencepiece_file.read(file)
    if gpt2_files.merges_beside(file):
        return gpt2_files.read(file, pattern, special_tokens)
    return huggingface.read(file)


def is_in(folder: Path) -> bool:
    """Whether a folder has a tokenizer in any of these forms, a damaged one too."""
    file = _in_folder(folder)
    return file.is_file() or file.is_symlink()


def ready() -> list[str]:
    """The names of the tokenizers that come with groundup."""
    return sorted(folder.name for folder in READY.iterdir() if folder.is_dir())


def _in_folder(folder: Path) -> Path:
    """The file that decides; where there is none, the one that is looked for first."""
    names = ["tokenizer.json", *(tokens for tokens, _ in gpt2_files.NAMES)]
    named = [folder / name for name in names if (folder / name).is_file()]
    if named and (named[0].name == "tokenizer.json" or gpt2_files.merges_beside(named[0])):
        return named[0]
    for pattern in ("*.tiktoken", "*.model"):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            listed = ", ".join(file.name for file in found[:4])
            raise ArtefactError(f"several tokenizers are here: {listed}", where=str(folder), hint="name one of them")
        if found:
            return found[0]
    return named[0] if named else folder / "tokenizer.json"


def _beginning(file: Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(1 << 12)
    except OSError as error:
        raise ArtefactError(f"cannot read {file.name}: {error.strerror}", where=str(file)) from error
