"""Hugging Face folders whose weights are pickled, as transformers wrote them until 2023.

    config.json, pytorch_model.bin                                        or, of a large model,
    config.json, pytorch_model-00001-of-00003.bin ..., pytorch_model.bin.index.json

They are Hugging Face folders in all else, and are recognised by their files; so none of foreign.FORMATS.
"""

from pathlib import Path

from groundup.weights import hf_config, huggingface, tensors
from groundup.weights.foreign import pickled
from groundup.weights.lazy import LazyTensor
from groundup.weights.portable import Portable

WEIGHTS, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


def recognises(folder: Path) -> bool:
    """A folder with pickled weights, and none in safetensors."""
    names = (WEIGHTS, INDEX), (tensors.TENSORS, tensors.INDEX)
    pickles, others = (any((folder / name).exists() for name in either) for either in names)
    return pickles and not others


def read(folder: Path, skipped: list[str] | None = None) -> Portable:
    """The model. Only its tensors are taken out of the pickles, see pickled.py; `skipped` as in huggingface.read."""
    family, config = hf_config.read(tensors.read_config(folder), str(folder), skipped)
    ours = huggingface.to_ours(family, config, _tensors(folder), str(folder), skipped)
    return Portable(family, config, ours, huggingface.read_tokenizer(folder, skipped), str(folder))


def _tensors(folder: Path) -> dict[str, LazyTensor]:
    if (folder / WEIGHTS).exists():
        return _read(folder / WEIGHTS)
    return tensors.read_shards(folder / INDEX, _read)


def _read(file: Path) -> dict[str, LazyTensor]:
    return pickled.tensors(pickled.load(file), file)
