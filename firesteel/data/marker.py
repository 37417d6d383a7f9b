"""The sign in a dataset's folder that a preparation is writing there.

It keeps a second preparation away, tells leftovers of a killed one from a stranger's files, and tells tasks whether
they still write for somebody: a cluster may run a task on for a while after its driver has given up or has died.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import Any

from firesteel.errors import DatasetError, StorageError
from firesteel.storage import Place

MARKER_NAME = "preparing.json"


def set_marker(place: Place, fingerprint: str) -> str:
    """Mark a folder as being written by this process; returns the token that its tasks get."""
    token = secrets.token_hex(8)
    marker = {"host": socket.gethostname(), "pid": os.getpid(), "fingerprint": fingerprint, "token": token}
    place.make_dirs()
    (place / MARKER_NAME).write_text(json.dumps(marker))
    return token


def revoke_marker(place: Place) -> None:
    """Tell the tasks that nobody waits for them; the folder still counts as ours."""
    (place / MARKER_NAME).write_text(json.dumps({"revoked": True}))


def remove_marker(place: Place) -> None:
    """The last thing that a preparation does."""
    (place / MARKER_NAME).delete()


def check_token(place: Place, token: str) -> None:
    """Let a task go on only if its preparation does.

    Raises:
        DatasetError: if it has ended, or another one writes here.
    """
    if _read(place).get("token") != token:
        raise DatasetError(f"the preparation of {place} that this task worked for has ended.")


def is_leftover(place: Place) -> bool:
    """Whether a folder holds what a preparation left that has ended without cleaning up.

    Raises:
        DatasetError: if a preparation is at work there.
    """
    if not (place / MARKER_NAME).exists():
        return False
    marker = _read(place)
    if marker.get("host") == socket.gethostname() and _is_alive(marker.get("pid")):
        raise DatasetError(
            f"another firesteel command (process {marker['pid']}) is writing {place}."
            " Wait for it or choose another folder."
        )
    return True


def _read(place: Place) -> dict[str, Any]:
    try:
        return dict(json.loads((place / MARKER_NAME).read_bytes()))
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
