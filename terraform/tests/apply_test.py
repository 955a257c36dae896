#!/usr/bin/env python3
"""Applies, plans and destroys the module on the local emulator, with the real provider, in the modes that the mocked provider
cannot show. The functions are placeholders: tests/terraform.rs runs the real ones.

scripts/check-terraform-apply installs the emulator and runs this file with its interpreter."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import botocore.session

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "terraform"
REGION = "us-east-1"
FUNCTIONS = [zip_file.stem for zip_file in (MODULE / "tests" / "zips").glob("*.zip")]

# Attributes that the emulator (ministack 1.5.33) does not return as they were set, as in tests/terraform.rs.
EMULATOR_GAPS = {
    "aws_cloudwatch_metric_alarm": {
        "actions_enabled",
        "alarm_actions",
        "alarm_description",
        "dimensions",
        "insufficient_data_actions",
        "ok_actions",
        "period",
        "statistic",
        "treat_missing_data",
    },
    "aws_sfn_state_machine": {"tracing_configuration"},
}

INITIALISING = Lock()

# The services that Terraform calls, and their prefixes in IAM. GetCallerIdentity of STS needs no permission.
SERVICES = {
    "CloudWatch": "cloudwatch",
    "CloudWatch Logs": "logs",
    "EventBridge": "events",
    "Glue": "glue",
    "IAM": "iam",
    "KMS": "kms",
    "Lambda": "lambda",
    "S3": "s3",
    "SFN": "states",
    "SNS": "sns",
    "SQS": "sqs",
}
# The calls whose permission has another name: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
PERMISSIONS = {
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketCors": "s3:GetBucketCORS",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutBucketNotificationConfiguration": "s3:PutBucketNotification",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
# The permissions of all calls that Terraform has made.
USED = set()


class Emulator:
    """The emulator on a free port. Its launcher ends when its standard input is closed."""

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        directory = Path(self.temporary.name)
        self.log = open(directory / "emulator.log", "w+b")
        (directory / "tmp").mkdir()
        self.process = subprocess.Popen(
            # The port 0 is any free one.
            [sys.executable, ROOT / "crates" / "local-stack" / "src" / "launcher.py", "0"],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(directory),
                "TMPDIR": str(directory / "tmp"),
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": REGION,
                "MINISTACK_REGION": REGION,
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
            },
            cwd=directory,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url:
            self.log.seek(0)
            sys.exit(f"The emulator did not start:\n{self.log.read().decode()}")
        return self

    def client(self, service):
        return botocore.session.get_session().create_client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.temporary.cleanup()


class Terraform:
    """A configuration and its state. `used` collects the permissions of the calls that Terraform makes."""

    def __init__(self, directory, variables, used=USED):
        self.directory = directory
        self.used = used
        self.variables = [f"-var={variable}" for variable in variables]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.environment = inherited | {
            "AWS_ENDPOINT_URL": EMULATOR.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            # The provider writes each call to the log.
            "TF_LOG_PROVIDER": "DEBUG",
            "TF_LOG_PATH": str(directory / "provider.log"),
        }
        # Terraform's plugin cache is not safe for concurrent use.
        with INITIALISING:
            status, output = self.execute(str(ROOT / "scripts" / "terraform-init"), str(directory))
        if status != 0:
            raise AssertionError(output)

    def execute(self, *command):
        """The exit status and the output of a command."""
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        self.collect_calls()
        return done.returncode, done.stdout

    def collect_calls(self):
        log = Path(self.environment["TF_LOG_PATH"])
        if not log.exists():
            return
        for request in log.read_text(errors="replace").split("HTTP Request Sent:")[1:]:
            service = re.search(r'rpc\.service=(?:"([^"]+)"|(\w+))', request)
            method = re.search(r"rpc\.method=(\w+)", request)
            prefix = SERVICES.get(service[1] or service[2]) if service and method else None
            if prefix:
                call = f"{prefix}:{method[1]}"
                self.used.add(PERMISSIONS.get(call, call))
        log.unlink()

    def run(self, command, *options):
        return self.execute("terraform", command, "-no-color", *self.variables, *options)

    def succeed(self, command, *options):
        status, output = self.run(command, *options)
        if status != 0:
            raise AssertionError(output)

    def apply(self, *options):
        self.succeed("apply", "-auto-approve", *options)

    def destroy(self, *options):
        status, output = self.run("destroy", "-auto-approve", *options)
        # The provider repeats a deletion whose answer is lost. AWS accepts that, the emulator does not
        # (https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html).
        if status != 0 and "StateMachineDoesNotExist" in output:
            self.succeed("destroy", "-auto-approve", *options)
        elif status != 0:
            raise AssertionError(output)

    def json(self, *arguments):
        done = subprocess.run(["terraform", *arguments], cwd=self.directory, env=self.environment, check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    def changes(self, *options):
        """The resources that a plan changes."""
        self.succeed("plan", "-out=again.tfplan", *options)
        resources = self.json("show", "-json", "again.tfplan")["resource_changes"]
        return [resource for resource in resources if resource["mode"] == "managed" and resource["change"]["actions"] != ["no-op"]]

    def unexpected_changes(self):
        """The attributes that a second plan changes, without the gaps of the emulator."""
        found = set()
        for resource in self.changes():
            change = resource["change"]
            if change["actions"] != ["update"]:
                found.add(f"{resource['address']}: {change['actions']}")
                continue
            changed = {name for name, value in change["after"].items() if change["before"].get(name) != value}
            found |= {f"{resource['address']}.{name}" for name in changed - EMULATOR_GAPS.get(resource["type"], set())}
        return found


class Apply(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        zips = self.directory / "zips"
        zips.mkdir()
        for function in FUNCTIONS:
            with zipfile.ZipFile(zips / f"{function}.zip", "w") as package:
                package.writestr("bootstrap", "placeholder")
        self.zips = f"zips_directory={zips}"
        for part in ("terraform", "statemachine"):
            ignored = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars", "tests")
            shutil.copytree(ROOT / part, self.directory / part, ignore=ignored)

    def module(self, *variables):
        """The module as a root module."""
        return Terraform(self.directory / "terraform", (self.zips, *variables))

    def buckets(self, prefix):
        return [bucket["Name"] for bucket in EMULATOR.client("s3").list_buckets()["Buckets"] if bucket["Name"].startswith(prefix)]

    def key_state(self, key):
        return EMULATOR.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]

    def matched(self, stack, bucket, objects):
        """The objects whose creation matches a rule of the stack, of these keys and sizes."""
        events = EMULATOR.client("events")
        patterns = [rule["EventPattern"] for rule in events.list_rules(NamePrefix=f"{stack}-")["Rules"] if rule.get("EventPattern")]
        found = []
        for key, size in objects:
            event = {
                "id": "1",
                "account": "000000000000",
                "source": "aws.s3",
                "time": "2026-01-01T00:00:00Z",
                "region": REGION,
                "resources": [f"arn:aws:s3:::{bucket}"],
                "detail-type": "Object Created",
                "detail": {"bucket": {"name": bucket}, "object": {"key": key, "size": size}, "reason": "CompleteMultipartUpload"},
            }
            matches = [events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"] for pattern in patterns]
            found += [key] * sum(matches)
        return found

    def test_default(self):
        stack = self.module("name=default")
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        [bucket] = self.buckets("default-uploads")
        objects = [("a.mp4", 1), ("b/c.MoV", 1), ('"quoted" .mp4', 1), ("empty.mp4", 0), ("a.mp4.txt", 1), ("mp4", 1)]
        self.assertEqual(self.matched("default", bucket, objects), ["a.mp4", "b/c.MoV", '"quoted" .mp4'])

        # A new role gets a new function, and what Lambda deletes with the former function.
        changes = stack.changes('-replace=aws_iam_role.function["resume-execution"]')
        self.assertEqual(
            {resource["address"] for resource in changes if resource["change"]["actions"] == ["delete", "create"]},
            {
                'aws_iam_role.function["resume-execution"]',
                'aws_iam_role_policy.function["resume-execution"]',
                'aws_lambda_function.function["resume-execution"]',
                "aws_lambda_function_event_invoke_config.resume_execution",
                "aws_lambda_permission.completions",
                "aws_sns_topic_subscription.completions",
            },
        )
        stack.destroy()
        self.assertEqual(self.buckets("default"), [])

    def test_existing_bucket_with_prefixes(self):
        EMULATOR.client("s3").create_bucket(Bucket="company-videos")
        stack = self.module(
            "name=existing", "upload_bucket=company-videos", "upload_bucket_take_notifications=true", 'upload_prefixes=["interviews/", "shows/"]'
        )
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        objects = [("interviews/a.mp4", 1), ("shows/b/c.MOV", 1), ("shows/d.Mp4", 1), ("interviews/empty.mp4", 0), ("others/shows/e.mp4", 1)]
        self.assertEqual(self.matched("existing", "company-videos", objects), ["interviews/a.mp4", "shows/b/c.MOV"])
        stack.destroy()
        self.assertEqual(self.buckets("company-videos"), ["company-videos"])
        self.assertEqual(self.buckets("existing"), [])

    def test_customer_managed_key(self):
        stack = self.module("name=with-key", "customer_managed_key=true")
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        key = stack.json("output", "-json")["key_arn"]["value"]
        [bucket] = self.buckets("with-key-results")
        EMULATOR.client("s3").put_object(Bucket=bucket, Key="results/a/manifest.json", Body=b"{}")

        # Of two values of a variable, Terraform uses the last.
        status, output = stack.run("plan", "-var=customer_managed_key=false")
        self.assertNotEqual(status, 0, output)
        self.assertIn(key, "".join(output.split()))
        status, output = stack.run("destroy", "-auto-approve")
        self.assertNotEqual(status, 0, output)
        self.assertIn("BucketNotEmpty", output)
        self.assertEqual(self.key_state(key), "Enabled")
        stack.apply("-var=force_destroy=true")
        stack.destroy("-var=force_destroy=true")
        self.assertEqual(self.key_state(key), "PendingDeletion")
        self.assertEqual(self.buckets("with-key"), [])

    def test_existing_key(self):
        example = self.directory / "terraform" / "examples" / "complete"
        shutil.copy(MODULE / ".terraform.lock.hcl", example)
        stack = Terraform(example, (self.zips, f"region={REGION}"))
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        key = stack.json("output", "-json")["facereel"]["value"]["key_arn"]
        [bucket] = self.buckets("media-faces-results")
        # The rules of the topic, of the tables of Athena and of the example. The state machine backfill writes the second object.
        objects = [("results/interviews/a.mp4/0f/manifest.json", 1), ("backfill/1/manifest.json", 1), ("results/a/summary.json", 1)]
        self.assertEqual(self.matched("media-faces", bucket, objects), [objects[0][0]] * 3)
        EMULATOR.client("s3").put_object(Bucket=bucket, Key="results/a/manifest.json", Body=b"{}")

        # Terraform destroys the key of the caller only after the buckets.
        status, output = stack.run("destroy", "-auto-approve")
        self.assertNotEqual(status, 0, output)
        self.assertEqual(self.key_state(key), "Enabled")
        EMULATOR.client("s3").delete_object(Bucket=bucket, Key="results/a/manifest.json")
        stack.destroy()
        self.assertEqual(self.key_state(key), "PendingDeletion")
        self.assertEqual(self.buckets("media-faces"), [])

    def test_bucket_of_another_account(self):
        """The emulator has one account, so this shows that the configuration can be applied, and not that events are forwarded."""
        EMULATOR.client("s3").create_bucket(Bucket="their-videos")
        example = self.directory / "terraform" / "examples" / "bucket-of-another-account"
        shutil.copy(MODULE / ".terraform.lock.hcl", example)
        # The account of the bucket has other permissions than the deployer of the stack.
        stack = Terraform(example, (self.zips, f"region={REGION}", "bucket=their-videos"), used=set())
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        stack.destroy()
        self.assertEqual(self.buckets("their-videos"), ["their-videos"])

    def test_two_stacks_of_one_caller(self):
        caller = self.directory / "caller"
        caller.mkdir()
        shutil.copy(MODULE / ".terraform.lock.hcl", caller)
        (caller / "main.tf").write_text(
            """
            variable "zips_directory" {}

            module "facereel" {
              source         = "../terraform"
              for_each       = toset(["first", "second"])
              name           = each.key
              zips_directory = var.zips_directory
            }
            """
        )
        stack = Terraform(caller, (self.zips,))
        stack.apply()
        self.assertEqual(stack.unexpected_changes(), set())
        stack.destroy()
        self.assertEqual(self.buckets("first") + self.buckets("second"), [])


def run(test):
    result = unittest.TestResult()
    begin = time.monotonic()
    test.run(result)
    seconds = time.monotonic() - begin
    problems = [text for _, text in result.failures + result.errors]
    print(f"{test.id()}: {'failed' if problems else 'passed'} in {seconds:.0f} s", *problems, sep="\n", flush=True)
    return not problems


if __name__ == "__main__":
    tests = list(unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:] or ["Apply"], sys.modules["__main__"]))
    tests = [test for suite in tests for test in (suite if isinstance(suite, unittest.TestSuite) else [suite])]
    # Most of the time is spent waiting, so all stacks are applied at the same time.
    with Emulator() as EMULATOR, ThreadPoolExecutor(len(tests)) as pool:
        passed = all(list(pool.map(run, tests)))
    policy = (MODULE / "examples" / "deployer-policy" / "main.tf").read_text()
    missing = sorted(USED - set(re.findall(r'"(\w+:\w+)"', policy)))
    if missing:
        print("examples/deployer-policy does not allow calls that Terraform makes:", *missing)
    sys.exit(not passed or bool(missing))
