#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/load_test.py in small: a few clients for a few seconds, and that it can fail."""
import os
import pathlib
import re
import stat
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SKVIS_BINARY", str(SOURCE / "build/skvis"))


def run(*arguments, binary=BINARY):
    return subprocess.run([sys.executable, SOURCE / "scripts/load_test.py", "--binary", binary, *arguments],
                          capture_output=True, text=True, timeout=240, check=False)


class LoadTest(unittest.TestCase):
    def test_every_client_gets_an_end(self):
        result = run("--streams", "16", "--seconds", "4", "--parallel", "4", "--queue", "4",
                     "--kv-memory", "32MiB",
                     "--", "--threads", "1")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        requests = re.search(r"16 clients, .* (\d+) requests, 0 failures", result.stdout)
        self.assertIsNotNone(requests, result.stdout)
        self.assertGreater(int(requests[1]), 16)
        self.assertRegex(result.stdout, r"TTFT +p50 [\d.]+ ms, p99 [\d.]+ ms")

    def test_a_server_that_answers_wrongly_fails(self):
        # Answers everything with 200 and no body, and says that it is the server.
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "wrong"
            path.write_text(f"""#!{sys.executable}
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST = answer
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"serving wrong at http://127.0.0.1:{{server.server_address[1]}}", file=sys.stderr, flush=True)
server.serve_forever()
""", encoding="utf-8")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
            result = run("--streams", "4", "--seconds", "1", binary=str(path))
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn("FAILED ", result.stdout)


if __name__ == "__main__":
    unittest.main()
