//! A file of the Hub into the cache: asked for again where it stopped, checked, and only then
//! under the name by which others find it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use ureq::http::Method;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};

use super::client::{Client, Reply};
use super::failure::{Again, Failure, pause};
use super::lock::Lock;
use super::meter::Meter;
use super::part::Part;
use super::place;
use super::remote::Remote;
use crate::hub::cache::{Cache, UNFINISHED};
use crate::text::bytes;

/// How a file is fetched.
pub(super) struct Fetch<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a Cache,
    /// How often in a row a request may fail.
    pub(super) retries: u32,
    pub(super) is_forced: bool,
    pub(super) is_quiet: bool,
}

impl Fetch<'_> {
    /// Where the blob of a file lies.
    fn blob(&self, remote: &Remote) -> PathBuf {
        self.cache.blobs(&remote.repo).join(&remote.etag)
    }

    fn part(&self, remote: &Remote) -> PathBuf {
        self.cache.blobs(&remote.repo).join(format!("{}{UNFINISHED}", remote.etag))
    }

    /// Where the file lies in its snapshot.
    pub(super) fn pointer(&self, remote: &Remote) -> PathBuf {
        self.cache.snapshots(&remote.repo).join(&remote.commit).join(&remote.file)
    }

    /// How many bytes are still to come.
    pub(super) fn missing(&self, remote: &Remote) -> u64 {
        let is_there = |path: &Path| has_size(path, remote.bytes) && !self.is_forced;
        if is_there(&self.pointer(remote)) || is_there(&self.blob(remote)) {
            return 0;
        }
        let part = fs::symlink_metadata(self.part(remote)).map_or(0, |found| found.len());
        remote.bytes.saturating_sub(if part > remote.bytes || self.is_forced { 0 } else { part })
    }

    /// Fetches a file unless it is there, and returns where it lies.
    ///
    /// # Errors
    /// If it did not come whole. What came stays for the next time, unless it is wrong.
    pub(super) fn fetch(&self, remote: &Remote) -> Result<PathBuf> {
        let (blob, pointer) = (self.blob(remote), self.pointer(remote));
        if !self.is_forced && has_size(&pointer, remote.bytes) {
            return Ok(pointer);
        }
        let meter = Meter::new(&remote.file, remote.bytes, self.is_quiet);
        let cannot = || format!("cannot keep {} in the cache", remote.file);
        fs::create_dir_all(self.cache.blobs(&remote.repo)).with_context(cannot)?;
        let lock = self.cache.locks(&remote.repo).join(format!("{}.lock", remote.etag));
        let waits = || {
            meter.say(&format!(
                "another process is fetching {}, waiting for it to end",
                remote.file
            ));
        };
        let lock = Lock::wait(&lock, waits).with_context(cannot)?;
        if !self.is_forced && has_size(&pointer, remote.bytes) {
            return Ok(pointer);
        }
        let is_new = self.is_forced || !has_size(&blob, remote.bytes);
        if is_new {
            self.fetch_blob(remote, &blob, &meter)?;
        }
        place::link(&blob, &pointer, is_new).with_context(cannot)?;
        drop(lock);
        Ok(pointer)
    }

    fn fetch_blob(&self, remote: &Remote, blob: &Path, meter: &Meter) -> Result<()> {
        let path = self.part(remote);
        if self.is_forced {
            gone(fs::remove_file(&path)).with_context(|| on_disk(remote))?;
        }
        let part = Part::open(&path, remote.bytes, |done| meter.set(done));
        let mut part = part.with_context(|| on_disk(remote))?;
        if part.is_old {
            meter.say(&format!(
                "{} of {} of {} were here already",
                bytes(part.bytes()),
                bytes(remote.bytes),
                remote.file
            ));
        }
        loop {
            meter.begin_at(part.bytes());
            self.complete(remote, &mut part, meter)?;
            let Some(wanted) = remote.sha256() else {
                meter.say(&format!("the Hub has no SHA-256 of {}: its size is right", remote.file));
                break;
            };
            let found = part.sha256();
            if found.eq_ignore_ascii_case(wanted) {
                break;
            }
            // What an earlier run left may be what is wrong.
            if part.is_old {
                meter.say(&format!(
                    "the first part of {} is damaged: fetching it anew",
                    remote.file
                ));
                part.restart().with_context(|| on_disk(remote))?;
                continue;
            }
            part.discard();
            bail!(
                "{} came with other bytes than the Hub announced (SHA-256 {}… instead of {}…): \
                 nothing of it was kept, try again or another --endpoint",
                remote.file,
                &found[..12],
                &wanted[..12]
            );
        }
        part.persist(blob).with_context(|| on_disk(remote))
    }

    /// Asks until all bytes are there.
    fn complete(&self, remote: &Remote, part: &mut Part, meter: &Meter) -> Result<()> {
        let mut failures = 0;
        while part.bytes() < remote.bytes {
            let before = part.bytes();
            let failure = match self.attempt(remote, part, meter)? {
                Ok(()) => continue,
                Err(failure) => failure,
            };
            // A connection that brings something is worth another one.
            if part.bytes() >= before + WORTH {
                failures = 0;
            }
            failures += 1;
            let wait = pause(failures, failure.again).filter(|_| failures <= self.retries);
            let Some(wait) = wait else { return Err(given_up(remote, part, &failure)) };
            let again = match part.bytes() {
                0 => "trying again".to_owned(),
                n => format!("going on at {}", bytes(n)),
            };
            let seconds = wait.as_secs_f64();
            meter.say(&format!(
                "{}, {again} in {seconds:.1} s ({failures} of {})",
                failure.words, self.retries
            ));
            sleep(wait);
            meter.begin_at(part.bytes());
        }
        Ok(())
    }

    /// One request for what is missing. The outer error is the disk's.
    fn attempt(
        &self,
        remote: &Remote,
        part: &mut Part,
        meter: &Meter,
    ) -> Result<Result<(), Failure>> {
        let from = part.bytes();
        let mut headers = Vec::new();
        if from > 0 {
            headers.push((RANGE.as_str(), format!("bytes={from}-")));
            if remote.is_direct {
                headers.push((IF_RANGE.as_str(), format!("\"{}\"", remote.etag)));
            }
        }
        let ask = |url: &str| self.client.send(&Method::GET, url, &headers, |_| false);
        let reply = match ask(&remote.url) {
            Ok(reply) if reply.status == 404 => ask(&remote.named_url),
            answer => answer,
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => return Ok(Err(failure)),
        };
        if reply.status == 416 && from > 0 {
            part.restart().with_context(|| on_disk(remote))?;
            return Ok(Err(Failure::soon(format!(
                "{} has no bytes of {} after {}",
                reply.host,
                remote.file,
                bytes(from)
            ))));
        }
        match first_byte(remote, &reply, from) {
            Ok(first) => self.read(remote, reply, from - first, part, meter),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Reads an answer. Its first `known` bytes are in the part already.
    fn read(
        &self,
        remote: &Remote,
        reply: Reply,
        mut known: u64,
        part: &mut Part,
        meter: &Meter,
    ) -> Result<Result<(), Failure>> {
        let mut body = reply.body.into_reader();
        let mut buffer = vec![0; BUFFER];
        let (mut since, mut came) = (Instant::now(), 0);
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let e = ureq::Error::from(e);
                    return Ok(Err(Failure::of_connection(&reply.host, e)));
                }
            };
            let skipped = usize::try_from(known).unwrap_or(usize::MAX).min(n);
            known -= skipped as u64;
            let new = &buffer[skipped..n];
            if part.bytes() + new.len() as u64 > remote.bytes {
                part.restart().with_context(|| on_disk(remote))?;
                return Ok(Err(Failure::never(format!(
                    "{} sends more than the {} of {} that it announced",
                    reply.host,
                    bytes(remote.bytes),
                    remote.file
                ))));
            }
            part.write(new).with_context(|| on_disk(remote))?;
            meter.set(part.bytes());
            came += n as u64;
            // A byte now and then is no connection.
            if since.elapsed() > self.client.stall_timeout() {
                if came < SLOWEST {
                    let words = format!("{} sends next to nothing", reply.host);
                    return Ok(Err(Failure::soon(words)));
                }
                (since, came) = (Instant::now(), 0);
            }
        }
        if part.bytes() < remote.bytes {
            return Ok(Err(Failure::soon(format!("{} ended too early", reply.host))));
        }
        Ok(Ok(()))
    }
}

/// The place in the file at which an answer begins.
fn first_byte(remote: &Remote, reply: &Reply, from: u64) -> Result<u64, Failure> {
    let header = |name| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let (host, file) = (&reply.host, &remote.file);
    if !matches!(reply.status, 200 | 206) {
        return Err(Failure::of_status(host, reply.status, &reply.headers));
    }
    if remote.etag_in(reply).is_some_and(|etag| etag != remote.etag) {
        return Err(Failure::never(format!("{file} has changed meanwhile: start the pull again")));
    }
    if header(CONTENT_ENCODING).is_some_and(|how| !how.eq_ignore_ascii_case("identity")) {
        return Err(Failure::never(format!("{host} sends {file} compressed, unasked")));
    }
    let length = header(CONTENT_LENGTH).and_then(|length| length.trim().parse::<u64>().ok());
    if reply.status == 200 {
        // The Hub may not care for ranges: what is here is skipped.
        return match length.filter(|length| *length != remote.bytes) {
            None => Ok(0),
            Some(length) => Err(other_size(host, length, remote)),
        };
    }
    let range = header(CONTENT_RANGE).and_then(range);
    match range {
        Some((_, Some(size))) if size != remote.bytes => Err(other_size(host, size, remote)),
        Some((first, _)) if first <= from => Ok(first),
        _ => Err(Failure::never(format!(
            "{host} does not send the bytes of {file} that were asked for"
        ))),
    }
}

fn other_size(host: &str, found: u64, remote: &Remote) -> Failure {
    Failure::never(format!(
        "{host} sends {found} bytes of {} where {} were announced",
        remote.file, remote.bytes
    ))
}

/// The first byte and the size of the whole in `bytes 5-9/10`.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let size = size.trim();
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    (first <= last).then_some((first, size))
}

/// What stays to be said once nothing is tried any more.
fn given_up(remote: &Remote, part: &Part, failure: &Failure) -> anyhow::Error {
    let hint = match (part.bytes(), failure.again) {
        (0, Again::After(wait)) => format!(": it wants {} s of peace", wait.as_secs()),
        (0, Again::Soon) => ": try again later".to_owned(),
        (0, Again::Never) => String::new(),
        (n, _) => format!(
            ": {} of {} are kept, and the same command goes on from there",
            bytes(n),
            bytes(remote.bytes)
        ),
    };
    anyhow!("cannot fetch {} - {}{hint}", remote.file, failure.words)
}

fn on_disk(remote: &Remote) -> String {
    format!(
        "cannot write {} to the cache (what came of it is kept, and the same command goes on once \
         this is mended)",
        remote.file
    )
}

/// Whether a file of that size lies there, or a link to one.
fn has_size(path: &Path, bytes: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

const BUFFER: usize = 256 << 10;

/// Bytes after which a connection counts as a good one.
const WORTH: u64 = 1 << 20;

/// Fewer bytes than this within the time of a stall are none.
const SLOWEST: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        for (value, wanted) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 5-9/10", None),
            ("bytes 5-9/x", None),
        ] {
            assert_eq!(range(value), wanted, "{value}");
        }
    }
}
