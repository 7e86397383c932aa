"""Images are built when first needed, from the Dockerfiles as they are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from rooms import REPOSITORY, Room

from pipeline import docker_engine, environments, image_list, images, reproduction
from pipeline.content import ContentCache
from pipeline.errors import DrydockError, HostError

MATRIX = """
variable "DRYDOCK_CA" { default = "" }
variable "DRYDOCK_PIP_CONF" { default = "" }
target "small" {
  context  = "docker/small"
  contexts = { base = "docker-image://%s" }
  secret = concat(
    DRYDOCK_CA == "" ? [] : ["id=ca,src=${DRYDOCK_CA}"],
    DRYDOCK_PIP_CONF == "" ? [] : ["id=pip,src=${DRYDOCK_PIP_CONF}"],
  )
}
"""


class Project:
    """A repository with one environment, `small`, on the image that the other tests use."""

    def __init__(self, root: Path, image: str) -> None:
        self.root = root
        self.said: list[str] = []
        with docker_engine.connected() as client:
            client.images.get(image).tag("drydock/test", "small-base")
        (root / "docker" / "small").mkdir(parents=True)
        (root / "docker" / "docker-bake.hcl").write_text(MATRIX % "drydock/test:small-base")

    def build(self, steps: str, digest: str) -> str:
        (self.root / "docker" / "small" / "Dockerfile").write_text(f"FROM base\n{steps}\n")
        return images.ensure_image("small", digest, self.root, self.said.append)


@pytest.fixture
def project(tmp_path: Path, image: str) -> Iterator[Project]:
    yield Project(tmp_path, image)
    with docker_engine.connected() as client:
        for made in client.images.list("drydock/small"):
            client.images.remove(made.id, force=True)


def inspect(image: str) -> dict[str, object]:
    done = subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, text=True, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)[0]
    return found


def test_an_image_is_built_once(project: Project) -> None:
    digest = uuid.uuid4().hex  # new in every run of the tests, so that no cache answers
    first = project.build(f"USER 0:0\nRUN echo {digest} >/mark", digest)
    assert project.said[0] == "building the image of small"
    assert any("echo" in line for line in project.said)

    project.said.clear()
    assert project.build("RUN false", digest) == first
    assert project.said == []
    assert inspect(first)["RepoTags"] == [images.image_tag("small", digest)]


def test_a_failed_build_shows_its_last_lines_and_leaves_no_image(project: Project) -> None:
    digest = "0badc0de" * 8
    with pytest.raises(DrydockError, match="tooth broke") as caught:
        project.build("RUN echo 'a tooth broke' >&2; false", digest)

    assert caught.value.exit_code == 1
    assert "docker buildx build" in str(caught.value)
    assert docker_engine.image_id(images.image_tag("small", digest)) is None


def test_secrets_reach_the_build_and_do_not_stay(
    project: Project, monkeypatch: pytest.MonkeyPatch, room: Room
) -> None:
    secret = project.root / "pip.conf"
    secret.write_text("[global]\nindex-url = token-in-an-address\n")
    monkeypatch.setenv("DRYDOCK_PIP_CONF", str(secret))
    steps = (
        "USER 0:0\nRUN --mount=type=secret,id=pip,target=/etc/pip.conf"
        f" echo {uuid.uuid4()} && grep -q token-in-an-address /etc/pip.conf"
    )
    identity = project.build(steps, uuid.uuid4().hex)

    assert "token" not in json.dumps(inspect(identity))
    room.image = identity
    assert room.run("sh", "-c", "! grep -s token-in-an-address /etc/pip.conf") == 0


def test_certificates_and_proxies_are_used_and_are_nowhere_in_the_image(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for in every layer and in the configuration, not where they are expected."""
    authority = project.root / "company-ca.pem"
    authority.write_text("certificate-of-a-company\n")
    monkeypatch.setenv("DRYDOCK_CA", str(authority))
    monkeypatch.setenv("HTTPS_PROXY", "http://me:word-of-a-proxy@127.0.0.1:9")
    # The patterns do not match themselves, which the image's history holds.
    steps = (
        "USER 0:0\nRUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt"
        f" echo {uuid.uuid4()} >/mark"
        " && grep -q certificate-of-a-compan[y] /etc/ssl/certs/ca-certificates.crt"
        " && echo $HTTPS_PROXY | grep -q word-of-a-prox[y]"
    )
    identity = project.build(steps, uuid.uuid4().hex)

    saved = subprocess.run(["docker", "save", identity], capture_output=True, check=True).stdout
    assert b"ustar" in saved  # plain archives: what is in them can be found
    for secret in (b"certificate-of-a-company", b"word-of-a-proxy"):
        assert secret not in saved


def test_the_certificates_of_an_image_are_debians_alone(room: Room) -> None:
    """Whatever this host trusts besides, which the build of it may have gone through."""
    script = (
        "ls /usr/share/ca-certificates/mozilla | wc -l;"
        " grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /usr/local/share/ca-certificates"
    )
    assert room.run("sh", "-c", script) == 0
    theirs, trusted, *further = room.stdout.split()
    assert int(theirs) > 100
    assert (trusted, further) == (theirs, [])


def test_a_host_without_the_builder_is_told_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project.root))

    with pytest.raises(HostError, match=r"docker-buildx-plugin.*--runner local"):
        project.build("", "1" * 64)


def test_a_docker_command_without_buildx_is_told_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the command says when the plugin is missing.
    stub = project.root / "docker-stub" / "docker"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\necho \"docker: 'buildx' is not a docker command.\" >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:/usr/bin:/bin")

    with pytest.raises(HostError, match="no buildx plugin"):
        project.build("", "2" * 64)


LISTS = """Types: deb
# http://snapshots.example/archive/debian/20260918T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates

Types: deb
# http://snapshots.example/archive/debian-security/20260918T000000Z
URIs: http://mirror.example/debian-security
Suites: bookworm-security
"""
# Keeps the package lists that it was told to use.
APT_GET = """#!/bin/sh
[ -z "${APT_CONFIG:-}" ] || cp "$(sed -n 's/.*SourceList "\\(.*\\)".*/\\1/p' "$APT_CONFIG")" /seen
"""


def apt_install(project: Project, lists: str, snapshot: str) -> str:
    small = project.root / "docker" / "small"
    (small / "apt-install").write_text((REPOSITORY / "docker/base/apt-install").read_text())
    (small / "apt-get").write_text(APT_GET)
    (small / "debian.sources").write_text(lists)
    steps = (
        f"USER 0:0\nENV SOURCE_DATE_EPOCH=1789689600 DRYDOCK_SNAPSHOT={snapshot}\n"
        "COPY debian.sources /etc/apt/sources.list.d/\n"
        "COPY --chmod=755 apt-get /usr/local/bin/\n"
        "RUN --mount=type=bind,target=/mnt touch /seen && sh /mnt/apt-install anything"
    )
    return project.build(steps, uuid.uuid4().hex)


@pytest.mark.parametrize("snapshot", ["on", "off"])
def test_debian_packages_are_of_the_base_images_day(
    project: Project, room: Room, snapshot: str
) -> None:
    room.image = apt_install(project, LISTS, snapshot)

    assert room.run("cat", "/seen") == 0
    addresses = [line for line in room.stdout.split("\n") if line.startswith("URIs")]
    assert addresses == (
        []
        if snapshot == "off"
        else [
            "URIs: http://snapshots.example/archive/debian/20260918T000000Z",
            "URIs: http://snapshots.example/archive/debian-security/20260918T000000Z",
        ]
    )
    assert room.run("grep", "-c", "mirror.example", "/etc/apt/sources.list.d/debian.sources") == 0


def test_a_base_without_a_snapshots_address_is_refused(project: Project) -> None:
    with pytest.raises(DrydockError, match="DRYDOCK_SNAPSHOT=off"):
        apt_install(project, "Types: deb\nURIs: http://mirror.example/debian\n", "on")


@pytest.mark.slow
def test_the_train_environment_is_complete_and_not_root(room: Room, tmp_path: Path) -> None:
    environment = environments.load("train")
    digest = environments.environment_digest(environment, ContentCache(tmp_path / "cache.sqlite"))
    identity = images.ensure_image("train", digest, REPOSITORY, print)
    assert images.ensure_image("train", digest, REPOSITORY, pytest.fail) == identity

    configuration = inspect(identity)["Config"]
    assert isinstance(configuration, dict)
    assert configuration["User"] == "65532:65532"
    assert not any(
        word in entry.lower()
        for entry in configuration["Env"]
        for word in ("proxy", "index", "ca=")
    )
    room.image = identity
    script = (
        "import sys, cv2, lxml, matplotlib, pandas, pycocotools, PIL\n"
        "import tensorflow as tf\n"
        "from official.vision import registry_imports\n"
        "from official.core import exp_factory\n"
        "for name in ('retinanet', 'fasterrcnn_resnetfpn_coco'):\n"
        "    exp_factory.get_exp_config(name)\n"
        "print(sys.executable, tf.__version__, float(tf.reduce_sum(tf.ones((3, 3)))))\n"
    )
    assert room.run("python", "-c", script) == 0, room.stderr
    assert room.stdout.split() == ["/opt/venv/bin/python", "2.20.0", "9.0"]
    # Compiled once, in the image: a stage that compiled TensorFlow at every start would be slow.
    assert room.run("sh", "-c", "ls /opt/venv/lib/python3.11/site-packages/lxml/__pycache__") == 0


def test_a_build_that_cannot_be_repeated_is_named_file_by_file(project: Project) -> None:
    folder = project.root / "docker" / "small"
    (folder / "Dockerfile").write_text(
        "FROM base\nUSER 0:0\nRUN cat /proc/sys/kernel/random/uuid > /etc/luck\n"
    )
    first, second = (
        images.build_from_nothing("small", f"luck-{number}", project.root, project.said.append)
        for number in (1, 2)
    )

    assert first != second
    differing = reproduction.differing_files(first, second)
    assert any(line.startswith("/etc/luck: ") and "content" in line for line in differing)
    assert not any(line.startswith("/usr/") for line in differing)
    assert reproduction.differing_files(first, first) == []


def test_a_build_that_can_be_repeated_gives_the_same_image(project: Project) -> None:
    folder = project.root / "docker" / "small"
    (folder / "Dockerfile").write_text("FROM base\nENV NOTHING=done\n")
    first, second = (
        images.build_from_nothing("small", f"same-{number}", project.root, project.said.append)
        for number in (1, 2)
    )

    assert first == second


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        ("ENV NOTHING=done", ""),
        ("RUN cat /proc/sys/kernel/random/uuid > /tmp/luck", "/tmp/luck: "),
        ("RUN exit 3", "a build failed"),
    ],
)
def test_comparing_two_builds_leaves_none_on_the_engine(
    project: Project, monkeypatch: pytest.MonkeyPatch, step: str, refusal: str
) -> None:
    folder = project.root / "docker" / "small"
    (folder / "Dockerfile").write_text(f"FROM base\n{step}\n")
    (folder / "environment.toml").write_text('description = "small"\npython = "3.11"\n')
    monkeypatch.setattr(image_list, "ROOT", project.root)
    before = docker_engine.image_tags()

    with pytest.raises(DrydockError, match=refusal) if refusal else contextlib.nullcontext():
        image_list.reproduce("small")

    assert docker_engine.image_tags() == before


def test_bake_reads_the_matrix_and_each_target_keeps_its_layers_in_a_place_of_its_own() -> None:
    """All groups at once. In one place for all, the last of them would be kept alone."""
    command = ["docker", "buildx", "bake", "--file=docker/docker-bake.hcl", "--print"]
    settings = {
        "DRYDOCK_CACHE_FROM": "type=gha,scope=TARGET",
        "DRYDOCK_CACHE_TO": "type=local,dest=/kept/TARGET,mode=max",
    }
    done = subprocess.run(
        [*command, "default", "gpu", "vendor", "devices"],
        cwd=REPOSITORY,
        env={**os.environ, **settings},
        capture_output=True,
        check=True,
    )
    targets = json.loads(done.stdout)["target"]

    names = {images.bake_name(name) for name in (*environments.names(), *environments.devices())}
    assert names <= targets.keys()
    for name, target in targets.items():
        assert target["cache-from"] == [f"type=gha,scope={name}"]
        assert target["cache-to"] == [f"type=local,dest=/kept/{name},mode=max"]
    assert targets["device-arm64"]["platforms"] == ["linux/arm64"]
