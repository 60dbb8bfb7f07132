"""The Python faces: the same text as the command line, and as each other."""

import json
import shutil

import pytest
import torch

import groundup
from groundup import cli
from groundup.errors import EnvironmentFault, UsageError
from groundup.weights.published import PUBLISHED
from tests.inference import tiny

BEGINNING, REST = "Once there", tiny.STORY.removeprefix("Once there")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("models") / "tuned")


def test_generate_takes_a_loaded_model_a_prompt_and_max_tokens(path):
    model = groundup.load(path)
    assert groundup.generate(model, BEGINNING, max_tokens=100, temperature=0) == REST
    assert groundup.generate(model, BEGINNING, max_new_tokens=1, temperature=0) == " was"
    assert groundup.generate(model, BEGINNING, max_tokens=100, temperature=0, stop="dog") == " was a cat. It saw a "


def test_generate_takes_a_bare_model_with_its_tokenizer():
    assert groundup.generate(tiny.model(), BEGINNING, tokenizer=tiny.tokenizer(), temperature=0) == REST
    with pytest.raises(UsageError, match="tokenizer"):
        groundup.generate(tiny.model(), BEGINNING)


def test_messages_are_answered_by_the_assistant(path):
    model = groundup.load(path)
    asked = [{"role": "user", "content": "Say a"}, {"role": "assistant", "content": "a"}]
    asked += [{"role": "user", "content": "And then?"}]
    assert groundup.generate(model, messages=asked, temperature=0) == "b, of course."
    with pytest.raises(UsageError, match="both"):
        groundup.generate(model, "Hello", messages=asked)


def test_predictor_equals_the_command_line(path, capsys):
    settings = {"temperature": 1.2, "top_k": 20, "min_p": 0.01, "seed": 5, "max_new_tokens": 12}
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert cli.main(["generate", str(path), BEGINNING, *flags]) == 0
    printed = capsys.readouterr().out
    predictor = groundup.Predictor.load(path)
    text = predictor.generate(BEGINNING, **settings)
    assert text + "\n" == printed
    assert "".join(predictor.stream(BEGINNING, **settings)) == text
    assert groundup.generate(groundup.load(path), BEGINNING, **settings) == text

    assert cli.main(["generate", str(path), BEGINNING, *flags, "--n", "2", "--json"]) == 0
    printed_both = [json.loads(line)["completion"] for line in capsys.readouterr().out.splitlines()]
    assert predictor.generate([BEGINNING, BEGINNING], **settings) == printed_both


def test_predictor_takes_what_the_command_takes(path, tmp_path, capsys):
    (tmp_path / "calm.toml").write_text("temperature = 1.2\nmax_new_tokens = 9\ntop_k = 7\n")
    preset, prompts = str(tmp_path / "calm.toml"), [BEGINNING, "The cat", "word " * 200]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n")
    flags = ["--prompts", str(tmp_path / "prompts.txt"), "--preset", preset, "--seed", "3", "--shift", "--trim"]
    assert cli.main(["generate", str(path), *flags, "--top-k", "9"]) == 0
    printed = [json.loads(line)["completion"] for line in capsys.readouterr().out.splitlines()]

    predictor, options = groundup.Predictor.load(path), {"preset": preset, "seed": 3, "shift": True, "trim": True}
    # The command strips no space: a line of a file is the prompt.
    assert predictor.generate(prompts, top_k=9, **options) == printed
    assert "".join(predictor.stream(prompts[2], top_k=9, **options)) == printed[2]
    [first, *_] = predictor.complete(prompts, top_k=9, **options)
    assert (first.text, first.n_tokens, first.finish_reason) == (printed[0], 9, "length")
    assert predictor.complete(BEGINNING, max_tokens=2, **options).n_tokens == 2, "a keyword beats the preset"


def test_predictor_takes_many_prompts(path):
    predictor = groundup.Predictor.load(path)
    prompts = [BEGINNING, "Once there was a cat. It", "Then"]
    one_by_one = [predictor.generate(prompt, temperature=0) for prompt in prompts]
    assert predictor.generate(prompts, temperature=0) == one_by_one
    assert predictor.generate([]) == []
    assert predictor.generate(messages=[{"role": "user", "content": "Who are you?"}], temperature=0) == "I am Tiny."


def test_predictor_takes_a_draft(path):
    settings = {"temperature": 1.2, "seed": 5, "max_new_tokens": 20}
    text = groundup.Predictor.load(path).generate(BEGINNING, **settings)
    for options in ({"draft": path}, {"prompt_lookup": True}):
        predictor = groundup.Predictor.load(path, **options)
        made = predictor.complete(BEGINNING, **settings)
        assert made.text == "".join(predictor.stream(BEGINNING, **settings)) == text
        assert made.n_drafted is not None
        assert groundup.generate(predictor.speaker, BEGINNING, **settings) == text


def test_a_mistake_in_the_settings_is_named(path):
    model = groundup.load(path)
    with pytest.raises(UsageError) as caught:
        groundup.generate(model, "a", temperatur=1)
    assert "temperature" in str(caught.value.hint)
    with pytest.raises(UsageError, match="top_k is for drawing"):
        groundup.Predictor(model).generate("a", beams=2, top_k=3)
    with pytest.raises(UsageError, match="cannot show it as it comes"):
        groundup.Predictor(model).stream("a", beams=2)
    with pytest.raises(UsageError, match="two names"):
        groundup.generate(model, "a", max_tokens=3, max_new_tokens=4)


def test_trainer_runs_the_stage_of_its_configuration(monkeypatch):
    from groundup.commands import evaluate, pretrain

    config = pretrain.Config()
    monkeypatch.setattr(pretrain, "run", lambda given: {"given": given})
    assert groundup.Trainer(config).fit() == {"given": config}
    with pytest.raises(UsageError, match="not the configuration of a stage"):
        groundup.Trainer(evaluate.Config())
    with pytest.raises(UsageError):
        groundup.Trainer({"lr": 1})


# --- GPT ---


def test_gpt_from_a_folder_has_its_config_and_speaks(path):
    gpt = groundup.GPT.from_pretrained(path)
    assert gpt.config == tiny.model().config
    assert groundup.generate(gpt, BEGINNING, temperature=0) == REST

    fresh = groundup.GPT(gpt.config, seed=3)
    assert torch.equal(fresh.tok_embed.weight, groundup.GPT(gpt.config, seed=3).tok_embed.weight)
    assert type(fresh) is type(gpt) and not hasattr(fresh, "tokenizer")


def test_gpt_by_a_published_name_is_found_in_hugging_faces_cache(path, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--openai-community--gpt2" / "snapshots" / "607a30d"
    shutil.copytree(path, snapshot)
    for name in ("gpt2", "openai-community/gpt2"):
        assert groundup.GPT.from_pretrained(name).config == tiny.model().config
    with pytest.raises(EnvironmentFault, match="no published model of that name is known here"):
        groundup.GPT.from_pretrained("somebody-else/gpt2")


@pytest.mark.parametrize(
    ("name", "size", "repository"),
    [
        ("gpt2", "498 MB", "openai-community/gpt2"),
        ("gpt2-xl", "6.2 GB", "openai-community/gpt2-xl"),
        ("SmolLM2-135M-Instruct", "269 MB", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("meta-llama/Llama-3.2-1B", "2.5 GB", "meta-llama/Llama-3.2-1B"),
        ("meta-llama/Llama-2-7b-hf", "13.5 GB", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_a_published_model_that_is_not_here_comes_with_the_command_and_its_size(
    name, size, repository, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=f"{name} is not on this machine; it is {size} to download") as caught:
        groundup.GPT.from_pretrained(name)
    assert caught.value.exit_code == 4
    # Into a folder that this very name finds the next time.
    assert f"hf download {repository} --include" in caught.value.hint
    assert caught.value.hint.endswith(f"--local-dir {name}")


def test_a_name_that_nobody_published_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentFault, match="no published model of that name is known here"):
        groundup.GPT.from_pretrained("my-modl")


def test_every_published_name_is_of_a_size_that_is_known():
    for published in PUBLISHED.values():
        assert published.n_bytes > 1e8
