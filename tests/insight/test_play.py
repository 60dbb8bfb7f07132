"""The page of a tokenizer: it needs nothing but itself, and its script gives the ids of the library."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.errors import UsageError
from groundup.insight.page import STYLE
from groundup.insight.play import HERE, play_page
from groundup.insight.tokenizer_compare import samples
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.smaller import first_merges, n_smallest
from groundup.tokenizer.train import train

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node to run the page's script")

POSSESSIVE = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"|\s+(?!\S)|\s"
)
"""cl100k's pattern, written so that nothing is tried twice."""

PATTERNS = {
    "gpt2": "gpt2",
    "cl100k": "cl100k",
    "o200k": "o200k",
    "qwen2": "qwen2",
    "smollm": "smollm",
    "tiktoken's with possessive repetition": POSSESSIVE,
    "matches of nothing": r"\b|\d*(?<!x)[[:alpha:]]?",
    "gaps": r"(?i)[k-m]+|\S(?=\s)",
    "words": r"(?P<word>\w+?\b)|(?>ab|a)b|.",
}

TRICKY = [
    "",
    "a",
    "The cat's hat: I'LL DON'T we're 12345 1234567",
    "'s 'S 'ſ 'ſ \u212a'\u017f 'K'll'Ll'LL",
    "  two  spaces   \n\n\tand\r\nlines \x85 next\u2028line\u2029\ufeffmark\u00a0hard\u180e\u200b.",
    "你好，世界。「日本語」 カタカナー 한국어 กขค อักษรไทย",
    "naïve e\u0301 \u0301 o\u0308 \u1e9b\u0323 Ⅷ ½ ² ١٢٣ ४५",
    "👨‍👩‍👧‍👦 🏽 🇯🇵 😀" * 2,
    "HTTPResponseCode camelCase ALLCAPS ǅ ʰ",
    "\ud800 \udfff\udc80 lone \udbff",
    "\U000105d2\u0307 \u1c89\u1c8a \U00010d4a \U00011f02 \u088f",  # letters of Unicode 15, 16 and 17
    "\x00\x01\x7f <|endoftext|> <|im_end|>",
    "a" * 300 + " " * 300 + "\n" * 50,
    "ab abb abab xab1 1x22",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train(samples().values(), 900)


def with_pattern(tokenizer, pattern, **options):
    merges = None if options.pop("by_result", False) else tokenizer.merges
    return BPE(tokenizer.token_bytes, merges, tokenizer.special_ids, pattern, **options)


def random_strings(n):
    """Strings of few kinds of characters each, so that they come to stand beside each other in every way."""
    dice = random.Random(5)
    kinds = [
        "abcK",
        "'sSlLtTſ\u212a",
        " \n\r\t",
        "0123٣½",
        "éñßǅ",
        "你好界",
        "\u0301\u0307\u200d",
        "😀🇯",
        "\ufeff\x85\u00a0\u2028",
    ]
    rare = [chr(dice.randrange(0x110000)) for _ in range(3000)]
    for _ in range(n):
        letters = "".join(dice.sample(kinds, 3)) + "".join(dice.sample(rare, 2))
        yield "".join(dice.choices(letters, k=dice.randrange(1, 40)))


def as_javascript_has_it(text):
    """Two surrogates that stand beside each other are one character there, and cannot be anything else."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def script_and_data(page):
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert script and data
    return script[1], json.loads(data[1])


def run_page(page, tmp_path, texts, n_joined=None, code="tokenizer.encode(text, limit)"):
    """What the page's own script makes of each text, in node."""
    script, data = script_and_data(page)
    (tmp_path / "input.json").write_text(json.dumps({"data": data, "texts": texts, "n": n_joined}))
    (tmp_path / "run.js").write_text(
        f"{script}\n"
        'const input = JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"));\n'
        "const tokenizer = new Tokenizer(input.data);\n"
        "const limit = input.n === null ? Infinity : tokenizer.limitFor(input.n);\n"
        f"console.log(JSON.stringify(input.texts.map((text) => {code})));\n"
    )
    done = subprocess.run(
        [str(NODE), str(tmp_path / "run.js"), str(tmp_path / "input.json")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def check_same(tokenizer, tmp_path, texts):
    texts = [as_javascript_has_it(text) for text in texts]
    ids = run_page(play_page(tokenizer, "x"), tmp_path, texts)
    for text, found in zip(texts, ids, strict=True):
        assert found == tokenizer.encode(text).tolist(), ascii(text)


@needs_node
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_script_gives_the_ids_of_the_library(pattern, tokenizer, tmp_path):
    other = with_pattern(tokenizer, PATTERNS[pattern])
    check_same(other, tmp_path, [*TRICKY, *samples().values(), *random_strings(400)])


@needs_node
@pytest.mark.parametrize("options", [{"by_result": True}, {"whole_first": True}, {"normalizer": "NFC"}], ids=str)
def test_the_script_knows_every_kind_of_merging(options, tokenizer, tmp_path):
    other = with_pattern(tokenizer, "cl100k", **options)
    if "whole_first" in options:  # tokens that no merge makes
        other = BPE([*other.token_bytes, b"harbour", b"zzz"], other.merges, other.special_ids, "gpt2", whole_first=True)
    check_same(other, tmp_path, [*TRICKY, "harbour zzzz zzz", *samples().values(), *random_strings(200)])


@needs_node
@pytest.mark.parametrize("is_by_result", [True, False])
def test_the_first_merges_are_the_smaller_vocabulary(is_by_result, tokenizer, tmp_path):
    whole = with_pattern(tokenizer, "gpt2", by_result=is_by_result)
    page = play_page(whole, "x")
    texts = list(samples().values())
    for n_joined in (0, 1, 300, whole.vocab_size - n_smallest(whole)):
        smaller = first_merges(whole, n_smallest(whole) + n_joined)
        found = run_page(page, tmp_path, texts, n_joined)
        for text, ids in zip(texts, found, strict=True):
            expected = [smaller.token_bytes[i] for i in smaller.encode(text).tolist()]
            assert [whole.token_bytes[i] for i in ids] == expected


@needs_node
def test_the_joins_of_the_script_are_those_of_the_library(tokenizer, tmp_path):
    from groundup.tokenizer.merge_tree import grow

    joins = "tokenizer.grow(bytesOf(piece)).joins.map(({node, at}) => [node.id, node.rank, at])"
    code = f"tokenizer.pieces(text).map((piece) => {joins})"
    texts = ["unbelievable boats", "你好，世界"]
    found = run_page(play_page(tokenizer, "x"), tmp_path, texts, code=code)
    expected = [[[[n.id, n.rank, at] for n, at in g.joins] for g in grow(tokenizer, text)] for text in texts]
    assert found == expected


def test_the_page_needs_nothing_but_itself(tokenizer):
    page = play_page(tokenizer, "<b>x</b> & {{DATA}}")
    assert "<h1>&lt;b&gt;x&lt;/b&gt; &amp; {{DATA}}</h1>" in page
    assert "{{" not in page.replace("{{DATA}}</h1>", "").replace("{{DATA}}: tokens", "")
    without_namespace = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//cdn|@import|\burl\(|\bfetch\(|XMLHttpRequest|\bimport\(|\bsrc=", without_namespace)
    assert page.count("<script") == page.count("</script") == 2
    assert "default-src 'none'" in page and STYLE in page
    assert "innerHTML" not in page


def test_a_special_token_cannot_end_the_data(tokenizer):
    name = "</script><script>alert(1)</script>"
    tokens = [*tokenizer.token_bytes, b""]
    hostile = BPE(tokens, tokenizer.merges, {**tokenizer.special_ids, name: len(tokens) - 1})
    page = play_page(hostile, "x")
    assert name not in page
    assert script_and_data(page)[1]["special"][name] == len(tokens) - 1


def test_a_large_vocabulary_makes_a_page_of_bounded_size():
    tokens = [bytes([byte]) for byte in range(256)]
    merges = []
    for start, n in ((0, 2_000), (256, 8_000), (2_256, 21_744)):  # of two bytes, of four, of eight
        merges += [(start + i // 200, start + i % 200) for i in range(n)]
    tokens += [b""] * len(merges)
    for i, (left, right) in enumerate(merges, start=256):
        tokens[i] = tokens[left] + tokens[right]
    assert len(set(tokens)) == len(tokens) == 32_000
    page = play_page(BPE(tokens, merges, {}), "x")
    assert len(page) < 900_000


def test_what_a_page_cannot_show_is_told(tokenizer):
    for pattern in (r"(a)\1", r"\X", r"(?x) a", r"(?:ab){e<=1}"):
        with pytest.raises(UsageError, match="a page cannot show this split pattern"):
            play_page(with_pattern(tokenizer, pattern), "x")


@needs_node
def test_tokens_of_any_length_are_packed_whole(tmp_path):
    tokens = [*(bytes([byte]) for byte in range(256)), *(b"a" * 2**n for n in range(1, 16))]
    merges = [(97, 97), *((i, i) for i in range(256, 270))]
    long = BPE(tokens, merges, {})
    check_same(long, tmp_path, ["a" * n for n in (100, 127, 128, 300, 16384)])


def test_the_parts_of_the_page_are_packaged_beside_the_code():
    for name in ("play.html", "play.css", "play_drawing.js", "play_page.js", "play_tokenizer.js"):
        assert (HERE / name).is_file()
    assert Path(sys.modules["groundup.insight.play"].__file__).parent == HERE
