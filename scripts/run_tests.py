#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs ctest and closes with one line a program can read: "N passed, N failed[, N skipped]".

run_tests.py BUILD_FOLDER [CTEST_ARGUMENT...]

Tests that skipped themselves are listed with their reason, so that no skip goes unseen. Exit status
0 when at least one test ran and none failed.
"""
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

SHOWN_SKIPS = 40


def read_report(path):
    """The cases of a ctest JUnit report: ([passed], [failed], [(skipped, reason)])."""
    passed, failed, skipped = [], [], []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        mark = case.find("skipped")
        if status == "run":
            passed.append(name)
        elif status == "disabled" or (mark is not None and mark.get("message", "").startswith("SKIP_")):
            skipped.append((name, skip_reason(case.findtext("system-out") or "")))
        else:  # failed, timed out, or its program is missing
            failed.append(name)
    return passed, failed, skipped


def skip_reason(output):
    """What GTEST_SKIP said: the line after the one that ends in ": Skipped"."""
    match = re.search(r": Skipped\n(.+)", output)
    return match.group(1).strip() if match else "no reason given"


def closing_line(passed, failed, skipped):
    line = f"{passed} passed, {failed} failed"
    return f"{line}, {skipped} skipped" if skipped else line


def print_skips(skipped):
    print(f"\n*** {len(skipped)} TESTS WERE SKIPPED ***")
    for name, reason in skipped[:SHOWN_SKIPS]:
        print(f"  {name}: {reason}")
    if len(skipped) > SHOWN_SKIPS:
        print(f"  ... and {len(skipped) - SHOWN_SKIPS} more")


def main(arguments):
    build, options = os.path.abspath(arguments[0]), arguments[1:]
    report = os.path.join(build, "test-report.xml")
    if os.path.exists(report):
        os.remove(report)
    command = ["ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error"]
    status = subprocess.run(command + ["--output-junit", report] + options).returncode
    try:
        passed, failed, skipped = read_report(report)
    except (OSError, ElementTree.ParseError) as problem:
        print(f"\nctest left no readable report ({problem})\n{closing_line(0, 1, 0)}")
        return 1
    if skipped:
        print_skips(skipped)
    if failed:
        print(f"\n*** {len(failed)} TESTS FAILED ***")
        print("\n".join(f"  {name}" for name in failed))
    failures = len(failed)
    if failures == 0 and (status != 0 or not passed):
        print(f"\nctest ended with status {status} and {len(passed)} tests passed; that is a failure")
        failures = 1
    print("\n" + closing_line(len(passed), failures, len(skipped)), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
