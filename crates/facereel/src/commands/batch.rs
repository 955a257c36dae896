//! Work on many items that the user can stop.

use futures_util::{StreamExt as _, stream};
use local_stack::Progress;

use crate::deployed::CONCURRENT_CALLS;
use crate::terminal::Stop;

/// Does the work for each item, several concurrently, until `stop` resolves. `done` gets each item with its outcome, in order.
/// Work in progress is completed. Returns the items for which it was not started.
pub(super) async fn until_stopped<Item, Outcome>(
    items: Vec<Item>,
    progress: &dyn Progress,
    stop: &Stop,
    work: impl AsyncFn(&Item) -> Outcome,
    mut done: impl FnMut(&Item, Outcome),
) -> Vec<Item> {
    let (total, work) = (items.len(), &work);
    let mut waiting = items.into_iter();
    let mut outcomes = stream::iter(waiting.by_ref())
        .take_until(stop.clone())
        .map(|item| async move {
            let outcome = work(&item).await;
            (item, outcome)
        })
        .buffered(CONCURRENT_CALLS)
        .enumerate();
    while let Some((index, (item, outcome))) = outcomes.next().await {
        done(&item, outcome);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        progress.ratio((index + 1) as f32 / total as f32);
    }
    drop(outcomes);
    waiting.collect()
}
