//! `carat pull`: what is asked for, whether there is room for it, and what to do with it then.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::sleep;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use self::blob::Fetch;
use self::client::Client;
use self::failure::{Failure, pause};
use self::remote::Remote;
use self::wanted::{Role, Wanted, wanted};
use crate::hub::args::PullArgs;
use crate::hub::cache::Cache;
use crate::hub::environment::Access;
use crate::hub::name::{Name, Repo, is_plain_path};
use crate::hub::table;
use crate::interrupt;
use crate::text::{CANNOT_WRITE, bytes, say};

mod blob;
mod client;
mod failure;
mod lock;
mod meter;
mod part;
mod place;
mod proxy;
mod remote;
mod room;
mod trust;
mod wanted;

pub(crate) fn pull(args: &PullArgs) -> Result<()> {
    let Some(name) = Name::parse(&args.model) else {
        bail!(crate::Usage(format!(
            "{} is no name of a model: say one of {}, or a repository of the Hub as in owner/name or \
             owner/name:file.gguf",
            args.model,
            table::names()
        )))
    };
    if !is_plain_path(&args.revision) {
        bail!(crate::Usage(format!("{} is no revision of a repository", args.revision)));
    }
    interrupt::install()?;
    let access = Access::of_environment(args.endpoint.as_deref())?;
    let cache = Cache::of_environment()?;
    let client = Client::new(access).map_err(|failure| anyhow!(failure.words))?;
    let puller = Puller { client: &client, args };
    let files = wanted(&puller, &name)?;
    let remotes = puller.ask(&files)?;
    let fetch = Fetch {
        client: &client,
        cache: &cache,
        retries: args.retries,
        is_forced: args.force,
        is_quiet: args.quiet,
    };
    let missing: u64 = remotes.iter().map(|remote| fetch.missing(remote)).sum();
    room::check(&cache, missing)?;
    puller.announce(&remotes, missing);
    let mut paths = Vec::new();
    for remote in &remotes {
        paths.push(fetch.fetch(remote)?);
    }
    if let Err(e) = note(&cache, &remotes, &files) {
        // The files are found all the same, in the newest snapshot.
        say!("carat: warning: the commit of the files cannot be noted ({e})");
    }
    puller.report(&name, &files, &remotes, &paths)
}

/// What all questions have in common.
struct Puller<'a> {
    client: &'a Client,
    args: &'a PullArgs,
}

impl Puller<'_> {
    /// Asks until there is an answer, or until it is no use.
    fn patiently<T>(
        &self,
        mut ask: impl FnMut(&Client) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            let failure = match ask(self.client) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failures += 1;
            let wait = pause(failures, failure.again).filter(|_| failures <= self.args.retries);
            let Some(wait) = wait else { return Err(failure) };
            if !self.args.quiet {
                let (words, seconds, of) = (&failure.words, wait.as_secs_f64(), self.args.retries);
                say!("carat: {words}, trying again in {seconds:.1} s ({failures} of {of})");
            }
            sleep(wait);
        }
    }

    /// The names of the files of a repository.
    fn list(&self, repo: &Repo, revision: &str) -> Result<Vec<String>, Failure> {
        self.patiently(|client| remote::files(client, repo, revision))
    }

    /// Asks the Hub for all files, those of a repository at one commit.
    fn ask(&self, files: &[Wanted]) -> Result<Vec<Remote>> {
        let mut remotes: Vec<Remote> = Vec::new();
        for wanted in files {
            let known = remotes.iter().find(|remote| remote.repo == wanted.repo);
            let commit = known.map(|remote| remote.commit.clone());
            let ask = |revision: &str| {
                self.patiently(|client| Remote::ask(client, &wanted.repo, &wanted.file, revision))
            };
            let answer = match commit.map(|commit| ask(&commit)) {
                // A mirror may know no commits.
                Some(Err(failure)) if failure.status == Some(404) => ask(&wanted.revision),
                Some(answer) => answer,
                None => ask(&wanted.revision),
            };
            match answer {
                Ok(remote) => remotes.push(remote),
                Err(failure) => return Err(self.not_there(wanted, &failure)),
            }
        }
        Ok(remotes)
    }

    /// The error about a file that the Hub does not have, with those that it has.
    fn not_there(&self, wanted: &Wanted, failure: &Failure) -> anyhow::Error {
        let Wanted { repo, file, revision, .. } = wanted;
        let is_missing = failure.status == Some(404) && failure.words.contains(file.as_str());
        let files = is_missing.then(|| remote::files(self.client, repo, revision).ok()).flatten();
        let Some(files) = files else { return anyhow!("cannot fetch {file} - {}", failure.words) };
        let models: Vec<_> =
            files.iter().filter(|f| f.to_ascii_lowercase().ends_with(".gguf")).collect();
        let Some(first) = models.first() else {
            return anyhow!("{}, and no GGUF file at all", failure.words);
        };
        let shown: Vec<_> = models.iter().take(MOST_SHOWN).map(|file| file.as_str()).collect();
        let more = if models.len() > MOST_SHOWN { ", …" } else { "" };
        anyhow!(
            "{}, it has {}{more}: type for example `carat pull {}:{first}`",
            failure.words,
            shown.join(", "),
            repo.as_str()
        )
    }

    fn announce(&self, remotes: &[Remote], missing: u64) {
        if self.args.quiet || missing == 0 {
            return;
        }
        let all: u64 = remotes.iter().map(|remote| remote.bytes).sum();
        let names: Vec<_> = remotes.iter().map(|remote| remote.file.as_str()).collect();
        let rest =
            if missing < all { format!(", {} to come", bytes(missing)) } else { String::new() };
        say!("carat: fetching {} ({}{rest})", names.join(", "), bytes(all));
    }

    /// Prints the paths, and says what to do next.
    fn report(
        &self,
        name: &Name,
        files: &[Wanted],
        remotes: &[Remote],
        paths: &[PathBuf],
    ) -> Result<()> {
        let first = |role: Role| {
            let found = files.iter().zip(paths).find(|(wanted, _)| wanted.role == role);
            found.map(|(_, path)| path.display().to_string())
        };
        let mut out = io::stdout().lock();
        let told = if self.args.json {
            let report = json!({
                "name": name.to_string(),
                "model": first(Role::Model),
                "projector": first(Role::Projector),
                "drafter": first(Role::Drafter),
                "commit": remotes.first().map(|remote| remote.commit.as_str()),
                "bytes": remotes.iter().map(|remote| remote.bytes).sum::<u64>(),
            });
            writeln!(out, "{report}")
        } else {
            writeln!(out, "{}", paths[0].display())
        };
        told.context(CANNOT_WRITE)?;
        if self.args.quiet || self.args.json {
            return Ok(());
        }
        if first(Role::Model).is_some() {
            // The name with its file, where that was chosen of several.
            let name = match name {
                Name::Repo(repo, _) => format!("{}:{}", repo.as_str(), files[0].file),
                name => name.to_string(),
            };
            say!("carat: it is all here: `carat chat {name}` talks with it");
        }
        if let Name::Row(row) = name
            && let Some(drafter) = row.drafter.as_ref().filter(|_| !self.args.draft)
        {
            let (name, size) = (row.name, bytes(drafter.bytes));
            say!("carat: `carat pull {name}-draft` fetches its drafter as well ({size})");
        }
        Ok(())
    }
}

/// Notes which commits the branches stand for now that their files are there.
fn note(cache: &Cache, remotes: &[Remote], files: &[Wanted]) -> io::Result<()> {
    place::tag(cache.root());
    for (remote, wanted) in remotes.iter().zip(files) {
        place::refer(&cache.folder(&remote.repo), &wanted.revision, &remote.commit)?;
    }
    Ok(())
}

/// More names than this help nobody.
const MOST_SHOWN: usize = 20;
