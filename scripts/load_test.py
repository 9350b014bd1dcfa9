#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients at once, good and bad ones, against a server of its own; ends with figures.

    scripts/load_test.py                                  # 200 clients for 60 s, models/tiny
    scripts/load_test.py --streams 20 --seconds 3 -- --kv int4    # further arguments of `skvis serve`

Each client does one thing after another, drawn by weight: streams that are read to their end, whole
answers, streams that are left at a random moment, slow readers, requests of which only a part is
sent, and bodies that are no JSON. Fails (status 1) when an accepted request ends without a finish
reason or an error, when a status is not among those expected, when KV memory is not back at the
end, when memory still grows after warm-up (runs of 30 s and more), or when SIGTERM does not end the
server with status 0. Standard library only.
"""
import argparse
import asyncio
import collections
import json
import os
import random
import re
import signal
import sys
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = {"stream": 40, "whole": 10, "leave": 25, "slow": 8, "half": 8, "malformed": 9}
PATIENCE = 120  # seconds for any one answer: more is a server that hangs
GROWTH = 0.02   # of memory after warm-up
BURST = 30      # seconds below which memory is shown and not judged


class Failure(Exception):
    """What a correct server would not have done."""


class Figures:
    def __init__(self):
        self.outcomes = collections.Counter()
        self.first = []   # seconds from sending to the first text
        self.between = []  # seconds between texts
        self.failures = []

    def fail(self, what):
        self.failures.append(what)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def request(method, path, body=b"", headers=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: load", *headers]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Client:
    """One HTTP connection."""

    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    async def head(self):
        status = int((await self.reader.readline()).split()[1])
        headers = {}
        while line := (await self.reader.readline()).strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers

    async def body(self, headers):
        return await self.reader.readexactly(int(headers["content-length"]))

    async def chunks(self):
        while True:
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size + 2)
            if size == 0:
                return
            yield data[:-2]

    async def fetch(self, path):
        self.writer.write(request("GET", path))
        status, headers = await self.head()
        return status, await self.body(headers)


def chat(rng, stream):
    words = " ".join(rng.choice(("river", "stone", "cloud", "tree")) for _ in range(rng.randint(1, 60)))
    return json.dumps({"messages": [{"role": "user", "content": words}], "stream": stream,
                       "max_tokens": rng.randint(1, 80), "temperature": rng.choice((0, 1)),
                       "seed": rng.randint(0, 99), "ignore_eos": rng.random() < 0.7}).encode()


async def take_refusal(client, status, headers, rng, figures):
    """An answer other than 200: an error as documented. The client then waits a while."""
    body = await client.body(headers)
    if status not in (429, 503):
        raise Failure(f"status {status}: {body[:200]!r}")
    if "retry-after" not in headers or "error" not in json.loads(body):
        raise Failure(f"status {status} without Retry-After or an error: {body[:200]!r}")
    figures.outcomes[f"refused with {status}"] += 1
    await asyncio.sleep(rng.uniform(0.1, int(headers["retry-after"])))


async def read_stream(client, figures, sent, pause, leave_after):
    """Reads events; `leave_after` texts the client goes away. True: the stream came to its end."""
    finish, texts, last, pending = None, 0, sent, b""
    async for data in client.chunks():
        pending += data
        *events, pending = pending.split(b"\n\n")
        for event in events:
            if event.startswith(b":"):
                continue
            if event == b"data: [DONE]":
                if finish is None:
                    raise Failure("a stream ended without a finish reason")
                return True
            data = json.loads(event.removeprefix(b"data: "))
            if "error" in data:
                return True
            choice = data["choices"][0]
            finish = choice["finish_reason"] or finish
            if not choice["delta"].get("content"):
                continue
            now = time.monotonic()
            if pause == 0:
                (figures.first if texts == 0 else figures.between).append(now - last)
            last = now
            texts += 1
            if texts == leave_after:
                return False
        if pause:
            await asyncio.sleep(pause)
    raise Failure("a stream ended without [DONE] and without an error")


async def run_stream(client, rng, figures, kind):
    sent = time.monotonic()
    client.writer.write(request("POST", "/v1/chat/completions", chat(rng, True)))
    status, headers = await client.head()
    if status != 200:
        return await take_refusal(client, status, headers, rng, figures)
    pause = rng.uniform(0.01, 0.1) if kind == "slow" else 0
    leave_after = rng.randint(1, 20) if kind == "leave" else 0
    ended = await read_stream(client, figures, sent, pause, leave_after)
    figures.outcomes["stream ended" if ended else "stream left"] += 1


async def run_whole(client, rng, figures):
    client.writer.write(request("POST", "/v1/chat/completions", chat(rng, False)))
    status, headers = await client.head()
    if status != 200:
        return await take_refusal(client, status, headers, rng, figures)
    if json.loads(await client.body(headers))["choices"][0]["finish_reason"] not in ("stop", "length"):
        raise Failure("an answer without a finish reason")
    figures.outcomes["whole answer"] += 1


async def run_half(client, rng, figures):
    whole = request("POST", "/v1/chat/completions", chat(rng, True))
    client.writer.write(whole[:rng.randint(1, len(whole) - 1)])
    await asyncio.sleep(rng.uniform(0, 0.3))
    figures.outcomes["left half-way through a request"] += 1


async def run_malformed(client, rng, figures):
    body = rng.choice((b"{", b"[" * 5000, b"\xff\xfe", b'{"messages": 5}', b'{"messages": []}',
                       json.dumps({"messages": [{"role": "user", "content": "x"}],
                                   "max_tokens": -1}).encode()))
    client.writer.write(request("POST", "/v1/chat/completions", body))
    status, headers = await client.head()
    answer = await client.body(headers)
    if status != 400 or "error" not in json.loads(answer):
        raise Failure(f"status {status} to the body {body[:40]!r}: {answer[:200]!r}")
    figures.outcomes["malformed, refused with 400"] += 1


async def act(port, rng, figures):
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    async with Client(port) as client:
        if kind == "whole":
            await run_whole(client, rng, figures)
        elif kind == "half":
            await run_half(client, rng, figures)
        elif kind == "malformed":
            await run_malformed(client, rng, figures)
        else:
            await run_stream(client, rng, figures, kind)


async def client_loop(port, rng, figures, end):
    await asyncio.sleep(rng.uniform(0, 0.5))
    while time.monotonic() < end:
        try:
            await asyncio.wait_for(act(port, rng, figures), PATIENCE)
        except (Failure, OSError, EOFError, ValueError, IndexError, KeyError) as problem:
            figures.fail(f"{type(problem).__name__}: {problem}")
        except asyncio.TimeoutError:
            figures.fail(f"no end within {PATIENCE} s")
        await asyncio.sleep(rng.uniform(0, 0.05))


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) * 1024


async def watch_memory(pid, end):
    samples = []
    while time.monotonic() < end:
        samples.append(resident(pid))
        await asyncio.sleep(0.25)
    return samples


def metric(text, name):
    found = re.search("^" + re.escape(name) + r" (\S+)$", text, re.MULTILINE)
    if not found:
        raise Failure(f"/metrics lacks {name}")
    return float(found[1])


async def settled_metrics(port, figures):
    """What /metrics says once nothing runs; fails when that does not come about."""
    for _ in range(200):
        async with Client(port) as client:
            text = (await client.fetch("/metrics"))[1].decode()
        if metric(text, "skvis:num_requests_running") + metric(text, "skvis:num_requests_waiting") == 0:
            break
        await asyncio.sleep(0.1)
    else:
        figures.fail("requests still run or wait 20 s after the last client left")
    held = sum(metric(text, f'skvis:kv_bytes{{state="{state}"}}') for state in ("used", "wasted"))
    idle = metric(text, "skvis:kv_idle_bytes")
    reserved = metric(text, 'skvis:kv_bytes{state="reserved"}')
    if held != idle or reserved != 0:
        figures.fail(f"KV memory did not come back: {held:.0f} bytes held, {idle:.0f} of them by kept "
                     f"conversations, {reserved:.0f} reserved")
    if failed := metric(text, 'skvis:requests_total{outcome="failed"}'):
        figures.fail(f"{failed:.0f} requests failed in the engine")
    return text


async def start_server(arguments):
    process = await asyncio.create_subprocess_exec(
        arguments.binary, "serve", "--model", arguments.model, "--port", "0", "--parallel",
        str(arguments.parallel), "--queue", str(arguments.queue), "--max-connections", "1024",
        "--kv-memory", arguments.kv_memory, *arguments.serve, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    while line := await process.stderr.readline():
        if found := re.search(rb"serving .* at http://127\.0\.0\.1:(\d+)", line):
            return process, int(found[1])
        sys.stderr.buffer.write(line)
    raise SystemExit(f"load test: the server did not start (status {await process.wait()})")


async def drop(stream):
    while await stream.read(1 << 16):
        pass


async def stop_server(process, figures):
    process.send_signal(signal.SIGTERM)
    try:
        status = await asyncio.wait_for(process.wait(), 30)
    except asyncio.TimeoutError:
        process.kill()
        return figures.fail("the server did not end within 30 s of SIGTERM")
    if status != 0:
        figures.fail(f"the server ended with status {status}")
    return None


def judge_memory(samples, seconds, figures):
    third, sixth = len(samples) // 3, max(1, len(samples) // 6)
    before = percentile(samples[third:third + sixth], 0.5)
    after = percentile(samples[-sixth:], 0.5)
    growth = after / before - 1
    judged = seconds >= BURST
    print(f"memory       {before / 2**20:.1f} MiB after warm-up, {after / 2**20:.1f} MiB at the end, "
          f"{growth:+.2%}{'' if judged else ' (too short to be judged)'}")
    if judged and growth > GROWTH:
        figures.fail(f"memory grew by {growth:.2%} after warm-up, expected at most {GROWTH:.0%}")


def report(figures, metrics_text, seconds):
    for outcome, count in sorted(figures.outcomes.items()):
        print(f"{count:8d}     {outcome}")
    for name, values in (("TTFT", figures.first), ("between", figures.between)):
        print(f"{name:12s} p50 {percentile(values, 0.5) * 1e3:.1f} ms, "
              f"p99 {percentile(values, 0.99) * 1e3:.1f} ms ({len(values)} values)")
    tokens = metric(metrics_text, "skvis:generation_tokens_total")
    print(f"generated    {tokens:.0f} tokens, {tokens / seconds:.0f} a second")


async def drive(arguments, process, port, figures):
    """The whole run; prints the figures."""
    log = asyncio.create_task(drop(process.stderr))
    begin = time.monotonic()
    end = begin + arguments.seconds
    clients = [client_loop(port, random.Random(f"{arguments.seed}/{i}"), figures, end)
               for i in range(arguments.streams)]
    samples, *_ = await asyncio.gather(watch_memory(process.pid, end), *clients)
    seconds = time.monotonic() - begin
    text = await settled_metrics(port, figures)
    await stop_server(process, figures)
    await log
    report(figures, text, seconds)
    judge_memory(samples, arguments.seconds, figures)


async def main(arguments):
    figures = Figures()
    process, port = await start_server(arguments)
    try:
        await drive(arguments, process, port, figures)
    except (Failure, OSError, EOFError, ValueError, IndexError) as problem:
        figures.fail(f"{type(problem).__name__}: {problem}")
    finally:
        if process.returncode is None:
            process.kill()
    for what, count in collections.Counter(figures.failures).most_common(20):
        print(f"FAILED       {what} ({count} times)")
    print(f"{arguments.streams} clients, {arguments.seconds:g} s, "
          f"{sum(figures.outcomes.values())} requests, {len(figures.failures)} failures")
    return 1 if figures.failures or not figures.outcomes else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(SOURCE, "build", "skvis"))
    parser.add_argument("--model", default=os.path.join(SOURCE, "models", "tiny"))
    parser.add_argument("--streams", type=int, default=200, help="clients at once (200)")
    parser.add_argument("--seconds", type=float, default=60, help="how long they come (60)")
    parser.add_argument("--parallel", type=int, default=32, help="as in `skvis serve` (32)")
    parser.add_argument("--queue", type=int, default=128, help="as in `skvis serve` (128)")
    # Kept conversations fill it, and only then can memory stand still.
    parser.add_argument("--kv-memory", default="64MiB", help="as in `skvis serve` (64MiB)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("serve", nargs="*", help="further arguments of `skvis serve`, after --")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
