"""Bills of materials: read from what packages left, valid by the official schema, repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Project
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline import contents, locks
from pipeline.contents import Contents, DebianPackage, PythonPackage
from pipeline.sbom import bill

LOCK = f"""\
# a comment
Some.Name==1.2 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
    # via
    #   -r requirements.in
    #   needs-it
needs-it[extra]==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:{"c" * 64}
    # via -r requirements.in
"""
INSIDE = Contents(
    "sha256:1234",
    (PythonPackage("needs-it", "2.0", "MIT OR Apache-2.0"), PythonPackage("some-name", "1.2")),
    (DebianPackage("libc6", "2.36-9+deb12u9", "arm64", "glibc"),),
    "debian-12",
)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(LOCK)
    return path


def test_a_bill_is_valid_by_the_official_schema_and_the_same_each_time(lock: Path) -> None:
    texts = [
        bill(
            "drydock/box", "0123", INSIDE, locks.locked(lock).items(), {"detector/m.bin": "d" * 64}
        )
        for _ in range(2)
    ]

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(texts[0]) is None
    assert texts[0] == texts[1]
    assert "timestamp" not in texts[0]


def test_other_contents_give_another_serial_number(lock: Path) -> None:
    packages = list(locks.locked(lock).items())
    serials = {
        json.loads(bill("drydock/box", version, INSIDE, packages))["serialNumber"]
        for version in ("1", "2")
    }

    assert len(serials) == 2


def test_a_bill_tells_what_needs_what_its_licence_and_the_hashes_of_the_lock(lock: Path) -> None:
    document = json.loads(bill("drydock/box", "0123", INSIDE, locks.locked(lock).items()))

    found = {one["bom-ref"]: one for one in document["components"]}
    assert set(found) == {
        "pkg:pypi/needs-it@2.0",
        "pkg:pypi/some-name@1.2",
        # Advisories are written for source packages: scanners look for "upstream".
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=arm64&distro=debian-12&upstream=glibc",
        "operating-system",
    }
    system = found["operating-system"]
    assert (system["type"], system["name"], system["version"]) == (
        "operating-system",
        "debian",
        "12",
    )
    needed = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert needed["pkg:pypi/needs-it@2.0"] == ["pkg:pypi/some-name@1.2"]
    assert len(needed["root"]) == 4
    assert found["pkg:pypi/needs-it@2.0"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    files = found["pkg:pypi/some-name@1.2"]["externalReferences"][0]
    assert [one["content"] for one in files["hashes"]] == ["a" * 64, "b" * 64]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: the old way", "BSD-3-Clause"),
        ("License: MIT", "MIT"),
        (
            f"License: {'its text ' * 20}\nClassifier: License :: OSI Approved :: MIT License",
            "MIT License",
        ),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved", ""),
        ("Summary: none at all", ""),
    ],
)
def test_the_licence_is_what_the_metadata_say(fields: str, licence: str) -> None:
    metadata = f"Metadata-Version: 2.1\nName: My.Package\nVersion: 3\n{fields}\n\nLicense: a trap\n"

    assert contents.python_packages([metadata.encode()]) == (
        PythonPackage("my-package", "3", licence),
    )


@pytest.mark.parametrize("status", ["Status: install ok installed\n", ""])
def test_debian_packages_are_those_that_are_installed(status: str) -> None:
    text = (
        f"Package: bash\n{status}Version: 5.2\nArchitecture: amd64\nDescription: a shell\n"
        " Version: of no account\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n"
    )

    assert contents.debian_packages(text) == (DebianPackage("bash", "5.2", "amd64"),)


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("", ""),
        ("Source: glibc\n", "glibc"),
        ("Source: util-linux (2.38.1-5)\n", "util-linux@2.38.1-5"),
    ],
)
def test_a_debian_package_names_its_source_where_that_is_another(line: str, source: str) -> None:
    text = f"Package: libc6\n{line}Version: 2.36\nArchitecture: arm64\n"

    assert contents.debian_packages(text) == (DebianPackage("libc6", "2.36", "arm64", source),)


def test_nothing_installed_is_no_error() -> None:
    assert contents.debian_packages("") == ()
    assert contents.system_name("") == ""
    assert contents.system_name('ID=debian\nVERSION_ID="12"\n') == "debian-12"


def test_a_package_in_two_versions_stands_there_twice(lock: Path) -> None:
    inside = Contents("x", (PythonPackage("some-name", "1.1"), PythonPackage("some-name", "1.2")))
    document = json.loads(bill("drydock/box", "0", inside, locks.locked(lock).items()))

    hashed = {one["version"]: "externalReferences" in one for one in document["components"]}
    assert hashed == {"1.1": False, "1.2": True}


def test_only_metadata_of_installed_packages_are_read() -> None:
    assert contents.is_metadata("venv/lib/python3.11/site-packages/a-1.dist-info/METADATA")
    assert contents.is_metadata("venv/tools/myriad/a-1.dist-info/METADATA")
    assert not contents.is_metadata("lib/python3.11/site-packages/a-1.dist-info/licenses/METADATA")


def test_without_an_engine_it_says_what_a_bill_lacks(project: Project) -> None:
    lock = project.folder / "docker" / "device" / "box" / "requirements.txt"
    lock.write_text(LOCK)

    done = project.invoke("sbom", "--only", "device/box", DOCKER_HOST="unix:///nowhere/docker.sock")

    assert done.returncode == 0, done.stderr
    assert "2 Python packages from the lock, without licences" in done.stdout
    text = project.artifact("sbom", "device-box.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {one["name"] for one in json.loads(text)["components"]} == {"some-name", "needs-it"}


def test_every_lock_of_the_project_gives_all_its_packages_with_hashes() -> None:
    for lock in Path(locks.ROOT).glob("docker/**/requirements.txt"):
        found = locks.locked(lock)
        assert len(found) == lock.read_text().count("==")
        assert all(one.hashes for one in found.values()), lock
