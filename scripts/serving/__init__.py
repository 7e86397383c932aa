"""A detector as an HTTP service: the Open Inference Protocol, plain photos, metrics, a page.

``protocol`` is the format alone, bytes in and out; ``worker`` runs one photo at a time; ``app``
joins both to HTTP. Parses on Python 3.9, like all that devices run.
"""

from __future__ import annotations

PORT = 8000
