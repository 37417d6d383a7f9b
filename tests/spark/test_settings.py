"""What can be known of Spark before it starts."""

from __future__ import annotations

import socket

import pytest

from firesteel.errors import ConfigError, ResourceError
from firesteel.spark.settings import check_master, slots_of


@pytest.mark.parametrize(
    "master",
    [None, "local", "local[2]", "local[*]", "local[4, 3]", "local-cluster[2,1,1024]", "yarn", "k8s://https://host:443"],
)
def test_masters_that_spark_knows_are_let_through(master: str | None) -> None:
    check_master(master)


@pytest.mark.parametrize("master", ["locl[2]", "local[]", "local[two]", "spark//host:1", "host:7077", "mesos://h:1"])
def test_other_masters_are_refused(master: str) -> None:
    with pytest.raises(ConfigError, match="is no Spark master"):
        check_master(master)


@pytest.mark.parametrize("scheme", ["spark", "sc"])
def test_somebody_must_listen_at_the_masters_address(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_master(f"{scheme}://127.0.0.1:{port}")
        check_master(f"spark://nowhere.invalid:7077,127.0.0.1:{port}")  # one of several masters is enough
    with pytest.raises(ResourceError, match=rf"no Spark master answers at {scheme}://127.0.0.1:{port}: .*refused"):
        check_master(f"{scheme}://127.0.0.1:{port}")


def test_an_address_without_a_port_is_named() -> None:
    with pytest.raises(ResourceError, match="'host' is not HOST:PORT"):
        check_master("spark://host")


@pytest.mark.parametrize(
    ("master", "slots"),
    [("local", 1), ("local[3]", 3), ("local[3,2]", 3), ("local-cluster[2,3,1024]", 6), ("yarn", None)],
)
def test_slots_of_local_masters_are_known(master: str, slots: int | None) -> None:
    assert slots_of(master) == slots
