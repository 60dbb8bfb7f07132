"""The example loop is short, and runs."""

import runpy
from pathlib import Path

from groundup.text import stories

EXAMPLE = Path(__file__).parent.parent / "examples" / "own_loop.py"


def test_the_own_loop_is_short_and_runs(tmp_path, capsys):
    assert len(EXAMPLE.read_text().splitlines()) <= 60
    text = tmp_path / "text.txt"
    text.write_text("\n".join(stories.story(0, index) for index in range(60)))
    main = runpy.run_path(str(EXAMPLE))["main"]
    said = main(str(text), 60, str(tmp_path / "saved.safetensors"))
    assert isinstance(said, str) and said
    shown = capsys.readouterr().out.splitlines()
    first, last = (float(line.split()[-1]) for line in (shown[0], shown[-1]))
    assert last < first - 1.0
