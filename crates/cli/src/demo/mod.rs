//! `carat demo`: the model in the program looks at a gallery, listens to it, and answers.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use carat::audio::LongClip;
use carat::{AnswerOptions, Chat, ChatConfig, Error, Event, Finish, Message, SamplerConfig};

use crate::args::Kv;
use crate::interrupt::{self, Guard, Interrupted};
use crate::{Usage, builtin, media, text};
use args::DemoArgs;
use gallery::{File, Item};
use show::{Answered, Show, Sum};

pub(crate) mod args;
mod gallery;
mod picture;
mod screen;
mod show;
mod wave;

pub(crate) fn demo(args: &DemoArgs) -> Result<()> {
    let begun = Instant::now();
    let items = chosen(gallery::items()?, &args.item)?;
    let mut show = Show::new(args.json, !args.no_pictures);
    if args.list {
        return items.iter().try_for_each(|(number, item)| show.listed(*number, item));
    }
    interrupt::install()?;
    let guard = Guard::new();
    show.introduction()?;
    let mut chat = open(args).context("cannot open the built-in model")?;
    let mut sum = Sum { asked: 0, right: 0, of: items.len(), time: Duration::ZERO };
    for (number, item) in &items {
        let files = item.files()?;
        show.item(*number, item, &files)?;
        let Some(answered) = ask(&mut chat, *number, item, &files, &mut show)? else { break };
        show.answered(&answered)?;
        sum.asked += 1;
        sum.right += usize::from(answered.is_right);
        if guard.stopped() {
            break;
        }
    }
    sum.time = begun.elapsed();
    let is_cut = sum.asked < sum.of;
    show.sum(&sum)?;
    if is_cut {
        bail!(Interrupted("interrupted before the end of the gallery"));
    }
    if args.check && 10 * sum.right < 9 * sum.asked {
        bail!("{} of {} answers are right, and 9 of 10 are wanted", sum.right, sum.asked);
    }
    Ok(())
}

/// The items with these numbers, or all, with their numbers.
fn chosen(items: Vec<Item>, numbers: &[usize]) -> Result<Vec<(usize, Item)>> {
    let of = items.len();
    if let Some(number) = numbers.iter().find(|number| !(1..=of).contains(number)) {
        bail!(Usage(format!("there is no item {number}: the gallery has 1 to {of}, see --list")));
    }
    let items = (1..).zip(items);
    Ok(items.filter(|(number, _)| numbers.is_empty() || numbers.contains(number)).collect())
}

/// A conversation with the model in the program, which Ctrl-C ends during an answer.
fn open(args: &DemoArgs) -> Result<Chat> {
    let model = builtin::open(args.cpu.open(None))?;
    let context = model.config().context.min(CONTEXT);
    let session = args.cpu.session(context, Kv::F16);
    let mut chat = Chat::new(&model, ChatConfig { session, ..ChatConfig::default() })?;
    chat.session_mut().set_cancel(interrupt::stop());
    Ok(chat)
}

/// Asks about an item and shows the answer as it comes; `None` if Ctrl-C ended it.
fn ask<'a>(
    chat: &mut Chat,
    number: usize,
    item: &'a Item,
    files: &[File],
    show: &mut Show,
) -> Result<Option<Answered<'a>>> {
    let begun = Instant::now();
    chat.clear();
    let budget = media::budget(IMAGE_TOKENS)?;
    let mut shown = Vec::new();
    for file in files {
        match file.read(budget)?.embed(chat.session_mut(), LongClip::Split) {
            Err(Error::Cancelled { .. }) => return Ok(None),
            medium => shown.push(medium.context("cannot show it to the model")?),
        }
    }
    chat.push(Message::showing(shown, item.question.as_str()));
    let embedded = begun.elapsed();
    let sampling = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let options =
        AnswerOptions { sampling, max_tokens: Some(TOKENS_MAX), ..AnswerOptions::default() };
    let reply = match chat.reply_with(options, &mut |_| ControlFlow::Continue(())) {
        Err(Error::Cancelled { .. }) => return Ok(None),
        reply => reply.context("cannot read the question")?,
    };
    let mut answer = String::new();
    for event in reply {
        match event.context("cannot generate the next token")? {
            Event::Text(piece) => {
                answer.push_str(&piece);
                show.piece(&text::shortened(&piece, usize::MAX))?;
            }
            Event::Done(done) if done.reason == Finish::Cancelled => return Ok(None),
            Event::Done(done) => {
                let is_right = item.is_right(&answer);
                let (usage, timings) = (done.usage, done.timings);
                return Ok(Some(Answered {
                    number,
                    item,
                    answer,
                    is_right,
                    read: embedded + timings.prompt,
                    rest: timings.rest,
                    prompt_tokens: usage.prompt_tokens,
                    completion_tokens: usage.completion_tokens,
                }));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The most tokens of a picture, as `carat run` has it.
const IMAGE_TOKENS: usize = 280;

/// The most tokens of an answer: the expected ones are a few words.
const TOKENS_MAX: usize = 32;

/// Room for any item of the gallery.
const CONTEXT: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_numbers() {
        let items = gallery::items().expect("the list is well-formed");
        let numbers = |wanted: &[usize]| {
            let chosen = chosen(items.clone(), wanted).map_err(|e| e.to_string())?;
            Ok::<_, String>(chosen.iter().map(|(number, _)| *number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&[]), Ok((1..=items.len()).collect()));
        assert_eq!(numbers(&[3, 1]), Ok(vec![1, 3]));
        for wrong in [0, items.len() + 1] {
            let error = numbers(&[1, wrong]).expect_err("there is no such item");
            assert!(error.contains(&format!("no item {wrong}:")), "{error}");
        }
    }
}
