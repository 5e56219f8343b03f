"""/v1/rerank as Jina's and Cohere's clients ask it: its request and response. Cohere's later clients ask the same at /v2/rerank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.serve.message import Refusal, check_names

__all__ = ["NEUTRAL", "RERANK_V1", "RERANK_V2", "RerankRequest", "parse_rerank", "rerank_document"]

RERANK_V1, RERANK_V2 = "/v1/rerank", "/v2/rerank"
NEUTRAL = ("user", "max_tokens_per_doc", "max_chunks_per_doc", "truncation", "priority")
"""Fields that clients send and that change nothing here: a passage is cut at the bundle's own limit."""
KEYS = ("model", "query", "documents", "top_n", "return_documents", *NEUTRAL)


@dataclass(frozen=True)
class RerankRequest:
    """A request, parsed."""

    query: str
    documents: list[str]
    top_n: int
    """How many results are wanted, at most as many as there are documents."""
    return_documents: bool

    @property
    def items(self) -> list[JsonObject]:
        """An input of the task for each document: scores do not depend on one another."""
        return [{"query": self.query, "passages": document} for document in self.documents]

    def place(self, number: int, part: str | None) -> str:
        """The field that is at fault where `part` of the item `number` is."""
        return "query" if part == "query" else f"documents[{number}]"


def parse_rerank(document: dict[str, object], batch: int) -> RerankRequest:
    """The request in a body, of at most `batch` documents.

    Raises:
        Refusal: 400 where anything in it cannot be used, 413 where it holds too many documents.
    """
    check_names([key for key, value in document.items() if value is not None], KEYS, "body")
    query, given = document.get("query"), document.get("documents")
    if not isinstance(query, str) or not query.strip():
        raise Refusal(400, "no text to rank by", where="query", fix="send a text")
    if not isinstance(given, list) or not given:
        raise Refusal(400, "no list of documents", where="documents", fix='send texts, or objects {"text": ...}')
    if len(given) > batch:
        raise Refusal(413, f"{len(given):,} documents are more than {batch}", where="documents", fix="send several requests")
    documents = [_text(one, f"documents[{number}]") for number, one in enumerate(given)]
    top_n = document.get("top_n")
    if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
        raise Refusal(400, f"{str(top_n)[:40]} is not a whole number from 1", where="top_n")
    returned = document.get("return_documents")
    if returned is not None and not isinstance(returned, bool):
        raise Refusal(400, "not true or false", where="return_documents")
    return RerankRequest(query, documents, min(len(documents), top_n or len(documents)), bool(returned))


def _text(given: object, where: str) -> str:
    text = given.get("text") if isinstance(given, dict) and set(given) == {"text"} else given
    if not isinstance(text, str):
        raise Refusal(400, "not a text", where=where, fix='send texts, or objects {"text": ...}')
    return text


def rerank_document(name: str, request: RerankRequest, answers: Sequence[JsonObject], tokens: int) -> JsonObject:
    """The response's body, from an answer of the processor for each document; `tokens`: of all documents, each with the query."""
    scores = [_score(answer["scores"]) for answer in answers]
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    results: list[JsonValue] = [
        {
            "index": index,
            "relevance_score": scores[index],
            **({"document": {"text": request.documents[index]}} if request.return_documents else {}),
            **({"truncated": True} if answers[index]["truncated"] else {}),
        }
        for index in order[: request.top_n]
    ]
    return {"object": "list", "model": name, "results": results, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _score(scores: JsonValue) -> float:
    assert isinstance(scores, list) and isinstance(scores[0], float), "a document has one score"
    return scores[0]
