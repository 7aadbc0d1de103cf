//! Expressions and calls.

use std::rc::Rc;

use super::super::args::Args;
use super::super::ast::{self, Expr, Macro, Parsed, Post};
use super::super::budget::{Builder, Result, fail};
use super::super::functions::Function;
use super::super::methods;
use super::super::number;
use super::super::ops;
use super::super::print;
use super::super::tests;
use super::super::value::{DictBuilder, Kind, Seq, Value, sequence};
use super::state::Scope;
use super::{Captured, MacroValue, Run};

impl<'t> Run<'t> {
    pub(super) fn eval(&mut self, expr: &'t Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.heap.work(1)?;
        match expr {
            Expr::None => return Ok(Value::None),
            Expr::Bool(yes) => return Ok(Value::Bool(*yes)),
            Expr::Float(number) => return Ok(Value::Float(*number)),
            Expr::Name(symbol) => return Ok(self.lookup(*symbol, scope)),
            Expr::Int(number) => return number::value(self.heap, number.clone()),
            Expr::Text(text) => return Value::text(self.heap, text),
            _ => {}
        }
        self.deeper()?;
        let value = self.compound(expr, scope)?;
        self.depth -= 1;
        Ok(value)
    }

    fn compound(&mut self, expr: &'t Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::List(items) => Ok(Value::Seq(self.items(items, Kind::List, scope)?)),
            Expr::Tuple(items) => Ok(Value::Seq(self.items(items, Kind::Tuple, scope)?)),
            Expr::Dict(entries) => {
                let mut dict = DictBuilder::new(self.heap);
                for (key, value) in entries {
                    let key = self.eval(key, scope)?;
                    dict.insert(key, self.eval(value, scope)?)?;
                }
                Ok(Value::Dict(dict.finish()?))
            }
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value, scope)?.is_true())),
            Expr::Neg(value) => {
                let value = self.eval(value, scope)?;
                number::negate(self.heap, &value)
            }
            Expr::Pos(value) => {
                let value = self.eval(value, scope)?;
                ops::math(self.heap, ast::Math::Add, &Value::Int(0), &value)
            }
            Expr::And(terms) => self.logic(terms, false, scope),
            Expr::Or(terms) => self.logic(terms, true, scope),
            Expr::Concat(terms) => {
                let mut out = Builder::new(self.heap);
                for term in terms {
                    let value = self.eval(term, scope)?;
                    print::push_str(&mut out, &value)?;
                }
                Ok(Value::Text(out.text()?))
            }
            Expr::Math(first, rest) => {
                let mut value = self.eval(first, scope)?;
                for (op, term) in rest {
                    let term = self.eval(term, scope)?;
                    value = ops::math(self.heap, *op, &value, &term)?;
                }
                Ok(value)
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first, scope)?;
                for (op, term) in rest {
                    let right = self.eval(term, scope)?;
                    if !ops::compare(self.heap, *op, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::If(parts) => {
                let (test, value, otherwise) = &**parts;
                match (self.eval(test, scope)?.is_true(), otherwise) {
                    (true, _) => self.eval(value, scope),
                    (false, Some(otherwise)) => self.eval(otherwise, scope),
                    (false, None) => Ok(Value::Undefined),
                }
            }
            Expr::Post(value, posts) => {
                let base = self.eval(value, scope)?;
                self.posts(Some(value), base, posts, scope)
            }
            _ => Ok(Value::Undefined),
        }
    }

    fn items(&mut self, items: &'t [Expr], kind: Kind, scope: &Rc<Scope>) -> Result<Rc<Seq>> {
        let mut out = Builder::new(self.heap);
        for item in items {
            let item = self.eval(item, scope)?;
            out.push(item)?;
        }
        Seq::new(kind, out)
    }

    /// The first term whose truth is `decides`, else the last one.
    fn logic(&mut self, terms: &'t [Expr], decides: bool, scope: &Rc<Scope>) -> Result<Value> {
        let mut value = Value::Undefined;
        for term in terms {
            value = self.eval(term, scope)?;
            if value.is_true() == decides {
                break;
            }
        }
        Ok(value)
    }

    /// What follows a value, one after the other. `base` is the value's expression, for messages.
    pub(super) fn posts(
        &mut self,
        base: Option<&'t Expr>,
        mut value: Value,
        posts: &'t [Post],
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        for (at, post) in posts.iter().enumerate() {
            self.heap.work(1)?;
            let is_access =
                matches!(post, Post::Attr(_) | Post::Item(_) | Post::Slice(_) | Post::Call(_));
            if is_access && value.is_undefined() {
                return fail(format!("`{}` is undefined", self.described(base, &posts[..at])));
            }
            value = match post {
                Post::Attr(name) => methods::attribute(self.heap, &value, name)?,
                Post::Item(key) => {
                    let key = self.eval(key, scope)?;
                    methods::item(self.heap, &value, &key)?
                }
                Post::Slice(bounds) => {
                    let mut found = [Value::None, Value::None, Value::None];
                    for (found, bound) in found.iter_mut().zip(bounds.iter()) {
                        if let Some(bound) = bound {
                            *found = self.eval(bound, scope)?;
                        }
                    }
                    methods::slice(self.heap, &value, found.each_ref())?
                }
                Post::Call(args) => {
                    let args = self.args(args, scope)?;
                    self.call(&value, args)?
                }
                Post::Filter(name, args) => self.filter(name, &value, args, scope)?,
                Post::Test { name, negated, args } => {
                    let args = self.args(args, scope)?;
                    Value::Bool(tests::holds(self.heap, name, &value, args)? != *negated)
                }
            };
        }
        Ok(value)
    }

    /// How an expression is written, as far as names and dots go.
    fn described(&self, base: Option<&Expr>, posts: &[Post]) -> String {
        let mut text = match base {
            Some(Expr::Name(symbol)) => self.parsed.names[*symbol].clone(),
            _ => "a value".to_owned(),
        };
        for post in posts {
            match post {
                Post::Attr(name) => text.push_str(&format!(".{name}")),
                Post::Item(Expr::Text(name)) => {
                    text.push_str(&format!("['{}']", super::super::text::plain(name)));
                }
                Post::Call(_) => text.push_str("(…)"),
                _ => text.push_str("[…]"),
            }
        }
        text.chars().take(DESCRIBED_MAX).collect()
    }

    pub(super) fn args(&mut self, args: &'t ast::Args, scope: &Rc<Scope>) -> Result<Args> {
        let mut found = Args::default();
        for value in &args.list {
            found.list.push(self.eval(value, scope)?);
        }
        if let Some(star) = &args.star {
            let items = self.eval(star, scope)?.iterate(self.heap)?;
            // The copy of the items lives as long as the call.
            self.heap.work(items.items.len())?;
            if items.items.len() > ARGS_MAX {
                return fail(format!("a call has more than {ARGS_MAX} arguments"));
            }
            found.list.extend(items.items.iter().cloned());
        }
        for (name, value) in &args.named {
            let value = self.eval(value, scope)?;
            self.heap.work(found.named.len() / 16)?;
            if found.named.iter().any(|(known, _)| known == name) {
                return fail(format!("the argument `{name}` is given twice"));
            }
            found.named.push((name.clone(), value));
        }
        if let Some(stars) = &args.stars {
            let Value::Dict(dict) = self.eval(stars, scope)? else {
                return fail("`**` wants a dict");
            };
            if dict.entries.len() > ARGS_MAX {
                return fail(format!("a call has more than {ARGS_MAX} arguments"));
            }
            for (key, value) in dict.entries.iter() {
                let name = super::super::args::text("**", Some(key.clone()))?.plain();
                self.heap.scan(name.len() + found.named.len() * 4)?;
                if found.named.iter().any(|(known, _)| *known == name) {
                    return fail(format!("the argument `{name}` is given twice"));
                }
                found.named.push((name, value.clone()));
            }
        }
        Ok(found)
    }

    fn call(&mut self, value: &Value, args: Args) -> Result<Value> {
        match value {
            Value::Method(method) => methods::call(self.heap, &method.0, &method.1, args),
            Value::Function(function) => {
                let made = function.call(self.heap, args, self.now)?;
                if let (Function::Namespace, Value::Namespace(space)) = (function, &made) {
                    self.heap.take(super::VARIABLE_BYTES)?;
                    self.captured.push(Captured::Namespace(Rc::clone(space)));
                }
                Ok(made)
            }
            Value::Macro(found) => self.call_macro(found, args),
            Value::Loop(state) => {
                let Some((index, scope)) = state.recursive.clone() else {
                    return fail("only a loop that is `recursive` can be called");
                };
                let [over] = args.places("loop")?;
                let over = super::super::args::required("loop", over)?;
                self.deeper()?;
                let mut out = Builder::new(self.heap);
                self.run_loop(index, &over, state.level() + 1, &scope, &mut out)?;
                self.depth -= 1;
                Ok(Value::Text(out.text()?))
            }
            Value::Joiner(joiner) => {
                args.places::<0>("joiner")?;
                match joiner.1.replace(true) {
                    true => Ok(Value::Text(joiner.0.clone())),
                    false => Value::foreign(self.heap, ""),
                }
            }
            _ => fail(format!("a value of type {} cannot be called", value.type_name())),
        }
    }

    pub(super) fn make_macro(&mut self, index: usize, scope: &Rc<Scope>) -> Result<Value> {
        let name = self.parsed.macros[index].name.clone();
        self.heap.take(super::VARIABLE_BYTES + name.len())?;
        self.captured.push(Captured::Scope(Rc::clone(scope)));
        Ok(Value::Macro(Rc::new(MacroValue { name, index, scope: Rc::clone(scope) })))
    }

    /// `{% call %}`: the last call of the expression gets a caller.
    pub(super) fn call_with(
        &mut self,
        call: &'t Expr,
        caller: Value,
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let Expr::Post(base, posts) = call else { return fail("`{% call %}` needs a call") };
        let Some((Post::Call(args), before)) = posts.split_last() else {
            return fail("`{% call %}` needs a call");
        };
        let value = self.eval(base, scope)?;
        let value = self.posts(Some(base), value, before, scope)?;
        let mut args = self.args(args, scope)?;
        args.named.push(("caller".to_owned(), caller));
        self.call(&value, args)
    }

    fn call_macro(&mut self, found: &MacroValue, args: Args) -> Result<Value> {
        let parsed: &'t Parsed = self.parsed;
        let this = &parsed.macros[found.index];
        self.deeper()?;
        let line = self.line;
        let scope = Scope::inside(&found.scope)?;
        self.bind(this, args, &scope)?;
        let mut out = Builder::new(self.heap);
        self.body(&this.body, &scope, &mut out)?;
        self.line = line;
        self.depth -= 1;
        Ok(Value::Text(out.text()?))
    }

    fn bind(&mut self, this: &'t Macro, args: Args, scope: &Rc<Scope>) -> Result<()> {
        let Args { mut list, mut named } = args;
        let parsed: &'t Parsed = self.parsed;
        self.heap.work(this.params.len().saturating_mul(named.len() + 1) / 16)?;
        let extra = list.split_off(list.len().min(this.params.len()));
        let given = list.len();
        let mut list = list.into_iter();
        for (at, (symbol, default)) in this.params.iter().enumerate() {
            let name = &parsed.names[*symbol];
            let by_name = named.iter().position(|(found, _)| found == name);
            let by_name = by_name.map(|at| named.remove(at).1);
            if at < given && by_name.is_some() {
                return fail(format!("the macro `{}` is given `{name}` twice", this.name));
            }
            let value = match (list.next().or(by_name), default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default, scope)?,
                (None, None) => Value::Undefined,
            };
            scope.set(*symbol, value);
        }
        if this.uses.caller {
            let caller = named.iter().position(|(found, _)| found == "caller");
            let caller = caller.map_or(Value::Undefined, |at| named.remove(at).1);
            if let Some(symbol) = self.implicit[1] {
                scope.set(symbol, caller);
            }
        }
        if this.uses.kwargs {
            let mut rest = DictBuilder::new(self.heap);
            for (name, value) in named.drain(..) {
                rest.insert(Value::foreign(self.heap, &name)?, value)?;
            }
            let rest = Value::Dict(rest.finish()?);
            if let Some(symbol) = self.implicit[2] {
                scope.set(symbol, rest);
            }
        }
        if let Some((name, _)) = named.first() {
            return fail(format!("the macro `{}` has no argument `{name}`", this.name));
        }
        if this.uses.varargs {
            let rest = Value::Seq(sequence(self.heap, Kind::Tuple, extra)?);
            if let Some(symbol) = self.implicit[3] {
                scope.set(symbol, rest);
            }
        } else if !extra.is_empty() {
            let count = this.params.len();
            return fail(format!("the macro `{}` takes at most {count} arguments", this.name));
        }
        Ok(())
    }
}

/// More arguments would only serve to fill memory.
const ARGS_MAX: usize = 1000;

/// Longest description of an expression in a message, in characters.
const DESCRIBED_MAX: usize = 80;
