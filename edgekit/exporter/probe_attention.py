"""SigLIP's head, in which one learned vector attends to all patches, in the linear maps that every other layer has.

torch keeps query, key and value of its MultiheadAttention in one tensor, which its exporter splits in every run, and asks for the query of
a vector that never changes. A head's score of a patch x is q·(Kx + k) for that query q, so (Kᵀq)·x and a number that is the same for all
patches, which the softmax takes out: one row a head stands for the whole map to keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["with_plain_heads"]


class ProbeAttention(torch.nn.Module):
    """(the probe, states (b, s, h), the same) -> (what the probe attends to, (b, 1, h), None), as torch's MultiheadAttention."""

    def __init__(self, attention: torch.nn.MultiheadAttention, probe: torch.Tensor) -> None:
        """`probe`: (1, 1, h), what asks in every run."""
        super().__init__()
        hidden, self.heads, self.size = attention.embed_dim, attention.num_heads, attention.head_dim
        query, key, value = attention.in_proj_weight.detach().chunk(3)
        query_bias, _, value_bias = attention.in_proj_bias.detach().chunk(3)
        asked = (probe.detach()[0, 0] @ query.T + query_bias).view(self.heads, 1, self.size) * self.size**-0.5
        self.scores, self.value = torch.nn.Linear(hidden, self.heads, bias=False), torch.nn.Linear(hidden, hidden)
        with torch.no_grad():
            self.scores.weight.copy_((asked @ key.view(self.heads, self.size, hidden))[:, 0])
            self.value.weight.copy_(value)
            self.value.bias.copy_(value_bias)
        self.out = attention.out_proj

    def forward(self, probe: torch.Tensor, states: torch.Tensor, again: torch.Tensor) -> tuple[torch.Tensor, None]:
        batch, length, hidden = states.shape
        shares = torch.softmax(self.scores(states).transpose(1, 2), dim=-1)[:, :, None]
        value = self.value(states).view(batch, length, self.heads, self.size).transpose(1, 2)
        attended = (shares @ value).transpose(1, 2).reshape(batch, 1, hidden)
        return self.out(attended), None


def with_plain_heads(model: PreTrainedModel) -> PreTrainedModel:
    """`model`, whose head is exchanged where a probe attends in it."""
    for module in list(model.modules()):
        attention, probe = getattr(module, "attention", None), getattr(module, "probe", None)
        if isinstance(attention, torch.nn.MultiheadAttention) and isinstance(probe, torch.Tensor):
            module.attention = ProbeAttention(attention, probe)
    return model
