//! Post-renderers. Helm 3 takes a program; Helm 4 takes plugins alone, so that the program gets to it as one: a folder
//! with a description, which is there as long as Helm runs.

use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

/// A program that gets the manifest on its standard input and prints the one to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostRenderer {
    /// The program: a path, or a name that `$PATH` leads to.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// A post-renderer as a plugin of Helm 4. It goes when this is dropped.
pub(super) struct Plugin {
    folder: TempDir,
}

const NAME: &str = "stack-post-render";

impl Plugin {
    /// Describes a post-renderer as a plugin. Its arguments travel on Helm's command line: Helm would expand variables in
    /// a description's.
    ///
    /// Helm 4 keeps to itself what a plugin says when it fails, so a line of shell puts that aside.
    pub(super) fn write(renderer: &PostRenderer) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("stack-plugins-").tempdir()?;
        let about = json!({
            "apiVersion": "v1",
            "type": "postrenderer/v1",
            "name": NAME,
            "version": "0.1.0",
            "runtime": "subprocess",
            "runtimeConfig": { "platformCommand": [{ "command": folder.path().join("run") }] },
        });
        let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let (program, said) = (quoted(&renderer.program), quoted(&folder.path().join("said")));
        let run = OpenOptions::new().write(true).create_new(true).mode(0o700).open(folder.path().join("run"));
        run?.write_all(format!("#!/bin/sh\nexec {program} \"$@\" 2>{said}\n").as_bytes())?;
        let own = folder.path().join(NAME);
        std::fs::create_dir(&own)?;
        // JSON is YAML.
        std::fs::write(own.join("plugin.yaml"), about.to_string())?;
        Ok(Self { folder })
    }

    /// What the program has said on its standard error.
    pub(super) fn said(&self) -> String {
        let said = std::fs::read(self.folder.path().join("said")).unwrap_or_default();
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    pub(super) fn name(&self) -> &'static str {
        NAME
    }

    /// The value of `HELM_PLUGINS` with which Helm finds it beside the user's own plugins.
    pub(super) fn folders(&self) -> OsString {
        let known = env::var_os("HELM_PLUGINS").map(|known| env::split_paths(&known).collect::<Vec<_>>());
        let usual = || {
            let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let data = data.or_else(|| Some(env::home_dir()?.join(".local/share")))?;
            Some(vec![data.join("helm/plugins")])
        };
        let folders = [self.folder.path().to_owned()].into_iter().chain(known.or_else(usual).unwrap_or_default());
        // A folder with a colon in its name can't be said at all; ours has none.
        env::join_paths(folders).unwrap_or_else(|_| self.folder.path().as_os_str().to_owned())
    }
}
