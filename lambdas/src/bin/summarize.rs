//! The Lambda function behind the `Summarize` state.

use lambdas::{serve::serve, summarize::summarize};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(summarize)
}
