//! The consent to analyses that Rekognition bills: its options, and the question that names the videos and the price.

use std::fmt::{self, Write as _};

use comfy_table::{CellAlignment, Table, presets};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

use crate::deployed::{
    Deployed, Video,
    billing::{self, Estimate, USD_PER_MINUTE, VideoLength},
};
use crate::terminal::{Choice, text::counted};
use local_stack::Progress;

/// The maximum number of videos in the question. The others are counted.
const MAX_LISTED: usize = 20;

/// The number of videos whose length is read at the same time. S3 answers thousands of requests a second for each prefix
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
const CONCURRENT_READS: usize = 32;

/// What may be done and billed.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Consent {
    /// Show what would be done and what it would cost, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do everything, and do not ask before analyses that are billed.
    #[arg(long)]
    pub yes: bool,
    /// Do only what is free, and do not ask.
    #[arg(long, conflicts_with = "yes")]
    pub free: bool,
}

/// An analysis that Rekognition would bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledAnalysis {
    /// The video. `None`, if it cannot be read from the execution.
    pub video: Option<Video>,
    /// The video, or the name of the execution.
    pub subject: String,
    /// Why it would be billed.
    pub why: &'static str,
    /// The size and the length of the video. `None`, if it was not read.
    pub length: Option<VideoLength>,
}

/// The price of an analysis, in the JSON documents.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Price {
    /// Why Rekognition bills a new analysis.
    why: String,
    /// The length of the video in minutes. null, if it is unknown or was not read.
    minutes: Option<f64>,
    /// The price in USD. null, if the length is unknown or was not read.
    usd: Option<f64>,
}

impl Consent {
    /// Whether the lengths of the videos are needed: for the question, or to show what would be billed.
    fn needs_lengths(self) -> bool {
        self.dry_run || !(self.yes || self.free)
    }

    /// Reads the length of each video whose analysis would be billed, if it is to be shown.
    pub async fn read_lengths<'a>(
        self,
        deployed: &Deployed,
        progress: &dyn Progress,
        analyses: impl Iterator<Item = &'a mut BilledAnalysis>,
    ) {
        let analyses: Vec<_> = analyses.filter(|analysis| analysis.video.is_some()).collect();
        if !self.needs_lengths() || analyses.is_empty() {
            return;
        }
        progress.step("Reading the length of the videos");
        let total = analyses.len();
        let mut reads = stream::iter(analyses)
            .map(|analysis| async move {
                if let Some(Video { bucket, key, version_id }) = &analysis.video {
                    let length = VideoLength::read(deployed, bucket, key, version_id.as_deref()).await;
                    analysis.length = Some(length);
                }
            })
            .buffer_unordered(CONCURRENT_READS);
        let mut done = 0;
        while reads.next().await.is_some() {
            done += 1;
            #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
            progress.ratio(done as f32 / total as f32);
        }
    }

    /// Asks what to do, if something would be billed and no option says it. `verb` says what is done, such as `Replay`, and
    /// `free` is the number of others.
    pub async fn choose(
        self,
        verb: &str,
        billed: &[&BilledAnalysis],
        free: usize,
        ask: impl AsyncFnOnce(&str) -> Choice,
    ) -> Choice {
        match self {
            _ if billed.is_empty() => Choice::All,
            Self { free: true, .. } => Choice::Free,
            Self { yes: true, .. } | Self { dry_run: true, .. } => Choice::All,
            _ => ask(&question(verb, billed, free)).await,
        }
    }
}

impl BilledAnalysis {
    /// For example `4.0 min, USD 0.40`.
    #[must_use]
    pub fn cost(&self) -> String {
        match self.length.and_then(|length| length.duration) {
            Some(duration) => {
                let minutes = billing::minutes(duration);
                format!("{minutes:.1} min, USD {:.2}", billing::usd(minutes))
            }
            None if self.length.is_some() || self.video.is_none() => "length unknown".to_owned(),
            None => String::new(),
        }
    }

    /// The price for a JSON document.
    #[must_use]
    pub fn price(&self) -> Price {
        let minutes = self.length.and_then(|length| length.duration).map(billing::minutes);
        Price { why: self.why.to_owned(), minutes, usd: minutes.map(billing::usd) }
    }
}

/// The number, the minutes and the price of these analyses.
fn total(billed: &[&BilledAnalysis]) -> String {
    let estimate = Estimate::of(billed.iter().map(|analysis| analysis.length.unwrap_or_default()));
    let Estimate { minutes, unknown, usd, .. } = estimate;
    let count = counted(billed.len(), "analysis").replace("analysiss", "analyses");
    match usd {
        Some(usd) => {
            let unknown = if unknown > 0 { format!(" and {unknown} of unknown length") } else { String::new() };
            format!(
                "{count}, {minutes:.1} minutes{unknown}: about USD {usd:.2}, at {USD_PER_MINUTE:.2} a minute; prices differ by Region"
            )
        }
        None => format!("{count} of unknown length, at about USD {USD_PER_MINUTE:.2} a minute"),
    }
}

/// Writes the total of the analyses that are billed, or would be in a dry run, if their lengths were read.
pub(crate) fn write_total(f: &mut fmt::Formatter<'_>, billed: &[&BilledAnalysis], dry_run: bool) -> fmt::Result {
    if billed.is_empty() || billed.iter().any(|analysis| analysis.length.is_none() && analysis.video.is_some()) {
        return Ok(());
    }
    let what = if dry_run { "Would be billed" } else { "Billed" };
    writeln!(f, "{what}: {}", total(billed))
}

/// Names what would be billed and what is free, and asks.
fn question(verb: &str, billed: &[&BilledAnalysis], free: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for analysis in billed.iter().take(MAX_LISTED) {
        table.add_row(["", &analysis.subject, &analysis.cost(), analysis.why]);
    }
    if let Some(cost) = table.column_mut(2) {
        cost.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = format!("Rekognition would bill a new analysis for\n{}\n", table.trim_fmt());
    if billed.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", billed.len() - MAX_LISTED);
    }
    let _ = writeln!(text, "Billed: {}", total(billed));
    let _ = writeln!(text, "Free:   {}", if free == 0 { "nothing".to_owned() } else { counted(free, "other") });
    let _ = write!(text, "{verb} all, only the free ones, or none?");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn billed(key: &str, minutes: Option<u64>) -> BilledAnalysis {
        let video = Video { bucket: "uploads".to_owned(), key: key.to_owned(), version_id: None };
        let length = VideoLength { bytes: 1000, duration: minutes.map(Duration::from_mins) };
        BilledAnalysis { subject: video.short(), video: Some(video), why: "the job failed", length: Some(length) }
    }

    #[test]
    fn the_question_names_each_video_with_its_minutes_and_price_and_the_total() {
        let analyses = [billed("a.mp4", Some(4)), billed("long/b.mp4", Some(90)), billed("c.mp4", None)];
        let text = question("Replay", &analyses.iter().collect::<Vec<_>>(), 7);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "Rekognition would bill a new analysis for",
                "uploads/a.mp4 4.0 min, USD 0.40 the job failed",
                "uploads/long/b.mp4 90.0 min, USD 9.00 the job failed",
                "uploads/c.mp4 length unknown the job failed",
                "Billed: 3 analyses, 94.0 minutes and 1 of unknown length: about USD 14.10, at 0.10 a minute; prices differ by Region",
                "Free: 7 others",
                "Replay all, only the free ones, or none?",
            ]
        );
    }

    #[test]
    fn the_question_counts_the_videos_that_it_does_not_list() {
        let analyses: Vec<_> = (0..25).map(|index| billed(&format!("{index}.mp4"), Some(1))).collect();
        let text = question("Replay", &analyses.iter().collect::<Vec<_>>(), 0);
        assert!(text.contains("/19.mp4") && !text.contains("/20.mp4") && text.contains("and 5 more"), "{text}");
        assert!(text.contains("25 analyses, 25.0 minutes: about USD 2.50"), "{text}");
        assert!(text.contains("Free:   nothing"), "{text}");
    }

    #[tokio::test]
    async fn an_option_answers_the_question() {
        let analysis = billed("a.mp4", Some(4));
        let asked = async |_: &str| Choice::None;
        let consent = Consent::default();
        assert_eq!(consent.choose("Replay", &[&analysis], 1, asked).await, Choice::None);
        assert_eq!(consent.choose("Replay", &[], 1, asked).await, Choice::All);
        for (consent, choice) in [
            (Consent { yes: true, ..consent }, Choice::All),
            (Consent { free: true, ..consent }, Choice::Free),
            (Consent { dry_run: true, ..consent }, Choice::All),
            (Consent { dry_run: true, free: true, ..consent }, Choice::Free),
        ] {
            assert_eq!(consent.choose("Replay", &[&analysis], 1, asked).await, choice, "{consent:?}");
        }
    }
}
