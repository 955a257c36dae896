//! The cost of joining the faces of the largest result to tracks, and the quality of tracks with known faces.

use std::process::Command;

use serde::Deserialize;
use tests::tracking::{Measured, Score};

use crate::{
    BenchError,
    function::peak_kib,
    json_of,
    packages::Packages,
    report::Report,
    samples::Samples,
    table::{Name, Table},
};

/// The lengths in pages: the second one is the largest video.
const LENGTHS: [u32; 2] = [432, 4320];

/// The number of rounds, each of both lengths.
const ROUNDS: usize = 9;

/// What `track-cost` prints.
#[derive(Deserialize)]
struct Cost {
    joining_ms: f64,
    writing_ms: f64,
    bytes: f64,
    status: String,
}

/// Adds both tables.
pub fn measure(packages: &Packages, report: &mut Report) -> Result<(), BenchError> {
    report.add(quality());
    report.add(cost(packages)?);
    Ok(())
}

/// How many tracks of known faces are right.
fn quality() -> Table {
    let headings =
        ["clip", "true tracks", "faces", "found", "", "tracks", "switches", "fragmentations", "joined", "IDF1"];
    let mut table = Table::with_texts(Name::Tracks, &headings, &[0, 4]);
    for Measured { name, truth, tracks, overlap } in tests::tracking::measure_clips() {
        let clip = [name.to_owned(), truth.tracks.to_string(), truth.faces.to_string(), tracks.found.to_string()];
        let same_clip = [const { String::new() }; 4];
        for (clip, tracker, score) in [(clip, "facereel", tracks), (same_clip, "plain overlap", overlap)] {
            let Score { tracks, switches, fragmentations, joined, idf1, .. } = score;
            let counts = [tracks, switches, fragmentations, joined].map(|count| count.to_string());
            table.row(&[clip.as_slice(), &[tracker.to_owned()], &counts, &[format!("{idf1:.3}")]].concat());
        }
    }
    table
}

fn cost(packages: &Packages) -> Result<Table, BenchError> {
    let mut measured = LENGTHS.map(|pages| (pages, [const { Vec::new() }; 4]));
    for _ in 0..ROUNDS {
        for (pages, columns) in &mut measured {
            let cost: Cost = json_of(Command::new(&packages.track_cost).arg(pages.to_string()))?;
            let peak = peak_kib(&cost.status).ok_or(BenchError::Unreadable("status"))?;
            let values = [cost.joining_ms, cost.writing_ms, cost.bytes / 1e6, f64::from(peak) * 1024.0 / 1e6];
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
    }
    let headings = ["pages", "joining a page, ms", "writing its lines, ms", "objects, MB", "peak memory, MB"];
    let mut table = Table::new(Name::TrackCost, &headings);
    for (pages, columns) in measured {
        let [joining, writing, objects, memory] = columns.map(Samples::from_iter);
        table.row(&[pages.to_string(), joining.show(2), writing.show(2), objects.show(0), memory.show(0)]);
    }
    Ok(table)
}
