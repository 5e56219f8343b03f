"""Metrics of a server, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

__all__ = ["KIND", "Metrics"]

KIND = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; upper ends of the latency histogram's buckets."""


class Metrics:
    """Counters since the start; safe from any thread. Labels are names of routes and statuses, never text of a request."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._amounts: Counter[str] = Counter({"items": 0, "prompt": 0, "generated": 0, "drafted": 0, "accepted": 0})
        self.in_flight = 0

    def begin(self) -> None:
        """A request has arrived."""
        with self._lock:
            self.in_flight += 1

    def end(self, route: str, status: int, seconds: float) -> None:
        """It was answered completely, with `status`, `seconds` after its arrival."""
        with self._lock:
            self.in_flight -= 1
            self._requests[route, status] += 1
            self._buckets.setdefault(route, [0] * (len(BOUNDS) + 1))[bisect_left(BOUNDS, seconds)] += 1
            self._seconds[route] += seconds

    def add(self, *, items: int = 0, prompt: int = 0, generated: int = 0, drafted: int = 0, accepted: int = 0) -> None:
        """Count texts answered, tokens read and generated, and of these those that were guessed before and that guesses saved a run of."""
        with self._lock:
            self._amounts.update(items=items, prompt=prompt, generated=generated, drafted=drafted, accepted=accepted)

    def text(self, *, model: dict[str, str], ready: bool, waiting: int, capacity: int) -> str:
        """The metrics page; `model` labels the bundle, `waiting`: requests in the queue, which holds `capacity`."""
        with self._lock:
            requests, seconds, amounts = dict(self._requests), dict(self._seconds), dict(self._amounts)
            buckets = {route: list(counts) for route, counts in self._buckets.items()}
            in_flight = self.in_flight
        errors: Counter[str] = Counter()
        for (route, status), count in requests.items():
            errors[route] += count if status >= 400 else 0
        lines = [
            *_family("edgekit_model_info", "gauge", "The bundle that is served.", [(model, 1)]),
            *_family("edgekit_ready", "gauge", "Whether the golden inputs passed and requests are taken.", [({}, int(ready))]),
            *_family("edgekit_requests_total", "counter", "Requests answered; status 499: the client left before the end.",
                     [({"route": route, "status": str(status)}, count) for (route, status), count in sorted(requests.items())]),
            *_family("edgekit_errors_total", "counter", "Requests answered with a status from 400 on.",
                     [({"route": route}, count) for route, count in sorted(errors.items())]),
            *_family("edgekit_in_flight_requests", "gauge", "Requests that are being answered.", [({}, in_flight)]),
            *_family("edgekit_queue_depth", "gauge", "Requests that wait for the model.", [({}, waiting)]),
            *_family("edgekit_queue_places", "gauge", "Requests that may wait; one more is refused with 503.", [({}, capacity)]),
            *_family("edgekit_items_total", "counter", "Texts answered.", [({}, amounts["items"])]),
            *_family("edgekit_tokens_total", "counter", "Tokens read from prompts and texts, and tokens made.",
                     [({"kind": kind}, amounts[kind]) for kind in ("prompt", "generated")]),
            *_family("edgekit_guesses_total", "counter", "Next tokens of language models that were guessed, and guesses that saved a run.",
                     [({"kind": kind}, amounts[kind]) for kind in ("drafted", "accepted")]),
            *_histogram("edgekit_request_seconds", "From a request's last byte to its answer's.", buckets, seconds),
            *_family("process_resident_memory_bytes", "gauge", "Memory of the server process.", [({}, _resident())]),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[dict[str, str], float]]) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *(_sample(name, labels, value) for labels, value in samples)]


def _histogram(name: str, text: str, buckets: dict[str, list[int]], seconds: dict[str, float]) -> list[str]:
    lines = _family(name, "histogram", text, [])
    for route, counts in sorted(buckets.items()):
        below = 0
        for bound, count in zip([*map(repr, BOUNDS), "+Inf"], counts, strict=True):
            below += count
            lines.append(_sample(f"{name}_bucket", {"route": route, "le": bound}, below))
        lines.append(_sample(f"{name}_sum", {"route": route}, seconds[route]))
        lines.append(_sample(f"{name}_count", {"route": route}, below))
    return lines


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident() -> int:
    """Bytes; 0 where the system does not say (no /proc)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
