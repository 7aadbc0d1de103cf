//! How long masks take under grammars with the vocabulary of a model file.
//!
//! `cargo run --release --example masks -- FILE` needs no weights in the file. Tokens are drawn
//! among the allowed ones, all alike: strings grow long and wild, which is more work than a model
//! makes. Nothing is evaluated, so the times are those of the grammar alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carat::{Constraint, Grammar, GrammarEnv, Tokenizer, Tool, ToolChoice};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: masks FILE.gguf")?;
    let source = carat_gguf::Source::open(path.as_ref())?;
    let tokenizer = Arc::new(Tokenizer::from_metadata(source.parse()?.metadata())?);
    let start = Instant::now();
    let env = GrammarEnv::new(tokenizer)?;
    println!("vocabulary: {} tokens in {:.0?}", env.tokenizer().vocab_size(), start.elapsed());

    let person = json!({"type": "object", "properties": {
        "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon":
            {"type": "number"}}, "required": ["lat", "lon"]}}, "required": ["name", "age"]});
    let tools: Vec<Tool> = ["find", "open", "close"]
        .map(|name| Tool {
            name: name.to_owned(),
            description: String::new(),
            parameters: person.clone(),
        })
        .into();
    let grammars: [(&str, Compile<'_>); 6] = [
        ("JSON by schema", &|| Grammar::json_schema_value(&env, &person)),
        ("any JSON object", &|| Grammar::json_object(&env)),
        ("one tool", &|| Grammar::tools(&env, &tools, &ToolChoice::Named("find".to_owned()))),
        ("calls only", &|| Grammar::tools(&env, &tools, &ToolChoice::Required)),
        ("text and calls", &|| Grammar::tools(&env, &tools, &ToolChoice::Auto)),
        ("a regular expression", &|| Grammar::regex(&env, r"(\w+ ){3,30}\w+\.")),
    ];
    println!(
        "{:22} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "compile", "mean", "99 %", "worst", "accept"
    );
    for (name, compile) in grammars {
        let start = Instant::now();
        let grammar = compile()?;
        let compiled = start.elapsed();
        let (mut masks, accepted) = times(&grammar, &env)?;
        masks.sort_unstable();
        let of = |total: Duration| total / masks.len() as u32;
        let mean = of(masks.iter().sum());
        let (most, last) = (masks[masks.len() * 99 / 100], masks[masks.len() - 1]);
        let accept = of(accepted);
        println!(
            "{name:22} {compiled:>9.1?} {mean:>9.1?} {most:>9.1?} {last:>9.1?} {accept:>9.1?}"
        );
    }
    Ok(())
}

type Compile<'a> = &'a dyn Fn() -> Result<Grammar, carat::GrammarError>;

/// The time of each mask, and that of all accepted tokens together.
fn times(
    grammar: &Grammar,
    env: &GrammarEnv,
) -> Result<(Vec<Duration>, Duration), carat::GrammarError> {
    let (mut masks, mut accepted) = (Vec::new(), Duration::ZERO);
    let mut state = 1u64;
    for _ in 0..20 {
        let mut constraint = Constraint::new(grammar);
        for _ in 0..60 {
            let start = Instant::now();
            let mask = constraint.mask()?;
            masks.push(start.elapsed());
            let allowed: Vec<u32> = (0..env.tokenizer().vocab_size() as u32)
                .filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1)
                .collect();
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let id = allowed[(state >> 33) as usize % allowed.len()];
            let start = Instant::now();
            constraint.accept(id)?;
            accepted += start.elapsed();
            if constraint.is_finished() {
                break;
            }
        }
    }
    Ok((masks, accepted))
}
