//! The command line: what can be said, its defaults and its examples.

use std::path::PathBuf;

use anyhow::Result;
use carat::audio::LongClip;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};

use crate::answer::AnswerArgs;
use crate::bench::args::BenchArgs;
use crate::completions::CompletionsArgs;
#[cfg(feature = "demo")]
use crate::demo::args::DemoArgs;
use crate::examples;
use crate::hub::args::{ListArgs, PullArgs, RemoveArgs};
use crate::media::{self, Reading, Source};
use crate::sampling::SamplingArgs;

pub(crate) use engine::{CpuArgs, EngineArgs, Kv, cache_file, isa, threads};

mod engine;

/// Gemma 4 on your own CPU: text in, text out, from one GGUF file.
#[derive(Debug, Parser)]
#[command(name = "carat", version, after_help = examples::TOP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer one message, or continue a text with --raw
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Talk with the model, turn by turn
    #[command(after_help = examples::CHAT)]
    Chat(ChatArgs),
    /// Show what the engine does, with a toy model in the program
    #[cfg(feature = "demo")]
    #[command(after_help = examples::DEMO)]
    Demo(DemoArgs),
    /// Fetch a model from the Hugging Face Hub, the only command that fetches anything
    #[command(after_help = examples::PULL)]
    Pull(PullArgs),
    /// Show the models that were pulled
    #[command(after_help = examples::LIST)]
    List(ListArgs),
    /// Remove a model that was pulled
    #[command(after_help = examples::REMOVE)]
    Remove(RemoveArgs),
    /// Show what a GGUF file holds and whether this machine can run it
    #[command(after_help = examples::INSPECT)]
    Inspect(InspectArgs),
    /// Measure how fast a model runs here, beside what the machine can do at most
    #[command(after_help = examples::BENCH)]
    Bench(Box<BenchArgs>),
    /// Print what a shell needs to complete commands, or write man pages
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the engine's numbers: token ids, prompts, logits, perplexity
    #[command(subcommand, after_help = examples::EVAL)]
    Eval(EvalCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Print the token ids of a text, separated by spaces
    #[command(after_help = examples::TOKENIZE)]
    Tokenize(TokenizeArgs),
    /// Print the prompt that a chat template makes of a conversation
    #[command(after_help = examples::TEMPLATE)]
    Template(TemplateArgs),
    /// Write the logits after every token to a safetensors file
    #[command(after_help = examples::LOGITS)]
    Logits(LogitsArgs),
    /// Write what a model's drafter guesses after some tokens to a safetensors file
    #[command(after_help = examples::DRAFT)]
    Draft(DraftArgs),
    /// Write the picture that the model sees, and print its tokens, columns and rows
    #[command(after_help = examples::IMAGE)]
    Image(ImageArgs),
    /// Print the number and the time in seconds of each frame that the model sees of a video
    #[command(after_help = examples::VIDEO)]
    Video(VideoArgs),
    /// Print how many samples the model hears and whether the file is complete, and write them
    #[command(after_help = examples::AUDIO)]
    Audio(AudioArgs),
    /// Print the mean negative log-likelihood per token of a text
    #[command(after_help = examples::PERPLEXITY)]
    Perplexity(PerplexityArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Model: a GGUF file, or a name such as 12b or OWNER/REPO that was pulled [default: the only
    /// one that was pulled, or else the one in the program]
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Message to answer, after what is piped in; `-` or nothing is standard input alone
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) media: MediaArgs,
    /// Continue the prompt as text, as is done where the file has no chat template
    #[arg(long, conflicts_with_all = ["chat", "chat_template", "system"])]
    pub(crate) raw: bool,
    /// Refuse a file without a chat template, instead of continuing the prompt as text
    #[arg(long, hide = true)]
    pub(crate) chat: bool,
    /// Jinja template to use instead of the file's
    #[arg(long, value_name = "FILE")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Instructions that stand before the message
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Stop after N tokens; -1 is no limit but the end of the answer or the context
    #[arg(short = 'n', long, value_name = "N", default_value = "-1",
          allow_negative_numbers = true, value_parser = limit)]
    pub(crate) max_tokens: Limit,
    /// Print instruction set, threads, memory, load time, seed and how weights were read as well
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Model, as with --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub(crate) positional: Option<PathBuf>,
    /// Model: a GGUF file, or a name such as 12b or OWNER/REPO that was pulled [default: the only
    /// one that was pulled, or else the one in the program]
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Jinja template to use instead of the file's
    #[arg(long, value_name = "FILE")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Stop every answer after N tokens; -1 is no limit but the end of the answer or the context
    #[arg(short = 'n', long, value_name = "N", default_value = "-1",
          allow_negative_numbers = true, value_parser = limit)]
    pub(crate) max_tokens: Limit,
    /// Print tokens per second and how weights were read after every answer, and the engine's
    /// settings at the start
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Neither read nor keep what is typed, which else is in carat/history of $XDG_STATE_HOME
    #[arg(long, env = "CARAT_NO_HISTORY", value_parser = FalseyValueParser::new())]
    pub(crate) no_history: bool,
    #[command(flatten)]
    pub(crate) senses: SenseArgs,
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// GGUF file of any kind (the first part of a split one), or a name that was pulled
    pub(crate) file: PathBuf,
    /// Tokens of the session whose memory is shown [default: 8192, or the model's context]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) ctx: Option<usize>,
    /// How that session stores keys and values
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    pub(crate) kv: Kv,
    /// Projector file (mmproj) whose memory is counted too [default: the one beside the model]
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
    /// List every tensor
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print JSON for programs; it always lists every tensor
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TokenizeArgs {
    /// Model file; one with a vocabulary and no tensors is enough
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Parse special tokens, as in the output of a chat template; BOS is never added
    #[arg(long)]
    pub(crate) special: bool,
    /// The text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) text: String,
}

#[derive(Debug, Args)]
pub(crate) struct TemplateArgs {
    /// Model file whose template is used
    #[arg(short, long, value_name = "FILE", required_unless_present = "template")]
    pub(crate) model: Option<PathBuf>,
    /// Jinja template to use instead of the model's
    #[arg(long, value_name = "FILE", visible_alias = "chat-template")]
    pub(crate) template: Option<PathBuf>,
    /// JSON object with messages, tools, add_generation_prompt, bos_token, enable_thinking
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    /// Model: a GGUF file (the first part of a split one), or a name that was pulled
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Projector file [default: the mmproj*.gguf beside the model]
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
    /// JSON object {"ids": [..], "images": [..], "audio": [..], "image_tokens": 280}
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// File to write: tensors `logits` [ids, vocabulary], `image_embeddings` and
    /// `audio_embeddings` [tokens, hidden], f32
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How keys and values are stored: q8 takes half of f16
    #[arg(long, value_enum, default_value_t = Kv::F32)]
    pub(crate) kv: Kv,
    #[command(flatten)]
    pub(crate) cpu: CpuArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DraftArgs {
    /// Model file (GGUF; the first part of a split one)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The model's drafter file (gemma4-assistant)
    #[arg(long, value_name = "FILE")]
    pub(crate) draft: PathBuf,
    /// JSON object {"ids": [..], "steps": 4}
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// File to write: tensors `tokens` [steps + 1], i32, `logits` [steps, vocabulary] and `hidden`
    /// [steps, hidden], f32
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// How keys and values are stored: q8 takes half of f16
    #[arg(long, value_enum, default_value_t = Kv::F32)]
    pub(crate) kv: Kv,
    #[command(flatten)]
    pub(crate) cpu: CpuArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Picture: PNG, JPEG, WebP, GIF, BMP, TIFF, HEIC, ICO, PNM, QOI or TGA; AVIF if ffmpeg is
    /// installed
    pub(crate) file: PathBuf,
    /// Most tokens that the picture takes: 70, 140, 280, 560 or 1120
    #[arg(long, value_name = "N", default_value_t = 280)]
    pub(crate) image_tokens: usize,
    /// PNG file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct VideoArgs {
    /// Video: an animation, a folder of frames, or a film if ffmpeg is installed
    pub(crate) file: PathBuf,
    /// Frames a second of a folder of frames
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) frame_rate: f64,
}

#[derive(Debug, Args)]
pub(crate) struct AudioArgs {
    /// Sound file, in any format that --audio takes
    pub(crate) file: PathBuf,
    /// File to write: mono samples at 16 kHz as 32-bit floats, little-endian, without a header
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PerplexityArgs {
    /// Model: a GGUF file (the first part of a split one), or a name that was pulled
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// UTF-8 text; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Tokens of one window [default: 4096, or the model's context if that is shorter]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) ctx: Option<usize>,
    /// How keys and values are stored: q8 takes half of f16
    #[arg(long, value_enum, default_value_t = Kv::F32)]
    pub(crate) kv: Kv,
    #[command(flatten)]
    pub(crate) cpu: CpuArgs,
}

/// What the model is shown before the prompt: pictures, then sound, then video.
#[derive(Debug, Args)]
#[command(next_help_heading = "Media")]
pub(crate) struct MediaArgs {
    /// Show a picture, by ffmpeg where carat has no decoder for it (AVIF); `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Vec<PathBuf>,
    /// Play sound: WAV, AIFF, AU, CAF, FLAC, MP3, AAC, M4A, Ogg or WebM, the rest by ffmpeg;
    /// `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) audio: Vec<PathBuf>,
    /// Show a video: an animation, a folder of frames, or a film if ffmpeg is installed
    #[arg(long, value_name = "PATH")]
    pub(crate) video: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) senses: SenseArgs,
}

/// How media are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Media")]
pub(crate) struct SenseArgs {
    /// Most tokens of each picture: 70, 140, 280, 560 or 1120
    #[arg(long, value_name = "N", default_value_t = 280)]
    image_tokens: usize,
    /// Refuse sound of more than 30 s, which is otherwise cut where it is quiet
    #[arg(long)]
    strict_audio: bool,
    /// Frames a second of a folder of frames
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    frame_rate: f64,
    /// Play the sound of videos after their frames
    #[arg(long)]
    with_sound: bool,
    /// Projector file [default: the mmproj*.gguf beside the model]
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
}

impl MediaArgs {
    /// Pictures, then sound, then video, each in the order given.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let images = self.image.iter().cloned().map(Source::Image);
        let audio = self.audio.iter().cloned().map(Source::Audio);
        let videos = self.video.iter().cloned().map(Source::Video);
        images.chain(audio).chain(videos).collect()
    }
}

impl SenseArgs {
    pub(crate) fn reading(&self) -> Result<Reading> {
        let budget = media::budget(self.image_tokens)?;
        let long = if self.strict_audio { LongClip::Refuse } else { LongClip::Split };
        Ok(Reading { budget, long, frame_rate: self.frame_rate, sound: self.with_sound })
    }
}

/// How many tokens an answer may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(Option<usize>);

impl Limit {
    /// `None` where there is no limit.
    pub(crate) fn tokens(self) -> Option<usize> {
        self.0
    }
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(Limit(None)),
        Ok(n) => usize::try_from(n).map(|n| Limit(Some(n))).map_err(|_| LIMIT.to_owned()),
        Err(_) => Err(LIMIT.to_owned()),
    }
}

const LIMIT: &str = "it must be a number of tokens, or -1 for no limit";
