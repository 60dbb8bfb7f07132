"""What the tests of every reader do."""

import pytest
import torch

from groundup.weights import portable

IDS = [3, 1, 4, 1, 5, 9, 2]


@pytest.fixture
def assert_same_logits():
    """That a Portable computes, in a model of ours, the logits that its own program computes for IDS."""

    def check(read: portable.Portable, expected: torch.Tensor, ids: list[int] = IDS) -> None:
        model = portable.build(read).eval()
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0]
        torch.testing.assert_close(logits, expected.float(), rtol=0, atol=1e-5)

    return check
