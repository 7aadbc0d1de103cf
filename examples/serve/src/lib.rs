//! An example of an embedder: a server that speaks OpenAI's protocol, for many conversations with
//! one model.
//!
//! A request goes this way: `server` accepts the connection, `routes` finds the handler, `body`
//! reads it, `request` with `messages`, `options` and `media` makes a `desk::Ask` of it. It waits
//! on the `desk` until `scheduler`, the one thread that owns all sessions, has a free `slot`. What
//! happens there comes back as events, which `answer` turns into a response in the `form` of
//! `chat_reply`, `completion_reply` or `transcription`.
//!
//! All of it is a library, so that the fuzz targets read requests as the program does; the program
//! is `run`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};

use carat::{DRAFT_MAX, DraftConfig, Error, Model, OpenOptions, SessionConfig};

use crate::args::Draft;
use crate::body::Limits;
use crate::desk::Desk;
use crate::metrics::Metrics;
use crate::routes::App;
use crate::scheduler::Scheduler;
use crate::server::Times;

mod answer;
mod args;
mod body;
mod chat_reply;
mod completion_reply;
mod desk;
mod error;
mod fields;
mod form;
mod logprobs;
mod media;
mod messages;
mod metrics;
mod options;
pub mod reading;
mod request;
mod routes;
mod scheduler;
mod server;
mod slot;
mod transcription;

pub use crate::args::Args;

/// Prints a line to standard error; that nobody reads it is no failure.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}
use say;

/// Opens the model and serves it until a signal ends the program.
///
/// # Errors
/// If the model cannot be opened, there is no memory for the slots, or the address cannot be
/// listened at.
pub fn run(args: Args) -> anyhow::Result<()> {
    // The model lives as long as the process, and answers borrow its vocabulary.
    let model: &'static Model = Box::leak(Box::new(open(&args)?));
    let most = model.config().context;
    let context = match args.ctx {
        Some(0) => most,
        Some(tokens) => tokens,
        None => most.min(CONTEXT),
    };
    let slots = usize::from(args.slots);
    let (metrics, bytes) = (Arc::new(Metrics::default()), usize::from(args.max_body) << 20);
    let desk = Arc::new(Desk::new(args.queue, slots, Arc::clone(&metrics)));
    // With one mark a conversation goes on from where its last answer began, whatever the template
    // has dropped since.
    let is_drafting = model.drafts() || matches!(args.draft, Some(Draft::Lookup));
    let draft = DraftConfig { most: if is_drafting { DRAFT_MAX } else { 0 }, adaptive: true };
    let threads = args.threads;
    let config = SessionConfig { context, threads, marks: 1, draft, ..Default::default() };
    let (for_it, counts) = (Arc::clone(&desk), Arc::clone(&metrics));
    let scheduler = Scheduler::new(model, config, slots, for_it, counts)?;
    let memory = scheduler.bytes() >> 20;

    let runtime = Builder::new_current_thread().enable_all().build()?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("cannot listen at {address}: choose another --host or --port"))?;
    let name = args.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let app = App {
        model,
        name: args.name.clone().unwrap_or(name),
        created: form::now(),
        context,
        desk: Arc::clone(&desk),
        metrics,
        limits: Limits {
            bytes,
            time: Duration::from_secs(args.read_timeout),
            memory: Arc::new(Semaphore::new((bytes >> 10) * BODIES)),
        },
        decoders: Arc::new(Semaphore::new(thread::available_parallelism().map_or(2, Into::into))),
        key: args.api_key.clone().filter(|key| !key.is_empty()),
    };
    if !args.host.is_loopback() && app.key.is_none() {
        say!("carat-serve: {} is open to the network without a key: set --api-key", args.host);
    }
    let listening = listener.local_addr()?;
    say!("carat-serve: {slots} slots of {context} tokens, up to {memory} MiB beside the weights");
    say!("carat-serve: listening on http://{listening}");

    let (ended, scheduler_ended) = oneshot::channel();
    let scheduler = thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
        scheduler.run();
        let _ = ended.send(());
    })?;
    let times = Times {
        slow: Duration::from_secs(args.read_timeout),
        grace: Duration::from_secs(args.grace),
    };
    let router = routes::router(Arc::new(app));
    let asked =
        runtime.block_on(server::serve(listener, router, desk.clone(), scheduler_ended, times));
    desk.end();
    runtime.shutdown_background();
    if scheduler.join().is_err() || !asked {
        bail!("the engine ended by itself: start the server again, and report what it said");
    }
    Ok(())
}

fn open(args: &Args) -> anyhow::Result<Model> {
    let projector = match &args.mmproj {
        Some(path) => Some(path.clone()),
        None => {
            let mut found = carat::projectors_beside(&args.model).unwrap_or_default();
            if found.len() > 1 {
                bail!("{} projectors lie beside the model: name one with --mmproj", found.len());
            }
            found.pop()
        }
    };
    let drafter = match &args.draft {
        Some(Draft::File(path)) => Some(path.clone()),
        Some(Draft::Off | Draft::Lookup) => None,
        None => carat::drafters_beside(&args.model).unwrap_or_default().into_iter().next(),
    };
    let open = |drafter: Option<&Path>| {
        let projector = projector.as_deref();
        let cache = args.cache.as_deref();
        let options = OpenOptions { projector, cache, drafter, ..Default::default() };
        Model::open_with(&args.model, options)
    };
    let opened = match open(drafter.as_deref()) {
        // It was not asked for, and answers are the same without it.
        Err(error @ Error::Drafter { .. }) if args.draft.is_none() => {
            say!("carat-serve: {error}, going on without it");
            open(None)
        }
        opened => opened,
    };
    opened.with_context(|| format!("cannot open {}", args.model.display()))
}

/// Tokens of a slot, unless the command line says otherwise: the keys and values of four such slots
/// of the 12B fit beside its weights into 16 GB.
const CONTEXT: usize = 8192;

/// How many bodies of the largest size there is memory for.
const BODIES: usize = 4;
