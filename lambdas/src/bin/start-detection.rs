//! The Lambda function behind the `StartDetection` state.

use lambdas::{serve::serve, start_detection::start_detection};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(start_detection).await
}
