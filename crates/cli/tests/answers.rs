//! What an answer is to be: formats, tools, thoughts, and its form for programs. The weights are
//! random: what is said makes no sense, its form does.

use serde_json::{Value, json};

mod common;

use common::{Folder, Ran, carat, ran, run, run_in, tiny};

fn weather() -> Value {
    json!({"type": "function", "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 8},
                "n": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "n"],
            "additionalProperties": false,
        },
    }})
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "n": {"enum": [1, 2, 3]}},
        "required": ["yes", "n"],
        "additionalProperties": false,
    })
}

/// The lines of an answer, each an object with a type; the last one ends it, and no other does.
fn lines(out: &str) -> Vec<Value> {
    assert!(out.ends_with('\n'), "{out}");
    let lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(types.iter().position(|kind| *kind == "done"), Some(types.len() - 1), "{types:?}");
    lines
}

fn joined(lines: &[Value], kind: &str) -> String {
    let texts = lines.iter().filter(|line| line["type"] == kind);
    texts.map(|line| line["text"].as_str().expect("text")).collect()
}

fn asked(options: &[&str]) -> Ran {
    let model = tiny();
    let base = ["run", "-m", &model, "-t", "1"];
    let seed = if options.contains(&"--greedy") { &[][..] } else { &["--seed", "3"] };
    ran(carat().args(base).args(seed).args(options).output().expect("the program starts"))
}

#[test]
fn json_says_what_text_says_and_counts_it() {
    let plain = asked(&["--greedy", "-n", "12", "hello"]);
    let lines = lines(&asked(&["--greedy", "-n", "12", "--json", "hello"]).ok());
    assert_eq!(joined(&lines, "text"), plain.out);
    let done = lines.last().expect("the end");
    assert_eq!(done["reason"], "length");
    let usage = &done["usage"];
    let evaluated = plain.err.strip_prefix("\nprompt: ").or(plain.err.strip_prefix("prompt: "));
    let evaluated = evaluated.and_then(|rest| rest.split(' ').next()).expect("a number");
    assert_eq!(usage["prompt_tokens"].to_string(), evaluated);
    assert_eq!(
        (&usage["cached_tokens"], &usage["completion_tokens"], &usage["thought_tokens"]),
        (&json!(0), &json!(12), &json!(0))
    );
    let timings = &done["timings"];
    let first = timings["first_token"].as_f64().expect("seconds");
    let prompt = timings["prompt"].as_f64().expect("seconds");
    assert!(0.0 < prompt && prompt <= first && first < 60.0, "{timings}");
    assert!(timings["rest"].as_f64().is_some_and(|rest| rest >= 0.0));
}

#[test]
fn a_stop_string_is_told() {
    let whole = asked(&["--greedy", "-n", "12", "hello"]).out;
    let stop = whole.chars().nth(2).expect("a third character").to_string();
    let lines = lines(&asked(&["--greedy", "--json", "--stop", &stop, "hello"]).ok());
    let done = lines.last().expect("the end");
    assert_eq!((&done["reason"], &done["stop_string"]), (&json!("stop_string"), &json!(stop)));
    assert_eq!(joined(&lines, "text"), whole[..whole.find(&stop).expect("it is there")]);
}

#[test]
fn log_probabilities_are_those_of_the_tokens() {
    let options = ["--temp", "1.2", "--top-k", "0", "-n", "10", "--json", "--logprobs"];
    for (count, shown) in [("0", 0), ("3", 3)] {
        let lines = lines(&asked(&[&options[..], &[count, "hello"]].concat()).ok());
        let tokens: Vec<_> = lines.iter().filter(|line| line["type"] == "token").collect();
        assert_eq!(tokens.len(), 10);
        let mut likeliest = 0;
        // Special tokens have no part in the text, and bytes may be one character together.
        let words = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let texts = tokens.iter().map(|token| token["text"].as_str().expect("text"));
        let texts: String = texts.filter(|text| !text.starts_with('<')).map(words).collect();
        assert_eq!(texts, words(&joined(&lines, "text")));
        for token in tokens {
            let chosen = token["logprob"].as_f64().expect("a number");
            let top = token["top"].as_array().expect("a list");
            likeliest += usize::from(top.first().is_some_and(|top| top["id"] == token["id"]));
            assert_eq!(top.len(), shown);
            let mut last = 0.0;
            for other in top {
                let p = other["logprob"].as_f64().expect("a number");
                assert!(p <= last && p < 0.0, "{token}");
                if other["id"] == token["id"] {
                    assert_eq!((p, &other["text"]), (chosen, &token["text"]));
                } else if p < chosen {
                    let is_listed = top.iter().any(|other| other["id"] == token["id"]);
                    assert!(is_listed, "{token}");
                }
                last = p;
            }
            assert!(chosen < 0.0);
        }
        assert!(likeliest < 10, "dice choose others, too");
    }
    run(&format!("run -m {} --json --logprobs 65 hi", tiny())).fails(2, &["at most 64"]);
    run(&format!("run -m {} --logprobs 1 hi", tiny())).fails(2, &["--json"]);
}

/// Without a limit but the context, since white space between tokens of JSON has none.
#[test]
fn answers_have_the_format_that_was_asked_for() {
    let folder = Folder::new();
    let schema = folder.file("s.json", schema().to_string());
    let lark = folder.file("g.lark", "start: \"yes\" | \"no\"\n");
    let mut complete = 0;
    for seed in ["1", "2", "3", "4"] {
        let options = ["--temp", "1", "--top-k", "0", "--seed", seed, "--json"];
        let said = |format: &[&str]| {
            let model = tiny();
            let base = ["run", "-m", &model, "-t", "1"];
            let args = [&base[..], &options, format, &["hello"]].concat();
            let lines = lines(&ran(carat().args(args).output().expect("it starts")).ok());
            let is_whole = lines.last().expect("the end")["reason"] == "stop";
            (is_whole, joined(&lines, "text"))
        };
        let (is_whole, text) = said(&["--schema", &schema]);
        if is_whole {
            complete += 1;
            let value: Value = serde_json::from_str(&text).expect("JSON");
            assert!(value["yes"].is_boolean() && value["n"].as_u64().is_some_and(|n| n <= 3));
            assert_eq!(value.as_object().map(serde_json::Map::len), Some(2), "{value}");
        }
        let (is_whole, text) = said(&["--regex", "[0-9]{3}-(a|b)"]);
        let bytes = text.as_bytes();
        assert!(is_whole && bytes.len() == 5 && bytes[..3].iter().all(u8::is_ascii_digit));
        assert!(text[3..] == *"-a" || text[3..] == *"-b", "{text}");
        let (is_whole, text) = said(&["--lark", &lark]);
        assert!(is_whole && (text == "yes" || text == "no"), "{text}");
    }
    assert!(complete > 0);
    let both = run_in(
        &format!("chat -m {} -t 1 --regex [0-9]{{2}} --temp 1", tiny()),
        "hello\nand then?\n",
    );
    let numbers: Vec<_> = both.out.lines().map(str::len).collect();
    assert_eq!((both.code, &numbers[..]), (0, &[2, 2][..]), "{}", both.out);
}

#[test]
fn tools_are_called_in_the_form_that_programs_read() {
    let folder = Folder::new();
    let mut time = weather();
    time["function"]["name"] = json!("time");
    let tools = folder.file("t.json", json!([weather(), time]).to_string());
    let mut ids = 0;
    for (choice, names) in [("required", &["weather", "time"][..]), ("time", &["time"])] {
        let options = ["--temp", "1", "--json", "-n", "200", "--tools", &tools, "--tool-choice"];
        let lines = lines(&asked(&[&options[..], &[choice, "what now?"]].concat()).ok());
        assert_eq!(joined(&lines, "text"), "", "{choice}");
        for (i, call) in lines.iter().filter(|line| line["type"] == "tool_call").enumerate() {
            assert_eq!(call["id"], format!("call_{i}"));
            assert!(names.contains(&call["name"].as_str().expect("a name")), "{call}");
            let arguments = &call["arguments"];
            assert!(arguments["city"].as_str().is_some_and(|city| city.chars().count() <= 8));
            assert!(arguments["n"].as_u64().is_some_and(|n| (1..=9).contains(&n)), "{arguments}");
            ids += 1;
        }
        if choice == "time" {
            assert_eq!(lines.last().expect("the end")["reason"], "tool_calls");
        }
    }
    assert!(ids > 0);
    let said = asked(&["--temp", "1", "--tools", &tools, "--tool-choice", "time", "what now?"]);
    assert!(said.err.contains("nobody runs them here"), "{}", said.err);
    let said = said.ok();
    let arguments = said.strip_prefix("time(").and_then(|rest| rest.strip_suffix(")\n"));
    let arguments: Value = serde_json::from_str(arguments.expect("a call")).expect("JSON");
    assert!(arguments["n"].is_u64(), "{arguments}");
    // What may not be called is not called, and a format has room then.
    let options = ["--temp", "1", "-n", "30", "--tools", &tools, "--tool-choice", "none"];
    let lines = lines(&asked(&[&options[..], &["--json", "hello"]].concat()).ok());
    assert!(lines.iter().all(|line| line["type"] != "tool_call"));
    let text = asked(&[&options[..], &["--regex", "[ab]", "hello"]].concat()).ok();
    assert!(text == "a" || text == "b", "{text}");
}

#[test]
fn thoughts_have_a_budget() {
    let id = |text: &str| {
        let args = ["eval", "tokenize", "--special", "-m", &tiny(), "--text", text];
        ran(carat().args(args).output().expect("it starts")).ok().trim().to_owned()
    };
    // The model often opens a channel, gives it a line of its own, and never closes it.
    let bias = [("<|channel>", 4), ("\n\n", 4), ("<channel|>", -60)];
    let bias = bias.map(|(text, bias)| format!("--logit-bias={}={bias}", id(text)));
    let bias = bias.each_ref().map(String::as_str);
    let options = ["--temp", "1", "--top-k", "0", "--json", "-n", "60"];
    let model = tiny();
    let thought = |think: &str, seed: &str| {
        let args = ["run", "-m", &model, "-t", "1", "--seed", seed, think, "hello"];
        let args = [&args[..], &bias, &options].concat();
        let lines = lines(&ran(carat().args(args).output().expect("it starts")).ok());
        let usage = &lines.last().expect("the end")["usage"];
        (joined(&lines, "thought"), usage["thought_tokens"].as_u64().expect("a number"))
    };
    let (mut longest, mut said) = (0, 0);
    for seed in ["1", "2", "3", "5"] {
        let (text, count) = thought("--think=5", seed);
        // The token that ends the name of the channel and the one that closes it come on top.
        assert!(count <= 5 + 2, "{count}: {text}");
        said += usize::from(!text.is_empty());
        longest = longest.max(thought("--think", seed).1);
    }
    assert!(said == 4 && longest > 20, "{said} {longest}");
}

/// All of it is found before the weights are read: the file has none.
#[test]
fn what_cannot_be_is_told_before_the_model_is_loaded() {
    let folder = Folder::new();
    let model = folder.tiny_without("", false);
    let file = |name: &str, value: Value| folder.file(name, value.to_string());
    let schema = file("s.json", schema());
    let tools = file("t.json", json!([weather()]));
    let bad = folder.file("bad.json", "{");
    let twice = file("twice.json", json!([weather(), weather()]));
    let none = file("none.json", json!([]));
    let nameless = file("nameless.json", json!([{"type": "function", "function": {}}]));
    let object = file("object.json", weather());
    let unknown = file("unknown.json", json!({"not": {}}));
    let never = file("never.json", json!({"enum": []}));
    let deep = folder.file("deep.json", "[".repeat(100_000));
    let lark = folder.file("g.lark", "start: nothing\n");
    let session = folder.file("session", "prose");
    let nowhere = folder.path("nowhere/session");
    for command in ["run hi", "chat"] {
        let with = |options: &str| run(&format!("{command} -m {model} {options}"));
        with("--think").fails(1, &["no tensors"]);
        with(&format!("--schema {schema}")).fails(1, &["no tensors"]);
        for (options, code, words) in [
            (format!("--schema {}", folder.path("absent")), 1, "absent"),
            (format!("--schema {bad}"), 1, "a JSON Schema is wanted"),
            (format!("--schema {deep}"), 1, "deep.json"),
            (format!("--schema {unknown}"), 1, "not supported"),
            (format!("--schema {never}"), 1, "never.json"),
            ("--regex [".to_owned(), 1, "--regex"),
            (format!("--lark {lark}"), 1, "g.lark"),
            (format!("--schema {schema} --regex a"), 2, "--regex"),
            (format!("--lark {lark} --regex a"), 2, "--regex"),
            (format!("--schema {schema} --tools {tools}"), 2, "--tool-choice none"),
            (format!("--tools {bad}"), 1, "a JSON array of tools is wanted"),
            (format!("--tools {deep}"), 1, "deep.json"),
            (format!("--tools {object}"), 1, "a JSON array of tools is wanted"),
            (format!("--tools {none}"), 1, "has no tools"),
            (format!("--tools {nameless}"), 1, "the name of a tool is missing"),
            (format!("--tools {twice}"), 1, "weather"),
            (format!("--tools {tools} --tool-choice rain"), 2, "one of the tools"),
            ("--tool-choice none".to_owned(), 2, "--tools"),
            ("--think=x".to_owned(), 2, "--think"),
            (format!("--session {session}"), 1, "is no saved session"),
            (format!("--session {}", folder.path("")), 1, "is no saved session"),
            (format!("--session {nowhere}"), 1, "its folder is not there"),
        ] {
            with(&options).fails(code, &[words]);
        }
    }
    // A text that is continued has no form.
    let plain = folder.tiny_without("tokenizer.chat_template", false);
    for options in ["--think", "--regex a", "--session s", "--drop-oldest", "--system s"] {
        let name = options.split(' ').next().expect("a name");
        run(&format!("run --raw -m {model} {options} hi")).fails(2, &[name, "--raw"]);
        run(&format!("run -m {plain} {options} hi")).fails(1, &[&plain, "no chat template", name]);
    }
}

#[test]
fn a_chat_tells_programs_of_every_answer() {
    // An answer of more tokens than sliding layers and the rollback of a session remember.
    let args = format!("chat -m {} --temp 1 --top-k 0 --seed 3 -n 120 --json -v", tiny());
    let both = run_in(&args, "hello\nthe rain\n");
    assert!(both.err.contains("generated: 120 tokens"), "{}", both.err);
    let out = both.ok();
    let end = out.find("\"type\":\"done\"").and_then(|at| Some(at + out[at..].find('\n')? + 1));
    let (first, second) = out.split_at(end.expect("an end"));
    let (first, second) = (lines(first), lines(second));
    let usage = |lines: &[Value], key: &str| {
        lines.last().expect("the end")["usage"][key].as_u64().expect("a number")
    };
    assert_eq!(usage(&first, "cached_tokens"), 0);
    // The template writes a few tokens for an answer alone.
    assert!(usage(&second, "cached_tokens") + 16 > usage(&first, "prompt_tokens"));
    let plain = run_in(&args.replace(" --json -v", ""), "hello\nthe rain\n").ok();
    let text = [&first, &second].map(|lines| joined(lines, "text") + "\n").concat();
    assert_eq!(plain, text);
}

#[test]
fn a_full_context_is_told_with_what_helps() {
    let args = format!("chat -m {} --greedy --ctx 90 -n 16", tiny());
    let input = "tell me more of it\n".repeat(6);
    let full = run_in(&args, &input);
    for words in ["the prompt has", "the context 90, --ctx N", "/undo", "/clear", "--drop-oldest"] {
        assert!(full.code == 1 && full.err.contains(words), "{words}: {}", full.err);
    }
    let dropped = run_in(&format!("{args} --drop-oldest --json"), &input);
    assert!(dropped.err.contains("forgotten to make room"), "{}", dropped.err);
    let out = dropped.ok();
    let told = out.lines().filter(|line| line.contains("\"type\":\"dropped\"")).count();
    let ends = out.lines().filter(|line| line.contains("\"type\":\"done\"")).count();
    assert!(told > 0 && ends == 6, "{told} {ends}");
    // An answer that fills the context to the end.
    let args = format!("run -m {} --greedy --ctx 40 --json hello", tiny());
    let end = run(&args);
    assert!(end.err.contains("the context of 40 tokens is full"), "{}", end.err);
    assert_eq!(lines(&end.ok()).last().expect("the end")["reason"], "context");
}
