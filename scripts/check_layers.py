#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a room includes a room it may not know.

check_layers.py [REPOSITORY]

Reads scripts/layers.txt and every `#include "room/..."` under src/ and include/. A room is a folder
under src/; files directly in src/ are the room `main`; include/skvis/ is the room `skvis`. Everyone
may include base and itself.
"""
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
SOURCES = {".cpp", ".hpp", ".h", ".inc"}


def read_layers(path):
    """{room: set of rooms and single headers it may include}, and what is wrong with the table."""
    layers, problems = {}, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        room, colon, allowed = line.partition(":")
        room = room.strip()
        if not colon or not room or room in layers:
            problems.append(f"{path.name}:{number}: expected one line 'room: rooms' per room, found '{line}'")
            continue
        layers[room] = set(allowed.split())
    layers.setdefault("base", set())
    for room, allowed in layers.items():
        for name in sorted(allowed):
            if name.split("/")[0] not in layers:
                problems.append(f"{path.name}: room '{room}' may include '{name}', but there is no such room")
    return layers, problems + find_cycle(path.name, layers)


def find_cycle(name, layers):
    """Arrows point down only: one problem naming a cycle of rooms, if the table allows any."""
    state = {}

    def visit(room, trail):
        state[room] = "open"
        for target in sorted({entry.split("/")[0] for entry in layers[room]} & layers.keys()):
            if state.get(target) == "open":
                return trail[trail.index(target):] + [target]
            if target not in state:
                cycle = visit(target, trail + [target])
                if cycle:
                    return cycle
        state[room] = "done"
        return None

    for room in layers:
        cycle = None if room in state else visit(room, [room])
        if cycle:
            return [f"{name}: the table allows a cycle: {' -> '.join(cycle)}"]
    return []


def sources(root):
    """(file, room) for every source file below src/ and include/."""
    for top in ("src", "include"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                parts = path.relative_to(root / top).parts
                yield path, parts[0] if len(parts) > 1 else "main"


def check_file(path, room, layers, rooms, shown):
    """The forbidden edges of one file."""
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        to = target.split("/")[0]
        if quote == '"' and "/" not in target:
            problems.append(f'{shown}:{number}: includes "{target}"; write the path from src/ ("room/file.hpp")')
        if "/" not in target or to not in rooms:  # a library's header; what is neither does not compile
            continue
        if to in (room, "base") or to in layers[room] or target in layers[room]:
            continue
        allowed = " ".join(sorted(layers[room] | {"base"}))
        problems.append(f'{shown}:{number}: {room} may not include {to} ("{target}"); {room} may include: {allowed}')
    return problems


def check(root):
    """All problems of the repository at `root`, as lines of text."""
    layers, problems = read_layers(root / "scripts" / "layers.txt")
    files = list(sources(root))
    rooms = layers.keys() | {room for _, room in files} - {"main"}
    unlisted = set()
    for path, room in files:
        if room in layers:
            problems += check_file(path, room, layers, rooms, path.relative_to(root))
        elif room not in unlisted:
            unlisted.add(room)
            problems.append(f"{path.relative_to(root)}: room '{room}' is not listed in scripts/layers.txt")
    return problems, len(files)


def main(arguments):
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    problems, count = check(root)
    print("\n".join(problems) if problems else f"layers: {count} files, no forbidden include")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
