//! Links to folders on the way of a pattern: which are followed, and what stands for those that are not.
//!
//! A link that stays in the folder of the patterns is followed: what is behind it counts as if it were there. Where that
//! would go in circles, or find again what the pattern matches by another path anyway, the link itself stands for it, with
//! its target. So does a link that leads outside; what is behind that is not looked at.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A link to a folder that was not followed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Relative to the folder of the patterns, with `/`.
    pub path: String,
    /// What it says.
    pub target: String,
    /// It leads outside, so nothing that is behind it is known.
    pub leads_outside: bool,
}

/// A link to a folder that was met on the way.
#[derive(Debug)]
pub(super) struct Met {
    /// Relative to the folder of the patterns.
    pub(super) path: String,
    /// Where it is.
    pub(super) full: PathBuf,
    /// How many folders below the one that it is in may be entered: at least one.
    pub(super) depth: usize,
}

/// How far a pattern reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everything below its base, whatever the path to it is.
    Whole,
    /// As deep as there are folders, and what it matches depends on the path.
    Deep,
    /// A number of folders: going in circles ends by itself.
    Limited,
}

/// The links that a pattern has met, to be followed in the order of their paths.
#[derive(Debug)]
pub(super) struct Links {
    root: Option<PathBuf>,
    base: Option<PathBuf>,
    reach: Reach,
    /// The last one is the next.
    met: Vec<Met>,
    /// The folders that links have led to.
    entered: Vec<PathBuf>,
}

/// The folders of tools, which are never entered.
pub(super) fn is_of_tools(name: &OsStr) -> bool {
    name == ".git" || name == ".stack"
}

/// The folder that a link leads to, if it stays below `root`, whose real path this is.
fn within(root: &Path, real: &Path) -> bool {
    real.strip_prefix(root).is_ok_and(|inner| !inner.components().any(|part| is_of_tools(part.as_os_str())))
}

/// The real folder behind a link, if it is one that is followed.
pub(super) fn followed(root: &Path, link: &Path) -> Option<PathBuf> {
    let real = link.canonicalize().ok().filter(|real| real.is_dir())?;
    within(&root.canonicalize().ok()?, &real).then_some(real)
}

impl Links {
    /// The links that were met below `base`.
    pub(super) fn new(root: &Path, base: &Path, reach: Reach, met: Vec<Met>) -> Self {
        let [root, base] = [root, base].map(|path| path.canonicalize().ok());
        let mut links = Self { root, base, reach, met: Vec::new(), entered: Vec::new() };
        links.add(met);
        links
    }

    /// Adds links that were met behind another.
    pub(super) fn add(&mut self, met: Vec<Met>) {
        self.met.extend(met);
        self.met.sort_by(|a, b| b.path.cmp(&a.path));
    }

    /// The next one that is to be followed. Those that are not are added to `others`; one that is gone is left out.
    pub(super) fn next(&mut self, others: &mut Vec<Link>) -> Option<Met> {
        while let Some(met) = self.met.pop() {
            let (Ok(real), Ok(target)) = (met.full.canonicalize(), fs::read_link(&met.full)) else { continue };
            let is_inside = self.root.as_ref().is_some_and(|root| within(root, &real));
            if is_inside && !self.is_seen(&met, &real) {
                self.entered.push(real);
                return Some(met);
            }
            let is_seen = is_inside || self.is_covered(&real);
            let target = target.to_string_lossy().into_owned();
            others.push(Link { path: met.path, target, leads_outside: !is_seen });
        }
        None
    }

    /// Whether following it leads in circles, or to what is seen anyway.
    fn is_seen(&self, met: &Met, real: &Path) -> bool {
        if self.reach == Reach::Limited {
            return false;
        }
        let own = met.full.parent().and_then(|folder| folder.canonicalize().ok());
        let is_circle = own.is_some_and(|own| own.starts_with(real));
        is_circle || self.is_covered(real) || self.entered.iter().any(|folder| real.starts_with(folder))
    }

    /// Whether the pattern matches what is in a folder by the folder's own path.
    fn is_covered(&self, real: &Path) -> bool {
        self.reach == Reach::Whole && self.base.as_ref().is_some_and(|base| within(base, real))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::patterns::{Matches, Patterns};
    use super::*;

    fn folder(files: &[&str], links: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        for (link, target) in links {
            let path = folder.path().join(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }
        folder
    }

    fn find(folder: &tempfile::TempDir, pattern: &str) -> Matches {
        Patterns::new([pattern]).unwrap().find(folder.path()).unwrap()
    }

    fn files(matches: &Matches) -> Vec<&str> {
        matches.files.iter().map(|file| &*file.path).collect()
    }

    fn links(matches: &Matches) -> Vec<(&str, &str, bool)> {
        matches.links.iter().map(|link| (&*link.path, &*link.target, link.leads_outside)).collect()
    }

    #[test]
    fn what_is_behind_a_link_to_a_folder_counts() {
        let folder =
            folder(&["src/a.c", "real/f.c", "real/deep/g.c"], &[("src/l", "../real"), ("src/x/m", "../../real")]);
        let found = find(&folder, "src/**");
        assert_eq!(files(&found), ["src/a.c", "src/l/deep/g.c", "src/l/f.c"]);
        assert_eq!(links(&found), [("src/x/m", "../../real", false)], "the same folder is entered once");
        assert_eq!(files(&find(&folder, "src/*/f.c")), ["src/l/f.c"]);
        assert_eq!(files(&find(&folder, "src/**/*.c")), files(&found));
        assert_eq!(files(&find(&folder, "src/*")), ["src/a.c"]);
        let watched = Patterns::new(["src/**"]).unwrap().folders(folder.path());
        assert!(watched.contains(&folder.path().canonicalize().unwrap().join("real/deep")), "{watched:?}");
    }

    #[test]
    fn circles_end_and_what_is_matched_anyway_is_not_entered_again() {
        let folder = folder(
            &["a/f", "b/g", "a/inner/h"],
            &[("a/up", ".."), ("a/b", "../b"), ("b/a", "../a"), ("a/in", "inner"), ("a/self", ".")],
        );
        let found = find(&folder, "a/**");
        assert_eq!(files(&found), ["a/b/g", "a/f", "a/inner/h"]);
        let targets = links(&found);
        let expected = [("a/b/a", "../a"), ("a/in", "inner"), ("a/self", "."), ("a/up", "..")];
        assert_eq!(targets, expected.map(|(path, target)| (path, target, false)));
        assert_eq!(files(&find(&folder, "**/g")), ["a/b/g", "b/g"]);
    }

    #[test]
    fn a_link_that_leads_outside_stands_for_itself() {
        let outside = folder(&["x"], &[]);
        let target = outside.path().to_str().unwrap();
        let folder =
            folder(&["src/a", ".stack/state"], &[("src/out", target), ("src/own", "../.stack"), ("src/gone", "no")]);
        let found = find(&folder, "src/**");
        assert_eq!(files(&found), ["src/a"]);
        assert_eq!(links(&found), [("src/out", target, true), ("src/own", "../.stack", true)]);
        // Named by itself, it is entered: whoever names it means what is in it.
        assert_eq!(files(&find(&folder, "src/out")), ["src/out/x"]);
        // From the root of everything.
        let absolute = format!("{target}/*");
        assert_eq!(files(&find(&folder, &absolute)), [format!("{target}/x")]);
        assert_eq!(files(&find(&folder, &format!("{target}/[xy]"))), [format!("{target}/x")]);
        assert_eq!(files(&find(&folder, &format!("{target}/x"))), [format!("{target}/x")]);
    }
}
