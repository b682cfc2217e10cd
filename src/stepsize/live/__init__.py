"""The page in the browser: runs and searches of a store as they go on, and orders to running trainings."""

from __future__ import annotations

from stepsize.errors import needing

with needing("live"):
    from stepsize.live.server import LiveServer as LiveServer
    from stepsize.live.server import serve as serve
