//! The values of a template. All but namespaces are immutable, as in Hugging Face's sandbox.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;

use num_bigint::BigInt;

use super::budget::{Builder, Heap, Held, Result, fail};
use super::eval::{LoopState, MacroValue};
use super::functions::Function;
use super::number;
use super::text::{Ch, Text};

#[derive(Clone, Debug)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    /// An integer that is no `Int`; [`number::value`] makes it.
    Big(Rc<BigInt>),
    Float(f64),
    Text(Text),
    Seq(Rc<Seq>),
    Dict(Rc<Dict>),
    /// What filters such as `map` give: to be gone through once.
    Iter(Rc<Iter>),
    Namespace(Rc<Namespace>),
    Macro(Rc<MacroValue>),
    Loop(Rc<LoopState>),
    /// A method of a value.
    Method(Rc<(Value, String)>),
    Function(Function),
    Cycler(Rc<(Rc<Seq>, Cell<usize>)>),
    /// Its separator, and whether it was called.
    Joiner(Rc<(Text, Cell<bool>)>),
}

/// Which of Python's sequences a [`Seq`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    /// `range(start, stop, step)`
    Range([i64; 3]),
    Keys,
    Values,
    Items,
}

#[derive(Debug)]
pub(super) struct Seq {
    pub(super) kind: Kind,
    pub(super) items: Held<Value>,
    depth: u16,
}

#[derive(Debug)]
pub(super) struct Iter {
    items: Rc<Seq>,
    next: Cell<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) vars: RefCell<HashMap<String, Value>>,
}

/// Entries in the order in which their keys came.
#[derive(Debug)]
pub(super) struct Dict {
    pub(super) entries: Held<(Value, Value)>,
    index: HashMap<Key, usize>,
    /// The bytes of the index, held by this.
    _index: Held<u8>,
    depth: u16,
}

/// What makes two keys one: 1, 1.0 and true are.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Undefined,
    None,
    Int(BigInt),
    Float(u64),
    Text(String),
    Tuple(Vec<Key>),
}

impl Value {
    /// A length or a place.
    pub(super) fn int(number: usize) -> Self {
        Self::Int(number as i64)
    }

    /// A string that the program makes.
    pub(super) fn foreign(heap: &Heap, text: &str) -> Result<Self> {
        Ok(Self::Text(Text::foreign(heap, text)?))
    }

    pub(super) fn text(heap: &Heap, chars: &[Ch]) -> Result<Self> {
        Ok(Self::Text(Text::new(heap, chars)?))
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(yes) => *yes,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.chars().is_empty(),
            Self::Seq(seq) => !seq.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    /// The name of the type in Python, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined value",
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Seq(seq) => match seq.kind {
                Kind::List => "list",
                Kind::Tuple => "tuple",
                Kind::Range(_) => "range",
                Kind::Keys => "dict_keys",
                Kind::Values => "dict_values",
                Kind::Items => "dict_items",
            },
            Self::Dict(_) => "dict",
            Self::Iter(_) => "iterator",
            Self::Namespace(_) => "namespace",
            Self::Macro(_) => "macro",
            Self::Loop(_) => "loop",
            Self::Method(_) | Self::Function(_) => "function",
            Self::Cycler(_) => "cycler",
            Self::Joiner(_) => "joiner",
        }
    }

    /// As Python's `len`.
    pub(super) fn len(&self) -> Result<usize> {
        match self {
            Self::Undefined => Ok(0),
            Self::Text(text) => Ok(text.chars().len()),
            Self::Seq(seq) => Ok(seq.items.len()),
            Self::Dict(dict) => Ok(dict.entries.len()),
            Self::Loop(state) => Ok(state.len()),
            _ => fail(format!("a value of type {} has no length", self.type_name())),
        }
    }

    /// The items that a loop goes through.
    pub(super) fn iterate(&self, heap: &Heap) -> Result<Rc<Seq>> {
        match self {
            Self::Seq(seq) => Ok(Rc::clone(seq)),
            Self::Iter(iter) => iter.rest(heap),
            Self::Undefined => list(heap, []),
            Self::Dict(dict) => list(heap, dict.entries.iter().map(|(key, _)| key.clone())),
            Self::Text(text) => {
                let mut items = Builder::new(heap);
                for c in text.chars() {
                    items.push(Self::text(heap, &[*c])?)?;
                }
                Seq::new(Kind::List, items)
            }
            _ => fail(format!("a value of type {} is not iterable", self.type_name())),
        }
    }

    pub(super) fn depth(&self) -> u16 {
        match self {
            Self::Seq(seq) => seq.depth,
            Self::Dict(dict) => dict.depth,
            Self::Iter(iter) => iter.items.depth,
            Self::Method(method) => method.0.depth() + 1,
            Self::Cycler(cycler) => cycler.0.depth + 1,
            Self::Loop(state) => state.depth(),
            _ => 0,
        }
    }

    /// As Python's `==`.
    pub(super) fn equals(&self, other: &Self, heap: &Heap) -> Result<bool> {
        heap.work(1)?;
        Ok(match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::None, Self::None) => true,
            (Self::Text(a), Self::Text(b)) => {
                let (a, b) = (a.chars(), b.chars());
                heap.scan(if a.len() == b.len() { a.len() } else { 0 })?;
                a == b
            }
            (Self::Seq(a), Self::Seq(b)) => {
                if Rc::ptr_eq(a, b) {
                    return Ok(true);
                }
                let alike = std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind);
                if !alike || a.kind == Kind::Values || a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (a, b) in a.items.iter().zip(b.items.iter()) {
                    if !a.equals(b, heap)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Dict(a), Self::Dict(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in a.entries.iter() {
                    match b.get(key, heap)? {
                        Some(found) if value.equals(found, heap)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Self::Namespace(a), Self::Namespace(b)) => Rc::ptr_eq(a, b),
            (Self::Macro(a), Self::Macro(b)) => Rc::ptr_eq(a, b),
            (Self::Iter(a), Self::Iter(b)) => Rc::ptr_eq(a, b),
            (Self::Function(a), Self::Function(b)) => a == b,
            _ => number::compare(self, other) == Some(Ordering::Equal),
        })
    }

    /// As Python's `<` and its like; `None` where one of them is no number.
    pub(super) fn order(&self, other: &Self, heap: &Heap) -> Result<Option<Ordering>> {
        heap.work(1)?;
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => {
                heap.scan(a.chars().len().min(b.chars().len()))?;
                Ok(Some(a.chars().cmp(b.chars())))
            }
            (Self::Seq(a), Self::Seq(b))
                if a.kind == b.kind && matches!(a.kind, Kind::List | Kind::Tuple) =>
            {
                for (a, b) in a.items.iter().zip(b.items.iter()) {
                    if !a.equals(b, heap)? {
                        return a.order(b, heap);
                    }
                }
                Ok(Some(a.items.len().cmp(&b.items.len())))
            }
            _ if number::is_number(self) && number::is_number(other) => {
                Ok(number::compare(self, other))
            }
            _ => {
                let (a, b) = (self.type_name(), other.type_name());
                fail(format!("values of type {a} and {b} have no order"))
            }
        }
    }

    /// As Python's `needle in self`.
    pub(super) fn contains(&self, needle: &Self, heap: &Heap) -> Result<bool> {
        match (self, needle) {
            (Self::Text(text), Self::Text(needle)) => {
                Ok(super::text::find(heap, text.chars(), needle.chars())?.is_some())
            }
            (Self::Text(_), _) => {
                fail(format!("a value of type {} cannot be in a string", needle.type_name()))
            }
            (Self::Dict(dict), needle) => Ok(dict.get(needle, heap)?.is_some()),
            _ => {
                for item in self.iterate(heap)?.items.iter() {
                    if item.equals(needle, heap)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

impl Seq {
    pub(super) fn new(kind: Kind, items: Builder<Value>) -> Result<Rc<Self>> {
        let depth = nested(items.items().iter().map(Value::depth))?;
        Ok(Rc::new(Self { kind, items: items.finish()?, depth }))
    }
}

impl Iter {
    pub(super) fn value(items: Rc<Seq>) -> Value {
        Value::Iter(Rc::new(Self { items, next: Cell::new(0) }))
    }

    pub(super) fn step(&self) -> Option<Value> {
        let item = self.items.items.get(self.next.get())?;
        self.next.set(self.next.get() + 1);
        Some(item.clone())
    }

    fn rest(&self, heap: &Heap) -> Result<Rc<Seq>> {
        let next = self.next.replace(self.items.items.len());
        if next == 0 {
            return Ok(Rc::clone(&self.items));
        }
        list(heap, self.items.items[next..].iter().cloned())
    }
}

/// A list of these items.
pub(super) fn list(heap: &Heap, items: impl IntoIterator<Item = Value>) -> Result<Rc<Seq>> {
    sequence(heap, Kind::List, items)
}

pub(super) fn sequence(
    heap: &Heap,
    kind: Kind,
    items: impl IntoIterator<Item = Value>,
) -> Result<Rc<Seq>> {
    let mut out = Builder::new(heap);
    items.into_iter().try_for_each(|item| out.push(item))?;
    Seq::new(kind, out)
}

pub(super) fn tuple(heap: &Heap, items: impl IntoIterator<Item = Value>) -> Result<Value> {
    Ok(Value::Seq(sequence(heap, Kind::Tuple, items)?))
}

/// A dict under construction.
pub(super) struct DictBuilder {
    entries: Builder<(Value, Value)>,
    index: HashMap<Key, usize>,
    bytes: Builder<u8>,
}

impl DictBuilder {
    pub(super) fn new(heap: &Heap) -> Self {
        Self { entries: Builder::new(heap), index: HashMap::new(), bytes: Builder::new(heap) }
    }

    /// Adds an entry, or replaces the value of an equal key.
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        let heap = Rc::clone(self.entries.heap());
        let mut bytes = INDEX_ENTRY_BYTES;
        let normal = Key::new(&key, &heap, &mut bytes)?;
        if let Some(at) = self.index.get(&normal) {
            self.entries.items_mut()[*at].1 = value;
            return Ok(());
        }
        self.bytes.repeat(&[0], bytes)?;
        self.index.insert(normal, self.entries.len());
        self.entries.push((key, value))
    }

    /// Adds an entry whose key is new; false if there is one.
    pub(super) fn insert_new(&mut self, key: Value, value: Value) -> Result<bool> {
        let before = self.entries.len();
        self.insert(key, value)?;
        Ok(self.entries.len() > before)
    }

    pub(super) fn finish(self) -> Result<Rc<Dict>> {
        let depths = self.entries.items().iter().map(|(key, value)| key.depth().max(value.depth()));
        let depth = nested(depths)?;
        let (entries, _index) = (self.entries.finish()?, self.bytes.finish()?);
        Ok(Rc::new(Dict { entries, index: self.index, _index, depth }))
    }
}

impl Dict {
    pub(super) fn get(&self, key: &Value, heap: &Heap) -> Result<Option<&Value>> {
        let key = Key::new(key, heap, &mut 0)?;
        Ok(self.index.get(&key).map(|at| &self.entries[*at].1))
    }

    /// The value of a string key.
    pub(super) fn named(&self, key: &str) -> Option<&Value> {
        self.index.get(&Key::Text(key.to_owned())).map(|at| &self.entries[*at].1)
    }
}

impl Key {
    /// Adds what the key costs to `bytes`.
    fn new(value: &Value, heap: &Heap, bytes: &mut usize) -> Result<Self> {
        heap.work(1)?;
        Ok(match value {
            Value::Undefined => Self::Undefined,
            Value::None => Self::None,
            Value::Bool(yes) => Self::Int(BigInt::from(u8::from(*yes))),
            Value::Int(number) => Self::Int(BigInt::from(*number)),
            Value::Big(number) => {
                *bytes += number.bits() as usize / 8;
                Self::Int(BigInt::clone(number))
            }
            Value::Float(number) => match number::whole(*number) {
                Some(whole) => Self::Int(whole),
                None => Self::Float(number.to_bits()),
            },
            Value::Text(text) => {
                let chars = text.chars().len();
                heap.scan(chars)?;
                // Enough for what is alive while the key is made.
                let _room = {
                    let mut room = Builder::<u8>::new(heap);
                    room.reserve(chars.saturating_mul(4))?;
                    room
                };
                *bytes += chars * 4;
                Self::Text(text.plain())
            }
            Value::Seq(seq) if seq.kind == Kind::Tuple => {
                *bytes += seq.items.len() * size_of::<Self>();
                let keys = seq.items.iter().map(|item| Self::new(item, heap, bytes));
                Self::Tuple(keys.collect::<Result<_>>()?)
            }
            _ => return fail(format!("a value of type {} cannot be a key", value.type_name())),
        })
    }
}

/// The depth of a value around values of these depths.
fn nested(depths: impl Iterator<Item = u16>) -> Result<u16> {
    let depth = depths.max().unwrap_or(0) + 1;
    if depth > DEPTH_MAX {
        return fail(format!("a value is nested more than {DEPTH_MAX} deep"));
    }
    Ok(depth)
}

/// serde_json reads 128 levels; only a template could make more.
const DEPTH_MAX: u16 = 160;

/// A slot of the index and its key.
const INDEX_ENTRY_BYTES: usize = 96;
