//! The audit log that the operator writes: each rollback that has ended becomes a line, in a file or on standard output. In
//! a file, so does what people do with policies.
//!
//! The line comes first, and then the RollbackEvent says which line holds it. A crash between the two writes the record
//! twice, and never not at all. What the events say is where the log has come to, so a log that was cut off shows, and a new
//! leader goes on after the last line. What is written of policies is told by the file itself.

mod policies;

use std::{
    collections::HashSet,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backstop_api::{RollbackEvent, audit::Exported};
use backstop_audit::{Head, Record, append, is_in_the_log, last, of_event};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use crate::{calls::CallError, context::Context};
use policies::Policies;

/// How often there is a look for something to write.
const EVERY: Duration = Duration::from_secs(1);
/// After a failure.
const RETRIED: Duration = Duration::from_secs(30);
/// The end of a log, in which its last line is looked for: more than a line can have.
const END: u64 = 8 * 1024 * 1024;

/// Where lines go.
#[derive(Clone, Debug)]
pub enum Log {
    /// Standard output; the operator's own log goes to standard error.
    Stdout,
    /// A file, which is only ever added to.
    File(PathBuf),
}

impl std::str::FromStr for Log {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "-" => Self::Stdout,
            path => Self::File(path.into()),
        })
    }
}

impl Log {
    /// Where it ends; what is there is cut to its last whole line, since a crash may have torn one.
    fn head(&self) -> io::Result<Option<Head>> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(END);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        let whole = end.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        // Where no line ends in so much of it, it is no log of ours, and is left alone.
        if whole < end.len() && (whole > 0 || from == 0) {
            file.set_len(from + whole as u64)?;
        }
        Ok(last(&String::from_utf8_lossy(&end[..whole])))
    }

    fn write(&self, line: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                writeln!(out, "{line}")?;
                out.flush()
            }
            Self::File(path) => add(path, line),
        }
    }
}

fn add(path: &Path, line: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

/// How far the log has come, as this leader knows it.
#[derive(Default)]
struct State {
    head: Option<Head>,
    /// Ends of rollbacks that were written: the cache may not know yet that they are marked.
    ends: HashSet<(String, Timestamp)>,
    /// What is in it of policies; `None` until that was read, and where it cannot be.
    policies: Option<Policies>,
}

/// Writes the log for as long as this replica leads.
pub(crate) async fn keep(context: Arc<Context>, log: Log) {
    let mut state = State::default();
    loop {
        let wait = match write(&context, &log, &mut state).await {
            Ok(()) => EVERY,
            Err(error) => {
                // What was written and what not is read again.
                (state.head, state.policies) = (None, None);
                if is_trouble(&error) {
                    context.metrics.audit_failed();
                    tracing::error!(%error, ?log, "the audit log cannot be written; trying again");
                }
                RETRIED
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Whether it is more than that another replica leads by now.
fn is_trouble(error: &anyhow::Error) -> bool {
    let call = error.downcast_ref::<CallError>();
    call.is_none_or(CallError::is_trouble)
}

/// Writes what is in no line yet, oldest first.
async fn write(context: &Context, log: &Log, state: &mut State) -> anyhow::Result<()> {
    let cached = context.events.state();
    let events: Vec<&RollbackEvent> = cached.iter().filter_map(|e| e.0.as_ref().ok()).collect();
    // Most are in the log long since: they are told apart before anything is made of them.
    let mut new: Vec<(Record, Option<&RollbackEvent>)> = events
        .iter()
        .filter(|event| !is_in_the_log(event))
        .filter_map(|event| Some((of_event(event)?, *event)))
        .filter(|(record, event)| !state.ends.contains(&end(event, record)))
        .map(|(record, event)| (record, Some(event)))
        .collect();
    if state.policies.is_none()
        && let Log::File(file) = log
    {
        state.policies = Some(Policies::read(file.clone()).await?);
    }
    if let Some(policies) = &mut state.policies {
        let missing = policies.missing(context).await.into_iter();
        new.extend(missing.map(|record| (record, None)));
    }
    if new.is_empty() {
        return Ok(());
    }
    new.sort_by_key(|(record, _)| record.at());
    let mut now = match state.head.take() {
        Some(head) => head,
        None => as_leader(context, || begin(log, &events)).await?,
    };
    for (record, event) in new {
        let (line, next) = append(&now, &record);
        as_leader(context, || log.write(&line)).await?;
        now = next;
        if let Some(event) = event {
            state.ends.insert(end(event, &record));
            mark(context, event, &now).await?;
        } else if let Some(policies) = &mut state.policies {
            policies.note(&record);
        }
    }
    state.head = Some(now);
    Ok(())
}

/// Which end of which rollback a record is about: one that took its release back again ends again.
fn end(event: &RollbackEvent, record: &Record) -> (String, Timestamp) {
    (event.uid().unwrap_or_default(), record.at())
}

/// Touches the log if this replica leads. The next leader goes on after the last line, and a line beside its own would break
/// the chain.
async fn as_leader<T>(
    context: &Context,
    touch: impl FnOnce() -> io::Result<T>,
) -> anyhow::Result<T> {
    let touched = context
        .calls
        .write("write audit log", async { Ok(touch()) });
    Ok(touched.await??)
}

/// Says in a RollbackEvent which line holds it.
async fn mark(context: &Context, event: &RollbackEvent, line: &Head) -> anyhow::Result<()> {
    let exported = Exported {
        sequence: i64::try_from(line.sequence)?,
        hash: line.hash.clone(),
        at: Timestamp::now(),
    };
    let (namespace, name) = (event.namespace().unwrap_or_default(), event.name_any());
    let api: Api<RollbackEvent> = Api::namespaced(context.client.clone(), &namespace);
    let patch = serde_json::json!({
        "metadata": {"uid": event.uid()}, "status": {"exported": exported},
    });
    let marked = context
        .calls
        .merge_status("patch rollbackevent status", &api, &name, patch)
        .await;
    if let Err(error) = marked {
        tracing::warn!(namespace, event = name, %error, line = line.sequence, "the rollback is in the audit log and could not be marked so; a later leader writes it again");
    }
    Ok(())
}

/// Where the log has come to: by its own last line, or by what events say where that is further.
fn begin(log: &Log, events: &[&RollbackEvent]) -> io::Result<Head> {
    let own = log.head()?;
    let marks = events
        .iter()
        .filter_map(|e| e.status.as_ref()?.exported.as_ref());
    let marked = marks.max_by_key(|e| e.sequence).map(|e| Head {
        sequence: e.sequence.unsigned_abs(),
        hash: e.hash.clone(),
    });
    let ends = own.as_ref().map_or(0, |head| head.sequence);
    match marked {
        Some(marked) if marked.sequence > ends => {
            if matches!(log, Log::File(_)) {
                tracing::warn!(
                    ?log,
                    ends,
                    known = marked.sequence,
                    "the audit log ends before the line that RollbackEvents know of: it is another file, or lines were removed; going on after the known one"
                );
            }
            Ok(marked)
        }
        _ => Ok(own.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("backstop-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_line_that_a_crash_has_torn_is_written_anew() {
        let path = scratch("torn");
        let log = Log::File(path.clone());
        assert_eq!(log.head().unwrap(), None);
        let (first, head) = append(&Head::default(), &1);
        let (second, _) = append(&head, &2);
        log.write(&first).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&second.as_bytes()[..40])
            .unwrap();
        assert_eq!(log.head().unwrap(), Some(head));
        log.write(&second).unwrap();
        let text = fs::read(&path).unwrap();
        assert_eq!(
            backstop_audit::verify(text.as_slice(), None).unwrap().lines,
            2
        );
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_events_know_wins_over_a_log_that_ends_before() {
        let path = scratch("behind");
        let log = Log::File(path.clone());
        let marked: RollbackEvent = serde_json::from_value(serde_json::json!({
            "apiVersion": "backstop.dev/v1alpha1", "kind": "RollbackEvent", "metadata": {"name": "web-1"},
            "spec": {"policy": "web", "workloads": [{"name": "web"}], "cause": "Trigger", "requestedBy": "backstop"},
            "status": {"exported": {"sequence": 7, "hash": "f".repeat(64), "at": "2026-01-01T00:00:00Z"}},
        }))
        .unwrap();
        assert_eq!(begin(&log, &[]).unwrap(), Head::default());
        assert_eq!(begin(&log, &[&marked]).unwrap().sequence, 7);
        let (line, own) = append(&begin(&log, &[&marked]).unwrap(), &1);
        log.write(&line).unwrap();
        assert_eq!(begin(&log, &[&marked]).unwrap(), own);
        fs::remove_file(path).unwrap();
    }
}
