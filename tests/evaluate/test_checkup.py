"""What is looked at while a model trains must not end its training."""

from types import SimpleNamespace

from groundup.evaluate import checkup
from groundup.train.run_folder import RunFolder
from tests.inference import tiny


def test_a_sample_that_is_no_unicode_is_recorded_all_the_same(tmp_path, monkeypatch):
    tokenizer, shown = tiny.tokenizer(), []
    ids = [tokenizer.token_bytes.index(bytes([byte])) for byte in b"so \xed\xa0\x80."]  # half of a surrogate pair
    assert tokenizer.decode(ids) == "so \ud800."
    monkeypatch.setattr(checkup.engine, "generate", lambda *_: [SimpleNamespace(text_ids=ids)])
    with RunFolder.open(
        tmp_path / "run", verb="pretrain", config_toml="", config_hash="0", facts={}, resume=False
    ) as run:
        look = checkup.Checkup(
            [], tokenizer, run, [("Once", tokenizer.encode("Once"))], show=lambda *a: shown.append(a)
        )
        assert look(tiny.model(), 3) == {}
    stream = tokenizer.stream()
    as_it_comes = "".join(map(stream.push, ids)) + stream.flush()
    assert shown == [(3, "Once", as_it_comes)] and as_it_comes.startswith("so \ufffd")
    assert f'"text":"{as_it_comes}"' in (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8")
