//! The definition is also a Terraform template: it must contain no template syntax except for the known placeholders.

use super::Lint;

pub(super) fn check(lint: &mut Lint<'_>, definition: &str) {
    if definition.contains("%{") {
        lint.find("", "`%{` starts a directive of Terraform's templates: put a space between the two characters");
    }
    for after in definition.split("${").skip(1) {
        let name = after.split(['}', '"', '\n']).next().unwrap_or_default();
        if !lint.deployment.placeholders.contains(&name) {
            let known = lint.deployment.placeholders.join(", ");
            lint.find("", format!("the deployment does not replace `${{{name}}}`: it knows {known}"));
        }
    }
}
