"""What was stripped from an environment's image is not missed: its stages' tests pass inside.

One whole conversion and a run of each toolchain are enough for that; how well it is done is tested
in the virtualenvs. The image of `train` is tested by the dev container, that of `annotate` by
drawing a box, and nvidia's is too large for every change.
"""

from __future__ import annotations

import pytest
from rooms import REPOSITORY

from pipeline import tools
from pipeline.checks import TINY_EXPORT
from pipeline.execution import Execution

RUN = (*("python", "-m", "pytest", "-q", "-p", "no:cacheprovider"), "--color=no")


@pytest.mark.parametrize(
    ("environment", "tests"),
    [
        ("litert", ["test_litert.py"]),
        ("movidius", ["test_movidius.py"]),
        ("openvino", ["test_openvino.py", "-k", "gives_tensorflows_heads or both_networks"]),
        ("rknn", ["test_rknn.py"]),
    ],
)
def test_the_stages_run_in_the_image(environment: str, tests: list[str]) -> None:
    if not (TINY_EXPORT / "heads.npz").exists():
        pytest.skip("there is no export to test with: `./inv test` makes it first")

    execution = Execution(
        environment=environment,
        argv=(*RUN, f"tests/stages/{tests[0]}", *tests[1:]),
        root=REPOSITORY,
    )

    assert tools.run(execution, "docker") == 0
