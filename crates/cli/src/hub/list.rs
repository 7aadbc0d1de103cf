//! `carat list`: the models in the cache.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::hub::args::ListArgs;
use crate::hub::cache::Cache;
use crate::hub::models::{self, Pulled};
use crate::hub::table::FIRST;
use crate::text::{CANNOT_WRITE, bytes, say, shortened};

pub(crate) fn list(args: &ListArgs) -> Result<()> {
    let cache = Cache::of_environment()?;
    let models = models::pulled(&cache);
    let mut out = io::stdout().lock();
    if args.json {
        let models: Vec<_> = models.iter().map(to_json).collect();
        return writeln!(out, "{}", Value::from(models)).context(CANNOT_WRITE);
    }
    for line in table(&models) {
        writeln!(out, "{line}").context(CANNOT_WRITE)?;
    }
    if models.is_empty() {
        say!(
            "no model was pulled to {}: `carat pull {}` fetches {} ({})",
            cache.root().display(),
            FIRST.name,
            FIRST.about,
            bytes(FIRST.bytes())
        );
    }
    for repo in cache.repos() {
        let parts: Vec<_> = cache.unfinished(&repo).into_iter().map(|(_, bytes)| bytes).collect();
        if !parts.is_empty() {
            let name = repo.as_str();
            say!(
                "{} of {name} came before a pull was interrupted: the same `carat pull` goes on, \
                 `carat remove {name}` drops them",
                bytes(parts.iter().sum())
            );
        }
    }
    Ok(())
}

/// A line for each model below a line of headings, in columns; nothing for no model.
fn table(models: &[Pulled]) -> Vec<String> {
    if models.is_empty() {
        return Vec::new();
    }
    let mut rows =
        vec![["NAME", "SIZE", "PROJECTOR", "DRAFTER", "FILE"].map(str::to_owned).to_vec()];
    for model in models {
        let with = |path: &Option<_>| if path.is_some() { "yes" } else { "-" }.to_owned();
        let path = shortened(&model.path.display().to_string(), usize::MAX);
        let file = match &model.problem {
            Some(problem) => format!("{path} (cannot run: {problem})"),
            None => path,
        };
        rows.push(vec![
            shortened(&model.name, usize::MAX),
            bytes(model.bytes),
            with(&model.projector),
            with(&model.drafter),
            file,
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..4).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded: Vec<_> = row.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
        format!("{}  {}", padded.join("  "), row[4])
    };
    rows.iter().map(line).collect()
}

fn to_json(model: &Pulled) -> Value {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    json!({
        "name": model.name,
        "repo": model.repo.as_str(),
        "file": model.file,
        "path": model.path.display().to_string(),
        "bytes": model.bytes,
        "projector": path(&model.projector),
        "drafter": path(&model.drafter),
        "runs": model.problem.is_none(),
        "problem": model.problem,
    })
}
