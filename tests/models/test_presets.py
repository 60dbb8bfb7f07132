"""Named sizes: as many parameters as published, and no guessing of names."""

import dataclasses

import pytest

from groundup import models
from groundup.models import gpt2, llama, qwen3

PUBLISHED = {
    ("gpt2", "124M"): 124_439_808,
    ("gpt2", "355M"): 354_823_168,
    ("gpt2", "774M"): 774_030_080,
    ("gpt2", "1558M"): 1_557_611_200,
    ("llama", "130m"): 131_033_856,
    ("llama", "215m"): 215_127_040,
    ("llama", "stories15m"): 15_191_712,
    ("llama", "stories42m"): 41_689_600,
    ("llama", "stories110m"): 109_529_856,
    ("llama", "smollm2-135m"): 134_515_008,
    ("llama", "smollm2-360m"): 361_821_120,
    ("llama", "smollm2-1.7b"): 1_711_376_384,
    ("llama", "llama2-7b"): 6_738_415_616,
    ("llama", "llama2-13b"): 13_015_864_320,
    ("llama", "llama2-70b"): 68_976_648_192,
    ("llama", "llama3-8b"): 8_030_261_248,
    ("llama", "llama3-70b"): 70_553_706_496,
    ("llama", "llama3.1-8b"): 8_030_261_248,
    ("llama", "llama3.1-70b"): 70_553_706_496,
    ("llama", "llama3.1-405b"): 405_853_388_800,
    ("llama", "llama3.2-1b"): 1_235_814_400,
    ("llama", "llama3.2-3b"): 3_212_749_824,
    ("qwen2", "0.5b"): 494_032_768,
    ("qwen2", "1.5b"): 1_543_714_304,
    ("qwen2", "3b"): 3_085_938_688,
    ("qwen2", "7b"): 7_615_616_512,
    ("qwen3", "0.6b"): 596_049_920,
    ("qwen3", "1.7b"): 1_720_574_976,
    ("qwen3", "4b"): 4_022_468_096,
    ("qwen3", "8b"): 8_190_735_360,
    ("qwen3", "14b"): 14_768_307_200,
    ("qwen3", "32b"): 32_762_123_264,
    ("mixtral", "8x7b"): 46_702_792_704,
    ("mixtral", "8x22b"): 140_620_634_112,
}


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_published_sizes(name, size):
    family = models.family(name)
    assert family.count_parameters(models.preset(name, size)) == PUBLISHED[name, size]


def test_every_published_size_is_counted():
    laptop = {"nano", "micro", "mini", "small", "medium", "large", "xl"}
    sizes = {(name, size) for name in models.names() for size in models.family(name).PRESETS if size not in laptop}
    assert sizes == {(name, size.lower()) for name, size in PUBLISHED}


def test_sizes_for_a_laptop_are_said_right():
    millions = {size: llama.count_parameters(llama.PRESETS[size]) / 1e6 for size in list(llama.PRESETS)[:7]}
    assert {size: round(n, 1) if n < 10 else round(n) for size, n in millions.items()} == {
        "nano": 0.7, "micro": 1.4, "mini": 5.5, "small": 14, "medium": 37, "large": 79, "xl": 181,
    }  # fmt: skip
    assert llama.Config(n_kv_heads=2) == llama.PRESETS["small"]


@pytest.mark.parametrize("spelling", ["124", "124m", "124M", "gpt2-124m", "GPT2-124M"])
def test_spellings(spelling):
    assert models.preset("gpt2", spelling) is gpt2.PRESETS["124m"]


def test_long_contexts_are_scaled_as_meta_scaled_them():
    """3.1 by 8 and 3.2 by 32, with the `llama3` scaling and not with YaRN."""
    for size, factor in {"llama3-8b": 1, "llama3.1-8b": 8, "llama3.1-405b": 8, "llama3.2-1b": 32}.items():
        config = llama.PRESETS[size]
        assert (config.rope.theta, config.rope.factor) == (500_000.0, factor)
        assert config.rope.scaling == ("llama3" if factor > 1 else "none")
        assert config.context_length == (131072 if factor > 1 else 8192)
    assert [llama.PRESETS[f"llama3.{n}"].tie_embeddings for n in ("1-8b", "2-1b", "2-3b")] == [False, True, True]


@pytest.mark.parametrize(
    ("family", "spelling", "size"),
    [
        ("llama", "Llama-3.2-1B", "llama3.2-1b"),
        ("llama", "llama3.2-1b", "llama3.2-1b"),
        ("llama", "Llama-3.1-8B-Instruct", "llama3.1-8b"),
        ("llama", "Meta-Llama-3-8B", "llama3-8b"),
        ("llama", "Llama-2-7b-hf", "llama2-7b"),
        ("llama", "Llama-2-7b-chat-hf", "llama2-7b"),
        ("llama", "SmolLM2-135M", "smollm2-135m"),
        ("llama", "SmolLM2-135M-Instruct", "smollm2-135m"),
        ("llama", "llama-130m", "130m"),
        ("llama", "llama-nano", "nano"),
        ("gpt2", "gpt2", "124m"),
        ("gpt2", "gpt2-medium", "355m"),
        ("gpt2", "gpt2-xl", "1558m"),
        ("qwen2", "Qwen2.5-0.5B-Instruct", "0.5b"),
        ("qwen2", "Qwen2-7B", "7b"),
        ("qwen3", "Qwen3-0.6B-Base", "0.6b"),
        ("mixtral", "Mixtral-8x7B-v0.1", "8x7b"),
    ],
)
def test_published_names(family, spelling, size):
    config = models.family(family).PRESETS[size]
    assert models.preset(family, spelling) is config
    assert models.find(spelling) == (family, config)


def test_every_full_name_is_found():
    for name in models.names():
        for size, config in models.family(name).PRESETS.items():
            assert models.find(f"{name}-{size}") == (name, config)


def test_a_name_that_says_too_little_is_not_found():
    with pytest.raises(ValueError, match="model is 'nano'; valid values are fast-nano, gpt2-nano, .*qwen3-nano"):
        models.find("nano")
    with pytest.raises(ValueError, match="model is 'llama-7b'; valid values are fast-nano, .*did you mean llama-"):
        models.find("llama-7b")


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="size is 'huge'; valid values for gpt2 are nano, micro, mini, small, 124m"):
        models.preset("gpt2", "huge")
    with pytest.raises(ValueError, match="valid values for gpt2 are .*, 1558m; did you mean micro"):
        models.preset("gpt2", "micra")
    with pytest.raises(ValueError, match="size is '12'; valid"):
        models.preset("gpt2", "12")
    with pytest.raises(ValueError, match="model is 'gpt3'; valid values are fast, gpt2, lab, llama, "):
        models.family("gpt3")


def test_changing_a_field_fills_in_again_what_a_rule_had_filled_in():
    mini = llama.PRESETS["mini"]
    wider = models.change(mini, {"d_model": 512, "rope": {"theta": 500_000}})

    assert (wider.d_ff, wider.head_dim, wider.n_kv_heads) == (1408, 128, 2)
    assert wider.rope.theta == 500_000.0
    assert models.change(gpt2.PRESETS["nano"], {"d_model": 48}).d_ff == 192
    assert models.change(llama.PRESETS["llama2-7b"], {"d_model": 2048}).d_ff == 11008  # as published, not by the rule
    assert models.change(mini, {}) == mini


def test_what_the_rule_could_not_fill_in_is_kept():
    """Five heads do not divide 24, so no rule gives their width."""
    wide = qwen3.Config(d_model=24, n_heads=5, head_dim=10)
    assert models.change(wide, {"vocab_size": 60}) == dataclasses.replace(wide, vocab_size=60)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_layer": 4}, "n_layer is no field of llama; valid names are vocab_size, .*; did you mean n_layers"),
        ({"n_layers": "4"}, "n_layers is '4', of type str; valid values are of type int"),
        ({"n_layers": True}, "n_layers is True, of type bool; valid values are of type int"),
        ({"norm_eps": "small"}, "norm_eps is 'small', of type str; valid values are of type float"),
        ({"rope": {"base": 1.0}}, "rope.base is no field of llama; valid names are theta"),
        ({"rope": {"tetha": 1.0}}, "rope.tetha is no field .*; did you mean theta"),
        ({"rope": {"scaling": 1}}, "rope.scaling is 1, of type int; valid values are of type str"),
        ({"rope": 5}, "rope is 5, of type int; valid values are tables"),
        ({"rope": {"theta": 0.0}}, "rope.theta is 0.0; valid values are above 1"),
        ({"n_kv_heads": 3}, "n_kv_heads is 3; valid values divide n_heads, which is 4"),
        ({"n_heads": 256}, "head_dim is 1; valid values are even"),
        ({"n_heads": 3, "n_kv_heads": 3, "head_dim": 64}, "n_heads is 3; valid values divide d_model, which is 256"),
    ],
)
def test_what_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        models.build("llama", "mini", fields)
