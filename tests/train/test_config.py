"""Settings that cannot be meant are refused by name."""

import pytest

from groundup.train.config import TrainConfig


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"keep": 0}, "keep"),
        ({"lr": -1.0}, "lr"),
        ({"n_steps": 0}, "how long"),
        ({"batch_size": 8, "micro_batch_size": 3}, "batch_size"),
        ({"batch_size": 8, "gradient_accumulation_steps": 3}, "gradient_accumulation_steps"),
        ({"batch_size": 8, "micro_batch_size": 4, "gradient_accumulation_steps": 2}, "gradient_accumulation_steps"),
    ],
)
def test_nonsense_is_refused_by_name(settings, said):
    with pytest.raises(ValueError, match=said):
        TrainConfig(**settings)


def test_accumulation_steps_are_another_way_to_say_micro_batches():
    assert TrainConfig(batch_size=8, gradient_accumulation_steps=4).rows_per_micro_batch == 2
    assert TrainConfig(batch_size=8, micro_batch_size=2).rows_per_micro_batch == 2
    assert TrainConfig(batch_size=8).rows_per_micro_batch == 8
