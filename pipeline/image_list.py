"""What images there are: which environment is built as it stands now, and how large it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from pipeline import docker_engine, environments, hardware, images
from pipeline.configuration import ROOT
from pipeline.content import ContentCache
from pipeline.errors import InputError
from pipeline.execute import content_cache
from pipeline.screen import megabytes, say, table


@dataclass(frozen=True)
class ImageState:
    """An environment's image on this engine."""

    name: str
    tag: str
    state: str  # built, stale (one of another digest is there), not built
    image: str  # its id, empty where it is not built
    bytes: int
    description: str


def state_of(
    name: str, tag: str, description: str, there: Mapping[str, tuple[str, int]]
) -> ImageState:
    """How ``name`` stands; ``there`` has the id and size of every tag on the engine."""
    if tag in there:
        image, size = there[tag]
        return ImageState(name, tag, "built", image, size, description)
    repository = tag.partition(":")[0]
    older = any(other.partition(":")[0] == repository for other in there)
    return ImageState(name, tag, "stale" if older else "not built", "", 0, description)


def survey(cache: ContentCache) -> list[ImageState]:
    """All environments, those of devices included."""
    there = docker_engine.image_tags()
    found = []
    for name in [*environments.names(), *environments.devices()]:
        environment = environments.load(name)
        tag = images.image_tag(name, environments.environment_digest(environment, cache))
        found.append(state_of(name, tag, environment.file.description, there))
    return found


def for_ci(state: ImageState, registry: str | None) -> dict[str, object]:
    """What a CI's matrix must know: the state, what docker-bake.hcl calls the image and, with a
    ``registry``, where its layers are kept. InputError for what cannot be a registry."""
    from pipeline import publishing  # imported late: who looks at the list need not wait for it

    bake = images.bake_name(state.name)
    where = {"cache": f"{publishing.registry_name(registry)}/cache:{bake}"} if registry else {}
    return {**asdict(state), "bake": bake, **where}


def show(as_json: bool, registry: str | None) -> None:
    """`inv images`; ``registry`` is for those who read JSON."""
    if registry and not as_json:
        raise InputError("--registry adds to what --json says; give both")
    cache = content_cache()
    states = survey(cache)
    cache.save()
    if as_json:
        say(json.dumps([for_ci(one, registry) for one in states], indent=2))
        return
    table(
        ("image", "tag", "state", "size", "for"),
        [
            (
                state.name,
                state.tag.rpartition(":")[2],
                state.state,
                megabytes(state.bytes) if state.bytes else "",
                state.description,
            )
            for state in states
        ],
    )


def build(names: Iterable[str]) -> None:
    """Build the images of ``names`` as they stand now; all that this host uses when there is none.

    Without an NVIDIA GPU that is not the variants for it: they are large, and of no use here.
    """
    cache = content_cache()
    for name in list(names) or environments.used(gpu=hardware.nvidia_driver()):
        digest = environments.environment_digest(environments.load(name), cache)
        image = images.ensure_image(name, digest, ROOT, say)
        say(f"{name}: {images.image_tag(name, digest)}  {image}")
    cache.save()


def reproduce(name: str) -> None:
    """Build an image twice from nothing; InputError naming the files where the two differ.

    Neither build stays on the engine.
    """
    environments.load(name, ROOT)
    tags = [f"reproduce-{images.bake_name(name)}-{number}" for number in (1, 2)]
    try:
        _compare(name, *(images.build_from_nothing(name, tag, ROOT, say) for tag in tags))
    finally:
        for tag in tags:
            docker_engine.remove_images(tag)


def _compare(name: str, first: str, second: str) -> None:
    from pipeline import reproduction  # imported late: other commands need no tar

    if first == second:
        say(f"{name} is reproducible: both builds gave {first}")
        return
    differing = reproduction.differing_files(first, second)
    shown = "\n  ".join(differing[:50]) or (
        "no file does: it is the configuration, or the order in which the layers name their files"
    )
    more = f"\n  and {len(differing) - 50} more" if len(differing) > 50 else ""
    raise InputError(f"two builds of {name} differ: {first} and {second}\n  {shown}{more}")
