"""Skips of Python's tests, counted as those of Rust's tests are (see runtime/testkit)."""

import os
import unittest


def skipped(test: unittest.TestCase, needs: str, reason: str) -> None:
    """Skips the running test, which needs what is not here."""
    record(test.id(), needs, reason)
    test.skipTest(reason)


def record(test: str, needs: str, reason: str) -> None:
    """Appends a skip to the file that SIDELINE_SKIPS names; an error where SIDELINE_REQUIRE names `needs`."""
    if needs in os.environ.get("SIDELINE_REQUIRE", "").replace(" ", "").split(","):
        raise AssertionError(f"SIDELINE_REQUIRE names `{needs}`, but the test cannot run: {reason}")
    if file := os.environ.get("SIDELINE_SKIPS"):
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(f"skipped: [{needs}] {test}: {reason}\n")
