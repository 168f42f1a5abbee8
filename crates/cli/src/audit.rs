//! The audit log.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use backstop_api::{RollbackEvent, RollbackPolicy};
use backstop_audit::{Found, Head, Record, append, of_event, of_policy, verify};
use clap::Subcommand;

use crate::cluster::Scope;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Write what is on record in the cluster as JSON Lines, each with the hash of the one before.
    Export {
        #[command(flatten)]
        scope: Scope,
        /// Where to; without it, or for `-`, to standard output. A file that is there is not written over.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Say whether a log is whole: every line that was removed, changed, moved or put in is named.
    Verify {
        /// The log; `-` for standard input.
        file: PathBuf,
        /// Where the log is known to have come to, as number:hash: without it, lines that are gone from the end do not show.
        #[arg(long, conflicts_with = "in_cluster")]
        head: Option<Head>,
        /// Take that from the newest RollbackEvent that the operator has written to its log.
        #[arg(long)]
        in_cluster: bool,
        #[command(flatten)]
        scope: Scope,
    },
}

impl Audit {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Export { scope, output } => export(&scope, output.as_deref()).await,
            Self::Verify {
                file,
                head,
                in_cluster,
                scope,
            } => {
                let known = if in_cluster {
                    Some(head_in(&scope).await?)
                } else {
                    head
                };
                check(&file, known.as_ref())
            }
        }
    }
}

async fn export(scope: &Scope, output: Option<&Path>) -> anyhow::Result<()> {
    let events: Vec<RollbackEvent> = scope.list().await?;
    let policies: Vec<RollbackPolicy> = scope.list().await?;
    let mut records: Vec<Record> = events.iter().filter_map(of_event).collect();
    records.extend(policies.iter().flat_map(of_policy));
    records.sort_by_key(Record::at);
    let mut out: Box<dyn Write> = match output.filter(|path| *path != Path::new("-")) {
        None => Box::new(io::stdout().lock()),
        Some(path) => {
            let file = File::create_new(path);
            Box::new(BufWriter::new(
                file.with_context(|| format!("--output {}", path.display()))?,
            ))
        }
    };
    let mut head = Head::default();
    for record in &records {
        let (line, next) = append(&head, record);
        writeln!(out, "{line}")?;
        head = next;
    }
    out.flush()?;
    eprintln!("{} records; head {head}", records.len());
    eprintln!(
        "keep the head elsewhere: with `audit verify --head` it shows whether lines are gone from the end"
    );
    Ok(())
}

/// Where the operator's log has come to, by what the cluster has on record.
async fn head_in(scope: &Scope) -> anyhow::Result<Head> {
    let events: Vec<RollbackEvent> = scope.list().await?;
    let exported = events.into_iter().filter_map(|e| e.status?.exported);
    let newest = exported.max_by_key(|e| e.sequence);
    let newest = newest.context(
        "no RollbackEvent there says which line of a log holds it (status.exported); does the operator write one (--audit-file)?",
    )?;
    Ok(Head {
        sequence: u64::try_from(newest.sequence)?,
        hash: newest.hash,
    })
}

fn check(file: &Path, known: Option<&Head>) -> anyhow::Result<()> {
    let verified = if file == Path::new("-") {
        verify(io::stdin().lock(), known)
    } else {
        let opened = File::open(file).with_context(|| file.display().to_string())?;
        verify(BufReader::new(opened), known)
    };
    match verified {
        Ok(verified) => {
            println!("whole: {} lines; head {}", verified.lines, verified.head);
            Ok(())
        }
        Err(Found::Problems(problems)) => {
            for problem in &problems {
                println!("{problem}");
            }
            bail!("{} is not whole", file.display())
        }
        Err(unreadable) => Err(unreadable.into()),
    }
}
