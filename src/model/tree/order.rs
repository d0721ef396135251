//! The two orders of a tree: the one in which a daemon expects its files, and the one of the paths as texts.
//!
//! They differ where a name goes on with a letter before `/`: a daemon expects `a`, `a/b`, `a-c`; as texts it is `a`,
//! `a-c`, `a/b`. Neither costs a sort of all paths, since every folder is sorted already.

use super::{FileEntry, FileTree, Folder};

/// Where an entry is in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    folder: usize,
    position: usize,
}

impl FileTree {
    /// The entry at this place.
    pub fn get(&self, place: Place) -> Option<FileEntry<'_>> {
        self.folders.get(place.folder)?.get(place.position)
    }

    /// All places as a daemon expects them: every folder before what is in it, siblings in byte order of their names.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.walk(|folder| (0..folder.len()).map(|position| Step { position, inside: false }).collect(), true)
    }

    /// All entries in that order.
    pub fn iter(&self) -> impl Iterator<Item = FileEntry<'_>> {
        self.places().filter_map(|place| self.get(place))
    }

    /// All entries in byte order of their paths.
    pub fn by_path(&self) -> impl Iterator<Item = FileEntry<'_>> {
        self.walk(by_text, false).filter_map(|place| self.get(place))
    }

    /// Goes through all folders from the root, each in its steps. A step that is not inside gives its place, and then
    /// goes inside too if it `dives`.
    fn walk(&self, steps: impl Fn(&Folder) -> Vec<Step>, dives: bool) -> impl Iterator<Item = Place> {
        let steps = move |folder: usize| (folder, self.folders.get(folder).map(&steps).unwrap_or_default().into_iter());
        let mut open = vec![steps(0)];
        std::iter::from_fn(move || {
            loop {
                let (folder, rest) = open.last_mut()?;
                let folder = *folder;
                let Some(step) = rest.next() else {
                    open.pop();
                    continue;
                };
                if (step.inside || dives)
                    && let Some(slot) = self.folders.get(folder)?.inside(step.position)
                {
                    open.push(steps(slot));
                }
                if !step.inside {
                    return Some(Place { folder, position: step.position });
                }
            }
        })
    }
}

/// An entry of a folder, or what is inside of it.
struct Step {
    position: usize,
    inside: bool,
}

/// What is inside of `a` comes where `a/` would come.
fn by_text(folder: &Folder) -> Vec<Step> {
    let mut steps = Vec::with_capacity(folder.len());
    let mut has_folders = false;
    for position in 0..folder.len() {
        steps.push(Step { position, inside: false });
        if folder.inside(position).is_some() {
            has_folders = true;
            steps.push(Step { position, inside: true });
        }
    }
    if has_folders {
        let text = |step: &Step| {
            let name = folder.name(step.position).unwrap_or_default();
            name.bytes().chain(step.inside.then_some(b'/'))
        };
        steps.sort_by(|one, other| text(one).cmp(text(other)));
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{About, FileKind};
    use super::*;

    fn tree(paths: &BTreeSet<Vec<String>>) -> FileTree {
        let texts: Vec<String> = paths.iter().map(|parts| parts.join("/")).collect();
        let kind = |parts: &Vec<String>| {
            let is_folder = paths.iter().any(|other| other.len() > parts.len() && other.starts_with(parts));
            if is_folder { FileKind::Folder } else { FileKind::File }
        };
        let entries = paths.iter().zip(&texts).map(|(parts, text)| (text.as_str(), kind(parts), About::default()));
        FileTree::of("/", entries).unwrap()
    }

    proptest! {
        #[test]
        fn both_orders_are_those_of_a_sort(found in prop::collection::btree_set(
            prop::collection::vec("[-.0a/]{1,3}".prop_map(|name| name.replace('/', "b")), 1..5), 0..40,
        )) {
            // Every folder above a path is a path.
            let paths: BTreeSet<Vec<String>> =
                found.iter().flat_map(|parts| (1..=parts.len()).map(|length| parts[..length].to_vec())).collect();
            let tree = tree(&paths);
            // By parts is the daemon's order.
            let expected: Vec<String> = paths.iter().map(|parts| parts.join("/")).collect();
            prop_assert_eq!(tree.iter().map(|entry| entry.path()).collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(tree.len(), expected.len());
            let mut sorted = expected;
            sorted.sort_unstable();
            prop_assert_eq!(tree.by_path().map(|entry| entry.path()).collect::<Vec<_>>(), sorted);
        }
    }

    #[test]
    fn the_orders_differ_where_a_name_goes_on_before_a_slash() {
        let paths = ["a", "a/b", "a-c", "a0"].map(|path| path.split('/').map(str::to_owned).collect());
        let tree = tree(&BTreeSet::from(paths));
        let paths = |entries: Vec<FileEntry<'_>>| entries.iter().map(FileEntry::path).collect::<Vec<_>>();
        assert_eq!(paths(tree.iter().collect()), ["a", "a/b", "a-c", "a0"]);
        assert_eq!(paths(tree.by_path().collect()), ["a", "a-c", "a/b", "a0"]);
    }
}
