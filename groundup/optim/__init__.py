"""One file, one idea: how gradients become updates."""
