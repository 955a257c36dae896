//! fetch-page: writes pages of faces to S3 as JSON Lines.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    aws::Clients,
    job::FinishedJob,
    list_pages::PageBatch,
    page::{Answer, Page, PageError, RawAnswer},
    store::{JSON_LINES, Store},
};

/// The environment of the function.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: the bucket of the pages.
    pub results_bucket: String,
}

/// The payload of one fetching iteration of the `ReadPages` state.
#[derive(Debug, Deserialize)]
pub struct FetchPage {
    /// The name of the execution.
    pub execution_name: String,
    /// The job whose pages are fetched.
    pub job: FinishedJob,
    /// The pages to fetch.
    pub batch: PageBatch,
}

/// The pages that are in S3 now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct FetchedPages {
    /// The first page, counted from 0.
    pub index: usize,
    /// The number of pages.
    pub pages: usize,
    /// The sum of their faces.
    pub faces: usize,
}

/// Fetches the pages of a batch and writes each to S3. The key of a page is its number, so that a second fetch overwrites the page
/// with the same bytes.
///
/// Each line is an element of Rekognition's `Faces`, byte for byte: `{"Timestamp": …, "Face": {…}}`.
///
/// # Errors
/// [`PageError`].
#[tracing::instrument(skip_all, fields(execution_name = request.execution_name, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn fetch_page(clients: &Clients, config: &Config, request: FetchPage) -> Result<FetchedPages, PageError> {
    let FetchPage { job, batch: PageBatch { first, pages }, .. } = request;
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

/// Fetches one page; returns the number of its faces and the token of the next page.
async fn fetch_one(
    clients: &Clients,
    config: &Config,
    job: &FinishedJob,
    page: &Page,
) -> Result<(usize, Option<String>), PageError> {
    let answer = RawAnswer::of(clients, &job.job_id, page).await?;
    let Answer { next_token, faces, .. } = answer.read::<Vec<&RawValue>>()?;
    let key = job.page_key(page.index);
    Store::new(clients, &config.results_bucket).put(&key, JSON_LINES, json_lines(&faces)).await?;
    tracing::info!(page = page.index, faces = faces.len(), object = key, "wrote a page");
    Ok((faces.len(), next_token))
}

fn json_lines(faces: &[&RawValue]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(faces.iter().map(|face| face.get().len() + 1).sum());
    for face in faces {
        // JSON has line breaks only between its tokens, where they have no meaning.
        face.get().lines().for_each(|part| lines.extend_from_slice(part.as_bytes()));
        lines.push(b'\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_is_a_line_byte_for_byte() {
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
