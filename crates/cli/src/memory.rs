//! Whether a session has room, found before the weights are read: a system without memory swaps for
//! minutes, or ends programs as it likes.

use std::path::Path;

use anyhow::{Result, bail};
use carat::{Config, Memory, MemoryPlan, SessionConfig};
use carat_gguf::{Gguf, Source};

use crate::args::EngineArgs;
use crate::builtin;
use crate::chosen::Chosen;
use crate::inspect::PROGRAM_BYTES;
use crate::inspect::machine::{Fit, Machine};
use crate::text::{bytes, say};

/// What is known of a session before its model is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    /// Tokens that it needs room for.
    pub(crate) tokens: usize,
    /// Marks that it keeps.
    pub(crate) marks: usize,
}

/// Refuses a session that takes more than `--max-memory` says or, where that is not given, more
/// than the machine has; says so where others have the memory now. What cannot be planned is left
/// to the opening, which says why.
///
/// # Errors
/// If the session has no room.
pub(crate) fn check(
    model: &Chosen,
    engine: &EngineArgs,
    projector: Option<&Path>,
    drafter: Option<&Path>,
    planned: Planned,
) -> Result<()> {
    let limit = match engine.max_memory {
        Some(most) => Limit::Set(most),
        None => match Machine::this() {
            Some(machine) => Limit::Machine(machine),
            None => return Ok(()),
        },
    };
    let files = Files { model, projector, drafter };
    let has_cache = engine.has_cache();
    let verdict = model.header("cannot open model", |gguf| {
        let model = Config::from_gguf(gguf)?;
        let wanted = engine.planned(&model, drafter.is_some(), planned.tokens);
        let wanted = SessionConfig { marks: planned.marks, ..wanted };
        // The vocabulary takes time to read, and is asked for only where it could decide.
        let plan = files.with_senses(MemoryPlan::without_vocabulary(gguf)?)?;
        let mut roughly = plan.session(&wanted)?;
        roughly.tokenizer = VOCABULARY_MOST;
        if limit.verdict(&roughly, has_cache) == Verdict::Fits {
            return Ok(Verdict::Fits);
        }
        let plan = files.with_senses(MemoryPlan::new(gguf)?)?;
        let memory = plan.session(&wanted)?;
        Ok(match limit.verdict(&memory, has_cache) {
            Verdict::Refused { why, .. } => {
                let fits = |context: &usize| {
                    let memory =
                        plan.session(&SessionConfig { context: *context, ..wanted.clone() });
                    memory.is_ok_and(|memory| limit.verdict(&memory, has_cache).is_allowed())
                };
                Verdict::Refused { why, context: largest(wanted.context, fits) }
            }
            verdict => verdict,
        })
    });
    match verdict.unwrap_or(Verdict::Fits) {
        Verdict::Fits => {}
        Verdict::Tight(what) => say!("carat: warning: {what}"),
        Verdict::Refused { why, context: Some(context) } => bail!(
            "{why}: --ctx {context} or less fits, so may --kv q8 or smaller weights, and \
             --max-memory allows more"
        ),
        Verdict::Refused { why, context: None } => {
            bail!("{why}: choose smaller weights, or allow more with --max-memory")
        }
    }
    Ok(())
}

/// What a session's model is made of.
struct Files<'a> {
    model: &'a Chosen,
    projector: Option<&'a Path>,
    drafter: Option<&'a Path>,
}

impl Files<'_> {
    /// The plan with what stands beside the text model.
    fn with_senses(&self, mut plan: MemoryPlan) -> Result<MemoryPlan> {
        match (self.projector, self.model) {
            (Some(path), _) => plan = plan.with_projector(&Source::open(path)?.parse()?)?,
            (None, Chosen::BuiltIn) => {
                plan = plan.with_projector(&Gguf::parse(builtin::files()?.projector)?)?;
            }
            (None, Chosen::File(_)) => {}
        }
        if let Some(path) = self.drafter {
            plan = plan.with_drafter(&Source::open(path)?.parse()?)?;
        }
        Ok(plan)
    }
}

/// What a session may take.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// As many bytes as were said.
    Set(u64),
    /// What the machine has.
    Machine(Machine),
}

/// Whether a session has room.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// It would, with other programs closed.
    Tight(String),
    /// It never does; with so much context it would.
    Refused {
        why: String,
        context: Option<usize>,
    },
}

impl Verdict {
    fn is_allowed(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

impl Limit {
    fn verdict(&self, memory: &Memory, has_cache: bool) -> Verdict {
        let total = memory.total().saturating_add(PROGRAM_BYTES);
        let needs = || format!("the session needs {} of memory ({})", bytes(total), parts(memory));
        let refused = |limit: String| Verdict::Refused { why: needs() + &limit, context: None };
        match self {
            Self::Set(most) => {
                // Experts that have no room are read from the cache file.
                let experts = if has_cache { memory.total() - memory.least() } else { 0 };
                match total - experts <= *most {
                    true => Verdict::Fits,
                    false => refused(format!(" and may take {}", bytes(*most))),
                }
            }
            Self::Machine(machine) => match machine.fit(total) {
                Fit::Now => Verdict::Fits,
                Fit::Never(_) if !has_cache || machine.paging(memory).is_none() => {
                    refused(format!(", and this machine has {}", bytes(machine.total)))
                }
                Fit::NotNow(_) | Fit::Never(_) => Verdict::Tight(format!(
                    "{} once its context is full, and {} are free now: close other programs or \
                     ask for less with --ctx",
                    needs(),
                    bytes(machine.available)
                )),
            },
        }
    }
}

/// What memory is for, as far as there is some.
fn parts(memory: &Memory) -> String {
    let Memory { weights, projector, drafter, tokenizer, kv, scratch, .. } = *memory;
    let parts = [
        ("weights", weights),
        ("senses", projector),
        ("drafter", drafter),
        ("vocabulary", tokenizer),
        ("keys and values", kv),
        ("work space", scratch),
    ];
    let parts = parts.into_iter().filter(|(_, size)| *size > 0);
    let parts: Vec<_> = parts.map(|(what, size)| format!("{what} {}", bytes(size))).collect();
    parts.join(", ")
}

/// The largest context below `wanted` that fits, if a useful one does.
fn largest(wanted: usize, fits: impl Fn(&usize) -> bool) -> Option<usize> {
    let (mut least, mut most) = (CONTEXT_LEAST, wanted);
    if least >= most || !fits(&least) {
        return None;
    }
    while most - least > 1 {
        let middle = usize::midpoint(least, most);
        *if fits(&middle) { &mut least } else { &mut most } = middle;
    }
    Some(least)
}

/// A size on the command line: a number, with a unit if it is not bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &*text[digits.len()..].to_ascii_lowercase() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(SIZE.to_owned()),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
        return Err(SIZE.to_owned());
    }
    let whole: u128 = whole.parse::<u64>().map_err(|_| SIZE.to_owned())?.into();
    let part: u128 = format!("{part:0<6}").parse::<u64>().map_err(|_| SIZE.to_owned())?.into();
    let size = (whole * 1_000_000 + part) * unit / 1_000_000;
    u64::try_from(size).map_err(|_| SIZE.to_owned())
}

const SIZE: &str = "it must be a number of bytes, or one with a unit: 6GiB, 500MB, 1.5g";

/// More than any vocabulary of the family takes.
const VOCABULARY_MOST: u64 = 256 << 20;

/// Shorter conversations are of no use to anybody.
const CONTEXT_LEAST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// 10 GiB in all with the program, 6 of them experts of which a token needs one.
    fn memory() -> Memory {
        Memory {
            weights: 8 * GIB,
            experts: 6 * GIB,
            experts_of_token: GIB,
            projector: 0,
            drafter: 0,
            tokenizer: GIB / 2,
            kv: GIB,
            scratch: GIB / 2 - PROGRAM_BYTES,
            on_disk: 0,
        }
    }

    #[test]
    fn what_was_set_is_the_limit() {
        let is_allowed =
            |most, has_cache| Limit::Set(most).verdict(&memory(), has_cache).is_allowed();
        assert!(is_allowed(10 * GIB, false) && !is_allowed(10 * GIB - 1, false));
        assert!(is_allowed(5 * GIB, true) && !is_allowed(5 * GIB - 1, true));
    }

    #[test]
    fn the_machine_is_the_limit_otherwise() {
        let verdict = |total: u64, available: u64, has_cache| {
            let machine = Machine { total: total * GIB, available: available * GIB };
            Limit::Machine(machine).verdict(&memory(), has_cache)
        };
        assert_eq!(verdict(16, 10, false), Verdict::Fits);
        assert!(matches!(verdict(16, 9, false), Verdict::Tight(_)));
        let refused = verdict(9, 9, false);
        let Verdict::Refused { why, .. } = &refused else { panic!("{refused:?}") };
        for part in ["needs 10.0 GiB", "weights 8.00 GiB", "keys and values 1.00 GiB", "has 9.00"] {
            assert!(why.contains(part), "{part}: {why}");
        }
        assert!(!why.contains("senses"), "{why}");
        // Experts are read from the cache file then.
        assert!(matches!(verdict(9, 9, true), Verdict::Tight(_)));
        assert!(!verdict(4, 4, true).is_allowed());
    }

    #[test]
    fn the_largest_context_that_fits_is_found() {
        for most in [256, 257, 4000, 8191] {
            assert_eq!(largest(8192, |context| *context <= most), Some(most));
        }
        assert_eq!(largest(8192, |context| *context <= 255), None);
        assert_eq!(largest(100, |_| true), None);
    }

    #[test]
    fn sizes_are_read_with_units() {
        let right = [
            ("0", 0),
            ("123", 123),
            ("6GiB", 6 * GIB),
            ("6g", 6 * GIB),
            ("500MB", 500_000_000),
            ("1.5kb", 1500),
            ("0.25GiB", GIB / 4),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, wanted) in right {
            assert_eq!(size(text), Ok(wanted), "{text}");
        }
        let wrong = ["", "GiB", "-1", "+1", "1e9", "6 GiB", "1.2.3", "6XB", ".5g", "16777216TiB"];
        for text in wrong {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(size("18446744073709551616").is_err() && size("１g").is_err());
    }
}
