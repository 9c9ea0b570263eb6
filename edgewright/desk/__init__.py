"""The desk: the servers, the worker and the deployments that people at two web pages and one terminal sit in front of.

``opening`` is what ``edgewright up`` does, ``closing`` is ``down``, ``looking`` is ``status``. No process watches the
others: each command looks at what lives, and repairs or says what does not. Importing this package loads no framework.
"""

from __future__ import annotations

from edgewright.desk.running import Desk, running_desk

__all__ = ["Desk", "running_desk"]
