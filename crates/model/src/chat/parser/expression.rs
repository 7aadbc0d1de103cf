//! Expressions, from the loosest operators to the tightest.

use super::super::ast::{Compare, Math, Post};
use super::{Args, Ch, Expr, Parse, Parser, Token, syntax};

impl Parser {
    /// Expressions with commas between are a tuple. `conditional` allows `a if b`.
    pub(super) fn tuple(&mut self, conditional: bool, ends: &[&str]) -> Parse<Expr> {
        self.tuple_or_nothing(conditional, ends, false)
    }

    fn tuple_or_nothing(
        &mut self,
        conditional: bool,
        ends: &[&str],
        parentheses: bool,
    ) -> Parse<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let at_end = match self.peek() {
                Token::PrintEnd | Token::BlockEnd | Token::Op(")") => true,
                Token::Name(name) => ends.contains(&name.as_str()),
                _ => false,
            };
            if at_end {
                break;
            }
            items.push(self.expression(conditional)?);
            if !self.skip(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple || (items.is_empty() && parentheses) {
            return Ok(Expr::Tuple(items));
        }
        match items.pop() {
            Some(only) => Ok(only),
            None => syntax(self.line(), format!("expected an expression, found {}", self.shown())),
        }
    }

    pub(super) fn expression(&mut self, conditional: bool) -> Parse<Expr> {
        self.deeper()?;
        let depth = self.depth;
        let mut value = self.or()?;
        while conditional && self.skip_name("if") {
            self.deeper()?;
            let test = self.or()?;
            let otherwise =
                if self.skip_name("else") { Some(self.expression(true)?) } else { None };
            value = Expr::If(Box::new((test, value, otherwise)));
        }
        self.depth = depth - 1;
        Ok(value)
    }

    fn or(&mut self) -> Parse<Expr> {
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.skip_name("or") {
            terms.push(self.and()?);
        }
        Ok(Expr::Or(terms))
    }

    fn and(&mut self) -> Parse<Expr> {
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.skip_name("and") {
            terms.push(self.not()?);
        }
        Ok(Expr::And(terms))
    }

    fn not(&mut self) -> Parse<Expr> {
        if !self.skip_name("not") {
            return self.compare();
        }
        self.deeper()?;
        let value = self.not()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(value)))
    }

    fn compare(&mut self) -> Parse<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let is_in = self.at + 1 < self.tokens.len()
                && matches!(&self.tokens[self.at + 1].0, Token::Name(name) if name == "in");
            let op = match self.peek() {
                Token::Op("==") => Compare::Eq,
                Token::Op("!=") => Compare::Ne,
                Token::Op("<") => Compare::Lt,
                Token::Op("<=") => Compare::Le,
                Token::Op(">") => Compare::Gt,
                Token::Op(">=") => Compare::Ge,
                Token::Name(name) if name == "in" => Compare::In,
                Token::Name(name) if name == "not" && is_in => {
                    self.next();
                    Compare::NotIn
                }
                _ => break,
            };
            self.next();
            rest.push((op, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Parse<Expr> {
        let ops = [("+", Math::Add), ("-", Math::Sub)];
        self.math(&ops, Self::concat)
    }

    fn concat(&mut self) -> Parse<Expr> {
        let first = self.product()?;
        if !matches!(self.peek(), Token::Op("~")) {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.skip("~") {
            terms.push(self.product()?);
        }
        Ok(Expr::Concat(terms))
    }

    fn product(&mut self) -> Parse<Expr> {
        let ops = [("*", Math::Mul), ("/", Math::Div), ("//", Math::FloorDiv), ("%", Math::Mod)];
        self.math(&ops, Self::power)
    }

    fn power(&mut self) -> Parse<Expr> {
        self.math(&[("**", Math::Pow)], |parser| parser.unary(true))
    }

    fn math(
        &mut self,
        ops: &[(&str, Math)],
        tighter: impl Fn(&mut Self) -> Parse<Expr>,
    ) -> Parse<Expr> {
        let first = tighter(self)?;
        let mut rest = Vec::new();
        while let Token::Op(found) = self.peek()
            && let Some((_, op)) = ops.iter().find(|(op, _)| op == found)
        {
            self.next();
            rest.push((*op, tighter(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Math(Box::new(first), rest) })
    }

    /// A sign binds tighter than a filter: `-1|abs` is 1.
    fn unary(&mut self, filters: bool) -> Parse<Expr> {
        self.deeper()?;
        let signed: Option<fn(Box<Expr>) -> Expr> = match self.peek() {
            Token::Op("-") => Some(Expr::Neg),
            Token::Op("+") => Some(Expr::Pos),
            _ => None,
        };
        let value = match signed {
            Some(sign) => {
                self.next();
                sign(Box::new(self.unary(false)?))
            }
            None => self.primary()?,
        };
        let mut posts = Vec::new();
        self.postfix(&mut posts)?;
        if filters {
            self.filters_and_tests(&mut posts)?;
        }
        self.depth -= 1;
        Ok(if posts.is_empty() { value } else { Expr::Post(Box::new(value), posts) })
    }

    fn primary(&mut self) -> Parse<Expr> {
        let line = self.line();
        let shown = self.shown();
        match self.next() {
            Token::Name(name) => Ok(match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(self.symbol(&name)),
            }),
            Token::Text(mut text) => {
                // Neighbouring strings are one.
                while let Token::Text(_) = self.peek()
                    && let Token::Text(more) = self.next()
                {
                    text.push_str(&more);
                }
                Ok(Expr::Text(text.chars().map(Ch::trusted).collect()))
            }
            Token::Int(number) => Ok(Expr::Int(number)),
            Token::Float(number) => Ok(Expr::Float(number)),
            Token::Op("(") => {
                let value = self.tuple_or_nothing(true, &[], true)?;
                self.expect(&Token::Op(")"), "`)`")?;
                Ok(value)
            }
            Token::Op("[") => self.list(),
            Token::Op("{") => self.dict(),
            _ => syntax(line, format!("expected an expression, found {shown}")),
        }
    }

    fn list(&mut self) -> Parse<Expr> {
        let mut items = Vec::new();
        while !self.skip("]") {
            if !items.is_empty() {
                self.expect(&Token::Op(","), "`,` or `]`")?;
                if self.skip("]") {
                    break;
                }
            }
            items.push(self.expression(true)?);
        }
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Parse<Expr> {
        let mut items = Vec::new();
        while !self.skip("}") {
            if !items.is_empty() {
                self.expect(&Token::Op(","), "`,` or `}`")?;
                if self.skip("}") {
                    break;
                }
            }
            let key = self.expression(true)?;
            self.expect(&Token::Op(":"), "`:`")?;
            items.push((key, self.expression(true)?));
        }
        Ok(Expr::Dict(items))
    }

    fn postfix(&mut self, posts: &mut Vec<Post>) -> Parse<()> {
        loop {
            let line = self.line();
            if self.skip(".") {
                match self.next() {
                    Token::Name(name) => posts.push(Post::Attr(name)),
                    Token::Int(place) => posts.push(Post::Item(Expr::Int(place))),
                    _ => return syntax(line, "expected a name or a number after `.`"),
                }
            } else if self.skip("[") {
                posts.push(self.subscript()?);
            } else if self.skip("(") {
                posts.push(Post::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    /// What stands in brackets, to the closing one.
    fn subscript(&mut self) -> Parse<Post> {
        let mut bounds = [None, None, None];
        let mut bound = 0;
        loop {
            if self.skip("]") {
                break;
            }
            if self.skip(":") {
                bound += 1;
                if bound > 2 {
                    return syntax(self.line(), "a slice has at most two `:`");
                }
                continue;
            }
            if bounds[bound].is_some() {
                return syntax(self.line(), format!("expected `]`, found {}", self.shown()));
            }
            let value = self.expression(true)?;
            if bound == 0 && matches!(self.peek(), Token::Op(",")) {
                let mut items = vec![value];
                while self.skip(",") {
                    items.push(self.expression(true)?);
                }
                self.expect(&Token::Op("]"), "`]`")?;
                return Ok(Post::Item(Expr::Tuple(items)));
            }
            bounds[bound] = Some(value);
        }
        let [start, ..] = &mut bounds;
        match (bound, start.take()) {
            (0, Some(item)) => Ok(Post::Item(item)),
            (0, None) => syntax(self.line(), "brackets are empty"),
            (_, start) => {
                bounds[0] = start;
                Ok(Post::Slice(Box::new(bounds)))
            }
        }
    }

    /// Arguments after `(`, to the closing one.
    fn arguments(&mut self) -> Parse<Args> {
        let mut args = Args::default();
        let mut first = true;
        while !self.skip(")") {
            if !std::mem::take(&mut first) {
                self.expect(&Token::Op(","), "`,` or `)`")?;
                if self.skip(")") {
                    break;
                }
            }
            let line = self.line();
            let misplaced = "arguments stand in another order";
            let named = !args.named.is_empty() || args.stars.is_some();
            if self.skip("*") {
                if args.star.is_some() || args.stars.is_some() {
                    return syntax(line, misplaced);
                }
                args.star = Some(Box::new(self.expression(true)?));
            } else if self.skip("**") {
                if args.stars.is_some() {
                    return syntax(line, misplaced);
                }
                args.stars = Some(Box::new(self.expression(true)?));
            } else if let Token::Name(_) = self.peek()
                && matches!(self.tokens[self.at + 1].0, Token::Op("="))
            {
                if args.stars.is_some() {
                    return syntax(line, misplaced);
                }
                let name = self.name("an argument")?;
                self.next();
                args.named.push((name, self.expression(true)?));
            } else {
                if named || args.star.is_some() {
                    return syntax(line, misplaced);
                }
                args.list.push(self.expression(true)?);
            }
        }
        Ok(args)
    }

    fn filters_and_tests(&mut self, posts: &mut Vec<Post>) -> Parse<()> {
        loop {
            if self.skip("|") {
                posts.extend(self.filter()?);
            } else if self.skip_name("is") {
                posts.push(self.test()?);
            } else if self.skip("(") {
                posts.push(Post::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    /// One filter, after its `|`.
    pub(super) fn filter(&mut self) -> Parse<Vec<Post>> {
        let name = self.dotted("the name of a filter")?;
        let args = if self.skip("(") { self.arguments()? } else { Args::default() };
        Ok(vec![Post::Filter(name, args)])
    }

    /// More filters after those of a statement.
    pub(super) fn filters(&mut self, mut posts: Vec<Post>) -> Parse<Vec<Post>> {
        while self.skip("|") {
            posts.extend(self.filter()?);
        }
        Ok(posts)
    }

    /// A test, after its `is`.
    fn test(&mut self) -> Parse<Post> {
        let negated = self.skip_name("not");
        let name = self.dotted("the name of a test")?;
        let bare = match self.peek() {
            Token::Name(name) => !["else", "or", "and"].contains(&name.as_str()),
            Token::Text(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        let mut args = Args::default();
        if self.skip("(") {
            args = self.arguments()?;
        } else if bare {
            if self.is_name("is") {
                return syntax(self.line(), "tests cannot be chained, `and` joins them");
            }
            self.deeper()?;
            let value = self.primary()?;
            let mut posts = Vec::new();
            self.postfix(&mut posts)?;
            self.depth -= 1;
            let value = if posts.is_empty() { value } else { Expr::Post(Box::new(value), posts) };
            args.list.push(value);
        }
        Ok(Post::Test { name, negated, args })
    }

    fn dotted(&mut self, what: &str) -> Parse<String> {
        let mut name = self.name(what)?;
        while self.skip(".") {
            name = format!("{name}.{}", self.name(what)?);
        }
        Ok(name)
    }
}
