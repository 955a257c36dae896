//! The functions of the workflow: the one place for their names, timeouts and memory sizes.
//!
//! Terraform, the local stack, the simulation and the build of the packages are tested against it.

use std::time::Duration;

/// A Lambda function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::VariantArray)]
pub enum Function {
    /// Inspects the video of an execution.
    InspectVideo,
    /// Starts the jobs of videos.
    StartDetection,
    /// Resumes the executions that wait for a job.
    ResumeExecution,
    /// Starts the jobs that wait for a slot.
    StartWaitingJobs,
    /// Lists the pages of a job.
    ListPages,
    /// Fetches pages of faces.
    FetchPage,
    /// Writes the summary and the manifest.
    Summarize,
}

impl Function {
    /// Every function.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name of the binary, of the package and, after the stack's name, of the deployed function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InspectVideo => "inspect-video",
            Self::StartDetection => "start-detection",
            Self::ResumeExecution => "resume-execution",
            Self::StartWaitingJobs => "start-waiting-jobs",
            Self::ListPages => "list-pages",
            Self::FetchPage => "fetch-page",
            Self::Summarize => "summarize",
        }
    }

    /// When Lambda ends an invocation. The state that calls the function waits at least as long.
    #[must_use]
    pub fn timeout(self) -> Duration {
        match self {
            Self::InspectVideo => Duration::from_mins(3),
            // Less than the shortest heartbeat of the state StartDetection, which may begin before the function returns.
            Self::StartDetection | Self::ResumeExecution | Self::StartWaitingJobs => Duration::from_mins(10),
            Self::ListPages => Duration::from_mins(5),
            Self::FetchPage | Self::Summarize => Duration::from_mins(15),
        }
    }

    /// The memory in MB. Lambda gives processor time in proportion to it.
    #[must_use]
    pub fn memory_mb(self) -> u32 {
        match self {
            Self::InspectVideo
            | Self::StartDetection
            | Self::ResumeExecution
            | Self::StartWaitingJobs
            | Self::FetchPage => 256,
            Self::ListPages => 512,
            Self::Summarize => 1024,
        }
    }

    /// The placeholder of its ARN in the definitions, without `${` and `}`: `list_pages_arn`.
    #[must_use]
    pub fn placeholder(self) -> String {
        format!("{}_arn", self.name().replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    /// The number after `name =` in a block of Terraform.
    fn number(block: &str, name: &str) -> u64 {
        let line =
            block.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        let value = line.split_once('=').unwrap().1.trim_start();
        value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    #[test]
    fn terraform_deploys_each_function_with_its_timeout_and_memory() {
        let terraform = read("../terraform/functions.tf");
        for function in Function::ALL {
            let (_, block) = terraform
                .split_once(&format!("    {} = {{", function.name()))
                .unwrap_or_else(|| panic!("{}", function.name()));
            assert_eq!(number(block, "timeout"), function.timeout().as_secs(), "{}", function.name());
            assert_eq!(number(block, "memory"), u64::from(function.memory_mb()), "{}", function.name());
        }
    }

    #[test]
    fn each_binary_is_a_function() {
        let binaries = fs::read_dir(format!("{}/src/bin", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut binaries: Vec<_> =
            binaries.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        binaries.sort();
        let mut names: Vec<_> = Function::ALL.iter().map(|function| function.name().to_owned()).collect();
        names.sort();
        assert_eq!(binaries, names);
    }

    #[test]
    fn no_state_gives_up_before_its_function() {
        let definition: serde_json::Value =
            serde_json::from_str(&read("../statemachine/analyze-video.asl.json")).unwrap();
        for (state, function) in [
            ("/States/InspectVideo", Function::InspectVideo),
            ("/States/ReadPages/ItemProcessor/States/ListPages", Function::ListPages),
            ("/States/ReadPages/ItemProcessor/States/FetchPage", Function::FetchPage),
            ("/States/Summarize", Function::Summarize),
        ] {
            let timeout = definition.pointer(&format!("{state}/TimeoutSeconds")).unwrap().as_u64().unwrap();
            assert!(timeout >= function.timeout().as_secs(), "{state}");
        }
    }
}
