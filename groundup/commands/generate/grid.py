"""`groundup generate RUN --grid FILE.toml [--out FILE.md]`: some prompts with several settings each."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from groundup.commands._speaker import opened
from groundup.commands.generate import say_if_chat
from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.commands.generate import Config

FORMS = (".md", ".html", ".htm")


def run(config: "Config", people: Console) -> int:
    """Writes the page to --out, or as Markdown to stdout."""
    from groundup import artifact
    from groundup.inference.completing import complete
    from groundup.inference.prompt import check_room
    from groundup.insight import sample_grid
    from groundup.train.watch import phase

    out = Path(config.out) if config.out else None
    if out and out.suffix not in FORMS:
        raise UsageError(f"--out must end in {' or '.join(FORMS[:2])}", where=config.out)
    if out:
        artifact.claim(out, replace=config.replace, source=config.grid)
    grid = sample_grid.read(config.grid)
    base = replace(config.sampling, seed=config.sampling.some_seed())
    columns = sample_grid.columns(grid, base, config.grid)
    n_texts = len(grid.prompts) * len(columns) * grid.n
    if config.dry_run:
        people.print(f"would make {n_texts} texts: {len(grid.prompts)} prompts, {len(columns)} settings", markup=False)
        return 0
    speaker = opened(config.model, config.opening, people)
    say_if_chat(speaker, people)
    prompts = [speaker.prompt_ids(prompt) for prompt in grid.prompts]
    for ids, prompt in zip(prompts, grid.prompts, strict=True):
        if not config.shift:
            check_room(ids, speaker.context_length, f"{config.grid}, {prompt[:40]!r}")

    by_column = []
    with phase("generating", n_texts, "texts", config.quiet) as shown:
        for column in columns:
            asked = [ids for ids in prompts for _ in range(grid.n)]
            made = complete(
                speaker.model,
                speaker.tokenizer,
                asked,
                column.settings,
                show_special=config.show_special,
                trim=config.trim,
                shift=config.shift,
                on_done=lambda *_: shown.advance(),
                batch_size=config.batch_size,
                draft=speaker.draft,
            )
            by_column.append([made[at : at + grid.n] for at in range(0, len(made), grid.n)])
    cells = [
        sample_grid.Cell(prompt, column, texts[i])
        for i, prompt in enumerate(grid.prompts)
        for column, texts in zip(columns, by_column, strict=True)
    ]
    about = {"model": speaker.path, "seed": base.seed, "max_new_tokens": base.max_new_tokens}
    title = f"Samples of {config.model}"
    if out is None:
        sys.stdout.write(sample_grid.to_markdown(title, about, cells))
        return 0
    write = sample_grid.to_markdown if out.suffix == ".md" else sample_grid.to_html
    out.parent.mkdir(parents=True, exist_ok=True)
    artifact.write_file(out, write(title, about, cells))
    print(out)
    return 0
