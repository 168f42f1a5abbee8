//! What came of a step.

use backstop_api::event::{EventPhase, Found, Outcome};

use super::steps::Written;

/// What came of a step.
pub(crate) enum Done {
    /// It holds.
    Holds {
        message: String,
        written: Option<Written>,
        /// For configuration: what was left as it is, and why.
        left: Vec<String>,
    },
    /// What is there is recorded before it is changed: then the step is begun again.
    Found(Found),
    /// The rollback is not any more as it was read: it is read again before anything is changed.
    OldPicture,
    /// It takes time.
    Wait { message: String },
    /// The rollback ends here.
    Ends {
        phase: EventPhase,
        outcome: Outcome,
        message: String,
    },
}

impl Done {
    /// It holds, and nothing was written that the rollback counts as its own.
    pub(crate) fn holds(message: impl Into<String>) -> Self {
        Self::Holds {
            message: message.into(),
            written: None,
            left: Vec::new(),
        }
    }

    /// It holds, because it was written: something other than a template, now.
    pub(crate) fn written(message: impl Into<String>) -> Self {
        Self::Holds {
            message: message.into(),
            written: Some(Written::now()),
            left: Vec::new(),
        }
    }

    /// It takes time.
    pub(crate) fn wait(message: impl Into<String>) -> Self {
        Self::Wait {
            message: message.into(),
        }
    }

    /// The rollback fails here.
    pub(crate) fn ends(outcome: Outcome, message: impl Into<String>) -> Self {
        Self::Ends {
            phase: EventPhase::Failed,
            outcome,
            message: message.into(),
        }
    }

    /// Somebody wrote something else, and theirs stands: the rollback ends here.
    pub(crate) fn superseded(message: impl Into<String>) -> Self {
        Self::Ends {
            phase: EventPhase::Superseded,
            outcome: Outcome::NewerRelease,
            message: message.into(),
        }
    }
}
