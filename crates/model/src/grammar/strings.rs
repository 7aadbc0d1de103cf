//! Regular expressions: what a `pattern` means, and whether any string satisfies several at once.

use llguidance::derivre::{RegexAst, RegexBuilder};

use crate::grammar::error::first_line;
use crate::grammar::{GrammarError, limits};
use crate::quiet;

/// The expression of whole strings in which a `pattern` of JSON Schema is found somewhere.
///
/// The dialect is ECMAScript's as far as the `regex` crate shares it: `\d` and `\w` are ASCII.
/// Anchors count at the ends of the pattern and of its alternatives.
///
/// # Errors
/// What is wrong with the pattern.
pub(super) fn search(pattern: &str) -> Result<String, String> {
    if pattern.len() > limits::TEXT_BYTES {
        return Err(format!("it has {} bytes", pattern.len()));
    }
    // derivre reads a group of this name as a look-ahead.
    if pattern.contains("<stop>") {
        return Err("a group is named stop".to_owned());
    }
    let whole: Vec<String> = alternatives(pattern)
        .into_iter()
        .map(|alternative| {
            let (start, rest) = match alternative.strip_prefix('^') {
                Some(rest) => ("", rest),
                None => ("(?s:.*)", alternative),
            };
            let escapes = |text: &str| text.len() - text.trim_end_matches('\\').len();
            let (rest, end) = match rest.strip_suffix('$') {
                Some(rest) if escapes(rest) % 2 == 0 => (rest, ""),
                _ => (rest, "(?s:.*)"),
            };
            let rest = llguidance::regex_to_lark(rest, "dw");
            compile(std::slice::from_ref(&rest))?;
            Ok(format!("{start}(?:{rest}){end}"))
        })
        .collect::<Result<_, String>>()?;
    Ok(whole.join("|"))
}

/// Cuts a pattern at the bars that stand in no group and no class.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut class) = (Vec::new(), 0, 0i32, false);
    let mut chars = pattern.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => {
                parts.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&pattern[start..]);
    parts
}

/// Whether no string matches all of `expressions`.
///
/// # Errors
/// If one cannot be compiled, or it takes too much work to tell.
pub(super) fn is_empty(expressions: &[String]) -> Result<bool, GrammarError> {
    let refused = |reason: String| GrammarError::Refused { reason };
    let empty = || {
        let (builder, all) = compile(expressions)?;
        if builder.exprset().is_positive(all) {
            return Ok(false);
        }
        let regex = builder.to_regex_limited(all, limits::STRING_FUEL);
        let mut regex = regex.map_err(|error| first_line(&error.to_string()))?;
        Ok(regex.always_empty())
    };
    quiet::catch(empty).map_err(|panic| refused(panic.to_string()))?.map_err(refused)
}

/// Whether an expression matches all of `text`.
///
/// # Errors
/// As [`is_empty`].
pub(super) fn matches(expression: &str, text: &str) -> Result<bool, GrammarError> {
    let refused = |reason: String| GrammarError::Refused { reason };
    let matches = || {
        let (builder, all) = compile(&[expression.to_owned()])?;
        let regex = builder.to_regex_limited(all, limits::STRING_FUEL);
        let mut regex = regex.map_err(|error| first_line(&error.to_string()))?;
        Ok(regex.is_match(text))
    };
    quiet::catch(matches).map_err(|panic| refused(panic.to_string()))?.map_err(refused)
}

type Compiled = (RegexBuilder, llguidance::derivre::ExprRef);

fn compile(expressions: &[String]) -> Result<Compiled, String> {
    let mut builder = RegexBuilder::new();
    let all = expressions.iter().map(|text| RegexAst::Regex(text.clone())).collect();
    let all = builder.mk(&RegexAst::And(all)).map_err(|error| last_line(&error.to_string()))?;
    Ok((builder, all))
}

/// The parser of expressions draws a picture first and says last what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    line.trim().trim_start_matches("error: ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for() {
        for (pattern, yes, no) in [
            ("b", "abc", "ac"),
            ("^b", "bc", "abc"),
            ("c$", "abc", "cb"),
            ("^(a|b)$", "b", "ab"),
            ("^a|b$", "ax", "bx"),
            ("^a|b$", "xb", "xa"),
            (r"^\d+\$", "12$x", "12x"),
            (r"^[|)(]\|$", ")|", "a|"),
            (r"^\w$", "_", "é"),
            ("^.$", "é", "\n"),
            (r"^a/b$", "a/b", "ab"),
            ("", "", "\u{0}\u{0}never"),
        ] {
            let regex = search(pattern).expect(pattern);
            assert!(matches(&regex, yes).unwrap(), "{pattern} {yes} {regex}");
            assert!(pattern.is_empty() || !matches(&regex, no).unwrap(), "{pattern} {no} {regex}");
        }
        for pattern in ["(", "a)(b", "[a", "(?=a)", "(?<stop>a)", "a^b", r"\1", "a**b{2,1}"] {
            assert!(search(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn contradictions_are_seen() {
        let empty =
            |all: &[&str]| is_empty(&all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(empty(&["a{3}", "(?s:.{0,2})"]), Ok(true));
        assert_eq!(empty(&["a{3}", "(?s:.{0,3})"]), Ok(false));
        assert_eq!(empty(&[""]), Ok(false));
        assert!(empty(&["("]).is_err());
    }
}
