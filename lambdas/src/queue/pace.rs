//! The distance between two Start calls.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The distance between two Start calls: the quota is 5 calls a second in most Regions
/// (<https://docs.aws.amazon.com/general/latest/gr/rekognition.html>), and a few calls are left for others.
pub(super) const START_INTERVAL: Duration = Duration::from_millis(210);

/// Keeps the distance. The work between two calls counts towards it.
#[derive(Default)]
pub(super) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Waits until the next call may be made, and notes it.
    pub(super) async fn call(&mut self) {
        self.rest().await;
        self.next = Some(Instant::now() + START_INTERVAL);
    }

    /// Waits until the next call may be made, by this invocation or by the next holder of the lease.
    pub(super) async fn rest(&mut self) {
        if let Some(next) = self.next {
            sleep_until(next).await;
        }
    }
}
