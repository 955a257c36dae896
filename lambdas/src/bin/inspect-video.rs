//! The Lambda function behind the `InspectVideo` state.

use lambdas::{
    aws::Clients,
    inspect_video::inspect_video,
    serve::{NoConfig, serve},
};

fn main() -> Result<(), lambda_runtime::Error> {
    serve(async |clients: &Clients, NoConfig {}: &NoConfig, request| inspect_video(clients, request).await)
}
