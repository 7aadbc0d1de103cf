//! From shapes to a grammar in llguidance's dialect of Lark, in the spelling of JSON or of calls.

use std::fmt::Write as _;

use serde_json::Value;

use crate::TokenId;
use crate::chat::QUOTE;
use crate::grammar::schema::Shapes;
use crate::grammar::shape::{Id, Key, Shape};
use crate::grammar::{GrammarError, limits, strings};

/// How values are written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spelling {
    /// JSON, with white space between its tokens.
    Json,
    /// Gemma's calls; strings stand between two of this special token.
    Call(TokenId),
}

impl Spelling {
    /// What strings that have a pattern are limited to.
    fn expression(self) -> Option<&'static str> {
        (self == Self::Json).then_some(UNESCAPED)
    }
}

/// The grammar of JSON that satisfies `schema`.
pub(super) fn json(schema: &Value) -> Result<String, GrammarError> {
    let mut writer = Writer::new(Spelling::Json);
    let start = writer.schema(schema, false, "the schema")?;
    let rules = writer.finish();
    Ok(format!("%llguidance {{\"ignore_once\": true}}\n%ignore {SPACE}\nstart: {start}\n{rules}"))
}

/// Writes rules.
pub(super) struct Writer {
    spelling: Spelling,
    rules: String,
    /// How many schemas and how many terminals were written: their names are numbers.
    schemas: usize,
    terminals: usize,
    any: bool,
}

impl Writer {
    pub(super) fn new(spelling: Spelling) -> Self {
        Self { spelling, rules: String::new(), schemas: 0, terminals: 0, any: false }
    }

    /// Writes the rules of a schema, of an object if `object` says so, and returns the name of the
    /// first.
    pub(super) fn schema(
        &mut self,
        schema: &Value,
        object: bool,
        what: &str,
    ) -> Result<String, GrammarError> {
        let shapes = Shapes::new(schema, object, self.spelling.expression())?;
        if !shapes.possible[0] {
            return Err(GrammarError::Unsatisfiable { what: what.to_owned() });
        }
        let prefix = format!("s{}x", self.schemas);
        self.schemas += 1;
        for (id, shape) in shapes.shapes.iter().enumerate().filter(|(id, _)| shapes.possible[*id]) {
            let name = format!("{prefix}{id}");
            let body = Body { writer: self, shapes: &shapes, prefix: &prefix, name: &name };
            let body = body.of(shape)?;
            self.rule(&name, &body);
        }
        Ok(format!("{prefix}0"))
    }

    /// All rules, with those that they need in common.
    pub(super) fn finish(mut self) -> String {
        if self.spelling != Spelling::Json {
            let marks = ["<|\"|>", "<|tool_call>", "<tool_call|>"].map(literal).join(" | ");
            self.rule("MARKED", &format!("/(?s:.*)/ ({marks}) /(?s:.*)/"));
        }
        if self.any {
            self.any_rules();
        }
        self.rules
    }

    fn rule(&mut self, name: &str, body: &str) {
        writeln!(self.rules, "{name}: {body}").expect("a string takes all text");
    }

    fn terminal(&mut self, body: &str) -> String {
        let name = format!("T{}", self.terminals);
        self.terminals += 1;
        self.rule(&name, body);
        name
    }

    /// Anything, with so many levels of lists and objects.
    fn any_rules(&mut self) {
        let string = self.string((0, None));
        let number = all_of(&crate::grammar::bounds::forms(false, false));
        let number = self.terminal(&number);
        let key = self.free_key(None);
        let scalars = format!("{string} | {number} | \"true\" | \"false\" | \"null\"");
        self.rule("any0", &scalars);
        for level in 1..=limits::ANY_DEPTH {
            let inner = format!("any{}", level - 1);
            let body = format!(
                "{inner} | \"[\" \"]\" | \"{{\" \"}}\" | \"[\" {inner} (\",\" {inner})* \"]\" \
                 | \"{{\" {key} \":\" {inner} (\",\" {key} \":\" {inner})* \"}}\""
            );
            self.rule(&format!("any{level}"), &body);
        }
    }

    /// Strings of any content with so many characters.
    fn string(&mut self, (least, most): (usize, Option<usize>)) -> String {
        let text = |n: Option<usize>| n.map_or_else(String::new, |n| n.to_string());
        match self.spelling {
            Spelling::Json => {
                let count = format!("{{{least},{}}}", text(most));
                self.terminal(&format!("/\"{ESCAPED}{count}\"/"))
            }
            Spelling::Call(quote) if most == Some(0) => format!("<[{quote}]> <[{quote}]>"),
            Spelling::Call(quote) => {
                let count = format!("{{{},{}}}", least.max(1), text(most));
                let text = self.terminal(&format!("/(?s:.{count})/ & ~MARKED"));
                let optional = if least == 0 { "?" } else { "" };
                format!("<[{quote}]> {text}{optional} <[{quote}]>")
            }
        }
    }

    /// Strings that match all `expressions`, which some string does.
    fn pattern(&mut self, expressions: &[String]) -> Result<String, GrammarError> {
        let Spelling::Call(quote) = self.spelling else {
            let text = all_of(expressions);
            return Ok(self.terminal(&format!("\"\\\"\" ({text}) \"\\\"\"")));
        };
        let mut empty = true;
        for expression in expressions {
            empty &= strings::matches(expression, "")?;
        }
        let mut expressions = expressions.to_vec();
        expressions.push("(?s:.+)".to_owned());
        if strings::is_empty(&expressions)? {
            return Ok(format!("<[{quote}]> <[{quote}]>"));
        }
        let text = self.terminal(&format!("{} & ~MARKED", all_of(&expressions)));
        let optional = if empty { "?" } else { "" };
        Ok(format!("<[{quote}]> {text}{optional} <[{quote}]>"))
    }

    /// A key that the schema does not name.
    fn free_key(&mut self, pattern: Option<&str>) -> String {
        let pattern = pattern.map(str::to_owned);
        let limits = if self.spelling == Spelling::Json { UNESCAPED } else { BARE };
        let key = all_of(&pattern.into_iter().chain([limits.to_owned()]).collect::<Vec<_>>());
        match self.spelling {
            Spelling::Json => self.terminal(&format!("\"\\\"\" ({key}) \"\\\"\"")),
            Spelling::Call(_) => self.terminal(&key),
        }
    }

    /// A key that the schema names, with its colon.
    fn key(&self, name: &str) -> Result<String, GrammarError> {
        if self.spelling == Spelling::Json {
            return Ok(format!("{} \":\"", literal(&Value::from(name).to_string())));
        }
        let unreadable = name.contains(':') || name.starts_with('}') || name.contains(QUOTE);
        if unreadable {
            let at = format!("the key {name:?}");
            let hint = "calls cannot write keys with a colon or <|\"|>, or a } at the beginning; \
                        rename it";
            return Err(GrammarError::Unsupported { at, hint: hint.to_owned() });
        }
        Ok(literal(&format!("{name}:")))
    }

    /// One value.
    fn value(&self, value: &Value) -> Result<String, GrammarError> {
        let Spelling::Call(quote) = self.spelling else { return Ok(literal(&value.to_string())) };
        match value {
            Value::String(text) if text.is_empty() => Ok(format!("<[{quote}]> <[{quote}]>")),
            Value::String(text) if text.contains(QUOTE) => {
                let hint = "it holds <|\"|>, which ends a string; leave it out".to_owned();
                Err(GrammarError::Unsupported { at: format!("the value {text:?}"), hint })
            }
            Value::String(text) => Ok(format!("<[{quote}]> {} <[{quote}]>", literal(text))),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.value(item));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                Ok(format!("\"[\" {} \"]\"", items.join(" \",\" ")))
            }
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.iter().collect();
                pairs.sort_by_key(|(key, _)| key.to_lowercase());
                let pair = |(key, value): (&String, _)| {
                    Ok(format!("{} {}", self.key(key)?, self.value(value)?))
                };
                let pairs = pairs.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?;
                Ok(format!("\"{{\" {} \"}}\"", pairs.join(" \",\" ")))
            }
            scalar => Ok(literal(&scalar.to_string())),
        }
    }
}

/// The right-hand side of one rule.
struct Body<'a> {
    writer: &'a mut Writer,
    shapes: &'a Shapes,
    prefix: &'a str,
    name: &'a str,
}

impl Body<'_> {
    fn of(mut self, shape: &Shape) -> Result<String, GrammarError> {
        match shape {
            Shape::Never => Err(GrammarError::Unsatisfiable { what: "a part of it".to_owned() }),
            Shape::Any => {
                self.writer.any = true;
                Ok(format!("any{}", limits::ANY_DEPTH))
            }
            Shape::Choice(ids) => {
                let ids = ids.iter().filter(|id| self.shapes.possible[**id]);
                Ok(ids.map(|id| self.rule_of(*id)).collect::<Vec<_>>().join(" | "))
            }
            Shape::Values(values) => self.values(values),
            Shape::Number(expressions) => Ok(self.writer.terminal(&all_of(expressions))),
            Shape::Multiple(schema) => Ok(format!("%json {schema}")),
            Shape::String { expressions, length } if expressions.is_empty() => {
                Ok(self.writer.string(*length))
            }
            Shape::String { expressions, .. } => self.writer.pattern(expressions),
            Shape::List { first, rest, count } => Ok(self.list(first, *rest, *count)),
            Shape::Object(keys) => self.object(keys),
            Shape::Map { key, value, count } => self.map(key.as_deref(), *value, *count),
        }
    }

    fn rule_of(&self, id: Id) -> String {
        format!("{}{id}", self.prefix)
    }

    /// Strings share a terminal: a lexer takes thousands of words at the price of one.
    fn values(&mut self, values: &[Value]) -> Result<String, GrammarError> {
        let is_text = |value: &&Value| value.as_str().is_some_and(|text| !text.is_empty());
        let (texts, others): (Vec<&Value>, Vec<&Value>) = values.iter().partition(is_text);
        let mut options =
            others.into_iter().map(|v| self.writer.value(v)).collect::<Result<Vec<_>, _>>()?;
        if !texts.is_empty() {
            let spelled = texts.iter().map(|text| self.writer.value(text));
            let spelled = spelled.collect::<Result<Vec<_>, _>>()?;
            options.push(match self.writer.spelling {
                Spelling::Json => self.writer.terminal(&spelled.join(" | ")),
                Spelling::Call(quote) => {
                    let words = texts.iter().filter_map(|text| text.as_str()).map(literal);
                    let words = words.collect::<Vec<_>>().join(" | ");
                    let words = self.writer.terminal(&words);
                    format!("<[{quote}]> {words} <[{quote}]>")
                }
            });
        }
        Ok(options.join(" | "))
    }

    fn list(&mut self, first: &[Id], rest: Id, (least, most): (usize, Option<usize>)) -> String {
        let possible = |id: &Id| self.shapes.possible[*id];
        // A place that nothing can fill ends the list before it.
        let reach = first.iter().position(|id| !possible(id)).unwrap_or(first.len());
        let ends = reach < first.len() || !possible(&rest);
        let most = if ends { Some(most.map_or(reach, |most| most.min(reach))) } else { most };
        let first = &first[..reach.min(most.unwrap_or(reach))];
        let (least_rest, most_rest) =
            (least.saturating_sub(first.len()), most.map(|most| most - first.len()));
        let rest = self.rule_of(rest);
        let mut tail = match most_rest {
            Some(0) => "\"\"".to_owned(),
            _ if first.is_empty() => sequence(&rest, least, most),
            _ => format!("(\",\" {rest}){}", repeat(least_rest, most_rest)),
        };
        for (at, id) in first.iter().enumerate().rev() {
            let comma = if at > 0 { "\",\" " } else { "" };
            let name = format!("{}i{at}", self.name);
            let optional = if at < least { "" } else { " | \"\"" };
            let body = format!("{comma}{} {tail}{optional}", self.rule_of(*id));
            self.writer.rule(&name, &body);
            tail = name;
        }
        format!("\"[\" {tail} \"]\"")
    }

    /// `a` rules go on behind a key, `b` rules where there is none yet.
    fn object(&mut self, keys: &[Key]) -> Result<String, GrammarError> {
        let mut keys: Vec<&Key> = keys.iter().filter(|k| self.shapes.possible[k.value]).collect();
        if self.writer.spelling != Spelling::Json {
            // As the template's `dictsort` does.
            keys.sort_by_key(|key| key.name.to_lowercase());
        }
        let (mut after, mut before) = ("\"\"".to_owned(), "\"\"".to_owned());
        for (at, key) in keys.iter().enumerate().rev() {
            let pair = format!("{} {}", self.writer.key(&key.name)?, self.rule_of(key.value));
            let (a, b) = (format!("{}a{at}", self.name), format!("{}b{at}", self.name));
            let or_not = |without: &str| {
                if key.required { String::new() } else { format!(" | {without}") }
            };
            self.writer.rule(&b, &format!("{pair} {after}{}", or_not(&before)));
            self.writer.rule(&a, &format!("\",\" {pair} {after}{}", or_not(&after)));
            (after, before) = (a, b);
        }
        Ok(format!("\"{{\" {before} \"}}\""))
    }

    fn map(
        &mut self,
        pattern: Option<&str>,
        value: Id,
        (least, most): (usize, Option<usize>),
    ) -> Result<String, GrammarError> {
        let limits = if self.writer.spelling == Spelling::Json { UNESCAPED } else { BARE };
        let expressions = pattern.map(|pattern| [pattern.to_owned(), limits.to_owned()]);
        let no_key = match expressions {
            Some(expressions) => strings::is_empty(&expressions)?,
            None => false,
        };
        if no_key && least > 0 {
            let what = "a pattern of keys".to_owned();
            return Err(GrammarError::Unsatisfiable { what });
        }
        if no_key || most == Some(0) || !self.shapes.possible[value] {
            return Ok("\"{\" \"}\"".to_owned());
        }
        let key = self.writer.free_key(pattern);
        let pair = format!("{}p", self.name);
        let body = format!("{key} \":\" {}", self.rule_of(value));
        self.writer.rule(&pair, &body);
        Ok(format!("\"{{\" {} \"}}\"", sequence(&pair, least, most)))
    }
}

/// Items with commas between them. `most` is not zero.
fn sequence(item: &str, least: usize, most: Option<usize>) -> String {
    let more = match most {
        Some(1) => String::new(),
        most => {
            let count = repeat(least.saturating_sub(1), most.map(|most| most - 1));
            format!(" (\",\" {item}){count}")
        }
    };
    if least == 0 { format!("({item}{more})?") } else { format!("{item}{more}") }
}

fn repeat(least: usize, most: Option<usize>) -> String {
    match most {
        Some(most) => format!("{{{least},{most}}}"),
        None => format!("{{{least},}}"),
    }
}

/// The terminal that all expressions match.
fn all_of(expressions: &[String]) -> String {
    let regex = |text: &String| format!("/{}/", llguidance::regex_to_lark(text, ""));
    expressions.iter().map(regex).collect::<Vec<_>>().join(" & ")
}

/// A text in Lark's quotes, which are JSON's but for the last control character.
fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// One character in a JSON string.
const ESCAPED: &str = r#"(?:[^"\\\x00-\x1F\x7F]|\\["\\\/bfnrt])"#;

/// Strings that JSON writes without a backslash.
const UNESCAPED: &str = r#"[^"\\\x00-\x1F\x7F]*"#;

/// Bare keys in calls, as far as they are not declared.
const BARE: &str = r#"[^\s:,{}\[\]<>"|]{1,64}"#;

/// White space between the tokens of JSON, once in one place.
const SPACE: &str = r"/ |\n {0,40}/";
