"""A small tokenizer, trained once."""

import pytest

from groundup.insight.tokenizer_compare import samples
from groundup.tokenizer.train import train


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "tok"
    train(samples().values(), 700).save(folder)
    return folder
