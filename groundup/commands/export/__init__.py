"""Hand a model on: as a Hugging Face folder, a GGUF file for llama.cpp and Ollama, or one file of Python."""

from groundup.commands.export import gguf, hf, single_file

VERBS = {"hf": hf.hf, "gguf": gguf.gguf, "single-file": single_file.single_file}
