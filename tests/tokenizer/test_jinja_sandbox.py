"""Hostile templates are refused or stopped, and leave nothing behind; harmless ones mean what they mean elsewhere."""

import os
import threading

import psutil
import pytest

from groundup.errors import ArtefactError
from groundup.tokenizer import jinja_child, jinja_sandbox

JOB = {"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": True, "tools": None}

REACHING_OUT = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ [1]|map('attr', '__class__')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(a=1).__class__ }}",
    "{{ range.__globals__ }}",
    "{{ dict.mro() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['sys'] }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
    "{{ nothing.at.all }}",
    "{{ nothing() }}",
]
TOO_MUCH = [
    "{{ 'a' * 10000000000 }}",
    "{{ messages[0].content * 1000000000 }}",
    "{% set x = [0] * 1000000000 %}",
    "{{ (messages|length + 9) ** 100000000 }}",
    "{{ 'a'|center(1000000000) }}",
    "{{ 'a'.zfill(1000000000) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ '\t'.expandtabs(1000000000) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
    "{{ (range(99999)|list)|join('b' * 100000) }}",
    "{{ ('\n' * 100000)|indent(100000, true, true) }}",
    "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    "{% for i in range(1000000000) %}a{% endfor %}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(x) %}{{ caller() }}{% endmacro %}" + "{% call f(1) %}" * 99 + "{% endcall %}" * 99,
    "{% for x in [[[]]] recursive %}{{ loop([[[]]]) }}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% for a in [1] %}" * 30 + "{% endfor %}" * 30,
]
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}" + "{% endfor %}" * 3,
    "{{ 10 ** 9999999 ** 2 }}",
]  # fmt: skip


@pytest.mark.parametrize("template", [*REACHING_OUT, *TOO_MUCH])
def test_a_hostile_template_is_refused(template):
    before = set(os.listdir("."))
    try:
        (result,) = jinja_sandbox.run(template, [JOB], 0)
    except ArtefactError as error:
        assert "was stopped" in str(error) and template in TOO_MUCH
    else:
        assert result.keys() == {"failed"}, result
        assert len(result["failed"]) <= 320
        child = jinja_sandbox._current
        assert child is not None
        assert psutil.Process(child.process.pid).memory_info().rss < jinja_child.MEGABYTES * 2**20
    assert set(os.listdir(".")) == before


@pytest.mark.parametrize("template", ENDLESS)
def test_an_endless_template_is_stopped(template):
    with pytest.raises(ArtefactError, match="was stopped") as told:
        jinja_sandbox.run(template, [JOB], 0)
    assert "--template" in str(told.value.hint)
    assert jinja_sandbox._current is None
    assert jinja_sandbox.run("{{ messages[0].content }}", [JOB], 0) == [{"text": "x"}]


def test_where_the_child_cannot_bound_itself_this_side_does(monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ArtefactError, match="was stopped"):
        patch.setattr(jinja_sandbox, "SECONDS_TO_WAIT", 0.2)
        jinja_sandbox.run(ENDLESS[0], [JOB], 0)
    assert jinja_sandbox.run("x", [JOB], 0) == [{"text": "x"}]
    with monkeypatch.context() as patch, pytest.raises(ArtefactError, match="was stopped"):
        patch.setattr(jinja_sandbox._Child, "_megabytes", lambda self: 10_000.0)
        jinja_sandbox.run("x", [JOB], 0)


def test_output_may_be_as_long_as_contents_and_a_million_characters():
    long = {**JOB, "messages": [{"role": "user", "content": "y" * 3_000_000}]}
    assert len(jinja_sandbox.run("{{ messages[0].content }}", [long], 3_000_000)[0]["text"]) == 3_000_000
    twice = "{{ messages[0].content }}{{ messages[0].content }}"
    assert "more than" in jinja_sandbox.run(twice, [long], 3_000_000)[0]["failed"]


def test_one_process_serves_one_template_from_all_threads():
    wrong = []

    def ask(i):
        for _ in range(20):
            result = jinja_sandbox.run("{{ n }}", [{"n": i}, {"n": -i}], 0)
            if result != [{"text": str(i)}, {"text": str(-i)}]:
                wrong.append(result)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    first = jinja_sandbox._current
    assert first is not None
    jinja_sandbox.run("{{ n }} ", [{"n": 1}], 0)
    assert jinja_sandbox._current is not first and first.process.returncode is not None
    jinja_sandbox.close()
    assert jinja_sandbox._current is None


def test_a_process_that_has_died_is_replaced():
    assert jinja_sandbox.run("{{ n }}", [{"n": 1}], 0) == [{"text": "1"}]
    child = jinja_sandbox._current
    assert child is not None
    child.process.kill()
    child.process.wait()
    assert jinja_sandbox.run("{{ n }}", [{"n": 2}], 0) == [{"text": "2"}]


def test_a_request_that_is_interrupted_leaves_no_answer_for_the_next(monkeypatch):
    def interrupted(self, seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        jinja_sandbox.run("{{ n }}", [{"n": 0}], 0)
        patch.setattr(jinja_sandbox._Child, "_answer", interrupted)
        jinja_sandbox.run("{{ n }}", [{"n": 1}], 0)
    assert jinja_sandbox.run("{{ n }}", [{"n": 2}], 0) == [{"text": "2"}]


HARMLESS = [
    "{{ messages[0].content }}",
    "{% for message in messages %}\n    {{ message['role'] }}\n  {% endfor %}\n",
    "{%- for message in messages -%} {{ message.role | upper }} {%- endfor -%}\n",
    "{{ messages | tojson }} {{ messages | tojson(indent=2) }} {{ {'b': '<ä>', 'a': 1} | tojson(sort_keys=true) }}",
    "{{ nothing }}{{ tools is none }}{{ nothing is defined }}{{ add_generation_prompt }}",
    "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% set ns = namespace(a=1) %}{% for m in messages[::-1] %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f('x') }}{{ dict(a=1) }}{{ messages[0].get('none', 'y') }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ strftime_now('%Y') }}",
    "{{ messages[0].content.split('x')|join('-') }}{{ '%s|%s' % ('a', 1) }}{{ '{}'.format('b') }}",
]


@pytest.mark.parametrize("template", HARMLESS)
def test_a_harmless_template_says_what_transformers_says(template):
    chat_templates = pytest.importorskip("transformers.utils.chat_template_utils")
    (theirs,), _ = chat_templates.render_jinja_template(
        conversations=[JOB["messages"]], chat_template=template, add_generation_prompt=True
    )
    job = {**JOB, "documents": None}
    assert jinja_sandbox.run(template, [job], 0) == [{"text": theirs}]


def test_what_a_template_refuses_is_told_apart():
    assert jinja_sandbox.run("{{ raise_exception('no ' ~ 'tools') }}", [JOB], 0) == [{"refused": "no tools"}]
