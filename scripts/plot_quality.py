#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws quality against measured bytes, as SVG, from the cells of `skvis eval`.

plot_quality.py CELLS.jsonl [...] --metric right|kl|ppl --out PLOT.svg [--form grid|prompt] [--context N] [--turns N]

A point is a plan: the pages it held, in per cent of the full cache, and its mean over prompts or
windows with its standard error. Colours are selectors; marks and dashes budgets. Dashed across: the
full cache; a ring: the noise floor.
"""
import argparse
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

METRICS = {  # eval, member of the cell, title of the axis, logarithmic
    "right": ("needle", "right", "right answers", False),
    "kl": ("text", "kl", "KL(full ‖ plan), nats per token", True),
    "ppl": ("text", "nll_difference", "ln(ppl / ppl of the full cache)", False),
}
# Okabe and Ito's colours that stand out on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f7bd9", "#8a8a00")
MARKS = ("circle", "square", "triangle", "diamond", "cross")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2")
WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 74, 214, 40, 56  # margins
STYLE = """
  text { font: 12px sans-serif; fill: #333; } .title { font-size: 14px; font-weight: bold; }
  .axis, .grid { stroke: #555; fill: none; } .grid { stroke-opacity: 0.2; }
  .full { stroke: #555; stroke-dasharray: 4 4; fill: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; } .axis, .grid, .full { stroke: #bbb; }
  }
"""


def read_cells(paths):
    """The cells of all files; a line that is none is an error with its place."""
    cells = {}
    for path in paths:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                cell = json.loads(line)
                cells[cell["cell"]] = cell
            except (ValueError, KeyError, TypeError) as problem:
                sys.exit(f"{path} line {number}: no cell of skvis eval: {problem!r}")
    return list(cells.values())


def mean_and_error(values):
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    squares = sum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1) / len(values))


def series_name(cell):
    """The selector, and what the plan changes beside amount, budget and the windows that follow the context."""
    if cell["selector"] == "all":
        return cell["plan"]
    changed = []
    for word in cell["plan"].split():
        key, equals, _ = word.partition("=")
        if equals and key not in ("exact", "settle", "observe", "budget", "recent"):
            changed.append(word)
        elif re.fullmatch(r"[\w-]+:[1-9]\d*", word):
            changed.append("tokens")  # judged anew each time, where a share is judged once
    return ", ".join([cell["selector"], *changed])


def points(cells, metric):
    """[(selector, budget, role, share of full bytes in %, mean, error, cells)] of every plan."""
    of_plan = defaultdict(list)
    for cell in cells:
        of_plan[cell["cell"].rsplit("-", 1)[0]].append(cell)
    found = []
    for group in of_plan.values():
        first = group[0]
        bytes_share = 100 * sum(c["kv_bytes"] for c in group) / sum(c["full_bytes"] for c in group)
        mean, error = mean_and_error([c[METRICS[metric][1]] for c in group])
        found.append((series_name(first), first["budget"], first["role"], bytes_share, mean, error, len(group)))
    return found


class Axis:
    def __init__(self, low, high, begin, end, logarithmic):
        self.scale = math.log10 if logarithmic else float
        self.logarithmic, self.low, self.high, self.begin, self.end = logarithmic, low, high, begin, end

    def place(self, value):
        low, high = self.scale(self.low), self.scale(self.high)
        value = self.scale(min(max(value, self.low), self.high))
        return self.begin + (self.end - self.begin) * (value - low) / (high - low)

    def ticks(self):
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [m * 10.0 ** p for p in powers for m in (1, 2, 5)]
        else:
            rough = (self.high - self.low) / 6
            step = 10.0 ** math.floor(math.log10(rough))
            step *= next(m for m in (1, 2, 5, 10) if m * step >= rough)
            marks = [step * i for i in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]
        return [mark for mark in marks if self.low * (1 - 1e-9) - 1e-12 <= mark <= self.high * (1 + 1e-9)]


def axes(found, metric):
    logarithmic = METRICS[metric][3]
    tops = [mean + error for *_, mean, error, _ in found]
    bottoms = [mean - error for *_, mean, error, _ in found]
    if logarithmic:
        positive = [mean for *_, mean, _, _ in found if mean > 0] or [1e-3]
        low, high = min(positive) / 2, max([*tops, min(positive) * 2]) * 1.5
    elif metric == "right":
        low, high = 0.0, 1.05
    else:
        low, high = min(0.0, *bottoms), max(*tops, 0.01) * 1.1
    x = Axis(0, max(105, *(point[3] * 1.05 for point in found)), LEFT, WIDTH - RIGHT, False)
    return x, Axis(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def mark(shape, x, y, colour):
    paths = {"square": f"M{x - 4:.1f} {y - 4:.1f}h8v8h-8z", "triangle": f"M{x:.1f} {y - 5:.1f}l5 9h-10z",
             "diamond": f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z",
             "cross": f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"}
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    return f'<path d="{paths[shape]}" fill="{colour}" stroke="{colour}"/>'


def draw_frame(x, y, title, metric):
    lines = [f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>']
    for tick in x.ticks():
        at = x.place(tick)
        lines.append(f'<path class="grid" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
                     f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks():
        at = y.place(tick)
        lines.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
                     f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines += [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>',
              f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">'
              "KV pages held, % of the full cache</text>",
              f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
              f"{escape(METRICS[metric][2])}</text>"]
    return lines


def draw_series(key, group, colour, shape, dashes, x, y):
    group = sorted(group)
    path = " ".join(f"{x.place(share):.1f},{y.place(mean):.1f}" for share, mean, _ in group)
    lines = [f'<g><title>{escape(key)}</title>'
             f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" '
             f'stroke-dasharray="{dashes}"/>']
    for share, mean, error in group:
        at = x.place(share)
        lines.append(f'<path d="M{at:.1f} {y.place(mean - error):.1f}V{y.place(mean + error):.1f}" '
                     f'stroke="{colour}" stroke-opacity="0.6"/>' + mark(shape, at, y.place(mean), colour))
    return lines + ["</g>"]


def draw(found, metric, title):
    x, y = axes(found, metric)
    lines = draw_frame(x, y, title, metric)
    series = defaultdict(list)
    for name, budget, role, share, mean, error, _ in found:
        if role == "compared":
            series[(name, budget)].append((share, mean, error))
    names = sorted({name for name, _ in series})
    budgets = sorted({budget for _, budget in series}, key=lambda b: (b not in ("none", "uniform"), b))
    legend = []
    for name, budget in sorted(series, key=lambda key: (names.index(key[0]), budgets.index(key[1]))):
        colour = COLOURS[names.index(name) % len(COLOURS)]
        shape, dashes = (kinds[budgets.index(budget) % len(kinds)] for kinds in (MARKS, DASHES))
        label = name if budget in ("none", "uniform") else f"{name}, {budget}"
        lines += draw_series(label, series[(name, budget)], colour, shape, dashes, x, y)
        legend.append((colour, shape, dashes, label))
    for *_, role, share, mean, _, _ in found:
        if role == "noise floor":
            lines.append(f'<circle class="axis" cx="{x.place(share):.1f}" cy="{y.place(mean):.1f}" r="6">'
                         "<title>noise floor</title></circle>")
        elif role == "baseline" and metric == "right":
            lines.append(f'<path class="full" d="M{LEFT} {y.place(mean):.1f}H{WIDTH - RIGHT}"/>')
    left = WIDTH - RIGHT + 18
    for row, (colour, shape, dashes, label) in enumerate(legend):
        at = TOP + 8 + 20 * row
        lines.append(f'<path d="M{left} {at}h26" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"/>'
                     + mark(shape, left + 13, at, colour)
                     + f'<text x="{left + 34}" y="{at + 4}">{escape(label)}</text>')
    extra = {"baseline": (metric == "right", '<path class="full" d="M{0} {1}h26"/>', "full cache"),
             "noise floor": (True, '<circle class="axis" cx="{2}" cy="{1}" r="6"/>', "noise floor")}
    row = len(legend)
    for role, (shown, shape, label) in extra.items():
        if shown and any(point[2] == role for point in found):
            at = TOP + 8 + 20 * row
            lines.append(shape.format(left, at, left + 13) + f'<text x="{left + 34}" y="{at + 4}">{label}</text>')
            row += 1
    height = max(HEIGHT, TOP + 20 * row + 20)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
            f"<style>{STYLE}</style>\n" + "\n".join(lines) + "\n</svg>\n")


def chosen(cells, options):
    """The cells that one plot shows; several settings at once would be compared by mistake."""
    kept = [c for c in cells if c.get("eval") == METRICS[options.metric][0]]
    # The full cache stands in both forms; with a settled prompt it is another baseline.
    kept = [c for c in kept if options.form is None or c.get("form") == options.form]
    size = "context" if METRICS[options.metric][0] == "needle" else "window"
    kept = [c for c in kept if options.context is None or c.get(size) == options.context]
    kept = [c for c in kept if options.turns is None or c.get("turns", 1) == options.turns]
    return kept, {(c.get("model"), c.get(size), c.get("turns", 1)) for c in kept}


def main(given):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("cells", nargs="+", help="files written by skvis eval --json")
    parser.add_argument("--metric", choices=METRICS, default="right")
    parser.add_argument("--form", choices=("grid", "prompt"))
    parser.add_argument("--context", type=int, help="tokens of a prompt or window")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--title")
    parser.add_argument("--out", required=True)
    options = parser.parse_args(given)
    kept, settings = chosen(read_cells(options.cells), options)
    if not kept:
        sys.exit("plot_quality: no cell fits these options")
    if len(settings) > 1:
        sys.exit(f"plot_quality: cells of several settings (model, tokens, turns): {sorted(settings)}; choose with "
                 "--context and --turns")
    (model, size, turns), = settings
    title = options.title or f"{model}, {size:,} tokens" + (f", {turns} questions" if turns > 1 else "")
    if options.form and options.metric == "right" and not options.title:
        title += {"grid": ", question-agnostic (grid)", "prompt": ", question-aware"}[options.form]
    Path(options.out).write_text(draw(points(kept, options.metric), options.metric, title), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
