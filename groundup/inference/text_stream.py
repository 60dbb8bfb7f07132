"""From token ids to text that a person reads while it comes.

The engine knows ids; a stop string or the end of a sentence may begin in one token and end in the next. So text that
could still turn out to belong to a stop string is held back until that is decided.
"""

import re
import time
import unicodedata
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from groundup.errors import UsageError
from groundup.inference import engine, sliding
from groundup.inference.generation import Generation
from groundup.inference.repetition import repeated
from groundup.inference.settings import DRAWING, Settings
from groundup.inference.speculative import Draft

# The end of a sentence, with closing quotes and brackets; Chinese and Japanese put no space after theirs.
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|\Z)|[。！？]+[”’」』）]*")


@dataclass(frozen=True)
class Completion:
    """A finished text and what is known about it."""

    text: str
    finish_reason: str
    """"stop", "length", or "interrupted"."""
    ids: tuple[int, ...]
    """The new ids, with those of a stop id or a stop string."""
    seconds: float
    """Until the last token; for a text of a batch, since the batch began."""
    seconds_to_first: float | None = None
    logprobs: tuple[float, ...] = ()
    """Log-probability of each id under the model itself."""
    alternatives: tuple[tuple[tuple[int, float], ...], ...] = ()
    """For each id the likeliest ones in its place, if `n_alternatives` asks for them: (id, log-probability)."""
    n_drafted: int | None = None
    """How many ids a draft guessed ahead, and of those were right; None where there was no draft."""
    n_accepted: int | None = None
    score: float | None = None
    """By which a beam search found it better than others, see Generation."""

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def tokens_per_second(self) -> float:
        return self.n_tokens / self.seconds if self.seconds else 0.0

    @property
    def mean_logprob(self) -> float:
        """How likely the model finds each of its tokens. The mean, since a sum would favour what is short."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else float("-inf")

    @property
    def repeated_4grams(self) -> float:
        """The share of its runs of four tokens that stood in it before, see repetition.py."""
        return repeated(self.ids)

    def report(self, prompt: str, settings: Settings) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "prompt": prompt,
            "completion": self.text,
            "finish_reason": self.finish_reason,
            **({} if self.score is None else {"score": round(self.score, 6)}),
            "n_tokens": self.n_tokens,
            **({} if self.n_drafted is None else {"n_drafted": self.n_drafted, "n_accepted": self.n_accepted}),
            "repeated_4grams": round(self.repeated_4grams, 4),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "settings": {
                name: value for name, value in asdict(settings).items() if not (settings.beams and name in DRAWING)
            },
        }


def guesses_of(completions: Sequence[Completion]) -> list[str]:
    """In words, how many guesses of a draft were right; nothing where there was no draft."""
    drafted = [each for each in completions if each.n_drafted is not None]
    n_right, n = sum(each.n_accepted or 0 for each in drafted), sum(each.n_drafted or 0 for each in drafted)
    if not drafted:
        return []
    return [f"{n_right} of {n} guessed tokens right"] if n else ["nothing guessed"]


class StopStrings:
    """Lets text pass up to the first stop string, and holds back what may be the beginning of one.

    With the stop string "END", pushing "the E", "N", "D!" gives "the ", "" and "", and then `is_hit` is true.
    """

    def __init__(self, stop: Sequence[str]):
        self.stop = tuple(stop)
        self.is_hit = False
        self.held = ""

    def push(self, text: str) -> str:
        self.held += text
        found = [at for at in map(self.held.find, self.stop) if at >= 0]
        if found:
            self.is_hit = True
            return self._let_pass(min(found), keep=False)
        return self._let_pass(len(self.held) - self._n_undecided())

    def flush(self) -> str:
        """What was held back and did not become a stop string."""
        return self._let_pass(len(self.held))

    def _n_undecided(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max(map(len, self.stop), default=1) - 1
        for n in range(min(longest, len(self.held)), 0, -1):
            if any(stop.startswith(self.held[-n:]) for stop in self.stop):
                return n
        return 0

    def _let_pass(self, n: int, keep: bool = True) -> str:
        text, rest = self.held[:n], self.held[n:]
        self.held = rest if keep else ""
        return text


class Text:
    """Ids in, text out, for one sequence: decoding, stop strings, special tokens, the unfinished last sentence."""

    def __init__(self, tokenizer: Any, settings: Settings, *, show_special: bool = False, trim: bool = False):
        self.pieces = tokenizer.stream(skip_special=not show_special)
        # A stop id is not text; only one with a name can be shown.
        self.hidden_ids = set(settings.stop_ids) - (set(tokenizer.special_ids.values()) if show_special else set())
        self.stop = StopStrings(settings.stop)
        self.trim = trim
        self.ids: list[int] = []
        self.text = ""
        self.unfinished = ""

    def push(self, id_: int) -> str:
        self.ids.append(id_)
        return "" if id_ in self.hidden_ids else self._emit(self.stop.push(self.pieces.push(id_)))

    def finish(self, reason: str) -> str:
        """The last piece. A text that came to its end by itself keeps its last sentence as it is."""
        rest = "" if self.stop.is_hit else self.stop.push(self.pieces.flush())
        rest = self.unfinished + rest + self.stop.flush()
        if self.trim and reason != "stop":
            rest = trim_sentence(rest) or ("" if self.text else rest)
        self.text += rest
        self.unfinished = ""
        return rest

    def _emit(self, text: str) -> str:
        if self.trim:
            self.unfinished += text
            # An end is one only when something follows: "3." may go on as "3.5", "Yes." with a closing quote.
            ends = [match.end() for match in SENTENCE_END.finditer(self.unfinished)]
            last = max((end for end in ends if end < len(self.unfinished)), default=0)
            text, self.unfinished = self.unfinished[:last], self.unfinished[last:]
        self.text += text
        return text


class TextStream:
    """Iterates over the pieces of one text as they come; `completion` is there when it is over.

        stream = TextStream(model, tokenizer, ids, settings)
        for piece in stream:
            print(piece, end="")
        stream.completion.finish_reason

    `stop` ends it early and makes a completion of what there is, with the reason "interrupted". With a seed, another
    `copy` gives another text. `model` may also be a Runner or an Engine, which remembers what it has computed. `shift`
    lets the text grow beyond the context, see sliding.py. `draft` guesses ahead, see speculative.py; an Engine has its
    own.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        ids: Sequence[int],
        settings: Settings,
        *,
        show_special: bool = False,
        trim: bool = False,
        shift: bool = False,
        copy: int = 0,
        draft: Draft | None = None,
    ):
        refuse_beams(settings)
        self.settings = with_stop_ids(settings, tokenizer)
        self._completion: Completion | None = None
        self._text = Text(tokenizer, self.settings, show_special=show_special, trim=trim)
        self._generations: list[Generation] = []
        """One, or with `shift` one for each window of the text."""
        self._draft = draft
        self._ids = self._follow(model, list(ids), copy, sliding.first_of(tokenizer) if shift else None)
        self._started = time.perf_counter()
        self._seconds_to_first: float | None = None

    def __iter__(self) -> Iterator[str]:
        reason = "length"
        for id_ in self._ids:
            if self._seconds_to_first is None:
                self._seconds_to_first = time.perf_counter() - self._started
            if piece := self._text.push(id_):
                yield piece
            if id_ in self.settings.stop_ids or self._text.stop.is_hit:
                reason = "stop"
                break
        if piece := self._end(reason):
            yield piece

    def _follow(self, model: Any, ids: list[int], copy: int, first: list[int] | None) -> Generator[int, None, None]:
        settings = replace(self.settings, seed=self.settings.some_seed())
        with engine.engine_for(model, max_batch=1, draft=self._draft) as talking:
            while True:
                window = ids if first is None else sliding.fitting(ids, talking.runner.context_length, first)
                generation = talking.submit(window, settings, copy)
                self._generations.append(generation)
                yield from engine.follow(talking, generation)
                left = settings.max_new_tokens - len(generation.ids)
                if first is None or generation.finish_reason != "length" or not left:
                    return
                ids, copy, settings = [*ids, *generation.ids], 0, replace(settings, max_new_tokens=left)

    def stop(self) -> str:
        """Ends the text here; returns what had been held back."""
        return self._end("interrupted") if self._completion is None else ""

    @property
    def completion(self) -> Completion:
        """What became of it, once it has been read to its end or stopped."""
        if self._completion is None:
            raise ValueError("the text is still being made: read it to its end, or stop it")
        return self._completion

    def _end(self, reason: str) -> str:
        seconds = time.perf_counter() - self._started
        self._ids.close()
        rest = self._text.finish(reason)
        self._completion = completion_of(self._text, reason, self._generations, seconds, self._seconds_to_first)
        return rest


def completion_of(
    text: Text, reason: str, generations: Sequence[Generation], seconds: float, seconds_to_first: float | None = None
) -> Completion:
    """The completion of a text that has ended, from the one or more generations that its ids came from."""
    n = len(text.ids)  # one that was stopped may have drawn more than was taken from it
    logprobs = [logprob for generation in generations for logprob in generation.logprobs][:n]
    alternatives = [tuple(step) for generation in generations for step in generation.alternatives][:n]
    return Completion(
        text.text,
        reason,
        tuple(text.ids),
        seconds,
        seconds_to_first,
        tuple(logprobs),
        tuple(alternatives),
        _sum([generation.n_drafted for generation in generations]),
        _sum([generation.n_accepted for generation in generations]),
        generations[-1].score if generations else None,
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def with_stop_ids(settings: Settings, tokenizer: Any) -> Settings:
    """The settings, stopping also at the ids that end a text for this tokenizer.

    A stop string that is the name of a special token means that token, which never is text. UsageError for a stop id
    that the tokenizer has not got: it would never come.
    """
    named = {name: tokenizer.special_ids[name] for name in settings.stop if name in tokenizer.special_ids}
    for id_ in settings.stop_ids:
        if not 0 <= id_ < tokenizer.vocab_size:
            raise UsageError(
                f"the stop id {id_} is no token: the vocabulary ends at {tokenizer.vocab_size - 1}",
                where="stop_ids",
                hint="`groundup tokenizer encode TEXT` shows the ids of a text; --stop takes the text itself",
            )
    ids = sorted({*settings.stop_ids, *named.values(), *tokenizer.stop_ids})
    return replace(settings, stop_ids=tuple(ids), stop=tuple(text for text in settings.stop if text not in named))


def refuse_beams(settings: Settings) -> None:
    """Raises UsageError for settings of which no text can be shown while it comes."""
    if settings.beams:
        what = "a beam search knows its text only at the end, and cannot show it as it comes"
        raise UsageError(what, where="beams", hint="leave out beams")


def trim_sentence(text: str) -> str:
    """`text` up to the end of its last whole sentence; empty if it has none."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def printable(text: str) -> str:
    """Text without control characters: a model that has learned little must not steer somebody's terminal."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
