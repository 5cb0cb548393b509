"""Write an operator's own model: the networks of realesr-animevideov3 under other names, with a manifest."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

from workers.engine.inference.models import ANIMEVIDEO, weights_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_own_model(folder: Path, name: str = "mine", scales: Sequence[int] = (2,), **fields: Any) -> Path:
    """Write the model and return the path of its manifest.

    ``fields`` are fields of the model; there is one network for each of ``scales``.
    """
    folder.mkdir(exist_ok=True)
    lines = [f"{field} = {value!r}" for field, value in ({"pad": ANIMEVIDEO.pad} | fields).items()]
    for network in ANIMEVIDEO.networks:
        if network.scale in scales:
            stem = f"{name}-x{network.scale}"
            for end in ("param", "bin"):
                shutil.copy(weights_folder() / f"{network.stem}.{end}", folder / f"{stem}.{end}")
            lines += [
                "[[networks]]",
                f"scale = {network.scale}",
                f'param = "{stem}.param"',
                f'param_sha256 = "{sha256(folder / f"{stem}.param")}"',
                f'bin = "{stem}.bin"',
                f'bin_sha256 = "{sha256(folder / f"{stem}.bin")}"',
                'input = "data"',
                'output = "output"',
            ]
    manifest = folder / f"{name}.toml"
    manifest.write_text("\n".join(lines) + "\n", "utf-8")
    return manifest


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
