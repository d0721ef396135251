//! Writes the first stack file.

use std::fmt::Write;

use super::{Chart, Found, Image};

/// A stack file with comments that say what to look at.
pub fn stack_file(stack: &str, found: &Found) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, stack, found);
    text
}

fn write(out: &mut String, stack: &str, found: &Found) -> std::fmt::Result {
    let Found { images, charts, told_by } = found;
    writeln!(out, "# A first stack file, from what is in this folder. Look it through, then:")?;
    writeln!(out, "#\n#   stack validate   is it right?")?;
    writeln!(out, "#   stack plan       what would be done, and why")?;
    writeln!(out, "#   stack apply      do it\n")?;
    writeln!(out, "[stack]\nname = {}\n", quoted(stack))?;
    if !charts.is_empty() || !images.is_empty() {
        writeln!(out, "# Where it runs. For an existing cluster: driver = \"context\", context = \"...\".")?;
        writeln!(out, "[cluster]\ndriver = \"minikube\"           # minikube | kind | k3d | context")?;
        writeln!(out, "namespace = {}\n", quoted(stack))?;
    }
    if !images.is_empty() {
        let by = if told_by.is_empty() { String::new() } else { format!(", named as in {}", told_by.join(" and ")) };
        writeln!(out, "# Images: built when something that their Dockerfile reaches changes{by}.")?;
    }
    for image in images {
        write_image(out, image)?;
    }
    if !charts.is_empty() {
        writeln!(out, "# Charts. A `${{...}}` that names an image is also what has to be done before.")?;
    }
    for chart in charts {
        write_chart(out, chart, images)?;
    }
    if charts.is_empty() {
        writeln!(out, "# No chart was found. One of your own:\n#\n# [chart.{stack}]\n# path = \"charts/{stack}\"")?;
        writeln!(out, "# [chart.{stack}.set]\n# \"image.repository\" = \"${{image.NAME.repository}}\"")?;
        writeln!(out, "# \"image.tag\" = \"${{image.NAME.tag}}\"\n")?;
    }
    writeln!(out, "# Every chart brings along the readiness of its workloads. A check from outside:\n#")?;
    writeln!(out, "# [ready.web]\n# http = {{ service = \"NAME\", port = 80, path = \"/\" }}")?;
    let needed = charts.first().map_or(stack, |chart| &chart.name);
    writeln!(out, "# needs = [\"chart.{needed}\"]\n")?;
    writeln!(out, "# Commands: code generation, migrations, smoke tests.\n#")?;
    writeln!(out, "# [task.migrate]\n# run = [\"alembic\", \"upgrade\", \"head\"]\n# inputs = [\"migrations/**\"]")
}

fn write_image(out: &mut String, image: &Image) -> std::fmt::Result {
    let Image { name, context, dockerfile, target, repository } = image;
    writeln!(out, "[image.{name}]\ncontext = {}", quoted(context))?;
    for (key, value) in [("dockerfile", dockerfile), ("target", target), ("repository", repository)] {
        if let Some(value) = value {
            writeln!(out, "{key} = {}", quoted(value))?;
        }
    }
    out.write_char('\n')
}

fn write_chart(out: &mut String, chart: &Chart, images: &[Image]) -> std::fmt::Result {
    let Chart { name, path, image_values } = chart;
    writeln!(out, "[chart.{name}]\npath = {}", quoted(path))?;
    let mut begun = false;
    for values in image_values {
        let Some(Image { name: image, .. }) = image_for(values, chart, images) else { continue };
        if !std::mem::replace(&mut begun, true) {
            writeln!(out, "[chart.{name}.set]")?;
        }
        let prefix = if values.is_empty() { String::new() } else { format!("{values}.") };
        for field in ["repository", "tag"] {
            writeln!(out, "\"{prefix}{field}\" = \"${{image.{image}.{field}}}\"")?;
        }
    }
    out.write_char('\n')
}

/// The image that a table of values is about: the one whose name is on its path, or in the chart's name; or the only one.
fn image_for<'i>(values: &str, chart: &Chart, images: &'i [Image]) -> Option<&'i Image> {
    let on_path = |image: &&Image| values.split('.').any(|part| super::name_of(part) == image.name);
    let in_chart = |image: &&Image| chart.name == image.name || chart.name.split('-').any(|part| part == image.name);
    images.iter().find(on_path).or_else(|| match (values, images) {
        ("image" | "", [only]) => Some(only),
        ("image" | "", _) => images.iter().find(in_chart),
        _ => None,
    })
}

fn quoted(text: &str) -> String {
    // TOML's basic strings escape as JSON's do.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::{LoadOptions, StackFile, load};
    use crate::init::found;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// Writes the file, and reads it as every command does.
    fn read(root: &Path) -> (String, StackFile) {
        let text = stack_file("shop", &found(root));
        fs::write(root.join("stack.toml"), &text).unwrap();
        let loaded = load(&root.join("stack.toml"), &LoadOptions::new(&|_| None));
        (text.clone(), loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}")))
    }

    #[test]
    fn images_and_charts_are_found_and_joined() {
        let folder = folder(&[
            ("dockerfiles/backend.Dockerfile", "FROM scratch"),
            ("app/backend/main.py", ""),
            ("web/Dockerfile", "FROM scratch"),
            ("web/node_modules/x/Dockerfile", "FROM scratch"),
            ("charts/shop/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n"),
            (
                "charts/shop/values.yaml",
                "backend:\n  image: {repository: x, tag: y}\nweb:\n  image: {repository: x, tag: y}\nother: 1\n",
            ),
            ("charts/shop/charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n"),
        ]);
        let (text, stack) = read(folder.path());
        let images: Vec<_> = stack.images.iter().map(|(name, image)| (&**name, &*image.context.text)).collect();
        assert_eq!(images, [("backend", "app/backend"), ("web", "web")]);
        assert_eq!(stack.charts.len(), 1);
        for line in [
            "\"backend.image.tag\" = \"${image.backend.tag}\"",
            "\"web.image.repository\" = \"${image.web.repository}\"",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn compose_and_skaffold_say_what_images_are_called() {
        let compose = "services:\n  api:\n    build: {context: ./server, target: prod}\n    image: me/api:1\n  db:\n    image: postgres\n";
        let folder = folder(&[
            ("compose.yaml", compose),
            ("server/Dockerfile", "FROM scratch AS prod"),
            (
                "skaffold.yaml",
                "build:\n  artifacts:\n  - image: reg:5000/me/page\n    context: ui\n    docker: {dockerfile: build/D}\n",
            ),
            ("ui/build/D", "FROM scratch"),
        ]);
        let (text, stack) = read(folder.path());
        let names: Vec<_> = stack.images.keys().map(|name| &**name).collect();
        assert_eq!(names, ["api", "page"], "{text}");
        assert!(text.contains("repository = \"me/api\"") && text.contains("target = \"prod\""), "{text}");
        assert!(
            text.contains("dockerfile = \"ui/build/D\"") && text.contains("named as in compose.yaml and"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_folder_gives_a_file_that_says_how_to_go_on() {
        let folder = folder(&[]);
        let (text, _) = read(folder.path());
        assert!(text.contains("# [chart.shop]"), "{text}");
    }
}
