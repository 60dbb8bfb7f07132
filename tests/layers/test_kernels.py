"""The one switch between textbook and fused."""

import pytest

from groundup.layers.kernels import is_fused


def test_says_which():
    assert is_fused("fused")
    assert not is_fused("textbook")


def test_anything_else_is_refused():
    with pytest.raises(ValueError, match="kernels is 'fast'"):
        is_fused("fast")
