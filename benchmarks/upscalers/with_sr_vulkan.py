"""sr-vulkan as its own page has it, on the CPU: ``MODEL SOURCE TARGET``."""

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
    """At once: its threads may keep a process for ever."""
    print(problem or "", file=sys.stderr, flush=True)
    os._exit(1 if problem else 0)


model, source, target = sys.argv[1:]
name, scale = MODELS[model]
sr.setDebug(True)  # says why it refuses a network
sr.init()  # negative without a Vulkan driver, which the CPU does not need
if sr.initSet(gpuId=CPU, cpuNum=len(os.sched_getaffinity(0))) != 0:
    end("it does not start on the CPU")
if sr.add(Path(source).read_bytes(), getattr(sr, name), 1, scale, format="png") <= 0:
    end(f"it does not take the picture: {sr.getLastError()}")
content, *_ = sr.load(0)  # waits
if content is None:
    end(f"on the CPU it says: {sr.getLastError()}")
Path(target).write_bytes(content)
end(None)
