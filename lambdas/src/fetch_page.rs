//! fetch-page: a page of faces becomes an S3 object of JSON Lines.

use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    aws::{AwsError, Clients},
    job::FinishedJob,
    list_pages::PageBatch,
    page::{Answer, Page, PageError, RawAnswer},
};

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: pages lie there.
    pub results_bucket: String,
}

/// What an iteration of the `FetchPages` state sends.
#[derive(Debug, Deserialize)]
pub struct FetchPage {
    /// The execution's name.
    pub execution: String,
    /// Whose pages.
    pub job: FinishedJob,
    /// Which pages: one, but for the largest results.
    pub run: PageBatch,
}

/// What lies in S3 now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FetchedPages {
    /// The first page, from 0.
    pub index: usize,
    /// How many pages.
    pub pages: usize,
    /// Faces in them together.
    pub faces: usize,
}

/// Fetches the pages of a run and writes each to its own place in S3, where a second fetch overwrites it with the same.
///
/// A line is an element of Rekognition's `Faces`, to the letter: `{"Timestamp": …, "Face": {…}}`.
///
/// # Errors
/// [`PageError`].
#[tracing::instrument(skip_all, fields(execution = request.execution, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn fetch_page(clients: &Clients, config: &Config, request: FetchPage) -> Result<FetchedPages, PageError> {
    let FetchPage { job, run: PageBatch { first, pages }, .. } = request;
    let mut fetched = FetchedPages { index: first.index, pages: 0, faces: 0 };
    let mut next = Some(first);
    while let Some(page) = next.take_if(|_| fetched.pages < pages) {
        let (faces, token) = fetch_one(clients, config, &job, &page).await?;
        fetched.pages += 1;
        fetched.faces += faces;
        next = token.map(|token| page.next(token));
    }
    Ok(fetched)
}

/// Fetches one page; returns how many faces it has and the token of the page after it.
async fn fetch_one(
    clients: &Clients,
    config: &Config,
    job: &FinishedJob,
    page: &Page,
) -> Result<(usize, Option<String>), PageError> {
    let answer = RawAnswer::of(clients, &job.job_id, page).await?;
    let Answer { next_token, faces, .. } = answer.read::<Vec<&RawValue>>()?;
    let key = job.page_key(page.index);
    clients
        .s3
        .put_object()
        .bucket(&config.results_bucket)
        .key(&key)
        .content_type("application/jsonl")
        .body(ByteStream::from(json_lines(&faces)))
        .send()
        .await
        .map_err(|error| AwsError::new("s3:PutObject", error))?;
    tracing::info!(page = page.index, faces = faces.len(), object = key, "wrote a page");
    Ok((faces.len(), next_token))
}

fn json_lines(faces: &[&RawValue]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(faces.iter().map(|face| face.get().len() + 1).sum());
    for face in faces {
        // JSON has line breaks only between its tokens, where they mean nothing.
        face.get().lines().for_each(|part| lines.extend_from_slice(part.as_bytes()));
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_is_a_line_to_the_letter() {
        let faces = br#"[{"Timestamp":0,"Face":{"Confidence":99.987654321,"New":{"Field":1}}},
            {
              "Timestamp": 500,
              "Face": {"Text": "a\nb"}
            }]"#;
        let faces: Vec<&RawValue> = serde_json::from_slice(faces).unwrap();
        let lines = String::from_utf8(json_lines(&faces)).unwrap();
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines[0], r#"{"Timestamp":0,"Face":{"Confidence":99.987654321,"New":{"Field":1}}}"#);
        assert_eq!(lines.len(), 2);
        let second: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(second["Face"]["Text"], "a\nb");
    }
}
