//! Grammars: a JSON Schema, a regular expression, a Lark grammar or tools of any shape are refused
//! soon or let only through what satisfies them, whatever tokens are chosen.
//!
//! The input is a byte for the kind, the text of the grammar, a zero byte, and a byte for every
//! choice among the allowed tokens. What comes out is judged by others: serde_json, the
//! `jsonschema` and the `regex` crate.

use std::time::Duration;

use carat::chat::parse_call;
use carat::reply::{Piece, Splitter};
use carat::{Constraint, Grammar, GrammarEnv, GrammarError, TokenId, Tool, ToolChoice};
use jsonschema::{Draft, Validator};
use regex::RegexBuilder;
use serde_json::Value;

use crate::said::within;
use crate::{kit, said};

/// Compiles the grammar in `data` and generates by it.
pub fn grammar(data: &[u8]) -> bool {
    let [kind, rest @ ..] = data else { return false };
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let Ok(text) = std::str::from_utf8(&rest[..end]) else { return false };
    let choices = rest.get(end + 1..).unwrap_or_default();
    let env = kit::model().grammar_env().expect("the kit's vocabulary has a trie");
    let judged = match kind % 4 {
        0 => schema(env, text, choices),
        1 => regex(env, text, choices),
        2 => compiled(|| Grammar::lark(env, text)).and_then(|it| walk(&it, choices)).map(drop),
        _ => tools(env, text, choices),
    };
    judged.is_some()
}

fn schema(env: &GrammarEnv, text: &str, choices: &[u8]) -> Option<()> {
    let grammar = compiled(|| Grammar::json_schema(env, text))?;
    let tokens = walk(&grammar, choices)?;
    let json = kit::model().tokenizer().decode(&tokens, true);
    let value: Value =
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{text}: {e} in {json:?}"));
    let schema: Value = serde_json::from_str(text).expect("the schema was read as JSON");
    if let Some(error) =
        validator(&schema).and_then(|v| v.validate(&value).err().map(|e| e.to_string()))
    {
        panic!("{text}: {error}: {json}");
    }
    Some(())
}

fn regex(env: &GrammarEnv, text: &str, choices: &[u8]) -> Option<()> {
    let grammar = compiled(|| Grammar::regex(env, text))?;
    let tokens = walk(&grammar, choices)?;
    let found = kit::model().tokenizer().decode(&tokens, true);
    // Alone it shows that it is one expression, and not the halves of two.
    let built = |text: &str| RegexBuilder::new(text).size_limit(1 << 20).build();
    let (Ok(_), Ok(judge)) = (built(text), built(&format!("\\A(?:{text})\\z"))) else {
        return Some(());
    };
    assert!(judge.is_match(&found), "{text:?} does not match {found:?}");
    Some(())
}

fn tools(env: &GrammarEnv, text: &str, choices: &[u8]) -> Option<()> {
    let tools = serde_json::from_str::<Vec<Tool>>(text).ok()?;
    let choice = &ToolChoice::Required;
    let grammar = compiled(|| Grammar::tools(env, &tools, choice))?;
    let tokens = walk(&grammar, choices)?;
    let tokenizer = kit::model().tokenizer();
    let mut splitter = Splitter::new(tokenizer);
    let mut pieces: Vec<Piece> = tokens.iter().filter_map(|id| splitter.push(*id)).collect();
    pieces.extend(splitter.finish());
    assert!(!pieces.is_empty(), "no call was made");
    for piece in pieces {
        let Piece::ToolCall(inside) = piece else { panic!("{text}: {piece:?} is no call") };
        let call = parse_call(&inside).unwrap_or_else(|e| panic!("{text}: {e} in {inside:?}"));
        let tool = tools.iter().find(|tool| tool.name == call.name);
        let tool = tool.unwrap_or_else(|| panic!("{text}: {inside} calls no tool"));
        let arguments = Value::Object(call.arguments);
        let judge = validator(&tool.parameters);
        if let Some(error) = judge.and_then(|v| v.validate(&arguments).err().map(|e| e.to_string()))
        {
            panic!("{text}: {error}: {inside}");
        }
    }
    Some(())
}

/// The grammar, which is made or refused within a time.
fn compiled(make: impl FnOnce() -> Result<Grammar, GrammarError>) -> Option<Grammar> {
    match within(LONGEST_COMPILE, make) {
        Ok(grammar) => Some(grammar),
        Err(error) => {
            said::is_a_sentence(&error);
            None
        }
    }
}

/// The judge of a schema, where it reads it as we do: drafts differ in what keywords mean, and
/// OpenAPI has one of its own.
fn validator(schema: &Value) -> Option<Validator> {
    let text = schema.to_string();
    let others =
        ["\"nullable\"", "\"$schema\"", "\"$id\"", "\"id\"", "nchor\"", "\"format\"", "\"pattern"];
    if others.iter().any(|other| text.contains(other)) {
        return None;
    }
    let options = jsonschema::options().with_draft(Draft::Draft202012);
    options.build(schema).ok()
}

/// The tokens of a generation without its end; `None` if it does not come to one.
fn walk(grammar: &Grammar, choices: &[u8]) -> Option<Vec<TokenId>> {
    let mut constraint = Constraint::new(grammar);
    let mut tokens: Vec<TokenId> = Vec::new();
    let mut choices = choices.iter();
    while tokens.len() < TOKENS_MAX {
        let forced = constraint.forced();
        for id in &forced {
            constraint.accept(*id).expect("what is forced is allowed");
        }
        tokens.extend(&forced);
        if constraint.is_finished() {
            assert_eq!(constraint.is_accepting(), Ok(true), "finished and not accepting");
            return Some(tokens);
        }
        if !forced.is_empty() {
            continue;
        }
        let mask = within(LONGEST_MASK, || constraint.mask().map(<[u32]>::to_vec));
        let mask = match mask {
            Ok(mask) => mask,
            Err(error) => {
                said::is_a_sentence(&error);
                return None;
            }
        };
        let id = chosen(&mask, choices.next().copied(), tokens.len());
        step(&mut constraint, &mask, id)?;
        if kit::model().tokenizer().is_eog(id) {
            return Some(tokens);
        }
        tokens.push(id);
    }
    None
}

/// One of the allowed tokens: any while there are choices, then one that ends something.
fn chosen(mask: &[u32], choice: Option<u8>, at: usize) -> TokenId {
    let tokenizer = kit::model().tokenizer();
    let ids: Vec<TokenId> =
        (0..tokenizer.vocab_size() as TokenId).filter(|id| is_allowed(mask, *id)).collect();
    assert!(!ids.is_empty(), "a mask is empty");
    let ends = || {
        let end = tokenizer.eog().iter().copied().find(|id| is_allowed(mask, *id));
        let texts = ["<|\"|>", "\"", "}", "]", "<tool_call|>"];
        let id = |text: &str| {
            let plain = || tokenizer.encode(text).first().copied();
            tokenizer.special(text).or_else(plain).filter(|id| is_allowed(mask, *id))
        };
        end.or_else(|| texts.into_iter().find_map(id)).unwrap_or(ids[at * 7 % ids.len()])
    };
    choice.map_or_else(ends, |choice| ids[usize::from(choice) * 3 % ids.len()])
}

/// Goes on by `id`, once a forbidden token was refused, and once more after it was taken back.
fn step(constraint: &mut Constraint, mask: &[u32], id: TokenId) -> Option<()> {
    let vocab = kit::model().tokenizer().vocab_size() as TokenId;
    let forbidden = (0..vocab + 2).find(|id| *id >= vocab || !is_allowed(mask, *id));
    if let Some(token) = forbidden {
        assert_eq!(constraint.accept(token), Err(GrammarError::NotAllowed { token }));
    }
    let before = constraint.accepted();
    for _ in 0..2 {
        if let Err(error) = constraint.accept(id) {
            assert!(matches!(error, GrammarError::Stuck { .. }), "{id} was allowed: {error}");
            said::is_a_sentence(&error);
            return None;
        }
        assert_eq!(constraint.accepted(), before + 1);
        constraint.rollback(1).expect("a token was accepted");
        let again = constraint.mask().expect("the mask was made before");
        assert!(again == mask, "after a token was taken back, the mask is another");
    }
    constraint.accept(id).expect("it was accepted before");
    Some(())
}

fn is_allowed(mask: &[u32], id: TokenId) -> bool {
    mask.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
}

/// Grammars of each kind, with choices, and some that are refused.
pub fn grammar_seeds() -> Vec<Vec<u8>> {
    let seeds: [(u8, &str); 21] = [
        (
            0,
            r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"enum":[1,"x",null]}},"required":["a"]}"#,
        ),
        (
            0,
            r#"{"type":"array","items":{"type":"number","minimum":-1.5,"exclusiveMaximum":20},"minItems":1,"maxItems":3}"#,
        ),
        (
            0,
            r#"{"anyOf":[{"type":"string","minLength":2,"maxLength":4},{"type":"boolean"},{"const":[1,{"k":2}]}]}"#,
        ),
        (
            0,
            r##"{"$defs":{"n":{"type":["object","null"],"properties":{"next":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"}"##,
        ),
        (0, r#"{"allOf":[{"type":"integer","minimum":3},{"maximum":9}],"multipleOf":3}"#),
        (0, r#"{"type":"string","pattern":"^[a-c]{2}\\d$"}"#),
        (0, r#"{"type":"string","format":"date-time"}"#),
        (
            0,
            r#"{"oneOf":[{"type":"object","properties":{"t":{"const":1}},"required":["t"]},{"type":"null"}]}"#,
        ),
        (0, r#"{"prefixItems":[{"type":"null"},{}],"items":false,"type":"array"}"#),
        (
            0,
            r#"{"patternProperties":{"^x":{"type":"integer"}},"type":"object","minProperties":1,"additionalProperties":{"type":"null"}}"#,
        ),
        (0, "true"),
        (0, r#"{"not":{}}"#),
        (1, r"(a|bc)*\d{2,3}[^x-z]?"),
        (1, r"[\p{Greek}--[α]]+é|(?i:the fox)\."),
        (1, r"((a{0,9}){0,9}){0,9}"),
        (2, "start: \"a\" b* | /[0-9]+/\nb: \"x\" start? \"y\"\n"),
        (2, "start: <|tool_call> TEXT <tool_call|>\nTEXT: /[a-z]{1,4}/\n%ignore /[ ]+/\n"),
        (2, "start: a\na: a \"b\" | \"\"\n"),
        (
            3,
            r#"[{"name":"f","parameters":{"type":"object","properties":{"b":{"type":"string"},"A":{"type":"integer"}},"required":["b"]}}]"#,
        ),
        (
            3,
            r#"[{"type":"function","function":{"name":"get.it","description":"d","parameters":{}}},{"name":"g"}]"#,
        ),
        (
            3,
            r#"[{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"array","items":{"enum":["a","b"]}}}}}]"#,
        ),
    ];
    let choices: Vec<u8> = (1..24u8).map(|i| i.wrapping_mul(37)).collect();
    let seed = |(kind, text): (u8, &str)| [&[kind], text.as_bytes(), &[0], &choices].concat();
    seeds.into_iter().map(seed).collect()
}

/// A limit for the tokens of one generation.
const TOKENS_MAX: usize = 120;

/// What compiling and a mask may take: the limits of both are meant to be some ten milliseconds.
const LONGEST_COMPILE: Duration = Duration::from_secs(1);
const LONGEST_MASK: Duration = Duration::from_secs(1);
