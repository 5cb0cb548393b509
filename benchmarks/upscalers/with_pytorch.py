"""Enlarge an image with PyTorch, untiled, with the weights of the ncnn files: ``MODEL PRECISION WEIGHTS SOURCE TARGET``."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle

FP16_TAG = 0x01306B47
SLOPE = 0.2


def convolution(channels: int, filters: int) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, 3, padding=1)


class DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [*(convolution(64 + 32 * index, 32) for index in range(4)), convolution(192, 64)]
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        *dense, last = self.convolutions
        collected = features
        for layer in dense:
            collected = torch.cat((collected, leaky_relu(layer(collected), SLOPE, inplace=True)), 1)
        return features + SLOPE * last(collected)


class Rrdb(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(DenseBlock(), DenseBlock(), DenseBlock())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + SLOPE * self.blocks(features)


class X4Plus(nn.Module):
    """RRDBNet of ESRGAN (https://arxiv.org/abs/1809.00219) with 23 blocks, as Real-ESRGAN uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = convolution(3, 64)
        self.trunk = nn.Sequential(*(Rrdb() for _ in range(23)), convolution(64, 64))
        self.upper = nn.ModuleList([convolution(64, 64) for _ in range(2)])
        self.detail = convolution(64, 64)
        self.last = convolution(64, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.first(image)
        features = features + self.trunk(features)
        for layer in self.upper:
            features = leaky_relu(layer(interpolate(features, scale_factor=2)), SLOPE, inplace=True)
        return self.last(leaky_relu(self.detail(features), SLOPE, inplace=True))


class AnimeVideo2x(nn.Module):
    """SRVGGNetCompact of Real-ESRGAN for 4×, with its output reduced to 2× as in the ncnn files."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [convolution(3, 64), nn.PReLU(64)]
        for _ in range(16):
            layers += [convolution(64, 64), nn.PReLU(64)]
        self.body = nn.Sequential(*layers, convolution(64, 48))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        larger = pixel_shuffle(self.body(image), 4) + interpolate(image, scale_factor=4)
        return interpolate(larger, scale_factor=0.5, mode="bicubic")


NETWORKS = {
    "realesr-animevideov3": (AnimeVideo2x, "REALESRGAN_ANIMAVIDEOV3_UP2X.bin"),
    "realesrgan-x4plus": (X4Plus, "REALESRGAN_X4PLUS_UP4X.bin"),
}


def fill(network: nn.Module, content: bytes) -> None:
    """Load the weights of an ncnn file.

    The layers are in their order. Convolution weights are 16-bit after a tag; all other numbers are 32-bit.
    """
    offset = 0

    def numbers(kind: type, like: torch.Tensor) -> torch.Tensor:
        nonlocal offset
        values = np.frombuffer(content, kind, like.numel(), offset).astype(np.float32)
        offset += -(-values.size * np.dtype(kind).itemsize // 4) * 4
        return torch.from_numpy(values).reshape(like.shape)

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            if int.from_bytes(content[offset : offset + 4], "little") != FP16_TAG:
                sys.exit("the weights have another format")
            offset += 4
            layer.weight.data = numbers(np.float16, layer.weight)
            layer.bias.data = numbers(np.float32, layer.bias)
        elif isinstance(layer, nn.PReLU):
            layer.weight.data = numbers(np.float32, layer.weight)
    if offset != len(content):
        sys.exit("the weights belong to another network")


model, precision, weights, source, target = sys.argv[1:]
torch.set_num_threads(len(os.sched_getaffinity(0)))
kind, file = NETWORKS[model]
network = kind()
fill(network, (Path(weights) / file).read_bytes())
number = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
network = network.eval().to(number, memory_format=torch.channels_last)
with Image.open(source) as image:
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
with torch.inference_mode():
    tensor = pixels.permute(2, 0, 1)[None].to(number, memory_format=torch.channels_last)
    larger = network(tensor)[0].permute(1, 2, 0).float()
    rounded = (larger.clamp(0, 1) * 255).round().byte().numpy()
Image.fromarray(rounded).save(target)
