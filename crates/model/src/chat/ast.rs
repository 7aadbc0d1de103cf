//! A parsed template. Chains of operators are lists, so that depth is what the author nested.

use num_bigint::BigInt;

use super::text::Ch;

/// A name, as its place in [`Parsed::names`].
pub(super) type Symbol = usize;

/// A template after parsing.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) body: Vec<Stmt>,
    pub(super) names: Vec<String>,
    pub(super) macros: Vec<Macro>,
    pub(super) loops: Vec<For>,
}

#[derive(Debug)]
pub(super) struct Stmt {
    pub(super) line: u32,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Data(Box<[Ch]>),
    Print(Expr),
    /// Conditions with their bodies; the last body may have none.
    If(Vec<(Option<Expr>, Vec<Stmt>)>),
    /// A place in [`Parsed::loops`].
    For(usize),
    Set(Target, Expr),
    SetBlock(Target, Vec<Post>, Vec<Stmt>),
    /// A name and a place in [`Parsed::macros`].
    Macro(Symbol, usize),
    /// A call, and the caller's place in [`Parsed::macros`].
    Call(Expr, usize),
    Filter(Vec<Post>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    /// A body whose names are its own: a block, or what the assistant generated.
    Scope(Vec<Stmt>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) test: Option<Expr>,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
    pub(super) recursive: bool,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: String,
    /// Parameters with their defaults.
    pub(super) params: Vec<(Symbol, Option<Expr>)>,
    pub(super) body: Vec<Stmt>,
    pub(super) uses: Implicit,
}

/// The names that a macro's body uses without declaring them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Implicit {
    pub(super) varargs: bool,
    pub(super) kwargs: bool,
    pub(super) caller: bool,
}

#[derive(Debug)]
pub(super) enum Target {
    Name(Symbol),
    /// An attribute of a namespace.
    Attr(Symbol, String),
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(BigInt),
    Float(f64),
    Text(Box<[Ch]>),
    Name(Symbol),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Concat(Vec<Expr>),
    Math(Box<Expr>, Vec<(Math, Expr)>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    /// Condition, value if it holds, value otherwise.
    If(Box<(Expr, Expr, Option<Expr>)>),
    Post(Box<Expr>, Vec<Post>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Math {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

/// What follows a value.
#[derive(Debug)]
pub(super) enum Post {
    Attr(String),
    Item(Expr),
    Slice(Box<[Option<Expr>; 3]>),
    Call(Args),
    Filter(String, Args),
    Test { name: String, negated: bool, args: Args },
}

#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) list: Vec<Expr>,
    pub(super) named: Vec<(String, Expr)>,
    /// `*list`
    pub(super) star: Option<Box<Expr>>,
    /// `**dict`
    pub(super) stars: Option<Box<Expr>>,
}
