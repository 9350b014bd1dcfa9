#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/openapi_json.py reads docs/openapi.yaml as YAML means it, and refuses what it does not know."""
import pathlib
import sys
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "scripts"))
import openapi_json  # noqa: E402

try:
    import yaml
except ImportError:
    yaml = None


class OpenApi(unittest.TestCase):
    def test_blocks_scalars_and_folded_text(self):
        text = ('# comment\na: 1\nb:\n  - x: "y: z"\n    w: [1, "two"]\n  - plain text, with a comma\n'
                'c: >-\n  one\n  two\n"200": {"k": null}\nlast: true\n')
        self.assertEqual(openapi_json.read(text), {
            "a": 1, "b": [{"x": "y: z", "w": [1, "two"]}, "plain text, with a comma"],
            "c": "one two", "200": {"k": None}, "last": True})

    def test_what_it_does_not_know_is_refused_by_line(self):
        for text, line in (("a: 1\na: 2\n", 2), ("a: b: c\n", 1), ("a: &x 1\n", 1), ("a: [x]\n", 1),
                           ("a: text # note\n", 1), ("a:\n", 1), ("a: 1\n  b: 2\n", 2), ("a: no\n", 1),
                           ("\ta: 1\n", 1), ("a: 'x'\n", 1), ("a: |\n  x\n", 1), ("just text\n", 1)):
            with self.assertRaises(SystemExit, msg=text) as raised:
                openapi_json.read(text)
            self.assertTrue(str(raised.exception).startswith(f"line {line}:"), (text, raised.exception))

    @unittest.skipIf(yaml is None, "PyYAML is not installed")
    def test_a_yaml_parser_reads_the_same(self):
        text = (SOURCE / "docs/openapi.yaml").read_text(encoding="utf-8")
        self.assertEqual(openapi_json.read(text), yaml.safe_load(text))


if __name__ == "__main__":
    unittest.main()
