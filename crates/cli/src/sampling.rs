//! The options that say how tokens are chosen and what ends an answer.

use anyhow::Result;
use carat::reply::StopStrings;
use carat::{SamplerConfig, TokenId};
use clap::Args;

use crate::chosen::Chosen;

/// How the next token is chosen. The defaults are those of Gemma's model card.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Always take the likeliest token
    #[arg(long, conflicts_with_all = ["temp", "top_k", "top_p", "min_p", "seed"])]
    greedy: bool,
    /// Temperature: below 1 plainer, above 1 wilder; 0 is the same as --greedy [default: 1.0; 0 for
    /// the model in the program, which has one answer to each question]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = temperature)]
    temp: Option<f32>,
    /// Choose among the N likeliest tokens; 0 is all
    #[arg(long, value_name = "N", default_value = "64")]
    top_k: usize,
    /// Choose among the fewest tokens whose probabilities sum to P
    #[arg(long, value_name = "P", default_value = "0.95",
          allow_negative_numbers = true, value_parser = positive_share)]
    top_p: f32,
    /// Drop tokens less likely than P times the likeliest
    #[arg(long, value_name = "P", default_value = "0",
          allow_negative_numbers = true, value_parser = share)]
    min_p: f32,
    /// Make recent tokens less likely by this factor; 1 is off
    #[arg(long, value_name = "X", default_value = "1.0",
          allow_negative_numbers = true, value_parser = penalty)]
    repeat_penalty: f32,
    /// Make tokens of the answer less likely by X each time that they come; below 0 more likely
    #[arg(long, value_name = "X", default_value = "0",
          allow_negative_numbers = true, value_parser = finite)]
    frequency_penalty: f32,
    /// Make tokens of the answer less likely by X once they have come; below 0 more likely
    #[arg(long, value_name = "X", default_value = "0",
          allow_negative_numbers = true, value_parser = finite)]
    presence_penalty: f32,
    /// Add VALUE to the logit of token ID, -inf forbids it; for more tokens say it again
    #[arg(long, value_name = "ID=VALUE", allow_hyphen_values = true, value_parser = bias)]
    logit_bias: Vec<(TokenId, f32)>,
    /// Number that makes a run repeatable [default: a new one every time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End the answer before this text, which is not printed; for more texts say it again
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = not_empty)]
    stop: Vec<String>,
}

impl SamplingArgs {
    pub(crate) fn config(&self, model: &Chosen) -> SamplerConfig {
        let temperature = match (self.greedy, self.temp, model) {
            (true, ..) | (false, None, Chosen::BuiltIn) => 0.0,
            (false, Some(given), _) => given,
            (false, None, Chosen::File(_)) => 1.0,
        };
        SamplerConfig {
            temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or_else(fresh_seed),
            ..SamplerConfig::default()
        }
    }

    /// What ends an answer.
    ///
    /// # Errors
    /// If there are too many of them, or one is too long.
    pub(crate) fn stop(&self) -> Result<Vec<String>> {
        StopStrings::new(&self.stop)?;
        Ok(self.stop.clone())
    }
}

/// The standard library seeds every hasher from the system's random numbers.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, "it must be at least 0", |x| x >= 0.0)
}

fn positive_share(text: &str) -> Result<f32, String> {
    number(text, "it must be above 0 and at most 1", |x| x > 0.0 && x <= 1.0)
}

fn share(text: &str) -> Result<f32, String> {
    number(text, "it must be between 0 and 1", |x| (0.0..=1.0).contains(&x))
}

fn penalty(text: &str) -> Result<f32, String> {
    number(text, "it must be above 0", |x| x > 0.0)
}

fn number(text: &str, rule: &str, holds: impl Fn(f32) -> bool) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() && holds(x) => Ok(x),
        Ok(_) => Err(rule.to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, "it must be a finite number", |_| true)
}

fn bias(text: &str) -> Result<(TokenId, f32), String> {
    let rule = "it must be the number of a token, =, and a finite number or -inf, as in 236=-1.5";
    let parsed = text.split_once('=').and_then(|(id, value)| {
        let (id, value) = (id.trim().parse().ok()?, value.trim().parse::<f32>().ok()?);
        (value < f32::INFINITY).then_some((id, value))
    });
    parsed.ok_or_else(|| rule.to_owned())
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}
