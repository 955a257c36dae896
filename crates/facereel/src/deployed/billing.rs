//! What Rekognition charges for the analysis of videos.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Deployed, duration};

/// The price of face detection in USD for a minute of stored video, in us-east-1 and most Regions
/// (<https://aws.amazon.com/rekognition/pricing/>).
pub const USD_PER_MINUTE: f64 = 0.10;

/// The size and the price of some videos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// The total size in bytes, as far as it is known.
    pub bytes: u64,
    /// The total length in minutes of the videos whose length is known.
    pub minutes: f64,
    /// The number of videos whose length is unknown.
    pub unknown: usize,
    /// The price in USD. Videos of unknown length are assumed to have the average minutes per byte of the others. null, if
    /// no length is known.
    pub usd: Option<f64>,
}

impl Estimate {
    /// The size and the price of these videos.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn of(videos: impl IntoIterator<Item = VideoLength>) -> Self {
        let (mut estimate, mut known_bytes) = (Self::default(), 0);
        for VideoLength { bytes, duration } in videos {
            estimate.bytes += bytes;
            match duration {
                Some(duration) => {
                    estimate.minutes += minutes(duration);
                    known_bytes += bytes;
                }
                None => estimate.unknown += 1,
            }
        }
        let is_known = known_bytes > 0;
        estimate.usd = is_known.then(|| usd(estimate.minutes * (estimate.bytes as f64 / known_bytes as f64)));
        estimate.minutes = rounded(estimate.minutes);
        estimate
    }
}

/// A duration in minutes.
#[must_use]
pub fn minutes(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() / 60.0)
}

/// The price of this number of minutes in USD.
#[must_use]
pub fn usd(minutes: f64) -> f64 {
    rounded(minutes * USD_PER_MINUTE)
}

/// A number with four decimals, so that a JSON document has no `0.020000000000000004`.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// The size and the length of a video.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VideoLength {
    /// Its size in bytes. 0, if the video cannot be read.
    pub bytes: u64,
    /// Its length, if the video can be read and its header contains it.
    pub duration: Option<Duration>,
}

impl VideoLength {
    /// Reads the length of a video from its header. On an error the length stays unknown, because only the estimate depends
    /// on it.
    pub async fn read(deployed: &Deployed, bucket: &str, key: &str, version_id: Option<&str>) -> Self {
        let bytes = std::cell::Cell::new(0);
        let read = async |offset: u64| {
            let range = format!("bytes={offset}-{}", offset.saturating_add(duration::WINDOW - 1));
            let request =
                deployed.s3.get_object().bucket(bucket).key(key).set_version_id(version_id.map(str::to_owned));
            let part = request.range(range).send().await.ok()?;
            // For example "bytes 0-511/1270000".
            let total = part.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
            bytes.set(total.unwrap_or(bytes.get()));
            part.body.collect().await.ok().map(|body| body.to_vec())
        };
        let duration = duration::duration(read).await;
        Self { bytes: bytes.get(), duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(bytes: u64, minutes: Option<u64>) -> VideoLength {
        VideoLength { bytes, duration: minutes.map(Duration::from_mins) }
    }

    #[test]
    fn the_estimate_assumes_the_known_minutes_per_byte_for_unknown_lengths() {
        let estimate = Estimate::of([video(1000, Some(10)), video(3000, Some(20)), video(4000, None)]);
        assert_eq!((estimate.bytes, estimate.unknown), (8000, 1));
        assert!((estimate.minutes - 30.0).abs() < 1e-9);
        assert!((estimate.usd.unwrap() - 6.0).abs() < 1e-9, "{estimate:?}");
        assert_eq!(Estimate::of([video(4000, None)]).usd, None);
        assert!(Estimate::of([]).minutes.is_sign_positive());
        assert_eq!(serde_json::to_string(&usd(minutes(Duration::from_secs(12)))).unwrap(), "0.02");
    }
}
