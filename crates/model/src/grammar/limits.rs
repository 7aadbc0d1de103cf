//! What a grammar may cost. Schemas come from clients, so nothing here is believed.

use llguidance::api::ParserLimits;

/// Bytes of a schema, written as JSON without white space, and of all schemas of a set of tools.
pub(crate) const SCHEMA_BYTES: usize = 1 << 20;

/// Bytes of a Lark grammar or a regular expression.
pub(crate) const TEXT_BYTES: usize = 64 << 10;

/// Lists and objects in each other, in a schema and in a value of `enum`.
pub(crate) const DEPTH: usize = 128;

/// Rules of a grammar that a schema becomes; alternatives within alternatives multiply.
pub(crate) const RULES: usize = 10_000;

/// Of `minItems`, `minLength` and `maxLength`. What a client allows beyond that in a list cannot be
/// reached in any context.
pub(crate) const COUNT: usize = 16_384;

/// Values of an `enum`.
pub(crate) const VALUES: usize = 10_000;

/// Lists and objects in each other where a schema allows anything.
pub(crate) const ANY_DEPTH: usize = 8;

/// Tools that are declared together.
pub(crate) const TOOLS: usize = 256;

/// Stack for compiling: llguidance follows rules by recursion, ours and those of a Lark grammar.
pub(crate) const STACK: usize = 256 << 20;

/// Work for deciding whether any string satisfies a schema, in derivre's steps.
pub(crate) const STRING_FUEL: u64 = 300_000;

/// The limits of llguidance: about 20 ms to build the lexer, 100 MB for its states.
pub(super) fn parser() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 500_000,
        step_max_items: 200_000,
        max_items_in_row: 10_000,
        max_lexer_states: 60_000,
        max_grammar_size: 200_000,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}
