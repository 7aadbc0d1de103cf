//! The paths of the server, and what holds for all of them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use carat::Model;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::answer::{all, respond};
use crate::body::Limits;
use crate::chat_reply::ChatReply;
use crate::completion_reply::CompletionReply;
use crate::desk::Desk;
use crate::error::ApiError;
use crate::form::Header;
use crate::metrics::Metrics;
use crate::request;
use crate::transcription::{self, Upload};

/// What the handlers of requests share.
#[derive(Debug)]
pub(crate) struct App {
    /// The model.
    pub(crate) model: &'static Model,
    /// What clients call it.
    pub(crate) name: String,
    /// When it was opened, in seconds since 1970.
    pub(crate) created: u64,
    /// Tokens that fit into a slot.
    pub(crate) context: usize,
    /// Where requests wait.
    pub(crate) desk: Arc<Desk>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The limits of bodies.
    pub(crate) limits: Limits,
    /// How many bodies are decoded at once.
    pub(crate) decoders: Arc<Semaphore>,
    /// What clients must know.
    pub(crate) key: Option<String>,
}

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/audio/transcriptions", post(transcription))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(one_model))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::disable()) // `Limits` has read the body
        .layer(middleware::from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// Counts a request, and lets it through if the key is right.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let is_open = path == "/health" || app.is_allowed(request.headers());
    let response = match is_open {
        true => next.run(request).await,
        false => {
            let message = "the API key is missing or wrong: send Authorization: Bearer KEY";
            let error = ApiError::new(StatusCode::UNAUTHORIZED, message);
            error.with_code("invalid_api_key").into_response()
        }
    };
    app.metrics.request(&path, response.status().as_u16());
    response
}

async fn chat(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (ask, shape) = app.read_json(request, request::chat).await?;
    let running = app.desk.enqueue(ask)?;
    let header = Header::new("chatcmpl", app.model, &app.name);
    respond(running, ChatReply::new(header, shape), shape.stream).await
}

async fn completion(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let (ask, shape) = app.read_json(request, request::completion).await?;
    let running = app.desk.enqueue(ask)?;
    let header = Header::new("cmpl", app.model, &app.name);
    respond(running, CompletionReply::new(header, shape), shape.stream).await
}

async fn transcription(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    app.desk.check()?;
    let (mut parts, body) = request.into_parts();
    let whole = app.limits.read(&parts.headers, body).await?;
    parts.headers.remove(header::TRANSFER_ENCODING);
    let body = Body::from(whole.bytes.clone());
    let upload = Upload::read(Request::from_parts(parts, body)).await?;
    let (is_text, model, context) = (upload.is_text, app.model, app.context);
    let ask = app.blocking(move || upload.ask(model, context)).await?;
    drop(whole);
    let running = app.desk.enqueue(ask)?;
    Ok(transcription::response(all(running).await?, is_text))
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [app.model_object()] }))
}

async fn one_model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if id == app.name {
        return Ok(Json(app.model_object()));
    }
    let message = format!("there is no model {id:?} here: the only one is {:?}", app.name);
    Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("model_not_found"))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.metrics.text()).into_response()
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn unknown(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    let message = format!("there is nothing at {path}: see /v1/models, /v1/chat/completions");
    ApiError::new(StatusCode::NOT_FOUND, message).with_code("unknown_url")
}

async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(80).collect();
    let message = format!("{path} does not take {method}: use GET to read, POST to ask");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

impl App {
    /// Reads a JSON body, with work that takes long on a thread of its own.
    async fn read_json<T: Send + 'static>(
        &self,
        request: Request,
        read: impl FnOnce(&[u8], &Model, usize) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.desk.check()?;
        let (parts, body) = request.into_parts();
        // What a page in a browser may send to any address, without being asked, has other types.
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let message = format!(
                "the content type is {kind:?}, JSON is wanted: send Content-Type: application/json"
            );
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let whole = self.limits.read(&parts.headers, body).await?;
        let (model, context) = (self.model, self.context);
        self.blocking(move || read(&whole.bytes, model, context)).await
    }

    /// Does `work` where it may take long. A panic of it is an error of this request.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = Arc::clone(&self.decoders).acquire_owned().await;
        let work = move || {
            let _turn = turn; // until the work is done, even if nobody waits for it any more
            work()
        };
        spawn_blocking(work).await.unwrap_or_else(|error| {
            let message = format!("the request could not be read ({error}): report it");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message))
        })
    }

    /// Whether a request has the key, compared in a time that tells nothing about it.
    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.key else { return true };
        let found = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let found = found.and_then(|value| {
            let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
            scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
        });
        let Some(found) = found.map(<[u8]>::trim_ascii) else { return false };
        let differing = found.iter().zip(key.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
        found.len() == key.len() && differing == 0
    }

    fn model_object(&self) -> Value {
        json!({
            "id": self.name, "object": "model", "created": self.created, "owned_by": "carat",
        })
    }
}

/// How a key is announced.
const SCHEME: &[u8] = b"Bearer ";
