//! Grammars that cannot be used: each is an error, in one sentence, before the first token, and
//! soon.

mod common;
#[path = "common/emulated.rs"]
mod emulated;
#[path = "common/masked.rs"]
mod masked;

use std::time::{Duration, Instant};

use carat::{Constraint, Grammar, GrammarEnv, GrammarError, Model, Tool, ToolChoice};
use common::model;
use emulated::emulated;
use masked::{Random, draw, env};
use serde_json::{Value, json};

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
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
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

fn hostile_schemas() -> Vec<Value> {
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
    vec![
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
    ]
}

/// Compiles, takes the first tokens, and looks at the clock.
fn soon(model: &Model, what: &str, compile: impl FnOnce() -> Result<Grammar, GrammarError>) {
    let start = Instant::now();
    let state = compile().and_then(|grammar| {
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
}

/// Whatever a client sends, an answer comes soon: a grammar that works, or an error.
#[test]
fn hostile_grammars_end_soon() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    let model = model("q4_0");
    let env = env(&model);
    for schema in &hostile_schemas() {
        soon(&model, &schema.to_string(), || Grammar::json_schema_value(env, schema));
        let definitions = schema.get("$defs").cloned().unwrap_or(json!({}));
        let parameters =
            json!({"type": "object", "properties": {"a": schema}, "$defs": definitions});
        let tool = Tool { name: "f".to_owned(), description: String::new(), parameters };
        soon(&model, &format!("tool {schema}"), || {
            Grammar::tools(env, std::slice::from_ref(&tool), &ToolChoice::Required)
        });
    }
    let text = "[".repeat(100_000);
    soon(&model, "brackets", || Grammar::json_schema(env, &text));
    let large = format!("{{\"description\": \"{}\"}}", "x".repeat(10 << 20));
    soon(&model, "10 MB", || Grammar::json_schema(env, &large));
    for regex in ["(a*)*".repeat(50), "a{1000}{1000}{1000}".to_owned(), "(".repeat(60_000)] {
        soon(&model, &regex, || Grammar::regex(env, &regex));
    }
    let rules: String = (0..3000).map(|i| format!("r{i}: r{} \"a\"\n", i + 1)).collect();
    for lark in [
        format!("start: r0\n{rules}r3000: \"b\"\n"),
        "start: a\na: a a | a | \"x\" | \"\"\n".to_owned(),
        "start: \"a\" start\n".to_owned(),
        format!("start: {}\"a\"{}\n", "(".repeat(9000), ")".repeat(9000)),
        "start: (\"a\" | \"b\"){1000000000}\n".to_owned(),
    ] {
        soon(&model, &lark, || Grammar::lark(env, &lark));
    }
}

/// Seconds for a hostile grammar, in a build without optimisation on a busy machine.
const LIMIT: u64 = if cfg!(debug_assertions) { 20 } else { 2 };

/// Sessions on other threads may hold these.
#[test]
fn everything_can_be_sent() {
    if emulated() {
        return; // no instruction set changes this, and it takes minutes
    }
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Constraint>();
    is_shared::<GrammarEnv>();
    is_shared::<Grammar>();
}
