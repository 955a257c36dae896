//! The survey of a source: which videos have a result, and which are due.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{TryStreamExt as _, stream};
use lambdas::start_detection::Config;

use super::{
    listing::{self, CONCURRENT_READS, ListedVideo, Obstacle},
    results::{Completeness, Results},
};
use crate::deployed::{Deployed, Error, S3Uri};
use local_stack::Progress;

/// The number of pages of videos whose results are listed concurrently. The listing of a page's results takes several calls,
/// while the listing of the videos goes on.
const CONCURRENT_LISTINGS: usize = 16;

/// How many videos are counted between two reports of progress.
const REPORTED: usize = 1000;

/// The videos of a source, of which only those that are due are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The number of videos.
    pub(super) videos: usize,
    /// The number of videos with a complete result for their current content.
    pub(super) complete: usize,
    /// The number of videos whose execution, started by an earlier backfill, still runs.
    pub(super) running: usize,
    /// The number of videos without a result that cannot be analysed, for each obstacle.
    pub(super) left_out: BTreeMap<Obstacle, usize>,
    /// The videos to analyse.
    pub(super) due: Vec<ListedVideo>,
}

/// A survey of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Survey<'a> {
    /// The stack.
    pub(super) deployed: &'a Deployed,
    /// The source.
    pub(super) source: &'a S3Uri,
    /// The parameters with which the stack starts jobs.
    pub(super) config: &'a Config,
    /// The names of the running executions, as [`listing::running`] returns them.
    pub(super) running: &'a BTreeSet<String>,
}

impl Survey<'_> {
    /// Counts the videos, and keeps the first `limit` of those that are due. The calls go through both listings once, side by
    /// side, so that the memory does not depend on the number of videos and results.
    ///
    /// # Errors
    /// [`Error`] of `s3:ListBucketVersions` on the videos, and of `s3:ListBucket` and `s3:GetObject` on the results.
    pub(super) async fn run(&self, limit: usize, progress: &dyn Progress) -> Result<Found, Error> {
        let Self { deployed, source, config, .. } = *self;
        let results = Results { deployed, bucket: &source.bucket, config };
        let seen = listing::pages(deployed, source)
            .map_ok(|videos| results.look_up(videos))
            .try_buffered(CONCURRENT_LISTINGS)
            .map_ok(|videos| stream::iter(videos.into_iter().map(Ok::<_, Error>)))
            .try_flatten()
            .map_ok(|(video, found)| async move {
                let is_complete = match found {
                    Completeness::Complete => true,
                    Completeness::ManifestsToRead(manifests) => results.any_is_of(&manifests, &video).await?,
                };
                Ok::<_, Error>((video, is_complete))
            })
            .try_buffered(CONCURRENT_READS);
        let mut seen = std::pin::pin!(seen);
        let mut found = Found::default();
        while let Some((video, is_complete)) = seen.try_next().await? {
            self.count(&mut found, video, is_complete, limit);
            if found.videos % REPORTED == 0 {
                progress.detail(&format!("{} videos, {} with a complete result", found.videos, found.complete));
            }
        }
        Ok(found)
    }

    fn count(&self, found: &mut Found, video: ListedVideo, is_complete: bool, limit: usize) {
        found.videos += 1;
        if is_complete {
            found.complete += 1;
        } else if let Some(obstacle) = video.obstacle {
            *found.left_out.entry(obstacle).or_default() += 1;
        } else if self.running.contains(&video.name(&self.source.bucket)) {
            found.running += 1;
        } else if found.due.len() < limit {
            found.due.push(video);
        }
    }
}
