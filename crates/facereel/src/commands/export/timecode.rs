//! Frame rates and timecodes.
//!
//! A timecode counts frames and labels each with hours, minutes, seconds and frames (SMPTE ST 12-1,
//! <https://doi.org/10.5594/SMPTE.ST12-1.2014>). At 29.97 frames a second it counts 30 labels a second, and so gets behind the clock by
//! 3.6 seconds an hour. Drop-frame timecode corrects this: it skips the first two labels of each minute that is not a multiple of
//! ten (four at 59.94). No frame is skipped, only its label. 23.976 has no drop-frame timecode.

use std::{fmt, str::FromStr};

/// A rate that the timelines of editors have, in frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameRate {
    numerator: i64,
    denominator: i64,
}

/// The rates of timelines in Premiere Pro, Resolve and Final Cut Pro.
const TIMELINE_RATES: [FrameRate; 13] = [
    FrameRate::ntsc(24),
    FrameRate::whole(24),
    FrameRate::whole(25),
    FrameRate::ntsc(30),
    FrameRate::whole(30),
    FrameRate::ntsc(48),
    FrameRate::whole(48),
    FrameRate::whole(50),
    FrameRate::ntsc(60),
    FrameRate::whole(60),
    FrameRate::whole(100),
    FrameRate::ntsc(120),
    FrameRate::whole(120),
];

/// Below this rate, a video has a fraction of the frames of its timeline.
const SLOWEST: f64 = 23.0;

/// Two rates that differ by a smaller part of them are the same one: 23.976 and 24 differ by 0.001, 23.98 and 24000/1001 by 0.0002.
const ROUNDING: f64 = 0.0003;

impl FrameRate {
    const fn whole(rate: i64) -> Self {
        Self { numerator: rate, denominator: 1 }
    }

    /// 1000/1001 of a whole rate, as 24000/1001, which is written as 23.976.
    const fn ntsc(nominal: i64) -> Self {
        Self { numerator: nominal * 1000, denominator: 1001 }
    }

    /// The rate of the timeline for a video with this rate. A video with fewer frames, such as 15, has the timeline of a multiple.
    /// `None`, if this is not a rate.
    pub fn nearest(frames_per_second: f64) -> Option<Self> {
        if !frames_per_second.is_finite() || frames_per_second < 0.1 {
            return None;
        }
        let mut rate = frames_per_second;
        while rate < SLOWEST {
            rate *= 2.0;
        }
        let distance = |one: &Self| (one.frames_per_second() / rate).ln().abs();
        TIMELINE_RATES.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// Whether a video with this rate has the frames of the timeline.
    pub fn is(self, frames_per_second: f64) -> bool {
        (self.frames_per_second() / frames_per_second - 1.0).abs() < ROUNDING
    }

    /// The rate as a number.
    #[expect(clippy::cast_precision_loss, reason = "both are small")]
    pub fn frames_per_second(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// The frame that is shown at this time, in milliseconds from the start of the video. Rekognition rounds the time of a frame to a
    /// millisecond, so this is the nearest frame and not the last that began before: at 23.976, frame 1 begins at 41.7 ms.
    pub fn frame_at(self, ms: i64) -> i64 {
        (2 * ms.max(0) * self.numerator + 1000 * self.denominator) / (2000 * self.denominator)
    }

    /// The time of a number of frames in seconds, as a fraction.
    pub fn seconds(self, frames: i64) -> (i64, i64) {
        (frames * self.denominator, self.numerator)
    }

    /// The labels of a second.
    fn nominal(self) -> i64 {
        (self.numerator + self.denominator - 1) / self.denominator
    }

    /// The labels that drop-frame timecode skips in a minute; `None`, if this rate has none.
    fn dropped(self) -> Option<i64> {
        (self.denominator == 1001 && self.nominal() % 30 == 0).then(|| self.nominal() / 15)
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.frames_per_second());
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl FromStr for FrameRate {
    type Err = NotAFrameRate;

    fn from_str(text: &str) -> Result<Self, NotAFrameRate> {
        let number: f64 = text.parse().map_err(|_| NotAFrameRate)?;
        TIMELINE_RATES.into_iter().find(|rate| rate.is(number)).ok_or(NotAFrameRate)
    }
}

/// The text is not the rate of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rates of timelines are {}", TIMELINE_RATES.map(|rate| rate.to_string()).join(", "))]
pub(super) struct NotAFrameRate;

/// A timecode as it is written, such as `01:00:00:00`, or `01:00:00;00` for drop-frame timecode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Timecode {
    hours: i64,
    minutes: i64,
    seconds: i64,
    frames: i64,
    drop_frame: bool,
}

impl Timecode {
    /// The start of a new timeline in Resolve.
    pub const ONE_HOUR: Self = Self { hours: 1, minutes: 0, seconds: 0, frames: 0, drop_frame: false };
}

impl FromStr for Timecode {
    type Err = NotATimecode;

    fn from_str(text: &str) -> Result<Self, NotATimecode> {
        let drop_frame = text.contains(';');
        let parts: Vec<&str> = text.split([':', ';']).collect();
        let number = |part: &str| (part.len() <= 3).then(|| part.parse::<u16>().ok()).flatten().map(i64::from);
        let numbers: Option<Vec<i64>> = parts.into_iter().map(number).collect();
        match numbers.as_deref() {
            Some(&[hours @ 0..24, minutes @ 0..60, seconds @ 0..60, frames @ 0..120]) => {
                Ok(Self { hours, minutes, seconds, frames, drop_frame })
            }
            _ => Err(NotATimecode),
        }
    }
}

impl fmt::Display for Timecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hours, minutes, seconds, frames, drop_frame } = self;
        let separator = if *drop_frame { ';' } else { ':' };
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}{separator}{frames:02}")
    }
}

/// The text is not a timecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write hours, minutes, seconds and frames, such as 01:00:00:00, or 01:00:00;00 for drop-frame timecode")]
pub(super) struct NotATimecode;

/// Labels the frames of a video.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameLabels {
    rate: FrameRate,
    /// The labels that are skipped in a minute.
    dropped: i64,
    /// The number of the video's first frame.
    first: i64,
}

impl FrameLabels {
    /// Labels from `start` on.
    ///
    /// # Errors
    /// Why no frame at this rate has the label `start`.
    pub fn new(rate: FrameRate, start: Timecode) -> Result<Self, String> {
        let Timecode { hours, minutes, seconds, frames, drop_frame } = start;
        let dropped = match (drop_frame, rate.dropped()) {
            (false, _) => 0,
            (true, Some(dropped)) => dropped,
            (true, None) => return Err(format!("{rate} frames a second have no drop-frame timecode; write : for ;")),
        };
        if frames >= rate.nominal() {
            return Err(format!("a second has the frames 00 to {:02}", rate.nominal() - 1));
        }
        if frames < dropped && seconds == 0 && minutes % 10 != 0 {
            return Err(format!("drop-frame timecode skips this label; the minute begins with frame {dropped:02}"));
        }
        let minutes = hours * 60 + minutes;
        let labels = (minutes * 60 + seconds) * rate.nominal() + frames;
        Ok(Self { rate, dropped, first: labels - dropped * (minutes - minutes / 10) })
    }

    /// The frame rate.
    pub fn rate(&self) -> FrameRate {
        self.rate
    }

    /// The number of the video's first frame, counted from 00:00:00:00.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// Whether the labels are drop-frame timecode.
    pub fn drop_frame(&self) -> bool {
        self.dropped > 0
    }

    /// The label of a frame, counted from the start of the video. After 23:59:59 follows 00:00:00.
    pub fn label(&self, frame: i64) -> Timecode {
        let (nominal, dropped) = (self.rate.nominal(), self.dropped);
        let per_minute = nominal * 60 - dropped;
        // The first of ten minutes has all labels.
        let per_ten_minutes = per_minute * 10 + dropped;
        let frame = (self.first + frame).rem_euclid(per_ten_minutes * 6 * 24);
        let (tens, rest) = (frame / per_ten_minutes, frame % per_ten_minutes);
        let labels = frame + dropped * (9 * tens + (rest - dropped).max(0) / per_minute);
        let seconds = labels / nominal;
        Timecode {
            hours: seconds / 3600,
            minutes: seconds / 60 % 60,
            seconds: seconds % 60,
            frames: labels % nominal,
            drop_frame: self.drop_frame(),
        }
    }

    /// The label of the frame at this time, in milliseconds from the start of the video.
    pub fn label_at(&self, ms: i64) -> Timecode {
        self.label(self.rate.frame_at(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(rate: &str, start: &str) -> FrameLabels {
        FrameLabels::new(rate.parse().unwrap(), start.parse().unwrap()).unwrap()
    }

    #[test]
    fn each_frame_of_a_video_is_found_by_its_time_in_milliseconds() {
        for rate in TIMELINE_RATES {
            for frame in (0..5000).chain(2_591_990..2_592_010) {
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let exact = frame as f64 * 1000.0 / rate.frames_per_second();
                // A service can round the time down, up or to the nearest millisecond.
                for ms in [exact.floor(), exact.round(), exact.ceil()] {
                    #[expect(clippy::cast_possible_truncation, reason = "a day has fewer milliseconds")]
                    let ms = ms as i64;
                    assert_eq!(rate.frame_at(ms), frame, "{rate} frames a second, {ms} ms");
                }
            }
        }
    }

    #[test]
    fn drop_frame_timecode_skips_two_labels_a_minute_except_every_tenth() {
        let drop = labels("29.97", "00:00:00;00");
        for (frame, label) in [
            (0, "00:00:00;00"),
            (1799, "00:00:59;29"),
            (1800, "00:01:00;02"),
            (17_981, "00:09:59;29"),
            (17_982, "00:10:00;00"),
            (107_892, "01:00:00;00"),
        ] {
            assert_eq!(drop.label(frame).to_string(), label);
        }
        assert_eq!(labels("59.94", "00:00:00;00").label(3600).to_string(), "00:01:00;04");
        // An hour of video has 107,892 frames at 29.97; the labels without drops are 3.6 seconds behind.
        assert_eq!(labels("29.97", "00:00:00:00").label(107_892).to_string(), "00:59:56:12");
        assert_eq!(labels("23.976", "00:00:00:00").label(24 * 3600).to_string(), "01:00:00:00");
    }

    #[test]
    fn a_day_of_frames_has_each_label_once_and_in_order() {
        for (rate, start) in [("29.97", "00:00:00;00"), ("59.94", "00:00:00;00"), ("25", "00:00:00:00")] {
            let labels = labels(rate, start);
            let day = labels.rate().frame_at(24 * 3_600_000);
            let mut last = labels.label(0);
            for frame in 1..day / 24 {
                let label = labels.label(frame);
                assert!(label.to_string() > last.to_string(), "{label} follows {last}");
                assert_eq!(FrameLabels::new(labels.rate(), label).unwrap().first(), frame);
                last = label;
            }
        }
    }

    #[test]
    fn labels_begin_at_the_start_timecode_and_at_midnight_again() {
        assert_eq!(labels("25", "01:00:00:00").label(26).to_string(), "01:00:01:01");
        assert_eq!(labels("29.97", "01:00:00;00").label(1800).to_string(), "01:01:00;02");
        assert_eq!(labels("25", "23:59:59:24").label(1).to_string(), "00:00:00:00");
        assert_eq!(labels("29.97", "23:59:59;29").label(1).to_string(), "00:00:00;00");
    }

    #[test]
    fn a_label_that_no_frame_has_is_rejected() {
        let error = |rate: &str, start: &str| {
            FrameLabels::new(rate.parse().unwrap(), start.parse().unwrap()).expect_err("an error")
        };
        assert!(error("25", "00:00:00;00").contains("no drop-frame"));
        assert!(error("23.976", "00:00:00;00").contains("no drop-frame"));
        assert!(error("25", "00:00:00:25").contains("00 to 24"));
        assert!(error("29.97", "00:01:00;01").contains("begins with frame 02"));
        for text in ["", "1", "01:00:00", "01:00:00.00", "24:00:00:00", "00:60:00:00", "-1:00:00:00", "a:b:c:d"] {
            assert_eq!(text.parse::<Timecode>(), Err(NotATimecode), "{text}");
        }
    }

    #[test]
    fn a_rate_is_that_of_the_nearest_timeline() {
        for (rate, timeline, is_same) in [
            (23.976, "23.976", true),
            (23.98, "23.976", true),
            (24.0, "24", true),
            (25.0, "25", true),
            (29.97, "29.97", true),
            (f64::from(29.970_03_f32), "29.97", true),
            (30.0, "30", true),
            (59.94, "59.94", true),
            (29.83, "29.97", false),
            (15.0, "30", false),
            (12.5, "25", false),
            (240.0, "120", false),
        ] {
            let nearest = FrameRate::nearest(rate).unwrap();
            assert_eq!((nearest.to_string().as_str(), nearest.is(rate)), (timeline, is_same), "{rate}");
        }
        for rate in [0.0, -25.0, f64::NAN, f64::INFINITY] {
            assert_eq!(FrameRate::nearest(rate), None);
        }
        assert_eq!("29.97".parse::<FrameRate>().unwrap().seconds(2), (2002, 30_000));
        assert_eq!("26".parse::<FrameRate>(), Err(NotAFrameRate));
    }
}
