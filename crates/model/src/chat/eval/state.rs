//! Scopes, macros and loops that run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::super::args::Args;
use super::super::ast::Symbol;
use super::super::budget::{Heap, Result, fail};
use super::super::value::{Seq, Value};

/// Names of one block, and the blocks around it.
#[derive(Debug)]
pub(crate) struct Scope {
    vars: RefCell<HashMap<Symbol, Value>>,
    parent: Option<Rc<Scope>>,
    depth: usize,
}

impl Scope {
    pub(super) fn root() -> Rc<Self> {
        Rc::new(Self { vars: RefCell::default(), parent: None, depth: 0 })
    }

    pub(super) fn inside(parent: &Rc<Self>) -> Result<Rc<Self>> {
        let depth = parent.depth + 1;
        if depth > DEPTH_MAX {
            return fail("blocks and macros are nested too deep");
        }
        Ok(Rc::new(Self { vars: RefCell::default(), parent: Some(Rc::clone(parent)), depth }))
    }

    pub(super) fn set(&self, symbol: Symbol, value: Value) {
        self.vars.borrow_mut().insert(symbol, value);
    }

    pub(super) fn get(&self, symbol: Symbol) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.vars.borrow().get(&symbol) {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    pub(super) fn take(&self) -> HashMap<Symbol, Value> {
        self.vars.take()
    }
}

/// A macro where it was defined.
#[derive(Debug)]
pub(crate) struct MacroValue {
    pub(crate) name: String,
    /// Its place in [`super::super::ast::Parsed::macros`].
    pub(super) index: usize,
    pub(super) scope: Rc<Scope>,
}

/// A loop under way: the `loop` of its body.
#[derive(Debug)]
pub(crate) struct LoopState {
    items: Rc<Seq>,
    /// The number of iterations that have begun.
    begun: Cell<usize>,
    depth: usize,
    finished: Cell<bool>,
    changed: RefCell<Option<Vec<Value>>>,
    /// For a recursive one: its place in the template and the scope around it.
    pub(super) recursive: Option<(usize, Rc<Scope>)>,
}

impl LoopState {
    pub(super) fn new(items: Rc<Seq>, depth: usize, recursive: Option<(usize, Rc<Scope>)>) -> Self {
        let (begun, finished) = (Cell::new(0), Cell::new(false));
        Self { items, begun, depth, finished, changed: RefCell::new(None), recursive }
    }

    pub(super) fn step(&self) -> Option<Value> {
        let item = self.items.items.get(self.begun.get())?;
        self.begun.set(self.begun.get() + 1);
        Some(item.clone())
    }

    /// Forgets what it may hold of itself.
    pub(super) fn finish(&self) {
        self.finished.set(true);
        self.changed.replace(None);
    }

    pub(super) fn level(&self) -> usize {
        self.depth
    }

    pub(crate) fn len(&self) -> usize {
        self.items.items.len()
    }

    pub(crate) fn depth(&self) -> u16 {
        Value::Seq(Rc::clone(&self.items)).depth() + 1
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        let (len, index) = (self.len(), self.begun.get().saturating_sub(1));
        let item = |at: Option<usize>| {
            at.and_then(|at| self.items.items.get(at).cloned()).unwrap_or(Value::Undefined)
        };
        Some(match name {
            "index" => Value::int(index + 1),
            "index0" => Value::int(index),
            "revindex" => Value::int(len - index),
            "revindex0" => Value::int(len - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == len),
            "length" => Value::int(len),
            "depth" => Value::int(self.depth + 1),
            "depth0" => Value::int(self.depth),
            "previtem" => item(index.checked_sub(1)),
            "nextitem" => item(Some(index + 1)),
            _ => return None,
        })
    }

    pub(crate) fn call(&self, heap: &Heap, name: &str, args: Args) -> Result<Value> {
        match name {
            "cycle" if args.list.is_empty() => fail("`loop.cycle` wants values"),
            "cycle" => {
                let at = self.begun.get().saturating_sub(1) % args.list.len();
                Ok(args.list[at].clone())
            }
            "changed" => {
                let same = match &*self.changed.borrow() {
                    Some(before) if before.len() == args.list.len() => {
                        let mut same = true;
                        for (a, b) in before.iter().zip(&args.list) {
                            same &= a.equals(b, heap)?;
                        }
                        same
                    }
                    _ => false,
                };
                if !self.finished.get() && !same {
                    self.changed.replace(Some(args.list));
                }
                Ok(Value::Bool(!same))
            }
            _ => fail(format!("a loop has no method `{name}`")),
        }
    }
}

const DEPTH_MAX: usize = 1000;
