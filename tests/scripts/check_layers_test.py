# SPDX-License-Identifier: Apache-2.0
"""check_layers.py on small made-up trees: which include is forbidden, and what the message says."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import check_layers  # noqa: E402

LAYERS = """# a comment
kv:
plan: kv codecs/codec.hpp
codecs: kv
main: plan
"""


class CheckLayers(unittest.TestCase):
    def check(self, files, layers=LAYERS):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in {"scripts/layers.txt": layers, **files}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            return check_layers.check(root)[0]

    def test_allowed_rooms_own_room_base_and_system_headers_pass(self):
        text = '#include <vector>\n#include "base/x.hpp"\n#include "codecs/own.hpp"\n#include "kv/x.hpp"\n'
        self.assertEqual(self.check({"src/codecs/a.cpp": text, "src/codecs/deep/b.hpp": text}), [])

    def test_upward_include_names_place_rooms_and_what_is_allowed(self):
        (problem,) = self.check({"src/kv/a.hpp": '#pragma once\n#include "plan/plan.hpp"\n'})
        self.assertTrue(problem.startswith("src/kv/a.hpp:2: kv may not include plan"), problem)
        self.assertIn("kv may include: base", problem)

    def test_base_may_include_no_room(self):
        self.assertEqual(len(self.check({"src/base/a.hpp": '#include "kv/x.hpp"\n'})), 1)

    def test_only_the_listed_header_of_a_room_is_allowed(self):
        files = {"src/plan/a.cpp": '#include "codecs/codec.hpp"\n#include "codecs/int4.hpp"\n'}
        (problem,) = self.check(files)
        self.assertIn("src/plan/a.cpp:2", problem)

    def test_angle_brackets_and_spaces_hide_nothing(self):
        self.assertEqual(len(self.check({"src/kv/a.hpp": "  #  include <plan/plan.hpp>\n"})), 1)

    def test_include_in_a_comment_is_no_include(self):
        self.assertEqual(self.check({"src/kv/a.hpp": '// #include "plan/plan.hpp"\n'}), [])

    def test_path_relative_to_the_file_is_refused(self):
        (problem,) = self.check({"src/kv/a.hpp": '#include "b.hpp"\n'})
        self.assertIn("write the path from src/", problem)

    def test_header_of_a_library_is_allowed_in_quotes_too(self):
        self.assertEqual(self.check({"src/kv/a.hpp": '#include "hwy/highway.h"\n'}), [])

    def test_room_that_is_not_listed_is_reported_once(self):
        problems = self.check({"src/new/a.cpp": "", "src/new/b.cpp": ""})
        self.assertEqual(len(problems), 1)
        self.assertIn("room 'new' is not listed", problems[0])

    def test_files_directly_in_src_are_the_room_main(self):
        self.assertEqual(self.check({"src/main.cpp": '#include "plan/plan.hpp"\n'}), [])
        self.assertEqual(len(self.check({"src/main.cpp": '#include "kv/x.hpp"\n'})), 1)

    def test_public_headers_are_walked_too(self):
        problems = self.check({"include/skvis/engine.hpp": ""})
        self.assertIn("room 'skvis' is not listed", problems[0])

    def test_table_with_a_cycle_is_refused(self):
        (problem,) = self.check({}, layers="kv: codecs\ncodecs: plan\nplan: kv\n")
        self.assertIn("kv -> codecs -> plan -> kv", problem)

    def test_table_with_an_unknown_room_or_a_line_without_colon_is_refused(self):
        problems = self.check({}, layers="kv: nowhere\nplan kv\n")
        self.assertEqual(len(problems), 2)


if __name__ == "__main__":
    unittest.main()
