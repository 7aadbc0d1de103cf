"""A scripted conversation of OpenAI's own client with the server.

    python openai_client.py PROGRAM [MODEL]

PROGRAM is the built `carat-serve`, MODEL a GGUF file with its projector beside it. Without one, the
kit with random weights is used: then only the form of answers is looked at, since they make no sense.
"""

import base64
import json
import pathlib
import subprocess
import sys
import time
import urllib.request

import openai
import pydantic

KIT = pathlib.Path(__file__).parents[3] / "crates/model/tests/data/tiny-s"
TRIES = 40  # seeds, where a random model must happen to do something


class Weather(pydantic.BaseModel):
    """What a structured answer holds."""

    rainy: bool
    wind: int


def tool(name, parameter):
    properties = {parameter: {"type": "string", "maxLength": 8}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": [parameter],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("weather", "city"), tool("clock", "zone")]


class Server:
    """The program on a free port."""

    def __init__(self, program, model, *arguments):
        command = [program, model, "--port", "0", "--slots", "2", "--api-key", "secret", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.said = ""
        self.address = None
        for line in self.process.stderr:
            self.said += line
            if "listening on " in line:
                self.address = line.split("listening on ")[1].strip()
                break
        if self.address is None:
            sys.exit(f"the server did not start: {self.said}")

    def client(self, key="secret"):
        return openai.OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=300)

    def metric(self, name):
        request = urllib.request.Request(f"{self.address}/metrics")
        request.add_header("Authorization", "Bearer secret")
        with urllib.request.urlopen(request, timeout=60) as response:
            lines = response.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))

    def wait_for(self, name, wanted):
        end = time.monotonic() + 60
        while self.metric(name) != wanted:
            assert time.monotonic() < end, f"{name} is {self.metric(name)}, not {wanted}"
            time.sleep(0.02)


def text(client):
    messages = [
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ]
    first = ask(client, messages, max_tokens=30)
    assert first.choices[0].message.role == "assistant"
    assert first.usage.completion_tokens <= 30
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    messages.append(first.choices[0].message.model_dump(exclude_none=True))
    messages.append({"role": "user", "content": "And at night?"})
    second = ask(client, messages, max_tokens=5)
    assert second.usage.prompt_tokens_details.cached_tokens > 0, second.usage


def ask(client, messages, **options):
    return client.chat.completions.create(model="any", messages=messages, **{"seed": 1, **options})


def stream(client):
    messages = [{"role": "user", "content": "Count to ten."}]
    whole = ask(client, messages, max_tokens=40, logprobs=True, top_logprobs=2)
    chunks = list(ask(
        client, messages, max_tokens=40, logprobs=True, top_logprobs=2, stream=True,
        stream_options={"include_usage": True},
    ))
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1])
    tokens = [t for c in chunks if c.choices and c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert tokens == whole.choices[0].logprobs.content and all(t.logprob <= 0 for t in tokens)


def url(kind, name):
    data = base64.b64encode((KIT / name).read_bytes()).decode()
    return f"data:{kind};base64,{data}"


def picture(client):
    words = {"type": "text", "text": "What is it?"}
    shown = {"type": "image_url", "image_url": {"url": url("image/png", "image.png")}}
    seen = ask(client, [{"role": "user", "content": [shown, words]}], max_tokens=5)
    blind = ask(client, [{"role": "user", "content": [words]}], max_tokens=5)
    assert seen.usage.prompt_tokens > blind.usage.prompt_tokens + 200


def sound(client):
    data = url("audio/wav", "audio.wav").split(",")[1]
    heard = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = ask(client, [{"role": "user", "content": [heard]}], max_tokens=5)
    assert answer.usage.prompt_tokens > 30
    with open(KIT / "audio.wav", "rb") as file:
        spoken = client.audio.transcriptions.create(model="any", file=file, language="English")
    assert isinstance(spoken.text, str)


def tools(client):
    """Two calls in parallel, their results, and the answer to them."""
    messages = [{"role": "user", "content": "Call the tool weather for Oslo and the tool clock for CET."}]
    for seed in range(TRIES):
        answer = ask(
            client, messages, tools=TOOLS, tool_choice="required", seed=seed, max_tokens=600
        )
        calls = answer.choices[0].message.tool_calls or []
        if len(calls) >= 2 and answer.choices[0].finish_reason == "tool_calls":
            break
    else:
        raise AssertionError(f"no two calls with {TRIES} seeds")
    for call in calls:
        arguments = json.loads(call.function.arguments)
        wanted = {"weather": ["city"], "clock": ["zone"]}[call.function.name]
        assert list(arguments) == wanted and isinstance(arguments[wanted[0]], str)
    assert len({call.id for call in calls}) == len(calls)
    chunks = ask(
        client, messages, tools=TOOLS, tool_choice="required", seed=seed, max_tokens=600, stream=True
    )
    deltas = [d for c in chunks for d in c.choices[0].delta.tool_calls or []]
    found = [(d.index, d.id, d.function.name, d.function.arguments) for d in deltas]
    wanted = [(i, c.id, c.function.name, c.function.arguments) for i, c in enumerate(calls)]
    assert found == wanted
    messages.append(answer.choices[0].message.model_dump(exclude_none=True))
    for call in calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"rain": true}'})
    after = ask(client, messages, tools=TOOLS, tool_choice="none", max_tokens=20)
    assert not after.choices[0].message.tool_calls
    once = ask(
        client, messages[:1], tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        seed=seed, max_tokens=600,
    )
    assert len(once.choices[0].message.tool_calls) == 1


def schema(client):
    messages = [{"role": "user", "content": "It rains, and the wind blows with 5 knots."}]
    for seed in range(TRIES):
        try:
            answer = client.chat.completions.parse(
                model="any", messages=messages, response_format=Weather, seed=seed, max_tokens=400
            )
        except openai.LengthFinishReasonError:
            continue  # a random model may write spaces for ever
        assert isinstance(answer.choices[0].message.parsed, Weather)
        return
    raise AssertionError(f"no whole answer with {TRIES} seeds")


def other_paths(client, server):
    assert [model.id for model in client.models.list()]
    text = client.completions.create(model="any", prompt="Once upon", max_tokens=5, seed=1)
    assert text.usage.completion_tokens <= 5 and isinstance(text.choices[0].text, str)
    for wrong, kind in [
        ({"messages": []}, openai.BadRequestError),
        ({"n": 2}, openai.BadRequestError),
        ({"temperature": "hot"}, openai.BadRequestError),
    ]:
        messages = wrong.pop("messages", [{"role": "user", "content": "x"}])
        try:
            ask(client, messages, **wrong)
        except kind as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"{wrong} was answered")
    long = [{"role": "user", "content": "word " * 3_000_000}]
    try:
        ask(client, long)
    except openai.BadRequestError as error:
        assert error.code == "context_length_exceeded", error
    try:
        ask(server.client("wrong"), [{"role": "user", "content": "x"}])
    except openai.AuthenticationError:
        return
    raise AssertionError("a wrong key was let in")


def cancel(client, server):
    """A client that closes a stream gives its slot back."""
    before = server.metric("carat_answers_cancelled_total")
    request = client.completions.create(
        model="any", prompt="a", max_tokens=100_000, seed=1, stream=True,
        logit_bias={str(token): -100 for token in (1, 50, 106)},
    )
    for _, _ in zip(range(3), request):
        pass
    request.close()
    server.wait_for("carat_slots_busy", 0.0)
    server.wait_for("carat_answers_cancelled_total", before + 1)


def main():
    program = sys.argv[1]
    model = sys.argv[2] if len(sys.argv) > 2 else str(KIT / "text-q4_0.gguf")
    server = Server(program, model, "--ctx", "4096")
    try:
        client = server.client()
        for step in [text, stream, picture, sound, tools, schema]:
            begun = time.monotonic()
            step(client)
            print(f"{step.__name__}: ok, {time.monotonic() - begun:.2f} s", flush=True)
        other_paths(client, server)
        print("other_paths: ok", flush=True)
        cancel(client, server)
        print("cancel: ok", flush=True)
        server.process.terminate()
        code = server.process.wait(timeout=60)
        assert code == 0, f"the server ended with {code}"
        print(f"shutdown: ok; openai {openai.__version__}")
    finally:
        server.process.kill()


if __name__ == "__main__":
    main()
