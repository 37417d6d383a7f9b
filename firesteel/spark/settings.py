"""What can be known of Spark before it starts: the master, its slots, Java, pyspark. Imports no pyspark."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version

from firesteel.errors import ConfigError, ResourceError
from firesteel.specs import did_you_mean

_MIN_JAVA = 17

SHARES_HOST = "FIRESTEEL_WORKERS_SHARE_HOST"
"""Environment variable, set by local masters: one task slot is not one core there; workers share those of the host."""


def slots_of(master: str) -> int | None:
    """Tasks that a local master runs at the same time; None if the URL does not tell."""
    if master == "local":
        return 1
    match = re.fullmatch(r"local\[(\d+|\*)(?:,\s*\d+)?\]", master)
    if match:
        return len(os.sched_getaffinity(0)) if match.group(1) == "*" else int(match.group(1))
    match = re.fullmatch(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]", master)
    return int(match.group(1)) * int(match.group(2)) if match else None


_MASTER = re.compile(
    r"local|local\[(\d+|\*)\s*(,\s*\d+\s*)?\]|local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]|yarn"
    r"|(spark|sc|k8s)://\S+"
)
_CONNECT_PORT = 15002
_SECONDS_TO_CONNECT = 5.0


def check_master(master: str | None) -> None:
    """Find out, before Spark tries for a minute, that a master's URL can be right and that somebody listens there.

    Raises:
        ConfigError: if Spark knows no such form.
        ResourceError: if nobody answers.
    """
    if not master:
        return
    if not _MASTER.fullmatch(master):
        raise ConfigError(
            f"{master!r} is no Spark master. There are local[N] (this machine, N task slots), spark://HOST:PORT, yarn,"
            f" k8s://URL, and sc://HOST:PORT for Spark Connect.{did_you_mean(master, ['local[2]', 'local[*]', 'yarn'])}"
        )
    scheme, _, rest = master.partition("://")
    if scheme not in ("spark", "sc"):
        return
    addresses = rest.partition("/")[0].split(",")
    reasons = [_unreachable(address, _CONNECT_PORT if scheme == "sc" else None) for address in addresses]
    if all(reasons):
        raise ResourceError(
            f"no Spark master answers at {master}: {reasons[0]}.\n"
            "Check host and port, and that the cluster runs; its web page shows the URL at the top."
        )


def _unreachable(address: str, default_port: int | None) -> str | None:
    """Why nobody can be reached at ``host:port``; None if somebody listens there."""
    host, _, port = address.rpartition(":")
    if default_port is not None and not host:
        host, port = address, str(default_port)
    if not host or not port.isdigit():
        return f"{address!r} is not HOST:PORT"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"
    return None


def check_slots(master: str | None, workers: int) -> None:
    """Refuse, before anything starts, more workers than a local master has task slots.

    Raises:
        ResourceError: if there are too few.
    """
    slots = slots_of(master) if master else None
    if slots is not None and workers > slots:
        raise ResourceError(
            f"{workers} workers need {workers} task slots at the same time, {master} has {slots}.\n"
            f"Use --workers {slots}, or a master with more slots, for example --master local[{workers}]."
        )


def check_java() -> None:
    """Find Java before Spark does.

    Raises:
        ResourceError: if there is none, or it is too old.
    """
    home, java = os.environ.get("JAVA_HOME"), find_java()
    advice = "Install a Java runtime, for example: apt-get install openjdk-17-jre-headless"
    if not java or not os.path.exists(java):
        raise ResourceError(f"Spark needs Java {_MIN_JAVA} or newer; found none (JAVA_HOME={home}). {advice}")
    version = java_version(java)
    if version is not None and version < _MIN_JAVA:
        raise ResourceError(f"Spark needs Java {_MIN_JAVA} or newer; {java} is Java {version}. {advice}")


def find_java() -> str | None:
    """The Java that Spark will start: that of JAVA_HOME, else the first on the path."""
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else shutil.which("java")


def java_home() -> str | None:
    """The folder that Java lies in, links resolved."""
    java = find_java()
    return os.path.dirname(os.path.dirname(os.path.realpath(java))) if java else None


def java_version(java: str) -> int | None:
    """Major version of a Java, from the ``release`` file beside it (a process would cost 100 ms), else by asking it."""
    home = os.path.dirname(os.path.dirname(os.path.realpath(java)))
    with contextlib.suppress(OSError), open(os.path.join(home, "release")) as file:
        match = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', file.read())
        if match:
            return int(match.group(1))
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20).stderr
        match = re.search(r'version "(?:1\.)?(\d+)', said)
        return int(match.group(1)) if match else None
    return None


def check_pyspark() -> None:
    """Find pyspark, or say how to get it.

    Raises:
        ResourceError: if it is not installed or too old.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise ResourceError(
            "this needs pyspark, which is not installed. Install it with: pip install 'firesteel[spark]'\n"
            "Without it, --engine local does the same on this machine."
        )
    found = version("pyspark")
    if int(found.split(".")[0]) < 4:
        raise ResourceError(f"Firesteel needs pyspark 4 or newer, {found} is installed.")


def configured_master() -> str | None:
    """The master of spark-defaults.conf, which pyspark would use by itself if the builder were not given one."""
    folder = os.environ.get("SPARK_CONF_DIR") or os.path.join(os.environ.get("SPARK_HOME", ""), "conf")
    with contextlib.suppress(OSError), open(os.path.join(folder, "spark-defaults.conf")) as file:
        for line in file:
            match = re.match(r"\s*spark\.master[\s=:]+(\S+)", line)
            if match:
                return match.group(1)
    return None


def master_in_environment() -> str | None:
    """The master that this machine is set up for, if it is."""
    return os.environ.get("MASTER") or os.environ.get("SPARK_REMOTE") or configured_master()


def is_remote(master: str | None) -> bool:
    """True for Spark Connect, which needs no Java here."""
    return (master or os.environ.get("SPARK_REMOTE", "")).startswith("sc://")


def has_session() -> bool:
    """True if this process has an active Spark session; pyspark is not imported to find out."""
    sql = sys.modules.get("pyspark.sql")
    return sql is not None and sql.SparkSession.getActiveSession() is not None
