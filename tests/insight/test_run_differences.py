"""What two cards differ in, and the first step at which their losses part."""

import copy
from typing import Any

from groundup.insight import run_differences
from groundup.insight.run_differences import compare_losses, differences, sentence

CARD: dict[str, Any] = {
    "config": {"run_dir": "a", "json": False, "data": "x", "train": {"lr": 1e-3, "seed": 0, "n_steps": 4}},
    "data": {"hash": "d" * 32, "counts": {"train": {"tokens": 5}}, "sources": {"a.txt": 1}},
    "tokenizer": "t" * 32,
    "started_from": {"path": "runs/a", "weights_hash": "w"},
    "seeds": {"seed": 0},
    "versions": {"torch": "2.13.0"},
    "machine": {"n_threads": 2, "cpu": "one"},
    "curves": {
        "train_loss": {"steps": {"first": 1, "every": 1}, "values": [4.0, 3.0, 2.0, 1.0]},
        "val_loss": {"steps": [0, 2, 4], "values": [5.0, 3.5, 1.5]},
    },
}


def changed(**paths: Any) -> dict[str, Any]:
    card = copy.deepcopy(CARD)
    for dotted, value in paths.items():
        *above, last = dotted.split("__")
        at = card
        for name in above:
            at = at[name]
        at[last] = value
    return card


def test_equal_runs_in_other_places() -> None:
    other = changed(config__run_dir="b", config__json=True, data__sources={"b.txt": 1}, started_from__path="runs/b")
    assert differences(CARD, other) == []
    losses = compare_losses(CARD, other)
    assert losses.are_identical and losses.n_compared == 7 and "identical: all 7" in sentence(losses, "a", "b")


def test_every_kind_of_difference_is_named() -> None:
    other = changed(
        config__train__lr=2e-3, data__hash="e" * 32, tokenizer="u" * 32, started_from__weights_hash="v",
        seeds__seed=1, versions__torch="2.14.0", machine__n_threads=4,
    )  # fmt: skip
    assert {each.name: (each.a, each.b) for each in differences(CARD, other)} == {
        "config.train.lr": (1e-3, 2e-3), "data.hash": ("d" * 32, "e" * 32), "tokenizer": ("t" * 32, "u" * 32),
        "started_from.weights_hash": ("w", "v"), "seeds.seed": (0, 1), "versions.torch": ("2.13.0", "2.14.0"),
        "machine.n_threads": (2, 4),
    }  # fmt: skip


def test_a_setting_that_one_lacks_differs_and_an_unknown_hash_does_not() -> None:
    other = changed(data__hash=None)
    del other["config"]["train"]["n_steps"]
    assert differences(CARD, other) == [run_differences.Difference("config.train.n_steps", 4, None)]


def test_the_first_loss_that_differs() -> None:
    other = changed(curves__train_loss__values=[4.0, 3.0, 2.5, 1.0], curves__val_loss__values=[5.0, 3.6, 1.5])
    losses = compare_losses(CARD, other)
    assert losses.first == ("val_loss", 2, 3.5, 3.6) and losses.largest == 0.25 and not losses.are_identical
    assert sentence(losses, "a", "b") == "the validation losses part at step 2: 3.5 (a), 3.6 (b); at most 25 % apart"
    at_one_step = changed(curves__train_loss__values=[4.0, 3.1, 2.0, 1.0], curves__val_loss__values=[5.0, 3.6, 1.5])
    assert compare_losses(CARD, at_one_step).first == ("train_loss", 2, 3.0, 3.1)


def test_runs_of_other_lengths_are_not_identical() -> None:
    shorter = changed(
        curves__train_loss={"steps": [1, 2], "values": [4.0, 3.0]}, curves__val_loss={"steps": [0], "values": [5.0]}
    )
    losses = compare_losses(CARD, shorter)
    assert losses.first is None and not losses.are_identical and losses.n_only_in_one == 4
    assert "4 are of one of them alone" in sentence(losses, "a", "b")
    empty = changed(curves__train_loss={"steps": [], "values": []}, curves__val_loss={"steps": [], "values": []})
    assert not compare_losses(empty, empty).are_identical
    assert "no step in common" in sentence(compare_losses(CARD, empty), "a", "b")


def test_a_loss_that_was_no_number() -> None:
    broken = changed(curves__train_loss__values=[4.0, None, 2.0, 1.0])
    assert compare_losses(broken, copy.deepcopy(broken)).are_identical
    assert compare_losses(CARD, broken).first == ("train_loss", 2, 3.0, None)
