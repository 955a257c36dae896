//! The queue of executions that wait for a job slot of the account.

use std::collections::HashMap;

use lambdas::layout;

use super::{Deployed, Error};

/// The executions that wait for a job slot, in the order in which they get one.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    places: HashMap<String, usize>,
}

impl Queue {
    /// Reads the queue entries of the stack.
    ///
    /// # Errors
    /// [`Error`] of `lambda:GetFunctionConfiguration` or `s3:ListBucket`.
    pub async fn read(deployed: &Deployed) -> Result<Self, Error> {
        let bucket = deployed.results_bucket().await?;
        let mut pages =
            deployed.s3.list_objects_v2().bucket(bucket).prefix(layout::QUEUE_ENTRIES).into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
            let entries = page.contents().iter().filter_map(|object| layout::read_queue_entry(object.key()?));
            names.extend(entries.map(|entry| entry.execution_name.to_owned()));
        }
        Ok(names.into_iter().collect())
    }

    /// The place of an execution, from 1. `None`, if it does not wait for a slot.
    #[must_use]
    pub fn place(&self, execution_name: &str) -> Option<usize> {
        self.places.get(execution_name).copied()
    }

    /// The number of executions that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no execution waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The queue without the executions that `waits` does not accept. The entry of a stopped execution stays in the bucket
    /// until its turn comes.
    #[must_use]
    pub fn retain(self, waits: impl Fn(&str) -> bool) -> Self {
        let mut names: Vec<_> = self.places.into_iter().filter(|(name, _)| waits(name)).collect();
        names.sort_unstable_by_key(|(_, place)| *place);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// The names in the order of the queue. Several attempts of an execution have one place.
impl FromIterator<String> for Queue {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        let mut places = HashMap::new();
        for name in names {
            let next = places.len() + 1;
            places.entry(name).or_insert(next);
        }
        Self { places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(names: &[&str]) -> Queue {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_execution_with_two_entries_has_one_place() {
        let queue = queue(&["first", "second", "first", "third"]);
        assert_eq!(queue.len(), 3);
        assert_eq!(
            ["first", "second", "third", "other"].map(|name| queue.place(name)),
            [Some(1), Some(2), Some(3), None]
        );
    }

    #[test]
    fn an_execution_that_was_stopped_has_no_place() {
        let queue = queue(&["stopped", "first", "second"]).retain(|name| name != "stopped");
        assert_eq!((queue.len(), queue.place("first"), queue.place("second")), (2, Some(1), Some(2)));
    }
}
