//! The server's clock: the machine's time, plus the time by which a test has advanced it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// Used for everything that has a lifetime; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<watch::Sender<Duration>>);

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Duration::ZERO)))
    }

    /// The time since the Unix epoch.
    pub fn now(&self) -> Duration {
        let real = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        real + *self.0.borrow()
    }

    /// Advances the clock and all of its clones.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|advanced| *advanced = advanced.saturating_add(by));
    }

    /// Returns when this clock shows `at`: when the time has passed or the clock was advanced.
    pub async fn sleep_until(&self, at: Duration) {
        let mut advanced = self.0.subscribe();
        while let Some(left) = at.checked_sub(self.now()).filter(|left| !left.is_zero()) {
            // An error would mean that the sender was dropped, but `self` holds it.
            let _ = tokio::time::timeout(left, advanced.changed()).await;
        }
    }
}
