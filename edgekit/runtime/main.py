"""The runner's command line, on argparse alone: run, verify, bench, info, serve. Exit codes 0, 1, 2, 3 as everywhere, 130 after Ctrl-C."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.runtime.bench.words import scenario_words
from edgekit.runtime.edge import at_edge
from edgekit.runtime.generate.flags import SPECULATE, SPECULATE_HELP, add_flags, given_flags, parse_speculate
from edgekit.runtime.items import (
    answered,
    at_terminal,
    cut_answers,
    cut_forms,
    read_items,
    read_texts,
    refusals,
    terminal_line,
    with_prompt,
)
from edgekit.runtime.records import as_json
from edgekit.runtime.shown import visible

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Parse `arguments`, do it, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="runner.pyz", description="Run, verify and measure an edgekit bundle.",
        epilog="Exit codes: 0 done, 1 a check was not met, 2 bad usage or input, 3 not possible on this machine, 130 interrupted.",
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("run", "answer texts, images or sounds"),
        ("verify", "hash files, replay golden inputs"),
        ("bench", "measure"),
        ("info", "show"),
        ("serve", "answer over HTTP"),
    ):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("bundle", type=Path, help="bundle folder, the folder above it, or its archive")
        command.add_argument("--json", action="store_true", help="print one JSON document")
        if verb == "run":
            command.add_argument(
                "text",
                nargs="*",
                help='texts, image or sound files, or objects such as \'{"question": ..., "context": ...}\' or '
                '\'{"words": ["we", "went"]}\'; without any, '
                "lines of standard input",
            )
            command.add_argument(
                "--top-k", type=int, help="how many labels to show; of a language model, from how many tokens to draw"
            )
            command.add_argument(
                "--jsonl",
                action="store_true",
                help="rows of standard input, a JSON text or object each, to rows of answers in the same order, on all cores",
            )
            command.add_argument(
                "--workers", metavar="N|auto", help="with --jsonl: cores that answer rows; default: all there are"
            )
            command.add_argument(
                "--every",
                metavar="TIME",
                help="a folder of pictures, or a sound file, as a camera or microphone goes on: an answer each TIME (0.5s, 40ms)",
            )
            command.add_argument("--prompt-name", help="embeddings: which of the model's prompts is put before the texts")
            add_flags(command)
        if verb in ("run", "serve", "bench"):
            command.add_argument(
                "--threads", metavar="N|auto", help="auto: as many as are fastest here, found out once; else as the target says"
            )
        if verb == "bench":
            command.add_argument("--processes", type=int, default=10)
            command.add_argument("--seconds", type=float, default=2.0)
            command.add_argument("--prompts", help="language models: lengths of prompts in tokens, such as 16,512")
            command.add_argument("--seed", type=int, default=7)
            command.add_argument("--out", type=Path)
        if verb == "serve":
            command.add_argument("--host", default="127.0.0.1", help="only this machine reaches the default")
            command.add_argument("--port", type=int, default=8000, help="0: any that is free")
            command.add_argument(
                "--max-body", type=int, help="bytes of a request; default: 1048576, of images and sounds 16777216"
            )
            command.add_argument("--max-batch", type=int, default=64, help="texts in a request")
            command.add_argument("--max-queue", type=int, default=64, help="requests that wait")
            command.add_argument(
                "--max-together",
                type=int,
                choices=range(1, 65),
                default=8,
                metavar="N",
                help="language models: answers that are generated together; 1: one after another",
            )
            command.add_argument(
                "--max-cache", type=int, default=1_073_741_824, help="language models: bytes of their keys and values"
            )
            command.add_argument(
                "--max-run",
                type=float,
                default=600.0,
                help="seconds of a run of the model; after more it hangs, and the server ends",
            )
            command.add_argument(
                "--no-prefix-cache",
                dest="prefix_cache",
                action="store_false",
                help="language models: read every prompt from its first token",
            )
            command.add_argument("--speculate", choices=SPECULATE, help=SPECULATE_HELP)
            command.add_argument(
                "--any-dimensions",
                action="store_true",
                help="embeddings: return the first `dimensions` numbers though the model does not say that it was trained so",
            )
    given = sys.argv[1:] if arguments is None else arguments
    return at_edge(
        "runner", lambda: _run(_parse(parser, verbs.choices, given)), as_json="--json" in given, prints=given[:1] != ["serve"]
    )


def _run(asked: argparse.Namespace) -> int:
    """Do what is asked and print what came of it; the exit code."""
    if asked.verb == "serve":
        return _serve(asked)
    if asked.verb == "run" and asked.every is not None:
        return _live(asked)
    if asked.verb == "run" and (asked.jsonl or asked.workers is not None):
        return _rows(asked)
    document, text = _do(asked)
    print(json.dumps(document, indent=1, sort_keys=True) if asked.json else visible(text), flush=True)
    if asked.verb == "bench" and not document["complete"]:
        whole = len(document["variants"][0]["scenarios"][0]["children_p50_ms"])
        print(f"runner: interrupted: the result is partial, {whole} of {asked.processes} processes", file=sys.stderr)
        return 130
    if asked.verb == "run" and document and document[-1].get("ended") == "interrupted":
        print("runner: interrupted", file=sys.stderr)
        return 130
    if asked.verb != "run":
        return 0
    if (
        not asked.json
        and at_terminal(sys.stderr)
        and cut_forms(document) is None
        and (note := cut_answers(document)) is not None
    ):
        print(f"runner: {note}", file=sys.stderr)
    faults = [fault for fault in (cut_forms(document), refusals(document)) if fault is not None]
    for fault in faults:
        print(f"runner: {fault.text()}", file=sys.stderr)
    return faults[-1].exit_code if faults else 0


def _parse(
    parser: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser], arguments: list[str]
) -> argparse.Namespace:
    """`arguments` of one of `commands`, with flags before, between and after the texts, which a parser of commands cannot read."""
    if not arguments or arguments[0] not in commands:
        return parser.parse_args(arguments)
    return commands[arguments[0]].parse_intermixed_args(arguments[1:], argparse.Namespace(verb=arguments[0]))


def _serve(asked: argparse.Namespace) -> int:
    from edgekit.runtime.serve.command import serve_bundle
    from edgekit.runtime.serve.limits import Limits
    from edgekit.runtime.serve.transport import serve
    from edgekit.runtime.threads import parse_threads

    limits = Limits(
        batch=asked.max_batch, queue=asked.max_queue, together=asked.max_together, cache=asked.max_cache, step_seconds=asked.max_run
    )  # fmt: skip
    if asked.max_body is not None:
        limits = replace(limits, body=asked.max_body, file_body=asked.max_body)
    cut = serve_bundle(
        asked.bundle, serve, host=asked.host, port=asked.port, limits=limits, prefix_cache=asked.prefix_cache,
        threads=parse_threads(asked.threads, written=True), speculate=parse_speculate(asked.speculate),
        any_dimensions=asked.any_dimensions,
    )  # fmt: skip
    return 1 if cut else 0


def _rows(asked: argparse.Namespace) -> int:
    from edgekit.runtime.model import load
    from edgekit.runtime.rows import check_flags, counter, run_rows
    from edgekit.runtime.threads import parse_threads

    check_flags(jsonl=asked.jsonl, texts=asked.text, as_json=asked.json, threads=asked.threads)
    workers = parse_threads("auto" if asked.workers is None else asked.workers, written=True, name="workers")
    model = load(
        asked.bundle,
        prefix_cache=asked.prefix_cache is not False,
        threads=None if workers == 1 else 1,
        speculate=parse_speculate(asked.speculate),
    )
    flags = given_flags(vars(asked), model.bundle.manifest.task)
    with counter(sys.stderr) as progress:
        fault = run_rows(model, flags, workers=workers, top_k=asked.top_k, prompt_name=asked.prompt_name, progress=progress)
    if fault is None:
        return 0
    print(f"runner: {fault.text()}", file=sys.stderr)
    return fault.exit_code


def _live(asked: argparse.Namespace) -> int:
    from edgekit.runtime.live import check_live_flags, parse_every, run_live
    from edgekit.runtime.model import load
    from edgekit.runtime.threads import parse_threads

    seconds, path = parse_every(asked.every), check_live_flags(jsonl=asked.jsonl, workers=asked.workers, texts=asked.text)
    model = load(asked.bundle, threads=parse_threads(asked.threads, written=True))
    task = model.bundle.manifest.task
    given_flags(vars(asked), task)
    with_prompt([], asked.prompt_name, task)
    fault = run_live(model, path, seconds, top_k=asked.top_k, as_json=asked.json, out=sys.stdout)
    if fault is None:
        return 0
    print(f"runner: {fault.text()}", file=sys.stderr)
    return fault.exit_code


def _do(asked: argparse.Namespace) -> tuple[Any, str]:
    if asked.verb == "run":
        from edgekit.runtime.model import load
        from edgekit.runtime.processors import processor
        from edgekit.runtime.threads import parse_threads

        model = load(
            asked.bundle, prefix_cache=asked.prefix_cache is not False, threads=parse_threads(asked.threads, written=True),
            speculate=parse_speculate(asked.speculate),
        )  # fmt: skip
        given = given_flags(vars(asked), model.bundle.manifest.task)
        if model.language is not None:
            from edgekit.runtime.generate.command import run_language

            with_prompt([], asked.prompt_name, model.bundle.manifest.task)
            talks = not asked.text and not asked.json and at_terminal(sys.stdin)
            texts = None if talks else asked.text or read_texts()
            return run_language(model.language, texts, given, as_json=asked.json), ""
        task = model.bundle.manifest.task
        with_prompt([], asked.prompt_name, task)

        def answer(text: str) -> Any:
            return model(
                with_prompt(read_items([text], reads=processor(task).reads), asked.prompt_name, task)[0], top_k=asked.top_k
            )

        answers = list(answered(asked.text or read_texts(processor(task).reads), answer, reads=processor(task).reads))
        line = processor(task).line
        return answers, "\n".join(terminal_line(answer, line) for answer in answers)
    if asked.verb == "verify":
        from edgekit.runtime.bundle.verify import shown, verify

        document = verify(asked.bundle)
        return document, "\n".join(shown(document))
    if asked.verb == "info":
        from edgekit.runtime.bundle.open import open_bundle

        manifest = open_bundle(asked.bundle).manifest
        return manifest.to_json(), json.dumps(as_json(manifest.quality) | {"name": manifest.name}, indent=1)
    from edgekit.runtime.bench.lone import bench_bundle
    from edgekit.runtime.bench.prompts import prompt_lengths
    from edgekit.runtime.threads import parse_threads

    document = bench_bundle(
        asked.bundle,
        threads=parse_threads(asked.threads, written=True),
        prompts=prompt_lengths(asked.prompts),
        processes=asked.processes,
        seconds=asked.seconds,
        out=asked.out,
        seed=asked.seed,
    )
    lines = [f"{scenario_words(item['name'])}: p50 {item['p50_ms']:.3f} ms, 95% interval {item['ci95_ms'][0]:.3f} to {item['ci95_ms'][1]:.3f}"
             for item in document["variants"][0]["scenarios"]]  # fmt: skip
    return document, "\n".join(lines)
