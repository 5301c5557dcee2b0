//! When a failed call is tried again: the retry policies of a gRPC service config (gRFC A6), which tonic
//! does not read.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use serde_json::Value;
use tonic::{Code, Status};

use crate::Error;

const SERVICE: &str = "rerankd.v1.RerankService";
const MOST_ATTEMPTS: u64 = 5; // as gRFC A6 has it

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    pub(crate) max_attempts: u32,
    pub(crate) initial_backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) backoff_multiplier: f64,
    pub(crate) retryable: Vec<Code>,
}

/// The methods' policies.
#[derive(Default)]
pub(crate) struct Policies(Vec<(Name, Option<Policy>)>);

/// What a policy is for; an empty service or method is any.
#[derive(PartialEq)]
struct Name {
    service: String,
    method: String,
}

impl Policies {
    pub(crate) fn read(json: &str) -> Result<Self, Error> {
        let config: Value =
            serde_json::from_str(json).map_err(|error| refusal(&error.to_string()))?;
        if !config.is_object() {
            return Err(refusal("it is no JSON object"));
        }
        let mut policies = Vec::new();
        for method in list(&config["methodConfig"]) {
            let policy = match &method["retryPolicy"] {
                Value::Null => None,
                policy => Some(read(policy).ok_or_else(|| {
                    refusal(&format!("its retryPolicy is not as gRPC has it: {policy}"))
                })?),
            };
            for name in list(&method["name"]) {
                let text = |key| name[key].as_str().unwrap_or_default().to_owned();
                let (service, method) = (text("service"), text("method"));
                policies.push((Name { service, method }, policy.clone()));
            }
        }
        Ok(Self(policies))
    }

    /// Finds the policy of a method: its own before its service's, that before everyone's.
    pub(crate) fn of(&self, method: &str) -> Option<&Policy> {
        let find = |service: &str, method: &str| {
            let named = |(name, _): &&(Name, _)| name.service == service && name.method == method;
            self.0.iter().find(named)
        };
        let (_, policy) = find(SERVICE, method)
            .or_else(|| find(SERVICE, ""))
            .or_else(|| find("", ""))?;
        policy.as_ref()
    }
}

/// The tries of one call.
pub(crate) struct Tries<'a> {
    policy: &'a Policy,
    made: u32,
    backoff: Duration,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(policy: &'a Policy) -> Self {
        let (made, backoff) = (0, policy.initial_backoff);
        Self {
            policy,
            made,
            backoff,
        }
    }

    /// How many were made before the next.
    pub(crate) fn retries(&self) -> u32 {
        self.made
    }

    /// Counts a try that failed, and says how long to wait before the next; none where it was the last.
    pub(crate) fn wait_after(&mut self, failed: &Status) -> Option<Duration> {
        self.made += 1;
        let policy = self.policy;
        if self.made >= policy.max_attempts || !policy.retryable.contains(&failed.code()) {
            return None;
        }
        if let Some(pushback) = failed.metadata().get("grpc-retry-pushback-ms") {
            // The server knows best, and waiting begins anew after it. What is no number forbids, as a
            // negative one does.
            self.backoff = policy.initial_backoff;
            let wait: u32 = pushback.to_str().ok()?.parse().ok()?;
            return Some(Duration::from_millis(wait.into()));
        }
        let backoff = self.backoff.min(policy.max_backoff);
        let next = backoff.as_secs_f64() * policy.backoff_multiplier;
        self.backoff = Duration::try_from_secs_f64(next).unwrap_or(policy.max_backoff);
        Some(backoff.mul_f64(0.8 + 0.4 * random()))
    }
}

/// From 0 to 1, so that callers who failed together do not come back together.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

fn read(policy: &Value) -> Option<Policy> {
    let max_attempts = policy["maxAttempts"].as_u64()?.min(MOST_ATTEMPTS);
    let policy = Policy {
        max_attempts: u32::try_from(max_attempts).ok()?,
        initial_backoff: duration(&policy["initialBackoff"])?,
        max_backoff: duration(&policy["maxBackoff"])?,
        backoff_multiplier: policy["backoffMultiplier"].as_f64()?,
        retryable: list(&policy["retryableStatusCodes"])
            .iter()
            .map(status_code)
            .collect::<Option<_>>()?,
    };
    let valid = policy.max_attempts > 1
        && !policy.initial_backoff.is_zero()
        && !policy.max_backoff.is_zero()
        && policy.backoff_multiplier > 0.0
        && !policy.retryable.is_empty();
    valid.then_some(policy)
}

/// Reads a duration of proto3 JSON, as `0.1s`.
fn duration(value: &Value) -> Option<Duration> {
    let seconds = value.as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a code by number or name, as `UNAVAILABLE`.
fn status_code(value: &Value) -> Option<Code> {
    let codes = (1..=16).map(Code::from_i32);
    if let Some(number) = value.as_i64() {
        return codes.into_iter().find(|&code| code as i64 == number);
    }
    let name = value.as_str()?.replace('_', "");
    codes
        .into_iter()
        .find(|code| format!("{code:?}").eq_ignore_ascii_case(&name))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn refusal(why: &str) -> Error {
    Error::refused(format!("service config: {why}"))
}
