"""Every code sample of the contract, run against a service, with a check of its effect."""

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

from handlers.code_samples import apply_overlay, load_samples
from project_root import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.docs.conftest import Customer, Customers, Run

    Environment = Mapping[str, str]

PASSWORD = "Correct1Horse"
ADDRESS = "http://127.0.0.1:8000"
DOCUMENT = apply_overlay(yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8")), load_samples())
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
    """How it prints that `success` is true."""


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
"""The id on a line of its own, or within the response."""


@dataclass
class Scene:
    """The surroundings of a sample: a folder with a photo, and a customer of the service."""

    customers: Customers
    customer: Customer
    photo: Path
    folder: Path
    language: Language
    printed: str = ""

    def expect_success(self) -> None:
        assert self.language.success in self.printed

    def find(self, pattern: str) -> str:
        """Return the only match of ``pattern`` in what the sample printed."""
        (value,) = re.findall(pattern, self.printed, re.MULTILINE)
        return str(value)


@dataclass(frozen=True)
class Case:
    """The environment that a sample needs, and the check to make after it has run."""

    prepare: Callable[[Scene], Environment]
    check: Callable[[Scene, Environment], object]


def no_environment(_scene: Scene) -> Environment:
    return {}


def token(scene: Scene) -> Environment:
    return {"UPREZ_TOKEN": scene.customer.token}


def token_to_revoke(scene: Scene) -> Environment:
    return {"UPREZ_TOKEN": scene.customers.register_verified().token}


def other_token(scene: Scene) -> Environment:
    created = scene.customer.data("POST", "/user/tokens", json={"name": "To be revoked"})
    return {**token(scene), "UPREZ_TOKEN_ID": str(created["id"]), "REVOKED_TOKEN": created["token"]}


def uploaded(scene: Scene) -> Environment:
    return {**token(scene), "UPREZ_IMAGE_ID": str(scene.customer.upload(scene.photo))}


def uploaded_batch(scene: Scene) -> Environment:
    return {**token(scene), "UPREZ_BATCH_ID": str(scene.customer.upload_batch(scene.photo))}


def finished_batch(scene: Scene) -> Environment:
    environment = uploaded_batch(scene)
    scene.customer.wait_until_completed(f"/batches/{environment['UPREZ_BATCH_ID']}")
    return environment


def two_photos(scene: Scene) -> Environment:
    shutil.copy(scene.photo, scene.folder / "photo2.jpg")
    return token(scene)


def finished(scene: Scene) -> Environment:
    image = scene.customer.wait_until_completed(f"/images/{scene.customer.upload(scene.photo)}")
    return {
        **token(scene),
        "UPREZ_IMAGE_ID": str(image["id"]),
        "UPREZ_DOWNLOAD_URL": image["download_url"],
    }


def new_credentials(scene: Scene) -> Environment:
    return {"UPREZ_EMAIL": scene.customers.new_address(), "UPREZ_PASSWORD": PASSWORD}


def verification_link(scene: Scene) -> Environment:
    email = scene.customers.register().email
    return {**credentials(email), "UPREZ_VERIFICATION_LINK": scene.customers.link_in_mail_to(email)}


def unverified(scene: Scene) -> Environment:
    return credentials(scene.customers.register().email)


def reset_token(scene: Scene) -> Environment:
    customer = scene.customers.register_verified()
    customer.request("POST", "/auth/forgot-password", json={"email": customer.email}).raise_for_status()
    (plain,) = re.findall(r"\S{80,}", scene.customers.mails_to(customer.email, count=2)[-1])
    return {**credentials(customer.email), "UPREZ_TOKEN": customer.token, "UPREZ_RESET_TOKEN": plain}


def credentials(email: str) -> Environment:
    return {"UPREZ_EMAIL": email, "UPREZ_PASSWORD": PASSWORD}


def expect_success(scene: Scene, _environment: Environment) -> None:
    scene.expect_success()


def expect_registration(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    assert scene.customers.link_in_mail_to(environment["UPREZ_EMAIL"])


def expect_verified(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    login = {"email": environment["UPREZ_EMAIL"], "password": environment["UPREZ_PASSWORD"]}
    assert scene.customer.data("POST", "/auth/login", json=login)["user"]["email_verified_at"]


def expect_second_mail(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    assert len(scene.customers.mails_to(environment["UPREZ_EMAIL"], count=2)) == 2


def expect_token(scene: Scene, _environment: Environment) -> None:
    assert status_with(scene, scene.find(r'(?:^|"token":")(\d+\|\w+)')) == 200


def expect_revoked(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    assert status_with(scene, environment.get("REVOKED_TOKEN", environment["UPREZ_TOKEN"])) == 401


def expect_upload(scene: Scene, _environment: Environment) -> None:
    image = scene.customer.data("GET", "/images/" + scene.find(ID))
    assert (image["original_filename"], image["scale_factor"]) == ("photo.jpg", 2)


def expect_batch(scene: Scene, _environment: Environment) -> None:
    batch = scene.customer.data("GET", "/batches/" + scene.find(ID))
    names = {image["original_filename"] for image in batch["images"]}
    assert (batch["name"], names) == ("Product photos", {"photo.jpg", "photo2.jpg"})


def expect_completed(scene: Scene, _environment: Environment) -> None:
    assert re.search(r'(?:^|"status":")completed', scene.printed, re.MULTILINE)


def expect_batch_status(scene: Scene, _environment: Environment) -> None:
    """Expect a status: the shell sample requests it once, the others until it is completed."""
    assert re.search(r'^completed|"status":"(pending|processing|completed)"', scene.printed, re.MULTILINE)


def expect_deleted(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    assert scene.customer.request("GET", f"/images/{environment['UPREZ_IMAGE_ID']}").status_code == 404


def expect_batch_deleted(scene: Scene, environment: Environment) -> None:
    scene.expect_success()
    assert scene.customer.request("GET", f"/batches/{environment['UPREZ_BATCH_ID']}").status_code == 404


def expect_svg(scene: Scene, _environment: Environment) -> None:
    file = scene.folder / "initials.svg"
    assert "<svg " in (file.read_text() if file.exists() else scene.printed)


def expect_download(scene: Scene, _environment: Environment) -> None:
    with Image.open(scene.folder / "upscaled.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (192, 160))


def status_with(scene: Scene, plain_token: str) -> int:
    headers = {"Authorization": f"Bearer {plain_token}"}
    return requests.get(f"{scene.customer.api}/images", headers=headers, timeout=30).status_code


CASES = {
    "POST /auth/register": Case(new_credentials, expect_registration),
    "GET /auth/verify-email/{id}/{hash}": Case(verification_link, expect_verified),
    "POST /auth/resend-verification": Case(unverified, expect_second_mail),
    "POST /auth/forgot-password": Case(unverified, expect_second_mail),
    "POST /auth/reset-password": Case(reset_token, expect_revoked),
    "POST /auth/login": Case(lambda scene: credentials(scene.customer.email), expect_token),
    "POST /auth/logout": Case(token_to_revoke, expect_revoked),
    "POST /auth/revoke-all": Case(token_to_revoke, expect_revoked),
    "POST /images/upscale": Case(token, expect_upload),
    "GET /images": Case(token, expect_success),
    "GET /images/{id}": Case(uploaded, expect_completed),
    "DELETE /images/{id}": Case(uploaded, expect_deleted),
    "GET /images/{id}/download": Case(finished, expect_success),
    "POST /batches": Case(two_photos, expect_batch),
    "GET /batches": Case(token, expect_success),
    "GET /batches/{id}": Case(uploaded_batch, expect_batch_status),
    "DELETE /batches/{id}": Case(finished_batch, expect_batch_deleted),
    "GET /user": Case(token, expect_success),
    "GET /user/tokens": Case(token, expect_success),
    "POST /user/tokens": Case(token, expect_token),
    "DELETE /user/tokens/{id}": Case(other_token, expect_revoked),
    "GET /usage": Case(token, expect_success),
    "GET /subscription": Case(token, expect_success),
    "GET /plans": Case(no_environment, expect_success),
    "GET /profile-photos/{initials}": Case(no_environment, expect_svg),
    "GET /files/{key}": Case(finished, expect_download),
}


# The samples of an operation without a case would never run.
def test_every_operation_has_a_case() -> None:
    assert CASES.keys() == OPERATIONS.keys()


# Python and JavaScript come from wheels, the others from system packages.
@pytest.mark.parametrize(
    "language",
    [
        "Python",
        "JavaScript",
        pytest.param("Shell", marks=pytest.mark.system),
        pytest.param("PHP", marks=pytest.mark.system),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_code_sample_works(
    operation: str,
    language: str,
    customers: Customers,
    customer: Customer,
    photo: Path,
    tmp_path: Path,
    run: Run,
) -> None:
    if run("sh", "-c", NEEDED[language]).returncode != 0:
        pytest.skip(f"not installed, according to: {NEEDED[language]}")
    (sample,) = (sample for sample in OPERATIONS[operation]["x-codeSamples"] if sample["lang"] == language)
    scene = Scene(customers, customer, photo, tmp_path, LANGUAGES[language])
    environment = CASES[operation].prepare(scene)
    used = set(re.findall(r"UPREZ_[A-Z_]+", sample["source"]))
    shutil.copy(photo, tmp_path)
    (tmp_path / scene.language.file).write_text(sample["source"].replace(ADDRESS, customers.origin))

    done = run(
        *scene.language.command,
        scene.language.file,
        cwd=tmp_path,
        **{name: environment[name] for name in used},
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert language == "Shell" or done.stderr == "", "only curl writes its progress to stderr"
    scene.printed = done.stdout
    CASES[operation].check(scene, environment)


def test_code_samples_use_the_default_address() -> None:
    addresses: list[Any] = [
        address
        for operation in OPERATIONS.values()
        for sample in operation["x-codeSamples"]
        for address in re.findall(r"https?://[^/\s\"'`]+", sample["source"])
    ]
    assert set(addresses) == {ADDRESS}
