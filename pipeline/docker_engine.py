"""The engine: where it is, whether it answers, what it says of itself and of its images."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import ssh_relay
from pipeline.errors import HostError
from pipeline.paths import home

_HOW_IT_IS_STARTED = ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Labels")
_OLDEST_API = (1, 40)  # engine 19.03: the first one that takes GPU requests


class Problem(NamedTuple):
    """Why no engine can be used; ``cure`` is a command, "" where none is known to help."""

    what: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.what}: run `{self.cure}`" if self.cure else self.what


def available() -> str | None:
    """None when an engine answers, else the reason in one sentence."""
    found = problem()
    return str(found) if found else None


def problem() -> Problem | None:
    """Why no engine can be used, None when one answers.

    Asks over the bare socket: importing the client library takes longer than the answer.
    """
    try:
        address = endpoint()
    except HostError as error:
        return Problem(str(error), "docker context ls")
    if address.startswith(("tcp://", "ssh://")):
        return _far_problem(address)
    if not address.startswith("unix://"):
        return Problem(f"{address}: an engine is reached by unix://, tcp:// or ssh://")
    path = address[len("unix://") :]
    try:
        answer = _ping(path)
    except OSError as error:
        return _why_silent(path, error)
    if " 200 " not in answer.partition("\r\n")[0]:
        return Problem(f"what listens at {path} is no container engine")
    version = re.search(r"^Api-Version: (\S+)", answer, re.MULTILINE | re.IGNORECASE)
    return _too_old(version[1]) if version else None


def _too_old(version: str) -> Problem | None:
    """Why an engine of this API version cannot be used; the version as "1.45"."""
    if tuple(map(int, version.split("."))) < _OLDEST_API:
        return Problem("the engine is older than 19.03, the first one that can be used here")
    return None


@functools.cache
def _far_problem(address: str) -> Problem | None:
    """Why an engine on another machine cannot be used. Asked once: connecting takes a while."""
    docker = library()
    try:
        with _client(address) as client:
            return _too_old(client.version()["ApiVersion"])
    except HostError as error:
        return Problem(str(error))
    except (docker.errors.DockerException, OSError) as error:
        cause: BaseException = error
        while cause.__context__:
            cause = cause.__context__  # the library's own words say nothing
        if "HTTPS server" in str(error):
            return Problem(
                f"the engine at {address} wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH"
                " to the folder with its ca.pem and your cert.pem and key.pem"
            )
        if isinstance(cause, ssl.SSLError):
            return Problem(_why_distrusted(address, cause))
        # ssh's own words, say, are seen by trying it.
        return Problem(
            f"the engine at {address} does not answer ({cause})", f"docker --host {address} version"
        )


def _why_distrusted(address: str, error: ssl.SSLError) -> str:
    folder = certificates()
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{address} is not what {folder}/ca.pem vouches for ({error.verify_message})"
    if error.reason == "WRONG_VERSION_NUMBER":
        return f"the engine at {address} speaks no TLS ({error.reason}): unset DOCKER_TLS_VERIFY"
    return f"the engine at {address} does not accept {folder}/cert.pem ({error.reason or error})"


def _ping(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(3)
        connection.connect(path)
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode("latin-1")


def _why_silent(path: str, error: OSError) -> Problem:
    if isinstance(error, PermissionError):
        return Problem(f"you may not use {path}", "sudo usermod -aG docker $USER && newgrp docker")
    start = "sudo systemctl start docker" if shutil.which("dockerd") else ""
    if isinstance(error, FileNotFoundError):
        return Problem(f"no engine is running ({path} does not exist)", start)
    if isinstance(error, ConnectionRefusedError):
        return Problem(f"no engine is running (nobody listens at {path} any more)", start)
    return Problem(
        f"the engine at {path} does not answer ({error.strerror or error})",
        "sudo systemctl restart docker",
    )


def endpoint() -> str:
    """Where the engine is, found as its own command does: DOCKER_HOST, context, default.

    Raises HostError for a context that does not exist: the default one would be another engine.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return host
    if context := _context():
        meta = _configuration() / "contexts/meta" / _folder_name(context) / "meta.json"
        try:
            host = json.loads(meta.read_text(encoding="utf-8"))["Endpoints"]["docker"]["Host"]
        except (OSError, ValueError, KeyError):
            raise HostError(f"there is no docker context '{context}'") from None
        return str(host)
    candidates = [Path("/var/run/docker.sock"), _configuration() / "run" / "docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.append(Path(runtime) / "docker.sock")  # a rootless engine
    return f"unix://{next(filter(Path.exists, candidates), candidates[0])}"


def elsewhere() -> bool:
    """Whether the engine may be on another machine."""
    return not endpoint().startswith("unix://")


def certificates() -> Path | None:
    """The folder with ca.pem, cert.pem and key.pem for the engine, where it wants them."""
    if os.environ.get("DOCKER_HOST"):
        wanted = os.environ.get("DOCKER_TLS_VERIFY")
        return Path(os.environ.get("DOCKER_CERT_PATH") or _configuration()) if wanted else None
    if context := _context():
        folder = _configuration() / "contexts" / "tls" / _folder_name(context) / "docker"
        return folder if folder.is_dir() else None
    return None


def _configuration() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or home() / ".docker")


def _context() -> str:
    """The docker command's context; "" for the default one."""
    context = os.environ.get("DOCKER_CONTEXT")
    if not context:
        with suppress(OSError, ValueError, AttributeError):
            text = (_configuration() / "config.json").read_text(encoding="utf-8")
            context = json.loads(text).get("currentContext")
    return str(context) if context and context != "default" else ""


def _folder_name(context: str) -> str:
    return hashlib.sha256(context.encode()).hexdigest()


def information() -> dict[str, Any]:
    """What the engine says of itself: version, security options, runtimes, memory."""
    with connected() as client:
        said: dict[str, Any] = client.info()
        return said


def version() -> dict[str, Any]:
    """The versions of the engine and its parts."""
    with connected() as client:
        said: dict[str, Any] = client.version()
        return said


def image_id(tag: str) -> str | None:
    """The id of a tagged image, None when the engine has none of that name."""
    with connected() as client:
        try:
            return str(client.images.get(tag).id)
        except library().errors.ImageNotFound:
            return None


def image_content(tag: str) -> str | None:
    """What tells a tagged image from every other, on whichever engine it is; None where it is not.

    Its id does not: engines that keep images in containerd's store (Docker's default from 29 on)
    call an image by its manifest, others by its configuration. This is the sha256 of its layers,
    what processor they are for and how it is started.
    """
    with connected() as client:
        try:
            told = client.images.get(tag).attrs
        except library().errors.ImageNotFound:
            return None
    settings = told.get("Config") or {}
    started = {name: settings.get(name) or None for name in _HOW_IT_IS_STARTED}
    what = [told["RootFS"]["Layers"], told["Os"], told["Architecture"], started]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def name_image(image: str, tag: str) -> None:
    """Give an image of this engine a further name."""
    with connected() as client:
        client.images.get(image).tag(tag)


def image_tags() -> dict[str, tuple[str, int]]:
    """The id and size in bytes of every image of ours on the engine, by tag."""
    with connected() as client:
        return {
            tag: (str(image.id), int(image.attrs["Size"]))
            for image in client.images.list()
            for tag in image.tags
            if tag.startswith("drydock/")
        }


def remove_images(ending: str) -> None:
    """Remove the images of ours whose tag is ``ending``, those in use by a container excepted."""
    found = [tag for tag in image_tags() if tag.rpartition(":")[2] == ending]
    with connected() as client:
        for tag in found:
            with suppress(library().errors.APIError):
                client.images.remove(tag)


def image_size(tag: str) -> int:
    """Bytes that a tagged image takes on the disk, the layers it shares with others included."""
    with connected() as client:
        return int(client.images.get(tag).attrs["Size"])


@contextmanager
def connected() -> Iterator[Any]:
    """A connection to the engine; what goes wrong with it becomes a HostError."""
    if reason := available():
        raise HostError(f"{reason}; --runner local works without an engine")
    import requests

    docker = library()
    try:
        with _client(endpoint()) as client:
            yield client
    except docker.errors.APIError as error:
        raise HostError(f"the engine refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HostError(f"the engine went away: {error}") from error


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """A client of the engine at ``address``; its version is asked for at once."""
    docker, folder = library(), certificates()
    tls = None
    if folder and address.startswith("tcp://"):
        authority, *pair = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
        for file in (authority, *pair):
            if not file.is_file():
                raise HostError(
                    f"{file} does not exist; to reach {address} by TLS takes ca.pem, cert.pem and"
                    " key.pem in that folder"
                )
        mine = (str(pair[0]), str(pair[1]))
        tls = docker.tls.TLSConfig(ca_cert=str(authority), client_cert=mine, verify=True)
    with ssh_relay.reached(address) as local:
        client = _client_class()(base_url=local, tls=tls or False)
        try:
            yield client
        finally:
            client.close()


@functools.cache
def _client_class() -> Any:
    """The library's client, which trusts whom it was told to.

    Where REQUESTS_CA_BUNDLE is set, as a company's hosts have it, requests takes that in place of
    the engine's own authority (psf/requests issue 3829).
    """
    import docker

    class Api(docker.APIClient):
        def merge_environment_settings(
            self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
        ) -> Any:
            told = self.verify if verify is None else verify
            return super().merge_environment_settings(url, proxies, stream, told, cert)

    class Client(docker.DockerClient):
        def __init__(self, **settings: Any) -> None:
            self.api = Api(**settings)

    return Client


def library() -> Any:
    import docker  # a quarter of a second, which a run that has nothing to do need not spend

    return docker
