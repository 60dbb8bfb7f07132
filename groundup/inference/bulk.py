"""Many prompts to a file of texts, one row each, so that a job that is killed goes on where it was.

A row says all about itself: what was asked, what was made, with which settings and seed, by which model. So the file
alone tells what is left to do, and whether it belongs to this job at all. Rows are written as texts end, and put in the
order of the prompts when all are there. A text depends on its prompt, its settings and its seed: what was killed in
between, and how prompts shared batches, does not show.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from groundup import artifact
from groundup import config as configs
from groundup.errors import ArtefactError, UsageError
from groundup.inference.completing import complete
from groundup.inference.language_model import LanguageModel
from groundup.inference.prompt_file import Prompt
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion

OURS = (
    "index", "copy", "completion", "finish_reason", "n_tokens", "repeated_4grams", "settings", "model",
)  # fmt: skip
"""Keys of a row that this file writes; what a given row has under them is left out."""

Key = tuple[int, int]
"""Which prompt, and which text of it."""


@dataclass(frozen=True)
class Job:
    """What is to be made: `n` texts of each prompt."""

    speaker: LanguageModel
    prompts: Sequence[Prompt]
    settings: Settings
    n: int = 1
    options: Mapping[str, bool] = field(default_factory=dict)
    """show_special, trim and shift, as text_stream.complete takes them."""
    batch_size: int = 64

    @property
    def keys(self) -> list[Key]:
        return [(index, copy) for index in range(len(self.prompts)) for copy in range(self.n)]

    def make(self, keys: Sequence[Key], add: Callable[[Key, Completion], Any]) -> None:
        """The texts of these keys; each goes to `add` when it has come to its end."""
        copy_of = self._copies()
        prompts = [self.prompts[index].ids for index, _ in keys]
        complete(
            self.speaker.model,
            self.speaker.tokenizer,
            prompts,
            self.settings,
            copies=[copy_of[key] for key in keys],
            on_done=lambda at, completion: add(keys[at], completion),
            batch_size=self.batch_size,
            draft=self.speaker.draft,
            **self.options,
        )

    def row(self, key: Key, completion: Completion) -> dict[str, Any]:
        """What is written of a text."""
        index, copy = key
        given = {name: value for name, value in self.prompts[index].row.items() if name not in OURS}
        return {
            "index": index,
            **({"copy": copy} if self.n > 1 else {}),
            **given,
            "completion": completion.text,
            "finish_reason": completion.finish_reason,
            "n_tokens": completion.n_tokens,
            "repeated_4grams": round(completion.repeated_4grams, 4),
            **self.made_by(),
        }

    def made_by(self) -> dict[str, Any]:
        """What all rows of the job have in common, as plain values of JSON."""
        flags = {name: True for name, is_on in self.options.items() if is_on}
        made_by = {"settings": {**configs.to_dict(self.settings), **flags}, "model": str(self.speaker.path)}
        return orjson.loads(orjson.dumps(made_by))  # its lists are tuples

    def _copies(self) -> dict[Key, int]:
        """The how-manieth of all equal prompts each text is: with prompt and seed it decides the random numbers.

        Nothing is drawn by a beam search: there each row has the best texts of its prompt.
        """
        if self.settings.beams:
            return {key: key[1] for key in self.keys}
        seen: Counter[tuple[int, ...]] = Counter()
        copies = {}
        for key in self.keys:
            ids = self.prompts[key[0]].ids
            copies[key] = seen[ids]
            seen[ids] += 1
        return copies


def to_file(
    job: Job,
    path: Path | str,
    on_begin: Callable[[int], Any] = lambda n_left: None,
    on_row: Callable[[Mapping[str, Any]], Any] = lambda row: None,
) -> int:
    """Make what the file does not hold yet, and put it in order; returns how many texts were there already.

    Without a seed in the settings, the file's own is taken, or one is drawn. `on_begin` is told how many texts are
    left. UsageError for a file that holds something else, or texts of other prompts, settings or models.
    """
    path = Path(path)
    with artifact.growing(path) as file:
        job, done = going_on(job, file.rows(), path)
        left = [key for key in job.keys if key not in done]
        on_begin(len(left))

        def add(key: Key, completion: Completion) -> None:
            row = job.row(key, completion)
            file.add(row)
            on_row(row)

        if left:
            job.make(left, add)
    _put_in_order(path)
    return len(done)


def in_order(job: Job, give: Callable[[Mapping[str, Any]], Any]) -> None:
    """Make all, without a file: each row is given when those before it are."""
    job = replace(job, settings=replace(job.settings, seed=job.settings.some_seed()))
    waiting: dict[Key, Completion] = {}
    order = iter(job.keys)
    expected = next(order, None)

    def add(key: Key, completion: Completion) -> None:
        nonlocal expected
        waiting[key] = completion
        while expected in waiting:
            give(job.row(expected, waiting.pop(expected)))
            expected = next(order, None)

    try:
        job.make(job.keys, add)
    except KeyboardInterrupt:
        for key in sorted(waiting):
            give(job.row(key, waiting[key]))
        raise


def going_on(job: Job, rows: Iterable[Any], path: Path) -> tuple[Job, set[Key]]:
    """The job with the seed that its rows have, and which of its texts they are."""
    done: set[Key] = set()
    try:
        for number, row in enumerate(rows, 1):
            where = f"{path}, line {number:,}"
            key = _key(job, row, where)
            if job.settings.seed is None:
                job = replace(job, settings=replace(job.settings, seed=row["settings"].get("seed")))
            _refuse_other(job, row, where)
            done.add(key)
    except ArtefactError as error:
        raise _not_ours(error.where) from error
    return replace(job, settings=replace(job.settings, seed=job.settings.some_seed())), done


def _key(job: Job, row: Any, where: str) -> Key:
    if not isinstance(row, dict) or not {"index", "completion", "settings"} <= row.keys():
        raise _not_ours(where)
    key = (row["index"], row.get("copy", 0))
    given = job.prompts[key[0]].row if key[0] in range(len(job.prompts)) else None
    if given is None or any(row.get(name) != value for name, value in given.items() if name not in OURS):
        raise UsageError("the file holds a text of another prompt", where=where, hint=HINT)
    return key


def _refuse_other(job: Job, row: dict[str, Any], where: str) -> None:
    """UsageError for a row that was made in another way. Settings that only one of the two knows are new ones."""
    now, then = job.made_by(), row
    if now["model"] != then.get("model"):
        raise UsageError(f"the file's texts are by {then.get('model')}, not by {now['model']}", where=where, hint=HINT)
    flags = dict.fromkeys(job.options, False)
    now, then = flags | now["settings"], flags | then["settings"]
    for name in now:
        if now[name] != then.get(name, now[name]):
            what = f"the file was begun with {name} {then[name]}, and now it is {now[name]}"
            raise UsageError(what, where=where, hint=HINT)


HINT = "choose another --out, or --replace to begin anew"


def _not_ours(where: str | None) -> UsageError:
    return UsageError("there is something else in this file already", where=where, hint=HINT)


def _put_in_order(path: Path) -> None:
    """The rows by prompt and copy. Lines are moved as they are: only their places are held in memory."""
    places = list(_places(path))
    if places == sorted(places):
        return
    with artifact.writing_file(path) as temporary, open(path, "rb") as old, open(temporary, "wb") as new:
        for _, start, length in sorted(places):
            old.seek(start)
            new.write(old.read(length))


def _places(path: Path) -> Iterator[tuple[Key, int, int]]:
    start = 0
    with open(path, "rb") as file:
        for line in file:
            row = orjson.loads(line)
            yield (row["index"], row.get("copy", 0)), start, len(line)
            start += len(line)
