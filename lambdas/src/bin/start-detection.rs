//! The Lambda function behind the `StartDetection` state.

use lambdas::{serve::serve, start_detection::start_detection};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(start_detection)
}
