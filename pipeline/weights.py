"""Which pretrained weights a model starts from, and where on the host they lie."""

from __future__ import annotations

from pathlib import Path

from pipeline.configuration import ROOT, Settings, load_weights
from pipeline.errors import InputError
from pipeline.paths import expanded
from pipeline.virtualenvs import cache_folder


def choose(settings: Settings) -> str:
    """The name, path or ``random`` that ``--weights auto`` stands for; others as they are."""
    if settings.weights != "auto":
        return settings.weights
    for name, entry in load_weights().items():
        if entry.default and any(
            settings.model == model or settings.model.startswith(f"{model}_")
            for model in entry.models
        ):
            return name
    return "random"


def local_file(weights: str) -> Path | None:
    """Where weights that are not part of the environment lie, or would lie after `fetch`.

    None for random weights and for those that a package of the environment carries.
    Raises InputError for a name that is neither known nor a file.
    """
    if weights == "random":
        return None
    entry = load_weights().get(weights)
    if entry is not None:
        return _cached(entry.url) if entry.url else None
    path = ROOT / expanded(weights)
    if path.exists() or path.with_name(path.name + ".index").exists():
        return path.resolve()
    raise InputError(
        f"--weights {weights}: neither a file nor one of auto, random, {', '.join(load_weights())}"
    )


def fetch(weights: str) -> None:
    """Have weights that come from a URL on the disk, and hold them to their sha256.

    Others are there already. Raises HostError without network or with other content.
    """
    from pipeline import download  # imported late: most runs need no network code

    entry = load_weights().get(weights)
    if entry is not None and entry.url:
        download.fetch_pinned(entry.url, _cached(entry.url).parent, entry.sha256 or None)


def missing(weights: str) -> bool:
    """Whether `fetch` would have to download."""
    entry = load_weights().get(weights)
    return entry is not None and bool(entry.url) and not _cached(entry.url).exists()


def fetched() -> list[Path]:
    """The files of weights from URLs that are on the disk."""
    urls = (entry.url for entry in load_weights().values() if entry.url)
    return [path for path in map(_cached, urls) if path.is_file()]


def kept(name: str, sha256: str) -> Path:
    """Where a file of weights that did not come from its URL belongs; its sha256 is remembered.

    Raises InputError when configs/weights.toml knows no such file, or another sha256 of it.
    """
    from pipeline import download

    for entry in load_weights().values():
        if entry.url and _cached(entry.url).name == name and entry.sha256 in ("", sha256):
            path = _cached(entry.url)
            path.parent.mkdir(parents=True, exist_ok=True)
            download.record(path.parent, entry.url, sha256)
            return path
    raise InputError(f"{name} with sha256 {sha256} is none of the weights of configs/weights.toml")


def _cached(url: str) -> Path:
    return cache_folder() / "weights" / url.rsplit("/", 1)[-1]
