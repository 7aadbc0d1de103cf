//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// Serves a model by OpenAI's protocol.
#[derive(Debug, Parser)]
#[command(name = "carat-serve", version, after_help = EXAMPLES)]
pub struct Args {
    /// The model file (GGUF)
    pub(crate) model: PathBuf,
    /// The projector file that lets the model see and hear [default: the mmproj*.gguf beside it]
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
    /// A file with the repacked weights: written once, mapped from then on
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,
    /// Guess the next tokens and verify several in one pass, which changes no answer: `lookup`
    /// guesses what followed in the text before, FILE is the model's drafter (gemma4-assistant),
    /// which guesses where the text before says little, `off` does not guess [default: the drafter
    /// beside the model, or off]
    #[arg(long, value_name = "FILE|off|lookup", value_parser = draft)]
    pub(crate) draft: Option<Draft>,
    /// What clients call the model [default: the name of its file]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The address to listen at; others than loopback are open to the network
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// The port to listen at; 0 chooses a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Answers that are given at once; each has a context of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) slots: u16,
    /// Tokens of each context; 0 is the model's own [default: 8192, or the model's if that is less]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) ctx: Option<usize>,
    /// Requests that wait for a slot; more get status 429
    #[arg(long, default_value_t = 32)]
    pub(crate) queue: usize,
    /// Threads that compute [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) threads: usize,
    /// Largest body of a request, in MiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_body: u16,
    /// Seconds that a client may take for the head of a request, to begin its body, and to read
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) read_timeout: u64,
    /// Seconds that answers may still take when the server is asked to end
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=86400))]
    pub(crate) grace: u64,
    /// The key that clients must send, as `Authorization: Bearer KEY`
    #[arg(long, env = "CARAT_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

/// Where drafts come from.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    Off,
    Lookup,
    File(PathBuf),
}

fn draft(text: &str) -> Result<Draft, String> {
    match text {
        "off" => Ok(Draft::Off),
        "lookup" => Ok(Draft::Lookup),
        "" => Err("it must be off, lookup or the name of a drafter file".to_owned()),
        file => Ok(Draft::File(PathBuf::from(file))),
    }
}

const EXAMPLES: &str = "\
Examples:
  carat-serve gemma-4-12b-it-q4_0.gguf
  carat-serve gemma.gguf --slots 2 --ctx 32768 --port 9000
  carat-serve gemma.gguf --draft gemma-assistant.gguf
  CARAT_API_KEY=secret carat-serve gemma.gguf --host 0.0.0.0

  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"stream\": true}'

Paths: /v1/chat/completions, /v1/completions, /v1/audio/transcriptions, /v1/models, /metrics, /health.
A first Ctrl-C lets the answers under way end, a second one ends them.";
