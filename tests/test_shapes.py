"""What checks the shapes in the tests sees every call that is wrong, also after others like it that were right."""

import importlib.util

import pytest

torch = pytest.importorskip("torch")
jaxtyping = pytest.importorskip("jaxtyping")

SOURCE = """
from jaxtyping import Float
from torch import Tensor

def first(x: Float[Tensor, "B T"], y: Float[Tensor, "T"], n: int = 1) -> Float[Tensor, "B"]:
    return x[:, 0] if n == 1 else x[0]

class Layer:
    def sums(self, parts: list[Float[Tensor, "B T"]]) -> Float[Tensor, "B"]:
        return parts[-1].sum(1)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    from tests import shapes

    (tmp_path / "hooked_shapes.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(jaxtyping, "jaxtyped", shapes.jaxtyped)
    with jaxtyping.install_import_hook(["hooked_shapes"], shapes.CHECKER):
        yield importlib.import_module("hooked_shapes")


def test_a_wrong_argument_is_seen_after_right_ones(module):
    for rows in (2, 3, 2):
        assert module.first(torch.zeros(rows, 5), torch.zeros(5)).shape == (rows,)
    for x, y in [
        (torch.zeros(2, 5), torch.zeros(4)),
        (torch.zeros(2, 5, dtype=torch.int64), torch.zeros(5)),
        (torch.zeros(5), torch.zeros(5)),
        (torch.zeros(2, 5), [0.0] * 5),
    ]:
        for _ in range(2):  # what failed is not remembered as right
            with pytest.raises(jaxtyping.TypeCheckError, match="parameters"):
                module.first(x, y)


def test_a_wrong_result_is_seen_after_right_ones_of_the_same_arguments(module):
    x, y = torch.zeros(2, 5), torch.zeros(5)
    module.first(x, y, n=1)
    for _ in range(2):
        with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
            module.first(x, y, n=2)


def test_every_list_is_looked_into(module):
    """beartype looks at one item of a list by chance, so a list like one before is none that has passed."""
    layer = module.Layer()
    right, wrong = torch.zeros(2, 3), torch.zeros(2, 1, 3)
    assert layer.sums([right, right]).shape == (2,)
    with pytest.raises(jaxtyping.TypeCheckError):
        layer.sums([wrong, wrong])
    with pytest.raises(jaxtyping.TypeCheckError):
        for _ in range(200):
            layer.sums([wrong, *[right] * 3])
