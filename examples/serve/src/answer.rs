//! From an answer under way to the response: a stream of server-sent events, or one object.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use carat::Event;
use futures_util::stream::unfold;
use serde_json::Value;

use crate::desk::{Running, Update};
use crate::error::ApiError;
use crate::form::Form;

/// The response in one of OpenAI's forms. An answer that was not begun is an error with a status,
/// for a stream too.
pub(crate) async fn respond(
    mut running: Running,
    form: impl Form,
    is_stream: bool,
) -> Result<Response, ApiError> {
    let mut form = form;
    if !is_stream {
        return Ok(Json(form.whole(all(running).await?)).into_response());
    }
    running.next().await?; // that it has begun
    let waiting = form.first().iter().map(message).collect();
    let stream = Stream { running: Some(running), form, waiting };
    let stream = unfold(stream, |mut stream| async {
        stream.next().await.map(|message| (Ok::<_, Infallible>(message), stream))
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(stream).keep_alive(alive).into_response())
}

/// All events of an answer, the last of which ends it.
pub(crate) async fn all(mut running: Running) -> Result<Vec<Event>, ApiError> {
    let mut events = Vec::new();
    loop {
        if let Update::Event(event) = running.next().await? {
            let is_last = matches!(event, Event::Done(_));
            events.push(event);
            if is_last {
                return Ok(events);
            }
        }
    }
}

struct Stream<F> {
    /// `None` once the answer is over.
    running: Option<Running>,
    form: F,
    waiting: VecDeque<Message>,
}

impl<F: Form> Stream<F> {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            match self.running.as_mut()?.next().await {
                Ok(Update::Begun) => {}
                Ok(Update::Event(event)) => {
                    let is_last = matches!(event, Event::Done(_));
                    self.waiting.extend(self.form.pieces(event).iter().map(message));
                    if is_last {
                        self.waiting.push_back(Message::default().data("[DONE]"));
                        self.running = None;
                    }
                }
                Err(error) => {
                    self.waiting.push_back(message(&error.body()));
                    self.running = None;
                }
            }
        }
    }
}

/// Values are written without line breaks, which end a message's data.
fn message(value: &Value) -> Message {
    Message::default().data(value.to_string())
}

/// A prompt may take minutes; proxies and clients give up on a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
