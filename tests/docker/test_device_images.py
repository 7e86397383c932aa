"""Device images, run as on a device: read-only, without network, as nobody.

They carry the detector of the experiment `default`, verified before (`./inv train`, then
`./inv verify --target openvino-cpu,movidius,arm64`); where that was not done the tests are skipped.
"""

from __future__ import annotations

import http.client
import json
import platform
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from rooms import REPOSITORY

from pipeline import docker_engine, images, packaging
from pipeline.errors import InputError, StageFailed
from pipeline.experiment import open_experiment
from pipeline.packaging import Package
from pipeline.targets import load_targets

DATA = REPOSITORY / "data" / "images"
# test_arm64.py compares detections under emulation, which is too slow for all of this.
ON_ARM = platform.machine() == "aarch64"
LIMITS_MB = {"openvino-cpu": 350, "movidius": 300, "arm64": 220}
# No test has a stick: what drives it is there, and the network runs on the processor.
IN_ITS_PLACE = {"movidius": ["--device=CPU"]}

pytestmark = pytest.mark.slow


@pytest.fixture(params=list(LIMITS_MB))
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Package:
    experiment = open_experiment("default", {})
    try:
        return packaging.package(
            experiment, load_targets()[request.param], (), "image", tmp_path / "packed"
        )
    except (StageFailed, InputError) as error:
        pytest.skip(f"there is no verified detector to pack: {error}")


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


def skip_unless_native(package: Package) -> None:
    if (package.target == "arm64") != ON_ARM:
        pytest.skip("this machine has another processor than the image is for")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def predictions(folder: Path) -> list[dict[str, object]]:
    content: list[dict[str, object]] = json.loads((folder / "predictions.json").read_text())[
        "photos"
    ]
    return content


def test_the_image_detects_what_was_verified(packed: Package, found: Path) -> None:
    skip_unless_native(packed)
    name = f"{packed.target}/{packed.precision}"
    python = on_device(packed, f"--volume={found}:/found", "--entrypoint=python")
    done = run(
        [
            *(*python, "/opt/drydock/scripts/predict.py", "--artifact=/opt/drydock/detector"),
            f"--runtime={load_targets()[packed.target].runtime}",
            *("--data=/data", "--output=/found", *IN_ITS_PLACE.get(packed.target, ())),
        ]
    )

    assert done.returncode == 0, done.stderr
    verified = predictions(open_experiment("default", {}).output(f"{name}/predict"))
    here = predictions(found)
    assert [one["file"] for one in here] == [one["file"] for one in verified]
    if packed.target != "arm64":
        assert here == verified
        return
    # Other instructions round differently: what a user would see is the same.
    for ours, theirs in zip(here, verified, strict=True):
        assert shown(ours) == pytest.approx(shown(theirs), abs=2)


def shown(photo: dict[str, object]) -> list[float]:
    """Classes and sides of the boxes with a score of one half and more, in a fixed order."""
    rows = zip(photo["classes"], photo["boxes"], photo["scores"], strict=True)  # type: ignore[call-overload]
    kept = sorted((label, *box) for label, box, score in rows if score >= 0.5)
    return [number for row in kept for number in row]


def test_it_draws_boxes_and_is_as_small_as_promised(packed: Package, found: Path) -> None:
    assert packed.size < LIMITS_MB[packed.target] * 1e6
    skip_unless_native(packed)
    command = [*on_device(packed, f"--volume={found}:/found"), "detect", "--images=/data/test"]
    done = run([*command, "--output=/found", *IN_ITS_PLACE.get(packed.target, ())])

    assert done.returncode == 0, done.stderr
    entries = json.loads((found / "detections.json").read_text())["images"]
    assert sum(len(entry["detections"]) for entry in entries) > len(entries)
    assert len(list((found / "annotated").glob("*.jpg"))) == len(entries) == 10


def test_without_its_stick_it_says_so(packed: Package, found: Path) -> None:
    if packed.target != "movidius":
        pytest.skip("runs on the processor")
    command = [*on_device(packed, f"--volume={found}:/found"), "detect", "--images=/data/test"]

    done = run([*command, "--output=/found"])

    assert done.returncode == 2
    assert "no Movidius stick" in done.stderr


def test_it_is_nobody_and_says_what_it_is(packed: Package) -> None:
    inspected = run(["docker", "image", "inspect", packed.image])
    about = json.loads(inspected.stdout)[0]

    assert about["Config"]["User"] == "65532:65532"
    assert about["Config"]["Healthcheck"]["Test"] == ["CMD", "/opt/drydock/run", "health"]
    assert packed.labels.items() <= about["Config"]["Labels"].items()
    assert about["Architecture"] == ("arm64" if packed.target == "arm64" else "amd64")


def test_the_same_detector_gives_the_same_image_whatever_it_was_built_from(
    packed: Package, tmp_path: Path
) -> None:
    again = packaging.package(
        open_experiment("default", {}),
        load_targets()[packed.target],
        (packed.precision,),
        "image",
        tmp_path / "elsewhere",
    )

    assert again.id == packed.id


def test_a_new_detector_changes_the_last_layer_only(packed: Package, tmp_path: Path) -> None:
    import shutil

    from pipeline import environments
    from pipeline.execute import content_cache

    other = tmp_path / "other"
    shutil.copytree(packed.folder, other)
    (other / "detector" / "MODEL_CARD.md").write_text(f"another one, {uuid.uuid4()}\n")
    environment = environments.load(f"device/{load_targets()[packed.target].package}")
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
        before, after = layers(packed.image), layers(tag)
    finally:
        run(["docker", "image", "rm", tag])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def layers(image: str) -> list[str]:
    found: list[str] = json.loads(run(["docker", "image", "inspect", image]).stdout)[0]["RootFS"][
        "Layers"
    ]
    return found


def test_sigterm_ends_it_within_a_second(packed: Package, found: Path, many_photos: Path) -> None:
    skip_unless_native(packed)
    name = f"drydock-test-{uuid.uuid4().hex}"
    volumes = (f"--volume={found}:/found", f"--volume={many_photos}:/many:ro", f"--name={name}")
    command = [*on_device(packed, *volumes), "detect", "--images=/many", "--output=/found"]
    command += IN_ITS_PLACE.get(packed.target, ())
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        wait_for_a_picture(found / "annotated")
        began = time.monotonic()
        run(["docker", "kill", "--signal=TERM", name])
        code = client.wait(timeout=30)

    assert code == 143
    assert time.monotonic() - began < 1.5  # one of it for the engine's own work
    assert not list(found.glob(".*"))
    looked_at = json.loads((found / "detections.json").read_text())["images"]
    assert 0 < len(looked_at) < 3000


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


def test_the_archive_loads_and_is_the_same_image(tmp_path: Path, packed: Package) -> None:
    archive = tmp_path / "image.tar"
    images.save(packed.image, archive)

    loaded = run(["docker", "load", f"--input={archive}"])

    assert packed.image in loaded.stdout
    assert docker_engine.image_id(packed.image) == packed.id
    assert msgspec.json.decode(
        (Path(packed.folder).with_suffix(".json")).read_bytes(), type=Package
    )


@pytest.fixture
def served(packed: Package) -> Iterator[tuple[str, int]]:
    """A container that serves on loopback: its name and port."""
    skip_unless_native(packed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = f"drydock-test-{uuid.uuid4().hex}"
    # The host's network, because not every engine has a bridge to publish a port on.
    started = run(
        [
            *("docker", "run", "--detach", "--read-only", "--network=host", f"--name={name}"),
            *("--cap-drop=ALL", "--security-opt=no-new-privileges", packed.image),
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
    packed: Package, served: tuple[str, int]
) -> None:
    name, port = served
    wait_until_ready(port)
    verified = predictions(
        open_experiment("default", {}).output(f"{packed.target}/{packed.precision}/predict")
    )

    for photo in verified:
        content = (DATA / "test" / str(photo["file"])).read_bytes()
        status, answer = ask(port, "POST", "/detect?score_threshold=0.3", content)
        assert status == 200
        scores = [one["score"] for one in json.loads(answer)["detections"]]
        expected = [score for score in photo["scores"] if score >= 0.3]  # type: ignore[attr-defined]
        assert scores == pytest.approx(expected, abs=1e-4)
    about = json.loads(ask(port, "GET", "/v2")[1])
    assert about["version"] == packed.detector[:12]
    # By the experiment's name, for clients of the protocol.
    assert ask(port, "GET", "/v2/models/default/ready")[0] == 200
    assert run(["docker", "exec", name, "/opt/drydock/run", "health"]).returncode == 0
    # Nothing of where it was packed or runs is told to who sends rubbish.
    status, answer = ask(port, "POST", "/detect", b"rubbish")
    assert status == 400 and b"/" not in answer

    run(["docker", "kill", "--signal=TERM", name])
    told = datetime.now(timezone.utc)
    ended = run(["docker", "wait", name])
    assert ended.stdout.strip() == "0"
    # By the engine's clock: starting its commands takes longer than what is measured.
    finished = run(["docker", "inspect", "--format={{.State.FinishedAt}}", name]).stdout
    assert datetime.fromisoformat(finished[:23] + "+00:00") - told < timedelta(seconds=1)


def test_a_video_gives_a_line_for_each_frame(packed: Package, found: Path) -> None:
    skip_unless_native(packed)
    volume = f"--volume={found}:/found"
    made = run([*on_device(packed, volume, "--entrypoint=python"), "-c", FILM])
    assert made.returncode == 0, made.stderr

    done = run([*on_device(packed), "detect", "--video=/found/film.mp4"])
    assert done.returncode == 2  # it was not mounted
    done = run([*on_device(packed, volume), "detect", "--video=/found/film.mp4"])

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


def test_it_measures_itself(packed: Package) -> None:
    skip_unless_native(packed)
    done = run([*on_device(packed), "benchmark", "--images=/data/test", "--seconds=0.3"])

    assert done.returncode == 0, done.stderr
    assert "network:    p50 " in done.stdout and "end to end: p50 " in done.stdout
