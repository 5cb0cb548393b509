"""The commands in processes of their own: exit status, output, and error messages without a traceback."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_models import sha256, write_own_model
from PIL import Image
from running_service import Service

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = [
    "serve",
    "upscale",
    "doctor",
    "demo",
    "api",
    "worker",
    "user create",
    "user plan",
    "user subscription",
    "user quota",
    "db upgrade",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(uprez: Run, command: str) -> None:
    done = uprez(*command.split(), "--help", COLUMNS="100")

    assert done.returncode == 0
    assert "Usage: uprez" in done.stdout


# Rich would treat a variable in square brackets as markup and hide it.
@pytest.mark.parametrize(
    ("command", "variables"),
    [
        ("serve", ["UPREZ_HOST", "UPREZ_PORT", "UPREZ_DATA", "UPREZ_MODEL", "UPREZ_DEVICE"]),
        ("user create", ["UPREZ_DEFAULT_PLAN", "UPREZ_PASSWORD", "UPREZ_DATA"]),
    ],
)
def test_help_names_the_variable_of_each_option(uprez: Run, command: str, variables: list[str]) -> None:
    done = uprez(*command.split(), "--help", COLUMNS="200")

    assert [variable for variable in variables if variable not in done.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["upscale", "missing.png", "out.png"], 1, "There is no file missing.png."),
        (["upscale", "{text}", "out.png"], 1, "cannot be read as a JPEG, PNG, WebP, BMP, TIFF or GIF"),
        (["upscale", "{photo}", "nowhere/out.jpg"], 1, "There is no folder "),
        (
            ["upscale", "{photo}", "out.png"],
            1,
            "must have the format of photo.jpg. Use a file name such as out.jpg.",
        ),
        (["upscale", "{photo}", "out.jpg", "--scale", "5"], 2, "It must be 2, 3 or 4."),
        (
            ["upscale", "{photo}", "out.jpg", "--scale", "2", "--width", "300"],
            2,
            "It cannot be used together with",
        ),
        (["upscale", "{photo}", "out.jpg", "--model", "none"], 1, "There is no model 'none'"),
        (["upscale", "{photo}", "out.jpg", "--device", "vulkan:99"], 1, "There is no device 'vulkan:99'"),
        (["doctor", "--device", "vulkan:99"], 1, "There is no device 'vulkan:99'"),
        (["serve", "--port", "70000"], 1, "UPREZ_PORT is invalid (70000)"),
        (["user", "create", "--email", "no-address", "--name", "N"], 1, "must be a valid email address"),
        (["user", "create", "--email", "a@example.com", "--name", "N\n"], 1, "must not contain line breaks"),
        (
            ["user", "create", "--email", "a@example.com", "--name", "N", "--password", "short"],
            1,
            "must be at least 8 characters",
        ),
        (
            ["user", "create", "--email", "a@example.com", "--name", "N", "--plan", "gold"],
            1,
            "There is no plan 'gold'",
        ),
        (["demo", "missing.jpg"], 1, "There is no file missing.jpg."),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_error_has_a_message_and_no_traceback(
    uprez: Run, tmp_path: Path, photo: Path, arguments: list[str], status: int, message: str
) -> None:
    text = tmp_path / "text.png"
    text.write_text("not an image")
    arguments = [argument.format(text=text, photo=photo) for argument in arguments]

    done = uprez(*arguments, UPREZ_DATA=str(tmp_path / "data"), COLUMNS="200")

    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_user_create_prints_one_json_object(uprez: Run, tmp_path: Path) -> None:
    def create(*options: str) -> subprocess.CompletedProcess[str]:
        return uprez(
            "user", "create", "--email", "Jo@Example.com", "--name", "Jo", "--data", str(tmp_path), *options
        )

    created = json.loads(create("--plan", "starter", "--verified").stdout)

    assert created.pop("token").startswith(f"{created['id']}|")
    assert len(created.pop("password")) > 16
    assert created == {"id": 1, "email": "jo@example.com", "plan": "starter"}
    assert "already been taken" in create().stderr


def test_int8_network_is_cached_in_the_data_folder(uprez: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = {"UPREZ_PRECISION": "int8", "UPREZ_DATA": str(tmp_path / "data")}

    done = uprez(
        "upscale", str(photo), str(tmp_path / "out.jpg"), "--model", "realesrgan-x4plus-anime", **settings
    )

    assert done.returncode == 0, done.stderr
    (network,) = (tmp_path / "data" / "networks").iterdir()
    assert "int8" in network.name


# Only the service creates the folder, because it makes the folder private.
def test_doctor_creates_no_data_folder(uprez: Run, tmp_path: Path) -> None:
    settings = {"UPREZ_PRECISION": "int8", "UPREZ_MODEL": "realesrgan-x4plus-anime"}

    assert uprez("doctor", UPREZ_DATA=str(tmp_path / "data"), **settings).returncode == 0
    assert not (tmp_path / "data").exists()


def test_upscale_command_reaches_an_exact_size(uprez: Run, photo: Path, tmp_path: Path) -> None:
    done = uprez("upscale", str(photo), str(tmp_path / "out.jpg"), "--width", "250")

    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.jpg") as result:
        assert result.size == (250, 208)
    assert "96x80 → 250x208, realesr-animevideov3 on cpu" in done.stderr


def test_doctor_lists_devices_and_models(uprez: Run) -> None:
    done = uprez("doctor")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Device cpu" in done.stdout
    assert "Used: cpu" in done.stdout
    assert done.stdout.count("SHA-256") == done.stdout.count(" ok\n") >= 10


def test_additional_model_upscales_and_doctor_lists_it(uprez: Run, photo: Path, tmp_path: Path) -> None:
    write_own_model(tmp_path / "models", "mine")
    settings = {"UPREZ_MODELS": str(tmp_path / "models"), "UPREZ_DATA": str(tmp_path / "data")}

    by_option = uprez("upscale", str(photo), str(tmp_path / "one.jpg"), "--model", "mine", **settings)
    by_setting = uprez("upscale", str(photo), str(tmp_path / "two.jpg"), UPREZ_MODEL="mine", **settings)
    by_default = uprez("upscale", str(photo), str(tmp_path / "default.jpg"), **settings)

    assert by_option.returncode == by_setting.returncode == by_default.returncode == 0, by_option.stderr
    assert "96x80 → 192x160, mine on cpu" in by_option.stderr
    one, two, same = ((tmp_path / name).read_bytes() for name in ("one.jpg", "two.jpg", "default.jpg"))
    assert one == two == same  # the default model under another name
    listed = uprez("doctor", "--model", "mine", **settings)
    assert listed.returncode == 0, listed.stdout
    known = sha256(tmp_path / "models" / "mine-x2.bin")
    assert f"Model mine: mine-x2.bin, SHA-256 {known} ok" in listed.stdout
    assert "passes its self-test with mine (99 dB" in listed.stdout

    (tmp_path / "models" / "mine-x2.bin").write_bytes(b"damaged")
    listed = uprez("doctor", **settings)
    assert listed.returncode == 1
    assert "Problem: The network file mine-x2.bin is damaged or was changed" in listed.stdout
    (tmp_path / "models" / "mine.toml").write_text("pad = 18")
    failed = uprez("upscale", str(photo), str(tmp_path / "one.jpg"), **settings)
    assert failed.returncode == 1
    assert "mine.toml cannot be used: networks: Field required." in failed.stderr


def test_doctor_reports_choice_of_missing_model(uprez: Run) -> None:
    done = uprez("doctor", UPREZ_MODEL_CHOICES="fast=realesr-animevideov3,photo=mine")

    assert done.returncode == 1
    assert done.stdout.count("Problem: ") == 1
    assert "Problem: UPREZ_MODEL_CHOICES offers photo: There is no model 'mine'." in done.stdout


def test_doctor_reports_choice_that_needs_more_memory(uprez: Run) -> None:
    done = uprez("doctor", UPREZ_ENGINE_MEMORY_MB="400")

    assert done.returncode == 1
    for word in ("photo", "anime"):
        assert f"Problem: UPREZ_MODEL_CHOICES offers {word}: 400 MB of memory are" in done.stdout
    assert "offers fast" not in done.stdout


def test_second_service_in_the_same_folder_fails(uprez: Run, service: Service) -> None:
    done = uprez("serve", "--port", "0", "--data", str(service.folder))

    assert done.returncode == 1
    assert "choose another folder with --data" in done.stderr


def test_port_in_use_fails_before_start(uprez: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = uprez("serve", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path))

    assert done.returncode == 1
    assert "Choose another port with --port." in done.stderr


# "Ready" means that images can be upscaled, so the service waits for the worker.
def test_service_without_engine_is_not_ready(uprez: Run, tmp_path: Path) -> None:
    done = uprez("serve", "--port", "0", "--data", str(tmp_path), "--model", "nonsense")

    assert done.returncode == 1
    assert "There is no model 'nonsense'" in done.stderr
    assert "did not become ready" in done.stderr
    assert "ready at" not in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "pattern"),
    [
        ("UPREZ_DATABASE_URL", "postgres://me:hunter2@localhost/x", "UPREZ_DATABASE_URL|pip install"),
        ("UPREZ_DATABASE_URL", "no url", "UPREZ_DATABASE_URL is not a database URL"),
        ("UPREZ_BROKER_URL", "kafka://me:hunter2@localhost", "UPREZ_BROKER_URL must begin with"),
        (
            "UPREZ_MAIL_URL",
            "http://me:hunter2@localhost",
            r"UPREZ_MAIL_URL is invalid \(value hidden\): .*smtp://",
        ),
    ],
)
def test_unusable_url_is_rejected_and_hidden(
    uprez: Run, tmp_path: Path, variable: str, value: str, pattern: str
) -> None:
    done = uprez("serve", "--port", "0", "--data", str(tmp_path), **{variable: value})

    assert done.returncode == 1
    assert re.search(pattern, done.stderr)
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_data_folder_that_is_a_file_is_reported(uprez: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    done = uprez("serve", "--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "data") in done.stderr


# The token cannot be shown again, so a mail that cannot be written must not suppress it.
def test_user_create_prints_token_when_mail_fails(uprez: Run, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("no folder")
    done = uprez("user", "create", "--email", "a@example.com", "--name", "A", "--data", str(tmp_path))

    assert json.loads(done.stdout)["token"].startswith("1|")
    assert done.returncode == 1


def test_demo_upscales_the_given_image(photo: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uprez", "demo", str(photo)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("uprez-demo-*/upscaled-photo.jpg")
    assert str(result) in done.stdout
    assert Image.open(io.BytesIO(result.read_bytes())).size == (192, 160)
    assert "realesr-animevideov3 on cpu" in done.stdout
