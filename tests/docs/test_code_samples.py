"""Every code sample of the contract, run against a service, and what it was to bring about."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml
from PIL import Image

from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.docs.conftest import Customer, Run, Town

    Environment = Mapping[str, str]

PASSWORD = "Correct1Horse"
ADDRESS = "http://127.0.0.1:8000"
DOCUMENT = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
METHODS = {"get", "post", "put", "patch", "delete"}
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if method in METHODS
}


@dataclass(frozen=True)
class Language:
    command: tuple[str, ...]
    file: str
    success: str
    """How it prints that the answer's `success` is true."""


LANGUAGES = {
    "Shell": Language(("bash", "-eu"), "sample.sh", '"success":true'),
    "Python": Language((sys.executable, "-W", "error"), "sample.py", "'success': True"),
    "JavaScript": Language(("node",), "sample.mjs", "success: true"),
    "PHP": Language(
        ("php", "-d", "error_reporting=-1", "-d", "display_errors=stderr"), "sample.php", "[success] => 1"
    ),
}
NEEDED = {
    "Shell": "curl --version",
    "Python": "true",
    "JavaScript": "node --version",
    "PHP": "php --modules | grep -x curl",
}


ID = r'(?:^|"data":{"id":)(\d+)'
"""As the samples print it: by itself, or within the answer."""


@dataclass
class Scene:
    """Where a sample runs: in a folder with a photo, against a service where it has an account."""

    town: Town
    customer: Customer
    photo: Path
    folder: Path
    language: Language
    printed: str = ""

    def says_success(self) -> None:
        assert self.language.success in self.printed

    def found(self, pattern: str) -> str:
        """What the sample printed by itself, or within the answer's JSON."""
        (value,) = re.findall(pattern, self.printed, re.MULTILINE)
        return str(value)


@dataclass(frozen=True)
class Case:
    """What a sample needs in its environment, and what must be so once it has run."""

    prepare: Callable[[Scene], Environment]
    check: Callable[[Scene, Environment], object]


def nothing(_scene: Scene) -> Environment:
    return {}


def token(scene: Scene) -> Environment:
    return {"UPREZ_TOKEN": scene.customer.token}


def token_to_end(scene: Scene) -> Environment:
    return {"UPREZ_TOKEN": scene.town.customer().token}


def other_token(scene: Scene) -> Environment:
    made = scene.customer.data("POST", "/user/tokens", json={"name": "To be revoked"})
    return {**token(scene), "UPREZ_TOKEN_ID": str(made["id"]), "ENDED_TOKEN": made["token"]}


def uploaded(scene: Scene) -> Environment:
    return {**token(scene), "UPREZ_IMAGE_ID": str(scene.customer.upload(scene.photo))}


def uploaded_batch(scene: Scene) -> Environment:
    return {**token(scene), "UPREZ_BATCH_ID": str(scene.customer.upload_batch(scene.photo))}


def finished_batch(scene: Scene) -> Environment:
    environment = uploaded_batch(scene)
    scene.customer.finished(f"/batches/{environment['UPREZ_BATCH_ID']}")
    return environment


def two_photos(scene: Scene) -> Environment:
    shutil.copy(scene.photo, scene.folder / "photo2.jpg")
    return token(scene)


def finished(scene: Scene) -> Environment:
    image = scene.customer.finished(f"/images/{scene.customer.upload(scene.photo)}")
    return {
        **token(scene),
        "UPREZ_IMAGE_ID": str(image["id"]),
        "UPREZ_DOWNLOAD_URL": image["download_url"],
    }


def stranger(scene: Scene) -> Environment:
    return {"UPREZ_EMAIL": scene.town.new_address(), "UPREZ_PASSWORD": PASSWORD}


def registered(scene: Scene) -> Environment:
    email = scene.town.registered().email
    return {**credentials(email), "UPREZ_VERIFICATION_LINK": scene.town.link_in_mail_to(email)}


def waiting(scene: Scene) -> Environment:
    return credentials(scene.town.registered().email)


def forgetful(scene: Scene) -> Environment:
    somebody = scene.town.customer()
    somebody.ask("POST", "/auth/forgot-password", json={"email": somebody.email}).raise_for_status()
    (reset_token,) = re.findall(r"\S{80,}", scene.town.mails_to(somebody.email, count=2)[-1])
    return {**credentials(somebody.email), "UPREZ_TOKEN": somebody.token, "UPREZ_RESET_TOKEN": reset_token}


def credentials(email: str) -> Environment:
    return {"UPREZ_EMAIL": email, "UPREZ_PASSWORD": PASSWORD}


def succeeds(scene: Scene, _environment: Environment) -> None:
    scene.says_success()


def registers(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    assert scene.town.link_in_mail_to(environment["UPREZ_EMAIL"])


def verifies(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    login = {"email": environment["UPREZ_EMAIL"], "password": environment["UPREZ_PASSWORD"]}
    assert scene.customer.data("POST", "/auth/login", json=login)["user"]["email_verified_at"]


def gets_another_mail(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    assert len(scene.town.mails_to(environment["UPREZ_EMAIL"], count=2)) == 2


def prints_a_token(scene: Scene, _environment: Environment) -> None:
    assert status_with(scene, scene.found(r'(?:^|"token":")(\d+\|\w+)')) == 200


def ends_the_token(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    assert status_with(scene, environment.get("ENDED_TOKEN", environment["UPREZ_TOKEN"])) == 401


def uploads(scene: Scene, _environment: Environment) -> None:
    image = scene.customer.data("GET", "/images/" + scene.found(ID))
    assert (image["original_filename"], image["scale_factor"]) == ("photo.jpg", 2)


def uploads_batch(scene: Scene, _environment: Environment) -> None:
    batch = scene.customer.data("GET", "/batches/" + scene.found(ID))
    names = {image["original_filename"] for image in batch["images"]}
    assert (batch["name"], names) == ("Product photos", {"photo.jpg", "photo2.jpg"})


def follows(scene: Scene, _environment: Environment) -> None:
    assert re.search(r'(?:^|"status":")completed', scene.printed, re.MULTILINE)


def follows_batch(scene: Scene, _environment: Environment) -> None:
    """The one in the shell looks once, the others until it is completed."""
    assert re.search(r'^completed|"status":"(pending|processing|completed)"', scene.printed, re.MULTILINE)


def deletes(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    assert scene.customer.ask("GET", f"/images/{environment['UPREZ_IMAGE_ID']}").status_code == 404


def deletes_batch(scene: Scene, environment: Environment) -> None:
    scene.says_success()
    assert scene.customer.ask("GET", f"/batches/{environment['UPREZ_BATCH_ID']}").status_code == 404


def draws(scene: Scene, _environment: Environment) -> None:
    drawn = scene.folder / "initials.svg"
    assert "<svg " in (drawn.read_text() if drawn.exists() else scene.printed)


def downloads(scene: Scene, _environment: Environment) -> None:
    with Image.open(scene.folder / "upscaled.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (192, 160))


def status_with(scene: Scene, some_token: str) -> int:
    headers = {"Authorization": f"Bearer {some_token}"}
    return requests.get(f"{scene.customer.api}/images", headers=headers, timeout=30).status_code


CASES = {
    "POST /auth/register": Case(stranger, registers),
    "GET /auth/verify-email/{id}/{hash}": Case(registered, verifies),
    "POST /auth/resend-verification": Case(waiting, gets_another_mail),
    "POST /auth/forgot-password": Case(waiting, gets_another_mail),
    "POST /auth/reset-password": Case(forgetful, ends_the_token),
    "POST /auth/login": Case(lambda scene: credentials(scene.customer.email), prints_a_token),
    "POST /auth/logout": Case(token_to_end, ends_the_token),
    "POST /auth/revoke-all": Case(token_to_end, ends_the_token),
    "POST /images/upscale": Case(token, uploads),
    "GET /images": Case(token, succeeds),
    "GET /images/{id}": Case(uploaded, follows),
    "DELETE /images/{id}": Case(uploaded, deletes),
    "GET /images/{id}/download": Case(finished, succeeds),
    "POST /batches": Case(two_photos, uploads_batch),
    "GET /batches": Case(token, succeeds),
    "GET /batches/{id}": Case(uploaded_batch, follows_batch),
    "DELETE /batches/{id}": Case(finished_batch, deletes_batch),
    "GET /user": Case(token, succeeds),
    "GET /user/tokens": Case(token, succeeds),
    "POST /user/tokens": Case(token, prints_a_token),
    "DELETE /user/tokens/{id}": Case(other_token, ends_the_token),
    "GET /usage": Case(token, succeeds),
    "GET /subscription": Case(token, succeeds),
    "GET /plans": Case(nothing, succeeds),
    "GET /profile-photos/{initials}": Case(nothing, draws),
    "GET /files/{key}": Case(finished, downloads),
}


# One that is missing here would have samples that nobody ever ran.
def test_every_operation_has_its_case() -> None:
    assert CASES.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_sample_does_what_it_shows(
    operation: str, language: str, town: Town, customer: Customer, photo: Path, tmp_path: Path, run: Run
) -> None:
    if run("sh", "-c", NEEDED[language]).returncode != 0:
        pytest.skip(f"not installed, says: {NEEDED[language]}")
    (sample,) = (sample for sample in OPERATIONS[operation]["x-codeSamples"] if sample["lang"] == language)
    scene = Scene(town, customer, photo, tmp_path, LANGUAGES[language])
    environment = CASES[operation].prepare(scene)
    used = set(re.findall(r"UPREZ_[A-Z_]+", sample["source"]))
    shutil.copy(photo, tmp_path)
    (tmp_path / scene.language.file).write_text(sample["source"].replace(ADDRESS, town.origin))

    done = run(
        *scene.language.command,
        scene.language.file,
        cwd=tmp_path,
        **{name: environment[name] for name in used},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert language == "Shell" or done.stderr == "", "curl alone tells of its progress there"
    scene.printed = done.stdout
    CASES[operation].check(scene, environment)


def test_a_sample_names_no_other_address() -> None:
    addresses: list[Any] = [
        address
        for operation in OPERATIONS.values()
        for sample in operation["x-codeSamples"]
        for address in re.findall(r"https?://[^/\s\"'`]+", sample["source"])
    ]
    assert set(addresses) == {ADDRESS}
