"""What a container may do, decided without an engine, and the command line that says the same."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import docker_container, docker_engine, docker_options, hardware, images, ssh_relay
from pipeline.client import Client, is_orphan, started
from pipeline.errors import InputError
from pipeline.execution import Execution

ROOT = Path("/home/me/drydock")
STAGE = Execution(
    environment="train",
    argv=("python", "scripts/train.py", "--records", "/data/records"),
    root=ROOT,
    reads=(Path("/data/records"), ROOT / "configs"),
    writes=(ROOT / "artifacts/default/train",),
    settings={"COLUMNS": "80"},
)


def options(**changes: Any) -> dict[str, Any]:
    return docker_options.run_options(replace(STAGE, **changes), "sha256:ab", "1000:1000")


def test_a_stage_is_sealed_in() -> None:
    sealed = options()

    assert sealed["network_mode"] == "none"
    assert sealed["read_only"] is True
    assert sealed["cap_drop"] == ["ALL"]
    # SELinux and mapped user ids are on few hosts where this is tested.
    assert sealed["security_opt"] == ["no-new-privileges", "label=disable"]
    assert sealed["userns_mode"] == "host"
    assert sealed["user"] == "1000:1000"
    assert sealed["pids_limit"] > 0
    assert set(sealed["tmpfs"]) == {"/tmp", sealed["environment"]["HOME"]}
    assert "privileged" not in sealed
    assert "volumes" not in sealed


def test_paths_are_the_hosts_and_only_outputs_are_writable() -> None:
    mounts = options()["mounts"]

    assert all(mount["Source"] == mount["Target"] for mount in mounts)
    # The configuration lies in the repository, which is mounted already.
    assert {mount["Target"]: mount["ReadOnly"] for mount in mounts} == {
        "/data/records": True,
        "/home/me/drydock": True,
        "/home/me/drydock/artifacts/default/train": False,
    }


def test_an_input_that_is_also_an_output_stays_writable() -> None:
    both = options(reads=(Path("/out"), Path("/out/sub")), writes=(Path("/out"),))["mounts"]

    assert {m["Target"]: m["ReadOnly"] for m in both} == {"/out": False, str(ROOT): True}


def test_settings_reach_the_stage_but_do_not_move_its_home() -> None:
    environment = options(settings={"COLUMNS": "80", "HOME": "/root"})["environment"]

    assert environment["COLUMNS"] == "80"
    assert environment["HOME"] == docker_options.HOME


def test_a_port_that_is_reached_here_opens_no_network() -> None:
    served = options(port=6006)

    assert served["network_mode"] == "none"
    assert "ports" not in served


def test_the_command_line_says_the_same() -> None:
    stage = replace(STAGE, interactive=True, gpu=True, reads=(Path("/a,b/records"),))
    words = docker_options.command_line(stage, "sha256:ab", "1000:1000", groups=(44,), memory=2048)

    assert shlex.split(shlex.join(words)) == words
    assert words[:3] == ["docker", "run", "--rm"]
    assert words[words.index("sha256:ab") :] == ["sha256:ab", *STAGE.argv]
    pairs = list(zip(words, words[1:]))
    for pair in [
        ("--network", "none"),
        ("--user", "1000:1000"),
        ("--group-add", "44"),
        ("--memory", "2048"),
        ("--memory-swap", "2048"),
        ("--gpus", "all"),
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--workdir", str(ROOT)),
        ("--mount", f"type=bind,source={ROOT},target={ROOT},readonly"),
        ("--mount", 'type=bind,"source=/a,b/records","target=/a,b/records",readonly'),
        (
            "--mount",
            f"type=bind,source={STAGE.writes[0]},target={STAGE.writes[0]}",
        ),
        ("--env", "COLUMNS=80"),
    ]:
        assert pair in pairs
    assert {"--init", "--read-only", "--tty", "--interactive"} <= set(words)


def test_the_command_line_leaves_nothing_out() -> None:
    for gpu in (False, True):
        everything = docker_options.run_options(
            replace(STAGE, interactive=True, gpu=gpu),
            "i",
            "0:0",
            groups=(1,),
            memory=1,
            render_nodes={"/dev/dri/renderD128": 105},
            usb=True,
        )
        assert set(everything) - {"image", "command"} <= set(docker_options._FLAGS)


def test_gpus_of_intel_come_with_the_group_that_may_use_them() -> None:
    nodes = {"/dev/dri/renderD128": 105, "/dev/dri/renderD129": 105}
    given = docker_options.run_options(STAGE, "i", "1000:1000", groups=(44,), render_nodes=nodes)

    assert given["devices"] == [f"{node}:{node}:rw" for node in nodes]
    assert given["group_add"] == ["44", "105"]
    assert given["cap_drop"] == ["ALL"]
    words = docker_options.command_line(STAGE, "i", "1000:1000", render_nodes=nodes)
    assert ("--device", "/dev/dri/renderD128:/dev/dri/renderD128:rw") in zip(words, words[1:])


def test_a_stick_that_comes_back_as_another_device_can_be_used() -> None:
    given = docker_options.run_options(STAGE, "i", "1000:1000", usb=True)

    assert given["device_cgroup_rules"] == ["c 189:* rmw"]
    usb = {"Type": "bind", "Source": "/dev/bus/usb", "Target": "/dev/bus/usb", "ReadOnly": False}
    assert usb in given["mounts"]
    assert not options()["devices"]
    assert not options()["device_cgroup_rules"]


@pytest.mark.parametrize(
    ("asked", "far", "expected"),
    [
        (("render", "usb"), False, ({"/dev/dri/renderD128": 105}, True)),
        ((), False, ({}, False)),  # who does not declare it is given nothing
        (("render", "usb"), True, ({}, False)),  # what is here is not over there
    ],
)
def test_hardware_is_for_who_declares_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: tuple[str, ...],
    far: bool,
    expected: tuple[dict[str, int], bool],
) -> None:
    monkeypatch.setattr(docker_engine, "elsewhere", lambda: far)
    monkeypatch.setattr(
        docker_container.hardware, "render_nodes", lambda: {"/dev/dri/renderD128": 105}
    )
    monkeypatch.setattr(docker_container, "USB", tmp_path)
    decided = docker_container._decide(replace(STAGE, hardware=asked), {"MemTotal": 1000})

    assert (decided["render_nodes"], decided["usb"]) == expected


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default"], "Rootless": True}, True),  # Podman
        ({"SecurityOptions": ["name=seccomp"], "Rootless": False}, False),
        ({"SecurityOptions": None}, False),
    ],
)
def test_rootless_engines_are_known(info: dict[str, Any], expected: bool) -> None:
    assert hardware.rootless(info) is expected


def test_a_pasted_command_is_not_swept_away() -> None:
    words = docker_options.command_line(STAGE, "sha256:ab", "1000:1000")

    assert not any(docker_container.CLIENT_LABEL in word for word in words)


@pytest.mark.parametrize(
    ("rootless", "expected"), [(False, "1000:1001"), (True, "0:0")], ids=["rootful", "rootless"]
)
def test_outputs_belong_to_the_caller(rootless: bool, expected: str) -> None:
    assert docker_options.user_on_engine(rootless, 1000, 1001) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6g", 6 * 1024**3), ("512M", 512 * 1024**2), ("1GiB", 1024**3), ("7", 7)],
)
def test_memory(text: str, expected: int) -> None:
    assert docker_options.parse_memory(text) == expected


@pytest.mark.parametrize("text", ["lots", "", "-1g", "1.5g", "g"])
def test_memory_that_means_nothing(text: str) -> None:
    with pytest.raises(InputError, match="DRYDOCK_MEMORY"):
        docker_options.parse_memory(text)


ME = Client("laptop/pid:[1]", 1000, 77, "500")


@pytest.mark.parametrize(
    ("client", "alive", "orphan"),
    [
        (replace(ME, pid=5), None, True),
        (replace(ME, pid=5), "500", False),
        (replace(ME, pid=5), "999", True),  # the id belongs to another process by now
        (replace(ME, pid=5, uid=0), None, False),
        (replace(ME, pid=5, machine="ci/pid:[1]"), None, False),
        (replace(ME, pid=5, machine="laptop/pid:[2]"), None, False),
    ],
)
def test_whose_container_is_left_over(client: Client, alive: str | None, orphan: bool) -> None:
    assert is_orphan(str(client), ME, lambda pid: alive) is orphan


def test_a_living_process_has_a_start_time() -> None:
    since = started(os.getpid())

    assert since is not None
    assert started(os.getpid()) == since
    assert started(2**22 + 1) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.0 200 OK\r\nApi-Version: 1.45\r\n\r\nOK", None),
        (b"HTTP/1.0 200 OK\r\nApi-Version: 1.38\r\n\r\nOK", "older than"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "no container engine"),
        (b"", "no container engine"),
    ],
)
def test_what_answers_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str | None
) -> None:
    path = tmp_path / "engine.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        said = docker_engine.available()
        thread.join()

    assert (said is None) if reason is None else (reason in (said or ""))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ssh://there", "there -- docker system dial-stdio"),
        ("ssh://me@there:2222", "-p 2222 -l me there -- docker system dial-stdio"),
        (
            "ssh://there/run/user/1/docker.sock",
            "there -- docker --host unix:///run/user/1/docker.sock system dial-stdio",
        ),
    ],
)
def test_an_engine_behind_ssh_is_reached_as_the_docker_command_does(
    address: str, words: str
) -> None:
    assert " ".join(ssh_relay.command(address)).endswith(f"ConnectTimeout=10 {words}")


def test_the_context_of_the_docker_command_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    folder = tmp_path / "contexts/meta" / hashlib.sha256(b"rootless").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(
        '{"Name": "rootless", "Endpoints": {"docker": {"Host": "unix:///run/user/1/docker.sock"}}}'
    )

    assert docker_engine.endpoint() == "unix:///run/user/1/docker.sock"


MATRIX = {
    "base": {"context": "docker/base", "target": "base", "args": {"A": "1"}},
    "builder": {"context": "docker/base", "target": "builder", "secret": ["id=ca,src=/ca"]},
    "train": {
        "context": "docker/train",
        "contexts": {"base": "target:base", "builder": "target:builder"},
    },
}
TAGS = {name: images.image_tag(name, "0123456789abcdef") for name in MATRIX}


def test_what_an_image_is_made_from_is_built_first() -> None:
    assert images.build_order("train", MATRIX) == ["base", "builder", "train"]
    assert images.build_order("base", MATRIX) == ["base"]


def test_the_matrix_becomes_build_commands() -> None:
    base = images.build_command("base", MATRIX, TAGS, {"HTTPS_PROXY": "http://me:secret@proxy"})

    assert base[-2:] == ["--file=docker/base/Dockerfile", "docker/base"]
    assert {"--target=base", "--build-arg=A=1", "--tag=drydock/base:0123456789ab"} <= set(base)
    assert "--build-arg=HTTPS_PROXY" in base
    assert not any("secret" in word for word in base)
    assert "--secret=id=ca,src=/ca" in images.build_command("builder", MATRIX, TAGS, {})


def test_settings_of_unusual_hosts_reach_the_build() -> None:
    environ = {"DRYDOCK_BUILD_NETWORK": "host", "DRYDOCK_BUILD_CONTEXTS": "a=b c:d@e=f"}
    train = images.build_command("train", MATRIX, TAGS, environ)

    assert [word for word in train if word.startswith("--build-context=")] == [
        "--build-context=base=docker-image://drydock/base:0123456789ab",
        "--build-context=builder=docker-image://drydock/builder:0123456789ab",
        "--build-context=a=b",
        "--build-context=c:d@e=f",
    ]
    assert "--network=host" in train


def test_a_device_image_is_built_for_its_platform_and_labelled() -> None:
    device = {
        "context": "/far/folder",
        "dockerfile": "/repository/docker/device/Dockerfile",
        "contexts": {"runtime": "target:train"},
        "platforms": ["linux/arm64"],
        "labels": {"drydock.map": "0.75"},
    }
    command = images.build_command("device", {"device": device}, {**TAGS, "device": "x:y"}, {})

    assert command[-2:] == ["--file=/repository/docker/device/Dockerfile", "/far/folder"]
    assert {"--platform=linux/arm64", "--label=drydock.map=0.75", "--tag=x:y"} <= set(command)
    assert "--build-context=runtime=docker-image://drydock/train:0123456789ab" in command


def test_the_builder_uses_the_engine_that_runs_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///here.sock")
    environ = images.builder_environment({"DOCKER_CONTEXT": "far", "DRYDOCK_CA": "/my/ca"})

    assert environ["DOCKER_HOST"] == "unix:///here.sock"
    assert "DOCKER_CONTEXT" not in environ
    assert environ["DRYDOCK_CA"] == "/my/ca"


def test_progress_is_the_steps_that_are_done() -> None:
    lines = [
        "#7 [base 1/2] FROM debian",
        "#7 DONE 0.1s",
        "#8 [base 2/2] RUN --mount=type=bind,source=a,target=/a     sh /run/apt-install python3",
        "#8 CACHED",
        "#9 [build 1/2] RUN --mount=type=cache,target=/x --mount=type=secret,id=ca make-venv",
        "#9 12.3 Downloading tensorflow",
        "#9 DONE 80.0s",
    ]

    assert list(images.steps(lines)) == ["  step 1/2: make-venv"]
