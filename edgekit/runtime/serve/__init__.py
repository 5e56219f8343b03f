"""A bundle behind HTTP: Open Inference Protocol v2, the OpenAI routes that fit its task, and Prometheus metrics.

What is asked and answered is decided here once (`app`), apart from how bytes come and go. Two transports carry it: asyncio's streams
(`transport`), which need nothing installed, and an ASGI server (`edgekit.serve.asgi`).
"""
