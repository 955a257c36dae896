//! The charts of the report: inline SVG without scripts.
//!
//! The SVG of a chart is stretched to the width of the page, so that it has shapes only. The labels are HTML around it.

use std::fmt::Write as _;

use strum::VariantArray as _;

use super::{
    clock, counted, grouped,
    lanes::Lane,
    timeline::{Bin, Frame, Timeline},
};
use crate::face::Emotion;

/// The height of a chart in its coordinates.
const HEIGHT: f64 = 100.0;

/// The most labels below a chart, so that they fit on a phone.
const MOST_TICKS: i64 = 6;

/// The distances between two labels, in seconds.
const TICKS: [i64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800];

/// The age at the top of the chart, in years.
const OLDEST: f64 = 100.0;

/// The charts for which there are values.
pub(super) fn charts(timeline: &Timeline, length_ms: i64) -> String {
    let most = timeline.bins.values().map(|bin| bin.busiest.faces).max().unwrap_or_default();
    let mut html = String::new();
    let mut chart = |title: &str, top: &str, class: &str, legend: &str, shapes: &dyn Fn(&Bin) -> String| {
        let body: String =
            timeline.bins.iter().map(|(&index, bin)| column(timeline, index, bin, &shapes(bin))).collect();
        let _ = write!(
            html,
            "<figure class=\"chart {class}\">\n<figcaption>{title}</figcaption>{legend}\n\
             <div class=\"plot\"><span class=\"top\">{top}</span><span class=\"bottom\">0</span>\n\
             <svg viewBox=\"0 0 {length_ms} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}; the table below has the numbers\">\n\
             {body}</svg></div>\n{}</figure>\n",
            ticks(length_ms)
        );
    };
    chart("Most faces in one moment", &most.to_string(), "faces", "", &|bin| {
        bar(0.0, share(bin.busiest.faces, most), "bar")
    });
    chart("Mean confidence", "100 %", "confidence", "", &|bin| bar(0.0, bin.mean_confidence() / 100.0, "bar"));
    if timeline.bins.values().any(|bin| bin.emotions.iter().any(|count| *count > 0)) {
        chart("Emotions shown most, as a share of the detections", "100 %", "emotions", &legend(timeline), &emotions);
    }
    if timeline.bins.values().any(|bin| bin.mean_age().is_some()) {
        chart("Age, from the mean youngest to the mean oldest guess", "100 years", "age", "", &|bin| {
            bin.mean_age().map(|(low, high)| bar(low / OLDEST, (high - low) / OLDEST, "bar")).unwrap_or_default()
        });
    }
    html
}

/// One bin of a chart: its shapes, and over them a transparent one as high as the chart with a tooltip of the numbers.
fn column(timeline: &Timeline, index: i64, bin: &Bin, shapes: &str) -> String {
    let bin_ms = timeline.bin_ms;
    format!(
        "<svg x=\"{}\" width=\"{bin_ms}\" height=\"{HEIGHT}\" viewBox=\"0 0 1 {HEIGHT}\" preserveAspectRatio=\"none\">\
         {shapes}<rect class=\"over\" width=\"1\" height=\"{HEIGHT}\"><title>{}</title></rect></svg>\n",
        index * bin_ms,
        words(index * bin_ms, bin)
    )
}

/// A rectangle as wide as a bin without the gap. `from` and `height` are ratios of the chart's height.
fn bar(from: f64, height: f64, class: &str) -> String {
    let (from, height) = (from.clamp(0.0, 1.0) * HEIGHT, height.clamp(0.0, 1.0) * HEIGHT);
    format!(
        "<rect class=\"{class}\" x=\".05\" width=\".9\" y=\"{:.1}\" height=\"{height:.1}\"/>",
        HEIGHT - from - height
    )
}

/// The emotions of a bin, stacked.
fn emotions(bin: &Bin) -> String {
    let all = bin.emotions.iter().sum();
    let mut from = 0.0;
    let mut shapes = String::new();
    for (&emotion, &count) in Emotion::VARIANTS.iter().zip(&bin.emotions) {
        if count > 0 {
            shapes += &bar(from, share(count, all), emotion.into());
            from += share(count, all);
        }
    }
    shapes
}

/// The colours of the emotions, and their shares in the whole video.
fn legend(timeline: &Timeline) -> String {
    let total = |emotion: Emotion| timeline.bins.values().map(|bin| bin.emotions[emotion as usize]).sum::<usize>();
    let all = Emotion::VARIANTS.iter().map(|&emotion| total(emotion)).sum();
    let shown = Emotion::VARIANTS.iter().map(|&emotion| (emotion, total(emotion))).filter(|(_, count)| *count > 0);
    let items = shown.map(|(emotion, count)| {
        let name: &str = emotion.into();
        format!("<li><i class=\"{name}\"></i>{name} {:.0} %</li>", share(count, all) * 100.0)
    });
    format!("<ul class=\"legend\">{}</ul>", items.collect::<String>())
}

fn ticks(length_ms: i64) -> String {
    let fits = |tick: &&i64| length_ms / (**tick * 1000) < MOST_TICKS;
    let tick_ms = TICKS.iter().find(fits).unwrap_or(&TICKS[TICKS.len() - 1]) * 1000;
    let mut html = String::from("<div class=\"ticks\" aria-hidden=\"true\">");
    // A label at the end of the chart would be cut off.
    for at in (0..).map(|index| index * tick_ms).take_while(|at| *at <= length_ms * 95 / 100) {
        let _ = write!(html, "<span style=\"left:{:.2}%\">{}</span>", ratio(at, length_ms) * 100.0, whole_seconds(at));
    }
    html + "</div>"
}

/// The numbers of one bin as a sentence.
fn words(from_ms: i64, bin: &Bin) -> String {
    let mut text = format!(
        "{}: up to {} in one moment, {} in {}, mean confidence {:.1} %",
        clock(from_ms),
        counted(bin.busiest.faces, "face", "faces"),
        counted(bin.faces, "detection", "detections"),
        counted(bin.frames, "moment", "moments"),
        bin.mean_confidence()
    );
    if let Some(emotion) = main_emotion(bin) {
        let _ = write!(text, ", mostly {emotion}");
    }
    if let Some((low, high)) = bin.mean_age() {
        let _ = write!(text, ", age {low:.0} to {high:.0}");
    }
    text
}

/// The rows of the table.
pub(super) fn table(timeline: &Timeline) -> String {
    let with_emotions = timeline.bins.values().any(|bin| main_emotion(bin).is_some());
    let with_age = timeline.bins.values().any(|bin| bin.mean_age().is_some());
    let mut html = String::from(
        "<thead><tr><th>From</th><th>Most in one moment</th><th>Detections</th><th>Moments</th><th>Mean confidence</th>",
    );
    html += if with_emotions { "<th>Main emotion</th>" } else { "" };
    html += if with_age { "<th>Age</th>" } else { "" };
    html += "</tr></thead>\n<tbody>\n";
    for (index, bin) in &timeline.bins {
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{:.1} %</td>",
            clock(index * timeline.bin_ms),
            bin.busiest.faces,
            bin.faces,
            bin.frames,
            bin.mean_confidence()
        );
        if with_emotions {
            let _ = write!(html, "<td>{}</td>", main_emotion(bin).unwrap_or("–"));
        }
        if with_age {
            let age = bin.mean_age().map_or("–".to_owned(), |(low, high)| format!("{low:.0} to {high:.0}"));
            let _ = write!(html, "<td>{age}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody>"
}

/// A lane for each track: a bar from its first detection to its last, and a mark at its best one.
pub(super) fn lanes(lanes: &[&Lane], length_ms: i64) -> String {
    // A short track in a long video is still visible.
    let (narrowest, mark) = (length_ms / 200, length_ms / 400);
    let mut html = String::from("<div class=\"lanes\">\n<ol>\n");
    for lane in lanes {
        let width = (lane.last_ms - lane.first_ms).max(narrowest);
        // A bar at the end of the video is not cut off.
        let left = lane.first_ms.min(length_ms - width).max(0);
        let (words, best) = (words_of(lane), (lane.best_ms() - mark / 2).clamp(left, left + width - mark));
        let _ = writeln!(
            html,
            "<li><span>Track {}</span><svg viewBox=\"0 0 {length_ms} 10\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{words}\"><title>{words}</title><rect class=\"bar\" x=\"{left}\" width=\"{width}\" y=\"1\" height=\"8\"/>\
             <rect class=\"best\" x=\"{best}\" width=\"{mark}\" height=\"10\"/></svg></li>",
            lane.id
        );
    }
    let _ = write!(html, "</ol>\n{}</div>\n", ticks(length_ms));
    html
}

/// The numbers of a track as a sentence.
fn words_of(lane: &Lane) -> String {
    format!(
        "Track {}: {} to {}, {}, best at {}, mean confidence {:.1} %",
        lane.id,
        clock(lane.first_ms),
        clock(lane.last_ms),
        counted(lane.detections, "detection", "detections"),
        clock(lane.best_ms()),
        lane.mean_confidence()
    )
}

/// The rows of the table of the tracks.
pub(super) fn table_of_lanes(lanes: &[&Lane]) -> String {
    let mut html = String::from(
        "<thead><tr><th>Track</th><th>From</th><th>To</th><th>Detections</th><th>Best at</th><th>Mean confidence</th></tr></thead>\n\
         <tbody>\n",
    );
    for lane in lanes {
        let _ = writeln!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.1} %</td></tr>",
            lane.id,
            clock(lane.first_ms),
            clock(lane.last_ms),
            grouped(lane.detections),
            clock(lane.best_ms()),
            lane.mean_confidence()
        );
    }
    html + "</tbody>"
}

/// The emotion that most faces of a bin show.
fn main_emotion(bin: &Bin) -> Option<&'static str> {
    let counts = Emotion::VARIANTS.iter().zip(&bin.emotions).filter(|(_, count)| **count > 0);
    // The first one, if several are equal.
    counts.rev().max_by_key(|(_, count)| **count).map(|(&emotion, _)| emotion.into())
}

/// The boxes of a frame's faces in an empty rectangle with the video's aspect ratio. The report has no picture of a person.
pub(super) fn moment(frame: &Frame, (width, height): (u64, u64)) -> String {
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let (wide, high) = (width as f32, height as f32);
    let boxes = frame.boxes.iter().map(|b| {
        let [left, top, width, height] = [b.left * wide, b.top * high, b.width * wide, b.height * high];
        format!(
            "<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{:.0}\"/>",
            width.max(0.0),
            height.max(0.0)
        )
    });
    let (at, faces) = (clock(frame.timestamp_ms), counted(frame.faces, "face", "faces"));
    format!(
        "<li><svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Where the faces are at {at}\">{}</svg>\
         <span><b>{at}</b> {faces}</span></li>\n",
        boxes.collect::<String>()
    )
}

fn share(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "fewer faces than 2^52")]
    let share = part as f64 / whole.max(1) as f64;
    share
}

fn ratio(part: i64, whole: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "fewer milliseconds than 2^52")]
    let ratio = part as f64 / whole.max(1) as f64;
    ratio
}

/// A time without tenths of a second.
fn whole_seconds(timestamp_ms: i64) -> String {
    let clock = clock(timestamp_ms);
    clock.split('.').next().unwrap_or_default().to_owned()
}
