//! Links to folders on the way of a pattern: which are followed, and what stands for those that are not.
//!
//! A link that stays in the folder of the patterns is followed: what is behind it counts as if it were there. Where that
//! would find again what the pattern matches by another path anyway, the link itself stands for it, with its target. So
//! does a link that leads outside, or to a folder that it is in itself; what is behind that is not looked at.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::OWN_FOLDER;
use super::course::{Course, Places};

/// A link that is more than another name of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Relative to the folder of the patterns, with `/`.
    pub path: String,
    /// What it says.
    pub target: String,
    /// Where it leads.
    pub leads: Leads,
    /// Whether the pattern matches the link itself, and not only what may be behind it.
    pub is_wanted: bool,
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// To a folder that is not looked at: outside, or one that the link is in itself.
    Unseen,
    /// To a folder whose files are matched by another path.
    Seen,
    /// To nothing, or back to itself.
    Nowhere,
    /// To a folder whose files were looked at by this path, as far as the pattern reaches.
    Through,
}

impl Link {
    /// The link in this place, if it is one.
    pub(super) fn read(path: &str, full: &Path, leads: Leads, is_wanted: bool) -> Option<Self> {
        let target = target_text(&fs::read_link(full).ok()?);
        Some(Self { path: path.to_owned(), target, leads, is_wanted })
    }
}

/// What a link says, as a text that no other target has.
pub fn target_text(target: &Path) -> String {
    match target.to_str() {
        Some(text) => text.to_owned(),
        None => format!("bytes {}", target.as_os_str().as_bytes().escape_ascii()),
    }
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
    /// The pattern matches the link itself.
    pub(super) is_wanted: bool,
}

/// How far a pattern reaches.
#[derive(Debug)]
pub(super) enum Reach {
    /// Everything below its base, whatever the path to it is.
    Whole,
    /// As deep as there are folders, and what it matches depends on the path: a folder is entered again by a path that has
    /// come to another place in the pattern, of which there are not many. A pattern without a course is too odd for that.
    Deep(Option<Course>),
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
    /// The folders that links have led to, with where in the pattern that was.
    entered: Vec<(PathBuf, Option<Places>)>,
}

/// The folders of tools, which are never entered.
pub(super) fn is_of_tools(name: &OsStr) -> bool {
    name == ".git" || name == OWN_FOLDER
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
    /// The links that were met below `base`, which is at `start`.
    pub(super) fn new(root: &Path, base: &str, start: &Path, reach: Reach, met: Vec<Met>) -> Self {
        let [root, start] = [root, start].map(|path| path.canonicalize().ok());
        let mut entered = Vec::new();
        if let (Reach::Deep(Some(course)), Some(start)) = (&reach, &start) {
            entered.push((start.clone(), Some(course.after(base))));
        }
        let mut links = Self { root, base: start, reach, met: Vec::new(), entered };
        links.add(met);
        links
    }

    /// Adds links that were met behind another.
    pub(super) fn add(&mut self, met: Vec<Met>) {
        self.met.extend(met);
        self.met.sort_by(|a, b| b.path.cmp(&a.path));
    }

    /// The next one that is to be followed. All of them are added to `links`; one that is gone is left out.
    pub(super) fn next(&mut self, links: &mut Vec<Link>) -> Option<Met> {
        while let Some(met) = self.met.pop() {
            let Ok(real) = met.full.canonicalize() else { continue };
            let places = match &self.reach {
                Reach::Deep(Some(course)) => {
                    let places = course.after(&met.path);
                    if !course.goes_on(places) {
                        links.extend(Link::read(&met.path, &met.full, Leads::Through, met.is_wanted));
                        continue;
                    }
                    Some(places)
                }
                Reach::Whole | Reach::Deep(None) | Reach::Limited => None,
            };
            let leads = self.leads(&met, &real, places);
            links.extend(Link::read(&met.path, &met.full, leads, met.is_wanted));
            if leads == Leads::Through {
                self.entered.push((real, places));
                return Some(met);
            }
        }
        None
    }

    fn leads(&self, met: &Met, real: &Path, places: Option<Places>) -> Leads {
        if self.is_covered(real) {
            return Leads::Seen;
        }
        if !self.root.as_ref().is_some_and(|root| within(root, real)) {
            return Leads::Unseen;
        }
        let was_entered = match (&self.reach, places) {
            (Reach::Limited, _) => return Leads::Through,
            (_, Some(_)) => self.entered.iter().any(|(folder, then)| folder == real && *then == places),
            (_, None) => self.entered.iter().any(|(folder, _)| real.starts_with(folder)),
        };
        let own = met.full.parent().and_then(|folder| folder.canonicalize().ok());
        match was_entered {
            true => Leads::Seen,
            // What is behind it has no end, and is most often what nobody means.
            false if own.is_some_and(|own| own.starts_with(real)) => Leads::Unseen,
            false => Leads::Through,
        }
    }

    /// Whether the pattern matches what is in a folder by the folder's own path.
    fn is_covered(&self, real: &Path) -> bool {
        matches!(self.reach, Reach::Whole) && self.base.as_ref().is_some_and(|base| within(base, real))
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

    fn links(matches: &Matches) -> Vec<(&str, &str, Leads)> {
        matches.standing_links().map(|link| (&*link.path, &*link.target, link.leads)).collect()
    }

    #[test]
    fn what_is_behind_a_link_to_a_folder_counts() {
        let folder =
            folder(&["src/a.c", "real/f.c", "real/deep/g.c"], &[("src/l", "../real"), ("src/x/m", "../../real")]);
        let found = find(&folder, "src/**");
        assert_eq!(files(&found), ["src/a.c", "src/l/deep/g.c", "src/l/f.c"]);
        assert_eq!(links(&found), [("src/x/m", "../../real", Leads::Seen)], "the same folder is entered once");
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
        let seen = [("a/b/a", "../a"), ("a/in", "inner"), ("a/self", ".")];
        assert_eq!(targets[..3], seen.map(|(path, target)| (path, target, Leads::Seen)));
        assert_eq!(targets[3..], [("a/up", "..", Leads::Unseen)], "nobody means all of what it is in");
        assert_eq!(files(&find(&folder, "**/g")), ["a/b/g", "b/g"]);
    }

    #[test]
    fn a_folder_is_entered_by_every_path_that_means_something_else_there() {
        let folder = folder(
            &["lib/sub/x.py", "lib/sub/y.c", "src/z/b/x.py"],
            &[("src/a", "../lib"), ("src/b", "../lib/sub"), ("lib/sub/back", "../../src"), ("lib/sub/self", ".")],
        );
        let found = find(&folder, "src/**/b/*.py");
        assert_eq!(files(&found), ["src/b/x.py", "src/z/b/x.py"]);
        assert!(links(&found).contains(&("src/b/back", "../../src", Leads::Seen)), "circles end");
        // Nothing behind it can match.
        assert_eq!(files(&find(&folder, "lib/s*/**/q/*.py")), [""; 0]);
    }

    #[test]
    fn a_link_that_leads_nowhere_stands_for_itself() {
        let folder = folder(&["src/a"], &[("src/gone", "no"), ("src/self", "self"), ("src/to", "."), ("src/x.c", "y")]);
        let nowhere = [("src/gone", "no", Leads::Nowhere), ("src/self", "self", Leads::Nowhere)];
        let found = find(&folder, "src/[gs]*");
        assert_eq!((links(&found), files(&found)), (nowhere.to_vec(), vec![]));
        for (path, target, leads) in nowhere {
            assert_eq!(links(&find(&folder, path)), [(path, target, leads)]);
        }
        assert_eq!(links(&find(&folder, "src/*.c")), [("src/x.c", "y", Leads::Nowhere)]);
        let through: Vec<String> = find(&folder, "src/*").links.into_iter().map(|link| link.path).collect();
        assert_eq!(through, ["src/gone", "src/self", "src/to", "src/x.c"]);
    }

    #[test]
    fn a_link_that_leads_outside_stands_for_itself() {
        let outside = folder(&["x"], &[]);
        let target = outside.path().to_str().unwrap();
        let folder = folder(&["src/a", ".stack/state"], &[("src/out", target), ("src/own", "../.stack")]);
        let found = find(&folder, "src/**");
        assert_eq!(files(&found), ["src/a"]);
        assert_eq!(links(&found), [("src/out", target, Leads::Unseen), ("src/own", "../.stack", Leads::Unseen)]);
        // Named by itself, it is entered: whoever names it means what is in it.
        assert_eq!(files(&find(&folder, "src/out")), ["src/out/x"]);
        // From the root of everything.
        let absolute = format!("{target}/*");
        assert_eq!(files(&find(&folder, &absolute)), [format!("{target}/x")]);
        assert_eq!(files(&find(&folder, &format!("{target}/[xy]"))), [format!("{target}/x")]);
        assert_eq!(files(&find(&folder, &format!("{target}/x"))), [format!("{target}/x")]);
    }
}
