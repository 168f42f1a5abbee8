//! The audit log: what Backstop did, as JSON Lines, each of which carries the SHA-256 of the line before it and its own.
//!
//! Pure: the operator and the command line write the same lines, and read them by the same rules.
//!
//! ```
//! use backstop_audit::{Head, append, verify};
//!
//! let record = serde_json::json!({"kind": "Rollback", "name": "web-1"});
//! let (first, head) = append(&Head::default(), &record);
//! let (second, head) = append(&head, &record);
//! let log = format!("{first}\n{second}\n");
//!
//! assert_eq!(verify(log.as_bytes(), None).unwrap().head, head);
//! // Without its first line it is found out.
//! assert!(verify(second.as_bytes(), None).is_err());
//! ```

mod chain;
mod record;
mod verify;
mod written;

pub use chain::{Head, append};
pub use record::{
    PolicyRecord, Record, RollbackRecord, SpecChangeRecord, TakeoverRecord, ended, is_in_the_log,
    of_event, of_policy,
};
pub use verify::{Found, Problem, Verified, last, verify};
pub use written::Written;
