# SPDX-License-Identifier: Apache-2.0
"""run_tests.py on real ctest runs of a made-up project: what is counted, and the exit status."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "run_tests.py"
SKIP = 'add_test(skip sh -c "echo a.cpp:1: Skipped; echo no model")\n' \
       "set_tests_properties(skip PROPERTIES SKIP_REGULAR_EXPRESSION Skipped)\n"


class RunTests(unittest.TestCase):
    def run_tests(self, tests):
        """Writes the tests as ctest reads them, runs the script: (status, last line, output)."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "CTestTestfile.cmake").write_text(tests, encoding="utf-8")
            done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True)
            return done.returncode, done.stdout.splitlines()[-1], done.stdout

    def test_passing_tests_are_counted(self):
        status, line, _ = self.run_tests("add_test(a true)\nadd_test(b true)\n")
        self.assertEqual((status, line), (0, "2 passed, 0 failed"))

    def test_failing_and_missing_and_late_programs_are_failures(self):
        status, line, output = self.run_tests(
            "add_test(a true)\nadd_test(b false)\nadd_test(c no-such-program)\n"
            "add_test(d sleep 9)\nset_tests_properties(d PROPERTIES TIMEOUT 1)\n")
        self.assertEqual((status, line), (1, "1 passed, 3 failed"))
        self.assertIn("*** 3 TESTS FAILED ***", output)

    def test_skipped_tests_are_counted_apart_and_named_with_their_reason(self):
        status, line, output = self.run_tests("add_test(a true)\n" + SKIP)
        self.assertEqual((status, line), (0, "1 passed, 0 failed, 1 skipped"))
        self.assertIn("*** 1 TESTS WERE SKIPPED ***\n  skip: no model\n", output)

    def test_run_in_which_nothing_passed_is_a_failure(self):
        self.assertEqual(self.run_tests("")[:2], (1, "0 passed, 1 failed"))
        self.assertEqual(self.run_tests(SKIP)[:2], (1, "0 passed, 1 failed, 1 skipped"))


if __name__ == "__main__":
    unittest.main()
