"""The image that .devcontainer/devcontainer.json opens: an environment and the host's own tools."""

from __future__ import annotations

from pipeline import docker_engine, docker_runner, images, virtualenvs
from pipeline.configuration import ROOT
from pipeline.content import digest
from pipeline.execute import content_cache
from pipeline.placement import place
from pipeline.screen import say

TAG = "drydock/devcontainer:dev"  # as devcontainer.json names it
_FOLDER = ROOT / ".devcontainer"


def build() -> None:
    """Build it where it is missing or no longer what the repository says."""
    cache = content_cache()
    there = place(docker_runner, "train", "auto", cache)
    name = virtualenvs.name(there.environment)
    content = cache.tree(_FOLDER) | {
        "environment": there.digest,
        "host tools": cache.file(ROOT / "requirements.txt"),
    }
    cache.save()
    tag = images.image_tag("devcontainer", digest(content))
    if not docker_engine.image_id(tag):
        target = {
            "context": str(ROOT),
            "dockerfile": str(_FOLDER / "Dockerfile"),
            "args": {"ENVIRONMENT": name},
        }
        images.build_on(there.environment.name, there.digest, target, tag=tag, root=ROOT, say=say)
    docker_engine.name_image(tag, TAG)
    say(f"{TAG}: {docker_engine.image_id(TAG)}")
