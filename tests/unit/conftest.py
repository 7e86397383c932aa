"""Unit tests run on the host side, with the repository as import root."""

from __future__ import annotations

import atexit
import compileall
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Stand-ins for the real stages: seconds become milliseconds, the contract stays. Each copies what
# it read, so that a change of an input shows in what the next one reads.
STAGES = {
    "check_dataset.py": """
        (output / "report.json").write_text("{}")
        for photo in sorted(Path(arguments["data"]).rglob("*.xml")):
            if "broken" in photo.read_text():
                print(f"error: {photo}: it is broken; repair it", file=sys.stderr)
                sys.exit(2)
    """,
    "make_records.py": """
        for split in ("train", "test"):
            folder = Path(arguments["data"], split)
            text = "".join(path.read_text() for path in sorted(folder.iterdir()))
            (output / f"{split}.record").write_text(text)
            (output / f"{split}_labels.csv").write_text("filename,class\\n0.jpg,nut\\n1.jpg,nut\\n")
        counts = {"photos": 3, "boxes": 2, "negatives": 1}
        made = {"classes": ["nut", "rare"], "splits": {"train": counts, "test": counts}}
        (output / "records.json").write_text(json.dumps(made))
    """,
    "train.py": """
        done = output / "steps"
        steps = int(done.read_text()) if done.exists() else 0
        print("starting at", steps)
        while steps < (int(arguments["steps"]) or 3):
            steps += 1
            done.write_text(str(steps))
            print("step", steps, flush=True)
            if os.environ.get("OMP_NUM_THREADS") == "77":  # the tests' way to slow it down
                time.sleep(0.2)
        (output / "model").write_text(Path(arguments["records"], "train.record").read_text())
    """,
    "train_int8.py": """
        model = Path(arguments["train"], "model").read_text()
        (output / "model").write_text(f"{model} after {arguments['qat']} steps")
    """,
    "export.py": """
        (output / "detector.json").write_text(Path(arguments["train"], "model").read_text())
    """,
    "import_model.py": """
        file = Path(arguments["source"], arguments["imported"])
        if "detector" not in file.read_text():
            print(f"error: {file.name} is not a frozen TensorFlow graph", file=sys.stderr)
            sys.exit(2)
        labels = file.with_name("labels.pbtxt")
        if not arguments["labels"] and not labels.exists():
            print("error: what are its classes called?", file=sys.stderr)
            sys.exit(2)
        about = {
            "name": file.stem, "input": {"width": 8, "height": 8},
            "kind": "whole" if "whole" in file.read_text() else "one_stage",
            "classes": [arguments["labels"] or labels.read_text()],
        }
        (output / "detector.json").write_text(json.dumps(about))
        origin = {"file": file.name, "sha256": "5e5a", "format": "graph", "taken": "as it is"}
        (output / "origin.json").write_text(json.dumps(origin))
    """,
    "evaluate.py": """
        (output / "summary.txt").write_text("all classes 0.500")
        row = {"AP": 0.5, "AP50": 1.0, "AP75": None, "boxes": 3}
        metrics = {"mAP": 0.5, "AP50": 1.0, "AP75": 0.25, "per_class": {"nut": row}, "images": 2}
        (output / "metrics.json").write_text(json.dumps(metrics))
    """,
    "detect.py": """
        (output / "detections.json").write_text(bare[0])
    """,
    "convert_box.py": """
        whole = Path(arguments["export"], "detector.json").read_text()
        (output / "model.box").write_text(whole[:-1] if arguments["precision"] == "int8" else whole)
        about = {"name": "small", "classes": ["nut", "rare"], "input": {"width": 8, "height": 8}}
        (output / "detector.json").write_text(json.dumps(about))
    """,
    "predict.py": """
        converted = Path(arguments["artifact"], "model.box")
        model = converted if converted.exists() else converted.with_name("detector.json")
        (output / "predictions.json").write_text(model.read_text())
    """,
    "benchmark.py": """
        times = [8.0, 8.0, 8.0] if arguments["runtime"] == "tensorflow" else [4.0, 4.0, 4.0]
        (output / "round.json").write_text(json.dumps({
            **dict.fromkeys(("network_ms", "network_cpu_ms", "detector_ms"), times),
            "end_to_end_ms": times,
            **({"saved_model_ms": [16.0] * 3} if arguments["runtime"] == "tensorflow" else {}),
            **{name: arguments[name] for name in ("runtime", "device", "threads")},
            "warm_up": 5, "size_bytes": 9, "cpu": "x", "mhz": None, "load": 0.5,
            "peak_memory_mib": 1.0,
        }))
    """,
    "serve.py": """
        about = ("model", "artifact", "runtime", "device")
        print("serving", *(arguments[name] for name in about), flush=True)
        if arguments["score-threshold"] == "0.77":  # the tests' way to keep it there
            time.sleep(60)
    """,
    "health.py": """
    """,
    "verify.py": """
        found, expected = (
            Path(arguments[side], "predictions.json").read_text()
            for side in ("predictions", "reference")
        )
        before = 0.5 if found == expected else 0.625
        result = {"passed": found == expected, "mAP": 0.5, "reference_mAP": before}
        result["difference"] = 0.5 - before
        result["images"], result["per_class"] = 3, {"nut": {"AP": 0.375, "reference_AP": 0.5}}
        result["problems"] = [] if found == expected else ["they differ"]
        result["caution"] = f"3 test photos are few (95 %: {arguments['tolerance']})"
        result["accepted"] = arguments["accept-loss"] if result["problems"] else ""
        (output / "verify.json").write_text(json.dumps(result))
        if found != expected and not arguments["accept-loss"]:
            print("error: the boxes of test photo 1 differ", file=sys.stderr)
            sys.exit(1)
    """,
}
TARGETS = """
[tolerance]
fp32 = 0.001
int8 = 0.02

[targets.tensorflow]
help = "the reference"
environment = "train"
runtime = "tensorflow"
precisions = ["fp32"]

[targets.box]
help = "a box"
environment = "box"
runtime = "box"
device = "BOX"
stand_in = "a crate"
itself = "BOX 7"
package = "box"
convert = "scripts/convert_box.py"
precisions = ["fp32", "int8"]
"""
HEAD = """
import json, os, sys, time
from pathlib import Path
import helper
arguments = dict(word[2:].split("=", 1) for word in sys.argv[1:] if word.startswith("--"))
bare = [word for word in sys.argv[1:] if not word.startswith("--")]
output = Path(arguments.get("output", "."))
"""


@functools.cache
def compiled() -> Path:
    """A copy of the host side with its bytecode, which its own copies need not compile again."""
    folder = Path(tempfile.mkdtemp(prefix="drydock-tests-"))
    atexit.register(shutil.rmtree, folder)
    for name in ("tasks.py", "commands", "pipeline", "configs"):
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    compileall.compile_dir(folder, quiet=2)
    return folder


@functools.cache
def preloaded() -> subprocess.Popen[str]:
    """What starts commands (preloaded.py)."""
    program = Path(__file__).with_name("preloaded.py")
    server = subprocess.Popen(
        [sys.executable, "-X", "utf8", str(program), str(REPOSITORY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    atexit.register(server.communicate)  # it ends with its stdin
    return server


class Project:
    """A small copy of the repository with stand-in stages, driven through its command line."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self._cache = cache
        shutil.copytree(compiled(), folder)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        for name in ("train", "box"):
            environment = folder / "docker" / name
            environment.mkdir(parents=True)
            (environment / "environment.toml").write_text(
                f'description = "stand-in"\npython = "{version}"\n'
            )
            (environment / "requirements.txt").write_text("")
        device = folder / "docker" / "device" / "box"
        device.mkdir(parents=True)
        (device / "environment.toml").write_text(
            f'description = "boxes"\npython = "{version}"\n[device]\nname = "BOX 7"\n'
        )
        (device / "requirements.txt").write_text("")
        (folder / "LICENSE").write_text("free\n")
        (folder / "configs" / "targets.toml").write_text(TARGETS)
        runtimes = folder / "scripts" / "detection" / "runtimes"
        runtimes.mkdir(parents=True)
        for name in ("tensorflow", "box"):
            (runtimes / f"{name}.py").write_text("")
        (folder / "scripts" / "helper.py").write_text("")
        for name, body in STAGES.items():
            lines = [line[8:] for line in body.strip("\n").split("\n")]
            (folder / "scripts" / name).write_text(HEAD + "\n".join(lines) + "\n")
        for split in ("train", "test"):
            for number in range(3):
                photo = folder / "data" / "images" / split / f"{number}"
                photo.parent.mkdir(parents=True, exist_ok=True)
                photo.with_suffix(".jpg").write_text(f"{split} photo {number}\n")
                photo.with_suffix(".xml").write_text(f"{split} boxes {number}\n")

    def environment(self, **settings: str) -> dict[str, str]:
        return {**os.environ, "DRYDOCK_CACHE": str(self._cache), **settings}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-X", "utf8", "commands", *arguments]  # as ./inv does

    def invoke(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        said = [self.folder.with_name(f"{self.folder.name}.{name}") for name in ("out", "err")]
        request = {
            "arguments": arguments,
            "folder": str(self.folder),
            "environ": self.environment(**settings),
            "files": [str(path) for path in said],
        }
        server = preloaded()
        assert server.stdin is not None and server.stdout is not None
        print(json.dumps(request), file=server.stdin)
        if not select.select([server.stdout], [], [], 60)[0]:
            server.kill()
            preloaded.cache_clear()
            raise TimeoutError(f"{arguments}: {[path.read_text() for path in said]}")
        code = int(server.stdout.readline())
        out, err = (path.read_text("utf-8") for path in said)
        return subprocess.CompletedProcess(self.argv(*arguments), code, out, err)

    def train(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.invoke("train", "--runner", "local", *arguments, **settings)

    def artifact(self, *parts: str) -> Path:
        return self.folder.joinpath("artifacts", *parts)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's cache, shared as clones share it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Project:
    return Project(tmp_path / "project", cache)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """What a training of the stand-ins leaves: made once, and current in every copy."""
    project = Project(tmp_path_factory.mktemp("trained") / "project", cache)
    done = project.train()
    assert done.returncode == 0, done.stderr
    return project.artifact()


@pytest.fixture
def trained(project: Project, artifacts: Path) -> Project:
    shutil.copytree(artifacts, project.artifact())
    return project


@pytest.fixture(scope="session")
def verified_artifacts(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """What verifying the stand-ins leaves: made once, as above."""
    project = Project(tmp_path_factory.mktemp("verified") / "project", cache)
    assert project.invoke("verify", "--runner", "local", "--target", "box").returncode == 1
    return project.artifact()


@pytest.fixture
def verified(project: Project, verified_artifacts: Path) -> Project:
    """fp32 has passed, int8 has not."""
    shutil.copytree(verified_artifacts, project.artifact())
    return project


@pytest.fixture(scope="session")
def nothing_there() -> Iterator[str]:
    """The address of a server that has nothing: an answer for good, unlike none at all."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # 501, whatever is asked
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
