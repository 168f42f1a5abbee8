//! Kubernetes Events: what happened, where a person looks first.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::calls::Calls;

/// The longest note that the API server takes.
const LONGEST_NOTE: usize = 1024;

/// Emits Kubernetes Events. One for the whole operator, since it counts repetitions.
#[derive(Clone)]
pub struct Teller {
    recorder: Recorder,
    calls: Calls,
}

impl Teller {
    /// Events that are emitted under the operator's name.
    #[must_use]
    pub fn new(client: Client, instance: &str, calls: Calls) -> Self {
        let reporter = Reporter {
            controller: "backstop".into(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            calls,
        }
    }

    /// Says something about each of `objects`. Events are a courtesy: what cannot be emitted is
    /// logged, and the record of a rollback is the RollbackEvent.
    pub async fn say(
        &self,
        objects: &[ObjectReference],
        warning: bool,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: reason.to_owned(),
            note: Some(shortened(note)),
            action: action.to_owned(),
            secondary: None,
        };
        for object in objects {
            let published = self.recorder.publish(&event, object);
            if let Err(error) = self.calls.write("create event", published).await {
                tracing::warn!(%error, reason, note, "a Kubernetes Event could not be emitted");
            }
        }
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - '…'.len_utf8();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}
