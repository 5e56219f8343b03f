"""The command line. Exit codes: 0 done, 1 a budget or check not met, 2 bad usage or input, 3 not possible on this machine."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit.errors import BadInput, EdgekitError, NotPossibleHere

__all__ = ["app", "main"]

app = typer.Typer(
    name="edgekit",
    help="Distil, prune and quantize a transformer into a verified, measured bundle for an edge device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a budget or a check was not met, 2 bad usage or input, 3 not possible on this machine.",
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Build = Annotated[Path, typer.Option("--build", help="Folder for results and the store of finished stages.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="Target name or .toml file; may be given again. Default: this host's best."),
]
RecipeName = Annotated[str, typer.Argument(help="Recipe name (`edgekit ls recipes`) or .toml file.")]
BundlePath = Annotated[Path, typer.Argument(help="A result folder, its bundle/ or a bundle archive.")]
BUILD = Path("build")


def _emit(document: Any, as_json: bool, text: Any) -> None:
    """Print `document` as JSON, or `text` (anything rich can print) for people."""
    if as_json:
        print(json.dumps(document, indent=1, sort_keys=True, default=str))
        return
    from edgekit.progress import out

    for part in text if isinstance(text, list) else [text]:
        out.print(part, soft_wrap=isinstance(part, str), markup=False)


@app.command()
def export(
    recipe: RecipeName = "intents",
    target: Targets = None,
    build: Build = BUILD,
    bench: Annotated[bool, typer.Option("--bench/--no-bench", help="Measure the bundle where this host is its target.")] = True,
    as_json: Json = False,
) -> None:
    """Make the bundle: compress, export, quantize, audit, score, measure, pack, report."""
    from edgekit.pipeline.run import run_recipe
    from edgekit.progress import Show

    results = run_recipe(recipe, target or [], build, measure=bench, show=Show(silent=as_json))
    _emit([result.document() for result in results], as_json, [part for result in results for part in result.shown()])
    missed = [fault for result in results for fault in result.missed]
    if missed:
        raise typer.Exit(1)


@app.command()
def plan(recipe: RecipeName = "intents", target: Targets = None, build: Build = BUILD, as_json: Json = False) -> None:
    """Show the stages, their keys, what is done already, and where each setting comes from. Runs nothing."""
    from edgekit.pipeline.run import explain

    document, shown = explain(recipe, target or [], build)
    _emit(document, as_json, shown)


@app.command()
def bench(
    bundle: BundlePath,
    quick: Annotated[bool, typer.Option("--quick", help="Three short processes a variant, for a first look.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Fresh processes a variant.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.05, help="Timed seconds in each process and scenario.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads, instead of the target's.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Language models: lengths of prompts, such as 16,512. Default: 16 to 2048."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of processes.")] = 7,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where the processes disagree by more than 10%.")
    ] = False,
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Measure on user@host over ssh instead, or on this one of --inventory.")
    ] = None,
    inventory: Annotated[Path | None, typer.Option(help="File of devices (TOML); without --device: all of them.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure also on devices that have a result of this bundle.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a bundle and its baselines on this machine, in fresh interleaved processes; or the bundle on devices."""
    from edgekit.progress import Show

    if device or inventory:
        from edgekit.device.command import measure_on

        if prompts:
            raise BadInput(
                "a device times the default lengths", where="--prompts", fix="leave it out, or use runner.pyz bench there"
            )
        document, shown, code = measure_on(
            bundle, device or [], inventory, quick=quick, processes=processes, seconds=seconds, threads=threads, seed=seed,
            again=again, strict=strict, show=Show(silent=as_json),
        )  # fmt: skip
        _emit(document, as_json, shown)
        raise typer.Exit(code)
    if again:
        raise BadInput("there is nothing to repeat without a device", where="--again", fix="give --device or --inventory too")
    from edgekit.pipeline.run import measure
    from edgekit.runtime.bench.prompts import prompt_lengths

    document, shown = measure(
        bundle, quick=quick, processes=processes, seconds=seconds, threads=threads, prompts=prompt_lengths(prompts), seed=seed,
        show=Show(silent=as_json),
    )  # fmt: skip
    _emit(document, as_json, shown)
    if not document["complete"]:
        Show(silent=False).line("interrupted: the result is partial; it holds the processes that were complete")
        raise typer.Exit(130)
    if strict and not document["validity"]["stable"]:
        raise typer.Exit(1)


@app.command()
def artifacts(
    results: Annotated[
        list[Path], typer.Argument(help="Result folders that `edgekit export` made, such as build/intents-x86-vnni.")
    ],
    oci: Annotated[bool, typer.Option("--oci", help="Add an OCI image layout, for a registry client to push.")] = False,
    wheelhouse: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="Add the wheels a device without a network needs, for its Python, such as 3.11."),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Sign with this private key (PEM, elliptic curve); no network is asked.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write everything to ship into RESULT/artifacts: bundle, archive, runner, model card, CycloneDX BOM, SHA256SUMS."""
    from edgekit.pack.artifacts import make_artifacts
    from edgekit.progress import Show

    show = Show(silent=as_json)
    made = [make_artifacts(result, oci=oci, key=sign, wheelhouse=wheelhouse, say=show.line) for result in results]
    _emit([one.document() for one in made], as_json, [part for one in made for part in one.shown()])


@app.command()
def verify(
    bundle: BundlePath,
    verify_key: Annotated[
        Path | None, typer.Option(metavar="KEY", help="Check first that this public key (PEM) signed the bundle.")
    ] = None,
    signature: Annotated[Path | None, typer.Option(help="The signature. Default: bundle.sig beside the bundle.")] = None,
    as_json: Json = False,
) -> None:
    """Hash every file of a bundle again and replay its golden inputs."""
    if signature and not verify_key:
        raise BadInput("a signature tells nothing without a key", where="--signature", fix="give --verify-key too")
    if verify_key:
        from edgekit.pack.signed import verify_signed

        document = verify_signed(bundle, verify_key, signature)
    else:
        from edgekit.runtime.bundle.verify import verify as check

        document = check(bundle)
    _emit(
        document,
        as_json,
        f"{bundle}: {'signed, ' if verify_key else ''}whole and right: "
        f"{document['files']} files hashed, {document['golden']} golden inputs replayed",
    )


@app.command()
def report(
    build: Annotated[Path, typer.Argument(help="A result folder, or the build folder above several.")] = BUILD,
    as_json: Json = False,
) -> None:
    """Write the report again: Markdown and one self-contained HTML page."""
    from edgekit.pipeline.run import write_reports

    paths, shown = write_reports(build)
    _emit([str(path) for path in paths], as_json, [*shown, *map(str, paths)])


@app.command()
def run(
    bundle: BundlePath,
    text: Annotated[
        list[str] | None, typer.Argument(help="Texts, or JSON objects for tasks that read several; none: standard input.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, help="How many labels to show; of a language model, from how many tokens to draw."),
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Language models: most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Language models; 0: always the likeliest token.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Language models: only the likeliest tokens with this much probability.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Language models: only tokens this likely, as a share of the likeliest.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Language models; above 1: less of what was said already.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Language models: of the random choices.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Language models: the answer ends before this text.")] = None,
    chat: Annotated[
        bool | None, typer.Option("--chat/--raw", help="Language models: texts are messages, or beginnings to be gone on with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer texts with a bundle; a language model without any at a terminal: converse."""
    from edgekit.runtime.generate.flags import given_flags
    from edgekit.runtime.main import read_items, read_texts
    from edgekit.runtime.model import load
    from edgekit.runtime.processors import decoder

    flags = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "seed": seed, "stop": stop or None, "chat": chat,
    }  # fmt: skip
    model = load(bundle)
    given = given_flags(flags, model.bundle.manifest.task)
    if model.language is not None:
        from edgekit.runtime.generate.command import run_language

        talks = not text and not as_json and sys.stdin.isatty()
        items = None if talks else read_items(list(text) if text else read_texts())
        whole = False
        with suppress(KeyboardInterrupt):
            spoken = run_language(model.language, items, given, as_json=as_json)
            _emit(spoken, as_json, "")
            whole = not spoken or spoken[-1]["ended"] != "interrupted"
        if not whole:
            print("edgekit: interrupted", file=sys.stderr)
            raise typer.Exit(130)
        return
    answers = model(read_items(list(text) if text else read_texts()), top_k=top_k or 1)
    line = decoder(model.bundle.manifest.task).line
    _emit(answers, as_json, [line(answer) for answer in answers])


@app.command()
def serve(
    bundle: BundlePath,
    host: Annotated[str, typer.Option(help="Address to listen at; only this machine reaches the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 1_048_576,
    max_batch: Annotated[int, typer.Option(min=1, help="Texts in a request.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that wait for the model.")] = 64,
) -> None:
    """Answer over HTTP: Open Inference Protocol v2, OpenAI's routes where the task fits, /metrics."""
    from edgekit.runtime.serve.command import serve_bundle
    from edgekit.runtime.serve.limits import Limits

    try:
        from edgekit.serve.asgi import serve as transport
    except ModuleNotFoundError as fault:
        raise NotPossibleHere(
            f"{fault.name} is not installed", fix="pip install 'edgekit[serve]', or use the bundle's own runner.pyz serve"
        ) from None
    limits = Limits(body=max_body, batch=max_batch, queue=max_queue)
    if serve_bundle(bundle, transport, host=host, port=port, limits=limits):
        raise typer.Exit(1)


@app.command("ls")
def list_names(
    what: Annotated[str, typer.Argument(help="targets, recipes, tasks or methods.")] = "recipes",
    as_json: Json = False,
) -> None:
    """List what ships with edgekit."""
    from edgekit.cli.catalogue import catalogue

    rows = catalogue(what)
    width = max((len(row["name"]) for row in rows), default=0)
    _emit(rows, as_json, [f"{row['name']:<{width}}  {row['title']}" for row in rows])


@app.command()
def doctor(as_json: Json = False) -> None:
    """What this machine is, and which targets it can run and measure."""
    from edgekit.cli.catalogue import examine

    document, shown = examine()
    _emit(document, as_json, shown)


@app.command()
def schema(what: Annotated[str, typer.Argument(help="recipe or target.")]) -> None:
    """Print the JSON Schema of a recipe or a target, for editors."""
    from edgekit.cli.catalogue import json_schema

    print(json.dumps(json_schema(what), indent=1, sort_keys=True))


def main() -> None:
    """Run the command line; every reported fault becomes its message and exit code."""
    as_json = "--json" in sys.argv
    # Read when torch starts its threads. Spinning threads that share a core with another process made training 15 times
    # slower on two cores (measured); sleeping ones cost little on a quiet machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app(standalone_mode=True)
    except EdgekitError as fault:
        _fail(fault, as_json)
    except OSError as fault:
        if isinstance(fault, BrokenPipeError):
            sys.stderr.close()
            sys.exit(0)
        code = 3 if fault.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS} else 2
        wrapped = BadInput(fault.strerror or str(fault), where=fault.filename and str(fault.filename))
        _fail(wrapped, as_json, code)


def _fail(fault: EdgekitError, as_json: bool, code: int | None = None) -> None:
    code = fault.exit_code if code is None else code
    if as_json:
        print(json.dumps({"error": fault.text(), "exit_code": code}))
    print(f"edgekit: {fault.text()}", file=sys.stderr)
    sys.exit(code)
