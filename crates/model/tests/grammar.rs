//! Generations under grammars, judged by others: serde_json reads what comes out and the
//! `jsonschema` crate validates it; arguments of calls pass through `parse_call` first.

use crate::common::{config, model};
use crate::emulated::emulated;
use crate::masked::{Random, allowed, draw, env};
use carat::chat::parse_call;
use carat::{
    Constraint, Grammar, GrammarError, Input, Model, Session, SessionConfig, TokenId, Tool,
    ToolChoice,
};
use serde_json::{Value, json};

/// Of the allowed tokens one that ends something: the generation, a call, a string, an object.
fn closing(model: &Model, tokens: &[TokenId], mask: &[u32]) -> Option<TokenId> {
    let tokenizer = model.tokenizer();
    let text = tokenizer.decode(tokens, false);
    let quote = if text.contains("<|tool_call>") { "<|\"|>" } else { "\"" };
    let is_open = text.replace("\\\\", "").replace("\\\"", "").matches(quote).count() % 2 == 1;
    let ends: &[&str] = if is_open { &[quote] } else { &["<tool_call|>", "}", "]"] };
    let id = |text: &&str| {
        let plain = || tokenizer.encode(text).first().copied();
        tokenizer.special(text).or_else(plain).filter(|id| allowed(mask, *id))
    };
    let end = tokenizer.eog().iter().copied().find(|id| allowed(mask, *id));
    end.or_else(|| ends.iter().find_map(id))
}

/// The tokens of one generation of a model, without its end.
fn generate(session: &mut Session, grammar: &Grammar, seed: u64) -> Vec<TokenId> {
    let model = session.model().clone();
    session.truncate(0).expect("the beginning");
    session.push(Input::Text("the fox")).expect("a push");
    let mut logits = |new: &[TokenId]| {
        if !new.is_empty() {
            session.push(Input::Tokens(new)).expect("a push");
        }
        session.logits().expect("logits").to_vec()
    };
    walk(&model, grammar, seed, &mut logits)
}

/// The tokens that are drawn by the logits that follow them, without the end.
fn walk(
    model: &Model,
    grammar: &Grammar,
    seed: u64,
    logits: &mut dyn FnMut(&[TokenId]) -> Vec<f32>,
) -> Vec<TokenId> {
    let mut constraint = Constraint::new(grammar);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut tokens: Vec<TokenId> = Vec::new();
    let mut seen = 0;
    while !constraint.is_finished() {
        let forced = constraint.forced();
        for id in &forced {
            constraint.accept(*id).expect("what is forced is allowed");
        }
        tokens.extend(&forced);
        if !forced.is_empty() {
            continue;
        }
        let mask = constraint.mask().expect("a mask");
        let mut id = draw(&logits(&tokens[seen..]), mask, &mut random);
        seen = tokens.len();
        if tokens.len() > 120 {
            id = closing(model, &tokens, mask).unwrap_or(id);
        }
        let text = || model.tokenizer().decode(&tokens, false);
        assert!(tokens.len() < 900, "a generation comes to its end: {}", text());
        constraint.accept(id).expect("an allowed token");
        if !model.tokenizer().is_eog(id) {
            tokens.push(id);
        }
    }
    assert_eq!(constraint.is_accepting(), Ok(true));
    tokens
}

fn session(model: &Model) -> Session {
    let config = SessionConfig { context: 1024, ..config() };
    Session::new(model, config).expect("a session")
}

fn validator(schema: &Value) -> jsonschema::Validator {
    // OpenAPI's keyword, which JSON Schema does not know.
    let text = schema.to_string();
    let nullable = r#""type":"integer","minimum":1,"maximum":14,"nullable":true"#;
    let text = text.replace(nullable, r#""type":["integer","null"],"minimum":1,"maximum":14"#);
    let schema = serde_json::from_str(&text).expect("JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a valid schema")
}

/// The schemas, tools and texts of `tests/data/grammar-cases.json`, written for these tests.
fn cases(part: &str) -> Value {
    let cases: Value = serde_json::from_str(include_str!("data/grammar-cases.json")).expect("JSON");
    cases[part].clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn tools() -> Vec<Tool> {
    serde_json::from_value(cases("tools")).expect("tools")
}

/// With those of tools below, the thousand generations that the engine is known by.
#[test]
fn json_satisfies_its_schema() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let mut session = session(&model);
    for (at, schema) in list(&cases("schemas")).iter().enumerate() {
        let grammar = Grammar::json_schema_value(env(&model), schema);
        let grammar = grammar.unwrap_or_else(|e| panic!("{schema}: {e}"));
        let validator = validator(schema);
        for seed in 0..32 {
            let tokens = generate(&mut session, &grammar, at as u64 * 1000 + seed);
            let text = model.tokenizer().decode(&tokens, true);
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{schema}: {e} in {text:?}"));
            if let Err(error) = validator.validate(&value) {
                panic!("{schema}: {error}: {text}");
            }
        }
    }
}

/// The calls of a generation as text.
fn calls(model: &Model, tokens: &[TokenId]) -> Vec<String> {
    let tokenizer = model.tokenizer();
    let special = |text| tokenizer.special(text).expect("a marker of calls");
    let (open, close) = (special("<|tool_call>"), special("<tool_call|>"));
    let after = tokens.split(|id| *id == open).skip(1);
    let inner = after.map(|call| {
        let (last, inner) = call.split_last().expect("a call");
        assert_eq!(*last, close, "nothing stands behind a call");
        tokenizer.decode(inner, false)
    });
    inner.collect()
}

#[test]
fn calls_satisfy_their_tools() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let mut session = session(&model);
    let tools = tools();
    for (at, tool) in tools.iter().enumerate() {
        let choice = ToolChoice::Named(tool.name.clone());
        let grammar = Grammar::tools(env(&model), &tools, &choice).expect("a grammar");
        for seed in 0..24 {
            let tokens = generate(&mut session, &grammar, at as u64 * 1000 + seed);
            let calls = calls(&model, &tokens);
            assert_eq!(calls.len(), 1);
            check_call(&model, &tools, &calls[0], Some(&tool.name));
        }
    }
    for choice in [ToolChoice::Auto, ToolChoice::Required] {
        let grammar = Grammar::tools(env(&model), &tools, &choice).expect("a grammar");
        for seed in 0..40 {
            let tokens = generate(&mut session, &grammar, seed);
            let calls = calls(&model, &tokens);
            assert!(choice == ToolChoice::Auto || !calls.is_empty());
            calls.iter().for_each(|call| check_call(&model, &tools, call, None));
        }
    }
}

/// Reads and validates a call, and lets the model's own template write it again.
fn check_call(model: &Model, tools: &[Tool], text: &str, name: Option<&str>) {
    let call = parse_call(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let tool = tools.iter().find(|tool| tool.name == call.name).expect("a declared tool");
    assert!(name.is_none_or(|name| name == call.name));
    let arguments = Value::Object(call.arguments);
    if let Err(error) = validator(&tool.parameters).validate(&arguments) {
        panic!("{}: {error}: {text}", tool.parameters);
    }
    // The template writes nothing as `None`, and numbers with a point in one way of several.
    if call.json.contains("null") || call.json.contains('.') || tool.name == "labels" {
        return;
    }
    let history = json!({"bos_token": "<bos>", "messages": [{"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function":
            {"name": call.name, "arguments": arguments}}]}]});
    let template = model.chat_template().expect("a template");
    let written = template.render(&history).expect("a prompt");
    let wanted = format!("<|tool_call>{text}<tool_call|>");
    assert!(written.text().contains(&wanted), "{wanted} in {}", written.text());
}

#[test]
fn text_follows_expressions_and_lark() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let mut session = session(&model);
    let date = Grammar::regex(env(&model), r"[0-9]{4}/(0[1-9]|1[0-2]) [é-ü]+!").expect("a grammar");
    let sum = "start: term (\"+\" term)*\nterm: /[1-9]/ | \"(\" start \")\"\n";
    let sum = Grammar::lark(env(&model), sum).expect("a grammar");
    for seed in 0..20 {
        let tokens = generate(&mut session, &date, seed);
        let text = model.tokenizer().decode(&tokens, true);
        let (year, rest) = text.split_once('/').expect("a slash");
        let (month, rest) = rest.split_once(' ').expect("a space");
        let letters = rest.strip_suffix('!').expect("a mark");
        assert!(year.len() == 4 && year.parse::<u16>().is_ok(), "{text}");
        assert!((1..=12).contains(&month.parse::<u8>().expect("a month")), "{text}");
        assert!(!letters.is_empty() && letters.chars().all(|c| ('é'..='ü').contains(&c)), "{text}");

        let mut constraint = Constraint::new(&sum);
        let mut random = Random(seed);
        let logits = vec![0.0; model.tokenizer().vocab_size()];
        for _ in 0..40 {
            let mask = constraint.mask().expect("a mask");
            let id = draw(&logits, mask, &mut random);
            if model.tokenizer().is_eog(id) {
                break;
            }
            constraint.accept(id).expect("an allowed token");
        }
    }
}

#[test]
fn what_the_mask_forbids_changes_nothing() {
    let model = model("q4_0");
    let tokenizer = model.tokenizer();
    let schema = r#"{"type": "object", "properties": {"a": {"enum": ["xy", "z"]}},
        "required": ["a"]}"#;
    let grammar = Grammar::json_schema(env(&model), schema).expect("a grammar");
    let mut constraint = Constraint::new(&grammar);
    let mut random = Random(3);
    let logits = vec![0.0; tokenizer.vocab_size()];
    let mut accepted = Vec::new();
    while !constraint.is_finished() {
        let mask = constraint.mask().expect("a mask").to_vec();
        assert_eq!(mask.len(), tokenizer.vocab_size().div_ceil(32));
        for id in 0..tokenizer.vocab_size() as TokenId + 40 {
            let is_in = (id as usize) < tokenizer.vocab_size() && allowed(&mask, id);
            if !is_in {
                assert_eq!(constraint.accept(id), Err(GrammarError::NotAllowed { token: id }));
            }
        }
        assert_eq!(constraint.mask().expect("a mask"), mask);
        let is_end = tokenizer.eog().iter().map(|id| allowed(&mask, *id)).collect::<Vec<_>>();
        assert!(is_end.iter().all(|end| Ok(*end) == constraint.is_accepting()));
        let id = draw(&logits, &mask, &mut random);
        constraint.accept(id).expect("an allowed token");
        accepted.push(id);
    }
    assert!(matches!(constraint.accept(accepted[0]), Err(GrammarError::NotAllowed { .. })));

    // Everything can be taken back, and comes again.
    let all = constraint.accepted();
    let error = constraint.rollback(all + 1);
    assert_eq!(error, Err(GrammarError::TooFew { wanted: all + 1, found: all }));
    for count in [1, 2, all] {
        let mut shorter = constraint.clone();
        shorter.rollback(count).expect("so many were accepted");
        let mut again = Constraint::new(&grammar);
        for id in &accepted[..all - count] {
            again.accept(*id).expect("an allowed token");
        }
        assert_eq!(shorter.mask(), again.mask());
        for id in &accepted[all - count..] {
            shorter.accept(*id).expect("an allowed token");
        }
        assert!(shorter.is_finished());
    }
}

/// What is forced has the tokens of the same text in a prompt.
#[test]
fn forced_text_is_cut_as_in_a_prompt() {
    let model = model("q4_0");
    let tools = tools();
    let choice = ToolChoice::Named("now".to_owned());
    let grammar = Grammar::tools(env(&model), &tools, &choice).expect("a grammar");
    let mut constraint = Constraint::new(&grammar);
    let mut tokens = Vec::new();
    while !constraint.is_finished() {
        let mut forced = constraint.forced();
        if forced.is_empty() {
            let mask = constraint.mask().expect("a mask");
            forced = (0..512).filter(|id| allowed(mask, *id)).take(1).collect();
        }
        for id in forced {
            constraint.accept(id).expect("an allowed token");
            tokens.push(id);
        }
    }
    assert_eq!(tokens, model.tokenizer().encode_prompt("<|tool_call>call:now{}<tool_call|>"));

    let text = "the quick  brown fox, naïve\n\n<b>";
    let grammar = Grammar::regex(env(&model), &text.replace('.', "\\.")).expect("a grammar");
    assert_eq!(Constraint::new(&grammar).forced(), model.tokenizer().encode(text));
}

#[test]
fn only_declared_tools_are_called() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let tokenizer = model.tokenizer();
    let tools = &tools()[..2];
    let allows = |choice: &ToolChoice, text: &str| {
        let grammar = Grammar::tools(env(&model), tools, choice).expect("a grammar");
        let mut constraint = Constraint::new(&grammar);
        let ids = tokenizer.encode_prompt(text);
        ids.iter().all(|id| constraint.accept(*id).is_ok()) && constraint.is_accepting() == Ok(true)
    };
    let named = ToolChoice::Named("now".to_owned());
    let now = "<|tool_call>call:now{}<tool_call|>";
    let weather = "<|tool_call>call:get_weather{city:<|\"|>x<|\"|>}<tool_call|>";
    let (auto, none, required) = (ToolChoice::Auto, ToolChoice::None, ToolChoice::Required);
    let both = format!("{now}{weather}");
    for (choice, text, wanted) in [
        (&auto, "just text", true),
        (&auto, "", true),
        (&auto, now, true),
        (&auto, &format!("text{both}"), true),
        (&auto, &format!("{now}text"), false),
        (&auto, "<|tool_call>call:later{}<tool_call|>", false),
        (&auto, "<|tool_call>call:now{a:1}<tool_call|>", false),
        (&auto, "<|turn>", false),
        (&none, "just text", true),
        (&none, now, false),
        (&required, "just text", false),
        (&required, "", false),
        (&required, &both, true),
        (&named, now, true),
        (&named, weather, false),
        (&named, &both, false),
    ] {
        assert_eq!(allows(choice, text), wanted, "{choice:?} {text:?}");
    }
    for choice in [&auto, &none] {
        let grammar = Grammar::tools(env(&model), &[], choice).expect("a grammar");
        let open = tokenizer.special("<|tool_call>").expect("a marker");
        assert!(Constraint::new(&grammar).accept(open).is_err());
    }
}

/// Whether a grammar lets a text through to its end, whatever its tokens are.
fn accepts(model: &Model, grammar: &Grammar, text: &str) -> bool {
    let tokenizer = model.tokenizer();
    let mut constraint = Constraint::new(grammar);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        if constraint.is_finished() {
            return false;
        }
        let mask = constraint.mask().expect("a mask");
        let length = |id: TokenId| {
            let token = tokenizer.token(id)?;
            let byte = token.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>'));
            let bytes = match byte {
                Some(hex) => vec![u8::from_str_radix(hex, 16).expect("a byte token")],
                None => tokenizer.decode(&[id], true).into_bytes(),
            };
            let fits = allowed(mask, id) && !bytes.is_empty() && rest.starts_with(&bytes);
            fits.then_some((bytes.len(), id))
        };
        let longest = (0..tokenizer.vocab_size() as TokenId).filter_map(length).max();
        let Some((length, id)) = longest else { return false };
        constraint.accept(id).expect("an allowed token");
        rest = &rest[length..];
    }
    constraint.is_accepting() == Ok(true)
}

/// Values that a schema allows pass in all their spellings, others do not: `jsonschema` is asked.
#[test]
fn texts_are_judged_as_their_schema_does() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    for case in list(&cases("judged")) {
        let schema = &case["schema"];
        let grammar = Grammar::json_schema_value(env(&model), schema).expect("a grammar");
        let validator = validator(schema);
        for text in list(&case["texts"]).iter().filter_map(Value::as_str) {
            let value: Value = serde_json::from_str(text).expect("JSON");
            let wanted = validator.is_valid(&value);
            assert_eq!(accepts(&model, &grammar, text), wanted, "{schema} {text}");
        }
        for text in ["", " ", "{", "nul", "tru", "01", "[1,]", "{,}", "{\"b\":\"\n\"}"] {
            assert!(!accepts(&model, &grammar, text), "{schema} {text}");
        }
    }
}

/// The end of a string is a token; its text, written by other tokens, would end it for a reader.
#[test]
fn strings_of_calls_do_not_hold_markers() {
    let model = model("q4_0");
    let tokenizer = model.tokenizer();
    let tools = [Tool {
        name: "f".to_owned(),
        description: String::new(),
        parameters: json!({"type": "object", "properties": {"a": {"type": "string"}}}),
    }];
    let grammar = Grammar::tools(env(&model), &tools, &ToolChoice::Required).expect("a grammar");
    let start = tokenizer.encode_prompt("<|tool_call>call:f{a:<|\"|>");
    for (text, wanted) in [
        ("<|\"|", true),
        ("<|\"|>", false),
        ("a<|\"|>b", false),
        ("<tool_call|>", false),
        ("{\"a\": [1, 2]}\n<b>", true),
    ] {
        let mut constraint = Constraint::new(&grammar);
        let mut ids = start.iter().copied().chain(tokenizer.encode(text));
        assert_eq!(ids.all(|id| constraint.accept(id).is_ok()), wanted, "{text}");
    }
}

/// Byte tokens make whole characters or none.
#[test]
fn bytes_that_are_no_text_are_forbidden() {
    let model = model("q4_0");
    let tokenizer = model.tokenizer();
    let byte = |byte: u8| -> TokenId {
        let text = format!("<0x{byte:02X}>");
        let ids = 0..tokenizer.vocab_size() as TokenId;
        ids.into_iter().find(|id| tokenizer.token(*id) == Some(&text)).expect("a byte token")
    };
    let json = Grammar::json_schema(env(&model), r#"{"type": "string"}"#).expect("a grammar");
    let text = Grammar::tools(env(&model), &[], &ToolChoice::None).expect("a grammar");
    for (grammar, start) in [(json, "\""), (text, "")] {
        for (bytes, wanted) in [
            (&[0xC3, 0xA9][..], true),
            (&[0xF0, 0x9F, 0xA6, 0x8A], true),
            (&[0xFF], false),
            (&[0x80], false),
            (&[0xC0, 0x80], false),
            (&[0xED, 0xA0, 0x80], false),
            (&[0xC3, 0x41], false),
        ] {
            let mut constraint = Constraint::new(&grammar);
            let start = tokenizer.encode(start);
            let mut ids = start.into_iter().chain(bytes.iter().map(|b| byte(*b)));
            assert_eq!(ids.all(|id| constraint.accept(id).is_ok()), wanted, "{bytes:X?}");
        }
        let mut constraint = Constraint::new(&grammar);
        for id in tokenizer.encode(start).into_iter().chain([byte(0xC3)]) {
            constraint.accept(id).expect("an allowed token");
        }
        assert_eq!(constraint.is_accepting(), Ok(false), "a character is open");
    }
}

/// A schema that nobody wrote: keywords of all kinds, in each other, some in contradiction.
fn wild_schema(random: &mut Random, depth: usize) -> Value {
    let mut pick = |n: usize| ((random.unit() * n as f32) as usize).min(n - 1);
    let kind = pick(if depth == 0 { 5 } else { 10 });
    let (low, high) = (pick(7) as i64 - 3, pick(5) as i64);
    let pattern = ["a+", "^[bc]*$", "x|^y$"][high as usize % 3];
    let key = ["a", "b", "é"][high as usize % 3];
    let mut inner = || wild_schema(random, depth - 1);
    match kind {
        0 => json!({"type": "integer", "minimum": low, "maximum": low + high}),
        1 => json!({"type": "number", "exclusiveMinimum": low, "maximum": low as f64 + 0.25}),
        2 => json!({"type": ["string", "null"], "minLength": high, "maxLength": 3}),
        3 => json!({"enum": [low, high, "a", null, true, {"k": low}]}),
        4 => json!({"type": "string", "pattern": pattern}),
        5 => json!({"type": "array", "items": inner(), "minItems": high % 3, "maxItems": 2}),
        6 => json!({"type": "array", "prefixItems": [inner(), inner()], "items": inner(),
            "maxItems": 3}),
        7 => json!({"type": "object", "properties": {"a": inner(), "b": inner(), "é": inner()},
            "required": [key]}),
        8 => json!({"anyOf": [inner(), inner(), inner()]}),
        _ => json!({"allOf": [inner(), {"anyOf": [inner(), inner()]}], "anyOf": [inner(), true]}),
    }
}

#[test]
fn wild_schemas_are_satisfied_or_refused() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let even = vec![0.0; model.tokenizer().vocab_size()];
    let (mut satisfied, mut contradictions) = (0, Vec::new());
    let mut values = vec![Value::Null, json!([]), json!({}), json!(0), json!("")];
    for seed in 0..300 {
        let schema = wild_schema(&mut Random(seed), 1 + seed as usize % 3);
        let grammar = match Grammar::json_schema_value(env(&model), &schema) {
            Ok(grammar) => grammar,
            Err(GrammarError::Unsatisfiable { .. }) => {
                contradictions.push(schema);
                continue;
            }
            Err(GrammarError::Unsupported { hint, .. }) if hint.contains("lists and objects") => {
                continue;
            }
            Err(error) => panic!("{schema}: {error}"),
        };
        let validator = validator(&schema);
        for round in 0..3 {
            let tokens = walk(&model, &grammar, seed * 10 + round, &mut |_| even.clone());
            let text = model.tokenizer().decode(&tokens, true);
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(validator.is_valid(&value), "{schema}: {text}");
            values.push(value);
        }
        satisfied += 1;
    }
    assert!(satisfied > 150 && contradictions.len() > 10, "{satisfied} {}", contradictions.len());
    // None of the values that satisfied the others satisfies what was refused.
    for schema in contradictions {
        let validator = validator(&schema);
        if let Some(value) = values.iter().find(|value| validator.is_valid(value)) {
            panic!("{schema} is satisfied by {value}");
        }
    }
}
