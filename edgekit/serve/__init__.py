"""The uvicorn transport of `edgekit serve`; the server itself is `edgekit.runtime.serve`."""
