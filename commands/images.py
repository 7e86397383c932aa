"""`./inv images.*`: the images of the environments."""

from __future__ import annotations

from invoke import Collection

from commands.command import command
from pipeline.command_line import names
from pipeline.late import late

devcontainer = late("pipeline.devcontainer")
image_list = late("pipeline.image_list")


@command
def list_images(_, json=False, registry=None):
    """List the images of all environments: built or not, stale or not, how large.

    With --json and --registry also where a CI keeps the layers of each.
    """
    image_list.show(json, registry)


@command
def build_images(_, only=None):
    """Build the images of all environments, or of some: inv images.build --only openvino,litert"""
    image_list.build(names(only))


@command
def build_devcontainer(_):
    """Build the image that .devcontainer/ opens: `train`, git and the host's own tools."""
    devcontainer.build()


@command
def reproduce(_, environment):
    """Build an image twice from nothing and compare: inv images.reproduce litert"""
    image_list.reproduce(environment)


namespace = Collection("images", reproduce)
namespace.add_task(list_images, "list", default=True)
namespace.add_task(build_images, "build")
namespace.add_task(build_devcontainer, "devcontainer")
