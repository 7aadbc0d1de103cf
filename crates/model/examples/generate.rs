//! Continues a text: `cargo run --release --example generate -- MODEL.gguf "Once upon a time"`.

use std::io::Write;

use carat::{Input, Model, Sampler, SamplerConfig, Session, SessionConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: generate MODEL.gguf PROMPT".into());
    };
    let model = Model::open(path)?;
    let mut session = Session::new(&model, SessionConfig { context: 4096, ..Default::default() })?;
    session.push(Input::Text(&prompt))?;

    let mut sampler = Sampler::new(SamplerConfig::default(), model.tokenizer().vocab_size())?;
    let mut decoder = model.tokenizer().decoder();
    let mut out = std::io::stdout().lock();
    write!(out, "{prompt}")?;
    for token in session.generate(&mut sampler).take(128) {
        write!(out, "{}", decoder.push(token?))?;
        out.flush()?;
    }
    writeln!(out, "{}", decoder.finish())?;
    Ok(())
}
