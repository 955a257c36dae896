//! The review sheet: the moments in which a face may be visible, with pictures of the blurred video.

use std::{fmt::Write as _, path::Path};

use aws_smithy_types::base64;
use face_detection::VideoInfo;
use lambdas::report::clock;
use local_stack::Progress;

use super::{
    analysis::Analysis,
    ffmpeg::{Ffmpeg, input},
    paths::{FacePath, MISSED_MS, Ratios, Reach, overlap},
    pipeline::Counts,
};
use crate::terminal::text::counted;

/// The most moments on a sheet. Each has a picture.
const MOST_MOMENTS: usize = 100;

/// A box that is nearer to the edge of the frame is at it, as a share of the frame.
const EDGE: f32 = 0.02;

/// Detections with a lower confidence are doubtful.
const LOW_CONFIDENCE: f32 = 80.0;

/// Faces with fewer rows are doubtful, because a detector finds many of that size late or never.
const SMALL_ROWS: f32 = 40.0;

/// Two boxes in sequence that share less than this part of the smaller one are a fast motion.
const FAST_OVERLAP: f32 = 0.3;

/// The time from the last hidden moment to the picture, in milliseconds: one frame of most videos.
const NEXT_FRAME_MS: i64 = 40;

/// A moment to look at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    /// Milliseconds from the start of the video.
    pub at_ms: i64,
    pub track: usize,
    pub doubt: Doubt,
    /// How doubtful it is: more is worse.
    pub weight: f32,
    /// The box of the detection before or after.
    pub ratios: Ratios,
}

/// Why a face may be visible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Doubt {
    /// The track begins inside of the picture, so the face can be visible before.
    Begins,
    /// The track ends inside of the picture, so the face can be visible after.
    Ends,
    /// The face was missed for this time in milliseconds.
    Gap(i64),
    /// The face moves by this multiple of its size from one sample to the next.
    Fast(f32),
    /// The confidence of a detection.
    Unsure(f32),
    /// The rows of the smallest detection.
    Small(f32),
}

impl Doubt {
    fn text(self) -> String {
        match self {
            Self::Begins => "begins inside of the picture: is the face visible before it is hidden?".to_owned(),
            Self::Ends => "ends inside of the picture: is the face visible after it was hidden?".to_owned(),
            Self::Gap(millis) => {
                format!(
                    "the face was not found for {}.{} s, and its place is estimated",
                    millis / 1000,
                    millis % 1000 / 100
                )
            }
            Self::Fast(sizes) => format!("moves by {sizes:.1} times its size between two samples"),
            Self::Unsure(confidence) => format!("found with a confidence of only {confidence:.0} %"),
            Self::Small(rows) => format!("only {rows:.0} pixels high: others of this size may not be found"),
        }
    }
}

/// The doubtful moments, the worst first.
pub(super) fn moments(analysis: &Analysis, info: &VideoInfo, reach: Reach) -> Vec<Moment> {
    let (_, rows) = analysis.rotation.turned(info.width, info.height);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let rows = rows as f32;
    let mut moments = Vec::new();
    for path in &analysis.paths {
        let of = Track { path, info, reach };
        of.add_ends(&mut moments);
        of.add_steps(&mut moments);
        of.add_detections(&analysis.confidences, rows, &mut moments);
    }
    moments.sort_by(|one, other| other.weight.total_cmp(&one.weight).then(one.at_ms.cmp(&other.at_ms)));
    moments
}

struct Track<'a> {
    path: &'a FacePath,
    info: &'a VideoInfo,
    reach: Reach,
}

impl Track<'_> {
    fn moment(&self, at_ms: i64, doubt: Doubt, weight: f32, ratios: Ratios) -> Moment {
        Moment { at_ms, track: self.path.track, doubt, weight, ratios }
    }

    fn add_ends(&self, moments: &mut Vec<Moment>) {
        let (first, last, hold_ms) = (self.path.first(), self.path.last(), self.reach.hold_ms);
        let before_ms = first.at_ms - hold_ms - NEXT_FRAME_MS;
        if before_ms > self.info.first_millis && !at_edge(first.ratios) {
            moments.push(self.moment(before_ms, Doubt::Begins, 3.0, first.ratios));
        }
        let after_ms = last.at_ms + hold_ms + NEXT_FRAME_MS;
        if after_ms < self.info.duration_millis - NEXT_FRAME_MS && !at_edge(last.ratios) {
            moments.push(self.moment(after_ms, Doubt::Ends, 3.0, last.ratios));
        }
    }

    fn add_steps(&self, moments: &mut Vec<Moment>) {
        for pair in self.path.sightings.windows(2) {
            let (time, middle) = (pair[1].at_ms - pair[0].at_ms, i64::midpoint(pair[0].at_ms, pair[1].at_ms));
            if time > MISSED_MS {
                #[expect(clippy::cast_precision_loss, reason = "at most a few seconds")]
                let seconds = time as f32 / 1000.0;
                moments.push(self.moment(middle, Doubt::Gap(time), 2.0 + seconds, pair[0].ratios));
            } else if overlap(pair[0].ratios, pair[1].ratios) < FAST_OVERLAP {
                let moved = [0, 1].map(|side| {
                    let center = |ratios: Ratios| ratios[side] + ratios[side + 2] / 2.0;
                    (center(pair[1].ratios) - center(pair[0].ratios)) / pair[0].ratios[side + 2].max(1e-4)
                });
                let sizes = moved[0].hypot(moved[1]);
                moments.push(self.moment(middle, Doubt::Fast(sizes), 1.0 + sizes.min(3.0) / 2.0, pair[0].ratios));
            }
        }
    }

    fn add_detections(&self, confidences: &[f32], rows: f32, moments: &mut Vec<Moment>) {
        for sighting in &self.path.sightings {
            let confidence = confidences.get(sighting.face).copied().unwrap_or(100.0);
            if confidence < LOW_CONFIDENCE {
                let weight = 1.0 + (LOW_CONFIDENCE - confidence) / 20.0;
                moments.push(self.moment(sighting.at_ms, Doubt::Unsure(confidence), weight, sighting.ratios));
            }
        }
        let smallest = self.path.sightings.iter().min_by(|one, other| one.ratios[3].total_cmp(&other.ratios[3]));
        if let Some(smallest) = smallest.filter(|smallest| smallest.ratios[3] * rows < SMALL_ROWS) {
            let size = smallest.ratios[3] * rows;
            let weight = 1.0 + (SMALL_ROWS - size) / SMALL_ROWS;
            moments.push(self.moment(smallest.at_ms, Doubt::Small(size), weight, smallest.ratios));
        }
    }
}

/// Whether a box touches the edge of the frame: a face leaves and enters there.
fn at_edge([left, top, width, height]: Ratios) -> bool {
    left < EDGE || top < EDGE || left + width > 1.0 - EDGE || top + height > 1.0 - EDGE
}

/// The sheet, with pictures from `blurred`, the file that becomes `out`. `counts` says which times the file has.
pub(super) async fn page(
    out: &Path,
    blurred: &Path,
    moments: &[Moment],
    counts: Counts,
    ffmpeg: &Ffmpeg,
    progress: &dyn Progress,
) -> String {
    let shown = &moments[..moments.len().min(MOST_MOMENTS)];
    let mut items = String::new();
    for (index, moment) in shown.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
        progress.ratio(index as f32 / shown.len() as f32);
        let picture = picture(ffmpeg, blurred, (moment.at_ms - counts.shift_ms).min(counts.last_ms)).await;
        write_moment(&mut items, moment, picture.as_deref());
    }
    let name = escaped(&out.file_name().unwrap_or_default().to_string_lossy());
    let count = match (moments.len(), shown.len()) {
        (0, _) => "No moment is doubtful by these rules.".to_owned(),
        (all, some) if all > some => format!("The {some} most doubtful of {all} moments."),
        (all, _) => format!("{}.", counted(all, "doubtful moment")),
    };
    include_str!("review.html").replace("{name}", &name).replace("{count}", &count).replace("{items}", &items)
}

fn write_moment(items: &mut String, moment: &Moment, picture: Option<&[u8]>) {
    let Moment { at_ms, track, doubt, ratios: [left, top, width, height], .. } = moment;
    let time = clock(*at_ms);
    let figure = picture.map_or_else(
        || "<p>The picture could not be read.</p>".to_owned(),
        |jpeg| {
            let data = base64::encode(jpeg);
            let [left, top, width, height] = [left, top, width, height].map(|ratio| 100.0 * ratio);
            format!(
                "<div class=\"picture\"><img alt=\"The blurred video at {time}\" src=\"data:image/jpeg;base64,{data}\"><i style=\"left:{left:.2}%;top:{top:.2}%;width:{width:.2}%;height:{height:.2}%\"></i></div>"
            )
        },
    );
    let _ = writeln!(items, "<li>{figure}<p><b>{time}</b> Track {track} {}</p></li>", escaped(&doubt.text()));
}

/// A picture of a video as JPEG, at most 480 pixels wide.
async fn picture(ffmpeg: &Ffmpeg, video: &Path, at_ms: i64) -> Option<Vec<u8>> {
    let mut command = ffmpeg.command();
    // The time is that in the file, and not from its start.
    command.args(["-loglevel", "error", "-seek_timestamp", "1", "-ss", &format!("{at_ms}ms"), "-i"]).arg(input(video));
    command.args(["-map", "0:V:0", "-frames:v", "1", "-vf", "scale='min(480,iw)':-2", "-q:v", "5"]);
    command.args(["-c:v", "mjpeg", "-f", "image2pipe", "-"]);
    let output = command.output().await.ok()?;
    (output.status.success() && !output.stdout.is_empty()).then_some(output.stdout)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use face_detection::Rotation;

    use super::*;
    use crate::commands::blur::paths::Sighting;

    const INFO: VideoInfo = VideoInfo {
        width: 1280,
        height: 720,
        rotation: Rotation::None,
        frames: 250,
        first_millis: 0,
        duration_millis: 10_000,
    };
    const REACH: Reach = Reach { margin: 0.25, hold_ms: 600 };

    fn doubts(sightings: &[(i64, Ratios, f32)]) -> Vec<(i64, Doubt)> {
        let sighting = |(face, (at_ms, ratios, _)): (usize, &(i64, Ratios, f32))| Sighting {
            at_ms: *at_ms,
            ratios: *ratios,
            face,
        };
        let path = FacePath { track: 7, sightings: sightings.iter().enumerate().map(sighting).collect() };
        let confidences = sightings.iter().map(|(_, _, confidence)| *confidence).collect();
        let analysis = Analysis { paths: vec![path], confidences, rotation: Rotation::None };
        moments(&analysis, &INFO, REACH).into_iter().map(|moment| (moment.at_ms, moment.doubt)).collect()
    }

    #[test]
    fn a_face_that_enters_and_leaves_at_the_edge_is_not_doubtful() {
        let (left, middle, right) = ([0.0, 0.3, 0.3, 0.4], [0.2, 0.3, 0.3, 0.4], [0.69, 0.3, 0.3, 0.4]);
        let between = [0.4, 0.3, 0.3, 0.4];
        let enters = [
            (3000, left, 99.0),
            (3500, middle, 99.0),
            (4000, between, 99.0),
            (4500, [0.55, 0.3, 0.3, 0.4], 99.0),
            (5000, right, 99.0),
        ];
        assert_eq!(doubts(&enters), []);
        // The whole video is covered.
        let short: Vec<_> = [600, 1100, 9400].map(|at_ms| (at_ms, middle, 99.0)).to_vec();
        assert!(doubts(&short).iter().all(|(_, doubt)| matches!(doubt, Doubt::Gap(8300))));
    }

    #[test]
    fn every_kind_of_doubt_is_found_and_the_worst_is_first() {
        let (large, small) = ([0.25, 0.25, 0.25, 0.25], [0.3, 0.3, 0.03, 0.05]);
        let away = [0.625, 0.25, 0.25, 0.25];
        assert_eq!(
            doubts(&[(2000, large, 99.0), (2500, large, 60.0), (3500, large, 99.0), (4000, away, 99.0)]),
            [
                (1360, Doubt::Begins),
                (3000, Doubt::Gap(1000)),
                (4640, Doubt::Ends),
                (2500, Doubt::Unsure(60.0)),
                (3750, Doubt::Fast(1.5)),
            ]
        );
        assert!(doubts(&[(0, small, 99.0)]).iter().any(|(_, doubt)| matches!(doubt, Doubt::Small(36.0))));
    }

    #[test]
    fn a_moment_has_its_time_its_reason_and_a_frame_around_the_face() {
        let mut items = String::new();
        let moment =
            Moment { at_ms: 63_500, track: 3, doubt: Doubt::Gap(1000), weight: 3.0, ratios: [0.25, 0.5, 0.1, 0.2] };
        write_moment(&mut items, &moment, Some(b"jpeg"));
        for part in ["1:03.5", "Track 3", "not found for 1.0 s", "anBlZw==", "left:25.00%;top:50.00%;width:10.00%"] {
            assert!(items.contains(part), "{part} is not in {items}");
        }
    }
}
