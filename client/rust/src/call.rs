//! One call: its deadline, and the tries within it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Status};

use crate::retry::{Policy, Tries};
use crate::transport::as_grpc_says;

/// Longer than anyone waits, and short enough for clocks and headers.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// When a call is over. tonic tells the server and waits for its headers no longer, but would wait
/// for its messages for ever.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self((timeout < FOR_EVER).then(|| Instant::now() + timeout))
    }

    /// Waits for `work` until the deadline.
    pub(crate) async fn bound<T>(
        self,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let answer = match self.0 {
            Some(end) => match timeout_at(end, work).await {
                Ok(answer) => answer,
                Err(_) => Err(Status::deadline_exceeded("the timeout has passed")),
            },
            None => work.await,
        };
        answer.map_err(as_grpc_says)
    }

    fn left(self) -> Option<Duration> {
        self.0
            .map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn leaves(self, wait: Duration) -> bool {
        self.left().is_none_or(|left| wait < left)
    }
}

pub(crate) struct Call<'a> {
    pub(crate) deadline: Deadline,
    pub(crate) policy: Option<&'a Policy>,
}

impl Call<'_> {
    /// Sends `message`, as often as the policy allows and the deadline leaves time for.
    pub(crate) async fn run<M: Clone, T, F: Future<Output = Result<T, Status>>>(
        self,
        message: M,
        send: impl Fn(Request<M>) -> F,
    ) -> Result<T, Status> {
        let attempt = |message, number: u32| {
            let mut request = Request::new(message);
            if let Some(left) = self.deadline.left() {
                request.set_timeout(left);
            }
            if number > 0 {
                let header = request.metadata_mut();
                header.insert("grpc-previous-rpc-attempts", number.into());
            }
            send(request)
        };
        let Some(policy) = self.policy else {
            return self.deadline.bound(attempt(message, 0)).await;
        };
        self.deadline
            .bound(async {
                let mut tries = Tries::new(policy);
                loop {
                    let failed = match attempt(message.clone(), tries.retries()).await {
                        Ok(answer) => return Ok(answer),
                        Err(status) => as_grpc_says(status),
                    };
                    // The last words of the server are worth more than a deadline that was waited for.
                    match tries.wait_after(&failed) {
                        Some(wait) if self.deadline.leaves(wait) => sleep(wait).await,
                        _ => return Err(failed),
                    }
                }
            })
            .await
    }
}
