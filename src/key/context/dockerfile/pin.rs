//! Puts exact names in the place of the images that a Dockerfile starts or copies from.

use std::collections::BTreeMap;

use super::lines::{Instruction, Lines};
use super::{DockerfileOptions, Reader, sources_from};

/// A Dockerfile that names an image in a way that can't be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpinned {
    /// The image.
    pub reference: String,
    /// The line of the instruction that names it, from 1.
    pub line: u32,
}

/// The Dockerfile with other names for some of the images in its `FROM`, `COPY --from=` and `--mount=from=`: `pins` says
/// which, by the references that [`super::read_dockerfile`] tells. Nothing else changes, and every line stays where it is.
///
/// # Errors
/// When a name is written in parts, over a line's end.
pub fn pin_bases(
    text: &str,
    options: &DockerfileOptions<'_>,
    pins: &BTreeMap<String, String>,
) -> Result<String, Unpinned> {
    let lines = Lines::of(text);
    let mut reader = Reader::new(options, lines.escape);
    reader.split(&lines.instructions);
    let mut text = Text { lines: text.split('\n').map(str::to_owned).collect() };
    for (place, instruction) in lines.instructions.iter().enumerate() {
        let next = lines.instructions.get(place + 1).map_or(usize::MAX, |next| next.line as usize - 1);
        // Stages are told apart by the lines of their `FROM`; those before the first have none.
        let stage = reader.stages.iter().rposition(|stage| stage.line <= instruction.line);
        let Some(stage) = stage else { continue };
        for (reference, written) in named(&reader, stage, instruction) {
            let Some(pin) = pins.get(&reference) else { continue };
            if !text.replace(instruction, next, &written, pin) {
                return Err(Unpinned { reference, line: instruction.line });
            }
        }
    }
    Ok(text.lines.join("\n"))
}

/// How an image is named.
enum Written {
    /// The first word behind `FROM` and its flags.
    Word(String),
    /// Behind `from=`.
    Flag(String),
}

/// The images that an instruction names, and how.
fn named(reader: &Reader<'_>, stage: usize, instruction: &Instruction) -> Vec<(String, Written)> {
    if instruction.name == "FROM" {
        let word = instruction.rest.split_whitespace().next().unwrap_or_default().to_owned();
        let base = reader.stages[stage].base.as_ref().ok().filter(|base| reader.named(base, stage).is_none());
        return base.map(|base| (base.clone(), Written::Word(word))).into_iter().collect();
    }
    let from = sources_from(instruction, reader.escape).into_iter().filter(|name| reader.other_stage(name).is_none());
    from.map(|name| (name.clone(), Written::Flag(name))).collect()
}

struct Text {
    lines: Vec<String>,
}

impl Text {
    /// Replaces what an instruction names, the first time that it is named there.
    fn replace(&mut self, instruction: &Instruction, next: usize, written: &Written, pin: &str) -> bool {
        let first = instruction.line as usize - 1;
        let end = next.min(self.lines.len());
        self.lines[first.min(end)..end].iter_mut().enumerate().any(|(place, line)| {
            // The instruction's own name, and comments between its lines, name no image.
            let name = if place == 0 { line.len() - line.trim_start().len() + instruction.name.len() } else { 0 };
            let is_comment = line.trim_start().starts_with('#');
            let Some((from, to)) = written.find(line, name).filter(|_| !is_comment) else { return false };
            line.replace_range(from..to, pin);
            true
        })
    }
}

impl Written {
    /// Where the name stands in a line, from a place on.
    fn find(&self, line: &str, start: usize) -> Option<(usize, usize)> {
        let (name, is_end): (&str, fn(char) -> bool) = match self {
            Self::Word(word) => (word, char::is_whitespace),
            Self::Flag(name) => (name, |c| c.is_whitespace() || matches!(c, ',' | '"' | '\'')),
        };
        line.match_indices(name).map(|(at, _)| (at, at + name.len())).filter(|(from, _)| *from >= start).find(
            |(from, to)| {
                let (before, after) = (&line[..*from], &line[*to..]);
                let begins = match self {
                    Self::Word(_) => before.is_empty() || before.ends_with(char::is_whitespace),
                    Self::Flag(_) => {
                        let before = before.trim_end_matches(['"', '\'']).as_bytes();
                        before.len().checked_sub(5).is_some_and(|at| before[at..].eq_ignore_ascii_case(b"from="))
                    }
                };
                begins && after.chars().next().is_none_or(is_end)
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(text: &str, pins: &[(&str, &str)]) -> Result<String, Unpinned> {
        let pins = pins.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        pin_bases(text, &DockerfileOptions::default(), &pins)
    }

    #[test]
    fn every_way_to_name_an_image_is_pinned_and_nothing_else_changes() {
        let text = "# syntax=docker/dockerfile:1\n\
            ARG BASE=todo/base:dev\n\
            FROM --platform=linux/amd64 todo/base AS tools\n\
            RUN --mount=type=bind,from=todo/base,source=/a,target=/b \\\n    echo from=todo/base todo/base\n\
            FROM ${BASE} AS final\r\n\
            COPY --from=\"todo/base\" /a /b\n\
            COPY \\\n  # todo/base\n  --chown=1 --from=todo/base todo/base /c\n\
            COPY --from=tools /x /y\n\
            FROM todo/base\n\
            RUN <<EOF\nFROM todo/base\nEOF\n\
            FROM final\n\
            from from\n";
        let expected = "# syntax=docker/dockerfile:1\n\
            ARG BASE=todo/base:dev\n\
            FROM --platform=linux/amd64 todo/base:1 AS tools\n\
            RUN --mount=type=bind,from=todo/base:1,source=/a,target=/b \\\n    echo from=todo/base todo/base\n\
            FROM todo/base:2 AS final\r\n\
            COPY --from=\"todo/base:1\" /a /b\n\
            COPY \\\n  # todo/base\n  --chown=1 --from=todo/base:1 todo/base /c\n\
            COPY --from=tools /x /y\n\
            FROM todo/base:1\n\
            RUN <<EOF\nFROM todo/base\nEOF\n\
            FROM final\n\
            from from:3\n";
        let pins =
            [("from", "from:3"), ("todo/base", "todo/base:1"), ("todo/base:dev", "todo/base:2"), ("tools", "wrong")];
        assert_eq!(pinned(text, &pins).unwrap(), expected);
        assert_eq!(pinned(text, &[]).unwrap(), text);
    }

    #[test]
    fn a_stage_behind_is_no_image() {
        let text = "FROM scratch\nCOPY --from=base / /\nFROM base AS Base\n";
        let expected = "FROM scratch\nCOPY --from=base / /\nFROM base:1 AS Base\n";
        assert_eq!(pinned(text, &[("base", "base:1")]).unwrap(), expected);
    }

    #[test]
    fn a_name_in_parts_is_refused_with_its_line() {
        let refused = pinned("FROM scratch\n\nFROM todo/\\\nbase\n", &[("todo/base", "x")]).unwrap_err();
        assert_eq!(refused, Unpinned { reference: "todo/base".to_owned(), line: 3 });
    }
}
