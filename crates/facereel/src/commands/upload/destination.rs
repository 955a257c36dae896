//! The keys of the uploaded videos.

use std::collections::BTreeMap;

use super::local_file::LocalFile;
use crate::deployed::{S3Uri, UploadRule};

/// The maximum length of a key in bytes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
const MAX_KEY_BYTES: usize = 1024;

/// The object for each file. The default for `to` is the bucket and the prefix of the first rule.
///
/// # Errors
/// The reasons why files are not uploaded.
pub(super) fn objects(
    files: &[LocalFile],
    to: Option<&S3Uri>,
    rules: &[UploadRule],
) -> Result<Vec<S3Uri>, Vec<String>> {
    let default = rules.first().map(|rule| S3Uri { bucket: rule.bucket.clone(), key: rule.prefix().to_owned() });
    let Some(to) = to.or(default.as_ref()) else { return Err(vec!["the stack has no rule for uploads".to_owned()]) };
    let objects: Vec<_> = files.iter().map(|file| object(file, to, files.len())).collect();
    let mut problems: Vec<_> =
        files.iter().zip(&objects).filter_map(|(file, object)| problem(file, object, rules)).collect();
    problems.extend(duplicates(files, &objects));
    if problems.is_empty() { Ok(objects) } else { Err(problems) }
}

/// The object for a file: `to` is a folder, or, for a single file, the address of a video.
fn object(file: &LocalFile, to: &S3Uri, files: usize) -> S3Uri {
    let is_video = [".mp4", ".mov"].iter().any(|suffix| to.key.to_ascii_lowercase().ends_with(suffix));
    if files == 1 && is_video {
        return to.clone();
    }
    let slash = if to.key.is_empty() || to.key.ends_with('/') { "" } else { "/" };
    S3Uri { bucket: to.bucket.clone(), key: format!("{}{slash}{}", to.key, file.name) }
}

/// Why the upload of a file to this object would start no execution.
fn problem(file: &LocalFile, object: &S3Uri, rules: &[UploadRule]) -> Option<String> {
    let shown = file.path.display();
    if object.key.len() > MAX_KEY_BYTES {
        return Some(format!("the key of {shown} would be longer than {MAX_KEY_BYTES} bytes; choose a shorter --to"));
    }
    let of_bucket: Vec<_> = rules.iter().filter(|rule| rule.bucket == object.bucket).collect();
    if of_bucket.is_empty() {
        let buckets: Vec<_> = rules.iter().map(|rule| rule.bucket.as_str()).collect();
        return Some(format!(
            "no rule of the stack starts executions for uploads to the bucket {}; its upload bucket is {}",
            object.bucket,
            buckets.first().unwrap_or(&"")
        ));
    }
    let matching: Vec<_> = of_bucket.iter().filter(|rule| rule.matches(&object.key)).collect();
    match matching.first() {
        None => Some(format!(
            "{shown} as {object} would start no execution: the stack's rules match {}; choose a matching --to, or rename the file if it is such a video, or convert it: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4",
            patterns(&of_bucket)
        )),
        Some(_) if matching.iter().any(|rule| rule.enabled) => None,
        Some(rule) => Some(format!(
            "the rule {0} is disabled, so the upload of {shown} would start no execution; enable it: aws events enable-rule --name {0}",
            rule.name
        )),
    }
}

/// The patterns of the keys that the rules match.
fn patterns(rules: &[&UploadRule]) -> String {
    rules.iter().flat_map(|rule| &rule.keys).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The files that would have the key of another file.
fn duplicates(files: &[LocalFile], objects: &[S3Uri]) -> Vec<String> {
    let mut first = BTreeMap::new();
    let mut problems = Vec::new();
    for (file, object) in files.iter().zip(objects) {
        if let Some(other) = first.insert(&object.key, file) {
            let (file, other) = (file.path.display(), other.path.display());
            problems.push(format!(
                "{other} and {file} would both be {object}; upload one of them to another folder (--to)"
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::deployed::KeyPattern;

    fn rule(keys: Vec<KeyPattern>) -> UploadRule {
        UploadRule {
            name: "facereel-uploads".to_owned(),
            enabled: true,
            bucket: "uploads".to_owned(),
            keys,
            pattern: serde_json::Value::Null,
        }
    }

    fn any_prefix() -> UploadRule {
        rule([".mp4", ".mov"].map(|suffix| KeyPattern::Suffix(suffix.to_owned())).into())
    }

    fn below(prefix: &str) -> UploadRule {
        rule([".mp4", ".MP4"].map(|suffix| KeyPattern::PrefixAndSuffix(prefix.to_owned(), suffix.to_owned())).into())
    }

    fn files(names: &[&str]) -> Vec<LocalFile> {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &&str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "film").unwrap();
            let mut file = LocalFile::inspect(&path).unwrap();
            file.path = Path::new(name).to_owned();
            file
        };
        names.iter().map(file).collect()
    }

    fn keys(names: &[&str], to: Option<&str>, rules: &[UploadRule]) -> Result<Vec<String>, String> {
        let to: Option<S3Uri> = to.map(|to| to.parse().unwrap());
        let objects = objects(&files(names), to.as_ref(), rules).map_err(|problems| problems.join("\n"))?;
        assert!(objects.iter().all(|object| object.bucket == "uploads"));
        Ok(objects.into_iter().map(|object| object.key).collect())
    }

    #[test]
    fn a_key_is_the_folder_and_the_name_of_the_file() {
        let any = [any_prefix()];
        assert_eq!(keys(&["a/1.mp4", "2.MOV"], None, &any).unwrap(), ["1.mp4", "2.MOV"]);
        assert_eq!(keys(&["1.mp4"], None, &[below("in/")]).unwrap(), ["in/1.mp4"]);
        assert_eq!(keys(&["1.mp4"], Some("s3://uploads"), &any).unwrap(), ["1.mp4"]);
        assert_eq!(keys(&["1.mp4"], Some("s3://uploads/day 1"), &any).unwrap(), ["day 1/1.mp4"]);
        assert_eq!(keys(&["1.mp4"], Some("s3://uploads/day 1/"), &any).unwrap(), ["day 1/1.mp4"]);
        assert_eq!(keys(&["1.mp4"], Some("s3://uploads/b.mp4"), &any).unwrap(), ["b.mp4"]);
        // With several files, it can only be a folder.
        assert_eq!(
            keys(&["1.mp4", "2.mp4"], Some("s3://uploads/b.mp4"), &any).unwrap(),
            ["b.mp4/1.mp4", "b.mp4/2.mp4"]
        );
    }

    #[test]
    fn an_upload_that_would_start_no_execution_is_refused() {
        let mut disabled = any_prefix();
        disabled.enabled = false;
        let long = format!("s3://uploads/{}", "k".repeat(1020));
        for (name, to, rule, says) in [
            (
                "a.txt",
                None,
                any_prefix(),
                "a.txt as s3://uploads/a.txt would start no execution: the stack's rules match *.mp4, *.mov;",
            ),
            ("a.Mp4", None, below("in/"), "the stack's rules match in/*.mp4, in/*.MP4"),
            ("a.mp4", Some("s3://uploads/out/"), below("in/"), "the stack's rules match in/*.mp4"),
            ("a.mp4", Some("s3://other/in/"), below("in/"), "the bucket other; its upload bucket is uploads"),
            ("a.mp4", None, disabled, "aws events enable-rule --name facereel-uploads"),
            ("a.mp4", Some(long.as_str()), any_prefix(), "longer than 1024 bytes"),
        ] {
            let problem = keys(&[name], to, &[rule]).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn two_files_do_not_get_the_same_key() {
        let problem = keys(&["a/1.mp4", "b/1.mp4", "2.mp4"], None, &[any_prefix()]).unwrap_err();
        assert_eq!(
            problem,
            "a/1.mp4 and b/1.mp4 would both be s3://uploads/1.mp4; upload one of them to another folder (--to)"
        );
    }
}
