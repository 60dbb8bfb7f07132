"""Settings from a file: what it sets, what beats it, and what it cannot mean."""

import pytest

from groundup.errors import UsageError
from groundup.inference import presets
from groundup.inference.settings import Settings


@pytest.fixture
def preset(tmp_path):
    def write(text: str):
        file = tmp_path / "calm.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_only_what_the_file_sets_is_taken(preset):
    file = preset('temperature = 0.8\ntop_k = 5\nstop = ["\\n\\n"]\n')
    assert presets.read(file) == {"temperature": 0.8, "top_k": 5, "stop": ("\n\n",)}, "0.8 is also the default"
    base = Settings(max_new_tokens=7, temperature=0.1, min_p=0.2)
    made = presets.over(base, file, {})
    assert (made.temperature, made.top_k, made.max_new_tokens, made.min_p) == (0.8, 5, 7, 0.2)


def test_what_was_said_elsewhere_beats_the_file(preset):
    file = preset("temperature = 0.8\ntop_k = 5\n")
    origins = {"sampling.temperature": "--temperature", "sampling.top_k": "default"}
    made = presets.over(Settings(temperature=0.3), file, origins)
    assert (made.temperature, made.top_k) == (0.3, 5)


def test_what_does_not_go_together_is_refused_and_defaults_are_not(preset):
    searching = Settings(beams=4)
    assert presets.over(searching, "", {"sampling.beams": "--beams", "sampling.temperature": "default"}) == searching
    with pytest.raises(UsageError, match="top_p is for drawing tokens"):
        presets.over(searching, preset("top_p = 0.5"), {})
    with pytest.raises(UsageError, match="seed is for drawing tokens"):
        presets.over(searching, preset("length_penalty = 2.0"), {"sampling.seed": "--seed"})
    with pytest.raises(UsageError, match="length_penalty weighs the texts of a beam search"):
        presets.over(Settings(), preset("length_penalty = 2.0"), {})


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("temperatur = 1", "temperatur", "calm.toml:1"),
        ("top_k = 1\ntemperature = 'warm'", "warm", "calm.toml:2"),
        ("temperature = nan", "temperature", ""),
        ("temperature = -1", "temperature", ""),
        ("temperature", "TOML", "calm.toml"),
    ],
)
def test_what_cannot_be_meant_is_named(preset, text, message, where):
    with pytest.raises(UsageError, match=message) as caught:
        presets.read(preset(text))
    assert where in str(caught.value.where)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        presets.read(tmp_path / "nowhere.toml")
