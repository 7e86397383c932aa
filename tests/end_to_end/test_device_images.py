"""Device images, run as on a device: read-only, without network, as nobody.

They carry the detector that was trained in the fresh clone and verified there for each target. What
is for another processor is run by an emulator, and only to see that it detects the same.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from clones import REPOSITORY, Clone

from pipeline import docker_engine, environments, images
from pipeline.execute import content_cache
from pipeline.packaging import Package
from pipeline.targets import load_targets

DATA = REPOSITORY / "data" / "images"
MACHINES = {"openvino-cpu": "amd64", "arm64": "arm64"}
LIMITS_MB = {"openvino-cpu": 350, "arm64": 220}
NATIVE = "arm64" if platform.machine() == "aarch64" else "openvino-cpu"
NO_ENGINE = docker_engine.available()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NO_ENGINE is not None, reason=f"no container engine: {NO_ENGINE}"),
]


@pytest.fixture(scope="module")
def packages(clone: Clone, verified: object) -> dict[str, Package]:
    """What the fresh clone packs, by target."""
    done = clone.inv("package", "--target", ",".join(MACHINES))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for target in MACHINES:
        (about,) = clone.artifact("default", target).glob("*/package/default-*[0-9].json")
        found[target] = msgspec.json.decode(about.read_bytes(), type=Package)
    return found


@pytest.fixture(params=list(MACHINES))
def packed(request: pytest.FixtureRequest, packages: dict[str, Package]) -> Package:
    return packages[request.param]


@pytest.fixture
def native(packages: dict[str, Package]) -> Package:
    """The one for this machine's processor."""
    return packages[NATIVE]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    folder = tmp_path / "found"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)  # whatever the umask
    return folder


def on_device(package: Package, *options: str) -> list[str]:
    """The start of a command that runs the image."""
    return [
        *("docker", "run", "--rm", "--read-only", "--network=none", "--tmpfs=/tmp"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", f"--volume={DATA}:/data:ro"),
        *options,
        package.image,
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def predictions(folder: Path) -> list[dict[str, object]]:
    content: list[dict[str, object]] = json.loads((folder / "predictions.json").read_text())[
        "photos"
    ]
    return content


def verified_predictions(clone: Clone, package: Package) -> list[dict[str, object]]:
    return predictions(clone.artifact("default", package.target, package.precision, "predict"))


def detect_all(package: Package, data: Path, found: Path, emulator: str) -> list[dict[str, object]]:
    """What the image's own program and runtime detect on the photos in ``data``/test."""
    python = ["/opt/venv/bin/python"]
    options = [f"--volume={found}:/found", f"--volume={data}:/photos:ro"]
    if package.target != NATIVE:
        # One core: emulated threads that wait for each other take minutes on a busy host.
        options += [f"--volume={emulator}:/mnt:ro", "--platform=linux/arm64", "--cpuset-cpus=0"]
        python.insert(0, "/mnt")
    command = on_device(package, *options, f"--entrypoint={python[0]}") + python[1:]
    runtime = load_targets()[package.target].runtime
    program = ["/opt/drydock/scripts/predict.py", "--artifact=/opt/drydock/detector"]
    done = run([*command, *program, f"--runtime={runtime}", "--data=/photos", "--output=/found"])
    assert done.returncode == 0, done.stderr
    return predictions(found)


def test_the_image_detects_what_was_verified(native: Package, clone: Clone, found: Path) -> None:
    here = detect_all(native, DATA, found, "")

    verified = verified_predictions(clone, native)
    assert len(here) == 10
    if native.target == "openvino-cpu":
        assert here == verified
        return
    # Other instructions round differently: what a user would see is the same.
    assert [one["file"] for one in here] == [one["file"] for one in verified]
    for ours, theirs in zip(here, verified, strict=True):
        assert shown(ours) == pytest.approx(shown(theirs), abs=2)


@pytest.mark.skipif(NATIVE == "arm64", reason="here ARM is no emulation")
def test_the_arm_image_detects_what_was_verified_on_this_machine(
    packages: dict[str, Package], clone: Clone, found: Path, tmp_path: Path, emulator: str
) -> None:
    test = tmp_path / "few" / "test"  # each photo takes seconds under emulation
    test.mkdir(parents=True)
    for photo in sorted((DATA / "test").glob("*.jpg"))[:2]:
        (test / photo.name).write_bytes(photo.read_bytes())

    here = detect_all(packages["arm64"], test.parent, found, emulator)

    verified = {one["file"]: one for one in verified_predictions(clone, packages["arm64"])}
    assert len(here) == 2 and any(shown(one) for one in here)
    for ours in here:
        assert shown(ours) == pytest.approx(shown(verified[ours["file"]]), abs=0.05)


def shown(photo: dict[str, object]) -> list[float]:
    """Classes and sides of the boxes with a score of 0.3 and more, in a fixed order."""
    rows = zip(photo["classes"], photo["boxes"], photo["scores"], strict=True)  # type: ignore[call-overload]
    kept = sorted((label, *box) for label, box, score in rows if score >= 0.3)
    return [number for row in kept for number in row]


def test_it_is_as_small_as_promised(packed: Package) -> None:
    assert packed.size < LIMITS_MB[packed.target] * 1e6


def test_it_draws_boxes(native: Package, found: Path) -> None:
    given = ["detect", "/data/test", "--output=/found", "--score-threshold=0.3"]
    done = run([*on_device(native, f"--volume={found}:/found"), *given])

    assert done.returncode == 0, done.stderr
    entries = json.loads((found / "detections.json").read_text())["images"]
    assert sum(len(entry["detections"]) for entry in entries) > len(entries)
    assert len(list((found / "annotated").glob("*.jpg"))) == len(entries) == 10


def test_without_a_place_to_write_to_it_prints_a_line_for_each_photo(native: Package) -> None:
    photos = sorted(path.name for path in (DATA / "test").glob("*.jpg"))

    one = run([*on_device(native), "detect", f"/data/test/{photos[0]}"])
    all_ = run([*on_device(native), "detect", "/data/test"])

    assert (one.returncode, all_.returncode) == (0, 0), one.stderr + all_.stderr
    lines = [json.loads(line) for line in all_.stdout.splitlines()]
    assert sorted(line["file"] for line in lines) == photos
    assert json.loads(one.stdout) == next(line for line in lines if line["file"] == photos[0])


def test_help_and_errors_say_how_to_run_the_image(native: Package) -> None:
    help_, wrong, unwritable = (
        run([*on_device(native), *given])
        for given in (
            ["--help"],
            ["detect", "/photos/a.jpg"],
            ["detect", "/data/test", "--output=/data/found"],
        )
    )

    assert help_.returncode == 0
    assert 'docker run --rm --volume "$PWD:/data:ro" IMAGE detect' in help_.stdout
    assert (wrong.returncode, unwritable.returncode) == (2, 2)
    assert "/photos/a.jpg: there is no such file or folder" in wrong.stderr
    assert "--volume" in wrong.stderr and "--user" in unwritable.stderr


def test_it_is_nobody_and_says_what_it_is(packed: Package) -> None:
    inspected = run(["docker", "image", "inspect", packed.image])
    about = json.loads(inspected.stdout)[0]

    assert about["Config"]["User"] == "65532:65532"
    assert about["Config"]["Healthcheck"]["Test"] == ["CMD", "/opt/drydock/run", "health"]
    assert packed.labels.items() <= about["Config"]["Labels"].items()
    assert about["Architecture"] == MACHINES[packed.target]


def test_the_same_detector_gives_the_same_image_whatever_it_was_built_from(
    native: Package, clone: Clone, tmp_path: Path
) -> None:
    output = tmp_path / "elsewhere"
    done = clone.inv("package", "--target", native.target, "--output", str(output))

    assert done.returncode == 0, done.stdout + done.stderr
    (about,) = output.glob("default-*[0-9].json")
    assert json.loads(about.read_bytes())["id"] == native.id


def test_a_new_detector_changes_the_last_layer_only(native: Package, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(native.folder, other)
    (other / "detector" / "MODEL_CARD.md").write_text(f"another one, {uuid.uuid4()}\n")
    environment = environments.load(f"device/{load_targets()[native.target].package}")
    tag = f"drydock/test/device:{uuid.uuid4().hex}"
    images.build_device_image(
        environment.name,
        environments.environment_digest(environment, content_cache()),
        folder=other,
        tag=tag,
        labels={},
        root=REPOSITORY,
        say=print,
    )
    try:
        before, after = layers(native.image), layers(tag)
    finally:
        run(["docker", "image", "rm", tag])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def layers(image: str) -> list[str]:
    found: list[str] = json.loads(run(["docker", "image", "inspect", image]).stdout)[0]["RootFS"][
        "Layers"
    ]
    return found


def test_sigterm_ends_it_within_a_second(native: Package, found: Path, many_photos: Path) -> None:
    name = f"drydock-test-{uuid.uuid4().hex}"
    volumes = (f"--volume={found}:/found", f"--volume={many_photos}:/many:ro", f"--name={name}")
    command = [*on_device(native, *volumes), "detect", "/many", "--output=/found"]
    command.remove("--rm")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        try:
            wait_for_a_picture(found / "annotated")
            code = ended_by_sigterm(name)
        finally:
            run(["docker", "rm", "--force", name])
        client.wait(timeout=30)

    assert code == 143
    assert not list(found.glob(".*"))
    looked_at = json.loads((found / "detections.json").read_text())["images"]
    assert 0 < len(looked_at) < 3000


def ended_by_sigterm(name: str) -> int:
    """The exit code of a container that is told to end, which takes it less than a second."""
    run(["docker", "kill", "--signal=TERM", name])
    told = datetime.now(timezone.utc)
    code = int(run(["docker", "wait", name]).stdout)
    # By the engine's clock: starting its commands takes longer than what is measured.
    finished = run(["docker", "inspect", "--format={{.State.FinishedAt}}", name]).stdout
    # A busy host stretches it.
    limit = timedelta(seconds=max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
    assert datetime.fromisoformat(finished[:23] + "+00:00") - told < limit
    return code


@pytest.fixture
def many_photos(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.jpg").hardlink_to(next(DATA.glob("test/*.jpg")))
    yield folder


def wait_for_a_picture(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.jpg")):
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.05)


def test_the_archive_loads_and_is_the_same_image(tmp_path: Path, native: Package) -> None:
    archive = tmp_path / "image.tar"
    images.save(native.image, archive)

    loaded = run(["docker", "load", f"--input={archive}"])

    assert native.image in loaded.stdout
    assert docker_engine.image_id(native.image) == native.id
    assert msgspec.json.decode(
        (Path(native.folder).with_suffix(".json")).read_bytes(), type=Package
    )


@pytest.fixture
def served(native: Package) -> Iterator[tuple[str, int]]:
    """A container that serves on loopback: its name and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = f"drydock-test-{uuid.uuid4().hex}"
    # The host's network, because not every engine has a bridge to publish a port on.
    started = run(
        [
            *("docker", "run", "--detach", "--read-only", "--network=host", f"--name={name}"),
            *("--cap-drop=ALL", "--security-opt=no-new-privileges", native.image),
            *("serve", "--host=127.0.0.1", f"--port={port}"),
        ]
    )
    assert started.returncode == 0, started.stderr
    try:
        yield name, port
    finally:
        run(["docker", "rm", "--force", name])


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """The answer, or 0 where nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    except ConnectionRefusedError:
        return 0, b""
    finally:
        connection.close()


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while ask(port, "GET", "/v2/health/ready")[0] != 200:
        assert time.monotonic() < deadline, "it is never ready"
        time.sleep(0.05)


def test_it_serves_what_was_verified_and_says_how_it_is(
    native: Package, served: tuple[str, int], clone: Clone
) -> None:
    name, port = served
    wait_until_ready(port)
    verified = verified_predictions(clone, native)

    for photo in verified:
        content = (DATA / "test" / str(photo["file"])).read_bytes()
        status, answer = ask(port, "POST", "/detect?score_threshold=0.3", content)
        assert status == 200
        scores = [one["score"] for one in json.loads(answer)["detections"]]
        expected = [score for score in photo["scores"] if score >= 0.3]  # type: ignore[attr-defined]
        assert scores == pytest.approx(expected, abs=1e-4)
    about = json.loads(ask(port, "GET", "/v2")[1])
    assert about["version"] == native.detector[:12]
    # By the experiment's name, for clients of the protocol.
    assert ask(port, "GET", "/v2/models/default/ready")[0] == 200
    assert run(["docker", "exec", name, "/opt/drydock/run", "health"]).returncode == 0
    # Nothing of where it was packed or runs is told to who sends rubbish.
    status, answer = ask(port, "POST", "/detect", b"rubbish")
    assert status == 400 and b"/" not in answer

    assert ended_by_sigterm(name) == 0


def test_a_video_gives_a_line_for_each_frame(native: Package, found: Path) -> None:
    volume = f"--volume={found}:/found"
    made = run([*on_device(native, volume, "--entrypoint=python"), "-c", FILM])
    assert made.returncode == 0, made.stderr

    done = run([*on_device(native), "detect", "/found/film.mp4"])
    assert done.returncode == 2  # it was not mounted
    done = run([*on_device(native, volume), "detect", "/found/film.mp4", "--score-threshold=0.2"])

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    assert all(line["detections"] for line in lines)
    assert "in 5 frames" in done.stderr


# Five times the first test photo.
FILM = """
import av
from pathlib import Path
from PIL import Image
photo = Image.open(sorted(Path("/data/test").glob("*.jpg"))[0]).convert("RGB").resize((640, 480))
with av.open("/found/film.mp4", "w") as film:
    stream = film.add_stream("libx264", rate=5)
    stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
    for _ in range(5):
        film.mux(stream.encode(av.VideoFrame.from_image(photo)))
    film.mux(stream.encode())
"""


def test_it_measures_itself(native: Package) -> None:
    done = run([*on_device(native), "benchmark", "/data/test", "--seconds=0.3"])

    assert done.returncode == 0, done.stderr
    assert "network:    p50 " in done.stdout and "end to end: p50 " in done.stdout
