//! The rate quotas of AWS: a token bucket for each action. A call takes a token, and is throttled if there is none.

use std::collections::HashMap;

use tokio::time::Instant;

/// The size of a bucket, and the tokens that are added in a second.
type Rate = (f64, f64);

/// The Regions with different quotas of Step Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regions {
    /// US East (N. Virginia), US West (Oregon) and Europe (Ireland).
    Large,
    /// All others.
    Other,
}

/// The quotas of Step Functions in the large Regions and in the others. They are soft: AWS raises them on request
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read on 2026-11-25).
const STEP_FUNCTIONS: [(&str, Rate, Rate); 7] = [
    ("DescribeExecution", (300.0, 15.0), (250.0, 10.0)),
    ("GetExecutionHistory", (400.0, 20.0), (400.0, 20.0)),
    ("ListExecutions", (200.0, 5.0), (100.0, 2.0)),
    ("ListStateMachines", (100.0, 5.0), (100.0, 5.0)),
    ("RedriveExecution", (1300.0, 300.0), (800.0, 150.0)),
    ("StartExecution", (1300.0, 300.0), (800.0, 150.0)),
    ("StopExecution", (1000.0, 200.0), (500.0, 25.0)),
];

/// S3 answers at least this many reads a second for each prefix that it has partitioned; here, a bucket is one such prefix
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
const S3_READS: Rate = (5500.0, 5500.0);

/// As above, for writes.
const S3_WRITES: Rate = (3500.0, 3500.0);

/// The requests of Lambda's control plane together, apart from a few
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const LAMBDA: Rate = (15.0, 15.0);

/// The token buckets of an account in one Region.
#[derive(Debug)]
pub struct Quotas {
    regions: Regions,
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Quotas {
    /// Full buckets.
    pub fn new(regions: Regions) -> Self {
        Self { regions, buckets: HashMap::new() }
    }

    /// Takes a token for a call; `false` if the call is throttled. `resource` is the bucket of S3.
    pub fn take(&mut self, action: &str, resource: &str) -> bool {
        let Some((bucket, (size, refill))) = self.rate(action, resource) else { return true };
        let now = Instant::now();
        let bucket = self.buckets.entry(bucket).or_insert(Bucket { tokens: size, filled: now });
        let elapsed = now.duration_since(bucket.filled).as_secs_f64();
        (bucket.tokens, bucket.filled) = ((bucket.tokens + elapsed * refill).min(size), now);
        let is_allowed = bucket.tokens >= 1.0;
        if is_allowed {
            bucket.tokens -= 1.0;
        }
        is_allowed
    }

    /// The name of the token bucket of an action, and its rate; `None` if it has no quota that matters here.
    fn rate(&self, action: &str, resource: &str) -> Option<(String, Rate)> {
        if let Some((_, large, other)) = STEP_FUNCTIONS.iter().find(|(name, ..)| *name == action) {
            let rate = if self.regions == Regions::Large { large } else { other };
            return Some((action.to_owned(), *rate));
        }
        match action {
            "GetObject" | "HeadObject" | "ListObjectsV2" | "ListObjectVersions" => {
                Some((format!("read {resource}"), S3_READS))
            }
            "PutObject" => Some((format!("write {resource}"), S3_WRITES)),
            "GetFunctionConfiguration" => Some(("lambda".to_owned(), LAMBDA)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_limited_by_the_bucket_and_a_stream_by_the_refill() {
        let mut quotas = Quotas::new(Regions::Other);
        let mut allowed = |calls: usize| (0..calls).filter(|_| quotas.take("ListExecutions", "")).count();
        assert_eq!(allowed(1000), 100);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(allowed(1000), 20);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(allowed(1000), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn each_action_and_each_bucket_has_its_own_quota() {
        let mut quotas = Quotas::new(Regions::Large);
        while quotas.take("GetObject", "uploads") {}
        assert!(!quotas.take("ListObjectsV2", "uploads"));
        assert!(quotas.take("GetObject", "results") && quotas.take("PutObject", "uploads"));
    }
}
