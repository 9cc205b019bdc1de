"""Delta sync: between whole versions, what changed.

A delta turns one version of a model into a later one. It holds the graph and the variables of the
later one, but of its embedding tables only the rows that are due by a policy.
"""

from serving.delta.delta import Delta, make_delta
from serving.delta.delta_file import has_signature, read_delta, write_delta
from serving.delta.policy import Counts, SyncPolicy
from serving.delta.push import push_delta
from serving.delta.refused import DeltaRefusedError
from serving.delta.signature import read_key
from serving.delta.sync_file import SYNC_FILE, SyncFile
from serving.delta.version import Version, read_version, write_version

__all__ = [
    "SYNC_FILE",
    "Counts",
    "Delta",
    "DeltaRefusedError",
    "SyncFile",
    "SyncPolicy",
    "Version",
    "has_signature",
    "make_delta",
    "push_delta",
    "read_delta",
    "read_key",
    "read_version",
    "write_delta",
    "write_version",
]
