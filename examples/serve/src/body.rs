//! Reads the body of a request within limits of size, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;

/// The limits of bodies.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Most bytes of one.
    pub(crate) bytes: usize,
    /// How long a body may take, apart from what its length allows.
    pub(crate) time: Duration,
    /// Memory for the bodies of all requests, in KiB.
    pub(crate) memory: Arc<Semaphore>,
}

/// A body, and its share of the memory for bodies, which is given back with it.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Limits {
    /// Reads a body.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<Whole, ApiError> {
        let begun = Instant::now();
        let mut whole = Vec::new();
        let mut memory = self.share(0)?;
        let announced = body.size_hint().lower();
        let is_long = announced > self.bytes as u64;
        if is_long && (headers.contains_key(header::EXPECT) || announced > PASSED_OVER_MAX) {
            return Err(self.too_large(announced)); // it is not sent, or too much to pass over
        }
        let mut received = 0;
        loop {
            let deadline = begun + self.time + Duration::from_millis(received as u64 / BYTES_A_MS);
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
                let message =
                    format!("the body came too slowly: {received} bytes in {:?}", begun.elapsed());
                ApiError::new(StatusCode::REQUEST_TIMEOUT, message + ", send it again")
            })?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| {
                let message = format!("the body breaks off ({error}): send it again");
                ApiError::new(StatusCode::BAD_REQUEST, message)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            received += data.len();
            if received > self.bytes {
                // Many clients read no response before they have sent everything.
                (whole, memory) = (Vec::new(), self.share(0)?);
                if received as u64 > PASSED_OVER_MAX {
                    break;
                }
                continue;
            }
            memory.merge(self.share(data.len())?);
            whole.extend_from_slice(&data);
        }
        match received > self.bytes {
            true => Err(self.too_large(received as u64)),
            false => Ok(Whole { bytes: whole.into(), _memory: memory }),
        }
    }

    fn share(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let kilobytes = bytes.div_ceil(1024).try_into().unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).try_acquire_many_owned(kilobytes);
        memory.map_err(|_| ApiError::busy(5))
    }

    fn too_large(&self, found: u64) -> ApiError {
        let most = self.bytes;
        let message = format!(
            "the body has {found} bytes or more, at most {most} are read: send less, or start the \
             server with a larger --max-body"
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }
}

/// The least speed of a body, beyond the time that each has: 16 KB/s.
const BYTES_A_MS: u64 = 16;

/// Bytes that are read and dropped of a body that is too long.
const PASSED_OVER_MAX: u64 = 1 << 28;
