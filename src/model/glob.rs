//! Patterns for one part of a path, with the rules of Go's `filepath.Match`, which is what Docker's tools use.

/// Whether `name` matches `pattern`: `*` is any run of characters, `?` is any one, `[a-z]` and `[^a-z]` are sets, a
/// backslash takes away the meaning of the next character. Neither `*` nor `?` nor a set matches a slash. A malformed
/// pattern matches nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not fit: one more character goes to the star.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p + 1, n));
            p += 1;
            continue;
        }
        if p < pattern.len()
            && n < name.len()
            && let Some(next) = one(&pattern, p, name[n])
        {
            p = next;
            n += 1;
            continue;
        }
        match retry {
            Some((after_star, taken)) if taken < name.len() && name[taken] != '/' => {
                retry = Some((after_star, taken + 1));
                p = after_star;
                n = taken + 1;
            }
            Some(_) | None => return false,
        }
    }
}

/// Whether the pattern has a character with a meaning of its own.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Matches one character against the element of the pattern at `p`; gives the position after that element.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern[p] {
        '?' => (c != '/').then_some(p + 1),
        '[' => set(pattern, p + 1, c),
        '\\' => (pattern.get(p + 1) == Some(&c)).then_some(p + 2),
        literal => (literal == c).then_some(p + 1),
    }
}

/// Matches one character against the set whose first character is at `p`.
fn set(pattern: &[char], mut p: usize, c: char) -> Option<usize> {
    let negated = pattern.get(p) == Some(&'^');
    if negated {
        p += 1;
    }
    let first = p;
    let mut found = false;
    loop {
        if pattern.get(p) == Some(&']') && p > first {
            return (found != negated && c != '/').then_some(p + 1);
        }
        let (low, after) = set_character(pattern, p)?;
        let (high, after) =
            if pattern.get(after) == Some(&'-') { set_character(pattern, after + 1)? } else { (low, after) };
        found |= low <= c && c <= high;
        p = after;
    }
}

fn set_character(pattern: &[char], p: usize) -> Option<(char, usize)> {
    match pattern.get(p)? {
        '-' | ']' => None,
        '\\' => Some((*pattern.get(p + 1)?, p + 2)),
        c => Some((*c, p + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let table = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "aäb", true),
            ("a[^a]b", "a☺b", true),
            ("a?b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[]a]", "]", false),
            ("[-]", "-", false),
            ("[a-b-c]", "a", false),
            ("[", "a", false),
            ("a[", "a", false),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
