"""The server without its transport: which request is answered by what, and what is counted."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from edgekit import __version__
from edgekit.runtime.errors import BadInput, EdgekitError, NotPossibleHere
from edgekit.runtime.generate.constraint import Constraint
from edgekit.runtime.generate.model import LanguageModel
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.model import Model
from edgekit.runtime.processors import processor
from edgekit.runtime.serve import completions as text
from edgekit.runtime.serve.embeddings import embedding_document, parse_embeddings, sizes_of
from edgekit.runtime.serve.guard import check_request, refused
from edgekit.runtime.serve.inference import VERSION, answer_response, model_metadata, parse_infer
from edgekit.runtime.serve.limits import Limits
from edgekit.runtime.serve.message import Bodies, Refusal, Request, Response, json_response, parse_json
from edgekit.runtime.serve.metrics import KIND, Metrics
from edgekit.runtime.serve.openapi import openapi
from edgekit.runtime.serve.rerank import RERANK_V1, RERANK_V2, parse_rerank, rerank_document
from edgekit.runtime.serve.stream import LEFT, Stream
from edgekit.runtime.serve.tasks import ItemAnswer, generated, outputs_of, prepare, steps
from edgekit.runtime.serve.together import Streams, together
from edgekit.runtime.serve.worker import Steps, Worker, out_of_order

__all__ = ["App"]

FORMS, FORM_SECONDS = 8, 10
"""Most new forms of answers that wait to be compiled, and the seconds after which there may be room."""
Handler = Callable[[Request], Awaitable[Response]]
EMBEDDINGS, COMPLETIONS, CHAT = "/v1/embeddings", "/v1/completions", "/v1/chat/completions"
EMBEDS, RANKS, WRITES = "feature-extraction", "text-ranking", "text-generation"
ASKED: dict[str, tuple[str, str, str]] = {
    EMBEDS: (EMBEDDINGS, "a text", "input"),
    RANKS: (RERANK_V1, "a query and passages", "query and documents"),
    WRITES: (COMPLETIONS, "a prompt", "prompt"),
}
"""Task -> (the route that is its own, what is sent there, under which names)."""
ELSEWHERE = {EMBEDDINGS: EMBEDS, RERANK_V1: RANKS, RERANK_V2: RANKS, COMPLETIONS: WRITES, CHAT: WRITES}
"""Routes that only bundles of one task have -> that task."""
Route = tuple[str, str, Handler]
"""(name in the metrics, GET or POST, the function that answers)."""


class App:
    """Answers requests for one bundle: not ready until it has a model, and refusing new work once `draining`."""

    def __init__(
        self, limits: Limits, *, local: bool = True, names: Collection[str] = (), any_dimensions: bool = False
    ) -> None:
        """`local`: only requests to loopback hosts are answered, and to `names`, in lower case, under which the server was started.

        `any_dimensions`: embeddings are cut to any size that is asked for, whatever the model was trained for.
        """
        self.any_dimensions = any_dimensions
        self.limits = limits
        self.local = local
        self.names = frozenset(names)
        self.bodies = Bodies(limits)
        self.metrics = Metrics()
        self.worker = Worker(limits.queue, limits.step_seconds)
        self.draining = False
        self._compiling, self._forms = asyncio.Lock(), 0
        """Held while a form is compiled; and how many wait for that."""
        self._model: Model | None = None
        self.stream: Streams
        """Of the language model, if it is one."""
        self.one_by_one: str | None = None
        """Why a language model answers one request after another; None where it answers several together."""
        self._always: dict[str, Route] = {
            "/v2/health/live": ("live", "GET", self._live),
            "/v2/health/ready": ("ready", "GET", self._ready),
            "/v2": ("server", "GET", self._server),
            "/v2/": ("server", "GET", self._server),
            "/metrics": ("metrics", "GET", self._metrics),
        }
        self._routes: dict[str, Route] = {}

    def begin(self, model: Model) -> None:
        """Be ready, with `model`, whose golden inputs have passed.

        Raises:
            BadInput: a task that cannot be served, or limits in which it cannot.
        """
        outputs_of(model.bundle.manifest.task)
        if model.language is not None:
            found = together(model, self.limits)
            if isinstance(found, str):
                self.one_by_one, self.stream = found, model.language.stream
            else:
                self.worker.together, self.stream = found, found.stream
        self.bodies.reads = processor(model.bundle.manifest.task).reads
        self._routes = self._routes_of(model)
        self._model = model

    @property
    def model(self) -> Model:
        """The model.

        Raises:
            Refusal: 503 before it is ready, while the server shuts down, and when the model answers no more.
        """
        if (fault := self.worker.broken) is not None:
            raise out_of_order(fault)
        if self.draining:
            raise Refusal(
                503, "the server is shutting down", fix="send it to another server", headers={"retry-after": "5"}, close=True
            )
        if self._model is None:
            what = "the model is not ready: its golden inputs have not passed yet"
            raise Refusal(503, what, fix="ask again in 1 s", headers={"retry-after": "1"})
        return self._model

    async def respond(self, request: Request) -> Response:
        """The response to `request`; errors become responses too. A response in parts is counted when it ends."""
        started = time.monotonic()
        self.metrics.begin()
        route, status = "none", LEFT
        try:
            route, method, handler = self._route(request.path)
            check_request(request, ("GET", "HEAD") if method == "GET" else (method,), local=self.local, names=self.names)
            response = await handler(request)
            if request.method == "HEAD" and isinstance(response.body, bytes):
                headers = {**response.headers, "content-length": str(len(response.body))}
                response = replace(response, body=b"", headers=headers)
            status = response.status
        except Exception as fault:
            response = self._error_response(request.path, fault)
            status = response.status
        finally:  # also where it is cancelled because the client has left
            if status == LEFT or isinstance(response.body, bytes):
                self.metrics.end(route, status, time.monotonic() - started)
        if isinstance(response.body, Stream):
            response.body.over = lambda status: self.metrics.end(route, status, time.monotonic() - started)
        return response

    def refuse(self, path: str, refusal: Refusal) -> Response:
        """The response to a request that could not be read; it is counted."""
        self.metrics.begin()
        self.metrics.end("none", refusal.status, 0.0)
        return refused(path, refusal)

    def _error_response(self, path: str, fault: Exception) -> Response:
        """A refusal as it is; 500 with the message of an `EdgekitError`; for a bug a bare 500, with the traceback on standard error."""
        if isinstance(fault, Refusal):
            return refused(path, fault)
        if isinstance(fault, EdgekitError):
            print(f"edgekit serve: {fault.text()}", file=sys.stderr, flush=True)
            return refused(path, Refusal(500, fault.what, where=fault.where, fix=fault.fix, faults=fault.faults))
        traceback.print_exception(fault)
        return refused(path, Refusal(500, "internal error", fix="see the server's standard error, and report it"))

    def _route(self, path: str) -> Route:
        """The route of `path`.

        Raises:
            Refusal: 404; 503 for a route that needs the model while there is none.
        """
        if path in self._always:
            return self._always[path]
        model = self.model
        if path not in self._routes:
            raise _no_route(path, model)
        return self._routes[path]

    def _routes_of(self, model: Model) -> dict[str, Route]:
        """The routes that need `model`."""
        manifest, language = model.bundle.manifest, model.language
        routes: dict[str, Route] = {
            "/openapi.json": ("openapi", "GET", self._openapi),
            "/v1/models": ("models", "GET", self._models),
            f"/v1/models/{manifest.name}": ("models", "GET", self._models),
        }
        for base in (f"/v2/models/{manifest.name}", f"/v2/models/{manifest.name}/versions/{VERSION}"):
            routes[base] = ("model", "GET", self._metadata)
            routes[f"{base}/ready"] = ("model_ready", "GET", self._ready)
            routes[f"{base}/infer"] = ("infer", "POST", self._infer)
        if manifest.task == EMBEDS:
            routes[EMBEDDINGS] = ("embeddings", "POST", self._embeddings)
        if manifest.task == RANKS:
            routes[RERANK_V1] = routes[RERANK_V2] = ("rerank", "POST", self._rerank)
        if language is not None:
            routes[COMPLETIONS] = ("completions", "POST", partial(self._complete, chat=False))
        if language is not None and language.template is not None:
            routes[CHAT] = ("chat", "POST", partial(self._complete, chat=True))
        return routes

    async def _live(self, request: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, request: Request) -> Response:
        model = self.model
        document: JsonObject = {"ready": True, "name": model.bundle.manifest.name}
        if model.language is not None:
            width = 1 if self.one_by_one is not None else self.limits.together
            document = {**document, "together": width}
        if self.one_by_one is not None:
            document = {**document, "one_by_one": self.one_by_one}
        return json_response(document)

    async def _server(self, request: Request) -> Response:
        return json_response({"name": "edgekit", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def _metadata(self, request: Request) -> Response:
        return json_response(model_metadata(self.model))

    async def _metrics(self, request: Request) -> Response:
        labels = {"version": __version__}
        if self._model is not None:
            labels |= {"name": self._model.bundle.manifest.name, "task": self._model.bundle.manifest.task}
        ready = self._model is not None and not self.draining and self.worker.broken is None
        page = self.metrics.text(model=labels, ready=ready, waiting=self.worker.waiting, capacity=self.worker.capacity)
        return Response(200, page.encode(), KIND)

    async def _openapi(self, request: Request) -> Response:
        return json_response(openapi(self.model, self.limits, any_dimensions=self.any_dimensions))

    async def _models(self, request: Request) -> Response:
        entry: JsonObject = {"id": self.model.bundle.manifest.name, "object": "model", "created": 0, "owned_by": "edgekit"}
        return json_response({"object": "list", "data": [entry]} if request.path == "/v1/models" else entry)

    async def _infer(self, request: Request) -> Response:
        model = self.model
        infer = parse_infer(request, model, self.limits.batch)
        if model.language is None or infer.sampling is None:
            work = steps(model, infer.items, place=infer.place, top_k=infer.top_k)
        else:
            self.worker.check_room()
            await self._compiled(model.language, infer.sampling.constraint, "parameters")
            prompts = await asyncio.to_thread(prepare, model.language, infer.items, infer.place)
            work = generated(prompts, infer.sampling, infer.place, self.stream)
        answers, _ = await self._answers(work)
        return answer_response(model, infer, answers)

    async def _embeddings(self, request: Request) -> Response:
        model, document = self.model, parse_json(request.body)
        _check_model(document, model)
        sizes = sizes_of(model, any_dimensions=self.any_dimensions)
        embedding = parse_embeddings(document, self.limits.batch, sizes, model.reader.prompts)
        answers, tokens = await self._answers(steps(model, embedding.items, place=lambda number, _: f"input[{number}]"))
        return json_response(embedding_document(model.bundle.manifest.name, embedding, answers, tokens))

    async def _rerank(self, request: Request) -> Response:
        model, document = self.model, parse_json(request.body)
        _check_model(document, model)
        rerank = parse_rerank(document, self.limits.batch)
        answers, tokens = await self._answers(steps(model, rerank.items, place=rerank.place))
        return json_response(rerank_document(model.bundle.manifest.name, rerank, answers, tokens))

    async def _complete(self, request: Request, *, chat: bool) -> Response:
        model, document = self.model, parse_json(request.body)
        _check_model(document, model)
        name, language = model.bundle.manifest.name, model.language
        assert language is not None, "only language models have the route"
        context, batch = language.generation.context, self.limits.batch
        completion = text.parse_chat(document, name, context, batch) if chat else text.parse_completion(document, name, batch)
        self.worker.check_room()
        await self._compiled(language, await asyncio.to_thread(text.form_of, language, completion), completion.form)
        prompts = await asyncio.to_thread(text.prepare, language, completion)
        work = self._counted(text.generate(language, completion, prompts, self.stream))
        job = self.worker.submit(work, whole=not completion.stream)
        try:
            if not completion.stream:
                return json_response(text.document(completion, await job.all()))
            first = await anext(job)  # settings that cannot be used are refused before a status is sent
        except BaseException:
            job.cancel()
            raise

        def last(fault: Exception) -> tuple[int, bytes]:
            response = self._error_response(request.path, fault)
            assert isinstance(response.body, bytes), "refusals are not streams"
            return response.status, text.event(json.loads(response.body))

        stream = Stream(text.events(completion, first, job), job, last)
        return Response(200, stream, "text/event-stream", {"cache-control": "no-cache"})

    async def _compiled(self, language: LanguageModel, constraint: Constraint | None, where: str) -> None:
        """Compile what the answer's form asks for, one form at a time, in a thread: neither the event loop nor the model waits for it, nor
        requests without a new form.

        Raises:
            Refusal: 400 where it cannot be used, 501 where this machine lacks what it takes, 503 where too many others wait; `where` names the field.
        """
        if constraint is None:
            return
        try:
            if language.guides.known(constraint):
                await asyncio.to_thread(language.guides.compile, constraint)
                return
            if self._forms >= FORMS:
                what, fix = f"{FORMS} new forms of answers wait to be compiled", f"ask again in {FORM_SECONDS} s"
                raise Refusal(503, what, where=where, fix=fix, headers={"retry-after": str(FORM_SECONDS)})
            self._forms += 1
            try:
                await self._compiling.acquire()
            finally:
                self._forms -= 1
            made = asyncio.ensure_future(asyncio.to_thread(language.guides.compile, constraint))
            made.add_done_callback(self._was_compiled)  # not before: a client who leaves does not make the thread stop
            await asyncio.shield(made)
        except BadInput as fault:
            raise Refusal(400, fault.what, where=where, fix=fault.fix) from None
        except NotPossibleHere as fault:
            raise Refusal(501, fault.what, where=where, fix=f"have the server's owner {fault.fix}") from None

    def _was_compiled(self, made: asyncio.Future[Any]) -> None:
        """Let the next form be compiled."""
        self._compiling.release()
        if not made.cancelled():
            made.exception()  # seen, even where nobody waits for it any more

    async def _answers(self, work: Steps[ItemAnswer]) -> tuple[list[JsonObject], int]:
        """(answers, tokens read in all) of `work`, done by the worker."""
        job = self.worker.submit(work, whole=True)
        try:
            items = await job.all()
        finally:
            job.cancel()
        tokens = sum(item.tokens_read for item in items)
        self.metrics.add(items=len(items), prompt=tokens, generated=sum(item.tokens_generated for item in items))
        return [item.answer for item in items], tokens

    def _counted(self, work: Steps[text.PromptPiece]) -> Steps[text.PromptPiece]:
        """`work` of a language model; its tokens are added to the metrics as they come."""
        prompt = -1
        with closing(work):
            for made in work:
                if made is not None:
                    new, prompt = made.prompt != prompt, made.prompt
                    generated = int(made.piece.token is not None)
                    self.metrics.add(
                        items=int(new), prompt=made.prompt_tokens if new else 0, generated=generated, drafted=made.piece.drafted,
                        accepted=int(made.piece.accepted),
                    )  # fmt: skip
                yield made


def _no_route(path: str, model: Model) -> Refusal:
    """404 for `path`: another model, another version of it, a route that this bundle has not, or none that any has. Each says what to ask instead."""
    name, task = model.bundle.manifest.name, model.bundle.manifest.task
    base, _, rest = path[1:].partition("/models/")
    asked, _, rest = rest.partition("/")
    if base in ("v1", "v2") and asked not in ("", name):
        return Refusal(404, f"no such model: {asked[:60]!r}", where=path[:100], fix=f"ask /{base}/models/{name}")
    version = rest.removeprefix("versions/").partition("/")[0]
    if base == "v2" and rest.startswith("versions/") and version not in ("", VERSION):
        fix = f"leave it out, or ask /v2/models/{name}/versions/{VERSION}"
        return Refusal(404, f"no such version of {name}: {version[:60]!r}", where=path[:100], fix=fix)
    own, what, field = ASKED.get(task, (f"/v2/models/{name}/infer", "tensors", "inputs"))
    if model.language is not None and model.language.template is not None:
        own, what, field = CHAT, "a conversation", "messages"
    fix = f"send {what} ({field}) to {own}; /openapi.json has all routes"
    if path == CHAT and task == WRITES:
        return Refusal(404, f"{name} has no chat template, by which a conversation would be written", where=path, fix=fix)
    if path in ELSEWHERE:
        return Refusal(404, f"{name} is a bundle for {task}; this route is for {ELSEWHERE[path]}", where=path, fix=fix)
    return Refusal(404, f"no such route; {name} is a bundle for {task}", where=path[:100], fix=fix)


def _check_model(document: dict[str, object], model: Model) -> None:
    """Raise Refusal where the request names another model, or none."""
    requested, name = document.get("model"), model.bundle.manifest.name
    if not isinstance(requested, str):
        what = "no model named" if requested is None else f"{type(requested).__name__} is no name of a model"
        raise Refusal(400, what, where="model", fix=f"send {name!r}")
    if requested != name:
        raise Refusal(404, f"no model {requested[:60]!r} here", where="model", fix=f"send {name!r}")
