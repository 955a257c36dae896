//! Virtual time: milliseconds since the beginning of the scenario, on tokio's paused clock.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::date_time::{DateTime, Format};
use tokio::time::Instant;

/// Milliseconds: of virtual time since the beginning of the scenario, or of a duration.
pub type Ms = u64;

/// A second.
pub const SECOND: Ms = 1000;
/// A minute.
pub const MINUTE: Ms = 60 * SECOND;
/// An hour.
pub const HOUR: Ms = 60 * MINUTE;
/// A day.
pub const DAY: Ms = 24 * HOUR;

/// When every scenario begins, in milliseconds since 1970: Monday, 2027-01-04 at 09:00 UTC.
const BEGINNING: Ms = 1_799_053_200_000;

/// The clock of one scenario; it reads the paused clock of tokio's runtime.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Ms {
        Ms::try_from(self.0.elapsed().as_millis()).expect("a scenario is short")
    }
}

/// The clock of a function, which is early or late.
#[derive(Debug, Clone, Copy)]
pub(super) struct SkewedClock {
    pub(super) clock: Clock,
    /// By how many milliseconds it is early; negative if it is late.
    pub(super) skew_ms: i64,
}

impl TimeSource for SkewedClock {
    fn now(&self) -> SystemTime {
        let now = BEGINNING + self.clock.now();
        SystemTime::UNIX_EPOCH + Duration::from_millis(now.saturating_add_signed(self.skew_ms))
    }
}

/// Milliseconds since 1970, as Rekognition writes them.
pub(super) fn epoch(at: Ms) -> Ms {
    BEGINNING + at
}

/// A time of the scenario as Step Functions writes it: `2027-01-04T09:00:00.123Z`.
pub(super) fn rfc3339(at: Ms) -> String {
    let at = DateTime::from_millis(i64::try_from(BEGINNING + at).expect("a scenario is short"));
    at.fmt(Format::DateTime).expect("a date of this century")
}

/// `3d 04:05:06.789`, for the trace.
pub(super) fn readable(at: Ms) -> String {
    let (days, rest) = (at / DAY, at % DAY);
    let (hours, minutes, seconds) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE / SECOND);
    format!("{days}d {hours:02}:{minutes:02}:{seconds:02}.{:03}", at % SECOND)
}

pub(super) async fn sleep(length: Ms) {
    tokio::time::sleep(Duration::from_millis(length)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn days_of_virtual_time_pass_immediately() {
        let clock = Clock::start();
        sleep(3 * DAY + 4 * HOUR + 5 * MINUTE + 6 * SECOND + 789).await;
        assert_eq!(readable(clock.now()), "3d 04:05:06.789");
        assert_eq!(rfc3339(clock.now()), "2027-01-07T13:05:06.789Z");
    }
}
