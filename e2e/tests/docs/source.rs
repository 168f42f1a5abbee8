//! What the source says: the names that the docs must have, and no others.

use std::collections::BTreeSet;

use anyhow::Context as _;
use backstop_e2e::chart::root;

/// A file of the repository, without its unit tests and comments.
pub fn source(path: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root().join(path))
        .with_context(|| format!("{path} has moved: say in the test where it is now"))?;
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    Ok(code.fold(String::new(), |all, line| all + line + "\n"))
}

/// The variants of an enum without fields.
pub fn variants(path: &str, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let body = between(&source(path)?, &format!("enum {name} {{"), "\n}")?;
    let words = body.lines().map(|line| line.trim().trim_end_matches(','));
    Ok(words
        .filter(|word| {
            word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric)
        })
        .map(str::to_owned)
        .collect())
}

/// The text from behind `begin` up to `end`.
pub fn between(text: &str, begin: &str, end: &str) -> anyhow::Result<String> {
    let (_, rest) = text
        .split_once(begin)
        .with_context(|| format!("there is no `{begin}`"))?;
    let (inside, _) = rest
        .split_once(end)
        .with_context(|| format!("`{begin}` does not end"))?;
    Ok(inside.to_owned())
}

/// The string literals.
pub fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (&mut open, c) {
            (None, '"') => open = Some(String::new()),
            (Some(_), '"') => found.extend(open.take()),
            (Some(literal), '\\') => literal.extend(chars.next()),
            (Some(literal), c) => literal.push(c),
            (None, _) => {}
        }
    }
    found
}

/// The string literals that are one word in capitals, as conditions and reasons are.
pub fn words(path: &str) -> anyhow::Result<BTreeSet<String>> {
    let is_word = |text: &String| {
        text.len() > 1
            && text.starts_with(char::is_uppercase)
            && text.chars().all(|c| c.is_ascii_alphabetic())
            && text.chars().any(char::is_lowercase)
    };
    Ok(literals(&source(path)?)
        .into_iter()
        .filter(is_word)
        .collect())
}

/// The operator's flags, each with its environment variable.
pub fn settings() -> anyhow::Result<BTreeSet<(String, String)>> {
    let source = source("crates/controller/src/settings.rs")?;
    let body = between(&source, "pub struct Settings {", "\n}")?;
    let mut found = BTreeSet::new();
    let mut variable = None;
    for line in body.lines().map(str::trim) {
        if let Some((_, rest)) = line.split_once("env = \"") {
            variable = rest.split('"').next().map(str::to_owned);
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().unwrap_or_default();
            let flag = format!("--{}", name.replace('_', "-"));
            found.insert((flag, variable.take().context("a flag without a variable")?));
        }
    }
    Ok(found)
}
