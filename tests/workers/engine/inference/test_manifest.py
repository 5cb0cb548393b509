from __future__ import annotations

import re
from pathlib import Path

import pytest
from own_models import sha256, write_own_model

from project_root import ROOT
from workers.engine.errors import ManifestError
from workers.engine.inference import manifest
from workers.engine.inference.manifest import read_models
from workers.engine.inference.models import MODELS, Model, Precision
from workers.engine.inference.self_test import MIN_AGREEMENT_DB

PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")


def test_manifest_sets_every_field_of_the_model(tmp_path: Path) -> None:
    path = write_own_model(
        tmp_path, "mine", (2, 4), pad=24, feather=6, cpu_tile=96, gpu_tile=128, precision="bf16"
    )

    (model,) = read_models(tmp_path).values()

    assert (model.name, model.pad, model.feather) == ("mine", 24, 6)
    assert (model.cpu_tile, model.gpu_tile, model.precision) == (96, 128, Precision.BF16)
    assert [(network.stem, network.scale) for network in model.networks] == [("mine-x2", 2), ("mine-x4", 4)]
    first = model.networks[0]
    assert first.folder == path.parent
    assert first.files == {name: sha256(tmp_path / name) for name in ("mine-x2.param", "mine-x2.bin")}
    assert (first.input_blob, first.output_blob) == ("data", "output")


def test_models_are_found_one_folder_deep(tmp_path: Path) -> None:
    write_own_model(tmp_path, "first")
    write_own_model(tmp_path / "deeper", "second")
    write_own_model(tmp_path / "..data", "first")  # as Kubernetes mounts a folder
    (tmp_path / "notes.txt").write_text("not a manifest")

    found = read_models(tmp_path)

    assert list(found) == ["second", "first"]
    assert found["second"].networks[0].folder == tmp_path / "deeper"


def test_checksum_may_be_upper_case(tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    known = sha256(tmp_path / "mine-x2.bin")
    path.write_text(path.read_text().replace(known, known.upper()))

    assert read_models(tmp_path)["mine"].networks[0].bin_sha256 == known


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pad = 18", "pad = 18.0", "pad: Input should be a valid integer."),
        ("pad = 18", "", "pad: Field required."),
        ("pad = 18", "pad = -1", "pad: Input should be greater than or equal to 0."),
        ("pad = 18", "pad = 18\nfeather = 19", "feather: must not be more than pad."),
        ("pad = 18", "pad = 18\nfether = 1", "fether: Extra inputs are not permitted."),
        ("pad = 18", "pad = 18\ncpu_tile = 16", "cpu_tile: Input should be greater than or equal to 32."),
        ("pad = 18", 'pad = 18\nprecision = "int8"', "precision: Input should be 'fp32' or 'bf16'."),
        ("pad = 18", 'pad = 18\nname = "realesrgan-x4plus"', "name: realesrgan-x4plus is a built-in name."),
        ("pad = 18", 'pad = 18\nname = "auto"', "name: auto is a built-in name."),
        ("pad = 18", 'pad = 18\nname = "a b"', "name: String should match pattern"),
        ("pad = 18", "pad", "Expected '=' after a key in a key/value pair"),
        ("scale = 2", "scale = 8", "networks.0.scale: Input should be less than or equal to 4."),
        ('"mine-x2.param"', '"../mine-x2.param"', "networks.0.param: must be the name of a file beside"),
        ('"mine-x2.param"', '"/mine-x2.param"', "networks.0.param: must be the name of a file beside"),
        ('"mine-x2.param"', '"..\\\\mine-x2.param"', "networks.0.param: must be the name of a file beside"),
        ('"mine-x2.bin"', '"\\u0000.bin"', "networks.0.bin: must be the name of a file beside"),
        ('"mine-x2.bin"', '"mine-x3.bin"', "networks.0.bin: must be mine-x2.bin, as its param."),
        ('"mine-x2.param"', '"mine-x2.onnx"', "networks.0.param: String should match pattern"),
        ('bin_sha256 = "', 'bin_sha256 = "0', "networks.0.bin_sha256: String should match pattern"),
        ('input = "data"', "", "networks.0.input: Field required."),
    ],
)
def test_manifest_error_names_file_and_field(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_own_model(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new), "utf-8")

    with pytest.raises(ManifestError, match=re.escape(f"The manifest {path} cannot be used: {message}"[:-1])):
        read_models(tmp_path)


def test_manifest_error_lists_all_problems(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("pad = 600")

    with pytest.raises(ManifestError, match=r"pad: .*; networks: "):
        read_models(tmp_path)


def test_duplicate_model_name_is_rejected(tmp_path: Path) -> None:
    write_own_model(tmp_path)
    write_own_model(tmp_path / "deeper")

    with pytest.raises(
        ManifestError, match=r"mine\.toml cannot be used: name: another manifest has the name mine"
    ):
        read_models(tmp_path)


def test_duplicate_scale_is_rejected(tmp_path: Path) -> None:
    path = write_own_model(tmp_path, scales=(2, 3))
    path.write_text(path.read_text().replace("scale = 3", "scale = 2"))

    with pytest.raises(ManifestError, match="networks: two networks have the same scale"):
        read_models(tmp_path)


@pytest.mark.parametrize("content", [b"\xff", b"a = " + b"[" * 100_000, None])
def test_unreadable_manifest_is_rejected(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is None:
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(content)

    with pytest.raises(ManifestError, match=r"mine\.toml cannot be used: .*(decode|recursion|No such file)"):
        read_models(tmp_path)


def test_missing_models_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"There is no folder .*nowhere of models"):
        read_models(tmp_path / "nowhere")


@pytest.fixture
def documented_model(tmp_path: Path) -> Model:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "another-name.toml").write_text(example, "utf-8")
    (model,) = read_models(tmp_path).values()
    return model


def test_documented_manifest_is_valid(documented_model: Model, tmp_path: Path) -> None:
    assert documented_model.name not in MODELS
    assert f"`UPREZ_MODEL={documented_model.name}`" in PAGE
    assert f"`--model {documented_model.name}`" in PAGE
    (network,) = documented_model.networks
    assert network.scale == 4
    assert f"at least {MIN_AGREEMENT_DB:.0f} dB" in PAGE.replace("\n", " ")


def rows() -> dict[str, list[str]]:
    """Return the rows of the page's table: the first column maps to the other columns."""
    table = [re.split(r" ?\| ?", line)[1:-1] for line in PAGE.splitlines() if line.startswith("| `")]
    return {row[0]: row[1:] for row in table}


def test_every_manifest_field_is_documented() -> None:
    names = [name for first in rows() for name in re.findall(r"`(\w+)`", first)]
    model_fields, network_fields = manifest._Manifest.model_fields, manifest._Network.model_fields

    assert sorted(names) == sorted([*model_fields, *network_fields])
    for fields in (model_fields, network_fields):
        for name, field in fields.items():
            (row,) = (row for first, row in rows().items() if f"`{name}`" in first)
            if name != "name":
                default = "" if field.is_required() else str(field.default)
                assert default in row[-1].replace("`", "").split(", ")
    for name in ("pad", "feather", "cpu_tile", "scale"):
        field = {**model_fields, **network_fields}[name]
        (row,) = (row for first, row in rows().items() if f"`{name}`" in first)
        bounds = [getattr(bound, "ge", getattr(bound, "le", None)) for bound in field.metadata]
        assert all(str(bound) in row[-2] for bound in bounds), name
