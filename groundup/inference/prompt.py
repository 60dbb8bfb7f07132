"""The ids of a prompt, refused before anything is computed where a model cannot go on from them."""

from collections.abc import Sequence

from groundup.errors import UsageError


def checked_prompt(
    prompt: Sequence[int], vocab_size: int, context_length: int, where: str = "the prompt"
) -> tuple[int, ...]:
    """The ids as plain integers. Raises UsageError if there are none, too many, or some the model does not know."""
    ids = tuple(int(id_) for id_ in prompt)
    if not ids:
        raise UsageError("The prompt is empty.", where=where, hint="give at least one token, such as the end token")
    check_room(ids, context_length, where, "shorten the prompt, or train a model with a longer context_length")
    foreign = [id_ for id_ in ids if not 0 <= id_ < vocab_size]
    if foreign:
        raise UsageError(
            f"The prompt has the id {foreign[0]}, and the model's vocabulary ends at {vocab_size - 1}.",
            where=where,
            hint="use the tokenizer that the model was trained with",
        )
    return ids


def check_room(
    ids: Sequence[int],
    context_length: int,
    where: str | None = None,
    hint: str = "shorten the prompt, or --shift to let the model see the end of it",
) -> None:
    """UsageError for a prompt that leaves no room in the context."""
    if len(ids) >= context_length:
        raise UsageError(
            f"The prompt has {len(ids):,} tokens, and this model's context of {context_length:,} has to hold the "
            "prompt and what is generated.",
            where=where,
            hint=hint,
        )
