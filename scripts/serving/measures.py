"""What /metrics tells Prometheus."""

from __future__ import annotations

from typing import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Measures:
    """Counters and histograms of one service, in a registry of their own.

    ``requests_taken`` tells how many requests are being worked on or wait for it.
    """

    def __init__(self, requests_taken: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory, CPU time, open files
        self._requests = Counter(
            "drydock_requests",
            "Requests answered",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "drydock_request_seconds",
            "From the head of a request to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "drydock_stage_seconds",
            "Time in the worker: decode a photo or a request, detect in it",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._objects = Counter(
            "drydock_objects", "Objects detected, by class", ("class",), registry=self._registry
        )
        taken = Gauge(
            "drydock_requests_taken",
            "Requests being worked on or waiting for it",
            registry=self._registry,
        )
        taken.set_function(requests_taken)

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def took(self, stage: str, seconds: float) -> None:
        self._stages.labels(stage).observe(seconds)

    def found(self, label: str) -> None:
        self._objects.labels(label).inc()

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
