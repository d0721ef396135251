//! The files that patterns such as `app/**/*.py` mean, found without looking at more folders than they can be in.
//!
//! A pattern is relative to a folder and written with `/`. `*`, `?`, `[…]` and `{…}` stay within a name, `**` does not.
//! A pattern that names a folder means everything in it. Links to files are followed, and so are links to folders that
//! stay in the folder of the patterns (see `links.rs`). `.git` and `.stack` are never entered.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::context::FileStat;
use super::course::Course;
use super::links::{self, Met};
pub use super::links::{Leads, Link, target_text};
use crate::error::Class;

/// Patterns of files.
#[derive(Debug, Clone)]
pub struct Patterns {
    patterns: Vec<Pattern>,
}

/// A file that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// What the system says of it.
    pub stat: FileStat,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Whether the owner of a file may execute it.
pub fn is_executable(data: &fs::Metadata) -> bool {
    data.permissions().mode() & 0o100 != 0
}

/// What patterns match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// The files, sorted by path, each once.
    pub files: Vec<Match>,
    /// The links that were met and are more than another name of a file, sorted by path.
    pub links: Vec<Link>,
    /// The patterns that match no file.
    pub empty: Vec<String>,
}

impl Matches {
    /// The links that stand for what is behind them.
    pub fn standing_links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| link.leads != Leads::Through)
    }
}

/// Why the files of a pattern are not known.
#[derive(Debug, thiserror::Error)]
pub enum PatternsError {
    /// It is no pattern.
    #[error("`{text}` is no pattern")]
    Invalid {
        /// As it was written.
        text: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// A folder or file can't be looked at.
    #[error("can't read {}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has a name that no text can hold.
    #[error("the name of {} is not valid UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
}

impl PatternsError {
    /// Patterns and files are the user's.
    pub fn class(&self) -> Class {
        Class::Input
    }

    /// What to try, where something can be tried.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NotUtf8 { .. } => Some("to rename it, or patterns that do not match it".to_owned()),
            Self::Invalid { .. } | Self::Io { .. } => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    /// All of it, in one spelling.
    whole: String,
    /// The folder that everything it matches is in; empty for the root. For [`Rule::Literal`], the path itself.
    base: String,
    rule: Rule,
}

/// What a path below the base has to be like. The common forms need no regular expression: compiling one takes longer
/// than looking at a hundred files.
#[derive(Debug, Clone)]
enum Rule {
    /// The path is one file, or everything in one folder.
    Literal,
    /// Any file below whose name ends so: `base/**` and `base/**/*.py`.
    Below(String),
    /// Any file directly in it whose name ends so: `base/*.py`.
    Within(String),
    /// The whole relative path matches; so many folders deep at most.
    Glob(Box<GlobMatcher>, Option<usize>),
}

/// Whether a pattern is nothing but a path, written in the simplest way, below the folder of the patterns.
pub fn is_plain(text: &str) -> bool {
    !text.contains(['*', '?', '[', '{', '\\', '!']) && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    /// If one of them is no pattern.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternsError> {
        let patterns = texts.into_iter().map(Pattern::new).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// The files in `root` that any of them matches.
    ///
    /// # Errors
    /// If a folder on the way can't be read. What is not there is no error.
    pub fn find(&self, root: &Path) -> Result<Matches, PatternsError> {
        let mut matches = Matches::default();
        for pattern in &self.patterns {
            let before = matches.files.len();
            pattern.find(root, &mut matches)?;
            if matches.files.len() == before {
                matches.empty.push(pattern.text.clone());
            }
        }
        if matches.files.len() > 1 {
            matches.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            matches.files.dedup_by(|a, b| a.path == b.path);
        }
        matches.links.sort_unstable();
        matches.links.dedup();
        Ok(matches)
    }
}

impl Patterns {
    /// Whether any of them matches a file of this path, relative to their folder.
    pub fn matches(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether a file that any of them matches may be this path, be in it, or be a folder above it; an empty path is the
    /// folder of the patterns. Told by the paths alone: it may say yes where no name can be both.
    pub fn may_be_in(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| is_within(&pattern.base, path) || is_within(path, &pattern.base))
    }

    /// The folders in which a file may appear that any of them matches: to be watched. A folder that is not there stands
    /// for the nearest one above.
    pub fn folders(&self, root: &Path) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let mut links = Vec::new();
        for Pattern { base, rule, .. } in &self.patterns {
            let start = root.join(base);
            match rule {
                Rule::Literal if !start.is_dir() => folders.extend(nearest(start.parent().unwrap_or(root))),
                Rule::Within(_) => folders.extend(nearest(&start)),
                Rule::Glob(_, Some(depth)) => below(&start, *depth, &mut folders, &mut links),
                Rule::Literal | Rule::Below(_) | Rule::Glob(_, None) => {
                    below(&start, usize::MAX, &mut folders, &mut links);
                }
            }
        }
        let mut seen = HashSet::new();
        while let Some(link) = links.pop() {
            if let Some(real) = links::followed(root, &link)
                && seen.insert(real.clone())
            {
                below(&real, usize::MAX, &mut folders, &mut links);
            }
        }
        folders
    }
}

/// Whether a path is this folder, or in it.
fn is_within(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    folder.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The nearest folder that is there.
fn nearest(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

/// A folder and those at most `depth` below it, without those of tools. What can't be read is left out.
pub fn folders_below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    below(folder, depth, found, &mut Vec::new());
}

/// The same, and the links on the way.
fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>, links: &mut Vec<PathBuf>) {
    if !folder.is_dir() {
        return found.extend(nearest(folder));
    }
    let mut todo = vec![(folder.to_owned(), depth)];
    while let Some((folder, depth)) = todo.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten().filter(|_| depth > 0) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !links::is_of_tools(&entry.file_name()) => {
                    todo.push((entry.path(), depth.saturating_sub(1)));
                }
                Ok(kind) if kind.is_symlink() => links.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
        found.push(folder);
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PatternsError> {
        let clean = text.trim_start_matches("./");
        let special = |part: &str| part.contains(['*', '?', '[', '{', '\\', '!']);
        let parts: Vec<&str> = clean.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let fixed = parts.iter().take_while(|part| !special(part)).count();
        // What begins at the root of everything goes on to do so.
        let top = if clean.starts_with('/') { "/" } else { "" };
        let base = format!("{top}{}", parts[..fixed].join("/"));
        let whole = format!("{top}{}", parts.join("/"));
        let rule = match &parts[fixed..] {
            [] => Rule::Literal,
            ["**"] => Rule::Below(String::new()),
            ["**", last] if let Some(suffix) = plain_suffix(last) => Rule::Below(suffix),
            [last] if let Some(suffix) = plain_suffix(last) => Rule::Within(suffix),
            rest => {
                let glob = GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build();
                let glob = glob.map_err(|source| PatternsError::Invalid { text: text.to_owned(), source })?;
                let deep = rest.iter().any(|part| part.contains("**") || part.contains('{'));
                Rule::Glob(Box::new(glob.compile_matcher()), (!deep).then(|| rest.len() - 1))
            }
        };
        Ok(Self { text: text.to_owned(), whole, base, rule })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.rule {
            Rule::Literal => is_within(path, &self.base),
            Rule::Below(suffix) => is_within(path, &self.base) && path.ends_with(&**suffix),
            Rule::Within(suffix) => {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                folder == self.base && name.ends_with(&**suffix)
            }
            Rule::Glob(glob, _) => glob.is_match(path),
        }
    }

    fn find(&self, root: &Path, found: &mut Matches) -> Result<(), PatternsError> {
        let start = if self.base.is_empty() { root.to_owned() } else { root.join(&self.base) };
        match &self.rule {
            Rule::Literal => match fs::metadata(&start) {
                Ok(data) if data.is_file() => {
                    found.files.push(Match::new(self.base.clone(), &data));
                    Ok(())
                }
                Ok(data) if data.is_dir() => {
                    found.links.extend(Link::read(&self.base, &start, Leads::Through, true));
                    self.walk(root, start, usize::MAX, &|_, _| true, found)
                }
                Ok(_) => Ok(()),
                Err(error) if leads_nowhere(&error) => {
                    found.links.extend(Link::read(&self.base, &start, Leads::Nowhere, true));
                    Ok(())
                }
                Err(source) => Err(PatternsError::Io { path: start, source }),
            },
            Rule::Below(suffix) => self.walk(root, start, usize::MAX, &|_, name| name.ends_with(&**suffix), found),
            Rule::Within(suffix) => self.walk(root, start, 0, &|_, name| name.ends_with(&**suffix), found),
            Rule::Glob(glob, depth) => {
                self.walk(root, start, depth.unwrap_or(usize::MAX), &|path, _| glob.is_match(path), found)
            }
        }
    }

    /// Adds the files in `start`, and at most `depth` folders below it, that are `wanted` by relative path and name; and
    /// those behind the links to folders on the way.
    fn walk(
        &self,
        root: &Path,
        start: PathBuf,
        depth: usize,
        wanted: &dyn Fn(&str, &str) -> bool,
        found: &mut Matches,
    ) -> Result<(), PatternsError> {
        let mut met = Vec::new();
        walk(start.clone(), &self.base, depth, wanted, found, &mut met)?;
        if met.is_empty() {
            return Ok(());
        }
        let reach = match &self.rule {
            Rule::Glob(_, Some(_)) => links::Reach::Limited,
            Rule::Glob(_, None) => links::Reach::Deep(Course::new(&self.whole)),
            Rule::Literal | Rule::Below(_) | Rule::Within(_) => links::Reach::Whole,
        };
        let mut links = links::Links::new(root, &self.base, &start, reach, met);
        while let Some(Met { path, full, depth, .. }) = links.next(&mut found.links) {
            let mut met = Vec::new();
            walk(full, &path, depth.saturating_sub(1), wanted, found, &mut met)?;
            links.add(met);
        }
        Ok(())
    }
}

impl Match {
    /// The file with this path in `root`, if there is one.
    pub fn at(root: &Path, path: String) -> Option<Self> {
        let data = fs::metadata(root.join(&path)).ok().filter(fs::Metadata::is_file)?;
        Some(Self::new(path, &data))
    }

    fn new(path: String, data: &fs::Metadata) -> Self {
        Self { path, stat: FileStat::of(data), executable: is_executable(data) }
    }
}

/// `*` and `*.py`: any name with an end that is nothing special.
fn plain_suffix(part: &str) -> Option<String> {
    let suffix = part.strip_prefix('*')?;
    (!suffix.contains(['*', '?', '[', '{', '\\', '!', ']', '}'])).then(|| suffix.to_owned())
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether there is nothing in this place, or a link that leads to nothing or back to itself.
fn leads_nowhere(error: &io::Error) -> bool {
    is_absent(error) || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Adds the files in `folder`, and at most `depth` folders below it, that are `wanted` by relative path and name, and the
/// links to folders that such files may be behind.
fn walk(
    folder: PathBuf,
    base: &str,
    depth: usize,
    wanted: &dyn Fn(&str, &str) -> bool,
    found: &mut Matches,
    met: &mut Vec<Met>,
) -> Result<(), PatternsError> {
    let mut todo = vec![(folder, base.to_owned(), depth)];
    while let Some((folder, base, depth)) = todo.pop() {
        let failed = |source| PatternsError::Io { path: folder.clone(), source };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(source) => return Err(failed(source)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = || {
                if base.is_empty() {
                    name.clone().into_owned()
                } else {
                    format!("{}/{name}", base.trim_end_matches('/'))
                }
            };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                if depth > 0 && !links::is_of_tools(&entry.file_name()) {
                    todo.push((entry.path(), path(), depth - 1));
                }
                continue;
            }
            let path = path();
            let is_wanted = wanted(&path, &name);
            // Behind a link there may be a folder, whatever the link is called.
            let may_lead_on = kind.is_symlink() && depth > 0;
            if !is_wanted && !may_lead_on {
                continue;
            }
            // The replacement character may be part of a name, or stand for what is none in UTF-8.
            if is_wanted
                && path.contains(char::REPLACEMENT_CHARACTER)
                && !entry.path().as_os_str().as_bytes().ends_with(path.as_bytes())
            {
                return Err(PatternsError::NotUtf8 { path: entry.path() });
            }
            // The entry knows its folder, which spares the system the walk to it; but it does not follow links.
            let data = if kind.is_symlink() { fs::metadata(entry.path()) } else { entry.metadata() };
            match data {
                Ok(data) if data.is_file() && is_wanted => found.files.push(Match::new(path, &data)),
                Ok(data) if data.is_dir() && !links::is_of_tools(&entry.file_name()) => match depth {
                    0 => found.links.extend(Link::read(&path, &entry.path(), Leads::Through, is_wanted)),
                    _ => met.push(Met { path, full: entry.path(), depth, is_wanted }),
                },
                Ok(_) => {}
                Err(error) if is_wanted && leads_nowhere(&error) => {
                    found.links.extend(Link::read(&path, &entry.path(), Leads::Nowhere, is_wanted));
                }
                Err(_) if !is_wanted => {}
                Err(source) => return Err(PatternsError::Io { path: entry.path(), source }),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use globset::Glob;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, patterns: &[&str]) -> Vec<String> {
        let matches = Patterns::new(patterns.iter().copied()).unwrap().find(folder.path()).unwrap();
        matches.files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn patterns_mean_what_they_say() {
        let folder = folder(&["a.py", "b.txt", "app/a.py", "app/x/b.py", "app/x/c.txt", "app/.hidden", "lib/a.py"]);
        let all = ["a.py", "app/.hidden", "app/a.py", "app/x/b.py", "app/x/c.txt", "b.txt", "lib/a.py"];
        assert_eq!(found(&folder, &["**"]), all);
        assert_eq!(found(&folder, &["*.py"]), ["a.py"]);
        assert_eq!(found(&folder, &["**/*.py"]), ["a.py", "app/a.py", "app/x/b.py", "lib/a.py"]);
        assert_eq!(found(&folder, &["app"]), ["app/.hidden", "app/a.py", "app/x/b.py", "app/x/c.txt"]);
        assert_eq!(found(&folder, &["app/"]), found(&folder, &["app/**"]));
        assert_eq!(found(&folder, &["./app/*"]), ["app/.hidden", "app/a.py"]);
        assert_eq!(found(&folder, &["app/*/*.py", "app/x/b.py"]), ["app/x/b.py"]);
        assert_eq!(found(&folder, &["{app,lib}/a.py"]), ["app/a.py", "lib/a.py"]);
        assert_eq!(found(&folder, &["app/**/b.py"]), ["app/x/b.py"]);
        assert_eq!(found(&folder, &["[ab].*"]), ["a.py", "b.txt"]);
    }

    #[test]
    fn a_path_matches_without_a_file_as_it_would_with_one() {
        let files = ["a.py", "b.txt", "app/a.py", "app/x/b.py", "app/x/c.txt", "app/.hidden", "lib/a.py"];
        let folder = folder(&files);
        let forms = [
            "**",
            "*.py",
            "**/*.py",
            "app",
            "app/",
            "app/**",
            "./app/*",
            "app/*/*.py",
            "app/x/b.py",
            "{app,lib}/a.py",
            "app/**/b.py",
            "[ab].*",
            "no/such",
            "ap",
        ];
        for form in forms {
            let patterns = Patterns::new([form]).unwrap();
            let matching =
                files.into_iter().filter(|file| patterns.matches(file)).collect::<std::collections::BTreeSet<_>>();
            let found = found(&folder, &[form]);
            assert!(matching.iter().eq(&found), "{form}: {matching:?} and {found:?}");
            for file in found {
                let above = Path::new(&file).ancestors().map(|path| path.to_str().unwrap());
                above.for_each(|place| assert!(patterns.may_be_in(place), "{form} is in {place}"));
            }
        }
        let patterns = Patterns::new(["out/gen/*.py"]).unwrap();
        let places = ["out/other", "ou", "out/generated", "app"];
        assert!(places.iter().all(|place| !patterns.may_be_in(place)));
    }

    #[test]
    fn what_is_not_there_is_told_and_no_error() {
        let folder = folder(&["a"]);
        let patterns = Patterns::new(["a", "no/such/*", "b", "a/below"]).unwrap();
        assert_eq!(patterns.find(folder.path()).unwrap().empty, ["no/such/*", "b", "a/below"]);
        assert!(Patterns::new(["a["]).is_err());
    }

    #[test]
    fn links_to_files_are_followed_and_folders_of_tools_are_not_entered() {
        let folder = folder(&["real/a", ".git/config", ".stack/state.json", "x/.git/config"]);
        std::os::unix::fs::symlink("real/a", folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
        // Everything behind it is matched by its own path.
        assert_eq!(found(&folder, &["**"]), ["link", "real/a"]);
        let linked = Patterns::new(["link", "real/a"]).unwrap().find(folder.path()).unwrap().files;
        assert_eq!(linked[0].stat, linked[1].stat);
    }

    #[test]
    fn a_name_that_is_no_text_is_refused_where_it_is_meant() {
        use std::os::unix::ffi::OsStringExt;
        let folder = folder(&["src/a.py", "src/\u{fffd}.txt", "src/q"]);
        let odd = std::ffi::OsString::from_vec(b"x\xff".to_vec());
        if fs::write(folder.path().join("src").join(&odd), "").is_err() {
            // Not every system has such names.
            return;
        }
        assert_eq!(found(&folder, &["src/*.py", "src/*.txt", "src/q"]), ["src/a.py", "src/q", "src/\u{fffd}.txt"]);
        let refused = Patterns::new(["src"]).unwrap().find(folder.path()).unwrap_err().to_string();
        assert!(refused.ends_with("src/x\u{fffd} is not valid UTF-8"), "{refused}");
        fs::create_dir(folder.path().join(&odd)).unwrap();
        assert_eq!(found(&folder, &["*/*.py"]), ["src/a.py"]);
        fs::write(folder.path().join(&odd).join("b.py"), "").unwrap();
        assert!(Patterns::new(["*/*.py"]).unwrap().find(folder.path()).is_err());
    }

    /// The short cuts agree with the pattern language itself on every path.
    #[test]
    fn short_cuts_match_what_the_glob_matches() {
        let files = ["a", "a.py", "d/a", "d/a.py", "d/e/a.py", "d/e/f/a.pyc", "d/.py", "de/a.py"];
        let folder = folder(&files);
        for pattern in ["**", "*", "*.py", "**/*", "**/*.py", "d/*", "d/**", "d/*.py", "d/**/*.py", "d/**/*", "d/e/**"]
        {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build().unwrap().compile_matcher();
            let mut expected: Vec<&str> = files.iter().copied().filter(|file| glob.is_match(file)).collect();
            expected.sort_unstable();
            assert_eq!(found(&folder, &[pattern]), expected, "{pattern}");
        }
        assert!(Glob::new("d/**").is_ok());
    }
}
