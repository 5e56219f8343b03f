"""Losses against the label (hard) and against the teacher (soft), for the kinds of output that tasks have.

Shapes as in `edgekit.tasks.task`: a class for a window (b, k) or for a token (b, s, k), a span (b, s, 2), an embedding
(b, hidden size).
Soft losses are multiplied by temperature^2, so that gradients keep their size as it grows (Hinton et al. 2015, section 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "draw_class", "draw_direction", "draw_frames", "draw_labels", "draw_number", "draw_relevance", "draw_span", "hard_class", "hard_ctc",
    "hard_direction", "hard_labels", "hard_number", "hard_relevance", "hard_span", "has_label", "soft_class", "soft_direction", "soft_frames",
    "soft_labels", "soft_number", "soft_span",
]  # fmt: skip

UNIT = 1e-3
"""Largest difference from 1 of the squared length of a vector of length 1, in any number format."""
EVERY_FRAME = -2
"""What stands before labels of a CTC head that are of every frame."""
MASKED_LOGIT = -1e4
"""Logit of a padded position: its probability is 0 in float32."""


def hard_class(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each window; of tokens, their sum over the labelled ones divided by the batch's mean number of them."""
    import torch.nn.functional as F  # noqa: N812 - torch's own name for it

    if output.ndim == 2:
        return F.cross_entropy(output, labels, ignore_index=-1, reduction="none")
    each = F.cross_entropy(output.transpose(1, 2), labels, ignore_index=-1, reduction="none")
    return each.sum(dim=1) / ((labels >= 0).sum() / len(labels)).clamp(min=1)


def soft_class(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL(teacher / T || student / T), mean over windows, or over the tokens that carry a label where any does."""
    if student.ndim == 3:
        counted = _labelled(labels, mask)
        student, teacher = student[counted], teacher[counted]
    return temperature**2 * _divergence(student / temperature, teacher / temperature)


def _labelled(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """bool (b, s): labelled tokens of the windows that have labels, all real tokens of the others."""
    labelled = labels >= 0
    return labelled | (mask.bool() & ~labelled.any(dim=1, keepdim=True))


def draw_class(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A class for each window, or for each real token (-1 for padding), from the softmax."""
    import torch

    probabilities = torch.softmax(output, dim=-1)
    drawn = torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator)[:, 0].reshape(output.shape[:-1])
    return drawn if output.ndim == 2 else torch.where(mask.bool(), drawn, -1)


def hard_ctc(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Minus the log-probability of each window's text over all alignments, divided by its tokens (Graves et al. 2006); 0 where it has more
    tokens than frames. `labels` (b, 1 + n): the blank's number, then the text's, -1 after them; or `EVERY_FRAME`, then a token for each frame."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    if bool((labels[:, 0] == EVERY_FRAME).all()):
        return hard_class(output, torch.where(mask.bool(), labels[:, 1:], -1), mask)
    wanted, each = labels[:, 1:].clamp(min=0), F.log_softmax(output, dim=-1).transpose(0, 1)
    counts = (labels[:, 1:] >= 0).sum(dim=1)
    lost = F.ctc_loss(each, wanted, mask.sum(dim=1), counts, blank=int(labels[0, 0]), reduction="none", zero_infinity=True)
    return lost / counts.clamp(min=1)


def soft_frames(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL(teacher / T || student / T), mean over the real frames."""
    real = mask.bool()
    return temperature**2 * _divergence(student[real] / temperature, teacher[real] / temperature)


def draw_frames(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A token for each real frame, each from its own softmax, as CTC takes frames to be independent; behind `EVERY_FRAME`."""
    import torch

    drawn = draw_class(output, mask, generator)
    return torch.cat([torch.full_like(drawn[:, :1], EVERY_FRAME), drawn], dim=1)


def hard_labels(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over labels of the binary cross-entropy of each, as transformers trains `multi_label_classification`.

    `labels` (b, k): 1 where the label applies, 0 where it does not, -1 where nothing is known.
    """
    import torch.nn.functional as F  # noqa: N812

    each = F.binary_cross_entropy_with_logits(output, labels.clamp(min=0).to(output.dtype), reduction="none")
    return (each * (labels >= 0)).mean(dim=-1)


def soft_labels(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL of each label's two outcomes at temperature T, mean over labels and windows.

    One binary problem a label: Yang et al. 2023, "Multi-Label Knowledge Distillation" (arXiv 2308.06453), section 3.2, equation 3.
    """
    ours, theirs = (_outcomes(logits / temperature) for logits in (student, teacher))
    return temperature**2 * _divergence(ours, theirs)


def _outcomes(logits: torch.Tensor) -> torch.Tensor:
    """(b, k) of a sigmoid -> (b k, 2) of the softmax that is the same."""
    import torch

    return torch.stack((logits, torch.zeros_like(logits)), dim=-1).flatten(0, -2)


def draw_labels(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each label applies with its own probability."""
    import torch

    return torch.bernoulli(torch.sigmoid(output), generator=generator).long()


def hard_number(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Squared error of each output (b, 1) from its number (b,), as transformers trains `regression`; 0 where that is NaN."""
    import torch

    return torch.where(labels.isnan(), 0.0, (output[:, 0] - labels.nan_to_num()).square())


def hard_relevance(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each logit (b, 1) to its relevance (b,) from 0 to 1, as cross-encoders are trained; 0 where that is NaN."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    each = F.binary_cross_entropy_with_logits(output[:, 0], labels.nan_to_num().to(output.dtype), reduction="none")
    return torch.where(labels.isnan(), 0.0, each)


def draw_relevance(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Relevant (1.0) or not (0.0), with the probability that the logit says."""
    import torch

    return torch.bernoulli(torch.sigmoid(output[:, 0]), generator=generator)


def soft_number(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean squared error to the teacher's numbers: T^2 times that of numbers divided by T, whatever T is.

    Of logits it is what distillation by a softmax tends to at high temperatures (Hinton et al. 2015, section 2.1).
    """
    return (student - teacher).square().mean()


def draw_number(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A number about each output with variance 1/2, of which the squared error is the Gaussian log-likelihood."""
    import torch

    return output[:, 0] + torch.randn(len(output), generator=generator) / 2**0.5


def has_label(labels: torch.Tensor) -> torch.Tensor:
    """bool (b,): whether each window, or any token of it, has a label."""
    known = ~labels.isnan() if labels.is_floating_point() else labels >= 0
    return known.flatten(1).any(dim=1) if labels.ndim > 1 else known


def hard_span(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the cross-entropies of start and end over the real tokens (Devlin et al. 2019, section 4.2)."""
    import torch.nn.functional as F  # noqa: N812

    logits = _real(output, mask)
    sides = [F.cross_entropy(logits[:, :, side], labels[:, side], ignore_index=-1, reduction="none") for side in (0, 1)]
    return (sides[0] + sides[1]) / 2


def soft_span(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T^2 KL over positions, mean of start and end."""
    ours, theirs = (_real(logits, mask).transpose(1, 2).flatten(0, 1) / temperature for logits in (student, teacher))
    return temperature**2 * _divergence(ours, theirs)


def draw_span(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A start and an end for each window, each from its softmax."""
    import torch

    probabilities = torch.softmax(_real(output, mask), dim=1).transpose(1, 2)
    return torch.multinomial(probabilities.flatten(0, 1), 1, generator=generator)[:, 0].reshape(-1, 2)


def hard_direction(output: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Minus the inner product of each embedding with a direction (b, hidden size); 0 without directions (labels of one dimension)."""
    return output.sum(dim=-1) * 0 if labels.ndim == 1 else -(output * labels).sum(dim=-1)


def soft_direction(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """1 - cosine with the teacher's embedding where sizes are equal, plus the squared error of all similarities in the batch.

    The second alone compares embeddings of different sizes (Tung and Mori 2019, similarity-preserving distillation). Where they have
    lengths of their own, half the squared distance stands for the first, which is the same for length 1, and both are in units of the
    teacher's mean squared length.
    """
    similar = (student @ student.T - teacher @ teacher.T).square().mean()
    if _unit(student) and _unit(teacher):
        return similar if student.shape != teacher.shape else (1.0 - (student * teacher).sum(dim=-1)).mean() + similar
    scale = teacher.square().sum(dim=-1).mean().clamp(min=1e-12)
    similar = similar / scale**2
    return (
        similar if student.shape != teacher.shape else (student - teacher).square().sum(dim=-1).mean() / (2 * scale) + similar
    )


def _unit(vectors: torch.Tensor) -> bool:
    return bool(((vectors.detach().square().sum(dim=-1) - 1).abs() < UNIT).all())


def draw_direction(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian directions: the gradient along them is what the Fisher information of a Gaussian output is made of."""
    import torch

    return torch.randn(output.shape, generator=generator)


def _real(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return logits.masked_fill(~mask.bool()[:, :, None], MASKED_LOGIT)


def _divergence(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F  # noqa: N812

    return F.kl_div(F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), reduction="batchmean", log_target=True)
