//! A build sees exactly the files that Docker would show it, whatever the ignore file says.
//!
//! The judge is the `docker` command's own reading of ignore files: the same context is built by it, and the files of
//! the image are compared with those that `stack` would send.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use stack::key::context::{ContextReader, ContextSpec, DigestCache, Scope};

const FILES: [&str; 24] = [
    "README.md",
    "Dockerfile",
    "a",
    "ab",
    "abc",
    "a.txt",
    "b/README.md",
    "b/c/README.md",
    "b/c/d/e.txt",
    "b/c/x*y",
    "b/x-y",
    "docs/guide.md",
    "docs/keep/one.md",
    "docs/keep/two.txt",
    "node_modules/m/index.js",
    "web/node_modules/m/index.js",
    "web/src/app.ts",
    "web/src/[id].ts",
    "web/dist/out.js",
    "web/.env",
    ".env",
    "spa ce/in name",
    "ünïcode/näme.txt",
    "#hash",
];

const IGNORE_FILES: [&str; 33] = [
    "",
    "# only a comment\n\n",
    "*",
    "*\n!a",
    "*\n!b/c",
    "*\n!b/c/README.md\n",
    "**",
    "**/README.md",
    "*.md",
    "*/*.md",
    "**/*.md\n!README.md",
    "*.md\n!README.md\nREADME.md",
    "b\n!b/c\nb/c/d",
    "b\n!b/c/d/e.txt",
    "b/**\n!b/x-y",
    "b/**/README.md",
    "b/*\n!b/c",
    "node_modules",
    "**/node_modules",
    "**/node_modules/**",
    "/web/dist/\n./docs/../a\n",
    "a?\na*.txt",
    "[a-b]\n[^a-z]*",
    "web/src/\\[id\\].ts\nb/c/x\\*y",
    "web/src/[[]id\\].ts",
    "docs\n!docs/keep/*.md",
    "!a\na",
    "a\n!a\na",
    "a/b\n!a",
    "b/c\n!b",
    "  spa ce  \n#hash\n\\#hash\n",
    "ünïcode/*\n**/.env\n",
    ".dockerignore\nDockerfile\n",
];

fn context(ignore: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n").unwrap();
    fs::write(folder.path().join(".dockerignore"), ignore).unwrap();
    folder
}

/// The files that `stack` would send.
fn ours(folder: &Path) -> BTreeSet<String> {
    let scope = Scope::Whole { reason: "a test".into() };
    let spec = ContextSpec { root: folder.to_owned(), dockerfile: folder.join("Dockerfile"), scope };
    let context = ContextReader::new(&DigestCache::in_memory()).read(&spec, &stack::process::Cancel::never()).unwrap();
    context.files().filter(|file| file.value.text() != "folder").map(|file| file.path.to_owned()).collect()
}

/// The `docker` command with an engine whose older builder and whose archives are plain: Docker 20.10.
fn judge() -> Command {
    let bed = |name| std::env::var(name).expect("the `docker` command is needed as a judge: run `make test`");
    let mut command = Command::new("docker");
    command
        .env("DOCKER_HOST", bed("STACK_TESTBED_NODE_DOCKER"))
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", bed("STACK_TESTBED_NODE_CERTS"))
        // The older builder reads ignore files in the `docker` command, which needs no plug-in.
        .env("DOCKER_BUILDKIT", "0");
    command
}

/// The files of an image that `docker build` made of everything it sees; nothing if there was nothing to copy.
fn dockers(folder: &Path) -> BTreeSet<String> {
    let build = judge().args(["build", "--quiet", "--force-rm", "--no-cache"]).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&build.stderr).into_owned();
    assert!(build.status.success(), "{said}");
    let image = String::from_utf8(build.stdout).unwrap().trim().to_owned();
    let mut save = judge().args(["save", &image]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut files = BTreeSet::new();
    let mut archive = tar::Archive::new(save.stdout.take().unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.path().unwrap().ends_with("layer.tar") {
            continue;
        }
        let mut layer = Vec::new();
        entry.read_to_end(&mut layer).unwrap();
        for entry in tar::Archive::new(layer.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            if !entry.header().entry_type().is_dir() {
                files.insert(entry.path().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let saved = save.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&saved.stderr);
    assert!(saved.status.success() || said.contains("empty export"), "{said}");
    let removed = judge().args(["rmi", "--force", &image]).output().unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    files
}

#[test]
fn ignore_files_mean_what_they_mean_to_docker() {
    let mut wrong = Vec::new();
    for ignore in IGNORE_FILES {
        let folder = context(ignore);
        let (ours, dockers) = (ours(folder.path()), dockers(folder.path()));
        if ours != dockers {
            let more: Vec<_> = ours.difference(&dockers).collect();
            let less: Vec<_> = dockers.difference(&ours).collect();
            wrong.push(format!(
                "{ignore:?}: sent, though Docker would not: {more:?}; not sent, though it would: {less:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The one place where the judge is no judge: its older builder does not enter an ignored folder for an exception with
/// wildcards. BuildKit, which is what everybody builds with, does.
#[test]
fn an_exception_with_wildcards_reaches_into_ignored_folders() {
    let folder = context("**\n!**/README.md");
    assert_eq!(Vec::from_iter(ours(folder.path())), ["README.md", "b/README.md", "b/c/README.md"]);
}
