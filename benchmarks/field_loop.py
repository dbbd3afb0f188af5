"""The training loop of the field's published code, as the baseline of benchmarks.

Pictures come from an ``ImageFolder`` and a ``DataLoader`` with as many workers as ours has; every
step runs the whole backbone on two fresh views of each, keeps gradients of its last block, and
forms the 65,536 outputs of DINO's head (as the code of Vaze et al., arXiv 2201.02609, and of its
followers does).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import timm
import torch
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.supcon import sup_con
from gcdflow.models.cut import block_names
from gcdflow.models.head import DINOHead
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE = [transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC)]
_TENSOR = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
FRESH = transforms.Compose(
    [*_SIZE, transforms.RandomCrop(224), transforms.RandomHorizontalFlip(), *_TENSOR]
)
PLAIN = transforms.Compose([*_SIZE, transforms.CenterCrop(224), *_TENSOR])


class TwoViews:
    """A transform applied twice."""

    def __init__(self, transform: Callable):
        self._transform = transform

    def __call__(self, image: Image.Image) -> list[Tensor]:
        return [self._transform(image) for _ in range(2)]


class FieldLoop:
    """A model of timm with random weights, its head and optimizer, over a folder of pictures."""

    def __init__(
        self,
        model: str,
        folder: Path,
        *,
        batch_size: int,
        device: torch.device,
        workers: int,
        out_dim: int,
    ):
        self.device = device
        self.backbone = timm.create_model(model, num_classes=0).requires_grad_(False)
        self.backbone.get_submodule(block_names(self.backbone)[-1]).requires_grad_(True)
        self.head = DINOHead(self.backbone.num_features, out_dim)
        self.net = nn.Sequential(self.backbone, self.head).to(device).train()
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)
        options = {
            "batch_size": batch_size,
            "num_workers": workers,
            "pin_memory": device.type == "cuda",
        }
        images = ImageFolder(str(folder), TwoViews(FRESH))
        endless = RandomSampler(images, num_samples=1_000_000)  # epoch after epoch, without a pause
        self.loader = DataLoader(images, sampler=endless, **options)
        self.plain_loader = DataLoader(ImageFolder(str(folder), PLAIN), **options)

    def steps(self) -> Iterator[int]:
        """Train; the number of images of each step."""
        for (first, second), classes in self.loader:
            views = torch.cat([first, second]).to(self.device, non_blocking=True)
            z1, z2 = self.net(views).chunk(2)
            labelled = torch.arange(len(classes), device=self.device) % 4 == 0
            labels = classes.to(self.device)[labelled].repeat(2)
            loss = 0.65 * info_nce(z1, z2) + 0.35 * sup_con(
                torch.cat([z1[labelled], z2[labelled]]), labels
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield len(classes)

    def training_speed(self, n_steps: int) -> float:
        """Images per second over some steps, after one that is not counted."""
        with contextlib.closing(self.steps()) as steps:
            next(steps)
            self._settle()
            began = time.perf_counter()
            n_images = sum(next(steps) for _ in range(n_steps))
            self._settle()
            return n_images / (time.perf_counter() - began)

    @torch.no_grad()
    def features_speed(self) -> float:
        """Images per second of a plain pass that gives the features of all pictures."""
        self.backbone.eval()
        began = time.perf_counter()
        found = [self.backbone(images.to(self.device)).cpu() for images, _ in self.plain_loader]
        return sum(map(len, found)) / (time.perf_counter() - began)

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
