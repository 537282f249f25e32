//! Where one fact is written in more than one place, the places agree.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read its files has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `ERR_ALKNET_…` in a text. The pattern alone, as in `ERR_ALKNET_*`, is not a code.
fn codes(text: &str) -> BTreeSet<String> {
    const PREFIX: &str = "ERR_ALKNET_";
    let after = |(at, _): (usize, &str)| {
        let rest = &text[at + PREFIX.len()..];
        let end = rest.find(|sign: char| !sign.is_ascii_uppercase() && sign != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        (!name.is_empty()).then(|| format!("{PREFIX}{name}"))
    };
    text.match_indices(PREFIX).filter_map(after).collect()
}

fn sources(folder: &str, extension: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|found| found == extension) {
            text.push_str(&fs::read_to_string(path).expect("a file"));
        }
    }
    text
}

/// The members of the union `AlknetErrorCode`: what the types promise.
fn promised() -> BTreeSet<String> {
    let types = read("index.d.ts");
    let start = types.find("export type AlknetErrorCode").expect("the union of codes");
    let union = &types[start..];
    codes(&union[..union.find("\n\n").unwrap_or(union.len())])
}

#[test]
fn every_code_that_is_used_is_promised() {
    let promised = promised();
    assert!(promised.len() > 5, "the union was not found: {promised:?}");
    let core = codes(&read("src/error.rs"));
    let facade = codes(&sources("ts", "ts"));
    let binding = codes(&sources("binding/src", "rs"));
    for (place, used) in [("src/error.rs", &core), ("ts/", &facade), ("binding/", &binding)] {
        let strange: Vec<_> = used.difference(&promised).collect();
        assert!(strange.is_empty(), "{place} uses codes that index.d.ts lacks: {strange:?}");
    }
    let used: BTreeSet<_> = core.into_iter().chain(facade).chain(binding).collect();
    let idle: Vec<_> = promised.difference(&used).collect();
    assert!(idle.is_empty(), "index.d.ts promises codes that nothing uses: {idle:?}");
}

#[test]
fn every_code_is_explained() {
    let page = read("docs/errors.md");
    let headings: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with("### ")).flat_map(codes).collect();
    assert_eq!(headings, promised(), "docs/errors.md has one heading for each code of index.d.ts");
    for section in page.split("\n### ").skip(1).filter(|section| section.contains("ERR_ALKNET_")) {
        let name = section.lines().next().unwrap_or_default();
        for part in ["**Cause.**", "**Fix.**"] {
            assert!(section.contains(part), "docs/errors.md, {name}: no {part}");
        }
    }
}

#[test]
fn every_code_is_provoked_by_a_test() {
    let tests = sources("__test__", "ts")
        + &sources("tests", "rs")
        + &sources("__test__/support/children", "mjs");
    let missing: Vec<_> = promised().difference(&codes(&tests)).cloned().collect();
    assert!(missing.is_empty(), "no test provokes {missing:?}");
}

#[test]
fn versions_agree() {
    let package: serde_json::Value =
        serde_json::from_str(&read("package.json")).expect("package.json");
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"), "package.json and Cargo.toml");
    assert_eq!(package["license"], env!("CARGO_PKG_LICENSE"), "package.json and Cargo.toml");
    let toolchain = read("rust-toolchain.toml");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(
        toolchain.contains(&format!("channel = \"{rust}")),
        "rust-toolchain.toml is not {rust}"
    );
}

#[test]
fn examples_in_the_readme_are_the_files_that_the_tests_run() {
    let readme = read("README.md");
    let mut shown = 0;
    for (at, mark) in readme.match_indices("<!-- examples/") {
        let name = readme[at + mark.len()..].split(" -->").next().expect("a name");
        let rest = &readme[at..];
        let block = rest.split("```js\n").nth(1).and_then(|block| block.split("```").next());
        let file = read(&format!("examples/{name}"));
        assert_eq!(block, Some(file.as_str()), "README.md shows another examples/{name}");
        shown += 1;
    }
    assert!(shown >= 4, "README.md shows {shown} examples");
    assert_eq!(readme.matches("```js\n").count(), shown, "README.md has code that no test runs");
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |sign: &char| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_');
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let at_root = fs::read_dir(root).expect("the root");
    let in_docs = fs::read_dir(root.join("docs")).expect("docs/");
    let pages = at_root.chain(in_docs).map(|entry| entry.expect("an entry").path());
    for page in pages.filter(|path| path.extension().is_some_and(|found| found == "md")) {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = page.parent().expect("its folder");
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            let there = anchor.is_empty()
                || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(anchor));
            assert!(target.exists() && there, "{}: {link} leads nowhere", page.display());
        }
    }
}

#[test]
fn pages_that_the_code_points_at_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = fs::read_dir(root.join("src")).expect("src/");
    let mut text = read("index.d.ts") + &sources("ts", "ts") + &sources("binding/src", "rs");
    for room in rooms.map(|entry| entry.expect("an entry").path()) {
        let name = room.strip_prefix(root).expect("a path under the root");
        let name = name.to_string_lossy();
        text += &if room.is_dir() { sources(&name, "rs") } else { read(&name) };
    }
    for name in text.split("docs/").skip(1).filter_map(|rest| rest.split_inclusive(".md").next()) {
        let page = Path::new("docs").join(name);
        assert!(root.join(&page).exists(), "{} is pointed at, but is not there", page.display());
    }
}

/// The cells of each row of the table under this heading, without its first two lines.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = page.split_once(&format!("# {heading}\n")).expect("the heading");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    let cells =
        |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

#[test]
fn every_abuse_is_answered_by_tests_that_are_there() {
    let rows = table(&read("SECURITY.md"), "Abuse and answer");
    assert!(rows.len() > 10, "the table was not found");
    for row in rows {
        let [abuse, .., tests] = &row[..] else { panic!("a row of {} cells", row.len()) };
        for test in tests.split("; ") {
            let (file, claim) = test
                .strip_prefix('`')
                .and_then(|rest| rest.split_once("` "))
                .unwrap_or_else(|| panic!("{abuse}: {test:?} is not `file` claim"));
            assert!(!claim.is_empty() && read(file).contains(claim), "{file} has no {claim:?}");
        }
    }
}

#[test]
fn every_example_is_run_by_a_test_and_named_in_the_readme() {
    let tests = read("__test__/examples.test.ts");
    let readme = read("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in fs::read_dir(folder).expect("examples/") {
        let path = entry.expect("an entry").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(stem) = name.strip_suffix(".mjs") else { continue };
        assert!(tests.contains(&format!("'{stem}'")), "no test runs examples/{name}");
        assert!(readme.contains(&format!("examples/{name}")), "README.md does not name it: {name}");
    }
}
