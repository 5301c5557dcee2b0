//! What a call fails with, and how it is read from a gRPC status.

use std::error::Error as StdError;
use std::fmt;
use std::iter::successors;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Why a call failed, or a client could not be set up.
#[derive(Debug, Clone)]
pub struct Error {
    code: Code,
    message: String,
    reason: String,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    status: Option<Status>,
}

/// One rule that one field breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as in the proto: `documents[3].text`.
    pub field: String,
    /// What is wrong with it, in words.
    pub description: String,
}

impl Error {
    pub(crate) fn new(status: Status, address: &str) -> Self {
        // Details that cannot be read are as none.
        let details = status.check_error_details().unwrap_or_default();
        let info = details.error_info();
        let message = match info {
            Some(_) => said(&status),
            None => hint(&status, address),
        };
        let own = info.filter(|info| info.domain == "rerankd");
        Self {
            code: status.code(),
            message,
            reason: own.map(|info| info.reason.clone()).unwrap_or_default(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            violations: violations(&details),
            status: Some(status),
        }
    }

    /// An argument that no call is made with.
    pub(crate) fn refused(message: String) -> Self {
        Self {
            code: Code::InvalidArgument,
            message,
            reason: String::new(),
            retry_after: None,
            violations: Vec::new(),
            status: None,
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What went wrong, in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// rerankd's reason, as listed in `rerank.proto`, such as `KEY_REJECTED`; may be empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// After how long a new try may succeed, where the server told.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The rules that were broken, or the documents that stayed without a score.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    /// The call's [`tonic::Status`]; none where no call was made.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.status.as_ref().map(|status| status as _)
    }
}

fn violations(details: &ErrorDetails) -> Vec<Violation> {
    if let Some(bad) = details.bad_request() {
        let each = bad.field_violations.iter();
        return each.map(|v| violation(&v.field, &v.description)).collect();
    }
    let failure = details.precondition_failure();
    let each = failure.iter().flat_map(|failure| &failure.violations);
    each.map(|v| violation(&v.subject, &v.description))
        .collect()
}

fn violation(field: &str, description: &str) -> Violation {
    Violation {
        field: field.to_owned(),
        description: description.to_owned(),
    }
}

/// Says what to do about a status that gRPC itself made.
fn hint(status: &Status, address: &str) -> String {
    let said = said(status);
    match status.code() {
        Code::Unavailable => format!(
            r#"cannot reach rerankd at {address}: {said}; is it running there? "rerankd serve" starts it"#
        ),
        Code::DeadlineExceeded => {
            format!("rerankd at {address} did not answer in time: {said}; give the call more time")
        }
        Code::ResourceExhausted => {
            format!(
                "{said}; send fewer documents at once, or raise max_message_bytes on the server"
            )
        }
        Code::Unimplemented => {
            format!("what listens at {address} is no rerankd, or an older one: {said}")
        }
        _ => said,
    }
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}

/// An error and its causes in one line, each said once.
pub(crate) fn words(error: &(dyn StdError + 'static)) -> String {
    let mut words = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            let colon = if words.is_empty() { "" } else { ": " };
            words = words + colon + &cause;
        }
    }
    words
}

/// An error and its causes, the first cause last.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    successors(Some(error), |&error| error.source())
}
