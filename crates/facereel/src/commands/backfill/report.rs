//! What a backfill has found and started.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::listing::{ListedVideo, Obstacle};
use crate::deployed::{
    S3Uri, StateMachineArn,
    billing::{Estimate, USD_PER_MINUTE, VideoLength},
};
use crate::documents::document;
use crate::terminal::{
    exit::{self, ExitStatus, FAILURE, SUCCESS},
    text::counted,
};

/// The videos of a source, and what was done about those that are due.
#[derive(Debug, Clone)]
pub struct BackfillReport {
    /// The bucket and prefix of the videos.
    pub source: S3Uri,
    /// The number of videos.
    pub videos: usize,
    /// The number of videos with a complete result for their current content.
    pub complete: usize,
    /// The number of videos whose execution, started by an earlier backfill, still runs.
    pub running: usize,
    /// The number of videos without a result that cannot be analysed, for each obstacle.
    pub left_out: BTreeMap<Obstacle, usize>,
    /// The videos to analyse.
    pub due: Vec<ListedVideo>,
    /// What was done about the due videos.
    pub outcome: BackfillOutcome,
    pub(super) state_machine: StateMachineArn,
}

/// What was done about the due videos.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BackfillOutcome {
    /// No video is due.
    NothingDue,
    /// It was a dry run: nothing was started.
    WouldStart,
    /// Nothing was started, because the user has not agreed to the price.
    NotBilled {
        /// Whether the user was asked.
        asked: bool,
    },
    /// The analysis of the videos was started.
    Started {
        /// The ARN of the execution of `backfill`.
        arn: String,
    },
}

impl BackfillReport {
    /// The size and the price of the due videos.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        Estimate::of(self.due.iter().map(|video| VideoLength { bytes: video.bytes, duration: video.duration }))
    }

    /// Whether the due videos are being analysed, or were only to be listed.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !matches!(self.outcome, BackfillOutcome::NotBilled { .. })
    }
}

/// The numbers of videos and the estimate, as text.
pub(super) struct Findings<'a>(pub(super) &'a BackfillReport);

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackfillReport { source, videos, complete, running, left_out, due, .. } = self.0;
        write!(f, "{source}: {}, {complete} with a complete result", counted(*videos, "video"))?;
        if *running > 0 {
            write!(f, ", {running} running")?;
        }
        for (obstacle, count) in left_out {
            let count = counted(*count, "video");
            match obstacle {
                Obstacle::Archived => {
                    write!(
                        f,
                        "\nLeft out  {count} in S3 Glacier or Deep Archive; restore them with `aws s3api restore-object`"
                    )?;
                }
                Obstacle::Empty => write!(f, "\nLeft out  {count} of 0 bytes; upload them again")?,
                Obstacle::TooLarge => write!(f, "\nLeft out  {count} of more than 10 GB; split them")?,
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let Estimate { bytes, minutes, unknown, usd } = self.0.estimate();
        let bytes = indicatif::DecimalBytes(bytes);
        write!(f, "\nDue       {}, {bytes}, ", counted(due.len(), "video"))?;
        match unknown {
            0 => write!(f, "{minutes:.1} minutes")?,
            _ if unknown == due.len() => write!(f, "length unknown")?,
            _ => write!(f, "{minutes:.1} minutes and {} of unknown length", counted(unknown, "video"))?,
        }
        match usd {
            Some(usd) => {
                write!(f, "\nEstimate  about USD {usd:.2}, at {USD_PER_MINUTE:.2} a minute; prices differ by Region")
            }
            None => {
                write!(
                    f,
                    "\nEstimate  none, as no length is known; Rekognition bills about USD {USD_PER_MINUTE:.2} a minute"
                )
            }
        }
    }
}

/// The report of a backfill as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel backfill --json`")]
pub struct BackfillDocument {
    /// The videos, as `s3://BUCKET/PREFIX`.
    source: String,
    /// The number of videos.
    videos: usize,
    /// The number of videos with a complete result for their current content.
    complete: usize,
    /// The number of videos whose execution still runs.
    running: usize,
    /// The number of videos that cannot be analysed, by obstacle: `archived`, `empty` or `too_large`.
    left_out: BTreeMap<Obstacle, usize>,
    /// The number of videos to analyse.
    due: usize,
    /// The size and the price of the videos to analyse.
    estimate: Estimate,
    /// What was done about them.
    outcome: BackfillOutcome,
    /// The URL of the backfill's execution in the console. null, if none was started.
    console_url: Option<String>,
}

impl exit::Report for BackfillReport {
    fn exit_status(&self) -> ExitStatus {
        if self.all_well() { SUCCESS } else { FAILURE }
    }

    fn json(&self) -> Value {
        let console_url = match &self.outcome {
            BackfillOutcome::Started { arn } => Some(self.state_machine.execution_url(arn)),
            _ => None,
        };
        document(&BackfillDocument {
            source: self.source.to_string(),
            videos: self.videos,
            complete: self.complete,
            running: self.running,
            left_out: self.left_out.clone(),
            due: self.due.len(),
            estimate: self.estimate(),
            outcome: self.outcome.clone(),
            console_url,
        })
    }
}

impl fmt::Display for BackfillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Findings(self))?;
        match &self.outcome {
            BackfillOutcome::NothingDue => f.write_str("Nothing to do."),
            BackfillOutcome::WouldStart => f.write_str("Dry run: nothing was started."),
            BackfillOutcome::NotBilled { asked: true } => f.write_str("Nothing was started."),
            BackfillOutcome::NotBilled { asked: false } => {
                f.write_str("Nothing was started, because it would be billed. Agree with --yes.")
            }
            BackfillOutcome::Started { arn } => write!(
                f,
                "Started. The analyses continue on AWS. Replay failed ones with `facereel replay`; run the backfill again for missed videos.\n{}",
                self.state_machine.execution_url(arn)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(due: Vec<ListedVideo>) -> BackfillReport {
        BackfillReport {
            source: "s3://uploads/in/".parse().unwrap(),
            videos: 10,
            complete: 10 - due.len(),
            running: 0,
            left_out: BTreeMap::new(),
            due,
            outcome: BackfillOutcome::WouldStart,
            state_machine: "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video".parse().unwrap(),
        }
    }

    fn video(bytes: u64, minutes: Option<u64>) -> ListedVideo {
        let duration = minutes.map(Duration::from_mins);
        ListedVideo { key: "k.mp4".into(), etag: "e".into(), bytes, duration, obstacle: None }
    }

    #[test]
    fn the_estimate_assumes_the_known_minutes_per_byte_for_unknown_lengths() {
        let estimate = report(vec![video(1000, Some(10)), video(3000, Some(20)), video(4000, None)]).estimate();
        assert_eq!((estimate.bytes, estimate.unknown), (8000, 1));
        assert!((estimate.minutes - 30.0).abs() < 1e-9);
        assert!((estimate.usd.unwrap() - 6.0).abs() < 1e-9, "{estimate:?}");
        assert_eq!(report(vec![video(4000, None)]).estimate().usd, None);
    }

    #[test]
    fn the_report_contains_videos_bytes_minutes_and_price() {
        let text = report(vec![video(1_500_000_000, Some(90))]).to_string();
        for part in
            ["10 videos, 9 with a complete result", "Due       1 video, 1.50 GB, 90.0 minutes\n", "USD 9.00", "Dry run"]
        {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn the_report_counts_the_videos_that_are_left_out() {
        let left_out = BTreeMap::from([(Obstacle::Archived, 2), (Obstacle::Empty, 1), (Obstacle::TooLarge, 1)]);
        let text = BackfillReport { left_out, ..report(Vec::new()) }.to_string();
        for part in
            ["Left out  2 videos in S3 Glacier", "Left out  1 video of 0 bytes", "Left out  1 video of more than 10 GB"]
        {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }

    #[test]
    fn the_report_has_correct_plurals_and_no_negative_zero() {
        let unknown = report(vec![video(4000, None)]);
        assert!(unknown.estimate().minutes.is_sign_positive(), "{:?}", unknown.estimate());
        let text = unknown.to_string();
        assert!(text.contains("Due       1 video, 4.00 kB, length unknown\n"), "{text}");
        let text = report(vec![video(4000, None), video(4000, Some(1))]).to_string();
        assert!(text.contains("Due       2 videos, 8.00 kB, 1.0 minutes and 1 video of unknown length\n"), "{text}");
        let text = BackfillReport { videos: 1, complete: 1, ..report(Vec::new()) }.to_string();
        assert!(text.starts_with("s3://uploads/in/: 1 video, 1 with"), "{text}");
    }
}
