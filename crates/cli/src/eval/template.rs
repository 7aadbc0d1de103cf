//! `carat eval template`: the prompt that a chat template makes of a conversation.

use std::path::Path;

use anyhow::{Context, Result, bail};
use carat::ChatTemplate;
use carat_gguf::Source;

use crate::args::TemplateArgs;
use crate::load::{self, about};
use crate::text::print;

pub(crate) fn template(args: &TemplateArgs) -> Result<()> {
    let template = match (load::chat_template(args.template.as_deref())?, &args.model) {
        (Some(template), _) => template,
        (None, Some(path)) => {
            let source = in_model(path).map_err(|e| about(path, "cannot use", e))?;
            ChatTemplate::new(&source).context("cannot use the chat template")?
        }
        (None, None) => unreachable!("clap wants one of the two"),
    };
    // The text itself: a JSON value would round integers beyond 64 bits.
    let context = load::text(&args.input)?;
    let rendered = template
        .render_json(&context)
        .with_context(|| format!("cannot render {}", args.input.display()))?;
    // The prompt and nothing else: a newline more would be part of it.
    print(rendered.text())
}

fn in_model(path: &Path) -> Result<String> {
    let source = Source::open(path)?;
    let gguf = source.parse()?;
    match gguf.metadata().opt_string("tokenizer.chat_template")? {
        Some(template) => Ok(template.to_owned()),
        None => bail!(
            "the file has no chat template (tokenizer.chat_template), --template FILE names another"
        ),
    }
}
