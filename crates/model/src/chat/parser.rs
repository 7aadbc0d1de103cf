//! From tokens to statements, by the grammar of Jinja 2 with loop controls and Hugging Face's
//! `{% generation %}`. Expressions are in [`expression`].

mod expression;

use std::collections::HashMap;

use super::ast::{Args, Expr, For, Implicit, Kind, Macro, Parsed, Stmt, Symbol, Target};
use super::lexer::{Token, tokens};
use super::text::Ch;

/// What is not Jinja, and the line that shows it.
#[derive(Debug)]
pub(super) struct Syntax {
    pub(super) line: u32,
    pub(super) reason: String,
}

pub(super) fn syntax<T>(line: u32, reason: impl Into<String>) -> Result<T, Syntax> {
    Err(Syntax { line, reason: reason.into() })
}

type Parse<T> = Result<T, Syntax>;

pub(super) fn parse(source: &str) -> Result<Parsed, Syntax> {
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
        names: HashMap::new(),
        parsed: Parsed::default(),
        uses: Implicit::default(),
    };
    let body = parser.body(&[])?;
    parser.parsed.body = body;
    let mut names = vec![String::new(); parser.names.len()];
    for (name, symbol) in parser.names {
        names[symbol] = name;
    }
    parser.parsed.names = names;
    Ok(parser.parsed)
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    /// How deep the statements and expressions around are nested.
    depth: usize,
    names: HashMap<String, Symbol>,
    parsed: Parsed,
    /// What the body of the macro around uses.
    uses: Implicit,
}

impl Parser {
    /// Statements up to a tag of `ends`, whose name is left to be read; to the end of the
    /// template where `ends` is empty.
    fn body(&mut self, ends: &[&str]) -> Parse<Vec<Stmt>> {
        self.deeper()?;
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                Token::Data(text) => {
                    let chars = text.chars().map(Ch::trusted).collect();
                    body.push(Stmt { line, kind: Kind::Data(chars) });
                }
                Token::Print => {
                    let shown = self.tuple(true, &[])?;
                    self.expect(&Token::PrintEnd, "`}}`")?;
                    body.push(Stmt { line, kind: Kind::Print(shown) });
                }
                Token::Block => {
                    if let Token::Name(name) = self.peek()
                        && ends.contains(&name.as_str())
                    {
                        break;
                    }
                    let kind = self.statement()?;
                    self.expect(&Token::BlockEnd, "`%}`")?;
                    body.push(Stmt { line, kind });
                }
                Token::End if ends.is_empty() => break,
                Token::End => {
                    return syntax(
                        line,
                        format!("the template ends where a tag is missing: {ends:?}"),
                    );
                }
                other => return syntax(line, format!("unexpected {other:?}")),
            }
        }
        self.depth -= 1;
        Ok(body)
    }

    /// Statements up to the tag `end`, which is read up to its `%}`.
    fn body_to(&mut self, end: &str) -> Parse<Vec<Stmt>> {
        self.expect(&Token::BlockEnd, "`%}`")?;
        let body = self.body(&[end])?;
        self.next();
        Ok(body)
    }

    fn statement(&mut self) -> Parse<Kind> {
        let line = self.line();
        let name = self.name("the name of a statement")?;
        match name.as_str() {
            "for" => self.for_loop(),
            "if" => self.if_chain(),
            "set" => self.set(),
            "macro" => self.macro_definition(),
            "call" => self.call_block(),
            "filter" => {
                let first = self.filter()?;
                let filters = self.filters(first)?;
                Ok(Kind::Filter(filters, self.body_to("endfilter")?))
            }
            "with" => self.with(),
            "generation" => Ok(Kind::Scope(self.body_to("endgeneration")?)),
            "block" => {
                self.name("the name of a block")?;
                let body = self.body_to("endblock")?;
                if matches!(self.peek(), Token::Name(_)) {
                    self.next();
                }
                Ok(Kind::Scope(body))
            }
            "print" => Ok(Kind::Print(self.tuple(true, &[])?)),
            "break" => Ok(Kind::Break),
            "continue" => Ok(Kind::Continue),
            "include" | "import" | "from" | "extends" => {
                syntax(line, format!("`{name}` needs another file, a chat template is one alone"))
            }
            _ => syntax(line, format!("there is no statement `{name}`")),
        }
    }

    fn for_loop(&mut self) -> Parse<Kind> {
        let target = self.target(&["in"])?;
        self.keyword("in")?;
        let over = self.tuple(false, &["recursive"])?;
        let test = if self.skip_name("if") { Some(self.expression(true)?) } else { None };
        let recursive = self.skip_name("recursive");
        self.expect(&Token::BlockEnd, "`%}`")?;
        let body = self.body(&["endfor", "else"])?;
        let otherwise = match self.name("endfor")?.as_str() {
            "else" => self.body_to("endfor")?,
            _ => Vec::new(),
        };
        self.parsed.loops.push(For { target, over, test, body, otherwise, recursive });
        Ok(Kind::For(self.parsed.loops.len() - 1))
    }

    fn if_chain(&mut self) -> Parse<Kind> {
        let mut arms = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            self.expect(&Token::BlockEnd, "`%}`")?;
            let body = self.body(&["elif", "else", "endif"])?;
            arms.push((Some(test), body));
            match self.name("endif")?.as_str() {
                "elif" => {}
                "else" => {
                    arms.push((None, self.body_to("endif")?));
                    return Ok(Kind::If(arms));
                }
                _ => return Ok(Kind::If(arms)),
            }
        }
    }

    fn set(&mut self) -> Parse<Kind> {
        let target = self.target(&[])?;
        if self.skip("=") {
            return Ok(Kind::Set(target, self.tuple(true, &[])?));
        }
        let filters = self.filters(Vec::new())?;
        Ok(Kind::SetBlock(target, filters, self.body_to("endset")?))
    }

    fn macro_definition(&mut self) -> Parse<Kind> {
        let name = self.name("the name of a macro")?;
        let params = self.parameters()?;
        let symbol = self.symbol(&name);
        Ok(Kind::Macro(symbol, self.macro_body(name, params, "endmacro")?))
    }

    fn call_block(&mut self) -> Parse<Kind> {
        let params =
            if matches!(self.peek(), Token::Op("(")) { self.parameters()? } else { Vec::new() };
        let line = self.line();
        let call = self.expression(true)?;
        if !matches!(&call, Expr::Post(_, posts) if matches!(posts.last(), Some(super::ast::Post::Call(_))))
        {
            return syntax(line, "`{% call %}` needs a call");
        }
        Ok(Kind::Call(call, self.macro_body("caller".to_owned(), params, "endcall")?))
    }

    fn macro_body(
        &mut self,
        name: String,
        params: Vec<(Symbol, Option<Expr>)>,
        end: &str,
    ) -> Parse<usize> {
        let outer = std::mem::take(&mut self.uses);
        let body = self.body_to(end)?;
        let mut uses = std::mem::replace(&mut self.uses, outer);
        let declared = |parser: &Self, name: &str| {
            parser.names.get(name).is_some_and(|s| params.iter().any(|(p, _)| p == s))
        };
        uses.caller &= !declared(self, "caller");
        uses.varargs &= !declared(self, "varargs");
        uses.kwargs &= !declared(self, "kwargs");
        self.parsed.macros.push(Macro { name, params, body, uses });
        Ok(self.parsed.macros.len() - 1)
    }

    fn parameters(&mut self) -> Parse<Vec<(Symbol, Option<Expr>)>> {
        let mut params: Vec<(Symbol, Option<Expr>)> = Vec::new();
        self.expect(&Token::Op("("), "`(`")?;
        while !self.skip(")") {
            if !params.is_empty() {
                self.expect(&Token::Op(","), "`,`")?;
                if self.skip(")") {
                    break;
                }
            }
            let line = self.line();
            let name = self.name("a parameter")?;
            let symbol = self.symbol(&name);
            let default = if self.skip("=") { Some(self.expression(true)?) } else { None };
            if default.is_none() && params.last().is_some_and(|(_, default)| default.is_some()) {
                return syntax(line, "a parameter without a default follows one with a default");
            }
            params.push((symbol, default));
        }
        Ok(params)
    }

    fn with(&mut self) -> Parse<Kind> {
        let mut values = Vec::new();
        while !matches!(self.peek(), Token::BlockEnd) {
            if !values.is_empty() {
                self.expect(&Token::Op(","), "`,`")?;
            }
            let target = self.target(&[])?;
            self.expect(&Token::Op("="), "`=`")?;
            values.push((target, self.expression(true)?));
        }
        Ok(Kind::With(values, self.body_to("endwith")?))
    }

    /// What is assigned to: names with commas between, up to one of `ends`.
    fn target(&mut self, ends: &[&str]) -> Parse<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = match self.peek() {
                Token::BlockEnd | Token::Op("=" | ")") => true,
                Token::Name(name) => ends.contains(&name.as_str()),
                _ => false,
            };
            if at_end && !targets.is_empty() {
                break;
            }
            targets.push(self.one_target()?);
            if !self.skip(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            Some(only) if targets.is_empty() && !is_tuple => Ok(only),
            last => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn one_target(&mut self) -> Parse<Target> {
        if self.skip("(") {
            self.deeper()?;
            let inner = self.target(&[])?;
            self.depth -= 1;
            self.expect(&Token::Op(")"), "`)`")?;
            return Ok(inner);
        }
        let line = self.line();
        let name = self.name("a name to assign to")?;
        if CONSTANTS.contains(&name.as_str()) {
            return syntax(line, format!("cannot assign to `{name}`"));
        }
        let symbol = self.symbol(&name);
        if self.skip(".") {
            return Ok(Target::Attr(symbol, self.name("an attribute")?));
        }
        Ok(Target::Name(symbol))
    }

    fn symbol(&mut self, name: &str) -> Symbol {
        match name {
            "varargs" => self.uses.varargs = true,
            "kwargs" => self.uses.kwargs = true,
            "caller" => self.uses.caller = true,
            _ => {}
        }
        let next = self.names.len();
        *self.names.entry(name.to_owned()).or_insert(next)
    }

    fn deeper(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let reason =
                format!("statements and expressions are nested more than {DEPTH_MAX} deep");
            return syntax(self.line(), reason);
        }
        Ok(())
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    /// The token at hand; the last one stays.
    fn next(&mut self) -> Token {
        let last = self.at + 1 == self.tokens.len();
        let token = &mut self.tokens[self.at].0;
        if last {
            return Token::End;
        }
        self.at += 1;
        std::mem::replace(token, Token::End)
    }

    fn skip(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Token::Op(found) if *found == op);
        self.at += usize::from(found);
        found
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(found) if found == name)
    }

    fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn keyword(&mut self, name: &str) -> Parse<()> {
        if self.skip_name(name) {
            return Ok(());
        }
        syntax(self.line(), format!("expected `{name}`, found {}", self.shown()))
    }

    fn name(&mut self, what: &str) -> Parse<String> {
        let line = self.line();
        match self.peek() {
            Token::Name(_) => match self.next() {
                Token::Name(name) => Ok(name),
                _ => unreachable!("peek saw a name"),
            },
            _ => syntax(line, format!("expected {what}, found {}", self.shown())),
        }
    }

    fn expect(&mut self, token: &Token, what: &str) -> Parse<()> {
        if self.peek() == token {
            self.next();
            return Ok(());
        }
        syntax(self.line(), format!("expected {what}, found {}", self.shown()))
    }

    /// The token at hand, for messages.
    fn shown(&self) -> String {
        match self.peek() {
            Token::Data(_) => "text".to_owned(),
            Token::Print => "`{{`".to_owned(),
            Token::PrintEnd => "`}}`".to_owned(),
            Token::Block => "`{%`".to_owned(),
            Token::BlockEnd => "`%}`".to_owned(),
            Token::Name(name) => format!("`{name}`"),
            Token::Text(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Op(op) => format!("`{op}`"),
            Token::End => "the end of the template".to_owned(),
        }
    }
}

const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];

/// Deeper than any template that a person writes.
const DEPTH_MAX: usize = 128;
