"""Builds an environment's image when a stage first needs it.

What is built, from what and with which arguments stands in docker/docker-bake.hcl and nowhere
else. The builder prints that file as JSON, and the targets are built from it one by one: unlike
`bake` itself this works on every buildx that knows named contexts, can choose the network of each
step, and gives each image a tag that says what is in it.

Settings, all optional, as environment variables:

DRYDOCK_CA              certificates to trust while building (default: the host's own)
DRYDOCK_PIP_CONF        a pip.conf whose index-url is used while building
DRYDOCK_SNAPSHOT        off: Debian packages of today instead of the base image's day
DRYDOCK_BUILD_NETWORK   host: for engines without a bridge network
DRYDOCK_BUILD_CONTEXTS  NAME=VALUE ..., put in place of what a Dockerfile names in FROM
HTTP_PROXY, HTTPS_PROXY, NO_PROXY
"""

from __future__ import annotations

import collections
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import docker_engine, environments, vendor, virtualenvs
from pipeline.client import signals_raise
from pipeline.errors import DrydockError, HostError

# The host's own trust store on Debian and Arch, Fedora, and Alpine: what a company has installed
# there is trusted by builds too, without a setting.
_TRUST_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_LINES_OF_A_FAILURE = 20

Say = Callable[[str], None]


def engine_problem(version: Mapping[str, Any]) -> str | None:
    """Why an engine that runs stages cannot build their images, from what it says of its version.

    Named contexts and here-documents came with the BuildKit of engine 23.
    """
    if any("Podman" in part.get("Name", "") for part in version.get("Components") or ()):
        return (
            "this is Podman, which runs images but has no BuildKit: build with Docker and bring"
            " them over (docker save IMAGE | podman load), or use --runner local"
        )
    number = re.match(r"(\d+)\.", version.get("Version", ""))
    if number and int(number[1]) < 23:
        return (
            f"the engine, {version['Version']}, is too old to build images: update it to 23.0 or"
            " newer, or use --runner local"
        )
    return None


def image_tag(environment: str, digest: str) -> str:
    return f"drydock/{environment}:{digest[:12]}"


def bake_name(environment: str) -> str:
    """What docker-bake.hcl calls an environment's image: a name there has no slash."""
    return environment.replace("/", "-")


def ensure_image(environment: str, digest: str, root: Path, say: Say) -> str:
    """The id of the environment's image, which is built first where it is missing.

    Raises HostError where the engine or its builder is missing, DrydockError with the end of the
    builder's output where a build fails.
    """
    tag = image_tag(environment, digest)
    if found := docker_engine.image_id(tag):
        return found
    if reason := engine_problem(docker_engine.version()):
        raise HostError(reason)
    environ = builder_environment(os.environ) | _vendor(environment, root, say)
    target = bake_name(environment)
    matrix = _matrix(target, root, environ)
    tags = {name: image_tag(name, digest) for name in build_order(target, matrix)}
    tags[target] = tag
    for name in tags:
        say(f"building the image of {environment}" if name == target else f"building {name}")
        _build(build_command(name, matrix, tags, environ), root, environ, say)
    found = docker_engine.image_id(tag)
    if not found:
        raise DrydockError(f"the builder reported success, but the engine has no image {tag}")
    return found


def build_from_nothing(environment: str, tag: str, root: Path, say: Say) -> str:
    """The id of the environment's image built without any cache, as `drydock/<name>:<tag>`."""
    environ = builder_environment(os.environ) | _vendor(environment, root, say)
    target = bake_name(environment)
    matrix = _matrix(target, root, environ)
    tags = {name: f"drydock/{name}:{tag}" for name in build_order(target, matrix)}
    for name in tags:
        say(f"building {name} from nothing")
        command = build_command(name, matrix, tags, environ)
        _build([*command[:3], "--no-cache", *command[3:]], root, environ, say)
    found = docker_engine.image_id(tags[target])
    assert found is not None
    return found


def build_device_image(
    environment: str,
    digest: str,
    *,
    folder: Path,
    tag: str,
    labels: Mapping[str, str],
    root: Path,
    say: Say,
) -> tuple[str, int]:
    """Put a packed detector on its device's runtime: the image's id and size in bytes.

    The runtime and the builder are built first where they are missing; `folder` is the context.
    """
    target = {
        "context": str(folder),
        "dockerfile": str(root / "docker" / "device" / "Dockerfile"),
        "labels": dict(labels),
    }
    found = build_on(environment, digest, target, tag=tag, root=root, say=say)
    return found, docker_engine.image_size(tag)


def build_on(
    environment: str, digest: str, target: Mapping[str, Any], *, tag: str, root: Path, say: Say
) -> str:
    """Build an image on an environment's, which is called `runtime` there; returns its id.

    `target` is a target of the matrix: context, dockerfile, labels, further args.
    """
    environ = builder_environment(os.environ)
    runtime = bake_name(environment)
    matrix = _matrix(runtime, root, environ)
    # The builder that the runtime was made with: what it compiles is for that Python.
    builder = matrix[runtime]["contexts"]["builder"].removeprefix("target:")
    for needed in (environment, builder):
        ensure_image(needed, digest, root, say)
    matrix["upper"] = {
        **matrix[runtime],
        "contexts": {"runtime": f"target:{runtime}", "builder": f"target:{builder}"},
        **target,
        "args": {**matrix[runtime].get("args", {}), **target.get("args", {})},
    }
    tags = {runtime: image_tag(environment, digest), builder: image_tag(builder, digest)}
    say(f"building {tag}")
    _build(build_command("upper", matrix, {**tags, "upper": tag}, environ), root, environ, say)
    found = docker_engine.image_id(tag)
    if not found:
        raise DrydockError(f"the builder reported success, but the engine has no image {tag}")
    return found


def save(tag: str, path: Path) -> None:
    """Write an image as an archive that `docker load` reads; whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    command = ["docker", "save", f"--output={partial}", tag]
    environ = builder_environment(os.environ)
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DrydockError(f"{tag} could not be saved: {done.stderr.strip()}")
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def builder_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the builder: on the engine that runs the stages, with our settings."""
    result = dict(environ)
    if certificates := docker_engine.certificates():
        result |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
    result["DOCKER_HOST"] = docker_engine.endpoint()
    # With DOCKER_HOST set, "default" is that engine's own builder, which sees its images; another
    # one that somebody made the default would not.
    result["BUILDX_BUILDER"] = "default"
    result.pop("DOCKER_CONTEXT", None)
    if not result.get("DRYDOCK_CA"):
        result["DRYDOCK_CA"] = next(filter(os.path.exists, _TRUST_STORES), "")
    return result


def build_order(target: str, matrix: Mapping[str, Any]) -> list[str]:
    """The targets that `target` is made from, and it last."""
    order: list[str] = []

    def visit(name: str) -> None:
        for context in matrix[name].get("contexts", {}).values():
            if context.startswith("target:"):
                visit(context.removeprefix("target:"))
        if name not in order:
            order.append(name)

    visit(target)
    return order


def build_command(
    name: str, matrix: Mapping[str, Any], tags: Mapping[str, str], environ: Mapping[str, str]
) -> list[str]:
    """The command that builds one target of the matrix; `tags` names all images by target."""
    target = matrix[name]
    command = ["docker", "buildx", "build", "--load", "--progress=plain", f"--tag={tags[name]}"]
    # It holds the time of the build, and makes an index of what should be one image.
    command.append("--provenance=false")
    command += [f"--platform={platform}" for platform in target.get("platforms", ())]
    if "target" in target:
        command.append(f"--target={target['target']}")
    for alias, context in target.get("contexts", {}).items():
        made_here = tags.get(context.removeprefix("target:"))
        source = f"docker-image://{made_here}" if made_here else context
        command.append(f"--build-context={alias}={source}")
    overrides = environ.get("DRYDOCK_BUILD_CONTEXTS", "").split()
    command += [f"--build-context={override}" for override in overrides]
    arguments = sorted(target.get("args", {}).items())
    command += [f"--build-arg={argument}={value}" for argument, value in arguments]
    # Without a value the builder takes it from its environment: a proxy's password is not shown.
    command += [f"--build-arg={proxy}" for proxy in _PROXIES if environ.get(proxy)]
    command += [f"--secret={secret}" for secret in target.get("secret", ())]
    command += [
        f"--label={name}={value}" for name, value in sorted(target.get("labels", {}).items())
    ]
    if network := environ.get("DRYDOCK_BUILD_NETWORK"):
        command.append(f"--network={network}")
    context = target["context"]
    return [*command, f"--file={Path(context, target.get('dockerfile', 'Dockerfile'))}", context]


def steps(lines: Iterable[str]) -> Iterator[str]:
    """From the builder's output what tells the user something: each step that is really done."""
    begun: dict[str, str] = {}
    for line in lines:
        number, _, text = line.strip().partition(" ")
        if match := re.match(r"\[(?:\S+ )?(\d+/\d+)\] RUN (.+)", text):
            command = re.sub(r"--mount=\S+\s+", "", match[2])
            begun[number] = f"  step {match[1]}: {' '.join(command.split())[:70]}"
        elif (step := begun.pop(number, None)) and text != "CACHED":
            yield step


def _vendor(environment: str, root: Path, say: Say) -> dict[str, str]:
    """The builder's setting for an environment that needs what no registry has."""
    known = environment in environments.names(root)  # a base is none
    wheel = environments.load(environment, root).file.vendor if known else None
    if not wheel:
        return {}
    return {vendor.SETTING: str(vendor.ensure(wheel, virtualenvs.cache_folder(), say).parent)}


def _matrix(environment: str, root: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    if not shutil.which("docker"):
        raise HostError(
            "building an image takes the `docker` command with its buildx plugin (packages"
            " docker-ce-cli and docker-buildx-plugin, or docker-cli and docker-buildx); install"
            " them or use --runner local"
        )
    command = ["docker", "buildx", "bake", "--file=docker/docker-bake.hcl", "--print", environment]
    done = subprocess.run(
        command, cwd=root, env=dict(environ), capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        matrix: dict[str, Any] = json.loads(done.stdout)["target"]
        return matrix
    if "is not a docker command" in done.stderr or "unknown flag: --file" in done.stderr:
        raise HostError(
            "the docker command here has no buildx plugin: install docker-buildx-plugin (Debian:"
            " docker-buildx) or use --runner local"
        )
    raise DrydockError(f"docker/docker-bake.hcl: {done.stderr.strip().splitlines()[-1]}")


def _build(command: list[str], root: Path, environ: Mapping[str, str], say: Say) -> None:
    last: collections.deque[str] = collections.deque(maxlen=_LINES_OF_A_FAILURE)
    with (
        signals_raise(),
        subprocess.Popen(
            command,
            cwd=root,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for step in steps(_remembered(process.stdout, last)):
                say(step)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise DrydockError(
            f"a build failed; its last lines:\n{''.join(last)}It was: {shlex.join(command)}"
        )


def _remembered(lines: Iterable[str], last: collections.deque[str]) -> Iterator[str]:
    for line in lines:
        last.append(line)
        yield line
