#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random JSON schemas against the Python package jsonschema: what Skvis writes under them must validate.

check_json_schemas.py [--skvis build/skvis] [--schemas 200] [--texts 20] [--seed 1]

Draws schemas from all keywords that Skvis supports, asks `skvis grammar` for random texts under each
and validates them. A schema that Skvis refuses must be refused for a reason that is expected here.
Needs `pip install jsonschema`. Exit code 1 at the first document that does not validate.
"""
import argparse
import json
import random
import subprocess
import sys
import tempfile

import jsonschema

WORDS = ["a", "ab", "name", "x y", "é", "q\"uote", "back\\slash", "tab\t", "list", "0"]
PATTERNS = ["^[a-c]{2,4}$", "^\\d{3}-\\w+$", "x", "^a|b$", "^(foo|ba[rz])+$", "^[^\\s,]*$", "\\.(txt|md)$",
            "^.{1,5}$", "^\\S+\\D?$", "\"|\\\\"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "hostname", "duration"]
# Refusals that random schemas run into: they ask for the impossible, or for what is documented as refused.
EXPECTED = ("no text can match", "cannot be merged exactly", "beside 'enum' or 'const'", "only one of 'pattern'",
            "15 digits", "digits together")


class Schemas:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *values):
        return self.random.choice(values)

    def maybe(self, chance=0.5):
        return self.random.random() < chance

    def value(self, depth):
        kind = self.random.randrange(5 if depth == 0 else 7)
        if kind == 5:
            return [self.value(depth - 1) for _ in range(self.random.randrange(3))]
        if kind == 6:
            return {self.pick(*WORDS): self.value(depth - 1) for _ in range(self.random.randrange(3))}
        return [None, self.maybe(), self.random.randrange(-50, 50), self.pick(*WORDS), 1.5][kind]

    def string(self):
        kind = self.random.randrange(4)
        if kind == 0:
            return {"type": "string"}
        if kind == 1:
            low = self.random.randrange(4)
            return {"type": "string", "minLength": low, "maxLength": low + self.random.randrange(6)}
        return {"type": "string", "pattern": self.pick(*PATTERNS)} if kind == 2 else {"type": "string", "format": self.pick(*FORMATS)}

    def number(self, kind):
        schema = {"type": kind}
        scale = self.pick(1, 10, 1000, 10**6)
        draw = (lambda: self.random.randrange(-scale, scale + 1)) if kind == "integer" or self.maybe() else (
            lambda: round(self.random.uniform(-scale, scale), self.random.randrange(6)))
        low, high = sorted([draw(), draw()])
        if self.maybe(0.7):
            schema[self.pick("minimum", "exclusiveMinimum")] = low
        if self.maybe(0.7):
            schema[self.pick("maximum", "exclusiveMaximum")] = high
        return schema

    def array(self, depth):
        schema = {"type": "array"}
        if self.maybe(0.8):
            schema["items"] = self.schema(depth - 1) if self.maybe(0.9) else self.maybe()
        if self.maybe(0.3):
            schema["prefixItems"] = [self.schema(depth - 1) for _ in range(1 + self.random.randrange(3))]
        if self.maybe(0.4):
            schema["minItems"] = self.random.randrange(4)
        if self.maybe(0.4):
            schema["maxItems"] = schema.get("minItems", 0) + self.random.randrange(4)
        return schema

    def object(self, depth):
        schema = {"type": "object"}
        names = self.random.sample(WORDS, self.random.randrange(5))
        if names:
            schema["properties"] = {name: self.schema(depth - 1) for name in names}
            schema["required"] = [name for name in names if self.maybe()]
        if self.maybe(0.4):
            schema["additionalProperties"] = self.pick(True, False, self.schema(depth - 1))
            if schema["additionalProperties"] is not False and self.maybe(0.3):
                schema.setdefault("required", []).append("needed")
        return schema

    def schema(self, depth):
        kind = self.random.randrange(7 if depth <= 0 else 14)
        if kind == 0:
            return {"type": self.pick("null", "boolean")}
        if kind == 1:
            return self.string()
        if kind == 2:
            return self.number("integer")
        if kind == 3:
            return self.number("number")
        if kind == 4:
            return {"enum": [self.value(1) for _ in range(1 + self.random.randrange(4))]}
        if kind == 5:
            return {"const": self.value(1)}
        if kind == 6:
            return self.pick({}, True, {"type": ["string", "null"], "maxLength": 3}, {"$ref": "#/$defs/tree"},
                             {"$ref": "#/$defs/short"}, {"title": "any", "default": 3})
        if kind == 7:
            return {"anyOf": [self.schema(depth - 1) for _ in range(1 + self.random.randrange(3))]}
        if kind == 8:  # disjoint, as oneOf is written as anyOf
            return {"oneOf": [{"type": "null"}, {"type": "boolean"}, self.array(depth)]}
        if kind == 9:
            parts = [self.object(depth - 1) for _ in range(2)]
            for part in parts:
                if part.get("additionalProperties") is not True:
                    part.pop("additionalProperties", None)
                    part["required"] = [name for name in part.get("required", []) if name != "needed"]
            return {"allOf": parts}
        return self.array(depth) if kind < 12 else self.object(depth)

    def document(self):
        root = self.schema(3)
        root = dict(root) if isinstance(root, dict) else {"anyOf": [root]}
        root["$defs"] = {"short": {"type": "string", "maxLength": 2},
                         "tree": {"type": "object", "properties": {"v": self.number("integer"),
                                                                   "sub": {"type": "array", "maxItems": 2,
                                                                           "items": {"$ref": "#/$defs/tree"}}},
                                  "required": ["v"], "additionalProperties": False}}
        return root


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--skvis", default="build/skvis")
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    documents = refused = 0
    for i in range(options.schemas):
        schema = Schemas(options.seed + i).document()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(schema, file)
            file.flush()
            done = subprocess.run([options.skvis, "grammar", "--schema", file.name, "--quote", "--seed", str(i),
                                   "--emit", str(options.texts)], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            if not any(reason in done.stderr for reason in EXPECTED):
                print(f"{json.dumps(schema)}\nrefused: {done.stderr}")
                return 1
            refused += 1
            continue
        validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
        for line in done.stdout.splitlines():
            text = json.loads(line)
            try:
                validator.validate(json.loads(text))
            except (ValueError, jsonschema.ValidationError) as problem:
                print(f"{json.dumps(schema)}\n{text}\n{problem}")
                return 1
            documents += 1
    print(f"{options.schemas} schemas, {refused} refused as expected, {documents} documents, all valid")
    return 0 if documents > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
