"""Limits of a server against overload and abuse: bytes, texts, queued requests, connections and seconds."""

from __future__ import annotations

from dataclasses import dataclass, fields

from edgekit.runtime.errors import BadInput

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The limits of a server."""

    body: int = 1_048_576
    """Bytes of a request's body, where the bundle reads texts; more: 413."""
    file_body: int = 16_777_216
    """The same where it reads images or sounds, of whose files base64 makes a third more."""
    bodies: int = 268_435_456
    """Bytes of all bodies that are held at once, one of any size that may be sent in any case; more: 503."""
    batch: int = 64
    """Texts in one request; more: 413."""
    queue: int = 64
    """Requests that wait for the model beside the one it works on; more: 503."""
    together: int = 8
    """Answers of a language model that are generated together; more wait in the queue. 1: one after another."""
    cache: int = 1_073_741_824
    """Bytes of the keys and values of all answers that are generated together; a prompt that has no room in them: 400."""
    connections: int = 256
    """Open at once, or as many as the process may have descriptors for; more: 503."""
    head: int = 16_384
    """Bytes of a request line and its headers; more: 431."""
    head_seconds: float = 10.0
    """For the whole head of a request, from its first byte or the start of the connection."""
    body_seconds: float = 30.0
    """For the whole body of a request."""
    idle_seconds: float = 60.0
    """Between two requests of a connection."""
    write_seconds: float = 30.0
    """For a client to take what was sent to it."""
    linger_seconds: float = 2.0
    """A refused body is read for so long still, because a client that is sending does not read the response."""
    step_seconds: float = 600.0
    """For one run of the model, or for reading one prompt; after more it is taken to hang, and the server ends."""
    drain_seconds: float = 30.0
    """From when the server is told to shut down to its end; nine tenths of them are for requests in progress."""

    def __post_init__(self) -> None:
        """Check that everything is positive.

        Raises:
            BadInput: every field that is not.
        """
        faults = [
            f"{field.name}: {getattr(self, field.name)!r} is not above 0"
            for field in fields(self)
            if not getattr(self, field.name) > 0
        ]
        if faults:
            raise BadInput("a server's limits", faults=faults)
