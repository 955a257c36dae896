//! The definition is also a Terraform template: what Terraform would read in it must be meant.

use super::Lint;

pub(super) fn check(lint: &mut Lint<'_>, definition: &str) {
    if definition.contains("%{") {
        lint.find("", "`%{` opens a directive of Terraform's templates: put a space between the two");
    }
    for after in definition.split("${").skip(1) {
        let name = after.split(['}', '"', '\n']).next().unwrap_or_default();
        if !lint.deployment.placeholders.contains(&name) {
            let known = lint.deployment.placeholders.join(", ");
            lint.find("", format!("the deployment puts nothing in for `${{{name}}}`: it knows {known}"));
        }
    }
}
