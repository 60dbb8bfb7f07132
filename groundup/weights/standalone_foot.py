"""Reading and running: the weights that lie beside this file, and the ids that follow some others.

standalone.py puts this at the foot of every `model.py`, with that model's family and its CONFIG in place of these.
"""

import json
import mmap
import sys
from pathlib import Path

import torch
from torch import Tensor

from groundup.models.llama import Config, Model

CONFIG = Config()


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, memory-mapped: numbers are read when they are used.

    8 bytes say how long the header is, the header, JSON, says what each tensor is and from where to where it lies.
    """
    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    with file.open("rb") as opened:
        data_start = 8 + int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(data_start - 8))
        memory = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            (begin, _), shape = entry["data_offsets"], torch.Size(entry["shape"])
            dtype, offset = dtypes[entry["dtype"]], data_start + begin
            numbers = torch.frombuffer(memory, dtype=dtype, count=shape.numel(), offset=offset)
            tensors[name] = numbers.view(shape)
    return tensors


def load(folder: Path = Path(__file__).parent, dtype: torch.dtype = torch.float32) -> Model:
    """The model with its weights, ready to be asked."""
    with torch.device("meta"):  # shapes without numbers
        model = Model(CONFIG)
    tensors = {name: tensor.to(dtype) for name, tensor in read_tensors(folder / "model.safetensors").items()}
    model.load_state_dict(tensors, assign=True)
    return model.eval()


@torch.inference_mode()
def generate(model: Model, ids: list[int], n_new: int = 20) -> list[int]:
    """`ids` and the n_new that follow, each the most likely one; the cache spares what was computed before."""
    cache = model.new_cache(1, len(ids) + n_new)
    new = torch.tensor([ids], device=cache.keys.device)
    for _ in range(n_new):
        new = model(new, cache=cache)[:, -1].argmax(-1, keepdim=True)
        ids = [*ids, int(new)]
    return ids


def main(arguments: list[str]) -> str:
    """What `python model.py "1 2 3" 50` prints."""
    if len(arguments) not in (1, 2):
        sys.exit('usage: python model.py "1 2 3" [number of new ids]')
    return " ".join(map(str, generate(load(), [int(word) for word in arguments[0].split()], *map(int, arguments[1:]))))
