"""The command ``uprez demo``, which starts a service and upscales one image over HTTP."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from domain.errors import UprezError
from uprez.settings import environment_without_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

_READY = "Uprez is ready at "
_POLL_SECONDS = 0.5
_WAIT_SECONDS = 600.0


class DemoError(UprezError):
    """The demo cannot run or its image failed."""

    code = "demo_failed"


def demo(
    photo: Annotated[
        Path | None, typer.Argument(help="Image to upscale. Default: a photograph from scikit-image.")
    ] = None,
) -> None:
    """Start a service, upload an image, show the progress, download the result and stop the service."""
    try:
        import requests  # noqa: F401, PLC0415  # requests and the photograph are in the optional extra "demo"
    except ImportError:
        raise DemoError(
            "The packages of the demo are not installed. Run pip install 'uprez[demo]'."
        ) from None
    original = photo or _photograph()
    if not original.is_file():
        raise DemoError(f"There is no file {original}. Check the path.")
    now = f"{datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005  # the folder is named by the user's local time
    folder = Path(tempfile.mkdtemp(prefix=f"uprez-demo-{now}-", dir=Path.cwd()))
    copy = folder / f"original-{original.name}"
    shutil.copyfile(original, copy)
    # Without markup and emoji, which would change paths such as photo[a].jpg.
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    started = time.monotonic()
    with _service(folder / "data") as api:
        image, result = _upscale_over_http(api, _new_token(folder / "data"), original, folder, console)
    console.print(f"Original  {copy}  {image['original_dimensions']}, {image['original_size_human']}")
    console.print(f"Result    {result}  {image['upscaled_dimensions']}, {image['upscaled_size_human']}")
    console.print(
        f"Upscaled by {image['model']} on {image['device']} in {image['processing_time']} s; "
        f"{time.monotonic() - started:.1f} s in total, including start and stop of the service."
    )


def _upscale_over_http(
    api: str, token: str, photo: Path, folder: Path, console: Console
) -> tuple[dict[str, Any], Path]:
    """Upscale the image by 2 through the API; return the completed image object and the result's file.

    Raise DemoError for an error of the API or a failed image, and OSError (of requests) for a failed
    connection or download.
    """
    import requests  # noqa: PLC0415  # an optional extra, see demo()

    with requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        with photo.open("rb") as file:
            image = _data(
                client.post(f"{api}/images/upscale", files={"image": file}, data={"scale_factor": 2})
            )
        image = _wait(client, f"{api}/images/{image['id']}", console)
        download = _data(client.get(f"{api}/images/{image['id']}/download"))
        result = folder / f"upscaled-{download['filename']}"
        response = client.get(download["download_url"], timeout=_WAIT_SECONDS)
        response.raise_for_status()
        result.write_bytes(response.content)
    return image, result


def _wait(client: requests.Session, url: str, console: Console) -> dict[str, Any]:
    """Poll the image with a progress bar until it is completed, and return the API's image object.

    Raise DemoError when it fails or takes more than 600 s, or for an error of the API.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    deadline = time.monotonic() + _WAIT_SECONDS
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("pending", total=100)
        while time.monotonic() < deadline:
            image = _data(client.get(url))
            progress.update(task, description=image["status"], completed=image["progress"])
            if image["status"] == "completed":
                return image
            if image["status"] == "failed":
                raise DemoError(f"The image could not be upscaled: {image['error']}")
            time.sleep(_POLL_SECONDS)
    raise DemoError(f"The image was not completed within {_WAIT_SECONDS:g} s. Try a smaller image.")


def _data(response: requests.Response) -> dict[str, Any]:
    """Return the ``data`` of the response's envelope.

    Raise DemoError if ``success`` is false, with the messages about fields or, without any, the general
    message.
    """
    body = response.json()
    if not body["success"]:
        details = "; ".join(message for messages in body.get("errors", {}).values() for message in messages)
        raise DemoError(details or body["message"])
    data: dict[str, Any] = body["data"]
    return data


@contextmanager
def _service(data: Path) -> Iterator[str]:
    """Run a service on a free port and provide its base URL, which ends with ``/api``; stop it at the end.

    Raise DemoError when it does not start, or ends with a status other than 0.
    """
    command = [sys.executable, "-m", "uprez", "serve", "--port", "0", "--data", str(data)]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())  # noqa: S603  # this program
    try:
        assert service.stdout is not None
        for line in service.stdout:
            if line.startswith(_READY):
                break
        else:
            raise DemoError("The service did not start. The lines above give the reason.")
        yield line.removeprefix(_READY).strip()
    finally:
        service.send_signal(signal.SIGTERM)
        service.communicate()
    if service.returncode != 0:
        raise DemoError(f"The service ended with status {service.returncode}.")


def _new_token(data: Path) -> str:
    """Create a verified professional account in the service's data folder and return its token.

    Raise CalledProcessError when the command fails.
    """
    command = [
        sys.executable,
        "-m",
        "uprez",
        "user",
        "create",
        "--email",
        "demo@example.com",
        "--name",
        "Demo",
    ]
    command += ["--plan", "professional", "--verified", "--data", str(data)]
    created = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=_environment())  # noqa: S603  # this program
    token: str = json.loads(created.stdout)["token"]
    return token


def _environment() -> dict[str, str]:
    """Return the current environment without settings, except those that select the engine."""
    return environment_without_settings(keep={"UPREZ_MODEL", "UPREZ_DEVICE", "UPREZ_TILE_THREADS"})


def _photograph() -> Path:
    """Return the path of a photograph that scikit-image ships."""
    return Path(str(files("skimage.data") / "coffee.png"))
