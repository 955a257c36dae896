//! The deployment of this repository's workflow on an emulator: what Terraform creates on AWS.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use aws_sdk_eventbridge::types::{DeadLetterConfig, Target};
use aws_sdk_lambda::{
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime},
};
use aws_sdk_s3::types::{EventBridgeConfiguration, NotificationConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::future::try_join_all;
use lambdas::{functions::Function, job::FaceAttributes};
use serde_json::json;

use crate::{Emulator, Error, Installation, LambdaPackages};

/// The emulator checks no permissions, so this role does not exist. Whether the deployed roles allow enough can only be
/// tested on AWS.
const ROLE: &str = "arn:aws:iam::000000000000:role/facereel";

/// The options of a deployment.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The file with the definition of the state machine. Its placeholders are `${partition}` for the partition of ARNs, and
    /// those of [`Function::placeholder`] for the functions.
    pub definition: PathBuf,
    /// The URL of the Rekognition endpoint for the functions.
    pub rekognition_url: String,
    /// The face attributes that the functions ask for.
    pub attributes: FaceAttributes,
}

impl StackOptions {
    /// The options for this repository's state machine, with Rekognition at `rekognition_url`.
    ///
    /// # Errors
    /// As [`Installation::find`].
    pub fn new(rekognition_url: impl Into<String>) -> Result<Self, Error> {
        Ok(Self {
            definition: Installation::find()?.definition(),
            rekognition_url: rekognition_url.into(),
            attributes: FaceAttributes::default(),
        })
    }
}

/// The names of the deployed resources.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The bucket for videos. The upload of a video starts an execution.
    pub upload_bucket: String,
    /// The bucket for the results, with the prefix `results/`, and for the state of the functions.
    pub results_bucket: String,
    /// The topic to which Rekognition publishes completed jobs.
    pub topic_arn: String,
    /// The ARN of the state machine `analyze-video`.
    pub state_machine_arn: String,
}

impl Stack {
    /// Deploys all resources on an emulator that has none of them yet.
    ///
    /// # Errors
    /// [`Error::Aws`] with the call that the emulator rejected; [`Error::File`], if the definition cannot be read.
    pub async fn deploy(emulator: &Emulator, packages: &LambdaPackages, options: &StackOptions) -> Result<Self, Error> {
        let deployment = Deployment::new(emulator);
        let (upload_bucket, results_bucket) =
            tokio::try_join!(deployment.bucket("facereel-uploads"), deployment.bucket("facereel-results"))?;
        let (topic_arn, undelivered_uploads, _) = tokio::try_join!(
            deployment.topic("facereel-completions"),
            deployment.queue("facereel-undelivered-uploads"),
            deployment.queue("facereel-undelivered-completions"),
        )?;

        let environment: HashMap<_, _> = [
            ("RESULTS_BUCKET", results_bucket.as_str()),
            ("COMPLETION_TOPIC_ARN", &topic_arn),
            ("PUBLISH_ROLE_ARN", ROLE),
            ("FACE_ATTRIBUTES", options.attributes.as_str()),
            ("AWS_ENDPOINT_URL", emulator.url()),
            ("AWS_ENDPOINT_URL_REKOGNITION", &options.rekognition_url),
            // Lambda sets it for the log format of the deployment
            // (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html); the emulator does not.
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let functions: BTreeMap<Function, String> =
            try_join_all(packages.iter().map(|(function, zip)| deployment.function(function, zip, &environment)))
                .await?
                .into_iter()
                .collect();
        if let Some(arn) = functions.get(&Function::ResumeExecution) {
            deployment.subscribe(&topic_arn, arn).await?;
        }

        let state_machine_arn =
            deployment.state_machine("facereel-analyze-video", &definition(&options.definition, &functions)?).await?;
        deployment.start_on_upload(&upload_bucket, &state_machine_arn, &undelivered_uploads).await?;
        Ok(Self { upload_bucket, results_bucket, topic_arn, state_machine_arn })
    }
}

/// The definition of the state machine with its placeholders replaced by the partition and the ARNs of the functions.
fn definition(path: &Path, functions: &BTreeMap<Function, String>) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?.replace("${partition}", "aws");
    Ok(functions
        .iter()
        .fold(text, |text, (function, arn)| text.replace(&format!("${{{}}}", function.placeholder()), arn)))
}

/// The clients for a deployment, with one method for each type of resource.
struct Deployment {
    s3: aws_sdk_s3::Client,
    sns: aws_sdk_sns::Client,
    lambda: aws_sdk_lambda::Client,
    sfn: aws_sdk_sfn::Client,
    sqs: aws_sdk_sqs::Client,
    eventbridge: aws_sdk_eventbridge::Client,
}

impl Deployment {
    fn new(emulator: &Emulator) -> Self {
        Self {
            s3: aws_sdk_s3::Client::new(emulator.aws()),
            sns: aws_sdk_sns::Client::new(emulator.aws()),
            lambda: aws_sdk_lambda::Client::new(emulator.aws()),
            sfn: aws_sdk_sfn::Client::new(emulator.aws()),
            sqs: aws_sdk_sqs::Client::new(emulator.aws()),
            eventbridge: aws_sdk_eventbridge::Client::new(emulator.aws()),
        }
    }

    /// Creates a bucket that sends its events to `EventBridge`.
    async fn bucket(&self, name: &str) -> Result<String, Error> {
        self.s3.create_bucket().bucket(name).send().await.map_err(Error::aws("s3:CreateBucket"))?;
        let events = EventBridgeConfiguration::builder().build();
        let notifications = NotificationConfiguration::builder().event_bridge_configuration(events).build();
        let put =
            self.s3.put_bucket_notification_configuration().bucket(name).notification_configuration(notifications);
        put.send().await.map_err(Error::aws("s3:PutBucketNotification"))?;
        Ok(name.to_owned())
    }

    async fn topic(&self, name: &str) -> Result<String, Error> {
        let topic = self.sns.create_topic().name(name).send().await.map_err(Error::aws("sns:CreateTopic"))?;
        topic.topic_arn.ok_or(Error::Incomplete { call: "sns:CreateTopic", missing: "TopicArn" })
    }

    /// Creates a queue and returns its ARN.
    async fn queue(&self, name: &str) -> Result<String, Error> {
        const CALL: &str = "sqs:CreateQueue";
        let queue = self.sqs.create_queue().queue_name(name).send().await.map_err(Error::aws(CALL))?;
        let url = queue.queue_url.ok_or(Error::Incomplete { call: CALL, missing: "QueueUrl" })?;
        let request = self.sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::QueueArn);
        let attributes = request.send().await.map_err(Error::aws("sqs:GetQueueAttributes"))?.attributes;
        attributes
            .and_then(|mut attributes| attributes.remove(&QueueAttributeName::QueueArn))
            .ok_or(Error::Incomplete { call: "sqs:GetQueueAttributes", missing: "QueueArn" })
    }

    async fn function(
        &self,
        function: Function,
        zip: &Blob,
        environment: &HashMap<String, String>,
    ) -> Result<(Function, String), Error> {
        let timeout = i32::try_from(function.timeout().as_secs()).expect("a timeout is at most 900 seconds");
        let memory_mb = i32::try_from(function.memory_mb()).expect("the memory is at most 10,240 MB");
        let created = self
            .lambda
            .create_function()
            .function_name(format!("facereel-{}", function.name()))
            .runtime(Runtime::Providedal2023)
            .handler("bootstrap")
            .role(ROLE)
            .timeout(timeout)
            .memory_size(memory_mb)
            .code(FunctionCode::builder().zip_file(zip.clone()).build())
            .environment(Environment::builder().set_variables(Some(environment.clone())).build())
            .send()
            .await
            .map_err(Error::aws("lambda:CreateFunction"))?;
        let arn =
            created.function_arn.ok_or(Error::Incomplete { call: "lambda:CreateFunction", missing: "FunctionArn" })?;
        Ok((function, arn))
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

    /// Starts an execution for every upload of an .mp4 or .mov that is not empty, of any upload type, with the whole event as
    /// its input.
    async fn start_on_upload(&self, bucket: &str, state_machine_arn: &str, undelivered_arn: &str) -> Result<(), Error> {
        const RULE: &str = "facereel-uploads";
        let pattern = json!({
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {
                "bucket": { "name": [bucket] },
                "object": {
                    "key": [
                        { "suffix": { "equals-ignore-case": ".mp4" } },
                        { "suffix": { "equals-ignore-case": ".mov" } },
                    ],
                    "size": [{ "numeric": [">", 0] }],
                },
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
            .dead_letter_config(DeadLetterConfig::builder().arn(undelivered_arn).build())
            .build()
            .map_err(Error::aws("events:PutTargets"))?;
        self.eventbridge
            .put_targets()
            .rule(RULE)
            .targets(target)
            .send()
            .await
            .map_err(Error::aws("events:PutTargets"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_of_the_definition_is_replaced() {
        let functions =
            Function::ALL.iter().map(|function| (*function, format!("arn:of:{}", function.name()))).collect();
        let text = definition(&Installation::find().unwrap().definition(), &functions).unwrap();
        assert!(!text.contains("${"), "{text}");
        for name in ["inspect-video", "start-detection", "list-pages", "fetch-page", "summarize"] {
            assert!(text.contains(&format!("\"arn:of:{name}\"")), "{name} is not in the state machine");
        }
    }
}
