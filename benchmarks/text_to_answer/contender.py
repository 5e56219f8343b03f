"""One contender in a process of its own: it answers as many texts as it is told on standard input, and says how long that took.

`python -m benchmarks.text_to_answer.contender SPEC`, SPEC being JSON: {"kind", "task", "folder", "texts", "threads", "kept"}. A line {"one": [texts]}
is answered with nanoseconds for each, {"graph": [texts]} with those of the graph alone, {"all": count, "workers": n} with seconds for so
many, those of CPU time, and of these the ones of the thread that asks.
Run with another Python's packages before its own (PYTHONPATH) for libraries that cannot be installed beside this project's.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 32
"""What sentence-transformers takes where nothing is said."""
INT8 = "model_qint8_avx512_vnni.onnx"
SETTINGS: dict[str, dict[str, Any]] = {"token-classification": {"aggregation_strategy": "first"}}
"""Of transformers.pipeline, by task: entities rather than tokens, as a bundle gives them."""
CLASSES = {"text-classification": "SequenceClassification", "token-classification": "TokenClassification"}
One = Callable[[str], Any]
Many = Callable[[list[str], int], Any]


def edgekit_bundle(spec: dict[str, Any]) -> tuple[One, Many, One]:
    """The bundle in Python: (an answer, many answers on so many cores, the graph alone on a text that was tokenised before)."""
    from edgekit.runtime.model import load
    from edgekit.runtime.processors import processor

    model = load(spec["folder"], threads=1)
    prepare, feeds = processor(spec["task"]).prepare, {}
    for text in {*json.loads(Path(spec["texts"]).read_text(encoding="utf-8"))}:
        (window,) = prepare(model.reader, text)
        feeds[text] = window.feed()
    return (
        model,
        lambda texts, workers: model(texts, workers=workers),
        lambda text: model.session.run(model.output_names, feeds[text])[0],
    )


def pipeline(spec: dict[str, Any]) -> tuple[One, Many, One]:
    """transformers.pipeline on the original, in PyTorch; of embeddings its vectors are averaged and made of length 1, as the model is meant."""
    import torch
    import transformers

    torch.set_num_threads(spec["threads"])
    made = transformers.pipeline(spec["task"], model=spec["folder"], device="cpu", **SETTINGS.get(spec["task"], {}))
    if spec["task"] != "feature-extraction":
        return made, lambda texts, workers: made(texts, batch_size=BATCH), made

    def embed(text: str) -> Any:
        return torch.nn.functional.normalize(made(text, return_tensors=True)[0].mean(dim=0), dim=0).tolist()

    return embed, lambda texts, workers: [embed(text) for text in texts], embed


def int8(spec: dict[str, Any]) -> tuple[One, Many, One]:
    """The original in ONNX INT8 by the libraries' own hands: optimum's quantizer and model in transformers.pipeline, or sentence-transformers."""
    import onnxruntime

    options, kept = onnxruntime.SessionOptions(), Path(spec["kept"])
    options.intra_op_num_threads = spec["threads"]
    if spec["task"] == "feature-extraction":
        from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

        if not (kept / "onnx" / INT8).is_file():
            made = SentenceTransformer(spec["folder"], backend="onnx", model_kwargs={"export": True})
            made.save_pretrained(str(kept))
            export_dynamic_quantized_onnx_model(made, "avx512_vnni", str(kept))
        model = SentenceTransformer(
            str(kept),
            backend="onnx",
            model_kwargs={"file_name": f"onnx/{INT8}", "session_options": options},
            local_files_only=True,
        )
        return (
            lambda text: model.encode(text, show_progress_bar=False),
            lambda texts, workers: model.encode(texts, batch_size=BATCH, show_progress_bar=False),
            model.encode,
        )
    from optimum import onnxruntime as optimum
    from transformers import AutoTokenizer
    from transformers import pipeline as transformers_pipeline

    model_class = getattr(optimum, f"ORTModelFor{CLASSES[spec['task']]}")
    if not (kept / "model_quantized.onnx").is_file():
        whole = model_class.from_pretrained(exportable(spec["folder"], kept / "original"), export=True)
        whole.save_pretrained(kept / "whole")
        quantizer = optimum.ORTQuantizer.from_pretrained(kept / "whole", file_name="model.onnx")
        quantizer.quantize(
            save_dir=kept, quantization_config=optimum.AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
        )
    model = model_class.from_pretrained(kept, file_name="model_quantized.onnx", session_options=options)
    tokenizer = AutoTokenizer.from_pretrained(spec["folder"])
    made = transformers_pipeline(spec["task"], model=model, tokenizer=tokenizer, **SETTINGS.get(spec["task"], {}))
    return made, lambda texts, workers: made(texts, batch_size=BATCH), made


def exportable(folder: str, copy: Path) -> str:
    """`folder`, or a copy of the model in it that optimum can export: with rows for two texts, where it knows one, as optimum tries both."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    if getattr(AutoConfig.from_pretrained(folder), "type_vocab_size", 2) != 1:
        return folder
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    embeddings, model.config.type_vocab_size = model.base_model.embeddings, 2
    one = embeddings.token_type_embeddings.weight.data
    embeddings.token_type_embeddings.weight = torch.nn.Parameter(torch.cat([one, one]))
    model.save_pretrained(copy)
    AutoTokenizer.from_pretrained(folder).save_pretrained(copy)
    return str(copy)


KINDS = {"edgekit": edgekit_bundle, "pipeline": pipeline, "int8": int8}


def main() -> None:
    """Open the contender, then do what each line says."""
    spec = json.loads(sys.argv[1])
    one, many, graph = KINDS[spec["kind"]](spec)
    texts = json.loads(Path(spec["texts"]).read_text(encoding="utf-8"))
    out, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    print(json.dumps({"ready": sys.modules["tokenizers"].__version__}), file=out, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "all" in told:
            given = [texts[place % len(texts)] for place in range(told["all"])]
            cpu, own, begun = time.process_time(), time.thread_time(), time.perf_counter()
            many(given, told["workers"])
            answer: Any = {
                "seconds": time.perf_counter() - begun,
                "cpu": time.process_time() - cpu,
                "own": time.thread_time() - own,
            }
        else:
            ((name, given),) = told.items()
            done, answer = (graph if name == "graph" else one), []
            for text in given:
                start = time.perf_counter_ns()
                done(text)
                answer.append(time.perf_counter_ns() - start)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
