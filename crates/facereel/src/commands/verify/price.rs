//! The price of a run.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::deployed::billing::USD_PER_MINUTE;
use crate::terminal::text::counted;

/// What Rekognition charges for the analyses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Price {
    /// The number of jobs.
    pub jobs: usize,
    /// The length of their videos together, in seconds.
    pub video_seconds: f64,
    /// The price in USD.
    pub usd: f64,
}

impl Price {
    /// The price of a job for each of these lengths.
    pub(super) fn of(videos: impl IntoIterator<Item = Duration>) -> Self {
        let videos: Vec<_> = videos.into_iter().collect();
        let video_seconds = videos.iter().sum::<Duration>().as_secs_f64();
        Self { jobs: videos.len(), video_seconds, usd: video_seconds / 60.0 * USD_PER_MINUTE }
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, video_seconds, usd } = self;
        let jobs = counted(*jobs, "job");
        write!(
            f,
            "{jobs} for {video_seconds:.0} s of video: at most USD {usd:.3}, at {USD_PER_MINUTE:.2} a minute; prices differ by Region"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_is_that_of_the_minutes_of_all_jobs() {
        let price = Price::of([12, 2].map(Duration::from_secs));
        assert!((price.usd - 14.0 / 60.0 * 0.1).abs() < 1e-9, "{price:?}");
        assert!(price.to_string().starts_with("2 jobs for 14 s of video: at most USD 0.023,"), "{price}");
    }
}
