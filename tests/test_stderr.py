"""What reaches the terminal."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import contextlib, os, subprocess, sys, threading, time
from firesteel.stderr import muted, quiet_jvm
def child(text):
    subprocess.run([sys.executable, "-c", f"import os; os.write(2, {text!r})"], check=True)
{body}
time.sleep(0.3)  # the filter passes lines on in a thread
"""


def said(body: str) -> str:
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("{body}", body)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_known_noise_of_a_child_is_dropped_and_the_rest_arrives() -> None:
    body = """
with quiet_jvm():
    child(b"WARNING: Using incubator modules: jdk.incubator.vector\\nhello\\n\\tat org.apache.spark.Foo\\n")
child(b"\\tat java.lang.Thread\\n")
"""
    assert said(body) == "hello\n\tat java.lang.Thread\n"


def test_muting_and_filtering_overlap_in_any_order() -> None:
    """A session starts in a thread while Ctrl-C arrives: whichever ends first, the terminal comes back."""
    for first, second in (("filtered", "mute"), ("mute", "filtered")):
        body = f"""
filtered, mute = quiet_jvm(), muted()
filtered.__enter__()
os.write(2, b"one\\n")
mute.__enter__()
os.write(2, b"lost\\n")
{first}.__exit__(None, None, None)
os.write(2, b"maybe\\n" if {first!r} == "mute" else b"lost\\n")
{second}.__exit__(None, None, None)
os.write(2, b"two\\n")
"""
        lines = said(body).split()
        assert sorted(lines) == sorted(["one", *(["maybe"] if first == "mute" else []), "two"])


def test_without_a_standard_error_nothing_breaks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from firesteel.stderr import muted, quiet_jvm\nwith muted(), quiet_jvm(): print('ok')"],
        stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(2),
    )  # fmt: skip
    assert done.stdout == "ok\n"
