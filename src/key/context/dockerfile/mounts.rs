//! `RUN --mount=…`: each a record of comma-separated options.

use super::lines::Instruction;
use super::words::{Unsure, Variables, expand};

/// What a mount takes, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) kind: Kind,
    /// The stage or image, if not the context.
    pub(super) from: Option<String>,
    /// The path in it; nothing for all of it.
    pub(super) source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Files of a stage, an image or the context.
    Bind,
    /// A secret, and its id where it is told.
    Secret(Option<String>),
    /// Nothing that comes from outside of the build.
    Other,
}

/// The mounts of an instruction, each as far as it can be told.
pub(super) fn mounts(instruction: &Instruction, escape: char) -> impl Iterator<Item = Result<Mount, Unsure>> {
    let values = instruction.flags.iter().filter(|(name, _)| instruction.name == "RUN" && name == "mount");
    values.map(move |(_, value)| mount(value, escape))
}

fn mount(text: &str, escape: char) -> Result<Mount, Unsure> {
    let (mut kind, mut from, mut source) = ("bind".to_owned(), None, None);
    let (mut id, mut target) = (None, None);
    for field in fields(text).ok_or_else(|| Unsure::Form(text.to_owned()))? {
        let Some((key, value)) = field.split_once('=') else { continue };
        // The last one counts, and an empty one is none.
        let told = || {
            if value.contains('$') {
                return Err(Unsure::Form(value.to_owned()));
            }
            expand(value, &Variables::default(), escape)
        };
        let some = || told().map(|value| Some(value).filter(|value| !value.is_empty()));
        match key.to_lowercase().as_str() {
            "type" => kind = told()?.to_lowercase(),
            "from" => from = some()?,
            "source" | "src" => source = some()?,
            "id" => id = some().ok().flatten(),
            "target" | "dst" | "destination" => target = some().ok().flatten(),
            _ => {}
        }
    }
    let kind = match kind.as_str() {
        "bind" => Kind::Bind,
        "secret" => {
            let last = |path: String| path.rsplit('/').next().map(str::to_owned);
            Kind::Secret(source.clone().or(id).or_else(|| target.and_then(last)))
        }
        _ => Kind::Other,
    };
    Ok(Mount { kind, from, source })
}

/// The fields of a record of comma-separated values: one in double quotes may hold commas, and quotes that are doubled.
/// Nothing when it is no such record.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let field = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (field, behind) = quoted_field(quoted)?;
                rest = behind;
                field
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, behind) = rest.split_at(end);
                if field.contains('"') {
                    return None;
                }
                rest = behind;
                field.to_owned()
            }
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return rest.is_empty().then_some(fields),
        }
    }
}

/// A field up to the quote that ends it, and what is behind that.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (piece, behind) = rest.split_once('"')?;
        field.push_str(piece);
        match behind.strip_prefix('"') {
            Some(behind) => {
                field.push('"');
                rest = behind;
            }
            None => return Some((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<(Kind, Option<String>, Option<String>), Unsure> {
        mount(text, '\\').map(|mount| (mount.kind, mount.from, mount.source))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn options_are_read_as_the_engine_reads_them() {
        let table = [
            ("target=/x", (Kind::Bind, None, None)),
            ("type=bind,source=x,target=/x", (Kind::Bind, None, some("x"))),
            ("Type=Bind,Source=x,SRC=y", (Kind::Bind, None, some("y"))),
            ("FROM=a,rw,from=b", (Kind::Bind, some("b"), None)),
            ("from=,source=x", (Kind::Bind, None, some("x"))),
            ("\"source=x,y\",\"from=a\"\"\"\"\"", (Kind::Bind, some("a"), some("x,y"))),
            ("source='x y'", (Kind::Bind, None, some("x y"))),
            ("type=cache,from=a,target=$HOME", (Kind::Other, some("a"), None)),
            ("type=secret,id=a,target=/b", (Kind::Secret(some("a")), None, None)),
            ("type=secret,target=/b/c", (Kind::Secret(some("c")), None, None)),
            ("type=secret,src=a,id=$X", (Kind::Secret(some("a")), None, some("a"))),
        ];
        for (text, expected) in table {
            assert_eq!(told(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        for text in ["source=$X", "type=$X", "from=${X}", "source=\"x", "\"source=x", "\"source=x\"y", "source='x"] {
            assert!(matches!(told(text), Err(Unsure::Form(_))), "{text}");
        }
    }
}
