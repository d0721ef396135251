//! Which part of a context a build can reach: the sources of its `COPY` and `ADD` lines and bind mounts.

use crate::model::glob;

/// The paths that a build takes from its context, wildcards included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Narrow {
    sources: Vec<Vec<String>>,
}

/// How a path stands to the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// Whether it is a source, or in a folder that is one.
    pub(super) wanted: bool,
    /// Whether it is a source, or a folder above one: if it is a link, the build follows it.
    pub(super) leads: bool,
}

impl Reach {
    /// How everything stands when nothing is narrowed.
    pub(super) const ALL: Self = Self { wanted: true, leads: false };
    /// No source leads there.
    pub(super) const NONE: Self = Self { wanted: false, leads: false };
}

impl Narrow {
    /// The narrowing to these sources, written as in a Dockerfile; `None` when one of them is the whole context.
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut all = Vec::new();
        for source in sources {
            let mut parts: Vec<String> = Vec::new();
            for part in source.split('/') {
                match part {
                    "" | "." => {}
                    // The root has nothing above it.
                    ".." => {
                        parts.pop();
                    }
                    part => parts.push(part.to_owned()),
                }
            }
            if parts.is_empty() || parts.iter().any(|part| part.contains("**")) {
                return None;
            }
            all.push(parts);
        }
        all.sort();
        all.dedup();
        Some(Self { sources: all })
    }

    /// The sources, cleaned and sorted.
    pub fn sources(&self) -> impl Iterator<Item = String> {
        self.sources.iter().map(|parts| parts.join("/"))
    }

    pub(super) fn reach(&self, path: &str) -> Reach {
        let parts: Vec<&str> = path.split('/').collect();
        let mut reach = Reach::NONE;
        for source in &self.sources {
            if source.iter().zip(&parts).all(|(pattern, part)| pattern == part || glob::matches(pattern, part)) {
                reach.wanted |= parts.len() >= source.len();
                reach.leads |= parts.len() <= source.len();
            }
        }
        reach
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON_THE_WAY: Reach = Reach { wanted: false, leads: true };
    const SOURCE: Reach = Reach { wanted: true, leads: true };

    #[test]
    fn a_path_in_a_source_may_lead_to_another() {
        let narrow = Narrow::new(["app", "app/current/x"]).unwrap();
        assert_eq!(narrow.reach("app/current"), SOURCE);
    }

    #[test]
    fn paths_stand_to_the_sources_as_they_should() {
        let narrow = Narrow::new(["./app/src/", "/go.mod", "web/*.js", "a/../b"]).unwrap();
        let table = [
            ("app", ON_THE_WAY),
            ("app/src", SOURCE),
            ("app/src/deep/x", Reach::ALL),
            ("app/test", Reach::NONE),
            ("go.mod", SOURCE),
            ("go.sum", Reach::NONE),
            ("web/a.js", SOURCE),
            ("web/a.ts", Reach::NONE),
            ("b", SOURCE),
            ("a", Reach::NONE),
        ];
        for (path, expected) in table {
            assert_eq!(narrow.reach(path), expected, "{path}");
        }
        assert_eq!(Narrow::new(["app", "."]), None);
        assert_eq!(Narrow::new(["**/x"]), None);
        assert_eq!(Narrow::new([]).unwrap().reach("a"), Reach::NONE);
    }
}
