//! The Lambda function behind the `Summarize` state.

use lambdas::{serve::serve, summarize::summarize};

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    serve(summarize).await
}
