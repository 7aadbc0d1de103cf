//! Generations under grammars, judged by others: serde_json reads what comes out and the
//! `jsonschema` crate validates it; arguments of calls pass through `parse_call` first.

mod common;

use std::time::{Duration, Instant};

use carat::chat::parse_call;
use carat::{
    Constraint, Grammar, GrammarEnv, GrammarError, Input, Model, Session, SessionConfig, TokenId,
    Tool, ToolChoice,
};
use common::{config, model};
use serde_json::{Value, json};

/// Numbers that look random (PCG's multiplier and a shift).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }
}

fn allowed(mask: &[u32], id: TokenId) -> bool {
    mask[id as usize / 32] >> (id % 32) & 1 == 1
}

/// Draws among the allowed tokens at temperature 1.
fn draw(logits: &[f32], mask: &[u32], random: &mut Random) -> TokenId {
    let ids: Vec<TokenId> = (0..logits.len() as TokenId).filter(|id| allowed(mask, *id)).collect();
    assert!(!ids.is_empty(), "a mask is never empty");
    let most = ids.iter().map(|id| logits[*id as usize]).fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: &TokenId| (logits[*id as usize] - most).exp();
    let mut at = random.unit() * ids.iter().map(weight).sum::<f32>();
    for id in &ids {
        at -= weight(id);
        if at <= 0.0 {
            return *id;
        }
    }
    ids[ids.len() - 1]
}

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

/// The tokens of one generation, without its end.
fn generate(session: &mut Session, grammar: &Grammar, seed: u64) -> Vec<TokenId> {
    let model = session.model().clone();
    session.truncate(0).expect("the beginning");
    session.push(Input::Text("the fox")).expect("a push");
    let mut constraint = Constraint::new(grammar);
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut tokens = Vec::new();
    while !constraint.is_finished() {
        let forced = constraint.forced();
        if !forced.is_empty() {
            for id in &forced {
                constraint.accept(*id).expect("what is forced is allowed");
            }
            session.push(Input::Tokens(&forced)).expect("a push");
            tokens.extend(forced);
            continue;
        }
        let mask = constraint.mask().expect("a mask");
        let mut id = draw(session.logits().expect("logits"), mask, &mut random);
        if tokens.len() > 120 {
            id = closing(&model, &tokens, mask).unwrap_or(id);
        }
        let text = || model.tokenizer().decode(&tokens, false);
        assert!(tokens.len() < 900, "a generation comes to its end: {}", text());
        constraint.accept(id).expect("an allowed token");
        if !model.tokenizer().is_eog(id) {
            session.push(Input::Tokens(&[id])).expect("a push");
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

fn env(model: &Model) -> &GrammarEnv {
    model.grammar_env().expect("a vocabulary")
}

fn validator(schema: &Value) -> jsonschema::Validator {
    // OpenAPI's keyword, which JSON Schema does not know.
    let text = schema.to_string();
    let nullable = r#""type":"integer","minimum":1,"maximum":14,"nullable":true"#;
    let text = text.replace(nullable, r#""type":["integer","null"],"minimum":1,"maximum":14"#);
    let schema = serde_json::from_str(&text).expect("JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a valid schema")
}

fn schemas() -> Vec<Value> {
    let person = json!({"type": "object", "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "email": {"type": ["string", "null"], "maxLength": 8},
        "ok": {"type": "boolean"}}, "required": ["name", "age"]});
    let tree = json!({"type": "object", "properties": {
        "value": {"type": "integer", "minimum": -9, "maximum": 9},
        "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}},
        "required": ["value"]});
    let list = json!({"$defs": {"node": {"anyOf": [{"type": "null"}, {"type": "object",
        "properties": {"head": {"type": "boolean"}, "tail": {"$ref": "#/$defs/node"}},
        "required": ["head", "tail"], "additionalProperties": false}]}}, "$ref": "#/$defs/node"});
    let shape = json!({"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number",
            "exclusiveMinimum": 0, "maximum": 99.5}}, "required": ["kind", "r"]},
        {"type": "object", "properties": {"kind": {"const": "square"}, "a": {"type": "number",
            "minimum": -0.25, "exclusiveMaximum": 0.75}}, "required": ["kind", "a"]}]});
    vec![
        person,
        tree,
        list,
        shape,
        json!({"type": "boolean"}),
        json!({"enum": ["a", "ab", "é\n\"x\"", 1, 2.5, null, true, [1, "b"], {"k": []}, ""]}),
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 5}),
        json!({"type": "array", "prefixItems": [{"type": "string", "maxLength": 3},
            {"type": "integer"}], "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4}),
        json!({"type": "array", "prefixItems": [{"type": "null"}, {"const": "x"}],
            "items": false, "minItems": 1}),
        json!({"type": "number"}),
        json!({"type": "number", "multipleOf": 0.5}),
        json!({"type": "integer", "multipleOf": 7, "minimum": -100, "maximum": 1000}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-\\d{1,4}$"}),
        json!({"type": "string", "pattern": "b+c|^x", "maxLength": 9, "minLength": 3}),
        json!({"type": "object", "properties": {"d": {"type": "string", "format": "date"},
            "t": {"type": "string", "format": "date-time"}, "u": {"type": "string", "format": "uuid"},
            "i": {"type": "string", "format": "ipv4"}, "j": {"type": "string", "format": "ipv6"}},
            "required": ["d", "i"]}),
        json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 3},
            "minProperties": 1, "maxProperties": 3}),
        json!({"type": "object", "patternProperties": {"^x_[a-z]{1,3}$": {"type": "boolean"}},
            "additionalProperties": false, "maxProperties": 4}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}},
            {"properties": {"a": {"maximum": 20}, "b": {"type": "string", "maxLength": 2}},
             "required": ["b"]}], "required": ["a"], "additionalProperties": true}),
        json!({"type": "object", "properties": {"größe": {"enum": ["klein", "groß"]},
            "数": {"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 3},
            "🦊 fox": {"type": "array", "items": {"enum": ["🔥", "水"]}, "maxItems": 3},
            "a\"b\\": {"type": "null"}}, "required": ["größe", "a\"b\\"]}),
        json!({"anyOf": [{"type": "string", "maxLength": 4}, {"type": "object", "properties":
            {"x": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "null"},
            "maxItems": 2}]}}}, {"type": "number", "minimum": 1.5, "maximum": 1.75}]}),
        json!({"type": "object", "properties": {"any": {}, "list": {"type": "array", "maxItems": 2},
            "map": {"type": "object", "maxProperties": 2}}, "required": ["any", "list", "map"]}),
    ]
}

fn tools() -> Vec<Tool> {
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required});
    let where_ = object(
        json!({"lat": {"type": "number", "minimum": -90, "maximum": 90},
        "lon": {"type": "number", "minimum": -180, "maximum": 180}}),
        json!(["lat", "lon"]),
    );
    let list = [
        (
            "get_weather",
            object(
                json!({"city": {"type": "string", "maxLength": 10}, "unit":
            {"type": "string", "enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer",
            "minimum": 1, "maximum": 14, "nullable": true}, "where": where_}),
                json!(["city"]),
            ),
        ),
        ("now", object(json!({}), json!([]))),
        (
            "set-light.on",
            object(
                json!({"on": {"type": "boolean"}, "Level": {"type": "integer",
            "minimum": 0, "maximum": 255}, "colour": {"type": "string", "pattern":
            "^#[0-9a-f]{6}$"}}),
                json!(["on"]),
            ),
        ),
        (
            "search",
            object(
                json!({"q": {"type": "string", "minLength": 1, "maxLength": 20},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 1,
            "maxItems": 3}, "page": {"type": "integer", "minimum": 1}}),
                json!(["q", "tags"]),
            ),
        ),
        (
            "mixed",
            object(
                json!({"v": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength":
            5}, {"type": "boolean"}, {"type": "null"}]}, "w": {"type": ["integer", "boolean"]}}),
                json!(["v"]),
            ),
        ),
        (
            "tree",
            json!({"type": "object", "properties": {"root": {"$ref": "#/$defs/n"}},
            "required": ["root"], "$defs": {"n": {"type": "object", "properties": {"v": {"type":
            "integer", "maximum": 9}, "left": {"$ref": "#/$defs/n"}, "right": {"$ref":
            "#/definitions/m"}}, "required": ["v"]}}, "definitions": {"m": {"type": "boolean"}}}),
        ),
        (
            "größe",
            object(
                json!({"länge": {"type": "integer"}, "数量": {"type": "integer",
            "minimum": 2}, "two words": {"enum": ["ja", "nein", ""]}}),
                json!(["数量"]),
            ),
        ),
        (
            "deep",
            object(
                json!({"a": object(json!({"b": object(json!({"c": {"type": "array", "items":
            {"type": "array", "items": {"const": "x"}, "maxItems": 2}, "maxItems": 2}}),
            json!(["c"]))}), json!(["b"]))}),
                json!(["a"]),
            ),
        ),
        (
            "when",
            object(
                json!({"day": {"type": "string", "format": "date"}, "id": {"type": "string",
            "format": "uuid"}}),
                json!(["day", "id"]),
            ),
        ),
        (
            "labels",
            object(
                json!({"set": {"type": "object", "additionalProperties": {"type":
            "string", "maxLength": 3}, "maxProperties": 2}}),
                json!(["set"]),
            ),
        ),
        (
            "choose",
            object(
                json!({"what": {"oneOf": [{"const": {"b": 1, "A": ["x"]}}, {"enum": [3,
            "three"]}]}, "empty": {"type": "string", "maxLength": 0}}),
                json!(["what", "empty"]),
            ),
        ),
        (
            "step",
            object(
                json!({"by": {"type": "integer", "multipleOf": 5, "minimum": -20,
            "maximum": 20}, "all": {"allOf": [{"type": "integer"}, {"minimum": 4}, {"maximum":
            6}]}}),
                json!(["by", "all"]),
            ),
        ),
    ];
    let tool = |(name, parameters): (&str, Value)| Tool {
        name: name.to_owned(),
        description: String::new(),
        parameters,
    };
    list.map(tool).into()
}

/// With those of tools below, the thousand generations that the engine is known by.
#[test]
fn json_satisfies_its_schema() {
    let model = model("q4_0");
    let mut session = session(&model);
    for (at, schema) in schemas().iter().enumerate() {
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
}

#[test]
fn only_declared_tools_are_called() {
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

#[test]
fn tools_that_cannot_be_called_are_errors() {
    let model = model("q4_0");
    let error = |value: Value, choice: &ToolChoice| {
        let tools: Vec<Tool> = serde_json::from_value(value).expect("tools");
        Grammar::tools(env(&model), &tools, choice).expect_err("no grammar").to_string()
    };
    let auto = ToolChoice::Auto;
    let parameters = |properties: Value| {
        json!([{"name": "f", "parameters":
        {"type": "object", "properties": properties}}])
    };
    for (tools, choice, wanted) in [
        (json!([{"name": "a b"}]), &auto, "letters"),
        (json!([{"name": "a{"}]), &auto, "letters"),
        (json!([{"name": "f"}, {"name": "f"}]), &auto, "another tool"),
        (json!([{"name": "f"}]), &ToolChoice::Named("g".to_owned()), "not declared"),
        (json!([]), &ToolChoice::Required, "no tool"),
        (parameters(json!({"a:b": {}})), &auto, "colon"),
        (parameters(json!({"a": {"enum": ["<|\"|>"]}})), &auto, "ends a string"),
        (json!([{"name": "f", "parameters": {"type": "string"}}]), &auto, "no value satisfies"),
    ] {
        let error = error(tools.clone(), choice);
        assert!(error.contains(wanted), "{tools}: {error}");
    }
}

#[test]
fn contradictions_are_errors_before_the_first_token() {
    let model = model("q4_0");
    for schema in [
        json!(false),
        json!({"enum": []}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"type": "string", "pattern": "^a{5}$", "maxLength": 4}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "object", "required": ["a"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
        json!({"type": "integer", "minimum": 0.25, "maximum": 0.75}),
        json!({"type": "number", "exclusiveMinimum": 1, "maximum": 1}),
        json!({"type": "array", "items": false, "minItems": 1}),
        json!({"type": "array", "minItems": 3, "maxItems": 2}),
        json!({"type": "string", "enum": [1, 2]}),
        json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
        json!({"allOf": [{"enum": [1, 2]}, {"const": 3}]}),
        json!({"$ref": "#"}),
        json!({"anyOf": [{"$ref": "#"}, false]}),
        json!({"type": "integer", "multipleOf": 10, "minimum": 11, "maximum": 19}),
    ] {
        let result = Grammar::json_schema_value(env(&model), &schema);
        assert!(matches!(result, Err(GrammarError::Unsatisfiable { .. })), "{schema}: {result:?}");
    }
    assert!(matches!(
        Grammar::regex(env(&model), "a[^\\s\\S]"),
        Err(GrammarError::Unsatisfiable { .. })
    ));
}

#[test]
fn what_is_not_followed_is_named() {
    let model = model("q4_0");
    for (schema, at) in [
        (json!([]), "# of the schema is an empty list"),
        (json!({"type": "strin"}), "#/type of"),
        (json!({"type": []}), "#/type of"),
        (json!({"properties": {"a": {"minLength": -1}}}), "#/properties/a/minLength of"),
        (json!({"properties": []}), "#/properties of"),
        (json!({"required": [1]}), "#/required of"),
        (json!({"anyOf": []}), "#/anyOf of"),
        (json!({"items": {"not": {}}}), "#/items/not of"),
        (json!({"uniqueItems": true}), "#/uniqueItems of"),
        (json!({"if": true}), "#/if of"),
        (json!({"$ref": "https://a/b"}), "#/$ref of"),
        (json!({"$ref": "#/nowhere"}), "#/$ref of"),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "#/oneOf of"),
        (json!({"type": "string", "format": "iri"}), "#/format of"),
        (json!({"type": "string", "pattern": "(?=a)"}), "#/pattern of"),
        (json!({"type": "integer", "multipleOf": 0}), "#/multipleOf of"),
    ] {
        let error = Grammar::json_schema_value(env(&model), &schema).expect_err("an error");
        assert!(error.to_string().starts_with(at), "{schema}: {error}");
    }
    assert!(matches!(Grammar::json_schema(env(&model), "{"), Err(GrammarError::NotJson { .. })));
    for lark in ["", "start: x", "start: <|nothing|>", "start: <[9999]>", "begin: \"a\""] {
        let error = Grammar::lark(env(&model), lark).expect_err("an error");
        assert!(matches!(error, GrammarError::Refused { .. }), "{lark}: {error}");
    }
}

/// Whatever a client sends, an answer comes soon: a grammar that works, or an error.
#[test]
fn hostile_grammars_end_soon() {
    let model = model("q4_0");
    let env = env(&model);
    let nested = |n: usize| {
        let mut schema = json!({"type": "integer"});
        for _ in 0..n {
            schema = json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
        }
        schema
    };
    let product: Vec<Value> = (0..12)
        .map(|i| json!({"anyOf": (0..8).map(|j| json!({"properties": {format!("{i}"): {"const": j}}})).collect::<Vec<_>>()}))
        .collect();
    let many = |n: usize| {
        let keys =
            (0..n).map(|i| (format!("k{i}"), json!({"type": "string", "pattern": "a{1,9}b"})));
        json!({"type": "object", "properties": keys.collect::<serde_json::Map<_, _>>()})
    };
    let chain = |n: usize| {
        let next = |i: usize| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}));
        let mut defs: serde_json::Map<_, _> = (0..n).map(next).collect();
        defs.insert(format!("d{n}"), json!({"type": "null"}));
        json!({"$defs": defs, "$ref": "#/$defs/d0"})
    };
    let schemas = [
        nested(50),
        nested(70),
        nested(200),
        json!({"allOf": product}),
        many(900),
        many(5000),
        chain(50),
        chain(2000),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "array", "maxItems": 1_000_000_000u64}),
        json!({"type": "string", "minLength": 1_000_000_000}),
        json!({"type": "string", "maxLength": 1e300}),
        json!({"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"}),
        json!({"type": "string", "pattern": "^(a|b)*a(a|b){400}$"}),
        json!({"type": "string", "pattern": "(x+x+)+y"}),
        json!({"type": "string", "pattern": "(".repeat(5000)}),
        json!({"type": "string", "pattern": "\\pL{1,1000}".repeat(20)}),
        json!({"enum": (0..20_000).collect::<Vec<_>>()}),
        json!({"enum": (0..9_000).map(|i| format!("word{i}")).collect::<Vec<_>>()}),
        json!({"type": "number", "minimum": 1e-300, "maximum": 1e300}),
        json!({"type": "string", "description": "x".repeat(10 << 20)}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}},
            "$ref": "#/$defs/a"}),
        json!({"allOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/u"}], "$defs": {
            "t": {"type": "object", "properties": {"c": {"$ref": "#/$defs/t"}}},
            "u": {"type": "object", "properties": {"c": {"$ref": "#/$defs/u"}}}}}),
    ];
    let soon = |what: String, compile: &dyn Fn() -> Result<Grammar, GrammarError>| {
        let start = Instant::now();
        let result = compile();
        // The first tokens may take no longer either.
        let state = result.and_then(|grammar| {
            let mut constraint = Constraint::new(&grammar);
            let mut random = Random(1);
            let logits = vec![0.0; model.tokenizer().vocab_size()];
            for _ in 0..20 {
                let id = draw(&logits, constraint.mask()?, &mut random);
                constraint.accept(id)?;
                if constraint.is_finished() {
                    break;
                }
            }
            Ok(())
        });
        let took = start.elapsed();
        let what: String = what.chars().take(90).collect();
        let shown = state.map_or_else(|error| error.to_string(), |()| "a grammar".to_owned());
        eprintln!("{took:9.1?} {what}: {}", shown.chars().take(150).collect::<String>());
        assert!(took < Duration::from_secs(LIMIT), "{what} took {took:?}");
        assert!(shown.len() < 400 && !shown.contains('\n'), "{shown}");
    };
    for schema in &schemas {
        soon(schema.to_string(), &|| Grammar::json_schema_value(env, schema));
        let tool = Tool {
            name: "f".to_owned(),
            description: String::new(),
            parameters: json!({"type": "object", "properties": {"a": {"type": "null"}}}),
        };
        let mut tool = tool;
        tool.parameters["properties"]["a"] = schema.clone();
        tool.parameters["$defs"] = schema.get("$defs").cloned().unwrap_or(json!({}));
        soon(format!("tool {schema}"), &|| {
            Grammar::tools(env, std::slice::from_ref(&tool), &ToolChoice::Required)
        });
    }
    let text = "[".repeat(100_000);
    soon("brackets".to_owned(), &|| Grammar::json_schema(env, &text));
    let large = format!("{{\"description\": \"{}\"}}", "x".repeat(10 << 20));
    soon("10 MB".to_owned(), &|| Grammar::json_schema(env, &large));
    for regex in ["(a*)*".repeat(50), "a{1000}{1000}{1000}".to_owned(), "(".repeat(60_000)] {
        soon(regex.clone(), &|| Grammar::regex(env, &regex));
    }
    let rules: String = (0..3000).map(|i| format!("r{i}: r{} \"a\"\n", i + 1)).collect();
    for lark in [
        format!("start: r0\n{rules}r3000: \"b\"\n"),
        "start: a\na: a a | a | \"x\" | \"\"\n".to_owned(),
        "start: \"a\" start\n".to_owned(),
        format!("start: {}\"a\"{}\n", "(".repeat(9000), ")".repeat(9000)),
        "start: (\"a\" | \"b\"){1000000000}\n".to_owned(),
    ] {
        soon(lark.clone(), &|| Grammar::lark(env, &lark));
    }
}

/// Seconds for a hostile grammar, in a build without optimisation on a busy machine.
const LIMIT: u64 = if cfg!(debug_assertions) { 20 } else { 2 };

/// Sessions on other threads may hold these.
#[test]
fn everything_can_be_sent() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Constraint>();
    is_shared::<GrammarEnv>();
    is_send::<Grammar>();
}
