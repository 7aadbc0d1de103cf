//! Whether a prompt has room in a session, found before gigabytes of weights are read.

use anyhow::{Context, Result, bail};
use carat::{ChatTemplate, Config, SessionError, Tokenizer};
use carat_gguf::Gguf;
use serde_json::json;

use crate::answer::Wanted;
use crate::args::RunArgs;
use crate::chosen::Chosen;
use crate::media::Read;
use crate::prompt::{context, showing};
use crate::reply::too_long;

/// Refuses a prompt that no session over the model can hold. What cannot be counted yet, such as a
/// conversation that the template does not take or one that was saved, is left for later.
///
/// # Errors
/// If the prompt is too long, the context is longer than the model's, or the file is no model.
pub(crate) fn check(
    args: &RunArgs,
    model: &Chosen,
    is_chat: bool,
    wanted: &Wanted,
    text: &str,
    media: &[Read],
) -> Result<()> {
    let shown: usize = media.iter().map(Read::tokens_min).sum();
    let said = text.len() + args.system.as_ref().map_or(0, String::len);
    // Words are never more tokens than bytes.
    let most = said + shown + crate::run::TEMPLATE_ROOM;
    if args.engine.ctx.is_none() && most <= SMALLEST_CONTEXT {
        return Ok(());
    }
    let wanted = is_chat.then_some(wanted);
    let counted = |limit: usize, gguf: &Gguf<'_>| {
        if most <= args.engine.ctx.unwrap_or(limit) {
            return Ok::<_, carat::Error>(None);
        }
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        Ok(written(args, wanted, gguf, &tokenizer, text, media))
    };
    let (limit, tokens) = model.header("cannot open model", |gguf| {
        let limit = Config::from_gguf(gguf)?.context;
        Ok((limit, counted(limit, gguf)?))
    })?;
    let context = args.engine.ctx.unwrap_or(limit);
    if context > limit {
        let error = SessionError::ContextTooLong { wanted: context, model: limit };
        return Err(error).context("cannot start a session");
    }
    let Some(tokens) = tokens else { return Ok(()) };
    // One token stands for each medium.
    let tokens = (tokens + shown).saturating_sub(media.len());
    if tokens > context {
        bail!(too_long(tokens, context, limit));
    }
    Ok(())
}

/// The tokens of the prompt, with one for each medium. `wanted` is there for a message.
fn written(
    args: &RunArgs,
    wanted: Option<&Wanted>,
    gguf: &Gguf<'_>,
    tokenizer: &Tokenizer,
    text: &str,
    media: &[Read],
) -> Option<usize> {
    let Some(wanted) = wanted else {
        let bos = usize::from(tokenizer.add_bos());
        return Some(bos + tokenizer.encode(text).len() + media.len());
    };
    let template = gguf.metadata().string("tokenizer.chat_template").ok()?;
    let template = ChatTemplate::new(template).ok()?;
    let system = args.system.as_ref().map(|text| json!({ "role": "system", "content": text }));
    let user = match media.is_empty() {
        true => json!({ "role": "user", "content": text }),
        false => showing(media.iter().map(Read::kind), text),
    };
    let messages: Vec<_> = system.into_iter().chain([user]).collect();
    let rendered =
        template.render(&context(tokenizer, &messages, &wanted.tools, wanted.thinking)).ok()?;
    Some(tokenizer.encode_rendered(&rendered).len())
}

/// No model of the family has a shorter context: below it nothing needs to be counted.
const SMALLEST_CONTEXT: usize = 2048;
