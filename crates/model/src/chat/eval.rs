//! Runs a parsed template: statements here, expressions in [`expression`], loops and macros as
//! values in [`state`].

mod expression;
mod state;

use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{For, Kind, Parsed, Stmt, Symbol, Target};
use super::budget::{Builder, Fault, Heap, Result, fail};
use super::filters;
use super::functions::FUNCTIONS;
use super::text::Ch;
use super::value::{Namespace, Seq, Value};

use state::Scope;
pub(super) use state::{LoopState, MacroValue};

/// A fault and the line of the statement that met it.
pub(super) struct Failure {
    pub(super) line: u32,
    pub(super) fault: Fault,
}

/// Renders `parsed` with these names set; `now` is the time in seconds since 1970.
pub(super) fn render(
    parsed: &Parsed,
    heap: &Heap,
    names: &HashMap<String, Value>,
    now: i64,
) -> std::result::Result<Builder<Ch>, Failure> {
    let find = |name: &String| {
        let function = || FUNCTIONS.iter().find(|(known, _)| known == name);
        names.get(name).cloned().or_else(|| function().map(|(_, f)| Value::Function(*f)))
    };
    let globals = parsed.names.iter().map(find).collect();
    let implicit = ["loop", "caller", "kwargs", "varargs"];
    let implicit = implicit.map(|wanted| parsed.names.iter().position(|name| name == wanted));
    let captured = Vec::new();
    let mut run = Run { parsed, heap, globals, now, line: 1, depth: 0, implicit, captured };
    let mut out = Builder::new(heap);
    let scope = Scope::root();
    let result = run.body(&parsed.body, &scope, &mut out);
    run.release();
    match result {
        Ok(_) => Ok(out),
        Err(fault) => Err(Failure { line: run.line, fault }),
    }
}

struct Run<'t> {
    parsed: &'t Parsed,
    heap: &'t Heap,
    /// By symbol: what the caller set, and functions.
    globals: Vec<Option<Value>>,
    now: i64,
    line: u32,
    depth: usize,
    /// The symbols of `loop`, `caller`, `kwargs` and `varargs`, where the template uses them.
    implicit: [Option<Symbol>; 4],
    /// What may hold itself and is emptied at the end.
    captured: Vec<Captured>,
}

enum Captured {
    Scope(Rc<Scope>),
    Namespace(Rc<Namespace>),
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'t> Run<'t> {
    fn body(&mut self, body: &'t [Stmt], scope: &Rc<Scope>, out: &mut Builder<Ch>) -> Result<Flow> {
        self.deeper()?;
        for stmt in body {
            self.line = stmt.line;
            self.heap.work(1)?;
            let flow = match &stmt.kind {
                Kind::Data(text) => {
                    out.extend(text)?;
                    Flow::Next
                }
                kind => self.statement(kind, scope, out)?,
            };
            if flow != Flow::Next {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::Next)
    }

    fn statement(
        &mut self,
        kind: &'t Kind,
        scope: &Rc<Scope>,
        out: &mut Builder<Ch>,
    ) -> Result<Flow> {
        match kind {
            Kind::Data(text) => out.extend(text)?,
            Kind::Print(shown) => {
                let value = self.eval(shown, scope)?;
                super::print::push_str(out, &value)?;
            }
            Kind::If(arms) => {
                for (test, body) in arms {
                    let holds = match test {
                        Some(test) => self.eval(test, scope)?.is_true(),
                        None => true,
                    };
                    if holds {
                        return self.body(body, scope, out);
                    }
                }
            }
            Kind::For(index) => return self.for_loop(*index, scope, out),
            Kind::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            _ => self.block(kind, scope, out)?,
        }
        Ok(Flow::Next)
    }

    /// Statements with a scope of their own, which `break` does not leave.
    fn block(&mut self, kind: &'t Kind, scope: &Rc<Scope>, out: &mut Builder<Ch>) -> Result<()> {
        match kind {
            Kind::SetBlock(target, filters, body) => {
                let text = self.captured(body, scope)?;
                let value = self.posts(None, text, filters, scope)?;
                self.assign(target, value, scope)
            }
            Kind::Macro(symbol, index) => {
                let made = self.make_macro(*index, scope)?;
                self.set(*symbol, made, scope)
            }
            Kind::Call(call, index) => {
                let caller = self.make_macro(*index, scope)?;
                let shown = self.call_with(call, caller, scope)?;
                super::print::push_str(out, &shown)
            }
            Kind::Filter(filters, body) => {
                let text = self.captured(body, scope)?;
                let value = self.posts(None, text, filters, scope)?;
                super::print::push_str(out, &value)
            }
            Kind::With(values, body) => {
                let inner = Scope::inside(scope)?;
                for (target, value) in values {
                    let value = self.eval(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                self.body(body, &inner, out).map(drop)
            }
            Kind::Scope(body) => {
                let inner = Scope::inside(scope)?;
                self.body(body, &inner, out).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What a body writes, as a value.
    fn captured(&mut self, body: &'t [Stmt], scope: &Rc<Scope>) -> Result<Value> {
        let inner = Scope::inside(scope)?;
        let mut out = Builder::new(self.heap);
        self.body(body, &inner, &mut out)?;
        Ok(Value::Text(out.text()?))
    }

    fn for_loop(&mut self, index: usize, scope: &Rc<Scope>, out: &mut Builder<Ch>) -> Result<Flow> {
        let parsed: &'t Parsed = self.parsed;
        let over = self.eval(&parsed.loops[index].over, scope)?;
        self.run_loop(index, &over, 0, scope, out)?;
        Ok(Flow::Next)
    }

    /// One loop over `over`, `depth` loops within itself.
    fn run_loop(
        &mut self,
        index: usize,
        over: &Value,
        depth: usize,
        scope: &Rc<Scope>,
        out: &mut Builder<Ch>,
    ) -> Result<()> {
        let parsed: &'t Parsed = self.parsed;
        let this = &parsed.loops[index];
        let mut items = over.iterate(self.heap)?;
        if let Some(test) = &this.test {
            items = self.filtered(this, test, &items, scope)?;
        }
        if items.items.is_empty() {
            let inner = Scope::inside(scope)?;
            return self.body(&this.otherwise, &inner, out).map(drop);
        }
        self.heap.work(1)?;
        let recursive = this.recursive.then(|| (index, Rc::clone(scope)));
        let state = Rc::new(LoopState::new(items, depth, recursive));
        let line = self.line;
        let result = self.iterations(this, &state, scope, out);
        state.finish();
        if result.is_ok() {
            self.line = line;
        }
        result
    }

    fn iterations(
        &mut self,
        this: &'t For,
        state: &Rc<LoopState>,
        scope: &Rc<Scope>,
        out: &mut Builder<Ch>,
    ) -> Result<()> {
        while let Some(item) = state.step() {
            self.heap.work(1)?;
            let inner = Scope::inside(scope)?;
            if let Some(symbol) = self.implicit[0] {
                inner.set(symbol, Value::Loop(Rc::clone(state)));
            }
            self.assign(&this.target, item, &inner)?;
            if self.body(&this.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// The items for which the loop's `if` holds.
    fn filtered(
        &mut self,
        this: &'t For,
        test: &'t super::ast::Expr,
        items: &Rc<Seq>,
        scope: &Rc<Scope>,
    ) -> Result<Rc<Seq>> {
        let mut kept = Builder::new(self.heap);
        for item in items.items.iter() {
            let inner = Scope::inside(scope)?;
            self.assign(&this.target, item.clone(), &inner)?;
            if self.eval(test, &inner)?.is_true() {
                kept.push(item.clone())?;
            }
        }
        Seq::new(super::value::Kind::List, kept)
    }

    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(symbol) => self.set(*symbol, value, scope),
            Target::Attr(symbol, name) => match self.lookup(*symbol, scope) {
                Value::Namespace(space) => {
                    let mut vars = space.vars.borrow_mut();
                    match vars.get_mut(name) {
                        Some(held) => *held = value,
                        None => {
                            self.heap.take(VARIABLE_BYTES)?;
                            vars.insert(name.clone(), value);
                        }
                    }
                    Ok(())
                }
                other => {
                    let found = other.type_name();
                    fail(format!("only a namespace can be assigned to with a dot, found {found}"))
                }
            },
            Target::Tuple(targets) => {
                let items = value.iterate(self.heap)?;
                if items.items.len() != targets.len() {
                    let (found, wanted) = (items.items.len(), targets.len());
                    return fail(format!("{found} values are assigned to {wanted} names"));
                }
                for (target, item) in targets.iter().zip(items.items.iter()) {
                    self.assign(target, item.clone(), scope)?;
                }
                Ok(())
            }
        }
    }

    fn set(&mut self, symbol: Symbol, value: Value, scope: &Rc<Scope>) -> Result<()> {
        self.heap.work(1)?;
        scope.set(symbol, value);
        Ok(())
    }

    fn lookup(&self, symbol: Symbol, scope: &Rc<Scope>) -> Value {
        let global = || self.globals[symbol].clone().unwrap_or(Value::Undefined);
        scope.get(symbol).unwrap_or_else(global)
    }

    fn filter(
        &mut self,
        name: &str,
        value: &Value,
        args: &'t super::ast::Args,
        scope: &Rc<Scope>,
    ) -> Result<Value> {
        let args = self.args(args, scope)?;
        filters::call(self.heap, name, value, args)
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return fail("statements, expressions and macros are nested too deep at run time");
        }
        Ok(())
    }

    /// Empties what may hold itself, so that nothing stays behind.
    fn release(&mut self) {
        for captured in &self.captured {
            match captured {
                Captured::Scope(scope) => drop(scope.take()),
                Captured::Namespace(space) => drop(std::mem::take(&mut *space.vars.borrow_mut())),
            }
        }
        self.captured.clear();
    }
}

/// Python stops at a thousand calls within each other, of which a macro takes a few.
const DEPTH_MAX: usize = 1500;

/// About what a name costs, without its value.
const VARIABLE_BYTES: usize = 256;
