//! The schemas in `docs/schema` of the documents of `--json` are those of the types. `UPDATE_DOCS=1` writes them.

use std::{env, fs, path::Path};

use facereel::documents::schemas;

#[test]
fn the_schemas_of_the_documents_are_those_of_the_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    for (name, schema) in schemas() {
        let file = dir.join(format!("{name}.schema.json"));
        let text = format!("{:#}\n", schema.to_value());
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert!(written == text, "{}: run UPDATE_DOCS=1 cargo test -p facereel --test schemas", file.display());
    }
}
