//! Drafting under the clock: how much several tokens a pass gain, by how many there are and how
//! many of them are right.
//!
//! The drafts come from a script. It knows what the model says, and makes each draft a wrong one
//! with a probability that is wanted, so that every share of right drafts can be measured on any
//! model, one of random weights too. Plain decoding is measured before each run with drafts, in the
//! same session and over the same tokens.

use std::sync::Arc;
use std::time::Instant;

use carat::{
    DRAFT_MAX, DraftConfig, DraftSource, DraftStats, Drafts, Error, Input, Model, Sampler,
    SamplerConfig, Session, SessionConfig, TokenId,
};

use crate::measure::{Options, Tokens};
use crate::random::Xorshift;
use crate::stats::Samples;

/// One point of the curves.
#[derive(Clone, Debug)]
pub struct DraftPoint {
    /// The probability with which each draft is right.
    pub right: f64,
    /// Tokens that are drafted for each pass; `None` where the session chooses.
    pub drafts: Option<usize>,
    /// Seconds a token without drafts and with them: medians of the runs.
    pub plain: f64,
    /// See `plain`.
    pub drafting: f64,
    /// How many times as fast drafting is: the median of the repetitions, each of which decodes
    /// with drafts and without them.
    pub gain: f64,
    /// What drafts were good for, in all runs.
    pub stats: DraftStats,
}

/// Which points are measured.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftPlan {
    /// Shares of right drafts, the rows of the table.
    pub right: Vec<f64>,
    /// Tokens that are drafted for each pass, its columns; `None` where the session chooses.
    pub drafts: Vec<Option<usize>>,
}

impl Default for DraftPlan {
    fn default() -> Self {
        let drafts = (0..=DRAFT_MAX).map(Some).chain([None]).collect();
        Self { right: RIGHT.to_vec(), drafts }
    }
}

/// Measures the shares of right drafts with each number of drafts; `on_step` hears of each point
/// before it is measured.
///
/// # Errors
/// If a session cannot be made, or fails.
pub fn curves(
    model: &Model,
    options: &Options,
    plan: &DraftPlan,
    on_step: &mut dyn FnMut(&str),
) -> Result<Vec<DraftPoint>, Error> {
    on_step("plain text");
    let mut points = Vec::new();
    let text = Run::new(model, options, DraftConfig::default())?.text()?;
    for &drafts in &plan.drafts {
        let (most, adaptive) = (drafts.map_or(DRAFT_MAX, |most| most.max(1)), drafts.is_none());
        let mut run = Run::new(model, options, DraftConfig { most, adaptive })?;
        for &right in &plan.right {
            let what = drafts.map_or("as many as pay".to_owned(), |n| n.to_string());
            on_step(&format!("{what} drafts, {right} right"));
            points.push(run.point(&text, right, drafts)?);
        }
    }
    Ok(points)
}

/// What prompt lookup gains on a text.
#[derive(Clone, Debug)]
pub struct LookupPoint {
    /// What the text is.
    pub what: &'static str,
    /// Times and counts; nothing is known of the share of right drafts beforehand.
    pub point: DraftPoint,
}

/// Measures prompt lookup with texts that repeat themselves: how often it is right depends on what
/// the model makes of them, and one of random weights makes nothing.
///
/// # Errors
/// If a session cannot be made, or fails.
pub fn lookups(model: &Model, options: &Options) -> Result<Vec<LookupPoint>, Error> {
    let draft = DraftConfig { most: DRAFT_MAX, adaptive: true };
    let again = format!("{PASSAGE}\n\nThe same text once more:\n\n{PASSAGE_BEGIN}");
    let records: String = (1..9).map(|n| RECORD.replace('#', &n.to_string())).collect();
    let json = format!("[{records}{}", &RECORD[..12].replace('#', "9"));
    let texts = [("a passage said again", again), ("records of JSON", json)];
    let measure = |(what, text): (&'static str, String)| {
        let mut run = Run::over(model, options, draft, &model.tokenizer().encode(&text))?;
        let point = run.measure(f64::NAN, None, &mut |_| Drafts::Lookup)?;
        Ok(LookupPoint { what, point })
    };
    texts.into_iter().map(measure).collect()
}

/// A line for each text.
#[must_use]
pub fn lookup_lines(points: &[LookupPoint]) -> String {
    let line = |LookupPoint { what, point }: &LookupPoint| {
        let DraftStats { drafted, accepted, .. } = point.stats;
        let each = point.stats.tokens_per_pass().unwrap_or(1.0);
        let gain = point.gain;
        format!(
            "lookup, {what}: {gain:.2} times as fast, {accepted} of {drafted} drafts right, \
             {each:.2} tokens a pass\n"
        )
    };
    points.iter().map(line).collect()
}

/// The curves as a table: a row for each share of right drafts. Tokens a pass are those of the last
/// column.
#[must_use]
pub fn table(points: &[DraftPoint], plan: &DraftPlan) -> String {
    let plain = median(points.iter().map(|point| point.plain));
    let mut out = format!(
        "decoding {:.2} tokens/s without drafts; times as fast with them, by how many of them are \
         right\n\n  right",
        1.0 / plain
    );
    for drafts in &plan.drafts {
        out += &format!("{:>8}", drafts.map_or("chosen".to_owned(), |n| format!("{n} dr.")));
    }
    out += "  tokens a pass\n";
    for &right in &plan.right {
        out += &format!("{right:>7}");
        let of =
            |drafts| points.iter().find(|point| point.right == right && point.drafts == drafts);
        for drafts in &plan.drafts {
            out += &of(*drafts).map_or("        ".to_owned(), |p| format!("{:>8.2}", p.gain));
        }
        let last = plan.drafts.last().copied().flatten();
        let each = of(last).and_then(|point| point.stats.tokens_per_pass());
        out += &each.map_or("\n".to_owned(), |each| format!("{each:>15.2}\n"));
    }
    out
}

/// A session that says the same tokens again and again.
struct Run<'o> {
    options: &'o Options,
    session: Session,
    sampler: Sampler,
    prompt: usize,
}

impl<'o> Run<'o> {
    fn new(model: &Model, options: &'o Options, draft: DraftConfig) -> Result<Self, Error> {
        Self::over(model, options, draft, &Tokens::new(model).take(PROMPT, true))
    }

    /// A run that continues a prompt.
    fn over(
        model: &Model,
        options: &'o Options,
        draft: DraftConfig,
        ids: &[TokenId],
    ) -> Result<Self, Error> {
        let context = ids.len() + options.generate + 1;
        let config = SessionConfig { draft, ..options.session(context, options.threads[0]) };
        let mut session = Session::new(model, config)?;
        session.push(Input::Tokens(ids))?;
        // What would end the text is never said: all runs are equally long.
        let ends = model.tokenizer().eog().iter().map(|id| (*id, f32::NEG_INFINITY));
        let sampling = SamplerConfig { logit_bias: ends.collect(), ..Default::default() };
        let sampler = Sampler::new(sampling, model.tokenizer().vocab_size())?;
        Ok(Self { options, session, sampler, prompt: ids.len() })
    }

    /// What the model says.
    fn text(&mut self) -> Result<Arc<[TokenId]>, Error> {
        self.seconds(Drafts::Off)?;
        Ok(self.session.tokens().into())
    }

    /// Seconds for each token after the first.
    fn seconds(&mut self, drafts: Drafts) -> Result<f64, Error> {
        self.session.set_drafts(Drafts::Off)?;
        self.session.truncate(self.prompt)?;
        self.session.generate(&mut self.sampler).take(1).try_for_each(|token| token.map(drop))?;
        self.session.set_drafts(drafts)?;
        let count = self.options.generate.saturating_sub(1).max(1);
        let begun = Instant::now();
        let mut said = self.session.generate(&mut self.sampler).take(count);
        said.try_for_each(|token| token.map(drop))?;
        Ok(begun.elapsed().as_secs_f64() / count as f64)
    }

    fn point(
        &mut self,
        text: &Arc<[TokenId]>,
        right: f64,
        drafts: Option<usize>,
    ) -> Result<DraftPoint, Error> {
        let most = drafts.unwrap_or(DRAFT_MAX);
        // A drafter's time counts wherever it would be asked.
        let has_drafter = self.session.model().drafts() && most > 0;
        self.measure(right, drafts, &mut |seed| {
            let random = Xorshift::seeded(seed as u64);
            let script = Box::new(Script { text: Arc::clone(text), right, most, random });
            if has_drafter { Drafts::Rehearsal(script) } else { Drafts::Source(script) }
        })
    }

    /// Plain decoding and drafting in turn, with what `source` makes for each repetition. Which of
    /// them is first changes, so that a machine that gets slower does not speak for one of them.
    fn measure(
        &mut self,
        right: f64,
        drafts: Option<usize>,
        source: &mut dyn FnMut(usize) -> Drafts,
    ) -> Result<DraftPoint, Error> {
        let (mut plain, mut drafting) = (Vec::new(), Vec::new());
        let mut stats = DraftStats::default();
        for seed in 0..self.options.repetitions {
            let is_plain_first = seed % 2 == 0;
            if is_plain_first {
                plain.push(self.seconds(Drafts::Off)?);
            }
            let before = self.session.draft_stats();
            drafting.push(self.seconds(source(seed))?);
            let since = self.session.draft_stats().since(&before);
            stats.drafted += since.drafted;
            stats.accepted += since.accepted;
            stats.passes += since.passes;
            stats.tokens += since.tokens;
            if !is_plain_first {
                plain.push(self.seconds(Drafts::Off)?);
            }
        }
        let gain = median(plain.iter().zip(&drafting).map(|(plain, drafting)| plain / drafting));
        let (plain, drafting) = (median(plain), median(drafting));
        Ok(DraftPoint { right, drafts, plain, drafting, gain, stats })
    }
}

/// Drafts what is said, and something else now and then.
struct Script {
    text: Arc<[TokenId]>,
    right: f64,
    most: usize,
    random: Xorshift,
}

impl DraftSource for Script {
    fn draft(&mut self, tokens: &[TokenId], most: usize, out: &mut Vec<TokenId>) {
        for id in self.text.iter().skip(tokens.len()).take(most.min(self.most)) {
            // Its neighbour exists, and the model is not about to say it.
            let is_right = self.random.unit() < self.right;
            out.push(if is_right { *id } else { *id ^ 1 });
        }
    }
}

/// The median; NaN of nothing.
fn median(seconds: impl IntoIterator<Item = f64>) -> f64 {
    Samples::new(seconds).map_or(f64::NAN, |samples| samples.median())
}

/// Shares of right drafts that are measured.
const RIGHT: [f64; 6] = [0.0, 0.3, 0.5, 0.7, 0.85, 1.0];

/// Tokens before those that are said.
const PROMPT: usize = 64;

/// A text that is to be said again, and how it begins.
const PASSAGE: &str = "\
Bread is made of flour, water, salt and a little yeast. The dough rests for an hour and is folded \
twice, so that it keeps its shape. Then it is baked in a hot oven until the crust is brown, and it \
has to cool before it is cut. A loaf of rye keeps for a week, one of wheat for two days.";
const PASSAGE_BEGIN: &str = "Bread is made of flour, water,";

/// One of many records that differ in a number.
const RECORD: &str = "{\"id\": #, \"kind\": \"loaf\", \"flour\": \"rye\", \"grams\": #50}, ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_share() {
        let point = |right, drafts, drafting| {
            let stats = DraftStats { drafted: 4, accepted: 2, passes: 4, tokens: 6 };
            DraftPoint { right, drafts, plain: 0.25, drafting, gain: 0.25 / drafting, stats }
        };
        let table =
            table(&[point(0.7, Some(3), 0.125), point(0.7, None, 0.2)], &DraftPlan::default());
        assert!(table.starts_with("decoding 4.00 tokens/s"), "{table}");
        let row = table.lines().find(|line| line.trim_start().starts_with("0.7")).expect("a row");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells, ["0.7", "2.00", "1.25", "1.50"]);
        assert_eq!(table.lines().count(), 3 + RIGHT.len());
    }

    #[test]
    fn the_script_is_as_often_right_as_it_shall_be() {
        let text: Arc<[TokenId]> = (100..20_100).collect();
        for right in RIGHT {
            let random = Xorshift::seeded(1);
            let mut script = Script { text: Arc::clone(&text), right, most: 5, random };
            let (mut hits, mut all) = (0, 0);
            for at in (0..text.len()).step_by(5) {
                let mut out = Vec::new();
                script.draft(&text[..at], 7, &mut out);
                assert!(out.len() == 5);
                hits += out.iter().zip(&text[at..]).filter(|(a, b)| a == b).count();
                all += out.len();
            }
            // Four standard errors at n = 20 000.
            assert!((hits as f64 / all as f64 - right).abs() <= 0.015, "{hits} of {all}, {right}");
        }
    }
}
