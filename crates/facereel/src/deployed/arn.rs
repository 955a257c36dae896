//! The ARN of the state machine, from which all other names of the stack are derived.

use std::{fmt, str::FromStr};

/// The suffix of the state machine's name, after the name of the stack.
const NAME_SUFFIX: &str = "-analyze-video";

/// The ARN of the state machine `analyze-video` of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMachineArn {
    partition: String,
    region: String,
    account: String,
    stack: String,
}

/// The text is not the ARN of a facereel state machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not the ARN of a facereel state machine (arn:aws:states:<Region>:<account>:stateMachine:<stack>-analyze-video); `terraform output -raw state_machine_arn` prints it"
)]
pub struct NotAnArn(String);

impl FromStr for StateMachineArn {
    type Err = NotAnArn;

    fn from_str(text: &str) -> Result<Self, NotAnArn> {
        let parts: Vec<_> = text.split(':').collect();
        match parts[..] {
            ["arn", partition, "states", region, account, "stateMachine", name]
                if !region.is_empty() && !account.is_empty() =>
            {
                let stack = name.strip_suffix(NAME_SUFFIX).ok_or_else(|| NotAnArn(text.to_owned()))?;
                Ok(Self {
                    partition: partition.to_owned(),
                    region: region.to_owned(),
                    account: account.to_owned(),
                    stack: stack.to_owned(),
                })
            }
            _ => Err(NotAnArn(text.to_owned())),
        }
    }
}

impl fmt::Display for StateMachineArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state_machine("analyze-video"))
    }
}

impl StateMachineArn {
    /// The Region of the stack.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The name of a function, queue or state machine of the stack: the name of the stack, `-`, and `part`.
    #[must_use]
    pub fn named(&self, part: &str) -> String {
        format!("{}-{part}", self.stack)
    }

    /// The ARN of the stack's state machine `part`.
    #[must_use]
    pub fn state_machine(&self, part: &str) -> String {
        let Self { partition, region, account, .. } = self;
        format!("arn:{partition}:states:{region}:{account}:stateMachine:{}", self.named(part))
    }

    /// The ARN of the execution of `analyze-video` with this name.
    #[must_use]
    pub fn execution(&self, name: &str) -> String {
        let Self { partition, region, account, stack } = self;
        format!("arn:{partition}:states:{region}:{account}:execution:{stack}{NAME_SUFFIX}:{name}")
    }

    /// The name in the ARN of an execution of this state machine. `None` for any other text.
    #[must_use]
    pub fn execution_name<'a>(&self, arn: &'a str) -> Option<&'a str> {
        arn.strip_prefix(&self.execution("")).filter(|name| !name.is_empty())
    }

    /// The URL of an execution of any state machine of the stack in the console, where it can be inspected and redriven.
    #[must_use]
    pub fn execution_url(&self, execution_arn: &str) -> String {
        format!("{}/v2/executions/details/{execution_arn}", self.console())
    }

    /// The URL of the state machine in the console, with the list of its executions.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/statemachines/view/{self}", self.console())
    }

    fn console(&self) -> String {
        let region = &self.region;
        let domain = match self.partition.as_str() {
            "aws-cn" => "console.amazonaws.cn",
            "aws-us-gov" => "console.amazonaws-us-gov.com",
            _ => "console.aws.amazon.com",
        };
        format!("https://{region}.{domain}/states/home?region={region}#")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-analyze-video";

    #[test]
    fn all_names_of_the_stack_are_derived_from_the_arn_of_the_state_machine() {
        let arn: StateMachineArn = ARN.parse().unwrap();
        assert_eq!(arn.to_string(), ARN);
        assert_eq!(arn.named("undelivered-uploads"), "facereel-undelivered-uploads");
        assert_eq!(
            arn.state_machine("backfill"),
            "arn:aws:states:eu-west-1:123456789012:stateMachine:facereel-backfill"
        );
        let execution = "arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:e1";
        assert_eq!(arn.execution("e1"), execution);
        assert_eq!(arn.execution_name(execution), Some("e1"));
        assert_eq!(arn.execution_name("arn:aws:states:eu-west-1:123456789012:execution:other:e1"), None);
    }

    #[test]
    fn urls_use_the_console_of_the_partition() {
        let arn: StateMachineArn = ARN.parse().unwrap();
        assert_eq!(
            arn.execution_url(&arn.execution("e1")),
            "https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1#/v2/executions/details/arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:e1"
        );
        let china: StateMachineArn =
            "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:v-analyze-video".parse().unwrap();
        assert!(china.url().starts_with("https://cn-north-1.console.amazonaws.cn/states/"), "{}", china.url());
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "facereel-analyze-video",
            "arn:aws:states:eu-west-1:123456789012:stateMachine:other",
            "arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:e1",
            "arn:aws:states:::stateMachine:facereel-analyze-video",
        ] {
            let error = text.parse::<StateMachineArn>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("terraform output"), "{error}");
        }
    }
}
