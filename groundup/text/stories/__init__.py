"""The built-in corpus: simple English stories and conversations, synthetic, written for this project."""

from groundup.text.stories.exam import Question, commonest_guess, held_out, is_right
from groundup.text.stories.tell import conversation, conversations, documents, story

__all__ = ["Question", "commonest_guess", "conversation", "conversations", "documents", "held_out", "is_right", "story"]
