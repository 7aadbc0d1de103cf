//! What several sessions in one pass are worth, and how soon a cancelled one answers.
//!
//! ```text
//! carat bench --synthetic 12b --keep 12b.gguf -p 0 -n 0 --no-roof
//! cargo run --release -p carat-bench --example sessions -- 12b.gguf [THREADS]
//! ```
//!
//! The first table has decoded tokens a second of 1 to 8 sessions, each with 64 tokens before, as
//! the median of rounds in turns; what they say is compared with what each says alone. The second
//! has the time from `Cancel::cancel` to the return of a prompt, a generation or a waiting session,
//! at random moments.

use std::env;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use carat::{
    Cancel, Input, Model, OpenOptions, Sampler, SamplerConfig, Seat, Session, SessionConfig,
    TokenId, step,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let usage = "usage: sessions MODEL.gguf [THREADS]";
    let path = args.next().ok_or(usage)?;
    let threads = args.next().map_or(Ok(0), |threads| threads.parse())?;
    let cache = format!("{path}.carat");
    let options = OpenOptions { cache: Some(cache.as_ref()), ..OpenOptions::default() };
    let model = Model::open_with(&path, options)?;
    let config = SessionConfig { context: 1024, threads, ..SessionConfig::default() };
    together(&model, &config)?;
    cancelled(&model, &config)
}

/// Tokens that no vocabulary reserves.
fn prompt(session: usize) -> Vec<TokenId> {
    (0..PROMPT).map(|i| 1000 + (session * 7919 + i * 104_729) as TokenId % 400).collect()
}

struct Talk {
    session: Session,
    sampler: Sampler,
}

fn talks(model: &Model, config: &SessionConfig, count: usize) -> Result<Vec<Talk>, carat::Error> {
    let vocab = model.tokenizer().vocab_size();
    let talk = |i| {
        let mut session = Session::new(model, config.clone())?;
        session.push(Input::Tokens(&prompt(i)))?;
        Ok(Talk { session, sampler: Sampler::new(SamplerConfig::default(), vocab)? })
    };
    (0..count).map(talk).collect()
}

/// Seconds that `STEPS` steps of the first `count` sessions take.
fn steps(talks: &mut [Talk], count: usize) -> Result<f64, carat::Error> {
    let begun = Instant::now();
    for _ in 0..STEPS {
        let seats = talks[..count].iter_mut();
        let mut seats: Vec<_> =
            seats.map(|Talk { session, sampler }| Seat { session, sampler }).collect();
        for step in step(&mut seats, &Cancel::new())? {
            step?;
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn together(model: &Model, config: &SessionConfig) -> Result<(), carat::Error> {
    let mut all = talks(model, config, COUNTS[COUNTS.len() - 1])?;
    let mut seconds = COUNTS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (count, seconds) in COUNTS.iter().zip(&mut seconds) {
            all.iter_mut().try_for_each(|talk| talk.session.truncate(PROMPT))?;
            steps(&mut all, *count)?; // the first one settles what going back left
            seconds.push(steps(&mut all, *count)?);
        }
    }
    println!("sessions  tokens/s  against one   ({} threads)", all[0].session.threads());
    let rates = COUNTS.iter().zip(&mut seconds).map(|(count, seconds)| {
        seconds.sort_by(f64::total_cmp);
        (count * STEPS) as f64 / seconds[seconds.len() / 2]
    });
    let rates: Vec<_> = rates.collect();
    for (count, rate) in COUNTS.iter().zip(&rates) {
        println!("{count:8}  {rate:8.2}  {:11.2}", rate / rates[0]);
    }
    for (i, talk) in all.iter().enumerate() {
        let said = &talk.session.tokens()[PROMPT..];
        let mut alone = talks(model, config, i + 1)?.pop().expect("one was asked for");
        for (token, said) in alone.session.generate(&mut alone.sampler).zip(said) {
            assert_eq!(token?, *said, "session {i} says something else alone");
        }
    }
    println!("every session says what it says alone");
    Ok(())
}

fn cancelled(model: &Model, config: &SessionConfig) -> Result<(), Box<dyn Error>> {
    let mut session = Session::new(model, config.clone())?;
    let mut waiting = Session::new(model, config.clone())?;
    let vocab = model.tokenizer().vocab_size();
    let ids: Vec<_> = (0..16).flat_map(prompt).take(config.context - 1).collect();
    let mut state = 1_u64;
    let mut worst = [Duration::ZERO; 3];
    for i in 0..MOMENTS {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(state >> 33 & 0x3ff);
        let kind = i % worst.len();
        let cancel = [&session, &waiting][usize::from(kind == 2)].cancel_handle();
        let busy = session.cancel_handle();
        let cancelled = cancel.clone();
        let clock = thread::spawn(move || {
            thread::sleep(moment);
            let begun = Instant::now();
            cancelled.cancel();
            begun
        });
        session.truncate(0)?;
        let returned = match kind {
            0 => {
                let result = session.push(Input::Tokens(&ids));
                assert!(result.is_err(), "the prompt was too short to be cancelled");
                Instant::now()
            }
            1 => {
                let mut sampler = Sampler::new(SamplerConfig::default(), vocab)?;
                session.enqueue(Input::Tokens(&ids[..4]))?;
                while session.generate(&mut sampler).next().is_some_and(|token| token.is_ok()) {}
                Instant::now()
            }
            _ => thread::scope(|scope| {
                let first = scope.spawn(|| session.push(Input::Tokens(&ids)));
                thread::sleep(Duration::from_millis(1)); // the other one has its turn
                let _ = waiting.push(Input::Tokens(&ids));
                let returned = Instant::now();
                busy.cancel();
                let _ = first.join();
                returned
            }),
        };
        let asked = clock.join().expect("no panic");
        worst[kind] = worst[kind].max(returned.saturating_duration_since(asked));
        cancel.reset();
        busy.reset();
        waiting.truncate(0)?;
    }
    println!("cancelled at {MOMENTS} random moments, the longest times to return:");
    for (what, worst) in ["prompt", "generation", "waiting"].iter().zip(worst) {
        println!("{what:>12}  {:6.1} ms", worst.as_secs_f64() * 1e3);
    }
    Ok(())
}

const COUNTS: [usize; 4] = [1, 2, 4, 8];
const PROMPT: usize = 64;
const STEPS: usize = 4;
const ROUNDS: usize = 5;
const MOMENTS: usize = 60;
