//! What the server makes of a request's body, without a socket and without an answer.
//!
//! The fuzz targets call it with any bytes. The handlers in `routes` do the same after they have
//! read a body within their limits.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use carat::Model;
use tokio::runtime::Builder;

use crate::desk::Ask;
use crate::error::ApiError;
use crate::request;
use crate::transcription::Upload;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
    /// `/v1/audio/transcriptions`, a form whose parts are divided by [`BOUNDARY`].
    Transcription,
}

/// What a request asks for, as far as it can be told without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Understood {
    /// Messages of the conversation.
    pub turns: usize,
    /// Tools that may be called.
    pub tools: usize,
    /// Tokens that media take.
    pub media_tokens: usize,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status of the response.
    pub status: u16,
    /// One sentence for the client.
    pub message: String,
}

/// Reads the body of a request for a model with slots of `context` tokens.
///
/// # Errors
/// If the server would refuse it.
///
/// # Panics
/// If the system has no handles for an empty runtime.
pub fn body(
    route: Route,
    body: &[u8],
    model: &Model,
    context: usize,
) -> Result<Understood, Refused> {
    let ask = match route {
        Route::Chat => request::chat(body, model, context).map(|(ask, _)| ask),
        Route::Completion => request::completion(body, model, context).map(|(ask, _)| ask),
        Route::Transcription => form(body).and_then(|upload| upload.ask(model, context)),
    };
    ask.map(|ask| understood(&ask))
        .map_err(|error| Refused { status: error.status.as_u16(), message: error.message })
}

fn form(body: &[u8]) -> Result<Upload, ApiError> {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let request = Request::post("/").header(header::CONTENT_TYPE, kind);
    let request = request.body(Body::from(body.to_vec())).expect("the header is well-formed");
    // Nothing is waited for: the body is there.
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(Upload::read(request))
}

fn understood(ask: &Ask) -> Understood {
    let pieces = ask.turns.iter().flat_map(|turn| &turn.pieces);
    Understood {
        turns: ask.turns.len(),
        tools: ask.tools.len(),
        media_tokens: pieces.map(|piece| piece.media_tokens()).sum(),
    }
}

/// What divides the parts of a form.
pub const BOUNDARY: &str = "part";
