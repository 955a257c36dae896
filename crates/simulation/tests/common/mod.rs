//! What the tests of scenarios share.

use simulation::{Content, Kind, Ms, Run, SECOND, Upload};

/// A video whose job succeeds.
pub fn video(id: u64, faces: usize, job_ms: Ms) -> Content {
    Content { id, kind: Kind::Video, faces, job_ms, failures: 0 }
}

/// An upload whose event starts one execution, a second later.
pub fn upload(at: Ms, key: &str, content: Content) -> Upload {
    Upload { at, key: key.to_owned(), content, events: vec![SECOND] }
}

#[track_caller]
pub fn assert_no_violation(run: &Run) {
    assert!(run.violations.is_empty(), "{:#?}\n{}", run.violations, run.trace);
}

/// How often an event occurred.
pub fn count(run: &Run, event: &str) -> u64 {
    run.coverage.get(event).copied().unwrap_or_default()
}

/// How often the operator had to repair an execution.
pub fn repairs(run: &Run) -> u64 {
    let repaired = |event: &&String| event.starts_with("redrive of") || event.starts_with("new execution after");
    run.coverage.keys().filter(repaired).map(|event| run.coverage[event]).sum()
}
