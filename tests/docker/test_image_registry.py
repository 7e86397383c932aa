"""Base images are looked up and moved on in a registry: one on loopback, that serves two images."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline import image_registry
from pipeline.errors import HostError, InputError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Registry:
    """A registry with one repository, `debian`; `served` has what it answers by tag or digest."""

    def __init__(self) -> None:
        self.served: dict[str, tuple[str, bytes]] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, with_body: bool) -> None:
                name = self.path.rpartition("/")[2]
                kind, body = registry.served.get(name, ("text/plain", b""))
                self.send_response(200 if body or self.path == "/v2/" else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", digest_of(body))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def do_GET(self) -> None:
                self.answer(True)

            def do_HEAD(self) -> None:
                self.answer(False)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.image = f"127.0.0.1:{self.server.server_port}/debian:bookworm-slim"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, kind: str, document: object, tag: str = "") -> dict[str, object]:
        body = json.dumps(document).encode()
        digest = digest_of(body)
        for name in filter(None, (digest, tag)):
            self.served[name] = (kind, body)
        return {"mediaType": kind, "digest": digest, "size": len(body)}

    def publish(self, created: str, platforms: tuple[str, ...] = ("amd64", "arm64")) -> str:
        """Give the tag a new index; its digest."""
        manifests = []
        for machine in platforms:
            config = self.serve(
                CONFIG,
                {
                    "architecture": machine,
                    "os": "linux",
                    "created": created,
                    "rootfs": {"type": "layers", "diff_ids": []},
                },
            )
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
            described = self.serve(MANIFEST, manifest)
            described["platform"] = {"os": "linux", "architecture": machine}
            manifests.append(described)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return str(self.serve(INDEX, index, "bookworm-slim")["digest"])


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Path:
    """A repository on the image that the registry has, of 2026-09-18."""
    folder = tmp_path / "docker" / "base"
    folder.mkdir(parents=True)
    digest = registry.publish("2026-09-18T00:00:00Z")
    (folder / "Dockerfile").write_text(
        f"# bookworm-20260918-slim, the index.\nFROM {registry.image}@{digest} AS base\nRUN true\n"
    )
    (folder.parent / "docker-bake.hcl").write_text(
        "# The day of the base image's Debian snapshot (2026-09-18, UTC): the date of every file.\n"
        'variable "SOURCE_DATE_EPOCH" { default = "1789689600" }\n'
    )
    return tmp_path


def test_a_pin_that_the_registry_has_for_all_platforms_is_whole(project: Path) -> None:
    assert list(image_registry.problems(project)) == []


def test_a_pin_that_is_gone_is_an_error_of_the_host(project: Path, registry: Registry) -> None:
    registry.served.clear()

    with pytest.raises(HostError, match=r"registry could not be asked: .*not found"):
        list(image_registry.problems(project))


@pytest.mark.parametrize(
    ("platforms", "problem"),
    [(("amd64",), "has nothing for linux/arm64"), ((), "is an empty index")],
)
def test_an_index_that_lacks_a_platform_is_refused(
    project: Path, registry: Registry, platforms: tuple[str, ...], problem: str
) -> None:
    digest = registry.publish("2026-10-01T00:00:00Z", platforms)
    dockerfile = project / "docker/base/Dockerfile"
    before = dockerfile.read_text()

    with pytest.raises(InputError, match=problem):
        image_registry.refresh(project)
    assert dockerfile.read_text() == before

    dockerfile.write_text(f"FROM {registry.image}@{digest} AS base\n")
    assert problem in next(image_registry.problems(project))


def test_a_single_platforms_image_is_refused(project: Path, registry: Registry) -> None:
    manifest = next(digest for digest, (kind, _) in registry.served.items() if kind == MANIFEST)
    (project / "docker/base/Dockerfile").write_text(f"FROM {registry.image}@{manifest} AS base\n")

    assert "is a single platform's image" in next(image_registry.problems(project))


def test_refreshing_moves_the_base_and_the_date_of_all_files_on(
    project: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    image_registry.refresh(project)
    assert "of 20260918, as before" in capsys.readouterr().out

    digest = registry.publish("2026-10-05T13:00:00Z")
    image_registry.refresh(project)

    assert (project / "docker/base/Dockerfile").read_text() == (
        f"# bookworm-20261005-slim, the index.\nFROM {registry.image}@{digest} AS base\nRUN true\n"
    )
    matrix = (project / "docker/docker-bake.hcl").read_text()
    assert "(2026-10-05, UTC)" in matrix
    assert '{ default = "1791158400" }' in matrix  # that day's beginning
    assert list(image_registry.problems(project)) == []


def test_where_no_registry_answers_the_base_stays(
    project: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "docker/base/Dockerfile").read_text()
    registry.server.shutdown()
    registry.server.server_close()

    image_registry.refresh(project)

    assert (project / "docker/base/Dockerfile").read_text() == before
    assert "stays as it is: the registry could not be asked" in capsys.readouterr().out
