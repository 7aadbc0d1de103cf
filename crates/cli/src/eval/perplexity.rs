//! `carat eval perplexity`: how surprised the model is by a text, in nats per token.
//!
//! BOS, then the tokens of the text; each of them is scored once with the logits of the token
//! before it, and BOS is not scored. A text longer than the context is cut into windows. Each
//! begins with BOS, and all but the first begin with the second half of the window before, which
//! is read again and not scored again: every token then sees at least half a window of what is
//! before it.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use carat::{Session, TokenId};

use crate::args::PerplexityArgs;
use crate::load;
use crate::progress::{Progress, Unit};
use crate::prompt::{raw_tokens, stdin_text};
use crate::text;

pub(crate) fn perplexity(args: &PerplexityArgs) -> Result<()> {
    let text = if args.file.as_os_str() == "-" { stdin_text()? } else { load::text(&args.file)? };
    let model = load::model(&args.model, args.cpu.open(None))?;
    let ids = raw_tokens(&model, &text);
    if ids.len() < 2 {
        let (path, n) = (args.file.display(), ids.len());
        bail!("{path} has {n} tokens together with BOS, at least 2 are needed to score one");
    }
    let context = args.ctx.unwrap_or(CONTEXT_DEFAULT.min(model.config().context));
    if context < CONTEXT_MIN {
        bail!("a window of {context} tokens is too small, --ctx must be at least {CONTEXT_MIN}");
    }
    let context = context.min(ids.len());
    let mut session = load::session(&model, args.cpu.session(context, args.kv))?;
    let bos = model.tokenizer().bos().filter(|bos| ids.first() == Some(bos));
    let windows = windows(ids.len(), context, bos.is_some());
    let nll = score(&mut session, &ids, bos, &windows)?;
    let scored = ids.len() - 1;
    let mean = nll / scored as f64;
    if windows.len() > 1 {
        text::print(&format!("windows {} of {context} tokens\n", windows.len()))?;
    }
    text::print(&format!("tokens {scored}\nperplexity {:.4}\nnll {mean:.4}\n", mean.exp()))
}

/// One forward pass: the tokens that are read, and from where on they are scored.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    read: Range<usize>,
    scored_from: usize,
}

/// Windows of at most `context` tokens over `len`, so that each token but the first is scored
/// once. With `bos`, all but the first window keep a place for it.
fn windows(len: usize, context: usize, bos: bool) -> Vec<Window> {
    let mut windows = vec![Window { read: 0..len.min(context), scored_from: 1 }];
    let room = context - usize::from(bos);
    let mut scored = len.min(context);
    while scored < len {
        let start = scored - room / 2;
        let read = start..len.min(start + room);
        windows.push(Window { read: read.clone(), scored_from: scored });
        scored = read.end;
    }
    windows
}

/// The sum of the negative log-likelihoods of all scored tokens.
fn score(
    session: &mut Session,
    ids: &[TokenId],
    bos: Option<TokenId>,
    windows: &[Window],
) -> Result<f64> {
    let mut bar = Progress::new("scoring", Unit::Tokens);
    let again = bos.map_or(0, |_| windows.len() - 1);
    let total = (windows.iter().map(|w| w.read.len()).sum::<usize>() + again) as u64;
    let (mut done, mut nll) = (0, 0.0);
    for Window { read, scored_from } in windows {
        session.truncate(0).context("cannot start a window")?;
        let mut window: Vec<TokenId> = Vec::new();
        window.extend(bos.filter(|_| read.start > 0));
        let before = window.len();
        window.extend(&ids[read.clone()]);
        // The logits at a position are about the token after it.
        let each = |at: usize, logits: &[f32]| {
            done += 1;
            bar.set(done, total);
            let next = read.start + at + 1 - before;
            if next >= *scored_from && next < read.end {
                nll += negative_log_likelihood(logits, ids[next]);
            }
        };
        session.eval(&window, each).context("cannot evaluate the text")?;
    }
    Ok(nll)
}

/// `-log softmax(logits)[token]` in f64.
fn negative_log_likelihood(logits: &[f32], token: TokenId) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    sum.ln() - f64::from(logits[token as usize] - max)
}

/// Enough for a long chapter, and its logits are never kept.
const CONTEXT_DEFAULT: usize = 4096;
/// BOS, one token of the past, and one to score.
const CONTEXT_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_scored_once() {
        for (len, context, bos) in [(2, 4, true), (10, 4, true), (10, 4, false), (9, 10, true)]
            .into_iter()
            .chain((2..40).flat_map(|len| (4..12).map(move |context| (len, context, true))))
        {
            let context = context.min(len).max(CONTEXT_MIN);
            let mut scored = vec![0; len];
            for (i, w) in windows(len, context, bos).iter().enumerate() {
                let first_has_own_bos = usize::from(bos && i > 0);
                assert!(w.read.len() + first_has_own_bos <= context, "{len} {context} {w:?}");
                assert!(w.scored_from > w.read.start && w.scored_from < w.read.end);
                w.read.clone().filter(|i| *i >= w.scored_from).for_each(|i| scored[i] += 1);
            }
            assert!(scored[0] == 0 && scored[1..].iter().all(|n| *n == 1), "{len} {context}");
        }
    }

    #[test]
    fn later_windows_see_half_a_window_before_what_they_score() {
        let windows = windows(100, 21, true);
        assert_eq!(windows[1], Window { read: 11..31, scored_from: 21 });
    }

    #[test]
    fn likelihood_of_known_logits() {
        // softmax([ln 1, ln 2, ln 5]) is [1/8, 2/8, 5/8], whatever is added to all.
        let logits = [1.0f32, 2.0, 5.0].map(|x| x.ln() + 20.0);
        for (token, share) in [(0, 0.125f64), (1, 0.25), (2, 0.625)] {
            let nll = negative_log_likelihood(&logits, token);
            assert!((nll + share.ln()).abs() < 1e-5, "{token}: {nll}");
        }
    }
}
