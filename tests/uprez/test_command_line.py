"""The commands, as people and scripts meet them: exit status, words, and never a traceback."""

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
def test_every_command_explains_itself(uprez: Run, command: str) -> None:
    done = uprez(*command.split(), "--help", COLUMNS="100")

    assert done.returncode == 0
    assert "Usage: uprez" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["upscale", "missing.png", "out.png"], 1, "There is no file missing.png."),
        (["upscale", "{text}", "out.png"], 1, "cannot be read as a JPEG, PNG, WebP, BMP, TIFF or GIF"),
        (["upscale", "{photo}", "nowhere/out.jpg"], 1, "There is no folder"),
        (["upscale", "{photo}", "out.png"], 1, "keeps the format of photo.jpg: name it out.jpg"),
        (["upscale", "{photo}", "out.jpg", "--scale", "5"], 2, "2, 3 or 4"),
        (["upscale", "{photo}", "out.jpg", "--scale", "2", "--width", "300"], 2, "not together"),
        (["upscale", "{photo}", "out.jpg", "--model", "none"], 1, "There is no model 'none'; known are"),
        (["upscale", "{photo}", "out.jpg", "--device", "vulkan:99"], 1, "There is no device 'vulkan:99'"),
        (["doctor", "--device", "vulkan:99"], 1, "There is no device 'vulkan:99'"),
        (["serve", "--port", "70000"], 1, "UPREZ_PORT cannot be 70000"),
        (["user", "create", "--email", "nobody", "--name", "N"], 1, "must be a valid email address"),
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
def test_a_mistake_gets_a_sentence_and_no_traceback(
    uprez: Run, tmp_path: Path, photo: Path, arguments: list[str], status: int, words: str
) -> None:
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    arguments = [argument.format(text=text, photo=photo) for argument in arguments]

    done = uprez(*arguments, UPREZ_DATA=str(tmp_path / "data"), COLUMNS="200")

    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_user_is_told_as_one_json_object(uprez: Run, tmp_path: Path) -> None:
    def create(*more: str) -> subprocess.CompletedProcess[str]:
        return uprez(
            "user", "create", "--email", "Jo@Example.com", "--name", "Jo", "--data", str(tmp_path), *more
        )

    made = json.loads(create("--plan", "starter", "--verified").stdout)

    assert made.pop("token").startswith(f"{made['id']}|")
    assert len(made.pop("password")) > 16
    assert made == {"id": 1, "email": "jo@example.com", "plan": "starter"}
    assert "already been taken" in create().stderr


def test_a_network_in_8_bits_is_made_and_kept_in_the_data_folder(
    uprez: Run, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    settings = {"UPREZ_PRECISION": "int8", "UPREZ_DATA": str(tmp_path / "data")}

    done = uprez(
        "upscale", str(photo), str(tmp_path / "out.jpg"), "--model", "realesrgan-x4plus-anime", **settings
    )

    assert done.returncode == 0, done.stderr
    (network,) = (tmp_path / "data" / "networks").iterdir()
    assert "int8" in network.name


# A service that starts there later must be the one that makes it, for its owner alone.
def test_a_command_that_needs_no_data_folder_makes_none(uprez: Run, tmp_path: Path) -> None:
    settings = {"UPREZ_PRECISION": "int8", "UPREZ_MODEL": "realesrgan-x4plus-anime"}

    assert uprez("doctor", UPREZ_DATA=str(tmp_path / "data"), **settings).returncode == 0
    assert not (tmp_path / "data").exists()


def test_upscaling_alone_reaches_an_exact_size(uprez: Run, photo: Path, tmp_path: Path) -> None:
    done = uprez("upscale", str(photo), str(tmp_path / "out.jpg"), "--width", "250")

    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.jpg") as result:
        assert result.size == (250, 208)
    assert "96x80 → 250x208, realesr-animevideov3 on cpu" in done.stderr


def test_the_doctor_names_what_it_found(uprez: Run) -> None:
    done = uprez("doctor")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Device cpu" in done.stdout
    assert "Used: cpu" in done.stdout
    assert done.stdout.count("SHA-256") == done.stdout.count(" right") >= 10


def test_a_model_of_ones_own_upscales_and_is_listed_by_the_doctor(
    uprez: Run, photo: Path, tmp_path: Path
) -> None:
    write_own_model(tmp_path / "models", "mine")
    settings = {"UPREZ_MODELS": str(tmp_path / "models"), "UPREZ_DATA": str(tmp_path / "data")}

    by_option = uprez("upscale", str(photo), str(tmp_path / "one.jpg"), "--model", "mine", **settings)
    by_setting = uprez("upscale", str(photo), str(tmp_path / "two.jpg"), UPREZ_MODEL="mine", **settings)
    ours = uprez("upscale", str(photo), str(tmp_path / "ours.jpg"), **settings)

    assert by_option.returncode == by_setting.returncode == ours.returncode == 0, by_option.stderr
    assert "96x80 → 192x160, mine on cpu" in by_option.stderr
    one, two, same = ((tmp_path / name).read_bytes() for name in ("one.jpg", "two.jpg", "ours.jpg"))
    assert one == two == same  # it is ours by another name
    listed = uprez("doctor", "--model", "mine", **settings)
    assert listed.returncode == 0, listed.stdout
    known = sha256(tmp_path / "models" / "mine-x2.bin")
    assert f"Model mine: mine-x2.bin, SHA-256 {known} right" in listed.stdout
    assert "passes its self-test with mine (99 dB" in listed.stdout

    (tmp_path / "models" / "mine-x2.bin").write_bytes(b"damaged")
    listed = uprez("doctor", **settings)
    assert listed.returncode == 1
    assert "Problem: The network file mine-x2.bin is damaged or was changed" in listed.stdout
    (tmp_path / "models" / "mine.toml").write_text("pad = 18")
    refused = uprez("upscale", str(photo), str(tmp_path / "one.jpg"), **settings)
    assert refused.returncode == 1
    assert "mine.toml cannot be used: networks: Field required." in refused.stderr


def test_the_doctor_finds_choices_of_models_that_are_not_there(uprez: Run) -> None:
    done = uprez("doctor", UPREZ_MODEL_CHOICES="fast=realesr-animevideov3,photo=mine")

    assert done.returncode == 1
    assert done.stdout.count("Problem: ") == 1
    assert "Problem: UPREZ_MODEL_CHOICES offers photo, and there is no model 'mine'." in done.stdout


def test_the_doctor_finds_choices_of_models_for_which_memory_is_too_small(uprez: Run) -> None:
    done = uprez("doctor", UPREZ_ENGINE_MEMORY_MB="400")

    assert done.returncode == 1
    for word in ("photo", "anime"):
        assert f"Problem: UPREZ_MODEL_CHOICES offers {word}, and 400 MB of memory are too few" in done.stdout
    assert "offers fast" not in done.stdout


def test_two_services_do_not_share_a_folder(uprez: Run, service: Service) -> None:
    done = uprez("serve", "--port", "0", "--data", str(service.folder))

    assert done.returncode == 1
    assert "choose another folder with --data" in done.stderr


def test_a_port_in_use_is_said_before_anything_is_started(uprez: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = uprez("serve", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path))

    assert done.returncode == 1
    assert "choose another with --port" in done.stderr


# «Ready» is a promise that pictures are upscaled, so a worker that cannot is found out before.
def test_a_service_without_an_engine_does_not_say_that_it_is_ready(uprez: Run, tmp_path: Path) -> None:
    done = uprez("serve", "--port", "0", "--data", str(tmp_path), "--model", "nonsense")

    assert done.returncode == 1
    assert "There is no model 'nonsense'" in done.stderr
    assert "did not become ready" in done.stderr
    assert "ready at" not in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("UPREZ_DATABASE_URL", "postgres://me:hunter2@localhost/x", "UPREZ_DATABASE_URL|pip install"),
        ("UPREZ_DATABASE_URL", "no url", "UPREZ_DATABASE_URL is no URL"),
        ("UPREZ_BROKER_URL", "kafka://me:hunter2@localhost", "UPREZ_BROKER_URL must begin with"),
        ("UPREZ_MAIL_URL", "http://me:hunter2@localhost", "UPREZ_MAIL_URL cannot be what it is: .*smtp://"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_repeated(
    uprez: Run, tmp_path: Path, variable: str, value: str, words: str
) -> None:
    done = uprez("serve", "--port", "0", "--data", str(tmp_path), **{variable: value})

    assert done.returncode == 1
    assert re.search(words, done.stderr)
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_is_a_file_is_said(uprez: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    done = uprez("serve", "--port", "0", "--data", str(tmp_path / "data"))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "data") in done.stderr


# The token exists only in this answer: it must not go down with a mail that cannot be written.
def test_a_new_user_keeps_the_token_when_the_mail_cannot_be_written(uprez: Run, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("no folder")
    done = uprez("user", "create", "--email", "a@example.com", "--name", "A", "--data", str(tmp_path))

    assert json.loads(done.stdout)["token"].startswith("1|")
    assert done.returncode == 1


def test_the_demo_goes_the_whole_way_with_a_picture_of_ones_own(photo: Path, tmp_path: Path) -> None:
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
