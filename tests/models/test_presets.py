"""Named sizes: as many parameters as published, and no guessing of names."""

import pytest

from groundup import models
from groundup.models import gpt2, llama

PUBLISHED = {
    ("gpt2", "124M"): 124_439_808,
    ("gpt2", "355M"): 354_823_168,
    ("gpt2", "774M"): 774_030_080,
    ("gpt2", "1558M"): 1_557_611_200,
    ("llama", "215m"): 215_127_040,
    ("llama", "smollm2-135m"): 134_515_008,
    ("llama", "smollm2-360m"): 361_821_120,
    ("llama", "llama2-7b"): 6_738_415_616,
    ("llama", "llama2-13b"): 13_015_864_320,
    ("llama", "llama2-70b"): 68_976_648_192,
    ("llama", "llama3-8b"): 8_030_261_248,
    ("llama", "llama3-70b"): 70_553_706_496,
}


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_published_sizes(name, size):
    family = models.family(name)
    assert family.count_parameters(models.preset(name, size)) == PUBLISHED[name, size]


def test_sizes_for_a_laptop_are_said_right():
    millions = {size: llama.count_parameters(llama.PRESETS[size]) / 1e6 for size in list(llama.PRESETS)[:6]}
    assert {size: round(n, 1) if n < 10 else round(n) for size, n in millions.items()} == {
        "nano": 0.7, "micro": 1.4, "mini": 5.5, "small": 14, "medium": 37, "large": 79,
    }  # fmt: skip
    assert llama.Config(n_kv_heads=2) == llama.PRESETS["small"]


@pytest.mark.parametrize("spelling", ["124", "124m", "124M", "gpt2-124m", "GPT2-124M"])
def test_spellings(spelling):
    assert models.preset("gpt2", spelling) is gpt2.PRESETS["124m"]


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="size is 'huge'; valid values for gpt2 are nano, micro, mini, small, 124m"):
        models.preset("gpt2", "huge")
    with pytest.raises(ValueError, match="size is '12'; valid"):
        models.preset("gpt2", "12")
    with pytest.raises(ValueError, match="model is 'gpt3'; valid values are gpt2, llama"):
        models.family("gpt3")


def test_changing_a_field_fills_in_again_what_a_rule_had_filled_in():
    mini = llama.PRESETS["mini"]
    wider = models.change(mini, {"d_model": 512, "rope": {"theta": 500_000}})

    assert (wider.d_ff, wider.head_dim, wider.n_kv_heads) == (1408, 128, 2)
    assert wider.rope.theta == 500_000.0
    assert models.change(gpt2.PRESETS["nano"], {"d_model": 48}).d_ff == 192
    assert models.change(llama.PRESETS["llama2-7b"], {"d_model": 2048}).d_ff == 11008  # as published, not by the rule
    assert models.change(mini, {}) == mini


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layer": 4}, "n_layer is no field of groundup.models.llama; valid names are vocab_size"),
        ({"n_layers": "4"}, "n_layers is '4'; valid values are of the kind of 6"),
        ({"n_layers": True}, "n_layers is True; valid values are of the kind of 6"),
        ({"rope": {"base": 1.0}}, "base is no field of groundup.models.llama; valid names are theta"),
        ({"rope": 5}, "rope is 5; valid values"),
        ({"rope": {"theta": 0.0}}, "rope.theta is 0.0; valid values are above 1"),
        ({"n_kv_heads": 3}, "n_kv_heads is 3; valid values divide n_heads, which is 4"),
        ({"n_heads": 256}, "head_dim is 1; valid values are even"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        models.build("llama", "mini", fields)
