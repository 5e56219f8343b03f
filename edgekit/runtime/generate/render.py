"""The child process that renders chat templates, which are untrusted programs. It answers lines of JSON with lines of JSON.

`python -m edgekit.runtime.generate.render`; it imports jinja2 and the standard library alone. The system limits its memory and CPU
time, the parent its elapsed time, by ending it; see `edgekit.runtime.generate.chat`.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["LONGEST_PROMPT", "MEMORY", "SECONDS", "main", "render"]

SECONDS = 2.0
"""For one rendering; real templates take milliseconds."""
MEMORY = 256 * 1024**2
"""Bytes of address space of the process."""
LONGEST_PROMPT = 4_000_000
"""Characters that a template may put out."""
OLDEST = (3, 1, 6)
"""Version of jinja2; earlier sandboxes can be escaped."""


def render(
    source: str, messages: list[dict[str, Any]], tokens: dict[str, str], answered: bool = True, tools: list[Any] | None = None,
    now: str | None = None,
) -> str:  # fmt: skip
    """The prompt that template `source` makes of `messages`, with the names that transformers gives to templates. `answered`: an answer of
    the assistant is to follow; `tools`: those that it may call; `now`: the local time (ISO 8601), where it is not to be the clock's.

    Raises:
        jinja2.TemplateError: the template is wrong, refuses the messages, or tries to escape the sandbox.
        ValueError: it puts out more than LONGEST_PROMPT characters.
    """
    parts: list[str] = []
    room = LONGEST_PROMPT
    given: dict[str, Any] = {
        "messages": messages,
        "tools": tools,
        "documents": None,
        "add_generation_prompt": answered,
        **tokens,
    }
    if now is not None:
        given["strftime_now"] = datetime.fromisoformat(now).strftime
    for part in _compiled(source).generate(**given):
        room -= len(part)
        if room < 0:
            raise ValueError(f"it puts out more than {LONGEST_PROMPT:,} characters")
        parts.append(part)
    return "".join(parts)


@lru_cache(maxsize=4)
def _compiled(source: str) -> Template:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's messages, for training."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Namespace(jinja2.utils.Namespace):
        """Without names that begin with an underscore, by which a template could escape the sandbox."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}")
            super().__setitem__(name, value)

    class Dict:
        """`dict` as templates may use it."""

        def __call__(self, *pairs: Any, **values: Any) -> dict[Any, Any]:
            return dict(*pairs, **values)

        def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
            return dict.fromkeys(*arguments)

    def namespace(*pairs: Any, **values: Any) -> Namespace:
        found = Namespace()
        for name, value in dict(*pairs, **values).items():
            found[name] = value
        return found

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": Dict(),
        "namespace": namespace,
    }
    return environment.from_string(source)


def _reply(line: bytes) -> dict[str, str]:
    """{"text"} or {"fault"}."""
    try:
        return {"text": render(**json.loads(line))}
    except MemoryError:
        return {"fault": f"it needs more than {MEMORY // 1024**2} MiB"}
    except RecursionError:
        return {"fault": "it is nested too deeply"}
    except Exception as fault:  # a template can raise any exception
        return {"fault": f"{type(fault).__name__}: {str(fault)[:500]}"}


def main() -> int:
    """Answer lines of standard input until it ends; the first line out says that the process is ready, or what it lacks."""
    import jinja2

    version = tuple(int(part) for part in jinja2.__version__.split(".")[:3])
    for limit, value in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(limit, (value, value))
    print(json.dumps({"fault": f"jinja2 {jinja2.__version__} is too old"} if version < OLDEST else {"text": ""}), flush=True)
    for line in sys.stdin.buffer:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        # Should the parent be gone, the system ends an endless template.
        until = int(spent.ru_utime + spent.ru_stime + SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        sys.stdout.write(json.dumps(_reply(line)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
