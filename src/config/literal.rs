//! Path patterns that are one path.

use std::borrow::Cow;

/// The path that a pattern stands for, in one spelling; nothing if it may match several names.
pub fn literal_path(pattern: &str) -> Option<Cow<'_, str>> {
    if pattern.contains(['*', '?', '[', '{', '\\']) {
        return None;
    }
    if pattern.split('/').all(|part| !matches!(part, "" | ".")) {
        return Some(Cow::Borrowed(pattern));
    }
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let root = if pattern.starts_with('/') { "/" } else { "" };
    Some(Cow::Owned(format!("{root}{}", parts.join("/"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_has_one_spelling() {
        for (pattern, path) in [("a/b", "a/b"), ("./a//b/", "a/b"), ("/a/./b", "/a/b"), ("..a", "..a")] {
            assert_eq!(literal_path(pattern).as_deref(), Some(path));
        }
        for pattern in ["a/*", "a?", "[a]", "{a,b}", "a\\*"] {
            assert_eq!(literal_path(pattern), None);
        }
    }
}
