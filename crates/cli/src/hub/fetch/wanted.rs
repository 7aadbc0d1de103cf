//! Which files a name means.

use anyhow::{Result, anyhow, bail};

use super::Puller;
use super::failure::Failure;
use crate::hub::choose::{self, Kind};
use crate::hub::name::{Name, Repo};
use crate::hub::table::Entry;
use crate::text::say;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Model,
    Projector,
    Drafter,
}

/// A file to fetch.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) repo: Repo,
    pub(super) file: String,
    pub(super) revision: String,
    pub(super) role: Role,
}

/// The files of a name, the model first.
///
/// # Errors
/// If the repository has nothing that can only be meant.
pub(super) fn wanted(puller: &Puller<'_>, name: &Name) -> Result<Vec<Wanted>> {
    let args = puller.args;
    match name {
        Name::Row(row) => {
            let mut files = of_entry(&row.model, &args.revision, Role::Model)?;
            if let Some(projector) = &row.projector {
                files.extend(of_entry(projector, &args.revision, Role::Projector)?);
            }
            let Some(drafter) = row.drafter.as_ref().filter(|_| args.draft) else {
                return Ok(files);
            };
            // A revision is one of the model's repository.
            let is_same = drafter.repo == row.model.repo;
            let revision = if is_same { args.revision.as_str() } else { MAIN };
            files.extend(of_entry(drafter, revision, Role::Drafter)?);
            Ok(files)
        }
        Name::Drafter(row) => {
            let Some(drafter) = &row.drafter else { bail!("{name} has no file") };
            of_entry(drafter, &args.revision, Role::Drafter)
        }
        Name::Repo(repo, word) => of_repo(puller, repo, word.as_deref()),
    }
}

fn of_entry(entry: &Entry, revision: &str, role: Role) -> Result<Vec<Wanted>> {
    let repo = Repo::parse(entry.repo);
    let repo = repo.ok_or_else(|| anyhow!("{} is no repository", entry.repo))?;
    Ok(all_parts(&repo, entry.file, revision, role))
}

fn all_parts(repo: &Repo, file: &str, revision: &str, role: Role) -> Vec<Wanted> {
    let wanted = |file| Wanted { repo: repo.clone(), file, revision: revision.to_owned(), role };
    choose::parts(file).into_iter().map(wanted).collect()
}

fn of_repo(puller: &Puller<'_>, repo: &Repo, word: Option<&str>) -> Result<Vec<Wanted>> {
    let revision = puller.args.revision.as_str();
    let named = word.filter(|word| word.to_ascii_lowercase().ends_with(".gguf"));
    let role = match named.and_then(choose::kind) {
        Some(Kind::Projector) => Role::Projector,
        Some(Kind::Drafter) => Role::Drafter,
        _ => Role::Model,
    };
    if let Some(file) = named.filter(|_| role != Role::Model) {
        return Ok(all_parts(repo, file, revision, role));
    }
    let files = match (puller.list(repo, revision), named) {
        (Ok(files), _) => files,
        // The file that is named may be there all the same.
        (Err(failure), Some(_)) if failure.status.is_some() => {
            if !puller.args.quiet {
                say!("carat: {}, so no projector is looked for", failure.words);
            }
            Vec::new()
        }
        (Err(Failure { words, .. }), _) => bail!("cannot fetch {} - {words}", repo.as_str()),
    };
    let model = match named {
        Some(file) => file,
        None => match choose::model(repo.as_str(), &files, word) {
            Ok(file) => file,
            Err(models) => bail!(no_choice(repo, word, &models)),
        },
    };
    let mut all = all_parts(repo, model, revision, Role::Model);
    if let Some(projector) = choose::projector(repo.as_str(), model, &files) {
        all.extend(all_parts(repo, projector, revision, Role::Projector));
    }
    if puller.args.draft {
        let drafters = files.iter().filter(|file| choose::kind(file) == Some(Kind::Drafter));
        // The one to use lies beside the model, others in a folder of their own.
        let Some(drafter) = drafters.min_by_key(|file| (file.matches('/').count(), file.len()))
        else {
            bail!("{} has no drafter: leave --draft out", repo.as_str())
        };
        all.extend(all_parts(repo, drafter, revision, Role::Drafter));
    }
    Ok(all)
}

fn no_choice(repo: &Repo, word: Option<&str>, models: &[&str]) -> String {
    let repo = repo.as_str();
    match (models, word) {
        ([], _) => format!("{repo} has no model in GGUF files: is there another of its kind?"),
        (all, Some(word)) => format!(
            "{repo} has no model {word}, it has {}: type for example `carat pull {repo}:{}`",
            all.join(", "),
            all[0]
        ),
        (all, None) => format!(
            "{repo} has several models ({}): name one, as in `carat pull {repo}:{}`",
            all.join(", "),
            all[0]
        ),
    }
}

const MAIN: &str = "main";
