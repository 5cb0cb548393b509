"""Enlarge an image with ncnn alone, in 32 bits and in one piece: ``NETWORK WEIGHTS SOURCE TARGET``."""

import os
import sys

import ncnn
import numpy as np
from PIL import Image

name, weights, source, target = sys.argv[1:]
network = ncnn.Net()
network.opt.num_threads = len(os.sched_getaffinity(0))
network.opt.use_bf16_storage = False
network.load_param(f"{weights}/{name}.param")
network.load_model(f"{weights}/{name}.bin")
with Image.open(source) as image:
    planar = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1), dtype=np.float32) / np.float32(255)
with network.create_extractor() as extractor:
    extractor.input("data", ncnn.Mat(planar))
    status, output = extractor.extract("output")
    larger = np.array(output)
if status != 0:
    sys.exit(f"ncnn failed: {status}")
rounded = (np.clip(larger, 0, 1) * 255 + 0.5).astype(np.uint8)
Image.fromarray(np.ascontiguousarray(rounded.transpose(1, 2, 0))).save(target)
