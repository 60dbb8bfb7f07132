"""How right and how fast the models are, beside transformers. Single layers are timed by layers.py.

    python benchmarks/models.py                        every part, about six minutes on two cores
    python benchmarks/models.py --only training --write

The peer comes with `pip install -e '.[test]'`. What is measured is in models_parity.py, models_training.py,
models_files.py.
"""

import argparse
import sys

import harness
import models_files
import models_parity
import models_training

PARTS = ("parity", "training", "files")
TITLES = {
    "parity": "Models: distance from transformers",
    "training": "Models: training step",
    "files": "Models: opening and converting folders",
}
PEERS = ("torch", "transformers", "gguf")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put each part's table into BENCHMARK.md")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="of each side, in turns (5)")
    options = parser.parse_args(arguments)
    rows_of_part = {
        "parity": models_parity.rows,
        "training": lambda: models_training.rows(options.repetitions),
        "files": lambda: models_files.rows(options.repetitions),
    }
    code = 0
    for part in options.only:
        print(f"{TITLES[part]} ...", file=sys.stderr)
        rows = rows_of_part[part]()
        code |= harness.report(rows, options.json)
        if options.write:
            harness.write_section(f"models-{part}", harness.section(TITLES[part], rows, PEERS))
    return code


if __name__ == "__main__":
    sys.exit(main())
