//! `carat eval tokenize`: token ids of a text. Reads metadata only.

use std::fmt::Write as _;

use anyhow::Result;

use crate::args::TokenizeArgs;
use crate::chosen::Chosen;
use crate::load;
use crate::text::print;

pub(crate) fn tokenize(args: &TokenizeArgs) -> Result<()> {
    let tokenizer = load::tokenizer(&Chosen::File(args.model.clone()))?;
    let ids = if args.special {
        tokenizer.encode_prompt(&args.text)
    } else {
        tokenizer.encode(&args.text)
    };
    let mut line = String::new();
    for (i, id) in ids.iter().enumerate() {
        let _ = write!(line, "{}{id}", if i == 0 { "" } else { " " });
    }
    line.push('\n');
    print(&line)
}
