"""How fast the tokenizer is, beside the fastest others: training, encoding, hard texts, starting up, memory.

    python benchmarks/tokenizer.py                         everything but `memory`, about fifteen minutes
    python benchmarks/tokenizer.py --only encoding --write one part, into BENCHMARK.md
    python benchmarks/tokenizer.py --only memory --gigabytes 5

The peers come with `pip install -e '.[bench]'`; how each is called is in tokenizer_peers.py, where the texts come from
in corpus.py, what is measured in tokenizer_training.py and tokenizer_encoding.py.
"""

import argparse
import sys
from pathlib import Path

import harness
import tokenizer_encoding as encoding
import tokenizer_training as training
from corpus import CACHE, KINDS, Corpus
from corpus import load as load_corpora
from harness import Row

from groundup.errors import GroundupError

PARTS = ("training", "encoding", "pathological", "small", "start", "memory")
PEERS = ("numba", "numpy", "gigabpe", "rustbpe", "tokenizers", "tiktoken", "toktok-rs", "quicktok-v1")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put each part's table into BENCHMARK.md")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="these parts")
    parser.add_argument("--corpus", nargs="+", type=Path, default=[], metavar="FOLDER", help="text of your own")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="FOLDER", help="where gathered text is kept")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="English, code, Chinese")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="of each side, in turns (5)")
    parser.add_argument("--vocab-size", type=int, default=training.VOCAB_SIZE, metavar="N", help="to train (32000)")
    parser.add_argument("--skip-slow", action="store_true", help="train without tokenizers")
    parser.add_argument("--gigabytes", type=float, default=5, help="for `memory` (5)")
    parser.add_argument("--distinct", type=int, default=300_000_000, metavar="N", help="pieces for `memory` (3e8)")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except GroundupError as error:
        print(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(text, file=sys.stderr)

    corpora: list[Corpus] = []
    if {"training", "encoding", "small", "start"} & set(options.only):
        corpora = load_corpora(options.corpus, options.cache, say)
        corpora = [corpus for kind in KINDS for corpus in corpora if corpus.kind == kind and kind in options.kinds]
    rows_of_part = {
        "training": lambda: training.training_rows(corpora, options.vocab_size, options.repetitions, options.skip_slow),
        "encoding": lambda: encoding.encoding_rows(corpora, options.repetitions),
        "pathological": lambda: encoding.pathological_rows(options.repetitions),
        "small": lambda: training.small_rows(corpora, options.repetitions),
        "start": lambda: encoding.start_rows(corpora, options.repetitions),
        "memory": lambda: training.memory_rows(options.gigabytes, options.distinct),
    }
    rows: list[Row] = []
    for part in PARTS:
        if part in options.only:
            say(f"{part} ...")
            found = list(rows_of_part[part]())
            rows += found
            if options.write:
                facts = [f"Text: {corpus}" for corpus in corpora] if part in ("training", "encoding") else []
                harness.write_section(f"tokenizer, {part}", harness.section(f"Tokenizer: {part}", found, PEERS, facts))
    return harness.report(rows, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
