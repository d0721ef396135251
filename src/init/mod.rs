//! A first stack file from what is in a folder: Dockerfiles, charts, a compose file, a skaffold.yaml.
//!
//! [`found`] looks, [`stack_file`] writes. What can't be told from the folder is left as a comment to fill in; knows no
//! tool and no cluster.

mod find;
mod others;
mod write;

pub use find::found;
pub use write::stack_file;

/// What was found, everything relative to the folder and sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Images that can be built.
    pub images: Vec<Image>,
    /// Charts that can be installed.
    pub charts: Vec<Chart>,
    /// What it was told by beside the files themselves: `compose.yaml`, `skaffold.yaml`.
    pub told_by: Vec<String>,
}

/// An image that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name for the stack file.
    pub name: String,
    /// The folder of the build.
    pub context: String,
    /// The Dockerfile, unless it is `Dockerfile` in the context.
    pub dockerfile: Option<String>,
    /// The stage to build, where somebody said so.
    pub target: Option<String>,
    /// The name that charts know it by, where somebody said so.
    pub repository: Option<String>,
}

/// A chart that can be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The name for the stack file: that of the chart.
    pub name: String,
    /// Its folder.
    pub path: String,
    /// Values that name an image, by the path of the table that holds `repository` and `tag`.
    pub image_values: Vec<String>,
}

/// A name as stack files want it: `[a-z0-9-]`, starting with a letter or digit.
pub fn name_of(text: &str) -> String {
    let mut name = String::new();
    for char in text.chars() {
        match char.to_ascii_lowercase() {
            char @ ('a'..='z' | '0'..='9') => name.push(char),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(40);
    match name.trim_end_matches('-') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}
