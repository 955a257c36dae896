//! This repository's workflow deployed on an emulator: what Terraform makes on AWS.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use aws_sdk_eventbridge::types::Target;
use aws_sdk_lambda::{
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime},
};
use aws_sdk_s3::types::{EventBridgeConfiguration, NotificationConfiguration};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::{Emulator, Error, LambdaPackages, workspace};

/// The state machine, below the repository's root.
pub(super) const DEFINITION: &str = "statemachine/analyze-video.asl.json";

/// The emulator checks no permission, so a role is a name only; what the roles must allow is for AWS alone to show.
const ROLE: &str = "arn:aws:iam::000000000000:role/facereel";

/// The longest that AWS lets a function run, in seconds; the state machine's own timeouts are shorter.
const FUNCTION_TIMEOUT: i32 = 900;

/// How many attributes of a face Rekognition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FaceAttributes {
    /// Box, confidence, landmarks and quality; from Rekognition on AWS, also pose.
    #[default]
    Default,
    /// All that Rekognition on AWS knows, such as age range and emotions.
    All,
}

impl FaceAttributes {
    /// As Rekognition's API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::All => "ALL",
        }
    }
}

/// What differs between deployments.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The state machine's file, with `${partition}` in the place of the ARNs' partition, and `${start_detection_arn}`,
    /// `${list_pages_arn}`, `${fetch_page_arn}` and `${summarize_arn}` in the functions' places.
    pub definition: PathBuf,
    /// Where the functions find Rekognition.
    pub rekognition_url: String,
    /// What is asked about each face.
    pub attributes: FaceAttributes,
}

impl StackOptions {
    /// This repository's state machine, with Rekognition at `rekognition_url`.
    ///
    /// # Errors
    /// As [`workspace`].
    pub fn new(rekognition_url: impl Into<String>) -> Result<Self, Error> {
        Ok(Self {
            definition: workspace()?.join(DEFINITION),
            rekognition_url: rekognition_url.into(),
            attributes: FaceAttributes::default(),
        })
    }
}

/// The names of all that was deployed.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Videos land here; each one starts an execution.
    pub upload_bucket: String,
    /// Results lie here, under `results/`, beside the functions' own state.
    pub results_bucket: String,
    /// Rekognition tells of completed jobs here.
    pub topic_arn: String,
    /// `analyze-video`.
    pub state_machine_arn: String,
}

impl Stack {
    /// Deploys everything on an emulator that holds nothing of it yet.
    ///
    /// # Errors
    /// [`Error::Aws`] with the call that the emulator refused, [`Error::File`] about the definition.
    pub async fn deploy(emulator: &Emulator, packages: &LambdaPackages, options: &StackOptions) -> Result<Self, Error> {
        let deployment = Deployment::new(emulator);
        let (upload_bucket, results_bucket) =
            tokio::try_join!(deployment.bucket("facereel-uploads"), deployment.bucket("facereel-results"))?;
        let topic_arn = deployment.topic("facereel-completions").await?;

        let environment: HashMap<_, _> = [
            ("RESULTS_BUCKET", results_bucket.as_str()),
            ("COMPLETION_TOPIC_ARN", &topic_arn),
            ("PUBLISH_ROLE_ARN", ROLE),
            ("FACE_ATTRIBUTES", options.attributes.as_str()),
            ("AWS_ENDPOINT_URL", emulator.url()),
            ("AWS_ENDPOINT_URL_REKOGNITION", &options.rekognition_url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let functions: HashMap<&str, String> =
            try_join_all(packages.iter().map(|(name, zip)| deployment.function(name, zip, &environment)))
                .await?
                .into_iter()
                .collect();
        if let Some(arn) = functions.get("resume-execution") {
            deployment.subscribe(&topic_arn, arn).await?;
        }

        let state_machine_arn =
            deployment.state_machine("facereel-analyze-video", &definition(&options.definition, &functions)?).await?;
        deployment.start_on_upload(&upload_bucket, &state_machine_arn).await?;
        Ok(Self { upload_bucket, results_bucket, topic_arn, state_machine_arn })
    }
}

/// The state machine's text with the partition and each function's ARN in their places.
fn definition(path: &Path, functions: &HashMap<&str, String>) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?.replace("${partition}", "aws");
    Ok(functions
        .iter()
        .fold(text, |text, (name, arn)| text.replace(&format!("${{{}_arn}}", name.replace('-', "_")), arn)))
}

/// One method a kind of thing.
struct Deployment {
    s3: aws_sdk_s3::Client,
    sns: aws_sdk_sns::Client,
    lambda: aws_sdk_lambda::Client,
    sfn: aws_sdk_sfn::Client,
    eventbridge: aws_sdk_eventbridge::Client,
}

impl Deployment {
    fn new(emulator: &Emulator) -> Self {
        Self {
            s3: aws_sdk_s3::Client::new(emulator.aws()),
            sns: aws_sdk_sns::Client::new(emulator.aws()),
            lambda: aws_sdk_lambda::Client::new(emulator.aws()),
            sfn: aws_sdk_sfn::Client::new(emulator.aws()),
            eventbridge: aws_sdk_eventbridge::Client::new(emulator.aws()),
        }
    }

    async fn bucket(&self, name: &str) -> Result<String, Error> {
        self.s3.create_bucket().bucket(name).send().await.map_err(Error::aws("s3:CreateBucket"))?;
        Ok(name.to_owned())
    }

    async fn topic(&self, name: &str) -> Result<String, Error> {
        let topic = self.sns.create_topic().name(name).send().await.map_err(Error::aws("sns:CreateTopic"))?;
        topic.topic_arn.ok_or(Error::Incomplete { call: "sns:CreateTopic", missing: "TopicArn" })
    }

    async fn function<'a>(
        &self,
        name: &'a str,
        zip: &Blob,
        environment: &HashMap<String, String>,
    ) -> Result<(&'a str, String), Error> {
        let function = self
            .lambda
            .create_function()
            .function_name(format!("facereel-{name}"))
            .runtime(Runtime::Providedal2023)
            .handler("bootstrap")
            .role(ROLE)
            .timeout(FUNCTION_TIMEOUT)
            .code(FunctionCode::builder().zip_file(zip.clone()).build())
            .environment(Environment::builder().set_variables(Some(environment.clone())).build())
            .send()
            .await
            .map_err(Error::aws("lambda:CreateFunction"))?;
        let arn =
            function.function_arn.ok_or(Error::Incomplete { call: "lambda:CreateFunction", missing: "FunctionArn" })?;
        Ok((name, arn))
    }

    async fn subscribe(&self, topic_arn: &str, function_arn: &str) -> Result<(), Error> {
        self.lambda
            .add_permission()
            .function_name(function_arn)
            .statement_id("completions")
            .action("lambda:InvokeFunction")
            .principal("sns.amazonaws.com")
            .source_arn(topic_arn)
            .send()
            .await
            .map_err(Error::aws("lambda:AddPermission"))?;
        self.sns
            .subscribe()
            .topic_arn(topic_arn)
            .protocol("lambda")
            .endpoint(function_arn)
            .send()
            .await
            .map_err(Error::aws("sns:Subscribe"))?;
        Ok(())
    }

    async fn state_machine(&self, name: &str, definition: &str) -> Result<String, Error> {
        let machine = self
            .sfn
            .create_state_machine()
            .name(name)
            .definition(definition)
            .role_arn(ROLE)
            .send()
            .await
            .map_err(Error::aws("states:CreateStateMachine"))?;
        Ok(machine.state_machine_arn)
    }

    /// Every upload of an .mp4 or .mov, however it arrives, starts an execution with the whole event as its input.
    async fn start_on_upload(&self, bucket: &str, state_machine_arn: &str) -> Result<(), Error> {
        const RULE: &str = "facereel-uploads";
        let pattern = json!({
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {
                "bucket": { "name": [bucket] },
                "object": { "key": [
                    { "suffix": { "equals-ignore-case": ".mp4" } },
                    { "suffix": { "equals-ignore-case": ".mov" } },
                ] },
            },
        });
        self.eventbridge
            .put_rule()
            .name(RULE)
            .event_pattern(pattern.to_string())
            .send()
            .await
            .map_err(Error::aws("events:PutRule"))?;
        let target = Target::builder()
            .id("analyze-video")
            .arn(state_machine_arn)
            .role_arn(ROLE)
            .build()
            .map_err(Error::aws("events:PutTargets"))?;
        self.eventbridge
            .put_targets()
            .rule(RULE)
            .targets(target)
            .send()
            .await
            .map_err(Error::aws("events:PutTargets"))?;
        self.s3
            .put_bucket_notification_configuration()
            .bucket(bucket)
            .notification_configuration(
                NotificationConfiguration::builder()
                    .event_bridge_configuration(EventBridgeConfiguration::builder().build())
                    .build(),
            )
            .send()
            .await
            .map_err(Error::aws("s3:PutBucketNotification"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_of_the_state_machine_is_filled() {
        let functions = LambdaPackages::FUNCTIONS.iter().map(|name| (*name, format!("arn:of:{name}"))).collect();
        let text = definition(&workspace().unwrap().join(DEFINITION), &functions).unwrap();
        assert!(!text.contains("${"), "{text}");
        for name in ["start-detection", "list-pages", "fetch-page", "summarize"] {
            assert!(text.contains(&format!("\"arn:of:{name}\"")), "{name} is not in the state machine");
        }
    }
}
