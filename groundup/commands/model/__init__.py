"""What a model is made of, and what it costs: of a preset, a run, a checkpoint or another program's model."""

from groundup.commands.model import explain, info

VERBS = {"info": info.info, "explain": explain.explain}
