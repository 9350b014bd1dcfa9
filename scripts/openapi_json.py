#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns docs/openapi.yaml into JSON, with Python's standard library alone.

    scripts/openapi_json.py docs/openapi.yaml             # JSON to standard output
    scripts/openapi_json.py --cpp VERSION YAML SOURCE     # a C++ source that holds it

It reads the part of YAML that the file keeps to, and refuses anything else by line: mappings and
sequences by indentation, JSON on one line ("[a]", "{}", numbers, quoted strings), plain scalars,
blocks of folded text ("key: >-"), and comments on lines of their own. Where PyYAML is installed,
tests/scripts/openapi_test.py checks that both read the same.
"""
import json
import re
import sys

KEY = re.compile(r'^("(?:[^"\\]|\\.)*"|[A-Za-z0-9_/$][A-Za-z0-9_/{}$.-]*):(?: +(.*))?$')
NUMBER = re.compile(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$")


class Reader:
    def __init__(self, text):
        self.lines = []  # (number, indentation, text)
        for number, line in enumerate(text.splitlines(), 1):
            body = line.strip()
            if not body or body.startswith("#"):
                continue
            if "\t" in line:
                self.fail(number, "a tab; indent with spaces")
            self.lines.append((number, len(line) - len(line.lstrip()), body))
        self.at = 0

    @staticmethod
    def fail(number, what):
        raise SystemExit(f"line {number}: {what}")

    def peek(self):
        return self.lines[self.at] if self.at < len(self.lines) else (0, -1, "")

    def block(self, indent):
        """The mapping or sequence whose lines stand at `indent`."""
        if self.peek()[2].startswith("- "):
            return self.sequence(indent)
        return self.mapping(indent)

    def mapping(self, indent):
        found = {}
        while self.peek()[1] == indent and not self.peek()[2].startswith("- "):
            number, _, text = self.peek()
            match = KEY.match(text)
            if not match:
                self.fail(number, f"expected 'key: value', found {text!r}")
            key = json.loads(match[1]) if match[1].startswith('"') else match[1]
            if key in found:
                self.fail(number, f"the key {key!r} stands here twice")
            self.at += 1
            found[key] = self.value(number, indent, match[2])
        if self.peek()[1] > indent:
            self.fail(self.peek()[0], "indented deeper than what it belongs to")
        return found

    def sequence(self, indent):
        found = []
        while self.peek()[1] == indent and self.peek()[2].startswith("- "):
            number, _, text = self.peek()
            item = text[2:].lstrip()
            if KEY.match(item):  # a mapping that begins behind the dash
                inner = indent + len(text) - len(item)
                self.lines[self.at] = (number, inner, item)
                found.append(self.mapping(inner))
            else:
                self.at += 1
                found.append(self.scalar(number, item))
        return found

    def value(self, number, indent, text):
        if text == ">-":
            return self.folded(number, indent)
        if text is not None:
            return self.scalar(number, text)
        if self.peek()[1] <= indent:
            self.fail(number, "a key without a value")
        return self.block(self.peek()[1])

    def folded(self, number, indent):
        words = []
        while self.peek()[1] > indent:
            words.append(self.peek()[2])
            self.at += 1
        if not words:
            self.fail(number, "a block of text without lines")
        return " ".join(words)

    def scalar(self, number, text):
        if text in ("true", "false", "null") or NUMBER.match(text) or text[0] in '["{':
            try:
                return json.loads(text)
            except ValueError:
                self.fail(number, f"expected JSON, found {text!r}")
        if text[0] in "'>|&*!%@`?-" or ": " in text or " #" in text or text.endswith(":"):
            self.fail(number, f"put double quotes around {text!r}")
        if text.lower() in ("yes", "no", "on", "off", "y", "n", "~"):
            self.fail(number, f"{text!r} means different things to different readers; quote it")
        return text


def read(text):
    reader = Reader(text)
    document = reader.block(0)
    if reader.at < len(reader.lines):
        reader.fail(reader.peek()[0], "belongs to nothing above it")
    return document


def cpp_source(document):
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    # Compilers limit the length of one literal; those that follow each other are joined.
    pieces = [text[i:i + 8000] for i in range(0, len(text), 8000)]
    literals = "\n".join(f'    R"openapi({piece})openapi"' for piece in pieces)
    return ("// Generated from docs/openapi.yaml by scripts/openapi_json.py.\n"
            '#include "server/openapi.hpp"\n\nnamespace skvis {\n\n'
            f"std::string_view openapi_json() {{\n  return\n{literals};\n}}\n\n"
            "}  // namespace skvis\n")


def main(arguments):
    if len(arguments) == 4 and arguments[0] == "--cpp":
        with open(arguments[2], encoding="utf-8") as file:
            document = read(file.read())
        document["info"]["version"] = arguments[1]
        with open(arguments[3], "w", encoding="utf-8") as file:
            file.write(cpp_source(document))
    elif len(arguments) == 1:
        with open(arguments[0], encoding="utf-8") as file:
            print(json.dumps(read(file.read()), indent=2))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
