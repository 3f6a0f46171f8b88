"""TableMLP: an efficient ensemble of multilayer perceptrons over embedded cells.

What it is: TabM (Gorishniy, Kotelnikov, Babenko 2024, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling"), with piecewise linear embeddings. M perceptrons share their matrices; each has its own scales before and
after every matrix, its own biases (BatchEnsemble, Wen et al. 2020, equation 1) and its own head. Members are trained
each on its own loss, and answer with the mean of their probabilities (or values).
What changed: the embedding is `TableEmbedding` (one code path for numbers, categories and missing cells), and the mean
probability is given as `logits`, so that whoever reads the output need not know that it is an ensemble.

B rows, C columns, D width of an embedding, M members, W width of a layer, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.nn.dropout import Dropout
from lamina.nn.precision import full_precision
from lamina.nn.table_embedding import TableEmbedding


class MemberLinear(nn.Module):
    """M linear maps that share one matrix: y_m = ((x_m * r_m) A) * s_m + b_m. (B, M or 1, in) -> (B, M, out).

    `signs=True` draws r from {-1, +1}, which is what makes the members differ; elsewhere r and s start at one.
    """

    def __init__(self, size: int, out: int, members: int, signs: bool = False) -> None:
        super().__init__()
        self.shared = nn.Linear(size, out, bias=False)
        self.scale_in = nn.Parameter(torch.ones(members, size))
        self.scale_out = nn.Parameter(torch.ones(members, out))
        self.bias = nn.Parameter(torch.empty(members, out))
        nn.init.uniform_(self.bias, -(size**-0.5), size**-0.5)
        if signs:
            with torch.no_grad():
                self.scale_in.bernoulli_(0.5).mul_(2).sub_(1)

    def forward(self, x_BMI: Tensor) -> Tensor:
        return self.shared(x_BMI * self.scale_in) * self.scale_out + self.bias


class MemberHead(nn.Module):
    """M linear maps with nothing in common: (B, M, in) -> (B, M, out)."""

    def __init__(self, size: int, out: int, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, size, out))
        self.bias = nn.Parameter(torch.empty(members, out))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)

    def forward(self, x_BMI: Tensor) -> Tensor:
        return torch.einsum("bmi,mio->bmo", x_BMI, self.weight) + self.bias


class TableMLP(nn.Module):
    """Rows of a table -> classes, or one number.

    `columns` is what `TableEmbedding` takes. With `classes` K the output is
    `{"logits": (B, K), "features": (B, W), "member_logits": (B, M, K)}`, where softmax(logits) is the mean of the
    members' probabilities. With `classes=None` it is
    `{"value": (B, 1), "features": (B, W), "member_values": (B, M)}` in the target's units, whose mean and standard
    deviation over the training rows are `target_mean` and `target_std`.
    """

    def __init__(
        self,
        columns: Sequence[Mapping[str, Any]],
        classes: int | None,
        width: int = 256,
        depth: int = 2,
        embedding: int = 16,
        members: int = 16,
        dropout: float = 0.1,
        target_mean: float = 0.0,
        target_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.embed = TableEmbedding(columns, embedding)
        sizes = [len(columns) * embedding] + [width] * depth
        self.layers = nn.ModuleList(
            MemberLinear(i, o, members, signs=n == 0) for n, (i, o) in enumerate(itertools.pairwise(sizes))
        )
        self.dropout = Dropout(dropout)
        self.head = MemberHead(width, classes or 1, members)
        self.classes = classes
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float32))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float32))

    def forward(self, x_BC: Tensor) -> dict[str, Tensor]:
        x_BMW = self.embed(x_BC).flatten(1)[:, None]
        for layer in self.layers:
            x_BMW = self.dropout(torch.relu(layer(x_BMW)))
        with full_precision(x_BC.device):  # bfloat16 would leave a regression only some hundred answers
            out_BMK = self.head(x_BMW.float())
        features_BW = x_BMW.mean(1).float()
        if self.classes is not None:
            log_p_BMK = torch.log_softmax(out_BMK, dim=-1)
            logits_BK = torch.logsumexp(log_p_BMK, dim=1) - torch.tensor(float(out_BMK.shape[1])).log()
            return {"logits": logits_BK, "features": features_BW, "member_logits": out_BMK}
        values_BM = out_BMK[..., 0] * self.target_std + self.target_mean  # type: ignore[operator]
        return {"value": values_BM.mean(1, keepdim=True), "features": features_BW, "member_values": values_BM}
