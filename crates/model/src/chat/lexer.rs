//! From a template's source to tokens, with the whitespace rules of Hugging Face's settings:
//! `trim_blocks` (a newline after a block goes) and `lstrip_blocks` (blanks before a block that
//! begins a line go).

use num_bigint::BigInt;

use super::parser::{Syntax, syntax};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Data(String),
    /// `{{`
    Print,
    /// `}}`
    PrintEnd,
    /// `{%`
    Block,
    /// `%}`
    BlockEnd,
    Name(String),
    Text(String),
    Int(BigInt),
    Float(f64),
    Op(&'static str),
    End,
}

/// Tokens with their lines, from 1; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, u32)>, Syntax> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { rest: source, line: 1, out: Vec::new(), line_starts: true };
    while !lexer.rest.is_empty() {
        lexer.data_and_tag()?;
    }
    let line = lexer.line;
    lexer.out.push((Token::End, line));
    Ok(lexer.out)
}

struct Lexer<'s> {
    rest: &'s str,
    line: u32,
    out: Vec<(Token, u32)>,
    /// Whether the rest begins a line.
    line_starts: bool,
}

impl<'s> Lexer<'s> {
    fn data_and_tag(&mut self) -> Result<(), Syntax> {
        let Some(at) = next_tag(self.rest) else {
            let rest = self.take(self.rest.len());
            self.data(rest);
            return Ok(());
        };
        let data = &self.rest[..at];
        let tag = &self.rest[at..at + 2];
        let sign = self.rest[at + 2..].chars().next().filter(|c| matches!(c, '-' | '+'));
        let shown = match sign {
            Some('-') => data.trim_end_matches(is_space),
            None if tag != "{{" => self.without_indent(data),
            _ => data,
        };
        self.data(shown);
        self.take(at + 2 + usize::from(sign.is_some()));
        match tag {
            "{#" => self.comment(),
            "{%" if self.raw()? => Ok(()),
            "{%" => self.inside(Token::Block, Token::BlockEnd, "%}"),
            _ => self.inside(Token::Print, Token::PrintEnd, "}}"),
        }
    }

    /// `lstrip_blocks`.
    fn without_indent(&self, data: &'s str) -> &'s str {
        let start = data.rfind('\n').map_or(0, |at| at + 1);
        let begins_line = start > 0 || self.line_starts;
        if begins_line && data[start..].chars().all(is_space) { &data[..start] } else { data }
    }

    fn data(&mut self, data: &str) {
        if !data.is_empty() {
            self.out.push((Token::Data(data.to_owned()), self.line));
        }
    }

    fn comment(&mut self) -> Result<(), Syntax> {
        let Some(end) = self.rest.find("#}") else {
            return syntax(self.line, "a comment has no end, `#}` is missing");
        };
        let sign = self.rest[..end].chars().next_back().filter(|c| matches!(c, '-' | '+'));
        self.take(end + 2);
        self.after_block(sign);
        Ok(())
    }

    /// What follows a block or a comment whose last sign is `sign`.
    fn after_block(&mut self, sign: Option<char>) {
        self.line_starts = false;
        match sign {
            Some('-') => self.skip_space(),
            Some(_) => {}
            None if self.rest.starts_with('\n') => {
                self.take(1);
                self.line_starts = true;
            }
            None => {}
        }
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start_matches(is_space).len();
        self.line_starts = self.take(space).ends_with('\n');
    }

    /// `{% raw %}`, after its `{%`: false if it is another block.
    fn raw(&mut self) -> Result<bool, Syntax> {
        let Some(rest) = self.rest.trim_start_matches(is_space).strip_prefix("raw") else {
            return Ok(false);
        };
        let rest = rest.trim_start_matches(is_space);
        let (rest, strips) = match (rest.strip_prefix("-%}"), rest.strip_prefix("%}")) {
            (Some(rest), _) => (rest, true),
            (_, Some(rest)) => (rest, false),
            _ => return Ok(false),
        };
        self.take(self.rest.len() - rest.len());
        self.line_starts = false;
        if strips {
            self.skip_space();
        }
        let (mut from, line) = (0, self.line);
        while let Some(at) = self.rest[from..].find("{%").map(|at| from + at) {
            from = at + 2;
            let begin = self.rest[from..].chars().next().filter(|c| matches!(c, '-' | '+'));
            let tag = &self.rest[from + usize::from(begin.is_some())..];
            let Some(tag) = tag.trim_start_matches(is_space).strip_prefix("endraw") else {
                continue;
            };
            let tag = tag.trim_start_matches(is_space);
            let end = tag.chars().next().filter(|c| matches!(c, '-' | '+'));
            let Some(rest) = tag[usize::from(end.is_some())..].strip_prefix("%}") else { continue };
            let data = &self.rest[..at];
            let data = match begin {
                Some('-') => data.trim_end_matches(is_space),
                None => self.without_indent(data),
                Some(_) => data,
            };
            self.data(data);
            self.take(self.rest.len() - rest.len());
            self.after_block(end);
            return Ok(true);
        }
        syntax(line, "`{% raw %}` has no `{% endraw %}`")
    }

    /// The tokens of a tag up to its end.
    fn inside(&mut self, begin: Token, end: Token, mark: &str) -> Result<(), Syntax> {
        self.out.push((begin, self.line));
        let (line, mut open) = (self.line, Vec::new());
        loop {
            let space = self.rest.len() - self.rest.trim_start_matches(is_space).len();
            self.take(space);
            let Some(first) = self.rest.chars().next() else {
                return syntax(line, format!("a tag has no end, `{mark}` is missing"));
            };
            let sign = matches!(first, '-' | '+').then_some(first);
            // A print tag knows no `+}}`.
            let sign = sign.filter(|sign| *sign == '-' || mark == "%}");
            let signed = usize::from(sign.is_some());
            if open.is_empty() && self.rest[signed..].starts_with(mark) {
                self.take(signed + 2);
                self.out.push((end, self.line));
                match (mark, sign) {
                    ("}}", None) => self.line_starts = false,
                    (_, sign) => self.after_block(sign),
                }
                return Ok(());
            }
            let line = self.line;
            let token = self.token(first)?;
            if let Token::Op(op) = token {
                balance(op, &mut open, line)?;
            }
            self.out.push((token, line));
        }
    }

    fn token(&mut self, first: char) -> Result<Token, Syntax> {
        match first {
            '\'' | '"' => self.string(first),
            '0'..='9' => self.number(),
            c if c == '_' || c.is_alphabetic() => {
                let end = self.rest.find(|c: char| c != '_' && !c.is_alphanumeric());
                Ok(Token::Name(self.take(end.unwrap_or(self.rest.len())).to_owned()))
            }
            c => match OPERATORS.into_iter().find(|op| self.rest.starts_with(op)) {
                Some(op) => {
                    self.take(op.len());
                    Ok(Token::Op(op))
                }
                None => syntax(self.line, format!("unexpected character {c:?}")),
            },
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, Syntax> {
        let mut escaped = false;
        let end = self.rest[1..].find(|c: char| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { return syntax(self.line, "a string has no end") };
        let line = self.line;
        let body = &self.take(end + 2)[1..=end];
        unescape(body).map(Token::Text).ok_or(()).or_else(|()| {
            syntax(line, "a string has an escape that is none, such as \\x without two digits")
        })
    }

    fn number(&mut self) -> Result<Token, Syntax> {
        let line = self.line;
        let digits = |text: &str, radix: u32| {
            // An underscore stands between two digits only.
            let mut end = 0;
            for (at, c) in text.char_indices() {
                let next = text[at + c.len_utf8()..].chars().next();
                match c {
                    c if c.is_digit(radix) => end = at + 1,
                    '_' if end == at && next.is_some_and(|n| n.is_digit(radix)) => {}
                    _ => break,
                }
            }
            end
        };
        let radix = match self.rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => 16,
            Some("0o") => 8,
            Some("0b") => 2,
            _ => 10,
        };
        if radix != 10 {
            let length = digits(&self.rest[2..], radix);
            let text = self.take(2 + length)[2..].replace('_', "");
            return integer(&text, radix, line);
        }
        let whole = digits(self.rest, 10);
        let mut end = whole;
        // After a point it is the place of an item, as in `x.0.1`.
        let is_place = matches!(self.out.last(), Some((Token::Op("."), _)));
        if is_place {
            let text = self.take(whole).replace('_', "");
            return integer(&text, 10, line);
        }
        if let Some(rest) = self.rest[end..].strip_prefix('.') {
            end += digits(rest, 10).checked_add(1).filter(|n| *n > 1).unwrap_or(0);
        }
        if let Some(rest) = self.rest[end..].strip_prefix(['e', 'E']) {
            let sign = usize::from(rest.starts_with(['+', '-']));
            let exponent = digits(&rest[sign..], 10);
            end += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        let text = self.take(end).replace('_', "");
        if end == whole {
            return integer(&text, 10, line);
        }
        text.parse().map(Token::Float).or_else(|_| syntax(line, format!("{text} is no number")))
    }

    /// Goes `bytes` on.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.bytes().filter(|b| *b == b'\n').count() as u32;
        self.rest = rest;
        taken
    }
}

fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('{')?;
        if matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn balance(op: &'static str, open: &mut Vec<&'static str>, line: u32) -> Result<(), Syntax> {
    let wanted = match op {
        "(" => ")",
        "[" => "]",
        "{" => "}",
        ")" | "]" | "}" => match open.pop() {
            Some(wanted) if wanted == op => return Ok(()),
            Some(wanted) => return syntax(line, format!("unexpected '{op}', expected '{wanted}'")),
            None => return syntax(line, format!("unexpected '{op}'")),
        },
        _ => return Ok(()),
    };
    open.push(wanted);
    Ok(())
}

fn integer(text: &str, radix: u32, line: u32) -> Result<Token, Syntax> {
    if text.len() > super::number::DIGITS_MAX {
        return syntax(line, format!("a number has {} digits", text.len()));
    }
    if radix == 10 && text.starts_with('0') && text.bytes().any(|b| b != b'0') {
        return syntax(line, format!("{text} is no number, the zero in front must go"));
    }
    match BigInt::parse_bytes(text.as_bytes(), radix) {
        Some(number) => Ok(Token::Int(number)),
        None => syntax(line, "digits are missing in a number"),
    }
}

/// Python's escapes; those it does not know keep their backslash.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let c = rest.chars().next()?;
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        if digits > 0 {
            let hex = rest.get(1..=digits)?;
            let hex = Some(hex).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
            rest = &rest[1 + digits..];
            continue;
        }
        let octal = rest.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if octal > 0 {
            out.push(char::from_u32(u32::from_str_radix(&rest[..octal], 8).ok()?)?);
            rest = &rest[octal..];
            continue;
        }
        match SIMPLE_ESCAPES.iter().find(|(name, _)| *name == c) {
            Some((_, meant)) => out.push_str(meant),
            None if c == 'N' => return None,
            None => out.extend(['\\', c]),
        }
        rest = &rest[c.len_utf8()..];
    }
    out.push_str(rest);
    Some(out)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

const SIMPLE_ESCAPES: [(char, &str); 11] = [
    ('\n', ""),
    ('\\', "\\"),
    ('\'', "'"),
    ('"', "\""),
    ('a', "\x07"),
    ('b', "\x08"),
    ('f', "\x0c"),
    ('n', "\n"),
    ('r', "\r"),
    ('t', "\t"),
    ('v', "\x0b"),
];
