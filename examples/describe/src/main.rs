//! An example of an embedder: describes the pictures of a folder, one line of JSON for each.
//!
//! One model and one session serve all pictures; a grammar made of a JSON Schema sees to it that
//! every answer can be read by programs. What is in the output already is not described again, so
//! that a run which was broken off goes on where it was.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use carat::vision::{Budget, Picture};
use carat::{
    AnswerOptions, Chat, ChatConfig, Event, Finish, Grammar, Message, Model, OpenOptions,
    SessionConfig,
};
use clap::Parser;
use serde_json::{Map, Value, json};

/// Describes the pictures of a folder as JSON Lines.
#[derive(Debug, Parser)]
#[command(name = "carat-describe", version, after_help = EXAMPLES)]
struct Args {
    /// The model file (GGUF)
    model: PathBuf,
    /// The folder with the pictures; folders in it are passed over
    folder: PathBuf,
    /// The projector file that lets the model see [default: the mmproj*.gguf beside it]
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// A JSON Schema that every answer satisfies [default: title, description, objects]
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// What the model is asked about each picture
    #[arg(long, default_value = "Describe this picture.")]
    prompt: String,
    /// Most tokens of a picture, the question and the answer together
    #[arg(long, value_name = "TOKENS", default_value_t = 2048)]
    ctx: usize,
    /// Tokens that a picture may take: 70, 140, 280, 560 or 1120
    #[arg(long, value_name = "TOKENS", default_value_t = 280)]
    budget: usize,
    /// The file that lines are added to; pictures that it names are passed over [default: print]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(errors) => {
            say(&format!("{errors} pictures have no description: see their \"error\""));
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Describes all pictures that are not described yet. The number of those that cannot be, in the
/// output as it was before, too.
fn run(args: &Args) -> anyhow::Result<usize> {
    let budget = Budget::try_from(args.budget)?;
    let pictures = pictures(&args.folder)?;
    let (mut output, known, mut errors) = match &args.output {
        Some(path) => resume(path).with_context(|| path.display().to_string())?,
        None => (Box::new(io::stdout()) as Box<dyn Write>, HashSet::new(), 0),
    };
    let model = open(args)?;
    ensure!(model.sees(), "the model does not see: name its projector with --mmproj");
    let schema = match &args.schema {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => SCHEMA.to_owned(),
    };
    let format = Arc::new(Grammar::json_schema(model.grammar_env()?, &schema)?);
    let session = SessionConfig { context: args.ctx, ..Default::default() };
    let mut chat = Chat::new(&model, ChatConfig { session, ..Default::default() })?;
    for (i, name) in pictures.iter().enumerate().filter(|(_, name)| !known.contains(*name)) {
        let begun = Instant::now();
        let picture = Picture::open(args.folder.join(name), budget).map_err(anyhow::Error::from);
        let answer = picture.and_then(|picture| describe(&mut chat, &picture, args, &format));
        let mut line = Map::from_iter([("file".to_owned(), json!(name))]);
        match answer {
            Ok(Value::Object(fields)) if !fields.contains_key("file") => line.extend(fields),
            Ok(other) => drop(line.insert("answer".to_owned(), other)),
            Err(error) => {
                errors += 1;
                line.insert("error".to_owned(), json!(format!("{error:#}")));
            }
        }
        writeln!(output, "{}", Value::Object(line)).and_then(|()| output.flush())?;
        let seconds = begun.elapsed().as_secs_f64();
        say(&format!("{} of {}: {name}, {seconds:.1} s", i + 1, pictures.len()));
    }
    Ok(errors)
}

fn open(args: &Args) -> anyhow::Result<Model> {
    let mut beside = carat::projectors_beside(&args.model).unwrap_or_default();
    let projector = args.mmproj.clone().or_else(|| beside.pop());
    ensure!(
        args.mmproj.is_some() || beside.is_empty(),
        "several projectors lie beside the model: name one with --mmproj"
    );
    let options = OpenOptions { projector: projector.as_deref(), ..Default::default() };
    let model = Model::open_with(&args.model, options);
    model.with_context(|| format!("cannot open {}", args.model.display()))
}

/// The names of the pictures in a folder, sorted.
fn pictures(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let kind = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if KINDS.contains(&&*kind) && path.is_file() {
            names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Opens an output to add to: the names that it has, and how many of them have an error. A last
/// line that was cut off is taken back.
fn resume(path: &Path) -> anyhow::Result<(Box<dyn Write>, HashSet<String>, usize)> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let (mut names, mut errors) = (HashSet::new(), 0);
    for (i, line) in text[..whole].lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let Some(name) = value["file"].as_str() else {
            bail!("line {} names no file: it is no output of this program, name another", i + 1);
        };
        errors += usize::from(value.get("error").is_some());
        names.insert(name.to_owned());
    }
    let is_ours = whole > 0 || text.is_empty() || text.starts_with("{\"file\":");
    ensure!(is_ours, "it is no output of this program: name another");
    let file: File = FileOptions::new().create(true).append(true).open(path)?;
    file.set_len(whole as u64)?;
    Ok((Box::new(file), names, errors))
}

/// Asks about one picture.
fn describe(
    chat: &mut Chat,
    picture: &Picture,
    args: &Args,
    format: &Arc<Grammar>,
) -> anyhow::Result<Value> {
    let medium = chat.session_mut().embed_picture(picture)?;
    chat.set_messages(vec![Message::showing([medium], args.prompt.as_str())]);
    let format = Some(Arc::clone(format));
    let options = AnswerOptions { format, ..AnswerOptions::default() };
    let mut text = String::new();
    for event in chat.reply(options)? {
        match event? {
            Event::Text(more) => text.push_str(&more),
            Event::Done(done) if done.reason != Finish::EndOfTurn => {
                bail!("the answer did not come to its end ({:?}): try a larger --ctx", done.reason)
            }
            _ => {}
        }
    }
    serde_json::from_str(&text).context("the answer is no JSON")
}

/// Prints a line to standard error; that nobody reads it is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "carat-describe: {line}");
}

/// What names of pictures end with.
const KINDS: [&str; 17] = [
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "ico", "pnm", "ppm",
    "pgm", "pbm", "qoi", "tga",
];

/// What is said about a picture where the user has no other wishes.
const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "title": { "type": "string", "maxLength": 80 },
        "description": { "type": "string", "maxLength": 600 },
        "objects": { "type": "array", "maxItems": 12, "items": { "type": "string", "maxLength": 40 } }
    },
    "required": ["title", "description", "objects"],
    "additionalProperties": false
}"#;

const EXAMPLES: &str = "\
Examples:
  carat-describe gemma-4-12b-it-q4_0.gguf photos -o photos.jsonl
  carat-describe gemma.gguf receipts --schema receipt.json --prompt 'Read this receipt.'

A picture that cannot be described has a line with an \"error\", and the exit code is 1.";
