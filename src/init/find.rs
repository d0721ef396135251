//! Looks through a folder for what a stack is made of.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Chart, Found, Image, name_of, others};
use crate::tools::kube::yaml;

/// How many folders below the first one are looked at.
const DEPTH: usize = 5;
/// Folders with other people's things.
const OTHERS: [&str; 7] = ["node_modules", "target", "vendor", "dist", "build", "venv", "__pycache__"];

/// Looks through a folder. What can't be read or understood is as if it were not there: the result is a first draft.
pub fn found(root: &Path) -> Found {
    let mut looking = Looking { root, found: Found::default() };
    let mut told = Vec::new();
    for (file, read) in others::FILES {
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        let images = yaml::parse_all(&text).unwrap_or_default().iter().flat_map(|doc| read(&doc.value)).collect();
        let images: Vec<Image> = images;
        if !images.is_empty() {
            looking.found.told_by.push((*file).to_owned());
            told.extend(images);
        }
    }
    looking.folder("", 0);
    looking.name_as_told(told);
    let Found { mut images, mut charts, told_by } = looking.found;
    unique(&mut images, |image| &mut image.name);
    unique(&mut charts, |chart| &mut chart.name);
    images.sort_by(|a, b| a.name.cmp(&b.name));
    charts.sort_by(|a, b| a.name.cmp(&b.name));
    Found { images, charts, told_by }
}

struct Looking<'r> {
    root: &'r Path,
    found: Found,
}

impl Looking<'_> {
    fn folder(&mut self, folder: &str, depth: usize) {
        let here = self.root.join(folder);
        let Ok(entries) = fs::read_dir(&here) else { return };
        let mut files = Vec::new();
        let mut folders = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !name.starts_with('.') && !OTHERS.contains(&&*name) => folders.push(name),
                Ok(kind) if kind.is_file() => files.push(name),
                Ok(_) | Err(_) => {}
            }
        }
        if files.iter().any(|file| file == "Chart.yaml") {
            // What is below a chart is part of it.
            return self.chart(folder);
        }
        files.sort_unstable();
        folders.sort_unstable();
        for file in files {
            self.dockerfile(folder, &file);
        }
        if depth < DEPTH {
            for name in folders {
                self.folder(&below(folder, &name), depth + 1);
            }
        }
    }

    fn dockerfile(&mut self, folder: &str, file: &str) {
        let dot = |path: &str| if path.is_empty() { ".".to_owned() } else { path.to_owned() };
        let last = folder.rsplit('/').next().unwrap_or_default();
        let image = match file {
            "Dockerfile" | "Containerfile" => Image {
                name: name_of(if folder.is_empty() { self.folder_name() } else { last }),
                context: dot(folder),
                dockerfile: (file != "Dockerfile").then(|| below(folder, file)),
                target: None,
                repository: None,
            },
            _ => {
                let named = file.strip_suffix(".Dockerfile").or_else(|| file.strip_prefix("Dockerfile."));
                let Some(named) = named.filter(|named| !named.ends_with("ignore") && !named.is_empty()) else { return };
                Image {
                    name: name_of(named),
                    // Dockerfiles that lie together build what lies elsewhere: a folder of that name, if there is one.
                    context: self.folder_called(named).unwrap_or_else(|| dot(folder)),
                    dockerfile: Some(below(folder, file)),
                    target: None,
                    repository: None,
                }
            }
        };
        self.found.images.push(image);
    }

    fn folder_name(&self) -> &str {
        self.root.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// `name`, `app/name`, `services/name` and the like.
    fn folder_called(&self, name: &str) -> Option<String> {
        let places = ["", "app", "apps", "services", "src", "packages"].map(|place| below(place, name));
        places.into_iter().find(|place| self.root.join(place).is_dir())
    }

    fn chart(&mut self, folder: &str) {
        let read = |file: &str| {
            let text = fs::read_to_string(self.root.join(folder).join(file)).ok()?;
            yaml::parse(&text).ok()
        };
        let about = read("Chart.yaml").unwrap_or(Value::Null);
        // A library is part of other charts.
        if about["type"] == "library" {
            return;
        }
        let name = about["name"].as_str().map_or_else(|| folder.to_owned(), str::to_owned);
        let mut image_values = Vec::new();
        image_tables(&read("values.yaml").unwrap_or(Value::Null), "", &mut image_values);
        let path = if folder.is_empty() { ".".to_owned() } else { folder.to_owned() };
        self.found.charts.push(Chart { name: name_of(&name), path, image_values });
    }

    /// Takes over what compose and skaffold files say of images, and adds those that were not found.
    fn name_as_told(&mut self, told: Vec<Image>) {
        for image in told {
            let same = |known: &&mut Image| {
                known.context == image.context && (known.dockerfile == image.dockerfile || image.dockerfile.is_none())
                    || known.dockerfile.is_some() && known.dockerfile == image.dockerfile
            };
            match self.found.images.iter_mut().find(same) {
                Some(known) => *known = Image { dockerfile: known.dockerfile.clone(), ..image },
                None if self.root.join(&image.context).is_dir() => self.found.images.push(image),
                None => {}
            }
        }
    }
}

fn below(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The paths of all tables that say `repository` and `tag`.
fn image_tables(values: &Value, path: &str, found: &mut Vec<String>) {
    let Value::Object(table) = values else { return };
    if table.contains_key("repository") && table.contains_key("tag") {
        found.push(path.to_owned());
    }
    for (key, value) in table {
        // A key with a dot would have to be escaped; nobody names an image so.
        if !key.contains('.') {
            image_tables(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
        }
    }
}

/// Names that occur twice get a number.
fn unique<T>(things: &mut [T], name: impl Fn(&mut T) -> &mut String) {
    let mut taken = BTreeSet::new();
    for thing in things {
        let name = name(thing);
        let first = name.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            *name = format!("{first}-{number}");
            number += 1;
        }
    }
}
