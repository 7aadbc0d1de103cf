//! `carat run` and `carat chat` from outside.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};

use serde_json::json;

mod common;

use common::{Folder, carat, kit, ran, run, run_in, tiny};

#[test]
fn run_continues_a_text_and_reports_its_speed() {
    let args = format!("run --raw -m {} --greedy -n 12 the@rain", tiny());
    let first = run(&args);
    for word in ["prompt: ", "first token after ", "generated: 12 tokens, ", " tokens/s"] {
        assert!(first.err.contains(word), "{word}: {}", first.err);
    }
    let first = first.ok();
    assert!(!first.is_empty() && run(&args).ok() == first, "greedy runs repeat");
    assert_eq!(run(&format!("{args} -t 2 --chunk 2")).ok(), first);
    // What comes first does not depend on how much is asked for.
    assert!(first.starts_with(&run(&args.replace("-n 12", "-n 5")).ok()));
    assert_eq!(run(&args.replace("-n 12", "-n 0")).ok(), "");
}

/// No command makes text, logits or a figure of weights that are no numbers.
#[test]
fn a_model_whose_weights_are_no_numbers_is_an_error_everywhere() {
    let bytes = fs::read(kit("text-f32.gguf")).unwrap();
    let poisoned = |tensor: &str| {
        let data = carat_gguf::Gguf::parse(&bytes).unwrap().tensor(tensor).unwrap().data;
        let at = data.as_ptr().addr() - bytes.as_ptr().addr();
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    };
    let folder = Folder::new();
    let matrix = folder.file("matrix.gguf", poisoned("blk.0.ffn_down.weight"));
    let norm = folder.file("norm.gguf", poisoned("blk.1.attn_norm.weight"));
    let words = folder.file("words.txt", "the rain in the other part of the house");
    let ids = folder.file("ids.json", json!({ "ids": [2, 300, 301] }).to_string());
    let out = folder.path("out");
    for (model, word) in [(matrix, "is NaN, a finite number"), (norm, "blk.1.attn_norm.weight")] {
        run(&format!("run --raw -m {model} --greedy -n 4 the")).fails(1, &[word]);
        run(&format!("run --raw -m {model} -n 4 the")).fails(1, &[word]);
        run(&format!("eval perplexity -m {model} --file {words}")).fails(1, &[word]);
        run(&format!("eval logits -m {model} --input {ids} --output {out}")).fails(1, &[word]);
    }
    assert!(!folder.names().contains(&"out".to_owned()), "{:?}", folder.names());
}

#[test]
fn drafts_change_no_answer_and_are_counted() {
    let args = format!("run --raw -m {} --greedy -n 90 -v the@rain", tiny());
    let (plain, drafting) = (run(&args), run(&format!("{args} --draft lookup")));
    assert!(!plain.err.contains("drafts: "), "{}", plain.err);
    assert!(drafting.err.contains("tokens accepted; "), "{}", drafting.err);
    let wanted = plain.ok();
    assert_eq!(drafting.ok(), wanted);
    assert_eq!(run(&format!("{args} --draft off")).ok(), wanted);
    let line = |args: &str| -> serde_json::Value {
        let out = run(args).ok();
        serde_json::from_str(out.lines().last().expect("a line")).expect("JSON")
    };
    let json = args.replace(" -v", " --json");
    assert!(line(&json).get("drafts").is_none());
    let drafts = line(&format!("{json} --draft lookup"))["drafts"].clone();
    let [passes, tokens] = ["passes", "tokens"].map(|key| drafts[key].as_u64().expect("a count"));
    assert!(passes > 0 && tokens >= passes, "{drafts}");
    run(&format!("{args} --draft none.gguf")).fails(1, &["there is no file none.gguf"]);
}

#[test]
fn run_reads_the_prompt_from_standard_input() {
    let args = format!("run --raw -m {} --greedy -n 8", tiny());
    let given = run(&format!("{args} the@rain")).ok();
    // A shell's newline at the end is no part of the prompt.
    for input in ["the rain", "the rain\n", "the rain\r\n"] {
        assert_eq!(run_in(&args, input).ok(), given, "{input:?}");
        assert_eq!(run_in(&format!("{args} -"), input).ok(), given, "{input:?}");
    }
    assert_ne!(run_in(&args, "the rain\n\n").ok(), given);
    let args = args.split(' ').collect::<Vec<_>>();
    let folder = Folder::new();
    let bytes = fs::File::open(folder.file("bytes", [0xff, b'a'])).unwrap();
    ran(carat().args(args).stdin(bytes).output().unwrap()).fails(1, &["standard input", "UTF-8"]);
}

#[test]
fn a_seed_makes_sampling_repeatable() {
    let text = |seed: u32| {
        run(&format!(
            "run --raw -m {} --temp 1.5 --top-k 0 --top-p 1 -n 20 --seed {seed} the",
            tiny()
        ))
    };
    let first = text(1).ok();
    assert_eq!(text(1).ok(), first);
    assert!((2..6).any(|seed| text(seed).ok() != first), "the seed changes nothing");
    let verbose = run(&format!("run --raw -m {} -v -n 1 --seed 77 the", tiny()));
    for word in
        ["loaded in ", " threads, context ", "temperature 1, top-k 64, top-p 0.95", "seed 77"]
    {
        assert!(verbose.err.contains(word), "{word}: {}", verbose.err);
    }
    let greedy = run(&format!("run --raw -m {} --greedy -n 9 the", tiny())).ok();
    assert_eq!(run(&format!("run --raw -m {} --temp 0 -n 9 the", tiny())).ok(), greedy);
    assert_eq!(run(&format!("run --raw -m {} --top-k 1 -n 9 the", tiny())).ok(), greedy);
}

/// Wherever it lies in the answer, across tokens as well, and in every answer of a chat.
#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let (model, prompt) = (tiny(), "the rain");
    let run = |command: &[&str], tokens: usize, stops: &[&str]| {
        let tokens = tokens.to_string();
        let stops = stops.iter().flat_map(|stop| ["--stop", stop]);
        let args = ["run", "-m", &model, "--greedy", "-n", &tokens].into_iter().chain(stops);
        ran(carat().args(args).args(command).arg(prompt).output().unwrap())
    };
    for command in [&["--raw"][..], &[]] {
        let whole: Vec<String> = (0..=12).map(|tokens| run(command, tokens, &[]).ok()).collect();
        let places: Vec<usize> = whole[12].char_indices().map(|(at, _)| at).collect();
        assert!(places.len() > 12, "{whole:?}");
        for pair in [[1, 3], [4, 9], [2, 12]] {
            let stop = &whole[12][places[pair[0]]..places[pair[1]]];
            let ran = run(command, 12, &["not in there", stop]);
            let tokens = whole.iter().position(|text| text.contains(stop)).expect("it is a part");
            assert!(ran.err.contains(&format!("generated: {tokens} tokens")), "{}", ran.err);
            assert_eq!(ran.ok(), whole[12][..whole[12].find(stop).expect("a part")], "{stop:?}");
        }
        // The beginning of one is text if the rest does not come.
        let last = &whole[12][places[places.len() - 1]..];
        assert_eq!(run(command, 12, &[&format!("{last} and more")]).ok(), whole[12]);
    }
    let whole = run(&[], 12, &[]).ok();
    let stop = whole.chars().nth(3).expect("a character").to_string();
    let input = format!("{prompt}\n");
    let answer = run_in(&format!("chat -m {model} --greedy -n 12 --stop {stop}"), &input).ok();
    assert_eq!(answer.trim_end_matches('\n'), &whole[..whole.find(&stop).expect("a part")]);
}

#[test]
fn biases_and_penalties_change_what_is_said() {
    let folder = Folder::new();
    let tokenize = format!("eval tokenize -m {} --text the@rain", tiny());
    let ids = format!("2 {}", run(&tokenize).ok());
    let first = likeliest(&folder, &ids);
    let said = |options: &str| {
        run(&format!("run --raw -m {} --greedy --kv f32 -n 4 the@rain{options}", tiny())).ok()
    };
    let text = token_text(first);
    let plain = said("");
    assert!(plain.starts_with(&text) && !text.is_empty(), "{plain:?}, {text:?}");
    assert!(!said(&format!(" --logit-bias {first}=-inf")).starts_with(&text));
    let always = format!(" --logit-bias {first}=1000");
    assert_eq!(said(&always), text.repeat(4));
    // 1000 is taken away again once the token has come, or has come twice.
    for (options, times) in [
        ("--presence-penalty 1100", 1),
        ("--frequency-penalty 1100", 1),
        ("--frequency-penalty 510", 2),
        ("--presence-penalty -1", 4),
    ] {
        let said = said(&format!("{always} {options}"));
        assert!(said.starts_with(&text.repeat(times)), "{options}: {said}");
        assert!(!said.starts_with(&text.repeat(times + 1)), "{options}: {said}");
    }
    // Every answer of a chat begins with nothing counted.
    let chat = format!("chat -m {} --greedy -n 1 --presence-penalty 1100{always}", tiny());
    assert_eq!(run_in(&chat, "hello\nthe rain\n").ok(), format!("{text}\n").repeat(2));
    let verbose = run(&format!(
        "run --raw -m {} --greedy -v -n 1 --frequency-penalty 0.5 --presence-penalty -1{always} the",
        tiny()
    ));
    let line = "greedy, frequency penalty 0.5, presence penalty -1, one logit bias\n";
    assert!(verbose.err.contains(line), "{}", verbose.err);
    let with = |options: &str| run(&format!("run --raw -m {} {options} the", tiny()));
    with("--logit-bias 512=1").fails(1, &["no token 512", "has 512"]);
    with("--logit-bias 5=1 --logit-bias 5=2").fails(1, &["token 5 has two"]);
}

#[test]
fn every_cache_and_every_instruction_set_runs() {
    let args = format!("run --raw -m {} --greedy -n 6 the@rain", tiny());
    for option in ["--kv f32", "--kv f16", "--kv q8", "--isa scalar"] {
        assert!(!run(&format!("{args} {option}")).ok().is_empty(), "{option}");
    }
}

#[test]
fn a_prompt_must_fit_into_the_context() {
    let args = format!("run --raw -m {} --ctx 4 the@rain@in@the@house", tiny());
    run(&args).fails(1, &["the prompt has", "the context 4, --ctx N", "4096"]);
    let args = format!("run --raw -m {} --ctx 5000 the@rain", tiny());
    run(&args).fails(1, &["5000", "4096"]);
    let full = run(&format!("run --raw -m {} --greedy --ctx 8 th", tiny()));
    assert!(full.code == 0 && full.err.contains("context of 8 tokens is full"), "{}", full.err);
}

#[test]
fn chat_needs_a_template() {
    let folder = Folder::new();
    let plain = folder.tiny_without("tokenizer.chat_template", true);
    run(&format!("run --chat -m {plain} hello")).fails(1, &[&plain, "no chat template"]);
    run_in(&format!("chat -m {plain}"), "hello\n").fails(1, &[&plain, "no chat template"]);
    // Without one a prompt is a text to continue, with one a message unless it is said otherwise.
    let (with, args) = (tiny(), "--greedy -n 4 hello");
    let raw = run(&format!("run --raw -m {plain} {args}")).ok();
    assert!(!raw.is_empty());
    assert_eq!(run(&format!("run -m {plain} {args}")).ok(), raw);
    assert_eq!(run(&format!("run --raw -m {with} {args}")).ok(), raw);
    let answer = run(&format!("run -m {with} {args}")).ok();
    assert_ne!(answer, raw);
    assert_eq!(run(&format!("run --chat -m {with} {args}")).ok(), answer);
    run(&format!("run --chat --raw -m {with} {args}")).fails(2, &["--raw", "--chat"]);
}

#[test]
fn another_chat_template_stands_in_for_the_files() {
    let folder = Folder::new();
    let plain = folder.tiny_without("tokenizer.chat_template", true);
    let own = folder
        .file("own.jinja", "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}");
    let greedy = format!("-m {plain} --greedy -n 5");
    let raw = run(&format!("run --raw {greedy} hello")).ok();
    assert_eq!(run(&format!("run {greedy} --chat-template {own} hello")).ok(), raw);
    let said = run_in(&format!("chat {greedy} --chat-template {own}"), "hello\n").ok();
    assert_eq!(said, format!("{raw}\n"));
    let bad = folder.file("bad.jinja", "a\n{% if %}");
    let with = |path: &str| format!("--chat-template {path} -m {plain}");
    run(&format!("run {} hi", with(&bad))).fails(1, &[&bad, "line 2"]);
    run_in(&format!("chat {}", with(&bad)), "hi\n").fails(1, &[&bad, "line 2"]);
    run(&format!("run {} hi", with("absent.jinja"))).fails(1, &["absent.jinja"]);
    run(&format!("run --raw {} hi", with(&own))).fails(2, &["--raw"]);
}

#[test]
fn chat_answers_a_pipe_line_by_line() {
    let args = format!("chat -m {} --greedy -n 5", tiny());
    let out = |input: &str| run_in(&args, input).ok();
    let first = run(&format!("run -m {} --greedy -n 5 hello", tiny())).ok();
    assert_eq!(out("hello\n"), format!("{first}\n"), "a run is the first turn of a chat");
    assert_eq!(out("hello"), format!("{first}\n"), "the last line needs no newline");
    assert_eq!(out("\n  \n/help\n/rest\n"), "");
    let two = out("hello\nthe rain\n");
    assert_ne!(two, format!("{}{}", out("hello\n"), out("the rain\n")), "a chat remembers");
    assert_eq!(out("hello\nthe rain\n/reset\nhello\nthe rain\n"), two.repeat(2));
    assert_eq!(out("hello\nthe rain\n/exit\nhello\n"), two);
    assert_eq!(out("hello\\\nthe rain\n").lines().count(), out("hello\n").lines().count());
    let system = run_in(&format!("{args} --system no"), "hello\n").ok();
    let with = format!("run -m {} --system no --greedy -n 5 hello", tiny());
    assert_eq!(system, format!("{}\n", run(&with).ok()));
}

#[test]
fn a_chat_that_kept_its_cache_says_what_a_fresh_evaluation_says() {
    let folder = Folder::new();
    let model = tiny();
    let said = ["hello", "the rain in the house", "and then"];
    let args = format!("chat -m {model} --greedy --kv f32 -n 1");
    let answers = run_in(&args, &said.join("\n")).ok();
    let answers: Vec<_> = answers.lines().collect();
    assert_eq!(answers.len(), said.len(), "each answer is one token and no line break");
    let mut messages = Vec::new();
    for (message, answer) in said.iter().zip(answers) {
        messages.push(json!({"role": "user", "content": message}));
        let input =
            json!({"messages": messages, "bos_token": "<bos>", "add_generation_prompt": true});
        let input = folder.file("chat.json", input.to_string());
        let prompt = run(&format!("eval template -m {model} --input {input}")).ok();
        let tokenize = ["eval", "tokenize", "--special", "-m", &model, "--text", &prompt];
        let ids = ran(carat().args(tokenize).output().unwrap()).ok();
        assert_eq!(answer, token_text(likeliest(&folder, &ids)), "after {message}");
        messages.push(json!({"role": "assistant", "content": answer}));
    }
}

#[test]
fn a_chat_ends_with_the_first_error_of_a_pipe() {
    let args = format!("chat -m {} --greedy --ctx 24 -n 1", tiny());
    let failed = run_in(&args, &format!("{}\nhello\n", "the rain ".repeat(30)));
    failed.fails(1, &["the prompt has", "the context 24, --ctx N"]);
}

#[test]
fn words_that_look_like_special_tokens_are_text() {
    let prompt = |text: &str| {
        let err = run(&format!("run -m {} --greedy -n 0 {text}", tiny())).err;
        let tokens = err.strip_prefix("prompt: ").and_then(|rest| rest.split(' ').next());
        tokens.expect("the number of tokens").parse::<usize>().expect("a number")
    };
    // As a special token it would be one; as text it is as many as its characters make.
    assert!(prompt("<turn|>") >= prompt("h") + 3);
}

#[test]
#[cfg(unix)]
fn a_reader_that_leaves_early_hears_nothing() {
    let mut child = spawn(&["--greedy", "-n", "4000", "the"]);
    let mut one = [0];
    child.stdout.take().expect("it is piped").read_exact(&mut one).expect("a first byte");
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_the_answer_and_not_the_program() {
    let mut child = spawn(&["--greedy", "-n", "4000", "the"]);
    let mut out = child.stdout.take().expect("it is piped");
    let mut one = [0];
    out.read_exact(&mut one).expect("a first byte");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("the pipe ends");
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("stopping…\n"), "{}", ran.err);
    let tokens = ran.err.split("generated: ").nth(1).and_then(|rest| rest.split(' ').next());
    let tokens: usize = tokens.expect("the speed line").parse().expect("a number");
    assert!((1..4000).contains(&tokens), "{tokens}");
}

/// The token that the model finds likeliest after `ids`.
fn likeliest(folder: &Folder, ids: &str) -> usize {
    let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let input = folder.file("ids.json", json!({ "ids": ids }).to_string());
    let output = folder.path("logits");
    run(&format!("eval logits --model {} --input {input} --output {output}", tiny())).ok();
    let file = fs::read(output).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let rows = file.tensor("logits").unwrap();
    let last = rows.data().chunks(512 * 4).next_back().unwrap();
    let last: Vec<_> = last.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (0..512).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap()
}

/// The text of a token by the kit's vocabulary; that of structure is empty, and that of a
/// byte which is no character by itself is U+FFFD.
fn token_text(id: usize) -> String {
    let bytes = fs::read(tiny()).unwrap();
    let gguf = carat_gguf::Gguf::parse(&bytes).unwrap();
    let tokens = gguf.metadata().array("tokenizer.ggml.tokens").unwrap();
    let mut tokens = tokens.strings().unwrap();
    let token = tokens.nth(id).unwrap();
    let byte = token.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>'));
    match byte {
        Some(hex) => String::from_utf8_lossy(&[u8::from_str_radix(hex, 16).unwrap()]).into_owned(),
        None if token.len() > 2 && token.starts_with('<') && token.ends_with('>') => String::new(),
        None => token.replace('\u{2581}', " "),
    }
}

#[cfg(unix)]
fn spawn(args: &[&str]) -> Child {
    let model = tiny();
    let mut command = carat();
    command.args(["run", "--raw", "-m", &model]).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}
