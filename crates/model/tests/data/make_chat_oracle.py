"""Makes chat-oracle.json: conversations and snippets of templates, as jinja2 renders them.

    pip install jinja2 transformers
    python make_chat_oracle.py

The environment is the one that transformers compiles chat templates in. The Gemma 4 template is
read from chat-cases.json beside this file; the other one is written here after the rules of
Gemma 3. A render that fails is recorded as null.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).parent

TURNS = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set head = (messages[0]['content'] if messages[0]['content'] is string
        else messages[0]['content'][0]['text']) + '\\n\\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set head = "" -%}{%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant take turns") }}
    {%- endif -%}
    {%- set role = "model" if m['role'] == 'assistant' else m['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (head if loop.first else "") }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for part in m['content'] -%}
            {%- if part['type'] == 'image' -%}{{ '<start_of_image>' }}
            {%- elif part['type'] == 'text' -%}{{ part['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("no content") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""


def user(content):
    return {"role": "user", "content": content}


def model(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def call(name, arguments, number=1):
    function = {"name": name, "arguments": arguments}
    return {"id": f"c{number}", "type": "function", "function": function}


def tool(content, **more):
    return {"role": "tool", "content": content, **more}


def function(name, description, properties, required=()):
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


WEATHER = function("weather", "Tells the weather", {"city": {"type": "string"}}, ["city"])
WIDE = function(
    "plan_trip",
    "Plans \"a trip\"\nof days",
    {
        "stops": {"type": "array", "items": {"type": "string"}, "description": "Where to halt"},
        "mode": {"type": "string", "enum": ["car", "train", "b\u00e5t"]},
        "limits": {
            "type": "object",
            "properties": {"money": {"type": "number"}, "days": {"type": "integer"}},
            "required": ["days"],
        },
        "fast": {"type": "boolean", "nullable": True},
    },
    ["stops", "mode"],
)
EMPTY = function("now", "", {})

TEXTS = [
    "hello",
    "  blanks around \n",
    "",
    "\n\n\n",
    "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \U0001f999 e\u0301",
    "<b>bold</b> & 'quotes' \"double\" \\ back",
    "{{ not }} {% jinja %} {# at all #}",
    "tabs\tand\r\nwindows lines\r",
    "\u00a0no-break\u2003spaces\u200b",
    "1 < 2 > 0 [x] {y}",
]

NUMBERS = [
    {"big": 2**64, "bigger": -(10**30), "edge": 2**63, "low": -(2**63)},
    {"one": 1.0, "tiny": 1e-07, "tenth": 0.1, "sixteen": 1e16, "long": 123456789.123},
    {"zero": 0, "minus": -0.0, "third": 1 / 3, "huge": 1.7976931348623157e308, "small": 5e-324},
    {"yes": True, "no": False, "none": None},
    {"list": [1, 2.5, "three", None, [], {}], "nested": {"a": {"b": {"c": [True]}}}},
    {"empty": "", "quote": "it's \"so\"", "line": "a\nb", "uni": "\u00fc\U0001f600"},
    {},
]


def conversations():
    cases = []
    add = lambda template, messages, **more: cases.append(
        (template, {"messages": messages, "bos_token": "<bos>", **more})
    )
    for text in TEXTS:
        add("gemma4", [user(text)], add_generation_prompt=True)
        add("turns", [user(text), model(text), user("more")], add_generation_prompt=True)
    for content in [None, "", "a thought", [], [{"type": "text", "text": "part"}]]:
        add("gemma4", [user("a"), model(content), user("b")], add_generation_prompt=True)
        add("turns", [user("a"), model(content), user("b")])
    for arguments in NUMBERS:
        calls = [call("weather", arguments)]
        add("gemma4", [user("x"), model("", tool_calls=calls)], tools=[WEATHER])
        messages = [user("x"), model(None, tool_calls=calls), tool(arguments, name="weather")]
        add("gemma4", messages, tools=[WEATHER, WIDE], add_generation_prompt=True)
    three = [call("weather", {"city": c}, n) for n, c in enumerate("ABC")]
    for content in [None, "let me see"]:
        answers = [tool(f"r{n}", tool_call_id=f"c{n}") for n in range(3)]
        last = [model("done"), user("thanks")]
        add("gemma4", [user("x"), model(content, tool_calls=three), *answers, *last],
            tools=[WEATHER], add_generation_prompt=True)
        add("gemma4", [user("x"), model(content, tool_calls=three), *answers], tools=[WEATHER])
    for tools in [[EMPTY], [WIDE], [WEATHER, WIDE, EMPTY], []]:
        add("gemma4", [system("be brief"), user("x")], tools=tools, add_generation_prompt=True)
    for thinking in [True, False, None]:
        for messages in [[user("x")], [system("s"), user("x"), model("y"), user("z")]]:
            add("gemma4", messages, enable_thinking=thinking, add_generation_prompt=True)
    thought = "<|channel>thought\nhm\n<channel|>answer"
    add("gemma4", [user("x"), model(thought), user("y")], add_generation_prompt=True)
    add("gemma4", [user("x"), model("a", reasoning="r", tool_calls=three), tool("t")])
    add("gemma4", [user("x"), model("a", reasoning_content="r"), user("y")])
    parts = [{"type": "image"}, {"type": "text", "text": " what? "}, {"type": "audio"}]
    add("gemma4", [user(parts)], add_generation_prompt=True)
    add("gemma4", [user(parts + [{"type": "video"}]), model("x"), user(parts)])
    add("turns", [system("rules"), user(parts), model("x"), user([])], add_generation_prompt=True)
    add("turns", [system([{"type": "text", "text": "rules"}]), user("x")])
    for template in ["gemma4", "turns"]:
        add(template, [system("s"), user("a")])
        add(template, [user("a"), user("b")])
        add(template, [model("first")])
        add(template, [])
        add(template, [{"role": "developer", "content": "d"}, user("a")])
        add(template, [{"role": "user"}])
        add(template, [{"role": "user", "content": 5}])
        add(template, [{"role": "user", "content": {"a": 1}}])
    add("gemma4", [user("x"), model("", tool_calls=[call("f", "raw text")]), tool("r")])
    add("gemma4", [user("x"), model("", tool_calls=[call("f", None)])])
    responses = [{"name": "f", "response": {"v": [1, {"w": None}]}}]
    add("gemma4", [user("x"), model("", tool_calls=[call("f", {})], tool_responses=responses)])
    add("gemma4", [user("x"), model("", tool_calls=[call("f", {})]),
                   tool([{"type": "text", "text": "part"}], tool_call_id="c1")])
    return cases


X = {
    "x": [3, 1, 2],
    "s": "Hello, W\u00f6rld",
    "d": {"b": 1, "A": [1, "two", None], "c": {"k": 1.5}},
    "n": None,
    "t": True,
    "big": 12345678901234567890123,
    "f": 2.5,
    "people": [
        {"name": "ann", "age": 30, "at": {"city": "Rome"}},
        {"name": "Bob", "age": 25, "at": {"city": "Oslo"}},
        {"name": "cid", "age": 30},
    ],
}

SNIPPETS = json.loads((HERE / "chat-snippets.json").read_text())


def render(source, context):
    try:
        return _compile_jinja_template(source).render(**context)
    except Exception:
        return None


def main():
    cases_file = json.loads((HERE / "chat-cases.json").read_text())
    templates = {"gemma4": cases_file["template"], "turns": TURNS}
    cases = [
        {"template": name, "input": context, "rendered": render(templates[name], context)}
        for name, context in conversations()
    ]
    snippets = [{"source": s, "rendered": render(s, X)} for s in SNIPPETS]
    made = {"turns": TURNS, "cases": cases, "input": X, "snippets": snippets}
    # An entry a line: small, and a change shows where it is.
    lines = lambda items: ",\n".join(json.dumps(i, ensure_ascii=False) for i in items)
    text = (
        f'{{"turns": {json.dumps(TURNS)},\n"input": {json.dumps(X, ensure_ascii=False)},\n'
        f'"cases": [\n{lines(cases)}\n],\n"snippets": [\n{lines(snippets)}\n]}}\n'
    )
    assert json.loads(text) == json.loads(json.dumps(made))
    (HERE / "chat-oracle.json").write_text(text)
    errors = sum(case["rendered"] is None for case in cases + snippets)
    print(f"{len(cases)} conversations, {len(snippets)} snippets, {errors} of them errors")


if __name__ == "__main__":
    main()
