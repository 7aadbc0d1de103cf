//! Says what a saved session saves: evaluates a prompt, saves the session, restores it, and times
//! each: `cargo run --release --example saved_session -- MODEL.gguf FILE [TOKENS]`.

use std::fs;
use std::io::Write;
use std::time::Instant;

use carat::{Input, Model, OpenOptions, Session, SessionConfig, TokenId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(path)) = (args.next(), args.next()) else {
        return Err("usage: saved_session MODEL.gguf FILE [TOKENS]".into());
    };
    let tokens: TokenId = args.next().map_or(Ok(4096), |tokens| tokens.parse())?;
    let model = Model::open_with(model, OpenOptions::default())?;
    let config = SessionConfig { context: tokens as usize + 64, ..Default::default() };
    let mut out = std::io::stdout().lock();
    let vocab = model.tokenizer().vocab_size() as TokenId;
    let ids: Vec<TokenId> = (0..tokens).map(|i| 1000 + i * 7919 % (vocab - 1000)).collect();

    let begun = Instant::now();
    let identity = model.identity()?;
    writeln!(out, "identity {identity:.16}: {:.3} s", begun.elapsed().as_secs_f64())?;

    let begun = Instant::now();
    let mut session = Session::new(&model, config.clone())?;
    session.push(Input::Tokens(&ids))?;
    let evaluated = begun.elapsed().as_secs_f64();
    writeln!(out, "evaluated {tokens} tokens: {evaluated:.3} s")?;

    for _ in 0..3 {
        let begun = Instant::now();
        session.save(&path)?;
        let saved = begun.elapsed().as_secs_f64();
        let megabytes = fs::metadata(&path)?.len() as f64 / 1e6;
        let speed = megabytes / saved;
        writeln!(out, "saved {megabytes:.1} MB: {saved:.3} s, {speed:.0} MB/s")?;

        let begun = Instant::now();
        let mut other = Session::restore(&model, &path, config.clone())?;
        let restored = begun.elapsed().as_secs_f64();
        let (speed, factor) = (megabytes / restored, evaluated / restored);
        writeln!(out, "restored: {restored:.3} s, {speed:.0} MB/s, {factor:.0} times faster")?;
        if other.logits()? != session.logits()? {
            return Err("the restored session says something else".into());
        }
    }
    Ok(())
}
