//! list-pages: follows the chain of page tokens, one window of pages in each invocation.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    aws::{AwsError, Clients},
    job::FinishedJob,
    page::{Answer, Page, PageError, RawAnswer},
};

/// Pages in a window. While a window is listed, the one before it is fetched. Nothing is listed while the last window is fetched:
/// the smaller it is, the less time that takes.
const FEWEST_PAGES: usize = 10;

/// 100 tokens of at most 255 characters are well under the limit of 256 KiB for a state's payload, and the listing takes less than
/// a minute even at half a second a page.
const MOST_PAGES: usize = 100;

/// A window ends after this time, in milliseconds, with the pages that were listed: if other callers use up the account's rate
/// quota, a hundred pages take longer than the timeout of the function.
const LISTING_MS: i64 = 100_000;

/// The first pages, each of which is a batch: more pages than an ordinary video has.
///
/// An iteration takes 9 of the 25,000 events of an execution's history. The longest and busiest videos have thousands of pages,
/// and so their later pages share iterations.
pub const SINGLE_PAGES: usize = 1000;

/// Pages in a batch after those: within the 15 minutes of fetch-page, four such videos can share five calls a second.
pub const PAGES_PER_BATCH: usize = 50;

/// The payload of the `ListPages` state.
#[derive(Debug, Deserialize)]
pub struct ListPages {
    /// The name of the execution.
    pub execution_name: String,
    /// The job whose pages are listed.
    pub job: FinishedJob,
    /// The first page of the window.
    pub from: Page,
}

/// The pages that one iteration of the Map fetches: one page, or several in the largest results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageBatch {
    /// The first page.
    #[serde(flatten)]
    pub first: Page,
    /// The number of pages. The token of each comes with the page before it.
    pub pages: usize,
}

/// Pages that can be fetched in parallel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// In the order of the pages.
    pub batches: Vec<PageBatch>,
    /// The number of pages listed so far, including earlier windows.
    pub listed: usize,
    /// The first page of the next window, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Page>,
}

impl Window {
    /// The window with the first page alone, of which the status call has returned the token of the second.
    #[must_use]
    pub fn first(next_token: Option<String>) -> Self {
        let page = Page::first();
        let next = next_token.map(|token| page.next(token));
        Self { batches: vec![PageBatch { first: page, pages: 1 }], listed: 1, next }
    }
}

/// The number of pages in a window after `listed` pages: a tenth of them. So the end of the last window is near for a small
/// result, and a large one has few windows.
fn window_size(listed: usize) -> usize {
    (listed / 10).clamp(FEWEST_PAGES, MOST_PAGES)
}

/// Lists the next window of pages and returns their tokens without the faces, which are too large for a state's payload.
///
/// # Errors
/// [`PageError`].
#[tracing::instrument(skip_all, fields(execution_name = request.execution_name, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn list_pages(clients: &Clients, request: ListPages) -> Result<Window, PageError> {
    let ListPages { job: FinishedJob { job_id, .. }, from: mut page, .. } = request;
    let (from, until_ms) = (page.index, clients.now_ms() + LISTING_MS);
    let mut batches: Vec<PageBatch> = Vec::new();
    loop {
        let answer = match RawAnswer::of(clients, &job_id, &page).await {
            Ok(answer) => answer,
            // The pages that were listed are fetched first; that gives the quota time.
            Err(PageError::Aws(AwsError::Throttled { .. })) if !batches.is_empty() => {
                tracing::info!(job_id, listed = page.index, "left the other pages to the next window");
                return Ok(Window { batches, listed: page.index, next: Some(page) });
            }
            Err(error) => return Err(error),
        };
        let Answer::<IgnoredAny> { next_token, .. } = answer.read()?;
        let next = next_token.map(|token| page.next(token));
        let listed = page.index + 1;
        match batches.last_mut() {
            Some(batch) if batch.first.index >= SINGLE_PAGES && batch.pages < PAGES_PER_BATCH => batch.pages += 1,
            _ => batches.push(PageBatch { first: page, pages: 1 }),
        }
        match next {
            Some(next) if listed - from < window_size(from) && clients.now_ms() < until_ms => page = next,
            next => {
                tracing::info!(job_id, listed, more = next.is_some(), "listed pages");
                return Ok(Window { batches, listed, next });
            }
        }
    }
}
