//! `facereel view` on 10,000 results: the list, the first rows and all rows; in a directory of this machine, and in a bucket, which is
//! a model in virtual time.

use std::{fs, io, path::Path, process::Command, time::Instant};

use facereel::commands::view::Catalogue;
use facereel::deployed::{Account, Target};
use facereel::stored::{Location, LocationReader};
use local_stack::Silent;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    BenchError,
    function::peak_mb_of,
    json_of,
    operations::measure_catalogue,
    report::Report,
    samples::Samples,
    table::{Name, Table},
};

/// The number of results.
const RESULTS: usize = 10_000;

/// The number of rows on the first screen.
const FIRST: usize = 20;

/// The figures for the directory.
#[derive(Debug, Serialize, Deserialize)]
struct Local {
    list: f64,
    first: f64,
    all: f64,
    document_mb: f64,
    peak_mb: f64,
}

/// The number of rounds for the directory, each in its own process. One more, before them, fills the caches.
const ROUNDS: usize = 9;

/// Adds both tables.
pub fn measure(root: &Path, report: &mut Report) -> Result<(), BenchError> {
    let dir = root.join("target/bench-catalogue");
    write_results(&dir)?;
    let mut columns = [const { Vec::new() }; 5];
    for round in 0..=ROUNDS {
        let Local { list, first, all, document_mb, peak_mb } =
            json_of(Command::new(std::env::current_exe()?).arg("catalogue-of").arg(&dir))?;
        if round > 0 {
            let values = [list, first, all, document_mb, peak_mb];
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
    }
    let headings = ["results", "list, s", "first 20 rows, s", "all rows, s", "document, MB", "memory, MB"];
    let mut table = Table::new(Name::CatalogueOfADirectory, &headings);
    let [list, first, all, document, peak] = columns.map(Samples::from_iter);
    let seconds = [list, first, all].map(|seconds| seconds.show(3));
    table.row(&[&["10,000".to_owned()], &seconds[..], &[document.show(1), peak.show(0)]].concat());
    report.add(table);

    let columns = ["ListObjectsV2", "GetObject", "other calls", "s", "memory, MB"];
    let headings = [&["10,000 results in a bucket", "pages"][..], &columns].concat();
    let mut table = Table::new(Name::CatalogueOfABucket, &headings);
    for (pages, tracks) in [(1, 1), (100, 2), (4320, 100)] {
        for command in measure_catalogue(pages, tracks)? {
            let calls = command.calls(&columns[..2]);
            let more = vec![command.seconds(), command.megabytes()];
            table.row(&[vec![command.command(), pages.to_string()], calls, more].concat());
        }
    }
    report.add(table);
    Ok(())
}

/// Measures the catalogue of a directory in this process, and prints the figures as JSON.
pub async fn measure_here(dir: &Path) -> Result<(), BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Failed(error.to_string());
    let began = Instant::now();
    let reader = LocationReader::new(&Account::default(), None);
    let root = Location::Local(dir.to_owned());
    let catalogue = Catalogue::list(reader, root, &Target::default(), None, &Silent).await;
    let catalogue = catalogue.map_err(|error| failed(&error))?;
    let document = catalogue.document().map_err(|error| failed(&error))?;
    let list = began.elapsed();
    let first_began = Instant::now();
    let shown = catalogue.facts(0..FIRST).await.len();
    let first = first_began.elapsed();
    let all_began = Instant::now();
    let mut all_shown = 0;
    for from in (0..RESULTS).step_by(100) {
        all_shown += catalogue.facts(from..from + 100).await.values().filter(|facts| facts["faces"] == 3600).count();
    }
    let all = all_began.elapsed();
    if (shown, all_shown) != (FIRST, RESULTS) {
        return Err(BenchError::Failed(format!("{shown} and {all_shown} rows are shown")));
    }
    #[expect(clippy::cast_precision_loss, reason = "some MB")]
    let document_mb = document.len() as f64 / 1e6;
    let local = Local {
        list: list.as_secs_f64(),
        first: first.as_secs_f64(),
        all: all.as_secs_f64(),
        document_mb,
        peak_mb: peak_mb_of("self")?,
    };
    println!("{}", serde_json::to_string(&local).map_err(|error| failed(&error))?);
    Ok(())
}

/// Writes the results, unless they exist: of each, what the catalogue could read. The summaries are those of videos of ten minutes.
fn write_results(dir: &Path) -> io::Result<()> {
    let second = json!({ "second": 7, "faces": 6, "frames": 2, "most_faces": 3, "mean_confidence": 99.123_456 });
    let timeline = vec![second; 600];
    for number in 0..RESULTS {
        let result = dir.join(format!("series-{:02}/clip {number:05}", number % 50));
        if result.join("manifest.json").exists() {
            continue;
        }
        for folder in ["faces", "tracks"] {
            fs::create_dir_all(result.join(folder))?;
            fs::write(result.join(folder).join("00000.jsonl"), "")?;
        }
        let video = json!({ "bucket": "uploads", "key": format!("clip {number:05}.mp4"), "etag": "e", "bytes": 1 });
        let job = json!({ "job_id": "j", "idempotency_key": "k", "attempt": 0, "face_attributes": "DEFAULT" });
        let summary = json!({ "video": video, "metadata": { "duration_ms": 600_000 }, "job": job, "faces": 3600, "tracks": 40,
            "frames_with_faces": 1200, "most_faces": { "faces": 3, "timestamp_ms": 500 } });
        // With the timeline at the end, as facereel writes it.
        let (mut summary, timeline) = (summary.to_string(), serde_json::to_string(&timeline)?);
        summary.truncate(summary.len() - 1);
        fs::write(result.join("summary.json"), format!("{summary},\"timeline\":{timeline}}}"))?;
        fs::write(result.join("report.html"), "")?;
        fs::write(result.join("manifest.json"), "{}")?;
    }
    Ok(())
}
