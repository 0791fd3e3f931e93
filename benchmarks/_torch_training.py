"""The yardstick on a GPU: a training step of the same network as PyTorch's users write it.

timm's EfficientNet-Lite0, heads of the same layers, the same losses, flips and mixup, channels
last, autocast, fused AdamW, `torch.compile`; pictures are uploaded on a stream of their own while
the step before is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional

from benchmarks._packed import Batches
from schema import features
from trainer.label_space import LabelSpace
from trainer.options import Options

BACKBONES = {
    "efficientnetlite0": "tf_efficientnet_lite0",
    "efficientnetlite2": "tf_efficientnet_lite2",
}
"""timm's names."""

_IGNORED = -100
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

Batch = tuple[torch.Tensor, dict[str, torch.Tensor]]


class Network(nn.Module):
    """Backbone and plain heads, from pictures (N, 3, H, W), 0 to 255, to scores by head.

    Args:
        options: Section `model`.
        labels: What is named.
    """

    def __init__(self, options: Options, labels: LabelSpace):
        super().__init__()
        settings = options["model"]
        self.backbone = timm.create_model(BACKBONES[settings["backbone"]], num_classes=0)
        width = self.backbone.num_features
        units = settings["dense_units"]
        counts = dict(labels.single_levels())
        counts |= {f"type {name}": len(of) for name, of in labels.attribute_types.items()}
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(width, units),
                    nn.ReLU(inplace=True),
                    nn.Linear(units, units),
                    nn.ReLU(inplace=True),
                    nn.Dropout(settings["dropout"]),
                    nn.Linear(units, count),
                )
                for name, count in counts.items()
            }
        )

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each head's scores (N, C)."""
        found = self.backbone(pictures * (1 / 128) - 127 / 128)
        return {name: head(found) for name, head in self.heads.items()}


class Training:
    """Steps of a training.

    Args:
        options: All sections; heads must be plain, and the attributes exclude one another.
        labels: What is named.
        precision: `float16`, `bfloat16` or `float32`.
        compiled: A mode of `torch.compile`, or `none`.
        steps: Steps of the whole training, over which the learning rate falls.
    """

    def __init__(
        self, options: Options, labels: LabelSpace, precision: str, compiled: str, steps: int
    ):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        self._options = options
        self._types = {
            name: torch.tensor(of, device=self.device)
            for name, of in labels.attribute_types.items()
        }
        self._levels = [level for level, _ in labels.single_levels()]
        self._dtype = _DTYPES[precision]
        self.network = Network(options, labels).to(self.device, memory_format=torch.channels_last)
        self._kernels = [of for of in self.network.heads.parameters() if of.ndim > 1]
        settings = options["training"]
        variables = list(self.network.parameters())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [of for of in variables if of.ndim > 1]},
                {"params": [of for of in variables if of.ndim < 2], "weight_decay": 0.0},
            ],
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: (1 + math.cos(math.pi * min(1, step / steps))) / 2
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        alpha = torch.tensor(settings["mixup_alpha"], device=self.device)
        self._parts = torch.distributions.Beta(alpha, alpha)
        self._loss = self._loss_of
        if compiled != "none":
            self._loss = torch.compile(self._loss_of, mode=compiled, dynamic=False)

    def step(self, batch: Batch) -> None:
        """One step; returns before the device has done it."""
        pictures, labels = batch
        count = len(pictures)
        own = self._parts.sample((count,))
        own = torch.maximum(own, 1 - own)
        flip = self._options["augmentation"]["flip_probability"]
        flipped = torch.rand(count, device=self.device) < flip
        torch.compiler.cudagraph_mark_step_begin()
        loss = self._loss(pictures, labels, own, flipped)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._schedule.step()

    def _loss_of(
        self,
        pictures: torch.Tensor,
        labels: dict[str, torch.Tensor],
        own: torch.Tensor,
        flipped: torch.Tensor,
    ) -> torch.Tensor:
        # (N, H, W, 3) in memory already is channels last.
        pictures = pictures.permute(0, 3, 1, 2).float()
        pictures = torch.where(flipped[:, None, None, None], pictures.flip(3), pictures)
        part = own[:, None, None, None]
        pictures = part * pictures + (1 - part) * pictures.roll(1, 0)
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            scores = self.network(pictures)
        scores = {name: of.float() for name, of in scores.items()}
        losses = own * self._losses(scores, labels)
        partners = {level: of.roll(1, 0) for level, of in labels.items()}
        losses = losses + (1 - own) * self._losses(scores, partners)
        penalty = sum(of.square().sum() for of in self._kernels)
        return losses.mean() + self._options["model"]["l2"] * penalty

    def _losses(
        self, scores: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """All levels' losses of each product, (N)."""
        weights = self._options["training"]
        total = 0.0
        for level in self._levels:
            weight = weights[f"{level if level in features.LEVELS else 'extra_labels'}_weight"]
            total = total + weight * functional.cross_entropy(
                scores[level], labels[level], ignore_index=_IGNORED, reduction="none"
            )
        for name, of in self._types.items():
            logarithms = functional.log_softmax(scores[f"type {name}"], -1)
            said = labels[features.ATTRIBUTES].index_select(1, of)
            total = total - weights["attributes_weight"] * (said * logarithms).sum(-1)
        return total

    def uploaded(self, batches: Batches) -> Iterator[Batch]:
        """The batches on the device, each on its way while the one before is used."""
        if self.device.type == "cpu":
            for index in range(len(batches)):
                yield _tensors(batches[index])
            return
        beside = torch.cuda.Stream()

        def upload(index: int) -> Batch:
            pictures, labels = _tensors(batches[index])
            with torch.cuda.stream(beside):
                return self._upload(pictures), {
                    level: self._upload(of) for level, of in labels.items()
                }

        coming = upload(0)
        for index in range(len(batches)):
            current = torch.cuda.current_stream()
            current.wait_stream(beside)
            batch = coming
            if index + 1 < len(batches):
                coming = upload(index + 1)
            for tensor in (batch[0], *batch[1].values()):
                tensor.record_stream(current)
            yield batch

    def _upload(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def synchronize(self) -> None:
        """Waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def trained_parameters(self) -> int:
        """Number of what the steps change by gradients."""
        return sum(of.numel() for of in self.network.parameters())


def _tensors(batch: tuple[np.ndarray, dict[str, np.ndarray]]) -> Batch:
    pictures, labels = batch
    return torch.from_numpy(pictures), {
        level: torch.from_numpy(np.where(of < 0, _IGNORED, of)) for level, of in labels.items()
    }
