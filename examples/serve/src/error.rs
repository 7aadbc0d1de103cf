//! What a client is told when there is no answer: OpenAI's error object and a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carat::{ConversationError, Error, SessionError};
use serde_json::{Value, json};

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// One sentence: what was found, what was wanted, what to do.
    pub(crate) message: String,
    /// The field that is at fault, as a path.
    pub(crate) param: Option<String>,
    /// What programs tell errors apart by.
    pub(crate) code: Option<&'static str>,
    /// Seconds after which the request may be tried again.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    /// An error without a field or a code. Clients print messages to terminals, so that control
    /// characters of a request are escaped, and a request may have words of any length.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let shown = |c: char| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        let message = message.into().chars().take(MESSAGE_CHARS_MAX).map(shown).collect();
        Self { status, message, param: None, code: None, retry_after: None }
    }

    /// A request that cannot be understood: the field `param` is at fault.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, message);
        Self { param: Some(param.into()), ..error }
    }

    /// The same error with a code.
    #[must_use]
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// More than can wait is waiting already.
    pub(crate) fn busy(seconds: u64) -> Self {
        let message = format!("too many requests are waiting, try again in {seconds} s");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
        Self { retry_after: Some(seconds), ..error }.with_code("rate_limit_exceeded")
    }

    /// The server ends.
    pub(crate) fn closing() -> Self {
        let message = "the server is shutting down, try again once it runs again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// A prompt of `found` tokens, or more, where `context` fit.
    pub(crate) fn too_long(found: impl std::fmt::Display, context: usize) -> Self {
        let message = format!(
            "this model's maximum context length is {context} tokens, the prompt has {found}: \
             shorten it, or start the server with a larger --ctx"
        );
        Self::invalid("messages", message).with_code("context_length_exceeded")
    }

    /// The error object.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "requests",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        }})
    }
}

impl From<Error> for ApiError {
    /// What a request asks for in vain is the client's fault, all else is the server's.
    fn from(error: Error) -> Self {
        use carat::sampler::SamplerError;
        let status = match &error {
            Error::Session(SessionError::ContextFull { wanted, context }) => {
                return Self::too_long(wanted, *context);
            }
            Error::Conversation(ConversationError::NoTemplate) => {
                let message = "the model was not tuned to talk (it has no chat template): send its \
                    text to /v1/completions, or start the server with a model that was";
                return Self::new(StatusCode::BAD_REQUEST, message);
            }
            Error::Sampler(SamplerError::NotFinite { .. } | SamplerError::NoCandidate { .. }) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Error::Conversation(_)
            | Error::Grammar(_)
            | Error::Sampler(_)
            | Error::Chat(_)
            | Error::NoProjector { .. }
            | Error::Image(_)
            | Error::Audio(_)
            | Error::Video(_)
            | Error::Session(_) => StatusCode::BAD_REQUEST,
            Error::Memory(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, sentence(&error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// An error with its causes.
pub(crate) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    said
}

const MESSAGE_CHARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_clients_are_told_from_those_of_the_server() {
        let full = SessionError::ContextFull { wanted: 300, context: 200 };
        let error = ApiError::from(Error::from(full));
        assert_eq!((error.status.as_u16(), error.code), (400, Some("context_length_exceeded")));
        assert!(error.message.contains("300") && error.message.contains("200"));
        let error = ApiError::from(Error::from(ConversationError::NoTemplate));
        assert!(error.status.as_u16() == 400 && error.message.contains("/v1/completions"));
        let odd = ApiError::invalid("tools", "a\u{7f}\u{9b}2J\n");
        assert_eq!(odd.message, r"a\u{7f}\u{9b}2J\n");
        let broken = carat::sampler::SamplerError::NotFinite { token: 1, logit: f32::NAN };
        let error = ApiError::from(Error::from(broken));
        assert_eq!(
            (error.status.as_u16(), &error.body()["error"]["type"]),
            (500, &json!("server_error"))
        );
    }
}
