//! `/v1/audio/transcriptions`: a form with a sound file, answered with its words.

use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Bytes};
use carat::{AnswerOptions, Event, Usage};
use serde_json::json;

use crate::desk::Ask;
use crate::error::ApiError;
use crate::form::tokens;
use crate::media::{self, Piece};
use crate::messages::Turn;
use crate::request::check_length;

/// The fields of the form.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    file: Bytes,
    language: Option<String>,
    prompt: Option<String>,
    temperature: f32,
    /// Whether the words alone are wanted, without JSON around them.
    pub(crate) is_text: bool,
}

impl Upload {
    /// Reads a form whose body is in memory.
    pub(crate) async fn read(request: Request) -> Result<Self, ApiError> {
        let malformed = |error: &dyn std::fmt::Display| {
            let message = format!("the form cannot be read ({error}): send multipart/form-data");
            ApiError::new(StatusCode::BAD_REQUEST, message)
        };
        let form = Multipart::from_request(request, &()).await;
        let mut form = form.map_err(|error| malformed(&error))?;
        let mut upload = Self::default();
        let mut has_file = false;
        while let Some(field) = form.next_field().await.map_err(|error| malformed(&error))? {
            let name = field.name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|error| malformed(&error))?;
            if name == "file" {
                (upload.file, has_file) = (bytes, true);
                continue;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            upload.set(&name, text)?;
        }
        match has_file {
            true => Ok(upload),
            false => {
                let message = "file is missing: add the sound to the form";
                Err(ApiError::invalid("file", message).with_code("missing_required_parameter"))
            }
        }
    }

    fn set(&mut self, name: &str, text: String) -> Result<(), ApiError> {
        let wrong = |wanted: &str| {
            let found: String = text.chars().take(40).collect();
            Err(ApiError::invalid(name, format!("{name} is {found:?}, {wanted} is wanted")))
        };
        match name {
            "response_format" => match &*text {
                "json" => self.is_text = false,
                "text" => self.is_text = true,
                _ => return wrong("json or text"),
            },
            "temperature" => match text.trim().parse() {
                Ok(number) if (0.0..=2.0).contains(&number) => self.temperature = number,
                _ => return wrong("a number from 0 to 2"),
            },
            "stream" if text.trim() == "true" => return wrong("false"),
            "language" => self.language = Some(text).filter(|text| !text.trim().is_empty()),
            "prompt" => self.prompt = Some(text).filter(|text| !text.trim().is_empty()),
            _ => {}
        }
        Ok(())
    }

    /// The conversation that asks for the words.
    pub(crate) fn ask(self, model: &carat::Model, context: usize) -> Result<Ask, ApiError> {
        let clip = media::clip(&self.file, "file", context)?;
        let mut text = match &self.language {
            Some(language) => {
                format!(
                    "Transcribe the following speech segment in {language} into {language} text."
                )
            }
            None => "Transcribe the following speech segment in its original language.".to_owned(),
        };
        text.push_str(FORMATTING);
        if let Some(prompt) = &self.prompt {
            text.push_str("\n* What was said before, or how names are spelt: ");
            text.push_str(prompt);
        }
        let mut options = AnswerOptions::default();
        options.sampling.temperature = self.temperature;
        let ask = Ask {
            turns: vec![Turn::user(vec![Piece::Sound(clip), Piece::Text(text)])],
            tools: Vec::new(),
            one_call: false,
            options,
            template: None,
        };
        check_length(&ask, model, context)?;
        Ok(ask)
    }
}

/// The response to a form, from all events of the answer.
pub(crate) fn response(events: Vec<Event>, is_text: bool) -> Response {
    let (mut text, mut usage) = (String::new(), Usage::default());
    for event in events {
        match event {
            Event::Text(more) => text.push_str(&more),
            Event::Done(done) => usage = done.usage,
            _ => {}
        }
    }
    if is_text {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return (kind, text + "\n").into_response();
    }
    let tokens = tokens(usage);
    let usage = json!({
        "type": "tokens", "input_tokens": tokens["prompt_tokens"],
        "output_tokens": tokens["completion_tokens"], "total_tokens": tokens["total_tokens"],
    });
    Json(json!({ "text": text, "usage": usage })).into_response()
}

/// The rest of the prompt that Gemma's model card gives for speech recognition.
const FORMATTING: &str = " Follow these specific instructions for formatting the answer:\n\
    * Only output the transcription, with no newlines.\n\
    * When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and \
    write 3 instead of three.";
