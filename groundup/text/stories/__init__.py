"""The built-in corpus: simple English stories, conversations and held-out questions, without end, from a seed.

It is synthetic and was written for this project: no text in it comes from elsewhere. People, animals, places and things
of a small world (`world`) live through plots (`plots/`), told sentence by sentence in many forms (`teller`, `dice`).
What is true there in general are about 300 facts, with opposites, categories and sums (`facts`, `topics`).
Conversations ask for all of that (`kinds`, with `passages`, `relations`, `tasks`, `talk`), and `exam` holds the
questions that are never trained.

It is for a demonstration of minutes: a model of a million parameters can learn it, and what it then knows can be
counted. It is no sample of English: some 1600 different words, one style, and people who always mean what they say.

Every item is a function of (seed, index) alone.

>>> story(0, 0) == story(0, 0)
True
"""

from groundup.text.stories.exam import Question, commonest_guess, held_out, is_right
from groundup.text.stories.tell import conversation, conversations, documents, story

__all__ = ["Question", "commonest_guess", "conversation", "conversations", "documents", "held_out", "is_right", "story"]
