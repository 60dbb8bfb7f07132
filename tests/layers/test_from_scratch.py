"""groundup writes its layers itself: torch's finished ones stand only where a fused twin is declared."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "groundup"

FINISHED_LAYERS = {"Linear", "Embedding", "LayerNorm", "RMSNorm", "MultiheadAttention", "Transformer", "GELU", "SiLU"}
FINISHED_LAYERS |= {"Softmax", "CrossEntropyLoss", "TransformerEncoderLayer", "TransformerDecoderLayer"}
FINISHED_FUNCTIONS = {"softmax", "log_softmax", "cross_entropy", "nll_loss", "silu", "gelu", "layer_norm", "rms_norm"}
FINISHED_FUNCTIONS |= {"scaled_dot_product_attention", "multi_head_attention_forward", "normalize"}

FUSED_TWINS = {
    "layers/activations.py": {"silu", "gelu"},
    "layers/attention.py": {"scaled_dot_product_attention", "softmax"},
    "layers/loss.py": {"cross_entropy", "log_softmax"},
    "layers/norms.py": {"layer_norm", "rms_norm"},
}


def finished_pieces(source: str) -> set[str]:
    """Names of torch's finished layers and functions that a file uses, as nn.X, F.x, torch.x or by import."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in ("nn", "torch.nn") and node.attr in FINISHED_LAYERS:
                found.add(node.attr)
            if owner in ("F", "torch", "nn.functional", "torch.nn.functional") and node.attr in FINISHED_FUNCTIONS:
                found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            found |= {alias.name for alias in node.names} & (FINISHED_LAYERS | FINISHED_FUNCTIONS)
    return found


def test_only_the_fused_twins_use_finished_pieces():
    used = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        if found := finished_pieces(file.read_text(encoding="utf-8")):
            used[file.relative_to(PACKAGE).as_posix()] = found

    assert used == FUSED_TWINS


def test_the_check_sees_every_way_of_writing():
    source = "import torch\nfrom torch.nn import Linear\ny = F.silu(nn.LayerNorm(3)(torch.softmax(x, 0)))"
    assert finished_pieces(source) == {"Linear", "silu", "LayerNorm", "softmax"}
