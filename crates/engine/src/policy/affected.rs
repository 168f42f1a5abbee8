//! How many users a bad release reaches: the question, parsed.

use backstop_api::policy::AffectedUsersQuery;

use super::{FieldError, source::near_query};
use crate::query::QueryTemplate;

/// What is asked once for each rollback.
#[derive(Debug)]
pub struct ValidAffectedUsers {
    /// The question.
    pub query: QueryTemplate,
    /// Whom to ask; the operator's own Prometheus without it.
    pub address: Option<String>,
    /// The Secret with the credentials.
    pub secret_name: Option<String>,
}

/// Parses the question, or says what is wrong with it.
pub(super) fn validate(
    asked: Option<&AffectedUsersQuery>,
    errors: &mut Vec<FieldError>,
) -> Option<ValidAffectedUsers> {
    let asked = asked?;
    match near_query(&asked.query) {
        Ok(query) => Some(ValidAffectedUsers {
            query,
            address: asked.address.clone(),
            secret_name: asked.secret_name.clone(),
        }),
        Err(problem) => {
            errors.push(FieldError {
                field: "spec.affectedUsers.query".into(),
                value: asked.query.clone(),
                problem,
            });
            None
        }
    }
}
