"""Commands that use a bundle: verify, run, serve."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.output import emit
from edgekit.cli.parameters import BundlePath, Json, ThreadCount
from edgekit.errors import BadInput, Interrupted, NotPossibleHere
from edgekit.runtime.generate.flags import SPECULATE

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject

__all__ = ["run", "serve", "verify"]

Speculation = Annotated[
    str | None,
    typer.Option(
        "--speculate",
        metavar="|".join(SPECULATE),
        help="Language models: guess the next tokens from the text so far; it changes no answer.",
    ),
]


def verify(
    bundle: BundlePath,
    verify_key: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Check first that this public key (PEM) signed the bundle.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature. Default: bundle.sig beside the bundle.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hash every file of a bundle again and replay its golden inputs."""
    if signature and not verify_key:
        raise BadInput("a signature tells nothing without a key", where="--signature", fix="give --verify-key too")
    from edgekit.runtime.bundle.verify import shown
    from edgekit.runtime.bundle.verify import verify as check

    if verify_key:
        from edgekit.pack.signed import verify_signed

        document = verify_signed(bundle, verify_key, signature)
    else:
        document = check(bundle)
    emit(document, as_json, shown(document))


def run(
    bundle: BundlePath,
    text: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Texts, or image or sound files, or JSON objects for tasks that read several; none: standard input.",
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", min=1, metavar="N", help="How many labels to show; of a language model, from how many tokens to draw."
        ),
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(metavar="N", help="Language models: most tokens of an answer.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="X", help="Language models: how freely tokens are drawn; 0: always the likeliest."),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Language models: only the likeliest tokens with this much probability."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Language models: only tokens this likely, as a share of the likeliest."),
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(metavar="X", help="Language models; above 1: less of what was said already.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Language models: of the random choices.")] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Language models: the answer ends before this text; again for more."),
    ] = None,
    stop_token_id: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Language models: the answer ends before this token; again for more.")
    ] = None,
    json_schema: Annotated[
        str | None, typer.Option(metavar="FILE", help="Language models: the answer is a JSON document of this schema.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Language models: the answer fits this regular expression as a whole.")
    ] = None,
    grammar: Annotated[
        str | None, typer.Option(metavar="FILE", help="Language models: the answer is a text of this grammar (Lark).")
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Language models: the answer is this text, or another that is given so."),
    ] = None,
    no_prefix_cache: Annotated[
        bool, typer.Option("--no-prefix-cache", help="Language models: read every prompt from its first token.")
    ] = False,
    speculate: Speculation = None,
    prompt_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Embeddings: which of the model's prompts is put before the texts.")
    ] = None,
    threads: ThreadCount = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="Rows of standard input, a JSON text or object each, to rows of answers in the same order, on all cores.",
        ),
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N|auto", help="With --jsonl: cores that answer rows; default: all there are."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="TEXT is a folder of pictures, or a sound file, as a camera or microphone goes on: an answer each TIME (0.5s, 40ms).",
        ),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--raw",
            help="Language models: texts are messages, which the chat template wraps (the default where there is one), or go in as they are.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer texts, images or sounds with a bundle; a language model without any at a terminal: converse."""
    from edgekit.runtime.generate.flags import given_flags, parse_speculate
    from edgekit.runtime.items import (
        answered,
        at_terminal,
        cut_answers,
        cut_forms,
        read_items,
        read_texts,
        terminal_line,
        with_prompt,
    )
    from edgekit.runtime.model import load
    from edgekit.runtime.processors import processor
    from edgekit.runtime.threads import parse_threads

    flags = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed, "stop": stop or None, "chat": chat,
        "stop_token_ids": stop_token_id or None, "prefix_cache": False if no_prefix_cache else None,
        "json_schema": json_schema, "regex": regex, "grammar": grammar, "choice": choice or None,
        "speculate": speculate,
    }  # fmt: skip
    if every is not None:
        _live(
            bundle,
            every,
            text,
            jsonl=jsonl,
            workers=workers,
            threads=threads,
            top_k=top_k,
            flags=flags,
            prompt_name=prompt_name,
            as_json=as_json,
        )
        return
    if jsonl or workers is not None:
        from edgekit.runtime.rows import check_flags, counter, run_rows

        check_flags(jsonl=jsonl, texts=text, as_json=as_json, threads=threads)
        crew = parse_threads("auto" if workers is None else workers, written=True, name="workers")
        model = load(
            bundle, prefix_cache=not no_prefix_cache, threads=None if crew == 1 else 1, speculate=parse_speculate(speculate)
        )
        given = given_flags(flags, model.bundle.manifest.task)
        try:
            with counter(sys.stderr) as progress:
                fault = run_rows(model, given, workers=crew, top_k=top_k, prompt_name=prompt_name, progress=progress)
        except KeyboardInterrupt:
            raise Interrupted from None
        if fault is not None:
            raise fault
        return
    model = load(
        bundle,
        prefix_cache=not no_prefix_cache,
        threads=parse_threads(threads, written=True),
        speculate=parse_speculate(speculate),
    )
    flags_set = given_flags(flags, model.bundle.manifest.task)
    if model.language is not None:
        from edgekit.runtime.generate.command import run_language

        with_prompt([], prompt_name, model.bundle.manifest.task)
        converses = not text and not as_json and at_terminal(sys.stdin)
        texts = None if converses else list(text) if text else read_texts()
        whole = False
        with suppress(KeyboardInterrupt):
            replies = run_language(model.language, texts, flags_set, as_json=as_json)
            emit(replies, as_json, [""])
            whole = not replies or replies[-1].get("ended") != "interrupted"
        if not whole:
            raise typer.Exit(130)  # which `at_edge` says
        cut = cut_forms(replies)
        if cut is not None:
            print(f"edgekit: {cut.text()}", file=sys.stderr)
        elif not as_json and at_terminal(sys.stderr) and (note := cut_answers(replies)) is not None:
            print(f"edgekit: {note}", file=sys.stderr)
        _tell_refusals(replies)
        if cut is not None:
            raise typer.Exit(cut.exit_code)
        return
    task = model.bundle.manifest.task
    with_prompt([], prompt_name, task)

    def answer(given: str) -> JsonObject:
        made: JsonObject = model(
            with_prompt(read_items([given], reads=processor(task).reads), prompt_name, task)[0], top_k=top_k
        )
        return made

    answers = list(answered(list(text) if text else read_texts(processor(task).reads), answer, reads=processor(task).reads))
    line = processor(task).line
    emit(answers, as_json, [terminal_line(answer, line) for answer in answers])
    _tell_refusals(answers)


def _live(
    bundle: Path, every: str, text: Sequence[str] | None, *, jsonl: bool, workers: str | None, threads: str | None, top_k: int | None,
    flags: Mapping[str, object], prompt_name: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Answer a folder of pictures, or a sound file, as a camera or a microphone would give it."""
    from edgekit.runtime.generate.flags import given_flags
    from edgekit.runtime.items import with_prompt
    from edgekit.runtime.live import check_live_flags, parse_every, run_live
    from edgekit.runtime.model import load
    from edgekit.runtime.threads import parse_threads

    seconds, path = parse_every(every), check_live_flags(jsonl=jsonl, workers=workers, texts=text)
    model = load(bundle, threads=parse_threads(threads, written=True))
    given_flags(flags, model.bundle.manifest.task)
    with_prompt([], prompt_name, model.bundle.manifest.task)
    try:
        fault = run_live(model, path, seconds, top_k=top_k, as_json=as_json, out=sys.stdout)
    except KeyboardInterrupt:
        raise Interrupted from None
    if fault is not None:
        print(f"edgekit: {fault.text()}", file=sys.stderr)
        raise typer.Exit(fault.exit_code)


def _tell_refusals(answers: Sequence[JsonObject]) -> None:
    """Say which inputs were refused among others that were answered, and end as a refusal does."""
    from edgekit.runtime.items import refusals

    if (refused := refusals(answers)) is not None:
        print(f"edgekit: {refused.text()}", file=sys.stderr)
        raise typer.Exit(refused.exit_code)


def serve(
    bundle: BundlePath,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; only this machine reaches the default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen at; 0: any that is free.")] = 8000,
    max_body: Annotated[
        int | None,
        typer.Option(min=1, metavar="BYTES", help="Of a request. Default: 1048576; of images and sounds 16777216."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, metavar="N", help="Texts in a request.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, metavar="N", help="Requests that wait for the model.")] = 64,
    max_together: Annotated[
        int,
        typer.Option(
            min=1, max=64, metavar="N", help="Language models: answers that are generated together; 1: one after another."
        ),
    ] = 8,
    max_cache: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="Language models: of their keys and values.")
    ] = 1_073_741_824,
    max_run: Annotated[
        float, typer.Option(metavar="SECONDS", help="Of a run of the model; after more it hangs, and the server ends.")
    ] = 600.0,
    no_prefix_cache: Annotated[
        bool, typer.Option("--no-prefix-cache", help="Language models: read every prompt from its first token.")
    ] = False,
    speculate: Speculation = None,
    threads: ThreadCount = None,
    any_dimensions: Annotated[
        bool,
        typer.Option(
            "--any-dimensions",
            help="Embeddings: return the first `dimensions` numbers though the model does not say that it was trained so.",
        ),
    ] = False,
) -> None:
    """Answer over HTTP: Open Inference Protocol v2, OpenAI's routes where the task fits, /metrics."""
    from edgekit.runtime.generate.flags import parse_speculate
    from edgekit.runtime.serve.command import serve_bundle
    from edgekit.runtime.serve.limits import Limits
    from edgekit.runtime.threads import parse_threads

    try:
        from edgekit.serve.asgi import serve as transport
    except ModuleNotFoundError as fault:
        raise NotPossibleHere(
            f"{fault.name} is not installed",
            fix="pip install 'edgekit[serve]', or use the bundle's own runner.pyz serve",
            see="something-is-not-installed",
        ) from None
    limits = Limits(batch=max_batch, queue=max_queue, together=max_together, cache=max_cache, step_seconds=max_run)
    if max_body is not None:
        limits = replace(limits, body=max_body, file_body=max_body)
    cut = serve_bundle(
        bundle,
        transport,
        host=host,
        port=port,
        limits=limits,
        prefix_cache=not no_prefix_cache,
        any_dimensions=any_dimensions,
        threads=parse_threads(threads, written=True),
        speculate=parse_speculate(speculate),
    )
    if cut:
        raise typer.Exit(1)
