"""The operator's own ncnn models: a folder with a TOML manifest for each, in it or one folder deeper.

The networks are in the folder of their manifest. ``docs/models.md`` describes the manifest.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from domain.sizing import SCALE_FACTORS
from workers.engine.errors import ManifestError
from workers.engine.inference.models import MODELS, Model, Network, Precision
from workers.engine.options import AUTO, SMALLEST_TILE_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationInfo

_CPU_TILE = 200  # the value of the equally small animevideov3
_GPU_TILE = 192
_LARGEST_TILE = 4096
_LARGEST_PAD = 512  # larger than the receptive radius of any shipped network
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


def _check_file_name(name: str) -> str:
    """Reject a path to another folder. Links are followed, because Kubernetes mounts files as links."""
    if name.startswith(".") or any(character in name for character in "/\\\0"):
        raise PydanticCustomError("file_name", "must be the name of a file beside the manifest")
    return name


_FileName = Annotated[str, AfterValidator(_check_file_name)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
_Blob = Annotated[str, Field(pattern=r"^\S+$")]
_Tile = Annotated[int, Field(ge=SMALLEST_TILE_SIDE, le=_LARGEST_TILE)]


class _Network(BaseModel):
    model_config = _STRICT

    scale: int = Field(ge=min(SCALE_FACTORS), le=max(SCALE_FACTORS))
    param: Annotated[_FileName, Field(pattern=r".\.param$")]
    param_sha256: _Sha256
    bin: _FileName
    bin_sha256: _Sha256
    input: _Blob
    output: _Blob

    @field_validator("bin")
    @classmethod
    def _check_bin_name(cls, name: str, others: ValidationInfo) -> str:
        """Return the name of the weights.

        Raise PydanticCustomError unless it is that of ``param`` with the suffix .bin. An invalid ``param`` is
        not compared: it has its own error.
        """
        param = others.data.get("param")
        if param is not None and name != (expected := param.removesuffix(".param") + ".bin"):
            raise PydanticCustomError("bin_name", "must be {expected}, as its param", {"expected": expected})
        return name

    def network(self, folder: Path) -> Network:
        """Return the network with its files in this folder, and checksums in lower case."""
        return Network(
            self.param.removesuffix(".param"),
            self.scale,
            self.param_sha256.lower(),
            self.bin_sha256.lower(),
            self.input,
            self.output,
            folder=folder,
        )


class _Manifest(BaseModel):
    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    pad: int = Field(ge=0, le=_LARGEST_PAD)
    feather: int = Field(0, ge=0)
    cpu_tile: _Tile = _CPU_TILE
    gpu_tile: _Tile = _GPU_TILE
    precision: Literal["fp32", "bf16"] = "fp32"
    networks: list[_Network] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        """Return the name. Raise PydanticCustomError for ``auto`` and the names of the shipped models."""
        if name in {AUTO, *MODELS}:
            raise PydanticCustomError("name_taken", "{name} is a built-in name", {"name": name})
        return name

    @field_validator("feather")
    @classmethod
    def _check_feather(cls, feather: int, others: ValidationInfo) -> int:
        """Return the feather. Raise PydanticCustomError if it is more than the pad."""
        if feather > others.data.get("pad", feather):
            raise PydanticCustomError("feather", "must not be more than pad")
        return feather

    @field_validator("networks")
    @classmethod
    def _check_scales(cls, networks: list[_Network]) -> list[_Network]:
        """Return the networks. Raise PydanticCustomError if two have the same scale."""
        if len({network.scale for network in networks}) < len(networks):
            raise PydanticCustomError("scales", "two networks have the same scale")
        return networks

    def model(self, folder: Path) -> Model:
        """Return the model with its files in this folder."""
        return Model(
            self.name,
            tuple(network.network(folder) for network in self.networks),
            self.pad,
            self.feather,
            self.cpu_tile,
            self.gpu_tile,
            Precision(self.precision),
        )


def read_models(folder: Path) -> dict[str, Model]:
    """Return the models whose manifests are in ``folder``, by name, without reading their networks.

    Raise ManifestError, which names the manifest and each invalid field.
    """
    if not folder.is_dir():
        raise ManifestError(f"There is no folder {folder} of models.")
    found: dict[str, Model] = {}
    for path in _manifests(folder):
        model = read_manifest(path)
        if model.name in found:
            raise ManifestError(
                f"The manifest {path} cannot be used: name: another manifest has the name {model.name}."
            )
        found[model.name] = model
    return found


def read_manifest(path: Path) -> Model:
    """Return the model of this manifest. Raise ManifestError, as ``read_models`` does."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return _Manifest.model_validate({"name": path.stem} | content).model(path.parent)
    except ValidationError as reason:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in reason.errors()
        )
        raise ManifestError(f"The manifest {path} cannot be used: {problems}.") from None
    except (OSError, ValueError, RecursionError) as reason:  # unreadable, not TOML, or not UTF-8
        raise ManifestError(f"The manifest {path} cannot be used: {reason}.") from reason


def _manifests(folder: Path) -> Iterator[Path]:
    """Yield the .toml files of this folder and of its subfolders, sorted.

    Hidden files and folders are skipped.
    """
    for path in sorted([*folder.glob("*.toml"), *folder.glob("*/*.toml")]):
        # In a folder that Kubernetes mounts, each file exists a second time in folders with such names.
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
