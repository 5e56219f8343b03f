"""A bundle behind HTTP: Open Inference Protocol v2, the OpenAI routes that fit its task, and Prometheus metrics.

`app` answers requests, independent of the transport. There are two transports: asyncio's streams (`transport`), without dependencies,
and ASGI on uvicorn (`edgekit.serve.asgi`).
"""
