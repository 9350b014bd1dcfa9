#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what plans cost in quality: needles, perplexity and divergence, by calling skvis.

quality_matrix.py --filler NOVEL.txt --text WIKI.txt --out FOLDER [--only PART ...]

FOLDER/cells.jsonl gets one line per (plan, prompt or window); what is there already is not measured
again, so a run may be cut off and started anew at any time. The tables go to FOLDER/tables.txt.
Plots: plot_quality.py FOLDER/cells.jsonl.

The observation window, the exact tail and the grid follow the context: 16, 16 and 128 tokens at
1,000, 32, 32 and 256 at 2,000, 64, 64 and 512 at 4,000.
"""
import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SELECTORS = ("streaming", "snapkv", "expected-attention", "keydiff", "tova", "chunk", "knorm", "lagkv", "h2o",
             "h2o-grid", "tree", "ems", "kvzip", "fastkv", "uncomp")
WHOLE_PROMPT = {"h2o", "ems", "kvzip", "fastkv", "uncomp"}  # selectors that judge once, at the prompt's end
PARAMETERS = {"expected-attention": ["epsilon=0.01"]}  # what is set beside the amount
MAIN = ("snapkv", "keydiff", "expected-attention")
BUDGETS = ("uniform", "ada", "calibrated")
RATIOS = (0.75, 0.5, 0.25, 0.1)
OBSERVING = {"snapkv", "chunk"}  # selectors with a window of observed queries
PARTS = ("selectors", "selectors-aware", "budgets", "budgets-aware", "contexts", "turns", "text")


def proportions(context):
    """(observation window and exact tail, grid) of a context."""
    grid = max(16, round(context / 1000) * 128)
    return max(1, grid // 8), grid


class Matrix:
    def __init__(self, options):
        self.options = options
        self.folder = Path(options.out)
        self.cells = self.folder / "cells.jsonl"
        self.tables = []
        self.known = {}

    def skvis(self, *arguments, check=True):
        command = [self.options.skvis, *arguments]
        print("$", shlex.join(command), file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if check and done.returncode != 0:
            sys.exit(f"quality_matrix: exit status {done.returncode}: {shlex.join(command)}")
        return done

    def has(self, selector):
        """Does this build have the selector?"""
        if selector not in self.known:
            plan = [self.options.skvis, "plan", f"{selector}:0.5 settle=prompt", "--model", self.options.model]
            done = subprocess.run(plan, capture_output=True, text=True, check=False)
            self.known[selector] = done.returncode == 0
            if done.returncode != 0:
                print(f"quality_matrix: this build has no selector '{selector}': left out", file=sys.stderr)
        return self.known[selector]

    def plan(self, selector, ratio, context, form, budget="uniform"):
        """One plan as --kv takes it."""
        window, grid = proportions(context)
        settle = "prompt" if form == "prompt" else grid
        if budget == "calibrated":
            return self.calibrated(selector, ratio, window, settle)
        # Under a ratio a row is judged once: streaming would keep the end of every grid step. A number of
        # tokens is judged anew each time and makes it the window that it is elsewhere.
        amount = int(ratio * context) if selector == "streaming" else ratio
        words = [f"{selector}:{amount}", f"exact={window}", f"settle={settle}"]
        words += PARAMETERS.get(selector, [])
        words += [f"observe={window}"] if selector in OBSERVING else []
        words += [f"budget={budget}"] if budget != "uniform" else []
        return " ".join(words)

    def calibrated(self, selector, ratio, window, settle):
        """A file with the measured shares of the heads, and the windows of this context."""
        measured = self.folder / f"calibrated-{selector}-{ratio:g}.json"
        if not measured.exists():
            self.skvis("calibrate", "budget", "-m", self.options.model, "--selector",
                       " ".join([selector, *PARAMETERS.get(selector, [])]), "--ratio", str(ratio),
                       "--samples", str(self.options.samples), "--out", str(measured), *self.common(),
                       *(word for text in self.options.calibration_text for word in ("--text", text)))
        plan = json.loads(measured.read_text(encoding="utf-8"))
        plan.update(settle=settle, exact=window, recent=0)
        plan["keep"].pop("observe", None)
        if selector in OBSERVING:
            plan["keep"]["observe"] = plan["recent"] = window
        path = self.folder / f"calibrated-{selector}-{ratio:g}-{settle}-{window}.json"
        path.write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
        return str(path)

    def common(self):
        words = ["--log-level", "warn"]
        words += ["--threads", str(self.options.threads)] if self.options.threads else []
        return words

    def measure(self, title, what, plans, form, *arguments):
        plans = list(dict.fromkeys(plans))
        if not plans:
            return
        command = ["eval", what, "-m", self.options.model, *arguments, *self.common(),
                   "--baseline", "full settle=prompt" if form == "prompt" else "full",
                   "--json", str(self.cells), "--resume"]
        command += ["--noise-floor", self.options.noise_floor] if self.options.noise_floor else []
        for plan in plans:
            command += ["--kv", plan]
        table = self.skvis(*command).stdout
        self.tables.append(f"{title}\n\n{table}")
        print(f"\n{title}\n{table}", flush=True)
        (self.folder / "tables.txt").write_text("\n".join(self.tables), encoding="utf-8")

    def needles(self, title, plans, form, context, prompts, turns=1):
        self.measure(title, "needle", plans, form, "--filler", self.options.filler, "--context", str(context),
                     "--prompts", str(prompts), "--turns", str(turns))

    def main_selectors(self):
        return [selector for selector in MAIN if self.has(selector)]

    def selectors(self, form):
        plans = [self.plan(selector, 0.25, 2000, form) for selector in SELECTORS
                 if self.has(selector) and (form == "prompt" or selector not in WHOLE_PROMPT)]
        self.needles(f"Every selector, uniform, 25 %, 2,000 tokens, {FORMS[form]}", plans, form, 2000,
                     self.options.prompts)

    def budget_plans(self, ratios, context, form):
        return [self.plan(selector, ratio, context, form, budget) for selector in self.main_selectors()
                for ratio in ratios for budget in self.options.budgets]

    def budgets(self, form):
        self.needles(f"Budgets, 2,000 tokens, {FORMS[form]}", self.budget_plans(self.options.ratios, 2000, form), form,
                     2000, 2 * self.options.prompts)

    def contexts(self):
        for context in (1000, 4000):
            self.needles(f"Budgets, 25 %, {context:,} tokens, {FORMS['grid']}",
                         self.budget_plans([0.25], context, "grid"), "grid", context, 2 * self.options.prompts)

    def turns(self):
        for form in FORMS:
            self.needles(f"Three needles asked in turn, 25 %, 2,000 tokens, {FORMS[form]}",
                         self.budget_plans([0.25], 2000, form), form, 2000, self.options.prompts, turns=3)

    def text(self):
        for selectors, budgets in ((self.main_selectors(), self.options.budgets), (["streaming"], ["uniform"])):
            plans = [self.plan(selector, ratio, 2000, "grid", budget) for selector in selectors
                     for ratio in self.options.ratios for budget in budgets]
            # Cells serve both commands: the second one measures nothing.
            for what in ("ppl", "kld"):
                self.measure(f"{what}, {', '.join(selectors)}", what, plans, "grid", "--text", self.options.text,
                             "--window", "2000", "--windows", str(self.options.windows))


FORMS = {"grid": "question-agnostic (grid)", "prompt": "question-aware (settled at the prompt's end)"}


def arguments(given):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--skvis", default=str(ROOT / "build" / "skvis"), help="the program")
    parser.add_argument("-m", "--model", default="smollm2", help="the model")
    parser.add_argument("--filler", required=True, help="running text that needles are hidden in")
    parser.add_argument("--text", required=True, help="text for perplexity and divergence")
    parser.add_argument("--calibration-text", action="append", default=[],
                        help="texts that 'calibrated' is measured on; repeat for several")
    parser.add_argument("--out", required=True, help="folder for results; an earlier run there goes on")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--budgets", nargs="*", default=list(BUDGETS), help="budgets to compare")
    parser.add_argument("--ratios", nargs="*", type=float, default=list(RATIOS), help="shares to keep")
    parser.add_argument("--prompts", type=int, default=24, help="prompts; budgets get twice as many")
    parser.add_argument("--windows", type=int, default=8, help="windows of 2,000 tokens of the text")
    parser.add_argument("--samples", type=int, default=50, help="samples of a calibration")
    parser.add_argument("--noise-floor", default="avx2", help="kernel level of the noise floor; '' for none")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: as many as there are")
    options = parser.parse_args(given)
    if "calibrated" in options.budgets and not options.calibration_text:
        parser.error("the budget 'calibrated' needs --calibration-text; or leave it out with --budgets")
    for path in [options.filler, options.text, *options.calibration_text]:
        if not Path(path).is_file():
            parser.error(f"{path} is no file")
    return options


def main(given):
    options = arguments(given)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    matrix = Matrix(options)
    parts = {"selectors": lambda: matrix.selectors("grid"), "selectors-aware": lambda: matrix.selectors("prompt"),
             "budgets": lambda: matrix.budgets("grid"), "budgets-aware": lambda: matrix.budgets("prompt"),
             "contexts": matrix.contexts, "turns": matrix.turns, "text": matrix.text}
    for part in PARTS:
        if part in options.only:
            parts[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
