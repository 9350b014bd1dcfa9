# SPDX-License-Identifier: Apache-2.0
"""skvis eval needle, ppl and kld, and quality_matrix.py, as a user calls them."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKVIS = os.environ.get("SKVIS_BINARY", str(ROOT / "build" / "skvis"))
TINY = str(ROOT / "models" / "tiny")
PROSE = str(ROOT / "docs" / "architecture.md")


def run(command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stderr}")
    return done


def evaluate(*arguments, check=True):
    return run([SKVIS, "eval", *arguments, "--model", TINY], check)


class Eval(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.cells = self.folder / "cells.jsonl"

    def lines(self):
        return [json.loads(line) for line in self.cells.read_text(encoding="utf-8").splitlines()]

    def needle(self, *arguments, check=True):
        return evaluate("needle", "--filler", PROSE, "--context", "250", "--prompts", "2", *arguments, check=check)

    def test_needle_compares_plans_with_the_full_cache(self):
        done = self.needle("--plans", "int8,int4", "--kv", "snapkv:0.25 observe=16 heads=0,1 settle=prompt", "--json",
                           str(self.cells), "--noise-floor", "scalar")
        table = done.stdout.splitlines()
        self.assertIn("2 prompts of at most 250 tokens", table[0])
        self.assertIn("against full", table[1])
        self.assertEqual([line.split("  ")[0] for line in table[2:]],
                         ["full", "full on scalar", "int8", "int4", "snapkv:0.25 observe=16 heads=0,1 settle=prompt"])
        cells = self.lines()
        self.assertEqual(len(cells), 10)
        self.assertEqual(len({cell["cell"] for cell in cells}), 10)
        self.assertEqual({cell["role"] for cell in cells}, {"baseline", "noise floor", "compared"})
        for cell in cells:
            self.assertEqual(cell["right"], float(cell["asked"][0]["number"] in cell["asked"][0]["answer"]))
            self.assertEqual(cell["full_bytes"], cell["tokens"] * 6144)

    def test_a_run_goes_on_where_it_stopped(self):
        first = self.needle("--plans", "int8", "--json", str(self.cells))
        before = self.cells.read_bytes()
        again = self.needle("--plans", "int8", "--json", str(self.cells), "--resume")
        self.assertEqual(again.stdout, first.stdout)
        self.assertEqual(self.cells.read_bytes(), before)
        refused = self.needle("--plans", "int8", "--json", str(self.cells), check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--resume", refused.stderr)

    def test_ppl_and_kld_share_their_cells(self):
        arguments = ("--text", PROSE, "--window", "200", "--windows", "2", "--plans", "int4 settle=64,streaming-50", "--json",
                     str(self.cells), "--resume")
        ppl = evaluate("ppl", *arguments).stdout.splitlines()
        self.assertIn("2 windows of 200 tokens at a stride of 200, the last 99 tokens of each scored", ppl[0])
        self.assertEqual(len(ppl), 5)
        before = self.cells.read_bytes()
        kld = evaluate("kld", *arguments).stdout.splitlines()
        self.assertEqual(self.cells.read_bytes(), before)
        self.assertIn("KL (nats)", kld[1])
        full = [cell for cell in self.lines() if cell["plan"] == "full"]
        self.assertEqual([cell["kl"] for cell in full], [0, 0])
        int4 = [cell for cell in self.lines() if cell["plan"] == "int4 settle=64"]
        self.assertTrue(all(0 < cell["kl"] <= cell["kl_max"] for cell in int4))

    def test_what_is_wrong_is_said(self):
        short = self.folder / "short.txt"
        short.write_text("too short", encoding="utf-8")
        long = self.folder / "long.txt"
        long.write_text(Path(PROSE).read_text(encoding="utf-8") * 2, encoding="utf-8")
        for arguments, word in (
                (("needle", "--filler", str(short)), "running text"),
                (("needle", "--filler", PROSE, "--depths", "50,101", "--context", "250"), "101"),
                (("needle", "--filler", "/nowhere.txt"), "/nowhere.txt"),
                (("needle", "--filler", PROSE, "--turns", "9"), "--turns"),
                (("needle", "--filler", PROSE, "--resume", "--context", "250"), "--json"),
                (("needle", "--filler", PROSE, "--plans", "int8,int9", "--context", "250"), "int9"),
                (("needle", "--filler", PROSE, "--noise-floor", "mmx", "--context", "250"), "mmx"),
                (("needle", "--filler", str(long), "--context", "2100"), "2048"),
                (("ppl",), "--text"),
                (("ppl", "--text", str(short)), "windows"),
                (("kld", "--text", PROSE, "--window", "100", "--from", "99"), "scored")):
            done = evaluate(*arguments, check=False)
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn(word, done.stderr, arguments)

    def test_help_has_examples(self):
        for command in ("needle", "ppl", "kld"):
            self.assertIn("Example", run([SKVIS, "eval", command, "--help"]).stdout)


class QualityMatrix(unittest.TestCase):
    def matrix(self, folder, *arguments, check=True):
        return run([sys.executable, str(ROOT / "scripts" / "quality_matrix.py"), "--skvis", SKVIS, "--model", TINY,
                    "--out", folder, *arguments], check)

    def test_parts_are_measured_once_and_tables_written(self):
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text.txt"
            text.write_text(Path(PROSE).read_text(encoding="utf-8") * 3, encoding="utf-8")
            arguments = ("--filler", str(text), "--text", str(text), "--only", "text", "--budgets", "uniform",
                         "--ratios", "0.25", "--windows", "1", "--noise-floor", "")
            self.matrix(folder, *arguments)
            cells = Path(folder) / "cells.jsonl"
            found = [json.loads(line) for line in cells.read_text(encoding="utf-8").splitlines()]
            plans = {cell["plan"] for cell in found}
            self.assertIn("snapkv:0.25 exact=32 settle=256 observe=32", plans)
            self.assertIn("streaming:500 exact=32 settle=256", plans)
            self.assertEqual(len(found), len(plans))
            tables = (Path(folder) / "tables.txt").read_text(encoding="utf-8")
            self.assertIn("kld, snapkv", tables)
            before = cells.read_bytes()
            self.matrix(folder, *arguments)
            self.assertEqual(cells.read_bytes(), before)

    def test_missing_texts_are_said_before_anything_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.matrix(folder, "--filler", "/nowhere.txt", "--text", PROSE, "--budgets", "uniform", check=False)
            self.assertIn("/nowhere.txt", done.stderr)
            done = self.matrix(folder, "--filler", PROSE, "--text", PROSE, check=False)
            self.assertIn("--calibration-text", done.stderr)


if __name__ == "__main__":
    unittest.main()
