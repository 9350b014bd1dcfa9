#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program as a user calls it: results, figures, errors and exit codes."""
import array
import json
import math
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKVIS = os.environ.get("SKVIS_BINARY", str(ROOT / "build" / "skvis"))
TINY = str(ROOT / "models" / "tiny")


def skvis(*arguments, stdin="", check=True):
    done = subprocess.run([SKVIS, *arguments], input=stdin, capture_output=True, text=True,
                          timeout=300)
    if check and done.returncode != 0:
        raise AssertionError(f"skvis {arguments}: exit {done.returncode}\n{done.stderr}")
    return done


def read_npy(path):
    data = pathlib.Path(path).read_bytes()
    assert data[:6] == b"\x93NUMPY"
    size = int.from_bytes(data[8:10], "little")
    header = data[10:10 + size].decode()
    assert "'<f4'" in header, header
    values = array.array("f")
    values.frombytes(data[10 + size:])
    return header, values


def relative_norm(values, reference):
    assert len(values) == len(reference)
    difference = math.fsum((a - b) ** 2 for a, b in zip(values, reference))
    return math.sqrt(difference / math.fsum(b * b for b in reference))


class Logits(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def logits(self, name, *options):
        golden = ROOT / "tests" / "data" / "golden" / name
        out = self.folder / "logits.npy"
        skvis("logits", "--model", str(golden), "--ids", str(golden / "ids.json"), "--out",
              str(out), *options)
        return out.read_bytes(), read_npy(out)[1], read_npy(golden / "logits.npy")[1]

    def test_precise_logits_equal_the_golden_ones(self):
        _, values, golden = self.logits("qwen3-qknorm", "--precise")
        self.assertLessEqual(relative_norm(values, golden), 1e-5)

    def test_slices_give_the_same_file(self):
        whole, _, _ = self.logits("llama-tied", "--chunk", "160")
        for chunk in ("1", "7", "64"):
            self.assertEqual(self.logits("llama-tied", "--chunk", chunk)[0], whole)

    def test_last_writes_the_last_positions(self):
        _, values, golden = self.logits("llama-tied", "--precise", "--last", "3")
        self.assertEqual(len(values), 3 * 512)
        self.assertLessEqual(relative_norm(values, golden[-3 * 512:]), 1e-5)

    def test_a_truncated_model_is_refused_with_the_file_and_the_figures(self):
        golden = ROOT / "tests" / "data" / "golden" / "llama-tied"
        broken = self.folder / "broken"
        shutil.copytree(golden, broken)
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        done = skvis("logits", "--model", str(broken), "--ids", str(golden / "ids.json"), "--out",
                     str(self.folder / "x.npy"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("model.safetensors", done.stderr)
        self.assertFalse((self.folder / "x.npy").exists())

    def test_ids_outside_the_vocabulary_are_refused(self):
        ids = self.folder / "ids.json"
        ids.write_text("[1, 2, 99999]")
        done = skvis("logits", "--model", TINY, "--ids", str(ids), "--out",
                     str(self.folder / "x.npy"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("99999", done.stderr)
        self.assertIn("4096", done.stderr)


class Run(unittest.TestCase):
    def test_greedy_continuation_is_the_golden_one(self):
        for golden in json.loads((ROOT / "models" / "tiny" / "greedy.json").read_text()):
            done = skvis("run", "--model", TINY, "--raw", "--temperature", "0", "-n",
                         str(len(golden["ids"])), "--kv", "full", "-p", golden["prompt"])
            expected = golden["text"].replace("<|im_end|>", "")
            self.assertEqual(done.stdout, expected + "\n")
            self.assertRegex(done.stderr, r"KV under 'full': .* held in .* of pages, full cache")

    def test_a_conversation_looks_facts_up_over_its_turns(self):
        lines = "The secret code of Emma is 4832.\nWhat is the secret code of Emma?\n"
        done = skvis("run", "--model", TINY, "-i", "--temperature", "0", "-n", "40", stdin=lines)
        self.assertEqual(done.stderr.count("[prompt"), 2)
        self.assertIn("reused", done.stderr)

    def test_a_full_context_stops_the_conversation_with_an_error(self):
        lines = "".join(f"Tell me about the number {i}, please, at great length.\n"
                        for i in range(40))
        done = skvis("run", "--model", TINY, "-i", "--ctx-size", "256", "-n", "32",
                     "--temperature", "0", stdin=lines, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("context of 256 tokens is full", done.stderr)

    def test_forgetting_the_oldest_turns_goes_on(self):
        lines = "".join(f"Tell me about the number {i}, please, at great length.\n"
                        for i in range(12))
        done = skvis("run", "--model", TINY, "-i", "--ctx-size", "256", "-n", "32",
                     "--temperature", "0", "--ctx-overflow", "forget", stdin=lines)
        self.assertIn("forgetting the oldest turn", done.stderr)
        self.assertEqual(done.stderr.count("[prompt"), 12)

    def test_compressed_caches_hold_fewer_bytes(self):
        text = (ROOT / "README.md").read_text()[:3000]
        held = {}
        for plan in ("full", "int8", "int4", "int8 snapkv:0.5 settle=128"):
            done = skvis("run", "--model", TINY, "--raw", "-n", "4", "--kv", plan, "-p", text)
            line = done.stderr.split("KV under ")[1]
            value, unit = line.split("': ")[1].split()[:2]
            held[plan] = float(value) * {"B": 1, "KiB": 1024, "MiB": 1 << 20}[unit]
        self.assertLess(held["int8"], 0.75 * held["full"])
        self.assertLess(held["int4"], 0.6 * held["full"])
        self.assertLess(held["int8 snapkv:0.5 settle=128"], 0.85 * held["int8"])


class Words(unittest.TestCase):
    def test_tokenize_and_back(self):
        text = "Naïve café — “quotes” 🙂"
        ids = json.loads(skvis("tokenize", "--model", TINY, "--ids", text).stdout)
        back = skvis("detokenize", "--model", TINY, *map(str, ids)).stdout
        self.assertEqual(back, text + "\n")

    def test_version_names_the_kernels(self):
        self.assertRegex(skvis("--version").stdout, r"skvis \d+\.\d+\.\d+\nkernels: \w+")

    def test_help_has_examples_everywhere(self):
        for command in (["run"], ["serve"], ["plan"], ["logits"], ["tokenize"], ["detokenize"],
                        ["model", "info"], ["model", "random"], ["bench", "attention"],
                         ["bench", "dense"], ["bench", "decode"], ["bench", "select"], ["bench", "split"],
                         ["bench", "paging"], ["bench", "grammar"], ["grammar"], ["eval", "kept"], ["calibrate", "budget"],
                         ["calibrate", "duo"], ["calibrate", "entropy"]):
            self.assertIn("Example", skvis(*command, "--help").stdout, command)

    def test_plan_shows_bytes_beside_the_full_cache(self):
        plan = json.loads(skvis("plan", "int8", "--model", TINY, "--tokens", "1024",
                                "--json").stdout)
        self.assertEqual(plan["bytes"]["full_cache"], 1024 * 6144)
        self.assertLess(plan["bytes"]["settled"], 0.55 * plan["bytes"]["full_cache"])
        self.assertIn("int8", skvis("plan", "int8", "--model", TINY).stdout)

    def test_head_scores_become_plans_that_show_what_they_keep(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        text = folder / "text.txt"
        text.write_text((ROOT / "README.md").read_text())
        for what, budget in (("duo", "classes"), ("entropy", "entropy")):
            out = str(folder / f"{what}.json")
            done = skvis("calibrate", what, "--model", TINY, "--text", str(text), "--samples", "2",
                         "--tokens", "200", "--out", out)
            self.assertIn("rank correlation", done.stdout)
            self.assertIn(f"budget {budget}", skvis("plan", out, "--model", TINY).stdout)
            shown = skvis("bench", "paging", "--model", TINY, "--kv", out, "--tokens", "512").stdout
            self.assertIn("8 heads a group, sorted globally", shown)

    def test_shapes_that_are_none_are_refused(self):
        for shape in ("16", "0x8", "16x", "16x8x2", "99999x1"):
            done = skvis("bench", "paging", "--model", TINY, "--kv", "full", "--shape", shape,
                         check=False)
            self.assertIn("16x8", done.stderr)
            self.assertEqual(done.returncode, 1)

    def test_model_info(self):
        self.assertIn("6144 bytes per token", skvis("model", "info", TINY).stdout)


class Grammars(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.schema = self.write("schema.json", json.dumps({
            "type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer", "minimum": 3,
                                                                             "maximum": 12}},
            "required": ["name", "n"]}))

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def test_random_texts_fit_and_repeat(self):
        lines = skvis("grammar", "--schema", self.schema, "--emit", "50", "--quote").stdout.splitlines()
        self.assertEqual(len(lines), 50)
        for line in lines:
            text = json.loads(line)
            document = json.loads(text)
            self.assertEqual(list(document), ["name", "n"])
            self.assertTrue(3 <= document["n"] <= 12)
            self.assertIn("fits", skvis("grammar", "--schema", self.schema, "--check",
                                        self.write("text", text)).stdout)
        again = skvis("grammar", "--schema", self.schema, "--emit", "1", "--seed", "49", "--quote").stdout
        self.assertEqual(again.strip(), lines[49])

    def test_texts_that_do_not_fit_show_where(self):
        for text, expected in (('{"name": "x",\n "n": 13}', "line 2, column 8"), ('{"name": "x"', "too early"),
                               ("[]", "expected '{'")):
            done = skvis("grammar", "--schema", self.schema, "--check", self.write("text", text), check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(expected, done.stderr)

    def test_other_notations(self):
        self.assertIn("shortest text: aab\n",
                      skvis("grammar", "--gbnf", self.write("g", 'root ::= "a"{2,} "b"')).stdout)
        self.assertRegex(skvis("grammar", "--regex", "[A-C]{3}", "--emit", "1").stdout, "^[A-C]{3}\n$")
        self.assertIn(skvis("grammar", "--choices", "yes,no", "--emit", "1").stdout, ("yes\n", "no\n"))
        self.assertEqual(skvis("grammar", "--json-object").stdout.splitlines()[1], "shortest text: {}")

    def test_wrong_grammars_name_the_place(self):
        for option, text, expected in (("--gbnf", 'root ::= "a"\nx ::= y', "line 2, column 7"),
                                       ("--schema", '{"not": {}}', "#/not"), ("--schema", "{", "g")):
            done = skvis("grammar", option, self.write("g", text), check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(expected, done.stderr)
        self.assertEqual(skvis("grammar", check=False).returncode, 1)


class Errors(unittest.TestCase):
    def refused(self, *arguments):
        done = skvis(*arguments, check=False)
        self.assertEqual(done.returncode, 1, arguments)
        return done.stderr

    def test_unknown_plan_keys_name_the_nearest(self):
        self.assertIn("'recent'", self.refused("plan", "int8 recnt=4", "--model", TINY))

    def test_missing_models_say_what_was_expected(self):
        self.assertIn("config.json", self.refused("run", "--model", "/nowhere", "-p", "x"))

    def test_unknown_options_and_kernels(self):
        self.refused("run", "--no-such-option")
        self.assertIn("scalar", self.refused("run", "--model", TINY, "--kernels", "mmx", "-p", "x"))

    def test_a_context_beyond_the_models_own(self):
        self.assertIn("2048", self.refused("run", "--model", TINY, "-c", "4096", "-p", "x"))

    def test_a_prompt_beyond_the_kv_memory(self):
        text = "word " * 1500
        self.assertIn("--kv-memory", self.refused("run", "--model", TINY, "--raw", "--kv-memory",
                                                  "4MiB", "-p", text))

    def test_sizes_that_are_none(self):
        self.assertIn("--kv-memory", self.refused("run", "--model", TINY, "--kv-memory", "lots",
                                                  "-p", "x"))


if __name__ == "__main__":
    unittest.main()
