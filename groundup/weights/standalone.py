"""A model as one readable file: `model.py`, its weights beside it, and nothing needed but PyTorch.

    model.py             this model from leaf to whole: layers, blocks, CONFIG, a reader of the weights
    model.safetensors    the weights, by our names
    tokenizer.json ...   if the model has a tokenizer; model.py takes and gives ids

The file is our own source: what the family's `Model` needs of layers/ is gathered (standalone_inline.py), of textbook
and fused form the fused one is kept (standalone_fold.py), so it computes the same and can never be out of date.
"""

import ast
import dataclasses
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch

import groundup
from groundup import models
from groundup.errors import GroundupError
from groundup.weights import portable, safetensors_writer, standalone_foot, standalone_inline
from groundup.weights.portable import Portable
from groundup.weights.standalone_inline import Section

MODEL, TENSORS = "model.py", "model.safetensors"

HEAD = '''"""{title}

    python model.py "1 2 3"        these ids and the 20 that follow; a second number asks for as many

    import model, torch
    logits = model.load()(torch.tensor([[1, 2, 3]]))     # (1, 3, {vocab_size})

It needs PyTorch and nothing else. The weights lie beside it in model.safetensors{tokenizer}.
Read it from the end, where CONFIG says how large everything is, or from the leaf to the whole:

{contents}

Float[Tensor, "B T d_model"] is a Tensor to Python; its shape stands there for the reader.

Written by groundup {version}, from its own source with the fused form of every layer.
MIT License, Copyright (c) 2026 the groundup authors; the terms stand at the end.
"""
'''

MAIN = """if __name__ == "__main__":
    print(main(sys.argv[1:]))"""

LICENCE = """
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""The rest of the project's LICENSE, which has to go with every copy."""

COMMENT_WIDTH = 118
WIDTH = 120


def write(folder: Path, source: Portable) -> None:
    """Fill a folder that is there: the file, the weights in the dtype each of them has, the tokenizer."""
    text = text_of(source)
    _check(text, source)
    (folder / MODEL).write_text(text, encoding="utf-8")
    safetensors_writer.write(folder / TENSORS, source.tensors)
    if source.tokenizer is not None:
        source.tokenizer.save(folder)


def text_of(source: Portable) -> str:
    """The text of model.py."""
    family, foot = models.family(source.family).__name__, standalone_foot.__name__
    roots = [(family, "Model"), (foot, "CONFIG"), (foot, "main")]
    gathered = standalone_inline.gather(roots, instead={standalone_foot.Model.__module__: family})
    *layers, running = gathered.sections
    parts = [_head(source, layers), "\n".join(gathered.imports)]
    for section in layers:
        parts += [_comment(f"--- {_file(section.module)} ---\n\n{section.doc}") + "\n\n\n" + section.text]
    parts += [_comment("--- This model ---") + "\n\n" + _assigned("CONFIG", source.config)]
    parts += [_comment("--- Reading and running it ---"), running.text.partition("\n\n\n")[2], MAIN]
    parts += [_comment(f"--- MIT License ---\n{LICENCE}")]
    return "\n\n".join([*parts[:2], "\n\n\n".join(parts[2:])]) + "\n"


def _head(source: Portable, sections: list[Section]) -> str:
    contents = []
    for section in sections:
        names = [name for name in section.names if not name.startswith("_")]
        line = f"    {_file(section.module):26}{', '.join(names)}"
        contents.append(textwrap.fill(line, COMMENT_WIDTH, break_on_hyphens=False, subsequent_indent=" " * 30))
    return HEAD.format(
        title=f"{source.family}: a language model of {source.n_parameters:,} parameters in one file.",
        vocab_size=source.config.vocab_size,
        tokenizer="" if source.tokenizer is None else "; its tokenizer too, but here\nids go in and ids come out",
        contents="\n".join(contents),
        version=groundup.__version__,
    ).rstrip()


def _file(module: str) -> str:
    """layers/rope.py for groundup.layers.rope."""
    return module.partition(".")[2].replace(".", "/") + ".py"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.strip().splitlines())


def _assigned(name: str, config: Any) -> str:
    """`name = Config(...)` as one would write it by hand: every field on a line of its own."""
    fields = [f"    {field.name}={_written(getattr(config, field.name))},\n" for field in dataclasses.fields(config)]
    return f"{name} = {type(config).__name__}(\n{''.join(fields)})"


def _written(value: Any) -> str:
    """A value in Python; of a Config inside the Config what is not as usual."""
    if not dataclasses.is_dataclass(value):
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    fields = [(field.name, getattr(value, field.name), field.default) for field in dataclasses.fields(value)]
    parts = [f"{name}={_written(content)}" for name, content, default in fields if content != default]
    short = f"{type(value).__name__}({', '.join(parts)})"
    if len(short) < WIDTH - 30:
        return short
    return f"{type(value).__name__}(\n" + "".join(f"        {part},\n" for part in parts) + "    )"


def _check(text: str, source: Portable) -> None:
    """Before anything is written: the file stands alone, and builds a model with the very parameters of this one."""
    for node in ast.walk(ast.parse(text)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            if module.partition(".")[0] not in ("torch", *sys.stdlib_module_names):
                raise GroundupError(
                    f"{MODEL} would need {module}",
                    where=f"groundup/models/{source.family}.py",
                    hint="import nothing there but torch, jaxtyping, the standard library and groundup.layers",
                )
    alone: dict[str, Any] = {"__name__": "model", "__file__": MODEL}
    exec(compile(text, MODEL, "exec"), alone)
    with torch.device("meta"):
        built = alone["Model"](alone["CONFIG"])
    shapes = {name: tuple(parameter.shape) for name, parameter in built.named_parameters()}
    portable.refuse(list(portable.differences(shapes, source.tensors)), source.where)
