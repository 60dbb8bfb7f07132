"""A small tokenizer, and documents with their own words."""

from collections.abc import Callable

import pytest

from groundup.text.records import Conversation, Document, Message
from groundup.tokenizer import train
from groundup.tokenizer.protocol import Tokenizer

SENTENCES = (
    "Mia found a red ball under the old bridge. ",
    "Tom said, “It is yours”, and ran to the café.\n",
    "今天天气很好，我们去公园。\n\n",
    "Seven and five are twelve 🙂. ",
)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train.train(["".join(SENTENCES) * 5], 320)


@pytest.fixture(scope="session")
def documents() -> Callable[[int], list[Document]]:
    """n documents of different lengths, no two alike."""
    return lambda n: [Document(f"Story {i}. " + SENTENCES[i % 4] * (1 + i % 7), f"file-{i % 3}") for i in range(n)]


@pytest.fixture(scope="session")
def conversations() -> Callable[[int], list[Conversation]]:
    """n conversations of one to three exchanges, every third with a system prompt."""

    def make(n: int) -> list[Conversation]:
        made = []
        for i in range(n):
            said = [Message("system", "Be kind.")] if i % 3 == 0 else []
            for j in range(1 + i % 3):
                said += [Message("user", f"Question {i}.{j}?"), Message("assistant", f"Answer {j} 天气 " * (1 + i % 4))]
            made.append(Conversation(tuple(said)))
        return made

    return make
