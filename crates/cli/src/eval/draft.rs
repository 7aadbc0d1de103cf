//! `carat eval draft`: what the drafter of a model guesses after some tokens.

use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::{Input, OpenOptions, TokenId};
use serde::Deserialize;

use super::tensors::{F32, I32, Output, header};
use crate::args::DraftArgs;
use crate::interrupt::{self, Guard};
use crate::load;

/// What is evaluated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ids: Vec<TokenId>,
    /// Tokens to draft.
    steps: usize,
}

pub(crate) fn draft(args: &DraftArgs) -> Result<()> {
    let request: Request = load::json(&args.input)?;
    check(&request, &args.input)?;
    let options = OpenOptions { drafter: Some(&args.draft), ..args.cpu.open(None) };
    let model = load::model(&args.model, options)?;
    let (vocab, hidden) = (model.config().vocab, model.config().hidden);
    let Request { ids, steps } = request;
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        let path = args.input.display();
        bail!("token id {id} in {path} is not in the vocabulary, which ends at {}", vocab - 1);
    }
    let mut session = load::session(&model, args.cpu.session(ids.len(), args.kv))?;
    let to = args.output.display();
    interrupt::install()?;
    let mut output = Output::create(&args.output).with_context(|| format!("cannot write {to}"))?;
    let guard = Guard::new();
    let mut written = output.write(&header(&[
        ("logits", F32, &[steps, vocab]),
        ("hidden", F32, &[steps, hidden]),
        ("tokens", I32, &[steps + 1]),
    ])?);
    let mut rows = Vec::new(); // [steps, hidden]
    let mut drafts = || -> Result<Vec<TokenId>, carat::Error> {
        session.push(Input::Tokens(&ids))?;
        let first = likeliest(session.logits()?, model.tokenizer().suppressed());
        let each = |logits: &[f32], hidden: &[f32]| {
            if written.is_ok() {
                written = output.write_floats(logits);
            }
            rows.extend_from_slice(hidden);
        };
        Ok([vec![first], session.eval_draft(first, steps, each)?].concat())
    };
    let drafted = drafts();
    if guard.stopped() {
        bail!("interrupted, {to} is not written");
    }
    let tokens = drafted.context("cannot draft")?;
    written
        .and_then(|()| output.write_floats(&rows))
        .and_then(|()| output.write_ids(&tokens))
        .and_then(|()| output.keep())
        .with_context(|| format!("cannot write {to}"))
}

fn check(request: &Request, path: &Path) -> Result<()> {
    let path = path.display();
    if request.ids.is_empty() {
        bail!("{path} has no ids, there is nothing to draft after");
    }
    match request.steps {
        1..=STEPS_MAX => Ok(()),
        steps => bail!("{path} asks for {steps} steps, 1 to {STEPS_MAX} are wanted"),
    }
}

/// The likeliest token that is not suppressed, the first of several.
fn likeliest(logits: &[f32], suppressed: &[TokenId]) -> TokenId {
    let suppressed: std::collections::HashSet<_> = suppressed.iter().collect();
    let allowed = (0..).zip(logits).filter(|(id, _)| !suppressed.contains(id));
    let better = |best: (TokenId, f32), (id, logit): (TokenId, &f32)| {
        if *logit > best.1 { (id, *logit) } else { best }
    };
    allowed.fold((0, f32::NEG_INFINITY), better).0
}

/// No round is anywhere near as long.
const STEPS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_one_that_may_be_said() {
        let logits = [0.5, 2.0, 3.0, 2.0];
        assert_eq!(likeliest(&logits, &[]), 2);
        assert_eq!(likeliest(&logits, &[2]), 1);
        assert_eq!(likeliest(&logits, &[1, 2]), 3);
    }
}
