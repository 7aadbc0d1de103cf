"""Many clients at once for some minutes, and what came of it as one table.

    python load.py http://127.0.0.1:8080 --clients 32 --minutes 10 [--pid PID] [--key KEY]

Each client picks one kind of request after the other: whole answers, streams, conversations that go
on, JSON by a schema, calls of tools, raw text, and streams that it leaves in the middle. A status 429
is waited out, as it says, and counted beside the errors, of which there should be none. With --pid
(Linux), the table has the memory of the server over time.
"""

import argparse
import collections
import http.client
import json
import random
import threading
import time
import urllib.parse

SCHEMA = {
    "type": "object",
    "properties": {"yes": {"type": "boolean"}, "n": {"enum": [1, 2, 3]}},
    "required": ["yes", "n"],
    "additionalProperties": False,
}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
KINDS = ["whole", "stream", "talk", "schema", "tools", "text", "leave"]


class Load:
    """The state that all clients share."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.address = urllib.parse.urlparse(arguments.url)
        self.lock = threading.Lock()
        self.seconds = collections.defaultdict(list)
        self.errors = collections.Counter()
        self.later = 0
        self.tokens = collections.Counter()
        self.end = time.monotonic() + arguments.minutes * 60

    def count(self, usage):
        with self.lock:
            self.tokens["prompt"] += usage["prompt_tokens"]
            self.tokens["cached"] += usage["prompt_tokens_details"]["cached_tokens"]
            self.tokens["completion"] += usage["completion_tokens"]

    def post(self, path, body):
        """An open response; the caller closes the connection."""
        connection = http.client.HTTPConnection(
            self.address.hostname, self.address.port, timeout=self.arguments.timeout
        )
        headers = {"Content-Type": "application/json"}
        if self.arguments.key:
            headers["Authorization"] = f"Bearer {self.arguments.key}"
        connection.request("POST", path, json.dumps(body), headers)
        return connection, connection.getresponse()


class Later(Exception):
    """The server asks to come back in so many seconds."""


def whole(load, path, body):
    connection, response = load.post(path, body)
    try:
        text = response.read()
        check(response, text)
        answer = json.loads(text)
        load.count(answer["usage"])
        return answer
    finally:
        connection.close()


def check(response, text):
    if response.status == 429:
        raise Later(response.headers["Retry-After"])
    if response.status != 200:
        raise ValueError(f"status {response.status}: {text[:120]!r}")


def stream(load, path, body, leave_after=None):
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    connection, response = load.post(path, body)
    try:
        if response.status != 200:
            check(response, response.read())
        last = None
        for count, line in enumerate(response):
            if leave_after is not None and count > leave_after:
                return
            if line.startswith(b"data: "):
                last = line[6:].strip()
                if last != b"[DONE]":
                    value = json.loads(last)
                    if "error" in value:
                        raise ValueError(f"error in a stream: {value['error']['message'][:120]}")
                    if value.get("usage"):
                        load.count(value["usage"])
        if last != b"[DONE]":
            raise ValueError("a stream without an end")
    finally:
        connection.close()


def once(load, kind, chance, talk):
    chat, words = "/v1/chat/completions", "tell me more " * chance.randrange(1, 30)
    body = {
        "messages": [{"role": "user", "content": words}],
        "seed": chance.randrange(1 << 30),
        "max_tokens": chance.randrange(1, load.arguments.tokens),
    }
    if kind == "whole":
        whole(load, chat, body)
    elif kind == "stream":
        stream(load, chat, body)
    elif kind == "leave":
        stream(load, chat, {**body, "max_tokens": 10 * load.arguments.tokens}, chance.randrange(8))
    elif kind == "text":
        whole(load, "/v1/completions", {"prompt": words, "max_tokens": body["max_tokens"]})
    elif kind == "schema":
        named = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        whole(load, chat, {**body, "response_format": named})
    elif kind == "tools":
        whole(load, chat, {**body, "tools": TOOLS, "tool_choice": "required"})
    elif kind == "talk":
        if len(talk) > 7:
            talk.clear()
        asked = [*talk, {"role": "user", "content": words}]
        answer = whole(load, chat, {**body, "messages": asked})
        said = answer["choices"][0]["message"]["content"]
        talk[:] = [*asked, {"role": "assistant", "content": said}]


def client(load, number):
    chance, talk = random.Random(number), []
    while time.monotonic() < load.end:
        kind, begun = chance.choice(KINDS), time.monotonic()
        try:
            once(load, kind, chance, talk)
        except Later as later:
            with load.lock:
                load.later += 1
            time.sleep(min(float(str(later)), 5) * chance.random())
        except Exception as error:  # whatever it is, it is counted by its kind
            with load.lock:
                load.errors[f"{kind}: {type(error).__name__}: {error}"[:160]] += 1
            time.sleep(0.2)
        else:
            with load.lock:
                load.seconds[kind].append(time.monotonic() - begun)


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def table(load, seconds, memory):
    print(f"{'kind':10} {'answers':>8} {'median s':>9} {'p99 s':>9} {'most s':>9}")
    for kind in KINDS:
        times = sorted(load.seconds[kind]) or [0.0]
        at = [times[len(times) // 2], times[len(times) * 99 // 100], times[-1]]
        print(f"{kind:10} {len(load.seconds[kind]):8} " + " ".join(f"{value:9.3f}" for value in at))
    rates = ", ".join(f"{name} {count / seconds:.1f}" for name, count in load.tokens.items())
    print(f"{'tokens/s':10} {rates}")
    print(f"{'later':10} {load.later} times status 429")
    print(f"{'errors':10} {sum(load.errors.values())}")
    for error, count in load.errors.most_common(10):
        print(f"{'':10} {count} x {error}")
    if memory:
        shown = memory[:: max(1, len(memory) // 10)]
        values = " ".join(f"{value:.0f}" for value in [*shown, memory[-1]])
        print(f"{'RSS MiB':10} {values}; growth after the first tenth "
              f"{memory[-1] - memory[len(memory) // 10]:+.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of an answer")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one response")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--key")
    load = Load(parser.parse_args())
    begun, memory = time.monotonic(), []
    threads = [
        threading.Thread(target=client, args=(load, number), daemon=True)
        for number in range(load.arguments.clients)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if load.arguments.pid:
            memory.append(resident(load.arguments.pid))
        time.sleep(min(1.0, load.arguments.minutes * 3))
    table(load, time.monotonic() - begun, memory)
    return 1 if load.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
