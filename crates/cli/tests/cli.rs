//! The program from outside: arguments, errors and exit codes, `inspect` and `eval`.

use std::fs;

use carat_gguf::{Endian, OwnedArray, TensorType, Writer};
use serde_json::{Value, json};

mod common;

use common::{Folder, Ran, carat, kit, ran, run, run_in, text, tiny};

const COMMANDS: [&str; 15] = [
    "",
    "run",
    "chat",
    "demo",
    "inspect",
    "bench",
    "completions",
    "eval",
    "eval tokenize",
    "eval template",
    "eval logits",
    "eval image",
    "eval video",
    "eval perplexity",
    "eval audio",
];

#[test]
fn every_command_explains_itself_with_examples() {
    for command in COMMANDS {
        let args = format!("{command} --help");
        let Ran { code, out, err } = run(args.trim_start());
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        assert!(out.contains("Examples:\n") && out.contains("carat "), "{command}: {out}");
        let purpose = out.lines().next().expect("help has a first line");
        assert!(purpose.len() > 20 && !purpose.ends_with('.') || command.is_empty(), "{purpose}");
    }
    let help = run("run --help").ok().split_whitespace().collect::<Vec<_>>().join(" ");
    for default in
        ["[default: 1.0]", "[default: 64]", "[default: 0.95]", "CARAT_ISA", "[default: f16]"]
    {
        assert!(help.contains(default), "{default}");
    }
}

#[test]
fn the_version_is_the_package_s() {
    assert_eq!(run("--version").ok(), format!("carat {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_command_line_that_makes_no_sense_is_code_2_and_one_sentence() {
    for (args, words) in [
        ("sing", &["sing"][..]),
        ("run -m x.gguf --tmp 1 hello", &["--tmp", "tip:", "--temp"]),
        ("run -m x.gguf --temp warm hello", &["warm", "--temp"]),
        ("run -m x.gguf --temp -1 hello", &["-1", "at least 0"]),
        ("run -m x.gguf --temp nan hello", &["at least 0"]),
        ("run -m x.gguf --top-p 0 hello", &["above 0 and at most 1"]),
        ("run -m x.gguf --top-p 1.5 hello", &["above 0 and at most 1"]),
        ("run -m x.gguf --min-p -0.1 hello", &["between 0 and 1"]),
        ("run -m x.gguf --repeat-penalty 0 hello", &["above 0"]),
        ("run -m x.gguf --frequency-penalty inf hello", &["a finite number"]),
        ("run -m x.gguf --presence-penalty nan hello", &["a finite number"]),
        ("run -m x.gguf --logit-bias 5 hello", &["236=-1.5"]),
        ("run -m x.gguf --logit-bias -5=1 hello", &["--logit-bias"]),
        ("run -m x.gguf --logit-bias 5=inf hello", &["5=inf", "or -inf"]),
        ("chat -m x.gguf --logit-bias 5=nan", &["or -inf"]),
        ("run -m x.gguf --logit-bias 4294967296=1 hello", &["number of a token"]),
        ("chat -m x.gguf --stop ", &["--stop", "must not be empty"]),
        ("run -m x.gguf --top-k -3 hello", &["-3"]),
        ("run -m x.gguf --greedy --temp 1 hello", &["--greedy", "--temp"]),
        ("run -m x.gguf --ctx 0 hello", &["--ctx", "at least 1"]),
        ("run -m x.gguf -t 0 hello", &["--threads", "at least 1"]),
        ("run -m x.gguf -t 100000 hello", &["--threads", "100000", "at most"]),
        ("chat -m x.gguf -t 18446744073709551615", &["--threads", "at most"]),
        ("bench -m x.gguf -t 1,100000", &["--threads", "at most"]),
        ("run -m x.gguf --kv f64 hello", &["f64", "f32, f16, q8"]),
        ("run -m x.gguf --isa mmx hello", &["mmx", "this CPU has scalar"]),
        ("run -m x.gguf --raw --think hello", &["--think", "--raw"]),
        ("run -m x.gguf ", &["prompt is empty"]),
        ("run -m x.gguf -", &["prompt is empty"]),
        ("run -m x.gguf", &["prompt is empty"]),
        ("inspect", &["<FILE>"]),
        ("eval template --input x.json", &["--model"]),
        ("eval tokenize -m x.gguf", &["--text"]),
    ] {
        run(args).fails(2, words);
    }
    let Ran { code, out, err } = run("eval");
    assert!(code == 2 && out.is_empty() && err.contains("Usage: carat eval"), "{err}");
}

#[test]
fn the_environment_chooses_the_instruction_set_too() {
    let args = ["run", "-m", "x.gguf", "hi"];
    ran(carat().args(args).env("CARAT_ISA", "mmx").output().unwrap()).fails(2, &["mmx"]);
    let args = ["run", "-v", "-n", "1", "-m", &tiny(), "hi"];
    let ran = ran(carat().args(args).env("CARAT_ISA", "scalar").output().unwrap());
    assert!(ran.code == 0 && ran.err.contains("scalar, "), "{}", ran.err);
}

#[test]
fn a_file_that_cannot_be_used_is_code_1_and_named() {
    let folder = Folder::new();
    let here = folder.path("");
    let here = here.trim_end_matches('/');
    let prose = folder.file("prose.gguf", "It was a dark and stormy night; the rain fell.");
    let empty = folder.file("empty.gguf", "");
    let bytes = fs::read(kit("text-f32.gguf")).unwrap();
    let cut = folder.file("cut.gguf", &bytes[..bytes.len() / 2]);
    let missing = folder.path("missing.gguf");
    for command in ["run hello -m", "chat -m", "inspect", "eval tokenize --text hello -m"] {
        run(&format!("{command} {missing}")).fails(1, &[&missing, "there is no file"]);
        run(&format!("{command} {here}")).fails(1, &[here, "is a directory"]);
        run(&format!("{command} {prose}")).fails(1, &[&prose, "GGUF"]);
        run(&format!("{command} {empty}")).fails(1, &[&empty, "is empty"]);
        run(&format!("{command} {cut}")).fails(1, &[&cut]);
    }
    let vocabulary = folder.tiny_without("", false);
    run(&format!("run hello -m {vocabulary}")).fails(1, &[&vocabulary, "token_embd.weight"]);
    let other = Writer::new(Endian::Little, 3).metadata("general.architecture", "llama");
    let other = folder.file("other.gguf", other.to_bytes().unwrap());
    run(&format!("run hello -m {other}")).fails(1, &[&other, "llama", "gemma4"]);
}

#[test]
fn inspect_shows_metadata_tensors_and_memory() {
    let out = run(&format!("inspect {}", tiny())).ok();
    for line in [
        "GGUF version 3, little-endian, 662 KiB, alignment 32",
        "general.architecture",
        "[512 × string: \"<pad>\", \"<eos>\", \"<bos>\", ",
        "[3 × bool: true, true, false]",
        "Tensors: 44, ",
        "Memory of a session of 4096 tokens",
        "keys and values, f16",
        "This machine has ",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(!out.contains("blk.2.attn_k.weight"), "tensors are listed only on demand");
    let out = run(&format!("inspect --tensors --ctx 100 --kv q8 {}", tiny())).ok();
    let row = out.lines().find(|line| line.contains("blk.2.attn_k.weight")).expect("a row");
    assert!(row.contains("F32") && row.ends_with("64 x 64"), "{row}");
    assert!(out.contains("session of 100 tokens") && out.contains("keys and values, q8"), "{out}");
    let projector = "with pictures and sound";
    assert!(out.contains(projector), "{out}");
    let out = run(&format!("inspect --ctx 4097 {}", tiny())).cannot_run("4097");
    assert!(out.contains("No session: ") && out.contains("4097"), "{out}");
    let folder = Folder::new();
    let alone = folder.tiny_without("", false);
    let alone = run(&format!("inspect {alone}")).cannot_run("no tensors");
    assert!(!alone.contains(projector), "{alone}");
    assert!(alone.contains("No projector (mmproj*.gguf) lies beside the model"), "{alone}");
    assert!(out.contains("Projector beside the model: ") && out.contains("mmproj-f32.gguf"));
}

#[test]
fn inspect_says_what_a_projector_is() {
    let projector = text(&kit("mmproj-f32.gguf"));
    let out = run(&format!("inspect {projector}")).ok();
    let vision =
        "vision  gemma4uv: patch side 48, positions 64, embedding length 64, row length 64";
    let audio = "audio   gemma4ua: frame length 640, row length 64";
    assert!(out.contains(vision) && out.contains(audio), "{out}");
    let json: Value =
        serde_json::from_str(&run(&format!("inspect --json {projector}")).ok()).expect("JSON");
    assert_eq!(json["projector"]["vision"]["patch_side"], 48);
    assert_eq!(json["projector"]["audio"]["type"], "gemma4ua");
    let json: Value =
        serde_json::from_str(&run(&format!("inspect --json {}", tiny())).ok()).expect("JSON");
    let beside = json["projectors_beside"][0].as_str().expect("a path");
    assert!(beside.ends_with("mmproj-f32.gguf") && json["projector"].is_null());
}

/// Of an encoder of sound its sizes are said.
#[test]
fn inspect_says_what_an_encoder_is() {
    let folder = Folder::new();
    let file = Writer::new(Endian::Little, 3)
        .metadata("general.architecture", "clip")
        .metadata("clip.has_audio_encoder", true)
        .metadata("clip.audio.projector_type", "gemma4a")
        .metadata("clip.audio.num_mel_bins", 128u32)
        .metadata("clip.audio.block_count", 12u32)
        .metadata("clip.audio.embedding_length", 1024u32)
        .tensor("mm.a.input_projection.weight", TensorType::F32, &[3, 5], vec![0; 60]);
    let path = folder.file("mmproj.gguf", file.to_bytes().expect("a file"));
    let out = run(&format!("inspect {path}")).ok();
    let audio = "audio   gemma4a: mel bins 128, layers 12, embedding length 1024, row length 5";
    assert!(out.contains(audio), "{out}");
}

#[test]
fn inspect_writes_json() {
    let report = |args: &str| -> Value {
        serde_json::from_str(&run(&format!("inspect --json {args}")).ok()).expect("it is JSON")
    };
    let tiny = report(&tiny());
    assert_eq!(tiny["metadata"]["gemma4.block_count"], 3);
    assert_eq!(tiny["metadata"]["gemma4.attention.head_count_kv"], json!([2, 2, 1]));
    let tokens = &tiny["metadata"]["tokenizer.ggml.tokens"];
    assert_eq!((&tokens["length"], &tokens["first"][2]), (&json!(512), &json!("<bos>")));
    assert_eq!(tiny["tensors"].as_array().map(Vec::len), Some(44));
    assert_eq!(tiny["total"]["tensors"], 44);
    let tensors = tiny["tensors"].as_array().unwrap().iter();
    let bytes: u64 = tensors.map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert_eq!(tiny["tensors_by_type"]["F32"]["bytes"], bytes);
    let session = &tiny["session"];
    assert_eq!((&session["possible"], &session["context"]), (&json!(true), &json!(4096)));
    let total = ["weights_bytes", "tokenizer_bytes", "kv_bytes", "scratch_bytes", "program_bytes"];
    let total: u64 = total.iter().map(|part| session[part].as_u64().unwrap()).sum();
    assert_eq!(session["total_bytes"], total);
    let media = &session["with_media"];
    let more = ["projector_bytes", "scratch_bytes"].map(|part| media[part].as_u64().unwrap());
    let without = session["scratch_bytes"].as_u64().unwrap();
    assert_eq!(media["total_bytes"], total - without + more[0] + more[1]);
    assert_eq!(session["ignored_keys"], json!([]));
}

/// Three layers of four experts of three matrices of 64 x 32 weights; two experts are a token's.
#[test]
fn inspect_tells_what_experts_take() {
    let folder = Folder::new();
    let tiny = fs::read(kit("text-f32.gguf")).unwrap();
    let tiny = carat_gguf::Gguf::parse(&tiny).unwrap();
    let mut writer = Writer::copy_of(&tiny)
        .metadata("gemma4.expert_count", 4u32)
        .metadata("gemma4.expert_used_count", 2u32)
        .metadata("gemma4.expert_feed_forward_length", 32u32);
    for layer in 0..3 {
        for (name, dims) in [
            ("ffn_gate_inp.weight", &[64, 4][..]),
            ("ffn_gate_inp.scale", &[64]),
            ("ffn_gate_up_exps.weight", &[64, 64, 4]),
            ("ffn_down_exps.weight", &[32, 64, 4]),
            ("ffn_down_exps.scale", &[4]),
            ("pre_ffw_norm_2.weight", &[64]),
            ("post_ffw_norm_1.weight", &[64]),
            ("post_ffw_norm_2.weight", &[64]),
        ] {
            let data = vec![0; dims.iter().product::<u64>() as usize * 4];
            writer = writer.tensor(format!("blk.{layer}.{name}"), TensorType::F32, dims, data);
        }
    }
    let file = folder.file("experts.gguf", writer.to_bytes().unwrap());
    let out = run(&format!("inspect {file}")).ok();
    for line in [
        "Model: a Gemma 4 with a mixture of experts; 2 of 4 experts work for a token, 144 KiB",
        "  of these experts           288 KiB",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let json: Value =
        serde_json::from_str(&run(&format!("inspect --json {file}")).ok()).expect("JSON");
    let session = &json["session"];
    assert_eq!(session["experts_bytes"], 3 * 4 * 3 * 64 * 32 * 4);
    assert_eq!(session["experts_of_token_bytes"], 3 * 2 * 3 * 64 * 32 * 4);
    assert_eq!((&session["fits"], &session["paged_experts"]), (&json!("now"), &Value::Null));
    let ran = ran(carat().args(["run", "-v", "-n", "1", "-m", &file, "hi"]).output().unwrap());
    assert!(ran.code == 0 && ran.err.contains("288 KiB of it experts"), "{}", ran.err);
    let dense = run(&format!("inspect {}", text(&kit("text-f32.gguf")))).ok();
    assert!(dense.contains("Model: a Gemma 4\n") && !dense.contains("experts"), "{dense}");
}

/// tiny-s with a vector of 8 values in each layer for every token is of the E series.
#[test]
fn inspect_says_what_stays_on_the_disk() {
    let folder = Folder::new();
    let tiny = fs::read(kit("text-f32.gguf")).unwrap();
    let tiny = carat_gguf::Gguf::parse(&tiny).unwrap();
    let mut writer = Writer::new(Endian::Little, 3);
    for (key, value) in tiny.metadata().iter() {
        writer = match key {
            "gemma4.embedding_length_per_layer_input" => writer.metadata(key, 8u32),
            _ => writer.metadata(key, *value),
        };
    }
    for tensor in tiny.tensors() {
        writer = writer.tensor(tensor.name, tensor.tensor_type, &tensor.shape, tensor.data);
    }
    let mut add = |name: &str, dims: &[u64]| {
        let zeros = vec![0; 4 * dims.iter().product::<u64>() as usize];
        let name = format!("{name}.weight");
        writer = writer.clone().tensor(name, TensorType::F32, dims, zeros);
    };
    add("per_layer_token_embd", &[24, 512]);
    add("per_layer_model_proj", &[64, 24]);
    add("per_layer_proj_norm", &[8]);
    for i in 0..3 {
        add(&format!("blk.{i}.inp_gate"), &[64, 8]);
        add(&format!("blk.{i}.proj"), &[8, 64]);
        add(&format!("blk.{i}.post_norm"), &[64]);
    }
    let file = folder.file("e.gguf", writer.to_bytes().unwrap());
    let out = run(&format!("inspect {file}")).ok();
    assert!(out.contains("Model: Gemma 4 E-series of 3 layers"), "{out}");
    assert!(out.contains("Of the file, 48.0 KiB stay on the disk"), "{out}");
    let report = |file: &str| -> Value {
        serde_json::from_str(&run(&format!("inspect --json {file}")).ok()).expect("it is JSON")
    };
    let (json, plain) = (report(&file), report(&text(&kit("text-f32.gguf"))));
    assert_eq!(json["session"]["on_disk_bytes"], 24 * 512 * 4);
    assert_eq!(plain["session"]["on_disk_bytes"], 0);
    assert_eq!(json["session"]["model"], "Gemma 4 E-series of 3 layers");
    let bytes = |json: &Value| json["session"]["weights_bytes"].as_u64().unwrap();
    // Per layer two matrices and a norm, and what all share but the table.
    let more = 4 * (3 * (2 * 64 * 8 + 64) + 64 * 24 + 8);
    assert_eq!(bytes(&json), bytes(&plain) + more);
}

/// Scripts ask the exit code; the report is the same.
#[test]
fn inspect_fails_where_the_model_cannot_run() {
    let folder = Folder::new();
    let tiny = fs::read(kit("text-f32.gguf")).unwrap();
    let tiny = carat_gguf::Gguf::parse(&tiny).unwrap();
    let with = |key: &str, value: carat_gguf::OwnedValue| {
        let writer = Writer::copy_of(&tiny).metadata(key, value);
        folder.file("with.gguf", writer.to_bytes().unwrap())
    };
    let scaled = with("gemma4.rope.scaling.factor", 8f32.into());
    let out = run(&format!("inspect {scaled}")).cannot_run("gemma4.rope.scaling.factor 8");
    assert!(out.contains("No session: "), "{out}");
    let json = run(&format!("inspect --json {scaled}")).cannot_run("gemma4.rope.scaling.factor 8");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["session"]["possible"], false);
    let remark = with("gemma4.a_later_remark", 1u32.into());
    let out = run(&format!("inspect {remark}")).ok();
    assert!(out.contains("Keys that this version does not know: gemma4.a_later_remark"), "{out}");
    let writer = Writer::copy_of(&tiny).tensor("v.patch", TensorType::F32, &[256], vec![0; 1024]);
    let ollamas = folder.file("with.gguf", writer.to_bytes().unwrap());
    let out = run(&format!("inspect {ollamas}")).ok();
    assert!(out.contains("Of the file, 1.00 KiB for pictures and sound are not read"), "{out}");
    let model = text(&kit("text-f32.gguf"));
    let out = run(&format!("inspect --mmproj {model} {model}")).ok();
    assert!(out.contains("no pictures and sound: this is no projector"), "{out}");
}

#[test]
fn inspect_takes_any_gguf_file() {
    let folder = Folder::new();
    let odd = Writer::new(Endian::Big, 2)
        .metadata("general.architecture", "clip")
        .metadata("evil", "\u{1b}]0;title\u{7}\n")
        .metadata("nan", f32::NAN)
        .metadata("most", u64::MAX)
        .metadata("least", i64::MIN)
        .metadata("nested", vec![OwnedArray::from(vec!["a"]), OwnedArray::Array(Vec::new())])
        .metadata("none", OwnedArray::F64(Vec::new()))
        .metadata("many", OwnedArray::U64(vec![u64::MAX; 1000]))
        .tensor("v", TensorType::IQ1_M, &[256, 2], vec![0; 112]);
    let odd = folder.file("odd.gguf", odd.to_bytes().unwrap());
    let out = run(&format!("inspect {odd}")).ok();
    assert!(!out.contains('\u{1b}') && out.contains("\\u{1b}]0;title\\u{7}\\n"), "{out:?}");
    for line in ["version 2, big-endian", "IQ1_M", "1.75", "No session: ", "projector (mmproj)"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let json: Value = serde_json::from_str(&run(&format!("inspect --json {odd}")).ok()).unwrap();
    assert_eq!(json["metadata"]["nan"], Value::Null);
    assert_eq!(json["metadata"]["most"], u64::MAX);
    assert_eq!(json["metadata"]["nested"], json!([["a"], []]));
    assert_eq!(json["metadata"]["many"]["first"][0], u64::MAX);
    assert_eq!(json["session"]["possible"], false);
    let bare = Writer::new(Endian::Little, 3).to_bytes().unwrap();
    let out = run(&format!("inspect {}", folder.file("bare.gguf", bare)));
    let out = out.cannot_run("general.architecture");
    assert!(out.contains("Tensors: none") && out.contains("No session: "), "{out}");
}

#[test]
fn inspect_joins_split_files() {
    let folder = Folder::new();
    let part = |no: u16, tensor: &str| {
        let writer = Writer::new(Endian::Little, 3)
            .metadata("split.no", no)
            .metadata("split.count", 2u16)
            .metadata("split.tensors.count", 2i32)
            .tensor(tensor, TensorType::F32, &[4], vec![0; 16]);
        let name = format!("m-0000{}-of-00002.gguf", no + 1);
        folder.file(&name, writer.to_bytes().unwrap())
    };
    let first = part(0, "left");
    run(&format!("inspect {first}")).fails(1, &["m-00002-of-00002.gguf"]);
    let second = part(1, "right");
    let out = run(&format!("inspect --tensors {first}")).cannot_run("general.architecture");
    for word in [&first, &second, "Tensors: 2, 8 parameters, 32 B", "left", "right"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    run(&format!("inspect {second}")).fails(1, &[&first]);
}

#[test]
fn tokenize_parses_special_tokens_only_when_asked() {
    let folder = Folder::new();
    let vocabulary = folder.tiny_without("", false);
    let ids = |args: &str| -> Vec<u32> {
        let out = run(&format!("eval tokenize -m {vocabulary} {args}")).ok();
        out.split_whitespace().map(|id| id.parse().expect("a number")).collect()
    };
    // `<bos>` is token 2 of the kit and h is one of its characters.
    assert_eq!(ids("--special --text <bos>"), [2]);
    assert!(ids("--text <bos>").len() >= 5 && !ids("--text <bos>").contains(&2));
    assert_eq!(ids("--text h").len(), 1);
    assert_eq!(run(&format!("eval tokenize -m {vocabulary} --text ")).ok(), "\n");
    assert!(ids("--text --special").len() > 1, "a text may look like an option");
}

#[test]
fn template_prints_the_prompt_and_nothing_else() {
    let folder = Folder::new();
    let messages = json!([{"role": "user", "content": "Hi <|turn>"}]);
    let input = json!({"messages": messages, "bos_token": "<bos>", "add_generation_prompt": true});
    let input = folder.file("in.json", input.to_string());
    let jinja = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}!";
    let jinja = folder.file("t.jinja", jinja);
    let out = run(&format!("eval template --template {jinja} --input {input}")).ok();
    assert_eq!(out, "<bos>[user] Hi <|turn>!");
    let out = run(&format!("eval template -m {} --input {input}", tiny())).ok();
    assert!(out.starts_with("<bos><|turn>user\nHi <|turn><turn|>\n<|turn>model\n"), "{out:?}");
    let both = format!("eval template -m {} --template {jinja} --input {input}", tiny());
    assert_eq!(run(&both).ok(), "<bos>[user] Hi <|turn>!");
}

#[test]
fn template_says_what_is_wrong() {
    let folder = Folder::new();
    let input = folder.file("in.json", r#"{"messages": []}"#);
    let bad = folder.file("bad.jinja", "{% for x %}");
    let template = format!("eval template --template {bad} --input {input}");
    run(&template).fails(1, &["template", "line 1"]);
    let refuses = folder.file("no.jinja", "{{ raise_exception('two users') }}");
    run(&format!("eval template --template {refuses} --input {input}")).fails(1, &["two users"]);
    let list = folder.file("list.json", "[]");
    let half = folder.file("half.json", r#"{"messages": "#);
    for input in [list, half] {
        let args = format!("eval template --template {refuses} --input {input}");
        run(&args).fails(1, &[&input]);
    }
    let plain = folder.tiny_without("tokenizer.chat_template", false);
    let args = format!("eval template -m {plain} --input {input}");
    run(&args).fails(1, &[&plain, "chat template"]);
}

#[test]
fn logits_of_the_reference_model() {
    let reference: Value =
        serde_json::from_str(&fs::read_to_string(kit("reference.json")).unwrap()).unwrap();
    let case = &reference["cases"]["text-short"];
    let folder = Folder::new();
    let input = folder.file("in.json", json!({"ids": case["ids"], "images": []}).to_string());
    let output = folder.path("out.safetensors");
    let model = tiny();
    let args = format!("eval logits --model {model} --mmproj {model} --input {input}");
    assert_eq!(run(&format!("{args} --output {output}")).ok(), "");
    assert_eq!(folder.names(), ["in.json", "out.safetensors"]);
    let whole = fs::read(&output).unwrap();
    let file = safetensors::SafeTensors::deserialize(&whole).unwrap();
    let logits = file.tensor("logits").unwrap();
    let rows = case["ids"].as_array().unwrap().len();
    assert_eq!(logits.shape(), [rows, 512]);
    let last = &logits.data()[(rows - 1) * 512 * 4..];
    let last: Vec<_> = last.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let best = (0..512).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
    assert_eq!(case["greedy_f32"][0], best);
    // Another chunk length and another number of threads give the same bits.
    run(&format!("{args} --output {output} --chunk 3 -t 2")).ok();
    assert!(fs::read(&output).unwrap() == whole, "chunks of 3 change the logits");
}

#[test]
fn logits_say_what_is_wrong_and_leave_no_file() {
    let folder = Folder::new();
    let model = tiny();
    for (input, words) in [
        (r#"{"ids": []}"#, &["no ids"][..]),
        (r#"{"ids": [2, 512]}"#, &["512", "511"]),
        (r#"{"ids": [2], "images": ["a.png"]}"#, &["cannot show", "a.png"]),
        (r#"{"ids": [2], "audio": ["a.wav"]}"#, &["cannot play", "a.wav"]),
        (r#"{"ids": [-1]}"#, &["-1"]),
        (r#"{"id": [1]}"#, &["`id`", "`ids`"]),
        ("{", &["in.json"]),
    ] {
        let input = folder.file("in.json", input);
        let args = format!("eval logits --model {model} --input {input} --output");
        run(&format!("{args} {}", folder.path("out"))).fails(1, words);
        assert_eq!(folder.names(), ["in.json"]);
    }
    let input = folder.file("in.json", r#"{"ids": [2]}"#);
    let args = format!("eval logits --model {model} --input {input}");
    let folder_path = folder.path("");
    run(&format!("{args} --output {folder_path}")).fails(1, &["cannot write", "directory"]);
    run(&format!("{args} --output {folder_path}no/out")).fails(1, &["cannot write"]);
    let missing = folder.path("mm.gguf");
    let args = format!("{args} --mmproj {missing} --output {folder_path}out");
    run(&args).fails(1, &[&missing]);
    assert_eq!(folder.names(), ["in.json"]);
}

#[test]
fn perplexity_is_the_mean_over_all_tokens_but_bos() {
    let folder = Folder::new();
    let model = tiny();
    let words = "the rain in the other part of the house ";
    let input = folder.file("text.txt", words.repeat(4));
    let nll = |out: &str| -> f64 {
        let last = out.lines().last().expect("a last line");
        let (name, number) = last.split_once(' ').expect("two words");
        assert_eq!((name, number.split('.').nth(1).map(str::len)), ("nll", Some(4)), "{last}");
        number.parse().expect("a number")
    };
    let whole = nll(&run(&format!("eval perplexity -m {model} --file {input}")).ok());
    let ids = ["eval", "tokenize", "-m", &model, "--text", &words.repeat(4)];
    let ids = ran(carat().args(ids).output().unwrap()).ok();
    let ids: Vec<usize> =
        ["2"].into_iter().chain(ids.split_whitespace()).map(|id| id.parse().unwrap()).collect();
    let (json, out) = (folder.file("in.json", json!({ "ids": ids }).to_string()), folder.path("o"));
    run(&format!("eval logits --model {model} --input {json} --output {out}")).ok();
    let file = fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let data = file.tensor("logits").unwrap();
    let rows = data.data().chunks(512 * 4).zip(&ids[1..]).map(|(row, next)| {
        let row = row.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
        let row: Vec<_> = row.collect();
        row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[*next]
    });
    let wanted = rows.sum::<f64>() / (ids.len() - 1) as f64;
    assert!((whole - wanted).abs() < 1e-4, "{whole} {wanted}");
    let out = run(&format!("eval perplexity -m {model} --file {input} --ctx 16")).ok();
    assert!(out.contains("windows ") && (nll(&out) - whole).abs() < 1.0, "{out}");
    let piped = run_in(&format!("eval perplexity -m {model} --file -"), &words.repeat(4));
    assert_eq!(nll(&piped.ok()), whole);
}

#[test]
fn perplexity_says_what_is_wrong() {
    let folder = Folder::new();
    let model = tiny();
    let empty = folder.file("empty.txt", "");
    run(&format!("eval perplexity -m {model} --file {empty}")).fails(1, &[&empty, "at least 2"]);
    let bytes = folder.file("bytes.txt", [b'a', 0xff, b'b']);
    run(&format!("eval perplexity -m {model} --file {bytes}"))
        .fails(1, &[&bytes, "UTF-8", "byte 1"]);
    let some = folder.file("some.txt", "some words");
    let args = format!("eval perplexity -m {model} --file {some}");
    run(&format!("{args} --ctx 2")).fails(1, &["at least 4"]);
    run(&format!("eval perplexity -m {model} --file {}", text(&kit("")))).fails(1, &["tiny-s"]);
}
