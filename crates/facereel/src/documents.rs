//! The JSON documents of `--json`, and their schemas.

use schemars::{Schema, schema_for};
use serde::Serialize;
use serde_json::Value;

use crate::commands::{
    backfill::BackfillDocument, blur::BlurDocument, dead_letters::DeadLetterDocument, logs::LogsDocument,
    replay::ReplayDocument, run::RunDocument, status::StatusDocument, upload::UploadDocument, verify::VerifyReport,
};
use crate::stored::VideoFile;

/// The name of each document's schema in `docs/schema`, without `.schema.json`, and the schema.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("run-report", schema_for!(RunDocument)),
        ("blur-report", schema_for!(BlurDocument)),
        ("upload-report", schema_for!(UploadDocument)),
        ("backfill-report", schema_for!(BackfillDocument)),
        ("logs-report", schema_for!(LogsDocument)),
        ("verify-report", schema_for!(VerifyReport)),
        ("status-report", schema_for!(StatusDocument)),
        ("replay-report", schema_for!(ReplayDocument)),
        ("video", schema_for!(VideoFile)),
        ("dead-letters-report", schema_for!(DeadLetterDocument)),
    ]
}

/// A document as JSON.
pub(crate) fn document(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect("documents have text keys, and no type of theirs fails")
}
