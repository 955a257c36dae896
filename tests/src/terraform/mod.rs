//! The Terraform module on the local emulator: a copy of the module, applied and destroyed with the real provider.

pub mod iam;
pub mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use local_stack::{LambdaPackages, workspace};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

pub use recorder::call;

/// A copy of the module, and the emulator that it is applied to.
pub struct Terraform {
    /// Contains the copy in `terraform/`, `statemachine/`, `zips/` and the state.
    dir: TempDir,
    emulator: String,
    variables: BTreeMap<String, String>,
}

/// A value that Terraform would change in an unchanged stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// For example `aws_lambda_function`.
    pub kind: String,
    /// The attribute at the resource's top level; absent when the whole resource is created or destroyed.
    pub attribute: Option<String>,
}

impl Terraform {
    /// Copies the module, and initialises the copy with the real provider. `recorders` are the endpoints that the functions
    /// use for AWS, by function.
    ///
    /// # Panics
    /// When a file cannot be copied or Terraform cannot be initialised: the message says why.
    pub async fn prepare(emulator: &str, packages: &LambdaPackages, recorders: &BTreeMap<&str, String>) -> Self {
        let root = workspace().unwrap_or_else(|error| panic!("{error}"));
        let dir = tempfile::tempdir().expect("a temporary directory");
        for part in ["terraform", "statemachine", "zips"] {
            fs::create_dir(dir.path().join(part)).expect("a new directory can be created");
        }
        copy(&root.join("terraform"), &dir.path().join("terraform"), &["tf", "json", "hcl"]);
        copy(&root.join("statemachine"), &dir.path().join("statemachine"), &["json"]);
        for (function, zip) in packages.iter() {
            fs::write(dir.path().join("zips").join(format!("{}.zip", function.name())), zip.as_ref())
                .expect("zips can be written");
        }
        // An override file, so that the module itself contains nothing about emulators and recorders.
        fs::write(dir.path().join("terraform/recorders_override.tf"), override_of_functions(&root, recorders))
            .expect("the copy can be written to");

        let variables = [
            ("architecture", if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }.to_owned()),
            ("zips_directory", dir.path().join("zips").to_string_lossy().into_owned()),
            ("force_destroy", "true".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        let terraform = Self { dir, emulator: emulator.to_owned(), variables };
        let mut init = Command::new(root.join("scripts/terraform-init"));
        init.arg(terraform.dir());
        terraform.run(init).await;
        terraform
    }

    /// Sets a variable of the module.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// `terraform apply`; returns the outputs' values.
    ///
    /// # Panics
    /// When it fails, with the output of Terraform.
    pub async fn apply(&self) -> Value {
        self.terraform(&["apply", "-auto-approve"], true).await;
        let outputs: Value = parse(&self.terraform(&["output", "-json"], false).await);
        let outputs = outputs.as_object().expect("outputs by name");
        outputs.iter().map(|(name, output)| (name.clone(), output["value"].clone())).collect()
    }

    /// The changes of a new plan.
    ///
    /// # Panics
    /// When it fails, with the output of Terraform.
    pub async fn plan(&self) -> Vec<Change> {
        self.terraform(&["plan", "-out", "again.tfplan"], true).await;
        let plan: Value = parse(&self.terraform(&["show", "-json", "again.tfplan"], false).await);
        let mut changes: Vec<Change> = list(&plan["resource_changes"])
            .filter(|resource| {
                resource["mode"] == "managed" && resource["change"]["actions"] != serde_json::json!(["no-op"])
            })
            .flat_map(changes)
            .collect();
        changes.sort();
        changes.dedup();
        changes
    }

    /// The resources in the state, each with its `address`, `type`, `name`, `index` and `values`.
    ///
    /// # Panics
    /// When there are none.
    pub async fn resources(&self) -> Vec<Value> {
        let state: Value = parse(&self.terraform(&["show", "-json"], false).await);
        list(&state["values"]["root_module"]["resources"]).cloned().collect()
    }

    /// `terraform destroy`.
    ///
    /// # Panics
    /// When it fails, with the output of Terraform.
    pub async fn destroy(&self) {
        let arguments = ["destroy", "-auto-approve"];
        let first = self.output(&mut self.command(&arguments, true)).await;
        // The provider repeats a deletion whose answer is lost. AWS accepts that, the emulator does not
        // (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html>).
        if first.status.success() || !String::from_utf8_lossy(&first.stderr).contains("StateMachineDoesNotExist") {
            return drop(succeeded("terraform destroy", &first));
        }
        self.terraform(&arguments, true).await;
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("terraform")
    }

    async fn terraform(&self, arguments: &[&str], with_variables: bool) -> String {
        self.run(self.command(arguments, with_variables)).await
    }

    fn command(&self, arguments: &[&str], with_variables: bool) -> Command {
        let mut command = Command::new("terraform");
        command.arg(arguments[0]).arg("-no-color").args(&arguments[1..]);
        if with_variables {
            command.args(self.variables.iter().map(|(name, value)| format!("-var={name}={value}")));
        }
        command
    }

    async fn run(&self, mut command: Command) -> String {
        let output = self.output(&mut command).await;
        succeeded(&format!("{:?}", command.as_std()), &output)
    }

    async fn output(&self, command: &mut Command) -> Output {
        command
            .current_dir(self.dir())
            .envs([
                ("AWS_ENDPOINT_URL", self.emulator.as_str()),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
                ("AWS_REGION", "us-east-1"),
                ("TF_IN_AUTOMATION", "1"),
                ("TF_INPUT", "0"),
            ])
            // The user's own profile and session must not be used.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|error| panic!("{:?} cannot be run, is Terraform installed? {error}", command.as_std()))
    }
}

/// What a command wrote to its standard output, if it has succeeded.
fn succeeded(command: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The override file that makes each function's recorder the endpoint of every service that the functions have a client for.
fn override_of_functions(root: &Path, recorders: &BTreeMap<&str, String>) -> String {
    let manifest = fs::read_to_string(root.join("lambdas/Cargo.toml")).expect("the functions' manifest");
    let services: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("aws-sdk-"))
        .map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_uppercase())
        .collect();
    // JSON's lists and objects are valid Terraform. AWS_ENDPOINT_URL cannot be used, because the emulator sets it.
    let (services, recorders) = (serde_json::json!(services), serde_json::json!(recorders));
    format!(
        r#"
        resource "aws_lambda_function" "function" {{
          environment {{
            variables = merge(each.value.environment, {{
              for service in {services} : "AWS_ENDPOINT_URL_${{service}}" => {recorders}[each.key]
            }})
          }}
        }}
        "#
    )
}

/// The attributes of one resource that a plan would change.
fn changes(resource: &Value) -> Vec<Change> {
    let kind = resource["type"].as_str().unwrap_or_default();
    let (before, after) = (&resource["change"]["before"], &resource["change"]["after"]);
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return vec![Change { kind: kind.to_owned(), attribute: None }];
    };
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    changed.map(|(name, _)| Change { kind: kind.to_owned(), attribute: Some(name.clone()) }).collect()
}

fn copy(from: &Path, to: &Path, extensions: &[&str]) {
    for entry in fs::read_dir(from).expect("the repository can be read").flatten() {
        let path = entry.path();
        let wanted = path.extension().and_then(|extension| extension.to_str()).is_some_and(|e| extensions.contains(&e));
        if wanted && path.is_file() {
            fs::copy(&path, to.join(entry.file_name())).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("Terraform's JSON: {error}\n{text}"))
}
