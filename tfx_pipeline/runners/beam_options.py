"""Beam options for runs on this machine."""

from __future__ import annotations

LOCAL = [
    # Named in full: newer DirectRunners first try to download a Go binary.
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    # Several processes cost 5 to 8 times the CPU at the size of a day's logs.
    "--direct_running_mode=in_memory",
]
