"""image-feature-extraction: an embedding of an image, of the length that the model gives it.

Rows are images alone: whatever labels they have say nothing of an embedding. Quality is the mean cosine to the original's own embedding of
the same image, as of texts alone in feature-extraction.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.models.image_tower import image_embedding
from edgekit.tasks.encoders.feature_extraction import answer, cosine_to_original, vector_difference
from edgekit.tasks.encoders.image_classification import made
from edgekit.tasks.losses import draw_direction, hard_direction, soft_direction
from edgekit.tasks.reference import Ask, Reference
from edgekit.tasks.task import Alone, EncoderTask

if TYPE_CHECKING:
    from edgekit.runtime.jsontypes import JsonObject, JsonValue
    from edgekit.runtime.tokenise import Window

__all__ = ["TASK"]


def evidence(outputs: list[np.ndarray], inputs: list[list[Window]], row: JsonObject, names: list[str]) -> list[float]:
    """The cosine to the original's embedding.

    Raises:
        BadInput: the original's embedding has another size.
    """
    return cosine_to_original(outputs[0][0], row, fix="keep the size of the original's embeddings")


def features_of(folder: Path, longest: int) -> Ask:
    """transformers' own embedding of an image, float32 (size,): get_image_features of a model of images and texts, image_embeds of CLIP's
    tower with its projection, else what the image-feature-extraction pipeline gives, pooled where the model is."""
    import torch
    import transformers
    from PIL import Image
    from transformers.image_utils import load_image

    reader = transformers.AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    projected = (config.architectures or [""])[0] == "CLIPVisionModelWithProjection"
    builder: Any = transformers.CLIPVisionModelWithProjection if projected else transformers.AutoModel
    model, said = builder.from_pretrained(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
    model.eval()
    drawn = any("pooler." in name for name in said["missing_keys"])  # a pooler that the file lacks, which transformers draws
    pipeline = transformers.pipeline("image-feature-extraction", model=model, image_processor=reader, device="cpu")

    def ask(item: JsonValue) -> np.ndarray:
        with Image.open(io.BytesIO(base64.b64decode(str(item)))) as image:
            read = load_image(image)
        if not projected and not hasattr(model, "get_image_features"):
            try:
                return np.asarray(pipeline(read)[0][0] if drawn else pipeline(read, pool=True)[0], dtype=np.float32)
            except ValueError:  # "No pooled output was returned": the model has none, and its first token is the class token
                return np.asarray(pipeline(read)[0][0], dtype=np.float32)
        with torch.no_grad():
            values = reader(read, return_tensors="pt")["pixel_values"]
            if projected:
                return np.asarray(model(pixel_values=values).image_embeds[0])
            features = model.get_image_features(pixel_values=values)
        return np.asarray(getattr(features, "pooler_output", features)[0])  # a tensor before transformers 5

    return ask


ALONE = Alone("cosine", answer, columns=("image",), unanswered={}, seen=True)
TASK = EncoderTask(
    name="image-feature-extraction",
    title="an embedding of an image",
    columns=("image",),
    metric=ALONE.metric,
    output="image_embedding",
    auto="AutoModel",
    per_token=False,
    items=lambda row: [row["image"]],
    labels=lambda row, windows, index: [-1] * len(windows),
    tensor=image_embedding,
    hard=hard_direction,
    soft=soft_direction,
    draw=draw_direction,
    evidence=evidence,
    reduce=lambda evidence: float(evidence.mean()),
    named=False,
    reads="image",
    supervised=False,
    alone=ALONE,
    reference=Reference("transformers' image features", features_of, vector_difference, inputs=made),
)
