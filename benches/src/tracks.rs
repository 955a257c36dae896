//! The cost of joining the faces of the largest result to tracks, in this process and without S3.

use std::{
    fs,
    time::{Duration, Instant},
};

use lambdas::tracks::{Detection, Tracker};

use crate::{
    BenchError,
    function::peak_kib,
    table::{Table, ms},
};

/// The largest number of faces in a moment, and of moments on a page of 1000 faces.
const FACES: usize = 100;
const MOMENTS: usize = 10;

/// The lengths in pages: the second one is the largest video.
const LENGTHS: [u32; 2] = [432, 4320];

/// The size of an object with tracks.
const OBJECT_BYTES: usize = 4 << 20;

/// Prints the table.
pub fn measure() -> Result<(), BenchError> {
    let mut table =
        Table::new(&["pages", "joining a page, ms", "writing its lines, ms", "objects, MB", "peak memory, MB"]);
    for pages in LENGTHS {
        let Cost { joining, writing, bytes } = cost(pages);
        let peak = peak_kib(&fs::read_to_string("/proc/self/status")?).ok_or(BenchError::Unreadable("status"))?;
        #[expect(clippy::cast_precision_loss, reason = "some hundred MB")]
        let megabytes = [bytes as f64 / 1e6, f64::from(peak) * 1024.0 / 1e6].map(|size| format!("{size:.0}"));
        let times = [joining, writing].map(|time| ms(time / pages));
        table.row(&[[pages.to_string()].as_slice(), &times, &megabytes].concat());
    }
    println!("{table}");
    Ok(())
}

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
