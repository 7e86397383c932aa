"""Bills of materials: what an image consists of, as CycloneDX 1.6 JSON.

The same contents give the same bytes: no time is in it, and its serial number is made from what
it says. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import contents, environments
from pipeline.configuration import ROOT
from pipeline.contents import Contents, DebianPackage, PythonPackage
from pipeline.environments import environment_digest
from pipeline.execute import content_cache
from pipeline.locks import Locked
from pipeline.screen import say, shown

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

FOLDER = ROOT / "artifacts" / "sbom"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "drydock")


def write(names: Iterable[str], output: Path | None) -> None:
    """`inv sbom`: a bill for each of these environments, for all when there is none.

    It says which of them could not be read from an image.
    """
    folder = output or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    cache = content_cache()
    for name in list(names) or [*environments.names(), *environments.devices()]:
        environment = environments.load(name)
        inside = contents.of_environment(environment, cache)
        digest = environment_digest(environment, cache)
        path = folder / f"{name.replace('/', '-')}.cdx.json"
        path.write_text(bill(f"drydock/{name}", digest[:12], inside, contents.locked(environment)))
        say(f"{shown(path)}: {summary(inside)}")
    cache.save()


def summary(inside: Contents) -> str:
    """What a bill has, and what it lacks."""
    said = f"{len(inside.python)} Python packages"
    if inside.debian is not None:
        return f"{said}, {len(inside.debian)} of Debian, read from the image"
    where = "from the lock, without licences" if inside.source == "lock" else "from its virtualenv"
    return (
        f"{said} {where}; Debian's are not listed, because the image is not there: "
        "inv images.build makes it"
    )


def bill(
    name: str,
    version: str,
    inside: Contents,
    lock: Iterable[tuple[str, Locked]],
    files: Mapping[str, str] | None = None,
) -> str:
    """The bill of materials of ``name``, as JSON.

    ``lock`` tells hashes and who needs whom, with the package's name; ``files`` are what else is
    inside, sha256 by path.
    """
    from cyclonedx.model import Property  # imported late: a fifth of a second
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    root = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref="root")
    known = {(name, one.version): one for name, one in lock}
    python = {one: _python(one, known.get((one.name, one.version))) for one in inside.python}
    by_name = {one.name: component for one, component in python.items()}
    others = [_system(inside.system)] if inside.system else []
    others += [_debian(one, inside.system) for one in inside.debian or ()]
    others += [_file(path, sha256) for path, sha256 in (files or {}).items()]
    bom = Bom(components=[*python.values(), *others])
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.metadata.component = root
    bom.metadata.properties = [Property(name="drydock:read-from", value=inside.source)]
    for package, component in python.items():
        pin = known.get((package.name, package.version))
        for parent in pin.needed_by if pin else ():
            if parent in by_name:
                bom.register_dependency(by_name[parent], [component])
    bom.register_dependency(root, [*python.values(), *others])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["serialNumber"]  # random
    serial = uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))
    return json.dumps({**document, "serialNumber": serial.urn}, indent=2, sort_keys=True) + "\n"


def _python(package: PythonPackage, locked: Locked | None) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", name=package.name, version=package.version)
    # Not hashes of the component: they are those of the files it may be installed from.
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(purl.to_string()),
        comment="one of these files, as the lock has them",
        hashes=[
            HashType(alg=HashAlgorithm.SHA_256, content=sha256)
            for sha256 in (locked.hashes if locked else ())
        ],
    )
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(package.licence)] if package.licence else [],
        external_references=[files] if locked else [],
    )


def _debian(package: DebianPackage, system: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    qualifiers = {"arch": package.architecture, "distro": system}
    if package.source:
        # Advisories name source packages; this is where scanners (Syft, Grype) look for them.
        qualifiers["upstream"] = package.source
    purl = PackageURL("deb", "debian", package.name, package.version, qualifiers)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=purl.to_string(),
        purl=purl,
    )


def _system(system: str) -> Component:
    """What some scanners (Trivy) take from it alone: of which system the packages are."""
    from cyclonedx.model.component import Component, ComponentType

    name, _, version = system.partition("-")
    return Component(
        name=name, version=version, type=ComponentType.OPERATING_SYSTEM, bom_ref="operating-system"
    )


def _file(path: str, sha256: str) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=path,
        type=ComponentType.FILE,
        bom_ref=f"file:{path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )
