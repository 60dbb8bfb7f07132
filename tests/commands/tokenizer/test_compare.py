"""`groundup tokenizer compare` as a person types it."""

import json

import pytest

from groundup.cli import main
from groundup.insight.tokenizer_compare import samples
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.smaller import first_merges


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("english", "german", "chinese"):
        (folder / f"{name}.txt").write_text(samples()[name], encoding="utf-8")
    return folder


def compare(capfd, *arguments):
    code = main(["tokenizer", "compare", *map(str, arguments)])
    stdout, stderr = capfd.readouterr()
    return code, stdout, stderr


def test_it_measures_on_its_own_texts(folder, capfd):
    code, stdout, stderr = compare(capfd, folder)
    assert code == 0
    first, second, third = stdout.split("\n\n")
    assert [line.split()[0] for line in first.splitlines()] == ["bytes", *samples()]
    assert second.startswith("words kept whole") and third.startswith("all of it")
    assert "unknown tokens" not in stdout


def test_the_numbers_are_those_of_the_tokenizer(folder, texts, capfd):
    code, stdout, _ = compare(capfd, folder, "--text", texts, "--json", "--quiet")
    assert code == 0
    facts = json.loads(stdout)["tokenizers"]["tok"]
    tokenizer = Tokenizer.load(folder)
    assert facts["hash"] == tokenizer.hash
    for name in ("english", "german", "chinese"):
        found = facts["by_text"][f"{name}.txt"]
        assert found["bytes"] == len(samples()[name].encode())
        assert found["tokens"] == len(tokenizer.encode(samples()[name]))
    assert facts["all"]["tokens"] == sum(found["tokens"] for found in facts["by_text"].values())


def test_smaller_vocabularies_stand_before_the_whole(folder, texts, capfd):
    arguments = (folder, "--text", texts, "--vocab-sizes", "300,500", "9000", "--json")
    code, stdout, stderr = compare(capfd, *arguments)
    assert code == 0
    rows = json.loads(stdout)["tokenizers"]
    assert list(rows) == ["tok 300", "tok 500", "tok"]
    tokenizer = first_merges(Tokenizer.load(folder), 300)
    assert rows["tok 300"]["hash"] == tokenizer.hash
    assert rows["tok 300"]["by_text"]["english.txt"]["tokens"] == len(tokenizer.encode(samples()["english"]))
    assert "tok 9,000 is left out" in stderr and "from 260 to 700" in stderr


def test_characters_and_words_are_made_from_the_first_half(folder, texts, capfd):
    code, stdout, stderr = compare(capfd, folder, "characters", "words", "--text", texts, "--json")
    assert code == 0
    assert "first half" in stderr
    rows = json.loads(stdout)["tokenizers"]
    assert list(rows) == ["tok", "characters", "words"]
    assert len({row["all"]["bytes"] for row in rows.values()}) == 1
    halved = sum(len(samples()[name].encode()) for name in ("english", "german", "chinese"))
    assert abs(rows["tok"]["all"]["bytes"] - halved / 2) < 60
    assert rows["tok"]["all"]["unknown"] == 0
    assert 0 < rows["characters"]["all"]["unknown"] < rows["words"]["all"]["unknown"] < 1
    assert "unknown tokens" in compare(capfd, "characters", "--text", texts)[1]


def test_texts_are_put_together_by_language(folder, texts, capfd):
    for n in range(14):
        (texts / f"more-{n}.txt").write_text("The cat and the hat that was on the mat.")
    code, stdout, stderr = compare(capfd, folder, "--text", texts, "--json")
    assert code == 0
    assert set(json.loads(stdout)["tokenizers"]["tok"]["by_text"]) == {"English", "German", "Chinese"}
    assert "17 files are put together by language" in stderr
    code, stdout, _ = compare(capfd, folder, "--text", texts, "--by", "file", "--json")
    assert len(json.loads(stdout)["tokenizers"]["tok"]["by_text"]) == 17


def test_no_more_is_read_than_asked_for(folder, texts, capfd):
    code, stdout, _ = compare(capfd, folder, "--text", texts, "--max-bytes", "100", "--json")
    sizes = [found["bytes"] for found in json.loads(stdout)["tokenizers"]["tok"]["by_text"].values()]
    assert code == 0 and all(98 <= size <= 100 for size in sizes)


def test_two_tokenizers_of_one_name_are_told_apart(folder, tmp_path, capfd):
    (tmp_path / "tok").mkdir()
    Tokenizer.load(folder).save(tmp_path / "tok")
    code, stdout, _ = compare(capfd, folder, tmp_path / "tok", "--json")
    assert code == 0
    assert list(json.loads(stdout)["tokenizers"]) == [str(folder), str(tmp_path / "tok")]


WRONG_CALLS = {
    "no tokenizer here": (5, ["nowhere"]),
    "must be given": (2, []),
    "is no size of a vocabulary": (2, ["FOLDER", "--vocab-sizes", "2k"]),
    "nothing to measure": (2, ["FOLDER", "--max-bytes", "0"]),
    "no such file": (3, ["FOLDER", "--text", "nowhere.txt"]),
    "no text in it": (3, ["characters", "--text", "EMPTY"]),
    "must be one of auto, file, language": (2, ["FOLDER", "--by", "size"]),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_wrong_calls_are_told(message, folder, tmp_path, capfd):
    (tmp_path / "empty.txt").write_text("")
    code, arguments = WRONG_CALLS[message]
    words = {"FOLDER": folder, "EMPTY": tmp_path / "empty.txt"}
    found, stdout, stderr = compare(capfd, *(words.get(word, word) for word in arguments))
    assert found == code
    assert message in stderr and stderr.count("error:") == 1
    assert stdout == ""
