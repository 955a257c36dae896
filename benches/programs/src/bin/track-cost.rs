//! Joins the faces of a result to tracks, without S3, and prints as JSON what this costs: `track-cost PAGES`.
//!
//! It is a program so that it is compiled as the functions are, and so that its peak memory is that of one result.

use std::time::{Duration, Instant};

use lambdas::tracks::{Detection, Tracker};
use serde_json::json;

/// The largest number of faces in a moment, and of moments on a page of 1000 faces.
const FACES: usize = 100;
const MOMENTS: usize = 10;

/// The size of an object with tracks.
const OBJECT_BYTES: usize = 4 << 20;

fn main() {
    let pages = std::env::args().nth(1).and_then(|pages| pages.parse().ok()).expect("the number of pages");
    let Cost { joining, writing, bytes } = cost(pages);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(pages);
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has a status of this process");
    println!(
        "{}",
        json!({ "joining_ms": milliseconds(joining), "writing_ms": milliseconds(writing), "bytes": bytes, "status": status })
    );
}

/// The time for all pages, and the size of their lines.
struct Cost {
    joining: Duration,
    writing: Duration,
    bytes: usize,
}

fn cost(pages: u32) -> Cost {
    let mut tracker = Tracker::new(None);
    let (mut joining, mut writing, mut bytes, mut buffer) = (Duration::ZERO, Duration::ZERO, 0, Vec::new());
    for page in 0..pages as usize {
        let faces: Vec<_> = (0..FACES * MOMENTS).map(|index| face(FACES * MOMENTS * page + index)).collect();
        let began = Instant::now();
        // One in twenty is missed.
        faces.into_iter().filter(|face| face.face * 7919 % 101 > 4).for_each(|face| tracker.add(face));
        let ended = tracker.take_ended();
        joining += began.elapsed();
        let began = Instant::now();
        for track in ended {
            serde_json::to_writer(&mut buffer, &track).expect("a track is plain data");
        }
        writing += began.elapsed();
        if buffer.len() > OBJECT_BYTES {
            bytes += buffer.len();
            buffer.clear();
        }
    }
    tracker.finish();
    for track in tracker.take_ended() {
        serde_json::to_writer(&mut buffer, &track).expect("a track is plain data");
    }
    Cost { joining, writing, bytes: bytes + buffer.len() }
}

/// A face that moves around its place in ten rows.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
fn face(index: usize) -> Detection {
    let (moment, place) = (index / FACES, index % FACES);
    let (time, phase) = (moment as f64, place as f64);
    let left = (place % 10) as f64 / 10.0 + 0.02 + 0.03 * (0.3 * time + phase).sin();
    let top = (place / 10) as f64 / 10.0 + 0.02 + 0.03 * (0.2 * time + 2.0 * phase).cos();
    Detection {
        face: index,
        timestamp_ms: 500 * i64::try_from(moment).expect("a number of moments"),
        bounding_box: [left as f32, top as f32, 0.042_345_678, 0.081_234_57],
        confidence: 99.912_345_678,
        clarity: 0.7,
    }
}
