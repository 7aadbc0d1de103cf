//! What the Hub says about a file, and which files a repository has.

use std::io::Read;

use serde_json::Value;
use ureq::http::header::{CONTENT_LENGTH, ETAG, LINK};
use ureq::http::{HeaderMap, Method};

use super::client::{Client, Reply, escaped};
use super::failure::Failure;
use crate::hub::name::{Repo, is_plain_path, is_plain_word};
use crate::text::shortened;

/// A file of a repository at a commit.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) repo: Repo,
    pub(super) file: String,
    pub(super) commit: String,
    /// The name of the blob; the SHA-256 of a large file.
    pub(super) etag: String,
    pub(super) bytes: u64,
    /// Where its bytes are asked for.
    pub(super) url: String,
    /// The same by the branch or tag that was named: a mirror may know no commits.
    pub(super) named_url: String,
    /// Whether the Hub sends the bytes itself, with this ETag.
    pub(super) is_direct: bool,
}

impl Remote {
    /// Asks for a file at a branch, tag or commit.
    ///
    /// # Errors
    /// If there is no such file or the Hub does not say what is needed to check it.
    pub(super) fn ask(
        client: &Client,
        repo: &Repo,
        file: &str,
        revision: &str,
    ) -> Result<Self, Failure> {
        let url = |revision: &str| {
            let revision = escaped(revision).replace('/', "%2F");
            format!("{}/{}/resolve/{revision}/{}", client.endpoint(), repo.as_str(), escaped(file))
        };
        let is_enough = |headers: &HeaderMap| headers.contains_key(LINKED_ETAG);
        let reply = client.send(&Method::HEAD, &url(revision), &[], is_enough)?;
        let is_found = matches!(reply.status, 200 | 301 | 302 | 303 | 307 | 308);
        if !is_found {
            return Err(refused(client, &reply, repo, Some(file), revision));
        }
        let missing = |what: &str| {
            Failure::never(format!(
                "{} does not say {what} of {file}: is it a Hub of models?",
                reply.host
            ))
        };
        let all = || reply.hops.iter().chain([&reply.headers]);
        let commit = all().find_map(|headers| word(headers, COMMIT));
        let commit = commit.ok_or_else(|| missing("the commit"))?;
        let linked = all().find_map(|headers| word(headers, LINKED_ETAG));
        let own = word(&reply.headers, ETAG.as_str());
        let is_direct = reply.hops.is_empty() && reply.status == 200;
        let is_direct = is_direct && linked.as_ref().is_none_or(|etag| Some(etag) == own.as_ref());
        let etag = linked.or(own).ok_or_else(|| missing("the ETag"))?;
        let linked = all().find_map(|headers| number(headers, LINKED_SIZE));
        let own = number(&reply.headers, CONTENT_LENGTH.as_str());
        let own = own.filter(|_| reply.status == 200);
        let bytes = linked.or(own).ok_or_else(|| missing("the size"))?;
        if bytes == 0 {
            return Err(Failure::never(format!("{file} is empty, says {}", reply.host)));
        }
        for (what, word) in [("commit", &commit), ("ETag", &etag)] {
            if !is_plain_word(word) {
                let word = shortened(word, 80);
                let words =
                    format!("{} gives {file} the {what} {word:?}, which is none", reply.host);
                return Err(Failure::never(words));
            }
        }
        let (url, named_url) = (url(&commit), url(revision));
        Ok(Self {
            repo: repo.clone(),
            file: file.to_owned(),
            commit,
            etag,
            bytes,
            url,
            named_url,
            is_direct,
        })
    }

    /// The SHA-256 of the file in hexadecimal digits, if its ETag is one. Small files have another
    /// hash there.
    pub(super) fn sha256(&self) -> Option<&str> {
        let is_hash = self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then_some(self.etag.as_str())
    }

    /// The ETag that an answer gives this file, if it gives one.
    pub(super) fn etag_in(&self, reply: &Reply) -> Option<String> {
        let linked = reply.hops.iter().chain([&reply.headers]);
        let linked = linked.into_iter().find_map(|headers| word(headers, LINKED_ETAG));
        let own = || word(&reply.headers, ETAG.as_str()).filter(|_| reply.hops.is_empty());
        linked.or_else(|| own().filter(|_| self.is_direct))
    }
}

/// The names of all files of a repository. Names that cannot be files here are left out.
///
/// # Errors
/// If there is no such repository or the answer is no list.
pub(super) fn files(client: &Client, repo: &Repo, revision: &str) -> Result<Vec<String>, Failure> {
    let base = format!("{}/api/models/{}", client.endpoint(), repo.as_str());
    let revision_part = escaped(revision).replace('/', "%2F");
    let mut url = format!("{base}/tree/{revision_part}?recursive=true");
    let (mut files, mut pages) = (Vec::new(), 0);
    loop {
        let reply = client.send(&Method::GET, &url, &[], |_| false)?;
        // A mirror may have no more than the description of a repository.
        if reply.status == 404 && pages == 0 && !reply.headers.contains_key(ERROR_CODE) {
            let reply = client.send(&Method::GET, &base, &[], |_| false)?;
            return names(client, reply, repo, revision).map(|(files, _)| files);
        }
        let (found, next) = names(client, reply, repo, revision)?;
        files.extend(found);
        pages += 1;
        match next.filter(|next| next.starts_with(&base) && pages < MOST_PAGES) {
            Some(next) => url = next,
            None => return Ok(files),
        }
    }
}

/// The names in an answer, and where the list goes on.
fn names(
    client: &Client,
    reply: Reply,
    repo: &Repo,
    revision: &str,
) -> Result<(Vec<String>, Option<String>), Failure> {
    if reply.status != 200 {
        return Err(refused(client, &reply, repo, None, revision));
    }
    let no_list = |why: String| {
        Failure::never(format!(
            "{} gave no list of the files of {} ({why})",
            reply.host,
            repo.as_str()
        ))
    };
    let next = reply.headers.get(LINK).and_then(|link| next_page(link.to_str().ok()?));
    let mut text = Vec::new();
    let read = reply.body.into_reader().take(LONGEST_LIST + 1).read_to_end(&mut text);
    read.map_err(|e| Failure::of_connection(&reply.host, ureq::Error::from(e)))?;
    if text.len() as u64 > LONGEST_LIST {
        return Err(no_list("it is too long".to_owned()));
    }
    let value: Value = serde_json::from_slice(&text).map_err(|e| no_list(e.to_string()))?;
    let list = value.as_array().or_else(|| value.get("siblings")?.as_array());
    let list = list.ok_or_else(|| no_list("it is something else".to_owned()))?;
    let name = |entry: &Value| {
        let is_file = entry.get("type").is_none_or(|kind| kind == "file");
        let name = entry.get("path").or_else(|| entry.get("rfilename"))?.as_str()?;
        (is_file && is_plain_path(name)).then(|| name.to_owned())
    };
    Ok((list.iter().filter_map(name).collect(), next))
}

/// The address in `<...>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| address.to_owned())
    })
}

/// What it means that the Hub does not give a file, or a list of them.
fn refused(
    client: &Client,
    reply: &Reply,
    repo: &Repo,
    file: Option<&str>,
    revision: &str,
) -> Failure {
    let (host, name) = (&reply.host, repo.as_str());
    let code = word(&reply.headers, ERROR_CODE).unwrap_or_default();
    let page = format!("{}/{name}", client.endpoint());
    let login = "put a token of yours in HF_TOKEN";
    let words = match (reply.status, code.as_str()) {
        (401 | 403, "GatedRepo") | (403, _) => format!(
            "{host} does not let you have {name} ({}): agree to its terms at {page}, and {}",
            reply.status,
            if client.has_token() { "check that your token may read it" } else { login }
        ),
        (401, _) if client.has_token() => format!(
            "{host} has no {name}, or your token may not see it (401): check the name and the token"
        ),
        (401, _) => format!(
            "{host} has no {name}, or only for those who log in (401): check the name, or {login}"
        ),
        (404, "RevisionNotFound") => {
            format!("{name} has no revision {revision} (404): name another with --revision")
        }
        (404, "RepoNotFound") => format!("{host} has no {name} (404): check the name"),
        (404, _) => match file {
            Some(file) => format!("{name} has no file {file} (404)"),
            None => format!("{host} has no list of the files of {name} (404): check the name"),
        },
        _ => return Failure::of_status(host, reply.status, &reply.headers),
    };
    Failure { status: Some(reply.status), ..Failure::never(words) }
}

/// The value of a header without what ETags have around it.
fn word(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

const COMMIT: &str = "x-repo-commit";
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";
const ERROR_CODE: &str = "x-error-code";

/// A list of ten thousand files has three million bytes.
const LONGEST_LIST: u64 = 32 << 20;
const MOST_PAGES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_python_library_does() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", "W/\"ab-c\"".parse().expect("a value"));
        headers.insert("content-length", " 12".parse().expect("a value"));
        assert_eq!(word(&headers, "ETag").as_deref(), Some("ab-c"));
        assert_eq!(number(&headers, "content-length"), Some(12));
        let link = "<https://h/x?cursor=1>; rel=\"next\", <https://h/y>; rel=\"last\"";
        assert_eq!(next_page(link).as_deref(), Some("https://h/x?cursor=1"));
        assert_eq!(next_page("<https://h/y>; rel=\"last\""), None);
    }
}
