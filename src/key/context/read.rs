//! From a folder and a Dockerfile to the list of files with their digests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::cache::{Digest, DigestCache};
use super::error::ContextError;
use super::ignore::Ignore;
use super::narrow::Narrow;
use super::walk::{Walked, walk};
use crate::key::Value;
use crate::model::tree::{FileKind, FileTree, Unread};
use crate::process::Cancel;

/// Files that a thread takes at a time.
const BATCH: usize = 32;
/// Below so many files to read, threads cost more than they bring.
const FEW: usize = 64;
/// Bytes that are hashed at a time.
const PIECE: usize = 64 * 1024;
const MOST_THREADS: usize = 8;
/// A folder that files go from under our eyes is walked again this often.
const MOST_WALKS: usize = 5;

/// What to read.
#[derive(Debug, Clone)]
pub struct ContextSpec {
    /// The folder.
    pub root: PathBuf,
    /// The Dockerfile, whose own ignore file `<Dockerfile>.dockerignore` wins over the context's.
    pub dockerfile: PathBuf,
    /// What the build can reach.
    pub scope: Scope,
}

/// How much of the context a build can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Only this.
    Narrowed(Narrow),
    /// All of it, and why.
    Whole {
        /// Why it could not be narrowed, or that everything is copied.
        reason: String,
    },
}

/// Reads contexts, remembering digests.
#[derive(Debug)]
pub struct ContextReader<'a> {
    cache: &'a DigestCache,
}

/// A context as it was read.
#[derive(Debug, Clone)]
pub struct Context {
    /// The files with the digests of their contents, as they are sent to the engine.
    pub tree: Arc<FileTree>,
    /// The ignore file that was applied: where it is and what it says.
    pub ignore: Option<(PathBuf, Vec<u8>)>,
    /// What was reached.
    pub scope: Scope,
    /// Sockets, pipes and devices that were left out.
    pub skipped: Vec<String>,
}

/// A file, folder or link of a context, as it stands in a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is below the root.
    pub path: String,
    /// What it is and what is in it: `file b3:…`, `executable b3:…`, `folder`, `link ../target`.
    pub value: Value,
}

impl<'a> ContextReader<'a> {
    /// A reader that uses this cache.
    pub fn new(cache: &'a DigestCache) -> Self {
        Self { cache }
    }

    /// Reads a context. Blocks: the disk is read. `cancel` ends it.
    pub fn read(&self, spec: &ContextSpec, cancel: &Cancel) -> Result<Context, ContextError> {
        let mut read = self.read_once(spec, cancel);
        for _ in 1..MOST_WALKS {
            match &read {
                // What was listed and then is not there has gone since. A root that is not there never was.
                Err(ContextError::Unreadable { path, is_absent: true, .. }) if *path != spec.root => {
                    read = self.read_once(spec, cancel);
                }
                _ => return read,
            }
        }
        read.map_err(|error| match error {
            ContextError::Unreadable { path, is_absent: true, .. } => ContextError::Unsteady { path },
            other => other,
        })
    }

    fn read_once(&self, spec: &ContextSpec, cancel: &Cancel) -> Result<Context, ContextError> {
        let (ignore_file, ignore) = read_ignore(spec)?;
        let narrow = match &spec.scope {
            Scope::Narrowed(narrow) => Some(narrow),
            Scope::Whole { .. } => None,
        };
        let mut scope = spec.scope.clone();
        let walked = match walk(&spec.root, &ignore, narrow, self.cache)? {
            Ok(walked) => walked,
            Err(link) => {
                scope = Scope::Whole { reason: format!("{} is a symbolic link, which the build follows", link.0) };
                // Without a narrowing no link stops the walk.
                walk(&spec.root, &ignore, None, self.cache)?.unwrap_or_default()
            }
        };
        let Walked { mut tree, unread, skipped } = walked;
        if unread > 0 {
            self.digest_all(&mut tree, unread, cancel)?;
        }
        Ok(Context { tree: Arc::new(tree), ignore: ignore_file, scope, skipped })
    }

    /// Reads the files whose digests are not known: so many.
    fn digest_all(&self, tree: &mut FileTree, count: usize, cancel: &Cancel) -> Result<(), ContextError> {
        self.cache.reserve(count);
        let root = tree.root.clone();
        let read = |file: Unread<'_>| {
            let (digest, stat) = self.cache.read(&file.path(&root), cancel)?;
            // What was read may be newer than what the walk saw.
            file.set(digest, stat.size, stat.modified_ns);
            Ok(())
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        if threads == 1 || count <= FEW {
            return tree.unread().try_for_each(read);
        }
        let (unread, failed) = (Mutex::new(tree.unread()), Mutex::new(None));
        let work = || {
            loop {
                let batch: Vec<Unread<'_>> =
                    unread.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(BATCH).collect();
                if batch.is_empty() || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
                if let Err(error) = batch.into_iter().try_for_each(read) {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Context {
    /// The digest of all of it: paths, kinds, executable bits, contents, and where links point to.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("stack 2026-11 digest of a build context");
        // Large pieces are hashed several times faster than small ones.
        let mut buffer = Vec::with_capacity(2 * PIECE);
        let mut path = String::new();
        for entry in self.tree.iter() {
            path.clear();
            entry.write_path(&mut path);
            let (kind, content): (&[u8], &[u8]) = match entry.kind {
                FileKind::File if entry.is_executable() => (b"x", entry.digest.map_or(&[], Digest::as_slice)),
                FileKind::File => (b"f", entry.digest.map_or(&[], Digest::as_slice)),
                FileKind::Folder => (b"d", b""),
                FileKind::Symlink { target } => (b"l", target.as_bytes()),
            };
            for field in [path.as_bytes(), kind, content] {
                buffer.extend_from_slice(&(field.len() as u64).to_le_bytes());
                buffer.extend_from_slice(field);
            }
            if buffer.len() >= PIECE {
                hasher.update(&buffer);
                buffer.clear();
            }
        }
        hasher.update(&buffer);
        *hasher.finalize().as_bytes()
    }

    /// Every file, folder and link with what stands for it in a key, in order.
    pub fn files(&self) -> impl Iterator<Item = InputFile> {
        self.tree.iter().map(|entry| InputFile { path: entry.path(), value: Value::of_entry(&entry) })
    }

    /// The number of files, folders and links.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// Bytes in all files.
    pub fn size(&self) -> u64 {
        self.tree.iter().map(|entry| entry.size).sum()
    }
}

type IgnoreFile = Option<(PathBuf, Vec<u8>)>;

/// The Dockerfile's own ignore file, else the context's, else nothing.
fn read_ignore(spec: &ContextSpec) -> Result<(IgnoreFile, Ignore), ContextError> {
    let mut own = spec.dockerfile.clone().into_os_string();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), spec.root.join(".dockerignore")] {
        match fs::read(&path) {
            Ok(bytes) => {
                let ignore = Ignore::parse(&String::from_utf8_lossy(&bytes))
                    .map_err(|source| ContextError::Ignore { path: path.clone(), source })?;
                return Ok((Some((path, bytes)), ignore));
            }
            Err(error) if is_absent(&path, &error) => {}
            Err(error) => return Err(ContextError::unreadable(path, &error)),
        }
    }
    Ok((None, Ignore::default()))
}

fn is_absent(path: &Path, error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound || path.is_dir()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    struct Fixture {
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new(files: &[(&str, &str)]) -> Self {
            let fixture = Self { folder: tempfile::tempdir().unwrap() };
            for (path, content) in files {
                fixture.write(path, content);
            }
            fixture
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        fn write(&self, path: &str, content: &str) {
            fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            fs::write(self.path(path), content).unwrap();
        }

        fn spec(&self) -> ContextSpec {
            let root = self.folder.path().to_owned();
            let scope = Scope::Whole { reason: "a test".into() };
            ContextSpec { dockerfile: root.join("Dockerfile"), root, scope }
        }

        fn narrowed(&self, sources: &[&str]) -> ContextSpec {
            let scope = Scope::Narrowed(Narrow::new(sources.iter().copied()).unwrap());
            ContextSpec { scope, ..self.spec() }
        }

        fn read(&self) -> Context {
            read(&self.spec())
        }
    }

    fn read(spec: &ContextSpec) -> Context {
        ContextReader::new(&DigestCache::in_memory()).read(spec, &Cancel::never()).unwrap()
    }

    fn paths(context: &Context) -> Vec<String> {
        context.files().map(|file| file.path).collect()
    }

    #[test]
    fn what_changes_an_image_changes_the_digest_and_nothing_else_does() {
        let files = [("app/main.py", "print(1)"), ("app/util.py", ""), ("run.sh", "#!/bin/sh")];
        let fixture = Fixture::new(&files);
        symlink("app/main.py", fixture.path("link")).unwrap();
        fs::create_dir(fixture.path("empty")).unwrap();
        let base = fixture.read().digest();

        // The same files elsewhere, made in another order, touched, with other permissions but for the executable bit.
        let mut reversed = files;
        reversed.reverse();
        let other = Fixture::new(&reversed);
        fs::create_dir(other.path("empty")).unwrap();
        symlink("app/main.py", other.path("link")).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        fs::File::options().write(true).open(other.path("run.sh")).unwrap().set_modified(long_ago).unwrap();
        fs::set_permissions(other.path("run.sh"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(other.read().digest(), base);

        type Edit = fn(&Fixture);
        let edits: [(&str, Edit); 9] = [
            ("content", |f| f.write("app/main.py", "print(2)")),
            ("new file", |f| f.write("app/new.py", "")),
            ("removed", |f| fs::remove_file(f.path("app/util.py")).unwrap()),
            ("renamed", |f| fs::rename(f.path("app/util.py"), f.path("app/utils.py")).unwrap()),
            ("moved", |f| fs::rename(f.path("app/util.py"), f.path("util.py")).unwrap()),
            ("executable", |f| fs::set_permissions(f.path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap()),
            ("link instead", |f| {
                fs::remove_file(f.path("app/util.py")).unwrap();
                symlink("main.py", f.path("app/util.py")).unwrap();
            }),
            ("retargeted", |f| {
                fs::remove_file(f.path("link")).unwrap();
                symlink("app/util.py", f.path("link")).unwrap();
            }),
            ("empty folder", |f| fs::remove_dir(f.path("empty")).unwrap()),
        ];
        for (name, edit) in edits {
            let edited = Fixture::new(&files);
            symlink("app/main.py", edited.path("link")).unwrap();
            fs::create_dir(edited.path("empty")).unwrap();
            edit(&edited);
            assert_ne!(edited.read().digest(), base, "{name}");
        }
    }

    #[test]
    fn ignored_folders_are_not_entered_and_the_dockerfiles_own_ignore_file_wins() {
        let fixture = Fixture::new(&[("app/a", ""), ("node_modules/b", ""), ("docs/c", ""), ("docs/keep/d", "")]);
        fixture.write(".dockerignore", "node_modules\ndocs\n!docs/keep\n");
        // Unreadable: a walk that entered it would fail (or, as root, list it).
        fs::set_permissions(fixture.path("node_modules"), fs::Permissions::from_mode(0o000)).unwrap();
        let expected = [".dockerignore", "app", "app/a", "docs", "docs/keep", "docs/keep/d"];
        assert_eq!(paths(&fixture.read()), expected);
        fs::set_permissions(fixture.path("node_modules"), fs::Permissions::from_mode(0o755)).unwrap();

        fixture.write("Dockerfile.dockerignore", "*\n!app\n");
        let context = fixture.read();
        assert_eq!(paths(&context), ["app", "app/a"]);
        assert_eq!(context.ignore.unwrap().0, fixture.path("Dockerfile.dockerignore"));
    }

    #[test]
    fn a_narrowed_context_has_only_what_the_build_reaches() {
        let fixture = Fixture::new(&[("app/a", ""), ("app/deep/b", ""), ("README.md", ""), ("web/c.js", "")]);
        assert_eq!(
            paths(&read(&fixture.narrowed(&["app/deep", "web/*.js"]))),
            ["app", "app/deep", "app/deep/b", "web", "web/c.js"]
        );
        symlink("app", fixture.path("current")).unwrap();
        let context = read(&fixture.narrowed(&["current/a"]));
        assert!(matches!(&context.scope, Scope::Whole { reason } if reason.starts_with("current is a symbolic link")));
        assert_eq!(context.len(), 8);
    }

    #[test]
    fn what_stack_keeps_is_no_part_of_a_context() {
        let fixture = Fixture::new(&[
            (".stack/lock", ""),
            ("a/.stack/state.json", ""),
            ("a/b/.stack", "a file"),
            (".stacks/a", ""),
        ]);
        let expected = [".stacks", ".stacks/a", "a", "a/b", "a/b/.stack"];
        assert_eq!(paths(&fixture.read()), expected);
        assert_eq!(paths(&read(&fixture.narrowed(&[".stack*", "a"]))), expected);
    }

    #[test]
    fn special_files_are_left_out_and_told() {
        let fixture = Fixture::new(&[("a", "")]);
        let _listener = std::os::unix::net::UnixListener::bind(fixture.path("socket")).unwrap();
        let context = fixture.read();
        assert_eq!((paths(&context), context.skipped.as_slice()), (vec!["a".to_owned()], &["socket".to_owned()][..]));
    }

    #[test]
    fn a_name_that_is_no_utf8_is_refused_unless_it_is_ignored() {
        use std::os::unix::ffi::OsStrExt;
        let fixture = Fixture::new(&[("ok/a", "")]);
        let bad = fixture.path("ok").join(std::ffi::OsStr::from_bytes(b"b\xff"));
        fs::write(&bad, "").unwrap();
        let error = ContextReader::new(&DigestCache::in_memory()).read(&fixture.spec(), &Cancel::never()).unwrap_err();
        assert!(matches!(error, ContextError::NotUtf8 { .. }), "{error}");
        fixture.write(".dockerignore", "ok/b*");
        assert_eq!(paths(&fixture.read()), [".dockerignore", "ok", "ok/a"]);
    }

    #[test]
    fn many_files_in_many_folders_come_in_the_engines_order() {
        let fixture = Fixture::new(&[]);
        for index in 0..300 {
            fixture.write(&format!("d{}/e{}/f{index}", index % 7, index % 3), &index.to_string());
        }
        fixture.write("d1-x", "");
        let context = fixture.read();
        let found = paths(&context);
        let mut sorted: Vec<Vec<&str>> = found.iter().map(|path| path.split('/').collect()).collect();
        sorted.sort();
        assert_eq!(sorted.into_iter().map(|parts| parts.join("/")).collect::<Vec<_>>(), found);
        assert_eq!(context.size(), 10 + 2 * 90 + 3 * 200);
    }
}
