"""What a mistyped command line, or a host that refuses, is told: one message, a telling code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, Project

import tasks
from commands.program import Program


def run(words: str) -> tuple[object, str]:
    """The exit code of a command line in this process, and what it says on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        Program(tasks.namespace).run(["./inv", *words.split()])
    return ended.value.code, said.getvalue()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("trian", "there is no command 'trian': did you mean train?"),
        ("--help trian", "there is no command 'trian': did you mean train?"),
        ("train --stpes 3", "--stpes is no option of train: did you mean --steps?"),
        ("train --steps", "--steps wants a value; ./inv --help train"),
        ("train --steps 3 quickly", "there is no command 'quickly'"),
        ("explain", "explain wants 'stage'"),
        ("convert --jobs many", "many: a number is wanted"),
        ("--fast train", "--fast is no option"),
    ],
)
def test_a_mistyped_command_line_is_one_message_and_exit_code_2(words: str, told: str) -> None:
    code, message = run(words)

    assert code == 2
    assert message.startswith(f"error: {told}")
    assert message.count("\n") == 1


def test_plain_invoke_knows_the_same_commands(project: Project) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "invoke", "--list"],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    ours = project.invoke("--list").stdout.splitlines()
    assert listed.stdout.splitlines()[1:] == ours[1:]
    assert any(line.split()[:1] == ["data.fetch"] for line in ours)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("convert --jobs=-1", "--jobs -1: it is at least 0"),
        ("benchmark --rounds 0", "--rounds 0: it is at least 1"),
        ("benchmark --minutes 0", "--minutes 0.0: it is more than 0"),
        ("benchmark --seconds 0", "--seconds 0.0: it is more than 0"),
        ("benchmark --threads=-2", "--threads -2: it is at least 0"),
        ("detect --images data/images --precision int8", "--precision goes with --target"),
        ("train --data ~nobody-here/photos", "~nobody-here/photos: there is no user"),
        ("detect --images ~nobody-here/photos", "~nobody-here/photos: there is no user"),
        ("data.split --images nowhere", "nowhere: there is no such folder"),
    ],
)
def test_values_that_cannot_be_are_refused_before_any_work(words: str, told: str) -> None:
    code, message = run(words)

    assert code == 2
    assert told in message
    assert message.count("\n") == 1
    assert not (REPOSITORY / "nowhere").exists()


def test_what_the_host_refuses_is_told_in_one_sentence(project: Project) -> None:
    project.artifact().write_text("a file where a folder should be")

    done = project.train()

    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert str(project.artifact()) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in project.train(DRYDOCK_DEBUG="1").stderr


def test_a_host_without_home_and_with_a_narrow_terminal_trains(project: Project) -> None:
    photo = project.folder / "data" / "images" / "train" / "żółw.xml"
    photo.write_text("broken")
    settings = {**project.environment(LC_ALL="C", LANG="C"), "PYTHONCOERCECLOCALE": "0"}
    del settings["HOME"]

    done = subprocess.run(
        project.argv("train", "--runner", "local"),
        cwd=project.folder,
        env=settings,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 2
    assert "żółw.xml: it is broken" in done.stderr.decode()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with nothing but `inv`, a lock of nothing, and a program that says what it got."""
    shutil.copy(REPOSITORY / "inv", tmp_path)
    (tmp_path / "requirements.txt").write_text("\n")
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    return tmp_path


def test_inv_needs_no_home_and_two_at_once_make_one_virtualenv(bare: Path) -> None:
    settings = {name: value for name, value in os.environ.items() if name != "HOME"}
    both = [
        subprocess.Popen(
            [bare / "inv", "status"],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate() for process in both]

    assert [out for out, _ in told] == ["['status']\n"] * 2, told
    assert sum("installing" in err for _, err in told) == 1


def test_a_dataset_program_is_handed_its_flags_and_explains_itself(project: Project) -> None:
    program = project.folder / "scripts" / "split_dataset.py"
    program.write_text("import sys; print(sys.argv[1:])")
    split = ("data.split", "--runner", "local")

    done = project.invoke(*split, "--", "--test", "0.3")
    assert done.stdout == f"{[f'--images={project.folder}/data/images', '--test', '0.3']}\n"
    assert project.invoke(*split, "--images", "no", "--", "--help").stdout == "['--help']\n"


def test_every_option_is_explained_and_none_is_one_letter() -> None:
    # In a process of its own: invoke takes the help away when it reads it.
    program = """if True:
        import json, tasks
        found = tasks.namespace.to_contexts()
        print(json.dumps({f"{one.name} {arg.names}": arg.help
                          for one in found for arg in one.args.values()}))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    options = json.loads(done.stdout)

    assert len(options) > 100
    assert [name for name, told in options.items() if not told] == []
    assert [name for name in options if re.search(r"'\w'", name)] == []


def test_a_shell_completes_commands_and_options(project: Project) -> None:
    script = project.invoke("--print-completion-script", "bash").stdout
    assert " ./inv" in script.partition("complete -F")[2]

    assert "train" in project.invoke("--complete", "--", "./inv", "tra").stdout.split()
    assert "--steps" in project.invoke("--complete", "--", "./inv", "train", "--st").stdout.split()
