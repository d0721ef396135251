//! How far along a pattern a path has come, so that two paths to one folder can be told to mean the same there.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern, name by name.
#[derive(Debug)]
pub(super) struct Course {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// `**`: any number of folders.
    Folders,
    Name(Box<GlobMatcher>),
}

/// The places in a pattern that a path may have come to, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places(u64);

impl Course {
    /// Nothing if the parts between its `/` are no patterns by themselves (`{a/b,c}`), or too many.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let name = |part: &str| {
            let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(true).build().ok()?;
            Some(Part::Name(Box::new(glob.compile_matcher())))
        };
        let parts = pattern.split('/').filter(|part| !part.is_empty());
        let parts = parts.map(|part| if part == "**" { Some(Part::Folders) } else { name(part) });
        let parts: Vec<Part> = parts.collect::<Option<_>>()?;
        (parts.len() < u64::BITS as usize).then_some(Self { parts })
    }

    /// Where the path to a folder leads in the pattern.
    pub(super) fn after(&self, path: &str) -> Places {
        let mut places = self.with_skipped(1);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let mut next = 0;
            for (place, part) in self.parts.iter().enumerate().filter(|(place, _)| places >> place & 1 == 1) {
                match part {
                    Part::Folders => next |= 1 << place,
                    Part::Name(glob) if glob.is_match(name) => next |= 2 << place,
                    Part::Name(_) => {}
                }
            }
            places = self.with_skipped(next);
        }
        Places(places)
    }

    /// Whether anything in that folder can match.
    pub(super) fn goes_on(&self, places: Places) -> bool {
        places.0 & !(1 << self.parts.len()) != 0
    }

    /// `**` may stand for no folder.
    fn with_skipped(&self, mut places: u64) -> u64 {
        for (place, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Folders) && places >> place & 1 == 1 {
                places |= 2 << place;
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_come_as_far_as_its_names_match() {
        let course = Course::new("src/**/b/*.py").unwrap();
        assert_eq!(course.after("src/x"), course.after("src/x/y"));
        assert_ne!(course.after("src/x"), course.after("src/x/b"));
        assert_eq!(course.after("src/b"), course.after("src/b/b"));
        assert!(course.goes_on(course.after("src")) && !course.goes_on(course.after("lib")));
        let course = Course::new("*/x").unwrap();
        assert!(course.goes_on(course.after("a")) && !course.goes_on(course.after("a/x")));
        assert!(Course::new("src/{a/b,c}/**/*.py").is_none());
    }
}
