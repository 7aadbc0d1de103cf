//! From what a person named to a file: a path, a name of the table, or a repository. Nothing is
//! fetched here.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::args::{Command, EvalCommand};
use crate::builtin;
use crate::hub::cache::Cache;
use crate::hub::choose;
use crate::hub::models::{self, Pulled};
use crate::hub::name::{Name, Repo};
use crate::hub::table::{self, FIRST};
use crate::text::{bytes, say};

/// Puts the path of a file in the place of every model that a command names, and chooses one where
/// `run` and `chat` name none.
///
/// # Errors
/// If a name means no file of this machine.
pub(crate) fn settle(command: &mut Command) -> Result<()> {
    match command {
        Command::Run(args) => {
            args.engine.drafter_mut().map_or(Ok(()), settle_path)?;
            args.model = given_or_usual(args.model.as_deref())?;
        }
        Command::Chat(args) => {
            args.engine.drafter_mut().map_or(Ok(()), settle_path)?;
            let named = args.model.as_deref().or(args.positional.as_deref());
            args.model = given_or_usual(named)?;
        }
        Command::Inspect(args) => settle_path(&mut args.file)?,
        Command::Bench(args) => args.model.as_mut().map_or(Ok(()), settle_path)?,
        Command::Eval(EvalCommand::Tokenize(args)) => settle_path(&mut args.model)?,
        Command::Eval(EvalCommand::Template(args)) => {
            args.model.as_mut().map_or(Ok(()), settle_path)?;
        }
        Command::Eval(EvalCommand::Logits(args)) => settle_path(&mut args.model)?,
        Command::Eval(EvalCommand::Perplexity(args)) => settle_path(&mut args.model)?,
        Command::Eval(EvalCommand::Draft(args)) => {
            settle_path(&mut args.model)?;
            settle_path(&mut args.draft)?;
        }
        _ => {}
    }
    Ok(())
}

fn settle_path(named: &mut PathBuf) -> Result<()> {
    *named = path(named)?;
    Ok(())
}

/// The file that is meant by `named`. A path that exists always wins.
fn path(named: &Path) -> Result<PathBuf> {
    let Some(text) = named.to_str().filter(|_| !named.exists()) else {
        return Ok(named.to_owned());
    };
    match Name::parse(text) {
        Some(name) => find(&Cache::of_environment()?, &name),
        None if is_bare(text) => bail!(
            "there is no file {text}, and no model is called so: name a path, one of {}, or a \
             repository of the Hub as in owner/name",
            table::names()
        ),
        None => Ok(named.to_owned()),
    }
}

/// Whether a text is more likely a name than a path.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The file of a model in the cache.
pub(crate) fn find(cache: &Cache, name: &Name) -> Result<PathBuf> {
    let of_row = |repo: &str, file: &str| models::file(cache, &Repo::parse(repo)?, file);
    let found = match name {
        Name::Row(row) => of_row(row.model.repo, row.model.file),
        Name::Drafter(row) => row.drafter.as_ref().and_then(|entry| of_row(entry.repo, entry.file)),
        Name::Repo(repo, word) => return find_in_repo(cache, name, repo, word.as_deref()),
    };
    found.map_or_else(|| bail!(not_pulled(cache, name)), Ok)
}

fn find_in_repo(cache: &Cache, name: &Name, repo: &Repo, word: Option<&str>) -> Result<PathBuf> {
    if let Some(file) = word.and_then(|file| models::file(cache, repo, file)) {
        return Ok(file);
    }
    let models = models::models_of(cache, repo);
    let is_file = word.is_some_and(|word| word.to_ascii_lowercase().ends_with(".gguf"));
    let names: Vec<_> = models.iter().map(|model| model.file.clone()).collect();
    if names.is_empty() || is_file {
        bail!(not_pulled(cache, name));
    }
    let chosen = match (&names[..], word) {
        ([one], None) => one.as_str(),
        (_, Some(word)) => match choose::model(repo.as_str(), &names, Some(word)) {
            Ok(chosen) => chosen,
            Err(_) => bail!(not_pulled(cache, name)),
        },
        (several, None) => bail!(
            "{} files of {name} were pulled ({}): name one, as in {name}:{}",
            several.len(),
            several.join(", "),
            several[0]
        ),
    };
    let found = models.into_iter().find(|model| model.file == chosen);
    found.map_or_else(|| bail!(not_pulled(cache, name)), |model| Ok(model.path))
}

/// What to do about a name that means no file here.
pub(crate) fn not_pulled(cache: &Cache, name: &Name) -> String {
    let (repo, size) = match name {
        Name::Row(row) => (Repo::parse(row.model.repo), Some(row.bytes())),
        Name::Drafter(row) => {
            let entry = row.drafter.as_ref();
            (entry.and_then(|e| Repo::parse(e.repo)), entry.map(|e| e.bytes))
        }
        Name::Repo(repo, _) => (Some(repo.clone()), None),
    };
    let is_begun = repo.is_some_and(|repo| !cache.unfinished(&repo).is_empty());
    match (is_begun, size) {
        (true, _) => format!("{name} was not pulled to its end: `carat pull {name}` goes on"),
        (_, Some(size)) => {
            format!("{name} was not pulled: `carat pull {name}` fetches it ({})", bytes(size))
        }
        (_, None) => format!(
            "{name} is no file here and was not pulled: `carat pull {name}` fetches it from the Hub"
        ),
    }
}

/// The model that is named, or the only one that was pulled, which is said. `None` leaves it to the
/// model in the program.
fn given_or_usual(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(named) = named {
        return path(named).map(Some);
    }
    let pulled = match Cache::of_environment() {
        Ok(cache) => models::pulled(&cache),
        Err(_) => Vec::new(),
    };
    let usable: Vec<&Pulled> = pulled.iter().filter(|model| model.problem.is_none()).collect();
    match usable[..] {
        [one] => {
            say!("carat: the model is {}, the only one that was pulled", one.name);
            Ok(Some(one.path.clone()))
        }
        [] if builtin::files().is_ok() => Ok(None),
        [] => bail!(crate::Usage(format!(
            "no model is named and none was pulled: name a file with -m FILE, or fetch {} with \
             `carat pull {}` ({})",
            FIRST.about,
            FIRST.name,
            bytes(FIRST.bytes())
        ))),
        _ => {
            let names: Vec<_> = usable.iter().map(|model| model.name.as_str()).collect();
            bail!(crate::Usage(format!(
                "{} models were pulled ({}): name one with -m",
                names.len(),
                names.join(", ")
            )))
        }
    }
}
