//! Which files of a context the engine wants: the sources of the build's `COPY` lines, and what they lead to.

use std::collections::BTreeSet;

use crate::model::glob;
use crate::model::tree::{FileKind, FileTree, Place};

/// Links that lead to links are followed this often.
const MOST_LINKS: usize = 255;

/// The paths that the engine wants, wildcards included; none means everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FollowPaths {
    patterns: Option<BTreeSet<Vec<String>>>,
}

impl FollowPaths {
    pub(super) fn new(paths: &[String]) -> Self {
        let patterns: BTreeSet<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
        // `**` reaches into any depth, and an empty path is the root: both want everything.
        let everything =
            patterns.iter().any(|pattern| pattern.is_empty() || pattern.iter().any(|part| part.contains("**")));
        Self { patterns: if paths.is_empty() || everything { None } else { Some(patterns) } }
    }

    /// The first wanted path that is in none of these sources; `.` for everything. The ignore file is always asked for,
    /// whether the build needs it or not.
    pub(super) fn outside(&self, sources: &[String]) -> Option<String> {
        let sources: Vec<Vec<String>> = sources.iter().map(|source| parts(source)).collect();
        let Some(patterns) = &self.patterns else {
            return (!sources.iter().any(Vec::is_empty)).then(|| ".".to_owned());
        };
        let covered = |pattern: &Vec<String>| {
            pattern.as_slice() == [".dockerignore"] || sources.iter().any(|source| pattern.starts_with(source))
        };
        patterns.iter().find(|pattern| !covered(pattern)).map(|pattern| pattern.join("/"))
    }

    /// The places of the wanted entries: each path itself, all below it, the folders above it, and the same for
    /// what a symbolic link on the way points to.
    pub(super) fn select(&self, tree: &FileTree) -> Vec<Place> {
        let Some(mut patterns) = self.patterns.clone() else { return tree.places().collect() };
        let links: Vec<(String, &str)> = tree
            .iter()
            .filter_map(|entry| match entry.kind {
                FileKind::Symlink { target } => Some((entry.path(), target)),
                FileKind::File | FileKind::Folder => None,
            })
            .collect();
        let links: Vec<(Vec<&str>, &str)> =
            links.iter().map(|(link, target)| (link.split('/').collect(), *target)).collect();
        for _ in 0..MOST_LINKS {
            let found: Vec<Vec<String>> = links
                .iter()
                .flat_map(|(link, target)| patterns.iter().filter_map(|pattern| led_to(pattern, link, target)))
                .collect();
            let before = patterns.len();
            patterns.extend(found);
            if patterns.len() == before {
                break;
            }
        }
        let is_wanted = |place: &Place| {
            let Some(entry) = tree.get(*place) else { return false };
            let path = entry.path();
            let path: Vec<&str> = path.split('/').collect();
            // A file above a wanted path has the name of a folder that is not there.
            let leads = entry.kind != FileKind::File;
            patterns.iter().any(|pattern| fits(pattern, &path) && (leads || path.len() >= pattern.len()))
        };
        tree.places().filter(is_wanted).collect()
    }
}

/// The parts of a path, with `.` and `..` resolved; `..` does not leave the root.
fn parts(path: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.to_owned()),
        }
    }
    parts
}

/// Whether path and pattern agree as far as both go.
fn fits(pattern: &[String], path: &[&str]) -> bool {
    pattern.iter().zip(path).all(|(pattern, part)| pattern == part || glob::matches(pattern, part))
}

/// Where a pattern leads that has this link on its way.
fn led_to(pattern: &[String], link: &[&str], target: &str) -> Option<Vec<String>> {
    if link.len() > pattern.len() || !fits(pattern, link) {
        return None;
    }
    let mut path = if target.starts_with('/') { String::new() } else { link[..link.len() - 1].join("/") };
    path.push('/');
    path.push_str(target);
    let mut led = parts(&path);
    led.extend_from_slice(&pattern[link.len()..]);
    Some(led)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::About;

    fn tree() -> FileTree {
        let entries = [
            ("app", FileKind::Folder),
            ("app/deep", FileKind::Folder),
            ("app/deep/x.txt", FileKind::File),
            ("app/main.py", FileKind::File),
            ("appendix", FileKind::File),
            ("lib", FileKind::Folder),
            ("lib/current", FileKind::Symlink { target: "../real/v2" }),
            ("real", FileKind::Folder),
            ("real/v1", FileKind::File),
            ("real/v2", FileKind::Folder),
            ("real/v2/y.txt", FileKind::File),
        ];
        FileTree::of("/", entries.map(|(path, kind)| (path, kind, About::default()))).unwrap()
    }

    fn selected(paths: &[&str]) -> Vec<String> {
        let tree = tree();
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        FollowPaths::new(&paths).select(&tree).into_iter().map(|place| tree.get(place).unwrap().path()).collect()
    }

    #[test]
    fn a_path_brings_what_is_above_and_below_it() {
        assert_eq!(selected(&["app/deep"]), ["app", "app/deep", "app/deep/x.txt"]);
        assert_eq!(selected(&["/app/*.py"]), ["app", "app/main.py"]);
        assert_eq!(selected(&["nothing"]), Vec::<String>::new());
    }

    #[test]
    fn everything_is_wanted_without_paths_and_by_the_root() {
        for paths in [&[][..], &["."], &["/"], &["**/x.txt"]] {
            assert_eq!(selected(paths).len(), tree().len(), "{paths:?}");
        }
    }

    #[test]
    fn what_is_wanted_beyond_the_sources_is_named() {
        let outside = |wanted: &[&str], sources: &[&str]| {
            let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
            FollowPaths::new(&owned(wanted)).outside(&owned(sources))
        };
        assert_eq!(outside(&["/app", "/web/*.js"], &["./app/", "web/*.js"]), None);
        assert_eq!(outside(&["/app/main.py", ".dockerignore"], &["app"]), None);
        assert_eq!(outside(&["/app"], &["app/main.py"]), Some("app".into()));
        assert_eq!(outside(&[], &["app"]), Some(".".into()));
        assert_eq!(outside(&[], &[]), Some(".".into()));
    }

    #[test]
    fn links_on_the_way_are_followed() {
        let expected = ["lib", "lib/current", "real", "real/v2", "real/v2/y.txt"];
        assert_eq!(selected(&["lib/current/y.txt"]), expected);
        assert_eq!(selected(&["lib/curr*"]), expected);
    }
}
