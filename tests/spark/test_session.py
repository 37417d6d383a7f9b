"""Sessions: whose they are, and who ends them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from firesteel.spark.session import open_session

pytestmark = pytest.mark.spark


def test_a_session_of_another_thread_is_used_and_stays(spark: Any) -> None:
    """Spark knows the active session of a thread only; a prediction in a server's thread must not stop the application's."""

    def inside() -> Any:
        with open_session("local[1]") as found:
            return found.sparkContext.applicationId

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == spark.sparkContext.applicationId
    assert spark.range(3).count() == 3
