# SPDX-License-Identifier: Apache-2.0
"""plot_quality.py on cells as skvis eval writes them: where points lie, and what is refused."""
import json
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plot_quality.py"
SVG = "{http://www.w3.org/2000/svg}"


def cell(plan, index, right, kv_bytes, **more):
    return {"cell": f"needle-1-{plan}-{index}", "eval": "needle", "model": "m", "context": 2000, "turns": 1,
            "index": index, "plan": plan, "role": "compared", "selector": "snapkv", "budget": "uniform",
            "form": "grid", "right": right, "kv_bytes": kv_bytes, "full_bytes": 1000, **more}


FULL = {"role": "baseline", "selector": "all"}
CELLS = [cell("full", 0, 1, 1000, **FULL), cell("full", 1, 1, 1000, **FULL),
         cell("a", 0, 1, 250), cell("a", 1, 0, 250), cell("b", 0, 1, 500), cell("b", 1, 1, 500),
         cell("c", 0, 0, 500, budget="ada<&>"), cell("c", 1, 0, 500, budget="ada<&>")]


class PlotQuality(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def plot(self, text, *arguments):
        """Writes the cells, runs the script: (process, path of the plot)."""
        (self.folder / "cells.jsonl").write_text(text, encoding="utf-8")
        out = self.folder / "plot.svg"
        done = subprocess.run([sys.executable, SCRIPT, self.folder / "cells.jsonl", "--out", out, *arguments],
                              capture_output=True, text=True)
        return done, out

    def lines(self, cells):
        return "".join(json.dumps(one) + "\n" for one in cells)

    def test_points_lie_at_measured_bytes_and_means(self):
        done, out = self.plot(self.lines(CELLS))
        self.assertEqual(done.returncode, 0, done.stderr)
        svg = ElementTree.parse(out).getroot()
        lines = {g.find(f"{SVG}title").text: g.find(f"{SVG}polyline").get("points") for g in svg.iter(f"{SVG}g")}
        self.assertEqual(set(lines), {"snapkv", "snapkv, ada<&>"})
        (x1, y1), (x2, y2) = [map(float, point.split(",")) for point in lines["snapkv"].split()]
        # From 25 to 50 % of the bytes and from 0.5 to 1 of the answers, on axes to 105 and 1.05.
        self.assertAlmostEqual(x2 - x1, 25 / 105 * (760 - 74 - 214), delta=0.2)
        self.assertAlmostEqual(y1 - y2, 0.5 / 1.05 * (440 - 40 - 56), delta=0.2)
        text = out.read_text(encoding="utf-8")
        self.assertIn("KV pages held", text)
        self.assertIn("right answers", text)
        self.assertIn("full cache", text)
        self.assertIn("prefers-color-scheme: dark", text)

    def test_plans_that_differ_in_more_than_their_amount_are_lines_of_their_own(self):
        cells = [cell("snapkv:0.5 exact=32", 0, 1, 500), cell("snapkv:0.25 exact=16 settle=128", 0, 1, 250),
                 cell("snapkv:0.25 kernel=15", 0, 1, 250), cell("snapkv:500", 0, 1, 250)]
        _, out = self.plot(self.lines(cells))
        svg = ElementTree.parse(out).getroot()
        self.assertEqual({g.find(f"{SVG}title").text for g in svg.iter(f"{SVG}g")},
                         {"snapkv", "snapkv, kernel=15", "snapkv, tokens"})

    def test_standard_errors_are_drawn(self):
        _, out = self.plot(self.lines(CELLS))
        bars = re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)" stroke="#', out.read_text(encoding="utf-8"))
        # Of the two answers of plan a, one right: 0.5 and an error of 0.5.
        heights = [round(float(low) - float(high), 1) for low, high in bars]
        self.assertIn(round(1.0 / 1.05 * 344, 1), heights)
        self.assertIn(0.0, heights)

    def test_divergence_has_a_logarithmic_axis(self):
        cells = [dict(cell(name, i, 0, share, kl=kl), eval="text", window=2000) for name, share, kl in
                 (("a", 100, 0.1), ("b", 300, 0.01), ("c", 500, 0.001)) for i in range(2)]
        done, out = self.plot(self.lines(cells), "--metric", "kl")
        self.assertEqual(done.returncode, 0, done.stderr)
        points = re.search(r'points="([^"]*)"', out.read_text(encoding="utf-8")).group(1).split()
        heights = [float(point.split(",")[1]) for point in points]
        self.assertAlmostEqual(heights[1] - heights[0], heights[2] - heights[1], delta=0.2)

    def test_cells_of_several_settings_are_not_mixed(self):
        cells = CELLS + [cell("other", 0, 1, 500, context=1000)]
        done, _ = self.plot(self.lines(cells))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--context", done.stderr)
        self.assertEqual(self.plot(self.lines(cells), "--context", "2000")[0].returncode, 0)

    def test_what_is_no_cell_is_refused_with_its_line(self):
        for bad in ("nonsense\n", "[]\n", "{}\n"):
            done, out = self.plot(self.lines(CELLS[:1]) + bad)
            self.assertNotEqual(done.returncode, 0, bad)
            self.assertIn("line 2", done.stderr)
            self.assertFalse(out.exists())

    def test_nothing_to_plot_is_an_error(self):
        self.assertIn("no cell fits", self.plot(self.lines(CELLS), "--metric", "kl")[0].stderr)


if __name__ == "__main__":
    unittest.main()
