//! list-pages: walks the chain of page tokens, a window at a time.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::{
    aws::Clients,
    job::FinishedJob,
    page::{Answer, Page, PageError, RawAnswer},
};

/// Pages in a window: 100 tokens of at most 255 characters are well under the 256 KiB of a state's payload, and a
/// window is walked in a minute even at half a second a page.
pub const PAGES_PER_WINDOW: usize = 100;

/// A window ends after this long, in milliseconds, with as many pages as there are: where others use up the account's rate,
/// a hundred would take longer than the function may.
const LISTING_MS: i64 = 100_000;

/// Pages that are fetched each in an iteration of its own: as many faces as an ordinary video ever has.
///
/// An iteration is 7 events of an execution's 25,000; the longest and busiest videos, with thousands of pages, have to
/// share iterations.
const SINGLE_PAGES: usize = 1000;

/// Pages in one iteration after that: in the 15 minutes of fetch-page, four such videos can share five calls a second.
const PAGES_PER_BATCH: usize = 50;

/// What the `ListPages` state sends.
#[derive(Debug, Deserialize)]
pub struct ListPages {
    /// The execution's name.
    pub execution: String,
    /// Whose pages.
    pub job: FinishedJob,
    /// The window's first page.
    pub from: Page,
}

/// The pages of one iteration: one, but for the largest results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageBatch {
    /// The first page.
    #[serde(flatten)]
    pub first: Page,
    /// How many pages, each named by the one before it.
    pub pages: usize,
}

/// Pages that can be fetched side by side.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// In order.
    pub runs: Vec<PageBatch>,
    /// How many pages were listed so far, those of earlier windows included.
    pub listed: usize,
    /// Where the next window begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Page>,
}

/// Walks the next window of pages and returns their tokens alone: the faces are far too large for a state's payload.
///
/// # Errors
/// [`PageError`].
#[tracing::instrument(skip_all, fields(execution = request.execution, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn list_pages(clients: &Clients, request: ListPages) -> Result<Window, PageError> {
    let ListPages { job: FinishedJob { job_id, .. }, from: mut page, .. } = request;
    let (from, until_ms) = (page.index, clients.now_ms() + LISTING_MS);
    let mut runs: Vec<PageBatch> = Vec::new();
    loop {
        let Answer::<IgnoredAny> { next_token, .. } = RawAnswer::of(clients, &job_id, &page).await?.read()?;
        let next = next_token.map(|token| page.next(token));
        let listed = page.index + 1;
        match runs.last_mut() {
            Some(run) if page.index >= SINGLE_PAGES && run.pages < PAGES_PER_BATCH => run.pages += 1,
            _ => runs.push(PageBatch { first: page, pages: 1 }),
        }
        match next {
            Some(next) if listed - from < PAGES_PER_WINDOW && clients.now_ms() < until_ms => page = next,
            next => {
                tracing::info!(job_id, listed, more = next.is_some(), "listed pages");
                return Ok(Window { runs, listed, next });
            }
        }
    }
}
