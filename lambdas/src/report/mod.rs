//! `report.html`: a result as a page for people. It is one file without scripts and without requests, so that it opens from a disk
//! and through a presigned link.
//!
//! Its size does not grow with the faces: the [`Timeline`] has a bounded number of bins, only the longest tracks are among the
//! [`Lanes`], and only the first pages are listed.

mod charts;
mod lanes;
mod timeline;

use std::fmt::Write as _;

pub(crate) use lanes::Lanes;
pub(crate) use timeline::Timeline;

use crate::results::{ObjectFacts, PageFacts, Summary, TracksFacts};

const TEMPLATE: &str = include_str!("report.html");

/// The number of busiest moments that are shown.
const MOMENTS: usize = 6;

/// The number of pages that are listed.
const PAGES: usize = 20;

/// The aspect ratio that is assumed if Rekognition does not report one.
const USUAL_SHAPE: (u64, u64) = (16, 9);

/// Writes the report.
///
/// The same result gives the same bytes: two executions that end for one job overwrite each other's report with an equal one,
/// so that the manifest of either has the right size.
pub(crate) fn html(
    summary: &Summary,
    timeline: &Timeline,
    lanes: &Lanes,
    summary_facts: &ObjectFacts,
    pages: &[PageFacts],
    tracks: &[TracksFacts],
) -> String {
    let name = summary.video.key.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&summary.video.key);
    let duration_ms = summary.metadata.duration_ms;
    let length_ms = timeline.length_ms(duration_ms);
    fill(TEMPLATE, &|slot| match slot {
        "name" => escape(name),
        "figures" => figures(summary),
        "over_time" if summary.faces == 0 => "<p>No faces were found.</p>".to_owned(),
        "over_time" => charts::charts(timeline, length_ms) + &table(timeline),
        "tracks" => tracks_over_time(lanes, length_ms),
        "moments" => moments(summary, timeline, length_ms),
        "video" => definitions(&video(summary)),
        "files" => files(summary_facts, pages, tracks),
        "made" => definitions(&made(summary)),
        _ => unreachable!("the template has no other slot: a test fills it"),
    })
}

/// Puts a text into each `{{slot}}`. The texts themselves are not searched for slots.
fn fill(template: &str, text_of: &dyn Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut html = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (slot, rest) = part.split_once("}}").expect("a slot ends");
        html += &text_of(slot);
        html += rest;
    }
    html
}

/// The key figures.
fn figures(summary: &Summary) -> String {
    #[expect(clippy::cast_precision_loss, reason = "fewer faces than 2^52")]
    let confidence = summary.timeline.iter().map(|second| second.mean_confidence * second.faces as f64).sum::<f64>()
        / summary.faces as f64;
    let detections = if summary.faces == 1 { "face detection" } else { "face detections" };
    let mut figures = vec![(grouped(summary.faces), detections.to_owned())];
    figures.extend(
        summary.tracks.map(|tracks| (grouped(tracks), (if tracks == 1 { "track" } else { "tracks" }).to_owned())),
    );
    let moments = if summary.frames_with_faces == 1 { "moment with a face" } else { "moments with a face" };
    figures.push((grouped(summary.frames_with_faces), moments.to_owned()));
    if let Some(most) = summary.most_faces {
        let faces = if most.faces == 1 { "face" } else { "faces" };
        figures.push((grouped(most.faces), format!("{faces} in one moment, at {}", clock(most.timestamp_ms))));
        figures.push((format!("{confidence:.1} %"), "mean confidence".to_owned()));
    }
    let items: Vec<_> = figures.iter().map(|(figure, what)| format!("<li><b>{figure}</b> {what}</li>\n")).collect();
    items.concat()
}

/// The numbers of the charts as a table, for readers who cannot see the charts.
fn table(timeline: &Timeline) -> String {
    format!(
        "<details>\n<summary>The charts as a table</summary>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"Faces over time\" tabindex=\"0\"><table>\n\
         <caption>A row for each stretch of {} that has a face.</caption>\n{}\n</table></div>\n</details>",
        seconds(timeline.bin_ms),
        charts::table(timeline)
    )
}

/// The lanes of the longest tracks, and the same as a table.
fn tracks_over_time(lanes: &Lanes, length_ms: i64) -> String {
    let (shown, all) = (lanes.shown(), lanes.tracks());
    if shown.is_empty() {
        return String::new();
    }
    let which = match all - shown.len() {
        0 => format!("{}, from the first detection to the last.", counted(all, "track", "tracks")),
        hidden => format!(
            "The {} tracks with the most detections, from the first detection to the last. {} not shown; the files in \
             <code>tracks/</code> contain all {}.",
            shown.len(),
            if hidden == 1 { "1 other track is".to_owned() } else { format!("{} other tracks are", grouped(hidden)) },
            grouped(all)
        ),
    };
    format!(
        "\n<h2>Tracks</h2>\n<p class=\"note\">{which} The mark in a lane is the moment in which the face can be seen best.</p>\n{}\
         <details>\n<summary>The tracks as a table</summary>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"Tracks\" tabindex=\"0\"><table>\n{}\n</table></div>\n</details>",
        charts::lanes(&shown, length_ms),
        charts::table_of_lanes(&shown)
    )
}

fn moments(summary: &Summary, timeline: &Timeline, length_ms: i64) -> String {
    let shape = summary.metadata.frame_width.zip(summary.metadata.frame_height);
    let shape = shape.filter(|(width, height)| width.min(height) > &0).unwrap_or(USUAL_SHAPE);
    let shown: String =
        timeline.busiest(MOMENTS, length_ms).into_iter().map(|frame| charts::moment(frame, shape)).collect();
    if shown.is_empty() {
        String::new()
    } else {
        format!(
            "\n<h2>Busiest moments</h2>\n<p class=\"note\">The moments with the most faces in different parts of the video, with a box \
             for each face.</p>\n<ol class=\"moments\">\n{shown}</ol>"
        )
    }
}

fn video(summary: &Summary) -> Vec<(&'static str, String)> {
    let (video, metadata) = (&summary.video, &summary.metadata);
    let mut facts = vec![("Bucket", video.bucket.clone()), ("Key", video.key.clone())];
    facts.extend(video.version_id.clone().map(|version| ("Version", version)));
    facts.push(("ETag", video.etag.clone()));
    facts.push(("Size", bytes(video.bytes)));
    let duration = metadata.duration_ms.and_then(|duration| i64::try_from(duration).ok());
    facts.extend(duration.map(|duration| ("Duration", clock(duration))));
    let frame = metadata.frame_width.zip(metadata.frame_height);
    facts.extend(frame.map(|(width, height)| ("Frame", format!("{width} × {height} pixels"))));
    facts.extend(metadata.frame_rate.map(|rate| ("Frames a second", format!("{rate:.2}"))));
    facts.extend(metadata.codec.clone().map(|codec| ("Codec", codec)));
    facts.extend(metadata.format.clone().map(|format| ("Format", format)));
    facts
}

fn made(summary: &Summary) -> Vec<(&'static str, String)> {
    let job = &summary.job;
    vec![
        ("Rekognition job", job.job_id.clone()),
        ("Face attributes", job.face_attributes.as_str().to_owned()),
        ("Idempotency key", job.idempotency_key.clone()),
        ("Attempt", job.attempt.to_string()),
    ]
}

fn files(summary: &ObjectFacts, pages: &[PageFacts], tracks: &[TracksFacts]) -> String {
    let mut html = String::new();
    let mut row = |name: &str, size: &str, what: &str| {
        let _ = writeln!(html, "<tr><th><a href=\"{name}\">{name}</a></th><td>{size}</td><td>{what}</td></tr>");
    };
    row(
        "manifest.json",
        "",
        "every object with its size; it is written last, so its presence means that the result is complete",
    );
    row("summary.json", &bytes(summary.bytes as u64), "the numbers of this page for each second");
    if let Some(first) = tracks.first() {
        let size = tracks.iter().map(|object| object.bytes as u64).sum();
        let what = match tracks.len() {
            1 => "a line for each track".to_owned(),
            objects => format!("the first of {objects} files with a line for each track"),
        };
        let name = format!("tracks/{}", first.key.rsplit('/').next().unwrap_or_default());
        row(&name, &bytes(size), &what);
    }
    for (index, page) in pages.iter().take(PAGES).enumerate() {
        let span = page.first_ms.zip(page.last_ms);
        let span = span.map(|(first, last)| format!(", {} to {}", clock(first), clock(last))).unwrap_or_default();
        let what = counted(page.faces, "detection", "detections") + &span;
        row(&format!("faces/{index:05}.jsonl"), &bytes(page.bytes as u64), &what);
    }
    if let Some(more) = pages.len().checked_sub(PAGES).filter(|more| *more > 0) {
        let size = pages[PAGES..].iter().map(|page| page.bytes as u64).sum();
        let _ = writeln!(
            html,
            "<tr><th>{}</th><td>{}</td><td>manifest.json names them</td></tr>",
            counted(more, "more page", "more pages"),
            bytes(size)
        );
    }
    html
}

fn definitions(facts: &[(&str, String)]) -> String {
    let items: Vec<_> =
        facts.iter().map(|(name, fact)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(fact))).collect();
    items.concat()
}

/// Escapes a text for an HTML element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html
}

/// Milliseconds as a video player shows them: `1:02:03.5`, `2:03.5`.
#[must_use]
pub fn clock(timestamp_ms: i64) -> String {
    let (seconds, tenths) = (timestamp_ms / 1000, timestamp_ms % 1000 / 100);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{tenths}")
    } else {
        format!("{minutes}:{seconds:02}.{tenths}")
    }
}

/// The length of a bin in words.
fn seconds(bin_ms: i64) -> String {
    match bin_ms {
        500 => "half a second".to_owned(),
        1_000 => "a second".to_owned(),
        60_000 => "a minute".to_owned(),
        longer if longer % 60_000 == 0 => format!("{} minutes", longer / 60_000),
        longer => format!("{} seconds", longer / 1000),
    }
}

/// A size with its unit.
fn bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let size = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", size / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size / 1e6),
        _ => format!("{:.1} GB", size / 1e9),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A number with separated thousands: `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests;
