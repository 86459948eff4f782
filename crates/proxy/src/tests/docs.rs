//! The pages of the transforms: there is one for each, and the topologies on it are right, by the schema too.

use std::fs;

use config::Catalog;
use testkit::{Scratch, workspace};

use super::check::said_of;
use super::schema::{json, validator};
use crate::cli::SchemaOf;
use crate::registry::Registry;

/// What begins a block of YAML that is a whole topology.
const TOPOLOGY: &str = "```yaml topology\n";

/// The page, and how the index tells of it: the first sentence below its heading.
fn page(kind: &str) -> (String, String) {
    let text = fs::read_to_string(workspace().join(format!("docs/transforms/{kind}.md"))).unwrap_or_default();
    let rest = text.strip_prefix(&format!("# {kind}\n\n"));
    let rest = rest.unwrap_or_else(|| panic!("docs/transforms/{kind}.md does not begin with `# {kind}`"));
    let paragraph = rest.split("\n\n").next().unwrap().replace('\n', " ");
    let sentence = paragraph.split_inclusive(". ").next().unwrap().trim().to_owned();
    (text, sentence)
}

#[test]
fn every_transform_has_its_page_and_its_line() {
    let index = fs::read_to_string(workspace().join("docs/transforms/README.md")).unwrap();
    let registry = Registry::built_in();
    let mut kinds = registry.transforms();
    kinds.sort_unstable();
    let lines: Vec<String> =
        kinds.iter().map(|kind| format!("- [{kind}]({kind}.md): {}", page(kind).1)).collect();
    let listed: Vec<&str> = index.lines().filter(|line| line.starts_with("- [")).collect();
    assert_eq!(listed, lines, "docs/transforms/README.md should list:\n{}", lines.join("\n"));
    let folder = fs::read_dir(workspace().join("docs/transforms")).unwrap();
    for file in folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()) {
        let kind = file.strip_suffix(".md").unwrap();
        assert!(kind == "README" || kinds.contains(&kind), "docs/transforms/{file} is of no transform");
    }
}

/// The topologies in a page.
fn topologies(page: &str) -> Vec<&str> {
    page.split(TOPOLOGY).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_topologies_in_the_pages_are_right() {
    let registry = Registry::built_in();
    let mut pages: Vec<(String, String)> =
        registry.transforms().iter().map(|kind| ((*kind).to_owned(), page(kind).0)).collect();
    for (kind, text) in &pages {
        assert!(topologies(text).iter().any(|topology| topology.contains(&**kind)), "{kind}: no example");
    }
    pages.push(("README".to_owned(), fs::read_to_string(workspace().join("README.md")).unwrap()));
    assert!(!topologies(&pages.last().unwrap().1).is_empty());
    let schema = validator(SchemaOf::Topology);
    for (page, text) in &pages {
        for topology in topologies(text) {
            let folder = Scratch::new("page").unwrap();
            folder.write("topology.yaml", topology).unwrap();
            folder.write("config.yaml", "main_log_level: info").unwrap();
            let said = said_of(&folder.path().display().to_string());
            said.unwrap_or_else(|said| panic!("{page}:\n{topology}\n{said}"));
            let topology_json = json(topology);
            let valid = schema.validate(&topology_json);
            valid.unwrap_or_else(|error| panic!("{page}:\n{topology}\n{error}"));
        }
    }
}
