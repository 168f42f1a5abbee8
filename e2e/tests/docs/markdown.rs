//! Markdown, as far as the checks need it: blocks of code, links, headings and tables.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use backstop_e2e::chart::root;

/// A page of the docs.
pub struct Page {
    /// Its path from the repository's root.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A block of code between fences.
pub struct Block {
    /// Where it stands, for messages.
    pub place: String,
    /// What stands behind the first fence.
    pub language: String,
    /// What is in it.
    pub text: String,
    /// Whether it is marked as a piece of something.
    pub fragment: bool,
}

/// README.md, its neighbours, and everything under docs.
pub fn pages() -> anyhow::Result<Vec<Page>> {
    let mut paths: Vec<String> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .map(str::to_owned)
        .to_vec();
    find(&root().join("docs"), "docs", &mut paths)?;
    paths.sort();
    paths.into_iter().map(page).collect()
}

/// One page.
pub fn page(path: impl Into<String>) -> anyhow::Result<Page> {
    let path = path.into();
    let text = std::fs::read_to_string(root().join(&path)).with_context(|| path.clone())?;
    Ok(Page { path, text })
}

fn find(folder: &Path, path: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{path}/{name}");
        if entry.file_type()?.is_dir() {
            find(&entry.path(), &path, found)?;
        } else if Path::new(&name).extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
    Ok(())
}

impl Page {
    /// The blocks of code.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        let mut before = "";
        for (index, line) in self.text.lines().enumerate() {
            match (&mut open, line.trim().strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Block {
                        place: format!("{}:{}", self.path, index + 1),
                        language: language.to_owned(),
                        text: String::new(),
                        fragment: before == "<!-- fragment -->",
                    });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => {
                    if !line.trim().is_empty() {
                        before = line.trim();
                    }
                }
            }
        }
        blocks
    }

    /// The lines outside of blocks of code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    /// Pieces of code within sentences.
    pub fn spans(&self) -> Vec<String> {
        self.prose().flat_map(code).collect()
    }

    /// The targets of links and images.
    pub fn links(&self) -> Vec<String> {
        self.prose()
            .flat_map(|line| line.split("](").skip(1))
            .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
            .collect()
    }

    /// What a link to a heading of this page can be.
    pub fn anchors(&self) -> BTreeSet<String> {
        self.prose()
            .filter(|line| line.starts_with('#'))
            .map(|line| slug(line.trim_start_matches('#').trim()))
            .collect()
    }

    /// The rows of the tables under a heading, without their head, as cells.
    pub fn table(&self, heading: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let mut rows = Vec::new();
        let mut lines = self.prose().skip_while(|line| line.trim() != heading);
        lines
            .next()
            .with_context(|| format!("{} has no heading {heading}", self.path))?;
        let level = heading.bytes().take_while(|b| *b == b'#').count();
        let under = lines.take_while(|line| {
            let marks = line.bytes().take_while(|b| *b == b'#').count();
            marks == 0 || marks > level
        });
        let mut body = false;
        for line in under {
            let Some(row) = line
                .trim()
                .strip_prefix('|')
                .and_then(|l| l.strip_suffix('|'))
            else {
                body = false;
                continue;
            };
            if row.chars().all(|c| matches!(c, '-' | '|' | ' ' | ':')) {
                body = true;
            } else if body {
                rows.push(row.split('|').map(|cell| cell.trim().to_owned()).collect());
            }
        }
        ensure!(
            !rows.is_empty(),
            "{} has no table under {heading}",
            self.path
        );
        Ok(rows)
    }

    /// The pieces of code in one column of the tables under a heading.
    pub fn column(&self, heading: &str, column: usize) -> anyhow::Result<BTreeSet<String>> {
        let rows = self.table(heading)?;
        Ok(rows
            .iter()
            .filter_map(|row| row.get(column))
            .flat_map(|cell| code(cell))
            .collect())
    }
}

/// What stands between backticks.
pub fn code(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// A heading as GitHub links to it.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
