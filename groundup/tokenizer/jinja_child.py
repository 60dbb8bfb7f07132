"""The process in which a foreign chat template runs: a program of its own, started by jinja_sandbox.py.

It reads one JSON object a line and answers with one. The first is {"template": ...}, answered with {}; each other one
is {"jobs": [variables, ...], "max_characters": n}, answered with {"results": [...]}, one for each job: {"text": ...},
{"refused": why} if the template says so by `raise_exception`, or {"failed": why}.

jinja2's sandbox keeps the template from everything but its variables. What it does not do is bound time and memory, so
the process bounds itself: no files, no processes, 256 MB, and the system ends it when a request takes too long.
Environment, filters and functions are those of transformers' `apply_chat_template`.
"""

import json
import signal
import sys
from datetime import datetime

SECONDS = 0.8
"""Of computing, for one request."""

MEGABYTES = 256

LONGEST_REASON = 300


def main() -> None:
    import jinja2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other process, whose end ends this one
    bound()
    template: jinja2.Template | None = None
    source = json.loads(sys.stdin.buffer.readline())["template"]
    answer({})
    for line in sys.stdin.buffer:
        start_clock()
        request = json.loads(line)
        results = []
        for job in request["jobs"]:
            try:
                template = template or environment().from_string(source)
                results.append({"text": written(template, job, request["max_characters"])})
            except Refused as refused:
                results.append({"refused": str(refused)[:LONGEST_REASON]})
            except MemoryError:
                results.append({"failed": f"it takes more than {MEGABYTES} MB"})
            except Exception as error:
                results.append({"failed": f"{type(error).__name__}: {error}"[:LONGEST_REASON]})
        stop_clock()
        answer({"results": results})


def answer(content: dict) -> None:
    out = sys.stdout.buffer
    out.write(json.dumps(content).encode() + b"\n")
    out.flush()


class Refused(Exception):
    """The template does not accept this conversation."""


class TooLong(Exception):
    """The template writes too much."""


def written(template, variables: dict, max_characters: int) -> str:
    """What the template makes of the variables, given up as soon as it is too long."""
    chunks, n_characters = [], 0
    for chunk in template.generate(variables):
        n_characters += len(chunk)
        if n_characters > max_characters:
            raise TooLong(f"it writes more than {max_characters} characters")
        chunks.append(chunk)
    return "".join(chunks)


# --- limits ---


def bound() -> None:
    """Give up what a template never needs. Windows has no such limits; there, jinja_sandbox.py watches alone."""
    try:
        import resource
    except ImportError:
        return
    limits = {"RLIMIT_AS": MEGABYTES * 2**20, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        if hasattr(resource, name):
            kind = getattr(resource, name)
            most = resource.getrlimit(kind)[1]
            limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
            resource.setrlimit(kind, (limit, limit))


def start_clock() -> None:
    """From now on the system ends this process after SECONDS of computing, whatever it is doing."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)


def stop_clock() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, 0)


# --- what a template finds ---


def environment():
    """jinja2's sandbox as transformers sets it up, except that a forbidden attribute is an error at once."""
    from jinja2 import nodes, sandbox
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension

    class Generation(Extension):
        """`{% generation %}`, by which some templates mark the assistant's words: here its body and nothing else."""

        tags = {"generation"}

        def parse(self, parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Sandbox(sandbox.ImmutableSandboxedEnvironment):
        def unsafe_undefined(self, obj, attribute):
            raise SecurityError(f"access to attribute {attribute!r} of {type(obj).__name__!r} object is unsafe")

    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    for name in ("lipsum", "cycler", "joiner"):
        del made.globals[name]
    made.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    made.filters["tojson"] = tojson
    return made


def raise_exception(message):
    raise Refused(message)


def strftime_now(form):
    return datetime.now().strftime(form)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


if __name__ == "__main__":
    main()
