//! How to use the local stack: the endpoint, the buckets, and commands that work as they are printed.

use std::{fmt, path::PathBuf};

use lambdas::layout::RESULTS;
use local_stack::{ACCESS_KEY, Error, Installation, REGION, Workflow};

use crate::terminal::text::{invocation, quoted};

/// What is printed when the local stack runs.
#[derive(Debug, Clone)]
pub(super) struct Guide {
    endpoint: String,
    upload_bucket: String,
    results_bucket: String,
    sample: PathBuf,
}

impl Guide {
    pub(super) fn of(workflow: &Workflow) -> Result<Self, Error> {
        Ok(Self {
            endpoint: workflow.emulator.url().to_owned(),
            upload_bucket: workflow.stack.upload_bucket.clone(),
            results_bucket: workflow.stack.results_bucket.clone(),
            sample: Installation::find()?.sample_clip().join("sample.mp4"),
        })
    }
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, upload_bucket, results_bucket, sample } = self;
        let (facereel, sample) = (invocation(), quoted(sample));
        // The AWS CLI reads AWS_DEFAULT_REGION, and the SDKs AWS_REGION.
        write!(
            f,
            "\
The local stack runs at {endpoint} until Ctrl-C. Every upload starts an execution.

  videos   s3://{upload_bucket}/
  results  s3://{results_bucket}/{RESULTS}

In another terminal, set these test values, which are valid nowhere else, and use the stack as one on AWS:

  export AWS_ENDPOINT_URL={endpoint} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={ACCESS_KEY}
  aws s3 cp {sample} s3://{upload_bucket}/by-aws-cli.mp4
  {facereel} upload --wait {sample}
  {facereel} status
  {facereel} logs sample.mp4

"
        )
    }
}
