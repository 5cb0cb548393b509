"""Enlarge an image with sr-vulkan on the CPU, as its documentation shows: ``MODEL SOURCE TARGET``."""

import os
import sys
from pathlib import Path

from sr_vulkan import sr_vulkan as sr

MODELS = {
    "realesr-animevideov3": ("MODEL_REALESRGAN_ANIMAVIDEOV3_UP2X", 2),
    "realesrgan-x4plus": ("MODEL_REALESRGAN_X4PLUS_UP4X", 4),
}
CPU = -1


def end(problem: str | None) -> None:
    """Exit without waiting for its threads, which may never end."""
    print(problem or "", file=sys.stderr, flush=True)
    os._exit(1 if problem else 0)


model, source, target = sys.argv[1:]
name, scale = MODELS[model]
sr.setDebug(True)  # prints the reason if it rejects a network
sr.init()  # negative without a Vulkan driver; the CPU does not need one
if sr.initSet(gpuId=CPU, cpuNum=len(os.sched_getaffinity(0))) != 0:
    end("it does not start on the CPU")
if sr.add(Path(source).read_bytes(), getattr(sr, name), 1, scale, format="png") <= 0:
    end(f"it rejects the image: {sr.getLastError()}")
content, *_ = sr.load(0)  # blocks until the result is ready
if content is None:
    end(f"error on the CPU: {sr.getLastError()}")
Path(target).write_bytes(content)
end(None)
